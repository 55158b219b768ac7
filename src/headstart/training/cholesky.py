"""A Cholesky factor in blocks, threaded, in the room that a symmetric matrix leaves above its diagonal."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from headstart.training import threads

Real = NDArray[np.floating]

BLOCK = 256
"""Columns that are finished at a time: LAPACK factors so many in 0.2 ms, and all else is products."""

ROWS = 512
"""Rows that a thread takes at a time."""


class NotPositive(ArithmeticError):
    """The matrix is not positive definite, to rounding."""


class Factor:
    """The lower triangle L of A + shift I = L Lᵀ.

    The blocks are finished one column after the other, each from all that is to its left, so that every
    number is written once (left-looking: Golub and Van Loan, Matrix Computations, 4th ed., 4.2.9). SciPy's
    LAPACK would hold Python's lock meanwhile, and is asked for the blocks on the diagonal alone.

    Args:
        block_of: Returns the block of A at slices of rows and columns, none of which are above the diagonal;
            those on it whole.
        n: A is (n, n).
        shift: Added to the diagonal.
        room: (n, n) or more, float32 or float64. What lies above the blocks of its diagonal is overwritten
            by Lᵀ; the rest, which may be A itself, stays. The factor holds until that is written to again.
        pool: Threads.

    Raises:
        NotPositive: It has no such factor.

    Example:
        >>> matrix = np.array([[4.0, 2.0], [2.0, 5.0]])
        >>> with threads.opened() as pool:
        ...     factor = Factor(lambda rows, columns: matrix[rows, columns], 2, 1.0, matrix, pool)
        >>> factor.solve(np.array([[5.0], [2.0]])).round(9).tolist()
        [[1.0], [0.0]]
    """

    def __init__(
        self,
        block_of: Callable[[slice, slice], Real],
        n: int,
        shift: float,
        room: Real,
        pool: ThreadPoolExecutor,
    ) -> None:
        self._upper, self._columns, self._inverses = room, threads.pieces(0, n, BLOCK), []
        for here in self._columns:
            before = slice(0, here.start)
            left = room[before, here]
            corner = block_of(here, here) - left.T @ left
            corner[np.diag_indices_from(corner)] += shift
            inverse = _inverse_of_factor(corner)
            self._inverses.append(inverse)

            def finish(
                rows: slice,
                here: slice = here,
                before: slice = before,
                left: Real = left,
                inverse: Real = inverse,
            ) -> None:
                rest = block_of(rows, here).T - left.T @ room[before, rows]
                room[here, rows] = inverse @ rest

            list(threads.in_order(pool, finish, threads.pieces(here.stop, n, ROWS)))

    def whiten(self, rows: Real, first: int = 0) -> Real:
        """Turn rows, (M, n), into rows @ inv(L)ᵀ, in place: their products are rows @ inv(A) @ rowsᵀ.

        Args:
            rows: Of the kind of numbers of `room`.
            first: Columns before this one hold nothing but 0.
        """
        begin = first // BLOCK * BLOCK
        for here, inverse in zip(self._columns, self._inverses, strict=True):
            if here.start >= begin:
                before = slice(begin, here.start)
                rows[:, here] = (rows[:, here] - rows[:, before] @ self._upper[before, here]) @ inverse.T
        return rows

    def solve(self, columns: Real) -> Real:
        """Return inv(A + shift I) @ columns, (n, K)."""
        found = self.whiten(np.ascontiguousarray(columns.T)).T
        for here, inverse in zip(self._columns[::-1], self._inverses[::-1], strict=True):
            after = slice(here.stop, len(found))
            found[here] = inverse.T @ (found[here] - self._upper[here, after] @ found[after])
        return found


def _inverse_of_factor(corner: Real) -> Real:
    """Return inv(L) of a small matrix L Lᵀ."""
    from scipy.linalg import get_lapack_funcs

    potrf, trtri = get_lapack_funcs(("potrf", "trtri"), (corner,))
    lower, failed = potrf(corner, lower=True, clean=True)
    if failed:
        raise NotPositive(f"{len(corner)} x {len(corner)}")
    inverse, _ = trtri(lower, lower=True)
    return np.ascontiguousarray(inverse)
