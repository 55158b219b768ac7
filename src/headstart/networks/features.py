"""Photos -> one feature vector each, through a backbone; no photo is sent through it twice."""

import functools
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from headstart.base.arrays import Floats
from headstart.base.progress import Progress
from headstart.networks import engine as engines
from headstart.networks import vectors
from headstart.networks.engine import Engine
from headstart.networks.vectors import Filed, Halves, Vectors, halved
from headstart.pictures import pixels
from headstart.pictures.pixels import PIXELS_VERSION
from headstart.storage.store import Kind, Store

KIND: Kind = "features"
"""What the vectors are called in the store."""

KEPT_AT_A_TIME = 64
"""Vectors between two writes: what is lost, at the most, when the run is killed."""


@dataclass(frozen=True, eq=False)
class Extractor:
    """A backbone that makes features of photos, and the store that keeps them.

    A vector is known by the photo's bytes and by all that decides what comes out for them, so that it
    serves every run and every project, and is never one of another network or another photo. It is rounded
    to float16, whether it is kept or comes fresh, so that both give the same figures.

    Attributes:
        engine: Maps pixels to features.
        identity: What tells this backbone and its weights from others (`engine.backbone_key`).
        fit: How a photo becomes square: squash, crop or pad.
        store: Where vectors are kept.
        work: Folder for vectors of more photos than memory should hold; None: memory holds them all.
    """

    engine: Engine
    identity: str
    fit: str
    store: Store
    work: Path | None = None

    @property
    def last(self) -> "Extractor":
        """What computes the numbers that a vector ends with: this one."""
        return self

    def compute(self, photos: Sequence[Path], digests: Sequence[str], title: str, progress: Progress) -> int:
        """Compute what the store lacks and keep it; return how many photos that were.

        Each vector is computed in inference mode and alone. Memory does not grow with the number of
        photos but for their names; copies of a photo are computed once.

        Args:
            photos: N readable pictures; files are never modified.
            digests: The SHA-256 of each, in hexadecimal.
            title: What the stage is called.
            progress: Told of each photo.

        Raises:
            UnreadableImage: Names the file.
            ChangedPhoto: A file has another digest, or is gone; nothing is kept of it.
        """
        lacking = self.store.missing(self._keys(digests))
        return sum(1 for _ in self._compute(photos, digests, lacking, title, progress))

    def features(
        self, photos: Sequence[Path], digests: Sequence[str], title: str, progress: Progress
    ) -> Vectors:
        """Return one vector per photo, (N, D), in the order of `photos`; see `compute`.

        Above `vectors.IN_MEMORY_BYTES` they lie in a file in the work folder.

        Raises:
            UnreadableImage: Names the file.
            ChangedPhoto: A file has another digest, or is gone; nothing is kept of it.
            DiskFull: No space is left.
        """
        keys = self._keys(digests)
        rows = vectors.room((len(keys), *self.engine.output_shape), self._file(keys))  # type: ignore[arg-type]
        lacking = self._recall(keys, rows)
        computed = {}
        for index, vector in self._compute(photos, digests, lacking, title, progress):
            rows[index], computed[keys[index]] = vector, index
        for index in lacking:
            if index != (first := computed[keys[index]]):
                rows[index] = rows[first : first + 1][0]
        return Vectors((rows,), self.engine.widths)

    def _recall(self, keys: Sequence[bytes], rows: Halves | Filed) -> list[int]:
        """Copy the vectors that are kept into their rows; return which are not, ascending."""
        lacking = []
        for first in range(0, len(keys), vectors.BLOCK):
            asked = keys[first : first + vectors.BLOCK]
            block = np.zeros((len(asked), rows.shape[1]), np.float16)
            lacking += (first + np.flatnonzero(~self.store.fill(asked, block))).tolist()
            rows[first : first + len(asked)] = block
        return lacking

    def _file(self, keys: Sequence[bytes]) -> Path | None:
        return self.work and self.work / f"{hashlib.sha256(b''.join(keys)).hexdigest()[:16]}.features"

    def _compute(
        self,
        photos: Sequence[Path],
        digests: Sequence[str],
        lacking: list[int],
        title: str,
        progress: Progress,
    ) -> Iterator[tuple[int, Halves]]:
        """Yield the index and the vector of each different photo that is lacking, and keep them."""
        keys = self._keys(digests)
        first = {keys[index]: index for index in reversed(lacking)}
        chosen = sorted(first.values())
        if not chosen:
            return
        n_kept = len(photos) - len(lacking)
        with progress.stage(f"{title} ({n_kept:,} kept)" if n_kept else title, len(chosen)) as advance:
            files, known = [photos[index] for index in chosen], [digests[index] for index in chosen]
            found = map(halved, extract(self.engine, files, self.fit, known))
            for batch in pixels.batches(zip(chosen, found, strict=True), KEPT_AT_A_TIME):
                self.keep([digests[index] for index, _ in batch], [vector for _, vector in batch])
                advance(len(batch))
                yield from batch

    def keep(self, digests: Sequence[str], found: Sequence[Halves]) -> None:
        """Keep vectors of photos, each float16 (D,)."""
        keys = self._keys(digests)
        self.store.put([(key, one.tobytes()) for key, one in zip(keys, found, strict=True)], KIND)

    def lacking(self, digests: Sequence[str]) -> set[str]:
        """Return the digests of those photos that the store lacks."""
        return {digests[index] for index in self.store.missing(self._keys(digests))}

    def n_missing(self, digests: Sequence[str]) -> int:
        """Return how many different photos the store lacks."""
        return len(self.lacking(digests))

    def _keys(self, digests: Sequence[str]) -> list[bytes]:
        return keys_of(self.identity, self.engine.image_size_px, self.fit, digests)


def keys_of(identity: str, image_size_px: int, fit: str, digests: Sequence[str]) -> list[bytes]:
    """Return what the store knows the vectors of photos by; see `Extractor`."""
    what = f"float16 {identity} {image_size_px} {fit} {PIXELS_VERSION}".encode()
    return [hashlib.sha256(what + bytes.fromhex(digest)).digest() for digest in digests]


@dataclass(frozen=True, eq=False)
class Together:
    """Several backbones that see the same picture: their features of a photo stand side by side.

    Attributes:
        extractors: Of each, of pictures of one size.
    """

    extractors: tuple[Extractor, ...]

    @functools.cached_property
    def engine(self) -> Engine:
        """Maps pixels to all features."""
        return engines.join([one.engine for one in self.extractors])

    @property
    def identity(self) -> str:
        """What tells these backbones and their weights from others."""
        return " ".join(one.identity for one in self.extractors)

    @property
    def fit(self) -> str:
        """How a photo becomes square: squash, crop or pad."""
        return self.extractors[0].fit

    @property
    def store(self) -> Store:
        """Where the vectors of each are kept, by themselves."""
        return self.extractors[0].store

    @property
    def last(self) -> Extractor:
        """What computes the numbers that a vector ends with."""
        return self.extractors[-1]

    def compute(self, photos: Sequence[Path], digests: Sequence[str], title: str, progress: Progress) -> int:
        """Compute what the store lacks of each; see `Extractor.compute`."""
        return max(one.compute(photos, digests, title, progress) for one in self.extractors)

    def features(
        self, photos: Sequence[Path], digests: Sequence[str], title: str, progress: Progress
    ) -> Vectors:
        """Return one vector per photo, (N, sum of D); see `Extractor.features`."""
        found = [one.features(photos, digests, title, progress) for one in self.extractors]
        return Vectors(tuple(part for one in found for part in one.parts))

    def n_missing(self, digests: Sequence[str]) -> int:
        """Return how many different photos the store lacks of some of them, at least."""
        return max(one.n_missing(digests) for one in self.extractors)


def extract(
    engine: Engine, photos: Sequence[Path], fit: str, digests: Sequence[str] | None = None
) -> Iterator[Floats]:
    """Yield what an engine makes of each photo, in order; decoding and inference go on side by side.

    Args:
        engine: Maps pixels to features, or to probabilities.
        photos: Readable pictures; files are never modified.
        fit: How a photo becomes square: squash, crop or pad.
        digests: The SHA-256 that the bytes of each must have, in hexadecimal; None: any.

    Raises:
        UnreadableImage: Names the file.
        ChangedPhoto: A file has another digest, or is gone.
    """
    return engine.stream(pixels.read_many(photos, engine.image_size_px, fit, digests))
