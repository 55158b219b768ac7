"""Random views of a training photo, and which of them leave its label true.

Augmentation happens to pixels before they enter the graph, never in it, so that an exported
model has none of it. A view that changes what a class is does harm: mirrored, a weave to the
left is a weave to the right.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headstart.base.arrays import Floats, Labels, Rows
from headstart.networks.engine import Engine
from headstart.networks.vectors import Vectors
from headstart.results.comparison import Effect
from headstart.statistics.metrics import log_loss
from headstart.training.ridge import Head, Ridge

Picture = NDArray[np.uint8]
Operation = Callable[[Picture, np.random.Generator], Picture]

SHIFT = 1 / 8
"""The furthest move, as a part of the side."""
LEAST_AREA = 0.6
"""The least area that a zoomed view keeps, as a part of the whole."""
LIGHTING = 0.25
"""The furthest change of contrast and of brightness, as a part of the whole."""

CHECKED = 200
"""Training photos whose views are looked at, at the most: seconds, and enough to see a class change."""
HARM = 1 / 4
LEAST_HARM = 0.1
"""An operation does harm when it adds more than a quarter to the log loss, and more than 0.1 nats."""


def mirror(picture: Picture, random: np.random.Generator) -> Picture:
    """Swap left and right."""
    return np.ascontiguousarray(picture[:, ::-1])


def shift(picture: Picture, random: np.random.Generator) -> Picture:
    """Move by up to an eighth of the side, with no change of scale; the border is reflected."""
    margin = int(len(picture) * SHIFT)
    top, left = random.integers(0, 2 * margin + 1, 2)
    import cv2

    framed = cv2.copyMakeBorder(picture, margin, margin, margin, margin, cv2.BORDER_REFLECT_101)
    return np.ascontiguousarray(framed[top : top + len(picture), left : left + len(picture)])


def zoom(picture: Picture, random: np.random.Generator) -> Picture:
    """Enlarge a random square, of 60 to 100% of the area."""
    side = len(picture)
    kept = int(side * random.uniform(LEAST_AREA, 1) ** 0.5)
    top, left = random.integers(0, side - kept + 1, 2)
    import cv2

    part = picture[top : top + kept, left : left + kept]
    view: Picture = np.asarray(cv2.resize(part, (side, side), interpolation=cv2.INTER_LINEAR), dtype=np.uint8)
    return view


def lighting(picture: Picture, random: np.random.Generator) -> Picture:
    """Change contrast and brightness by up to a quarter each."""
    contrast, brightness = 1 + random.uniform(-LIGHTING, LIGHTING, 2)
    mean = picture.mean()
    changed: Picture = np.clip((picture - mean) * contrast + mean * brightness, 0, 255).astype(np.uint8)
    return changed


OPERATIONS: dict[str, tuple[Operation, float]] = {
    "mirror": (mirror, 0.5),
    "shift": (shift, 1.0),
    "zoom": (zoom, 1.0),
    "lighting": (lighting, 1.0),
}
"""Each with the part of the views that it is applied to."""

LEVELS = {"none": (), "light": ("mirror", "shift"), "full": ("mirror", "zoom", "lighting")}


def view(picture: Picture, operations: Sequence[str], random: np.random.Generator) -> Picture:
    """Return a random view, uint8 of the same shape; `picture` stays as it is.

    Example:
        >>> grey = np.full((8, 8, 3), 100, np.uint8)
        >>> bool((view(grey, ("mirror", "shift"), np.random.default_rng(0)) == grey).all())
        True
    """
    for name in operations:
        operation, part = OPERATIONS[name]
        if part == 1 or random.random() < part:
            picture = operation(picture, random)
    return picture


def harmless(effects: Sequence[Effect]) -> tuple[str, ...]:
    """Return the operations that do no harm; what a zoom moves need not be shifted too.

    Example:
        >>> harmless([Effect("mirror", 0.5, 0.9), Effect("shift", 0.5, 0.5), Effect("zoom", 0.5, 0.6)])
        ('zoom',)
    """
    names = [one.operation for one in effects if is_harmless(one)]
    return tuple(name for name in names if name != "shift" or "zoom" not in names)


def is_harmless(effect: Effect) -> bool:
    """Say whether the views still look like their class, within `LEAST_HARM` and `HARM`."""
    return effect.view_loss - effect.plain_loss <= max(LEAST_HARM, HARM * effect.plain_loss)


def check(
    engine: Engine,
    pictures: NDArray[np.uint8],
    features: Floats,
    labels: Labels,
    *,
    l2: float,
    seed: int,
) -> tuple[Effect, ...]:
    """Return the effect of every operation, by what heads make of views of photos they have not seen.

    A head is fitted on the plain features of one half of the photos and asked about views of the
    other half, and the other way round. Where views of one class look like another class, or like
    none, its log loss shows it.

    Args:
        engine: The backbone, pixels to features.
        pictures: uint8 (N, S, S, 3), training photos.
        features: float32 (N, D), of these photos the last D numbers that the engine makes.
        labels: int32 (N,), their labels.
        l2: The strength of penalty that the head on all training photos came out with.
        seed: Of the generator of the views.
    """
    halves = _halves(features, labels, l2)
    plain_loss = _held_out_loss(features, labels, halves)
    effects = []
    for name, (operation, _) in OPERATIONS.items():
        random = np.random.default_rng(seed)
        views = (operation(picture, random) for picture in pictures)
        seen = np.stack(list(engine.stream(views)))[:, -features.shape[1] :]
        effects.append(Effect(name, plain_loss, _held_out_loss(seen, labels, halves)))
    return tuple(effects)


def sample(labels: Labels, seed: int) -> NDArray[np.intp]:
    """Return the indices of at most `CHECKED` photos, drawn at random, in ascending order."""
    drawn = np.random.default_rng(seed).permutation(len(labels))[:CHECKED]
    return np.sort(drawn)


@dataclass(frozen=True, eq=False)
class _Half:
    """A head, and the rows of the photos that it was not fitted on."""

    head: Head
    held_out: Rows


def _halves(features: Floats, labels: Labels, l2: float) -> tuple[_Half, _Half]:
    """Return the heads of both halves of the photos, each class divided as evenly as can be."""
    is_first = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        is_first[np.flatnonzero(labels == label)[::2]] = True
    first, second = np.flatnonzero(is_first), np.flatnonzero(~is_first)
    photos = Ridge(Vectors((features,)), labels, np.ones(len(labels), np.float32), int(labels.max()) + 1)
    apart = np.arange(len(labels))
    return _Half(photos.head(first, apart, l2), second), _Half(photos.head(second, apart, l2), first)


def _held_out_loss(views: Floats, labels: Labels, halves: Sequence[_Half]) -> float:
    """Return the mean log loss on the views, each half by the head of the other half."""
    loss = sum(
        log_loss(labels[one.held_out], one.head.probabilities(views[one.held_out])) * len(one.held_out)
        for one in halves
    )
    return loss / len(labels)
