"""Which photos must stay together: copies, near-duplicates, and what the user groups by."""

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from headstart.sources.dataset import Dataset

Groups = NDArray[np.int32]
"""One number for each of N photos, 0 to G - 1 in order of first appearance; a group shares its number."""

Pairs = NDArray[np.int64]
"""(M, 2): positions of two photos each, closest pair first."""

MOST = 0.5
FEW = 10
"""A group of more than half of a class, and of more than 10 photos, leaves too little to divide."""

PIECES = 10
"""Into at least so many groups such a class is broken up."""


def numbered(keys: Iterable[Hashable]) -> Groups:
    """Number keys in order of first appearance.

    Example:
        >>> numbered(["b", "a", "b"]).tolist()
        [0, 1, 0]
    """
    numbers: dict[Hashable, int] = {}
    return np.array([numbers.setdefault(key, len(numbers)) for key in keys], np.int32)


def by_key(keys: Sequence[str]) -> Groups:
    """Number keys alike; each empty one is a group of its own.

    Example:
        >>> by_key(["b", "", "a", "b", ""]).tolist()
        [0, 1, 2, 0, 3]
    """
    return numbered(key or position for position, key in enumerate(keys))


def linked(count: int, pairs: Pairs) -> Groups:
    """Group the members of pairs, and of pairs of pairs (single linkage).

    Example:
        >>> linked(5, np.array([[3, 1], [4, 3]])).tolist()
        [0, 1, 2, 1, 1]
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    graph = coo_array((np.ones(len(pairs), np.int8), (pairs[:, 0], pairs[:, 1])), shape=(count, count))
    return numbered(connected_components(graph, directed=False)[1].tolist())


def linked_up_to(count: int, pairs: Pairs, largest: int) -> Groups:
    """Group the members of pairs, closest pair first, but never more than `largest` photos together.

    Example:
        >>> linked_up_to(4, np.array([[3, 2], [2, 1], [1, 0]]), 2).tolist()
        [0, 0, 1, 1]
    """
    above, size = list(range(count)), [1] * count

    def top(position: int) -> int:
        while above[position] != position:
            above[position] = above[above[position]]
            position = above[position]
        return position

    for pair in pairs.tolist():
        one, other = map(top, pair)
        if one != other and size[one] + size[other] <= largest:
            above[other] = one
            size[one] += size[other]
    return numbered(top(position) for position in range(count))


def merged(*groupings: Groups) -> Groups:
    """Return the finest grouping that keeps together what any of these does.

    Example:
        >>> merged(np.int32([0, 0, 1, 2, 3]), np.int32([0, 1, 1, 2, 3])).tolist()
        [0, 0, 0, 1, 2]
    """
    pairs = []
    for grouping in groupings:
        _, first, inverse = np.unique(grouping, return_index=True, return_inverse=True)
        pairs.append(np.stack([np.arange(len(grouping)), first[inverse]], axis=1))
    return linked(len(groupings[0]), np.concatenate(pairs))


def near_groups(dataset: Dataset, certain: Groups, pairs: Pairs) -> tuple[Groups, tuple[str, ...]]:
    """Group near-duplicates, as far as every class can still be divided.

    A chain of pictures each like the next, or a camera that never moves, can put most of a class into one
    group. Such a class is broken up, its closest pairs staying together: into groups of at most a tenth of
    it, and if it is then still tied together by other groups, into single photos.

    Args:
        dataset: N photos.
        certain: Groups that stay as they are: copies, and what the user groups by.
        pairs: Near-duplicates.

    Returns:
        The groups of near-duplicates, and the names of the classes that were broken up, sorted.
    """
    near = linked(len(dataset), pairs)
    hopeless = _swallowed(dataset, certain)
    broken: set[int] = set()
    for pieces in (PIECES, len(dataset)):
        swallowed = _swallowed(dataset, merged(certain, near)) - hopeless
        if not swallowed:
            break
        broken |= swallowed
        smallest = min(int((dataset.labels == label).sum()) for label in swallowed)
        near = _broken_up(near, pairs, np.isin(dataset.labels, list(swallowed)), max(1, smallest // pieces))
    return near, tuple(sorted(dataset.class_names[label] for label in broken))


def _broken_up(near: Groups, pairs: Pairs, is_swallowed: NDArray[np.bool_], largest: int) -> Groups:
    """Return the groups with those that have a swallowed photo linked anew, up to a size."""
    touched = np.isin(near, near[is_swallowed])
    inside = linked_up_to(len(near), pairs[touched[pairs[:, 0]]], largest)
    return numbered(zip(near.tolist(), np.where(touched, inside, -1).tolist(), strict=True))


def _swallowed(dataset: Dataset, groups: Groups) -> set[int]:
    """Return the labels of classes that have too few groups to divide, or one far too large."""
    missing = missing_parts(dataset)
    if not missing:
        return set()
    sizes = [[len(group) for group in pool] for pool in free_groups(dataset, groups)]
    return {
        label
        for label, own in enumerate(sizes)
        if len(own) <= len(missing) or max(own) > max(FEW, MOST * sum(own))
    }


def missing_parts(dataset: Dataset) -> tuple[str, ...]:
    """Return which of test and validation were not given, and are therefore to be cut from train."""
    return tuple(part for part in ("test", "validation") if part not in set(dataset.given_parts))


def free_groups(dataset: Dataset, groups: Groups) -> list[list[list[int]]]:
    """Return, for each class, its groups that may be divided: those with no member in a given other part.

    A group of several classes counts with its commonest label, the first of equals.

    Args:
        dataset: N photos.
        groups: int32 (N,).

    Returns:
        C lists of groups, each a list of indices.
    """
    free: list[list[list[int]]] = [[] for _ in dataset.class_names]
    for group in members(groups):
        if {dataset.given_parts[index] for index in group} <= {"", "train"}:
            labels = sorted(dataset.labels[group].tolist())
            free[Counter(labels).most_common(1)[0][0]].append(group)
    return free


def members(groups: Groups) -> list[list[int]]:
    """Return the positions of the members of each group, ascending.

    Example:
        >>> members(np.int32([0, 1, 0]))
        [[0, 2], [1]]
    """
    found: defaultdict[int, list[int]] = defaultdict(list)
    for index, group in enumerate(groups.tolist()):
        found[group].append(index)
    return list(found.values())
