"""Which candidate to recommend: decided once, before the test part is read, and kept as data.

The best on validation, unless another is materially cheaper and shown to be within a margin of it. That two
cannot be told apart is no reason to take the cheaper: among few photos it proves nothing.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from headstart.base.words import in_a_list
from headstart.results.comparison import Alternative, Candidate, Recommendation
from headstart.statistics.answers import Answers
from headstart.statistics.significance import LEVEL, least_difference

CHEAPER = 0.75
"""Of the best's latency or size: at most so much is materially cheaper. Less than a quarter saved is not
worth a doubt about accuracy, and latencies on a machine in use vary by a tenth."""

ALIKE = 1.1
"""Costs within this ratio are alike: what is cheaper in one may not be dearer in the other by more."""


def decide(
    ranking: Sequence[Candidate],
    answers: Mapping[str, Answers],
    labels: NDArray[np.integer],
    groups: NDArray[np.integer],
    *,
    margin: float,
    seed: int = 0,
) -> Recommendation:
    """Return which candidate to use, why, and what else could be chosen at what price.

    Args:
        ranking: Best on validation first, each with its latency.
        answers: What each candidate answered on photos that it was not fitted on, by its name.
        labels: (N,), the labels of the photos to learn from.
        groups: (N,), photos of equal number are copies, or of one burst.
        margin: Part of the photos, such as 0.01, that a cheaper candidate may be wrong on more often.
        seed: Of the generator that draws the bootstrap's samples, by groups.
    """
    best, *others = ranking

    def weigh(other: Candidate) -> Alternative:
        rows = np.intersect1d(answers[best.name].rows, answers[other.name].rows)
        theirs, ours = (answers[one.name].right(labels, rows) for one in (other, best))
        return Alternative(
            backbone=other.backbone,
            technique=other.technique,
            n_images=len(rows),
            difference=float(theirs.mean() - ours.mean()),
            at_least=least_difference(theirs, ours, groups[rows], seed=seed),
            latency_ratio=other.latency_ms / best.latency_ms,
            size_ratio=other.size_mb / best.size_mb,
        )

    weighed = tuple(weigh(other) for other in others)
    chosen = choose(weighed, margin)
    return Recommendation(
        backbone=chosen.backbone if chosen else best.backbone,
        technique=chosen.technique if chosen else best.technique,
        best_on_validation=best.name,
        margin=margin,
        level=LEVEL,
        why=_why(ranking, chosen, margin),
        alternatives=weighed,
    )


def is_cheaper(other: Alternative) -> bool:
    """Say whether a candidate is materially cheaper than the best: in latency or size, and dearer in none."""
    ratios = (other.latency_ratio, other.size_ratio)
    return min(ratios) <= CHEAPER and max(ratios) <= ALIKE


def is_shown(other: Alternative, margin: float) -> bool:
    """Say whether its answers show that it is less than the margin worse than the best."""
    return other.at_least > -margin


def choose(alternatives: Sequence[Alternative], margin: float) -> Alternative | None:
    """Return the cheapest that is materially cheaper and shown to be within the margin; None without one.

    By latency, then among alike by size, then the better on validation.
    """
    left = [one for one in alternatives if is_cheaper(one) and is_shown(one, margin)]
    for cost in ("latency_ratio", "size_ratio"):
        least = min((getattr(one, cost) for one in left), default=0.0)
        left = [one for one in left if getattr(one, cost) <= ALIKE * least]
    return left[0] if left else None


def saved(other: Alternative) -> str:
    """Return what a cheaper candidate saves, in words; a cost that is alike, see `ALIKE`, is not named.

    Example:
        >>> saved(Alternative("lite0", "features", 341, -0.02, -0.05, 0.6, 0.87))
        '40% of the time and 13% of the size'
        >>> saved(Alternative("lite0", "features", 341, -0.02, -0.05, 0.99, 0.66))
        '34% of the size'
    """
    costs = (("time", other.latency_ratio), ("size", other.size_ratio))
    return " and ".join(f"{1 - ratio:.0%} of the {name}" for name, ratio in costs if ratio * ALIKE < 1)


def _why(ranking: Sequence[Candidate], chosen: Alternative | None, margin: float) -> str:
    best, *others = ranking
    if chosen is None:
        equals = [one for one in others if one.validation.accuracy == best.validation.accuracy]
        return _why_first(best, equals)
    if round(chosen.difference, 3) > 0:
        return (
            f"On {chosen.n_images:,} photos that neither was fitted on it is right "
            f"{_more_or_less(chosen.difference)} than {best.words}, the best on the "
            f"{best.validation.n_images:,} validation photos, and it saves {saved(chosen)}."
        )
    points = "1 point" if margin == 0.01 else f"{100 * margin:g} points"
    return (
        f"It saves {saved(chosen)} of {best.words}, the best on validation, and is shown to be less than "
        f"{points} worse: on {chosen.n_images:,} photos that neither was fitted on it is right "
        f"{_more_or_less(chosen.difference)}, and with {LEVEL:.0%} confidence at most "
        f"{max(0.0, -100 * chosen.at_least):.1f} points less often."
    )


def _why_first(best: Candidate, equals: Sequence[Candidate]) -> str:
    scores = best.validation
    if not equals:
        return f"It was the best on {scores.n_images:,} validation photos, right on {scores.accuracy:.1%}."
    alike = in_a_list([one.words for one in equals])
    opening = f"On {scores.n_images:,} validation photos {scores.accuracy:.1%} were right, as with {alike}"
    loss, next_loss = (round(one.validation.log_loss, 3) for one in (best, equals[0]))
    if loss == next_loss:
        return f"{opening}, and a log loss of {loss:.3f} each does not tell them apart: it was tried first."
    return f"{opening}; it gave the labels more probability (log loss {loss:.3f}, the next {next_loss:.3f})."


def _more_or_less(difference: float) -> str:
    """Say by how much accuracy differs.

    Example:
        >>> _more_or_less(-0.004), _more_or_less(0.012), _more_or_less(0)
        ('0.4 points less often', '1.2 points more often', 'as often')
    """
    if not round(difference, 3):
        return "as often"
    return f"{100 * abs(difference):.1f} points {'more' if difference > 0 else 'less'} often"
