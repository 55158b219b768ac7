"""Technique 1, feature extraction: a linear head on features that never change."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

L2_STRENGTHS = tuple(10.0 ** (power / 2) for power in range(4, -11, -1))
"""Strongest first, so that each fit starts from the one before it."""

SOLVER = {"maxiter": 100, "ftol": 1e-7, "gtol": 1e-5}
"""At this tolerance probabilities are within 1e-3 of those at a hundredth of it."""

STOP_BELOW = 0.05
"""The path ends when a strength this far below the best one so far is no better."""

Floats = NDArray[np.float32]
Labels = NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class Head:
    """A linear classification layer: probabilities = softmax(features @ weights + bias).

    Attributes:
        weights: float32 (D, C).
        bias: float32 (C,).
        l2: The strength of the penalty it was fitted with, on standardised features.
    """

    weights: Floats
    bias: Floats
    l2: float

    def probabilities(self, features: Floats) -> Floats:
        """Return float32 (N, C), each row summing to 1, for features float32 (N, D)."""
        return softmax(features @ self.weights + self.bias)


def softmax(logits: Floats) -> Floats:
    """Return probabilities of the shape of `logits`; safe for large logits.

    Example:
        >>> softmax(np.array([[1000.0, 1000.0]], np.float32)).tolist()
        [[0.5, 0.5]]
    """
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True), dtype=np.float32)


def fit(
    train: Floats,
    train_labels: Labels,
    validation: Floats,
    validation_labels: Labels,
    sample_weights: Floats,
) -> Head:
    """Return the head of the L2 path that has the lowest log loss on validation.

    Args:
        train: Features, float32 (N, D), any scale: they are standardised within.
        train_labels: int32 (N,), in 0..C-1, every class present.
        validation: Features, float32 (M, D).
        validation_labels: int32 (M,).
        sample_weights: float32 (N,), mean 1: how much each training photo counts.

    Returns:
        The head, which takes unstandardised features.

    Example:
        >>> features = np.array([[0.0], [1.0], [9.0], [10.0]], np.float32)
        >>> labels = np.array([0, 0, 1, 1], np.int32)
        >>> head = fit(features, labels, features, labels, np.ones(4, np.float32))
        >>> head.probabilities(features).argmax(axis=1).tolist()
        [0, 0, 1, 1]
    """
    best, best_loss = None, np.inf
    for head in path(train, train_labels, sample_weights, L2_STRENGTHS):
        loss = log_loss(head.probabilities(validation), validation_labels)
        if best is None or loss < best_loss:
            best, best_loss = head, loss
        elif head.l2 < best.l2 * STOP_BELOW:
            break
    assert best is not None
    return best


def refit(features: Floats, labels: Labels, sample_weights: Floats, l2: float) -> Head:
    """Return the head of one strength of penalty, chosen before, fitted on more photos."""
    return next(path(features, labels, sample_weights, (l2,)))


def path(
    features: Floats,
    labels: Labels,
    sample_weights: Floats,
    strengths: Sequence[float],
    n_classes: int | None = None,
) -> Iterator[Head]:
    """Yield one head for each strength of the penalty, each started from the one before.

    Each minimises the weighted mean cross-entropy plus strength / 2 times the squared weights
    (the bias goes free) on standardised features: multinomial logistic regression. L-BFGS works
    in the basis of the features' principal components, each scaled by the curvature that the
    loss has along it, where some twenty steps do what takes hundreds in the plain basis.
    `n_classes` is C where the last classes may have no photo among these.
    """
    from scipy.optimize import minimize

    mean, scale = features.mean(axis=0), features.std(axis=0) + 1e-6
    components, variances, basis = _principal((features - mean) / scale)
    n_classes = n_classes or int(labels.max()) + 1
    weights, bias = np.zeros((len(variances), n_classes)), np.zeros(n_classes)
    curvature = (1 - 1 / n_classes) / n_classes
    for l2 in strengths:
        stretch = 1 / np.sqrt(curvature * variances + l2)[:, None]
        loss = _Loss(components, labels, sample_weights, l2, stretch)
        start = np.vstack([weights / stretch, bias]).ravel()
        solution = minimize(loss, start, jac=True, method="L-BFGS-B", options=SOLVER).x.reshape(-1, n_classes)
        weights, bias = solution[:-1] * stretch, solution[-1]
        curvature = loss.curvature
        plain = (basis @ weights.astype(np.float32)) / scale[:, None]
        yield Head(plain, (bias - mean @ plain).astype(np.float32), l2)


def _principal(standardised: Floats) -> tuple[Floats, NDArray[np.float64], Floats]:
    """Return the components (N, K), their variances (K,) and the basis (D, K); K drops what is empty."""
    from scipy.linalg import eigh

    variances, basis = eigh(standardised.T @ standardised / len(standardised), overwrite_a=True)
    kept = variances > variances[-1] * 1e-6
    basis = np.ascontiguousarray(basis[:, kept])
    return standardised @ basis, variances[kept].astype(np.float64), basis


class _Loss:
    """Penalised cross-entropy and its gradient, for the optimiser."""

    def __init__(
        self,
        components: Floats,
        labels: Labels,
        sample_weights: Floats,
        l2: float,
        stretch: NDArray[np.float64],
    ) -> None:
        self.components, self.labels, self.l2, self.stretch = components, labels, l2, stretch
        self.share = (sample_weights / len(labels)).astype(np.float32)[:, None]
        self.rows = np.arange(len(labels))
        self.curvature = 0.0

    def __call__(self, parameters: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        """Return the loss and its gradient at stretched weights, the bias in the last row."""
        stacked = parameters.reshape(len(self.stretch) + 1, -1)
        weights = stacked[:-1] * self.stretch
        probabilities = softmax(self.components @ weights.astype(np.float32) + stacked[-1].astype(np.float32))
        chosen = np.maximum(probabilities[self.rows, self.labels], 1e-30)
        loss = float(-np.log(chosen) @ self.share[:, 0]) + self.l2 / 2 * float((weights**2).sum())
        self.curvature = float((probabilities * (1 - probabilities)).mean())
        probabilities[self.rows, self.labels] -= 1
        probabilities *= self.share
        gradient = (self.components.T @ probabilities + self.l2 * weights) * self.stretch
        return loss, np.vstack([gradient, probabilities.sum(axis=0)]).ravel()


def log_loss(probabilities: Floats, labels: Labels) -> float:
    """Return the mean negative natural logarithm of the probability given to the true class."""
    chosen = probabilities[np.arange(len(labels)), labels]
    return float(-np.log(np.maximum(chosen, 1e-15)).mean())
