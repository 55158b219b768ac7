"""What is fitted on the features of one backbone, once: heads, their answers, novelty, suspects, a curve."""

import functools
import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headstart.base import records
from headstart.base.arrays import Array, Floats
from headstart.base.progress import Progress, Stopwatch
from headstart.networks import novelty
from headstart.networks.features import Extractor
from headstart.networks.table import Backbone
from headstart.networks.vectors import Vectors
from headstart.photos.splits import IN_EVERY_FIT, N_FOLDS, Lesson, fold_numbers, held_out_in
from headstart.results.curve import LearningCurve
from headstart.statistics import metrics
from headstart.statistics.answers import Answers
from headstart.statistics.metrics import Evaluation
from headstart.storage.store import Kind
from headstart.training import learning_curve, probe, suspects
from headstart.training.probe import Head

VERSION = 4
"""Goes up when other heads, probabilities or learning curves come of the same features."""


KIND: Kind = "heads"
"""What all of this is called in the store."""


@dataclass(frozen=True, eq=False)
class Once:
    """What was fitted on the same features, labels and folds before, or else is fitted now and kept.

    Attributes:
        extractor: What computes the features, by the backbone's compiled graph, and knows the store.
        lesson: The photos to learn from, with their labels and folds.
        seed: Of the generator of all that is random in fitting.
        watch: Told how long it took.
    """

    extractor: Extractor
    lesson: Lesson
    seed: int
    watch: Stopwatch

    def head(self, what: str, fit: Callable[[], Head]) -> Head:
        """Return the head of that name."""

        def arrays() -> tuple[Array, ...]:
            found = fit()
            return found.weights, found.bias, np.array(found.l2)

        weights, bias, l2 = self.arrays(what, arrays)
        return Head(weights, bias, float(l2))

    def arrays(self, what: str, compute: Callable[[], tuple[Array, ...]]) -> tuple[Array, ...]:
        """Return the arrays of that name."""
        store, key = self.extractor.store, hashlib.sha256(f"{what} {self._identity}".encode()).digest()
        with self.watch.stage("probe"):
            kept = store.get([key])
            if kept:
                return records.from_npz(kept[key])
            found = compute()
            store.put([(key, records.to_npz(found))], KIND)
        return found

    @functools.cached_property
    def _identity(self) -> str:
        """What decides all of this but the name of the thing."""
        photos, folds = self.lesson.photos, self.lesson.folds
        decided_by = (
            VERSION,
            self.extractor.identity,
            self.extractor.fit,
            self.seed,
            photos.digests,
            [array.tobytes() for array in (photos.labels, photos.groups, photos.sample_weights)],
            [(fold.train.tobytes(), fold.validation.tobytes()) for fold in folds],
        )
        return hashlib.sha256(repr(decided_by).encode()).hexdigest()


class Heads:
    """The probes of one backbone, and what they say of the photos that they were not fitted on.

    What was fitted before on the same features, labels and folds is taken from the store.

    Args:
        row: The backbone.
        extractor: What computes the features, by the backbone's compiled graph.
        lesson: N photos to learn from and to choose by.
        seed: Of the generator of the folds and of the learning curve's draws.
        watch: Told what takes how long.
        progress: Told of each photo.
    """

    def __init__(
        self,
        row: Backbone,
        extractor: Extractor,
        lesson: Lesson,
        seed: int,
        watch: Stopwatch,
        progress: Progress,
    ) -> None:
        self._row, self._extractor, self._lesson = row, extractor, lesson
        self._photos, self._folds = lesson.photos, lesson.folds
        self._seed, self._watch, self._progress = seed, watch, progress
        self._once = Once(extractor, lesson, seed, watch)
        self._features: Vectors | None = None

    @property
    def features(self) -> Vectors:
        """The features of the photos, (N, D)."""
        if self._features is None:
            photos, title = self._photos, f"{self._row.name} features"
            with self._watch.stage("features"):
                self._features = self._extractor.features(photos.files, photos.digests, title, self._progress)
        return self._features

    @property
    def last(self) -> Vectors:
        """The part of the features that is the last layer's mean, (N, D of it)."""
        return self.features.last(self._row.feature_size)

    def release(self) -> None:
        """Drop the features, which take memory; they would be read again."""
        self._features = None

    @functools.cached_property
    def l2(self) -> float:
        """The strength of the penalty: that of the least loss on the validation photos."""
        if not self._lesson.has_folds:
            return self.heads[0].l2
        photos = self._photos

        def choose() -> tuple[Array, ...]:
            return (
                np.array(probe.choose(self.features[:], photos.labels, photos.sample_weights, self._folds)),
            )

        return float(self._once.arrays("penalty", choose)[0])

    @functools.cached_property
    def heads(self) -> tuple[Head, ...]:
        """For each fold the probe that was fitted on its training photos alone."""
        if not self._lesson.has_folds:
            return (self._once.head("head", self._chosen),)
        return tuple(
            self._once.head(f"head {number}", functools.partial(self._fitted, fold.train))
            for number, fold in enumerate(self._folds)
        )

    def _chosen(self) -> Head:
        [fold] = self._folds
        vectors, labels = self.features[:], self._photos.labels
        return probe.fit(
            vectors[fold.train],
            labels[fold.train],
            vectors[fold.validation],
            labels[fold.validation],
            _mean_one(self._photos.sample_weights[fold.train]),
        )

    def _fitted(self, rows: NDArray[np.intp]) -> Head:
        weights = _mean_one(self._photos.sample_weights[rows])
        return probe.refit(self.features[rows], self._photos.labels[rows], weights, self.l2)

    @functools.cached_property
    def whole(self) -> Head:
        """The probe that was fitted on all photos, its penalty chosen before."""

        def refit() -> Head:
            photos, start = self._photos, self.heads[0]
            weights = _mean_one(photos.sample_weights)
            return probe.refit(self.features[:], photos.labels, weights, self.l2, start=start)

        return self._once.head("whole", refit)

    @functools.cached_property
    def _fold_of(self) -> NDArray[np.int64]:
        if not self._lesson.has_folds:
            return fold_numbers(self._photos.labels, self._photos.groups, n_folds=N_FOLDS, seed=self._seed)
        return held_out_in(self._folds, len(self._photos.files))

    @property
    def judged(self) -> NDArray[np.intp]:
        """Rows of the photos that some heads were not fitted on.

        A class that is a single group of photos was fitted on by every head: its answers prove nothing.
        """
        return np.flatnonzero(self._fold_of != IN_EVERY_FIT)

    @functools.cached_property
    def out_of_fold(self) -> Floats:
        """What heads that were not fitted on a photo make of it, float32 (N, C)."""
        photos = self._photos

        def ask() -> tuple[Array, ...]:
            return (
                suspects.out_of_fold(
                    self.features[:], photos.labels, self._fold_of, photos.sample_weights, self.l2
                ),
            )

        return self._once.arrays("out of fold", ask)[0]

    @functools.cached_property
    def novelty(self) -> tuple[Floats, Floats]:
        """What novelty is measured from, (R, D), and the scores of the judged photos, by the others, (M,)."""
        labels, seed = self._photos.labels, self._seed

        def measure() -> tuple[Array, ...]:
            vectors = self.last[:]
            return (
                novelty.references(vectors, labels, seed=seed),
                novelty.out_of_fold(vectors, labels, self._fold_of, seed=seed),
            )

        references, scores = self._once.arrays("novelty", measure)
        return references, scores

    @functools.cached_property
    def scores(self) -> Evaluation:
        """What the probe is worth on the validation photos."""
        if not self._lesson.has_folds:
            rows = self._folds[0].validation
            answers = self.heads[0].probabilities(self.features[rows])
        else:
            rows = self.judged
            answers = self.out_of_fold[rows]
        return metrics.evaluate(self._photos.labels[rows], answers, self._lesson.class_names)

    @property
    def answers(self) -> Answers:
        """The answers of heads that were not fitted on a photo, to the judged photos."""
        return Answers(f"{self._row.name}/features", self.judged, self.out_of_fold[self.judged])

    def learning_curve(self) -> LearningCurve:
        """Return how accuracy on the validation photos grew with the training photos."""
        photos = self._photos

        def measure() -> tuple[Array, ...]:
            found = learning_curve.measure(
                self.features[:],
                photos.labels,
                photos.groups,
                photos.sample_weights,
                self._folds,
                class_names=self._lesson.class_names,
                l2=self.l2,
                repeats=2 if self._lesson.has_folds else learning_curve.REPEATS,
                seed=self._seed,
            )
            return (np.frombuffer(records.to_bytes(found), np.uint8),)

        with self._watch.stage("learning curve"):
            (content,) = self._once.arrays(f"learning curve {self._lesson.class_names}", measure)
        return records.from_bytes(content.tobytes(), LearningCurve)


def _mean_one(weights: Floats) -> Floats:
    return np.asarray(weights / weights.mean(), dtype=np.float32)
