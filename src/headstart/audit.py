"""Each photo read once: which are unreadable, copied, in two classes or parts, or too few."""

import hashlib
import os
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headstart import pixels, records
from headstart.dataset import Dataset, SetAside, picture_extensions
from headstart.errors import UnreadableImage
from headstart.progress import Progress
from headstart.store import Kind, Store

KIND: Kind = "checks"
"""What the findings of single files are called in the store."""

CHUNK = 8
"""Files that a thread holds at once."""

KINDS = ("unreadable", "conflict", "leak", "duplicate", "small_class", "empty_class", "wrong_type")
"""What a finding can be, gravest first."""


@dataclass(frozen=True)
class Finding:
    """One thing about the photos that the user should know.

    Attributes:
        kind: One of `KINDS`.
        paths: The photos concerned, relative to the dataset's root.
        detail: What was found, a sentence.
        advice: What to do about it, a sentence.
    """

    kind: str
    paths: tuple[str, ...]
    detail: str
    advice: str


@dataclass(frozen=True, eq=False)
class Audit:
    """What reading every photo showed.

    Attributes:
        dataset: The N readable photos, under the class names of all.
        digests: N SHA-256 digests of the files' bytes, in hexadecimal.
        groups: int32 (N,), 0 to G - 1 in order of first appearance; exact copies share a number.
        quarantine: Unreadable photos, each with the reason.
        findings: In the order of `KINDS`.
    """

    dataset: Dataset
    digests: tuple[str, ...]
    groups: NDArray[np.int32]
    quarantine: tuple[SetAside, ...] = ()
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True)
class _Check:
    """One file: its digest and format, or why it is unreadable."""

    digest: str = ""
    format: str = ""
    reason: str = ""


def audit(dataset: Dataset, *, store: Store, progress: Progress) -> Audit:
    """Read each photo, decode those not decoded before, in threads, and say what is amiss with them.

    Memory does not grow with the size of the photos. A photo that cannot be decoded goes to quarantine;
    it is never replaced, and nothing on disk is changed.

    Args:
        dataset: Photos as listed.
        store: Where what was found of a photo's bytes is kept.
        progress: Told of each photo.
    """
    checks = []
    with progress.stage("Checking photos", len(dataset)) as advance:
        files = [os.fspath(dataset.file(index)) for index in range(len(dataset))]
        for found in pixels.map_in_order(lambda chunk: _check(chunk, store), pixels.batches(files, CHUNK)):
            checks += found
            advance(len(found))
    kept = [index for index, check in enumerate(checks) if not check.reason]
    readable = dataset.take(kept)
    groups = _number([checks[index].digest for index in kept])
    quarantine = tuple(
        SetAside(path, check.reason)
        for path, check in zip(dataset.paths, checks, strict=True)
        if check.reason
    )
    findings = (
        *_unreadable(quarantine),
        *_copies(readable, groups),
        *_small_classes(readable, groups),
        *_empty_classes(dataset),
        *_wrong_types(readable, [checks[index].format for index in kept]),
    )
    return Audit(
        dataset=readable,
        digests=tuple(checks[index].digest for index in kept),
        groups=groups,
        quarantine=quarantine,
        findings=tuple(sorted(findings, key=lambda finding: KINDS.index(finding.kind))),
    )


def missing_parts(dataset: Dataset) -> tuple[str, ...]:
    """Return which of test and validation were not given, and are therefore to be cut from train."""
    return tuple(part for part in ("test", "validation") if part not in set(dataset.given_parts))


def free_groups(dataset: Dataset, groups: NDArray[np.int32]) -> list[list[list[int]]]:
    """Return, for each class, its groups that may be divided: those with no member in a given other part.

    A group of several classes counts with its commonest label, the first of equals.

    Args:
        dataset: N photos.
        groups: int32 (N,).

    Returns:
        C lists of groups, each a list of indices.
    """
    members: defaultdict[int, list[int]] = defaultdict(list)
    for index, group in enumerate(groups.tolist()):
        members[group].append(index)
    free: list[list[list[int]]] = [[] for _ in dataset.class_names]
    for group in members.values():
        if {dataset.given_parts[index] for index in group} <= {"", "train"}:
            labels = sorted(dataset.labels[group].tolist())
            free[Counter(labels).most_common(1)[0][0]].append(group)
    return free


def _check(files: Sequence[str], store: Store) -> list[_Check]:
    """Return what each file is; those whose bytes were decoded before are only read."""
    contents = [_read(file) for file in files]
    digests = ["" if isinstance(one, _Check) else hashlib.sha256(one).hexdigest() for one in contents]
    kept = store.get([_key(digest) for digest in digests if digest])
    found, new = [], []
    for content, digest in zip(contents, digests, strict=True):
        if isinstance(content, _Check):
            found.append(content)
        elif _key(digest) in kept:
            found.append(records.from_bytes(kept[_key(digest)], _Check))
        else:
            found.append(_decode(content, digest))
            new.append((_key(digest), records.to_bytes(found[-1])))
    store.put(new, KIND)
    return found


def _key(digest: str) -> bytes:
    return hashlib.sha256(f"check {pixels.PIXELS_VERSION} {digest}".encode()).digest()


def _read(file: str) -> bytes | _Check:
    try:
        return pixels.read_bytes(file)
    except UnreadableImage as error:
        return _Check(reason=error.problem)


def _decode(content: bytes, digest: str) -> _Check:
    try:
        pixels.decode(content, at_least_px=1)  # a JPEG's data is read to its end at any size
        return _Check(digest, pixels.format_of(content))
    except UnreadableImage as error:
        return _Check(digest, reason=error.problem)


def _number(keys: Sequence[str]) -> NDArray[np.int32]:
    numbers: dict[str, int] = {}
    return np.array([numbers.setdefault(key, len(numbers)) for key in keys], np.int32)


def _unreadable(quarantine: Sequence[SetAside]) -> Iterator[Finding]:
    if quarantine:
        yield Finding(
            "unreadable",
            tuple(item.path for item in quarantine),
            f"{_count(len(quarantine), 'photo')} cannot be read and {_are(quarantine)} left out.",
            "quarantine.csv gives the reason for each; replace or remove them.",
        )


def _copies(dataset: Dataset, groups: NDArray[np.int32]) -> Iterator[Finding]:
    """Say of each group of copies whether it crosses classes, given parts, or neither."""
    members: defaultdict[int, list[int]] = defaultdict(list)
    for index, group in enumerate(groups.tolist()):
        members[group].append(index)
    for copies in members.values():
        if len(copies) > 1:
            yield from _copies_of_one(dataset, copies)


def _copies_of_one(dataset: Dataset, copies: Sequence[int]) -> Iterator[Finding]:
    paths = tuple(dataset.paths[index] for index in copies)
    names = sorted({dataset.class_names[dataset.labels[index]] for index in copies})
    parts = sorted({dataset.given_parts[index] for index in copies})
    same = f"{paths[0]} is also {', '.join(paths[1:])}"
    if len(names) > 1:
        detail = f"{same}: one photo in the classes {', '.join(names)}."
        yield Finding("conflict", paths, detail, "Keep it in the class where it belongs.")
    if len(parts) > 1:
        detail = f"{same}: one photo in the parts {', '.join(parts)}."
        yield Finding(
            "leak", paths, detail, "Keep it in one part: scores on a photo seen in training flatter."
        )
    if len(names) == len(parts) == 1:
        yield Finding("duplicate", paths, f"{same}.", "Copies stay in one part; remove all but one.")


def _small_classes(dataset: Dataset, groups: NDArray[np.int32]) -> Iterator[Finding]:
    missing = missing_parts(dataset)
    free = free_groups(dataset, groups)
    for label, name in enumerate(dataset.class_names):
        own = np.flatnonzero(dataset.labels == label).tolist()
        paths = tuple(dataset.paths[index] for index in own)
        if missing and len(free[label]) <= len(missing):
            different, needed = _count(len(free[label]), "different photo"), 1 + len(missing)
            detail = f"Class '{name}' has {different} to divide into {needed} parts."
            yield Finding("small_class", paths, detail, "Add photos of it, or leave it out with --exclude.")
        held = {dataset.given_parts[index] for index in own}
        for part in sorted(set(dataset.given_parts) - held - {""}):
            detail = f"Class '{name}' has no photo in the {part} part that was given."
            yield Finding(
                "small_class", paths, detail, "Add photos of it there, or leave it out with --exclude."
            )


def _empty_classes(dataset: Dataset) -> Iterator[Finding]:
    for name in dataset.empty_classes:
        yield Finding(
            "empty_class",
            (),
            f"The folder of class '{name}' holds no picture, so the class is left out.",
            "Add photos to it, or remove the folder.",
        )


def _wrong_types(dataset: Dataset, formats: Sequence[str]) -> Iterator[Finding]:
    paths: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
    for path, format_name in zip(dataset.paths, formats, strict=True):
        suffix = os.path.splitext(path)[1].casefold()
        if picture_extensions().get(suffix, format_name).replace("MPO", "JPEG") != format_name:
            paths[suffix, format_name].append(path)
    for (suffix, format_name), wrong in paths.items():
        detail = f"{_count(len(wrong), 'photo')} named {suffix} {_are(wrong)} of type {format_name}."
        yield Finding(
            "wrong_type", tuple(wrong), detail, "They are used as what they are; nothing need be done."
        )


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'s' * (number != 1)}"


def _are(items: Sequence[object]) -> str:
    return "is" if len(items) == 1 else "are"
