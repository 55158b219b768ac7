"""The numbers that a described network has: out of a torch file, each tensor once, or random."""

import math
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from headstart.base.arrays import Floats
from headstart.base.errors import WeightsError
from headstart.networks import torch_file
from headstart.networks.backbones.description import Convolution, Network

SEED = 6
"""Of random numbers; with it no channel of `tiny` is silent, and colours can be told by them."""


@dataclass(frozen=True, eq=False)
class Parameters:
    """Of one convolution and of the BatchNorm behind it, float32.

    Attributes:
        kernel: In torch's order: channels out, channels in (1 if depthwise), height, width.
        gamma: What each channel is multiplied by, once it is normalised.
        beta: What is then added.
        mean: The moving mean.
        variance: The moving variance.
    """

    kernel: Floats
    gamma: Floats
    beta: Floats
    mean: Floats
    variance: Floats

    def folded(self, epsilon: float) -> tuple[Floats, Floats]:
        """Return the kernel and the bias of a convolution that does what both do, in inference, together."""
        scale = self.gamma.astype(np.float64) / np.sqrt(self.variance.astype(np.float64) + epsilon)
        kernel, bias = self.kernel * scale[:, None, None, None], self.beta - self.mean * scale
        return kernel.astype(np.float32), bias.astype(np.float32)


def random(network: Network) -> dict[str, Parameters]:
    """Return seeded random numbers by step: He's variance, a BatchNorm that does nothing.

    They are the same at every call, and those of a step are seeded by its name.
    """
    return {step.name: _random(step) for step in network.convolutions}


def _random(step: Convolution) -> Parameters:
    generator = np.random.default_rng([zlib.crc32(step.name.encode()), SEED])
    kernel = generator.standard_normal(step.kernel_shape) * math.sqrt(2 / math.prod(step.kernel_shape[1:]))
    ones, zeros = np.ones(step.n_out, np.float32), np.zeros(step.n_out, np.float32)
    return Parameters(kernel.astype(np.float32), gamma=ones, beta=zeros, mean=zeros, variance=ones)


def read(network: Network, path: Path) -> dict[str, Parameters]:
    """Return the numbers of a torch file by step.

    Raises:
        WeightsError: The file cannot be read, or its tensors are not those of this network.
    """
    tensors = torch_file.read(path)
    unused = {name for name in tensors if not _is_left_out(name, network.classifier)}

    def take(name: str, shape: tuple[int, ...]) -> Floats:
        if name not in unused:
            raise _other_network(path, f"it lacks {name}")
        unused.remove(name)
        if tensors[name].shape != shape:
            raise _other_network(path, f"{name} is {shape} here and {tensors[name].shape} there")
        return np.asarray(tensors[name], np.float32)

    found = {step.name: _read(step, network, take) for step in network.convolutions}
    if unused:
        raise _other_network(path, f"it has {min(unused)} besides")
    return found


def _read(step: Convolution, network: Network, take: Callable[[str, tuple[int, ...]], Floats]) -> Parameters:
    convolution, norm = network.torch_names[step.name]
    per_channel = (step.n_out,)
    return Parameters(
        kernel=take(f"{convolution}.weight", step.kernel_shape),
        gamma=take(f"{norm}.weight", per_channel),
        beta=take(f"{norm}.bias", per_channel),
        mean=take(f"{norm}.running_mean", per_channel),
        variance=take(f"{norm}.running_var", per_channel),
    )


def _is_left_out(name: str, classifier: str) -> bool:
    layer, _, part = name.rpartition(".")
    # How many batches training saw; inference has no use for it.
    return part == "num_batches_tracked" or layer == classifier


def _other_network(path: Path, what: str) -> WeightsError:
    return WeightsError(
        f"{path} holds the weights of another network: {what}.",
        "Delete it; `headstart weights pull` brings the expected one.",
    )
