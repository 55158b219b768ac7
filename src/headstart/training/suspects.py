"""Labels that look wrong: what a model makes of photos that it was not fitted on, against their labels.

A model that is right on 86% contradicts some of the labels that are right, too: how many that would be is
said beside how many it is.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headstart.base.arrays import Doubles, Floats, Integers
from headstart.results.suspect import Expectation, Suspect
from headstart.statistics import calibration, metrics
from headstart.statistics.answers import Answers

N_DRAWS = 40
"""Sets of right labels that are drawn to count how many of them would look wrong."""

MISJUDGED = 1.2
"""How far above the largest number expected the count must be to be a sign of wrong labels.

Of 32 sets with labels as they were published (parts of textile, animals, flowers and clothing, 198 to 2,500
photos, a logistic head on mobilenet_v2), one came out above it, with 2 suspects of 412.
"""

TEMPERATURES = np.geomspace(*calibration.TEMPERATURES, 25)
"""28% apart; around the best of them, then, 3%."""


@dataclass(frozen=True)
class Judgement:
    """The labels that look wrong, the worst first, and how many would, were all of them right."""

    suspects: tuple[Suspect, ...]
    expected: Expectation

    @property
    def is_sign(self) -> bool:
        """Whether there are more than right labels would give."""
        return len(self.suspects) > self.expected.n_most


def judge(
    sources: Sequence[Answers],
    labels: Integers,
    class_names: Sequence[str],
    paths: Sequence[str],
    seed: int = 0,
) -> Judgement:
    """Return the labels that look wrong to the best of some candidates.

    That is, of those who answered for the most photos, the one of the least log loss.

    Args:
        sources: One or more.
        labels: (N,) in 0..C-1.
        class_names: C names.
        paths: N names of photos.
        seed: Of the generator of the draws.

    Example:
        >>> labels, paths = np.repeat([0, 1], 50), [f"{number}.jpg" for number in range(100)]
        >>> sure = np.where(labels[:, None] == [0, 1], 0.9999, 0.0001).astype(np.float32)
        >>> labels[7] = 1
        >>> found = judge([Answers("tiny/features", np.arange(100), sure)], labels, ("cat", "dog"), paths)
        >>> [one.path for one in found.suspects], found.expected.n_most, found.is_sign
        (['7.jpg'], 0, True)
    """
    most = max(len(one.rows) for one in sources)
    widest = [one for one in sources if len(one.rows) == most]
    best = min(widest, key=lambda one: metrics.log_loss(labels[one.rows], one.probabilities))
    own = labels[best.rows]
    found = rank(own, best.probabilities, class_names, [paths[row] for row in best.rows])
    return Judgement(found, expect(best.by, own, best.probabilities, seed))


def expect(by: str, labels: Integers, probabilities: Floats, seed: int = 0) -> Expectation:
    """Return how many labels would look wrong if all were right.

    Labels drawn from the probabilities, at the temperature of `honest_temperature`, are right by definition:
    as often as not they contradict a model that is unsure. What `rank` counts of them is counted.

    On real photos with 2 to 10% of the labels planted wrong, the count exceeded this by 0.8 to 1 times the
    planted ones that were found (animals, flowers, clothing), and by half to three quarters for textile at a
    size that blurs it, where a head is right on 78%. Where wrong labels follow a rule, each class taken for
    the same other one, a third to all of those found were in excess: that looks like photos hard to tell.

    Args:
        by: Whose answers they are.
        labels: (M,) in 0..C-1, some of them wrong, perhaps.
        probabilities: float32 (M, C), of heads that were not fitted on a photo.
        seed: Of the generator of the draws.
    """
    honest = calibration.apply(probabilities, honest_temperature(labels, probabilities))
    cumulative, random = honest.cumsum(axis=1, dtype=np.float64), np.random.default_rng(seed)
    counts = []
    for _ in range(N_DRAWS):
        lots = random.uniform(size=(len(labels), 1)) * cumulative[:, -1:]
        counts.append(_count((lots > cumulative).sum(axis=1), probabilities))
    mean, spread = float(np.mean(counts)), float(np.std(counts, ddof=1))
    return Expectation(
        by=by,
        n_images=len(labels),
        accuracy=float(honest.max(axis=1).mean(dtype=np.float64)),
        n_expected=mean,
        n_most=math.floor(MISJUDGED * (mean + 1.96 * spread)),
    )


def honest_temperature(labels: Integers, probabilities: Floats) -> float:
    """Return the temperature at which the probabilities fit labels of which some are wrong by lot.

    Fitted as in `calibration.temperature`, wrong labels make a model seem unsure. So a part of the labels, up
    to a half, that gives the greatest likelihood, is taken to be another class than the photo's, each as
    often. With 10% of labels planted wrong the temperature came within 0.03 of that of the right labels alone
    for animals, flowers and clothing (0.3 to 0.6), where plain fitting came to 0.8 to 1.

    Args:
        labels: (M,) in 0..C-1.
        probabilities: float32 (M, C).
    """
    logits = calibration.logits_of(probabilities)
    step = TEMPERATURES[1] / TEMPERATURES[0]
    best = min(TEMPERATURES, key=lambda one: _misfit(labels, logits, one))
    return float(min(best * step ** np.linspace(-1, 1, 17), key=lambda one: _misfit(labels, logits, one)))


def _misfit(labels: Integers, logits: Doubles, temperature: float) -> float:
    """Return the mean of -ln(likelihood) with the best part of wrong labels, and the pull to 1."""
    exponentials = np.exp(logits / temperature)
    right = exponentials[np.arange(len(labels)), labels] / exponentials.sum(axis=1)
    right = right.clip(calibration.LEAST_NORMAL, 1)
    wrong = (1 - right) / (logits.shape[1] - 1)
    low, high = 0.0, 0.5
    for _ in range(20):  # the likelihood is concave in the part
        part = (low + high) / 2
        is_more = ((wrong - right) / ((1 - part) * right + part * wrong)).mean() > 0
        low, high = (part, high) if is_more else (low, part)
    pull = (math.log(temperature) / calibration.SPREAD) ** 2 / (2 * len(labels))
    return float(-np.log((1 - low) * right + low * wrong).mean() + pull)


def rank(
    labels: Integers, probabilities: Floats, class_names: Sequence[str], paths: Sequence[str]
) -> tuple[Suspect, ...]:
    """Return the photos whose labels look wrong, the worst first.

    Photos of which another class is the likeliest are ranked by the probability of their label: its
    self-confidence (Kuan and Mueller, Model-Agnostic Label Quality Scoring to Detect Real-World Label Errors,
    DataPerf workshop at ICML 2022). Of 40 labels planted wrong among 3,409 of clothing, the first 80 held 30
    to 38 so, and 25 to 36 by the distance to the likeliest class. The ranking ends after as many as confident
    learning counts: those of which another class is the likeliest whose probability comes up to its mean over
    the photos labelled so (Northcutt, Jiang and Chuang, Confident Learning, JAIR 70, 2021, equation 1).
    cleanlab's find_label_issues gives the same with filter_by="low_self_confidence".

    Args:
        labels: (N,) in 0..C-1.
        probabilities: (N, C), left out: a head that was fitted on these labels believes them.
        class_names: C names.
        paths: N names of photos.

    Example:
        >>> probabilities = np.float32([[0.9, 0.1], [0.8, 0.2], [0.1, 0.9], [0.95, 0.05]])
        >>> [one] = rank(np.array([0, 0, 1, 1]), probabilities, ("cat", "dog"), "abcd")
        >>> one.path, one.label, one.suggested, round(one.p_label, 2)
        ('d', 'dog', 'cat', 0.05)
    """
    p_label, p_likeliest = probabilities[np.arange(len(labels)), labels], probabilities.max(axis=1)
    contested = np.flatnonzero(p_label < p_likeliest)
    worst_first = contested[np.argsort(p_label[contested], kind="stable")]
    return tuple(
        Suspect(
            path=paths[row],
            label=class_names[labels[row]],
            suggested=class_names[probabilities[row].argmax()],
            p_label=float(p_label[row]),
            p_suggested=float(p_likeliest[row]),
        )
        for row in worst_first[: _count(labels, probabilities)].tolist()
    )


def _count(labels: Integers, probabilities: Floats) -> int:
    """Return how many labels look wrong."""
    is_contested = probabilities[np.arange(len(labels)), labels] < probabilities.max(axis=1)
    return int((is_contested & (_confidently(labels, probabilities) != labels)).sum())


def _confidently(labels: Integers, probabilities: Floats) -> NDArray[np.int64]:
    """Return the likeliest class that each photo is sure enough of; its label where there is none."""
    thresholds = np.full(probabilities.shape[1], np.inf)
    for label in np.unique(labels):
        thresholds[label] = probabilities[labels == label, label].mean(dtype=np.float64)
    # 1e-6 for rounding, as in cleanlab: where all photos of a class have one probability, it is enough.
    sure = np.where(probabilities >= thresholds - 1e-6, probabilities, -1)
    return np.where(sure.max(axis=1) >= 0, sure.argmax(axis=1), labels)
