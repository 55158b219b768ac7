"""A backbone cut in two: a frozen trunk that only infers, and a tail that is trained.

BatchNorms of the tail are folded into the convolutions before them. Frozen, each is but a scale and
an offset per channel; where a channel hardly varies on ImageNet the scale is in the hundreds, and a
step of Adam on the kernel before it, multiplied so, wrecks the network (measured in docs/design.md).
In the folded kernels a step is as large as it says.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, chain
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from headstart.networks.backbones import import_keras

if TYPE_CHECKING:
    from keras import KerasTensor, Layer, Model


@dataclass(frozen=True, eq=False)
class Divided:
    """A backbone in two parts that share its layers.

    What the two hand over, of a photo, is one row: the map at the boundary, flat, and behind it the features
    that places before the boundary give. So it can be kept in one table, whatever the network.

    Attributes:
        name: The name of the backbone.
        whole: Pixels to features; it computes what the backbone computes.
        trunk: Pixels to rows (batch, L), nothing in it trained; None when the boundary is the pixels.
        tail: Rows, or pixels where there is no trunk, to features.
        trained_layers: Layers of the tail that learn; BatchNorms are not among them.
        boundary: Name of the last layer before the tail.
        n_early: How many of the features, the first, places before the boundary give.
    """

    name: str
    whole: "Model"
    trunk: "Model | None"
    tail: "Model"
    trained_layers: int
    boundary: str
    n_early: int

    def beside(self, before: Sequence[NDArray[Any]]) -> "Model":
        """Return pixels to the features of the tail as it was once and, behind them, as it is.

        The trunk is there once, and so are the `n_early` features that it gives, which stand before both.

        Args:
            before: The tail's weights of then, as `get_weights` gives them.
        """
        keras, whole = import_keras(), self.whole
        pixels = keras.Input(whole.input.shape[1:], dtype="float32", name="pixels")
        cut, early = _handed_over(whole, self.boundary)
        trunk = keras.Model(whole.input, [cut, *early], name="trunk")
        at_cut, *seen = trunk(pixels) if self.trunk else [pixels]
        for model, name in ((self._copy(before), "before"), (whole, "trained")):
            late = keras.Model(_handed_over(model, self.boundary)[0], _late(model, self.boundary), name=name)
            seen += late(at_cut)
        return keras.Model(pixels, keras.layers.Concatenate(name="features")(seen), name=self.name)

    def _copy(self, weights: Sequence[NDArray[Any]]) -> "Model":
        """Return a copy of the whole with these weights in its tail."""
        current = self.tail.get_weights()
        self.tail.set_weights(weights)
        copy = import_keras().models.clone_model(self.whole)
        copy.set_weights(self.whole.get_weights())
        self.tail.set_weights(current)
        return copy


def divide(backbone: "Model", last_block: str, unfreeze: str) -> Divided:
    """Cut a copy of a backbone before the layers that are to be trained, and freeze the rest.

    The boundary is the last single map before those layers, so a few frozen ones may be in the tail.

    Args:
        backbone: A flat graph; it stays as it is.
        last_block: Name of the first layer of its last block.
        unfreeze: "last" (the last block), "half" or "all" of the layers that learn, or how many of them.
    """
    names = [layer.name for layer in backbone.layers]
    learning = [layer for layer in backbone.layers if layer.weights and not _is_normalization(layer)]
    n_before_last = sum(names.index(layer.name) < names.index(last_block) for layer in learning)
    trained = learning[_start(len(learning), n_before_last, unfreeze) :]
    position = names.index(trained[0].name)
    # Nothing but scaling before the first layer that learns is not worth a trunk.
    is_all = trained[0] is learning[0]
    first = names[0] if is_all else _boundary(backbone, trained[0])._keras_history.operation.name
    whole = _fold(backbone, set(names[names.index(first) + 1 :]))
    for index, layer in enumerate(whole.layers):
        layer.trainable = index >= position and not _is_normalization(layer)
    if first == names[0]:
        return Divided(backbone.name, whole, None, whole, len(trained), first, 0)
    cut, early = _handed_over(whole, first)
    n_early = sum(one.shape[-1] for one in early)
    trunk, tail = _trunk(whole, cut, early), _tail(whole, cut, early)
    return Divided(backbone.name, whole, trunk, tail, len(trained), first, n_early)


def _handed_over(whole: "Model", boundary: str) -> tuple["KerasTensor", list["KerasTensor"]]:
    """Return the map at the boundary, and the features that places before it give."""
    cut = whole.get_layer(boundary).output
    after = _after(whole, cut)
    return cut, [one for one in _parts(whole) if id(one._keras_history.operation) not in after]


def _late(whole: "Model", boundary: str) -> list["KerasTensor"]:
    """Return the features that places behind the boundary give: they stand behind those before it."""
    return _parts(whole)[len(_handed_over(whole, boundary)[1]) :]


def _trunk(whole: "Model", cut: "KerasTensor", early: list["KerasTensor"]) -> "Model":
    keras = import_keras()
    row = keras.layers.Concatenate()([keras.layers.Flatten()(cut), *early])
    return keras.Model(whole.input, row, name=f"{whole.name}_trunk")


def _tail(whole: "Model", cut: "KerasTensor", early: list["KerasTensor"]) -> "Model":
    keras = import_keras()
    shapes = [one.shape[1:] for one in (cut, *early)]
    ends = list(accumulate(math.prod(shape) for shape in shapes))
    row = keras.Input((ends[-1],), name="row")
    parts = [
        keras.layers.Reshape(shape)(row[:, end - math.prod(shape) : end])
        for shape, end in zip(shapes, ends, strict=True)
    ]
    features = keras.Model([cut, *early], whole.output)(parts)
    return keras.Model(row, features, name=f"{whole.name}_tail")


def _parts(model: "Model") -> list["KerasTensor"]:
    """Return what a model's features are put together from; of one that has no places, the features."""
    made = model.output._keras_history.operation
    is_joined = isinstance(made, import_keras().layers.Concatenate)
    return list(_inputs(model)[id(made)]) if is_joined else [model.output]


def _inputs(model: "Model") -> dict[int, list["KerasTensor"]]:
    """Return the tensors that each operation of a model takes, by its id."""
    nodes = chain.from_iterable(model._nodes_by_depth.values())
    return {id(node.operation): node.input_tensors for node in nodes}


def _after(model: "Model", cut: "KerasTensor") -> set[int]:
    """Return the ids of the operations that need a tensor, directly or not, and of the one that gives it."""
    found, inputs = {id(cut._keras_history.operation)}, _inputs(model)
    for operation in model.operations:  # each stands behind those that it needs
        if any(id(one._keras_history.operation) in found for one in inputs[id(operation)]):
            found.add(id(operation))
    return found


def _start(n_layers: int, n_before_last: int, unfreeze: str) -> int:
    starts = {"last": n_before_last, "half": n_layers // 2, "all": 0}
    return starts[unfreeze] if unfreeze in starts else max(0, n_layers - max(1, int(unfreeze)))


def _boundary(model: "Model", trained: "Layer") -> "KerasTensor":
    """Return the one tensor that all layers from some on, not after `trained`, start from.

    It is the output of a layer. What adds two branches need not be one (ConvNeXt's blocks), and counts too.
    What places take on the way to the last layer is no part of that.
    """
    keras = import_keras()
    way = keras.Model(model.input, _parts(model)[-1])
    inputs, operations = _inputs(way), way.operations
    for cut in range(operations.index(trained), 0, -1):
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
