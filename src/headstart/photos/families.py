"""Families: photos whose names say that they were made of one, tried on what is on them."""

import itertools
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headstart.base.arrays import Floats
from headstart.photos.duplicates import Pictures
from headstart.photos.groups import Groups, Pairs, members, merged, numbered
from headstart.pictures.thumbnails import LUMA

_WORD = (
    r"(?:copy|aug(?:mented)?|[hv]?flip(?:ped)?|mirror(?:ed)?|rot(?:at(?:ed?|ion))?|crop(?:ped)?"
    r"|bright(?:er|ness)?|dark(?:er)?|blur(?:red)?|nois[ey]|shift(?:ed)?|zoom(?:ed)?|scaled?|resized?|shear"
    r"|transl(?:ated?|ation)?|orig(?:inal)?)"
)
_UUID = r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}"

RULES = {
    "what an export added to their names": re.compile(
        rf"[._ -]+(?:rf[._-])?(?:{_UUID}|[0-9a-f]{{16,}}|(?=[0-9a-f]*[a-f])(?=[0-9a-f]*\d)[0-9a-f]{{6,}})$"
    ),
    "words such as copy, aug, flip or (1)": re.compile(
        rf"^(?:{_WORD}(?:[._ -]+of)?[._ -]*\d*[._ -]+)+|(?:[._ -]*\(\d+\)|[._ -]+{_WORD}[._ -]*-?\d*)+$"
    ),
    "the number at their end": re.compile(r"[._ -]*(?<!\d)\d+$"),
}
"""What names of one family may differ by, in words, and what is taken off a lower-case name to find out."""

LARGEST = 0.2
FEW = 10
"""More than 10 photos that are more than a fifth of their class have a name in common that means nothing, as
in cat_001 to cat_999."""

MIN_SHARE = 0.8
"""Part of comparisons in which a member must be closer than a stranger: 0.92 to 0.96 of photos that were
altered at random (by up to 15 degrees, a tenth of the picture, mirrored or not, a quarter of the light)."""

ERROR = 1e-3
"""At most so probable may that outcome be if names meant nothing (one-sided sign test)."""

LOW = 6
"""The descriptor has the 6 x 6 lowest frequencies."""


@dataclass(frozen=True, eq=False)
class Families:
    """Names that mean something.

    Attributes:
        rule: What the names of a family differ by: a key of `RULES`.
        members: For each family its photos, two or more of one class: positions, ascending.
        n_closer: Comparisons in which a member of the family was closer than a stranger.
        n_asked: All of them.
    """

    rule: str
    members: tuple[tuple[int, ...], ...]
    n_closer: int
    n_asked: int

    def pairs(self) -> Pairs:
        """Return each member but a family's first with the one before it."""
        pairs = [pair[::-1] for family in self.members for pair in itertools.pairwise(family)]
        return np.array(pairs, np.int64).reshape(-1, 2)


def find(paths: Sequence[str], labels: NDArray[np.int32], pictures: Pictures) -> Iterator[Families]:
    """Yield the families of each rule by which their members look more alike than strangers do.

    Photos are drawn by threes, no photo twice: two of a family, and a stranger of their class. If names
    meant nothing, either would be the closer one in half of the cases. A rule counts where the member is in
    at least `MIN_SHARE`, and where chance would bring that about at most in one of 1 / `ERROR` tries. It is
    tried on names in all folders together, and where that fails in each folder by itself. One that puts
    nothing together that those before it have not is passed over.

    Args:
        paths: N names of photos that all differ, with the folders they are in.
        labels: int32 (N,), their classes.
        pictures: Small copies of the same N photos.
    """
    names = [os.path.splitext(os.path.basename(path))[0].casefold() for path in paths]
    folders = [os.path.dirname(path) for path in paths]
    together = numbered(range(len(paths)))
    for rule, pattern in RULES.items():
        stems = _stems(names, pattern)
        for places in ([""] * len(paths), folders):
            groups = _without_crowds(numbered(zip(labels.tolist(), places, stems, strict=True)), labels)
            triples = _triples(groups, labels)
            n_closer = _closer(triples, pictures) if len(triples) else 0
            if n_closer >= MIN_SHARE * len(triples) and _chance(n_closer, len(triples)) <= ERROR:
                before, together = together, merged(together, groups)
                if np.array_equal(before, together):
                    break
                found = tuple(tuple(family) for family in members(groups) if len(family) > 1)
                yield Families(rule, found, n_closer, len(triples))
                break


def _stems(names: Sequence[str], pattern: re.Pattern[str]) -> list[str]:
    """Return names without what a rule takes off, but for a name that others come to: img_1 of img_1_2."""
    stems = [pattern.sub("", name) or name for name in names]
    common = {stem for stem, name in zip(stems, names, strict=True) if stem != name}
    return [name if name in common else stem for name, stem in zip(names, stems, strict=True)]


def _without_crowds(groups: Groups, labels: NDArray[np.int32]) -> Groups:
    """Return groups with those that are far too large for a family taken apart."""
    sizes, of_class = np.bincount(groups)[groups], np.bincount(labels)[labels]
    is_crowd = sizes > np.maximum(FEW, LARGEST * of_class)
    return numbered(
        zip(groups.tolist(), np.where(is_crowd, np.arange(len(groups)), -1).tolist(), strict=True)
    )


def _triples(groups: Groups, labels: NDArray[np.int32]) -> NDArray[np.int64]:
    """Return photos by threes, two relatives and a stranger, int64 (M, 3): the same in each run."""
    random = np.random.default_rng(0)
    triples = []
    for label in np.unique(labels):
        own = np.flatnonzero(labels == label)
        random.shuffle(own)
        families = [own[places] for places in members(groups[own])]
        pairs = [pair for family in families for pair in zip(family[::2], family[1::2], strict=False)]
        random.shuffle(pairs)
        triples += list(_with_strangers(pairs, own.tolist(), groups))
    return np.array(triples, np.int64).reshape(-1, 3)


def _with_strangers(
    pairs: Sequence[tuple[int, int]], own: Sequence[int], groups: Groups
) -> Iterator[tuple[int, int, int]]:
    """Yield pairs with a photo of their class that is of another family and in no pair or triple before.

    Single photos come first; then pairs are given up for strangers.
    """
    paired = {int(index) for pair in pairs for index in pair}
    free = [index for index in own if index not in paired]
    left = [(int(one), int(other)) for one, other in pairs]
    while left:
        one, other = left.pop()
        if not free and left:
            free += left.pop(0)
        for place, stranger in enumerate(free):
            if groups[stranger] != groups[one]:
                del free[place]
                yield one, other, stranger
                break


def _closer(triples: NDArray[np.int64], pictures: Pictures) -> int:
    """Return in how many triples the first is closer to the second than to the third."""
    chosen, places = np.unique(triples, return_inverse=True)
    first, second, third = _described(pictures, chosen)[places.reshape(triples.shape)].transpose(1, 0, 2)
    return int((np.square(first - second).sum(axis=1) < np.square(first - third).sum(axis=1)).sum())


def _described(pictures: Pictures, chosen: NDArray[np.int64]) -> Floats:
    """Return what stays much the same when a picture is altered, (M, D): each part as weighty as the others.

    The sizes of low frequencies, whose signs a mirror image changes; the tint; how light and dark are
    distributed, but not how light it is.
    """
    from scipy.fft import dctn

    grey = pictures.thumbnails[chosen].astype(np.float32)
    sizes = np.abs(dctn(grey, axes=(1, 2), norm="ortho")[:, :LOW, :LOW])
    sizes[:, 0, 0] = 0
    colours = pictures.colours[chosen]
    levels = np.sort(grey.reshape(len(grey), -1), axis=1)[:, 32::64]
    parts = (
        (sizes + sizes.transpose(0, 2, 1)).reshape(len(grey), -1),
        colours - (colours @ LUMA)[:, None],
        levels - levels.mean(axis=1, keepdims=True),
    )
    scaled = []
    for part in parts:
        centred = part - part.mean(axis=0)
        scaled.append(centred / max(float(np.sqrt(np.square(centred).sum(axis=1).mean())), 1e-6))
    return np.concatenate(scaled, axis=1)


def _chance(successes: int, tries: int) -> float:
    """Return how probable so many or more heads are of a fair coin.

    Example:
        >>> round(_chance(9, 10) * 1024)
        11
    """
    from scipy.special import bdtrc

    return float(bdtrc(successes - 1, tries, 0.5)) if successes else 1.0
