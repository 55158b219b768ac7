"""From the scores of ridge regression to probabilities: a scale and a bias for each class.

Scores of photos that were left out are near 1 for their class and near 0 for the others, which says which
class is the likeliest, not how likely it is.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headstart.base.arrays import Doubles, Integers

TYPICAL, SPREAD = 8.0, 0.5
"""A scale that turns scores into logits, and the standard deviation of its logarithm, expected beforehand: 4
to 14 were seen. It counts where photos are few and all of them are told right."""

APART, BIAS = 0.1, 0.5
"""Standard deviations expected beforehand of how far the logarithm of one class's scale is from that of all,
and of a class's bias, in nats.

On four sets of photos (animals, clothing, flowers, textile), two backbones each, fitted to leave-one-out
scores and asked on validation: against one scale for all classes the log loss was 8% less (1 to 12%), the
calibration error 0.029 instead of 0.031 and 0.4 points more were right; with a third to a twentieth of the
photos 2 to 3% less, the worst of 40 being 10% more where all left-out photos were right. Biases alone: 5%
and 2% less; without expectations 10 to 300% more with few photos.
"""


@dataclass(frozen=True, eq=False)
class Confidence:
    """What turns scores into logits: scores * scales + biases.

    Attributes:
        scales: float64 (C,), above 0.
        biases: float64 (C,).
        loss: Mean log loss, in nats and weighted, on what it was fitted to.
    """

    scales: Doubles
    biases: Doubles
    loss: float

    def logits(self, scores: NDArray[np.floating]) -> Doubles:
        """Return float64 (N, C) for scores (N, C)."""
        return scores * self.scales + self.biases


def fit(scores: NDArray[np.floating], labels: Integers, sample_weights: Doubles) -> Confidence:
    """Return the likeliest scales and biases.

    Args:
        scores: (N, C), of photos that were left out.
        labels: (N,) in 0..C-1.
        sample_weights: (N,): how much each photo counts, of any mean; the biases of a head that is balanced
            would undo that.

    Example:
        >>> labels = np.arange(90) % 3
        >>> scores = np.random.default_rng(0).normal(np.eye(3)[labels] * 0.8, 0.3)
        >>> found = fit(scores, labels, np.ones(90))
        >>> bool((found.scales > 6).all()), bool((abs(found.biases) < 0.3).all()), round(found.loss, 1)
        (True, True, 0.1)
    """
    from scipy.optimize import minimize

    problem = _Problem(scores.astype(np.float64), labels, sample_weights / sample_weights.mean())
    n_classes = scores.shape[1]
    start = np.zeros(1 + 2 * n_classes)
    start[0] = math.log(TYPICAL)
    found = minimize(problem.objective, start, jac=True, method="L-BFGS-B", options={"ftol": 1e-8}).x
    common, apart, biases = found[0], found[1 : 1 + n_classes], found[1 + n_classes :]
    scales = np.exp(common + apart)
    return Confidence(scales, biases, problem.loss(scales, biases)[0] / len(labels))


class _Problem:
    def __init__(self, scores: Doubles, labels: Integers, weights: Doubles) -> None:
        self._scores, self._labels, self._weights = scores, labels, weights
        self._rows = np.arange(len(labels))

    def objective(self, parameters: Doubles) -> tuple[float, Doubles]:
        """Return -ln(likelihood) and what was expected beforehand, over N, and the gradient."""
        n, n_classes = self._scores.shape
        common, apart, biases = parameters[0], parameters[1 : 1 + n_classes], parameters[1 + n_classes :]
        scales = np.exp(common + apart)
        loss, residuals = self.loss(scales, biases)
        by_scale = np.einsum("ic,ic->c", residuals, self._scores) * scales
        off = (common - math.log(TYPICAL)) / SPREAD
        loss += (off**2 + float((apart**2).sum()) / APART**2 + float((biases**2).sum()) / BIAS**2) / 2
        slopes = [
            [by_scale.sum() + off / SPREAD],
            by_scale + apart / APART**2,
            residuals.sum(axis=0) + biases / BIAS**2,
        ]
        return loss / n, np.concatenate(slopes) / n

    def loss(self, scales: Doubles, biases: Doubles) -> tuple[float, Doubles]:
        """Return the sum of the losses, and its gradient by the logits, float64 (N, C)."""
        logits = self._scores * scales + biases
        logits -= logits.max(axis=1, keepdims=True)
        chosen = logits[self._rows, self._labels]
        powers = np.exp(logits, out=logits)
        sums = powers.sum(axis=1, keepdims=True)
        loss = float(self._weights @ (np.log(sums[:, 0]) - chosen))
        powers /= sums
        powers[self._rows, self._labels] -= 1
        powers *= self._weights[:, None]
        return loss, powers
