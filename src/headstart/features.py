"""Photos -> one feature vector each, through a backbone compiled for inference."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from headstart import pixels
from headstart.progress import Advance

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]

BATCH_SIZE = 32
"""Photos in a forward pass; larger ones were no faster on two cores."""


def extract(
    engine: Callable[[Pixels], Floats], photos: Sequence[Path], *, size_px: int, fit: str, advance: Advance
) -> Floats:
    """Return one row per photo, in the order of `photos`.

    Runs in inference mode, so a row never depends on its batch neighbours.

    Args:
        engine: Maps uint8 (B, S, S, 3) to float32 (B, D): features, or probabilities.
        photos: N readable pictures; files are never modified.
        size_px: S, the side that the engine eats.
        fit: How a photo becomes square: squash, crop or pad.
        advance: Told of each batch that is done.

    Returns:
        float32 (N, D).

    Raises:
        UnreadableImage: Names the file.
    """
    rows = []
    for batch in batches(pixels.read_many(photos, size_px, fit), BATCH_SIZE):
        rows.append(engine(np.stack(batch)))
        advance(len(batch))
    return np.concatenate(rows)


def batches(pictures: Iterable[Pixels], size: int) -> Iterator[list[Pixels]]:
    """Yield lists of `size` pictures, the last one shorter.

    Example:
        >>> [len(batch) for batch in batches(np.zeros((5, 1, 1, 3), np.uint8), 2)]
        [2, 2, 1]
    """
    batch: list[Pixels] = []
    for picture in pictures:
        batch.append(picture)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
