"""Kinds of arrays, as signatures name them; shapes stand in the docstrings."""

from typing import Any

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
