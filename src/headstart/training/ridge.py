"""Technique 1, feature extraction: a linear head on features that never change, in closed form.

Ridge regression of one-hot labels on scaled features, its intercept free. One decomposition, of what
is smaller, the products of the photos or those of the features, gives the head and what the heads that have
not seen a photo, or a group of photos, make of it: exactly, as if each were fitted anew (Rifkin and Lippert,
Notes on regularized least squares, 2007; for groups the same with blocks of the hat matrix).
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from headstart.base.arrays import Bools, Doubles, Floats, Integers, Rows
from headstart.networks.vectors import BLOCK, Vectors
from headstart.photos.splits import without_whose_group
from headstart.statistics.metrics import softmax
from headstart.training import confidence, threads
from headstart.training.cholesky import ROWS, Factor, NotPositive, Real
from headstart.training.confidence import Confidence

STRENGTHS: tuple[float, ...] = tuple(10.0 ** (power / 2) for power in range(-5, 3))
"""Half decades from 10^-2.5 to 10, in parts of the photos' mean squared length in scaled features.

What is best was between 0.03 and 3 on sets of 80 to 3,000 photos, with 1,300 to 5,900 features.
"""

START = STRENGTHS[4]
"""Where the search begins: 0.316, best on most sets."""

CHOSEN_BY, OF_A_CLASS = 3000, 20
"""Photos by which a strength is chosen and confidence is fitted, spread evenly over all; more where there are
so many classes that they would be fewer than 20 a class."""

SMALL = 1024
"""Up to this many photos, or features, all is computed in float64, where it costs next to nothing; of more in
float32. Left-out scores then differ by up to 6e-5 at the least strength and 3e-6 at `START` (3,409 photos of
clothing, 5,904 features)."""

LARGE = 4
"""A group that is more than this part, a quarter, of what is decomposed is left out by fitting the others."""

ROOT = 0.5
"""The power of its deviation that a feature is divided by, and of their number that those of a place are.

Of clothing, textile, animals and flowers, 1,400 photos each, by both backbones of the default, the left-out
log loss is 4% lower so than with each feature divided by its deviation (geometric mean; in none of the eight
cases higher), and 0.4 points more are right."""

VARIES, FLOOR = 1e-6, 1e-3
"""A feature whose deviation is less than a millionth of its mean does not vary. To each deviation a
thousandth of the typical one is added, so that a feature that hardly ever changes among these photos does not
outweigh all others on the next one."""


@dataclass(frozen=True, eq=False)
class Head:
    """A linear classification layer: probabilities = softmax(features @ weights + bias).

    Attributes:
        weights: float32 (D, C).
        bias: float32 (C,).
        l2: The strength of the penalty it was fitted with; see `STRENGTHS`.
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

    def answers(self, vectors: Vectors) -> Floats:
        """Return the probabilities of N photos, float32 (N, C), whose features are read in blocks."""
        found = [self.probabilities(block) for _, block in vectors.blocks()]
        return np.concatenate(found) if found else np.empty((0, len(self.bias)), np.float32)


@dataclass(frozen=True, eq=False)
class Scaling:
    """What features are scaled by before a head is fitted: (features - centre) * factor.

    Attributes:
        centre: float64 (D,), their weighted means.
        factor: float64 (D,), 0 for a feature that does not vary.
    """

    centre: Doubles
    factor: Doubles


@dataclass(frozen=True, eq=False)
class Fit:
    """A head, and what heads that were not fitted on a photo make of it.

    Attributes:
        head: Fitted on N photos.
        scores: (N, C): the regression's of each photo by the head of the same penalty that was fitted on
            those of other groups; about 1 for a class that it is of, and 0 for others.
        confidence: What scores are worth as probabilities.
    """

    head: Head
    scores: Real
    confidence: Confidence

    @property
    def left_out(self) -> Floats:
        """The scores as probabilities, float32 (N, C)."""
        return softmax(self.confidence.logits(self.scores).astype(np.float32))


class Ridge:
    """Photos on which heads are fitted: on all of them, or on parts.

    Features are scaled by how all photos together vary, weighted, whatever part is fitted on. Each part has
    its own intercept.

    Args:
        vectors: N feature vectors, any scale; read in blocks.
        labels: (N,) in 0..C-1.
        sample_weights: float32 (N,), above 0: how much each photo counts.
        n_classes: C.

    Example:
        >>> features = np.array([[0.0], [1.0], [9.0], [10.0]], np.float32)
        >>> photos = Ridge(Vectors((features,)), np.array([0, 0, 1, 1]), np.ones(4, np.float32), 2)
        >>> found = photos.fit(np.arange(4), np.arange(4))
        >>> found.head.probabilities(features).argmax(axis=1).tolist(), found.left_out.argmax(axis=1).tolist()
        ([0, 0, 1, 1], [0, 0, 1, 1])
    """

    def __init__(self, vectors: Vectors, labels: Integers, sample_weights: Floats, n_classes: int) -> None:
        with threads.opened() as pool:
            self._photos = _Photos(vectors, labels, sample_weights, n_classes, pool)
        self._products: _OfPhotos | _OfFeatures | None = None
        self.vectors = vectors

    @property
    def scaling(self) -> Scaling:
        """What the features are scaled by, whatever part is fitted on."""
        return Scaling(self._photos.mean, self._photos.inverse_scale)

    def head(self, rows: Rows, groups: Integers, strength: float) -> Head:
        """Return the head of some photos, of a strength of penalty that was chosen before; see `fit`."""
        with threads.opened() as pool:
            part, units = self._part(rows, pool), self._telling(_Units.of(groups[rows]), rows, groups)
            solution = part.solve(strength, units, pool)
            certainty = part.confidence(solution, units)
            return self._head(part.line(solution.coefficients, pool), certainty, strength)

    def sure_head(self, rows: Rows, strength: float, certainty: Confidence) -> Head:
        """Return the head of some photos whose confidence is known: nothing is left out, which takes half."""
        with threads.opened() as pool:
            part = self._part(rows, pool)
            coefficients = part.solve(strength, _Units.none(), pool).coefficients
            return self._head(part.line(coefficients, pool), certainty, strength)

    def fit(self, rows: Rows, groups: Integers, start: float = START) -> Fit:
        """Return the head of some photos, with the penalty of the least left-out log loss.

        That is found on `CHOSEN_BY` of the photos, none of them the last of its class when it is left out,
        and confidence is fitted on their left-out scores. The loss is taken to have one valley along
        `STRENGTHS`: the search goes from `start` to either side for as long as it falls.

        Args:
            rows: (M,) Which photos, ascending.
            groups: (N,) Photos of equal number are left out together. Where all M are of one, the scores are
                0 and prove nothing.
            start: One of `STRENGTHS`.
        """
        every = _Units.of(groups[rows])
        units = self._telling(every, rows, groups)
        with threads.opened() as pool:
            part = self._part(rows, pool)
            tried = _Tried(part, units, pool)
            strength = _lowest(tried.loss, STRENGTHS.index(start))
            solution, certainty = tried.of[strength]
            head = self._head(part.line(solution.coefficients, pool), certainty, strength)
            if units is not every:
                solution = part.solve(strength, every, pool)
        scores = np.empty((len(rows), self._photos.n_classes), self._photos.dtype)
        scores[every.rows] = solution.scores
        return Fit(head, scores, certainty)

    def _telling(self, units: "_Units", rows: Rows, groups: Integers) -> "_Units":
        """Return the units that tell what a strength is worth, or some of them.

        Heads that leave out the whole of a class do not know it.
        """
        known = without_whose_group(self._photos.labels[rows], groups[rows])
        if 0 < len(known) < len(rows):
            units = units.chosen(np.isin(units.rows[units.ends - 1], known))
        return units.sample(n_asked(len(units.rows), self._photos.n_classes))

    def _part(self, rows: Rows, pool: ThreadPoolExecutor) -> "_Part":
        """Return some of the photos, ready to be fitted on, with the products of what is smaller."""
        photos = self._photos
        n, n_features = photos.vectors.shape
        if n > n_features >= len(rows):
            self._products = None  # two would be in memory at once
            return _PartOfPhotos(_OfPhotos(photos, rows, pool), rows)
        if n <= n_features:
            if not isinstance(self._products, _OfPhotos):
                self._products = _OfPhotos(photos, np.arange(n), pool)
            return _PartOfPhotos(self._products, rows)
        if not isinstance(self._products, _OfFeatures):
            self._products = _OfFeatures(photos)
        return _PartOfFeatures(self._products, rows)

    def _head(self, line: "_Line", certainty: Confidence, strength: float) -> Head:
        """Return the head that takes the features as they are: mean and scale go into its weights."""
        weights = line.weights * self._photos.inverse_scale[:, None]
        bias = line.bias - self._photos.mean @ weights
        weights, bias = weights * certainty.scales, bias * certainty.scales + certainty.biases
        return Head(weights.astype(np.float32), bias.astype(np.float32), strength)


def n_asked(n_photos: int, n_classes: int) -> int:
    """Return how many photos choose a strength: about `CHOSEN_BY`, or all unless they are twice as many.

    Example:
        >>> n_asked(5000, 10), n_asked(9000, 10), n_asked(9000, 200)
        (5000, 3000, 4000)
    """
    enough = max(CHOSEN_BY, OF_A_CLASS * n_classes)
    return n_photos if n_photos <= 2 * enough else enough


def _lowest(loss: Callable[[float], float], start: int) -> float:
    """Return the strength of the least loss, in the valley that `start` is in."""
    best, least = start, loss(STRENGTHS[start])
    for step in (1, -1):
        while 0 <= best + step < len(STRENGTHS):
            found = loss(STRENGTHS[best + step])
            if found >= least and least < math.inf:
                break
            best, least = best + step, found
        if best != start:
            break
    return STRENGTHS[best]


class _Tried:
    """What came of each strength that was tried on some of the photos of a part."""

    def __init__(self, part: "_Part", units: "_Units", pool: ThreadPoolExecutor) -> None:
        self._part, self._units, self._pool = part, units, pool
        self.of: dict[float, tuple[_Solution, Confidence]] = {}

    def loss(self, strength: float) -> float:
        """Return the mean log loss of left-out scores; infinite where rounding leaves no solution."""
        try:
            found = self._part.solve(strength, self._units, self._pool)
        except NotPositive:
            return math.inf
        certainty = self._part.confidence(found, self._units)
        self.of[strength] = found, certainty
        return certainty.loss


@dataclass(frozen=True, eq=False)
class _Units:
    """Photos that are left out together.

    Attributes:
        rows: (M,) Positions among the photos that are fitted on, those of a unit side by side.
        ends: (U,) Where in `rows` each unit ends.
    """

    rows: Rows
    ends: Rows

    @classmethod
    def of(cls, groups: Integers) -> "_Units":
        """Return the units of photos whose groups have these numbers, in the order of their first photos."""
        _, first, unit_of, sizes = np.unique(
            groups, return_index=True, return_inverse=True, return_counts=True
        )
        return cls(np.argsort(first[unit_of], kind="stable"), sizes[np.argsort(first)].cumsum())

    @classmethod
    def none(cls) -> "_Units":
        """Return no units."""
        return cls(np.empty(0, np.intp), np.empty(0, np.intp))

    @property
    def sizes(self) -> Rows:
        """How many photos each has."""
        return np.diff(self.ends, prepend=0)

    def sample(self, n_enough: int) -> "_Units":
        """Return units of about so many photos, evenly spread; these where it is all of them."""
        if n_enough >= len(self.rows):
            return self
        is_chosen = np.zeros(len(self.ends), bool)
        n_units = max(1, len(is_chosen) * n_enough // len(self.rows))
        is_chosen[np.linspace(0, len(is_chosen) - 1, n_units).astype(int)] = True
        return self.chosen(is_chosen)

    def chosen(self, is_chosen: Bools) -> "_Units":
        """Return some of the units; `is_chosen` is (U,)."""
        return _Units(self.rows[np.repeat(is_chosen, self.sizes)], self.sizes[is_chosen].cumsum())

    def batches(self) -> Iterator["_Units"]:
        """Yield units of `ROWS` photos or less together, or one that has more."""
        first = 0
        while first < len(self.ends):
            begin = self.ends[first - 1] if first else 0
            end = max(first + 1, int(np.searchsorted(self.ends, begin + ROWS, side="right")))
            yield _Units(self.rows[begin : self.ends[end - 1]], self.ends[first:end] - begin)
            first = end


class _Photos:
    """Scaled features, in the kind of numbers that is computed with."""

    def __init__(
        self,
        vectors: Vectors,
        labels: Integers,
        sample_weights: Floats,
        n_classes: int,
        pool: ThreadPoolExecutor,
    ) -> None:
        self.vectors, self.labels, self.n_classes = vectors, labels, n_classes
        self.sample_weights = sample_weights.astype(np.float64)
        self.dtype = np.dtype(np.float64 if min(vectors.shape) <= SMALL else np.float32)
        self.mean, deviation = _moments(vectors, self.sample_weights, pool)
        self.inverse_scale = _inverse_scale(self.mean, deviation, vectors.places)
        self._shift, self._scale = self.mean.astype(self.dtype), self.inverse_scale.astype(self.dtype)

    def take(self, rows: Rows) -> Real:
        """Return some rows, (len(rows), D)."""
        found = self.vectors[rows].astype(self.dtype, copy=False)
        found -= self._shift
        found *= self._scale
        return found


def _moments(vectors: Vectors, weights: Doubles, pool: ThreadPoolExecutor) -> tuple[Doubles, Doubles]:
    """Return the weighted mean and standard deviation of each feature, float64 (D,)."""
    n, n_features = vectors.shape
    n_rows = 1 + ROWS // 4  # in float64, and squared
    near = vectors[:n_rows].mean(axis=0, dtype=np.float64)

    def sums_of(rows: slice) -> tuple[Doubles, Doubles]:
        values = vectors[rows] - near
        return weights[rows] @ values, weights[rows] @ values**2

    first, second = np.zeros(n_features), np.zeros(n_features)
    for sums, squares in threads.in_order(pool, sums_of, threads.pieces(0, n, n_rows)):
        first, second = first + sums, second + squares
    off = first / weights.sum()
    return near + off, np.sqrt(np.maximum(second / weights.sum() - off**2, 0))


def _inverse_scale(mean: Doubles, deviation: Doubles, places: Sequence[slice]) -> Doubles:
    """Return what features are multiplied by: 0 for one that does not vary.

    Each is divided by the root of its deviation (`ROOT`), and those of a place are then brought to a mean
    square of one over the root of their number.
    """
    varies = deviation > VARIES * np.abs(mean)
    typical = float(np.median(deviation[varies])) if varies.any() else 1.0
    scale = np.where(varies, (deviation + FLOOR * typical) ** -ROOT, 0.0)
    for place in places:
        squares = float(((deviation[place] * scale[place]) ** 2).mean())
        n_features = place.stop - place.start
        scale[place] /= math.sqrt(squares * n_features**ROOT) if squares else 1.0
    return scale


class _OfPhotos:
    """The inner products of M photos with each other, below the diagonal; above it is room for a factor."""

    def __init__(self, photos: _Photos, rows: Rows, pool: ThreadPoolExecutor) -> None:
        self.photos, self.rows = photos, rows
        self.array = np.empty((len(rows), len(rows)), photos.dtype)
        for block in threads.pieces(0, len(rows), BLOCK):
            of_block = photos.take(rows[block])

            def fill(other: slice, block: slice = block, of_block: Real = of_block) -> None:
                self.array[block, other] = of_block @ photos.take(rows[other]).T

            list(threads.in_order(pool, fill, threads.pieces(0, block.stop, ROWS)))


class _OfFeatures:
    """The inner products of the features over some photos, below the diagonal; above it is room for a factor.

    Photos are added and taken away, which makes one part's products of another's.
    """

    def __init__(self, photos: _Photos) -> None:
        n, n_features = photos.vectors.shape
        self.photos = photos
        self._is_in = np.zeros(n, bool)
        self.array = np.zeros((n_features, n_features), photos.dtype)
        self.sums = np.zeros(n_features)
        self.by_class = np.zeros((n_features, photos.n_classes))

    def move_to(self, rows: Rows, pool: ThreadPoolExecutor) -> None:
        """Let the products be those over these photos."""
        wanted = np.zeros(len(self._is_in), bool)
        wanted[rows] = True
        if (wanted != self._is_in).sum() > wanted.sum():
            self._is_in[:] = False
            for one in (self.array, self.sums, self.by_class):
                one[:] = 0
        self._add(np.flatnonzero(wanted & ~self._is_in), 1, pool)
        self._add(np.flatnonzero(self._is_in & ~wanted), -1, pool)
        self._is_in = wanted

    def _add(self, rows: Rows, sign: int, pool: ThreadPoolExecutor) -> None:
        photos, n_features = self.photos, len(self.array)

        def read(piece: slice) -> tuple[Rows, Real]:
            return rows[piece], photos.take(rows[piece])

        for chosen, block in threads.in_order(pool, read, threads.pieces(0, len(rows), BLOCK // 2), ahead=1):
            weights = photos.sample_weights[chosen]
            one_hot = weights[:, None] * _one_hot(photos.labels[chosen], photos.n_classes)
            self.sums += sign * (weights @ block)
            self.by_class += sign * (block.T @ one_hot.astype(photos.dtype))
            block *= np.sqrt(weights).astype(photos.dtype)[:, None]

            def add(panel: slice, block: Real = block) -> None:
                others = slice(0, panel.stop)
                products = block[:, panel].T @ block[:, others]
                products *= sign
                self.array[panel, others] += products

            list(threads.in_order(pool, add, threads.pieces(0, n_features, ROWS)))


@dataclass(frozen=True, eq=False)
class _Solution:
    """Of one penalty.

    Attributes:
        coefficients: Of the photos, (M, C), or of the features, (D, C).
        scores: (K, C), of the photos that were asked about, left out.
    """

    coefficients: Real
    scores: Real


@dataclass(frozen=True, eq=False)
class _Line:
    """Scores = scaled features @ weights + bias: float64 (D, C) and (C,)."""

    weights: Doubles
    bias: Doubles


class _Part(ABC):
    """Some of the photos, M of them, ready to be fitted on.

    What is solved are the normal equations of features and targets less their means, each row times the root
    of its weight: the hat matrix H is symmetric there, and takes 1/M off for the intercept. Left out, a unit
    of photos has the errors inv(I - H of the unit) times those that it has when it is fitted on.

    Args:
        photos: All.
        rows: (M,) Which of them, ascending.
        unit_weight: What counts as one photo; the mean of their weights where it is not said.

    Attributes:
        labels: (M,).
    """

    side: int
    """Rows of what is decomposed."""
    room: Real
    """Where the factor is put."""

    def __init__(self, photos: _Photos, rows: Rows, unit_weight: float | None) -> None:
        self.photos, self.rows, self.labels = photos, rows, photos.labels[rows]
        self.unit_weight = unit_weight or float(photos.sample_weights[rows].mean())
        weights = photos.sample_weights[rows] / self.unit_weight
        self.total, self.roots = float(weights.sum()), np.sqrt(weights)
        self.mean_target = np.bincount(self.labels, weights, photos.n_classes) / self.total

    def solve(self, strength: float, units: _Units, pool: ThreadPoolExecutor) -> _Solution:
        """Return the solution of a strength, and the scores of units by those that leave them out.

        Raises:
            NotPositive: Rounding leaves none.
        """
        self.prepare(pool)
        diagonal = threads.pieces(0, self.side, ROWS)
        level = sum(float(self.block(one, one).trace()) for one in diagonal) / len(self.rows)
        penalty = strength * (level or 1.0)  # else no feature varies
        factor, coefficients = self._solved(penalty, pool)
        largest = max(self.side // LARGE, ROWS)

        def ask(batch: _Units) -> Real | None:
            if batch.sizes[0] == len(self.rows):  # and none are left to fit on
                return np.zeros((len(batch.rows), self.photos.n_classes))
            if len(batch.rows) > largest:
                return None
            return self._left_out(factor, penalty, coefficients, batch)

        batches = list(units.batches())
        found = list(threads.in_order(pool, ask, batches))
        # The factor is lost by that, so these come last.
        answers = [
            self._by_others(penalty, batch.rows, pool) if one is None else one
            for batch, one in zip(batches, found, strict=True)
        ]
        none = np.empty((0, self.photos.n_classes))
        return _Solution(coefficients, np.concatenate([*answers, none]))

    def confidence(self, solution: _Solution, units: _Units) -> Confidence:
        """Return what left-out scores are worth, by those of the units that were asked about."""
        return confidence.fit(solution.scores, self.labels[units.rows], self.roots[units.rows] ** 2)

    def _solved(self, penalty: float, pool: ThreadPoolExecutor) -> tuple[Factor, Real]:
        factor = Factor(self.block, self.side, penalty, self.room, pool)
        return factor, factor.solve(self.right())

    def _left_out(self, factor: Factor, penalty: float, coefficients: Real, batch: _Units) -> Real:
        """Return the scores (K, C) of the units of a batch."""
        errors, whitened = self.asked(factor, penalty, coefficients, batch.rows)
        roots = self.roots[batch.rows]
        whole, part = (0.0, penalty) if self.is_of_photos else (1.0, -1.0)
        shares = roots / math.sqrt(self.total)
        alone = whole + part * np.einsum("ij,ij->i", whitened, whitened) - shares**2
        found = errors / alone[:, None]
        for end, size in zip(batch.ends.tolist(), batch.sizes.tolist(), strict=True):
            if size > 1:
                unit = slice(end - size, end)
                rest = part * (whitened[unit] @ whitened[unit].T) - np.outer(shares[unit], shares[unit])
                rest[np.diag_indices(size)] += whole
                found[unit] = np.linalg.solve(rest, errors[unit])
        one_hot = _one_hot(self.labels[batch.rows], self.photos.n_classes)
        return np.asarray(one_hot - found / roots[:, None])

    def _targets(self, positions: Rows) -> Doubles:
        return _one_hot(self.labels[positions], self.photos.n_classes) - self.mean_target

    def _by_others(self, penalty: float, positions: Rows, pool: ThreadPoolExecutor) -> Real:
        """Return the scores (K, C) of some photos by the solution that is fitted on the others."""
        part = self.of(np.delete(self.rows, positions))
        part.prepare(pool)
        line = part.line(part._solved(penalty, pool)[1], pool)
        pieces = threads.pieces(0, len(positions), ROWS)
        asked = self.rows[positions]
        return np.concatenate([self.photos.take(asked[one]) @ line.weights + line.bias for one in pieces])

    is_of_photos: bool

    @abstractmethod
    def of(self, rows: Rows) -> "_Part":
        """Return other photos, whose weights count as these do."""

    @abstractmethod
    def prepare(self, pool: ThreadPoolExecutor) -> None:
        """Make the products ready: what follows holds until those of another part are."""

    @abstractmethod
    def block(self, rows: slice, columns: slice) -> Real:
        """Return a block of what is decomposed, at the diagonal or below."""

    @abstractmethod
    def right(self) -> Real:
        """Return the right side of the equations, (side, C)."""

    @abstractmethod
    def asked(
        self, factor: Factor, penalty: float, coefficients: Real, positions: Rows
    ) -> tuple[Doubles, Real]:
        """Return the errors of some photos, (K, C), and rows whose products H is made of, (K, side)."""

    @abstractmethod
    def line(self, coefficients: Real, pool: ThreadPoolExecutor) -> _Line:
        """Return what the solution makes of scaled features."""


class _PartOfPhotos(_Part):
    """By the products of the photos: I - H = penalty * inv(K + penalty) - 1/M."""

    is_of_photos = True

    def __init__(self, products: _OfPhotos, rows: Rows, unit_weight: float | None = None) -> None:
        super().__init__(products.photos, rows, unit_weight)
        self.products, self.side, self.room = products, len(rows), products.array
        self._places, self._roots = (
            np.searchsorted(products.rows, rows),
            self.roots.astype(self.photos.dtype),
        )

    def of(self, rows: Rows) -> "_PartOfPhotos":
        return _PartOfPhotos(self.products, rows, self.unit_weight)

    def prepare(self, pool: ThreadPoolExecutor) -> None:
        weights = self.roots**2 / self.total
        means = np.zeros(self.side)
        for rows in threads.pieces(0, self.side, ROWS):
            for columns in threads.pieces(0, rows.stop, ROWS):
                block = self._raw(rows, columns)
                means[rows] += block @ weights[columns]
                if columns != rows:
                    means[columns] += weights[rows] @ block
        # The products of rows less their mean, in two halves, so that each block takes off its own.
        self._off = (means - (weights @ means) / 2).astype(self.photos.dtype)

    def _raw(self, rows: slice, columns: slice) -> Real:
        found = self.products.array[np.ix_(self._places[rows], self._places[columns])]
        # Above the diagonal there may be a factor.
        return np.asarray(np.tril(found) + np.tril(found, -1).T if rows == columns else found)

    def block(self, rows: slice, columns: slice) -> Real:
        found = self._raw(rows, columns)
        found -= self._off[rows, None]
        found -= self._off[columns]
        found *= self._roots[rows, None]
        found *= self._roots[columns]
        return found

    def right(self) -> Real:
        return (self._targets(np.arange(self.side)) * self.roots[:, None]).astype(self.photos.dtype)

    def asked(
        self, factor: Factor, penalty: float, coefficients: Real, positions: Rows
    ) -> tuple[Doubles, Real]:
        rows = np.zeros((len(positions), self.side), self.photos.dtype)
        rows[np.arange(len(positions)), positions] = 1
        return penalty * coefficients[positions].astype(np.float64), factor.whiten(rows, int(positions.min()))

    def line(self, coefficients: Real, pool: ThreadPoolExecutor) -> _Line:
        photos, weights = self.photos, self.roots**2 / self.total
        by_root = coefficients * self._roots[:, None]

        def sums_of(piece: slice) -> tuple[Real, Real]:
            block = photos.take(self.rows[piece])
            return block.T @ by_root[piece], weights[piece] @ block

        found, mean = np.zeros((photos.vectors.shape[1], photos.n_classes)), np.zeros(photos.vectors.shape[1])
        for part, of_mean in threads.in_order(pool, sums_of, threads.pieces(0, self.side, ROWS)):
            found, mean = found + part, mean + of_mean
        return _Line(found, self.mean_target - mean @ found)


class _PartOfFeatures(_Part):
    """By the products of the features: H = Z inv(ZᵀZ + penalty) Zᵀ + 1/M."""

    is_of_photos = False

    def __init__(self, products: _OfFeatures, rows: Rows, unit_weight: float | None = None) -> None:
        super().__init__(products.photos, rows, unit_weight)
        self.products, self.side, self.room = products, len(products.array), products.array

    def of(self, rows: Rows) -> "_PartOfFeatures":
        return _PartOfFeatures(self.products, rows, self.unit_weight)

    def prepare(self, pool: ThreadPoolExecutor) -> None:
        self.products.move_to(self.rows, pool)
        dtype = self.photos.dtype
        self._mean = self.products.sums / (self.unit_weight * self.total)
        self._means, self._sums = self._mean.astype(dtype), (self._mean * self.total).astype(dtype)
        self._unit = dtype.type(self.unit_weight)

    def block(self, rows: slice, columns: slice) -> Real:
        found: Real = self.products.array[rows, columns] / self._unit
        found -= np.outer(self._sums[rows], self._means[columns])
        return found

    def right(self) -> Real:
        by_class = self.products.by_class / self.unit_weight
        found = by_class - np.outer(self._mean * self.total, self.mean_target)
        return found.astype(self.photos.dtype)

    def asked(
        self, factor: Factor, penalty: float, coefficients: Real, positions: Rows
    ) -> tuple[Doubles, Real]:
        roots, rows = self.roots[positions, None], self.photos.take(self.rows[positions])
        rows -= self._means
        rows *= roots.astype(self.photos.dtype)
        return self._targets(positions) * roots - rows @ coefficients, factor.whiten(rows)

    def line(self, coefficients: Real, pool: ThreadPoolExecutor) -> _Line:
        weights = coefficients.astype(np.float64)
        return _Line(weights, self.mean_target - self._mean @ weights)


def _one_hot(labels: Integers, n_classes: int) -> Doubles:
    return np.asarray(labels[:, None] == np.arange(n_classes), dtype=np.float64)
