"""Feature vectors of photos, taken in blocks, so that they need not be in memory all at once."""

import dataclasses
import errno
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from headstart.base.arrays import Floats, Matrix, Rows
from headstart.base.errors import disk_full_named

BLOCK = 1024
"""Rows at a time: 20 MB of 5,000 features."""

IN_MEMORY_BYTES = 32_000_000
"""Above it vectors lie in a file: 3,200 photos of 5,000 features."""

Halves = NDArray[np.float16]
"""Feature vectors as they are kept."""


@dataclass(frozen=True, eq=False)
class Vectors:
    """N feature vectors, those of several backbones side by side where there are several.

    Attributes:
        parts: Of each backbone float16 or float32 (N, D of it).
        widths: How many numbers come of each place of the networks, in order; of none: each backbone is one.

    Example:
        >>> of_one, of_other = np.zeros((3, 2), np.float16), np.ones((3, 4), np.float16)
        >>> both = Vectors((of_one, of_other))
        >>> both.shape, both.take(np.array([2])).tolist()
        ((3, 6), [[0.0, 0.0, 1.0, 1.0, 1.0, 1.0]])
        >>> both.last(2).take(np.array([0, 1])).tolist()
        [[1.0, 1.0], [1.0, 1.0]]
    """

    parts: Sequence[Matrix]
    widths: tuple[int, ...] = ()

    @property
    def shape(self) -> tuple[int, int]:
        """(N, D)."""
        return self.parts[0].shape[0], sum(part.shape[1] for part in self.parts)

    @property
    def places(self) -> list[slice]:
        """The columns of each place, in order."""
        ends = np.cumsum(self.widths or [part.shape[1] for part in self.parts]).tolist()
        return [slice(start, end) for start, end in zip([0, *ends[:-1]], ends, strict=True)]

    def blocks(self, n_rows: int = BLOCK) -> Iterator[tuple[slice, Floats]]:
        """Yield the rows of each block and their vectors, float32 (at most `n_rows`, D), in order."""
        for first in range(0, self.shape[0], n_rows):
            rows = slice(first, min(first + n_rows, self.shape[0]))
            yield rows, self[rows]

    def take(self, rows: Rows) -> Floats:
        """Return the vectors of some rows, float32 (len(rows), D), in their order."""
        return self[rows]

    def __getitem__(self, rows: slice | Rows) -> Floats:
        """Return the vectors of some rows, float32 (M, D)."""
        return np.concatenate([part[rows] for part in self.parts], axis=1, dtype=np.float32)

    def last(self, n: int) -> Self:
        """Return the last n numbers of each vector; of one backbone's features its last layer's mean."""
        return dataclasses.replace(self, parts=(_Columns(self.parts[-1], n),), widths=(n,))

    def of(self, rows: Rows) -> Self:
        """Return the vectors of some photos, which are read as they are asked for."""
        return dataclasses.replace(self, parts=tuple(_Some(part, rows) for part in self.parts))

    def above(self, other: "Vectors") -> Self:
        """Return these vectors and, below them, those of other photos by the same backbones."""
        pairs = zip(self.parts, other.parts, strict=True)
        return dataclasses.replace(self, parts=tuple(_Stack(*pair) for pair in pairs))


@dataclass(frozen=True, eq=False)
class _Columns:
    """The last n columns of a matrix."""

    whole: Matrix
    n: int

    @property
    def shape(self) -> tuple[int, ...]:
        return self.whole.shape[0], self.n

    def __getitem__(self, rows: slice | Rows) -> NDArray[np.floating]:
        return self.whole[rows][:, self.whole.shape[1] - self.n :]


@dataclass(frozen=True, eq=False)
class _Some:
    """Some rows of a matrix."""

    whole: Matrix
    rows: Rows

    @property
    def shape(self) -> tuple[int, ...]:
        return len(self.rows), self.whole.shape[1]

    def __getitem__(self, rows: slice | Rows) -> NDArray[np.floating]:
        return self.whole[self.rows[rows]]


@dataclass(frozen=True, eq=False)
class _Stack:
    """The rows of one matrix above those of another."""

    upper: Matrix
    lower: Matrix

    @property
    def shape(self) -> tuple[int, ...]:
        return self.upper.shape[0] + self.lower.shape[0], self.upper.shape[1]

    def __getitem__(self, rows: slice | Rows) -> NDArray[np.floating]:
        n_upper = self.upper.shape[0]
        wanted = np.arange(self.shape[0])[rows]
        found = np.empty((len(wanted), self.shape[1]), np.float32)
        is_upper = wanted < n_upper
        found[is_upper] = self.upper[wanted[is_upper]]
        found[~is_upper] = self.lower[wanted[~is_upper] - n_upper]
        return found


@dataclass(frozen=True, eq=False)
class Filed:
    """Rows of float16 in a file. They are read as they are asked for: a mapped file would count as memory.

    Attributes:
        path: The file, which is opened for each reading and writing alone.
        shape: (N, D).

    Example:
        >>> import tempfile
        >>> folder = tempfile.TemporaryDirectory()
        >>> rows = Filed.create(Path(folder.name) / "rows", (3, 2))
        >>> rows[1] = np.ones(2, np.float16)
        >>> rows[np.array([1, 0])].tolist(), rows[1:].tolist()
        ([[1.0, 1.0], [0.0, 0.0]], [[1.0, 1.0], [0.0, 0.0]])
        >>> folder.cleanup()
    """

    path: Path
    shape: tuple[int, int]

    @classmethod
    def create(cls, path: Path, shape: tuple[int, int]) -> Self:
        """Make the file with rows of zeros, in a folder that is made where it is missing.

        Raises:
            DiskFull: No space is left.
        """
        with disk_full_named(path.parent):
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("wb") as stream:
                stream.truncate(shape[0] * shape[1] * np.dtype(np.float16).itemsize)
        return cls(path, shape)

    @property
    def _row_bytes(self) -> int:
        return self.shape[1] * np.dtype(np.float16).itemsize

    def __getitem__(self, rows: slice | Rows) -> Halves:
        """Return some of the rows, float16 (M, D)."""
        wanted = np.arange(self.shape[0])[rows]
        found = np.empty((len(wanted), self.shape[1]), np.float16)
        # Rows that follow one another are read at once.
        runs = np.split(np.arange(len(wanted)), np.flatnonzero(np.diff(wanted) != 1) + 1)
        with self.path.open("rb", buffering=0) as stream:
            for run in runs if len(wanted) else ():
                stream.seek(int(wanted[run[0]]) * self._row_bytes)
                _read_into(stream, found[run[0] : run[-1] + 1].view(np.uint8).reshape(-1).data)
        return found

    def __setitem__(self, rows: slice | int, values: Halves) -> None:
        """Write rows that follow one another, float16 (M, D), or one row, (D,).

        Raises:
            DiskFull: No space is left.
        """
        first = rows if isinstance(rows, int) else rows.indices(self.shape[0])[0]
        with disk_full_named(self.path.parent), self.path.open("r+b") as stream:
            stream.seek(first * self._row_bytes)
            stream.write(np.ascontiguousarray(values, np.float16).tobytes())


def _read_into(stream: io.RawIOBase, view: memoryview) -> None:
    while len(view):
        count = stream.readinto(view)
        if not count:
            raise OSError(errno.EIO, "a file of feature vectors is shorter than it was")
        view = view[count:]


def room(shape: tuple[int, int], path: Path | None) -> "Halves | Filed":
    """Return room for vectors, float16 (N, D): in memory, or, of many, in the file that is named."""
    if path is None or shape[0] * shape[1] * np.dtype(np.float16).itemsize <= IN_MEMORY_BYTES:
        return np.zeros(shape, np.float16)
    return Filed.create(path, shape)


def halved(vectors: NDArray[np.floating]) -> Halves:
    """Return vectors as they are kept, float16; what is beyond its range becomes its largest.

    Example:
        >>> halved(np.float32([1 / 3, -1e9])).tolist()
        [0.333251953125, -65504.0]
    """
    largest = float(np.finfo(np.float16).max)
    return np.asarray(np.clip(vectors, -largest, largest), np.float16)
