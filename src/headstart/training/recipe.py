"""How to fine-tune: what is fixed beforehand, and the learning rate of each step."""

import math
from dataclasses import dataclass

WARM_UP_STEPS, WARM_UP = 50, 0.3
"""The learning rate rises in so many steps, but no more than this part of all, and then falls along a cosine.

More passes do not lengthen the rise. Adam has to see some gradients to know how long its steps may be."""
LOWEST = 1 / 20
"""The part of the peak at which the last pass ends."""

TYPICAL_KERNEL = 0.05
"""The root mean square of a kernel whose steps are as long as the rate; others' are in proportion to theirs.

As pretrained, those of mobilenet_v2's second half lie between 0.03 and 0.11, layer by layer; with BatchNorm
folded into them between 0.01 and 1.4, so that steps of one length change some a hundred times as much.
"""

HEAD_RATE = 6.0
"""How many times the rate the steps of the head are, on features scaled as for the probe."""

WEIGHT_DECAY = 0.01
DROPOUT = 0.2
"""The part of the features that a training step leaves out before the head."""

STEPS, EPOCHS = 224, range(4, 16 + 1)
"""How many steps a training has at least, where so many passes come to that; see docs/performance.md."""


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
    operations: tuple[str, ...]
    views: int
    seed: int


def epochs_for(n_train: int, batch_size: int) -> int:
    """Return how many passes over N photos to take where nothing else is asked for.

    Example:
        >>> [epochs_for(n_train, 16) for n_train in (100, 200, 500, 1000, 100_000)]
        [16, 16, 7, 4, 4]
    """
    needed = math.ceil(STEPS / math.ceil(n_train / batch_size))
    return min(max(needed, EPOCHS[0]), EPOCHS[-1])


def part_of_rate(step: int, n_steps: int) -> float:
    """Return what part of its peak the rate has at a step, counted from 0: a rise, then half a cosine.

    The same as `keras.optimizers.schedules.CosineDecay` with a warm-up, but known outside the graph, so
    that the number of steps may change without compiling it again.

    Example:
        >>> [round(part_of_rate(step, 10), 2) for step in range(10)]
        [0.25, 0.5, 0.75, 1.0, 0.95, 0.82, 0.63, 0.42, 0.23, 0.1]
    """
    n_warm_up = max(1, min(WARM_UP_STEPS, int(WARM_UP * n_steps)))
    if step < n_warm_up:
        return (1 + step) / (n_warm_up + 1)
    done = (step - n_warm_up) / max(1, n_steps - n_warm_up)
    return LOWEST + (1 - LOWEST) * (1 + math.cos(math.pi * done)) / 2
