"""A model on labelled photos: any of its classes, what was left out, and what it was trained on."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
from conftest import Finished, text_of
from PIL import Image

import headstart
from headstart.base import records
from headstart.base.errors import DataError
from headstart.base.progress import Progress
from headstart.photos.splits import read_csv
from headstart.sources.dataset import SetAside
from headstart.statistics import calibration
from headstart.statistics.calibration import Selection
from headstart.statistics.metrics import PerClass
from headstart.statistics.significance import Interval, wilson
from headstart.workflow import evaluation
from headstart.workflow.evaluation import Appraisal, Share


class Heard(Progress):
    """Keeps what is remarked."""

    def __init__(self) -> None:
        self.remarks: list[str] = []

    def remark(self, text: str) -> None:
        self.remarks.append(text)


def told(found: Appraisal) -> str:
    """What is printed of it, in one line."""
    return evaluation.render(found).replace("\n", " ")


@pytest.fixture
def others(tmp_path: Path) -> Callable[..., Path]:
    """Writes photos that no run has seen: of each class named, some."""

    def write(**counts: int) -> Path:
        random = np.random.default_rng(7)
        for name, count in counts.items():
            folder = tmp_path / "others" / name
            folder.mkdir(parents=True)
            for number in range(count):
                image = random.integers(0, 120, (30, 40, 3), dtype=np.uint8)
                image[..., {"red": 0, "green": 1}.get(name, 2)] += 60
                Image.fromarray(image).save(folder / f"new_{number:02}.jpg", quality=95)
        return tmp_path / "others"

    return write


def test_classes_are_matched_by_name(finished: Finished, others: Callable[..., Path]) -> None:
    folder = others(red=9, green=6)
    got = evaluation.evaluate(finished.folder, str(folder))
    files = [*sorted((folder / "green").iterdir()), *sorted((folder / "red").iterdir())]
    model = headstart.load(finished.folder)
    predictions = model.predict(files)
    hits = [one.label == file.parent.name for one, file in zip(predictions, files, strict=True)]
    assert len(hits) == got.n_images == 15
    assert got.accuracy == sum(hits) / 15 > 0.6
    assert got.accuracy_interval == wilson(sum(hits), 15)
    assert [(one.name, one.n_images) for one in got.per_class] == [("blue", 0), ("green", 6), ("red", 9)]
    assert (got.absent, got.commonest, got.baseline) == (("blue",), "red", 0.6)
    n_novel = sum(one.is_novel is True for one in predictions)
    assert got.n_refused == (n_novel if model.record.calibration.refusal else None)
    assert got.by_part is not None
    assert set(got.by_part) == {"new"}
    assert got.seen is None
    assert got.unseen == got.by_part["new"] == Share(15, sum(hits), got.accuracy, got.accuracy_interval)
    assert msgspec.json.decode(records.to_json(got), type=Appraisal) == got


def test_one_class_is_enough(finished: Finished, others: Callable[..., Path]) -> None:
    got = evaluation.evaluate(finished.folder, str(others(green=5)))
    assert (got.n_images, got.absent, got.baseline) == (5, ("blue", "red"), 1.0)
    assert got.balanced_accuracy == got.accuracy
    assert "over 1 of 3 classes" in told(got)
    assert "on 5 photos, all of green\nno photo here: blue, red\n" in evaluation.render(got)


def test_a_table_with_one_class_is_enough(finished: Finished, others: Callable[..., Path]) -> None:
    folder = others(green=2)
    (folder / "table.csv").write_text("path,label\ngreen/new_00.jpg,green\ngreen/new_01.jpg,green\n")
    assert evaluation.evaluate(finished.folder, str(folder / "table.csv")).n_images == 2


def test_photos_of_the_own_split_are_told_apart(finished: Finished) -> None:
    got = evaluation.evaluate(finished.folder, str(finished.photos))
    parts = [row.part for row in read_csv(finished.folder / "split.csv")]
    assert got.by_part is not None
    assert {name: share.n_images for name, share in got.by_part.items()} == {
        name: parts.count(name) for name in ("train", "validation", "test") if name in parts
    }
    assert got.seen is not None
    assert got.unseen == got.by_part["test"]
    assert got.seen.n_images == len(parts) - parts.count("test")
    assert got.seen.n_right + got.unseen.n_right == round(got.accuracy * got.n_images)
    seen, new = got.seen, got.unseen
    assert told(got).startswith(
        f"{seen.n_images} of these 49 photos were trained on or chosen by: the model is right on "
        f"{seen.accuracy:.1%} of them, and on {new.accuracy:.1%} of the {new.n_images} others "
        f"(95% interval {new.interval.low:.1%} to {new.interval.high:.1%}), which alone say how right it "
        "is on new ones. "
    )


def test_under_another_name_and_in_another_folder_they_are_the_same(
    finished: Finished, tmp_path: Path
) -> None:
    rows = [row for row in read_csv(finished.folder / "split.csv") if row.part != "test"]
    for number, row in enumerate(rows):
        target = tmp_path / "moved" / row.label / f"{number}.jpg"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(finished.photos / row.path, target)
    got = evaluation.evaluate(finished.folder, str(tmp_path / "moved"))
    assert got.unseen is None
    assert got.seen is not None
    assert got.seen.n_images == len(rows)
    assert told(got).startswith(
        f"All of these {len(rows)} photos were trained on or chosen by: how right the model is on "
        "new ones they cannot say.  accuracy "
    )


def test_new_photos_among_known_ones(finished: Finished, others: Callable[..., Path]) -> None:
    folder = others(red=4, green=3, blue=2)
    for name in ("red", "green"):
        for file in (finished.photos / name).glob(f"{name}_*.jpg"):
            shutil.copy(file, folder / name)
    got = evaluation.evaluate(finished.folder, str(folder))
    assert got.by_part is not None
    assert got.unseen is not None
    assert got.by_part["new"].n_images == 9
    assert got.n_images == 9 + 32
    test = got.by_part["test"].n_images if "test" in got.by_part else 0
    assert got.unseen.n_images == 9 + test


def test_a_copy_in_two_parts_was_trained_on(finished: Finished, tmp_path: Path) -> None:
    run = shutil.copytree(finished.folder, tmp_path / "run")
    rows = (run / "split.csv").read_text().splitlines()
    train = next(row for row in rows if ",train," in row)
    (run / "split.csv").write_text("\n".join([*rows, train.replace(",train,", ",test,")]) + "\n")
    (tmp_path / "one" / "red").mkdir(parents=True)
    path, label, *_ = train.split(",")
    shutil.copytree((finished.photos / path).parent, tmp_path / "one" / label, dirs_exist_ok=True)
    before = evaluation.evaluate(finished.folder, str(tmp_path / "one"))
    assert evaluation.evaluate(run, str(tmp_path / "one")).by_part == before.by_part


def test_of_a_model_alone_nothing_is_known_of_its_training(finished: Finished, tmp_path: Path) -> None:
    shutil.copytree(finished.folder / "model", tmp_path / "model")
    alone = evaluation.evaluate(tmp_path / "model", str(finished.photos))
    assert (alone.by_part, alone.seen, alone.unseen) == (None, None, None)
    assert evaluation.render(alone).startswith("accuracy ")
    within = evaluation.evaluate(finished.folder / "model", str(finished.photos))
    assert within == evaluation.evaluate(finished.folder, str(finished.photos))
    assert within.accuracy == alone.accuracy


def test_what_is_left_out_is_counted_and_told(finished: Finished, others: Callable[..., Path]) -> None:
    folder, heard = others(red=3), Heard()
    (folder / "red" / "cut.jpg").write_bytes((folder / "red" / "new_00.jpg").read_bytes()[:-200])
    (folder / "red" / "empty.jpg").write_bytes(b"")
    shutil.copy(folder / "red" / "new_00.jpg", folder / "loose.jpg")
    (folder / "red" / "notes.txt").write_text("not a photo")
    got = evaluation.evaluate(finished.folder, str(folder), heard)
    assert (got.n_images, got.n_unreadable, got.n_unlabelled, got.n_ignored) == (3, 2, 1, 2)
    assert [one.path for one in got.unreadable] == ["red/cut.jpg", "red/empty.jpg"]
    reasons = [one.reason.removesuffix(".") for one in got.unreadable]
    assert heard.remarks == [
        "Read as: 1 class folder.",
        f"Left out, for they cannot be read: red/cut.jpg ({reasons[0]}), red/empty.jpg ({reasons[1]}).",
    ]
    assert "\nleft out: 2 unreadable, 1 without a label, 1 other files\n" in evaluation.render(got)


def test_nothing_that_can_be_read(finished: Finished, others: Callable[..., Path]) -> None:
    folder = others(red=1)
    (folder / "red" / "new_00.jpg").write_bytes(b"")
    assert text_of(DataError, lambda: evaluation.evaluate(finished.folder, str(folder))) == (
        f"No photo of '{folder}' can be read, of 1; the first, red/new_00.jpg: The file is empty.\n"
        "Name other photos; `headstart check` tells what is amiss with these."
    )


def test_classes_that_the_model_does_not_know(finished: Finished, others: Callable[..., Path]) -> None:
    folder = str(others(red=2, crimson=2, **{"dark red": 2}))
    assert text_of(DataError, lambda: evaluation.evaluate(finished.folder, folder)) == (
        "The model knows no class 'crimson' or 'dark red': its classes are blue, green, red.\n"
        "Rename the folders or labels to the model's names for them, or leave these photos out: "
        "--exclude 'crimson,dark red'"
    )
    got = evaluation.evaluate(finished.folder, folder, exclude=("crimson", "dark red"))
    assert [one.n_images for one in got.per_class] == [0, 0, 2]


def test_none_of_the_classes_are_the_models(finished: Finished, others: Callable[..., Path]) -> None:
    folder = str(others(**{f"kind {number}": 1 for number in range(23)}))
    shown = ", ".join(f"'kind {number}'" for number in range(20))
    assert text_of(DataError, lambda: evaluation.evaluate(finished.folder, folder)) == (
        f"The model knows no class {shown} and 3 more: its classes are blue, green, red.\n"
        "Name photos whose folders or labels are called as the model's classes are."
    )


def test_copies_widen_the_interval(finished: Finished, others: Callable[..., Path]) -> None:
    folder = others(red=8, green=8, blue=8)
    alone = evaluation.evaluate(finished.folder, str(folder))
    for file in list(folder.rglob("*.jpg")):
        for number in range(3):
            shutil.copy(file, file.with_name(f"{file.stem}_{number}.jpg"))
    copied = evaluation.evaluate(finished.folder, str(folder))
    assert (copied.n_images, copied.accuracy) == (96, alone.accuracy)
    width = copied.accuracy_interval.high - copied.accuracy_interval.low
    of_strangers = wilson(round(96 * copied.accuracy), 96)
    assert width > 1.4 * (of_strangers.high - of_strangers.low)


MADE = Appraisal(
    n_images=2500,
    accuracy=0.97,
    balanced_accuracy=0.965,
    macro_f1=0.964,
    log_loss=0.113,
    per_class=(PerClass("cat", 0.98, 0.97, 0.975, 2000), PerClass("猫", 0.95, 0.96, 0.955, 500)),
    confusion=((1940, 60), (20, 480)),
    schema_version=1,
    accuracy_interval=Interval(0.9625, 0.9761, 0.95),
    commonest="cat",
    baseline=0.8,
    absent=(),
    by_part={
        "train": Share(1500, 1497, 0.998, Interval(0.9941, 0.9993, 0.95)),
        "validation": Share(250, 245, 0.98, Interval(0.954, 0.9914, 0.95)),
        "new": Share(750, 678, 0.904, Interval(0.8808, 0.9231, 0.95)),
    },
    seen=Share(1750, 1742, 0.9954, Interval(0.991, 0.9977, 0.95)),
    unseen=Share(750, 678, 0.904, Interval(0.8808, 0.9231, 0.95)),
    n_refused=113,
    selection=Selection(2500, 2100, 12, 0.84, 12 / 2100, Interval(0.003, 0.01, 0.95)),
    n_unreadable=1,
    unreadable=(SetAside("cat/a.jpg", "It is empty."),),
    n_unlabelled=0,
    n_ignored=0,
)


def test_all_there_is_to_say() -> None:
    assert (
        evaluation.render(MADE)
        == """\
1,750 of these 2,500 photos were trained on or chosen by: the model is right on
99.5% of them, and on 90.4% of the 750 others (95% interval 88.1% to 92.3%),
which alone say how right it is on new ones.

accuracy 97.0% (95% interval 96.2% to 97.6%), balanced accuracy 96.5%, macro F1
0.964, log loss 0.113
on 2,500 photos; always saying cat would be right on 80.0%
none of these: 113 photos (4.5%); sure: 2,100 photos (84.0%), 12 of them wrong
left out: 1 unreadable

part of the run  photos  accuracy    interval
─────────────────────────────────────────────
train             1,500     99.8%  99.4–99.9%
validation          250     98.0%  95.4–99.1%
new                 750     90.4%  88.1–92.3%

class  photos  precision  recall     F1
───────────────────────────────────────
cat     2,000      0.980   0.970  0.975
猫        500      0.950   0.960  0.955
"""
    )


def test_of_new_photos_alone_there_is_nothing_to_tell_apart() -> None:
    assert MADE.by_part
    new = replace(MADE, by_part={"new": MADE.by_part["new"]}, seen=None, n_refused=None, selection=None)
    new = replace(new, absent=("dog",), per_class=(*MADE.per_class, PerClass("dog", 0.0, 0.0, 0.0, 0)))
    assert (
        evaluation.render(replace(new, n_unreadable=0))
        == """\
accuracy 97.0% (95% interval 96.2% to 97.6%), balanced accuracy 96.5% over 2 of
3 classes, macro F1 0.964, log loss 0.113
on 2,500 photos; always saying cat would be right on 80.0%
no photo here: dog

class  photos  precision  recall     F1
───────────────────────────────────────
cat     2,000      0.980   0.970  0.975
猫        500      0.950   0.960  0.955
dog         0
"""
    )


def test_what_it_refuses_and_what_it_is_sure_of_is_by_the_thresholds_of_the_model(
    finished: Finished, others: Callable[..., Path], tmp_path: Path
) -> None:
    run = shutil.copytree(finished.folder, tmp_path / "run")
    record = headstart.load(run).record
    promised = calibration.Abstention(0.6, 0.1, 0.95, Selection(9, 9, 0, 1.0, 0.0, None))
    folder = others(red=6, blue=6)
    scores = [one.novelty for one in headstart.load(run).predict(sorted(folder.rglob("*.jpg")))]
    refusal = calibration.Refusal(float(np.median(np.array(scores, float))), 0.05, 99)
    thresholds = replace(record.calibration, abstention=promised, refusal=refusal)
    records.write_json(run / "model" / "classifier.json", replace(record, calibration=thresholds))
    got = evaluation.evaluate(run, str(folder))
    predictions = headstart.load(run).predict(sorted(folder.rglob("*.jpg")))
    assert got.selection is not None
    assert got.selection.n_accepted == sum(one.is_sure is True for one in predictions)
    assert got.n_refused == sum(one.is_novel is True for one in predictions) == 6
