"""What guessing gets, and how far test is from what was held out, against SciPy and by hand."""

import numpy as np
import pytest
from scipy.stats import fisher_exact

from headstart.results import reservations
from headstart.results.comparison import Baseline
from headstart.statistics import significance

CLASSES = ("cat", "dog")


def baseline(right: np.ndarray, test: np.ndarray) -> Baseline:
    return reservations.baseline(
        "tiny/features",
        right,
        train=np.repeat([0, 1], [200, 3]),
        validation=np.repeat([0, 1], [19, 1]),
        test=test,
        groups=np.arange(len(test)),
        class_names=CLASSES,
    )


def test_always_the_commonest_class_of_train() -> None:
    """200 photos of one class and 3 of another: what is right on 97.6% knows nothing."""
    test = np.repeat([0, 1], [40, 1])
    found = baseline(test == 0, test)
    assert (found.class_name, found.validation_accuracy) == ("cat", 0.95)
    assert found.accuracy == pytest.approx(40 / 41)
    assert found.interval == significance.wilson(40, 41)
    assert (found.comparison.a, found.comparison.b) == ("tiny/features", "always")
    assert (found.comparison.difference, found.comparison.decision) == (0.0, "unclear")


def test_a_candidate_that_is_clearly_better_than_guessing() -> None:
    test = np.repeat([0, 1], [60, 40])
    found = baseline(np.ones(100, bool), test)
    assert (found.accuracy, found.comparison.decision) == (0.6, "better")


def test_a_test_part_far_below_is_more_than_chance() -> None:
    found = reservations.shift(np.arange(341) < 330, np.arange(394) < 304)
    assert found
    assert (found.n_held_out, found.n_test, found.is_more_than_chance) == (341, 394, True)
    assert found.difference == pytest.approx(304 / 394 - 330 / 341)
    assert found.p_value == pytest.approx(fisher_exact([[330, 11], [304, 90]]).pvalue)
    assert found.interval == significance.newcombe((304, 394), (330, 341))
    assert found.difference in found.interval


def test_what_chance_brings_is_left_alone() -> None:
    """Of 1,000 draws of equal accuracy, at most one in a hundred and its own chance is told."""
    random, told = np.random.default_rng(0), 0
    for _ in range(1000):
        found = reservations.shift(random.random(341) < 0.9, random.random(372) < 0.9)
        assert found
        told += found.is_more_than_chance
    assert told <= 17  # 10 expected, and two standard deviations


def test_without_a_clean_photo_there_is_no_shift() -> None:
    assert reservations.shift(np.ones(9, bool), np.zeros(0, bool)) is None
