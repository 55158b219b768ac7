"""Near-duplicates: one picture resized, saved again, cropped, mirrored or lit otherwise."""

import functools
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headstart.groups import Pairs
from headstart.pixels import Pixels

SIDE_PX = 32
"""Side of the thumbnails that are compared."""

LOW = 8
"""The hash is of the 8 x 8 lowest frequencies of a thumbnail; the others are its detail."""

MAX_BITS = 10
"""So many of 64 bits may differ between the hashes of near-duplicates."""

MIN_SIMILARITY = 0.85
"""Correlation of the detail of near-duplicates. Copies of photos saved again, down to 0.3 of their size, have
0.96 or more; two shirts on one ground, whose hashes are as near, 0.80 or less."""

MIN_COSINE = 0.88
"""Of the features of near-duplicates, by mobilenet_v2 and efficientnet_lite0. Of 2,500 photos of animals and
3,781 of garments all 43 such pairs, three of which `find` does not see, show one photo or one garment; from
0.88 down there are two animals or two garments on one ground among them. Of 100 photos of each it finds 96 to
98 mirrored, 89 to 99 cropped by 5%, 45 to 85 by 10%, hardly any turned; of 2,000 of one fabric, no pair."""

MAX_COLOUR_CHANGE = 32
"""Levels of 255 by which the mean of a channel may differ between near-duplicates."""

MIN_CONTRAST = 1.0
"""With less detail, as a standard deviation in levels, a picture shows nothing to tell it by."""

NEIGHBOURS = 32
"""Earlier photos that one is paired with at most, the nearest: a crowd is linked through one another."""

BLOCK = 1024
"""Thumbnails that are transformed at once."""

TILE = 2**18
"""Comparisons at once: 2 MB of hashes stay in a processor's cache; 3 times as many take twice as long."""

LUMA = np.array([0.299, 0.587, 0.114], np.float32)
"""Red, green and blue to grey, ITU-R BT.601."""


def thumbnail(image: Pixels, width: int, height: int) -> Pixels:
    """Return a whole picture at 32 x 32 pixels, each the mean of what it covers.

    Args:
        image: uint8 (H, W, 3), as `pixels.decode` returns it, reduced or not.
        width: Of the picture in full.
        height: Of the picture in full.

    Returns:
        uint8 (32, 32, 3); to a level or so the same for any size that the picture was decoded at.
    """
    if image.shape[:2] == (height, width):
        import cv2

        return np.asarray(cv2.resize(image, (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_AREA), dtype=np.uint8)
    rows, columns = _shares(image.shape[0], height), _shares(image.shape[1], width)
    squeezed = rows @ image.reshape(len(image), -1).astype(np.float32)
    return np.asarray(np.rint(columns @ squeezed.reshape(SIDE_PX, -1, 3)), dtype=np.uint8)


@functools.lru_cache(maxsize=4096)
def _shares(reduced_px: int, full_px: int) -> NDArray[np.float32]:
    """Return what part each pixel of a side has in each pixel of the thumbnail's, float32 (32, reduced_px).

    JPEGs are reduced to eighths of their size, rounded up: the last pixel reaches beyond the picture. Taken
    as whole it would shift everything by up to a 64th, which is enough to lose copies of a fine pattern.
    """
    eighths = round(8 * reduced_px / full_px)
    edges = np.linspace(0, full_px * eighths / 8, SIDE_PX + 1)
    starts = np.arange(reduced_px)
    overlaps = np.minimum(edges[1:, None], starts + 1) - np.maximum(edges[:-1, None], starts)
    overlaps = overlaps.clip(min=0)
    return np.asarray(overlaps / overlaps.sum(axis=1, keepdims=True), dtype=np.float32)


def grey(thumbnails: Pixels) -> Pixels:
    """Return the luma of RGB thumbnails, uint8 (..., 32, 32)."""
    return np.asarray(np.rint(thumbnails @ LUMA), dtype=np.uint8)


def find(thumbnails: Pixels, colours: NDArray[np.float32]) -> Pairs:
    """Return the pairs of pictures that are near-duplicates, closest first.

    The perceptual hashes of the two differ in at most `MAX_BITS` bits, so they are alike as a whole; their
    detail, which the hash does not see, correlates by at least `MIN_SIMILARITY`; and no channel's mean
    differs by more than `MAX_COLOUR_CHANGE`. Mirrored and turned copies are not found.

    Each hash is compared with all others, in memory that does not grow with their number.

    Args:
        thumbnails: uint8 (N, 32, 32), as `grey` returns them.
        colours: float32 (N, 3), mean red, green and blue of each.

    Returns:
        int64 (M, 2), the later photo of a pair first; M is at most `NEIGHBOURS` times N.
    """
    pairs = candidates(hashes(thumbnails))
    similarity = np.empty(len(pairs), np.float32)
    for block in _blocks(len(pairs)):
        late, early = pairs[block].T
        similarity[block] = _similarity(thumbnails[late], thumbnails[early])
        similarity[block][np.abs(colours[late] - colours[early]).max(axis=1) > MAX_COLOUR_CHANGE] = 0
    return _closest_first(pairs, similarity, MIN_SIMILARITY)


def find_by_features(features: NDArray[np.float32]) -> Pairs:
    """Return the pairs of pictures whose features are near, closest first: mirrored, cropped or shot again.

    Features are measured from their mean, each in its own spread, before cosines are taken. As a backbone
    gives them, any two pictures of one fabric are closer (0.95) than a photo of an animal is to the same
    photo at half its size (0.90).

    Args:
        features: float32 (N, D), not modified.

    Returns:
        int64 (M, 2) as of `find`.
    """
    if not len(features):
        return np.empty((0, 2), np.int64)
    spread = features.std(axis=0)
    # A tenth of the mean spread keeps a feature that hardly ever changes from outweighing all others.
    unit = (features - features.mean(axis=0)) / np.maximum(spread + spread.mean() / 10, 1e-12)
    unit /= np.maximum(np.linalg.norm(unit, axis=1, keepdims=True), 1e-12)
    pairs, cosines = [], []
    for rows in _tiles(len(unit)):
        cosine = unit[rows] @ unit[: rows.stop].T
        found = _nearest(1 - cosine, 1 - MIN_COSINE, rows.start)
        pairs.append(found)
        cosines.append(cosine[found[:, 0] - rows.start, found[:, 1]])
    return _closest_first(np.concatenate(pairs), np.concatenate(cosines), MIN_COSINE)


def hashes(thumbnails: Pixels) -> NDArray[np.uint64]:
    """Return the perceptual hash of each thumbnail, uint64 (N,).

    Its 64 bits say which of the 8 x 8 lowest frequencies of a discrete cosine transform are above their
    median: pHash (Zauner 2010, https://www.phash.org/docs/pubs/thesis_zauner.pdf) in the form that the
    package ImageHash gave it.
    """
    from scipy.fft import dctn

    found = np.empty(len(thumbnails), np.uint64)
    for block in _blocks(len(thumbnails)):
        frequencies = dctn(thumbnails[block].astype(np.float32), axes=(1, 2))
        low = frequencies[:, :LOW, :LOW].reshape(-1, LOW**2)
        bits = low > np.median(low, axis=1, keepdims=True)
        found[block] = np.packbits(bits, axis=1).view(np.uint64)[:, 0]
    return found


def candidates(keys: NDArray[np.uint64]) -> Pairs:
    """Return the pairs whose hashes differ in at most `MAX_BITS` bits, as `find` does but in no order.

    Example:
        >>> candidates(np.array([0, 2**11 - 1, 1], np.uint64)).tolist()
        [[2, 0], [2, 1]]
    """
    pairs = [np.empty((0, 2), np.int64)]
    for rows in _tiles(len(keys)):
        bits = np.bitwise_count(keys[rows, None] ^ keys[None, : rows.stop])
        pairs.append(_nearest(bits, MAX_BITS, rows.start))
    return np.concatenate(pairs)


def _nearest(distances: NDArray[Any], most: float, first: int) -> Pairs:
    """Return the pairs of a row and an earlier photo that are near; rows are photos from `first` on."""
    is_near = distances <= most
    is_near[:, first:] = np.tril(is_near[:, first:], -1)
    if not is_near.any():
        return np.empty((0, 2), np.int64)
    for row in np.flatnonzero(np.count_nonzero(is_near, axis=1) > NEIGHBOURS).tolist():
        nearest = np.argpartition(distances[row, : first + row], NEIGHBOURS)[:NEIGHBOURS]
        is_near[row] = False
        is_near[row, nearest] = True
    rows, columns = np.nonzero(is_near)
    return np.stack([rows + first, columns], axis=1)


def _similarity(some: Pixels, others: Pixels) -> NDArray[np.float32]:
    """Return how far the detail of M pairs of thumbnails correlates; 0 where one has none."""
    from scipy.fft import dctn

    one, other = (dctn(batch.astype(np.float32), axes=(1, 2), norm="ortho") for batch in (some, others))
    for frequencies in (one, other):
        frequencies[:, :LOW, :LOW] = 0
    energy, other_energy = (np.einsum("ijk,ijk->i", each, each) for each in (one, other))
    has_detail = np.minimum(energy, other_energy) >= (SIDE_PX * MIN_CONTRAST) ** 2
    scale = np.sqrt(np.where(has_detail, energy * other_energy, np.inf))
    return np.asarray(np.einsum("ijk,ijk->i", one, other) / scale)


def _closest_first(pairs: Pairs, similarity: NDArray[np.float32], least: float) -> Pairs:
    order = np.argsort(-similarity, kind="stable")
    return pairs[order[similarity[order] >= least]]


def _blocks(count: int) -> Iterator[slice]:
    """Yield slices that cover 0 to `count`, of as many thumbnails as are worked on at once."""
    return (slice(start, min(start + BLOCK, count)) for start in range(0, count, BLOCK))


def _tiles(count: int) -> Iterator[slice]:
    """Yield slices that cover 0 to `count`, of as many rows as are compared with all at once."""
    rows = max(1, TILE // max(1, count))
    return (slice(start, min(start + rows, count)) for start in range(0, count, rows))
