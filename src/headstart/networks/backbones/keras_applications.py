"""All of keras.applications, each with its own scaling of the pixels inside the graph.

Keras's `preprocess_input` stands outside some of its networks, inside others, and overwrites the array
that it is given. Here one layer, `scale`, does it for all, and is the same for training and for serving.
"""

from collections import defaultdict
from collections.abc import Callable
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np

from headstart.base.errors import SettingsError, WeightsError
from headstart.networks.backbones import import_keras
from headstart.networks.backbones.inverted_residual import seeded
from headstart.networks.table import Backbone

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


def build(row: Backbone, *, image_size_px: int, weights_path: Path | None) -> Any:
    """Return the graph, `pixels` to `features`, without nested models.

    Layers that Keras numbers by what else was built in the process are numbered from the start, so a
    layer's name is the same in each run.

    Args:
        row: A row whose weights are a `KerasFile`.
        image_size_px: Side of the input.
        weights_path: Keras's own ImageNet file for `include_top=False`, or None for seeded random weights.

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
    return import_keras().Model(model.inputs[0], model.output, name=row.name)


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
    for index, weight in enumerate(model.weights):
        if len(weight.shape) > 1:
            weight.assign(seeded(str(index))(weight.shape))


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
