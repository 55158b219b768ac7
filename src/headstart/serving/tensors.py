"""Numbers that are pixels already: of the model's own size, so that they go to it as they are."""

import numpy as np
from numpy.typing import NDArray

from headstart.pictures.pixels import Pixels
from headstart.serving.problems import Declined


def pictures(values: NDArray[np.generic], size_px: int) -> list[Pixels]:
    """Return arrays of pixels as the engine eats them, uint8 RGB (S, S, 3) each.

    Args:
        values: (N, S, S, 3), or (S, S, 3) for one: integers or floats in [0, 255]. Floats are rounded.
        size_px: S.

    Raises:
        Declined: They have another shape, or are something else (422).

    Example:
        >>> [one.shape for one in pictures(np.zeros((2, 8, 8, 3)), 8)]
        [(8, 8, 3), (8, 8, 3)]
    """
    batch = values[None] if values.ndim == 3 else values
    if batch.ndim != 4 or batch.shape[1:] != (size_px, size_px, 3):
        raise Declined(
            422,
            f"The pixels have the shape {tuple(values.shape)}.",
            f"Send (N, {size_px}, {size_px}, 3), RGB, or the bytes of a picture of any size in base64.",
        )
    return list(batch if batch.dtype == np.uint8 else _bytes(batch))


def _bytes(batch: NDArray[np.generic]) -> Pixels:
    if batch.dtype.kind not in "iuf":
        raise Declined(422, "The pixels are no numbers.", "Send numbers from 0 to 255.")
    numbers = batch.astype(np.float64)
    if not (np.isfinite(numbers).all() and numbers.min(initial=0) >= 0 and numbers.max(initial=0) <= 255):
        raise Declined(422, "The pixels are not all from 0 to 255.", "Send RGB from 0 to 255, unscaled.")
    rounded = np.rint(numbers)
    if numbers.max(initial=0) <= 1 and (rounded != numbers).any():
        raise Declined(
            422,
            "The pixels are all from 0 to 1, as if they were scaled.",
            "Send RGB from 0 to 255, unscaled: the model scales them itself.",
        )
    return rounded.astype(np.uint8)
