"""Each photo read once: which are unreadable, repeated, in two classes or parts, or not like the others."""

import dataclasses
import functools
import hashlib
import itertools
import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from headstart.base import records
from headstart.base.arrays import Rows
from headstart.base.errors import UnreadableImage, UnreadableNow
from headstart.base.progress import Progress, late_stage
from headstart.photos import duplicates, families, findings, omissions, shortcuts
from headstart.photos.checks import CHECK_VERSION, Check, Checks, decode
from headstart.photos.families import Families
from headstart.photos.findings import Finding
from headstart.photos.groups import Groups, by_key, merged, near_groups, numbered
from headstart.pictures import foreign, pixels, thumbnails
from headstart.pictures.pixels import Picture
from headstart.sources.dataset import Dataset, SetAside
from headstart.storage.store import Kind, Store

KIND: Kind = "checks"
"""What the findings of single files are called in the store."""

CHUNK = 4
"""Files that a thread holds at once."""

REMEMBERED = 2 * pixels.LOOK_AHEAD
"""Photos of which copies find what was found of them here; those of earlier ones find it in the store."""

DECODED_PX = 2 * thumbnails.SIDE_PX
"""A JPEG is decoded at least so large: its data is read to the end at any size."""

Seen = TypeVar("Seen")


class Onlooker(Protocol[Seen]):
    """Who else wants to see the photos while they are decoded, so that none is decoded twice."""

    @property
    def title(self) -> str:
        """What reading the photos is called."""

    @property
    def decoded_px(self) -> Sequence[int]:
        """A JPEG is decoded at least so large for the audit, too.

        What is found of it may differ by a level or so from what is found at another size, so it is kept by
        this; where there are several, by each of them.
        """

    def wanted(self, digests: Sequence[str]) -> Collection[str]:
        """Return which of some photos it wants to see, each once; called in threads."""

    def look(self, digest: str, picture: Picture) -> Seen:
        """Return what it makes of a photo that can be read; called in threads.

        Raises:
            UnreadableImage: It cannot be read after all.
        """

    def take(self, seen: Sequence[Seen]) -> None:
        """Take what it made of some photos, in their order; called where the audit was."""

    def end(self) -> None:
        """Take notice that there are no more."""


@dataclass(frozen=True, eq=False)
class Audit:
    """What reading every photo showed.

    Attributes:
        dataset: The N readable photos, under the class names of all.
        digests: N SHA-256 digests of the files' bytes, in hexadecimal.
        groups: int32 (N,), 0 to G - 1 in order of first appearance: exact copies share a number, and so do
            near-duplicates and what the user groups by.
        quarantine: Unreadable photos, each with the reason.
        findings: Gravest first.
    """

    dataset: Dataset
    digests: tuple[str, ...]
    groups: Groups
    quarantine: tuple[SetAside, ...] = ()
    findings: tuple[Finding, ...] = ()


def audit(
    dataset: Dataset,
    *,
    store: Store,
    progress: Progress,
    is_thorough: bool = True,
    onlookers: Sequence[Onlooker[Any]] = (),
    digests: Sequence[str] = (),
) -> Audit:
    """Read each photo, decode those not decoded before, in threads, and say what is amiss with them.

    Memory does not grow with the size of the photos. A photo that cannot be decoded goes to quarantine;
    it is never replaced, and nothing on disk is changed.

    Args:
        dataset: Photos as listed.
        store: Where what was found of a photo's bytes is kept.
        progress: Told of each photo.
        is_thorough: Look for near-duplicates, shortcuts and odd sizes, too.
        onlookers: Each is shown the photos that it wants to see and that can be read, while they are decoded.
            The first says what the stage is called, and how large JPEGs are decoded.
        digests: The SHA-256 of each photo's bytes where it was read a moment ago, else ""; or none at all. A
            file of which the store has all that is asked is then not read again.

    Raises:
        ChangedPhoto: A file that is read again has another digest, or is gone.
    """
    checks = _read_all(dataset, digests, store, progress, onlookers)
    kept = np.array(checks.readable(), np.intp)
    readable, known = dataset.take(kept), [checks.digests[index] for index in kept]
    refused = {dataset.paths[index]: check for index, check in checks.refused.items()}
    quarantine = tuple(SetAside(path, check.reason) for path, check in refused.items())
    kinds = {kind.name: kind for kind in foreign.KINDS}
    unread = {path: kinds[check.kind] for path, check in refused.items() if check.kind}
    again = {path for path, check in refused.items() if not check.is_lasting}
    exact = numbered(known)
    groups = merged(exact, by_key(readable.group_keys)) if readable.group_keys else exact
    found = [
        *findings.unreadable([item for item in quarantine if item.path not in unread], again),
        *omissions.find(dataset, unread),
        *findings.labels(dataset),
        *findings.copies(readable, exact),
        *findings.divided_keys(readable),
        *findings.empty_classes(dataset),
        *findings.unlabelled(dataset),
        *findings.wrong_types(readable, [checks.formats[index] for index in kept]),
    ]
    if is_thorough and known:
        groups, more = _thorough(readable, checks, kept, exact, groups, progress)
        found += more
    found += findings.small_classes(readable, groups)
    return Audit(
        dataset=readable,
        digests=tuple(known),
        groups=groups,
        quarantine=quarantine,
        findings=findings.in_order(found),
    )


def _thorough(
    dataset: Dataset, checks: Checks, kept: Rows, exact: Groups, groups: Groups, progress: Progress
) -> tuple[Groups, list[Finding]]:
    """Return groups that hold near-duplicates together, too, and what else is not as it should be."""
    different = np.unique(exact, return_index=True)[1]
    pictures = checks.pictures(kept[different])
    n_looks = len(thumbnails.TURNS) * len(pictures)
    with late_stage(progress, "Looking for near-duplicates", n_looks) as advance:
        alike = duplicates.find(pictures, advance)
    alike = dataclasses.replace(alike, pairs=different[alike.pairs])
    paths = [dataset.paths[index] for index in different]
    named = [_placed(one, different) for one in families.find(paths, dataset.labels[different], pictures)]
    pairs = np.concatenate([alike.pairs, *(one.pairs() for one in named)])
    near, broken_up = near_groups(dataset, groups, pairs)
    told = shortcuts.find(checks.traits(kept[different]), dataset.labels[different], dataset.class_names)
    return merged(groups, near), [
        *findings.near_duplicates(dataset, exact, near, alike),
        *findings.families(dataset, named),
        *findings.crowds(dataset, broken_up),
        *findings.shortcuts(told),
        *findings.imbalance(dataset),
        *findings.odd_sizes(dataset, checks.sizes_px(kept)),
    ]


def _placed(one: Families, places: NDArray[np.int64]) -> Families:
    """Return families with other positions for their members."""
    return dataclasses.replace(
        one, members=tuple(tuple(places[list(family)].tolist()) for family in one.members)
    )


def _read_all(
    dataset: Dataset,
    digests: Sequence[str],
    store: Store,
    progress: Progress,
    onlookers: Sequence[Onlooker[Any]],
) -> Checks:
    checks = Checks(len(dataset))
    files = (os.fspath(dataset.file(index)) for index in range(len(dataset)))
    title = onlookers[0].title if onlookers else "Checking photos"
    with progress.stage(title, len(dataset)) as advance:
        for found in read(zip(files, digests or itertools.repeat(""), strict=False), store, onlookers):
            checks.add(found)
            advance(len(found))
    return checks


def read(
    files: Iterable[tuple[str, str]], store: Store, onlookers: Sequence[Onlooker[Any]]
) -> Iterator[Sequence[Check]]:
    """Yield what each file is, some at a time and in order, and show the photos to the onlookers.

    Args:
        files: Each with the SHA-256 of its bytes where it is known, else "".
        store: Where what was found of a photo's bytes is kept.
        onlookers: As for `audit`.

    Raises:
        ChangedPhoto: A file has another digest than is known, or is gone.
    """
    chunks, look_ahead = pixels.batches(files, CHUNK), pixels.LOOK_AHEAD // CHUNK
    for found, seen in pixels.map_in_order(_Reading(store, onlookers).read, chunks, look_ahead=look_ahead):
        for onlooker, those in zip(onlookers, seen, strict=True):
            onlooker.take(those)
        yield found
    for onlooker in onlookers:
        onlooker.end()


class _Reading:
    """Files read in threads, some at a time; copies are decoded once, wherever the threads are."""

    def __init__(self, store: Store, onlookers: Sequence[Onlooker[Any]]) -> None:
        self._store, self._onlookers = store, onlookers
        self._decoded_px = onlookers[0].decoded_px if onlookers else (DECODED_PX,)
        self._lock = threading.Lock()
        self._checks: OrderedDict[str, Future[Check]] = OrderedDict()

    def read(self, files: Sequence[tuple[str, str]]) -> tuple[list[Check], list[list[Any]]]:
        """Return what each file is, and what each onlooker made of those that it wanted to see.

        Those whose bytes were decoded before, and that nobody wants to see, are only read, and not even that
        where their digest is known.
        """
        contents = [None if told else _read(file) for file, told in files]
        digests = [told or _digest(one) for one, (_, told) in zip(contents, files, strict=True)]
        known = [digest for digest in digests if digest]
        kept = self._store.get([key for digest in known for key in self._keys(digest)])
        wanted = [{*onlooker.wanted(known)} for onlooker in self._onlookers]
        found, new = list[Check](), dict[bytes, bytes]()
        seen: list[list[Any]] = [[] for _ in self._onlookers]

        def check(file: str, content: bytes | None, digest: str) -> Check:
            made = list[Check]()

            @functools.cache
            def picture() -> Picture:
                return Picture(pixels.read_bytes(file, digest) if content is None else content)

            for key, decoded_px in zip(self._keys(digest), self._decoded_px, strict=True):
                before = _kept(kept.get(key))
                made.append(before or decode(picture(), digest, decoded_px))
                if not before and made[-1].is_lasting:
                    new[key] = records.to_bytes(made[-1])
            if made[0].reason:
                return made[0]
            try:
                looks = [
                    onlooker.look(digest, picture()) if digest in those else None
                    for onlooker, those in zip(self._onlookers, wanted, strict=True)
                ]
            except UnreadableImage as error:
                return Check(digest, reason=error.problem, is_lasting=False)
            for own, look in zip(seen, looks, strict=True):
                own += [] if look is None else [look]
            return made[0]

        for (file, _), content, digest in zip(files, contents, digests, strict=True):
            if isinstance(content, Check):
                found.append(content)
            else:
                found.append(self._once(digest, functools.partial(check, file, content, digest)))
        self._store.put(new.items(), KIND)
        return found, seen

    def _once(self, digest: str, make: Callable[[], Check]) -> Check:
        """Return the check of these bytes, which another thread may be at."""
        with self._lock:
            known, own = self._checks.get(digest), Future[Check]()
            self._checks.setdefault(digest, own)
            if len(self._checks) > REMEMBERED:
                self._checks.popitem(last=False)
        if known:
            return known.result()
        try:
            own.set_result(make())
        except BaseException as error:
            own.set_exception(error)
        return own.result()

    def _keys(self, digest: str) -> list[bytes]:
        """Return what the checks of a file are kept under, by the sizes at which it is decoded."""
        version = f"check {CHECK_VERSION} {pixels.PIXELS_VERSION}"
        told = [f"{version} {decoded_px} {digest}" for decoded_px in self._decoded_px]
        return [hashlib.sha256(one.encode()).digest() for one in told]


def _kept(value: bytes | None) -> Check | None:
    """Return what was kept of a file, where it still holds."""
    check = records.from_bytes(value, Check) if value else None
    return check if check and check.still_holds() else None


def _digest(content: bytes | Check | None) -> str:
    return hashlib.sha256(content).hexdigest() if isinstance(content, bytes) else ""


def _read(file: str) -> bytes | Check:
    try:
        return pixels.read_bytes(file)
    except UnreadableNow as error:
        return Check(reason=error.problem, is_lasting=False)
    except UnreadableImage as error:
        return Check(reason=error.problem)
