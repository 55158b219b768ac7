"""The graph of a described network in OpenVINO's own operations, for inference; TensorFlow has no part in it.

BatchNorms are folded into the convolutions before them. No operation knows the picture's size: 'same' padding
is OpenVINO's own, so a graph can be reshaped to any other.
"""

from collections.abc import Iterator, Mapping, Sequence
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
    last = ops.reduce_mean(x, SIDES)
    output = ops.concat([*_moments(places, maps), last], 1) if places else last
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


def _moments(places: Sequence[Place], maps: Mapping[str, Any]) -> Iterator[Any]:
    """Yield what is taken of each place, (batch, channels); the mean of a place is made once."""
    from openvino import opset13 as ops

    layers = dict.fromkeys(place.layer for place in places)
    means = {layer: ops.reduce_mean(maps[layer], SIDES, keep_dims=True) for layer in layers}
    for place in places:
        mean = means[place.layer]
        is_mean = place.takes == "mean"
        yield ops.squeeze(mean, SIDES) if is_mean else _deviation(maps[place.layer], mean)


def _deviation(maps: Any, mean: Any) -> Any:
    from openvino import opset13 as ops

    # The mean is taken off first: the difference of a mean square and a squared mean would be cheaper, but
    # has no digits left where a map hardly varies.
    variance = ops.reduce_mean(ops.squared_difference(maps, mean), SIDES)
    return ops.sqrt(ops.add(variance, np.float32(VARIANCE_FLOOR)))
