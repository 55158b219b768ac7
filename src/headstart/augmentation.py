"""Random views of a training photo, and which of them leave its label true.

Augmentation happens to pixels before they enter the graph, never in it, so that an exported
model has none of it. A view that changes what a class is does harm: mirrored, a weave to the
left is a weave to the right.
"""

from collections.abc import Callable, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]
Operation = Callable[[Picture, np.random.Generator], Picture]

SHIFT = 1 / 8
"""The furthest move, as a part of the side."""
SMALLEST_ZOOM = 0.6
"""The least side that a zoomed view keeps, as a part of the whole."""
LIGHTING = 0.25
"""The furthest change of contrast and of brightness, as a part of the whole."""


def mirror(picture: Picture, random: np.random.Generator) -> Picture:
    """Swap left and right in half of the views."""
    return np.ascontiguousarray(picture[:, ::-1]) if random.random() < 0.5 else picture


def shift(picture: Picture, random: np.random.Generator) -> Picture:
    """Move by up to an eighth of the side, with no change of scale; the border is reflected."""
    margin = int(len(picture) * SHIFT)
    top, left = random.integers(0, 2 * margin + 1, 2)
    framed = cv2.copyMakeBorder(picture, margin, margin, margin, margin, cv2.BORDER_REFLECT_101)
    return np.ascontiguousarray(framed[top : top + len(picture), left : left + len(picture)])


def zoom(picture: Picture, random: np.random.Generator) -> Picture:
    """Enlarge a random part, of 60 to 100% of the height and of the width each."""
    side = len(picture)
    height, width = (random.uniform(SMALLEST_ZOOM, 1, 2) * side).astype(int)
    top, left = random.integers(0, side - height + 1), random.integers(0, side - width + 1)
    part = picture[top : top + height, left : left + width]
    return np.asarray(cv2.resize(part, (side, side), interpolation=cv2.INTER_LINEAR), dtype=np.uint8)


def lighting(picture: Picture, random: np.random.Generator) -> Picture:
    """Change contrast and brightness by up to a quarter each."""
    contrast, brightness = 1 + random.uniform(-LIGHTING, LIGHTING, 2)
    mean = picture.mean()
    return np.clip((picture - mean) * contrast + mean * brightness, 0, 255).astype(np.uint8)


OPERATIONS: dict[str, Operation] = {"mirror": mirror, "shift": shift, "zoom": zoom, "lighting": lighting}
LIGHT = ("mirror", "shift")
FULL = tuple(OPERATIONS)


def view(picture: Picture, operations: Sequence[str], random: np.random.Generator) -> Picture:
    """Return a random view, uint8 of the same shape; `picture` stays as it is.

    Example:
        >>> grey = np.full((8, 8, 3), 100, np.uint8)
        >>> bool((view(grey, ("mirror", "shift"), np.random.default_rng(0)) == grey).all())
        True
    """
    for name in operations:
        picture = OPERATIONS[name](picture, random)
    return picture


def choose(augment: str) -> tuple[str, ...]:
    return {"none": (), "light": LIGHT, "full": FULL, "auto": LIGHT}[augment]
