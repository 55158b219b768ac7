"""Learning curves of real digits and of made heads, against SciPy and against a law that is known."""

import functools
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import curve_fit
from sklearn.datasets import load_digits
from test_suspects import clothing

from headstart.networks.vectors import Vectors
from headstart.photos.splits import Fold
from headstart.results.curve import LearningCurve
from headstart.statistics import significance
from headstart.training import learning_curve
from headstart.training.learning_curve import Curve
from headstart.training.ridge import Ridge

Bools = NDArray[np.bool_]
Doubles = NDArray[np.float64]
Floats = NDArray[np.float32]
Labels = NDArray[np.int32]

NAMES = tuple(f"class {number}" for number in range(10))


@functools.cache
def digits() -> tuple[Floats, Labels, Floats, Labels]:
    """1,000 handwritten digits to train on, 797 to measure on: 300 features of a random layer."""
    values, labels = load_digits(return_X_y=True)
    random = np.random.default_rng(0)
    order = random.permutation(len(labels))
    values = np.maximum(values[order] @ random.normal(size=(64, 300)), 0).astype(np.float32)
    labels = labels[order].astype(np.int32)
    return values[:1000], labels[:1000], values[1000:], labels[1000:]


def of_parts(
    train: Floats,
    labels: Labels,
    evaluation: Floats,
    evaluation_labels: Labels,
    weights: Floats | None = None,
    **options: Any,
) -> LearningCurve:
    """The learning curve of one fold, in which nothing that is evaluated on has a copy."""
    n, m, n_classes = len(train), len(evaluation), len(options["class_names"])
    all_labels, groups = np.concatenate([labels, evaluation_labels]), np.arange(n + m)
    counts = np.ones(n + m, np.float32)
    if weights is not None:
        counts[:n] = weights
    photos = Ridge(Vectors((np.concatenate([train, evaluation]),)), all_labels, counts, n_classes)
    fold = Fold(groups[:n], groups[n:])
    like = photos.fit(fold.train, groups)
    return learning_curve.measure(photos, all_labels, groups, [fold], like=like, **options)


def measured(n: int = 1000, seed: int = 0) -> LearningCurve:
    """The learning curve of the first n digits."""
    train, labels, evaluation, evaluation_labels = digits()
    return of_parts(train[:n], labels[:n], evaluation, evaluation_labels, class_names=NAMES, seed=seed)


def law(n: Doubles | float, floor: float, scale: float, exponent: float) -> Doubles:
    return np.asarray(floor + scale * np.asarray(n) ** -exponent)


def curve_of(floor: float, fall: float, exponent: float, n_photos: int = 1000) -> Curve:
    """A curve that is known without doubt: every resample gives the same."""
    return Curve(n_photos, np.tile([floor, fall, exponent], (1001, 1)))


def made_heads(
    n_evaluated: int, seed: int, *, floor: float = 0.06, fall: float = 0.08, exponent: float = 0.5
) -> tuple[Doubles, list[Bools]]:
    """What heads of 100 to 1,000 photos get right whose true error follows a law.

    An evaluation photo is as hard for all heads alike; of what is left to chance, a tenth of the spread, each
    draw of training photos has its own.
    """
    random = np.random.default_rng(seed)
    sizes = 1000 * np.array(learning_curve.FRACTIONS)
    hardness = random.random(n_evaluated)
    correct = []
    for size, n_draws in zip(sizes, (4, 4, 4, 1, 1), strict=True):
        own = random.normal(scale=0.1, size=(n_draws, n_evaluated))
        # Of a uniform and a normal number, reflected at 0 and 1, the sum is uniform again.
        seen = np.abs((hardness + own + 1) % 2 - 1)
        correct.append(seen < 1 - law(size / 1000, floor, fall, exponent))
    return sizes, correct


def test_a_law_without_noise_is_found() -> None:
    sizes = np.array([100.0, 200, 400, 800, 1000])
    exponent = learning_curve.EXPONENTS[120]
    errors = law(sizes / 1000, 0.05, 0.1, exponent)
    [found] = learning_curve._laws(sizes / 1000, errors[None], np.ones(5))
    assert found == pytest.approx((0.05, 0.1, exponent))
    curve = Curve(1000, np.tile(found, (3, 1)))
    assert law(sizes, curve.law.floor, curve.law.scale, curve.law.exponent) == pytest.approx(errors)
    assert 1 - curve.predict(4000).accuracy == pytest.approx(law(4.0, 0.05, 0.1, exponent))


@pytest.mark.parametrize("seed", range(5))
def test_the_fit_agrees_with_scipys(seed: int) -> None:
    random = np.random.default_rng(seed)
    sizes, weights = np.array([0.1, 0.2, 0.4, 0.8, 1.0]), random.uniform(0.5, 2, 5)
    errors = law(sizes, 0.08, 0.1, 0.4) + random.normal(scale=0.01, size=(20, 5))
    for row, found in zip(errors, learning_curve._laws(sizes, errors, weights), strict=True):
        expected, _ = curve_fit(
            law, sizes, row, p0=(0.05, 0.1, 0.5), sigma=weights**-0.5, bounds=((0, 0, 0.05), (1, 1, 2))
        )
        ours, theirs = (weights @ (law(sizes, *one) - row) ** 2 for one in (found, expected))
        assert ours <= theirs * 1.02
        assert law(2.0, *found) == pytest.approx(law(2.0, *expected), abs=2e-3)


def test_errors_that_rise_give_a_level_law() -> None:
    [found] = learning_curve._laws(np.array([0.1, 0.5, 1]), np.array([[0.1, 0.2, 0.3]]), np.ones(3))
    assert found[:2] == pytest.approx((0.2, 0))


def test_photos_for_a_gain_by_the_formula() -> None:
    # 0.05 + 0.04 (n / 1000)^-0.5: a point less than 0.04 is 0.03, by (4 / 3)^2 times the photos.
    more = curve_of(0.05, 0.04, 0.5).photos_for(0.01)
    assert (more.n_photos, more.low, more.high, more.reason) == (778, 778, 778, "")
    assert curve_of(0.05, 0.04, 0.5).predict(1778).accuracy == pytest.approx(0.92, abs=1e-5)


@pytest.mark.parametrize(
    ("curve", "reason"),
    [
        (
            curve_of(0.1, 0.004, 0.5),
            "the fitted curve levels off 0.4 points above what there is, short of 1 point",
        ),
        (
            curve_of(0.1, 0.0, 0.5),
            "the fitted curve levels off 0.0 points above what there is, short of 1 point",
        ),
        (
            curve_of(0.1, 0.014, 0.5),
            "it is more than 10 times the photos there are, too far to foretell",
        ),
    ],
)
def test_what_cannot_be_said(curve: Curve, reason: str) -> None:
    more = curve.photos_for()
    assert (more.n_photos, more.low, more.high, more.reason) == (None, None, None, reason)


def test_a_band_without_end_is_not_said() -> None:
    laws = np.tile([0.05, 0.04, 0.5], (1001, 1))
    laws[1:101, 1] = 0.005
    more = Curve(1000, laws).photos_for()
    assert more.n_photos is None
    assert more.reason == "it is 778 or more, with no upper limit in sight"
    laws[1:, 1] = 0.005
    assert Curve(1000, laws).photos_for().reason == "it may be more than 10 times the photos there are"
    laws[1:21, 1], laws[21:, 1] = 0.005, 0.04
    assert Curve(1000, laws).photos_for().n_photos == 778


def test_more_than_a_point() -> None:
    assert curve_of(0.1, 0.01, 0.5).photos_for(0.02).reason == (
        "the fitted curve levels off 1.0 points above what there is, short of 2 points"
    )


@pytest.mark.slow
@pytest.mark.parametrize("n_evaluated", [341, 1000])
def test_the_band_covers_as_it_says(n_evaluated: int) -> None:
    held, sayable = {1000: 0, 2000: 0}, 0
    for seed in range(200):
        sizes, correct = made_heads(n_evaluated, seed)
        curve = learning_curve.fit(sizes, correct, np.arange(n_evaluated), seed=seed)
        for n_photos in held:
            truth = 1 - law(n_photos / 1000, 0.06, 0.08, 0.5)
            held[n_photos] += float(truth) in curve.predict(n_photos).interval
        sayable += curve.photos_for().n_photos is not None
    assert held[1000] >= 184
    assert held[2000] >= 184


def test_another_draw_of_training_photos_widens_the_band() -> None:
    sizes, correct = made_heads(400, seed=0)
    still = [np.repeat(one[:1], len(one), axis=0) for one in correct]
    wide, narrow = (
        learning_curve.fit(sizes, one, np.arange(400)).predict(2000).interval for one in (correct, still)
    )
    assert wide.high - wide.low > narrow.high - narrow.low


def test_evaluation_photos_of_one_unit_are_drawn_together() -> None:
    sizes, correct = made_heads(200, seed=1)
    copied = [np.repeat(one, 4, axis=1) for one in correct]
    alone = learning_curve.fit(sizes, correct, np.arange(200)).predict(1000).interval
    torn = learning_curve.fit(sizes, copied, np.arange(800)).predict(1000).interval
    together = learning_curve.fit(sizes, copied, np.arange(800) // 4).predict(1000).interval
    assert torn.high - torn.low < 0.7 * (alone.high - alone.low)
    assert together.high - together.low == pytest.approx(alone.high - alone.low, rel=0.1)


def test_parts_are_nested_stratified_and_keep_groups_whole() -> None:
    labels = np.repeat(np.arange(3), [100, 40, 4])
    groups = np.arange(144) // 2
    parts = learning_curve._draw(labels, groups, learning_curve.FRACTIONS, np.random.default_rng(0))
    for smaller, larger in itertools.pairwise(parts):
        assert set(smaller) < set(larger)
    for part, fraction in zip(parts, learning_curve.FRACTIONS, strict=True):
        assert set(groups[part].tolist()) & set(np.delete(groups, part).tolist()) == set()
        counts = np.bincount(labels[part], minlength=3)
        assert counts == pytest.approx(np.maximum(fraction * np.array([100, 40, 4]), 2), abs=1)
    assert len(parts[-1]) == 144


def test_the_curve_of_digits() -> None:
    curve = measured()
    assert [one.n_draws for one in curve.points] == [4, 4, 4, 1, 1]
    assert [one.n_photos for one in curve.points] == pytest.approx([100, 200, 400, 800, 1000], abs=3)
    accuracies = [one.accuracy for one in curve.points]
    assert accuracies == sorted(accuracies)
    assert 0.8 < accuracies[0] < 0.92
    assert accuracies[-1] > 0.94
    assert curve.points[-1].interval == significance.wilson(round(797 * accuracies[-1]), 797)
    for one, fitted in zip(curve.points, curve.fitted, strict=True):
        expected = 1 - law(one.n_photos, curve.law.floor, curve.law.scale, curve.law.exponent)
        assert fitted.accuracy == pytest.approx(float(expected))
        assert one.accuracy == pytest.approx(fitted.accuracy, abs=0.01)
        assert one.accuracy in fitted.interval
    assert curve.doubled.n_photos == 2000
    assert accuracies[-1] - 0.01 < curve.doubled.accuracy < 1


@pytest.mark.parametrize("seed", range(3))
def test_half_of_the_digits_foretell_the_whole(seed: int) -> None:
    foretold, truth = measured(500, seed).doubled, measured(1000, seed).points[-1].accuracy
    assert foretold.n_photos == 1000
    assert truth in foretold.interval
    assert foretold.accuracy == pytest.approx(truth, abs=0.015)
    assert foretold.interval.high - foretold.interval.low < 0.06


def test_class_by_class() -> None:
    train, labels, evaluation, evaluation_labels = digits()
    few = np.flatnonzero(evaluation_labels == 3)[10:]
    kept = np.setdiff1d(np.arange(len(evaluation)), [*few, *np.flatnonzero(evaluation_labels == 4)])
    curve = of_parts(
        train,
        labels,
        evaluation[kept],
        evaluation_labels[kept],
        class_names=NAMES,
    )
    by_name = {one.name: one for one in curve.per_class}
    assert tuple(by_name) == NAMES
    assert [one.n_photos for one in curve.per_class] == np.bincount(labels).tolist()
    assert by_name["class 3"].more.reason == "it takes 30 evaluation photos of it, and there are 10"
    assert by_name["class 4"].recalls == (None,) * 5
    whole = sum(one.n_evaluated * (one.recalls[-1] or 0.0) for one in curve.per_class)
    assert whole / len(kept) == pytest.approx(curve.points[-1].accuracy)
    assert by_name["class 0"].more.gain == 0.01


def test_weights_count() -> None:
    train, labels, evaluation, evaluation_labels = digits()
    heavy = np.where(labels[:300] == 8, 50, 1).astype(np.float32)
    recalls = [
        of_parts(
            train[:300],
            labels[:300],
            evaluation,
            evaluation_labels,
            weights,
            class_names=NAMES,
            fractions=(0.5, 1.0),
            repeats=1,
        )
        .per_class[8]
        .recalls[-1]
        for weights in (np.ones(300, np.float32), heavy)
    ]
    assert recalls[0] is not None
    assert recalls[1] is not None
    assert recalls[1] > recalls[0] + 0.05


def test_is_repeatable_leaves_its_input_alone_and_survives_json() -> None:
    before = [one.copy() for one in digits()]
    first, second = measured(200, seed=1), measured(200, seed=1)
    assert first == second != measured(200, seed=2)
    assert all(np.array_equal(one, other) for one, other in zip(before, digits(), strict=True))
    assert msgspec.json.decode(msgspec.json.encode(first), type=LearningCurve) == first


def test_two_classes_of_two_photos() -> None:
    features = np.array([[0], [1], [9], [10]], np.float32)
    labels = np.array([0, 0, 1, 1], np.int32)
    curve = of_parts(features, labels, features, labels, class_names=("a", "b"))
    assert curve.points[-1].accuracy == 1
    assert curve.more.reason == (
        "the fitted curve levels off 0.0 points above what there is, short of 1 point"
    )


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_half_of_clothing_foretells_the_whole(shared_data: Path, seed: int) -> None:
    (train, labels), (validation, validation_labels) = clothing(shared_data)

    def of(rows: Sequence[int] | NDArray[np.intp]) -> LearningCurve:
        return of_parts(
            train[rows],
            labels[rows],
            validation,
            validation_labels,
            class_names=NAMES,
            seed=seed,
        )

    half = np.random.default_rng(seed).permutation(len(labels))[: len(labels) // 2]
    foretold, truth = of(half).doubled, of(range(len(labels))).points[-1].accuracy
    assert truth in foretold.interval
    assert foretold.interval.high - foretold.interval.low < 0.13
    assert foretold.accuracy == pytest.approx(truth, abs=0.05)
