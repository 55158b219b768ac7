"""Technique 2, fine-tuning: start from the probe, then train the last layers of the backbone too."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from headstart import augmentation, engine, pixels, probe, tail
from headstart.backbones import import_keras
from headstart.features import batches
from headstart.probe import Head
from headstart.progress import Progress
from headstart.splits import Part

if TYPE_CHECKING:
    from keras import Model

Floats = NDArray[np.float32]
Labels = NDArray[np.int32]
Pixels = NDArray[np.uint8]

WARM_UP = 0.3
"""The part of all steps in which the learning rate rises; then it falls along a cosine."""
WEIGHT_DECAY = 0.01
CLIP_NORM = 1.0
"""The longest gradient that a step follows: one batch that the probe gets badly wrong does less harm."""


@dataclass(frozen=True)
class Recipe:
    """How to fine-tune: all of it numbers and words, so that it can stand in a record."""

    image_size_px: int
    fit: str
    epochs: int
    batch_size: int
    learning_rate: float
    patience: int
    unfreeze: str
    operations: tuple[str, ...]
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
    """A trained Keras graph, pixels to probabilities, and how it came about.

    `history[best]` is the pass whose weights it has: never worse on validation than the probe.
    """

    model: "Model"
    history: tuple[Epoch, ...]
    best: int
    trained_layers: int


def finetune(
    backbone: "Model",
    last_block: str,
    head: Head,
    train: Part,
    validation: Part,
    recipe: Recipe,
    progress: Progress,
) -> FineTuned:
    """Train the head and the last layers of a backbone, and keep the best pass on validation.

    BatchNorm stays in inference mode: batches of a small set would ruin statistics learnt on a million
    photos. The frozen layers before the trained ones only infer, on the compiled engine.

    Args:
        backbone: Keras graph, pixels to features; it stays as it is.
        last_block: Name of the first layer of its last block.
        head: The probe, fitted on the features of `train` alone.
        train: Photos to learn from.
        validation: Photos to stop by.
        recipe: How.
        progress: Told of each batch.
    """
    keras = import_keras()
    keras.utils.set_random_seed(recipe.seed)
    divided = tail.divide(backbone, last_block, recipe.unfreeze)
    trunk = Trunk(divided.trunk)
    model = _with_head(divided.tail, head)
    n_steps = recipe.epochs * math.ceil(len(train.files) / recipe.batch_size)
    model.compile(
        optimizer=_optimizer(recipe.learning_rate, n_steps),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        jit_compile=False,
    )
    history, best = _train(model, trunk, train, validation, recipe, progress)
    logits = model.get_layer("logits")(divided.whole.output)
    whole = keras.Model(
        divided.whole.input, keras.layers.Softmax(name="probabilities")(logits), name="classifier"
    )
    return FineTuned(whole, history, best, divided.trained_layers)


class Trunk:
    """The frozen layers, compiled: uint8 pixels in, what the tail starts from out."""

    def __init__(self, model: "Model | None") -> None:
        self._engine = engine.Engine(engine.convert(model)) if model is not None else None

    def __call__(self, pictures: list[Pixels]) -> Floats:
        """Return float32, (B, S, S, 3) of the pixels themselves where there is no trunk."""
        stacked = np.stack(pictures)
        return self._engine(stacked) if self._engine else stacked.astype(np.float32)


def _with_head(backbone: "Model", head: Head) -> "Model":
    """Return pixels to logits, the head's weights those of the probe."""
    keras = import_keras()

    layer = keras.layers.Dense(len(head.bias), name="logits")
    model = keras.Model(backbone.input, layer(backbone.output), name=backbone.name)
    layer.set_weights([head.weights, head.bias])
    return model


def _optimizer(learning_rate: float, n_steps: int) -> Any:
    keras = import_keras()

    n_warm_up = max(1, int(WARM_UP * n_steps))
    schedule = keras.optimizers.schedules.CosineDecay(
        learning_rate / (n_warm_up + 1),
        max(1, n_steps - n_warm_up),
        warmup_target=learning_rate,
        warmup_steps=n_warm_up,
    )
    optimizer = keras.optimizers.AdamW(schedule, weight_decay=WEIGHT_DECAY, global_clipnorm=CLIP_NORM)
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    return optimizer


def _train(
    model: "Model", trunk: Trunk, train: Part, validation: Part, recipe: Recipe, progress: Progress
) -> tuple[tuple[Epoch, ...], int]:
    """Train until the score on validation no longer rises; leave the weights of the best pass in `model`."""
    history = [_measure(model, trunk, validation, recipe, 0, None)]
    best, best_weights = 0, model.get_weights()
    for number in range(1, recipe.epochs + 1):
        with progress.stage(f"{model.name} {number}/{recipe.epochs}", len(train.files)) as advance:
            total = 0.0
            for pictures, labels, sample_weights in training_batches(train, recipe, epoch=number):
                model.reset_metrics()
                total += float(model.train_on_batch(trunk(pictures), labels, sample_weights)) * len(labels)
                advance(len(labels))
        history.append(_measure(model, trunk, validation, recipe, number, total / len(train.files)))
        if _score(history[number]) > _score(history[best]):
            best, best_weights = number, model.get_weights()
        elif number - best >= recipe.patience:
            break
    model.set_weights(best_weights)
    return tuple(history), best


def _score(epoch: Epoch) -> tuple[float, float]:
    return epoch.validation_accuracy, -epoch.validation_loss


def _measure(
    model: "Model", trunk: Trunk, part: Part, recipe: Recipe, number: int, loss: float | None
) -> Epoch:
    pictures = pixels.read_many(part.files, recipe.image_size_px, recipe.fit)
    logits = [model.predict_on_batch(trunk(batch)) for batch in batches(pictures, recipe.batch_size)]
    probabilities = probe.softmax(np.concatenate(logits))
    accuracy = float((probabilities.argmax(axis=1) == part.labels).mean())
    return Epoch(number, loss, probe.log_loss(probabilities, part.labels), accuracy)


def training_batches(
    part: Part, recipe: Recipe, *, epoch: int
) -> Iterator[tuple[list[Pixels], Labels, Floats]]:
    """Yield one pass in random order: random views uint8 (S, S, 3), labels, and sample weights."""
    random = np.random.default_rng((recipe.seed, epoch))
    order = random.permutation(len(part.files))
    pictures = pixels.read_many([part.files[i] for i in order], recipe.image_size_px, recipe.fit)
    views = (augmentation.view(picture, recipe.operations, random) for picture in pictures)
    for number, batch in enumerate(batches(views, recipe.batch_size)):
        chosen = order[number * recipe.batch_size :][: len(batch)]
        yield batch, part.labels[chosen], part.sample_weights[chosen]
