"""Intervals and tests against published figures, statsmodels and SciPy, and by simulation."""

from collections import Counter

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import binom, bootstrap
from sklearn.metrics import f1_score

from headstart.statistics import metrics, significance
from headstart.statistics.significance import Comparison, Intervals

Arrays = tuple[NDArray[np.int64], NDArray[np.float64]]

ARTICLE = {"MobileNetV2": 0.9624, "EfficientNetV2": 0.9766, "ResNet50V2": 0.9717}
"""Published accuracies of three frozen networks on photos of animals; the photos were not published."""


def classified(n: int, n_classes: int, accuracy: float, seed: int) -> Arrays:
    """N labels, and probabilities that are more often in doubt where they are wrong."""
    random = np.random.default_rng(seed)
    labels = random.integers(n_classes, size=n)
    is_right = random.random(n) < accuracy
    predicted = np.where(is_right, labels, (labels + random.integers(1, n_classes, n)) % n_classes)
    scores = random.normal(size=(n, n_classes))
    scores[np.arange(n), predicted] = scores.max(axis=1) + random.exponential(np.where(is_right, 3, 1))
    powers = np.exp(scores)
    return labels, powers / powers.sum(axis=1, keepdims=True)


def paired(n_only_a: int, n_only_b: int, n: int) -> dict[str, NDArray[np.bool_]]:
    """Two candidates on n photos that agree on all the others."""
    a, b = np.ones(n, bool), np.ones(n, bool)
    b[:n_only_a] = False
    a[n_only_a : n_only_a + n_only_b] = False
    return {"a": a, "b": b}


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_of_newcombes_table(successes: int, n: int, low: float, high: float) -> None:
    # Newcombe, Statistics in Medicine 17 (1998) 857-872, table I, method 3.
    got = significance.wilson(successes, n)
    assert (got.low, got.high) == pytest.approx((low, high), abs=5e-5)
    assert got.level == 0.95


def test_wilson_agrees_with_statsmodels() -> None:
    proportion = pytest.importorskip("statsmodels.stats.proportion")
    for successes, n, level in [(674, 700, 0.95), (372, 372, 0.95), (5, 1400, 0.99), (0, 1, 0.9)]:
        expected = proportion.proportion_confint(successes, n, alpha=1 - level, method="wilson")
        got = significance.wilson(successes, n, level)
        assert (got.low, got.high) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("n", [100, 372])
def test_wilson_covers_as_it_says(n: int) -> None:
    # Summed over all outcomes, not simulated; averaged over true accuracies, for it swings with each.
    found = [significance.wilson(successes, n) for successes in range(n + 1)]
    shares = np.linspace(0.8, 0.99, 39)
    held = np.array([[share in one for one in found] for share in shares])
    coverage = (binom.pmf(np.arange(n + 1), n, shares[:, None]) * held).sum(axis=1)
    assert 0.945 < coverage.mean() < 0.96
    assert coverage.min() > 0.9


@pytest.mark.parametrize(
    ("only_a", "only_b", "p_value"),
    [
        (2, 9, 0.06543),  # Fay's vignette of the R package exact2x2
        (11, 1, 0.00634765625),  # mlxtend's documentation of mcnemar, scenario B
        (70, 59, 0.378688),  # R's mcnemar.exact, as quoted in the tests of statsmodels
        (80, 59, 0.08944448),
        (30, 60, 0.00206),
        (10, 30, 0.002221487),
        (10, 10, 1.0),
        (0, 0, 1.0),
    ],
)
def test_mcnemar_of_published_examples(only_a: int, only_b: int, p_value: float) -> None:
    assert significance.mcnemar(only_a, only_b) == pytest.approx(p_value, rel=1e-3)
    assert significance.mcnemar(only_a, only_b) == significance.mcnemar(only_b, only_a)


def test_mcnemar_agrees_with_statsmodels() -> None:
    tables = pytest.importorskip("statsmodels.stats.contingency_tables")
    for only_a, only_b in [(0, 5), (3, 4), (25, 15), (101, 70)]:
        expected = tables.mcnemar([[500, only_a], [only_b, 20]], exact=True).pvalue
        assert significance.mcnemar(only_a, only_b) == pytest.approx(expected)


def test_holm_of_published_examples() -> None:
    # Wikipedia, Holm-Bonferroni method: of these four, the first and the last are rejected at 0.05.
    assert significance.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx((0.03, 0.06, 0.06, 0.02))
    # The documentation of stdlib's padjust.
    got = significance.holm([0.319, 0.201, 0.4, 0.374, 0.113])
    assert got == pytest.approx((0.957, 0.804, 0.957, 0.957, 0.565))
    assert significance.holm([]) == ()


def test_holm_agrees_with_statsmodels() -> None:
    multitest = pytest.importorskip("statsmodels.stats.multitest")
    random = np.random.default_rng(0)
    for n in (1, 2, 7, 45):
        p_values = (random.random(n) ** 3).round(2).tolist()
        assert significance.holm(p_values) == pytest.approx(
            multitest.multipletests(p_values, method="holm")[1]
        )


def test_log_loss_interval_agrees_with_scipys_bca() -> None:
    labels, probabilities = classified(80, 4, 0.85, seed=1)
    losses = -np.log(probabilities[np.arange(80), labels])
    expected = bootstrap((losses,), np.mean, n_resamples=20_000, rng=0).confidence_interval
    got = significance.log_loss_interval(labels, probabilities)
    width = expected.high - expected.low
    assert (got.low, got.high) == pytest.approx((expected.low, expected.high), abs=0.05 * width)
    assert metrics.evaluate(labels, probabilities, ("a", "b", "c", "d")).log_loss in got


def test_macro_f1_interval_agrees_with_scipys_bca() -> None:
    labels, probabilities = classified(60, 3, 0.8, seed=2)

    def macro_f1(actual: NDArray[np.int64], predicted: NDArray[np.int64]) -> float:
        return float(f1_score(actual, predicted, average="macro"))

    expected = bootstrap(
        (labels, probabilities.argmax(axis=1)),
        macro_f1,
        paired=True,
        vectorized=False,
        n_resamples=800,
        rng=0,
    ).confidence_interval
    got = significance.macro_f1_interval(labels, probabilities)
    width = expected.high - expected.low
    assert (got.low, got.high) == pytest.approx((expected.low, expected.high), abs=0.1 * width)


@pytest.mark.slow
@pytest.mark.parametrize(("n", "n_classes", "accuracy"), [(372, 10, 0.85), (700, 5, 0.97), (500, 25, 0.8)])
def test_bootstrap_intervals_cover_as_they_say(n: int, n_classes: int, accuracy: float) -> None:
    labels, probabilities = classified(200_000, n_classes, accuracy, seed=0)
    truth = metrics.evaluate(labels, probabilities, tuple(map(str, range(n_classes))))
    samples = [classified(n, n_classes, accuracy, seed) for seed in range(1, 1001)]
    macro_f1 = np.mean([truth.macro_f1 in significance.macro_f1_interval(*one) for one in samples])
    log_loss = np.mean([truth.log_loss in significance.log_loss_interval(*one) for one in samples])
    assert 0.93 < macro_f1 < 0.97
    assert 0.93 < log_loss < 0.97


@pytest.mark.slow
@pytest.mark.parametrize(
    ("n", "only_a", "only_b"), [(372, 0.08, 0.04), (700, 0.02, 0.01), (1400, 0.03, 0.01), (150, 0.06, 0.02)]
)
def test_intervals_of_a_difference_cover_as_they_say(n: int, only_a: float, only_b: float) -> None:
    random = np.random.default_rng(0)
    held = []
    for _ in range(1000):
        counts = random.multinomial(n, [only_a, only_b, 1 - only_a - only_b])
        [one] = significance.compare_all(paired(counts[0], counts[1], n), "b")
        held.append(only_a - only_b in one.interval)
    assert 0.93 < np.mean(held) < 0.97


def test_unclear_is_said_of_equals() -> None:
    drawn = np.random.default_rng(0).multinomial(120, [0.08, 0.08, 0.84], size=1000)
    decisions = Counter[str]()
    for (only_a, only_b, _), n_times in Counter(map(tuple, drawn.tolist())).items():
        decisions[significance.compare_all(paired(only_a, only_b, 120), "b")[0].decision] += n_times
    assert decisions["unclear"] >= 950
    assert {"better", "worse"} < set(decisions)


def test_unclear_is_said_of_every_pair_of_many_equals() -> None:
    random = np.random.default_rng(0)
    n_all_unclear = 0
    for _ in range(100):
        correct = {str(name): random.random(300) < 0.9 for name in range(6)}
        n_all_unclear += all(one.decision == "unclear" for one in significance.compare_all(correct))
    assert n_all_unclear >= 95


def test_a_difference_that_is_there_is_found() -> None:
    [one] = significance.compare_all(paired(40, 10, 400), "b")
    assert (one.a, one.b, one.n_images, one.n_only_a, one.n_only_b) == ("a", "b", 400, 40, 10)
    assert one.difference == pytest.approx(0.075)
    assert one.decision == "better"
    # Newcombe's paired score interval, method 10 (1998), gives 0.0402 to 0.1106 for these counts.
    assert (one.interval.low, one.interval.high) == pytest.approx((0.0402, 0.1106), abs=0.006)
    [other] = significance.compare_all(paired(10, 40, 400), "b")
    assert (other.decision, other.difference) == ("worse", -one.difference)


@given(only_a=st.integers(0, 40), only_b=st.integers(0, 40), n=st.integers(80, 500), m=st.integers(1, 4))
def test_the_interval_leaves_out_0_just_when_they_are_told_apart(
    only_a: int, only_b: int, n: int, m: int
) -> None:
    pair = paired(only_a, only_b, n)
    copies = {f"copy {number}": pair["a"] for number in range(m)}
    for one in significance.compare_all({**copies, "b": pair["b"]}, "b"):
        assert (one.decision == "unclear") == (0 in one.interval)
        assert one.decision == "unclear" or one.p_adjusted <= 0.05
        assert one.p_adjusted == pytest.approx(min(1, one.p_value * m))


def test_the_interval_of_the_undecided_is_stretched_to_0() -> None:
    [one] = significance.compare_all(paired(12, 3, 300), "b")
    assert (one.decision, one.interval.low > 0) == ("better", True)
    pair = paired(12, 3, 300)
    corrected = significance.compare_all({**pair, "like b": pair["b"]}, "b")[0]
    assert (corrected.p_value, corrected.p_adjusted) == (one.p_value, 2 * one.p_value)
    assert (corrected.decision, corrected.interval.low) == ("unclear", 0.0)
    assert corrected.interval.high == one.interval.high


def test_no_photo_told_apart_is_no_proof_of_equality() -> None:
    [one] = significance.compare_all(paired(0, 0, 50), "b")
    assert (one.difference, one.p_value, one.decision) == (0.0, 1.0, "unclear")
    # 3 / n is the 95% bound on the share of what never occurred (Hanley and Lippman-Hand, JAMA 249, 1983).
    assert one.interval.low == pytest.approx(-3 / 50, abs=0.03)
    assert one.interval.high == pytest.approx(3 / 50, abs=0.03)


def test_against_a_reference_there_are_fewer_questions_than_among_all() -> None:
    random = np.random.default_rng(0)
    correct = {name: random.random(200) < 0.9 for name in "abcd"}
    against = significance.compare_all(correct, "b")
    assert [(one.a, one.b) for one in against] == [("a", "b"), ("c", "b"), ("d", "b")]
    among = significance.compare_all(correct)
    pairs = [(one.a, one.b) for one in among]
    assert pairs == [("a", "b"), ("a", "c"), ("a", "d"), ("b", "c"), ("b", "d"), ("c", "d")]
    assert [one.p_adjusted for one in among] == list(significance.holm([one.p_value for one in among]))
    assert significance.compare_all({"a": correct["a"]}, "a") == ()
    assert significance.compare_all({"a": correct["a"]}) == ()


def test_copies_count_as_one_photo() -> None:
    # Four copies each of 60 photos, 3 of which only a gets right: 12 to 0 by photo, 3 to 0 by group.
    once = paired(3, 0, 60)
    copied = {name: np.repeat(one, 4) for name, one in once.items()}
    groups = np.repeat(np.arange(60), 4)
    assert significance.compare_all(copied, "b")[0].decision == "better"
    grouped = significance.compare_all(copied, "b", groups=groups)[0]
    assert grouped.decision == "unclear"
    assert grouped.interval.high == pytest.approx(
        significance.compare_all(once, "b")[0].interval.high, abs=0.02
    )

    labels, probabilities = classified(60, 3, 0.8, seed=0)
    alone = significance.intervals(labels, probabilities)
    by_group = significance.intervals(np.repeat(labels, 4), np.repeat(probabilities, 4, axis=0), groups)
    assert by_group.macro_f1 == alone.macro_f1
    assert by_group.log_loss == alone.log_loss
    assert by_group.accuracy.low == pytest.approx(alone.accuracy.low, abs=0.03)
    assert by_group.accuracy.high == pytest.approx(alone.accuracy.high, abs=0.03)


def test_groups_of_one_photo_are_no_groups() -> None:
    correct, groups = np.arange(60) > 4, np.random.default_rng(0).permutation(60)
    assert significance.accuracy_interval(correct, groups) == significance.wilson(55, 60)


def test_intervals_hold_what_they_are_around() -> None:
    labels, probabilities = classified(300, 4, 0.9, seed=3)
    labels[labels == 2] = 1
    scores = metrics.evaluate(labels, probabilities, ("a", "b", "never", "d"))
    got = significance.intervals(labels, probabilities)
    assert scores.accuracy in got.accuracy
    assert scores.macro_f1 in got.macro_f1
    assert scores.log_loss in got.log_loss
    assert [one is None for one in got.recalls] == [False, False, True, False]
    n_found, n_images = scores.confusion[3][3], scores.per_class[3].n_images
    assert got.recalls[3] == significance.wilson(n_found, n_images)


@pytest.mark.parametrize("n", [1, 2, 372])
def test_without_a_mistake_nothing_is_certain(n: int) -> None:
    labels = np.arange(n) % 2
    got = significance.intervals(labels, np.eye(2)[labels])
    assert got.accuracy == significance.wilson(n, n)
    assert (got.macro_f1.low, got.macro_f1.high) == pytest.approx((got.accuracy.low, 1))
    # Were the photos that Wilson leaves room for all as wrong as can be, at a loss of 15.94 each:
    assert got.log_loss.low == 0
    assert got.log_loss.high == pytest.approx((1 - got.accuracy.low) * 15.9424, abs=1e-4)
    wrong = significance.intervals(labels, np.eye(2)[1 - labels])
    assert wrong.macro_f1.low == 0
    assert wrong.macro_f1.high == pytest.approx(significance.wilson(0, n).high)


def test_a_higher_level_is_a_wider_interval() -> None:
    labels, probabilities = classified(200, 4, 0.9, seed=4)
    narrow = significance.intervals(labels, probabilities, level=0.8)
    wide = significance.intervals(labels, probabilities, level=0.99)
    for inner, outer in zip(
        (narrow.accuracy, narrow.macro_f1, narrow.log_loss),
        (wide.accuracy, wide.macro_f1, wide.log_loss),
        strict=True,
    ):
        assert outer.low < inner.low < inner.high < outer.high


def test_is_repeatable_and_leaves_its_input_alone() -> None:
    labels, probabilities = classified(100, 3, 0.9, seed=5)
    before = labels.copy(), probabilities.copy()
    first, second = (significance.intervals(labels, probabilities, seed=1) for _ in range(2))
    assert first == second != significance.intervals(labels, probabilities, seed=2)
    assert np.array_equal(labels, before[0])
    assert np.array_equal(probabilities, before[1])


def test_survives_json() -> None:
    labels, probabilities = classified(50, 3, 0.9, seed=6)
    for record, kind in (
        (significance.intervals(labels, probabilities), Intervals),
        (significance.compare_all(paired(3, 1, 50)), tuple[Comparison, ...]),
    ):
        assert msgspec.json.decode(msgspec.json.encode(record), type=kind) == record


@pytest.mark.parametrize("n", [700, 1000, 1100, 1150, 1400])
def test_the_articles_networks_could_not_be_told_apart(n: int) -> None:
    # The counts are all that was published. With mistakes that have nothing to do with each other, a share
    # of wrong_b of what a got right is only a's, and no pair differs after the correction.
    right = {name: round(accuracy * n) for name, accuracy in ARTICLE.items()}

    def only(a: str, b: str) -> int:
        return round(right[a] * (n - right[b]) / n)

    pairs = [
        ("EfficientNetV2", "MobileNetV2"),
        ("EfficientNetV2", "ResNet50V2"),
        ("ResNet50V2", "MobileNetV2"),
    ]
    unrelated = significance.holm([significance.mcnemar(only(a, b), only(b, a)) for a, b in pairs])
    assert min(unrelated) > 0.1
    # Were every mistake of the better one made by the other too, the first pair would differ at any size,
    # the second only from 1,150 photos on.
    shared = significance.holm([significance.mcnemar(right[a] - right[b], 0) for a, b in pairs])
    assert shared[0] < 0.01
    assert (shared[1] < 0.05) == (n >= 1150)


@pytest.mark.parametrize(
    ("only_a", "only_b", "n", "level", "low"),
    [
        # R's PropCIs::scoreci.mp(b, c, n), which gives the interval of (c - b) / n.
        (60, 20, 1000, 0.975, 0.0231),
        (20, 60, 1000, 0.975, -0.0584),
        (28, 25, 618, 0.95, -0.0148),
        (25, 28, 618, 0.95, -0.0247),
    ],
)
def test_tangos_bound_is_that_of_propcis(only_a: int, only_b: int, n: int, level: float, low: float) -> None:
    assert round(significance.tango(only_a, only_b, n, level), 4) == low


@given(only_a=st.integers(0, 30), only_b=st.integers(0, 30), rest=st.integers(0, 300))
def test_tangos_bound_solves_the_score_test(only_a: int, only_b: int, rest: int) -> None:
    """At the bound the score test, with the likeliest shares sought by brute force, is just at its level."""
    n = only_a + only_b + rest
    if not n:
        return
    bound = significance.tango(only_a, only_b, n)
    assert -1 <= bound <= (only_a - only_b) / n
    if bound == -1:
        return
    shares = np.linspace(max(0.0, -bound), (1 - bound) / 2, 40_001)[
        1:-1
    ]  # of only b; a has it plus the bound
    with np.errstate(divide="ignore", invalid="ignore"):
        likelihood = (
            only_a * np.log(shares + bound) + only_b * np.log(shares) + rest * np.log1p(-2 * shares - bound)
        )
    share = shares[np.nanargmax(likelihood)]
    score = (only_a - only_b - n * bound) / np.sqrt(n * (2 * share + bound - bound**2))
    assert score == pytest.approx(1.6449, abs=0.02)


@pytest.mark.parametrize("shared", [0.0, 0.7])
def test_the_true_difference_is_above_the_bound_in_95_of_100_samples(shared: float) -> None:
    wrong_a, wrong_b = 0.12, 0.1
    both = shared * wrong_b
    draws = np.random.default_rng(1).multinomial(
        300, [wrong_b - both, wrong_a - both, 1 - wrong_a - wrong_b + 2 * both], size=1000
    )
    held = [significance.tango(int(a), int(b), 300) <= wrong_b - wrong_a for a, b, _ in draws]
    assert np.mean(held) >= 0.93


@pytest.mark.parametrize(
    ("a", "b", "low", "high"),
    [
        # Newcombe, Statistics in Medicine 17 (1998), p. 877, examples (a), (b), (e) and (h), method 10.
        ((56, 70), (48, 80), 0.0524, 0.3339),
        ((9, 10), (3, 10), 0.1705, 0.8090),
        ((5, 56), (0, 29), -0.0381, 0.1926),
        ((10, 10), (0, 10), 0.6075, 1.0000),
    ],
)
def test_newcombes_published_examples(
    a: tuple[int, int], b: tuple[int, int], low: float, high: float
) -> None:
    found = significance.newcombe(a, b)
    assert (round(found.low, 4), round(found.high, 4)) == (low, high)


def test_what_cannot_be_compared_is_refused() -> None:
    three, two = np.ones(3, bool), np.ones(2, bool)
    for correct, reference, groups, message in (
        ({"a": three, "b": three}, "c", None, "the reference is 'c'; expected one of a, b"),
        (
            {"a": three, "b": two},
            "a",
            None,
            "numbers of photos are [2, 3]; expected a single one, of 1 or more",
        ),
        (
            {"a": three},
            None,
            np.zeros(2, int),
            "numbers of photos are [2, 3]; expected a single one, of 1 or more",
        ),
        ({"a": two[:0]}, None, None, "numbers of photos are [0]; expected a single one, of 1 or more"),
    ):
        with pytest.raises(ValueError) as caught:
            significance.compare_all(correct, reference, groups=groups)
        assert str(caught.value) == message


def test_pairs_are_corrected_for_each_other() -> None:
    random = np.random.default_rng(0)
    right = {
        name: random.random(300) < part for name, part in zip("abcd", (0.9, 0.8, 0.85, 0.84), strict=True)
    }
    found = significance.compare_all(right, pairs=[("a", "b"), ("c", "d")])
    assert [(one.a, one.b) for one in found] == [("a", "b"), ("c", "d")]
    alone = [significance.compare_all({a: right[a], b: right[b]}, b)[0] for a, b in (("a", "b"), ("c", "d"))]
    assert [one.p_value for one in found] == [one.p_value for one in alone]
    assert found[0].p_adjusted == pytest.approx(2 * alone[0].p_value)
    assert significance.compare_all(right, pairs=[]) == ()


def test_a_class_of_one_photo_leaves_balanced_accuracy_open() -> None:
    """44 photos of one class and 1 of another, all right: Wilson's 92.0% and 20.7%, put together by hand."""
    labels = np.repeat([0, 1], [44, 1])
    found = significance.balanced_accuracy_interval(labels, np.eye(2)[labels])
    lows = [significance.wilson(n, n).low for n in (44, 1)]
    assert found.low == pytest.approx(1 - np.sqrt(sum((1 - low) ** 2 for low in lows)) / 2)
    assert (round(found.low, 2), found.high) == (0.6, 1.0)


def test_balanced_accuracy_is_held_by_its_interval() -> None:
    """Of 400 samples of 150, 20 and 6 photos with true recalls of 95, 80 and 70%, nearly 95%, or more."""
    random, recalls, n_photos = np.random.default_rng(0), np.array([0.95, 0.8, 0.7]), [150, 20, 6]
    labels, held = np.repeat([0, 1, 2], n_photos), 0
    for _ in range(400):
        predicted = np.where(random.random(len(labels)) < recalls[labels], labels, (labels + 1) % 3)
        held += recalls.mean() in significance.balanced_accuracy_interval(labels, np.eye(3)[predicted])
    assert held >= 0.93 * 400
