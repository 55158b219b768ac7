"""Technique 2, fine-tuning: start from the probe, then train the last layers of the backbone too."""

import functools
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from headstart.base.arrays import Floats, Labels, Rows
from headstart.base.progress import Progress
from headstart.networks import engine
from headstart.networks.backbones import import_keras
from headstart.photos.splits import Part, Turn
from headstart.pictures.pixels import Pixels, batches
from headstart.results.comparison import Epoch
from headstart.statistics.metrics import log_loss, softmax
from headstart.training import activations, tail
from headstart.training.activations import Activations
from headstart.training.probe import Head

if TYPE_CHECKING:
    from keras import Model


WARM_UP = 0.3
"""The part of all steps in which the learning rate rises; then it falls along a cosine."""
WEIGHT_DECAY = 0.01
CLIP_NORM = 1.0
"""The longest gradient that a step follows: one batch that the probe gets badly wrong does less harm."""


MEASURED_STEPS = 2

MIXES = (0.75, 0.5, 0.25)
"""Parts of the way from the probe to the last pass that are tried at the end."""


@dataclass(frozen=True)
class Recipe:
    """How to fine-tune: all of it numbers and words, so that it can stand in a record.

    `views` is how many random views of a photo the frozen trunk is asked about, once each; with 0 it is
    asked again in each pass.
    """

    image_size_px: int
    fit: str
    epochs: int
    batch_size: int
    learning_rate: float
    patience: int
    unfreeze: str
    operations: tuple[str, ...]
    views: int
    seed: int


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
    `answers`, float32 (M, C), are its probabilities for the validation photos of all turns, in their order;
    where there are several turns, those of the networks that were trained in them.
    """

    model: "Model"
    head: Head
    history: tuple[Epoch, ...]
    best: int
    mix: float
    trained_layers: int
    answers: Floats


@dataclass(frozen=True, eq=False)
class Inputs:
    """What the tail is fed for some of the photos: those of `rows`, ascending."""

    rows: Rows
    activations: Activations

    def of(self, chosen: Rows, epoch: int) -> Iterator[Floats]:
        """Yield the input for each of these rows, in the view of a pass."""
        return self.activations.rows(np.searchsorted(self.rows, chosen).tolist(), epoch)


@dataclass(frozen=True)
class Rates:
    """Images/s through the frozen trunk (None where there is none), and of training on what comes out."""

    trunk: float | None
    training: float


class Watch(Protocol):
    """Is told of each pass of a training, as it ends; the fold is "" where there is one turn alone."""

    def __call__(self, fold: str, epoch: Epoch) -> None:
        """Take note of a pass."""


def unwatched(fold: str, epoch: Epoch) -> None:
    """Take no note."""


class Tuner:
    """A backbone made ready to be fine-tuned.

    The frozen layers before the trained ones only infer, on the compiled engine. BatchNorm stays in
    inference mode: batches of a small set would ruin statistics learnt on a million photos.

    Args:
        backbone: Keras graph, pixels to features; it stays as it is.
        last_block: Name of the first layer of its last block.
        unfreeze: "last", "half", "all" or a number of layers; see `tail.divide`.
        n_classes: C.
        examples: uint8 (B, S, S, 3), photos to compare the compiled trunk with Keras on.
        kind: "openvino" or "keras".
        seed: Of what is random in training.
        progress: Told where the trunk is not compiled.
    """

    def __init__(
        self,
        backbone: "Model",
        last_block: str,
        unfreeze: str,
        n_classes: int,
        *,
        examples: Pixels,
        kind: str,
        seed: int,
        progress: Progress,
    ) -> None:
        keras = import_keras()
        keras.utils.set_random_seed(seed)
        self.divided = tail.divide(backbone, last_block, unfreeze)
        trunk = self.divided.trunk
        self.trunk = engine.prepare(trunk, examples, kind, progress) if trunk is not None else None
        self.model = _with_head(self.divided.tail, n_classes)
        self.model.compile(
            optimizer=_optimizer(),
            loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            jit_compile=False,
        )
        self.model.optimizer.build(self.model.trainable_variables)
        self.name = backbone.name
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
        heads: Sequence[Head],
        whole: Head,
        photos: Part,
        turns: Sequence[Turn],
        recipe: Recipe,
        folder: Path,
        progress: Progress,
        watch: Watch = unwatched,
    ) -> FineTuned:
        """Train the head and the last layers, and keep what is best on validation.

        With several turns each is trained on its own to find out which pass and which mix is best for all
        together; then all photos are trained on, up to there.

        Args:
            heads: For each turn the probe, fitted on the features of its training photos alone.
            whole: With several turns, the probe that was fitted on all photos.
            photos: N, to learn from and to choose by.
            turns: Which of them are for what.
            recipe: How.
            folder: Where the trunk's activations are kept meanwhile, if there is room.
            progress: Told of each photo.
            watch: Told of each pass.
        """
        views, plain = self._inputs(photos, turns, recipe, folder, progress)
        attempts = [
            self._attempt(head, photos, turn, recipe, views, plain, _numbered(turns, number), progress, watch)
            for number, (head, turn) in enumerate(zip(heads, turns, strict=True))
        ]
        labels = np.concatenate([photos.labels[turn.validation] for turn in turns])
        answers = _pooled(attempts)
        best = max(answers, key=lambda stage: _score(answers[stage], labels))
        if len(turns) > 1:
            self._train_to(best, whole, photos, recipe, views, progress)
        else:
            self.model.set_weights(_mixed(attempts[0].weights, best))
        return FineTuned(
            model=self.divided.whole,
            head=self._head(whole.l2),
            history=_history(attempts, answers, labels),
            best=best.number,
            mix=best.mix,
            trained_layers=self.divided.trained_layers,
            answers=answers[best],
        )

    def _inputs(
        self, photos: Part, turns: Sequence[Turn], recipe: Recipe, folder: Path, progress: Progress
    ) -> tuple[Inputs, Inputs]:
        """Return what is trained on, in views, and what is judged by, as it is."""
        train, validation = (
            np.unique(np.concatenate(rows))
            for rows in ([turn.train for turn in turns], [turn.validation for turn in turns])
        )
        prepare = functools.partial(self._activations, photos, recipe, folder, progress)
        if recipe.operations:
            return prepare(train, recipe.operations, "train"), prepare(validation, (), "validation")
        both = prepare(np.union1d(train, validation), (), "photos")
        return both, both

    def _activations(
        self,
        photos: Part,
        recipe: Recipe,
        folder: Path,
        progress: Progress,
        rows: Rows,
        operations: Sequence[str],
        name: str,
    ) -> Inputs:
        files = [photos.files[row] for row in rows]
        digests = [photos.digests[row] for row in rows]
        view = activations.random_view(
            files, digests, recipe.image_size_px, recipe.fit, operations, recipe.seed
        )
        if not recipe.views:
            return Inputs(rows, activations.Live(self.trunk, view))
        n_views = min(recipe.views, recipe.epochs) if operations else 1
        title, path = f"{self.name} trunk, {name}", folder / f"{name}.npy"
        return Inputs(rows, activations.prepare(self.trunk, view, len(files), n_views, path, title, progress))

    def _begin(self, head: Head, seed: int) -> None:
        """Go back to the pretrained weights, the probe and a new optimizer."""
        import_keras().utils.set_random_seed(seed)
        self.model.set_weights(self._pretrained)
        self.model.get_layer("logits").set_weights([head.weights, head.bias])
        for variable in self.model.optimizer.variables:
            variable.assign(np.zeros(variable.shape, variable.dtype))

    def _attempt(
        self,
        head: Head,
        photos: Part,
        turn: Turn,
        recipe: Recipe,
        views: Inputs,
        plain: Inputs,
        title: str,
        progress: Progress,
        watch: Watch,
    ) -> Attempt:
        self._begin(head, recipe.seed)
        labels = photos.labels[turn.validation]
        answers = {START: self._answers(plain, turn.validation, recipe)}
        weights, losses, best = {0: self.model.get_weights()}, [], START
        watch(title, _epoch(0, None, answers[START], labels))
        for number in range(1, recipe.epochs + 1):
            losses.append(self._pass(views, photos, turn.train, recipe, number, title, progress))
            stage, weights[number] = Stage(number, 1.0), self.model.get_weights()
            answers[stage] = self._answers(plain, turn.validation, recipe)
            watch(title, _epoch(number, losses[-1], answers[stage], labels))
            if _score(answers[stage], labels) > _score(answers[best], labels):
                best = stage
            weights = {one: weights[one] for one in (0, best.number, number)}
            # Passes of several turns are compared with each other, so that each takes all of them.
            if not title and number - best.number >= recipe.patience:
                break
        # Weights between start and end are often better than both, on photos like these and on others
        # (Wortsman et al., Robust fine-tuning of zero-shot models, CVPR 2022).
        for mix in MIXES:
            stage = Stage(len(losses), mix)
            self.model.set_weights(_mixed(weights, stage))
            answers[stage] = self._answers(plain, turn.validation, recipe)
        return Attempt(tuple(losses), answers, weights)

    def _train_to(
        self, stage: Stage, head: Head, photos: Part, recipe: Recipe, views: Inputs, progress: Progress
    ) -> None:
        """Train on all photos, up to a stage."""
        self._begin(head, recipe.seed)
        start = self.model.get_weights()
        for number in range(1, stage.number + 1):
            self._pass(views, photos, views.rows, recipe, number, "all", progress)
        self.model.set_weights(_mixed({0: start, stage.number: self.model.get_weights()}, stage))

    def _head(self, l2: float) -> Head:
        weights, bias = self.model.get_layer("logits").get_weights()
        return Head(weights, bias, l2)

    def _pass(
        self,
        views: Inputs,
        photos: Part,
        train: Rows,
        recipe: Recipe,
        number: int,
        title: str,
        progress: Progress,
    ) -> float:
        """Train on every photo of `train` once; return the mean loss."""
        total, steps_a_pass = 0.0, math.ceil(len(train) / recipe.batch_size)
        n_steps, step = recipe.epochs * steps_a_pass, (number - 1) * steps_a_pass
        sample_weights = photos.sample_weights / photos.sample_weights[train].mean()
        name = " ".join(filter(None, (self.name, title, f"{number}/{recipe.epochs}")))
        with progress.stage(name, len(train)) as advance:
            for rows, chosen in training_batches(views, train, recipe, epoch=number):
                rate = learning_rate(step, n_steps, recipe.learning_rate)
                loss = self._step(rows, photos.labels[chosen], sample_weights[chosen], rate)
                total += loss * len(chosen)
                step += 1
                advance(len(chosen))
        return total / len(train)

    def _answers(self, plain: Inputs, chosen: Rows, recipe: Recipe) -> Floats:
        rows = batches(plain.of(chosen, 1), recipe.batch_size)
        return softmax(np.concatenate([self.model.predict_on_batch(np.stack(one)) for one in rows]))

    def _step(self, rows: Floats, labels: Labels, sample_weights: Floats, rate: float) -> float:
        self.model.optimizer.learning_rate = rate
        self.model.reset_metrics()
        return float(self.model.train_on_batch(rows, labels, sample_weights))


def training_batches(
    views: Inputs, train: Rows, recipe: Recipe, *, epoch: int
) -> Iterator[tuple[Floats, Rows]]:
    """Yield one pass over some photos in random order: the tail's inputs, float32 (B, ...), and rows (B,)."""
    order = train[np.random.default_rng((recipe.seed, epoch)).permutation(len(train))]
    for number, batch in enumerate(batches(views.of(order, epoch), recipe.batch_size)):
        yield np.stack(batch), order[number * recipe.batch_size :][: len(batch)]


def learning_rate(step: int, n_steps: int, peak: float) -> float:
    """Return the rate of a step, counted from 0: a straight rise to the peak, then half a cosine.

    The same as `keras.optimizers.schedules.CosineDecay` with a warm-up, but known outside the graph, so
    that the number of steps may change without compiling it again.

    Example:
        >>> [round(learning_rate(step, 10, 1.0), 2) for step in range(10)]
        [0.25, 0.5, 0.75, 1.0, 0.95, 0.81, 0.61, 0.39, 0.19, 0.05]
    """
    n_warm_up = max(1, int(WARM_UP * n_steps))
    if step < n_warm_up:
        return peak * (1 + step) / (n_warm_up + 1)
    return peak * (1 + math.cos(math.pi * (step - n_warm_up) / max(1, n_steps - n_warm_up))) / 2


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


def _numbered(turns: Sequence[Turn], number: int) -> str:
    return f"fold {number + 1}/{len(turns)}" if len(turns) > 1 else ""


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
