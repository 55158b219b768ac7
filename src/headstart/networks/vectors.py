"""Feature vectors of photos, taken in blocks, so that they need not be in memory all at once."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from headstart.base.arrays import Floats, Rows

BLOCK = 1024
"""Rows at a time: 20 MB of 5,000 features."""


class Matrix(Protocol):
    """Numbers in rows, kept wherever they are kept: an array, or a file of which parts are read."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, D)."""

    def __getitem__(self, rows: slice | Rows, /) -> NDArray[np.floating]:
        """Return some of the rows."""


@dataclass(frozen=True, eq=False)
class Vectors:
    """N feature vectors, those of several backbones side by side where there are several.

    Attributes:
        parts: Of each backbone float16 or float32 (N, D of it).

    Example:
        >>> of_one, of_other = np.zeros((3, 2), np.float16), np.ones((3, 4), np.float16)
        >>> both = Vectors((of_one, of_other))
        >>> both.shape, both.take(np.array([2])).tolist()
        ((3, 6), [[0.0, 0.0, 1.0, 1.0, 1.0, 1.0]])
    """

    parts: Sequence[Matrix]

    @property
    def shape(self) -> tuple[int, int]:
        """(N, D)."""
        return self.parts[0].shape[0], sum(part.shape[1] for part in self.parts)

    def blocks(self, n_rows: int = BLOCK) -> Iterator[tuple[slice, Floats]]:
        """Yield the rows of each block and their vectors, float32 (at most `n_rows`, D), in order."""
        for first in range(0, self.shape[0], n_rows):
            rows = slice(first, min(first + n_rows, self.shape[0]))
            yield rows, self._read(rows)

    def take(self, rows: Rows) -> Floats:
        """Return the vectors of some rows, float32 (len(rows), D), in their order."""
        return self._read(rows)

    def _read(self, rows: slice | Rows) -> Floats:
        return np.concatenate([np.asarray(part[rows], np.float32) for part in self.parts], axis=1)
