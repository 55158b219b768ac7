"""A checkpoint is found by what it was made from, and whole or not at all."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from headstart.base.arrays import Array
from headstart.storage.checkpoint import Checkpoints

ARRAYS: dict[str, Array] = {
    "weights": np.array([[0.5, 1.5]], np.float32),
    "losses": np.array([0.7]),
    "step": np.array(3),
}


@pytest.fixture
def checkpoints(tmp_path: Path) -> Checkpoints:
    return Checkpoints(tmp_path / "kept", "").made_from("photos", 7)


def listed(arrays: dict[str, Array]) -> dict[str, tuple[Any, str]]:
    return {name: (values.tolist(), str(values.dtype)) for name, values in arrays.items()}


def test_what_is_saved_is_found_as_it_was(checkpoints: Checkpoints) -> None:
    assert checkpoints.load("fold 1/5") == {}
    checkpoints.save("fold 1/5", ARRAYS)
    assert listed(checkpoints.load("fold 1/5")) == listed(ARRAYS)
    assert [path.name for path in checkpoints.folder.iterdir()] == ["fold 1 of 5.npz"]


def test_the_last_to_be_saved_counts(checkpoints: Checkpoints) -> None:
    checkpoints.save("passes", ARRAYS)
    checkpoints.save("passes", {"losses": np.array([0.7, 0.6])})
    assert listed(checkpoints.load("passes")) == {"losses": ([0.7, 0.6], "float64")}


@pytest.mark.parametrize("decisive", [("photos", 8), ("other photos", 7), ("photos",), ("photos", 7, "more")])
def test_of_another_origin_it_is_not_found(decisive: tuple[object, ...], checkpoints: Checkpoints) -> None:
    checkpoints.save("passes", ARRAYS)
    assert Checkpoints(checkpoints.folder, "").made_from(*decisive).load("passes") == {}
    assert Checkpoints(checkpoints.folder, "").made_from("photos", 7).load("passes")


def test_flipped_bytes_are_not_found(checkpoints: Checkpoints) -> None:
    """Wherever they are: in numbers, in their headers or in the table of contents."""
    checkpoints.save("passes", ARRAYS)
    path, seen = checkpoints.folder / "passes.npz", set[bool]()
    whole = path.read_bytes()
    for place in range(0, len(whole), 3):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        found = checkpoints.load("passes")
        assert listed(found) in ({}, listed(ARRAYS)), place  # some fields, such as the date, nobody reads
        seen.add(bool(found))
    assert seen == {True, False}


def test_nor_is_one_that_was_cut_short(checkpoints: Checkpoints) -> None:
    checkpoints.save("passes", ARRAYS)
    path = checkpoints.folder / "passes.npz"
    for length in (0, 1, 100, path.stat().st_size - 1):
        path.write_bytes(path.read_bytes()[:length])
        assert checkpoints.load("passes") == {}


def test_interrupted_while_it_is_written_the_one_before_stays(
    checkpoints: Checkpoints, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoints.save("passes", ARRAYS)

    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(np, "savez", interrupt)
        with pytest.raises(KeyboardInterrupt):
            checkpoints.save("passes", {"losses": np.array([0.0])})
    assert listed(checkpoints.load("passes")) == listed(ARRAYS)
    assert [path.name for path in checkpoints.folder.iterdir()] == ["passes.npz"]
