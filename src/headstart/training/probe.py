"""Technique 1, feature extraction: a linear head on features that never change."""

import functools
import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

from headstart.base.arrays import Doubles, Floats, Labels
from headstart.photos.splits import Fold
from headstart.pictures.pixels import core_count
from headstart.statistics.metrics import log_loss, softmax

if TYPE_CHECKING:
    from threadpoolctl import ThreadpoolController

STRENGTHS = tuple(10.0**power for power in range(2, -6, -1))
"""Strongest first, so that each fit starts near its end: the decades from 1e2 to 1e-5."""

STOP_ABOVE = 1.05
"""The path ends at a strength whose validation loss is more than this times the least so far."""

COARSE, ROUGH, CLOSE, FINE = 3e-3, 3e-4, 3e-5, 3e-8
"""A fit stops where it could gain no more than about this part of the loss.

Coarse on the way to another strength, rough where strengths are compared, close where many heads are fitted
to say what one is worth, fine for the head that is kept. On photos of animals and of clothing the
validation loss is then within 4e-3 (rough) of its limit at strengths of 10 to 0.01, and each probability
within 2e-2 (close) and 2e-3 (fine).
"""

APPROACH = (1e-1, 1e-2, 1e-3, 1e-4)
"""Strengths on the way to a weaker one. Weights that no strength has shaped depend on where a fit starts."""

BLOCK = 1024
"""Rows of features that a thread works on at a time, so that what is computed from them stays small."""

Real = NDArray[np.floating]
Part = TypeVar("Part")


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

    def logits(self, features: Floats) -> Floats:
        """Return float32 (N, C) for features float32 (N, D)."""
        return features @ self.weights + self.bias

    def tempered(self, temperature: float) -> "Head":
        """Return the head whose logits are these over a temperature: above 1 it is less confident."""
        return Head(self.weights / np.float32(temperature), self.bias / np.float32(temperature), self.l2)

    def probabilities(self, features: Floats) -> Floats:
        """Return float32 (N, C), each row summing to 1, for features float32 (N, D)."""
        return softmax(self.logits(features))


def fit(
    train: Floats,
    train_labels: Labels,
    validation: Floats,
    validation_labels: Labels,
    sample_weights: Floats,
) -> Head:
    """Return the head of the strength of penalty that has the lowest log loss on validation.

    The decades of `STRENGTHS` are tried first, then the half decade beside the best of them. The loss is
    taken to have one valley along them: what lies beyond a rise (`STOP_ABOVE`) is not tried.

    Args:
        train: Features, float32 (N, D), any scale: they are standardised within. Not copied.
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
    problem = _Problem(train, train_labels, sample_weights)
    fits: dict[float, Doubles] = {}
    losses: dict[float, float] = {}

    def judge(l2: float, parameters: Doubles) -> None:
        fits[l2] = parameters
        losses[l2] = log_loss(validation_labels, problem.head(parameters, l2).probabilities(validation))

    for l2, parameters, _ in problem.descend(STRENGTHS, ROUGH):
        judge(l2, parameters)
        if losses[l2] > STOP_ABOVE * min(losses.values()):
            break
    best, neighbour = _valley(losses)
    between = math.sqrt(best * neighbour)
    judge(between, problem.solve(between, (fits[best] + fits[neighbour]) / 2, ROUGH))
    best = min(losses, key=losses.__getitem__)
    return problem.head(problem.solve(best, fits[best], FINE), best)


def _valley(losses: dict[float, float]) -> tuple[float, float]:
    """Return the strength of the least loss and, of its one or two neighbours, the one with the lesser loss.

    Example:
        >>> _valley({10.0: 0.9, 1.0: 0.5, 0.1: 0.6})
        (1.0, 0.1)
    """
    strengths = sorted(losses)
    place = strengths.index(min(losses, key=losses.__getitem__))
    neighbours = strengths[max(place - 1, 0) : place] + strengths[place + 1 : place + 2]
    return strengths[place], min(neighbours, key=losses.__getitem__)


def choose(features: Floats, labels: Labels, sample_weights: Floats, folds: Sequence[Fold]) -> float:
    """Return the strength of the penalty of the least validation loss over all folds: one of `STRENGTHS`.

    Args:
        features: float32 (N, D).
        labels: int32 (N,), in 0..C-1, every class present in the training photos of every fold.
        sample_weights: float32 (N,): how much each photo counts in training.
        folds: Rows to fit on and rows to be asked about.
    """
    losses: dict[float, float] = dict.fromkeys(STRENGTHS, 0.0)
    for fold in folds:
        weights = sample_weights[fold.train] / sample_weights[fold.train].mean()
        problem = _Problem(features[fold.train], labels[fold.train], weights)
        held_out, asked = features[fold.validation], labels[fold.validation]
        for l2, parameters, _ in problem.descend(STRENGTHS, ROUGH):
            loss = log_loss(asked, problem.head(parameters, l2).probabilities(held_out))
            losses[l2] += loss * len(asked)
    return min(losses, key=losses.__getitem__)


def refit(
    features: Floats, labels: Labels, sample_weights: Floats, l2: float, *, start: Head | None = None
) -> Head:
    """Return the head of one strength of penalty, chosen before, fitted on more photos.

    `start`, the head of most of these photos, saves steps; the result is the same within the tolerance.
    """
    problem = _Problem(features, labels, sample_weights)
    parameters = problem.near(l2) if start is None else problem.parameters(start)
    return problem.head(problem.solve(l2, parameters, FINE), l2)


def refit_parts(
    features: Floats,
    labels: Labels,
    sample_weights: Floats,
    l2: float,
    parts: Iterable[NDArray[np.intp]],
    n_classes: int,
    tolerance: float = CLOSE,
) -> Iterator[Head]:
    """Yield the head of one strength of penalty fitted on each of some parts of the photos.

    All are standardised as the photos together are, of which the labels of a part's others are not seen.
    """
    whole = _Problem(features, labels, sample_weights, n_classes)
    # Taken once: with few photos a step would spend more time on the way to the components than on them.
    components = whole.components()
    for rows in parts:
        weights = sample_weights[rows] / sample_weights[rows].mean()
        part = _Problem(
            components[rows], labels[rows], weights.astype(np.float32), n_classes, whole.basis.own()
        )
        yield whole.head(part.solve(l2, part.near(l2), tolerance), l2)


def path(
    features: Floats,
    labels: Labels,
    sample_weights: Floats,
    strengths: Sequence[float],
    n_classes: int | None = None,
) -> Iterator[Head]:
    """Yield one head for each strength of the penalty, each started from the one before.

    Each minimises the weighted mean cross-entropy plus strength / 2 times the squared weights
    (the bias goes free) on standardised features: multinomial logistic regression.
    `n_classes` is C where the last classes may have no photo among these.
    """
    problem = _Problem(features, labels, sample_weights, n_classes)
    parameters = problem.near(strengths[0])
    for l2 in strengths:
        parameters = problem.solve(l2, parameters, FINE)
        yield problem.head(parameters, l2)


class _Problem:
    """Penalised cross-entropy of labels given features, to be minimised.

    Its parameters are float64 (K + 1, C): the weights of the K principal components of the standardised
    features, and in the last row the bias, which is the logits at the features' mean.
    """

    def __init__(
        self,
        features: Floats,
        labels: Labels,
        sample_weights: Floats,
        n_classes: int | None = None,
        basis: "_Basis | None" = None,
    ) -> None:
        self.features, self.labels = features, labels
        self.n_classes = n_classes or int(labels.max()) + 1
        self.share = (sample_weights / len(labels)).astype(np.float32)
        if basis is None:
            with _threads() as pool:
                basis = _principal(features, pool)
        self.basis = basis

    def head(self, parameters: Doubles, l2: float) -> Head:
        """Return the head that takes the features as they are: mean and scale go into its weights."""
        weights = self.basis.leave(parameters[:-1].astype(np.float32))
        bias = parameters[-1] - self.basis.mean @ weights
        return Head(weights, bias.astype(np.float32), l2)

    def parameters(self, head: Head) -> Doubles:
        """Return the parameters nearest to a head."""
        basis, weights = self.basis, head.weights.astype(np.float64)
        bias = head.bias + basis.mean @ weights
        scaled = np.zeros_like(weights)
        varies = basis.inverse_scale > 0
        scaled[varies] = weights[varies] / basis.inverse_scale[varies, None] ** 2
        return np.vstack([basis.enter(scaled), bias])

    def components(self) -> Floats:
        """Return float32 (N, K): the features along the basis."""
        return self.basis.enter((self.features - self.basis.mean.astype(np.float32)).T).T

    def descend(
        self, strengths: Sequence[float], tolerance: float
    ) -> Iterator[tuple[float, Doubles, Doubles]]:
        """Yield a solution for each strength, strongest first, and where the next one may start.

        Each decade changes the weights much as the one before it did, so each starts where that leads.
        """
        before = start = np.zeros((len(self.basis.variances) + 1, self.n_classes))
        for l2 in strengths:
            solution = self.solve(l2, start, tolerance)
            before, start = solution, 2 * solution - before
            yield l2, solution, start

    def near(self, l2: float) -> Doubles:
        """Return where a fit of this strength may start, reached from stronger ones."""
        stronger = [one for one in APPROACH if one > l2] or [max(l2, APPROACH[0])]
        return [start for _, _, start in self.descend(stronger, COARSE)][-1]

    def solve(self, l2: float, start: Doubles, tolerance: float) -> Doubles:
        """Return the parameters of least loss, by L-BFGS.

        It works on parameters rotated and stretched so that the loss has about the same curvature, 1, along
        each. That saves half to two thirds of the steps that plain weights take, and a gradient g there
        tells how much of the loss there is still to gain, about g'g / 2: it stops when this is less than
        `tolerance` of the loss.
        """
        from scipy.optimize import minimize

        to_gain = math.inf

        def stop(_: Doubles) -> None:
            if to_gain <= tolerance:
                raise StopIteration

        # Sums of float32 do not tell gains under 1e-9 nats from rounding.
        options = {"maxiter": 200, "maxcor": 20, "maxls": 10, "ftol": 1e-9, "gtol": 0}
        with _threads() as pool:
            rotation, stretch = self._curvature(start, l2, pool)

            def objective(flat: Doubles) -> tuple[float, Doubles]:
                nonlocal to_gain
                parameters = (flat.reshape(stretch.shape) * stretch) @ rotation.T
                loss, gradient = self._loss(parameters, l2, pool)
                gradient = (gradient @ rotation) * stretch
                to_gain = float((gradient**2).sum()) / 2 / loss
                return loss, gradient.ravel()

            begin = ((start @ rotation) / stretch).ravel()
            flat = minimize(objective, begin, jac=True, method="L-BFGS-B", callback=stop, options=options).x
        return np.asarray((flat.reshape(stretch.shape) * stretch) @ rotation.T)

    def _curvature(self, parameters: Doubles, l2: float, pool: ThreadPoolExecutor) -> tuple[Doubles, Doubles]:
        """Return a rotation of the classes (C, C), and one over the root of the curvature (K + 1, C).

        The Hessian of the loss is taken to be the Kronecker product of the features' covariance and the
        mean of diag(p) - p p', p being a photo's probabilities, plus the penalty (K-FAC,
        https://arxiv.org/abs/1503.05671). Both are diagonal after a rotation.
        """
        head = self.head(parameters, l2)

        def spread_of(rows: slice) -> Floats:
            probabilities = head.probabilities(self.features[rows])
            weighted = probabilities * self.share[rows, None]
            return np.diag(weighted.sum(axis=0)) - probabilities.T @ weighted

        spread = np.zeros((self.n_classes, self.n_classes))
        for part in _by_blocks(pool, spread_of, len(self.labels)):
            spread += part
        curvatures, rotation = np.linalg.eigh(spread)
        curvatures = np.maximum(curvatures, max(1e-3 * curvatures[-1], 1e-9))
        variances = np.append(self.basis.variances, 1.0)
        penalties = np.append(np.full(len(self.basis.variances), l2), 0.0)
        return rotation, 1 / np.sqrt(np.outer(variances, curvatures) + penalties[:, None])

    def _loss(self, parameters: Doubles, l2: float, pool: ThreadPoolExecutor) -> tuple[float, Doubles]:
        """Return the loss and its gradient (K + 1, C)."""
        head, basis = self.head(parameters, l2), self.basis

        def slopes_of(rows: slice) -> tuple[float, Floats, Doubles]:
            block = self.features[rows]
            loss, residuals = _cross_entropy(head.logits(block), self.labels[rows], self.share[rows])
            return loss, block.T @ residuals, residuals.sum(axis=0, dtype=np.float64)

        loss, slope, bias_slope = 0.0, np.zeros(head.weights.shape), np.zeros(self.n_classes)
        for part in _by_blocks(pool, slopes_of, len(self.labels)):
            loss, slope, bias_slope = loss + part[0], slope + part[1], bias_slope + part[2]
        slope -= np.outer(basis.mean, bias_slope)
        weights = parameters[:-1]
        gradient = basis.enter(slope.astype(np.float32)) + l2 * weights
        return loss + l2 / 2 * float((weights**2).sum()), np.vstack([gradient, bias_slope])


def _cross_entropy(logits: Floats, labels: Labels, share: Floats) -> tuple[float, Floats]:
    """Return the weighted sum of the losses and its gradient by the logits, which are overwritten."""
    rows = np.arange(len(labels))
    logits -= logits.max(axis=1, keepdims=True)
    chosen = logits[rows, labels]
    powers = np.exp(logits, out=logits)
    sums = powers.sum(axis=1)
    powers *= (share / sums)[:, None]
    powers[rows, labels] -= share
    return float((np.log(sums) - chosen).astype(np.float64) @ share), powers


@dataclass(frozen=True, eq=False)
class _Basis:
    """The principal components of standardised features: (features - mean) @ directions.

    Attributes:
        mean: float64 (D,), of the features.
        inverse_scale: float64 (D,), what standardising multiplies by.
        directions: float32 (D, K), orthonormal columns times `inverse_scale`; None where the features are
            components already.
        variances: float64 (K,), of the components.
    """

    mean: Doubles
    inverse_scale: Doubles
    directions: Floats | None
    variances: Doubles

    def enter(self, values: Real) -> Real:
        """Return directions.T @ values."""
        return values if self.directions is None else self.directions.T @ values

    def leave(self, values: Real) -> Real:
        """Return directions @ values."""
        return values if self.directions is None else self.directions @ values

    def own(self) -> "_Basis":
        """Return the basis of the components themselves."""
        n = len(self.variances)
        return _Basis(np.zeros(n), np.ones(n), None, self.variances)


def _principal(features: Floats, pool: ThreadPoolExecutor) -> _Basis:
    """Return the components that have a variance: at most D and N - 1 of them."""
    mean = features.mean(axis=0, dtype=np.float64)
    if 2 * len(features) < len(mean):
        inverse_scale, variances, basis = _by_rows(features, mean)
    else:
        inverse_scale, variances, basis = _by_columns(features, mean, pool)
    kept = variances > variances[-1] * 1e-6
    directions = basis[:, kept] * inverse_scale[:, None]
    return _Basis(mean, inverse_scale, directions.astype(np.float32), variances[kept].astype(np.float64))


def _by_columns(
    features: Floats, mean: Doubles, pool: ThreadPoolExecutor
) -> tuple[Doubles, Doubles, Doubles]:
    """Return the inverse scale (D,), and eigenvalues (D,), ascending, and eigenvectors of the covariance."""
    from scipy.linalg import eigh

    def products_of(rows: slice) -> Floats:
        centred = features[rows] - mean.astype(np.float32)
        return centred.T @ centred

    covariance = np.zeros((len(mean), len(mean)), np.float32)
    for part in _by_blocks(pool, products_of, len(features)):
        covariance += part
    covariance /= len(features)
    inverse_scale = _inverse_scale(mean, np.sqrt(covariance.diagonal()).astype(np.float64))
    covariance *= np.outer(inverse_scale, inverse_scale).astype(np.float32)
    # "evd" takes half the time of the default driver.
    variances, vectors = eigh(covariance, driver="evd", overwrite_a=True, check_finite=False)
    return inverse_scale, variances, vectors


def _by_rows(features: Floats, mean: Doubles) -> tuple[Doubles, Doubles, Doubles]:
    """Return the same for fewer photos than features, from the N x N inner products."""
    from scipy.linalg import eigh

    inverse_scale = _inverse_scale(mean, features.std(axis=0, dtype=np.float64))
    standardised = (features - mean) * inverse_scale
    variances, vectors = eigh(standardised @ standardised.T / len(features), driver="evd")
    lengths = np.sqrt(np.maximum(variances, variances[-1] * 1e-9) * len(features))
    return inverse_scale, variances, standardised.T @ (vectors / np.maximum(lengths, 1e-30))


def _inverse_scale(mean: Doubles, deviation: Doubles) -> Doubles:
    """Return what standardising multiplies by: 0 for a feature that changes by no more than rounding does.

    A millionth of the typical deviation is added to each, so that a feature that hardly ever changes among
    these photos does not outweigh all others on the next one.
    """
    varies = deviation > 1e-6 * np.abs(mean)
    typical = float(np.median(deviation[varies])) if varies.any() else 1.0
    return np.where(varies, 1 / (deviation + 1e-6 * typical), 0.0)


@contextmanager
def _threads() -> Iterator[ThreadPoolExecutor]:
    """Open a thread for each core, while BLAS starts none.

    They take blocks of rows, which are summed in order: the same sums on any number of cores. The threads of
    OpenBLAS wait for each other in a busy loop, which made a fit 8 times slower beside another program.
    """
    with (
        _blas().limit(limits=1, user_api="blas"),
        ThreadPoolExecutor(core_count(), "headstart-probe") as pool,
    ):
        yield pool


@functools.cache
def _blas() -> "ThreadpoolController":
    """Return NumPy's and SciPy's BLAS, looked for once: among all that TensorFlow loads it takes some ms."""
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


def _by_blocks(pool: ThreadPoolExecutor, function: Callable[[slice], Part], n: int) -> Iterator[Part]:
    """Yield `function` of each block of n rows, in order; about one result per core is held at a time."""
    blocks = [slice(first, min(first + BLOCK, n)) for first in range(0, n, BLOCK)]
    n_threads = min(core_count(), len(blocks))
    if n_threads == 1:
        yield from map(function, blocks)
        return
    waiting: deque[Future[Part]] = deque()
    for block in blocks:
        waiting.append(pool.submit(function, block))
        if len(waiting) > n_threads:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()
