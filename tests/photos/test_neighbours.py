"""Pairs are those of a plain comparison of all with all, whichever way they are found."""

from collections.abc import Callable

import numpy as np
import pytest

from headstart.photos import neighbours
from headstart.photos.groups import Pairs
from headstart.photos.neighbours import NEIGHBOURS, Hashes, near_hashes, near_vectors

N = 900


def flipped(hashes: Hashes, most: int, random: np.random.Generator) -> Hashes:
    """Hashes, in each of which up to so many bits are others."""
    places = random.integers(0, 64, (len(hashes), most)).astype(np.uint64)
    return np.asarray(hashes ^ np.bitwise_or.reduce(np.uint64(1) << places, axis=1))


def spread() -> tuple[Hashes, Hashes]:
    """Some are near others, by as many bits as may differ, more and fewer."""
    random = np.random.default_rng(0)
    keys = random.integers(0, 2**64, N, np.uint64)
    keys[600:] = flipped(keys[:300], 14, random)
    return keys, keys


def clustered() -> tuple[Hashes, Hashes]:
    """A few kinds of pictures, and hashes of others than the keys."""
    random = np.random.default_rng(1)
    kinds = random.integers(0, 2**64, 90, np.uint64)
    return tuple(flipped(kinds[random.integers(0, 90, N)], 6, random) for _ in range(2))  # type: ignore


def on_the_edge() -> tuple[Hashes, Hashes]:
    """Each differs in exactly 10 bits, evenly spread over all bands or all in one, or in 11."""
    random = np.random.default_rng(2)
    keys = random.integers(0, 2**64, N, np.uint64)
    for place in range(0, N, 3):
        spacing = random.integers(1, 7)
        chosen = (random.integers(0, 64) + spacing * np.arange(10 + place % 2)) % 64
        keys[place + 2] = keys[place] ^ np.bitwise_or.reduce(np.uint64(1) << chosen.astype(np.uint64))
    return keys, keys


def crowded() -> tuple[Hashes, Hashes]:
    """More are alike than are paired."""
    keys = np.zeros(400, np.uint64)
    keys[::2] = 1
    keys[::5] = 2**33
    return keys, keys


def compared_one_by_one(keys: Hashes, others: Hashes, most: int) -> list[list[int]]:
    found = []
    for late, key in enumerate(keys):
        bits = np.bitwise_count(key ^ others[:late]).tolist()
        near = sorted((one, early) for early, one in enumerate(bits) if one <= most)
        found += sorted([late, early] for _, early in near[:NEIGHBOURS])
    return found


@pytest.mark.parametrize("count", [0, *neighbours.BANDS])
@pytest.mark.parametrize("made", [spread, clustered, on_the_edge, crowded])
@pytest.mark.parametrize("most", [3, 10])
def test_hashes_near_one_another_are_those_that_comparing_one_by_one_finds(
    count: int, made: Callable[[], tuple[Hashes, Hashes]], most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With bands of any number, and without."""
    if count:
        monkeypatch.setattr(neighbours, "FEW", 0)
        monkeypatch.setattr(neighbours, "BANDS", (count,))
        monkeypatch.setattr(neighbours, "VISIT", -(10**9))  # an index is always worth it
    monkeypatch.setattr(neighbours, "TILE", 5000)
    keys, others = made()
    told = list[int]()
    found = near_hashes(keys, others, most, lambda count=1: told.append(count))
    assert found.tolist() == compared_one_by_one(keys, others, most)
    assert len(found) or most == 3
    assert sum(told) == len(keys) and min(told) >= 0


def test_many_hashes_are_found_by_an_index(monkeypatch: pytest.MonkeyPatch) -> None:
    """And all are compared where an index would compare no fewer."""
    met = list[int]()
    plain = neighbours._meetings

    def counted(*of: object) -> object:
        for rows, columns in plain(*of):  # type: ignore[arg-type]
            met.append(len(rows) * len(columns))
            yield rows, columns

    monkeypatch.setattr(neighbours, "_meetings", counted)
    random, n = np.random.default_rng(0), neighbours.FEW
    keys = random.integers(0, 2**64, n, np.uint64)
    near_hashes(keys, keys, 10)
    assert sum(met) < n**2 / 10
    # Of fewer, as if an index took no time but for what it compares.
    n, keys = 4000, keys[:4000]
    monkeypatch.setattr(neighbours, "FEW", n)
    monkeypatch.setattr(neighbours, "VISIT", 0)
    met.clear()
    near_hashes(keys, keys, 10)
    assert sum(met) < n**2 / 10
    met.clear()
    near_hashes(keys & np.uint64(3), keys & np.uint64(3), 1)
    assert n**2 / 2 <= sum(met) < n**2


def test_vectors_near_one_another_are_those_that_one_product_finds() -> None:
    random = np.random.default_rng(0)
    rows = random.normal(size=(N, 16)).astype(np.float32)
    rows[500:] = rows[:400] + 0.3 * random.normal(size=(400, 16))
    rows[700:760] = rows[450]
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    cosine = unit.astype(np.float64) @ unit.T
    found = near_vectors(unit, 0.8)
    distances = [cosine[late, early] for late, early in found]
    assert distances == sorted(distances, reverse=True) or np.all(np.diff(distances) < 1e-6)
    expected = {(late, early) for late, early in np.argwhere(cosine >= 0.8).tolist() if early < late}
    of_crowd = {pair for pair in expected if {*pair} & {*range(700, 760)}}
    assert {*map(tuple, found.tolist())} - of_crowd == expected - of_crowd
    assert counts_of(found, range(700, 760)) == [min(1 + place, NEIGHBOURS) for place in range(60)]


def counts_of(pairs: Pairs, chosen: range) -> list[int]:
    """How many pairs each of some photos has with earlier ones."""
    counts = np.bincount(pairs[:, 0], minlength=chosen.stop)
    return [int(counts[place]) for place in chosen]
