"""Kinds of arrays, as signatures name them; shapes stand in the docstrings."""

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Bools = NDArray[np.bool_]
Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Integers = NDArray[np.integer]
"""Of any width."""

Labels = NDArray[np.int32]
"""Indices into the class names, in 0..C-1."""

Rows = NDArray[np.intp]
"""Indices of photos."""


class Matrix(Protocol):
    """Numbers in rows, kept wherever they are kept: an array, or a file of which parts are read."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, D)."""

    def __getitem__(self, rows: slice | Rows, /) -> NDArray[np.floating]:
        """Return some of the rows."""
