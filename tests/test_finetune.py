"""Fine-tuning trains what it is told to, starts from the probe, and never ends below it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from headstart import backbones, finetune, pixels, probe, tail
from headstart.finetune import FineTuned, Recipe
from headstart.probe import Head
from headstart.progress import Progress
from headstart.splits import Part

RECIPE = Recipe(
    image_size_px=32,
    fit="squash",
    epochs=2,
    batch_size=8,
    learning_rate=1e-3,
    patience=2,
    unfreeze="all",
    operations=("mirror", "shift"),
    seed=0,
)


@pytest.fixture
def parts(photos: Path) -> tuple[Part, Part]:
    """26 photos to learn from and 14 to stop by; every seventh label is wrong, so that nothing is perfect."""
    files = sorted(photos.rglob("*.jpg"))
    labels = np.array([file.parent.name == "red" for file in files], np.int32)
    labels[::7] = 1 - labels[::7]
    chosen = np.arange(40) % 3 == 0

    def part(is_in: np.ndarray) -> Part:
        own = [file for file, inside in zip(files, is_in, strict=True) if inside]
        return Part(tuple(map(str, own)), tuple(own), labels[is_in], np.ones(len(own), np.float32))

    return part(~chosen), part(chosen)


def stacked(part: Part) -> np.ndarray:
    return np.stack(list(pixels.read_many(part.files, 32, "squash"))).astype(np.float32)


def probed(model: Any, train: Part) -> Head:
    return probe.refit(model.predict_on_batch(stacked(train)), train.labels, train.sample_weights, 10.0)


def run(parts: tuple[Part, Part], recipe: Recipe) -> tuple[Any, FineTuned]:
    model = backbones.build("tiny")
    tuned = finetune.finetune(model, "block_3_conv", probed(model, parts[0]), *parts, recipe, Progress())
    return model, tuned


def weights(model: Any) -> dict[str, np.ndarray]:
    return {weight.path: weight.numpy() for layer in model.layers for weight in layer.weights}


def test_the_frozen_layers_and_their_batchnorms_stay_bit_identical(parts: tuple[Part, Part]) -> None:
    backbone, tuned = run(parts, replace(RECIPE, unfreeze="last"))
    before, after = weights(backbone), weights(tuned.model)
    frozen = {path for path in before if path.startswith(("block_1", "block_2"))}
    assert tuned.best > 0
    assert tuned.trained_layers == 1
    assert {path.split("/")[1] for path in frozen} >= {
        "moving_mean",
        "moving_variance",
        "gamma",
        "beta",
        "kernel",
    }
    assert all(np.array_equal(before[path], after[path]) for path in frozen)
    # The trained block's BatchNorm is in its convolution.
    assert {path for path in after if path.startswith("block_3")} == {
        "block_3_conv/kernel",
        "block_3_conv/bias",
    }


def test_the_backbone_that_was_given_stays_as_it_is(parts: tuple[Part, Part]) -> None:
    before = weights(backbones.build("tiny"))
    backbone, tuned = run(parts, RECIPE)
    assert tuned.best > 0
    assert tuned.trained_layers == 3
    after = weights(backbone)
    assert all(np.array_equal(before[path], after[path]) for path in before)


def test_what_was_trained_is_in_the_model(parts: tuple[Part, Part]) -> None:
    _, tuned = run(parts, RECIPE)
    start = tail.divide(backbones.build("tiny"), "block_3_conv", "all").whole
    before, after = weights(start), weights(tuned.model)
    assert {path for path in before if not np.array_equal(before[path], after[path])} == set(before)


def test_it_starts_from_the_probe(parts: tuple[Part, Part]) -> None:
    model = backbones.build("tiny")
    head = probed(model, parts[0])
    expected = head.probabilities(model.predict_on_batch(stacked(parts[1])))
    start = run(parts, RECIPE)[1].history[0]
    assert start.number == 0
    assert start.train_loss is None
    assert start.validation_loss == pytest.approx(probe.log_loss(expected, parts[1].labels), rel=1e-4)
    assert start.validation_accuracy == (expected.argmax(axis=1) == parts[1].labels).mean()


@pytest.mark.parametrize("learning_rate", [1e-3, 50.0])
def test_the_best_pass_is_what_is_left_and_no_worse_than_the_probe(
    parts: tuple[Part, Part], learning_rate: float
) -> None:
    _, tuned = run(parts, replace(RECIPE, learning_rate=learning_rate, epochs=3, patience=3))
    probabilities = tuned.model.predict_on_batch(stacked(parts[1]))
    best = tuned.history[tuned.best]
    assert (probabilities.argmax(axis=1) == parts[1].labels).mean() == best.validation_accuracy
    assert probe.log_loss(probabilities, parts[1].labels) == pytest.approx(best.validation_loss, rel=1e-4)
    assert best.validation_accuracy >= tuned.history[0].validation_accuracy
    if learning_rate > 1:  # which ruins the network: the probe is what must be left
        assert tuned.best == 0


def test_it_stops_when_validation_no_longer_gets_better(parts: tuple[Part, Part]) -> None:
    _, tuned = run(parts, replace(RECIPE, learning_rate=50.0, epochs=9, patience=2))
    assert len(tuned.history) == 3


def test_equal_seeds_train_alike(parts: tuple[Part, Part]) -> None:
    first, second, other = (
        run(parts, replace(RECIPE, epochs=1, seed=seed))[1].history[1].train_loss for seed in (3, 3, 4)
    )
    assert first == pytest.approx(second, rel=1e-5)
    assert first != pytest.approx(other, rel=1e-5)


def test_every_photo_is_seen_once_a_pass_with_its_own_label(parts: tuple[Part, Part]) -> None:
    train = parts[0]
    plain = stacked(train)
    for epoch in (1, 2):
        batches = list(finetune.training_batches(train, replace(RECIPE, operations=()), epoch=epoch))
        assert [len(labels) for _, labels, _ in batches] == [8, 8, 8, 2]
        seen = np.concatenate([np.stack(pictures) for pictures, _, _ in batches])
        places = [int(np.flatnonzero((plain == one).all(axis=(1, 2, 3)))[0]) for one in seen]
        assert sorted(places) == list(range(26))
        labels = np.concatenate([labels for _, labels, _ in batches])
        assert np.array_equal(labels, train.labels[places])
        assert places != list(range(26))
