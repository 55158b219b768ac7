"""The graph of a described network in Keras's layers, for training."""

from collections.abc import Mapping, Sequence
from typing import Any

from headstart.networks.backbones import import_keras
from headstart.networks.backbones.description import VARIANCE_FLOOR, Add, Convolution, Network
from headstart.networks.backbones.parameters import Parameters
from headstart.networks.table import Place

SIDES = (1, 2)
"""Axes of a map, for channels come last: as TensorFlow computes."""


def build(
    name: str,
    network: Network,
    numbers: Mapping[str, Parameters],
    places: Sequence[Place],
    image_size_px: int,
) -> Any:
    """Return the graph, `pixels`, float32 (batch, S, S, 3), RGB in [0, 255], to `features` (batch, D).

    Args:
        name: What it is called.
        network: Its steps; a layer with weights has the name of its step, a BatchNorm `_bn` behind it.
        numbers: By step.
        places: Steps whose mean or deviation goes before the mean of the last.
        image_size_px: S.

    Raises:
        MissingPackage: TensorFlow is not installed.
    """
    keras = import_keras()
    pixels = keras.Input((image_size_px, image_size_px, 3), dtype="float32", name="pixels")
    x = keras.layers.Rescaling(list(network.scale), list(network.offset), name="scale")(pixels)
    maps: dict[str, Any] = {}
    for step in network.steps:
        if isinstance(step, Add):
            x = keras.layers.Add(name=step.name)([maps[step.start], x])
        else:
            x = _convolve(x, step, network)
        maps[step.name] = x
    last = keras.layers.GlobalAveragePooling2D(name="last" if places else "features")(x)
    model = keras.Model(pixels, beside(last, [(maps[one.layer], one.takes) for one in places]), name=name)
    for step in network.convolutions:
        _set(model, step, numbers[step.name])
    return model


def _convolve(x: Any, step: Convolution, network: Network) -> Any:
    layers, padded = import_keras().layers, network.n_padded(step)
    if padded is not None:
        x = layers.ZeroPadding2D(padded, name=f"{step.name}_pad")(x)
    shape = step.kernel, step.stride, "same" if padded is None else "valid"
    if step.is_depthwise:
        x = layers.DepthwiseConv2D(*shape, use_bias=False, name=step.name)(x)
    else:
        x = layers.Conv2D(step.n_out, *shape, use_bias=False, name=step.name)(x)
    x = layers.BatchNormalization(epsilon=network.epsilon, name=f"{step.name}_bn")(x)
    return layers.ReLU(6, name=f"{step.name}_relu")(x) if step.has_relu6 else x


def _set(model: Any, step: Convolution, numbers: Parameters) -> None:
    # Keras writes a kernel (height, width, in, out), a depthwise one (height, width, channel, 1).
    axes = (2, 3, 0, 1) if step.is_depthwise else (2, 3, 1, 0)
    model.get_layer(step.name).set_weights([numbers.kernel.transpose(axes)])
    model.get_layer(f"{step.name}_bn").set_weights(
        [numbers.gamma, numbers.beta, numbers.mean, numbers.variance]
    )


def beside(last: Any, places: Sequence[tuple[Any, str]]) -> Any:
    """Return the moments of maps (batch, H, W, C) side by side, and behind them `last`, as `features`.

    Args:
        last: The mean of the last layer, (batch, D of it).
        places: Maps, each with what is taken of them, "mean" or "std".
    """
    if not places:
        return last
    moments = [_mean(maps) if takes == "mean" else _deviation(maps) for maps, takes in places]
    return import_keras().layers.Concatenate(name="features")([*moments, last])


def _mean(maps: Any) -> Any:
    return import_keras().ops.mean(maps, axis=SIDES)


def _deviation(maps: Any) -> Any:
    ops = import_keras().ops
    centred = maps - ops.mean(maps, axis=SIDES, keepdims=True)
    return ops.sqrt(ops.mean(ops.square(centred), axis=SIDES) + VARIANCE_FLOOR)
