"""Fine-tuning trains what it is told to, starts from the probe, and never ends below it."""

import hashlib
import tempfile
from dataclasses import replace
from functools import cache
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
from headstart.storage.checkpoint import Checkpoints
from headstart.training import finetune, tail
from headstart.training.finetune import FineTuned, Probes, Tuner, Watch
from headstart.training.recipe import Recipe
from headstart.training.ridge import Head, Scaling

SCALING = Scaling(np.linspace(-1, 1, 8), np.linspace(0.5, 2, 8))
RECIPE = Recipe(
    image_size_px=32,
    fit="squash",
    epochs=2,
    batch_size=8,
    learning_rate=1e-3,
    operations=("mirror", "shift"),
    views=2,
    seed=0,
)
ENOUGH = replace(RECIPE, epochs=12, learning_rate=1e-2)
"""To gain on the probe."""


@pytest.fixture
def parts(photos: Path) -> tuple[Part, Part]:
    """24 photos to learn from and 16 to stop by; every seventh label is wrong, so that nothing is perfect.

    These are whole batches: for one of another size TensorFlow traces a network again.
    """
    files = sorted(photos.rglob("*.jpg"))
    labels = np.array([file.parent.name == "red" for file in files], np.int32)
    labels[::7] = 1 - labels[::7]
    chosen = np.arange(40) % 5 < 2

    def part(is_in: np.ndarray) -> Part:
        own = [file for file, inside in zip(files, is_in, strict=True) if inside]
        names = tuple(map(str, own))
        alone = np.arange(len(own), dtype=np.int32)
        digests = tuple(hashlib.sha256(file.read_bytes()).hexdigest() for file in own)
        return Part(names, tuple(own), digests, alone, labels[is_in], np.ones(len(own), np.float32))

    return part(~chosen), part(chosen)


def stacked(part: Part) -> np.ndarray:
    return np.stack(list(pixels.read_many(part.files, 32, "squash"))).astype(np.float32)


def features(model: Any, part: Part) -> np.ndarray:
    return np.asarray(model(stacked(part), training=False))


def probed(model: Any, train: Part) -> Head:
    return fitted(features(model, train), train.labels).tempered(4)  # there is to learn


def tuner(model: Any, unfreeze: str = "all") -> Tuner:
    divided, examples = tail.divide(model, "block_3_conv", unfreeze), made_photos(32)
    trunk = engine.prepare(divided.trunk, examples, "openvino", Progress()) if divided.trunk else None
    return Tuner(divided, trunk, n_classes=2, examples=examples, seed=0)


def train(tuner: Tuner, head: Head, parts: tuple[Part, Part], recipe: Recipe, folder: Path) -> FineTuned:
    folds = splits.folds(*parts, n_folds=0, seed=0)
    lesson = Lesson(splits.joined(*parts), folds, ("green", "red"))
    return tuner.train(Probes((head,), head, SCALING), lesson, recipe, Checkpoints(folder, ""), Progress())


@cache
def ready(unfreeze: str) -> tuple[Any, Tuner]:
    """Return `tiny` and a tuner of it: a training goes back to the start, and TensorFlow traces it once."""
    model = backbones.build("tiny")
    return model, tuner(model, unfreeze)


def run(parts: tuple[Part, Part], recipe: Recipe, unfreeze: str = "all") -> tuple[Any, FineTuned]:
    model, made = ready(unfreeze)
    with tempfile.TemporaryDirectory() as folder:
        return model, train(made, probed(model, parts[0]), parts, recipe, Path(folder))


def answered(tuned: FineTuned, part: Part) -> np.ndarray:
    return tuned.head.probabilities(features(tuned.model, part))


def weights(model: Any) -> dict[str, np.ndarray]:
    return {weight.path: weight.numpy() for layer in model.layers for weight in layer.weights}


@pytest.mark.parametrize(("unfreeze", "trained"), [("last", (3,)), ("all", (1, 2, 3))])
def test_frozen_layers_and_batchnorms_stay_bit_identical(
    unfreeze: str, trained: tuple[int, ...], parts: tuple[Part, Part]
) -> None:
    backbone, tuned = run(parts, ENOUGH, unfreeze)
    before, after = weights(backbone), weights(tuned.model)
    assert tuned.has_gained
    assert tuned.trained_layers == len(trained)
    frozen = {path for path in before if not path.startswith(tuple(f"block_{n}_" for n in trained))}
    kinds = {path.split("/")[1] for path in frozen}
    assert kinds == ({"kernel", "gamma", "beta", "moving_mean", "moving_variance"} if frozen else set())
    assert all(np.array_equal(before[path], after[path]) for path in frozen)
    # The BatchNorm of a trained block is in its convolution.
    learning = {f"block_{number}_conv/{name}" for number in trained for name in ("kernel", "bias")}
    assert after.keys() - frozen == learning
    start = weights(tail.divide(backbone, "block_3_conv", unfreeze).whole)
    assert not any(np.array_equal(start[path], after[path]) for path in learning)


def test_the_backbone_that_was_given_stays_as_it_is(parts: tuple[Part, Part]) -> None:
    before = weights(backbones.build("tiny"))
    backbone, tuned = run(parts, ENOUGH)
    assert tuned.has_gained
    assert tuned.trained_layers == 3
    after = weights(backbone)
    assert all(np.array_equal(before[path], after[path]) for path in before)


def test_what_passes_are_measured_by_is_the_probe(parts: tuple[Part, Part]) -> None:
    model = backbones.build("tiny")
    head = probed(model, parts[0])
    expected = head.probabilities(features(model, parts[1]))
    start = run(parts, RECIPE)[1].history[0]
    assert start.number == 0
    assert start.train_loss is None
    assert start.validation_loss == pytest.approx(log_loss(parts[1].labels, expected), rel=1e-4)
    assert start.validation_accuracy == (expected.argmax(axis=1) == parts[1].labels).mean()


def mean_of_logits(*answers: np.ndarray) -> np.ndarray:
    """The geometric mean of the probabilities, so that a photo's come to 1."""
    product = np.prod(answers, axis=0) ** (1 / len(answers))
    return np.asarray(product / product.sum(axis=1, keepdims=True))


@pytest.mark.parametrize("unfreeze", ["last", "all"])
@pytest.mark.parametrize("helps", [True, False])
def test_the_mean_with_the_probe_is_taken_where_it_has_the_lower_loss(
    helps: bool, unfreeze: str, parts: tuple[Part, Part], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, made = ready(unfreeze)
    passes = list[np.ndarray]()
    ask = Tuner._answers

    def noted(self: Tuner, session: Any, chosen: Any) -> Any:
        passes.append(ask(self, session, chosen))
        return passes[-1]

    with monkeypatch.context() as patch, tempfile.TemporaryDirectory() as folder:
        patch.setattr(Tuner, "_answers", noted)
        if not helps:
            patch.setattr(finetune, "mean_of", lambda probed, trained: np.full_like(probed, 0.5))
        tuned = train(made, probed(model, parts[0]), parts, ENOUGH, Path(folder))
    start, *_, end = passes
    mean, labels = mean_of_logits(start, end), parts[1].labels
    assert tuned.has_gained
    assert helps == tuned.is_mean == (len(tuned.head.weights) > 8)
    assert log_loss(labels, end) == pytest.approx(tuned.history[-1].validation_loss, rel=1e-4)
    if helps:
        assert log_loss(labels, mean) < log_loss(labels, end)
    assert tuned.answers == pytest.approx(mean if helps else end, abs=1e-5)
    assert answered(tuned, parts[1]) == pytest.approx(tuned.answers, abs=2e-4)  # kept at half precision


@pytest.mark.parametrize("learning_rate", [1e-3, 50.0])
def test_what_is_left_is_no_worse_than_the_probe(parts: tuple[Part, Part], learning_rate: float) -> None:
    _, tuned = run(parts, replace(RECIPE, learning_rate=learning_rate, epochs=3))
    probabilities = answered(tuned, parts[1])
    loss = log_loss(parts[1].labels, probabilities)
    accuracy = (probabilities.argmax(axis=1) == parts[1].labels).mean()
    start, *_, end = tuned.history
    assert accuracy >= max(start.validation_accuracy, end.validation_accuracy)
    assert loss == pytest.approx((end if tuned.has_gained else start).validation_loss, rel=1e-4)
    if learning_rate > 1:  # which ruins the network: the probe is what must be left
        assert not tuned.has_gained


def test_the_schedule_always_reaches_its_end(
    parts: tuple[Part, Part], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where each pass makes it worse, and where its last batch is not whole."""
    rates = []
    step = Tuner._step

    def noted(self: Tuner, rows: Any, labels: Any, sample_weights: Any, rate: float) -> float:
        rates.append(rate)
        return step(self, rows, labels, sample_weights, rate)

    monkeypatch.setattr(Tuner, "_step", noted)
    _, tuned = run(parts, replace(RECIPE, learning_rate=50.0, epochs=5, batch_size=7))
    assert len(tuned.history) == 6
    assert len(rates) == 5 * 4  # 24 photos in batches of 7
    assert max(rates) == 50.0
    assert rates[-1] < 50 / 10


def test_a_first_step_is_in_proportion_to_the_kernel(parts: tuple[Part, Part]) -> None:
    """Adam's first step is as long as the rate for every number that has a gradient."""
    made, rate = tuner(backbones.build("tiny")), 1e-4
    before = weights(made.divided.tail)
    made._step(stacked(parts[0]), parts[0].labels, parts[0].sample_weights, rate)
    after = weights(made.divided.tail)
    for path, start in before.items():
        size = np.sqrt(np.mean(start**2)) / 0.05 if path.endswith("kernel") else 1.0
        longest = np.abs(after[path] - start).max()
        assert longest == pytest.approx(rate * size, rel=0.05)


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
    second = train(ready("last")[1], head, parts, RECIPE, tmp_path / "two")
    assert first.history == second.history


@pytest.mark.parametrize("operations", [("mirror", "shift"), ()])
def test_kept_activations_train_like_live_ones(operations: tuple[str, ...], parts: tuple[Part, Part]) -> None:
    """With a view for each pass, or no change at all, they differ by float16 alone."""
    recipe = replace(RECIPE, operations=operations)
    kept, live = (run(parts, replace(recipe, views=views), "last")[1] for views in (2, 0))
    for one, other in zip(kept.history, live.history, strict=True):
        assert one.validation_loss == pytest.approx(other.validation_loss, rel=2e-3)
    assert kept.history[1].train_loss == pytest.approx(live.history[1].train_loss, rel=2e-3)


class Stopped(BaseException):
    """The process that trains is ended."""


@pytest.mark.parametrize(
    ("unfreeze", "n_folds", "epochs"),
    [
        ("last", 0, 1),
        pytest.param("all", 0, 3, marks=pytest.mark.slow),
        pytest.param("last", 3, 2, marks=pytest.mark.slow),
    ],
)
def test_interrupted_after_any_pass_it_comes_to_the_same_weights(
    unfreeze: str,
    n_folds: int,
    epochs: int,
    parts: tuple[Part, Part],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each time by a new tuner, as by a new process, until it is through; no pass is gone through twice."""
    recipe = replace(RECIPE, epochs=epochs)
    model = backbones.build("tiny")
    head = probed(model, parts[0])
    folds = splits.folds(*parts, n_folds=n_folds, seed=0)
    lesson = Lesson(splits.joined(*parts), folds, ("green", "red"))
    probes = Probes((head,) * len(folds), head, SCALING)

    def trained(name: str, watch: Watch = finetune.unwatched) -> FineTuned:
        checkpoints = Checkpoints(tmp_path / name, "")
        return tuner(model, unfreeze).train(probes, lesson, recipe, checkpoints, Progress(), watch)

    whole = trained("whole")
    begun = list[tuple[str, int]]()
    one_pass = Tuner._pass

    def counted(self: Tuner, session: Any, train: Any, number: int, title: str) -> float:
        loss = one_pass(self, session, train, number, title)
        begun.append((title, number))
        return loss

    def stop(self: Tuner, *told: Any) -> None:
        keep(self, *told)
        raise Stopped

    keep = Tuner._keep
    monkeypatch.setattr(Tuner, "_pass", counted)
    n_stops = 0
    with monkeypatch.context() as patch:
        patch.setattr(Tuner, "_keep", stop)
        while True:
            try:
                resumed = trained("stopped")
                break
            except Stopped:
                n_stops += 1
    assert n_stops == len(begun)
    assert len(set(begun)) == len(begun) == epochs * (len(folds) + (n_folds > 0 and whole.has_gained))
    assert (resumed.history, resumed.has_gained) == (whole.history, whole.has_gained)
    assert np.array_equal(resumed.answers, whole.answers)
    assert np.array_equal(resumed.head.weights, whole.head.weights)
    expected = weights(whole.model)
    assert all(np.array_equal(expected[path], value) for path, value in weights(resumed.model).items())


def test_passes_that_are_kept_are_told_of_again(parts: tuple[Part, Part], tmp_path: Path) -> None:
    model, told = backbones.build("tiny"), list[tuple[str, Any]]()
    head = probed(model, parts[0])
    lesson = Lesson(splits.joined(*parts), splits.folds(*parts, n_folds=0, seed=0), ("green", "red"))
    for _ in range(2):
        tuner(model).train(
            Probes((head,), head, SCALING),
            lesson,
            RECIPE,
            Checkpoints(tmp_path, ""),
            Progress(),
            lambda *what: told.append(what),
        )
    assert [epoch.number for _, epoch in told] == [0, 1, 2] * 2
    assert told[:3] == told[3:]


def test_passes_by_another_recipe_are_not_taken(parts: tuple[Part, Part], tmp_path: Path) -> None:
    model = backbones.build("tiny")
    head = probed(model, parts[0])
    train(ready("all")[1], head, parts, RECIPE, tmp_path)
    other = replace(RECIPE, learning_rate=2e-3)
    again = train(ready("all")[1], head, parts, other, tmp_path)
    expected = run(parts, other)[1]
    assert np.array_equal(again.head.weights, expected.head.weights)
