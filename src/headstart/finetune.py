"""Technique 2, fine-tuning: start from the probe, then train the last layers of the backbone too."""

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from headstart import activations, engine, probe, tail
from headstart.activations import Activations
from headstart.backbones import import_keras
from headstart.pixels import Pixels, batches
from headstart.probe import Head
from headstart.progress import Progress
from headstart.splits import Part

if TYPE_CHECKING:
    from keras import Model

Floats = NDArray[np.float32]
Labels = NDArray[np.int32]

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


@dataclass(frozen=True)
class Epoch:
    """What one pass came to; epoch 0 is the probe that training started from."""

    number: int
    train_loss: float | None
    validation_loss: float
    validation_accuracy: float


@dataclass(frozen=True, eq=False)
class FineTuned:
    """A trained Keras graph, pixels to features, its head, and how they came about.

    Its weights are `mix` of the way, above 0 to 1, from the probe's to those of the pass `history[best]`;
    where nothing was better on validation than the probe, both are 0. It is never worse there than the probe.
    """

    model: "Model"
    head: Head
    history: tuple[Epoch, ...]
    best: int
    mix: float
    trained_layers: int


@dataclass(frozen=True)
class Rates:
    """Images/s through the frozen trunk (None where there is none), and of training on what comes out."""

    trunk: float | None
    training: float


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
        self, head: Head, train: Part, validation: Part, recipe: Recipe, folder: Path, progress: Progress
    ) -> FineTuned:
        """Train the head and the last layers, and keep the best pass on validation.

        Args:
            head: The probe, fitted on the features of `train` alone.
            train: Photos to learn from.
            validation: Photos to stop by.
            recipe: How.
            folder: Where the trunk's activations are kept meanwhile, if there is room.
            progress: Told of each photo.
        """
        self.model.get_layer("logits").set_weights([head.weights, head.bias])
        inputs = self._inputs(train, recipe, recipe.operations, folder / "train.npy", progress)
        stop_by = self._inputs(validation, recipe, (), folder / "validation.npy", progress)
        history = [self._measure(stop_by, validation, recipe, 0, None)]
        start = best_weights = self.model.get_weights()
        best = 0
        for number in range(1, recipe.epochs + 1):
            loss = self._pass(inputs, train, recipe, number, progress)
            history.append(self._measure(stop_by, validation, recipe, number, loss))
            if _score(history[number]) > _score(history[best]):
                best, best_weights = number, self.model.get_weights()
            elif number - best >= recipe.patience:
                break
        # Weights between start and end are often better than both, on photos like these and on others
        # (Wortsman et al., Robust fine-tuning of zero-shot models, CVPR 2022).
        score, mix, end = _score(history[best]), float(best > 0), self.model.get_weights()
        for part in MIXES:
            mixed = [one + part * (other - one) for one, other in zip(start, end, strict=True)]
            self.model.set_weights(mixed)
            found = _score(self._measure(stop_by, validation, recipe, 0, None))
            if found > score:
                score, best, mix, best_weights = found, len(history) - 1, part, mixed
        self.model.set_weights(best_weights)
        weights, bias = self.model.get_layer("logits").get_weights()
        trained = Head(weights, bias, head.l2)
        return FineTuned(self.divided.whole, trained, tuple(history), best, mix, self.divided.trained_layers)

    def _inputs(
        self, part: Part, recipe: Recipe, operations: Sequence[str], path: Path, progress: Progress
    ) -> Activations:
        view = activations.random_view(part.files, recipe.image_size_px, recipe.fit, operations, recipe.seed)
        n_views = min(recipe.views, recipe.epochs) if operations else 1
        if not recipe.views:
            return activations.Live(self.trunk, view)
        title = f"{self.name} trunk, {path.stem}"
        return activations.prepare(self.trunk, view, len(part.files), n_views, path, title, progress)

    def _pass(
        self, inputs: Activations, train: Part, recipe: Recipe, number: int, progress: Progress
    ) -> float:
        """Train on every photo once; return the mean loss."""
        n_photos, total = len(train.files), 0.0
        steps_a_pass = math.ceil(n_photos / recipe.batch_size)
        n_steps, step = recipe.epochs * steps_a_pass, (number - 1) * steps_a_pass
        with progress.stage(f"{self.name} {number}/{recipe.epochs}", n_photos) as advance:
            for rows, chosen in training_batches(inputs, n_photos, recipe, epoch=number):
                rate = learning_rate(step, n_steps, recipe.learning_rate)
                loss = self._step(rows, train.labels[chosen], train.sample_weights[chosen], rate)
                total += loss * len(chosen)
                step += 1
                advance(len(chosen))
        return total / n_photos

    def _step(self, rows: Floats, labels: Labels, sample_weights: Floats, rate: float) -> float:
        self.model.optimizer.learning_rate = rate
        self.model.reset_metrics()
        return float(self.model.train_on_batch(rows, labels, sample_weights))

    def _measure(
        self, inputs: Activations, part: Part, recipe: Recipe, number: int, loss: float | None
    ) -> Epoch:
        rows = inputs.rows(range(len(part.files)), 1)
        logits = [self.model.predict_on_batch(np.stack(batch)) for batch in batches(rows, recipe.batch_size)]
        probabilities = probe.softmax(np.concatenate(logits))
        accuracy = float((probabilities.argmax(axis=1) == part.labels).mean())
        return Epoch(number, loss, probe.log_loss(probabilities, part.labels), accuracy)


def training_batches(
    inputs: Activations, n_photos: int, recipe: Recipe, *, epoch: int
) -> Iterator[tuple[Floats, NDArray[np.intp]]]:
    """Yield one pass in random order: the tail's inputs, float32 (B, ...), and the photos' indices, (B,)."""
    order = np.random.default_rng((recipe.seed, epoch)).permutation(n_photos)
    rows = inputs.rows(order.tolist(), epoch)
    for number, batch in enumerate(batches(rows, recipe.batch_size)):
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


def _score(epoch: Epoch) -> tuple[float, float]:
    return epoch.validation_accuracy, -epoch.validation_loss
