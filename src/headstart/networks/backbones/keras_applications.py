"""All of keras.applications, each with its own scaling of the pixels inside the graph.

Keras's `preprocess_input` stands outside some of its networks, inside others, and overwrites the array
that it is given. Here one layer, `scale`, does it for all, and is the same for training and for serving.
"""

import zlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np

from headstart.base.errors import SettingsError, WeightsError
from headstart.networks.backbones import import_keras
from headstart.networks.backbones.keras_builder import beside
from headstart.networks.table import Backbone, Moment, Place

# Of RGB in [0, 1], over ImageNet's training set; keras/src/applications/imagenet_utils.py, mode "torch".
MEAN = np.array((0.485, 0.456, 0.406))
STD = np.array((0.229, 0.224, 0.225))
# Of RGB in [0, 255]; mode "caffe" there, which names them in the order BGR.
CAFFE_MEAN = np.array((123.68, 116.779, 103.939))

BGR = "ImageNet mean, channels as BGR"

SCALINGS = {
    "x / 127.5 - 1": (np.full(3, 1 / 127.5), np.full(3, -1.0)),
    "x / 128 - 1": (np.full(3, 1 / 128), np.full(3, -1.0)),
    "ImageNet mean and standard deviation": (1 / (255 * STD), -MEAN / STD),
    BGR: (np.ones(3), -CAFFE_MEAN),
}
"""For each `scaling` in the table, what RGB is multiplied by and what is then added."""

SCALED_INSIDE = {"mobilenet_v3", "efficientnet_v2", "convnext"}
"""Families whose own scaling can be left out, with `include_preprocessing`."""

MINIMUM_SIZE_PX = {"xception": 71, "inception_v3": 75, "inception_resnet_v2": 75}
"""By family, where it is not 32: the smallest picture that Keras builds the network for."""


def build(row: Backbone, *, image_size_px: int, weights_path: Path | None, features: str = "last") -> Any:
    """Return the graph, `pixels` to `features`, without nested models.

    Layers that Keras numbers by what else was built in the process are numbered from the start, so a
    layer's name is the same in each run.

    Args:
        row: A row whose weights are a `KerasFile`.
        image_size_px: Side of the input.
        weights_path: Keras's own ImageNet file for `include_top=False`, or None for seeded random weights.
        features: "last", the mean of the last layer, or "stages", what `places` finds before it.

    Raises:
        SettingsError: The network cannot be built for pictures this small.
        WeightsError: The file is not this network's.
        MissingPackage: TensorFlow is not installed.
    """
    smallest = MINIMUM_SIZE_PX.get(row.family, 32)
    if image_size_px < smallest:
        raise SettingsError(f"image_size is {image_size_px}.", f"{row.name} needs {smallest} or more.")
    model = _construct(row, (image_size_px, image_size_px, 3))
    _name_alike(model)
    if weights_path is None:
        _initialise(model)
    else:
        _load(model, row, weights_path)
    if row.family in {"efficientnet", "convnext"}:
        model = _flatten(model, has_own_scale=weights_path is not None)
    output = model.output if features == "last" else _stages(model)
    return import_keras().Model(model.inputs[0], output, name=row.name)


PADDED_BY_SIZE = {"efficientnet", "mobilenet_v2", "mobilenet_v3", "nasnet"}
"""Families that pad as 'same' would, but by hand (`correct_pad` in Keras): otherwise if a side is odd."""

HALVINGS = 5
"""How often a picture's sides are halved on the way to stride 32."""


def drawn_for(row: Backbone, image_size_px: int) -> tuple[int, ...]:
    """Return what decides how the network is drawn for pictures of a size.

    Example:
        >>> from headstart.networks.backbones import find
        >>> drawn_for(find("resnet50"), 224), drawn_for(find("efficientnet_b0"), 240)
        ((), (0, 0, 0, 0, 1))
    """
    if row.family not in PADDED_BY_SIZE:
        return ()
    # NASNet's stem halves without padding.
    is_halved = row.family == "nasnet"
    sides = [(image_size_px - 1) // 2 if is_halved else image_size_px]
    while len(sides) < HALVINGS - is_halved:
        sides.append(-(-sides[-1] // 2))
    return tuple(side % 2 for side in sides)


def _construct(row: Backbone, shape: tuple[int, int, int]) -> Any:
    keras = import_keras()
    pixels = keras.Input(shape, dtype="float32", name="pixels")
    options = {"include_preprocessing": False} if row.family in SCALED_INSIDE else {}
    return _application(row)(
        include_top=False,
        weights=None,
        input_tensor=_rescaling(*SCALINGS[row.scaling])(pixels),
        input_shape=shape,
        pooling="avg",
        **options,
    )


def _application(row: Backbone) -> Callable[..., Any]:
    """Return the function that builds the network: its name is the row's but for case and underscores."""
    applications = import_keras().applications
    plain = row.name.removesuffix("_keras").replace("_", "")
    name = next(name for name in dir(applications) if name != plain and name.lower() == plain)
    function: Callable[..., Any] = getattr(applications, name)
    return function


def _rescaling(scale: Any, offset: Any) -> Any:
    return import_keras().layers.Rescaling(scale.tolist(), offset.tolist(), name="scale")


def _name_alike(model: Any) -> None:
    """Number automatic names (conv2d_117) as in the first model of a process; call the output `features`."""
    alike = defaultdict(list)
    for operation in model.operations:
        stem, _, number = operation.name.rpartition("_")
        stem, number = (stem, int(number)) if number.isdecimal() else (operation.name, 0)
        if stem.replace("_", "") == type(operation).__name__.lower():
            alike[stem].append((number, operation))
    for stem, numbered in alike.items():
        for index, (_, operation) in enumerate(sorted(numbered, key=itemgetter(0))):
            operation.name = f"{stem}_{index}" if index else stem
    model.layers[-1].name = "features"


def _initialise(model: Any) -> None:
    """Draw kernels of He's variance, each from a seed of its own: the same weights in each run."""
    for index, weight in enumerate(model.weights):
        if len(weight.shape) > 1:
            seed = zlib.crc32(str(index).encode())
            weight.assign(import_keras().initializers.HeNormal(seed=seed)(weight.shape))


STRIDES = (16, 32)
"""Of a layer whose maps are a place: how many pixels a side one value of its maps stands for."""


def places(model: Any) -> tuple[Place, ...]:
    """Return the places of a graph of Keras's, whatever its picture's size.

    Of each distinct number of channels at each of `STRIDES` that is the last layer whose output all that
    comes behind it is made of, so that it sums up the network before it; also the last concatenation, for
    cells (NASNet) look past the one before them. What goes into a concatenation is in it, and is no place.
    Mean and deviation are taken; of the last layer the deviation alone, for its mean is there already.

    Args:
        model: Pixels to the mean over the picture of the last layer.
    """
    feeding = _feeding(model)
    strides = _strides(model.operations, feeding)
    last = {
        (strides[one.name], one.output.shape[-1]): one
        for one in _summaries(model.operations, feeding)
        if strides[one.name] in STRIDES
    }
    [at_the_end] = feeding[model.operations[-1].name]
    moments: dict[bool, tuple[Moment, ...]] = {True: ("std",), False: ("mean", "std")}
    return tuple(Place(one.name, takes) for one in last.values() for takes in moments[one is at_the_end])


def _feeding(model: Any) -> dict[str, list[Any]]:
    """Return for each operation, by its name, those whose outputs it takes."""
    nodes = chain.from_iterable(model._nodes_by_depth.values())
    return {
        node.operation.name: [one._keras_history.operation for one in node.input_tensors] for node in nodes
    }


def _strides(operations: Sequence[Any], feeding: Mapping[str, Sequence[Any]]) -> dict[str, int]:
    """Return by operation how many pixels a side a value of its maps stands for; 0: it has no maps."""
    found: dict[str, int] = {}
    for one in operations:
        before = max((found[other.name] for other in feeding[one.name]), default=1)
        has_maps = len(one.output.shape) == 4 and not type(one).__name__.startswith("Global")
        found[one.name] = before * int(np.ravel(getattr(one, "strides", 1))[0]) if has_maps else 0
    return found


def _summaries(operations: Sequence[Any], feeding: Mapping[str, Sequence[Any]]) -> Iterator[Any]:
    """Yield the operations whose output all behind them is made of, and concatenations; see `places`."""
    last_use, concatenated = dict.fromkeys((one.name for one in operations), 0), set()
    for index, one in enumerate(operations):
        for other in feeding[one.name]:
            last_use[other.name] = index
            if type(one).__name__ == "Concatenate":
                concatenated.add(other.name)
    in_use_until = 0
    for index, one in enumerate(operations):
        kind = type(one).__name__
        is_all = in_use_until <= index or kind == "Concatenate"
        # A border of zeros is no part of what a map tells.
        if is_all and one.name not in concatenated and kind != "ZeroPadding2D":
            yield one
        in_use_until = max(in_use_until, last_use[one.name])


def _stages(model: Any) -> Any:
    model.layers[-1].name = "last"
    outputs = {operation.name: operation.output for operation in model.operations}
    return beside(model.output, [(outputs[place.layer], place.takes) for place in places(model)])


def _load(model: Any, row: Backbone, path: Path) -> None:
    """Load a file whose layers are matched by order; `scale` has no weights and is not counted."""
    try:
        model.load_weights(path)
    except (OSError, KeyError, ValueError) as error:
        reason = str(error).partition("\n")[0].rstrip(".")
        raise WeightsError(
            f"{path} does not fit {row.name}: {reason}.",
            f"Delete it and run `headstart weights pull {row.name}`.",
        ) from error
    if row.scaling == BGR:
        _reverse_channels(next(layer for layer in model.layers if layer.weights))


def _reverse_channels(convolution: Any) -> None:
    """Let a convolution that learned on BGR eat RGB: nothing to do for each picture, nothing to export."""
    kernel, *bias = convolution.get_weights()
    convolution.set_weights([kernel[:, :, ::-1], *bias])


def _flatten(model: Any, *, has_own_scale: bool) -> Any:
    """Return a copy without nested models (ConvNeXt's) and with `scale` alone to scale (EfficientNet's)."""
    keras = import_keras()
    layers = {layer.name: layer for layer in _leaves(model)}
    scale = _own_scale(layers) if has_own_scale else None

    def copy(layer: Any) -> Any:
        return scale if scale and layer.name == "scale" else type(layer).from_config(layer.get_config())

    def call(layer: Any, *args: Any, **kwargs: Any) -> Any:
        if layer.name in {"rescaling", "normalization"}:
            return args[0]
        if isinstance(layer, keras.Sequential):
            x = args[0]
            for part in layer.layers:
                x = copy(part)(x)
            return x
        return layer(*args, **kwargs)

    flat = keras.models.clone_model(model, clone_function=copy, call_function=call)
    for layer in flat.layers:
        if layer.weights:
            layer.set_weights(layers[layer.name].get_weights())
    return flat


def _leaves(model: Any) -> list[Any]:
    return [leaf for layer in model.layers for leaf in getattr(layer, "layers", [layer])]


def _own_scale(layers: dict[str, Any]) -> Any:
    """Return what EfficientNet (the first) does to pixels: its mean and variance stand in the weight file.

    Keras puts a division by the square root of STD behind them, and only into graphs that it loads
    ImageNet's weights into by itself: keras/src/applications/efficientnet.py.
    """
    if "normalization" not in layers:
        return None
    mean, variance, _ = layers["normalization"].get_weights()
    spread = np.sqrt(variance * STD)
    return _rescaling(1 / (255 * spread), -mean / spread)
