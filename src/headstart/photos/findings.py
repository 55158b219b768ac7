"""What the user should know of the photos: what was found, with which of them, and what to do about it."""

import os
import shlex
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headstart.base.words import are, counted, first_few
from headstart.photos.duplicates import Alike
from headstart.photos.families import Families
from headstart.photos.groups import Groups, free_groups, linked, members, merged, missing_parts
from headstart.photos.shortcuts import Shortcut
from headstart.photos.variants import Variants
from headstart.pictures.formats import picture_extensions
from headstart.pictures.thumbnails import TURNS
from headstart.sources import labels as labelling
from headstart.sources.dataset import Dataset, SetAside
from headstart.sources.layouts import LOOSE, bare_folders

KINDS = {
    "unsupported": "Pictures of a kind that is not read",
    "unreadable": "Unreadable",
    "conflict": "One photo in two classes",
    "leak": "One photo or group in two parts",
    "labels": "Labels that may be no classes",
    "shortcut": "Classes told without looking at what is on the photos",
    "duplicate": "Copies",
    "near_duplicate": "Near-duplicates",
    "family": "Versions of one photo, by name",
    "variant": "Altered versions of a few pictures",
    "lookalike": "Perhaps one photo or one thing twice",
    "crowd": "Photos too alike to keep together",
    "small_class": "Classes too small",
    "empty_class": "Empty classes",
    "unlabelled": "Photos without a class",
    "imbalance": "Classes of unequal size",
    "odd_size": "Odd sizes",
    "wrong_type": "Names that say another type",
    "passed_over": "Files passed over",
}
"""What a finding can be, gravest first, and the words for it."""

COPY_KINDS = ("variant", "crowd")
"""Kinds of copies that may stand on two sides of a split that Headstart made."""

IMBALANCE = 3.0
"""Ratio of the largest to the smallest class from which on it is remarked upon, and `auto` weighs classes."""

TINY_PX = 32
"""A shorter side below this is odd, unless it is at least half of what is usual here."""

LONG = 4.0
"""A photo longer than so many times its width is odd, unless it is less than twice as long as is usual."""

SHOWN = 5
"""Paths that a sentence names at most."""


@dataclass(frozen=True)
class Finding:
    """One thing about the photos that the user should know.

    Attributes:
        kind: One of `KINDS`.
        paths: The photos concerned, relative to the dataset's root.
        detail: What was found, in whole sentences.
        advice: What to do about it, in whole sentences.
    """

    kind: str
    paths: tuple[str, ...]
    detail: str
    advice: str


def in_order(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """Return findings in the order of `KINDS`, and of one kind as they come."""
    kinds = list(KINDS)
    return tuple(sorted(findings, key=lambda finding: kinds.index(finding.kind)))


def unreadable(quarantine: Sequence[SetAside], again: Collection[str]) -> Iterator[Finding]:
    """Say of each photo that cannot be read why.

    Args:
        quarantine: The photos.
        again: Paths of those that the machine failed at.
    """
    for item in quarantine:
        detail = f"{item.path} cannot be read and is left out. {item.reason}"
        advice = "The next run tries it again." if item.path in again else "Replace or remove it."
        yield Finding("unreadable", (item.path,), detail, advice)


def labels(dataset: Dataset) -> Iterator[Finding]:
    """Say which labels look like several at once, like a measurement, or like another label."""
    counts = np.bincount(dataset.labels, minlength=len(dataset.class_names)).tolist()
    for doubt in labelling.doubts(dataset.class_names, counts):
        advice = f"{doubt.advice} If they are meant as they are, nothing need be done."
        yield Finding("labels", (), doubt.detail, advice)


def copies(dataset: Dataset, exact: Groups) -> Iterator[Finding]:
    """Say of each group of exact copies whether it crosses classes, given parts, or neither."""
    for group in members(exact):
        if len(group) > 1:
            yield from _repeated(dataset, group, "is also", "one photo", "duplicate")


def near_duplicates(dataset: Dataset, exact: Groups, near: Groups, alike: Alike) -> Iterator[Finding]:
    """Say the same of each group of near-duplicates, and whether they are mirrored or turned.

    Args:
        dataset: N photos.
        exact: Groups of exact copies.
        near: Groups of what is kept together; pairs that are not are passed over.
        alike: Pairs of near-duplicates.
    """
    is_kept = near[alike.pairs[:, 0]] == near[alike.pairs[:, 1]]
    groups = merged(exact, linked(len(dataset), alike.pairs[is_kept]))
    turned: dict[int, str] = {}
    for (late, _), turn in zip(alike.pairs[is_kept].tolist(), alike.turns[is_kept].tolist(), strict=True):
        if turn:
            turned.setdefault(int(groups[late]), TURNS[turn])
    for number, group in enumerate(members(groups)):
        n_different = len(set(exact[group].tolist()))
        if n_different > 1:
            how = turned.get(number, "")
            how = f", {how}" if how and n_different == 2 else ", some mirrored or turned" if how else ""
            yield from _repeated(dataset, group, "looks like", "nearly one photo", "near_duplicate", how)


def families(dataset: Dataset, found: Sequence[Families]) -> Iterator[Finding]:
    """Say by which names photos look to be versions of one, and how many of those stand in several parts."""
    for one in found:
        some = first_few([dataset.paths[index] for index in one.members[0]])
        share = f"in {one.n_closer:,} of {one.n_asked:,} comparisons"
        same = f"names differ by {one.rule} alone"
        detail = (
            f"{sum(map(len, one.members)):,} photos are in {counted(len(one.members), 'family', 'families')} "
            f"whose {same}, such as {some}. They look more alike than others of their class do, {share}."
        )
        paths = tuple(dataset.paths[index] for family in one.members for index in family)
        yield Finding(
            "family", paths, detail, "Each stays in one part, as far as that leaves enough to divide."
        )
        divided = [family for family in one.members if len({dataset.given_parts[i] for i in family}) > 1]
        if divided:
            names = sorted({dataset.given_parts[index] for family in divided for index in family})
            paths = tuple(dataset.paths[index] for family in divided for index in family)
            detail = (
                f"{counted(len(divided), 'family', 'families')} of photos whose {same} "
                f"{_stand(divided)} in several of the parts {', '.join(names)}, such as "
                f"{first_few([dataset.paths[index] for index in divided[0]])}."
            )
            yield Finding(
                "leak", paths, detail, "Keep each in one part: scores on what was trained on flatter."
            )


ADVICE = {
    "duplicate": "Copies stay in one part; remove all but one.",
    "near_duplicate": "They stay in one part; nothing need be done.",
}


def _repeated(
    dataset: Dataset, group: Sequence[int], verb: str, noun: str, kind: str, how: str = ""
) -> Iterator[Finding]:
    paths = tuple(dataset.paths[index] for index in group)
    names = sorted({dataset.class_names[dataset.labels[index]] for index in group})
    parts = sorted({dataset.given_parts[index] for index in group})
    same = f"{paths[0]} {verb} {first_few(paths[1:])}{how}"
    if len(names) > 1:
        detail = f"{same}: {noun} in the classes {first_few(names)}."
        advice = (
            "Keep it in the class where it belongs."
            if kind == "duplicate"
            else "See which class is right; if each is, nothing need be done: they stay in one part."
        )
        yield Finding("conflict", paths, detail, advice)
    if len(parts) > 1:
        detail = f"{same}: {noun} in the parts {', '.join(parts)}."
        yield Finding(
            "leak", paths, detail, "Keep it in one part: scores on a photo seen in training flatter."
        )
    if len(names) == len(parts) == 1:
        yield Finding(kind, paths, f"{same}.", ADVICE[kind])


def lookalikes(dataset: Dataset, groups: Groups, backbone: str) -> Iterator[Finding]:
    """Say of each group that its photos are as near in the features of a backbone as mirror images are."""
    for group in members(groups):
        if len(group) > 1:
            paths = tuple(dataset.paths[index] for index in group)
            names = sorted({dataset.class_names[dataset.labels[index]] for index in group})
            parts = sorted({dataset.given_parts[index] for index in group})
            where = f", in the classes {first_few(names)}" if len(names) > 1 else ""
            where += f", in the parts {', '.join(parts)}" if len(parts) > 1 else ""
            detail = f"{paths[0]} may show the same as {first_few(paths[1:])}{where}."
            advice = (
                f"Found by the features of {backbone}, which now and then take two like things for one: look "
                "at them. The same thing belongs in one class and one part; --fix group writes a table that "
                "keeps it together."
            )
            yield Finding("lookalike", paths, detail, advice)


def variants(
    paths: Sequence[str], labels: NDArray[np.int32], names: Sequence[str], found: Variants, backbone: str
) -> Finding:
    """Say that classes seem to consist of altered versions of fewer pictures.

    Args:
        paths: N photos, in the order in which the versions were sought.
        labels: int32 (N,), their classes.
        names: The names of the C classes.
        found: What was found.
        backbone: The name of the backbone by whose features they were found.
    """
    chosen = np.flatnonzero(found.is_variant() & np.isin(labels, found.labels))
    own = [paths[index] for index in chosen.tolist()]
    groups = [[own[place] for place in group] for group in members(found.groups[chosen])]
    largest = max(groups, key=len)
    classes = first_few([f"'{names[label]}'" for label in found.labels])
    detail = (
        f"{counted(len(chosen), 'photo')} of {classes} seem to be altered versions of "
        f"{counted(len(groups), 'picture')}, turned, shifted, cropped or lit otherwise, such as "
        f"{first_few(largest)}. Found by the features of {backbone}."
    )
    advice = (
        "Look at them. Scores flatter where versions of one picture stand in several parts: say what belongs "
        "together with --group-by, or have headstart check write a table of it with --fix group."
    )
    return Finding("variant", tuple(own), detail, advice)


def divided_keys(dataset: Dataset) -> Iterator[Finding]:
    """Say of each group of the user's that stands in several given parts."""
    groups: defaultdict[str, list[int]] = defaultdict(list)
    for index, key in enumerate(dataset.group_keys):
        groups[key].append(index)
    groups.pop("", None)
    for key, group in groups.items():
        parts = sorted({dataset.given_parts[index] for index in group})
        if len(parts) > 1:
            paths = tuple(dataset.paths[index] for index in group)
            detail = f"Group '{key}' of --group-by is in the parts {', '.join(parts)}: {first_few(paths)}."
            yield Finding(
                "leak", paths, detail, "Keep it in one part: scores on what was trained on flatter."
            )


def crowds(dataset: Dataset, broken_up: Sequence[str]) -> Iterator[Finding]:
    """Say of which classes near-duplicates were not all kept together."""
    for name in broken_up:
        detail = (
            f"So many photos of class '{name}' look alike that keeping them together would leave too little "
            "to divide: some stand in several parts, and scores flatter."
        )
        advice = (
            "Say what belongs together with --group-by, such as the camera or the day, or add other photos."
        )
        yield Finding("crowd", _paths_of(dataset, dataset.class_names.index(name)), detail, advice)


def shortcuts(found: Sequence[Shortcut]) -> Iterator[Finding]:
    """Say which classes can be told by a property that has nothing to do with what is on the photos."""
    for one in found:
        detail = (
            f"Class '{one.class_name}' can be told by its {one.trait} alone: a simple rule finds "
            f"{one.recall:.0%} of its photos, and {one.false_rate:.0%} of the others. "
            f"Typical of it: {one.typical}; of the others: {one.others}."
        )
        advice = f"Make the classes alike in {one.trait}, or a network may learn that instead."
        yield Finding("shortcut", (), detail, advice)


def small_classes(dataset: Dataset, groups: Groups) -> Iterator[Finding]:
    """Say which classes cannot be divided, or have no photo in a given part."""
    missing = missing_parts(dataset)
    noun = "group" if dataset.group_keys else "different photo"
    for label, free in enumerate(free_groups(dataset, groups)):
        name, paths = dataset.class_names[label], _paths_of(dataset, label)
        if missing and len(free) <= len(missing):
            detail = f"Class '{name}' has {counted(len(free), noun)} to divide into {1 + len(missing)} parts."
            yield Finding("small_class", paths, detail, "Add photos of it, or leave it out with --exclude.")
        held = {dataset.given_parts[index] for index in np.flatnonzero(dataset.labels == label)}
        for part in sorted(set(dataset.given_parts) - held - {""}):
            detail = f"Class '{name}' has no photo in the {part} part that was given."
            yield Finding(
                "small_class", paths, detail, "Add photos of it there, or leave it out with --exclude."
            )


def empty_classes(dataset: Dataset) -> Iterator[Finding]:
    """Say which class folders hold no picture."""
    for name in dataset.empty_classes:
        yield Finding(
            "empty_class",
            (),
            f"The folder of class '{name}' holds no picture that is read, so the class is left out.",
            "Add photos to it, or remove the folder.",
        )


def unlabelled(dataset: Dataset) -> Iterator[Finding]:
    """Say which photos lie beside the class folders, and which parts have no class folders."""
    loose = tuple(item.path for item in dataset.ignored if item.reason == LOOSE)
    if loose:
        detail = f"{counted(len(loose), 'photo')} in no class folder: {first_few(loose)}."
        advice = f"Left out; move {'it' if len(loose) == 1 else 'each'} into the folder of its class."
        yield Finding("unlabelled", loose, detail, advice)
    for folder, paths in bare_folders(dataset.ignored).items():
        detail = (
            f"'{folder}' has no class folders, so its {counted(len(paths), 'photo')} {_have(paths)} no label."
        )
        advice = (
            "Left out, for nothing can be measured on them; "
            f"`headstart predict RUN {shlex.quote(f'PHOTOS/{folder}')}` says what they show."
        )
        yield Finding("unlabelled", paths, detail, advice)


def imbalance(dataset: Dataset) -> Iterator[Finding]:
    """Say when the largest class has at least `IMBALANCE` times as many photos as the smallest."""
    counts = np.bincount(dataset.labels, minlength=len(dataset.class_names)).tolist()
    most, least = counts.index(max(counts)), counts.index(min(counts))
    if counts[least] and counts[most] >= IMBALANCE * counts[least]:
        detail = (
            f"Class '{dataset.class_names[most]}' has {counted(counts[most], 'photo')}, "
            f"'{dataset.class_names[least]}' {counts[least]:,}."
        )
        advice = "Look at the scores class by class; rare classes weigh more in training (--class-weight)."
        yield Finding("imbalance", (), detail, advice)


def odd_sizes(dataset: Dataset, sizes_px: NDArray[np.int32]) -> Iterator[Finding]:
    """Say which photos are tiny or very long beside the others; `sizes_px` is (N, 2)."""
    if not len(dataset):
        return
    shorter, longer = sizes_px.min(axis=1), sizes_px.max(axis=1)
    ratio = longer / shorter
    for is_odd, what, advice in (
        (
            shorter < min(TINY_PX, np.median(shorter) / 2),
            f"a side of less than {TINY_PX} pixels",
            "They are blown up to what a backbone is fed; see whether they are photos at all.",
        ),
        (
            ratio > max(LONG, 2 * np.median(ratio)),
            f"a side more than {LONG:.0f} times as long as the other",
            "They are squashed into a square: crop them by hand, or give --fit pad.",
        ),
    ):
        paths = tuple(dataset.paths[index] for index in np.flatnonzero(is_odd))
        if paths:
            detail = f"{counted(len(paths), 'photo')} {_have(paths)} {what}: {first_few(paths)}."
            yield Finding("odd_size", paths, detail, advice)


def wrong_types(dataset: Dataset, formats: Sequence[str]) -> Iterator[Finding]:
    """Say which photos are of another type than their extension says."""
    paths: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
    for path, format_name in zip(dataset.paths, formats, strict=True):
        suffix = os.path.splitext(path)[1].casefold()
        if picture_extensions().get(suffix, format_name).replace("MPO", "JPEG") != format_name:
            paths[suffix, format_name].append(path)
    for (suffix, format_name), wrong in paths.items():
        many = counted(len(wrong), "photo")
        detail = f"{many} named {suffix} {are(wrong)} of type {format_name}: {first_few(wrong)}."
        yield Finding(
            "wrong_type", tuple(wrong), detail, "They are used as what they are; nothing need be done."
        )


def _paths_of(dataset: Dataset, label: int) -> tuple[str, ...]:
    return tuple(dataset.paths[index] for index in np.flatnonzero(dataset.labels == label))


def _stand(items: Sequence[object]) -> str:
    return "stands" if len(items) == 1 else "stand"


def _have(items: Sequence[object]) -> str:
    return "has" if len(items) == 1 else "have"
