import hashlib

import numpy as np
import pytest

from headstart.photos import checks
from headstart.photos.checks import Check, Checks


def made(number: int) -> Check:
    random = np.random.default_rng(number)
    return Check(
        digest=hashlib.sha256(bytes([number])).hexdigest(),
        format=("JPEG", "PNG")[number % 2],
        size_px=(100 + number, 200),
        n_bytes=2**33 + number,
        colour=(number, 2.0, 3.25),
        border=(1.0, number, 3.0, 4.0),
        middle=(1.0, 2.0, number, 4.0),
        thumbnail=random.bytes(1024),
        ground=random.bytes(128),
    )


@pytest.mark.parametrize("room", [0, checks.IN_MEMORY_BYTES])
def test_columns_hold_what_was_found_of_each(monkeypatch: pytest.MonkeyPatch, room: int) -> None:
    """In memory and in a file."""
    monkeypatch.setattr(checks, "IN_MEMORY_BYTES", room)
    unread = Check("", reason="The file is empty.")
    given = [made(0), unread, made(2), made(3)]
    found = Checks(4)
    found.add(given[:3])
    found.add(given[3:])
    assert found.refused == {1: unread} and found.readable() == [0, 2, 3]
    assert found.digests == [one.digest for one in given]
    chosen = np.array([3, 0])
    late, early = given[3], given[0]
    assert found.sizes_px(chosen).tolist() == [[103, 200], [100, 200]]
    pictures, traits = found.pictures(chosen), found.traits(chosen)
    assert len(pictures) == 2
    assert pictures.thumbnails[slice(0, 2)].tobytes() == late.thumbnail + early.thumbnail
    assert pictures.thumbnails[np.array([1])].tobytes() == early.thumbnail
    assert np.packbits(pictures.grounds[np.array([1, 0])]).tobytes() == early.ground + late.ground
    assert pictures.colours.tolist() == [[3, 2, 3.25], [0, 2, 3.25]]
    assert traits.formats == ["PNG", "JPEG"] and traits.n_bytes.tolist() == [2**33 + 3, 2**33]
    assert traits.borders.tolist() == [[1, 3, 3, 4], [1, 0, 3, 4]]
    assert traits.middles.tolist() == [[1, 2, 3, 4], [1, 2, 0, 4]]
