"""Calibration on real digits, against scikit-learn, theory, and figures worked by hand."""

from collections.abc import Sequence

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import beta
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_digits
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from headstart.statistics import calibration
from headstart.statistics.calibration import Abstention, Calibration
from headstart.statistics.metrics import log_loss, softmax

Floats = NDArray[np.float32]
Arrays = tuple[Floats, NDArray[np.int64]]


def floats(values: Sequence[float] | Sequence[Sequence[float]]) -> Floats:
    return np.array(values, np.float32)


def drawn(n: int, n_classes: int, separation: float, seed: int) -> Arrays:
    """Probabilities that are right as often as they say, and labels: Gaussian classes, Bayes's rule."""
    random = np.random.default_rng(seed)
    labels = random.integers(n_classes, size=n)
    logits = separation**0.5 * random.normal(size=(n, n_classes))
    logits[np.arange(n), labels] += separation
    return softmax(logits.astype(np.float32)), labels


@pytest.fixture(scope="module")
def digits() -> Arrays:
    """A head's probabilities of 1,497 real digits that it was not fitted on, 300 others being enough."""
    features, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(labels))
    features, labels = StandardScaler().fit_transform(features[order]), labels[order]
    head = LogisticRegression(C=1 / 30, max_iter=1000).fit(features[:300], labels[:300])
    return head.predict_proba(features[300:]).astype(np.float32), labels[300:]


@pytest.mark.parametrize("truth", [0.5, 1.0, 2.0])
def test_temperature_undoes_another(truth: float) -> None:
    probabilities, labels = drawn(4000, 5, 5.0, seed=0)
    distorted = calibration.apply(probabilities, 1 / truth)
    assert calibration.temperature(distorted, labels) == pytest.approx(truth, rel=0.05)


def test_temperature_agrees_with_scikit_learn(digits: Arrays) -> None:
    probabilities, labels = digits
    # A logistic regression with unit weights gives back as logits whatever it is fed.
    identity = LogisticRegression().fit(np.eye(10), np.arange(10))
    identity.coef_, identity.intercept_ = np.eye(10), np.zeros(10)
    scaled = CalibratedClassifierCV(FrozenEstimator(identity), method="temperature")
    scaled.fit(np.log(probabilities.astype(np.float64)), labels)
    expected = scaled.predict_proba(np.log(probabilities.astype(np.float64)))
    got = calibration.apply(probabilities, calibration.temperature(probabilities, labels))
    assert np.abs(got - expected).max() < 0.01


def test_temperature_lowers_the_log_loss_of_other_photos(digits: Arrays) -> None:
    probabilities, labels = digits
    fitted = calibration.temperature(probabilities[:400], labels[:400])
    assert fitted < 0.9  # a strong penalty makes the head less sure than it could be
    before = log_loss(labels[400:], probabilities[400:])
    after = log_loss(labels[400:], calibration.apply(probabilities[400:], fitted))
    assert after < 0.95 * before
    ece = calibration.reliability(probabilities[400:], labels[400:]).ece
    assert calibration.reliability(calibration.apply(probabilities[400:], fitted), labels[400:]).ece < ece


def test_photos_that_all_are_right_do_not_make_certain() -> None:
    probabilities = np.tile(floats([[0.9, 0.06, 0.04]]), (300, 1))
    fitted = calibration.temperature(probabilities, np.zeros(300, int))
    assert 0.3 < fitted < 0.6
    assert calibration.temperature(probabilities[:1], np.zeros(1, int)) == pytest.approx(1, abs=0.1)


def test_temperature_of_certain_mistakes_is_bounded() -> None:
    probabilities, labels = np.tile(floats([[1, 0]]), (1000, 1)), np.arange(1000) % 2
    assert 10 < calibration.temperature(probabilities, labels) <= 20.001


def test_apply_keeps_order_and_sums() -> None:
    probabilities, _ = drawn(200, 7, 4.0, seed=1)
    probabilities[0] = np.eye(7)[3]
    before = probabilities.copy()
    assert np.abs(calibration.apply(probabilities, 1.0) - probabilities).max() < 1e-6
    for temperature in (0.05, 0.5, 3.0, 20.0):
        got = calibration.apply(probabilities, temperature)
        assert got.dtype == np.float32
        assert np.isfinite(got).all()
        assert np.abs(got.sum(axis=1) - 1).max() < 1e-5
        assert (got.argmax(axis=1) == probabilities.argmax(axis=1)).all()
    assert np.array_equal(probabilities, before)


def test_reliability_worked_by_hand() -> None:
    # Two photos in (0.6, 0.667], one right: mean 0.64, off by 0.14. Two in (0.933, 1], both right: 0.975.
    confidence = floats([0.63, 0.65, 0.95, 1.0])
    probabilities = np.stack([confidence, 1 - confidence], axis=1)
    got = calibration.reliability(probabilities, np.array([0, 1, 0, 0]))
    assert got.ece == pytest.approx((2 * 0.14 + 2 * 0.025) / 4)
    assert [one.n_images for one in got.bins] == [0] * 9 + [2] + [0] * 4 + [2]
    tenth = got.bins[9]
    assert (tenth.low, tenth.high) == pytest.approx((0.6, 2 / 3))
    assert tenth.confidence == pytest.approx(0.64)
    assert tenth.accuracy == 0.5
    assert (got.bins[0].confidence, got.bins[0].accuracy) == (None, None)


def test_a_bin_includes_its_upper_edge() -> None:
    # 0.2 is 3/15, the upper edge of the third bin; float32 would put it a hair above.
    got = calibration.reliability(np.full((1, 5), 0.2), np.array([0]))
    assert [one.n_images for one in got.bins].index(1) == 2


def test_reliability_of_what_is_right_as_often_as_it_says() -> None:
    got = calibration.reliability(*drawn(20_000, 5, 4.0, seed=2))
    assert got.ece < 0.01
    assert sum(one.n_images for one in got.bins) == 20_000


@pytest.mark.parametrize(("max_error", "n"), [(0.01, 299), (0.05, 59), (0.1, 29)])
def test_photos_needed(max_error: float, n: int) -> None:
    # Hanley and Lippman-Hand, JAMA 249 (1983): the bound on what never occurred is near 3 / n.
    assert calibration.photos_needed(max_error) == n
    confidence, correct = np.linspace(0.5, 1, n, dtype=np.float32), np.ones(n, bool)
    found = calibration.abstention(confidence, correct, max_error)
    assert found is not None
    assert (found.threshold, found.validation.coverage, found.validation.risk) == (0.5, 1.0, 0.0)
    assert calibration.abstention(confidence[1:], correct[1:], max_error) is None


def test_a_mistake_among_few_sure_photos_leaves_no_promise() -> None:
    confidence, correct = np.linspace(0.5, 1, 299, dtype=np.float32), np.ones(299, bool)
    correct[150] = False
    assert calibration.abstention(confidence, correct, 0.01) is None


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("n", [30, 120, 304, 500, 2000])
def test_what_falls_short_agrees_with_what_is_promised(n: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    confidence = random.uniform(0.5, 1, n).astype(np.float32).round(2)  # with many alike
    correct = random.uniform(size=n) < 1 - 0.05 * (1 + seed) * (1.02 - confidence)
    correct[confidence.argmax()] = False
    for max_error in (0.3, 0.1, 0.03, 0.01, 0.003):
        if calibration.abstention(confidence, correct, max_error) is not None:
            continue
        found = calibration.shortfall(confidence, correct, max_error)
        assert found.n_surest <= n
        assert found.n_wrong or n < found.n_needed
        # The bound of Clopper and Pearson: what was counted does not bear the promise out.
        assert beta.ppf(0.975, found.n_wrong + 1, max(found.n_surest - found.n_wrong, 1e-9)) > max_error
        if found.n_enough is not None:
            assert n < found.n_enough <= calibration.MOST
            rows = np.arange(found.n_enough) * n // found.n_enough
            assert calibration.abstention(confidence[rows], correct[rows], max_error) is not None
        if found.least_error is not None:
            assert found.least_error > max_error or found.least_error in calibration.LADDER
            assert calibration.abstention(confidence, correct, found.least_error) is not None


def test_a_wrong_label_among_many_sure_photos_does_no_harm() -> None:
    confidence, correct = np.linspace(0.5, 1, 2000, dtype=np.float32), np.ones(2000, bool)
    correct[-1] = False
    found = calibration.abstention(confidence, correct, 0.01)
    assert found is not None
    assert found.validation.coverage > 0.9


def test_equal_confidences_are_accepted_together() -> None:
    confidence = np.repeat(floats([0.6, 1.0]), [300, 700])
    correct = np.arange(1000) >= 150  # half of the unsure ones are wrong
    found = calibration.abstention(confidence, correct, 0.01)
    assert found is not None
    assert (found.threshold, found.validation.n_accepted, found.validation.n_wrong) == (1.0, 700, 0)


@pytest.mark.parametrize(("n", "max_error"), [(150, 0.05), (600, 0.05), (600, 0.02)])
def test_the_risk_of_what_is_answered_is_as_promised(n: int, max_error: float) -> None:
    everyone, labels = drawn(100_000, 5, 6.0, seed=3)
    confidence, correct = everyone.max(axis=1), everyone.argmax(axis=1) == labels
    random = np.random.default_rng(0)
    broken, coverages = 0, []
    for _ in range(200):
        sample = random.integers(len(labels), size=n)
        found = calibration.abstention(confidence[sample], correct[sample], max_error)
        if found is not None:
            truth = calibration.select(confidence, correct, found.threshold)
            assert truth.risk is not None
            broken += truth.risk > max_error
            coverages.append(truth.coverage)
    assert broken <= 0.05 * 200
    assert np.mean(coverages) > 0.3


def test_select_counts() -> None:
    confidence, correct = floats([0.9, 0.8, 0.7, 0.6]), np.array([True, False, True, False])
    got = calibration.select(confidence, correct, 0.7)
    assert (got.n_images, got.n_accepted, got.n_wrong, got.coverage, got.risk) == (4, 3, 1, 0.75, 1 / 3)
    assert got.risk_interval is not None
    # Wilson (1927) for 1 of 3.
    assert got.risk_interval.low == pytest.approx(0.0615, abs=1e-4)
    assert got.risk_interval.high == pytest.approx(0.7923, abs=1e-4)
    none = calibration.select(confidence, correct, 0.95)
    assert (none.coverage, none.risk, none.risk_interval) == (0.0, None, None)


def test_conformal_takes_the_rank_that_theory_gives() -> None:
    # 95% of 19 + 1 photos is all 19: the least probability of a label. 18 photos are too few.
    given = np.linspace(0.1, 0.9, 19, dtype=np.float32)
    probabilities = np.stack([given, 1 - given], axis=1)
    labels = np.zeros(19, int)
    assert calibration.conformal(probabilities, labels).threshold == given[0]
    assert calibration.conformal(probabilities, labels, 0.9).threshold == given[1]
    short = calibration.conformal(probabilities[1:], labels[1:])
    assert (short.threshold, short.n_images) == (0.0, 18)
    assert short.sets(floats([[1, 0]])).tolist() == [[True, True]]


def test_a_set_always_holds_the_likeliest_class() -> None:
    sure = calibration.Conformal(0.9, 0.7, "lac", 100)
    assert sure.sets(floats([[0.2, 0.5, 0.3], [0.8, 0.1, 0.1]])).tolist() == [
        [False, True, False],
        [True, False, False],
    ]


def test_conformal_coverage_follows_its_beta_distribution() -> None:
    # Vovk, Conditional validity of inductive conformal predictors (2012): with n photos and rank k the
    # coverage of new ones is Beta(k, n + 1 - k) distributed.
    everyone, labels = drawn(50_000, 10, 4.0, seed=4)
    random = np.random.default_rng(0)
    coverages = []
    for _ in range(300):
        sample = random.integers(len(labels), size=99)
        found = calibration.conformal(everyone[sample], labels[sample], 0.9)
        coverages.append(calibration.measure(found.sets(everyone[:5000]), labels[:5000]).coverage)
    law = beta(90, 10)
    assert np.mean(coverages) == pytest.approx(law.mean(), abs=0.008)
    assert np.std(coverages) == pytest.approx(law.std(), rel=0.2)


def test_all_of_it_holds_on_digits_held_out(digits: Arrays) -> None:
    # The temperature too is fitted on the photos that the threshold and the sets are taken from.
    probabilities, labels = digits
    random = np.random.default_rng(0)
    coverages, wrong, answered = [], 0, 0
    for _ in range(100):
        order = random.permutation(len(labels))
        validation, test = order[:400], order[400:]
        found = calibration.calibrate(probabilities[validation], labels[validation], max_error=0.02)
        calibrated = calibration.apply(probabilities[test], found.temperature)
        quality = calibration.measure(found.conformal.sets(calibrated), labels[test])
        coverages.append(quality.coverage)
        if found.abstention is not None:
            correct = calibrated.argmax(axis=1) == labels[test]
            kept = calibration.select(calibrated.max(axis=1), correct, found.abstention.threshold)
            answered, wrong = answered + kept.n_accepted, wrong + kept.n_wrong
    assert np.mean(coverages) == pytest.approx(0.95, abs=0.01)
    assert answered > 40 * 1097
    assert wrong / answered < 0.02


def test_measure_of_sets() -> None:
    sets = np.array([[True, False, False], [True, True, False], [False, True, True], [False, False, True]])
    got = calibration.measure(sets, np.array([0, 1, 0, 2]))
    assert (got.n_images, got.coverage, got.mean_size, got.single) == (4, 0.75, 1.5, 0.5)
    # Wilson (1927) for 3 of 4.
    assert (got.interval.low, got.interval.high) == pytest.approx((0.3006, 0.9544), abs=1e-4)


def test_refusal_takes_the_rank_that_theory_gives() -> None:
    # 95% of 19 + 1 photos is all 19: the highest score. 18 photos are too few.
    novelty = np.linspace(0.1, 0.9, 19, dtype=np.float32)
    assert calibration.refusal(novelty[::-1], 0.05) == calibration.Refusal(float(novelty[-1]), 0.05, 19)
    assert calibration.refusal(novelty, 0.1) == calibration.Refusal(float(novelty[-2]), 0.1, 19)
    assert calibration.refusal(novelty[1:], 0.05) is None
    many = np.linspace(0.1, 0.9, 299, dtype=np.float32)
    assert calibration.refusal(many) == calibration.Refusal(float(many[-3]), 0.01, 299)


def test_of_photos_too_few_for_what_was_asked_no_more_is_promised_than_they_bear_out() -> None:
    novelty = np.linspace(0.1, 0.9, 49, dtype=np.float32)
    assert calibration.refusal(novelty, 0.01) == calibration.Refusal(float(novelty[-1]), 1 / 50, 49)
    assert calibration.refusal(novelty, 0.04) == calibration.Refusal(float(novelty[-2]), 0.04, 49)
    assert calibration.refusal(novelty[:9], 0.1) == calibration.Refusal(float(novelty[8]), 0.1, 9)
    assert calibration.refusal(novelty[:18], 0.01) is None


@pytest.mark.parametrize(
    ("n", "part", "expected"), [(19, 0.05, 0.05), (60, 0.05, 0.05), (341, 0.01, 0.01), (60, 0.01, 1 / 61)]
)
def test_as_many_known_photos_are_refused_as_promised(n: int, part: float, expected: float) -> None:
    random = np.random.default_rng(0)
    refused = []
    for _ in range(400):
        found = calibration.refusal(random.gamma(2, 1, n).astype(np.float32), part)
        assert found is not None
        assert found.part >= expected
        refused.append((random.gamma(2, 1, 1000) > found.threshold).mean())
    # By so much at most; a little less where (n + 1) times the part is no whole number.
    assert 0.85 * expected - 0.004 < np.mean(refused) < expected + 0.004


def test_what_was_refused_is_counted() -> None:
    got = calibration.refused(np.linspace(0, 1, 10, dtype=np.float32), 0.7)
    assert (got.n_images, got.n_refused, got.part) == (10, 3, 0.3)
    # Wilson (1927) for 3 of 10.
    assert (got.interval.low, got.interval.high) == pytest.approx((0.1078, 0.6032), abs=1e-4)


def test_a_calibration_refuses_where_it_is_given_scores(digits: Arrays) -> None:
    scores = np.linspace(0, 1, 99, dtype=np.float32)
    assert calibration.calibrate(*digits).refusal is None
    assert calibration.calibrate(*digits, novelty=scores).refusal == calibration.refusal(scores, 0.01)
    strict = calibration.calibrate(*digits, max_refused=0.05, novelty=scores).refusal
    assert strict == calibration.refusal(scores, 0.05)


def test_survives_json(digits: Arrays) -> None:
    novelty = np.linspace(0, 1, 99, dtype=np.float32)
    found = calibration.calibrate(digits[0][:400], digits[1][:400], max_error=0.05, novelty=novelty)
    assert isinstance(found.abstention, Abstention)
    assert found.refusal
    assert msgspec.json.decode(msgspec.json.encode(found), type=Calibration) == found
    shape = calibration.reliability(*digits)
    assert msgspec.json.decode(msgspec.json.encode(shape), type=calibration.Reliability) == shape
