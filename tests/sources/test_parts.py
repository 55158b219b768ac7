import itertools
import random

import pytest

from headstart.sources import parts

WORDS = {
    "train": ("train", "training", "trn"),
    "validation": ("val", "valid", "validation", "dev", "eval", "evaluation", "holdout"),
    "test": ("test", "testing", "tst"),
}
FORMS = (
    "{}",
    "{} images",
    "{} set",
    "{}_images",
    "images-{}",
    "{}2017",
    "01_{}",
    "{}.data",
    "{}set",
    "{}images",
    "{}_split_1",
    " {} ",
)


@pytest.mark.parametrize("form", FORMS)
def test_names_in_any_case_with_any_separator(form: str) -> None:
    for chosen in itertools.product(*WORDS.values()):
        for case in (str.lower, str.upper, str.title):
            names = [case(form.format(word)) for word in chosen]
            assert parts.named(names) == dict(zip(names, WORDS, strict=True)), names


@pytest.mark.parametrize("name", ["hold-out", "hold_out", "Hold Out", "HoldOut", "held-out", "holdout_set"])
def test_what_is_held_out_is_validation_or_else_test(name: str) -> None:
    assert parts.named(["train", name]) == {"train": "train", name: "validation"}
    assert parts.named(["train", "test", name])[name] == "validation"
    assert parts.named(["train", "validation", name])[name] == "test"
    assert parts.named(["train", "eval", name]) == {"train": "train", "eval": "validation", name: "test"}
    assert parts.named(["train", "val", "test", name])[name] == "validation"


@pytest.mark.parametrize(
    "name",
    [
        *("train_station", "test tube", "training shoes", "trains", "detrain", "retrain", "trainee"),
        *("validity", "value", "tests", "contest", "latest", "device", "develop", "trainval", "train_test"),
        *("images", "2017", "", "fold0", "猫", "evaluator", "set"),
    ],
)
def test_names_of_no_part(name: str) -> None:
    assert parts.named([name]) == {name: ""}
    assert parts.named(["train", "test", name])[name] == ""


def test_a_word_that_all_share_says_nothing() -> None:
    names = ["asl_alphabet_train", "asl_alphabet_test"]
    assert list(parts.named(names).values()) == ["train", "test"]
    assert parts.named(["red train", "red bus"]) == {"red train": "train", "red bus": ""}
    assert parts.named(["train cat", "train dog"]) == {"train cat": "", "train dog": ""}
    assert list(parts.named(["Flowers Train", "flowers-VAL"]).values()) == ["train", "validation"]


def test_the_order_of_names_does_not_matter() -> None:
    names = ["train", "holdout", "eval", "other", "trainset", "unlabelled"]
    expected = parts.named(names)
    shuffle = random.Random(0).shuffle
    for _ in range(20):
        shuffle(names)
        assert parts.named(names) == expected


def test_names_of_photos_without_labels() -> None:
    assert parts.unlabelled(["train", "Pred", "unlabeled_images", "predator", "images"]) == {
        "Pred",
        "unlabeled_images",
    }
