"""The head in closed form against heads fitted anew by scikit-learn, and what must hold of any head."""

import math
import tracemalloc
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_digits
from sklearn.linear_model import Ridge as Reference
from sklearn.linear_model import RidgeClassifierCV, RidgeCV
from threadpoolctl import threadpool_limits

from headstart.base.arrays import Floats, Integers, Rows
from headstart.networks import vectors
from headstart.networks.vectors import Vectors
from headstart.training import cholesky, confidence, ridge, threads
from headstart.training.ridge import Ridge


@dataclass(frozen=True, eq=False)
class Photos:
    """What a head is fitted on."""

    features: Floats
    labels: Integers
    groups: Integers
    weights: Floats
    n_classes: int

    def ridge(self) -> Ridge:
        """Return these, to be fitted on."""
        both = Vectors((self.features[:, :1], self.features[:, 1:]))  # as of two backbones
        return Ridge(both, self.labels, self.weights, self.n_classes)

    @property
    def every(self) -> Rows:
        """All rows."""
        return np.arange(len(self.labels))

    @property
    def one_hot(self) -> np.ndarray:
        """The targets."""
        return np.eye(self.n_classes)[self.labels]

    def standardised(self) -> np.ndarray:
        """Return the features less their weighted mean, over the root of their deviation and a little.

        Those of a backbone then have a mean square of one over the root of their number.
        """
        features = self.features.astype(np.float64)
        mean = np.average(features, axis=0, weights=self.weights)
        deviation = np.sqrt(np.average((features - mean) ** 2, axis=0, weights=self.weights))
        varies = deviation > 1e-6 * abs(mean)
        floor = 1e-3 * np.median(deviation[varies])
        scaled = np.where(varies, (features - mean) / np.sqrt(np.where(varies, deviation + floor, 1)), 0)
        for own in (scaled[:, :1], scaled[:, 1:]):
            square = np.average((own**2).mean(axis=1), weights=self.weights)
            own /= np.sqrt(square * np.sqrt(own.shape[1])) if square else 1
        return scaled

    def penalty(self, rows: Rows, strength: float) -> float:
        """Return scikit-learn's alpha for weights of mean one."""
        weights = self.weights[rows].astype(np.float64) / self.weights[rows].mean(dtype=np.float64)
        standardised = self.standardised()[rows]
        centred = standardised - np.average(standardised, axis=0, weights=weights)
        return strength * float((weights[:, None] * centred**2).sum()) / len(rows)

    def refitted(self, rows: Rows, asked: Rows, penalty: float, unit_weight: float) -> np.ndarray:
        """Return the scores of some by scikit-learn's regression on others."""
        weights = self.weights[rows].astype(np.float64) / unit_weight
        found = Reference(penalty, solver="cholesky").fit(
            self.standardised()[rows], self.one_hot[rows], sample_weight=weights
        )
        return np.asarray(found.predict(self.standardised()[asked])).reshape(len(asked), -1)


def made(
    n: int,
    n_features: int,
    n_classes: int = 3,
    *,
    seed: int = 0,
    n_groups: int = 0,
    is_weighted: bool = False,
) -> Photos:
    """Return photos whose features tell their classes, not all of them and on different scales."""
    random = np.random.default_rng(seed)
    labels = np.arange(n) % n_classes
    centres = random.normal(size=(n_classes, n_features))
    features = centres[labels] + random.normal(size=(n, n_features)) * 2
    features = features * 10 ** random.uniform(-2, 2, n_features) + random.normal(size=n_features)
    groups = random.integers(0, n_groups, n) if n_groups else np.arange(n)
    weights = random.uniform(0.2, 3, n) if is_weighted else np.ones(n)
    return Photos(features.astype(np.float32), labels, groups, weights.astype(np.float32), n_classes)


def refitted_without(photos: Photos, rows: Rows, strength: float) -> np.ndarray:
    """Return the scores of each photo by a regression that was fitted anew on those of other groups."""
    penalty = photos.penalty(rows, strength)
    unit_weight = float(photos.weights[rows].mean(dtype=np.float64))
    found = np.zeros((len(rows), photos.n_classes))
    groups = photos.groups[rows]
    for group in np.unique(groups):
        is_asked = groups == group
        if not is_asked.all():
            found[is_asked] = photos.refitted(rows[~is_asked], rows[is_asked], penalty, unit_weight)
    return found


@given(
    n=st.integers(4, 40),
    n_features=st.integers(2, 40),
    n_classes=st.integers(2, 4),
    share_of_groups=st.floats(0.1, 1),
    is_weighted=st.booleans(),
    is_large=st.booleans(),
    is_part=st.booleans(),
    seed=st.integers(0, 1000),
)
@settings(max_examples=60)
def test_left_out_is_fitted_anew(
    n: int,
    n_features: int,
    n_classes: int,
    share_of_groups: float,
    is_weighted: bool,
    is_large: bool,
    is_part: bool,
    seed: int,
) -> None:
    """By photos or by features, whichever are fewer; weighted, in groups, large ones too, and of a part."""
    n_groups = max(1, int(n * share_of_groups))
    photos = made(n, n_features, n_classes, seed=seed, n_groups=n_groups, is_weighted=is_weighted)
    rows = photos.every[seed % 2 :: 2] if is_part and n >= 8 else photos.every
    with pytest.MonkeyPatch.context() as patched:
        if is_large:
            patched.setattr(ridge, "ROWS", 2)
        fitted = photos.ridge()
        if is_part:
            fitted.fit(photos.every, photos.groups)  # whose products another part's are made of
        found = fitted.fit(rows, photos.groups)
    expected = refitted_without(photos, rows, found.head.l2)
    assert np.abs(found.scores - expected).max() < 1e-6 * max(1, np.abs(expected).max())


@pytest.mark.parametrize(("n", "n_features"), [(60, 20), (60, 200)])
def test_left_out_photos_are_those_of_scikit_learns_own_closed_form(n: int, n_features: int) -> None:
    photos = made(n, n_features)
    found = photos.ridge().fit(photos.every, photos.groups)
    penalty = photos.penalty(photos.every, found.head.l2)
    # It leaves out the intercept's part unless features and targets are its own business to centre.
    reference = RidgeCV(alphas=[penalty], store_cv_results=True).fit(photos.standardised(), photos.one_hot)
    errors = (photos.one_hot - found.scores) ** 2
    assert errors == pytest.approx(reference.cv_results_[:, :, 0], abs=1e-6)


@pytest.mark.parametrize("is_weighted", [False, True])
@pytest.mark.parametrize(("n", "n_features"), [(60, 20), (60, 200)])
def test_the_head_is_scikit_learns(n: int, n_features: int, is_weighted: bool) -> None:
    photos = made(n, n_features, is_weighted=is_weighted)
    found = photos.ridge().fit(photos.every, photos.groups)
    penalty = photos.penalty(photos.every, found.head.l2)
    expected = photos.refitted(photos.every, photos.every, penalty, float(photos.weights.mean()))
    logits = found.confidence.logits(expected)
    assert found.head.logits(photos.features) == pytest.approx(logits, abs=2e-4)


def test_answers_are_those_of_scikit_learns_classifier(digits: Photos) -> None:
    """Of the classes' scores the greatest decides, which for 600 digits it does on 1,197 others."""
    rows = np.arange(600)
    found = digits.ridge().fit(rows, digits.groups)
    standardised, asked = digits.standardised(), np.arange(600, 1797)
    reference = RidgeClassifierCV(alphas=[digits.penalty(rows, found.head.l2)])
    expected = reference.fit(standardised[rows], digits.labels[rows]).predict(standardised[asked])
    logits = found.head.logits(digits.features[asked])
    scores = (logits - found.confidence.biases) / found.confidence.scales
    assert (scores.argmax(axis=1) == expected).all()
    assert (logits.argmax(axis=1) == digits.labels[asked]).mean() > 0.9


@pytest.fixture(scope="module")
def digits() -> Photos:
    """1,797 digits as 64 features each, on very different scales, in random order."""
    features, labels = load_digits(return_X_y=True)
    random = np.random.default_rng(0)
    order = random.permutation(len(labels))
    scales = 10 ** random.uniform(-3, 3, features.shape[1])
    ones = np.ones(len(labels), np.float32)
    values = (features[order] * scales + scales).astype(np.float32)
    return Photos(values, labels[order], np.arange(len(labels)), ones, 10)


@pytest.mark.parametrize(("n", "n_features", "start"), [(30, 5, 0.1), (60, 200, 0.316), (40, 300, 10.0)])
def test_the_strength_is_that_of_the_least_left_out_loss_of_all(
    n: int, n_features: int, start: float
) -> None:
    photos = made(n, n_features, seed=1)
    nearest = min(ridge.STRENGTHS, key=lambda one: abs(math.log(one / start)))
    losses = {}
    for strength in ridge.STRENGTHS:
        scores = refitted_without(photos, photos.every, strength)
        losses[strength] = confidence.fit(scores, photos.labels, photos.weights.astype(np.float64)).loss
    found = photos.ridge().fit(photos.every, photos.groups, nearest)
    assert found.head.l2 == min(losses, key=lambda one: losses[one])


def test_a_sample_of_many_photos_chooses(digits: Photos, monkeypatch: pytest.MonkeyPatch) -> None:
    """All are left out in the end, by a penalty that some were asked about."""
    of_all = digits.ridge().fit(digits.every, digits.groups)
    monkeypatch.setattr(ridge, "CHOSEN_BY", 300)
    monkeypatch.setattr(ridge, "OF_A_CLASS", 10)
    found = digits.ridge().fit(digits.every, digits.groups)
    assert found.head.l2 == of_all.head.l2
    assert np.array_equal(found.scores, of_all.scores)
    assert not np.array_equal(found.confidence.scales, of_all.confidence.scales)
    assert np.abs(found.left_out - of_all.left_out).mean() < 0.01


@pytest.mark.parametrize(("n", "n_features"), [(1200, 1100), (1100, 1300)])
def test_many_photos_in_float32_are_left_out_as_in_float64(
    n: int, n_features: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos = made(n, n_features, 5, n_groups=n - 50, is_weighted=True)
    found = photos.ridge().fit(photos.every, photos.groups)
    assert found.scores.dtype == np.float32
    monkeypatch.setattr(ridge, "SMALL", 2000)
    exact = photos.ridge().fit(photos.every, photos.groups)
    assert found.head.l2 == exact.head.l2
    assert np.abs(found.scores - exact.scores).max() < 5e-5  # scales differ by 10 to the fourth
    assert np.abs(found.head.weights - exact.head.weights).max() < 1e-4 * np.abs(exact.head.weights).max()


@pytest.mark.parametrize(("n", "n_features"), [(1200, 1100), (1100, 1300)])
def test_the_head_is_the_same_on_any_number_of_cores(
    n: int, n_features: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos, heads = made(n, n_features), []
    for n_cores in (1, 2, 3):
        monkeypatch.setattr(threads, "core_count", lambda n_cores=n_cores: n_cores)
        with threadpool_limits(n_cores):
            heads.append(photos.ridge().fit(photos.every, photos.groups))
    for other in heads[1:]:
        assert np.array_equal(heads[0].head.weights, other.head.weights)
        assert np.array_equal(heads[0].scores, other.scores)


def test_a_part_is_told_by_itself_in_any_order_of_parts(digits: Photos) -> None:
    """Products of one part are made of another's, and hold nothing of it."""
    parts = [np.arange(0, 1797, 2), np.arange(900), np.arange(300, 1797), np.arange(40), np.arange(1797)]
    fitted = digits.ridge()
    for rows in (*parts, *parts[::-1]):
        alone, one = digits.ridge().fit(rows, digits.groups), fitted.fit(rows, digits.groups)
        assert np.abs(alone.scores - one.scores).max() < 1e-6
        assert fitted.head(rows, digits.groups, one.head.l2).bias == pytest.approx(one.head.bias, abs=1e-3)


def test_a_million_photos_would_take_the_memory_of_one_decomposition() -> None:
    photos = made(40_000, 64, 2)
    fitted = Ridge(Vectors((photos.features,)), photos.labels, photos.weights, 2)
    tracemalloc.start()
    try:
        fitted.head(photos.every, photos.groups, 0.1)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < photos.features.nbytes


def test_one_array_holds_products_and_factor() -> None:
    n = 1500
    photos = made(n, 2000)
    fitted = photos.ridge()
    tracemalloc.start()
    try:
        fitted.head(photos.every, photos.groups, 0.1)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    blocks = 8 * vectors.BLOCK * 2000 * 4
    assert peak < n * n * 4 + blocks


def test_features_that_never_change_leave_the_shares_of_the_classes() -> None:
    labels = np.array([0] * 30 + [1] * 10)
    for n_features in (2, 60):
        features = np.full((40, n_features), 0.3, np.float32)
        found = Ridge(Vectors((features,)), labels, np.ones(40, np.float32), 2).fit(
            np.arange(40), np.arange(40)
        )
        assert not found.head.weights.any()
        assert found.scores[0] == pytest.approx([29 / 39, 10 / 39])
        assert found.head.probabilities(features)[0].argmax() == 0


@pytest.mark.parametrize("n", [300, 30])
@pytest.mark.parametrize(("times", "plus"), [(1e-6, 0), (1e6, 0), (1, 30)])
def test_the_scale_of_the_features_does_not_matter(digits: Photos, n: int, times: float, plus: float) -> None:
    deviation = digits.features[:n].std(axis=0)
    features = (digits.features[:n] / np.where(deviation > 0, deviation, 1)).astype(np.float32)
    other = (features * times + plus).astype(np.float32)
    labels, ones, rows = digits.labels[:n], np.ones(n, np.float32), np.arange(n)
    head, same = (Ridge(Vectors((one,)), labels, ones, 10).head(rows, rows, 0.1) for one in (features, other))
    assert np.abs(head.probabilities(features) - same.probabilities(other)).max() < 1e-3


def test_a_feature_that_hardly_ever_changes_does_not_decide_alone() -> None:
    random = np.random.default_rng(0)
    features = random.normal(size=(100, 4)).astype(np.float32)
    labels = (features[:, 0] > 0).astype(np.int32)
    features[:, 3] = 0
    features[np.argmax(labels), 3] = 1e-9
    found = Ridge(Vectors((features,)), labels, np.ones(100, np.float32), 2)
    head = found.head(np.arange(100), np.arange(100), 0.1)
    features[:, 3] = 1e-3
    assert (head.probabilities(features).argmax(axis=1) == labels).mean() > 0.9


def test_the_same_photos_give_the_same_head_and_stay_as_they_are(digits: Photos) -> None:
    before = digits.features.copy()
    first, second = (digits.ridge().fit(digits.every, digits.groups) for _ in range(2))
    assert np.array_equal(digits.features, before)
    assert np.array_equal(first.head.weights, second.head.weights)
    assert np.array_equal(first.scores, second.scores)


def test_a_head_asks_many_photos_in_blocks(digits: Photos) -> None:
    head = digits.ridge().head(digits.every, digits.groups, 0.1)
    both = Vectors((digits.features,))
    assert head.answers(both) == pytest.approx(head.probabilities(digits.features), abs=1e-6)
    assert head.answers(both.of(digits.every[:0])).shape == (0, 10)


def test_a_head_whose_confidence_is_known_is_the_same(digits: Photos) -> None:
    found = digits.ridge().fit(digits.every, digits.groups)
    known = digits.ridge().sure_head(digits.every, found.head.l2, found.confidence)
    assert np.array_equal(known.weights, found.head.weights)
    assert np.array_equal(known.bias, found.head.bias)


def test_half_the_temperature_doubles_the_logits(digits: Photos) -> None:
    head = digits.ridge().head(digits.every, digits.groups, 0.1)
    logits = head.tempered(0.5).logits(digits.features)
    assert logits == pytest.approx(2 * head.logits(digits.features), rel=1e-4, abs=1e-3)


def test_the_blocks_of_the_factor_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    photos = made(130, 70, n_groups=100)
    expected = photos.ridge().fit(photos.every, photos.groups)
    for block in (1, 7, 64):
        monkeypatch.setattr(cholesky, "BLOCK", block)
        found = photos.ridge().fit(photos.every, photos.groups)
        assert np.abs(found.scores - expected.scores).max() < 1e-9
