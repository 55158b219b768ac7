"""A learning curve as results tell it: what was measured, the law fitted to it, what more would bring."""

from dataclasses import dataclass

from headstart.statistics.significance import Interval


@dataclass(frozen=True)
class Point:
    """What was measured with so many training photos.

    Attributes:
        n_photos: Training photos, the mean of the draws.
        accuracy: Mean over the draws.
        interval: Wilson's, for as many evaluation photos as there are; another draw is not covered.
        n_draws: Heads fitted on different photos.
    """

    n_photos: int
    accuracy: float
    interval: Interval
    n_draws: int


@dataclass(frozen=True)
class PowerLaw:
    """Error with n training photos: floor + scale * n ** -exponent, each 0 or more."""

    floor: float
    scale: float
    exponent: float


@dataclass(frozen=True)
class Prediction:
    """The accuracy to expect with so many training photos; the band also covers other evaluation photos."""

    n_photos: int
    accuracy: float
    interval: Interval


@dataclass(frozen=True)
class MorePhotos:
    """How many more training photos bring a gain, or why that cannot be said.

    Attributes:
        gain: Of accuracy, or of the recall of a class: 0.01 is one point.
        n_photos: By the fitted law; None where it cannot be said.
        low: Lower end of the band; None with `n_photos`.
        high: Upper end; None with `n_photos`.
        reason: Why it cannot be said, a part of a sentence; "" where it can.
    """

    gain: float
    n_photos: int | None
    low: int | None
    high: int | None
    reason: str = ""


@dataclass(frozen=True)
class ClassCurve:
    """The learning curve of one class, while all classes grow alike.

    Attributes:
        name: The class name.
        n_photos: Training photos of it, all of them.
        n_evaluated: Evaluation photos of it.
        recalls: At each part of the training photos; None where it has no evaluation photo.
        more: How many more photos of it bring one point of recall, the others growing alike.
    """

    name: str
    n_photos: int
    n_evaluated: int
    recalls: tuple[float | None, ...]
    more: MorePhotos


@dataclass(frozen=True)
class LearningCurve:
    """How accuracy grew with the training photos.

    Attributes:
        n_evaluated: Evaluation photos.
        points: From the smallest part to the whole.
        law: Fitted to them.
        fitted: What the law gives at the points, with its band.
        doubled: What twice the training photos would give, the classes in the same proportions.
        more: How many more training photos bring one point of accuracy.
        per_class: In the order of the class names.
    """

    n_evaluated: int
    points: tuple[Point, ...]
    law: PowerLaw
    fitted: tuple[Prediction, ...]
    doubled: Prediction
    more: MorePhotos
    per_class: tuple[ClassCurve, ...]
