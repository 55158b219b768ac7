"""Technique 2, fine-tuning: start from the probe, then train the last layers of the backbone too."""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from headstart.base.arrays import Floats, Labels, Rows
from headstart.base.progress import Progress
from headstart.networks.backbones import import_keras
from headstart.networks.engine import Engine
from headstart.photos.splits import Fold, Lesson, Part
from headstart.pictures.pixels import Pixels, batches
from headstart.results.comparison import Epoch
from headstart.statistics.metrics import log_loss, softmax
from headstart.training.inputs import Feeder, Inputs, training_batches
from headstart.training.recipe import CLIP_NORM, WEIGHT_DECAY, Recipe, learning_rate
from headstart.training.ridge import Head
from headstart.training.tail import Divided

if TYPE_CHECKING:
    from keras import Model


MEASURED_STEPS = 2

MIXES = (0.75, 0.5, 0.25)
"""Parts of the way from the probe to the last pass that are tried at the end."""


@dataclass(frozen=True, eq=False)
class Probes:
    """What fine-tuning starts from.

    Attributes:
        of_folds: For each fold the probe that was fitted on the features of its training photos alone.
        whole: With several folds the probe that was fitted on all photos; else that of the single fold.
    """

    of_folds: tuple[Head, ...]
    whole: Head


class Stage(NamedTuple):
    """Weights in training: so much of the way, 0 to 1, from the start to where a pass ended."""

    number: int
    mix: float


START = Stage(0, 0.0)


@dataclass(frozen=True, eq=False)
class Attempt:
    """One training and what it makes of M photos that it was not trained on.

    Attributes:
        losses: Mean training loss of each pass, the first's first.
        answers: Probabilities, float32 (M, C), at each stage: the start, the end of each pass, the mixes.
        weights: At the start, at the end of the pass with the best answers, and at the end.
    """

    losses: tuple[float, ...]
    answers: dict[Stage, Floats]
    weights: dict[int, list[NDArray[Any]]]


@dataclass(frozen=True, eq=False)
class FineTuned:
    """A trained Keras graph, pixels to features, its head, and how they came about.

    Its weights are `mix` of the way, above 0 to 1, from the probe's to those of the pass `history[best]`;
    where nothing was better on validation than the probe, both are 0. It is never worse there than the probe.
    `answers`, float32 (M, C), are its probabilities for the validation photos of all folds, in their order;
    where there are several folds, those of the networks that were trained in them.
    """

    model: "Model"
    head: Head
    history: tuple[Epoch, ...]
    best: int
    mix: float
    trained_layers: int
    answers: Floats


@dataclass(frozen=True)
class Rates:
    """Images/s through the frozen trunk (None where there is none), and of training on what comes out."""

    trunk: float | None
    training: float


class Watch(Protocol):
    """Is told of each pass of a training, as it ends; the fold is "" where there is one fold alone."""

    def __call__(self, fold: str, epoch: Epoch) -> None:
        """Take note of a pass."""


def unwatched(fold: str, epoch: Epoch) -> None:
    """Take no note."""


@dataclass(frozen=True, eq=False)
class Session:
    """What stays as it is from the first pass of a training to its last.

    Attributes:
        photos: N, to learn from and to choose by.
        recipe: How.
        views: What is trained on.
        plain: What is judged by.
        progress: Told of each photo.
        watch: Told of each pass.
    """

    photos: Part
    recipe: Recipe
    views: Inputs
    plain: Inputs
    progress: Progress
    watch: Watch


class Tuner:
    """A backbone made ready to be fine-tuned.

    The frozen layers before the trained ones only infer, on the compiled engine. BatchNorm stays in
    inference mode: batches of a small set would ruin statistics learnt on a million photos.

    Args:
        divided: The backbone, cut before the layers that are trained.
        trunk: Its frozen part, compiled; None where the boundary is the pixels.
        n_classes: C.
        examples: uint8 (B, S, S, 3), photos to measure this machine on.
        seed: Of what is random before training.
    """

    def __init__(
        self, divided: Divided, trunk: Engine | None, *, n_classes: int, examples: Pixels, seed: int
    ) -> None:
        keras = import_keras()
        keras.utils.set_random_seed(seed)
        self.divided, self.trunk = divided, trunk
        self.model = _with_head(divided.tail, n_classes)
        self.model.compile(
            optimizer=_optimizer(),
            loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            jit_compile=False,
        )
        self.model.optimizer.build(self.model.trainable_variables)
        self._examples = examples
        self._pretrained = self.model.get_weights()

    def rates(self, batch_size: int) -> Rates:
        """Measure this machine: two training steps, after one that compiles them, which change nothing."""
        pictures = np.resize(self._examples, (batch_size, *self._examples.shape[1:]))
        start = time.perf_counter()
        rows = self.trunk(pictures) if self.trunk else pictures.astype(np.float32)
        trunk_s = time.perf_counter() - start
        variables = (*self.model.variables, *self.model.optimizer.variables)
        before = [variable.numpy() for variable in variables]
        self._step(rows, np.zeros(batch_size, np.int32), np.ones(batch_size, np.float32), 0.0)
        start = time.perf_counter()
        for _ in range(MEASURED_STEPS):
            self._step(rows, np.zeros(batch_size, np.int32), np.ones(batch_size, np.float32), 0.0)
        training = MEASURED_STEPS * batch_size / (time.perf_counter() - start)
        for variable, value in zip(variables, before, strict=True):
            variable.assign(value)
        return Rates(batch_size / trunk_s if self.trunk else None, training)

    def train(
        self,
        probes: Probes,
        lesson: Lesson,
        recipe: Recipe,
        folder: Path,
        progress: Progress,
        watch: Watch = unwatched,
    ) -> FineTuned:
        """Train the head and the last layers, and keep what is best on validation.

        With several folds each is trained on its own to find out which pass and which mix is best for all
        together; then all photos are trained on, up to there.

        Args:
            probes: What the heads start from.
            lesson: The photos to learn from and to choose by, and which of them are for what.
            recipe: How.
            folder: Where the trunk's activations are kept meanwhile, if there is room.
            progress: Told of each photo.
            watch: Told of each pass.
        """
        feeder = Feeder(self.trunk, self.divided.name, recipe, folder, progress)
        session = Session(lesson.photos, recipe, *feeder.inputs(lesson), progress, watch)
        attempts = [
            self._attempt(session, head, fold, _numbered(lesson, number))
            for number, (head, fold) in enumerate(zip(probes.of_folds, lesson.folds, strict=True))
        ]
        labels = lesson.photos.labels[lesson.validation]
        answers = _pooled(attempts)
        best = max(answers, key=lambda stage: _score(answers[stage], labels))
        if lesson.has_folds:
            self._train_to(session, best, probes.whole)
        else:
            self.model.set_weights(_mixed(attempts[0].weights, best))
        return FineTuned(
            model=self.divided.whole,
            head=self._head(probes.whole.l2),
            history=_history(attempts, answers, labels),
            best=best.number,
            mix=best.mix,
            trained_layers=self.divided.trained_layers,
            answers=answers[best],
        )

    def _begin(self, head: Head, seed: int) -> None:
        """Go back to the pretrained weights, the probe and a new optimizer."""
        import_keras().utils.set_random_seed(seed)
        self.model.set_weights(self._pretrained)
        self.model.get_layer("logits").set_weights([head.weights, head.bias])
        for variable in self.model.optimizer.variables:
            variable.assign(np.zeros(variable.shape, variable.dtype))

    def _attempt(self, session: Session, head: Head, fold: Fold, title: str) -> Attempt:
        self._begin(head, session.recipe.seed)
        labels = session.photos.labels[fold.validation]
        answers = {START: self._answers(session, fold.validation)}
        weights, losses, best = {0: self.model.get_weights()}, [], START
        session.watch(title, _epoch(0, None, answers[START], labels))
        for number in range(1, session.recipe.epochs + 1):
            losses.append(self._pass(session, fold.train, number, title))
            stage, weights[number] = Stage(number, 1.0), self.model.get_weights()
            answers[stage] = self._answers(session, fold.validation)
            session.watch(title, _epoch(number, losses[-1], answers[stage], labels))
            if _score(answers[stage], labels) > _score(answers[best], labels):
                best = stage
            weights = {one: weights[one] for one in (0, best.number, number)}
            # Passes of several folds are compared with each other, so that each takes all of them.
            if not title and number - best.number >= session.recipe.patience:
                break
        # Weights between start and end are often better than both, on photos like these and on others
        # (Wortsman et al., Robust fine-tuning of zero-shot models, CVPR 2022).
        for mix in MIXES:
            stage = Stage(len(losses), mix)
            self.model.set_weights(_mixed(weights, stage))
            answers[stage] = self._answers(session, fold.validation)
        return Attempt(tuple(losses), answers, weights)

    def _train_to(self, session: Session, stage: Stage, head: Head) -> None:
        """Train on all photos, up to a stage."""
        self._begin(head, session.recipe.seed)
        start = self.model.get_weights()
        for number in range(1, stage.number + 1):
            self._pass(session, session.views.rows, number, "all")
        self.model.set_weights(_mixed({0: start, stage.number: self.model.get_weights()}, stage))

    def _head(self, l2: float) -> Head:
        weights, bias = self.model.get_layer("logits").get_weights()
        return Head(weights, bias, l2)

    def _pass(self, session: Session, train: Rows, number: int, title: str) -> float:
        """Train on every photo of `train` once; return the mean loss."""
        photos, recipe = session.photos, session.recipe
        total, steps_a_pass = 0.0, math.ceil(len(train) / recipe.batch_size)
        n_steps, step = recipe.epochs * steps_a_pass, (number - 1) * steps_a_pass
        sample_weights = photos.sample_weights / photos.sample_weights[train].mean()
        name = " ".join(filter(None, (self.divided.name, title, f"{number}/{recipe.epochs}")))
        with session.progress.stage(name, len(train)) as advance:
            for rows, chosen in training_batches(session.views, train, recipe, epoch=number):
                rate = learning_rate(step, n_steps, recipe.learning_rate)
                loss = self._step(rows, photos.labels[chosen], sample_weights[chosen], rate)
                total += loss * len(chosen)
                step += 1
                advance(len(chosen))
        return total / len(train)

    def _answers(self, session: Session, chosen: Rows) -> Floats:
        rows = batches(session.plain.of(chosen, 1), session.recipe.batch_size)
        return softmax(np.concatenate([self.model.predict_on_batch(np.stack(one)) for one in rows]))

    def _step(self, rows: Floats, labels: Labels, sample_weights: Floats, rate: float) -> float:
        self.model.optimizer.learning_rate = rate
        self.model.reset_metrics()
        return float(self.model.train_on_batch(rows, labels, sample_weights))


def _with_head(backbone: "Model", n_classes: int) -> "Model":
    """Return pixels, or what the tail starts from, to logits."""
    keras = import_keras()

    logits = keras.layers.Dense(n_classes, name="logits")(backbone.output)
    return keras.Model(backbone.input, logits, name=backbone.name)


def _optimizer() -> Any:
    keras = import_keras()

    optimizer = keras.optimizers.AdamW(0.0, weight_decay=WEIGHT_DECAY, global_clipnorm=CLIP_NORM)
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    return optimizer


def _numbered(lesson: Lesson, number: int) -> str:
    return f"fold {number + 1}/{len(lesson.folds)}" if lesson.has_folds else ""


def _mixed(weights: Mapping[int, list[NDArray[Any]]], stage: Stage) -> list[NDArray[Any]]:
    if stage.mix in (0, 1):
        return weights[stage.number]
    pairs = zip(weights[0], weights[stage.number], strict=True)
    return [start + stage.mix * (end - start) for start, end in pairs]


def _pooled(attempts: Sequence[Attempt]) -> dict[Stage, Floats]:
    """Return the answers of all attempts together at each stage; of equals the earlier is the simpler one."""
    return {stage: np.concatenate([one.answers[stage] for one in attempts]) for stage in attempts[0].answers}


def _history(
    attempts: Sequence[Attempt], answers: Mapping[Stage, Floats], labels: Labels
) -> tuple[Epoch, ...]:
    """Return the start and each pass: training losses are the mean over the attempts."""
    losses = [float(np.mean(one)) for one in zip(*(attempt.losses for attempt in attempts), strict=True)]
    passes = [
        _epoch(number, loss, answers[Stage(number, 1.0)], labels) for number, loss in enumerate(losses, 1)
    ]
    return (_epoch(0, None, answers[START], labels), *passes)


def _epoch(number: int, train_loss: float | None, answers: Floats, labels: Labels) -> Epoch:
    accuracy, negative_loss = _score(answers, labels)
    return Epoch(number, train_loss, -negative_loss, accuracy)


def _score(answers: Floats, labels: Labels) -> tuple[float, float]:
    return float((answers.argmax(axis=1) == labels).mean()), -log_loss(labels, answers)
