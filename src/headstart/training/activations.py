"""What the tail of a backbone is trained on: its frozen trunk's activations, live or kept on disk."""

import math
import os
import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from headstart.base.arrays import Floats
from headstart.base.errors import disk_full_named
from headstart.base.progress import Progress
from headstart.networks.engine import Engine
from headstart.pictures import pixels
from headstart.pictures.pixels import Pixels
from headstart.training import augmentation

View = Callable[[int, int], Pixels]

LARGEST_SHARE = 0.5
"""The part of the free disk that kept activations may take."""


class Activations(ABC):
    """The inputs of a tail, for N photos in random views."""

    @abstractmethod
    def rows(self, order: Sequence[int], epoch: int) -> Iterator[Floats]:
        """Yield one input, float32 (H, W, C), for each index in `order`, in the view of a pass (1, 2, …)."""


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
    """Computed once, as float16 in a memory-mapped file (V, N, H, W, C); pass p sees view 1 + (p - 1) % V.

    Where passes are as many as views it gives what `Live` gives, to float16's precision.
    """

    def __init__(self, live: Live, trunk: Engine, n_photos: int, n_views: int, path: Path) -> None:
        self._live, self._n_photos, self.n_views = live, n_photos, n_views
        shape = (n_views, n_photos, *trunk.output_shape)
        with disk_full_named(path.parent):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._values = np.lib.format.open_memmap(path, "w+", np.float16, shape)
            _reserve(path)

    def fill(self, title: str, progress: Progress) -> bool:
        """Compute all views; return whether every value fits into float16."""
        is_finite = True
        with progress.stage(title, self.n_views * self._n_photos) as advance:
            for number in range(self.n_views):
                for index, row in enumerate(self._live.rows(range(self._n_photos), number + 1)):
                    with np.errstate(over="ignore"):
                        self._values[number, index] = row
                    is_finite = is_finite and bool(np.isfinite(self._values[number, index]).all())
                    advance()
        return is_finite

    def rows(self, order: Sequence[int], epoch: int) -> Iterator[Floats]:
        """See `Activations`."""
        view = self._values[(epoch - 1) % self.n_views]
        return (view[index].astype(np.float32) for index in order)


def prepare(
    trunk: Engine | None, view: View, n_photos: int, n_views: int, path: Path, title: str, progress: Progress
) -> Activations:
    """Return kept activations, or live ones where there is no trunk, no room, or a value beyond float16.

    Args:
        trunk: Maps pixels to activations.
        view: Gives one view of one photo, as `Live` asks for it.
        n_photos: N.
        n_views: V.
        path: The file that they are kept in.
        title: What the stage is called.
        progress: Told of each view of each photo.
    """
    live = Live(trunk, view)
    if trunk is None or not _has_room(n_views * n_photos * math.prod(trunk.output_shape) * 2, path.parent):
        return live
    kept = Kept(live, trunk, n_photos, n_views, path)
    return kept if kept.fill(title, progress) else live


def _reserve(path: Path) -> None:
    """Take the room of a file on disk, where the system can: a mapped one that has none ends the process."""
    if hasattr(os, "posix_fallocate"):
        with path.open("r+b") as stream:
            os.posix_fallocate(stream.fileno(), 0, path.stat().st_size)


def _has_room(n_bytes: int, folder: Path) -> bool:
    folder.mkdir(parents=True, exist_ok=True)
    return n_bytes <= LARGEST_SHARE * shutil.disk_usage(folder).free


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
