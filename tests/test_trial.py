"""A backbone on photos: what it is fed, what an interrupted run keeps, and what a second run need not do."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import headstart
from headstart import backbones, engine, experiment, trial
from headstart.comparison import Results
from headstart.finetune import Tuner
from headstart.settings import Settings
from headstart.splits import Part


def compare(photos: Path, out: Path, **settings: Any) -> Results:
    return headstart.compare(photos, backbones=("tiny",), out=str(out), **settings)


def part_of(folder: Path, *sizes: tuple[int, int]) -> Part:
    files = tuple(folder / f"{number}.png" for number in range(len(sizes)))
    for file, size in zip(files, sizes, strict=True):
        Image.new("RGB", size).save(file)
    names = tuple(file.name for file in files)
    alone = np.arange(len(files), dtype=np.int32)
    return Part(names, files, names, alone, np.zeros(len(files), np.int32), np.ones(len(files), np.float32))


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
    found = trial.image_size_px(backbones.find("mobilenet_v2"), part_of(tmp_path, *sizes), settings)
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


def test_on_other_photos_an_interrupted_run_trains_again(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(experiment, "measure", interrupt)
        with pytest.raises(KeyboardInterrupt):
            compare(photos, tmp_path / "run", epochs=1)
    shutil.copyfile(photos / "red" / "red_00.jpg", photos / "red" / "red_99.jpg")
    with monkeypatch.context() as patch:
        patch.setattr(Tuner, "train", refuse)
        with pytest.raises(AssertionError, match="trained again"):
            compare(photos, tmp_path / "run", epochs=1)


def test_a_second_run_on_the_same_photos_computes_no_feature_and_needs_no_tensorflow(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = compare(photos, tmp_path / "one", techniques=("features",))
    asked: list[int] = []
    stream = engine.OpenVINOEngine.stream

    def counted(self: engine.OpenVINOEngine, pictures: Any) -> Any:
        taken = list(pictures)
        asked.append(len(taken))
        return stream(self, taken)

    monkeypatch.setattr(engine.OpenVINOEngine, "stream", counted)
    monkeypatch.setattr(backbones, "build", refuse)
    second = compare(photos, tmp_path / "two", techniques=("features",))
    # The kept model is asked about some test photos again, and nothing else is asked.
    assert asked == [experiment.CHECKED_AGAIN]
    assert second.candidates[0].test == first.candidates[0].test
    assert second.candidates[0].latency_ms == first.candidates[0].latency_ms


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
    assert by_engine[0].best.test
    assert by_engine[1].best.test
    assert by_engine[0].best.test.log_loss == pytest.approx(by_engine[1].best.test.log_loss, abs=1e-4)
    assert (tmp_path / "keras" / "model" / "model.keras").is_file()
    assert headstart.load(tmp_path / "keras").predict(photos / "red" / "red_00.jpg")[0].label == "red"
