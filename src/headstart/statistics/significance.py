"""How far a measured figure may be off by chance, and whether two candidates differ by more than that.

Chance means the photos: what would come out on others, drawn alike. It does not cover another seed or
another split to train on. Wilson's interval and the binomial test are SciPy's; ours is what it lacks: Holm's
correction, the bounds of Tango and Newcombe, and a bootstrap from sums over the photos, where SciPy's holds
every resample of every photo in memory.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from headstart.base.arrays import Bools, Doubles, Integers
from headstart.statistics.metrics import PROBABILITY_FLOOR, losses

LEVEL = 0.95

N_RESAMPLES = 2000
"""Efron and Tibshirani, An Introduction to the Bootstrap (1993), ask for 1,000 or more for BCa."""

AT_ONCE, DRAWN_AT_ONCE = 100, 1_000_000
"""Resamples that are drawn at a time, and photos of them: 8 MB, thrice."""

Decision = Literal["better", "worse", "unclear"]
Statistic = Callable[[Doubles], Doubles]
"""From sums over photos, (..., K), to figures, (...) or (..., M)."""


@dataclass(frozen=True)
class Interval:
    """A range that holds the true figure in `level` of all samples of photos."""

    low: float
    high: float
    level: float

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high


@dataclass(frozen=True)
class Intervals:
    """Those around one `Evaluation`; `recalls` has one for each class, None where it has no photo."""

    accuracy: Interval
    balanced_accuracy: Interval
    macro_f1: Interval
    log_loss: Interval
    recalls: tuple[Interval | None, ...]


@dataclass(frozen=True)
class Comparison:
    """Two candidates on the same photos, from the point of view of `a`.

    `decision` is "better" or "worse" where the corrected test rejects that both have the same accuracy and
    the bootstrap's interval leaves out 0, else "unclear": these photos cannot tell the two apart, which does
    not say that they are alike. The interval is then stretched to 0 where the bootstrap's stops short of
    it: the difference cannot be told from 0, so the range must not deny it. Thus the decision is "unclear"
    just when 0 is in the interval.

    Attributes:
        a: A candidate, "backbone/technique".
        b: The one it is compared with.
        n_images: Photos that both predicted.
        difference: Accuracy of `a` minus that of `b`, from -1 to 1.
        interval: Of the difference; on its own, not corrected for the number of comparisons.
        n_only_a: Photos that only `a` got right.
        n_only_b: Photos that only `b` got right.
        p_value: Exact McNemar test, two-sided.
        p_adjusted: The p-value, corrected by Holm for all comparisons made.
        decision: "better", "worse" or "unclear", at the interval's level.
    """

    a: str
    b: str
    n_images: int
    difference: float
    interval: Interval
    n_only_a: int
    n_only_b: int
    p_value: float
    p_adjusted: float
    decision: Decision

    @property
    def at_most(self) -> float:
        """By how much the two may differ, either way: the farther end of the interval, from 0 to 1."""
        return max(abs(self.interval.low), abs(self.interval.high))


def wilson(successes: int, n: int, level: float = LEVEL) -> Interval:
    """Return Wilson's score interval (1927) of a share, for n independent photos, n of 1 or more.

    It covers as stated for few photos and shares near 1, where estimate ± 1.96 standard errors does not
    (Brown, Cai and DasGupta, Statistical Science 16, 2001).

    Raises:
        ValueError: n below 1, or successes outside 0 to n.

    Example:
        >>> one = wilson(81, 263)  # Newcombe (1998): 0.2553 to 0.3662
        >>> round(one.low, 4), round(one.high, 4)
        (0.2553, 0.3662)
    """
    from scipy.stats import binomtest

    found = binomtest(successes, n).proportion_ci(level, method="wilson")
    return Interval(float(found.low), float(found.high), level)


def intervals(
    labels: Integers,
    probabilities: NDArray[np.floating],
    groups: Integers | None = None,
    *,
    level: float = LEVEL,
    seed: int = 0,
) -> Intervals:
    """Return the intervals around what `metrics.evaluate` says of the same photos.

    Args:
        labels: (N,) indices of classes.
        probabilities: (N, C), each row with the sum 1.
        groups: (N,) Photos of equal number are copies of each other or of one burst; they are drawn
            together. None where each photo stands alone.
        level: Part of all samples in which an interval holds the true figure.
        seed: Of the generator that draws the bootstrap's samples. The same seed gives the same intervals.
    """
    correct = probabilities.argmax(axis=1) == labels
    of_class = [labels == one for one in range(probabilities.shape[1])]
    return Intervals(
        accuracy=accuracy_interval(correct, groups, level=level, seed=seed),
        balanced_accuracy=balanced_accuracy_interval(labels, probabilities, groups, level=level, seed=seed),
        macro_f1=macro_f1_interval(labels, probabilities, groups, level=level, seed=seed),
        log_loss=log_loss_interval(labels, probabilities, groups, level=level, seed=seed),
        recalls=tuple(
            accuracy_interval(correct[one], None if groups is None else groups[one], level=level, seed=seed)
            if one.any()
            else None
            for one in of_class
        ),
    )


def accuracy_interval(
    correct: Bools, groups: Integers | None = None, *, level: float = LEVEL, seed: int = 0
) -> Interval:
    """Return the interval of an accuracy, or of the recall of a class from its photos: `correct` is (N,).

    Wilson's where each photo stands alone; where some are of one group, the BCa bootstrap by groups.
    """
    if groups is None or len(np.unique(groups)) == len(groups):
        return wilson(int(correct.sum()), len(correct), level)
    sums = np.column_stack([correct, np.ones(len(correct))])
    return _bca(_by_group(sums, groups), _mean, (0.0, 1.0), level, seed)


def balanced_accuracy_interval(
    labels: Integers,
    probabilities: NDArray[np.floating],
    groups: Integers | None = None,
    *,
    level: float = LEVEL,
    seed: int = 0,
) -> Interval:
    """Return the interval of the balanced accuracy of `metrics.evaluate`; arguments as `intervals`.

    Put together from the intervals of the recalls, which are of different photos (MOVER: Zou and Donner,
    Statistics in Medicine 27, 2008, p. 1693). A bootstrap of all photos says nothing of what else a class
    of one or two photos could have given.
    """
    correct, of_class = probabilities.argmax(axis=1) == labels, [labels == one for one in np.unique(labels)]
    recalls = np.array([correct[one].mean() for one in of_class])
    ends = [
        accuracy_interval(correct[one], None if groups is None else groups[one], level=level, seed=seed)
        for one in of_class
    ]
    down = math.hypot(*(recall - one.low for recall, one in zip(recalls, ends, strict=True)))
    up = math.hypot(*(one.high - recall for recall, one in zip(recalls, ends, strict=True)))
    mean, n_classes = float(recalls.mean()), len(recalls)
    return Interval(max(0.0, mean - down / n_classes), min(1.0, mean + up / n_classes), level)


def macro_f1_interval(
    labels: Integers,
    probabilities: NDArray[np.floating],
    groups: Integers | None = None,
    *,
    level: float = LEVEL,
    seed: int = 0,
) -> Interval:
    """Return the BCa bootstrap interval of the macro-F1 of `metrics.evaluate`; arguments as `intervals`."""
    one_hot = np.eye(probabilities.shape[1])
    actual, predicted = one_hot[labels], one_hot[probabilities.argmax(axis=1)]
    sums = np.hstack([actual * predicted, actual, predicted])
    return _bca(_by_group(sums, groups), _macro_f1, (0.0, 1.0), level, seed)


def log_loss_interval(
    labels: Integers,
    probabilities: NDArray[np.floating],
    groups: Integers | None = None,
    *,
    level: float = LEVEL,
    seed: int = 0,
) -> Interval:
    """Return the BCa bootstrap interval of the log loss of `metrics.evaluate`; arguments as `intervals`."""
    sums = np.column_stack([losses(labels, probabilities), np.ones(len(labels))])
    return _bca(_by_group(sums, groups), _mean, (0.0, -np.log(PROBABILITY_FLOOR)), level, seed)


def compare_all(
    correct: Mapping[str, Bools],
    reference: str | None = None,
    *,
    pairs: Sequence[tuple[str, str]] | None = None,
    groups: Integers | None = None,
    level: float = LEVEL,
    seed: int = 0,
) -> tuple[Comparison, ...]:
    """Compare candidates on the same photos: given pairs, each with the reference, or else each with each.

    The reference must be chosen without these photos: the best on validation, when they are the test part.
    Then m - 1 questions are asked of m candidates, and the correction is for as many. To take the best on
    these very photos would be to look at all pairs, m (m - 1) / 2 of them; for that leave it out.

    Of every comparison made, the chance that one or more says "better" or "worse" where there is no
    difference is at most 1 - level (Holm, Scandinavian Journal of Statistics 6, 1979; it holds however
    the comparisons depend on each other). The test counts every photo as independent and has no exact
    form for groups; where `groups` are given, the interval, which draws by groups, must agree with it.

    Args:
        correct: By candidate, (N,): whether it got each photo right, the photos in the same order.
        reference: A candidate; each other one becomes `a` of a comparison with it as `b`.
        pairs: `a` and `b` of each comparison, decided on beforehand.
        groups: (N,) as in `intervals`.
        level: Of the intervals and, by 1 - level, of the decisions.
        seed: Of the generator that draws the bootstrap's samples.

    Returns:
        The comparisons in the order of the pairs, or of `correct`.

    Raises:
        ValueError: Candidates of unequal numbers of photos, none, or an unknown reference.

    Example:
        >>> right = np.ones(400, bool)
        >>> worse = np.arange(400) % 40 > 0  # 10 photos wrong
        >>> [one] = compare_all({"a/features": worse, "b/features": right}, "b/features")
        >>> one.decision, one.n_only_a, one.n_only_b, round(one.p_value, 4)
        ('worse', 0, 10, 0.002)
    """
    _refuse_unpaired(correct, reference, groups)
    if pairs is None:
        pairs = list(combinations(correct, 2)) if reference is None else _with(reference, correct)
    if not pairs:
        return ()
    only = [(int((correct[a] & ~correct[b]).sum()), int((correct[b] & ~correct[a]).sum())) for a, b in pairs]
    p_values = [mcnemar(*counts) for counts in only]
    differences = np.column_stack([correct[a].astype(float) - correct[b] for a, b in pairs])
    bootstrapped = _difference_intervals(differences, groups, level, seed)
    rows = zip(pairs, only, p_values, holm(p_values), bootstrapped, strict=True)
    return tuple(_comparison(*row, n_images=len(differences)) for row in rows)


def mcnemar(n_only_a: int, n_only_b: int) -> float:
    """Return the p-value, two-sided, of the exact McNemar test: are the two counts fair tosses of a coin?

    It asks only of photos that one of two candidates got right (McNemar, Psychometrika 12, 1947); with no
    such photo it is 1.

    Example:
        >>> round(mcnemar(2, 9), 5)
        0.06543
    """
    from scipy.stats import binomtest

    n_different = n_only_a + n_only_b
    return float(binomtest(n_only_a, n_different).pvalue) if n_different else 1.0


def holm(p_values: Sequence[float]) -> tuple[float, ...]:
    """Return p-values corrected for their number by Holm's step-down procedure (1979), in their order.

    The smallest is multiplied by m, the next by m - 1, and so on, none below the one before it or above 1.

    Example:
        >>> holm([0.01, 0.04, 0.03, 0.005])
        (0.03, 0.06, 0.06, 0.02)
    """
    order = np.argsort(p_values, kind="stable")
    scaled = np.asarray(p_values)[order] * np.arange(len(order), 0, -1)
    adjusted = np.empty(len(order))
    adjusted[order] = np.minimum(np.maximum.accumulate(scaled), 1.0)
    return tuple(adjusted.tolist())


def least_difference(
    a: Bools, b: Bools, groups: Integers | None = None, *, level: float = LEVEL, seed: int = 0
) -> float:
    """Return the lower bound, one-sided, of the accuracy of `a` minus that of `b` on the same photos.

    In `level` of all samples the true difference is above it. Tango's score bound (Statistics in Medicine 17,
    1998): it holds for few photos too, and where the two never differ, which proves little among 60 photos:
    then it is -4.3 points. Where photos stand in groups, the bootstrap by groups is asked as well, and the
    lower of the two returned.

    Args:
        a: bool (N,), which photos the first candidate got right, N of 1 or more.
        b: bool (N,), which of them the second one got right.
        groups: (N,) as in `intervals`.
        level: Above 0.5.
        seed: Of the generator that draws the bootstrap's samples.

    Returns:
        From -1 to 1.

    Example:
        >>> round(100 * least_difference(np.ones(60, bool), np.ones(60, bool)), 1)
        -4.3
    """
    bound = tango(int((a & ~b).sum()), int((b & ~a).sum()), len(a), level)
    if groups is None or len(np.unique(groups)) == len(groups):
        return bound
    differences = (a.astype(float) - b)[:, None]
    # A two-sided interval of 90% has 5% below it.
    [by_group] = _difference_intervals(differences, groups, 2 * level - 1, seed)
    return min(bound, by_group.low)


def tango(n_only_a: int, n_only_b: int, n: int, level: float = LEVEL) -> float:
    """Return Tango's lower bound, one-sided, of the difference of two paired shares, a minus b.

    It inverts the score test of "the difference is d", whose variance is taken at the likeliest shares under
    that hypothesis: equations 14 to 18 of the paper, and R's PropCIs::scoreci.mp.

    Args:
        n_only_a: Pairs of which only a is right.
        n_only_b: Pairs of which only b is right.
        n: All pairs, 1 or more.
        level: Above 0.5.

    Example:
        >>> round(tango(60, 20, 1000, 0.975), 4)  # PropCIs: 0.0231, of the interval of 95%
        0.0231
    """
    from scipy.optimize import brentq
    from scipy.stats import norm

    z, observed = float(norm.ppf(level)), n_only_a - n_only_b

    def excess(d: float) -> float:
        slope = (2 * n - observed) * d - n_only_a - n_only_b
        only_b = (math.sqrt(slope**2 + 8 * n * n_only_b * d * (1 - d)) - slope) / (4 * n)
        variance = n * (2 * only_b + d * (1 - d))
        return observed - n * d - z * math.sqrt(max(variance, 0.0))

    # At the observed difference itself the variance may be 0, which would look like the bound.
    edge, observed_share = 1e-9 - 1, observed / n - 1e-9
    if observed_share <= edge or excess(edge) <= 0:
        return -1.0
    return float(brentq(excess, edge, observed_share, xtol=1e-12))


def newcombe(a: tuple[int, int], b: tuple[int, int], level: float = LEVEL) -> Interval:
    """Return the interval of the difference of two shares, a minus b, of different photos.

    Newcombe's hybrid of two score intervals (Statistics in Medicine 17, 1998, p. 873, method 10).

    Args:
        a: Successes of the first share, and how many were tried, 1 or more.
        b: Successes of the second share, and how many were tried.
        level: Confidence of the interval, such as 0.95.

    Example:
        >>> one = newcombe((56, 70), (48, 80))  # Newcombe (1998), example (a): 0.0524 to 0.3339
        >>> round(one.low, 4), round(one.high, 4)
        (0.0524, 0.3339)
    """
    share_a, share_b = a[0] / a[1], b[0] / b[1]
    of_a, of_b = wilson(*a, level), wilson(*b, level)
    difference = share_a - share_b
    down = math.hypot(share_a - of_a.low, of_b.high - share_b)
    up = math.hypot(of_a.high - share_a, share_b - of_b.low)
    return Interval(difference - down, difference + up, level)


def _comparison(
    pair: tuple[str, str],
    only: tuple[int, int],
    p_value: float,
    p_adjusted: float,
    interval: Interval,
    *,
    n_images: int,
) -> Comparison:
    difference = (only[0] - only[1]) / n_images
    decision: Decision = "better" if difference > 0 else "worse"
    if p_adjusted > 1 - interval.level or 0 in interval:
        decision = "unclear"
        interval = Interval(min(interval.low, 0.0), max(interval.high, 0.0), interval.level)
    return Comparison(*pair, n_images, difference, interval, *only, p_value, p_adjusted, decision)


def _with(reference: str, names: Mapping[str, Bools]) -> list[tuple[str, str]]:
    return [(name, reference) for name in names if name != reference]


def _difference_intervals(
    differences: Doubles, groups: Integers | None, level: float, seed: int
) -> list[Interval]:
    """Return the percentile bootstrap interval of each mean of (N, M) differences of -1, 0 or 1.

    One photo that only the one got right and one that only the other did are added, as Bonett and Price
    do for their interval (Journal of Educational and Behavioral Statistics 37, 2012): without them no
    difference among few photos is a proof of none. Percentile and not BCa: with 2 + 2 discordant photos
    of 200, BCa's 95% interval held the truth in 90% of simulated samples.
    """
    sums = np.column_stack([differences, np.ones(len(differences))])
    added = np.vstack([np.ones(sums.shape[1]), [*-np.ones(differences.shape[1]), 1.0]])
    resampled = _resampled(np.vstack([_by_group(sums, groups), added]), _means, seed)
    bounds = np.quantile(resampled, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return [Interval(float(low), float(high), level) for low, high in bounds.T]


def _bca(
    units: Doubles, statistic: Statistic, limits: tuple[float, float], level: float, seed: int
) -> Interval:
    """Return the bias-corrected and accelerated interval (Efron, JASA 82, 1987, p. 171) of one statistic.

    Where every resample gives the same figure, as when no photo is mistaken, they say nothing of what else
    could come. Then the share of photos that Wilson's interval leaves for other ones, were they all at
    the limits of the statistic, gives the interval; for an accuracy of 0 or 1 that is Wilson's own.
    """
    from scipy.special import ndtr, ndtri

    estimate, resampled = float(statistic(units.sum(axis=0))), _resampled(units, statistic, seed)
    if np.ptp(resampled) == 0:
        unseen = 1 - wilson(len(units), len(units), level).low
        low, high = (estimate + unseen * (limit - estimate) for limit in limits)
        return Interval(float(low), float(high), level)
    below = ((resampled < estimate).mean() + (resampled <= estimate).mean()) / 2
    bias = ndtri(np.clip(below, 1 / N_RESAMPLES, 1 - 1 / N_RESAMPLES))
    without_one = statistic(units.sum(axis=0) - units)
    pull = without_one.mean() - without_one
    spread = (pull**2).sum() ** 1.5
    acceleration = (pull**3).sum() / (6 * spread) if spread else 0.0
    shifted = bias + ndtri([(1 - level) / 2, (1 + level) / 2])
    shares = ndtr(bias + shifted / (1 - acceleration * shifted))
    low, high = np.quantile(resampled, shares)
    return Interval(float(low), float(high), level)


def _resampled(units: Doubles, statistic: Statistic, seed: int) -> Doubles:
    """Return the statistic of `N_RESAMPLES` draws of U of the (U, K) units, with replacement.

    Equal units are counted together: of labels and predictions there are far fewer kinds than photos.
    """
    random, n = np.random.default_rng(seed), len(units)
    kinds, kind_of = np.unique(units, axis=0, return_inverse=True)
    figures = []
    for size in at_once(N_RESAMPLES, n):
        drawn = kind_of[random.integers(n, size=(size, n))] + len(kinds) * np.arange(size)[:, None]
        counts = np.bincount(drawn.ravel(), minlength=size * len(kinds)).reshape(size, -1)
        figures.append(statistic(counts.astype(np.float64) @ kinds))
    return np.concatenate(figures)


def at_once(n_resamples: int, n_units: int) -> list[int]:
    """Return how many resamples of so many units to draw at a time, so that memory does not grow with them.

    Example:
        >>> at_once(250, 4000), at_once(12, 200_000)
        ([100, 100, 50], [5, 5, 2])
    """
    size = max(1, min(AT_ONCE, DRAWN_AT_ONCE // n_units))
    return [min(size, n_resamples - first) for first in range(0, n_resamples, size)]


def _by_group(sums: Doubles, groups: Integers | None) -> Doubles:
    """Add up the rows of photos of one group: what is drawn is a group."""
    if groups is None:
        return sums
    names, positions = np.unique(groups, return_inverse=True)
    units = np.zeros((len(names), sums.shape[1]))
    np.add.at(units, positions, sums)
    return units


def _mean(sums: Doubles) -> Doubles:
    return np.asarray(sums[..., 0] / sums[..., 1])


def _means(sums: Doubles) -> Doubles:
    return np.asarray(sums[..., :-1] / sums[..., -1:])


def _macro_f1(sums: Doubles) -> Doubles:
    """Return the mean of 2 TP / (photos + predictions) of the classes that have either."""
    right, actual, predicted = np.split(sums, 3, axis=-1)
    either = actual + predicted
    f1 = np.divide(2 * right, either, out=np.zeros_like(either), where=either > 0)
    return np.asarray(f1.sum(axis=-1) / (either > 0).sum(axis=-1))


def _refuse_unpaired(correct: Mapping[str, Bools], reference: str | None, groups: Integers | None) -> None:
    if reference is not None and reference not in correct:
        raise ValueError(f"the reference is {reference!r}; expected one of {', '.join(correct)}")
    lengths = {len(one) for one in correct.values()} | (set() if groups is None else {len(groups)})
    if len(lengths) > 1 or 0 in lengths:
        raise ValueError(f"numbers of photos are {sorted(lengths)}; expected a single one, of 1 or more")
