"""Each photo read once: which are unreadable, repeated, in two classes or parts, or not like the others."""

import contextlib
import dataclasses
import functools
import hashlib
import importlib.metadata
import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headstart.base import records
from headstart.base.errors import UnreadableImage, UnreadableNow, UnsupportedImage
from headstart.base.progress import Progress
from headstart.photos import duplicates, families, findings, omissions, shortcuts
from headstart.photos.duplicates import Pictures
from headstart.photos.families import Families
from headstart.photos.findings import Finding
from headstart.photos.groups import Groups, by_key, merged, near_groups, numbered
from headstart.photos.shortcuts import Traits
from headstart.pictures import foreign, formats, pixels, thumbnails
from headstart.sources.dataset import Dataset, SetAside
from headstart.storage.store import Kind, Store

KIND: Kind = "checks"
"""What the findings of single files are called in the store."""

CHECK_VERSION = 4
"""Goes up when more is kept of a photo, or something else."""

DECODERS = ("pillow", "simplejpeg", "pillow-heif", "pydicom", "python-gdcm")
"""Packages that decode pictures: another version of one may read what could not be read."""

CHUNK = 8
"""Files that a thread holds at once."""

DECODED_PX = 2 * thumbnails.SIDE_PX
"""A JPEG is decoded at least so large: its data is read to the end at any size."""


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


@dataclass(frozen=True)
class _Check:
    """One file: its digest and what decoding it showed, or why it is unreadable.

    Attributes:
        kind: The name of the kind, where it is a picture of a kind that is not read.
        size_px: Width and height, upright.
        colour: Mean red, green and blue.
        border: Mean red, green and blue of the outermost pixels, and their spread.
        middle: Mean red, green and blue of the middle of the picture, and their spread.
        thumbnail: 32 x 32 pixels, grey.
        ground: Which of them show nothing, 8 to a byte.
        decoders: Of an unreadable one, which decoders failed at it.
        is_lasting: It would come out the same again; where the machine failed, it need not.
    """

    digest: str = ""
    reason: str = ""
    kind: str = ""
    format: str = ""
    size_px: tuple[int, int] = (0, 0)
    n_bytes: int = 0
    colour: tuple[float, ...] = ()
    border: tuple[float, ...] = ()
    middle: tuple[float, ...] = ()
    thumbnail: bytes = b""
    ground: bytes = b""
    decoders: str = ""
    is_lasting: bool = True

    def still_holds(self) -> bool:
        """Tell whether the decoders that are installed would say the same.

        What can be read stays so, and its pixels do: decoding is settled by each format's standard, and what
        of it is not is held by PIXELS_VERSION. What cannot be read is tried again by each new decoder.
        """
        return self.decoders == _decoders() if self.reason else self.format in formats.raster_formats()


def audit(dataset: Dataset, *, store: Store, progress: Progress, is_thorough: bool = True) -> Audit:
    """Read each photo, decode those not decoded before, in threads, and say what is amiss with them.

    Memory does not grow with the size of the photos. A photo that cannot be decoded goes to quarantine;
    it is never replaced, and nothing on disk is changed.

    Args:
        dataset: Photos as listed.
        store: Where what was found of a photo's bytes is kept.
        progress: Told of each photo.
        is_thorough: Look for near-duplicates, shortcuts and odd sizes, too.
    """
    checks = _read_all(dataset, store, progress)
    kept = [index for index, check in enumerate(checks) if not check.reason]
    readable, good = dataset.take(kept), [checks[index] for index in kept]
    quarantine = tuple(
        SetAside(path, check.reason)
        for path, check in zip(dataset.paths, checks, strict=True)
        if check.reason
    )
    kinds = {kind.name: kind for kind in foreign.KINDS}
    refused = {
        path: kinds[check.kind] for path, check in zip(dataset.paths, checks, strict=True) if check.kind
    }
    again = {path for path, check in zip(dataset.paths, checks, strict=True) if not check.is_lasting}
    exact = numbered(check.digest for check in good)
    groups = merged(exact, by_key(readable.group_keys)) if readable.group_keys else exact
    found = [
        *findings.unreadable([item for item in quarantine if item.path not in refused], again),
        *omissions.find(dataset, refused),
        *findings.labels(dataset),
        *findings.copies(readable, exact),
        *findings.divided_keys(readable),
        *findings.empty_classes(dataset),
        *findings.unlabelled(dataset),
        *findings.wrong_types(readable, [check.format for check in good]),
    ]
    if is_thorough and good:
        groups, more = _thorough(readable, good, exact, groups)
        found += more
    found += findings.small_classes(readable, groups)
    return Audit(
        dataset=readable,
        digests=tuple(check.digest for check in good),
        groups=groups,
        quarantine=quarantine,
        findings=findings.in_order(found),
    )


def _thorough(
    dataset: Dataset, checks: Sequence[_Check], exact: Groups, groups: Groups
) -> tuple[Groups, list[Finding]]:
    """Return groups that hold near-duplicates together, too, and what else is not as it should be."""
    different = np.unique(exact, return_index=True)[1]
    firsts = [checks[index] for index in different]
    pictures = _pictures(firsts)
    alike = duplicates.find(pictures)
    alike = dataclasses.replace(alike, pairs=different[alike.pairs])
    paths = [dataset.paths[index] for index in different]
    named = [_placed(one, different) for one in families.find(paths, dataset.labels[different], pictures)]
    pairs = np.concatenate([alike.pairs, *(one.pairs() for one in named)])
    near, broken_up = near_groups(dataset, groups, pairs)
    told = shortcuts.find(_traits(firsts), dataset.labels[different], dataset.class_names)
    return merged(groups, near), [
        *findings.near_duplicates(dataset, exact, near, alike),
        *findings.families(dataset, named),
        *findings.crowds(dataset, broken_up),
        *findings.shortcuts(told),
        *findings.imbalance(dataset),
        *findings.odd_sizes(dataset, np.array([check.size_px for check in checks], np.int32)),
    ]


def _placed(one: Families, places: NDArray[np.int64]) -> Families:
    """Return families with other positions for their members."""
    return dataclasses.replace(
        one, members=tuple(tuple(places[list(family)].tolist()) for family in one.members)
    )


def _pictures(checks: Sequence[_Check]) -> Pictures:
    shape = (len(checks), thumbnails.SIDE_PX, thumbnails.SIDE_PX)
    grounds = np.frombuffer(b"".join(check.ground for check in checks), np.uint8)
    return Pictures(
        thumbnails=np.frombuffer(b"".join(check.thumbnail for check in checks), np.uint8).reshape(shape),
        grounds=np.unpackbits(grounds).astype(bool).reshape(shape),
        colours=np.array([check.colour for check in checks], np.float32),
    )


def _traits(checks: Sequence[_Check]) -> Traits:
    return Traits(
        sizes_px=np.array([check.size_px for check in checks], np.int32),
        n_bytes=np.array([check.n_bytes for check in checks], np.int64),
        formats=[check.format for check in checks],
        borders=np.array([check.border for check in checks], np.float32),
        middles=np.array([check.middle for check in checks], np.float32),
    )


def _read_all(dataset: Dataset, store: Store, progress: Progress) -> list[_Check]:
    checks = []
    with progress.stage("Checking photos", len(dataset)) as advance:
        files = [os.fspath(dataset.file(index)) for index in range(len(dataset))]
        for found in pixels.map_in_order(lambda chunk: _checked(chunk, store), pixels.batches(files, CHUNK)):
            checks += found
            advance(len(found))
    return checks


def _checked(files: Sequence[str], store: Store) -> list[_Check]:
    """Return what each file is; those whose bytes were decoded before are only read."""
    contents = [_read(file) for file in files]
    digests = ["" if isinstance(one, _Check) else hashlib.sha256(one).hexdigest() for one in contents]
    kept = store.get([_key(digest) for digest in digests if digest])
    found, new = [], []
    for content, digest in zip(contents, digests, strict=True):
        if isinstance(content, _Check):
            found.append(content)
        elif before := _kept(kept.get(_key(digest))):
            found.append(before)
        else:
            found.append(_decode(content, digest))
            if found[-1].is_lasting:
                new.append((_key(digest), records.to_bytes(found[-1])))
    store.put(new, KIND)
    return found


def _kept(value: bytes | None) -> _Check | None:
    """Return what was kept of a file, where it still holds."""
    check = records.from_bytes(value, _Check) if value else None
    return check if check and check.still_holds() else None


@functools.cache
def _decoders() -> str:
    """Return the decoders' versions and what they read: what decides whether a file is unreadable."""
    found = []
    for package in DECODERS:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found.append(f"{package} {importlib.metadata.version(package)}")
    return " ".join((*found, *formats.raster_formats()))


def _key(digest: str) -> bytes:
    return hashlib.sha256(f"check {CHECK_VERSION} {pixels.PIXELS_VERSION} {digest}".encode()).digest()


def _read(file: str) -> bytes | _Check:
    try:
        return pixels.read_bytes(file)
    except UnreadableNow as error:
        return _Check(reason=error.problem, is_lasting=False)
    except UnreadableImage as error:
        return _Check(reason=error.problem)


def _decode(content: bytes, digest: str) -> _Check:
    try:
        return _look(content, digest)
    except UnreadableNow as error:
        return _Check(digest, reason=error.problem, is_lasting=False)
    except UnreadableImage as error:
        kind = error.kind if isinstance(error, UnsupportedImage) else ""
        return _Check(digest, reason=error.problem, kind=kind, decoders=_decoders())


def _look(content: bytes, digest: str) -> _Check:
    image = pixels.decode(content, at_least_px=DECODED_PX)
    format_name, width, height = pixels.header(content)
    if format_name != "JPEG":
        height, width = image.shape[:2]
    elif (width - height) * (image.shape[1] - image.shape[0]) < 0:  # the header's size is that before a turn
        width, height = height, width
    small = thumbnails.thumbnail(image, width, height)
    quarter = len(small) // 4
    return _Check(
        digest=digest,
        format=format_name,
        size_px=(width, height),
        n_bytes=len(content),
        colour=_colour(small)[:3],
        border=_colour(np.concatenate([image[0], image[-1], image[1:-1, 0], image[1:-1, -1]])),
        middle=_colour(small[quarter:-quarter, quarter:-quarter]),
        thumbnail=thumbnails.grey(small).tobytes(),
        ground=np.packbits(thumbnails.ground(image)).tobytes(),
    )


def _colour(region: pixels.Pixels) -> tuple[float, ...]:
    """Return mean red, green and blue of some pixels, and their spread: the mean standard deviation."""
    import cv2

    means, deviations = cv2.meanStdDev(region.reshape(-1, 1, 3))
    return (*(round(mean, 2) for mean in means.ravel().tolist()), round(float(deviations.mean()), 2))
