"""How good probabilities are against labels, over all photos and class by class."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

PROBABILITY_FLOOR = float(np.finfo(np.float32).eps)
"""Least probability that log loss counts, 1.19e-7: one certain mistake costs 15.9, never infinity.

It is float32's rounding unit, for that is what a network's output can tell from 0.
"""


@dataclass(frozen=True)
class PerClass:
    """One class's figures, each in [0, 1]; `n_images` is the number of photos that bear its label.

    With no photo predicted as it, precision is 0; with none labelled so, recall is 0; F1 then is 0 too.
    """

    name: str
    precision: float
    recall: float
    f1: float
    n_images: int


@dataclass(frozen=True)
class Evaluation:
    """How a classifier did on one part of the photos.

    Attributes:
        n_images: Photos scored, N.
        accuracy: Part of the photos whose likeliest class is their label.
        balanced_accuracy: Mean recall of the classes that have photos here, each counted alike.
        macro_f1: Mean F1 of the classes that have photos here or were predicted, each counted alike.
        log_loss: Mean of -ln(probability of the label), from 0 to 15.95.
        per_class: One for each of the C classes, in the order of the class names.
        confusion: C rows of C counts; row i, column j counts the photos of class i predicted as j.
    """

    n_images: int
    accuracy: float
    balanced_accuracy: float
    macro_f1: float
    log_loss: float
    per_class: tuple[PerClass, ...]
    confusion: tuple[tuple[int, ...], ...]


def evaluate(
    labels: NDArray[np.integer],
    probabilities: NDArray[np.floating],
    class_names: tuple[str, ...],
) -> Evaluation:
    """Score probabilities against labels; on a tie the class with the lower index is the prediction.

    Args:
        labels: (N,) indices into `class_names`, N of 1 or more.
        probabilities: (N, C) in [0, 1], each row with the sum 1 (to 1e-3).
        class_names: C names. A class without a photo among the labels is allowed.

    Raises:
        ValueError: Shapes that do not fit, no photos, a label outside the classes, or rows that are not
            probabilities.

    Example:
        >>> result = evaluate(np.array([0, 0, 1]), np.array([[.9, .1], [.4, .6], [.2, .8]]), ("cat", "dog"))
        >>> result.accuracy, result.balanced_accuracy, result.confusion
        (0.6666666666666666, 0.75, ((1, 1), (0, 1)))
    """
    _refuse_unfit(labels, probabilities, class_names)
    predicted = probabilities.argmax(axis=1)
    per_class, confusion = _per_class(labels, predicted, class_names)
    has_photos = [one for one in per_class if one.n_images]
    is_seen = [bool(row.any() or column.any()) for row, column in zip(confusion, confusion.T, strict=True)]
    return Evaluation(
        n_images=len(labels),
        accuracy=float(np.mean(predicted == labels)),
        balanced_accuracy=_mean([one.recall for one in has_photos]),
        macro_f1=_mean([one.f1 for one, seen in zip(per_class, is_seen, strict=True) if seen]),
        log_loss=log_loss(labels, probabilities),
        per_class=per_class,
        confusion=tuple(tuple(int(count) for count in row) for row in confusion),
    )


def _per_class(
    labels: NDArray[np.integer], predicted: NDArray[np.integer], class_names: tuple[str, ...]
) -> tuple[tuple[PerClass, ...], NDArray[np.int64]]:
    # Not by scikit-learn, which takes a second to import; the tests compare.
    confusion = np.zeros((len(class_names), len(class_names)), np.int64)
    np.add.at(confusion, (labels, predicted), 1)
    right, given, asked = confusion.diagonal(), confusion.sum(axis=1), confusion.sum(axis=0)
    figures = (
        right / np.maximum(asked, 1),
        right / np.maximum(given, 1),
        2 * right / np.maximum(given + asked, 1),
    )
    rows = zip(class_names, *(column.tolist() for column in (*figures, given)), strict=True)
    return tuple(PerClass(*row) for row in rows), confusion


def log_loss(labels: NDArray[np.integer], probabilities: NDArray[np.floating]) -> float:
    """Return the mean of -ln(p) in nats, p being what each label was given.

    Everything that is ranked or chosen by log loss is so by this one, with this floor.

    Args:
        labels: (N,) indices of classes, N of 1 or more.
        probabilities: (N, C); of these, what is below `PROBABILITY_FLOOR` counts as that.

    Example:
        >>> round(log_loss(np.array([0, 1]), np.array([[0.5, 0.5], [0.75, 0.25]])), 4)
        1.0397
    """
    return float(losses(labels, probabilities).mean())


def losses(labels: NDArray[np.integer], probabilities: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return float64 (N,), what each photo adds to the mean that is `log_loss`, from 0 to 15.95."""
    given = probabilities[np.arange(len(labels)), labels].astype(np.float64)
    return np.asarray(0.0 - np.log(given.clip(PROBABILITY_FLOOR, 1.0)))  # not -ln(1), which is -0.0


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def _refuse_unfit(
    labels: NDArray[np.integer], probabilities: NDArray[np.floating], class_names: tuple[str, ...]
) -> None:
    n_classes = len(class_names)
    if labels.ndim != 1 or probabilities.shape != (len(labels), n_classes):
        raise ValueError(
            f"labels are {labels.shape} and probabilities {probabilities.shape}; "
            f"expected (N,) and (N, {n_classes}) for {n_classes} class names"
        )
    if not len(labels):
        raise ValueError("there are no photos to evaluate")
    if labels.min() < 0 or labels.max() >= n_classes:
        raise ValueError(f"labels run from {labels.min()} to {labels.max()}; expected 0 to {n_classes - 1}")
    sums = probabilities.sum(axis=1, dtype=np.float64)
    if not (probabilities.min() >= 0 and np.allclose(sums, 1, rtol=0, atol=1e-3)):
        raise ValueError("probabilities must be 0 or more, and each row's sum 1")


def softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return probabilities of the shape of `logits`; safe for large logits.

    Example:
        >>> softmax(np.array([[1000.0, 1000.0]], np.float32)).tolist()
        [[0.5, 0.5]]
    """
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True), dtype=np.float32)


def logits_of(probabilities: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return logits that `softmax` makes these probabilities of, finite also where one is 0.

    Example:
        >>> softmax(logits_of(np.array([[0.75, 0.25]], np.float32))).tolist()
        [[0.75, 0.25]]
    """
    return np.asarray(np.log(np.maximum(probabilities, np.finfo(np.float32).tiny)), np.float32)
