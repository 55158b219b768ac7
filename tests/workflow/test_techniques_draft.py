"""What an interrupted run keeps of its candidates, and when it is not used."""

import dataclasses
import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import write_photos

import headstart
from headstart.networks.classifier import Classifier
from headstart.photos.splits import Fold, Lesson, Part
from headstart.results.comparison import Results
from headstart.training import augmentation
from headstart.training.finetune import Tuner
from headstart.workflow import experiment
from headstart.workflow.techniques import draft
from headstart.workflow.techniques.trainer import Trainer


def compare(photos: Path, out: Path, **settings: Any) -> Results:
    return headstart.compare(
        photos, backbones=("tiny",), out=str(out), **{"folds": 0, "report": False} | settings
    )


def test_seconds_of_features_are_without_those_of_fine_tuning() -> None:
    seconds = {"prepare": 1.0, "features": 2.0, "probe": 3.0, "finetune": 4.0}
    assert draft.seconds_of("finetune", seconds) == seconds
    assert draft.seconds_of("features", seconds) == {"prepare": 1.0, "features": 2.0, "probe": 3.0}


def interrupt(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def refuse(*_: object, **__: object) -> None:
    raise AssertionError("it was trained again")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Photos, and a run folder whose candidates were trained, and nothing more; not to be changed."""
    folder = tmp_path_factory.mktemp("trained")
    write_photos(folder / "photos")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(experiment, "measure", interrupt)
        with pytest.raises(KeyboardInterrupt):
            compare(folder / "photos", folder / "run", epochs=1)
    return folder / "photos", folder / "run"


@pytest.fixture
def interrupted(trained: tuple[Path, Path], tmp_path: Path) -> Path:
    """A copy of that run folder."""
    return shutil.copytree(trained[1], tmp_path / "run")


def test_an_interrupted_run_goes_on_with_what_it_had_trained(
    trained: tuple[Path, Path], interrupted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Tuner, "train", refuse)
    results = compare(trained[0], interrupted, epochs=1)
    assert {one.technique for one in results.candidates} == {"features", "finetune"}
    assert results.candidate("tiny", "finetune").test
    assert not (interrupted / ".work").exists()


def test_what_it_answered_on_test_photos_is_not_asked_again(
    trained: tuple[Path, Path], interrupted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, ask = list[int](), Classifier.ask

    def counted(self: Classifier, photos: Sequence[Path], *args: Any, **kwargs: Any) -> Any:
        asked.append(len(photos))
        return ask(self, photos, *args, **kwargs)

    monkeypatch.setattr(Classifier, "ask", counted)
    with monkeypatch.context() as patch:
        patch.setattr(experiment, "judge_labels", interrupt)
        with pytest.raises(KeyboardInterrupt):
            compare(trained[0], interrupted, epochs=1)
    test, kept = compare(trained[0], interrupted, epochs=1).dataset.n_test, experiment.CHECKED_AGAIN
    assert asked == [test, kept, kept]


def test_what_augmentation_does_is_not_measured_again(
    trained: tuple[Path, Path], interrupted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (interrupted / ".work" / "tiny-finetune.origin.json").unlink()
    monkeypatch.setattr(augmentation, "check", refuse)
    effects = compare(trained[0], interrupted, epochs=1).candidate("tiny", "finetune").training.effects
    assert [one.operation for one in effects] == [*augmentation.OPERATIONS]


@pytest.fixture
def another_photo(trained: tuple[Path, Path]) -> Iterator[None]:
    path = trained[0] / "red" / "red_99.jpg"
    shutil.copyfile(trained[0] / "red" / "red_00.jpg", path)
    yield
    path.unlink()


def trains_again(photos: Path, run: Path, monkeypatch: pytest.MonkeyPatch) -> bool:
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "train", refuse)
        patch.setattr(experiment, "measure", interrupt)
        with pytest.raises((AssertionError, KeyboardInterrupt)) as caught:
            compare(photos, run, epochs=1)
    return caught.type is AssertionError


def test_on_the_same_photos_an_interrupted_run_trains_nothing_again(
    trained: tuple[Path, Path], interrupted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not trains_again(trained[0], interrupted, monkeypatch)


@pytest.mark.usefixtures("another_photo")
def test_on_other_photos_an_interrupted_run_trains_again(
    trained: tuple[Path, Path], interrupted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert trains_again(trained[0], interrupted, monkeypatch)


@pytest.mark.usefixtures("another_photo")
def test_so_it_does_where_it_was_interrupted_again_behind_the_writing_of_the_split(
    trained: tuple[Path, Path], interrupted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(experiment, "open_trial", interrupt)
        patch.setattr(shutil, "rmtree", interrupt)
        with pytest.raises(KeyboardInterrupt):
            compare(trained[0], interrupted, epochs=1)
    assert "red_99.jpg" in (interrupted / "split.csv").read_text()
    assert trains_again(trained[0], interrupted, monkeypatch)


@pytest.mark.parametrize(
    ("field", "value"),
    [("photos", "0"), ("backbone", "0"), ("seed", 7), ("epochs", 2), ("versions", {"numpy": "1.0"})],
)
def test_a_candidate_of_another_origin_is_trained_again(
    field: str, value: Any, trained: tuple[Path, Path], interrupted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = interrupted / ".work" / "tiny-finetune.origin.json"
    origin = json.loads(path.read_text())
    assert {*origin} == {"photos", "backbone", "seed", "epochs", "versions"}
    path.write_text(json.dumps(origin | {field: value}))
    assert trains_again(trained[0], interrupted, monkeypatch)


@pytest.mark.parametrize(
    "name", ["finetune/graph.bin", "finetune.json", "finetune.npz", "finetune.origin.json"]
)
@pytest.mark.parametrize("is_gone", [False, True])
def test_a_damaged_candidate_is_trained_again(
    name: str, is_gone: bool, trained: tuple[Path, Path], interrupted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = interrupted / ".work" / f"tiny-{name}"
    content = path.read_bytes()
    path.unlink()
    if not is_gone:
        path.write_bytes(content[: len(content) // 2])
    assert trains_again(trained[0], interrupted, monkeypatch)


@pytest.mark.parametrize(
    "change", ["paths", "digests", "labels", "groups", "sample_weights", "folds", "class_names"]
)
def test_whatever_is_learnt_from_is_part_of_the_origin(change: str) -> None:
    zeros, rows = np.zeros(3, np.int32), np.arange(3)
    photos = Part(("a", "b", "c"), (Path("a"),) * 3, ("0",) * 3, zeros, zeros, np.ones(3, np.float32))
    lesson = Lesson(photos, (Fold(rows[:2], rows[2:]),), ("red", "green"))
    equal = dataclasses.replace(lesson, photos=dataclasses.replace(photos, labels=zeros.copy()))
    assert draft.photos_sha256(lesson) == draft.photos_sha256(equal)
    changed = lesson
    if change == "folds":
        changed = dataclasses.replace(lesson, folds=(Fold(rows[1:], rows[:1]),))
    elif change == "class_names":
        changed = dataclasses.replace(lesson, class_names=("red", "blue"))
    else:
        other: Any = getattr(photos, change)
        one = np.eye(3, dtype=np.int32)[2]
        another: Any = (*other[:2], "1") if isinstance(other, tuple) else other + one.astype(other.dtype)
        changed = dataclasses.replace(lesson, photos=dataclasses.replace(photos, **{change: another}))
    assert draft.photos_sha256(lesson) != draft.photos_sha256(changed)
