"""Technique 2, fine-tuning: start from the probe, then train the last layers of the backbone too."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from headstart import augmentation, pixels, probe
from headstart.backbones import import_keras
from headstart.features import batches
from headstart.probe import Head
from headstart.progress import Progress
from headstart.splits import Part

if TYPE_CHECKING:
    from keras import Model

Floats = NDArray[np.float32]
Labels = NDArray[np.int32]

WARM_UP = 0.1
"""The part of all steps in which the learning rate rises; then it falls along a cosine."""
WEIGHT_DECAY = 0.01


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

    BatchNorm stays in inference mode, its statistics bit for bit as they were: batches of a
    small set would ruin statistics learnt on a million photos.

    Args:
        backbone: Keras graph, pixels to features; its layers are trained in place.
        last_block: Name of the first layer of its last block.
        head: The probe, fitted on the features of `train` alone.
        train: Photos to learn from.
        validation: Photos to stop by.
        recipe: How.
        progress: Told of each batch.
    """
    keras = import_keras()

    keras.utils.set_random_seed(recipe.seed)
    trained_layers = freeze(backbone, last_block, recipe.unfreeze)
    model = _with_head(backbone, head)
    n_steps = recipe.epochs * math.ceil(len(train.files) / recipe.batch_size)
    model.compile(
        optimizer=_optimizer(recipe.learning_rate, n_steps),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        jit_compile=False,
    )
    history, best = _train(model, train, validation, recipe, progress)
    whole = keras.Model(model.input, keras.layers.Softmax(name="probabilities")(model.output), name="classifier")
    return FineTuned(whole, history, best, trained_layers)


def freeze(backbone: "Model", last_block: str, unfreeze: str) -> int:
    """Leave only the last layers trainable, BatchNorm never; return how many layers with weights train.

    Args:
        backbone: A flat graph; `trainable` of its layers is set.
        last_block: Name of the first layer of the last block.
        unfreeze: "last" (the last block), "half" or "all" of the layers with weights, or a number of them.
    """
    keras = import_keras()

    layers = [layer for layer in backbone.layers if layer.weights]
    names = [layer.name for layer in layers]
    start = {"last": names.index(last_block), "half": len(layers) // 2, "all": 0}.get(unfreeze)
    start = max(0, len(layers) - int(unfreeze)) if start is None else start
    for index, layer in enumerate(layers):
        layer.trainable = index >= start and not isinstance(layer, keras.layers.BatchNormalization)
    return sum(layer.trainable for layer in layers)


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
        0.0, max(1, n_steps - n_warm_up), warmup_target=learning_rate, warmup_steps=n_warm_up
    )
    optimizer = keras.optimizers.AdamW(schedule, weight_decay=WEIGHT_DECAY)
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    return optimizer


def _train(
    model: "Model", train: Part, validation: Part, recipe: Recipe, progress: Progress
) -> tuple[tuple[Epoch, ...], int]:
    """Train until the score on validation no longer rises; leave the weights of the best pass in `model`."""
    history = [_measure(model, validation, recipe, 0, None)]
    best, best_weights = 0, model.get_weights()
    for number in range(1, recipe.epochs + 1):
        with progress.stage(f"{model.name} fine-tuning {number}/{recipe.epochs}", len(train.files)) as advance:
            model.reset_metrics()
            for batch in training_batches(train, recipe, epoch=number):
                mean_loss = float(model.train_on_batch(*batch))
                advance(len(batch[1]))
        history.append(_measure(model, validation, recipe, number, mean_loss))
        if _score(history[number]) > _score(history[best]):
            best, best_weights = number, model.get_weights()
        elif number - best >= recipe.patience:
            break
    model.set_weights(best_weights)
    return tuple(history), best


def _score(epoch: Epoch) -> tuple[float, float]:
    return epoch.validation_accuracy, -epoch.validation_loss


def _measure(model: "Model", photos: Part, recipe: Recipe, number: int, loss: float | None) -> Epoch:
    pictures = pixels.read_many(photos.files, recipe.image_size_px, recipe.fit)
    logits = np.concatenate(
        [model.predict_on_batch(np.stack(batch).astype(np.float32)) for batch in batches(pictures, recipe.batch_size)]
    )
    probabilities = probe.softmax(logits)
    accuracy = float((probabilities.argmax(axis=1) == photos.labels).mean())
    return Epoch(number, loss, probe.log_loss(probabilities, photos.labels), accuracy)


def training_batches(
    photos: Part, recipe: Recipe, *, epoch: int
) -> Iterator[tuple[Floats, Labels, Floats]]:
    """Yield one pass in random order: pixels float32 (B, S, S, 3) of random views, labels, sample weights."""
    random = np.random.default_rng((recipe.seed, epoch))
    order = random.permutation(len(photos.files))
    pictures = pixels.read_many([photos.files[i] for i in order], recipe.image_size_px, recipe.fit)
    views = (augmentation.view(picture, recipe.operations, random) for picture in pictures)
    for number, batch in enumerate(batches(views, recipe.batch_size)):
        chosen = order[number * recipe.batch_size :][: len(batch)]
        yield np.stack(batch).astype(np.float32), photos.labels[chosen], photos.sample_weights[chosen]
