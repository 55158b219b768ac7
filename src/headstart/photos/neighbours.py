"""Which of many photos are near one another: by hashes that differ in few bits, or by vectors."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from headstart.base.arrays import Floats, Rows
from headstart.base.progress import Advance, silent
from headstart.photos.groups import Pairs

NEIGHBOURS = 32
"""Earlier photos that one is paired with at most, the nearest: a crowd is linked through one another."""

TILE = 2**18
"""Comparisons at once: 2 MB of hashes stay in a processor's cache; 3 times as many take twice as long."""

BLOCK = 512
"""Vectors that are multiplied with as many at once."""

HASH_BITS = 64

FEW = 2**15
"""Of fewer hashes all pairs are compared in the third of a second that an index would take."""

BANDS = (4, 5, 6, 7)
"""Into so many parts the bits may be divided: of 16 bits down to 9."""

VISIT = 2**16
"""Comparisons of hashes that take as long as to gather one bucket's and its neighbours': 36 µs."""

Hashes = NDArray[np.uint64]


def near_hashes(keys: Hashes, others: Hashes, most: int, advance: Advance = silent) -> Pairs:
    """Return the pairs of a key and an earlier one of the others that differ in at most `most` bits.

    Each is found, but those beyond the nearest `NEIGHBOURS` of a key, where of equally near ones the earliest
    count. Of many hashes few need be compared: where the bits are divided into bands, those that differ in
    few of all bits differ in hardly any of some band (Norouzi, Punjani and Fleet, Fast search in Hamming
    space with multi-index hashing, 2012, https://doi.org/10.1109/CVPR.2012.6248043). Where too many are alike
    for that to pay, all are compared.

    Args:
        keys: N of them.
        others: N of them, of the same photos.
        most: Below 64.
        advance: Told of N photos in all.

    Returns:
        In the order of the keys, then of the others.

    Example:
        >>> keys = np.array([0, 2**11 - 1, 1], np.uint64)
        >>> near_hashes(keys, keys, 10).tolist()
        [[2, 0], [2, 1]]
    """
    bands = _bands(keys, others, most)
    found, n_met = [(np.empty((0, 2), np.int64), np.empty(0, np.uint8))], 0
    for rows, columns in _meetings(keys, others, bands):
        found.append(_near(np.bitwise_count(keys[rows, None] ^ others[columns]), most, rows, columns))
        advance((n_met + len(rows)) // max(1, len(bands)) - n_met // max(1, len(bands)))
        n_met += len(rows)
    pairs, bits = (np.concatenate(parts) for parts in zip(*found, strict=True))
    nearest = _nearest(pairs, bits)
    return pairs[nearest[np.lexsort(pairs[nearest].T[::-1])]]


def near_vectors(unit: Floats, least: float) -> Pairs:
    """Return the pairs of N vectors of length 1 whose cosine is at least so much, closest first.

    Of a vector's pairs with earlier ones the nearest `NEIGHBOURS` count.
    """
    found = [(np.empty((0, 2), np.int64), np.empty(0, np.float32))]
    for rows in _blocks(len(unit)):
        own = [
            _near(-(unit[rows] @ unit[columns].T), -least, _places(rows), _places(columns))
            for columns in _blocks(rows.stop)
        ]
        pairs, distances = (np.concatenate(parts) for parts in zip(*own, strict=True))
        nearest = _nearest(pairs, distances)
        found.append((pairs[nearest], distances[nearest]))
    pairs, distances = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return pairs[np.lexsort((*pairs.T[::-1], distances))]


def _near(distances: NDArray[Any], most: float, rows: Rows, columns: Rows) -> tuple[Pairs, NDArray[Any]]:
    """Return the pairs of a row and an earlier column that are near, the nearest of each row, and how far."""
    # Where there are few pairs this is three times as fast as to look for them row by row.
    late, early = np.divmod(np.flatnonzero(distances <= most), max(1, len(columns)))
    is_earlier = columns[early] < rows[late]
    late, early = late[is_earlier], early[is_earlier]
    if len(late) > NEIGHBOURS:
        counts = np.bincount(late, minlength=len(rows))
        starts = np.cumsum(counts) - counts
        chosen = np.ones(len(late), np.bool_)
        for row in np.flatnonzero(counts > NEIGHBOURS).tolist():
            own = slice(starts[row], starts[row] + counts[row])
            chosen[own] = False
            chosen[starts[row] + _closest(distances[row, early[own]], columns[early[own]])] = True
        late, early = late[chosen], early[chosen]
    return np.stack([rows[late], columns[early]], axis=1), distances[late, early]


def _closest(distances: NDArray[Any], columns: Rows) -> Rows:
    """Return the places of the least distances; of equal ones, of the earliest columns."""
    bound = np.partition(distances, NEIGHBOURS - 1)[NEIGHBOURS - 1]
    closer, tied = np.flatnonzero(distances < bound), np.flatnonzero(distances == bound)
    tied = tied[np.argsort(columns[tied], kind="stable")]
    return np.concatenate([closer, tied[: NEIGHBOURS - len(closer)]])


def _nearest(pairs: Pairs, distances: NDArray[Any]) -> Rows:
    """Return which pairs are the nearest of each later photo; one that stands there twice is taken once."""
    late, early = pairs.T
    order = np.lexsort((early, distances, late))
    is_new = np.ones(len(order), np.bool_)
    is_new[1:] = np.any(pairs[order[1:]] != pairs[order[:-1]], axis=1)
    order = order[is_new]
    places = np.arange(len(order))
    first = np.searchsorted(late[order], late[order])
    return np.asarray(order[places - first < NEIGHBOURS])


@dataclass(frozen=True)
class Band:
    """Some of the bits of a hash, evenly spread, since bits that are next to one another go together.

    Attributes:
        places: Of its bits.
        flips: In at most so many of them two hashes may differ that are to meet.
    """

    places: range
    flips: int

    @property
    def n_buckets(self) -> int:
        """How many values these bits have."""
        return 1 << len(self.places)

    @property
    def masks(self) -> Rows:
        """The values of these bits, as few of which are set as may differ."""
        values = np.arange(self.n_buckets)
        return np.asarray(values[np.bitwise_count(values) <= self.flips])

    def of(self, hashes: Hashes) -> Rows:
        """Return the value of these bits of each hash."""
        values = np.zeros(len(hashes), np.int64)
        for number, place in enumerate(self.places):
            values |= ((hashes >> np.uint64(place)) & np.uint64(1)).astype(np.int64) << number
        return values

    def cost(self, keys: Hashes, others: Hashes) -> int:
        """Return how many comparisons it takes, or what takes as long."""
        n_keys, n_others = (np.bincount(self.of(one), minlength=self.n_buckets) for one in (keys, others))
        values = np.arange(self.n_buckets)
        n_met = sum(n_others[values ^ mask] for mask in self.masks)
        return int(n_keys @ n_met) + VISIT * int(np.count_nonzero(n_keys))


@dataclass(frozen=True, eq=False)
class Buckets:
    """Photos by a value of each.

    Attributes:
        photos: Their places, those of equal value together.
        starts: Of each value, and of one more, where its photos begin.
    """

    photos: Rows
    starts: Rows

    @classmethod
    def of(cls, values: Rows, n_buckets: int) -> Self:
        """Lay photos out by their values, below `n_buckets`."""
        counts = np.bincount(values, minlength=n_buckets)
        return cls(np.argsort(values, kind="stable"), np.concatenate([[0], np.cumsum(counts)]))

    def __getitem__(self, values: Rows) -> Rows:
        """Return the photos of some values."""
        starts = self.starts[values]
        lengths = self.starts[values + 1] - starts
        ends = np.cumsum(lengths)
        return np.asarray(self.photos[np.arange(ends[-1]) + np.repeat(starts - ends + lengths, lengths)])

    def filled(self) -> Rows:
        """Return the values that photos have."""
        return np.flatnonzero(np.diff(self.starts))


def _bands(keys: Hashes, others: Hashes, most: int) -> Sequence[Band]:
    """Return the bands in which the fewest hashes meet, and none where it is no more to compare all.

    Two hashes that differ in more than its flips of every band differ in as many bits as all flips and the
    number of bands together, which is `most` + 1.
    """
    if len(keys) < FEW:
        return ()
    costs: dict[int, tuple[int, Sequence[Band]]] = {0: (len(keys) ** 2 // 2, ())}
    for count in BANDS:
        flips = [(most + 1 - count + later) // count for later in reversed(range(count))]
        places = [range(number, HASH_BITS, count) for number in range(count)]
        bands = [Band(own, most) for own, most in zip(places, flips, strict=True) if most >= 0]
        costs[count] = sum(band.cost(keys, others) for band in bands), bands
    return min(costs.values(), key=lambda one: one[0])[1]


def _meetings(keys: Hashes, others: Hashes, bands: Sequence[Band]) -> Iterator[tuple[Rows, Rows]]:
    """Yield keys and others that are compared, each key once in every band."""
    if not bands:
        for whole in _tiles(len(keys), len(keys)):
            yield _places(whole), np.arange(whole.stop)
    for band in bands:
        own, met = (Buckets.of(band.of(one), band.n_buckets) for one in (keys, others))
        for value in own.filled().tolist():
            rows, columns = own[np.array([value])], met[value ^ band.masks]
            for part in _tiles(len(rows), len(columns)):
                yield rows[part], columns


def _tiles(n_rows: int, n_columns: int) -> Iterator[slice]:
    """Yield slices that cover `n_rows`, of as many as are compared with the columns at once."""
    return _slices(n_rows, max(1, TILE // max(1, n_columns)))


def _blocks(count: int) -> Iterator[slice]:
    return _slices(count, BLOCK)


def _slices(count: int, length: int) -> Iterator[slice]:
    return (slice(start, min(start + length, count)) for start in range(0, count, length))


def _places(rows: slice) -> Rows:
    return np.arange(rows.start, rows.stop)
