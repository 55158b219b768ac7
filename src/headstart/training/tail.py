"""A backbone cut in two: a frozen trunk that only infers, and a tail that is trained.

BatchNorms of the tail are folded into the convolutions before them. Frozen, each is but a scale and
an offset per channel; where a channel hardly varies on ImageNet the scale is in the hundreds, and a
step of Adam on the kernel before it, multiplied so, wrecks the network (measured in docs/design.md).
In the folded kernels a step is as large as it says.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np

from headstart.networks.backbones import import_keras

if TYPE_CHECKING:
    from keras import KerasTensor, Layer, Model


@dataclass(frozen=True, eq=False)
class Divided:
    """A backbone in two parts that share its layers.

    Attributes:
        name: The name of the backbone.
        whole: Pixels to features; it computes what the backbone computes.
        trunk: Pixels to the boundary, nothing in it trained; None when the boundary is the pixels.
        tail: The boundary to features.
        trained_layers: Layers of the tail that learn; BatchNorms are not among them.
    """

    name: str
    whole: "Model"
    trunk: "Model | None"
    tail: "Model"
    trained_layers: int


def divide(backbone: "Model", last_block: str, unfreeze: str) -> Divided:
    """Cut a copy of a backbone before the layers that are to be trained, and freeze the rest.

    The boundary is the last single tensor before those layers, so a few frozen ones may be in the tail.

    Args:
        backbone: A flat graph; it stays as it is.
        last_block: Name of the first layer of its last block.
        unfreeze: "last" (the last block), "half" or "all" of the layers that learn, or how many of them.
    """
    keras = import_keras()
    names = [layer.name for layer in backbone.layers]
    learning = [layer for layer in backbone.layers if layer.weights and not _is_normalization(layer)]
    n_before_last = sum(names.index(layer.name) < names.index(last_block) for layer in learning)
    trained = learning[_start(len(learning), n_before_last, unfreeze) :]
    position = names.index(trained[0].name)
    # Nothing but scaling before the first layer that learns is not worth a trunk.
    is_all = trained[0] is learning[0]
    first = names[0] if is_all else _boundary(backbone, position)._keras_history.operation.name
    whole = _fold(backbone, set(names[names.index(first) + 1 :]))
    for index, layer in enumerate(whole.layers):
        layer.trainable = index >= position and not _is_normalization(layer)
    cut = whole.get_layer(first).output
    trunk = None if first == names[0] else keras.Model(whole.input, cut, name=f"{backbone.name}_trunk")
    tail = keras.Model(cut, whole.output, name=f"{backbone.name}_tail")
    return Divided(backbone.name, whole, trunk, tail, len(trained))


def _start(n_layers: int, n_before_last: int, unfreeze: str) -> int:
    starts = {"last": n_before_last, "half": n_layers // 2, "all": 0}
    return starts[unfreeze] if unfreeze in starts else max(0, n_layers - max(1, int(unfreeze)))


def _boundary(model: "Model", position: int) -> "KerasTensor":
    """Return the one tensor that all layers from some position on, not after `position`, start from.

    It is the output of a layer. What adds two branches need not be one (ConvNeXt's blocks), and counts too.
    """
    keras = import_keras()
    nodes = chain.from_iterable(model._nodes_by_depth.values())
    inputs = {id(node.operation): node.input_tensors for node in nodes}
    operations = model.operations
    for cut in range(operations.index(model.layers[position]), 0, -1):
        before = set(map(id, operations[:cut]))
        crossing = {
            id(tensor): tensor
            for operation in operations[cut:]
            for tensor in inputs[id(operation)]
            if id(tensor._keras_history.operation) in before
        }
        [first, *others] = crossing.values()
        if not others and isinstance(first._keras_history.operation, keras.layers.Layer):
            return first
    raise AssertionError("the pixels are a boundary")


def _is_normalization(layer: "Layer") -> bool:
    return isinstance(layer, import_keras().layers.BatchNormalization)


def _fold(model: "Model", among: set[str]) -> "Model":
    """Return a copy that computes the same, BatchNorms in `among` folded into a convolution before them."""
    keras = import_keras()
    pairs = {before.name: norm for before, norm in _pairs(model) if {before.name, norm.name} <= among}
    folded = {norm.name for norm in pairs.values()}

    def copy(layer: "Layer") -> "Layer":
        if layer.name in folded:
            return keras.layers.Activation("linear", name=layer.name)
        config = layer.get_config()
        return type(layer).from_config(config | {"use_bias": True} if layer.name in pairs else config)

    def call(layer: "Layer", *inputs: Any, **options: Any) -> Any:
        # BatchNorm takes a mask, the layer in its place does not.
        return layer(*inputs, **({} if layer.name in folded else options))

    whole = keras.models.clone_model(model, clone_function=copy, call_function=call)
    for layer in model.layers:
        if layer.weights and layer.name not in folded:
            norm = pairs.get(layer.name)
            values = _folded_weights(layer, norm) if norm is not None else layer.get_weights()
            whole.get_layer(layer.name).set_weights(values)
    return whole


def _pairs(model: "Model") -> Iterator[tuple["Layer", "Layer"]]:
    """Yield each convolution with the BatchNorm that is alone in following it."""
    keras = import_keras()
    for norm in model.layers:
        if not _is_normalization(norm):
            continue
        before = norm.input._keras_history.operation
        is_convolution = isinstance(before, keras.layers.Conv2D | keras.layers.DepthwiseConv2D)
        if (
            is_convolution
            and len(before._outbound_nodes) == 1
            and before.activation is keras.activations.linear
        ):
            yield before, norm


def _folded_weights(convolution: "Layer", norm: "Layer") -> list[np.ndarray[Any, Any]]:
    """Return kernel and bias that do what convolution and BatchNorm in inference mode do together."""
    gamma = norm.gamma.numpy() if norm.scale else 1.0
    beta = norm.beta.numpy() if norm.center else 0.0
    scale = gamma / np.sqrt(norm.moving_variance.numpy() + norm.epsilon)
    kernel, *bias = convolution.get_weights()
    is_depthwise = isinstance(convolution, import_keras().layers.DepthwiseConv2D)
    kernel = kernel * (scale.reshape(1, 1, *kernel.shape[2:]) if is_depthwise else scale)
    return [kernel, beta + ((bias[0] if bias else 0.0) - norm.moving_mean.numpy()) * scale]
