"""What the tail of a backbone is trained on: its frozen trunk's activations, live or kept on disk."""

import math
import os
import shutil
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from headstart.base.arrays import Array, Floats
from headstart.base.errors import disk_full_named
from headstart.base.progress import Progress
from headstart.networks.engine import Engine
from headstart.pictures import pixels
from headstart.pictures.pixels import Pixels
from headstart.storage.checkpoint import Checkpoints
from headstart.training import augmentation

View = Callable[[int, int], Pixels]

LARGEST_SHARE = 0.5
"""The part of the free disk that kept activations may take."""

BLOCK = 256
"""Photos between two checkpoints: what is lost, at the most, when the training is killed."""

CHECKSUMS, UNKNOWN = "checksums", -1
"""What tells whole blocks from others, and what stands there of those that were not computed yet."""


class Activations(ABC):
    """The inputs of a tail, for N photos in random views."""

    @abstractmethod
    def rows(self, order: Sequence[int], epoch: int) -> Iterator[Floats]:
        """Yield what the tail eats, float32, for each index in `order`, in the view of a pass (1, 2, …)."""


class Live(Activations):
    """Computed each time: each pass sees views of its own.

    Args:
        trunk: Maps pixels to activations; None where the tail starts from the pixels.
        view: The picture of a photo, by its index, in the view of a pass.
    """

    def __init__(self, trunk: Engine | None, view: View) -> None:
        self._trunk, self._view = trunk, view

    def rows(self, order: Sequence[int], epoch: int) -> Iterator[Floats]:
        """See `Activations`."""
        pictures = pixels.map_in_order(lambda index: self._view(index, epoch), order)
        if self._trunk:
            yield from self._trunk.stream(pictures)
        else:
            yield from (picture.astype(np.float32) for picture in pictures)


class Kept(Activations):
    """Computed once, as float16 in a memory-mapped file (V, N, L); pass p sees view 1 + (p - 1) % V.

    Where passes are as many as views it gives what `Live` gives, to float16's precision. Of those that an
    interrupted training left, each block that is whole is taken as it is.

    Args:
        live: What they are computed by.
        trunk: Maps pixels to activations.
        n_photos: N.
        n_views: V.
        name: Of the file.
        checkpoints: The folder of it, and what all of them are made from.

    Raises:
        DiskFull: No space is left.
    """

    def __init__(
        self, live: Live, trunk: Engine, n_photos: int, n_views: int, name: str, checkpoints: Checkpoints
    ) -> None:
        self._live, self.n_views = live, n_views
        self._name, self._checkpoints = name, checkpoints
        self._blocks = [range(first, min(first + BLOCK, n_photos)) for first in range(0, n_photos, BLOCK)]
        path, shape = _file(name, checkpoints), (n_views, n_photos, *trunk.output_shape)
        unknown = np.full((n_views, len(self._blocks)), UNKNOWN, np.int64)
        kept = checkpoints.load(name) if _is_of(path, shape) else {}
        self._checksums = kept.get(CHECKSUMS, unknown)
        with disk_full_named(path.parent):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._values = np.lib.format.open_memmap(path, "r+" if kept else "w+", np.float16, shape)
            _reserve(path)

    def fill(self, title: str, progress: Progress) -> bool:
        """Compute what is lacking of all views; return whether every value fits into float16."""
        lacking = [self._lacking(number) for number in range(self.n_views)]
        if not any(lacking):
            return True
        with progress.stage(title, sum(len(block) for blocks in lacking for block in blocks)) as advance:
            for number, blocks in enumerate(lacking):
                rows = self._live.rows([index for block in blocks for index in block], number + 1)
                for block in blocks:
                    for index, row in zip(block, rows, strict=False):
                        with np.errstate(over="ignore"):
                            self._values[number, index] = row
                        advance()
                    if not self._keep(number, block):
                        return False
        return True

    def _lacking(self, number: int) -> list[range]:
        """Return the blocks of a view that are not there whole."""
        return [
            block
            for block, checksum in zip(self._blocks, self._checksums[number], strict=True)
            if checksum == UNKNOWN or checksum != zlib.crc32(self._of(number, block).data)
        ]

    def _keep(self, number: int, block: range) -> bool:
        """Write down that a block is whole, if all of it fits into float16; return whether it does."""
        if is_finite := bool(np.isfinite(self._of(number, block)).all()):
            self._checksums[number, block.start // BLOCK] = zlib.crc32(self._of(number, block).data)
            self._checkpoints.save(self._name, {CHECKSUMS: self._checksums})
        return is_finite

    def _of(self, number: int, block: range) -> Array:
        return self._values[number, block.start : block.stop]

    def rows(self, order: Sequence[int], epoch: int) -> Iterator[Floats]:
        """See `Activations`."""
        view = self._values[(epoch - 1) % self.n_views]
        return (view[index].astype(np.float32) for index in order)


def prepare(
    trunk: Engine | None,
    view: View,
    n_photos: int,
    n_views: int,
    name: str,
    checkpoints: Checkpoints,
    title: str,
    progress: Progress,
) -> Activations:
    """Return kept activations, or live ones where there is no trunk, no room, or a value beyond float16.

    Args:
        trunk: Maps pixels to activations.
        view: Gives one view of one photo, as `Live` asks for it.
        n_photos: N.
        n_views: V.
        name: Of the file that they are kept in.
        checkpoints: The folder of it, and what all of them are made from.
        title: What the stage is called.
        progress: Told of each view of each photo.
    """
    live, path = Live(trunk, view), _file(name, checkpoints)
    if trunk is None or not _has_room(n_views * n_photos * math.prod(trunk.output_shape) * 2, path):
        return live
    kept = Kept(live, trunk, n_photos, n_views, name, checkpoints)
    return kept if kept.fill(title, progress) else live


def _file(name: str, checkpoints: Checkpoints) -> Path:
    return checkpoints.folder / f"{name}.npy"


def _is_of(path: Path, shape: tuple[int, ...]) -> bool:
    """Say whether a file of values of this shape lies there, whole or not."""
    try:
        found = np.load(path, mmap_mode="r")
    except (OSError, EOFError, ValueError):
        return False
    return (found.dtype, found.shape) == (np.float16, shape)


def _reserve(path: Path) -> None:
    """Take the room of a file on disk, where the system can: a mapped one that has none ends the process."""
    if hasattr(os, "posix_fallocate"):
        with path.open("r+b") as stream:
            os.posix_fallocate(stream.fileno(), 0, path.stat().st_size)


def _has_room(n_bytes: int, path: Path) -> bool:
    """Say whether a file may be so large; what it takes already is its own."""
    path.parent.mkdir(parents=True, exist_ok=True)
    n_more = n_bytes - (path.stat().st_size if path.exists() else 0)
    return n_more <= LARGEST_SHARE * shutil.disk_usage(path.parent).free


def random_view(
    files: Sequence[Path],
    digests: Sequence[str],
    size_px: int,
    fit: str,
    operations: Sequence[str],
    seed: int,
) -> View:
    """Return a function from a photo's index and a pass to its view, which depends on nothing else.

    Args:
        files: N readable photos.
        digests: The SHA-256 of each, in hexadecimal; the view of a photo with another raises ChangedPhoto.
        size_px: Side of the pictures.
        fit: How a photo becomes square.
        operations: Names of `augmentation.OPERATIONS`.
        seed: Of the generator of the views.
    """

    def view(index: int, epoch: int) -> Pixels:
        random = np.random.default_rng((seed, epoch, index))
        return augmentation.view(pixels.read(files[index], size_px, fit, digests[index]), operations, random)

    return view
