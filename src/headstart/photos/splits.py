"""Which photos are trained on, chosen by, and measured on: stratified by class, groups kept together."""

import csv
import shlex
import zlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from headstart.base import filenames, records
from headstart.base.errors import RunError, SettingsError, SmallClass
from headstart.base.words import in_a_list
from headstart.photos.audit import Audit
from headstart.photos.groups import free_groups, missing_parts
from headstart.sources import labels as labelling
from headstart.sources.dataset import Dataset

PARTS = ("train", "validation", "test")
_AGAIN = "Run the command again with a new --out."

N_FOLDS = 5

MOST_PINNED = 0.4
"""Part of a class's photos that may be pinned to train: there is room for the other parts then."""

IN_EVERY_FIT = -1
"""The fold of photos that cannot be held out, for without them a class would have none to be fitted on."""


@dataclass(frozen=True, eq=False)
class Split:
    """The part of each of N photos.

    Attributes:
        parts: str (N,), each one of `PARTS`, in the order of the dataset.
    """

    parts: NDArray[np.str_]

    def indices(self, part: str) -> NDArray[np.intp]:
        """Return the indices of the photos in a part, ascending."""
        return np.flatnonzero(self.parts == part)


@dataclass(frozen=True, eq=False)
class Part:
    """The photos of one part.

    Attributes:
        paths: N paths, relative to the dataset's root.
        files: The N absolute paths of the same photos.
        digests: The SHA-256 of each file's bytes, in hexadecimal.
        groups: int32 (N,); photos of equal number are copies, near-duplicates, or of a group of the user's.
        labels: int32 (N,), indices into the class names.
        sample_weights: float32 (N,), mean 1: how much each photo counts in training.
    """

    paths: tuple[str, ...]
    files: tuple[Path, ...]
    digests: tuple[str, ...]
    groups: NDArray[np.int32]
    labels: NDArray[np.int32]
    sample_weights: NDArray[np.float32]

    @property
    def unlabelled(self) -> "Unlabelled":
        """The same photos, of which only the pictures are told."""
        return Unlabelled(self.files, self.digests)


@dataclass(frozen=True, eq=False)
class Unlabelled:
    """Photos as an answer is asked for: nothing of them says what the right one is.

    Attributes:
        files: N, absolute.
        digests: The SHA-256 of each file's bytes, in hexadecimal.
    """

    files: tuple[Path, ...]
    digests: tuple[str, ...]


@dataclass(frozen=True)
class Sealed:
    """All that is told of the test part before the decision: how many photos, and which bytes they are.

    Attributes:
        digests: The SHA-256 of each photo's bytes, in hexadecimal.
    """

    digests: tuple[str, ...]


@dataclass(frozen=True)
class SplitRow:
    """A line of split.csv: a photo, its class name, part and group, and the SHA-256 of its bytes."""

    path: str
    label: str
    part: str
    group: int
    sha256: str


def take_part(audit: Audit, split: Split, name: str, *, is_balanced: bool) -> Part:
    """Return one part; when `is_balanced`, each class counts alike in it, however many photos it has."""
    indices = split.indices(name)
    chosen = audit.dataset.take(indices)
    weights = np.ones(len(chosen))
    if is_balanced:
        counts = np.bincount(chosen.labels, minlength=len(chosen.class_names))
        weights = len(chosen) / (np.count_nonzero(counts) * counts[chosen.labels])
    return Part(
        paths=chosen.paths,
        files=tuple(chosen.file(index) for index in range(len(chosen))),
        digests=tuple(audit.digests[index] for index in indices),
        groups=audit.groups[indices],
        labels=chosen.labels,
        sample_weights=weights.astype(np.float32),
    )


@dataclass(frozen=True, eq=False)
class Fold:
    """A fold: what is trained on while it is held out, and itself, what is chosen by.

    Both are rows of the photos to learn from, ascending. A validation part is a fold that is alone.
    """

    train: NDArray[np.intp]
    validation: NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class Lesson:
    """What is learnt from; no photo of the test part is among it.

    Attributes:
        photos: N, to train on and to choose by.
        folds: Which of them are for what.
        class_names: C names.
    """

    photos: Part
    folds: tuple[Fold, ...]
    class_names: tuple[str, ...]

    @property
    def has_folds(self) -> bool:
        """Whether it is chosen by several folds, each photo held out in one of them at the most."""
        return len(self.folds) > 1

    @property
    def train(self) -> NDArray[np.intp]:
        """The rows that are trained on in any fold, ascending."""
        return np.unique(np.concatenate([fold.train for fold in self.folds]))

    @property
    def validation(self) -> NDArray[np.intp]:
        """The rows that are chosen by, those of the first fold before those of the second."""
        return np.concatenate([fold.validation for fold in self.folds])


def joined(first: Part, second: Part) -> Part:
    """Return the photos of two parts, those of the first before those of the second."""
    return Part(
        paths=(*first.paths, *second.paths),
        files=(*first.files, *second.files),
        digests=(*first.digests, *second.digests),
        groups=np.concatenate([first.groups, second.groups]),
        labels=np.concatenate([first.labels, second.labels]),
        sample_weights=np.concatenate([first.sample_weights, second.sample_weights]),
    )


def folds(train: Part, validation: Part, *, n_folds: int, seed: int) -> tuple[Fold, ...]:
    """Return the folds of train and validation together; for `n_folds` 0 one alone, the validation part.

    The rows are those of `joined(train, validation)`.
    """
    n_train, n = len(train.files), len(train.files) + len(validation.files)
    if not n_folds:
        return (Fold(np.arange(n_train), np.arange(n_train, n)),)
    both = joined(train, validation)
    fold_of = fold_numbers(both.labels, both.groups, n_folds=n_folds, seed=seed)
    found = [
        Fold(np.flatnonzero(fold_of != fold), np.flatnonzero(fold_of == fold)) for fold in range(n_folds)
    ]
    return tuple(fold for fold in found if len(fold.validation))


def held_out_in(folds: Sequence[Fold], count: int) -> NDArray[np.int64]:
    """Return int64 (N,): the fold in which each of N photos is validated on, or `IN_EVERY_FIT`.

    Example:
        >>> held_out_in([Fold(np.array([0, 1]), np.array([2, 3]))], 4).tolist()
        [-1, -1, 0, 0]
    """
    found = np.full(count, IN_EVERY_FIT)
    for number, fold in enumerate(folds):
        found[fold.validation] = number
    return found


def without_whose_group(labels: NDArray[np.integer], groups: NDArray[np.integer]) -> NDArray[np.intp]:
    """Return the rows of photos without whose group every class still has photos, ascending.

    Example:
        >>> without_whose_group(np.array([0, 0, 0, 1, 1, 1]), np.array([0, 1, 1, 2, 2, 1])).tolist()
        [0, 1, 2, 3, 4, 5]
        >>> without_whose_group(np.array([0, 0, 0, 1, 1]), np.array([0, 1, 2, 2, 2])).tolist()
        [0, 1]
    """
    lone = [
        groups[members][0]
        for members in (labels == label for label in np.unique(labels))
        if len(np.unique(groups[members])) == 1
    ]
    return np.flatnonzero(~np.isin(groups, lone))


def fold_numbers(
    labels: NDArray[np.integer], groups: NDArray[np.integer], *, n_folds: int = N_FOLDS, seed: int = 0
) -> NDArray[np.int64]:
    """Return int64 (N,): the fold in which each photo is held out, 0 to n_folds - 1, or `IN_EVERY_FIT`.

    The groups of each class, in random order, are dealt to the folds in turn, so that a fold holds as
    many groups of a class as any other, give or take one. A group of several classes counts with the label
    of its first photo. Every class has photos outside every fold; those of a class that are all of one
    group are never held out, nor is what shares a group with them.

    scikit-learn's StratifiedGroupKFold does not promise that, and with shuffle=True it did not stratify
    before version 1.8 (https://github.com/scikit-learn/scikit-learn/pull/32540).

    Args:
        labels: (N,) in 0..C-1.
        groups: (N,) Photos of equal number are copies of each other or of one burst.
        n_folds: 2 or more.
        seed: Of the generator that orders the groups to be dealt.

    Example:
        >>> fold_numbers(np.array([0, 0, 0, 1, 1, 2]), np.array([0, 1, 1, 2, 3, 4]), n_folds=2).tolist()
        [0, 1, 1, 0, 1, -1]
    """
    _, first, group_of = np.unique(groups, return_index=True, return_inverse=True)
    shuffled = np.random.default_rng(seed).permutation(len(first))
    dealt = shuffled[np.argsort(labels[first[shuffled]], kind="stable")]
    fold_of_group = np.empty(len(first), np.int64)
    fold_of_group[dealt] = np.arange(len(dealt)) % n_folds
    found = fold_of_group[group_of]
    for label in np.unique(labels):
        members = labels == label
        if len(np.unique(found[members])) == 1:
            found[np.isin(groups, groups[members])] = IN_EVERY_FIT
    return found


def split(
    audit: Audit,
    *,
    seed: int,
    validation: float,
    test: float,
    has_validation: bool = True,
    pinned: Collection[int] = (),
) -> Split:
    """Divide readable photos into train, validation and test.

    Each class is divided in the same proportions (largest remainders, at least one photo in each part),
    and the members of a group stay together. Given parts are kept exactly; a validation or test part that
    was not given is cut from train, and its fraction is then one of train. A train photo of a group that
    has a photo in another given part stays in train. The result depends on the paths, labels and groups of
    the photos and on the seed, not on their order; one class's division does not depend on the other
    classes' photos but for rounding.

    Pinned photos stay in train, and their groups with them, as long as that is at most the part of a class
    that `pinnable` says, and leaves a group for each other part. Where groups are so large that it is more,
    those beyond come after all others of their class: they go to another part only where it would fall short.

    Args:
        audit: N readable photos.
        seed: Of NumPy's default generator.
        validation: Part of the photos for validation, above 0.
        test: Part of the photos for test, above 0.
        has_validation: Whether there is to be a validation part; else its photos are in train, given or not.
        pinned: Indices of photos that have had a say in what is trained.

    Raises:
        SmallClass: Classes with too few different photos for that; names them all.
        SettingsError: The two parts leave nothing to train on.
    """
    fractions = {"test": test} | ({"validation": validation} if has_validation else {})
    left = [part for part in missing_parts(audit.dataset) if part in fractions]
    _refuse_nothing_left({part: fractions[part] for part in left})
    parts = np.array([part or "train" for part in audit.dataset.given_parts], dtype="<U10")
    if not has_validation:
        parts[parts == "validation"] = "train"
    pools = _pools(audit, seed)
    _refuse_small_classes(audit, pools)
    sizes = np.array([sum(map(len, pool)) for pool in pools])
    is_pinned = np.zeros(len(parts), bool)
    is_pinned[list(pinned)] = True
    most = pinnable(validation, test)
    kept = [_keep_pinned(pool, is_pinned, most, len(left)) for pool in pools]
    while left:
        part = left.pop(0)
        for label, quota in enumerate(_quotas(sizes, fractions[part])):
            keep = len(left) + (0 if kept[label] else 1)
            taken, pools[label] = _take(pools[label], quota, keep=keep)
            parts[[index for group in taken for index in group]] = part
    return Split(parts)


def leaking(audit: Audit, split: Split) -> NDArray[np.bool_]:
    """Return which photos are test photos of a group that has a photo in train or validation, bool (N,).

    That is so only where parts were given: a copy, a near-duplicate or another photo of the user's group
    was trained on or chosen by, and scores on these flatter.
    """
    is_test = split.parts == "test"
    return np.asarray(is_test & np.isin(audit.groups, audit.groups[~is_test]), dtype=np.bool_)


def write_csv(path: Path, audit: Audit, split: Split) -> None:
    """Write path, label, part, group and SHA-256 of each photo to a CSV file, atomically."""
    dataset = audit.dataset
    names = (dataset.class_names[label] for label in dataset.labels)
    parts, groups = split.parts.tolist(), audit.groups.tolist()
    rows = zip(dataset.paths, names, parts, groups, audit.digests, strict=True)
    records.write_csv(path, filenames.SPLIT_COLUMNS, rows)


def read_csv(path: Path) -> tuple[SplitRow, ...]:
    """Read the lines that `write_csv` wrote.

    Raises:
        RunError: The file is missing, or not a split.
    """
    if not path.is_file():
        raise RunError(f"{path} is missing.", _AGAIN)
    with path.open(encoding="utf-8", errors="surrogateescape", newline="") as stream:
        header, *rows = list(csv.reader(stream)) or [[]]
    if tuple(header) != filenames.SPLIT_COLUMNS or not all(map(_is_split_row, rows)):
        raise RunError(
            f"{path} is not a split: it needs the columns {','.join(filenames.SPLIT_COLUMNS)}.", _AGAIN
        )
    return tuple(SplitRow(path, label, part, int(group), sha256) for path, label, part, group, sha256 in rows)


def _is_split_row(row: Sequence[str]) -> bool:
    return len(row) == len(filenames.SPLIT_COLUMNS) and row[2] in PARTS and row[3].isdecimal()


def _refuse_nothing_left(fractions: dict[str, float]) -> None:
    if sum(fractions.values()) >= 1:
        said = " and ".join(f"{part} is {fraction}" for part, fraction in fractions.items())
        raise SettingsError(
            f"{said}: together they leave nothing to train on.",
            "Give parts of all photos that add up to less than 1.",
        )


def _pools(audit: Audit, seed: int) -> list[list[list[int]]]:
    """Return, for each class, its groups in the order of a draw: those that may leave the train part."""
    dataset = audit.dataset
    free = free_groups(dataset, audit.groups)
    return [
        _draw(pool, dataset.paths, name, seed) for pool, name in zip(free, dataset.class_names, strict=True)
    ]


def pinnable(validation: float, test: float) -> float:
    """Return the part of a class that may be pinned to train, whatever parts are cut from it.

    Example:
        >>> pinnable(0.15, 0.2), round(pinnable(0.3, 0.6), 3)
        (0.4, 0.1)
    """
    return min(MOST_PINNED, max(0.0, 1 - validation - test))


def _keep_pinned(pool: list[list[int]], is_pinned: NDArray[np.bool_], most: float, n_parts: int) -> int:
    """Take the groups that stay in train out of a class's, and return how many those are.

    What is left, at least `n_parts`, has those with a pinned photo at its end.
    """
    free = [group for group in pool if not is_pinned[group].any()]
    # Small ones first, so that as many as can be are kept.
    tied = sorted((group for group in pool if is_pinned[group].any()), key=len)
    room = most * sum(map(len, pool)) + 1e-9
    n_fitting = int(np.count_nonzero(np.cumsum([len(group) for group in tied]) <= room))
    n_kept = min(n_fitting, max(0, len(pool) - n_parts))
    pool[:] = [*free, *tied[n_kept:]]
    return n_kept


def _draw(pool: list[list[int]], paths: Sequence[str], name: str, seed: int) -> list[list[int]]:
    ordered = sorted(pool, key=lambda group: min(paths[index] for index in group))
    random = np.random.default_rng([seed % 2**64, zlib.crc32(name.encode())])
    return [ordered[number] for number in random.permutation(len(ordered))]


def _refuse_small_classes(audit: Audit, pools: Sequence[Sequence[object]]) -> None:
    dataset = audit.dataset
    missing = missing_parts(dataset)
    if missing:
        counts = [len(pool) for pool in pools]
    else:
        is_train = np.array(dataset.given_parts) == "train"
        counts = np.bincount(dataset.labels[is_train], minlength=len(pools)).tolist()
    needed = 1 + len(missing)
    small = {name: count for name, count in zip(dataset.class_names, counts, strict=True) if count < needed}
    if small:
        noun = "groups of photos" if dataset.group_keys else "different readable photos"
        parts = [part for part in PARTS if part == "train" or part in missing]
        raise _no_classes(dataset, len(small)) or _small_class(
            small, noun if missing else "readable photos", parts
        )


def _no_classes(dataset: Dataset, n_small: int) -> SmallClass | None:
    """Return the error where labels look like no classes: then more photos of each are no help."""
    counts = np.bincount(dataset.labels, minlength=len(dataset.class_names)).tolist()
    doubt = next(labelling.doubts(dataset.class_names, counts), None)
    if doubt is None:
        return None
    have = "has" if n_small == 1 else "have"
    return SmallClass(
        f"{doubt.detail} Of these classes {n_small:,} {have} too few photos to divide.",
        f"{doubt.advice} If they are meant as they are, add photos, or leave classes out with --exclude.",
    )


def _small_class(small: dict[str, int], noun: str, parts: Sequence[str]) -> SmallClass:
    is_one = len(small) == 1
    which = "Class" if is_one else "Classes"
    names = in_a_list([f"'{name}' ({count})" for name, count in small.items()])
    verb = "has" if is_one else "have"
    them = "it" if is_one else "them"
    return SmallClass(
        f"{which} {names} {verb} too few {noun}: {in_a_list(parts)} {'takes' if len(parts) == 1 else 'take'} "
        f"at least {len(parts)}.",
        f"Add photos of {them}, or leave {them} out: --exclude {shlex.quote(','.join(small))}",
    )


def _quotas(sizes: NDArray[np.int_], fraction: float) -> list[int]:
    """Return how many photos each class gives to a part: by largest remainders."""
    exact = sizes * fraction
    quotas = np.floor(exact).astype(int)
    short = round(float(exact.sum())) - int(quotas.sum())
    for label in np.argsort(quotas - exact, kind="stable")[:short]:
        quotas[label] += 1
    return [int(quota) for quota in quotas]


def _take(pool: list[list[int]], quota: int, keep: int) -> tuple[list[list[int]], list[list[int]]]:
    """Divide groups into those that fit into `quota` photos, at least one, and the rest, at least `keep`."""
    taken: list[list[int]] = []
    rest: list[list[int]] = []
    room = quota
    for group in pool:
        if len(group) <= room and len(pool) - len(taken) > keep:
            taken.append(group)
            room -= len(group)
        else:
            rest.append(group)
    if not taken:
        smallest = min(rest, key=len)
        rest.remove(smallest)
        taken.append(smallest)
    return taken, rest
