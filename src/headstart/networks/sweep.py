"""Features by several backbones while photos are read for something else: each photo is decoded once.

What is computed is kept under the digest of the photo's bytes. It knows no labels and no parts: of a photo
that will be in the test part it tells nobody anything until it is asked for by that digest.
"""

import threading
import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from headstart.base.errors import disk_full_named
from headstart.networks.features import Extractor
from headstart.networks.vectors import halved
from headstart.pictures.pixels import Picture, Pixels

AT_ONCE = 32
"""Photos that wait before one backbone after the other is asked about them: as many as Keras takes."""


@dataclass(frozen=True, eq=False)
class Fed:
    """A photo as it is fed.

    Attributes:
        digest: The SHA-256 of its bytes, in hexadecimal.
        squares: By side in pixels, uint8 (S, S, 3).
        asked: Which of the extractors lack it.
    """

    digest: str
    squares: dict[int, Pixels]
    asked: tuple[int, ...]


@dataclass(frozen=True)
class Pace:
    """How fast it went.

    Attributes:
        n_read: Photos that were read.
        read_s: Seconds in which no backbone was asked: of reading, decoding and whatever else was done.
        n_fed: Of each extractor, photos that it was asked about.
        fed_s: Of each extractor, seconds.
    """

    n_read: int
    read_s: float
    n_fed: tuple[int, ...]
    fed_s: tuple[float, ...]

    def reading_s(self, n: int) -> float:
        """Return what it takes to read so many photos."""
        return n * self.read_s / max(1, self.n_read)


class Sweep:
    """An onlooker of `headstart.photos.audit.audit`: extractors that are fed by its decoding.

    While photos are decoded in threads, one extractor after the other is asked about some that are. Memory
    stays constant.

    Args:
        extractors: One or more, of one fit; they may eat pictures of several sizes.

    Attributes:
        title: What reading the photos is called.
        decoded_px: What the largest picture needs of a JPEG.
    """

    def __init__(self, extractors: Sequence[Extractor]) -> None:
        self._extractors = list(extractors)
        self._sizes = [one.engine.image_size_px for one in extractors]
        self.title, self.decoded_px = "Checking photos and computing features", (2 * max(self._sizes),)
        self._asked: dict[str, tuple[int, ...]] = {}
        self._lock = threading.Lock()
        self._waiting: list[Fed] = []
        self._n_read, self._start, self._compile_s = 0, time.perf_counter(), 0.0
        self._n_fed, self._fed_s = [0] * len(self._extractors), [0.0] * len(self._extractors)

    def wanted(self, digests: Sequence[str]) -> Collection[str]:
        """Return which photos some extractor lacks, but for those that it was told of before."""
        lacking = [one.lacking(digests) for one in self._extractors]
        with self._lock:
            self._n_read += len(digests)
            new = [one for one in dict.fromkeys(digests) if one not in self._asked]
            found = {one: tuple(n for n, those in enumerate(lacking) if one in those) for one in new}
            self._asked |= {one: asked for one, asked in found.items() if asked}
        return [one for one, asked in found.items() if asked]

    def look(self, digest: str, picture: Picture) -> Fed:
        """Return the squares that are lacking of a photo; the very pixels of `pixels.prepare`."""
        asked = self._asked[digest]
        fit, sizes = self._extractors[0].fit, {self._sizes[number] for number in asked}
        return Fed(digest, {size_px: picture.square(size_px, fit) for size_px in sizes}, asked)

    def take(self, seen: Sequence[Fed]) -> None:
        """Feed photos, some at a time."""
        self._waiting += seen
        while len(self._waiting) >= AT_ONCE:
            self._feed(self._waiting[:AT_ONCE])
            del self._waiting[:AT_ONCE]

    def end(self) -> None:
        """Feed the photos that wait."""
        self._feed(self._waiting)
        self._waiting.clear()

    def _feed(self, photos: Sequence[Fed]) -> None:
        for number, extractor in enumerate(self._extractors):
            own = [one for one in photos if number in one.asked]
            if not own:
                continue
            squares = [one.squares[self._sizes[number]] for one in own]
            if not self._n_fed[number]:
                self._compile(extractor, squares[0])
            start = time.perf_counter()
            found = list(extractor.engine.stream(squares))
            extractor.keep([one.digest for one in own], [halved(vector) for vector in found])
            self._fed_s[number] += time.perf_counter() - start
            self._n_fed[number] += len(own)

    def _compile(self, extractor: Extractor, picture: Pixels) -> None:
        """Have a graph compiled by asking it once, so that this is not counted."""
        start = time.perf_counter()
        list(extractor.engine.stream([picture]))
        self._compile_s += time.perf_counter() - start

    @property
    def pace(self) -> Pace:
        """How fast it went until now, without compiling."""
        read_s = time.perf_counter() - self._start - sum(self._fed_s) - self._compile_s
        return Pace(self._n_read, read_s, tuple(self._n_fed), tuple(self._fed_s))


class Squares:
    """An onlooker that keeps photos as squares of several sizes, in files of a folder.

    Args:
        folder: Where the files are; it is made where it is missing.
        sizes_px: Sides of the squares.
        fit: How a photo becomes square: squash, crop or pad.

    Attributes:
        title: What reading the photos is called.
        decoded_px: What each size needs of a JPEG: what is found of it is kept for each.
    """

    def __init__(self, folder: Path, sizes_px: Sequence[int], fit: str) -> None:
        self._folder, self._sizes, self._fit = folder, list(sizes_px), fit
        self.title, self.decoded_px = "Reading a sample", tuple(2 * size_px for size_px in sizes_px)
        self._seen: set[str] = set()
        self._lock = threading.Lock()
        self._rows: dict[str, int] = {}

    def wanted(self, digests: Sequence[str]) -> Collection[str]:
        """Return those that were not seen."""
        with self._lock:
            new = [one for one in dict.fromkeys(digests) if one not in self._seen]
            self._seen |= {*new}
        return new

    def look(self, digest: str, picture: Picture) -> Fed:
        """Return the squares of a photo; the very pixels of `pixels.prepare`."""
        return Fed(digest, {size_px: picture.square(size_px, self._fit) for size_px in self._sizes}, ())

    def take(self, seen: Sequence[Fed]) -> None:
        """Write squares down.

        Raises:
            DiskFull: No space is left.
        """
        with disk_full_named(self._folder):
            self._folder.mkdir(parents=True, exist_ok=True)
            for size_px in self._sizes:
                with self._file(size_px).open("ab" if self._rows else "wb") as stream:
                    stream.writelines(one.squares[size_px].tobytes() for one in seen)
        self._rows |= {one.digest: len(self._rows) + number for number, one in enumerate(seen)}

    def end(self) -> None:
        """Nothing is left to be done."""

    @property
    def digests(self) -> list[str]:
        """The SHA-256 of the bytes of each photo, in hexadecimal."""
        return list(self._rows)

    def __contains__(self, digest: str) -> bool:
        """Tell whether a photo is among them."""
        return digest in self._rows

    def read(self, digests: Sequence[str], size_px: int) -> Iterator[Pixels]:
        """Yield the squares of photos that were seen."""
        n_bytes = 3 * size_px**2
        for digest in digests:
            flat = np.fromfile(self._file(size_px), np.uint8, n_bytes, offset=self._rows[digest] * n_bytes)
            yield flat.reshape(size_px, size_px, 3)

    def _file(self, size_px: int) -> Path:
        return self._folder / f"{size_px}.squares"
