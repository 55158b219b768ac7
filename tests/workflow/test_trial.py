"""A backbone on photos: what it is fed, what an interrupted run keeps, and what a second run need not do."""

import dataclasses
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import write_photos
from PIL import Image

import headstart
from headstart.base.settings import Settings
from headstart.networks import backbones, engine
from headstart.photos.splits import Part, Turn
from headstart.results.comparison import Results
from headstart.training.finetune import Tuner
from headstart.workflow import experiment, trial
from headstart.workflow.trial import Trial


def compare(photos: Path, out: Path, **settings: Any) -> Results:
    return headstart.compare(
        photos, backbones=("tiny",), out=str(out), **{"folds": 0, "report": False} | settings
    )


def files_of(folder: Path, *sizes: tuple[int, int]) -> list[Path]:
    files = [folder / f"{number}.png" for number in range(len(sizes))]
    for file, size in zip(files, sizes, strict=True):
        Image.new("RGB", size).save(file)
    return files


@pytest.mark.parametrize(
    ("sizes", "asked", "expected"),
    [
        ([(250, 250)] * 3, None, 250),  # squares of one size near 224
        ([(250, 250), (251, 251)], None, 224),
        ([(250, 200)] * 3, None, 224),
        ([(600, 600)] * 3, None, 224),
        ([(168, 168)] * 3, None, 168),
        ([(167, 167)] * 3, None, 224),
        ([(250, 250)] * 3, 300, 300),
    ],
)
def test_the_size_that_a_backbone_is_fed(
    sizes: list[tuple[int, int]], asked: int | None, expected: int, tmp_path: Path
) -> None:
    settings = Settings(data="photos", image_size=asked)
    found = trial.image_size_px(backbones.find("mobilenet_v2"), files_of(tmp_path, *sizes), settings)
    assert found == expected


def test_seconds_of_features_are_without_those_of_fine_tuning() -> None:
    seconds = {"prepare": 1.0, "features": 2.0, "probe": 3.0, "finetune": 4.0}
    assert trial.seconds_of("finetune", seconds) == seconds
    assert trial.seconds_of("features", seconds) == {"prepare": 1.0, "features": 2.0, "probe": 3.0}


def interrupt(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def refuse(*_: object, **__: object) -> None:
    raise AssertionError("it was trained again")


def test_an_interrupted_run_goes_on_with_what_it_had_trained(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(experiment, "measure", interrupt)
        with pytest.raises(KeyboardInterrupt):
            compare(photos, tmp_path / "run", epochs=1)
    with monkeypatch.context() as patch:
        patch.setattr(Tuner, "train", refuse)
        results = compare(photos, tmp_path / "run", epochs=1)
    assert {one.technique for one in results.candidates} == {"features", "finetune"}
    assert results.candidate("tiny", "finetune").test
    assert not (tmp_path / "run" / ".work").exists()


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


@pytest.fixture
def another_photo(trained: tuple[Path, Path]) -> Iterator[None]:
    path = trained[0] / "red" / "red_99.jpg"
    shutil.copyfile(trained[0] / "red" / "red_00.jpg", path)
    yield
    path.unlink()


def trains_again(photos: Path, run: Path, monkeypatch: pytest.MonkeyPatch) -> bool:
    with monkeypatch.context() as patch:
        patch.setattr(Trial, "_finetune", refuse)
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
    "change", ["paths", "digests", "labels", "groups", "sample_weights", "turns", "class_names"]
)
def test_whatever_is_learnt_from_is_part_of_the_origin(change: str) -> None:
    zeros, rows = np.zeros(3, np.int32), np.arange(3)
    photos = Part(("a", "b", "c"), (Path("a"),) * 3, ("0",) * 3, zeros, zeros, np.ones(3, np.float32))
    turns, names = (Turn(rows[:2], rows[2:]),), ("red", "green")
    before = trial.photos_sha256(photos, turns, names)
    assert before == trial.photos_sha256(dataclasses.replace(photos, labels=zeros.copy()), turns, names)
    if change == "turns":
        turns = (Turn(rows[1:], rows[:1]),)
    elif change == "class_names":
        names = ("red", "blue")
    else:
        other: Any = getattr(photos, change)
        one = np.eye(3, dtype=np.int32)[2]
        changed: Any = (*other[:2], "1") if isinstance(other, tuple) else other + one.astype(other.dtype)
        photos = dataclasses.replace(photos, **{change: changed})
    assert before != trial.photos_sha256(photos, turns, names)


def test_a_second_run_on_the_same_photos_computes_no_feature_and_needs_no_tensorflow(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = compare(photos, tmp_path / "one", techniques=("features",))
    asked: list[int] = []
    outputs = engine.OpenVINOEngine.outputs

    def counted(self: engine.OpenVINOEngine, pictures: Any) -> Any:
        taken = list(pictures)
        asked.append(len(taken))
        return outputs(self, taken)

    monkeypatch.setattr(engine.OpenVINOEngine, "outputs", counted)
    monkeypatch.setattr(backbones, "build", refuse)
    second = compare(photos, tmp_path / "two", techniques=("features",))
    # The kept model is asked about some test photos again, and nothing else is asked.
    assert asked == [experiment.CHECKED_AGAIN]
    assert second.candidates[0].test == first.candidates[0].test


def test_a_budget_leaves_out_and_says_so(photos: Path, tmp_path: Path) -> None:
    results = compare(photos, tmp_path / "run", budget="1s")
    assert [one.technique for one in results.candidates] == ["features"]
    assert results.forecast.left_out == ("fine-tuning of tiny",)
    assert results.forecast.budget_seconds == 1
    assert (results.forecast.actual_seconds or 0) > 0


def test_keras_gives_what_openvino_gives(photos: Path, tmp_path: Path) -> None:
    by_engine = [
        compare(photos, tmp_path / kind, engine=kind, techniques=("features",))
        for kind in ("openvino", "keras")
    ]
    assert by_engine[0].chosen.test
    assert by_engine[1].chosen.test
    assert by_engine[0].chosen.test.log_loss == pytest.approx(by_engine[1].chosen.test.log_loss, abs=1e-4)
    assert (tmp_path / "keras" / "model" / "model.keras").is_file()
    assert headstart.load(tmp_path / "keras").predict(photos / "red" / "red_00.jpg")[0].label == "red"


def test_folds_choose_by_every_photo_that_is_not_tested_on(photos: Path, tmp_path: Path) -> None:
    results = compare(photos, tmp_path / "run", folds=None, epochs=1)
    data = results.dataset
    assert (results.n_folds, data.n_train, data.n_validation, data.n_test) == (5, 32, 0, 8)
    for one in results.candidates:
        # Each photo was judged once, by a network that was not trained on it.
        assert one.validation.n_images == 32
        assert one.calibration.n_images == 32
    assert results.learning_curve.n_evaluated == 32
    assert results.learning_curve.points[-1].n_photos == 26
    with (tmp_path / "run" / "split.csv").open() as stream:
        parts = [line.split(",")[2] for line in stream.read().splitlines()[1:]]
    assert sorted(set(parts)) == ["test", "train"]


def test_folds_hand_over_a_network_that_was_trained_on_all(photos: Path, tmp_path: Path) -> None:
    """Fine-tuned at a rate that moves it far: what is kept differs from each fold's, and is no worse."""
    settings = {"folds": 2, "epochs": 1, "techniques": ("finetune",), "learning_rate": 1e-2}
    results = compare(photos, tmp_path / "run", **settings)
    one = results.chosen
    assert one.training.best_epoch == 1
    assert one.validation.n_images == 32
    assert one.test
    assert one.test.accuracy == 1


def test_each_seed_trains_anew_and_the_first_is_handed_over(photos: Path, tmp_path: Path) -> None:
    alone = compare(photos, tmp_path / "alone", epochs=1)
    several = compare(photos, tmp_path / "several", epochs=1, seeds=2)
    tuned = several.candidate("tiny", "finetune")
    assert [one.seed for one in tuned.repeats] == [0, 1]
    assert tuned.test
    assert tuned.repeats[0].test_accuracy == tuned.test.accuracy
    assert tuned.repeats[0].validation_accuracy == tuned.validation.accuracy
    assert tuned.test == alone.candidate("tiny", "finetune").test
    assert alone.candidate("tiny", "finetune").repeats == ()
    # Features are fitted to the one best head, whatever the seed.
    assert several.candidate("tiny", "features").repeats == ()
