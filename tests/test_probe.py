"""The probe against scikit-learn, and what must hold of any head."""

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from headstart import probe

Arrays = tuple[np.ndarray, np.ndarray]


@pytest.fixture(scope="module")
def digits() -> Arrays:
    """1,797 digits as 64 features each, on very different scales, in random order."""
    features, labels = load_digits(return_X_y=True)
    random = np.random.default_rng(0)
    order = random.permutation(len(labels))
    scales = 10 ** random.uniform(-3, 3, features.shape[1])
    return (features[order] * scales + scales).astype(np.float32), labels[order].astype(np.int32)


def ones(n: int) -> np.ndarray:
    return np.ones(n, np.float32)


@pytest.mark.parametrize("l2", [1.0, 0.01, 0.0001])
def test_path_solves_the_same_problem_as_scikit_learn(digits: Arrays, l2: float) -> None:
    features, labels = digits[0][:600], digits[1][:600]
    weights = np.random.default_rng(1).uniform(0.2, 1.8, 600).astype(np.float32)
    head = list(probe.path(features, labels, weights, (1.0, 0.01, l2)))[-1]

    standardised = (features - features.mean(axis=0)) / (features.std(axis=0) + 1e-6)
    # scikit-learn sums the losses where we average them: its C is 1 / (N * l2).
    reference = LogisticRegression(C=1 / (600 * l2), max_iter=10_000, tol=1e-8)
    reference.fit(standardised.astype(np.float64), labels, sample_weight=weights)
    expected = reference.predict_proba(standardised)
    assert np.abs(head.probabilities(features) - expected).max() < 5e-3


def test_fit_takes_the_strength_with_the_least_loss_on_validation(digits: Arrays) -> None:
    features, labels = digits
    train, validation = slice(0, 150), slice(150, 1000)
    head = probe.fit(features[train], labels[train], features[validation], labels[validation], ones(150))
    losses = {
        one.l2: probe.log_loss(one.probabilities(features[validation]), labels[validation])
        for one in probe.path(features[train], labels[train], ones(150), probe.L2_STRENGTHS)
    }
    assert head.l2 == min(losses, key=lambda l2: losses[l2])
    assert probe.L2_STRENGTHS[-1] < head.l2 < probe.L2_STRENGTHS[0]


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


def test_a_photo_of_weight_two_counts_as_two_photos(digits: Arrays) -> None:
    features, labels = digits[0][:200], digits[1][:200]
    twice = np.concatenate([np.arange(200), np.arange(50)])
    weights = ones(200)
    weights[:50] = 2
    # Standardised alike: the mean and the scale are of the photos, whatever they weigh.
    head = probe.refit(features, labels, weights / weights.mean(), 0.01)
    repeated = probe.refit(features[twice], labels[twice], ones(250), 0.01)
    assert np.abs(head.probabilities(features) - repeated.probabilities(features)).max() < 0.05


def test_softmax_of_large_logits_is_finite() -> None:
    assert probe.softmax(np.array([[1e4, 0, -1e4]], np.float32)).tolist() == [[1.0, 0.0, 0.0]]


def test_log_loss_is_the_mean_of_minus_ln() -> None:
    probabilities = np.array([[0.5, 0.5], [0.1, 0.9]], np.float32)
    assert probe.log_loss(probabilities, np.array([0, 1], np.int32)) == pytest.approx(
        (0.693147 + 0.105361) / 2, abs=1e-5
    )
