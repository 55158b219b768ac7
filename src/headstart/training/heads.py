"""What is fitted on the features of one backbone, once: heads, their answers, novelty, a learning curve."""

import dataclasses
import functools
import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from headstart.base import records
from headstart.base.arrays import Array, Floats, Rows
from headstart.base.progress import Progress, Stopwatch
from headstart.networks import novelty
from headstart.networks.features import Extractor, Together
from headstart.networks.table import Backbone
from headstart.networks.vectors import Vectors
from headstart.photos.splits import N_FOLDS, Lesson, fold_numbers, held_out_in, without_whose_group
from headstart.results.curve import LearningCurve
from headstart.statistics import metrics
from headstart.statistics.answers import Answers
from headstart.statistics.metrics import Evaluation
from headstart.storage.store import Kind
from headstart.training import learning_curve, ridge
from headstart.training.confidence import Confidence
from headstart.training.ridge import Fit, Head, Ridge, Scaling

VERSION = 7
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

    extractor: Extractor | Together
    lesson: Lesson
    seed: int
    watch: Stopwatch

    def head(self, what: str, fit: Callable[[], Head]) -> Head:
        """Return the head of that name."""
        weights, bias, l2 = self.arrays(what, lambda: _arrays_of(fit()))
        return Head(weights, bias, float(l2))

    def fit(self, what: str, fit: Callable[[], Fit]) -> Fit:
        """Return the fit of that name."""

        def arrays() -> tuple[Array, ...]:
            found = fit()
            certainty = found.confidence
            told = certainty.scales, certainty.biases, np.array(certainty.loss)
            return *_arrays_of(found.head), found.scores.astype(np.float32), *told

        weights, bias, l2, scores, scales, biases, loss = self.arrays(what, arrays)
        return Fit(Head(weights, bias, float(l2)), scores, Confidence(scales, biases, float(loss)))

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
    """The heads of one backbone, and what they say of the photos that they were not fitted on.

    What was fitted before on the same features, labels and folds is taken from the store.

    Args:
        row: The backbone.
        extractor: What computes the features, by the backbone's compiled graph.
        lesson: N photos to learn from and to choose by.
        seed: Of the generator of the folds of novelty and of the learning curve's draws.
        watch: Told what takes how long.
        progress: Told of each photo.
    """

    def __init__(
        self,
        row: Backbone,
        extractor: Extractor | Together,
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
        self._ridge: Ridge | None = None

    @property
    def features(self) -> Vectors:
        """What the heads take, of the N photos, (N, D)."""
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
        """Drop the features and their products, which take memory; they would be made again."""
        self._features = self._ridge = None

    @property
    def _fitting(self) -> Ridge:
        if self._ridge is None:
            photos, n_classes = self._photos, len(self._lesson.class_names)
            self._ridge = Ridge(self.features, photos.labels, photos.sample_weights, n_classes)
        return self._ridge

    @functools.cached_property
    def _of_train(self) -> Fit:
        """What is fitted on the training photos, where there is a validation part."""
        [fold] = self._folds
        return self._once.fit("train", lambda: self._fitting.fit(fold.train, self._photos.groups))

    @functools.cached_property
    def _of_all(self) -> Fit:
        """What is fitted on all photos: those to choose by have their say in the strength, too."""
        start = ridge.START if self._lesson.has_folds else self._of_train.head.l2
        every, groups = np.arange(len(self._photos.files)), self._photos.groups
        return self._once.fit("all", lambda: self._fitting.fit(every, groups, start))

    @property
    def _chosen(self) -> Fit:
        return self._of_all if self._lesson.has_folds else self._of_train

    @property
    def l2(self) -> float:
        """The strength of the penalty of the heads: with a validation part what training photos chose."""
        return self._chosen.head.l2

    @functools.cached_property
    def heads(self) -> tuple[Head, ...]:
        """For each fold the head that was fitted on its training photos alone."""
        if not self._lesson.has_folds:
            return (self._of_train.head,)
        return tuple(
            self._once.head(f"fold {number}", functools.partial(self._fitted, fold.train))
            for number, fold in enumerate(self._folds)
        )

    def _fitted(self, rows: Rows) -> Head:
        return self._fitting.head(rows, self._photos.groups, self.l2)

    @property
    def whole(self) -> Head:
        """The head that was fitted on all photos."""
        return self._of_all.head

    @property
    def left_out(self) -> Floats:
        """What the whole head makes of each photo when it leaves out its group, float32 (N, C).

        Exactly what it would if it were fitted anew on the others.
        """
        return self._of_all.left_out

    @functools.cached_property
    def scaling(self) -> Scaling:
        """What the features are scaled by before heads are fitted on them."""

        def measure() -> tuple[Array, ...]:
            found = self._fitting.scaling
            return found.centre, found.factor

        return Scaling(*self._once.arrays("scaling", measure))

    @functools.cached_property
    def judged(self) -> Rows:
        """Rows of the photos whose left-out answers say something.

        To leave out a class that is a single group of photos is to leave out all of it: what is then said of
        it proves nothing.
        """
        return without_whose_group(self._photos.labels, self._photos.groups)

    @functools.cached_property
    def novelty(self) -> tuple[Floats, Floats]:
        """What novelty is measured from, (R, D), and the scores of photos by references from others, (M,)."""
        photos, seed = self._photos, self._seed

        def measure() -> tuple[Array, ...]:
            fold_of = held_out_in(self._folds, len(photos.files))
            if not self._lesson.has_folds:
                fold_of = fold_numbers(photos.labels, photos.groups, n_folds=N_FOLDS, seed=seed)
            return (
                novelty.references(self.last, photos.labels, seed=seed),
                novelty.out_of_fold(self.last, photos.labels, fold_of, seed=seed),
            )

        # Of several backbones side by side it is that of the last alone, where it may have been measured.
        once = dataclasses.replace(self._once, extractor=self._extractor.last)
        references, scores = once.arrays("novelty", measure)
        return references, scores

    @functools.cached_property
    def scores(self) -> Evaluation:
        """What the heads are worth on the validation photos, each asked by one that was not fitted on it."""
        rows = np.sort(self._lesson.validation)
        answers = self.answers.of(rows)
        return metrics.evaluate(self._photos.labels[rows], answers, self._lesson.class_names)

    @functools.cached_property
    def answers(self) -> Answers:
        """The answers of heads that were not fitted on a photo, as fine-tuned networks answer.

        Validation photos are asked of the head that was fitted on the training photos, or on the other folds.
        With a validation part, training photos are left out in their turn.
        """

        def ask() -> tuple[Array, ...]:
            found = [
                (fold.validation, head.answers(self.features.of(fold.validation)))
                for fold, head in zip(self._folds, self.heads, strict=True)
            ]
            if not self._lesson.has_folds:
                train, photos = self._folds[0].train, self._photos
                asked = without_whose_group(photos.labels[train], photos.groups[train])
                found.append((train[asked], self._of_train.left_out[asked]))
            rows = np.concatenate([rows for rows, _ in found])
            order = np.argsort(rows)
            return rows[order], np.concatenate([answers for _, answers in found])[order]

        rows, probabilities = self._once.arrays("answers", ask)
        return Answers(f"{self._row.name}/features", rows, probabilities)

    def learning_curve(self) -> LearningCurve:
        """Return how accuracy on the validation photos grew with the training photos."""
        photos = self._photos

        def measure() -> tuple[Array, ...]:
            found = learning_curve.measure(
                self._fitting,
                photos.labels,
                photos.groups,
                self._folds,
                class_names=self._lesson.class_names,
                like=self._chosen,
                repeats=2 if self._lesson.has_folds else learning_curve.REPEATS,
                seed=self._seed,
            )
            return (np.frombuffer(records.to_bytes(found), np.uint8),)

        with self._watch.stage("learning curve"):
            (content,) = self._once.arrays(f"learning curve {self._lesson.class_names}", measure)
        self._ridge = None  # the last to be fitted, and up to the square of the features large
        return records.from_bytes(content.tobytes(), LearningCurve)


def _arrays_of(head: Head) -> tuple[Array, Array, Array]:
    return head.weights, head.bias, np.array(head.l2)
