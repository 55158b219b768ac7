"""Engines answer like Keras or are not used, and graphs are prepared once."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import made_photos

from headstart import backbones, engine
from headstart.engine import EngineMismatch, KerasEngine, OpenVINOEngine
from headstart.progress import Progress


class Remarks(Progress):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def remark(self, text: str) -> None:
        self.lines.append(text)


@pytest.fixture
def pictures() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (40, 32, 32, 3), dtype=np.uint8)


@pytest.mark.parametrize(("kind", "expected_type"), [("openvino", OpenVINOEngine), ("keras", KerasEngine)])
def test_an_engine_gives_keras_features(kind: str, expected_type: type, pictures: np.ndarray) -> None:
    model = backbones.build("tiny")
    found = engine.prepare(model, made_photos(32), kind, Progress())
    assert isinstance(found, expected_type)
    expected = model.predict_on_batch(pictures.astype(np.float32))
    assert (found.image_size_px, found.output_shape) == (32, (8,))
    received = found(pictures)
    assert received.dtype == np.float32
    assert np.abs(received - expected).max() <= 1e-5 * np.abs(expected).max()
    assert np.abs(found.answer(pictures[3]) - expected[3]).max() <= 1e-5 * np.abs(expected).max()
    assert found.latency_ms(runs=3) > 0


@pytest.mark.parametrize("kind", ["openvino", "keras"])
def test_a_stream_keeps_the_order_and_asks_for_pictures_as_it_goes(kind: str, pictures: np.ndarray) -> None:
    found = engine.prepare(backbones.build("tiny"), made_photos(32), kind, Progress())
    asked: list[int] = []

    def feed() -> Any:
        for number, picture in enumerate(pictures):
            asked.append(number)
            yield picture

    stream = found.stream(feed())
    first = next(stream)
    assert len(asked) < 40
    rest = np.stack([first, *stream])
    alone = np.stack([found.answer(picture) for picture in pictures])
    assert np.abs(rest - alone).max() <= 1e-5 * np.abs(alone).max()


def test_a_graph_that_answers_otherwise_is_refused_and_keras_used(
    pictures: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = backbones.build("tiny")
    converted = engine.convert(model)
    layer = model.get_layer("block_3_conv")
    layer.set_weights([weight * 1.01 for weight in layer.get_weights()])
    with pytest.raises(EngineMismatch, match="OpenVINO and Keras differ, relative error 0"):
        engine.check_parity(model, OpenVINOEngine(converted), made_photos(32))
    monkeypatch.setattr(engine, "convert", lambda _: converted)
    said = Remarks()
    used = engine.prepare(model, made_photos(32), "openvino", said)
    assert isinstance(used, KerasEngine)
    assert len(said.lines) == 1
    assert said.lines[0].startswith("tiny: OpenVINO and Keras differ, relative error")
    assert said.lines[0].endswith("Keras is used for it instead, which is several times slower.")
    expected = model.predict_on_batch(pictures.astype(np.float32))
    assert np.abs(used(pictures) - expected).max() <= 1e-5 * np.abs(expected).max()


def test_a_graph_is_converted_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pictures: np.ndarray
) -> None:
    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path))
    row, said = backbones.find("tiny"), Remarks()
    first = engine.open_backbone(row, made_photos(32), progress=said)(pictures)
    assert said.lines == ["Preparing tiny for this processor, once."]
    monkeypatch.setattr(backbones, "build", None)
    second = engine.open_backbone(row, made_photos(32), progress=said)(pictures)
    assert len(said.lines) == 1
    assert np.array_equal(first, second)
    assert [path.suffix for path in sorted((tmp_path / "graphs").iterdir())] == [".bin", ".xml"]


def test_another_size_is_another_graph(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path))
    row = backbones.find("tiny")
    sizes = [engine.open_backbone(row, made_photos(size)).image_size_px for size in (32, 48)]
    assert sizes == [32, 48]


def test_other_weights_another_size_or_kind_are_another_key() -> None:
    tiny, v2 = backbones.find("tiny"), backbones.find("mobilenet_v2")
    keys = [
        engine.backbone_key(row, size_px, kind, None)
        for row, size_px, kind in [
            (tiny, 32, "openvino"),
            (tiny, 48, "openvino"),
            (tiny, 32, "keras"),
            (v2, 32, "openvino"),
        ]
    ]
    assert len(set(keys)) == 4
    assert keys[0] == engine.backbone_key(tiny, 32, "openvino", None)


def test_without_a_gpu_openvino_is_chosen() -> None:
    if any(Path(device).exists() for device in ("/dev/nvidiactl", "/dev/dxg")):
        pytest.skip("this machine has a GPU")
    assert engine.choose("auto") == "openvino"
