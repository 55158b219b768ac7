"""What a candidate answered on photos that it was not fitted on, by which it is judged before test."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Answers:
    """The answers of one candidate, to M of N photos of C classes, none of which it was fitted on.

    Attributes:
        by: The candidate, "backbone/technique".
        rows: (M,), ascending: which of the N photos to learn from.
        probabilities: float32 (M, C), before its confidence was calibrated.
    """

    by: str
    rows: NDArray[np.intp]
    probabilities: NDArray[np.float32]

    def right(self, labels: NDArray[np.integer], rows: NDArray[np.intp]) -> NDArray[np.bool_]:
        """Return bool (K,), which of K of its rows it got right; `labels` is (N,).

        Example:
            >>> one = Answers("tiny/features", np.array([2, 3]), np.float32([[0.9, 0.1], [0.8, 0.2]]))
            >>> one.right(np.array([1, 1, 0, 1]), np.array([3])).tolist()
            [False]
        """
        return np.asarray(self.of(rows).argmax(axis=1) == labels[rows])

    def of(self, rows: NDArray[np.intp]) -> NDArray[np.float32]:
        """Return its probabilities for K of its rows, float32 (K, C)."""
        return self.probabilities[np.searchsorted(self.rows, rows)]
