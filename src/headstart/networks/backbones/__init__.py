"""Pretrained networks without their classification layer, by name.

Every graph is flat and functional: input `pixels`, float32 (batch, S, S, 3), RGB in [0, 255]; output
`features`, float32 (batch, D), averaged over the picture. The scaling of the pixels is inside.
"""

import difflib
import importlib
import importlib.util
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from headstart.base.errors import MissingPackage, SettingsError, UnknownBackbone
from headstart.base.progress import Progress
from headstart.networks.table import SIDE_BY_SIDE, TABLE, Backbone, Place, together

if TYPE_CHECKING:
    import openvino

    from headstart.networks.backbones.description import Network
    from headstart.networks.backbones.parameters import Parameters

__all__ = [
    "INSTALL",
    "TABLE",
    "Backbone",
    "build",
    "build_openvino",
    "describe",
    "find",
    "has_keras",
    "import_keras",
    "import_openvino",
    "list_backbones",
    "vector_size",
]


INSTALL = "pip install 'headstart[cpu]'"
"""What brings TensorFlow and Keras."""


def list_backbones() -> tuple[str, ...]:
    """Return the names of all backbones, in the table's order. Needs no TensorFlow.

    Example:
        >>> list_backbones()[:2]
        ('mobilenet_v2', 'efficientnet_lite0')
    """
    return tuple(row.name for row in TABLE)


def find(name: str) -> Backbone:
    """Return the row with this name, or what stands for several with a plus between their names.

    Raises:
        UnknownBackbone: No such name; suggests the nearest.

    Example:
        >>> find("mobilenet_v2").feature_size, len(find("mobilenet_v2+efficientnet_lite0").parts)
        (1280, 2)
    """
    names = list(dict.fromkeys(name.split(SIDE_BY_SIDE)))
    rows = [_find(one) for one in names]
    return rows[0] if len(rows) == 1 else together(*rows)


def _find(name: str) -> Backbone:
    for row in TABLE:
        if row.name == name:
            return row
    raise UnknownBackbone(f"No backbone is named {name!r}.", _suggestion(name))


def _suggestion(name: str) -> str:
    plain = {_plain(row.name): row.name for row in TABLE}
    near = difflib.get_close_matches(_plain(name), plain, n=1)
    question = f"Did you mean {plain[near[0]]!r}? " if near else ""
    return f"{question}`headstart backbones` lists all {len(TABLE)}."


def _plain(name: str) -> str:
    return "".join(letter for letter in name.lower() if letter.isalnum())


def build(
    name: str,
    *,
    features: str = "last",
    image_size_px: int | None = None,
    weights_dir: Path | None = None,
    random_weights: bool = False,
    progress: Progress | None = None,
) -> Any:
    """Return the backbone as a `keras.Model` with its ImageNet weights.

    Args:
        name: From `list_backbones()`.
        features: "last" or "stages"; see `vector_size`.
        image_size_px: S, the side of the pictures that it is fed; by default the row's `input_size_px`.
        weights_dir: Folder to look for weight files in first.
        random_weights: Numbers of no meaning, the same at every call; for tests.
        progress: Told before weights are pulled.

    Returns:
        Flat graph from `pixels`, float32 (batch, S, S, 3), RGB in [0, 255], to `features`,
        float32 (batch, D). Its BatchNorms are layers of their own.

    Raises:
        UnknownBackbone: No such name.
        WeightsError, FetchError, DiskFull: The weights cannot be had.
        MissingPackage: TensorFlow is not installed.
    """
    from headstart.networks.backbones import keras_applications, keras_builder

    row = find(name)
    size_px = image_size_px or row.input_size_px
    if row.is_described:
        network, numbers = _with_numbers(row, weights_dir, random_weights, progress)
        return keras_builder.build(name, network, numbers, _places(row, features), size_px)
    path = None if random_weights else _weights_path(row, weights_dir, progress)
    return keras_applications.build(row, image_size_px=size_px, weights_path=path, features=features)


def build_openvino(
    name: str,
    *,
    features: str = "last",
    image_size_px: int | None = None,
    weights_dir: Path | None = None,
    random_weights: bool = False,
    progress: Progress | None = None,
) -> "openvino.Model":
    """Return a described backbone as an OpenVINO graph, without TensorFlow; it gives what `build`'s gives.

    The graph goes from `pixels`, uint8 (batch, S, S, 3), RGB, to `features`, float32 (batch, D), and can be
    reshaped to any other S. See `build` for the arguments.

    Raises:
        UnknownBackbone: No such name.
        WeightsError, FetchError, DiskFull: The weights cannot be had.
    """
    from headstart.networks.backbones import openvino_builder

    row = find(name)
    network, numbers = _with_numbers(row, weights_dir, random_weights, progress)
    size_px = image_size_px or row.input_size_px
    return openvino_builder.build(name, network, numbers, _places(row, features), size_px)


def vector_size(row: Backbone, features: str) -> int | None:
    """Return D, how many numbers are a picture's features.

    "last" is the mean over the picture of the last layer, `feature_size` numbers; "stages" has means and
    deviations of other places before these. None: it shows when the graph is built, for those of Keras's
    networks are found by a rule.

    Example:
        >>> vector_size(find("tiny"), "last"), vector_size(find("tiny"), "stages")
        (8, 32)
    """
    if features == "last":
        return row.feature_size
    if not row.is_described:
        return None
    network = describe(row)
    return row.feature_size + sum(network.n_channels(place.layer) for place in row.places)


def describe(row: Backbone) -> "Network":
    """Return the steps of a row that `is_described`."""
    module, _, function = row.builder.partition(":")
    family = importlib.import_module(f"headstart.networks.backbones.{module}")
    network: Network = getattr(family, function)(row)
    return network


def _with_numbers(
    row: Backbone, weights_dir: Path | None, random_weights: bool, progress: Progress | None
) -> tuple["Network", "dict[str, Parameters]"]:
    from headstart.networks.backbones import parameters

    network = describe(row)
    path = None if random_weights else _weights_path(row, weights_dir, progress)
    return network, parameters.random(network) if path is None else parameters.read(network, path)


def _weights_path(row: Backbone, weights_dir: Path | None, progress: Progress | None) -> Path | None:
    # Imported here because `weights` reads this package's table.
    from headstart.networks import weights

    return weights.locate(row, weights_dir, progress or Progress())


def _places(row: Backbone, features: str) -> tuple[Place, ...]:
    return row.places if features == "stages" else ()


def has_keras() -> bool:
    """Say whether Keras and TensorFlow are installed, without importing them."""
    try:
        return all(importlib.util.find_spec(name) is not None for name in ("tensorflow", "keras"))
    except (ImportError, ValueError):  # ValueError: None stands in its place
        return False


def import_keras() -> ModuleType:
    """Return the module `keras`, on TensorFlow and quiet; the one place where it is first imported.

    Raises:
        MissingPackage: TensorFlow is not installed.
        SettingsError: Keras is set to another backend.
    """
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # Keep large tensors instead of giving them back to the system after each step: 9 times fewer page
    # faults and 1.3 times the speed when MobileNetV2 is trained.
    os.environ.setdefault("TF_CPU_ALLOCATOR_USE_BFC", "1")
    try:
        with _hushed():
            importlib.import_module("tensorflow")
        keras = importlib.import_module("keras")
    except ImportError as error:
        raise MissingPackage(
            f"TensorFlow, which builds and trains backbones, cannot be imported: {error}.",
            f"Run `{INSTALL}`, or with 'headstart[gpu]' for an NVIDIA GPU.",
        ) from error
    if keras.backend.backend() != "tensorflow":
        raise SettingsError(
            f"Keras runs on {keras.backend.backend()!r}.", "Set KERAS_BACKEND=tensorflow and run this again."
        )
    keras.config.set_image_data_format("channels_last")
    return keras


def import_openvino() -> Any:
    """Return OpenVINO, imported so that it reports to nobody.

    As it is imported, and at each conversion, it would send its makers an event with a number for this user,
    out of a process that it forks. Where its package for that is missing it does without, so that is hidden
    from it.
    """
    if "openvino" not in sys.modules:
        sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
        try:
            importlib.import_module("openvino")
        finally:
            del sys.modules["openvino_telemetry"]
    return importlib.import_module("openvino")


@contextmanager
def _hushed() -> Iterator[None]:
    """Drop what is written to stderr: TensorFlow's log level does not count yet while it is imported."""
    if "tensorflow" in sys.modules:
        yield
        return
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
