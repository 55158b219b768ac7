"""A network as a list of steps, which knows neither Keras nor OpenVINO: a builder makes a graph of it.

Training takes the graph of `keras_builder`, inference that of `openvino_builder`; both make the same numbers.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

VARIANCE_FLOOR = 1e-6
"""Added to a variance before its root is taken, so that the root has a slope where a map is all alike."""


@dataclass(frozen=True)
class Convolution:
    """A convolution without bias of what the step before gives, BatchNorm and, where told, ReLU6.

    `is_depthwise`: each channel by itself; then `n_out` is `n_in`.
    """

    name: str
    n_in: int
    n_out: int
    kernel: int
    stride: int = 1
    has_relu6: bool = True
    is_depthwise: bool = False

    @property
    def kernel_shape(self) -> tuple[int, int, int, int]:
        """The kernel's shape in torch's order: channels out, channels in (1 if depthwise), height, width."""
        return self.n_out, 1 if self.is_depthwise else self.n_in, self.kernel, self.kernel


@dataclass(frozen=True)
class Add:
    """The sum of what the step before gives and what the step `start` gives."""

    name: str
    start: str
    n_out: int


Step = Convolution | Add


@dataclass(frozen=True)
class Network:
    """Steps from pixels to maps, each taking what the one before gives.

    Attributes:
        steps: In order; the first eats the scaled pixels, the last gives the maps whose mean is "last".
        scale: What RGB in [0, 255] is multiplied by, a number a channel.
        offset: What is then added.
        epsilon: Of all BatchNorms.
        is_padded_evenly: Convolutions of stride 2 are padded by kernel // 2 on all sides, as in torch; else
            'same' as in TensorFlow, where an odd pixel goes to the right and to the bottom.
        torch_names: By step the names of its convolution and of its BatchNorm in the torch file.
        classifier: Torch's name of the classification layer, which is no step.
    """

    steps: tuple[Step, ...]
    scale: tuple[float, float, float]
    offset: tuple[float, float, float]
    epsilon: float
    is_padded_evenly: bool
    torch_names: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    classifier: str = ""

    @property
    def convolutions(self) -> tuple[Convolution, ...]:
        """The steps that have weights, in order."""
        return tuple(step for step in self.steps if isinstance(step, Convolution))

    def n_channels(self, name: str) -> int:
        """Return how many channels a step gives."""
        return next(step.n_out for step in self.steps if step.name == name)

    def n_padded(self, step: Convolution) -> int | None:
        """Return the zeros on each side of what a convolution eats; None: as many as 'same' asks for."""
        return step.kernel // 2 if self.is_padded_evenly and step.stride > 1 else None
