"""Technique 1, feature extraction: a head on the features of a backbone that stays as it is."""

import time

import numpy as np

from headstart.base.arrays import Floats
from headstart.networks import novelty
from headstart.networks.pieces import Pieces
from headstart.networks.vectors import Vectors
from headstart.photos.splits import Lesson, Unlabelled
from headstart.results.comparison import Training
from headstart.training.heads import Heads
from headstart.training.ridge import Head
from headstart.workflow import forecast
from headstart.workflow.forecast import Work
from headstart.workflow.techniques.bench import Bench, Opened
from headstart.workflow.techniques.draft import Asked, Draft, Outcome, Trained

MEASURED = 32
"""Pictures that the time of one is measured on, where none were fed to the backbone."""


class Extraction:
    """Feature extraction with one backbone.

    Args:
        opened: The backbone.
        lesson: What is learnt from.
        bench: What is worked with.

    Attributes:
        heads: What is fitted on the features.
    """

    def __init__(self, opened: Opened, lesson: Lesson, bench: Bench) -> None:
        self._opened, self._lesson, self._bench = opened, lesson, bench
        self.heads = Heads(
            opened.row, opened.extractor, lesson, bench.settings.seed, opened.watch, bench.progress
        )

    def measure(self) -> None:
        """Find out what a photo costs on this machine, where that is not known."""
        ledger, compiled = self._opened.ledger, self._opened.extractor.engine
        if ledger.known().ask is not None:
            return
        picture = np.full((compiled.image_size_px, compiled.image_size_px, 3), 127, np.uint8)
        start = time.perf_counter()
        for _ in compiled.stream([picture] * MEASURED):
            pass
        ledger.note(ask=(time.perf_counter() - start) / MEASURED)

    def stages(self, work: Work) -> dict[str, float]:
        """Return the seconds that it will take, by stage."""
        return forecast.features_stages(self._opened.ledger.known(), work)

    def train(self) -> Trained:
        """Return the head that was fitted on all photos; its scores are from before.

        What its confidence is worth is asked of photos that it left out in their turn.
        """
        heads, opened = self.heads, self._opened
        references, scores = heads.novelty
        labels = self._lesson.photos.labels[heads.judged]
        calibration = self._bench.calibrate(heads.left_out[heads.judged], labels, scores)
        calibrated = heads.whole.tempered(calibration.temperature)

        def answer(photos: Unlabelled) -> Asked:
            return _asked(calibrated, references, self.features_of(photos))

        outcome = Outcome(heads.scores, calibration, Training(opened.image_size_px, heads.whole.l2))
        pieces = Pieces(calibrated.weights, calibrated.bias, references)
        draft = Draft(self._bench.work, opened.row.name, "features")
        candidate = draft.keep(opened.extractor.engine, pieces, outcome, opened, self._lesson.class_names)
        return Trained(candidate, draft.model, heads.answers, answer)

    def features_of(self, photos: Unlabelled) -> Vectors:
        """Return the features of N photos, (N, D); those of the test part only after the decision."""
        title = f"{self._opened.row.name} test features"
        return self._opened.extractor.features(photos.files, photos.digests, title, self._bench.progress)

    def last_of(self, photos: Unlabelled) -> Vectors:
        """Return the part of `features_of` that is the last layer's mean."""
        return self.features_of(photos).last(self._opened.row.feature_size)

    def release(self) -> None:
        """Drop what takes memory; it would be read again."""
        self.heads.release()


def _asked(head: Head, references: Floats, vectors: Vectors) -> Asked:
    """Return what a head says of N photos, and how far they are from the references, asked in blocks."""
    n_last = references.shape[1]
    found = [
        (head.probabilities(block), novelty.scores(block[:, -n_last:], references))
        for _, block in vectors.blocks()
    ]
    return Asked(*(np.concatenate(column) for column in zip(*found, strict=True)))
