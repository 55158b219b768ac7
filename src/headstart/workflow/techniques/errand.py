"""Fine-tuning on other machines: what each is told, and what comes back."""

import dataclasses
import platform
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from headstart.base.errors import ClusterError, disk_full_named
from headstart.base.progress import Progress, Stopwatch
from headstart.base.settings import Settings
from headstart.networks import backbones, versions
from headstart.photos.splits import Lesson
from headstart.results.comparison import Epoch
from headstart.storage.store import Store
from headstart.training.finetune import Watch
from headstart.workflow.techniques.bench import Bench, Machines, load_libraries, open_backbone
from headstart.workflow.techniques.draft import Draft, Origin
from headstart.workflow.techniques.trainer import Start, Trainer


@dataclass(frozen=True, eq=False)
class Errand:
    """One training, as another machine needs to know it to come to the same.

    Attributes:
        settings: What was asked for.
        draft: What it becomes, here.
        origin: What it comes from.
        image_size_px: The side of the pictures.
        lesson: What is learnt from; the other machine sees the photos under the same paths.
        start: What it starts from.
        seconds: What was spent on the backbone by now, by stage.
    """

    settings: Settings
    draft: Draft
    origin: Origin
    image_size_px: int
    lesson: Lesson
    start: Start
    seconds: dict[str, float]

    @property
    def n_passes(self) -> int:
        """Passes that are told of."""
        return self.origin.epochs * len(self.lesson.folds)

    def keep(self, files: Mapping[str, bytes]) -> None:
        """Put what came back into the work folder, where the run looks for it.

        Raises:
            DiskFull: No space is left.
        """
        self.draft.begin()
        self.draft.unpack(files)
        self.draft.end(self.origin)


def run(errand: Errand, watch: Watch) -> dict[str, bytes]:
    """Fine-tune on this machine for another; return the files of the draft, see `Draft.packed`.

    Raises:
        ClusterError: This machine would give other numbers, or does not see the photos.
        ChangedPhoto: A photo is gone, or another one.
        DiskFull: No space is left for what is temporary.
    """
    load_libraries()
    versions.refuse_others(errand.origin.versions)
    _refuse_absent(errand.lesson.photos.files[0])
    with (
        disk_full_named(Path(tempfile.gettempdir())),
        tempfile.TemporaryDirectory() as name,
        Store(Progress(), Path(name) / "store.sqlite") as store,
    ):
        return _run(errand, Bench(errand.settings, Path(name), store, Progress()), watch)


def _refuse_absent(photo: Path) -> None:
    """Refuse where one photo is not seen: then the disk with all of them is not."""
    if not photo.exists():
        raise ClusterError(
            f"{platform.node()} does not see the photo {photo}.",
            "Put the photos on a disk that all machines of the cluster see under the same path. For the copy "
            "of those in an object store HEADSTART_CACHE must name such a place.",
        )


def _run(errand: Errand, bench: Bench, watch: Watch) -> dict[str, bytes]:
    origin, row = errand.origin, backbones.find(errand.draft.backbone)
    opened = open_backbone(row, errand.image_size_px, bench)
    if opened.extractor.identity != origin.backbone:
        raise versions.unlike(f"another {row.name}", "the first machine's")
    clock = Stopwatch()
    clock.seconds.update(errand.seconds)
    trainer = Trainer(dataclasses.replace(opened, watch=clock), errand.lesson, bench)
    draft = dataclasses.replace(errand.draft, work=bench.work)
    trainer.train(draft, errand.start, origin.seed, origin.epochs, watch)
    return draft.packed()


def spread(errands: Sequence[tuple[Errand, Watch]], machines: Machines, progress: Progress) -> None:
    """Have all of them run by other machines, as many at once as there are; keep what comes back.

    Args:
        errands: N, each with what is told of its passes.
        machines: Who runs them.
        progress: Told of each pass, on whichever machine.
    """
    told = set[tuple[int, str, int]]()
    total = sum(one.n_passes for one, _ in errands)
    with progress.stage("Fine-tuning on the cluster", total, "passes") as advance:

        def hear(number: int, fold: str, epoch: Epoch) -> None:
            """Take note of a pass, once also where it is made again because a machine died."""
            if (number, fold, epoch.number) not in told:
                told.add((number, fold, epoch.number))
                one, watch = errands[number]
                one.draft.watched(watch)(fold, epoch)
                advance(epoch.number > 0)

        for number, files in machines.each(run, [one for one, _ in errands], hear):
            errands[number][0].keep(files)
