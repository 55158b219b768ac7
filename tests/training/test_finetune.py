"""Fine-tuning trains what it is told to, starts from the probe, and never ends below it."""

import hashlib
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import fitted, made_photos

from headstart.base.progress import Progress
from headstart.networks import backbones, engine
from headstart.photos import splits
from headstart.photos.splits import Lesson, Part
from headstart.pictures import pixels
from headstart.statistics.metrics import log_loss
from headstart.training import finetune, tail
from headstart.training.finetune import FineTuned, Probes, Tuner
from headstart.training.recipe import Recipe
from headstart.training.ridge import Head

RECIPE = Recipe(
    image_size_px=32,
    fit="squash",
    epochs=2,
    batch_size=8,
    learning_rate=1e-3,
    patience=2,
    operations=("mirror", "shift"),
    views=2,
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
        names = tuple(map(str, own))
        alone = np.arange(len(own), dtype=np.int32)
        digests = tuple(hashlib.sha256(file.read_bytes()).hexdigest() for file in own)
        return Part(names, tuple(own), digests, alone, labels[is_in], np.ones(len(own), np.float32))

    return part(~chosen), part(chosen)


def stacked(part: Part) -> np.ndarray:
    return np.stack(list(pixels.read_many(part.files, 32, "squash"))).astype(np.float32)


def probed(model: Any, train: Part) -> Head:
    return fitted(model.predict_on_batch(stacked(train)), train.labels).tempered(4)  # there is to learn


def tuner(model: Any, unfreeze: str = "all", seed: int = 0) -> Tuner:
    divided, examples = tail.divide(model, "block_3_conv", unfreeze), made_photos(32)
    trunk = engine.prepare(divided.trunk, examples, "openvino", Progress()) if divided.trunk else None
    return Tuner(divided, trunk, n_classes=2, examples=examples, seed=seed)


def train(tuner: Tuner, head: Head, parts: tuple[Part, Part], recipe: Recipe, folder: Path) -> FineTuned:
    folds = splits.folds(*parts, n_folds=0, seed=0)
    lesson = Lesson(splits.joined(*parts), folds, ("green", "red"))
    return tuner.train(Probes((head,), head), lesson, recipe, folder, Progress())


def run(parts: tuple[Part, Part], recipe: Recipe, unfreeze: str = "all") -> tuple[Any, FineTuned]:
    model = backbones.build("tiny")
    made = tuner(model, unfreeze, recipe.seed)
    with tempfile.TemporaryDirectory() as folder:
        return model, train(made, probed(model, parts[0]), parts, recipe, Path(folder))


def answered(tuned: FineTuned, part: Part) -> np.ndarray:
    return tuned.head.probabilities(tuned.model.predict_on_batch(stacked(part)))


def weights(model: Any) -> dict[str, np.ndarray]:
    return {weight.path: weight.numpy() for layer in model.layers for weight in layer.weights}


def test_the_frozen_layers_and_their_batchnorms_stay_bit_identical(parts: tuple[Part, Part]) -> None:
    backbone, tuned = run(parts, RECIPE, "last")
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
    assert start.validation_loss == pytest.approx(log_loss(parts[1].labels, expected), rel=1e-4)
    assert start.validation_accuracy == (expected.argmax(axis=1) == parts[1].labels).mean()


@pytest.mark.parametrize("learning_rate", [1e-3, 50.0])
def test_the_best_pass_is_what_is_left_and_no_worse_than_the_probe(
    parts: tuple[Part, Part], learning_rate: float
) -> None:
    _, tuned = run(parts, replace(RECIPE, learning_rate=learning_rate, epochs=3, patience=3))
    probabilities = answered(tuned, parts[1])
    loss = log_loss(parts[1].labels, probabilities)
    accuracy = (probabilities.argmax(axis=1) == parts[1].labels).mean()
    best = tuned.history[tuned.best]
    # With the weights of that pass, or others on the way to it that are better.
    assert (accuracy, -loss) >= (best.validation_accuracy, -best.validation_loss * (1 + 1e-4))
    assert best.validation_accuracy >= tuned.history[0].validation_accuracy
    if tuned.mix in (0, 1):
        assert loss == pytest.approx(best.validation_loss, rel=1e-4)
    if learning_rate > 1:  # which ruins the network: the probe is what must be left
        assert (tuned.best, tuned.mix) == (0, 0)


def test_weights_on_the_way_to_a_pass_that_overshoots_are_better(parts: tuple[Part, Part]) -> None:
    """At this rate the second pass goes too far in the right direction."""
    backbone, tuned = run(parts, replace(RECIPE, learning_rate=8e-2), "last")
    assert tuned.best > 0
    assert tuned.mix in finetune.MIXES
    start = weights(tail.divide(backbone, "block_3_conv", "last").whole)
    probabilities = answered(tuned, parts[1])
    assert log_loss(parts[1].labels, probabilities) < tuned.history[tuned.best].validation_loss
    moved = weights(tuned.model)
    assert not np.array_equal(moved["block_3_conv/kernel"], start["block_3_conv/kernel"])


def test_it_stops_when_validation_no_longer_gets_better(parts: tuple[Part, Part]) -> None:
    _, tuned = run(parts, replace(RECIPE, learning_rate=50.0, epochs=9, patience=2))
    assert len(tuned.history) == 3


def test_equal_seeds_train_alike(parts: tuple[Part, Part]) -> None:
    first, second, other = (
        run(parts, replace(RECIPE, epochs=1, seed=seed))[1].history[1].train_loss for seed in (3, 3, 4)
    )
    assert first == pytest.approx(second, rel=1e-5)
    assert first != pytest.approx(other, rel=1e-5)


def test_measuring_the_machine_changes_nothing(parts: tuple[Part, Part], tmp_path: Path) -> None:
    model = backbones.build("tiny")
    head = probed(model, parts[0])
    measured = tuner(model, "last")
    rates = measured.rates(8)
    assert rates.training > 0
    assert rates.trunk is not None
    first = train(measured, head, parts, RECIPE, tmp_path / "one")
    second = train(tuner(model, "last"), head, parts, RECIPE, tmp_path / "two")
    assert first.history == second.history


@pytest.mark.parametrize("operations", [("mirror", "shift"), ()])
def test_kept_activations_train_like_live_ones(operations: tuple[str, ...], parts: tuple[Part, Part]) -> None:
    """With a view for each pass, or no change at all, they differ by float16 alone."""
    recipe = replace(RECIPE, operations=operations)
    kept, live = (run(parts, replace(recipe, views=views), "last")[1] for views in (2, 0))
    for one, other in zip(kept.history, live.history, strict=True):
        assert one.validation_loss == pytest.approx(other.validation_loss, rel=2e-3)
    assert kept.history[1].train_loss == pytest.approx(live.history[1].train_loss, rel=2e-3)
