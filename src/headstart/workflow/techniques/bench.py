"""What both techniques work with: the bench of a run, and a backbone opened on it."""

import importlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np

from headstart.base.arrays import Floats, Labels
from headstart.base.progress import Progress, Stopwatch
from headstart.base.settings import Settings
from headstart.networks import engine
from headstart.networks.features import Extractor, Together
from headstart.networks.sweep import Pace, Sweep
from headstart.networks.table import Backbone, together
from headstart.photos.splits import Lesson
from headstart.pictures import pixels
from headstart.reporting.projection import MAX_SPOTS
from headstart.results.gallery import Thumbnails
from headstart.statistics import calibration
from headstart.statistics.calibration import Calibration
from headstart.storage.store import Store
from headstart.training import threads
from headstart.workflow.forecast import Ledger

Given = TypeVar("Given")
Made = TypeVar("Made")

EXAMPLES = 8
"""Photos that a converted graph is compared with Keras on."""


class Machines(Protocol):
    """Other machines that work for this run."""

    def read(self, files: Sequence[str], opened: Sequence["Opened"], bench: "Bench") -> Sequence[str]:
        """Have photos read, and keep in the bench's store what is found of them.

        It is what the audit and its onlookers would find: checks, features and thumbnails.

        Args:
            files: N of them, absolute; the others see them under the same names.
            opened: The backbones.
            bench: What is worked with.

        Returns:
            N digests of the files' bytes, SHA-256 in hexadecimal; "" of one that could not be read.
        """

    def each(
        self,
        work: Callable[[Given, Callable[..., None]], Made],
        given: Sequence[Given],
        hear: Callable[..., None],
    ) -> Iterator[tuple[int, Made]]:
        """Have work done on each of N things, and yield what is made of them as it comes back.

        Args:
            work: A function of the package: called with one of them, and with what it may tell news by.
            given: N.
            hear: Called here with the number of one of them and what was told of it. Where a machine died,
                the work begins anew, and so do its news.

        Yields:
            The number of one of them, and what was made of it.
        """


@dataclass(frozen=True, eq=False)
class Bench:
    """What stays the same in a run, whatever is tried.

    Attributes:
        settings: What was asked for.
        work: Folder of what is deleted when the run is finished.
        store: What is kept between runs.
        progress: Told of everything.
        machines: Who else works for the run, where somebody does.
    """

    settings: Settings
    work: Path
    store: Store
    progress: Progress
    machines: Machines | None = None

    def calibrate(self, probabilities: Floats, labels: Labels, novelty: Floats) -> Calibration:
        """Return what answers are worth, as far as the settings allow errors; see `calibration.calibrate`."""
        return calibration.calibrate(
            probabilities,
            labels,
            max_error=self.settings.max_error,
            coverage=self.settings.coverage,
            max_refused=self.settings.max_refused,
            novelty=novelty,
        )


@dataclass(frozen=True, eq=False)
class Opened:
    """A backbone, compiled for pictures of a size.

    Attributes:
        row: Of the table of backbones.
        extractor: Makes features of photos, and keeps them.
        kind: "openvino" or "keras", which graphs are compiled for.
        ledger: What it was seen to cost.
        watch: What took how long of it.
    """

    row: Backbone
    extractor: Extractor | Together
    kind: str
    ledger: Ledger
    watch: Stopwatch

    @property
    def image_size_px(self) -> int:
        """The side of the pictures that it is fed."""
        return self.extractor.engine.image_size_px


def load_libraries() -> None:
    """Load what is compiled and large, before networks take memory.

    Where there is too little left for it, loading OpenCV (5.0) ends the process. And what is loaded by then
    has a say in what `versions.here` tells of the processor's kernels.
    """
    importlib.import_module("cv2")
    threads.load()


def open_backbone(row: Backbone, image_size_px: int, bench: Bench) -> Opened:
    """Open a backbone for pictures of a size.

    Raises:
        WeightsError: Pretrained weights are missing.
    """
    settings, watch = bench.settings, Stopwatch()
    with watch.stage("prepare"):
        compiled = engine.open_backbone(
            row,
            image_size_px=image_size_px,
            features=settings.features,
            asked=settings.engine,
            weights_dir=settings.weights_folder,
            progress=bench.progress,
        )
        kind = engine.choose(settings.engine)
        key = engine.backbone_key(row, image_size_px, kind, settings.weights_folder, settings.features)
    ledger = Ledger(bench.store, f"{key} {unfreeze(row, settings)} {settings.batch_size}")
    ledger.note(prepare=watch.seconds["prepare"])
    extractor = Extractor(compiled, key, settings.fit, bench.store, bench.work)
    return Opened(row, extractor, kind, ledger, watch)


def sweep_of(opened: Sequence[Opened]) -> Sweep:
    """Return what feeds all backbones while photos are read."""
    return Sweep([one.extractor for one in opened if isinstance(one.extractor, Extractor)])


def thumbnails_of(n_photos: int, bench: Bench) -> list[Thumbnails]:
    """Return what makes thumbnails while photos are read, where a report is asked for."""
    return [Thumbnails(bench.store, n_photos, MAX_SPOTS)] if bench.settings.report else []


def note(opened: Sequence[Opened], pace: Pace) -> None:
    """Note what a sweep took: of each backbone's own time, and of reading for as many photos as it lacked."""
    read_s = pace.read_s / max(1, pace.n_read)
    for one, n_fed, fed_s in zip(opened, pace.n_fed, pace.fed_s, strict=True):
        if n_fed:
            one.watch.add("features", fed_s + n_fed * read_s)
            one.ledger.note(ask=fed_s / n_fed)


def side_by_side(opened: Sequence[Opened], bench: Bench) -> Opened:
    """Return backbones that were opened for pictures of one size as one, their features side by side.

    What they took by then was taken for this one, too.
    """
    first, row = opened[0], together(*(one.row for one in opened))
    watch = Stopwatch()
    for stage in ("prepare", "features"):
        watch.seconds[stage] = sum(one.watch.seconds.get(stage, 0.0) for one in opened)
    extractor = Together(tuple(one.extractor for one in opened if isinstance(one.extractor, Extractor)))
    return Opened(row, extractor, first.kind, Ledger(bench.store, extractor.identity), watch)


def examples_of(lesson: Lesson, size_px: int, fit: str) -> pixels.Pixels:
    """Return some of the photos, evenly spread, uint8 (B, S, S, 3) with B up to `EXAMPLES`."""
    photos = lesson.photos
    chosen = slice(0, None, max(1, len(photos.files) // EXAMPLES))
    files, digests = photos.files[chosen][:EXAMPLES], photos.digests[chosen][:EXAMPLES]
    return np.stack(list(pixels.read_many(files, size_px, fit, digests)))


def unfreeze(row: Backbone, settings: Settings) -> str:
    """Return how much of a backbone is fine-tuned, as `tail.divide` takes it."""
    return row.default_unfreeze if settings.unfreeze == "auto" else settings.unfreeze
