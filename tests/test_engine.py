"""The compiled engine answers like Keras, and is prepared once."""

from pathlib import Path

import numpy as np
import pytest

from headstart import backbones, engine
from headstart.engine import Engine, EngineMismatch
from headstart.progress import Progress


class Remarks(Progress):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def remark(self, text: str) -> None:
        self.lines.append(text)


@pytest.fixture
def pictures() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3), dtype=np.uint8)


def test_converted_graph_gives_keras_features(pictures: np.ndarray) -> None:
    model = backbones.build("tiny")
    compiled = Engine(engine.convert(model))
    expected = model.predict_on_batch(pictures.astype(np.float32))
    assert compiled.image_size_px == 32
    assert np.abs(compiled(pictures) - expected).max() <= 1e-5 * np.abs(expected).max()
    assert compiled.latency_ms(runs=3) > 0


def test_a_graph_that_answers_otherwise_is_refused() -> None:
    model = backbones.build("tiny")
    compiled = Engine(engine.convert(model))
    layer = model.get_layer("block_3_conv")
    layer.set_weights([weight * 1.01 for weight in layer.get_weights()])
    with pytest.raises(EngineMismatch, match="OpenVINO and Keras differ"):
        engine.check_parity(model, compiled)


def test_a_graph_is_converted_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pictures: np.ndarray
) -> None:
    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path))
    row, said = backbones.find("tiny"), Remarks()
    first = Engine(engine.open_backbone(row, 32, weights_dir=None, progress=said))(pictures)
    assert said.lines == ["Preparing tiny for this processor, once."]
    monkeypatch.setattr(backbones, "build", None)
    second = Engine(engine.open_backbone(row, 32, weights_dir=None, progress=said))(pictures)
    assert len(said.lines) == 1
    assert np.array_equal(first, second)
    assert [path.suffix for path in sorted((tmp_path / "graphs").iterdir())] == [".bin", ".xml"]


def test_another_size_is_another_graph(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path))
    row = backbones.find("tiny")
    sizes = [
        Engine(engine.open_backbone(row, size, weights_dir=None, progress=Progress())).image_size_px
        for size in (32, 48)
    ]
    assert sizes == [32, 48]
