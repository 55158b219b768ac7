"""A backbone tried on the photos of a run: both techniques, and what they will cost."""

from headstart.photos.splits import Lesson, Sealed
from headstart.training.heads import Heads
from headstart.workflow.forecast import Costs, Work
from headstart.workflow.techniques import tuning
from headstart.workflow.techniques.bench import Bench, Opened
from headstart.workflow.techniques.extraction import Extraction
from headstart.workflow.techniques.tuning import Tuning


class Trial:
    """A backbone opened for the photos of a run.

    Of the test part it is told nothing but `sealed`: neither labels nor where the photos are.

    Args:
        opened: The backbone.
        lesson: What is learnt from and chosen by.
        sealed: What is known of the test part before the decision.
        bench: What is worked with.

    Attributes:
        row: Of the table of backbones.
        settings: What was asked for.
        extraction: The first technique.
        tuning: The second.
    """

    def __init__(self, opened: Opened, lesson: Lesson, sealed: Sealed, bench: Bench) -> None:
        self.row = opened.row
        self.settings = bench.settings
        self._opened, self._lesson, self._sealed = opened, lesson, sealed
        self._n_checked = len(tuning.checked(lesson, bench))
        self.extraction = Extraction(opened, lesson, bench)
        self.tuning = Tuning(opened, lesson, self.heads, bench)

    @property
    def heads(self) -> Heads:
        """What is fitted on the features."""
        return self.extraction.heads

    def costs(self) -> Costs:
        """Return what this backbone costs on this machine: measured now, where it was not before."""
        self.extraction.measure()
        if "finetune" in self.settings.techniques:
            self.tuning.measure()
        return self._opened.ledger.known()

    def work(self, epochs: int) -> Work:
        """Return how much there is to do, with so many passes of fine-tuning."""
        lesson, extractor, tested = self._lesson, self._opened.extractor, self._sealed.digests
        n_photos, n_new = len(lesson.photos.files), extractor.n_missing(lesson.photos.digests)
        return Work(
            n_photos=n_photos,
            n_train=sum(len(fold.train) for fold in lesson.folds) + (n_photos if lesson.has_folds else 0),
            n_validation=len(lesson.validation),
            n_test=len(tested),
            n_kept=n_photos - n_new,
            n_test_kept=len(tested) - extractor.n_missing(tested),
            feature_size=self.row.feature_size,
            n_classes=len(lesson.class_names),
            n_checked=self._n_checked,
            n_viewed=len(lesson.train),
            views=min(tuning.VIEWS, epochs),
            epochs=epochs,
            n_folds=len(lesson.folds),
            seeds=self.settings.seeds,
            is_built=self.tuning.is_built,
        )

    def features_stages(self) -> dict[str, float]:
        """Return the seconds that feature extraction will take, by stage."""
        self.costs()
        return self.extraction.stages(self.work(self.settings.epochs))

    def finetune_stages(self, epochs: int) -> dict[str, float]:
        """Return the seconds that fine-tuning will take from the probe on, by stage."""
        self.costs()
        return self.tuning.stages(self.work(epochs))

    def release(self) -> None:
        """Drop what takes memory; it would be computed again."""
        self.extraction.release()
        self.tuning.release()
