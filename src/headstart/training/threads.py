"""Threads of our own for linear algebra, while BLAS starts none.

OpenBLAS's threads wait for each other in a busy loop. Beside other programs a Cholesky factor of 3,000 x
3,000 took 0.5 s with two of them and 0.15 s with one. And what is summed in blocks of one size, in order, is
the same on any number of cores.
"""

import functools
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from headstart.pictures.pixels import core_count

if TYPE_CHECKING:
    from threadpoolctl import ThreadpoolController

SQUARE = 256
"""Rows of matrices whose product takes so long, a millisecond, that threads are at it at once."""

PATIENCE_S = 60
"""Threads that are there no sooner found no memory."""

Item = TypeVar("Item")
Result = TypeVar("Result")


@contextmanager
def opened() -> Iterator[ThreadPoolExecutor]:
    """Open a thread for each core; inside, NumPy's and SciPy's BLAS work in the thread that calls them."""
    with (
        _blas().limit(limits=1, user_api="blas"),
        ThreadPoolExecutor(core_count(), "headstart-algebra") as pool,
    ):
        yield pool


def load() -> None:
    """Load linear algebra and have it take its memory, before other things do.

    OpenBLAS takes some 30 MB when first so many threads call it at once. Where there is none, SciPy's
    (0.3.30) waits for it, for ever.
    """
    with opened() as pool:
        all_there = threading.Barrier(core_count() + 1)
        at_work = [pool.submit(_take_memory, all_there) for _ in range(core_count())]
        _take_memory(all_there)
        for one in at_work:
            one.result()


def _take_memory(all_there: threading.Barrier) -> None:
    from scipy.linalg.blas import dgemm

    square = np.zeros((SQUARE, SQUARE))
    all_there.wait(PATIENCE_S)
    for _ in range(2):
        dgemm(1.0, square, square)
        square @ square


@functools.cache
def _blas() -> "ThreadpoolController":
    """Return NumPy's and SciPy's BLAS, looked for once: among all that TensorFlow loads it takes some ms."""
    import scipy.linalg  # noqa: F401  # else its BLAS is not among what is found
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


def in_order(
    pool: ThreadPoolExecutor,
    function: Callable[[Item], Result],
    items: Iterable[Item],
    ahead: int | None = None,
) -> Iterator[Result]:
    """Yield `function` of each item, in order, with a few results held: one per core, or `ahead`.

    Example:
        >>> with opened() as pool:
        ...     list(in_order(pool, str, (3, 1, 2)))
        ['3', '1', '2']
    """
    waiting: deque[Future[Result]] = deque()
    for item in items:
        waiting.append(pool.submit(function, item))
        if len(waiting) > (core_count() if ahead is None else ahead):
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def pieces(first: int, end: int, size: int) -> list[slice]:
    """Return slices of at most `size` from `first` to `end`.

    Example:
        >>> pieces(2, 7, 3)
        [slice(2, 5, None), slice(5, 7, None)]
    """
    return [slice(one, min(one + size, end)) for one in range(first, end, size)]
