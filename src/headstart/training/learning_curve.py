"""How accuracy grows with the number of training photos, and how many more would bring how much.

Heads are fitted on growing parts of the training photos and asked about the same evaluation photos. An
inverse power law is fitted to their errors by weighted least squares, as Figueroa et al. do (Predicting
sample size required for classification performance, BMC Medical Informatics and Decision Making 12:8, 2012),
and its band comes from fitting it again to errors that differ as by chance.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from headstart.base.arrays import Bools, Doubles, Integers, Rows
from headstart.photos.splits import Fold
from headstart.results.curve import ClassCurve, LearningCurve, MorePhotos, Point, PowerLaw, Prediction
from headstart.statistics import significance
from headstart.statistics.significance import LEVEL, Interval, wilson
from headstart.training.ridge import Fit, Ridge

FRACTIONS = (0.1, 0.2, 0.4, 0.8, 1.0)
"""Parts of the training photos; the last is all of them."""

REPEATS = 4
"""Draws of a part of half the photos or less; larger ones have most photos in common, and one will do."""

N_RESAMPLES = 1000
"""Of the evaluation photos."""

EXPONENTS = tuple(np.geomspace(0.05, 2.0, 200).tolist())
"""Tried for the power law: from one that is nearly a straight line over the logarithm of the photos, to one
by which four times the photos leave a sixteenth of what more of them can mend."""

FARTHEST = 10.0
"""No statement reaches beyond so many times the photos there are: they were seen to grow by as much."""

LEAST_EVALUATED = 30
"""Evaluation photos of a class below which nothing is said of it: its recall is known to ±18 points then."""


@dataclass(frozen=True, eq=False)
class Curve:
    """Fitted power laws, with errors as shares of 1: error(n) = floor + fall * (n / n_photos) ** -exponent.

    Attributes:
        n_photos: Training photos at the end of what was measured.
        laws: float64 (1 + B, 3): floor, fall and exponent, of what was measured and of B resamples of it.
    """

    n_photos: int
    laws: Doubles

    @property
    def law(self) -> PowerLaw:
        """The law fitted to what was measured."""
        floor, fall, exponent = self.laws[0].tolist()
        return PowerLaw(floor, fall * self.n_photos**exponent, exponent)

    def predict(self, n_photos: int) -> Prediction:
        """Return the accuracy to expect with so many training photos."""
        floor, fall, exponent = self.laws.T
        accuracies = 1 - floor - fall * (n_photos / self.n_photos) ** -exponent
        low, high = np.quantile(accuracies[1:], [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
        return Prediction(n_photos, float(accuracies[0]), Interval(float(low), float(high), LEVEL))

    def photos_for(self, gain: float = 0.01) -> MorePhotos:
        """Return how many more photos bring a gain over what the law gives for those there are.

        It can be said where the band's upper end is no farther than `FARTHEST` times the photos there are.
        """
        best, low, high = self._needed(gain)
        reason = self._reason(gain, best, low, high)
        if reason:
            return MorePhotos(gain, None, None, None, reason)
        return MorePhotos(gain, math.ceil(best), math.ceil(low), math.ceil(high))

    def _needed(self, gain: float) -> tuple[float, float, float]:
        """Return the photos that each law asks for: the first's, and both ends of the others' band."""
        _, fall, exponent = self.laws.T
        is_reached = fall > gain
        ratios = np.full(len(fall), np.inf)
        with np.errstate(over="ignore"):
            ratios[is_reached] = (1 - gain / fall[is_reached]) ** (-1 / exponent[is_reached])
        more = self.n_photos * (ratios - 1)
        ascending = np.sort(more[1:])
        ends = (math.floor(len(ascending) * (1 - LEVEL) / 2), math.ceil(len(ascending) * (1 + LEVEL) / 2) - 1)
        return float(more[0]), float(ascending[ends[0]]), float(ascending[ends[1]])

    def _reason(self, gain: float, best: float, low: float, high: float) -> str:
        points, farthest = f"{100 * gain:g} point{'s' * (gain != 0.01)}", FARTHEST * self.n_photos
        if math.isinf(best):
            left = 100 * self.laws[0, 1]
            return f"the fitted curve levels off {left:.1f} points above what there is, short of {points}"
        if best > farthest:
            return f"it is more than {FARTHEST:g} times the photos there are, too far to foretell"
        if high > farthest and low <= farthest:
            return f"it is {math.ceil(low):,} or more, with no upper limit in sight"
        return f"it may be more than {FARTHEST:g} times the photos there are" if high > farthest else ""


def measure(
    photos: Ridge,
    labels: Integers,
    groups: Integers,
    folds: Sequence[Fold],
    *,
    class_names: Sequence[str],
    like: Fit,
    fractions: Sequence[float] = FRACTIONS,
    repeats: int = REPEATS,
    seed: int = 0,
) -> LearningCurve:
    """Fit heads on growing parts of the training photos, and a power law to their errors.

    A draw's parts are nested, each has the classes in their proportions, at least one group of each, and
    groups stay whole. Penalty and confidence are the same for all parts.

    Args:
        photos: N photos to fit heads on, none of them of the test part: more photos are a choice that is made
            by this.
        labels: (N,) in 0..C-1.
        groups: (N,) Photos of equal number are copies of each other or of one burst.
        folds: What to train on and what to evaluate on; the evaluation photos of all folds count together.
        class_names: C names.
        like: What was fitted on all of the training photos, or on all N.
        fractions: Ascending, the last 1.
        repeats: Draws of a part of half the photos or less.
        seed: Of the generator that draws the parts and the resamples.
    """
    random = np.random.default_rng(seed)
    parts = [_parts(fold.train, labels, groups, fractions, repeats, random) for fold in folds]
    answers = _answers(photos, like, folds, parts)
    evaluated = np.concatenate([fold.validation for fold in folds])
    correct = [one == labels[evaluated] for one in answers]
    of_part = [[rows for one in parts for rows in one[number]] for number in range(len(fractions))]
    units = groups[evaluated]
    sizes = np.array([np.mean([len(rows) for rows in one]) for one in of_part])
    curve = fit(sizes, correct, units, seed=seed)
    return LearningCurve(
        n_evaluated=len(evaluated),
        points=tuple(_point(*one, n_units=len(np.unique(units))) for one in zip(sizes, correct, strict=True)),
        law=curve.law,
        fitted=tuple(curve.predict(round(float(size))) for size in sizes),
        doubled=curve.predict(2 * curve.n_photos),
        more=curve.photos_for(),
        per_class=tuple(
            _class_curve(
                name,
                np.array([np.mean([(labels[rows] == label).sum() for rows in one]) for one in of_part]),
                [one[:, labels[evaluated] == label] for one in correct],
                units[labels[evaluated] == label],
                seed,
            )
            for label, name in enumerate(class_names)
        ),
    )


def _parts(
    train: Rows,
    labels: Integers,
    groups: Integers,
    fractions: Sequence[float],
    repeats: int,
    random: np.random.Generator,
) -> list[list[Rows]]:
    """Return the rows of each draw of each part."""
    draws = [_draw(labels[train], groups[train], fractions, random) for _ in range(repeats)]
    return [
        [train[draw[number]] for draw in draws[: repeats if fraction <= 0.5 else 1]]
        for number, fraction in enumerate(fractions)
    ]


def _answers(
    photos: Ridge, like: Fit, folds: Sequence[Fold], parts: Sequence[Sequence[Sequence[Rows]]]
) -> list[Integers]:
    """Return what the heads of each part say of the evaluation photos of all folds: P arrays (R, M)."""
    found = []
    for fold, of_fold in zip(folds, parts, strict=True):
        asked = photos.vectors.of(fold.validation)
        said = [[np.empty(0, np.intp) for _ in draws] for draws in of_fold]
        for number, draw in _in_turn(of_fold, photos.vectors.shape[1]):
            head = photos.sure_head(of_fold[number][draw], like.head.l2, like.confidence)
            said[number][draw] = head.answers(asked).argmax(axis=1)
        found.append([np.stack(one) for one in said])
    return [np.concatenate(one, axis=1) for one in zip(*found, strict=True)]


def _in_turn(parts: Sequence[Sequence[Rows]], n_features: int) -> list[tuple[int, int]]:
    """Return the number and the draw of each part, in the order that takes the least time and memory.

    Parts of more photos than features go draw by draw, for they are nested: the products of one are those of
    the next, in part. Those of others are of photos, and come first, for the two kinds need not be there at
    once.
    """
    every = [(number, draw) for number, draws in enumerate(parts) for draw in range(len(draws))]
    return sorted(every, key=lambda one: (len(parts[one[0]][one[1]]) > n_features, one[1], one[0]))


def fit(sizes: Doubles, correct: Sequence[Bools], units: Integers, *, seed: int = 0) -> Curve:
    """Fit the power law to what heads got right, and again to resamples of it.

    A resample draws the evaluation photos anew, by their units and the same for all heads, and adds to
    each error what another draw of training photos does to it. That is taken to be independent from size to
    size, though nested parts share photos: the band is then rather too wide than too narrow.

    Args:
        sizes: float64 (P,): training photos, ascending.
        correct: P arrays (R, M): whether each of the R heads of that size got each evaluation photo right.
        units: (M,) Evaluation photos of equal number are drawn together.
        seed: Of the generator that draws the resamples.
    """
    random = np.random.default_rng(seed)
    shares = np.stack([one.mean(axis=0) for one in correct])
    resampled = 1 - _resampled(shares, units, random)
    variances, noise = _variances(sizes, correct)
    resampled += random.normal(size=resampled.shape) * np.sqrt(noise * variances)
    errors = np.vstack([1 - shares.mean(axis=1), resampled.clip(0, 1)])
    return Curve(round(float(sizes[-1])), _laws(sizes / sizes[-1], errors, 1 / variances))


def _draw(
    labels: Integers, groups: Integers, fractions: Sequence[float], random: np.random.Generator
) -> list[Rows]:
    """Return the photos of each part, nested: of each class's groups in one random order, the first ones."""
    _, first, group_of = np.unique(groups, return_index=True, return_inverse=True)
    turn, size = np.empty(len(first), int), np.empty(len(first), int)
    for label in np.unique(labels[first]):
        members = np.flatnonzero(labels[first] == label)
        turn[members], size[members] = random.permutation(len(members)), len(members)
    return [np.flatnonzero((turn < np.maximum(np.round(part * size), 1))[group_of]) for part in fractions]


def _resampled(shares: Doubles, units: Integers, random: np.random.Generator) -> Doubles:
    """Return float64 (B, P): the means of (P, M) shares over evaluation photos drawn anew."""
    names, positions = np.unique(units, return_inverse=True)
    sums = np.zeros((len(names), len(shares) + 1))
    np.add.at(sums, positions, np.column_stack([shares.T, np.ones(len(units))]))
    chances = np.full(len(names), 1 / len(names))
    sizes = significance.at_once(N_RESAMPLES, len(names))
    totals = np.vstack([random.multinomial(len(names), chances, size=size) @ sums for size in sizes])
    return np.asarray(totals[:, :-1] / totals[:, -1:])


def _variances(sizes: Doubles, correct: Sequence[Bools]) -> tuple[Doubles, float]:
    """Return what the variance of each size's error is proportional to, (P,), and the factor.

    The error e of one head varies with e (1 - e). Draws from N photos are no N new photos: the mean of R
    parts that hold a share f of them varies f + (1 - f) / R times as much as one part would, drawn anew.
    """
    n_evaluated = correct[0].shape[1]
    errors = np.array([1 - one.mean() for one in correct]).clip(0.5 / n_evaluated, 1 - 0.5 / n_evaluated)
    alone, shares = errors * (1 - errors), sizes / sizes[-1]
    n_draws = np.array([len(one) for one in correct])
    return alone * (shares + (1 - shares) / n_draws), _factor(alone, shares, correct)


def _factor(alone: Doubles, shares: Doubles, correct: Sequence[Bools]) -> float:
    """Return the variance of a head's error from draw to draw, over e (1 - e): all sizes taken together.

    Parts of a share f of the same photos differ by 1 - f of the variance between parts drawn anew.
    """
    freedom, total = 0, 0.0
    for one, share, error in zip(correct, shares, alone, strict=True):
        if len(one) > 1 and share < 1:
            freedom += len(one) - 1
            total += (len(one) - 1) * float(one.mean(axis=1).var(ddof=1) / ((1 - share) * error))
    return total / freedom if freedom else 0.0


def _laws(sizes: Doubles, errors: Doubles, weights: Doubles) -> Doubles:
    """Return the law of least weighted squares for each row of errors: (B, P) to (B, 3).

    For a given exponent the law is linear in the other two (Golub and Pereyra, SIAM Journal on Numerical
    Analysis 10, 1973), so each of `EXPONENTS` is solved for all rows at once and the best is taken.
    """
    laws, least = np.zeros((len(errors), 3)), np.full(len(errors), np.inf)
    for exponent in EXPONENTS:
        curve = sizes**-exponent
        floor, fall = _nonnegative(curve, errors, weights)
        losses = (errors - floor[:, None] - fall[:, None] * curve) ** 2 @ weights
        is_better = losses < least
        least[is_better] = losses[is_better]
        laws[is_better] = np.column_stack([floor, fall, np.full(len(errors), exponent)])[is_better]
    return laws


def _nonnegative(curve: Doubles, errors: Doubles, weights: Doubles) -> tuple[Doubles, Doubles]:
    """Return floor and fall, both 0 or more, of errors = floor + fall * curve by weighted least squares."""
    share = weights / weights.sum()
    mean_curve, mean_error = curve @ share, errors @ share
    fall = (
        (errors - mean_error[:, None]) @ (share * (curve - mean_curve)) / ((curve - mean_curve) ** 2 @ share)
    )
    floor = mean_error - fall * mean_curve
    through_0 = errors @ (share * curve) / (curve**2 @ share)
    fall = np.where(floor < 0, through_0, fall)
    return np.where(fall < 0, mean_error, np.maximum(floor, 0)), np.maximum(fall, 0)


def _point(size: float, correct: Bools, *, n_units: int) -> Point:
    accuracy = float(correct.mean())
    return Point(round(float(size)), accuracy, wilson(round(accuracy * n_units), n_units), len(correct))


def _class_curve(
    name: str, sizes: Doubles, correct: Sequence[Bools], units: Integers, seed: int
) -> ClassCurve:
    n_evaluated = len(units)
    if n_evaluated < LEAST_EVALUATED:
        reason = f"it takes {LEAST_EVALUATED} evaluation photos of it, and there are {n_evaluated}"
        more = MorePhotos(0.01, None, None, None, reason)
    else:
        # A class that stands only in groups of another one's may have no photo in a part.
        more = fit(np.maximum(sizes, 1), correct, units, seed=seed).photos_for()
    recalls = tuple(float(one.mean()) if n_evaluated else None for one in correct)
    return ClassCurve(name, round(float(sizes[-1])), n_evaluated, recalls, more)
