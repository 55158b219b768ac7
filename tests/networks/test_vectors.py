"""Vectors come out alike from memory and from a file, by rows, in blocks and beside or below others."""

import errno
import os
from pathlib import Path

import numpy as np
import pytest

from headstart.base.errors import DiskFull
from headstart.networks import vectors
from headstart.networks.vectors import Filed, Halves, Vectors, halved, room


def made(count: int, size: int, seed: int = 0) -> Halves:
    return np.random.default_rng(seed).standard_normal((count, size)).astype(np.float16)


def filed(rows: Halves, folder: Path) -> Filed:
    """Write rows one by one and in blocks, in any order."""
    found = Filed.create(folder / "rows", (rows.shape[0], rows.shape[1]))
    half = len(rows) // 2
    found[slice(half, len(rows))] = rows[half:]
    for number in range(half):
        found[number] = rows[number]
    return found


@pytest.mark.parametrize("count", [0, 1, 7, 100])
def test_a_file_gives_what_an_array_gives(count: int, tmp_path: Path) -> None:
    rows = made(count, 5)
    kept, random = filed(rows, tmp_path), np.random.default_rng(1)
    assert kept.shape == (count, 5)
    for asked in (slice(None), slice(3, 60), slice(50, None, 7), slice(None, None, -1)):
        assert np.array_equal(kept[asked], rows[asked]), asked
    for n in (0, 1, 50):
        chosen = random.integers(0, max(count, 1), n if count else 0)
        assert np.array_equal(kept[chosen], rows[chosen])


def test_views_of_vectors_are_those_of_arrays(tmp_path: Path) -> None:
    one, other, below = made(60, 5), made(60, 3, 1), made(40, 5, 2)
    both = Vectors((filed(one, tmp_path), other))
    whole = np.concatenate([one, other], axis=1).astype(np.float32)
    rows = np.random.default_rng(3).permutation(60)[:31]
    assert np.array_equal(both[:], whole)
    assert both[:].dtype == np.float32
    assert np.array_equal(both.take(rows), whole[rows])
    assert np.array_equal(np.concatenate([block for _, block in both.blocks(7)]), whole)
    assert np.array_equal(both.last(2)[rows], whole[rows, -2:])
    assert np.array_equal(both.of(rows)[3:9], whole[rows][3:9])
    stacked = Vectors((filed(one, tmp_path),)).above(Vectors((below,)))
    alone = np.concatenate([one, below]).astype(np.float32)
    rows = np.random.default_rng(4).permutation(100)
    assert stacked.shape == (100, 5)
    assert np.array_equal(stacked[rows], alone[rows])
    assert np.array_equal(stacked.of(rows).last(2)[50:], alone[rows][50:, -2:])


def test_only_many_vectors_lie_in_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vectors, "IN_MEMORY_BYTES", 100)
    assert isinstance(room((10, 5), tmp_path / "rows"), np.ndarray)
    assert isinstance(room((11, 5), tmp_path / "rows"), Filed)
    assert isinstance(room((11, 5), None), np.ndarray)


def test_what_is_kept_is_the_nearest_half_and_finite() -> None:
    values = np.array([1 / 3, 2049.0, 1e6, -np.inf, 0.0], np.float32)
    assert halved(values).tolist() == [0.333251953125, 2048.0, 65504.0, -65504.0, 0.0]


def test_a_file_that_was_cut_short_is_told(tmp_path: Path) -> None:
    kept = filed(made(10, 5), tmp_path)
    os.truncate(kept.path, 42)
    with pytest.raises(OSError, match="shorter than it was") as caught:
        kept[:]
    assert caught.value.errno == errno.EIO


def test_a_full_disk_is_named(small_disk: "pytest.FixtureRequest") -> None:
    folder = small_disk(8)  # type: ignore[operator]
    kept = Filed.create(folder / "rows", (1000, 50))
    with pytest.raises(DiskFull, match="No space is left on the disk that holds"):
        kept[slice(0, 1000)] = made(1000, 50)
