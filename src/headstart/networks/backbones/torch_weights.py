"""Puts a torch file's tensors into a Keras graph: each tensor once, or named as left out."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headstart.base.errors import WeightsError
from headstart.networks import torch_file

# Axes of a torch kernel in Keras's order: torch stores (out, in, height, width), and (channel, 1, height,
# width) for a depthwise one; Keras (height, width, in, out) and (height, width, channel, 1).
_AXES = {"Conv2D": (2, 3, 1, 0), "DepthwiseConv2D": (2, 3, 0, 1)}
_BATCH_NORM = ("weight", "bias", "running_mean", "running_var")


def load(model: Any, path: Path, torch_names: Mapping[str, str], left_out: Collection[str]) -> None:
    """Load a torch file into a model's layers.

    Args:
        model: A `keras.Model` of Conv2D and DepthwiseConv2D without bias, and BatchNormalization.
        path: The torch file.
        torch_names: For each layer with weights, torch's name of it, such as "features.0.0".
        left_out: Names of torch's layers that the graph does not have.

    Raises:
        WeightsError: The file cannot be read, or its tensors are not those of this graph.
    """
    tensors = torch_file.read(path)
    unused = {name for name in tensors if not _is_left_out(name, left_out)}
    for layer in model.layers:
        if not layer.weights:
            continue
        names = [f"{torch_names[layer.name]}.{part}" for part in _parts(layer)]
        if not unused.issuperset(names):
            raise _other_graph(path, f"it lacks {min(set(names) - unused)}")
        unused.difference_update(names)
        _set(layer, [tensors[name] for name in names], path)
    if unused:
        raise _other_graph(path, f"it has {min(unused)} besides")


def _is_left_out(name: str, left_out: Collection[str]) -> bool:
    layer, _, part = name.rpartition(".")
    # How many batches training saw; inference has no use for it.
    return part == "num_batches_tracked" or layer in left_out


def _parts(layer: Any) -> tuple[str, ...]:
    return ("weight",) if type(layer).__name__ in _AXES else _BATCH_NORM


def _set(layer: Any, tensors: list[NDArray[np.float32]], path: Path) -> None:
    axes = _AXES.get(type(layer).__name__)
    arrays = [tensor.transpose(axes) for tensor in tensors] if axes else tensors
    for variable, array in zip(layer.weights, arrays, strict=True):
        if tuple(variable.shape) != array.shape:
            raise _other_graph(path, f"{layer.name} is {tuple(variable.shape)} here and {array.shape} there")
    layer.set_weights(arrays)


def _other_graph(path: Path, what: str) -> WeightsError:
    return WeightsError(
        f"{path} holds the weights of another network: {what}.",
        "Delete it; `headstart weights pull` brings the expected one.",
    )
