import random
from pathlib import Path

import numpy as np
import pytest
from conftest import text_of, touch

from headstart.base.errors import SmallClass
from headstart.photos import splits
from headstart.photos.audit import Audit
from headstart.sources import labels, listing
from headstart.sources.labels import several


def details(names: list[str], n_photos: int = 50) -> list[str]:
    return [doubt.detail for doubt in labels.doubts(names, [n_photos] * len(names))]


@pytest.mark.parametrize("mark", ["|", ";", ",", "+", "&", "/", " ", ", ", " | "])
def test_labels_of_which_each_piece_is_one(mark: str) -> None:
    names = ["healthy", "rust", f"scab{mark}rust", "Scab", f"rust{mark}healthy{mark}scab"]
    assert several(names) == [names[2], names[4]]
    assert details(names) == [f"2 of the 5 labels look like several at once: '{names[2]}', '{names[4]}'."]
    assert several(["healthy", "rust", f"black{mark}rot"]) == []


@pytest.mark.parametrize(
    ("names", "joined"),
    [
        (["a|b", "b|c", "a|c", "d"], ["a|b", "b|c", "a|c"]),
        (["['cat', 'dog']", "['dog', 'mouse']", "['mouse']"], ["['cat', 'dog']", "['dog', 'mouse']"]),
        # As in a table of satellite pictures: weather and ground, in the order of the alphabet.
        (
            ["clear primary", "agriculture clear road", "clear road water", "haze primary water", "haze"],
            ["clear primary", "agriculture clear road", "clear road water", "haze primary water"],
        ),
    ],
)
def test_pieces_that_stand_now_here_now_there(names: list[str], joined: list[str]) -> None:
    assert several(names) == joined


@pytest.mark.parametrize(
    "names",
    [
        ["Apple, scab", "Apple, rust", "Corn, rust", "Corn, healthy"],
        ["Smith, John", "Doe, Jane", "Roe, Jane"],
        ["black cat", "white cat", "black dog", "white dog"],
        ["t-shirt", "shirt", "long_sleeve", "sleeve"],
        ["1,5", "5,1", "5,5", "2,5"],
        ["New York", "York Minster", "Rome", "Paris", "Oslo"],
    ],
)
def test_labels_of_several_words(names: list[str]) -> None:
    assert several(names) == [] and details(names) == []


def test_random_combinations_are_told_and_two_fields_are_not() -> None:
    chance = random.Random(0)
    for _ in range(200):
        words = [f"w{number}" for number in range(chance.randint(4, 12))]
        mark = chance.choice("|;,")
        joined = {mark.join(sorted(chance.sample(words, chance.randint(1, 3)))) for _ in range(40)}
        assert several(sorted(joined)), joined
        fields = {f"{chance.choice(words)}{mark}{chance.choice('xyz')}" for _ in range(40)}
        assert not several(sorted(fields)), fields


@pytest.mark.parametrize(
    ("names", "counts"),
    [
        ([str(number) for number in range(3, 43)], [50] * 40),
        ([f"{number / 2:.1f}" for number in range(1, 20)], [50] * 19),
        ([f"{number},25" for number in range(20)], [50] * 20),
        ([str(number) for number in range(1, 91)], [9] * 90),
        (["12", "17", "23", "31", "44", "58"], [1, 2, 1, 1, 2, 3]),
    ],
)
def test_numbers_on_a_scale(names: list[str], counts: list[int]) -> None:
    (doubt,) = labels.doubts(names, counts)
    assert doubt.detail == (
        f"The labels are {len(names)} different numbers from {names[0]} to {names[-1]}, which looks like a "
        "measurement, not like classes."
    )
    assert doubt.advice == (
        "Headstart gives one class to a photo and estimates no numbers: write ranges as labels, such as low, "
        "middle and high."
    )


@pytest.mark.parametrize(
    ("names", "counts"),
    [
        (["0", "1", "2", "3", "4"], [1805, 370, 999, 193, 295]),
        ([str(number) for number in range(43)], [210] * 43),
        ([str(number) for number in range(1, 103)], [40] * 102),
        ([f"{number:03}" for number in range(0, 400, 7)], [12] * 58),
        (["1.0", "1.5", "2.0", "2.5", "3.0"], [30] * 5),
        ([*map(str, range(40)), "unknown"], [3] * 41),
    ],
)
def test_numbers_of_classes(names: list[str], counts: list[int]) -> None:
    assert list(labels.doubts(names, counts)) == []


def test_labels_that_are_names() -> None:
    names = [f"dog number {word}" for word in ("one", "two", "three", "four", "five", "six")]
    (doubt,) = labels.doubts(names, [1, 1, 2, 1, 1, 1])
    assert doubt.detail == (
        "The 7 photos have 6 different labels, hardly any of them twice: these look like names or "
        "descriptions, not like classes."
    )
    assert doubt.advice == (
        "Headstart gives one class to a photo and learns it from several: take a label that photos share. "
        "Of a table, --label-column says where."
    )
    assert list(labels.doubts(names, [2] * 6)) == []


def test_labels_that_differ_in_spelling_alone() -> None:
    assert details(["Cat", "cat", "dog", "t-shirt", "T shirt", "A", "a", "1-2", "12"]) == [
        "Labels that differ in capitals, blanks or dashes alone are different classes: "
        "'Cat', 'cat', 't-shirt' and 1 more."
    ]


def test_what_looks_like_a_measurement_is_said_before_classes_are_too_small(tmp_path: Path) -> None:
    touch(tmp_path, *(f"{number}.jpg" for number in range(80)))
    rows = "".join(f"{number}.jpg,{20 + number // 2}\n" for number in range(79))
    (tmp_path / "t.csv").write_text(f"image,age\n{rows}79.jpg,90\n")
    listed = listing.load(tmp_path / "t.csv")
    audit = Audit(listed, tuple(listed.paths), np.arange(len(listed), dtype=np.int32))
    assert text_of(SmallClass, lambda: splits.split(audit, seed=0, validation=0.15, test=0.2)) == (
        "The labels are 41 different numbers from 20 to 90, which looks like a measurement, not like "
        "classes. Of these classes 41 have too few photos to divide.\n"
        "Headstart gives one class to a photo and estimates no numbers: write ranges as labels, such as "
        "low, middle and high. If they are meant as they are, add photos, or leave classes out with "
        "--exclude."
    )
