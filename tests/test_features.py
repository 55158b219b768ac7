"""Feature vectors depend on their own photo alone."""

from pathlib import Path

import numpy as np
import pytest

from headstart import backbones, engine, features
from headstart.engine import Engine
from headstart.progress import Progress


@pytest.fixture(scope="module")
def tiny() -> Engine:
    row = backbones.find("tiny")
    return Engine(engine.open_backbone(row, 32, weights_dir=None, progress=Progress()))


def extract(engine: Engine, files: list[Path]) -> np.ndarray:
    return features.extract(engine, files, size_px=32, fit="squash", advance=lambda count=1: None)


def test_order_and_batch_neighbours_do_not_change_a_vector(photos: Path, tiny: Engine) -> None:
    files = sorted(photos.rglob("*.jpg"))
    assert len(files) > features.BATCH_SIZE  # so that there are a full batch and a short one
    together = extract(tiny, files)
    assert together.shape == (40, 8)
    assert together.dtype == np.float32
    alone = np.concatenate([extract(tiny, [file]) for file in files])
    backwards = extract(tiny, files[::-1])[::-1]
    assert np.abs(together - alone).max() <= 1e-5
    assert np.abs(together - backwards).max() <= 1e-5
    assert np.ptp(together, axis=0).min() > 0


def test_each_batch_is_told(photos: Path, tiny: Engine) -> None:
    files = sorted(photos.rglob("*.jpg"))
    told: list[int] = []

    def advance(count: int = 1) -> None:
        told.append(count)

    features.extract(tiny, files, size_px=32, fit="squash", advance=advance)
    assert told == [32, 8]
