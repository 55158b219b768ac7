"""Photos that seem to be altered versions of a few pictures, by the features of a backbone."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headstart.base.arrays import Matrix
from headstart.photos.duplicates import frame
from headstart.photos.groups import Groups, Pairs, linked, merged, numbered
from headstart.photos.neighbours import near_vectors

MIN_COSINE = 0.75
"""Of versions, by mobilenet_v2 or efficientnet_lite0, in what `duplicates.directions` makes of features."""

MIN_PART = 0.5
"""Of a class: so much of it must be as near to another of its photos. Of six versions of each photo, turned
by up to 15 degrees, shifted, cropped and lit otherwise, 81 to 100% of a class are; of photos as they were
taken up to 17%."""


@dataclass(frozen=True, eq=False)
class Variants:
    """Classes that seem to consist of altered versions of fewer pictures.

    Attributes:
        pairs: int64 (M, 2), versions of one picture, closest first.
        groups: int32 (N,), in order of first appearance: versions of one picture share a number.
        labels: The classes in question, ascending.
    """

    pairs: Pairs
    groups: Groups
    labels: tuple[int, ...]

    def is_variant(self) -> NDArray[np.bool_]:
        """Return which of N photos have another version among them."""
        return np.asarray(np.bincount(self.groups)[self.groups] > 1)

    def is_divided(self, parts: NDArray[np.int32]) -> NDArray[np.bool_]:
        """Return which of N photos have a version in another part; `parts` is int32 (N,).

        Example:
            >>> found = Variants(np.empty((0, 2), np.int64), np.int32([0, 0, 1, 1, 2]), (0,))
            >>> found.is_divided(np.int32([0, 1, 1, 1, 0])).tolist()
            [True, True, False, False, False]
        """
        places = numbered(zip(self.groups.tolist(), parts.tolist(), strict=True))
        return np.asarray(np.bincount(places)[places] < np.bincount(self.groups)[self.groups])


def find(features: Matrix, labels: NDArray[np.int32], groups: Groups) -> Variants | None:
    """Return the classes that seem to be altered versions of fewer pictures, or None.

    Single photos cannot be told so: two of one scene may be as near. But where half of a class has such a
    neighbour, which is not yet known to belong to it, that is no chance.

    Args:
        features: (N, D), of all photos of a set, by mobilenet_v2 or efficientnet_lite0; not modified. Those
            of one class are in memory at a time.
        labels: int32 (N,), their classes.
        groups: int32 (N,), what is known to belong together; it counts as one photo.
    """
    whole = frame(features)
    pairs, told = [np.empty((0, 2), np.int64)], []
    for label in np.unique(labels).tolist():
        own = np.flatnonzero(labels == label)
        found = own[near_vectors(whole.directions(features[own]), MIN_COSINE)]
        found = found[groups[found[:, 0]] != groups[found[:, 1]]]
        if len(np.unique(groups[found])) >= MIN_PART * len(np.unique(groups[own])):
            pairs.append(found)
            told.append(label)
    if not told:
        return None
    together = np.concatenate(pairs)
    return Variants(together, merged(groups, linked(len(labels), together)), tuple(told))
