"""Near-duplicates: one picture resized, saved again, lit otherwise, mirrored or turned by quarters."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from headstart.base.arrays import Floats, Matrix, Rows
from headstart.base.progress import Advance, silent
from headstart.photos.groups import Pairs
from headstart.photos.neighbours import near_hashes, near_vectors
from headstart.pictures.pixels import Pixels
from headstart.pictures.thumbnails import LUMA, SIDE_PX, TURNS, Mask, outside, turned

LOW = 8
"""The hash is of the 8 x 8 lowest frequencies of a thumbnail; the others are its detail."""

MAX_BITS = 10
"""So many of 64 bits may differ between the hashes of near-duplicates."""

MOST_BITS_SHOWN = 20
SAME_OUTLINE_PX = 32
"""The same of pictures without the ground of each, if the grounds differ by no more than these pixels of a
thumbnail. It spares the comparison of many that have nothing but a frame in common."""

MIN_SIMILARITY = 0.85
"""Correlation of the detail of near-duplicates. Copies of photos saved again, down to 0.3 of their size, have
0.96 or more; two shirts on one ground, whose hashes are as near, 0.80 or less."""

MIN_TURNED = 0.92
"""The same of mirrored and turned ones: there are seven ways to be alike by chance."""

JUDGES = ("mobilenet_v2", "efficientnet_lite0")
"""Backbones whose features may tell two photos of one thing: those that the bounds were measured with."""

MIN_COSINE = 0.88
"""Of the features of near-duplicates, by mobilenet_v2 and efficientnet_lite0. Of 2,500 photos of animals and
3,781 of garments all 43 such pairs, three of which `find` does not see, show one photo or one garment; from
0.88 down there are two animals or two garments on one ground among them. Of 100 photos of each it finds 96 to
98 mirrored, 89 to 99 cropped by 5%, 45 to 85 by 10%, hardly any turned; of 2,000 of one fabric, no pair."""

MAX_COLOUR_CHANGE = 32
"""Levels of 255 by which the mean of a channel may differ between near-duplicates."""

MIN_CONTRAST = 1.0
"""With less detail, as a standard deviation in levels, a picture shows nothing to tell it by."""

CLEAR = 3.0
"""With more contrast than this, what is on the ground tells a picture by itself."""

SCATTERED = 0.5
"""Where ground takes more than half of what it does not surround, the places of things tell a picture."""

FEWEST_SHOWN_PX = 51
"""A twentieth of a thumbnail: contrast is not that of fewer pixels."""

FAR = 1e-3
"""Weight of a picture's mean where nothing that is shown is near."""

BLOCK = 1024
"""Thumbnails that are transformed, and features that are read, at once."""

_PLACES = np.arange(SIDE_PX)
_NEARNESS = np.exp(-((_PLACES[:, None] - _PLACES) ** 2) / 8).astype(np.float32)
"""Of two pixels of a row or column: a normal distribution of 2 pixels' width."""

_PLAIN = np.sqrt(1.0 + np.eye(1, LOW, dtype=np.float32))
_PLAIN = _PLAIN * _PLAIN.T
"""The hash is of the transform as it is; the orthonormal one, in which energy is kept, has less at 0."""


class Squares(Protocol):
    """Squares of 32 x 32, kept wherever they are kept: an array, or what makes one of some of them."""

    def __getitem__(self, rows: slice | Rows, /) -> NDArray[Any]:
        """Return some of them, (M, 32, 32)."""


@dataclass(frozen=True, eq=False)
class Pictures:
    """What N pictures are compared by.

    Attributes:
        thumbnails: uint8 (N, 32, 32), as `thumbnails.grey` returns them.
        grounds: bool (N, 32, 32), where nothing is to be seen, as `thumbnails.ground` returns it.
        colours: float32 (N, 3), mean red, green and blue of each.
    """

    thumbnails: Squares
    grounds: Squares
    colours: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.colours)


@dataclass(frozen=True, eq=False)
class Packed:
    """Masks of 32 x 32, 8 pixels to a byte.

    Attributes:
        bytes: uint8 (N, 128).
    """

    bytes: NDArray[np.uint8]

    @classmethod
    def of(cls, masks: Mask) -> Self:
        """Pack masks, bool (N, 32, 32)."""
        return cls(np.packbits(masks.reshape(-1, SIDE_PX**2), axis=1))

    def __getitem__(self, rows: slice | Rows) -> Mask:
        """Return some of them, bool (M, 32, 32)."""
        return np.unpackbits(self.bytes[rows], axis=1).view(np.bool_).reshape(-1, SIDE_PX, SIDE_PX)


@dataclass(frozen=True, eq=False)
class Alike:
    """Near-duplicates, closest pair first.

    Attributes:
        pairs: int64 (M, 2), positions, the later of a pair first.
        turns: int8 (M,), how the later one must be turned to look like the other: see `thumbnails.TURNS`.
    """

    pairs: Pairs
    turns: NDArray[np.int8]


def find(pictures: Pictures, advance: Advance = silent) -> Alike:
    """Return the pairs of pictures that are near-duplicates, as they are, mirrored or turned by quarters.

    The perceptual hashes of the two differ in at most `MAX_BITS` bits, so they are alike as a whole; their
    detail, which the hash does not see, correlates by at least `MIN_SIMILARITY`; and their colours differ
    by no more than `MAX_COLOUR_CHANGE`. All but the first are asked of what is left when the ground that
    both have is taken away: equal frames, black corners or white grounds make no pair.

    Args:
        pictures: N of them.
        advance: Told of each picture once for each of `TURNS`.

    Returns:
        At most `NEIGHBOURS` pairs for each picture and turn; a pair stands once.
    """
    around, whole, shown = _signatures(pictures)
    found = []
    for turn in range(len(TURNS)):
        pairs = near_hashes(whole[turn], whole[0], MAX_BITS, advance)
        pairs = np.concatenate(
            [_promising(pairs[block], around, shown, turn) for block in (slice(0), *_blocks(len(pairs)))]
        )
        similarity = np.empty(len(pairs), np.float32)
        for block in _blocks(len(pairs)):
            similarity[block] = _similarity(pictures, around, pairs[block], turn)
        is_near = similarity >= (MIN_TURNED if turn else MIN_SIMILARITY)
        found.append((pairs[is_near], np.full(is_near.sum(), turn, np.int8), similarity[is_near]))
    pairs, turns, similarity = (np.concatenate(parts) for parts in zip(*found, strict=True))
    once = np.sort(np.unique(pairs, axis=0, return_index=True)[1])
    order = once[np.argsort(-similarity[once], kind="stable")]
    return Alike(pairs[order], turns[order])


def _signatures(pictures: Pictures) -> tuple[Packed, NDArray[np.uint64], NDArray[np.uint64]]:
    """Return of N pictures the grounds around them, and their hashes with and without those.

    Hashes are uint64 (8, N), of each as it looks after every turn.
    """
    around = Packed(np.empty((len(pictures), SIDE_PX**2 // 8), np.uint8))
    whole, shown = (np.empty((len(TURNS), len(pictures)), np.uint64) for _ in range(2))
    for block in _blocks(len(pictures)):
        thumbnails = pictures.thumbnails[block]
        outer = outside(pictures.grounds[block])
        around.bytes[block] = Packed.of(outer).bytes
        for hashes, low in ((whole, _low(thumbnails)), (shown, _low(_without_ground(thumbnails, outer)))):
            for turn in range(len(TURNS)):
                hashes[turn, block] = _bits(_lying(low, turn))
    return around, whole, shown


def _promising(pairs: Pairs, around: Packed, shown: NDArray[np.uint64], turn: int) -> Pairs:
    """Return those of some pairs whose hashes without the ground are near, or whose grounds differ."""
    late, early = pairs.T
    bits = np.bitwise_count(shown[turn, late] ^ shown[0, early])
    outlines = np.count_nonzero(turned(around[late], turn) != around[early], axis=(1, 2))
    return np.asarray(pairs[(bits <= MOST_BITS_SHOWN) | (outlines > SAME_OUTLINE_PX)])


def find_by_features(features: NDArray[np.float32]) -> Pairs:
    """Return the pairs of pictures whose features are near, closest first: mirrored, cropped or shot again.

    Args:
        features: float32 (N, D), not modified.

    Returns:
        int64 (M, 2), the later photo of a pair first.
    """
    return near_vectors(directions(features), MIN_COSINE)


def directions(features: Floats) -> Floats:
    """Return features measured from their mean, each in its own spread, as vectors of length 1, (N, D).

    As a backbone gives them, any two pictures of one fabric are closer (a cosine of 0.95) than a photo of
    an animal is to the same photo at half its size (0.90).
    """
    return frame(features).directions(features)


@dataclass(frozen=True, eq=False)
class Frame:
    """Where features of D numbers lie, and how far they spread.

    Attributes:
        mean: float32 (D,).
        scale: float32 (D,), above 0.
    """

    mean: Floats
    scale: Floats

    def directions(self, features: Floats) -> Floats:
        """Return features, (M, D), as `duplicates.directions` does."""
        away = (features - self.mean) / self.scale
        away /= np.maximum(np.linalg.norm(away, axis=1, keepdims=True), 1e-12)
        return np.asarray(away)


def frame(features: Matrix) -> Frame:
    """Return the frame of features, (N, D), that are read in blocks."""
    n, n_features = features.shape
    mean, squares = np.zeros(n_features), np.zeros(n_features)
    for block in _blocks(n):
        mean += features[block].sum(axis=0, dtype=np.float64) / n
    for block in _blocks(n):
        squares += np.square(features[block] - mean).sum(axis=0)
    spread = np.sqrt(squares / max(n, 1))
    # A tenth of the mean spread keeps a feature that hardly ever changes from outweighing all others.
    scale = np.maximum(spread + spread.mean() / 10, 1e-12)
    return Frame(mean.astype(np.float32), scale.astype(np.float32))


def hashes(thumbnails: Pixels) -> NDArray[np.uint64]:
    """Return the perceptual hash of each thumbnail, uint64 (N,).

    Its 64 bits say which of the 8 x 8 lowest frequencies of a discrete cosine transform are above their
    median: pHash (Zauner 2010, https://www.phash.org/docs/pubs/thesis_zauner.pdf) in the form that the
    package ImageHash gave it.
    """
    return _bits(_low(thumbnails))


def _similarity(pictures: Pictures, around: Packed, pairs: Pairs, turn: int) -> NDArray[np.float32]:
    """Return how alike the pictures of M pairs are, 0 to 1, where there is something to be seen.

    What the ground surrounds must be alike; and so must what is left without the ground that lies between,
    unless that is faint and scattered: then it is by its places that a picture is told.
    """
    late, early = pairs.T
    both = tuple(
        each.astype(np.float32)
        for each in (turned(pictures.thumbnails[late], turn), pictures.thumbnails[early])
    )
    whole = ~_widened(turned(around[late], turn) & around[early])
    things = ~_widened(turned(pictures.grounds[late], turn) & pictures.grounds[early])
    similarity, contrast = _agreement(both, whole)
    similarity[_colour_change(pictures.colours, pairs, both, whole) > MAX_COLOUR_CHANGE] = 0
    has_ground = np.flatnonzero(np.any(whole != things, axis=(1, 2)))
    strict, contrast[has_ground] = _agreement(tuple(each[has_ground] for each in both), things[has_ground])
    share = things.sum(axis=(1, 2)) / np.maximum(whole.sum(axis=(1, 2)), 1)
    by_place = (contrast < CLEAR) & (share < SCATTERED)
    similarity[has_ground] = np.where(
        by_place[has_ground], similarity[has_ground], np.minimum(similarity[has_ground], strict)
    )
    return np.where(contrast >= CLEAR, similarity, 0) if turn else similarity


def _widened(common: Mask) -> Mask:
    """Return M grounds with the pixels next to them, and with the rim where there is any ground.

    The rim is where a turned picture's corners run out, too thin to be seen at this size.
    """
    wide = common.copy()
    wide[:, 1:] |= common[:, :-1]
    wide[:, :-1] |= common[:, 1:]
    tall = wide.copy()
    wide[:, :, 1:] |= tall[:, :, :-1]
    wide[:, :, :-1] |= tall[:, :, 1:]
    has_ground = np.any(common, axis=(1, 2), keepdims=True)[:, 0]
    for side in (wide[:, 0], wide[:, -1], wide[:, :, 0], wide[:, :, -1]):
        side |= has_ground
    return wide


def _agreement(both: tuple[Floats, ...], shown: Mask) -> tuple[Floats, Floats]:
    """Return how far the detail of M pairs correlates where it is shown, and the lesser contrast.

    The correlation is 0 where a picture has no detail, or the hashes of what is shown are not near.
    """
    one, other = (_frequencies(_filled(each, shown)) for each in both)
    bits = np.bitwise_count(_bits(one) ^ _bits(other))
    for frequencies in (one, other):
        frequencies[:, :LOW, :LOW] = 0
    energies = [np.einsum("ijk,ijk->i", each, each) for each in (one, other)]
    least = np.minimum(*energies)
    has_detail = (least >= (SIDE_PX * MIN_CONTRAST) ** 2) & (bits <= MAX_BITS)
    scale = np.sqrt(np.where(has_detail, energies[0] * energies[1], np.inf))
    contrast = np.sqrt(least / np.maximum(shown.sum(axis=(1, 2)), FEWEST_SHOWN_PX))
    return np.einsum("ijk,ijk->i", one, other) / scale, contrast


def _filled(pictures: Floats, shown: Mask) -> Floats:
    """Return M pictures whose other pixels are as those near them that are shown, and show no edge."""
    weights = shown.astype(np.float32)
    mean = np.einsum("ijk,ijk->i", pictures, weights) / np.maximum(weights.sum(axis=(1, 2)), 1)
    near = _NEARNESS @ (pictures * weights) @ _NEARNESS + FAR * mean[:, None, None]
    return np.asarray(np.where(shown, pictures, near / (_NEARNESS @ weights @ _NEARNESS + FAR)))


def _colour_change(colours: Floats, pairs: Pairs, both: tuple[Floats, ...], shown: Mask) -> Floats:
    """Return by how many levels M pairs differ: in brightness where they show something, or in tint.

    Tint is known of the whole pictures alone; common ground has none to speak of, so it hides a part.
    """
    part = np.maximum(shown.mean(axis=(1, 2), dtype=np.float32), 1 / SIDE_PX**2)
    one, other = (np.einsum("ijk,ijk->i", each, shown) / SIDE_PX**2 for each in both)
    tints = colours - (colours @ LUMA)[:, None]
    tint = np.abs(tints[pairs[:, 0]] - tints[pairs[:, 1]]).max(axis=1, initial=0)
    return np.asarray(np.maximum(np.abs(one - other), tint) / part)


def _without_ground(thumbnails: Pixels, around: Mask) -> Pixels:
    """Return thumbnails with each one's own ground taken away."""
    shown = thumbnails.copy()
    has_ground = np.flatnonzero(around.any(axis=(1, 2)))
    for block in _blocks(len(has_ground)):
        chosen = has_ground[block]
        without = _filled(thumbnails[chosen].astype(np.float32), ~_widened(around[chosen]))
        shown[chosen] = np.rint(without).astype(np.uint8)
    return shown


def _low(thumbnails: Pixels) -> Floats:
    """Return the lowest frequencies of N thumbnails, (N, 8, 8)."""
    found = np.empty((len(thumbnails), LOW, LOW), np.float32)
    for block in _blocks(len(thumbnails)):
        found[block] = _frequencies(thumbnails[block].astype(np.float32))[:, :LOW, :LOW]
    return found


def _lying(low: Floats, turn: int) -> Floats:
    """Return the frequencies of pictures turned as `thumbnails.turned` does it.

    A mirror image has the odd ones of one direction with another sign; a quarter turn to the left is a
    mirror image along the diagonal, then upside down.
    """
    signs = 1.0 - 2.0 * (np.arange(LOW, dtype=np.float32) % 2)
    for _ in range(turn % 4):
        low = low.swapaxes(1, 2) * signs[:, None]
    return low * signs if turn >= 4 else low


def _frequencies(pictures: Floats) -> Floats:
    from scipy.fft import dctn

    return np.asarray(dctn(pictures, axes=(1, 2), norm="ortho"))


def _bits(frequencies: Floats) -> NDArray[np.uint64]:
    """Return which of the lowest frequencies, of (N, 8, 8) or more, are above their median, uint64 (N,)."""
    low = (frequencies[:, :LOW, :LOW] * _PLAIN).reshape(-1, LOW**2)
    bits = low > np.median(low, axis=1, keepdims=True)
    return np.packbits(bits, axis=1).view(np.uint64)[:, 0]


def _blocks(count: int) -> Iterator[slice]:
    """Yield slices that cover 0 to `count`, of as many thumbnails as are worked on at once."""
    return (slice(start, min(start + BLOCK, count)) for start in range(0, count, BLOCK))
