"""What a classifier's answers are worth: temperature, when to abstain, sets of classes, when to refuse.

All of it is fitted on photos that the classifier was not trained on, and holds for pictures drawn as they
were. Where training or the choice of a model has looked at those photos, it promises too much.
"""

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from headstart.base.arrays import Bools, Floats, Integers
from headstart.statistics.metrics import softmax
from headstart.statistics.significance import LEVEL, Interval, wilson

N_BINS = 15
"""As in Guo et al. (2017), so that figures compare; of equal width, so that the plot's axis is even."""

TEMPERATURES = (0.05, 20.0)

SPREAD = 0.5
"""Standard deviation of ln(temperature) expected beforehand: 95% of temperatures from 0.38 to 2.7.

Simulated with 60 to 1,000 validation photos and true temperatures of 0.5 to 2.5, the log loss on new
photos was 1 to 8% above that at the true temperature, and 29% in the worst case (341 photos, 99.8% right,
temperature 2). There plain fitting came to 190% above: it goes to the end of certainty when no photo is
mistaken.
"""

LEAST_NORMAL = float(np.finfo(np.float32).tiny)
"""Probabilities of 0 are taken for this, 1.2e-38: float32 holds nothing smaller to full precision."""

MOST_REFUSED = 0.05
"""Part of new photos of the known classes that is refused at most, where photos are too few for less."""

LADDER = (0.4, 0.3, 0.25, 0.2, 0.15, 0.1, 0.07, 0.05, 0.04, 0.03, 0.02, 0.01, 0.005, 0.002, 0.001)
"""Errors that are tried for what could be promised, the easiest first."""

MOST = 20_000
"""Validation photos up to which it is sought how many would be enough: more than most people can label."""


@dataclass(frozen=True)
class Bin:
    """Photos with a confidence above `low`, up to `high`; with none, the two means are None."""

    low: float
    high: float
    n_images: int
    confidence: float | None
    accuracy: float | None


@dataclass(frozen=True)
class Reliability:
    """How often each level of confidence was right.

    Attributes:
        bins: `N_BINS` of equal width over 0 to 1, for the plot.
        ece: Expected calibration error: the mean distance from confidence to accuracy over the bins,
            weighted by photos. Of few photos it is above 0 even where the confidence is right.
    """

    bins: tuple[Bin, ...]
    ece: float


@dataclass(frozen=True)
class Selection:
    """What a threshold of confidence lets through, counted on some photos.

    Attributes:
        n_images: Photos asked about.
        n_accepted: How many of them have a confidence at or above the threshold.
        n_wrong: How many of the accepted were taken for another class than their label.
        coverage: Part accepted.
        risk: Part of the accepted that is wrong; None when none is accepted.
        risk_interval: Wilson's, of the risk.
    """

    n_images: int
    n_accepted: int
    n_wrong: int
    coverage: float
    risk: float | None
    risk_interval: Interval | None


@dataclass(frozen=True)
class Abstention:
    """A confidence under which to abstain, so that of what is answered at most `max_error` is wrong.

    In `level` of all samples of validation photos the threshold keeps that promise for new photos.
    """

    threshold: float
    max_error: float
    level: float
    validation: Selection


@dataclass(frozen=True)
class Shortfall:
    """Why an abstention cannot be promised, counted on the validation photos, and what could be.

    Attributes:
        max_error: Part of the answers that were to be wrong at most.
        n_needed: The fewest photos that bear the promise out, all of them right.
        n_surest: The surest photos, as many as `n_needed` and those as sure, or all that there are.
        n_wrong: How many of the surest were taken for another class than their label.
        least_error: The least of `LADDER` that can be promised; None where none can.
        n_enough: Validation photos, about, that the promise would take, were they as sure and as often
            mistaken as these; None where `MOST` would not do.
    """

    max_error: float
    n_needed: int
    n_surest: int
    n_wrong: int
    least_error: float | None
    n_enough: int | None


@dataclass(frozen=True)
class Conformal:
    """Sets of classes that hold the label of a new photo with probability `coverage` or more.

    Attributes:
        coverage: Over all photos and draws of the validation photos, not for each class.
        threshold: Least probability of a class in the set; 0, every class, where photos were too few.
        method: "lac", least ambiguous sets (Sadinle, Lei and Wasserman, JASA 114, 2019).
        n_images: Validation photos it was taken from.
    """

    coverage: float
    threshold: float
    method: Literal["lac"]
    n_images: int

    def sets(self, probabilities: Floats) -> Bools:
        """Return bool (N, C), True for the classes in each photo's set; the likeliest always is."""
        likeliest = probabilities.argmax(axis=1)[:, None] == np.arange(probabilities.shape[1])
        return np.asarray((probabilities >= self.threshold) | likeliest)


@dataclass(frozen=True)
class SetQuality:
    """What conformal sets came to on some photos.

    Attributes:
        n_images: Photos asked about.
        coverage: Part of them whose label is in the set.
        interval: Wilson's, of the coverage.
        mean_size: Classes in a set.
        single: Part of the sets that hold one class.
    """

    n_images: int
    coverage: float
    interval: Interval
    mean_size: float
    single: float


@dataclass(frozen=True)
class Refusal:
    """From where on a picture is refused, "none of these": its novelty is above the threshold.

    Attributes:
        threshold: A score as of `novelty.scores`.
        part: Largest part of new photos of the known classes that is refused, over draws of all photos;
            more than was asked, where photos are too few for that.
        n_images: Photos it was taken from.
    """

    threshold: float
    part: float
    n_images: int


@dataclass(frozen=True)
class Refused:
    """What a threshold of refusal did to photos of the known classes.

    Attributes:
        n_images: Photos asked about.
        n_refused: How many of them were told as none of the classes.
        part: Their part.
        interval: Wilson's, of that.
    """

    n_images: int
    n_refused: int
    part: float
    interval: Interval


@dataclass(frozen=True)
class Calibration:
    """What goes with a classifier; `abstention` and `refusal` are None where they cannot be promised.

    `shortfall` says why there is no abstention, where there is none.
    """

    n_images: int
    temperature: float
    abstention: Abstention | None
    conformal: Conformal
    refusal: Refusal | None = None
    shortfall: Shortfall | None = None


def calibrate(
    probabilities: Floats,
    labels: Integers,
    *,
    max_error: float = 0.01,
    coverage: float = 0.95,
    max_refused: float = 0.01,
    novelty: Floats | None = None,
) -> Calibration:
    """Fit the temperature, then a threshold and sets to what it makes of the same photos.

    Args:
        probabilities: float32 (N, C) of validation photos, as the classifier gives them.
        labels: (N,) their classes.
        max_error: Largest part of the answers that may be wrong.
        coverage: Part of the sets that must hold the label.
        max_refused: Part of new photos of the known classes that may be refused; see `refusal`.
        novelty: (M,) scores of photos that novelty is not measured from; without them nothing is refused.

    Example:
        >>> found = calibrate(np.tile(np.float32([[0.9, 0.1]]), (400, 1)), np.zeros(400, int))
        >>> found.abstention.validation.coverage, found.conformal.sets(np.float32([[0.6, 0.4]])).tolist()
        (1.0, [[True, False]])
    """
    fitted = temperature(probabilities, labels)
    calibrated = apply(probabilities, fitted)
    confidence, correct = calibrated.max(axis=1), calibrated.argmax(axis=1) == labels
    promised = abstention(confidence, correct, max_error)
    return Calibration(
        n_images=len(labels),
        temperature=fitted,
        abstention=promised,
        conformal=conformal(calibrated, labels, coverage),
        refusal=refusal(novelty, max_refused) if novelty is not None else None,
        shortfall=None if promised else shortfall(confidence, correct, max_error),
    )


def temperature(probabilities: Floats, labels: Integers) -> float:
    """Return the temperature that gives the least log loss, pulled to 1 as by `SPREAD`.

    A temperature T divides all logits, so that above 1 confidence falls and below 1 it rises; the
    likeliest class stays (Guo et al., On Calibration of Modern Neural Networks, ICML 2017). The pull is
    that of a prior: it counts little among hundreds of photos with mistakes, and keeps T from 0, the
    end of certainty, where none of the photos is mistaken. T lies within `TEMPERATURES`.

    Args:
        probabilities: (N, C); logits differ from their logarithms by a constant, which T does not touch.
        labels: (N,) classes.
    """
    from scipy.optimize import minimize_scalar

    logits, rows = logits_of(probabilities), np.arange(len(labels))

    def loss(log_temperature: float) -> float:
        scaled = logits * math.exp(-log_temperature)
        log_sums = np.log(np.exp(scaled).sum(axis=1))
        penalty = (log_temperature / SPREAD) ** 2 / (2 * len(labels))
        return float((log_sums - scaled[rows, labels]).mean()) + penalty

    bounds = tuple(math.log(limit) for limit in TEMPERATURES)
    return math.exp(float(minimize_scalar(loss, bounds=bounds, method="bounded").x))


def apply(probabilities: Floats, temperature: float) -> Floats:
    """Return float32 (N, C): probabilities at a temperature, each row's order as before.

    Example:
        >>> [[round(float(one), 3) for one in row] for row in apply(np.float32([[0.8, 0.2]]), 2.0)]
        [[0.667, 0.333]]
    """
    return softmax((logits_of(probabilities) / temperature).astype(np.float32))


def logits_of(probabilities: Floats) -> NDArray[np.float64]:
    """Return float64 (N, C), of which softmax gives the probabilities; the largest of each row is 0."""
    logits = np.log(np.maximum(probabilities.astype(np.float64), LEAST_NORMAL))
    return np.asarray(logits - logits.max(axis=1, keepdims=True))


def reliability(probabilities: Floats, labels: Integers) -> Reliability:
    """Return how right each level of confidence was, and the expected calibration error.

    As Guo et al. (2017), equations 2, 3 and 5. A bin excludes its lower edge and includes its upper one.
    """
    confidence = probabilities.max(axis=1).astype(np.float64)
    correct = probabilities.argmax(axis=1) == labels
    edges = np.linspace(0, 1, N_BINS + 1)
    positions = np.searchsorted(edges[1:-1], confidence, side="left")
    bins = tuple(
        _bin(edges[one], edges[one + 1], confidence[positions == one], correct[positions == one])
        for one in range(N_BINS)
    )
    gaps = [
        one.n_images * abs(one.confidence - one.accuracy)
        for one in bins
        if one.confidence is not None and one.accuracy is not None
    ]
    return Reliability(bins, sum(gaps) / len(labels))


def select(confidence: Floats, correct: Bools, threshold: float) -> Selection:
    """Return what a threshold lets through of N photos, (N,) each."""
    accepted = confidence >= threshold
    n_accepted, n_wrong = int(accepted.sum()), int((accepted & ~correct).sum())
    return Selection(
        n_images=len(correct),
        n_accepted=n_accepted,
        n_wrong=n_wrong,
        coverage=n_accepted / len(correct),
        risk=n_wrong / n_accepted if n_accepted else None,
        risk_interval=wilson(n_wrong, n_accepted) if n_accepted else None,
    )


def risk_curve(confidence: Floats, correct: Bools, n_points: int = 40) -> tuple[Selection, ...]:
    """Return what thresholds let through that accept growing parts of N photos, the last one all of them.

    Example:
        >>> curve = risk_curve(np.float32([0.9, 0.8, 0.6, 0.7]), np.array([True, True, False, True]), 4)
        >>> [(one.coverage, one.risk) for one in curve]
        [(0.25, 0.0), (0.5, 0.0), (0.75, 0.0), (1.0, 0.25)]
    """
    descending, n = np.sort(confidence)[::-1], len(confidence)
    ranks = np.unique(np.ceil(np.linspace(1, n_points, n_points) / n_points * n).astype(int))
    return tuple(select(confidence, correct, descending[rank - 1]) for rank in ranks)


def abstention(
    confidence: Floats, correct: Bools, max_error: float, level: float = LEVEL
) -> Abstention | None:
    """Return the lowest threshold at which so few answers are wrong, or None where none can be promised.

    Thresholds are tested from the surest photos on, at numbers of them fixed by N alone, each by the
    binomial (Clopper-Pearson) bound of its risk, up to the first that fails; so none of them needs a
    correction for the others. A second such series starts at half of the photos, and each takes half of
    the chance of error, for a single mistaken label among the surest would end the first (multi-start
    fixed sequence testing: Angelopoulos et al., Learn then Test, 2021). Where half the photos are too few
    for that, there is the first alone. Selection with Guaranteed Risk (Geifman and El-Yaniv, NeurIPS 2017)
    needs more photos for the same promise, 517 instead of 299 for 1% of 341 photos.

    Args:
        confidence: (N,) of the likeliest class, after `apply`.
        correct: (N,) whether that class is the label.
        max_error: Largest part of the answers that may be wrong, above 0 and below 1.
        level: Part of all samples of validation photos in which the promise is kept.

    Returns:
        None where there are fewer than `photos_needed` photos, or too many mistakes among the surest.
    """
    passed = [
        threshold
        for start, share in _series(len(correct), max_error, level)
        for threshold in _passed(np.sort(confidence)[::-1], confidence, correct, max_error, start, share)
    ]
    if not passed:
        return None
    threshold = float(min(passed))
    return Abstention(threshold, max_error, level, select(confidence, correct, threshold))


def photos_needed(max_error: float, level: float = LEVEL) -> int:
    """Return the fewest photos, all of them right, that bear out such a promise.

    Example:
        >>> photos_needed(0.01), photos_needed(0.05)
        (299, 59)
    """
    return math.ceil(math.log(1 - level) / math.log(1 - max_error))


def shortfall(confidence: Floats, correct: Bools, max_error: float, level: float = LEVEL) -> Shortfall:
    """Return why `abstention` promises nothing: too few photos, or too many mistakes among the surest.

    The errors of `LADDER` are tried up to the first that cannot be promised. As their order is fixed, taking
    the last one that can costs nothing of the level (fixed sequence testing, as in `abstention`).

    Args:
        confidence: (N,) of the likeliest class, after `apply`.
        correct: (N,) whether that class is the label.
        max_error: Largest part of the answers that may be wrong, above 0 and below 1.
        level: The confidence of the promise, as in `abstention`.

    Example:
        >>> confidence, correct = np.linspace(0.5, 1, 304, dtype=np.float32), np.arange(304) % 100 != 0
        >>> shortfall(confidence, correct, 0.01)  # doctest: +NORMALIZE_WHITESPACE
        Shortfall(max_error=0.01, n_needed=299, n_surest=299, n_wrong=3, least_error=0.04, n_enough=None)
    """
    n = len(correct)
    _, miss = _series(n, max_error, level)[0]
    n_needed = photos_needed(max_error, 1 - miss)
    surest = select(confidence, correct, np.sort(confidence)[::-1][min(n_needed, n) - 1])
    can = itertools.takewhile(lambda one: _can_promise(confidence, correct, one, level), LADDER)
    return Shortfall(
        max_error=max_error,
        n_needed=n_needed,
        n_surest=surest.n_accepted,
        n_wrong=surest.n_wrong,
        least_error=min(can, default=None),
        n_enough=_enough(confidence, correct, max_error, level),
    )


def conformal(probabilities: Floats, labels: Integers, coverage: float = LEVEL) -> Conformal:
    """Return the sets' threshold: split conformal prediction on N photos.

    Of N + 1 photos in any order, a new one's label has a probability below the threshold with a chance of
    at most 1 - coverage (Vovk, Gammerman and Shafer, Algorithmic Learning in a Random World, 2005). Fewer
    than coverage / (1 - coverage) photos, 19 for 95%, give sets of all classes.

    Args:
        probabilities: float32 (N, C), after `apply`; sets must be taken from float32 too.
        labels: (N,) classes.
        coverage: Part of the sets that must hold the label, above 0 and below 1.
    """
    given = probabilities[np.arange(len(labels)), labels]
    rank = _rank(len(given), coverage)
    threshold = float(np.sort(given)[-rank]) if rank <= len(given) else 0.0
    return Conformal(coverage, threshold, "lac", len(given))


def measure(sets: Bools, labels: Integers) -> SetQuality:
    """Return how often sets, bool (N, C), held the labels, (N,), and how large they were."""
    covered, sizes = sets[np.arange(len(labels)), labels], sets.sum(axis=1)
    return SetQuality(
        n_images=len(labels),
        coverage=float(covered.mean()),
        interval=wilson(int(covered.sum()), len(labels)),
        mean_size=float(sizes.mean()),
        single=float((sizes == 1).mean()),
    )


def refusal(novelty: Floats, part: float = 0.01) -> Refusal | None:
    """Return the threshold above which new photos of the known classes fall with a chance of at most `part`.

    Split conformal prediction, as in `conformal`: of N + 1 photos in any order, the last has one of the
    highest scores as often as any other. So N photos bear out no smaller part than 1 / (N + 1); where less
    was asked, that is what the refusal says.

    Args:
        novelty: (N,) scores of photos that novelty is not measured from.
        part: Above 0 and below 1.

    Returns:
        None of so few photos that neither `part` nor `MOST_REFUSED` is borne out.

    Example:
        >>> refusal(np.arange(199, dtype=np.float32)), refusal(np.arange(19, dtype=np.float32))
        (Refusal(threshold=197.0, part=0.01, n_images=199), Refusal(threshold=18.0, part=0.05, n_images=19))
        >>> refusal(np.arange(18, dtype=np.float32))
    """
    n = len(novelty)
    least = 1 / (n + 1)
    if least > max(part, MOST_REFUSED):
        return None
    rank = min(n, _rank(n, 1 - part))
    return Refusal(float(np.sort(novelty)[rank - 1]), max(part, least), n)


def refused(novelty: Floats, threshold: float) -> Refused:
    """Return how many of N photos of the known classes, (N,) scores, a threshold refuses."""
    n_refused = int((novelty > threshold).sum())
    return Refused(
        n_images=len(novelty),
        n_refused=n_refused,
        part=n_refused / len(novelty),
        interval=wilson(n_refused, len(novelty)),
    )


def _bin(low: float, high: float, confidence: NDArray[np.float64], correct: Bools) -> Bin:
    n = len(correct)
    means = (float(confidence.mean()), float(correct.mean())) if n else (None, None)
    return Bin(float(low), float(high), n, *means)


def _series(n: int, max_error: float, level: float) -> list[tuple[int, float]]:
    """Return where the series of tests of `abstention` start, and the chance of error that each takes."""
    miss = 1 - level
    is_large = n // 2 >= photos_needed(max_error, 1 - miss / 2)
    return [(0, miss / 2), (n // 2, miss / 2)] if is_large else [(0, miss)]


def _enough(confidence: Floats, correct: Bools, max_error: float, level: float) -> int | None:
    """Return how many photos like these bear out `max_error`, to a tenth; None: not even `MOST`."""
    n = len(correct)
    while (n := math.ceil(1.1 * n)) <= MOST:
        rows = np.arange(n) * len(correct) // n
        if _can_promise(confidence[rows], correct[rows], max_error, level):
            return n
    return None


def _can_promise(confidence: Floats, correct: Bools, max_error: float, level: float) -> bool:
    """Return whether `abstention` finds a threshold: its first test decides."""
    descending = np.sort(confidence)[::-1]
    return any(
        next(_passed(descending, confidence, correct, max_error, start, share), None) is not None
        for start, share in _series(len(correct), max_error, level)
    )


def _passed(
    descending: Floats, confidence: Floats, correct: Bools, max_error: float, start: int, miss: float
) -> Iterator[float]:
    """Yield the thresholds of one series that pass, up to the first that does not."""
    from scipy.special import bdtr

    for rank in _ranks(start, len(correct), max_error, miss):
        accepted = confidence >= descending[rank - 1]
        n_wrong = int((accepted & ~correct).sum())
        if bdtr(n_wrong, int(accepted.sum()), max_error) > miss:
            return
        yield descending[rank - 1]


def _ranks(start: int, n: int, max_error: float, miss: float) -> Iterator[int]:
    """Yield the fewest photos of which no mistake passes the test, then one, then two, from start up to n."""
    from scipy.special import bdtr

    start = max(start, 1)
    allowed = int((bdtr(np.arange(start), start - 1, max_error) <= miss).sum())
    for rank in range(start, n + 1):
        if bdtr(allowed, rank, max_error) <= miss:
            yield rank
            allowed += 1


def _rank(n: int, share: float) -> int:
    """Return how many of n ascending scores to go up, so that a new one is no higher with chance `share`.

    Above n, no score is high enough.
    """
    return math.ceil((n + 1) * share - 1e-9)  # 0.95 × 20 must be 19, whatever rounding makes of it
