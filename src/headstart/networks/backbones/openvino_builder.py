"""The graph of a described network in OpenVINO's own operations, for inference; TensorFlow has no part in it.

BatchNorms are folded into the convolutions before them. No operation knows the picture's size: 'same' padding
is OpenVINO's own, so a graph can be reshaped to any other.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from headstart.networks.backbones import import_openvino
from headstart.networks.backbones.description import VARIANCE_FLOOR, Add, Convolution, Network
from headstart.networks.backbones.parameters import Parameters
from headstart.networks.table import Place

if TYPE_CHECKING:
    import openvino

SIDES = [2, 3]
"""Axes of a map, for channels come first: as OpenVINO computes."""


def build(
    name: str,
    network: Network,
    numbers: Mapping[str, Parameters],
    places: Sequence[Place],
    image_size_px: int,
) -> "openvino.Model":
    """Return the graph, `pixels`, uint8 (batch, S, S, 3), RGB, to `features`, float32 (batch, D).

    Args:
        name: What it is called.
        network: Its steps.
        numbers: By step.
        places: Steps whose mean or deviation goes before the mean of the last.
        image_size_px: S.
    """
    openvino = import_openvino()
    from openvino import opset13 as ops

    pixels = ops.parameter([-1, image_size_px, image_size_px, 3], openvino.Type.u8, "pixels")
    pixels.output(0).set_names({"pixels"})
    x = ops.transpose(ops.convert(pixels, "f32"), [0, 3, 1, 2])
    x = ops.add(ops.multiply(x, _by_channel(network.scale)), _by_channel(network.offset))
    maps: dict[str, Any] = {}
    for step in network.steps:
        if isinstance(step, Add):
            x = ops.add(maps[step.start], x)
        else:
            x = _convolve(x, step, network, numbers[step.name])
        maps[step.name] = x
    features = [*(_moment(maps[one.layer], one.takes) for one in places), _mean(x)]
    output = ops.concat(features, 1) if places else features[0]
    output.output(0).set_names({"features"})
    return openvino.Model([output], [pixels], name)


def _by_channel(values: Sequence[float]) -> Any:
    return np.array(values, np.float32).reshape(1, 3, 1, 1)


def _convolve(x: Any, step: Convolution, network: Network, numbers: Parameters) -> Any:
    from openvino import opset13 as ops

    # As constants: what is given as an array goes through a list of Python's numbers first.
    kernel, bias = numbers.folded(network.epsilon)
    weights = ops.constant(kernel[:, None] if step.is_depthwise else kernel)
    padded = network.n_padded(step)
    pads, auto = ([padded] * 2, "explicit") if padded is not None else ([0, 0], "same_upper")
    strides, dilations = [step.stride] * 2, [1, 1]
    convolution = ops.group_convolution if step.is_depthwise else ops.convolution
    x = convolution(x, weights, strides, pads, pads, dilations, auto)
    x = ops.add(x, ops.constant(bias.reshape(1, -1, 1, 1)))
    return ops.clamp(x, 0.0, 6.0) if step.has_relu6 else x


def _moment(maps: Any, takes: str) -> Any:
    return _mean(maps) if takes == "mean" else _deviation(maps)


def _mean(maps: Any) -> Any:
    from openvino import opset13 as ops

    return ops.reduce_mean(maps, SIDES)


def _deviation(maps: Any) -> Any:
    from openvino import opset13 as ops

    # The mean is taken off first: a difference of two mean squares would lose all digits of a small one.
    centred = ops.squared_difference(maps, ops.reduce_mean(maps, SIDES, keep_dims=True))
    return ops.sqrt(ops.add(ops.reduce_mean(centred, SIDES), np.float32(VARIANCE_FLOOR)))
