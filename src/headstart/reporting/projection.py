"""Features -> a map of photos in two dimensions, on which like ones lie close together."""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from headstart.base.arrays import Doubles

MAX_SPOTS = 1_500
"""Photos on a map at most: 2.2 s on one core of a server (500 take 0.6 s, 1,000 take 1.5 s, 2,000 take 3 s),
and a page has room for about as many thumbnails."""

FEWEST = 10
"""Below it there are too few neighbours to keep: two principal components show all there is."""

COMPONENTS = 50
"""Principal components that neighbours are looked for in, as scikit-learn advises; van der Maaten and Hinton
(Visualizing data using t-SNE, JMLR 9, 2008) took 30."""

PERPLEXITY = 30.0
"""About how many neighbours of a photo count; for fewer than 91 photos a third of the others."""

ITERATIONS = 500
"""Half of scikit-learn's default, in half the time. Of the 10 nearest of 1,500 photos of clothing 59.8% were
of the same class after 500, and 60.1% after 1,000."""

ANGLE = 0.8
"""How coarsely far photos are summed up: the coarse end of what scikit-learn calls safe, 0.2 to 0.8. It takes
three quarters of the time of 0.5, its default, and as many of the 10 nearest are of the same class."""

SMALLEST_SPREAD = 1e-6
"""Of features of length 1: below it they differ by rounding alone."""


def choose(keys: Sequence[str], must_have: Iterable[int] = (), *, limit: int = MAX_SPOTS) -> NDArray[np.intp]:
    """Return which photos to put on the map: all, or so many of them as if they were drawn at random.

    Args:
        keys: Of each photo a digest of its bytes: those of the least digests are drawn.
        must_have: Indices of those to take first, the most wanted first; others than these are drawn.
        limit: How many to take at most.

    Returns:
        Indices in ascending order, none twice.

    Example:
        >>> choose(["c0", "a7", "0f", "b1", "5d"], [3], limit=3).tolist()
        [2, 3, 4]
        >>> choose(["c0", "a7"], limit=4).tolist()
        [0, 1]
    """
    first = list(dict.fromkeys(must_have))[:limit]
    rest = sorted({*range(len(keys))} - {*first}, key=lambda index: (keys[index], index))
    return np.sort(np.array([*first, *rest[: limit - len(first)]], np.intp))


def project(features: NDArray[np.floating], *, seed: int = 0) -> Doubles:
    """Return where each photo lies on the map.

    By t-SNE (van der Maaten, Accelerating t-SNE using tree-based algorithms, JMLR 15, 2014) from the first
    `COMPONENTS` principal components of the features, each scaled to length 1; of fewer than `FEWEST`
    photos the first two principal components themselves. Neighbours on the map are neighbours in the
    features; distances between clusters, and how large clusters are, mean little.

    Vectors are scaled because their direction says more than their length: of the 10 nearest of 1,000 photos
    60.4% and 97.6% are of the same class (clothing, animals; mobilenet_v2), and 58.7% and 96.8% unscaled.

    Args:
        features: (N, D), N of 0 or more; not modified. Above `MAX_SPOTS` it takes more than a few seconds.
        seed: Of the search for principal components, the only part that is drawn.

    Returns:
        float64 (N, 2) in [0, 1]. The longer side of the map goes from 0 to 1, the shorter lies in the middle
        at the same scale. The same bits for the same features, seed and machine, however many cores it has.
    """
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    directions = _directions(features)
    if len(features) < 2 or np.ptp(directions, axis=0).max() < SMALLEST_SPREAD:
        return np.full((len(features), 2), 0.5)
    # OpenMP's threads wait for each other in a busy loop: beside other programs 1,000 iterations on 1,500
    # photos took 47 and 54 s with two of them, and 9 s with one.
    with threadpool_limits(limits=1):
        components = PCA(min(COMPONENTS, *directions.shape), random_state=seed).fit_transform(directions)
        if len(features) < FEWEST or components.shape[1] < 2:
            return _framed(components[:, :2])
        search = TSNE(
            perplexity=min(PERPLEXITY, (len(features) - 1) / 3),
            init="pca",
            max_iter=ITERATIONS,
            angle=ANGLE,
            random_state=seed,
            n_jobs=1,
        )
        return _framed(search.fit_transform(components))


def described(n: int, backbone: str) -> str:
    """Return how a map of n photos was made, a sentence for those who look at it.

    Example:
        >>> described(7, "tiny")
        'The first two principal components of the features of 7 photos by tiny.'
    """
    features = f"features of {n:,} {'photo' if n == 1 else 'photos'} by {backbone}"
    if n < FEWEST:
        return f"The first two principal components of the {features}."
    return (
        f"t-SNE of the {features}: photos that lie close together are alike in them; how far apart clusters "
        "lie, and how large they are, means little."
    )


def _directions(features: NDArray[np.floating]) -> Doubles:
    """Return vectors of length 1, float64; those of length 0 stay 0."""
    wide = np.asarray(features, np.float64)
    lengths = np.linalg.norm(wide, axis=1, keepdims=True)
    return np.asarray(wide / np.where(lengths > 0, lengths, 1))


def _framed(positions: NDArray[np.floating]) -> Doubles:
    """Return positions, (N, 1 or 2), as (N, 2) shifted and scaled alike in both until they fill [0, 1]."""
    flat = np.zeros((len(positions), 2))
    flat[:, : positions.shape[1]] = positions
    low, high = flat.min(axis=0), flat.max(axis=0)
    return np.asarray(0.5 + (flat - (low + high) / 2) / (high - low).max()).clip(0, 1)
