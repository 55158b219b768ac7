"""Technique 2, fine-tuning: a new head, and with it the last layers of the backbone."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from headstart.base.arrays import Floats, Labels, Rows
from headstart.base.progress import Progress
from headstart.networks.backbones import import_keras
from headstart.networks.engine import Engine
from headstart.photos.splits import Fold, Lesson, Part
from headstart.pictures.pixels import Pixels, batches
from headstart.results.comparison import Epoch
from headstart.statistics.metrics import log_loss, logits_of, softmax
from headstart.storage.checkpoint import Checkpoints
from headstart.training.inputs import Feeder, Inputs, training_batches
from headstart.training.recipe import DROPOUT, HEAD_RATE, TYPICAL_KERNEL, WEIGHT_DECAY, Recipe, part_of_rate
from headstart.training.ridge import Head, Scaling
from headstart.training.tail import Divided

if TYPE_CHECKING:
    from keras import Model


MEASURED_STEPS = 2

SINGLE, ALL = "passes", "all"
"""What checkpoints are called: that of the only fold, and that of a training on all photos."""

STATE = "variable "
"""What variables are called in them, before their number."""

LEAST_FACTOR = 1e-4
"""Of the largest factor that features are scaled by: the least, whose square float32 still holds."""


@dataclass(frozen=True, eq=False)
class Probes:
    """What fine-tuning has to gain on, and what its head sees the features by.

    Attributes:
        of_folds: For each fold the probe that was fitted on the features of its training photos alone.
        whole: With several folds the probe that was fitted on all photos; else that of the single fold.
        scaling: What their features were scaled by: the new head learns on features scaled so, for there a
            step of one length means as much to each of them.
    """

    of_folds: tuple[Head, ...]
    whole: Head
    scaling: Scaling


@dataclass(frozen=True, eq=False)
class Attempt:
    """One training and what it makes of M photos that it was not trained on.

    Attributes:
        losses: Mean training loss of each pass, the first's first.
        passes: Probabilities, float32 (M, C), of the probe and at the end of each pass.
    """

    losses: tuple[float, ...]
    passes: tuple[Floats, ...]


@dataclass(frozen=True, eq=False)
class FineTuned:
    """A trained Keras graph, pixels to features, its head, and how they came about.

    Where it has not gained on the probe it is the pretrained network with that: on validation it is never
    worse. Where the mean of both, by their logits, has the lower log loss there, its layers stand in it as
    they were, too, beside the trained. Nothing else is chosen from, so that validation flatters it little.
    `answers`, float32 (M, C), are its probabilities for the validation photos of all folds, in their order;
    where there are several folds, those of the networks that were trained in them.
    """

    model: "Model"
    head: Head
    history: tuple[Epoch, ...]
    has_gained: bool
    is_mean: bool
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
        checkpoints: Where each pass is kept.
    """

    photos: Part
    recipe: Recipe
    views: Inputs
    plain: Inputs
    progress: Progress
    watch: Watch
    checkpoints: Checkpoints


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
            optimizer=_optimizer(self.model.trainable_variables),
            loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            jit_compile=False,
        )
        self.model.optimizer.build(self.model.trainable_variables)
        self._examples = examples
        self._scaling = np.zeros(0, np.float32), np.ones(0, np.float32)
        self._pretrained = divided.tail.get_weights()

    def rates(self, batch_size: int) -> Rates:
        """Measure this machine: two training steps, after one that compiles them, which change nothing."""
        pictures = np.resize(self._examples, (batch_size, *self._examples.shape[1:]))
        start = time.perf_counter()
        rows = self.trunk(pictures) if self.trunk else pictures.astype(np.float32)
        trunk_s = time.perf_counter() - start
        before = [variable.numpy() for variable in self._variables]
        self._step(rows, np.zeros(batch_size, np.int32), np.ones(batch_size, np.float32), 0.0)
        start = time.perf_counter()
        for _ in range(MEASURED_STEPS):
            self._step(rows, np.zeros(batch_size, np.int32), np.ones(batch_size, np.float32), 0.0)
        training = MEASURED_STEPS * batch_size / (time.perf_counter() - start)
        for variable, value in zip(self._variables, before, strict=True):
            variable.assign(value)
        return Rates(batch_size / trunk_s if self.trunk else None, training)

    def train(
        self,
        probes: Probes,
        lesson: Lesson,
        recipe: Recipe,
        checkpoints: Checkpoints,
        progress: Progress,
        watch: Watch = unwatched,
    ) -> FineTuned:
        """Train a new head and the last layers; keep them if they are better on validation than the probe.

        Every pass is gone through, to the end of the schedule. With several folds each is trained on its own
        to find that out for all together; then all photos are trained on.

        Where the same training was interrupted, it goes on after the last pass that was finished, and comes
        to what it would have come to. Passes that are kept are told of again.

        Args:
            probes: What is to be gained on.
            lesson: The photos to learn from and to choose by, and which of them are for what.
            recipe: How.
            checkpoints: Where each pass and, if there is room, the trunk's activations are kept meanwhile,
                and what photos, backbone, probes and versions those are from.
            progress: Told of each photo.
            watch: Told of each pass.
        """
        self._scaling = _as_numbers(probes.scaling)
        checkpoints = checkpoints.made_from(recipe)
        feeder = Feeder(self.trunk, self.divided.name, recipe, checkpoints, progress)
        session = Session(lesson.photos, recipe, *feeder.inputs(lesson), progress, watch, checkpoints)
        attempts = [
            self._attempt(session, head, fold, _numbered(lesson, number))
            for number, (head, fold) in enumerate(zip(probes.of_folds, lesson.folds, strict=True))
        ]
        labels = lesson.photos.labels[lesson.validation]
        probed, ended = (np.concatenate([one.passes[number] for one in attempts]) for number in (0, -1))
        answers = min(ended, mean_of(probed, ended), key=lambda one: log_loss(labels, one))
        has_gained = _score(answers, labels) > _score(probed, labels)
        is_mean = has_gained and answers is not ended
        if not has_gained:
            self.model.set_weights(self._untrained(probes.whole))
        elif lesson.has_folds:
            self._train_all(session)
        head = self._head(probes.whole.l2)
        return FineTuned(
            model=self.divided.beside(self._pretrained) if is_mean else self.divided.whole,
            head=self._beside(probes.whole, head) if is_mean else head,
            history=_history(attempts, labels),
            has_gained=has_gained,
            is_mean=is_mean,
            trained_layers=self.divided.trained_layers,
            answers=answers if has_gained else probed,
        )

    def _begin(self, seed: int) -> None:
        """Go to the start: pretrained weights, a head that says nothing, a new optimizer, the seed."""
        import_keras().utils.set_random_seed(seed)
        self.model.get_layer("dropout").seed_generator.state.assign([seed, 0])
        weights, bias = (np.zeros_like(one) for one in self.model.get_layer("logits").get_weights())
        self.model.set_weights(self._untrained(Head(weights, bias, 0.0)))
        for variable in self.model.optimizer.variables:
            variable.assign(np.zeros(variable.shape, variable.dtype))

    def _untrained(self, head: Head) -> list[NDArray[Any]]:
        """Return the pretrained weights, the scaling, and a head's weights for features scaled so."""
        centre, factor = self._scaling
        bias = head.bias + centre @ head.weights
        return [*self._pretrained, centre, factor**-2, head.weights / factor[:, None], bias]

    def _attempt(self, session: Session, head: Head, fold: Fold, title: str) -> Attempt:
        labels = session.photos.labels[fold.validation]
        self.model.set_weights(self._untrained(head))
        probed = self._answers(session, fold.validation)
        self._begin(session.recipe.seed)
        losses, passes = self._recall(session, title)
        passes = passes or [probed]
        for number, answers in enumerate(passes):
            session.watch(title, _epoch(number, [None, *losses][number], answers, labels))
        for number in range(len(passes), session.recipe.epochs + 1):
            losses.append(self._pass(session, fold.train, number, title))
            passes.append(self._answers(session, fold.validation))
            session.watch(title, _epoch(number, losses[-1], passes[-1], labels))
            self._keep(session, title, losses, passes)
        return Attempt(tuple(losses), tuple(passes))

    def _train_all(self, session: Session) -> None:
        """Train on all photos."""
        self._begin(session.recipe.seed)
        losses, _ = self._recall(session, ALL)
        for number in range(len(losses) + 1, session.recipe.epochs + 1):
            losses.append(self._pass(session, session.views.rows, number, ALL))
            self._keep(session, ALL, losses, [])

    def _keep(self, session: Session, title: str, losses: Sequence[float], passes: Sequence[Floats]) -> None:
        """Keep what a training has come to by now. At its end the optimizer is needed no more."""
        variables = self.model.variables if len(losses) == session.recipe.epochs else self._variables
        told = {"losses": np.array(losses), "passes": np.array(passes)}
        state = {f"{STATE}{number}": one.numpy() for number, one in enumerate(variables)}
        session.checkpoints.save(title or SINGLE, told | state)

    def _recall(self, session: Session, title: str) -> tuple[list[float], list[Floats]]:
        """Go to where an interrupted training was; return its losses and passes, if there are any."""
        kept = session.checkpoints.load(title or SINGLE)
        if not kept:
            return [], []
        state = [kept[name] for name in kept if name.startswith(STATE)]
        for variable, value in zip(self._variables, state, strict=False):
            variable.assign(value)
        return kept["losses"].tolist(), [*kept["passes"]]

    @property
    def _variables(self) -> list[Any]:
        """All that a step changes: weights, the state of the dropout, the optimizer's."""
        return [*self.model.variables, *self.model.optimizer.variables]

    def _head(self, l2: float) -> Head:
        """Return the head as features that are not scaled take it."""
        weights, bias = self.model.get_layer("logits").get_weights()
        centre, factor = self._scaling
        weights = weights * factor[:, None]
        return Head(weights, bias - centre @ weights, l2)

    def _beside(self, probe: Head, trained: Head) -> Head:
        """Return the head on the features of `Divided.beside` that gives the mean of two heads' logits."""
        n = self.divided.n_early
        early, half = probe.weights[:n] + trained.weights[:n], np.float32(0.5)
        weights = np.concatenate([early, probe.weights[n:], trained.weights[n:]])
        return Head(weights * half, (probe.bias + trained.bias) * half, trained.l2)

    def _pass(self, session: Session, train: Rows, number: int, title: str) -> float:
        """Train on every photo of `train` once; return the mean loss."""
        photos, recipe = session.photos, session.recipe
        total, steps_a_pass = 0.0, math.ceil(len(train) / recipe.batch_size)
        step = (number - 1) * steps_a_pass
        sample_weights = photos.sample_weights / photos.sample_weights[train].mean()
        name = " ".join(filter(None, (self.divided.name, title, f"{number}/{recipe.epochs}")))
        with session.progress.stage(name, len(train)) as advance:
            for rows, chosen in training_batches(session.views, train, recipe, epoch=number):
                rate = recipe.learning_rate * part_of_rate(step, recipe.epochs * steps_a_pass)
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


def mean_of(probed: Floats, trained: Floats) -> Floats:
    """Return the mean by their logits of what the probe and the trained network answer, as probabilities.

    They make different mistakes (Wortsman et al., Robust fine-tuning of zero-shot models, CVPR 2022, whose
    mean of outputs this is; that of the weights is no better than the end here). On photos that were held
    out of those to learn from its log loss was lower than the trained network's in 22 of 24 trainings on
    clothing, flowers, textile and animals, and by a tenth on average (docs/design.md).

    Example:
        >>> mean_of(np.array([[0.5, 0.5]]), np.array([[0.9, 0.1]])).round(3).tolist()
        [[0.75, 0.25]]
    """
    return softmax((logits_of(probed) + logits_of(trained)) / np.float32(2))


def _with_head(backbone: "Model", n_classes: int) -> "Model":
    """Return pixels, or what the tail starts from, to logits; some features are left out in training.

    Before that they are scaled, by a BatchNorm that stays in inference mode: it is but numbers that can be
    set when the probes are known.
    """
    keras = import_keras()

    scaled = keras.layers.BatchNormalization(
        epsilon=0.0, center=False, scale=False, trainable=False, name="scaling"
    )(backbone.output)
    features = keras.layers.Dropout(DROPOUT, name="dropout")(scaled)
    logits = keras.layers.Dense(n_classes, name="logits")(features)
    return keras.Model(backbone.input, logits, name=backbone.name)


def _as_numbers(scaling: Scaling) -> tuple[Floats, Floats]:
    """Return centre and factor as a network computes with them; of what does not vary the factor is tiny."""
    factor = np.maximum(scaling.factor, LEAST_FACTOR * scaling.factor.max())
    return scaling.centre.astype(np.float32), factor.astype(np.float32)


def _optimizer(variables: Sequence[Any]) -> Any:
    """Return AdamW for these variables, whose steps are longer for some than for others."""
    keras = import_keras()
    parts = [_part_of_step(one) for one in variables]

    class Proportionate(keras.optimizers.AdamW):  # type: ignore[name-defined, misc]
        def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
            part = parts[self._get_variable_index(variable)]
            super().update_step(gradient, variable, learning_rate * part)

    optimizer = Proportionate(0.0, weight_decay=WEIGHT_DECAY)
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    return optimizer


def _part_of_step(variable: Any) -> float:
    """Return how long a variable's steps are in parts of the rate: a kernel's in proportion to its size."""
    if "logits" in variable.path:
        return HEAD_RATE
    return float(np.sqrt(np.mean(variable.numpy() ** 2))) / TYPICAL_KERNEL if len(variable.shape) > 2 else 1.0


def _numbered(lesson: Lesson, number: int) -> str:
    return f"fold {number + 1}/{len(lesson.folds)}" if lesson.has_folds else ""


def _history(attempts: Sequence[Attempt], labels: Labels) -> tuple[Epoch, ...]:
    """Return the start and each pass of all attempts together: training losses are their mean."""
    losses = [None, *np.mean([one.losses for one in attempts], axis=0).tolist()]
    answers = [np.concatenate(of_pass) for of_pass in zip(*(one.passes for one in attempts), strict=True)]
    return tuple(_epoch(number, losses[number], answers[number], labels) for number in range(len(losses)))


def _epoch(number: int, train_loss: float | None, answers: Floats, labels: Labels) -> Epoch:
    accuracy, negative_loss = _score(answers, labels)
    return Epoch(number, train_loss, -negative_loss, accuracy)


def _score(answers: Floats, labels: Labels) -> tuple[float, float]:
    return float((answers.argmax(axis=1) == labels).mean()), -log_loss(labels, answers)
