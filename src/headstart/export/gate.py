"""Whether an exported file answers as the model of the run does; what does not is never handed out."""

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from headstart.base.arrays import Floats
from headstart.base.errors import EngineMismatch
from headstart.export.inspection import Inspected
from headstart.export.subject import Photos
from headstart.results.exports import Scores
from headstart.statistics import calibration, metrics
from headstart.statistics.significance import Comparison, compare_all, least_difference

TOLERANCE = {"f32": 1e-4, "f16": 5e-2}
"""By precision, how far a probability may be off, and the novelty. Where the two likeliest classes are closer
together than twice as much, either may come first; anywhere else the label must be the same.

Weights of 16 bits are off by 1 in 2,048 at most; docs/exports.md says how far that moved probabilities.
"""

LEVEL = 0.95
"""The confidence with which int8 must be shown to lose less accuracy than the margin."""

AGAIN = "Export to another format or precision; and please report it, for that should not be."


@dataclass(frozen=True, eq=False)
class Expected:
    """What the model of the run says of the N test photos.

    Attributes:
        class_names: C names.
        probabilities: float32 (N, C).
        novelty: float32 (N,), or None.
    """

    class_names: tuple[str, ...]
    probabilities: Floats
    novelty: Floats | None


@dataclass(frozen=True)
class Agreement:
    """How a file agrees with the model of the run, as `Export` tells it."""

    n_other_labels: int
    largest_difference: float
    largest_novelty_difference: float | None
    scores: Scores
    comparison: Comparison


def judge(expected: Expected, found: Inspected, photos: Photos, precision: str, margin: float) -> Agreement:
    """Return how a file agrees.

    Args:
        expected: What it should answer.
        found: What it answered.
        photos: The test photos.
        precision: What it was written in.
        margin: In int8, by so much accuracy it may be worse, from 0 to 1.

    Raises:
        EngineMismatch: It does not agree as far as that precision allows; says in what.
    """
    refuse_other_names(expected, found)
    refuse_no_answers(expected, found)
    own, received = expected.probabilities, found.probabilities
    differs = own.argmax(axis=1) != received.argmax(axis=1)
    agreement = Agreement(
        int(differs.sum()),
        float(np.abs(received - own).max()),
        _largest(expected.novelty, found.novelty),
        scores_of(received, photos),
        _compared(received, own, photos),
    )
    if precision == "int8":
        _refuse_loss(received, own, photos, margin)
    else:
        _refuse_difference(expected, found, TOLERANCE[precision], agreement)
    return agreement


def scores_of(probabilities: Floats, photos: Photos) -> Scores:
    """Return what answers are worth on labelled photos."""
    return Scores(
        accuracy=float((probabilities.argmax(axis=1) == photos.labels).mean()),
        log_loss=metrics.log_loss(photos.labels, probabilities),
        ece=calibration.reliability(probabilities, photos.labels).ece,
    )


def refuse_other_names(expected: Expected, found: Inspected) -> None:
    """Make sure that a file names the classes of the run, in their order."""
    names = [" ".join(name.splitlines()) for name in expected.class_names]
    told = [" ".join(name.splitlines()) for name in found.report.labels]
    if told != names:
        pairs = zip(told, names, strict=False)
        where = next((n for n, (one, other) in enumerate(pairs) if one != other), min(len(told), len(names)))
        texts = [repr(some[where]) if where < len(some) else "nothing" for some in (told, names)]
        raise EngineMismatch(
            f"It names other classes: {texts[0]} in place {where + 1}, where the run has {texts[1]}.", AGAIN
        )


def refuse_no_answers(expected: Expected, found: Inspected) -> None:
    """Make sure that there is an answer of numbers for each photo, and novelty where the run has it."""
    own, received = expected.probabilities, found.probabilities
    if received.shape != own.shape:
        raise EngineMismatch(
            f"Its answers have the shape {received.shape}, where the run's have {own.shape}.", AGAIN
        )
    if (expected.novelty is None) != (found.novelty is None):
        raise EngineMismatch("It says nothing of novelty, as the model of the run does.", AGAIN)
    if not np.isfinite(received).all():
        raise EngineMismatch("Some of its probabilities are no numbers.", AGAIN)


def _largest(own: Floats | None, received: Floats | None) -> float | None:
    return None if own is None or received is None else float(np.abs(received - own).max())


def _compared(received: Floats, own: Floats, photos: Photos) -> Comparison:
    correct = {
        name: probabilities.argmax(axis=1) == photos.labels
        for name, probabilities in (("export", received), ("run", own))
    }
    [comparison] = compare_all(correct, "run", groups=photos.groups)
    return comparison


def _refuse_difference(expected: Expected, found: Inspected, tolerance: float, told: Agreement) -> None:
    own, n_images = expected.probabilities, len(expected.probabilities)
    second, first = np.partition(own, -2, axis=1)[:, -2:].T
    differs = own.argmax(axis=1) != found.probabilities.argmax(axis=1)
    n_wrong = int((differs & (first - second > 2 * tolerance)).sum())
    if n_wrong:
        raise EngineMismatch(
            f"It takes {n_wrong:,} of {n_images:,} test photos for another class than the model of the run "
            f"does; the largest difference of a probability is {told.largest_difference:.2g}.",
            AGAIN,
        )
    alone = float(np.abs(found.alone - own[: len(found.alone)]).max())
    novelty = told.largest_novelty_difference or 0.0
    off = {
        "A probability": told.largest_difference,
        "A probability of a photo asked about alone": alone,
        "The novelty of a photo": novelty,
    }
    for what, difference in off.items():
        if not difference <= tolerance:
            raise EngineMismatch(f"{what} is off by {difference:.2g}; {tolerance:g} is allowed.", AGAIN)


def refuse_too_few(photos: Photos, margin: float) -> None:
    """Make sure that so many photos can show a loss to be less than a margin: where not one answer changes.

    Raises:
        EngineMismatch: They cannot; says how many single ones could, from `significance.tango`.
    """
    right = np.ones(len(photos), bool)
    if least_difference(right, right, photos.groups, level=LEVEL) > -margin:
        return
    z = NormalDist().inv_cdf(LEVEL)
    more = f": it takes {math.floor(z * z * (1 - margin) / margin) + 1:,}" if margin else ""
    raise EngineMismatch(
        f"{len(photos):,} test photos cannot show that it loses less than {100 * margin:g} points{more}.",
        "More test photos can; or ask for f16.",
    )


def _refuse_loss(received: Floats, own: Floats, photos: Photos, margin: float) -> None:
    """Make sure that less accuracy is lost than the margin, as `decision` does for a cheaper candidate."""
    correct = [answers.argmax(axis=1) == photos.labels for answers in (received, own)]
    at_least = least_difference(correct[0], correct[1], photos.groups, level=LEVEL)
    if at_least > -margin:
        return
    difference = float(correct[0].mean() - correct[1].mean())
    raise EngineMismatch(
        f"It is not shown to be less than {100 * margin:g} points worse: on {len(photos):,} test photos its "
        f"accuracy differs by {100 * difference:+.1f} points, and with {LEVEL:.0%} confidence it may be "
        f"{-100 * at_least:.1f} points worse.",
        "More test photos can show it; or ask for f16.",
    )
