"""A picture at 32 x 32 pixels, where on it nothing is to be seen, and how it looks mirrored and turned."""

import functools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headstart.pictures.pixels import Pixels

Mask = NDArray[np.bool_]

SIDE_PX = 32
"""Side of the thumbnails that are compared."""

FINE_PX = 4 * SIDE_PX
"""A picture that large is fine enough to take the means of 32 x 32 pixels from."""

LUMA = np.array([0.299, 0.587, 0.114], np.float32)
"""Red, green and blue to grey, ITU-R BT.601."""

LEVELS = 8
"""A ground is uniform if no channel is further than so many levels of 255 from the corner's. With 3 the soft
edges of what a turn leaves black stay in the picture; with 10 the faint cells on a bright slide go."""

FEWEST_PX = 16
"""Of 64 x 64: a uniform corner smaller than this is part of the picture. A turn by 3 degrees leaves 27."""

TURNS = (
    *("", "turned by a quarter", "turned upside down", "turned by a quarter"),
    *("mirrored", "mirrored and turned by a quarter", "mirrored upside down"),
    "mirrored and turned by a quarter",
)
"""The 8 ways in which a square can lie, in words: turned left by 0 to 3 quarters, then the same mirrored."""


def thumbnail(image: Pixels, width: int, height: int) -> Pixels:
    """Return a whole picture at 32 x 32 pixels, each the mean of what it covers.

    Args:
        image: uint8 (H, W, 3), as `pixels.decode` returns it, reduced or not.
        width: Of the picture in full.
        height: Of the picture in full.

    Returns:
        uint8 (32, 32, 3); to a level or so the same for any size that the picture was decoded at.
    """
    small, factor = halved(image)
    if image.shape[:2] == (height, width):
        import cv2

        return np.asarray(cv2.resize(small, (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_AREA), dtype=np.uint8)
    rows, columns = _shares(image.shape[0], height, factor), _shares(image.shape[1], width, factor)
    squeezed = rows @ small.reshape(len(small), -1).astype(np.float32)
    upright = squeezed.reshape(SIDE_PX, -1, 3).transpose(1, 0, 2).reshape(-1, SIDE_PX * 3)
    means = (columns @ upright).reshape(SIDE_PX, SIDE_PX, 3).transpose(1, 0, 2)
    return np.asarray(np.rint(means), dtype=np.uint8, order="C")


def halved(image: Pixels) -> tuple[Pixels, int]:
    """Return a picture halved while that is exact and leaves `FINE_PX` a side, and how many times so.

    To take the mean of four pixels takes a tenth of the time of any other reduction.

    Example:
        >>> [halved(np.zeros((height, 1000, 3), np.uint8))[0].shape for height in (750, 751)]
        [(375, 500, 3), (751, 1000, 3)]
    """
    import cv2

    factor = 1
    while not any(side % 2 or side < 2 * FINE_PX for side in image.shape[:2]):
        size = (image.shape[1] // 2, image.shape[0] // 2)
        image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
        factor *= 2
    return image, factor


@functools.lru_cache(maxsize=4096)
def _shares(reduced_px: int, full_px: int, factor: int) -> Any:
    """Return what part each pixel of a side has in each of the thumbnail's, float32 (32, pixels).

    It is sparse: threads of BLAS, begun in each of the threads that decode, would wait for each other in busy
    loops, for half of the time that reading photos takes.

    JPEGs are reduced to eighths of their size, rounded up: the last pixel reaches beyond the picture. Taken
    as whole it would shift everything by up to a 64th, which is enough to lose copies of a fine pattern.

    Args:
        reduced_px: How many pixels it was decoded to.
        full_px: Of how many.
        factor: It was made smaller by that since.
    """
    from scipy.sparse import csr_array

    eighths = round(8 * reduced_px / full_px)
    edges = np.linspace(0, full_px * eighths / 8 / factor, SIDE_PX + 1)
    starts = np.arange(reduced_px // factor)
    overlaps = np.minimum(edges[1:, None], starts + 1) - np.maximum(edges[:-1, None], starts)
    overlaps = overlaps.clip(min=0)
    return csr_array((overlaps / overlaps.sum(axis=1, keepdims=True)).astype(np.float32))


def grey(thumbnails: Pixels) -> Pixels:
    """Return the luma of RGB thumbnails, uint8 (..., 32, 32)."""
    return np.asarray(np.rint(thumbnails @ LUMA), dtype=np.uint8)


def ground(image: Pixels) -> Mask:
    """Return where a picture shows nothing: uniform regions that reach into its corners.

    Such are the black corners of a turned picture, frames, bars, what a microscope's round opening leaves
    dark, and the ground that goods are photographed on.

    Args:
        image: uint8 (H, W, 3), as for `thumbnail`.

    Returns:
        bool (32, 32): pixels of the thumbnail that are such, or next to it.

    Example:
        >>> framed = np.zeros((96, 96, 3), np.uint8)
        >>> framed[24:72, 24:72] = 200
        >>> int((~ground(framed)).sum())  # of 16 x 16, without a pixel on each side
        196
    """
    import cv2

    side, image = 2 * SIDE_PX, halved(image)[0]
    small = np.ascontiguousarray(cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA))
    reached = np.zeros((side + 2, side + 2), np.uint8)  # OpenCV wants a pixel more on each side
    how = 4 | cv2.FLOODFILL_MASK_ONLY | cv2.FLOODFILL_FIXED_RANGE | 1 << 8
    for corner in ((0, 0), (side - 1, 0), (0, side - 1), (side - 1, side - 1)):
        flooded = reached.copy()
        count, *_ = cv2.floodFill(small, flooded, corner, 0, (LEVELS,) * 3, (LEVELS,) * 3, how)
        if count >= FEWEST_PX:
            reached = flooded
    wide = np.asarray(cv2.dilate(reached[1:-1, 1:-1], np.ones((3, 3), np.uint8)))
    return np.asarray(wide.reshape(SIDE_PX, 2, SIDE_PX, 2).any(axis=(1, 3)))


def outside(grounds: Mask) -> Mask:
    """Return the part of each ground that lies around the picture, and not between what is on it.

    That is what is outside the convex hull of all else: of the ground between scattered cells nothing.

    Args:
        grounds: bool (N, 32, 32), not modified.

    Returns:
        bool (N, 32, 32).
    """
    import cv2

    around = grounds.copy()
    for index in np.flatnonzero(grounds.any(axis=(1, 2)) & ~grounds.all(axis=(1, 2))).tolist():
        corners = cv2.convexHull(cv2.findNonZero((~grounds[index]).astype(np.uint8)))
        around[index] = cv2.fillConvexPoly(np.zeros((SIDE_PX, SIDE_PX), np.uint8), corners, 1) == 0
    return around


def turned(squares: NDArray[Any], turn: int) -> NDArray[Any]:
    """Return squares as they look turned left by `turn` % 4 quarters, and from 4 on mirrored after that.

    Args:
        squares: (..., S, S), not modified.
        turn: 0 to 7, see `TURNS`.

    Returns:
        A view.

    Example:
        >>> turned(np.array([[1, 2], [3, 4]]), TURNS.index("mirrored")).tolist()
        [[2, 1], [4, 3]]
    """
    lying = np.rot90(squares, turn % 4, axes=(-2, -1))
    return lying[..., ::-1] if turn >= 4 else lying
