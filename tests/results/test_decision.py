"""The best on validation is recommended, unless a cheaper one is shown to be within the margin."""

from dataclasses import replace

import numpy as np
import pytest
from conftest import CALIBRATION
from numpy.typing import NDArray

from headstart.results import decision
from headstart.results.comparison import Alternative, Candidate, Recommendation, Training
from headstart.statistics import significance
from headstart.statistics.answers import Answers
from headstart.statistics.metrics import Evaluation

N = 400
LABELS = np.zeros(N, np.int32)
ALONE = np.arange(N)
"""Groups of one photo each."""


def candidate(backbone: str, latency_ms: float, size_mb: float, technique: str = "features") -> Candidate:
    scores = Evaluation(N, 0.9, 0.9, 0.9, 0.3, (), ())
    training = Training(224, 0.1)
    return Candidate(backbone, technique, scores, None, CALIBRATION, {}, 1000, size_mb, latency_ms, training)


def answers(n_wrong: int, first: int = 0, rows: NDArray[np.intp] | None = None) -> Answers:
    """Answers on all photos, or some, of which so many from `first` on are wrong."""
    probabilities = np.tile(np.array([0.9, 0.1], np.float32), (N, 1))
    probabilities[first : first + n_wrong] = [0.1, 0.9]
    chosen = np.arange(N) if rows is None else rows
    return Answers("", chosen, probabilities[chosen])


def decide(*pairs: tuple[Candidate, Answers], margin: float = 0.01) -> Recommendation:
    ranking = [one for one, _ in pairs]
    return decision.decide(ranking, {one.name: given for one, given in pairs}, LABELS, ALONE, margin=margin)


BEST = candidate("large", 8.0, 20.0)
SMALL = candidate("small", 4.0, 9.0)


def test_what_cannot_be_told_apart_is_not_taken_for_equal() -> None:
    """The two differ by 1 of 400 photos: McNemar tells nothing, and it proves nothing either."""
    found = decide((BEST, answers(20)), (SMALL, answers(21)), margin=0.005)
    assert found.name == found.best_on_validation == "large/features"
    assert found.why == (
        "On 400 validation photos 90.0% were right, as with small with features, and a log loss of 0.300 "
        "each does not tell them apart: it was tried first."
    )
    [other] = found.alternatives
    assert (other.name, other.n_images, other.latency_ratio, other.size_ratio) == (
        "small/features",
        400,
        0.5,
        0.45,
    )
    assert other.difference == pytest.approx(-1 / 400)
    assert other.at_least == significance.tango(0, 1, 400)
    assert -0.02 < other.at_least < -0.005


def test_the_reason_is_what_put_it_first() -> None:
    surer = replace(BEST, validation=replace(BEST.validation, log_loss=0.25))
    assert decide((surer, answers(20)), (SMALL, answers(21)), margin=0.005).why == (
        "On 400 validation photos 90.0% were right, as with small with features; it gave the labels more "
        "probability (log loss 0.250, the next 0.300)."
    )
    better = replace(BEST, validation=replace(BEST.validation, accuracy=0.91))
    assert decide((better, answers(20)), (SMALL, answers(21)), margin=0.005).why == (
        "It was the best on 400 validation photos, right on 91.0%."
    )


def test_a_cheaper_one_that_is_shown_to_be_within_the_margin() -> None:
    found = decide((BEST, answers(20)), (SMALL, answers(20)))
    assert (found.name, found.best_on_validation) == ("small/features", "large/features")
    assert found.why == (
        "It saves 50% of the time and 55% of the size of large with features, the best on validation, and is "
        "shown to be less than 1 point worse: on 400 photos that neither was fitted on it is right as often, "
        "and with 95% confidence at most 0.7 points less often."
    )
    assert decide((BEST, answers(20)), (SMALL, answers(20)), margin=0.005).name == "large/features"


def test_a_cheaper_one_that_is_better_on_more_photos() -> None:
    assert decide((BEST, answers(20)), (SMALL, answers(4))).why == (
        "On 400 photos that neither was fitted on it is right 4.0 points more often than large with "
        "features, the best on the 400 validation photos, and it saves 50% of the time and 55% of the size."
    )


@pytest.mark.parametrize(
    ("latency_ms", "size_mb", "is_cheaper"),
    [
        (6.0, 20.0, True),  # a quarter of the time
        (6.1, 20.0, False),
        (8.0, 15.0, True),  # a quarter of the size
        (8.8, 15.0, True),
        (8.9, 15.0, False),  # smaller, and slower
        (4.0, 23.0, False),
    ],
)
def test_what_is_materially_cheaper(latency_ms: float, size_mb: float, is_cheaper: bool) -> None:
    other = candidate("other", latency_ms, size_mb)
    found = decide((BEST, answers(20)), (other, answers(20)))
    assert found.name == ("other/features" if is_cheaper else "large/features")


def test_of_several_the_cheapest() -> None:
    middle, small = (Alternative(name, "features", N, 0.0, 0.0, 0.0, 0.5) for name in ("middle", "small"))
    by_time = [replace(middle, latency_ratio=0.7), replace(small, latency_ratio=0.6)]
    assert decision.choose(by_time, 0.01) == by_time[1]
    by_size = [replace(middle, latency_ratio=0.62), replace(small, latency_ratio=0.6, size_ratio=0.7)]
    assert decision.choose(by_size, 0.01) == by_size[0]
    alike = [replace(middle, latency_ratio=0.62), replace(small, latency_ratio=0.6)]
    assert decision.choose(alike, 0.01) == alike[0]
    assert decision.choose([], 0.01) is None


def test_they_are_compared_on_the_photos_that_both_answered() -> None:
    rows = np.arange(300, N)
    [other] = decide((BEST, answers(20)), (SMALL, answers(5, first=300, rows=rows))).alternatives
    assert other.n_images == 100
    assert other.difference == pytest.approx(-0.05)


def test_photos_of_one_group_count_once() -> None:
    """Ten copies of each photo: what they show is no more than what 40 photos show."""
    pairs = {"large/features": answers(20), "small/features": answers(20, first=20)}
    alone, grouped = (
        decision.decide([BEST, SMALL], pairs, LABELS, groups, margin=0.01).alternatives[0]
        for groups in (ALONE, ALONE // 10)
    )
    assert grouped.difference == alone.difference == 0
    assert grouped.at_least < 2 * alone.at_least


def test_a_single_candidate() -> None:
    found = decide((BEST, answers(20)))
    assert (found.name, found.alternatives) == ("large/features", ())


def recommended_by(only_best: int, only_cheaper: int, n: int) -> bool:
    return significance.tango(only_cheaper, only_best, n) > -0.01


@pytest.mark.parametrize("n", [60, 200, 700, 2000])
@pytest.mark.parametrize(("accuracy", "shared"), [(0.97, 0.9), (0.97, 0.5), (0.9, 0.9), (0.9, 0.5)])
def test_a_candidate_truly_2_points_worse_is_hardly_ever_recommended(
    n: int, accuracy: float, shared: float
) -> None:
    """By simulation: at most 5% of 1,000 draws of n photos; `shared` of the best's mistakes are its too."""
    wrong, both = 1 - accuracy, shared * (1 - accuracy)
    chances = [wrong + 0.02 - both, wrong - both]
    draws = np.random.default_rng(n).multinomial(n, [*chances, 1 - sum(chances)], size=1000)
    kinds, counts = np.unique(draws[:, :2], axis=0, return_counts=True)
    is_recommended = [recommended_by(int(a), int(b), n) for a, b in kinds]
    assert counts[is_recommended].sum() <= 50


def test_equals_are_told_from_enough_photos_on() -> None:
    """A rule that never took the cheaper would hold the bound above, and be of no use."""
    draws = np.random.default_rng(0).multinomial(2000, [0.003, 0.003, 0.994], size=200)
    assert np.mean([recommended_by(int(a), int(b), 2000) for a, b, _ in draws]) > 0.95
