"""How unlike the training photos a picture is: its distance from them, in the features of a backbone.

A photo's features are one point among those of its class. Each class is summed up by the centres of a few
clusters, and a picture's score is its cosine distance to the nearest of them all, from 0 to 2. From where
on a picture is called novel is for `calibration.refusal` to say.
"""

import numpy as np
from numpy.typing import NDArray

from headstart.base.arrays import Floats, Integers, Matrix, Rows
from headstart.photos.splits import IN_EVERY_FIT

CENTRES, MAX_REFERENCES = 10, 200
"""Centres of a class, and of all classes; of more classes than that, one each: what the head itself takes.

Areas under the ROC curve, photos of clothing and of animals told from each other and from fabric, the least
of mobilenet_v2 and efficientnet_lite0: 0.995 with 10 centres a class (0.5 MB for 10 classes), 0.986 with one,
0.999 with every photo (8 MB and more); by Mahalanobis distance (Lee et al., NeurIPS 2018) 0.87, by the
largest probability 0.84. One animal of five, left out, told from the others: 0.98 and 0.99 with 10 centres
and with every photo, 0.97 and 0.98 with one.
"""

MAX_PHOTOS = 1000
"""Photos that centres are taken from; 3,068 of clothing gave the same as 1,000."""

TINY = float(np.finfo(np.float32).tiny)


BLOCK = 1024
"""Photos whose scores are computed at a time."""


def references(features: Matrix, labels: Integers, *, seed: int = 0) -> Floats:
    """Return what novelty is measured from: the centres of clusters of each class, each of length 1.

    Clusters are those of k-means on features of length 1, of `sample` of the photos.

    Args:
        features: (N, D).
        labels: (N,) classes.
        seed: Of the choice of photos, and of where k-means starts.

    Returns:
        float32 (R, D), class by class; R is at most `MAX_REFERENCES`, or the number of classes.
    """
    return _references(features, labels, np.arange(len(labels)), seed)


def _references(features: Matrix, labels: Integers, rows: Rows, seed: int) -> Floats:
    from threadpoolctl import threadpool_limits

    kept = rows[sample(labels[rows], seed=seed)]
    unit, own = _unit(features[kept]), labels[kept]
    classes = np.unique(own)
    most = max(1, min(CENTRES, MAX_REFERENCES // len(classes)))
    # A class is over before threads have met: with them it takes four times the processor time. To find them
    # among all libraries takes as long as a class does, so it is done for all classes at once.
    with threadpool_limits(1):
        centres = [_centres(unit[own == one], most, seed) for one in classes]
    return _unit(np.concatenate(centres))


def _centres(unit: Floats, most: int, seed: int) -> Floats:
    from sklearn.cluster import KMeans

    n_different = len({row.tobytes() for row in unit})
    fitted = KMeans(min(most, n_different), n_init=1, random_state=seed).fit(unit)
    return np.asarray(fitted.cluster_centers_)


def sample(labels: Integers, *, seed: int = 0) -> NDArray[np.intp]:
    """Return the rows of at most `MAX_PHOTOS` photos, ascending: as many of each class as can be.

    Example:
        >>> rows = sample(np.repeat([0, 1], [5000, 20]))
        >>> len(rows), int((rows >= 5000).sum())
        (1000, 20)
    """
    order = np.random.default_rng(seed).permutation(len(labels))
    turn = np.empty(len(labels), int)
    for one in np.unique(labels):
        members = order[labels[order] == one]
        turn[members] = np.arange(len(members))
    return np.sort(order[np.argsort(turn[order], kind="stable")][:MAX_PHOTOS])


def scores(features: Floats, references: Floats) -> Floats:
    """Return the cosine distance to the nearest reference: float32 (N,), from 0 to 2, for features (N, D).

    Example:
        >>> scores(np.float32([[3, 0], [-1, 0]]), np.float32([[1, 0], [0, 1]])).tolist()
        [0.0, 1.0]
    """
    return np.asarray(1 - (_unit(features) @ references.T).max(axis=1))


def out_of_fold(features: Matrix, labels: Integers, fold_of: Integers, *, seed: int = 0) -> Floats:
    """Return the score of each photo by references from the other folds: what a new photo's would be.

    Args:
        features: (N, D), read in blocks.
        labels: (N,) classes.
        fold_of: (N,) from `splits.fold_numbers`: the fold in which a photo is held out, or `IN_EVERY_FIT`.
        seed: Of the generator that `references` draws by.

    Returns:
        float32 (M,), in their order, of the M photos that some fold holds out.
    """
    found = np.empty(len(labels), np.float32)
    is_held_out = fold_of != IN_EVERY_FIT
    for fold in np.unique(fold_of[is_held_out]):
        others = _references(features, labels, np.flatnonzero(fold_of != fold), seed)
        asked = np.flatnonzero(fold_of == fold)
        for first in range(0, len(asked), BLOCK):
            rows = asked[first : first + BLOCK]
            found[rows] = scores(features[rows], others)
    return np.asarray(found[is_held_out])


def _unit(features: NDArray[np.floating]) -> Floats:
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    return np.asarray(features / np.maximum(lengths, TINY), dtype=np.float32)
