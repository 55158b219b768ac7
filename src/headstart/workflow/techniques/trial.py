"""A backbone tried on the photos of a run: both techniques, and what they will cost."""

import dataclasses

from headstart.base.arrays import Labels
from headstart.photos.splits import Lesson, Sealed
from headstart.training.heads import Heads
from headstart.workflow import forecast
from headstart.workflow.forecast import Costs, Work
from headstart.workflow.techniques import trainer, tuning
from headstart.workflow.techniques.bench import Bench, Opened
from headstart.workflow.techniques.extraction import Extraction
from headstart.workflow.techniques.tuning import Tuning


class Prospect:
    """A backbone before the photos are read: what it will cost, as far as can be known from their number.

    Args:
        opened: The backbone.
        work: How much there will be to do with it, about.
        bench: What is worked with.

    Attributes:
        row: Of the table of backbones.
        opened: The backbone.
    """

    def __init__(self, opened: Opened, work: Work, bench: Bench) -> None:
        self.row, self.opened = opened.row, opened
        self._work, self._settings = work, bench.settings

    @property
    def is_known(self) -> bool:
        """Whether all of its costs are: those of fine-tuning are measured when the photos are read."""
        return "finetune" not in self._settings.techniques or self.costs().train is not None

    def costs(self) -> Costs:
        """Return what this backbone was seen to cost on this machine."""
        return self.opened.ledger.known()

    def work(self, epochs: int) -> Work:
        """Return how much there will be to do, with so many passes of fine-tuning."""
        return dataclasses.replace(self._work, epochs=epochs, views=min(trainer.VIEWS, epochs))

    def features_stages(self) -> dict[str, float]:
        """Return the seconds that feature extraction will take, by stage."""
        return forecast.features_stages(self.costs(), self._work)

    def finetune_stages(self, epochs: int) -> dict[str, float]:
        """Return the seconds that fine-tuning will take from the probe on, by stage; none if unknown."""
        return forecast.finetune_stages(self.costs(), self.work(epochs)) if self.is_known else {}


class Trial:
    """A backbone opened for the photos of a run.

    Of the test part it is told nothing but `sealed`: neither labels nor where the photos are.

    Args:
        opened: The backbone.
        lesson: What is learnt from and chosen by.
        sealed: What is known of the test part before the decision.
        bench: What is worked with.
        read_s: Seconds to read and decode one of the photos.

    Attributes:
        row: Of the table of backbones.
        opened: The backbone, opened.
        settings: What was asked for.
        extraction: The first technique.
        tuning: The second.
    """

    is_known = True

    def __init__(
        self, opened: Opened, lesson: Lesson, sealed: Sealed, bench: Bench, *, read_s: float = 0.0
    ) -> None:
        self.row = opened.row
        self.settings = bench.settings
        self.opened, self._lesson, self._sealed, self._read_s = opened, lesson, sealed, read_s
        self._n_checked = len(tuning.checked(lesson, bench))
        self.extraction = Extraction(opened, lesson, bench)
        self.tuning = Tuning(opened, lesson, self.heads, bench)

    @property
    def heads(self) -> Heads:
        """What is fitted on the features."""
        return self.extraction.heads

    @property
    def labels(self) -> Labels:
        """Of the photos to learn from, int32 (N,)."""
        return self._lesson.photos.labels

    @property
    def image_size_px(self) -> int:
        """The side of the pictures that it is fed."""
        return self.opened.image_size_px

    def costs(self) -> Costs:
        """Return what this backbone costs on this machine: measured now, where it was not before."""
        self.extraction.measure()
        if "finetune" in self.settings.techniques:
            self.tuning.measure()
        return self.opened.ledger.known()

    def work(self, epochs: int) -> Work:
        """Return how much there is to do, with so many passes of fine-tuning."""
        lesson, extractor, tested = self._lesson, self.opened.extractor, self._sealed.digests
        n_photos, n_new = len(lesson.photos.files), extractor.n_missing(lesson.photos.digests)
        return Work(
            n_photos=n_photos,
            n_train=sum(len(fold.train) for fold in lesson.folds) + (n_photos if lesson.has_folds else 0),
            n_validation=len(lesson.validation),
            n_test=len(tested),
            n_kept=n_photos - n_new,
            n_test_kept=len(tested) - extractor.n_missing(tested),
            feature_size=extractor.engine.output_shape[0],
            n_classes=len(lesson.class_names),
            n_checked=self._n_checked,
            n_viewed=len(lesson.train),
            views=min(trainer.VIEWS, epochs),
            epochs=epochs,
            n_folds=len(lesson.folds),
            seeds=self.settings.seeds,
            is_built=self.tuning.is_built,
            read=self._read_s,
        )

    def features_stages(self) -> dict[str, float]:
        """Return the seconds that feature extraction will take, by stage."""
        self.costs()
        return self.extraction.stages(self.work(1))

    def finetune_stages(self, epochs: int) -> dict[str, float]:
        """Return the seconds that fine-tuning will take from the probe on, by stage."""
        self.costs()
        return self.tuning.stages(self.work(epochs))

    def release(self) -> None:
        """Drop what takes memory; it would be computed again."""
        self.extraction.release()
        self.tuning.release()
