"""The probe against scikit-learn, and what must hold of any head."""

import time
import tracemalloc
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from headstart.base.arrays import Floats
from headstart.statistics.metrics import log_loss, softmax
from headstart.training import probe

Arrays = tuple[np.ndarray, np.ndarray]


@pytest.fixture(scope="module")
def digits() -> Arrays:
    """1,797 digits as 64 features each, on very different scales, in random order."""
    features, labels = load_digits(return_X_y=True)
    random = np.random.default_rng(0)
    order = random.permutation(len(labels))
    scales = 10 ** random.uniform(-3, 3, features.shape[1])
    return (features[order] * scales + scales).astype(np.float32), labels[order].astype(np.int32)


def float32(values: np.ndarray) -> Floats:
    return values.astype(np.float32)


def ones(n: int) -> np.ndarray:
    return np.ones(n, np.float32)


def scikit_learn(features: np.ndarray, labels: np.ndarray, weights: np.ndarray, l2: float) -> np.ndarray:
    """Return the probabilities of scikit-learn's head of the same penalty, fitted in float64."""
    deviation = features.std(axis=0, dtype=np.float64)
    standardised = (features - features.mean(axis=0, dtype=np.float64)) / np.where(
        deviation > 0, deviation, 1
    )
    # scikit-learn sums the losses where we average them: its C is 1 / (N * l2).
    reference = LogisticRegression(C=1 / (len(labels) * l2), max_iter=10_000, tol=1e-8)
    return np.asarray(reference.fit(standardised, labels, sample_weight=weights).predict_proba(standardised))


@pytest.mark.parametrize("l2", [1.0, 0.01, 0.0001])
def test_path_solves_the_same_problem_as_scikit_learn(digits: Arrays, l2: float) -> None:
    features, labels = digits[0][:600], digits[1][:600]
    weights = np.random.default_rng(1).uniform(0.2, 1.8, 600).astype(np.float32)
    head = list(probe.path(features, labels, weights, (1.0, 0.01, l2)))[-1]
    expected = scikit_learn(features, labels, weights, l2)
    assert np.abs(head.probabilities(features) - expected).max() < 1e-3


@pytest.mark.parametrize("n", [50, 150])
def test_fewer_photos_than_features_solve_the_same_problem_as_scikit_learn(n: int) -> None:
    """50 are decomposed by rows, 150 by columns; both have two features alike and one that never changes."""
    random = np.random.default_rng(2)
    labels = (np.arange(n) % 3).astype(np.int32)
    features = float32(random.normal(size=(n, 200)) + labels[:, None] * random.normal(size=200) / 4)
    features[:, 5], features[:, 9] = features[:, 4], 0.1
    for l2 in (1.0, 0.01):
        head = probe.refit(features, labels, ones(n), l2)
        assert np.abs(head.probabilities(features) - scikit_learn(features, labels, ones(n), l2)).max() < 1e-3
        assert not head.weights[9].any()


def test_a_hundred_classes_solve_the_same_problem_as_scikit_learn() -> None:
    random = np.random.default_rng(3)
    labels = (np.arange(600) % 100).astype(np.int32)
    features = float32(random.normal(size=(100, 10))[labels] + random.normal(size=(600, 10)))
    head = probe.refit(features, labels, ones(600), 0.01)
    expected = scikit_learn(features, labels, ones(600), 0.01)
    assert np.abs(head.probabilities(features) - expected).max() < 1e-3


@pytest.mark.parametrize(("n", "power"), [(60, -2), (100, -2.5), (200, -3)])
def test_fit_takes_the_strength_with_the_least_loss_on_validation(
    digits: Arrays, n: int, power: float
) -> None:
    """Of all half decades, though it tries some of them: the best is a decade, lies between two, a decade."""
    (train, validation), (train_labels, validation_labels) = ((part[:n], part[n:1700]) for part in digits)
    head = probe.fit(train, train_labels, validation, validation_labels, ones(n))
    half_decades = [10.0 ** (one / 2) for one in range(4, -11, -1)]
    losses = {
        one.l2: log_loss(validation_labels, one.probabilities(validation))
        for one in probe.path(train, train_labels, ones(n), half_decades)
    }
    assert min(losses, key=lambda l2: losses[l2]) == pytest.approx(10**power)
    assert head.l2 == pytest.approx(10**power)
    loss = log_loss(validation_labels, head.probabilities(validation))
    assert loss == pytest.approx(min(losses.values()), abs=1e-4)


def test_photos_that_are_certainly_mislabelled_choose_no_strength(digits: Arrays) -> None:
    """Each costs what it costs in the results, 15.9 at most, however weak the penalty: the others decide."""
    (train, validation), (train_labels, validation_labels) = ((part[:200], part[200:]) for part in digits)
    expected = probe.fit(train, train_labels, validation, validation_labels, ones(200))
    middle = train.mean(axis=0)
    far = 3 * (validation[:10] - middle) + middle
    with_far = np.vstack([validation, far])
    with_wrong = np.append(validation_labels, (validation_labels[:10] + 1) % 10).astype(np.int32)
    assert probe.fit(train, train_labels, with_far, with_wrong, ones(200)).l2 == expected.l2


def test_fit_is_repeatable_and_leaves_its_input_alone(digits: Arrays) -> None:
    features, labels = digits[0][:300], digits[1][:300]
    before = features.copy()
    first, second = (probe.fit(features, labels, features[:100], labels[:100], ones(300)) for _ in range(2))
    assert np.array_equal(features, before)
    assert np.abs(first.probabilities(features) - second.probabilities(features)).max() <= 1e-5


def test_fewer_photos_than_features_and_a_feature_that_never_changes() -> None:
    random = np.random.default_rng(0)
    features = random.normal(size=(12, 50)).astype(np.float32)
    features[:, 7] = 3.0
    labels = np.arange(12, dtype=np.int32) % 2
    features[labels == 1, 0] += 10
    head = probe.refit(features, labels, ones(12), 0.01)
    assert np.isfinite(head.weights).all()
    assert (head.probabilities(features).argmax(axis=1) == labels).all()


def test_features_that_never_change_leave_the_shares_of_the_classes() -> None:
    labels = np.array([0, 0, 0, 1], np.int32)
    for n_features in (2, 20):
        head = probe.refit(np.full((4, n_features), 0.3, np.float32), labels, ones(4), 0.01)
        probabilities = head.probabilities(np.ones((1, n_features), np.float32))
        assert probabilities == pytest.approx(np.array([[0.75, 0.25]]), abs=1e-4)


@pytest.mark.parametrize("n", [300, 30])
@pytest.mark.parametrize(("times", "plus"), [(1e-6, 0), (1e6, 0), (1, 30)])
def test_the_scale_of_the_features_does_not_matter(digits: Arrays, n: int, times: float, plus: float) -> None:
    features, labels = digits[0][:n], digits[1][:n]
    deviation = features.std(axis=0)
    features = float32(features / np.where(deviation > 0, deviation, 1))
    other = float32(features * times + plus)
    head, same = (probe.refit(one, labels, ones(n), 0.01) for one in (features, other))
    assert np.abs(head.probabilities(features) - same.probabilities(other)).max() < 1e-3


def test_a_feature_that_hardly_ever_changes_does_not_decide_alone() -> None:
    random = np.random.default_rng(0)
    features = random.normal(size=(100, 4)).astype(np.float32)
    labels = (features[:, 0] > 0).astype(np.int32)
    features[:, 3] = 0
    features[np.argmax(labels), 3] = 1e-9
    head = probe.refit(features, labels, ones(100), 0.001)
    features[:, 3] = 1e-3
    assert (head.probabilities(features).argmax(axis=1) == labels).mean() > 0.9


@pytest.mark.parametrize("l2", [1.0, 0.01])
def test_a_start_saves_steps_and_does_not_change_the_result(
    digits: Arrays, l2: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    features, labels = digits[0][:600], digits[1][:600]
    start = probe.refit(features[:540], labels[:540], ones(540), l2)
    cross_entropy = probe._cross_entropy
    n_calls: list[int] = []

    def counted(*arguments: Any) -> Any:
        n_calls[-1] += 1
        return cross_entropy(*arguments)

    monkeypatch.setattr(probe, "_cross_entropy", counted)
    answers = []
    for one in (None, start):
        n_calls.append(0)
        answers.append(probe.refit(features, labels, ones(600), l2, start=one).probabilities(features))
    assert np.abs(answers[0] - answers[1]).max() < 2e-3
    assert np.abs(answers[0] - start.probabilities(features)).max() > 3e-2
    assert n_calls[1] < 0.75 * n_calls[0]


def test_the_head_is_the_same_on_any_number_of_cores(digits: Arrays, monkeypatch: pytest.MonkeyPatch) -> None:
    features, labels = digits
    heads = []
    for n_cores in (1, 2, 3):
        monkeypatch.setattr(probe, "core_count", lambda n_cores=n_cores: n_cores)
        with threadpool_limits(n_cores):
            heads.append(probe.fit(features, labels, features[:200], labels[:200], ones(len(labels))))
    assert np.array_equal(heads[0].weights, heads[1].weights)
    assert np.array_equal(heads[0].weights, heads[2].weights)


def test_the_features_are_not_copied() -> None:
    random = np.random.default_rng(0)
    features = random.normal(size=(40_000, 64)).astype(np.float32)
    labels = (features[:, 0] + random.normal(size=40_000) > 0).astype(np.int32)
    tracemalloc.start()
    try:
        probe.refit(features, labels, ones(40_000), 0.1)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < features.nbytes / 3


@pytest.mark.slow
def test_time_grows_linearly_with_photos() -> None:
    """Four times the photos take at most seven times the processor time; a square would be sixteen."""
    random = np.random.default_rng(0)
    centres = random.normal(size=(10, 512))
    labels = (np.arange(21_000) % 10).astype(np.int32)
    features = (centres[labels] / 4 + random.normal(size=(21_000, 512))).astype(np.float32)
    held_out = features[20_000:], labels[20_000:]
    seconds = []
    for n in (5_000, 20_000):
        start = time.process_time()
        probe.fit(features[:n], labels[:n], *held_out, ones(n))
        seconds.append(time.process_time() - start)
    assert seconds[1] < 7 * seconds[0], seconds


def test_a_photo_of_weight_two_counts_as_two_photos(digits: Arrays) -> None:
    features, labels = digits[0][:200], digits[1][:200]
    twice = np.concatenate([np.arange(200), np.arange(50)])
    weights = ones(200)
    weights[:50] = 2
    # Standardised alike: the mean and the scale are of the photos, whatever they weigh.
    head = probe.refit(features, labels, float32(weights / weights.mean()), 0.01)
    repeated = probe.refit(features[twice], labels[twice], ones(250), 0.01)
    assert np.abs(head.probabilities(features) - repeated.probabilities(features)).max() < 0.05


def test_softmax_of_large_logits_is_finite() -> None:
    assert softmax(np.array([[1e4, 0, -1e4]], np.float32)).tolist() == [[1.0, 0.0, 0.0]]
