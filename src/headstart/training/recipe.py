"""How to fine-tune: what is fixed beforehand, and the learning rate of each step."""

import math
from dataclasses import dataclass

WARM_UP = 0.3
"""The part of all steps in which the learning rate rises; then it falls along a cosine."""

WEIGHT_DECAY = 0.01
CLIP_NORM = 1.0
"""The longest gradient that a step follows: one batch that the probe gets badly wrong does less harm."""


@dataclass(frozen=True)
class Recipe:
    """How to fine-tune: all of it numbers and words, so that it can stand in a record.

    `views` is how many random views of a photo the frozen trunk is asked about, once each; with 0 it is
    asked again in each pass.
    """

    image_size_px: int
    fit: str
    epochs: int
    batch_size: int
    learning_rate: float
    patience: int
    operations: tuple[str, ...]
    views: int
    seed: int


def learning_rate(step: int, n_steps: int, peak: float) -> float:
    """Return the rate of a step, counted from 0: a straight rise to the peak, then half a cosine.

    The same as `keras.optimizers.schedules.CosineDecay` with a warm-up, but known outside the graph, so
    that the number of steps may change without compiling it again.

    Example:
        >>> [round(learning_rate(step, 10, 1.0), 2) for step in range(10)]
        [0.25, 0.5, 0.75, 1.0, 0.95, 0.81, 0.61, 0.39, 0.19, 0.05]
    """
    n_warm_up = max(1, int(WARM_UP * n_steps))
    if step < n_warm_up:
        return peak * (1 + step) / (n_warm_up + 1)
    return peak * (1 + math.cos(math.pi * (step - n_warm_up) / max(1, n_steps - n_warm_up))) / 2
