"""What decoding one photo showed, and what it showed of many: in columns, a few hundred bytes of each."""

import contextlib
import functools
import importlib.metadata
import io
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from headstart.base.arrays import Rows
from headstart.base.errors import UnreadableImage, UnreadableNow, UnsupportedImage, disk_full_named
from headstart.photos.duplicates import Packed, Pictures
from headstart.photos.shortcuts import Traits
from headstart.pictures import formats, thumbnails
from headstart.pictures.pixels import Picture, Pixels
from headstart.pictures.thumbnails import SIDE_PX

CHECK_VERSION = 5
"""Goes up when more is kept of a photo, or something else."""

DECODERS = ("pillow", "simplejpeg", "pillow-heif", "pydicom", "python-gdcm")
"""Packages that decode pictures: another version of one may read what could not be read."""

IN_MEMORY_BYTES = 32_000_000
"""Above it thumbnails lie in a temporary file: of 31,250 photos."""

_KEPT = np.dtype(
    [
        ("size_px", np.int32, 2),
        ("n_bytes", np.int64),
        ("colour", np.float32, 3),
        ("border", np.float32, 4),
        ("middle", np.float32, 4),
        ("ground", np.uint8, SIDE_PX**2 // 8),
    ]
)
"""What is kept of a photo beside its digest, its format and its thumbnail: 188 bytes."""


@dataclass(frozen=True)
class Check:
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
        return self.decoders == decoders() if self.reason else self.format in formats.raster_formats()


class Checks:
    """What was found of N files, in columns: a thousand bytes of each lie in a file where there are many.

    Args:
        count: N.

    Attributes:
        digests: Of each file that was read, the SHA-256 of its bytes, in hexadecimal; else "".
        refused: By position, the checks of those that cannot be read.
        formats: Of each file, "" of those that cannot be read.

    Raises:
        DiskFull: No space is left for temporary files.
    """

    def __init__(self, count: int) -> None:
        self.digests: list[str] = []
        self.formats: list[str] = []
        self.refused: dict[int, Check] = {}
        self._rows = np.zeros(count, _KEPT)
        self._thumbnails = _Thumbnails(count)

    def add(self, found: Sequence[Check]) -> None:
        """Take what was found of the next files."""
        first = len(self.digests)
        for position, one in enumerate(found, start=first):
            self.digests.append(one.digest)
            self.formats.append(one.format)
            if one.reason:
                self.refused[position] = one
            else:
                ground = np.frombuffer(one.ground, np.uint8)
                self._rows[position] = (one.size_px, one.n_bytes, one.colour, one.border, one.middle, ground)
        self._thumbnails.append([one.thumbnail or bytes(SIDE_PX**2) for one in found])

    def readable(self) -> list[int]:
        """Return the positions of the files that can be read, ascending."""
        return [position for position in range(len(self.digests)) if position not in self.refused]

    def sizes_px(self, chosen: Rows) -> NDArray[np.int32]:
        """Return width and height of some photos, upright, int32 (M, 2)."""
        return np.ascontiguousarray(self._rows["size_px"][chosen])

    def pictures(self, chosen: Rows) -> Pictures:
        """Return what some photos are compared by."""
        rows = self._rows[["ground", "colour"]][chosen]
        grounds = Packed(np.ascontiguousarray(rows["ground"]))
        return Pictures(_Chosen(self._thumbnails, chosen), grounds, np.ascontiguousarray(rows["colour"]))

    def traits(self, chosen: Rows) -> Traits:
        """Return by what else the classes of some photos might be told."""
        rows = self._rows[["size_px", "n_bytes", "border", "middle"]][chosen]
        return Traits(
            sizes_px=rows["size_px"],
            n_bytes=rows["n_bytes"],
            formats=[self.formats[position] for position in chosen.tolist()],
            borders=rows["border"],
            middles=rows["middle"],
        )


class _Thumbnails:
    """Thumbnails of N photos, one after the other, in a temporary file where they would take much memory.

    It has no name, so that it goes with the process, however that ends.
    """

    def __init__(self, count: int) -> None:
        is_small = count * SIDE_PX**2 <= IN_MEMORY_BYTES
        # It lives as long as the audit, which no `with` block of ours could hold.
        self._stream: IO[bytes] = io.BytesIO() if is_small else tempfile.TemporaryFile()  # noqa: SIM115

    def append(self, thumbnails: Sequence[bytes]) -> None:
        with disk_full_named(Path(tempfile.gettempdir())):
            self._stream.seek(0, os.SEEK_END)
            self._stream.writelines(thumbnails)

    def __getitem__(self, rows: Rows) -> Pixels:
        """Return some of them, uint8 (M, 32, 32)."""
        found = np.empty((len(rows), SIDE_PX**2), np.uint8)
        with disk_full_named(Path(tempfile.gettempdir())):
            for row, place in zip(found, rows.tolist(), strict=True):
                self._stream.seek(place * SIDE_PX**2)
                row[:] = np.frombuffer(self._stream.read(SIDE_PX**2), np.uint8)
        return found.reshape(-1, SIDE_PX, SIDE_PX)


@dataclass(frozen=True, eq=False)
class _Chosen:
    """Some of the thumbnails, by their positions."""

    whole: _Thumbnails
    places: Rows

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, rows: slice | Rows) -> Pixels:
        return self.whole[self.places[rows]]


@functools.cache
def decoders() -> str:
    """Return the decoders' versions and what they read: what decides whether a file is unreadable."""
    found = []
    for package in DECODERS:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found.append(f"{package} {importlib.metadata.version(package)}")
    return " ".join((*found, *formats.raster_formats()))


def decode(picture: Picture, digest: str, decoded_px: int) -> Check:
    """Return what decoding a photo shows.

    Args:
        picture: The photo.
        digest: The SHA-256 of its bytes, in hexadecimal.
        decoded_px: A JPEG is decoded at least so large.
    """
    try:
        return _look(picture, digest, decoded_px)
    except UnreadableNow as error:
        return Check(digest, reason=error.problem, is_lasting=False)
    except UnreadableImage as error:
        kind = error.kind if isinstance(error, UnsupportedImage) else ""
        return Check(digest, reason=error.problem, kind=kind, decoders=decoders())


def _look(picture: Picture, digest: str, decoded_px: int) -> Check:
    image = picture.decoded(decoded_px)
    format_name, width, height = picture.header
    if format_name != "JPEG":
        height, width = image.shape[:2]
    elif (width - height) * (image.shape[1] - image.shape[0]) < 0:  # the header's size is that before a turn
        width, height = height, width
    small = thumbnails.thumbnail(image, width, height)
    quarter = len(small) // 4
    return Check(
        digest=digest,
        format=format_name,
        size_px=(width, height),
        n_bytes=picture.n_bytes,
        colour=_colour(small)[:3],
        border=_colour(np.concatenate([image[0], image[-1], image[1:-1, 0], image[1:-1, -1]])),
        middle=_colour(small[quarter:-quarter, quarter:-quarter]),
        thumbnail=thumbnails.grey(small).tobytes(),
        ground=np.packbits(thumbnails.ground(image)).tobytes(),
    )


def _colour(region: Pixels) -> tuple[float, ...]:
    """Return mean red, green and blue of some pixels, and their spread: the mean standard deviation."""
    import cv2

    means, deviations = cv2.meanStdDev(region.reshape(-1, 1, 3))
    return (*(round(mean, 2) for mean in means.ravel().tolist()), round(float(deviations.mean()), 2))
