"""Pretrained networks without their classification layer, by name.

Every graph is flat and functional: input `pixels`, float32 (batch, S, S, 3), RGB in [0, 255]; output
`features`, float32 (batch, D), averaged over the picture. The scaling of the pixels is inside.
"""

import difflib
import importlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from headstart.base.errors import MissingPackage, SettingsError, UnknownBackbone
from headstart.base.progress import Progress
from headstart.networks.table import TABLE, Backbone

__all__ = ["TABLE", "Backbone", "build", "find", "import_keras", "list_backbones"]


def list_backbones() -> tuple[str, ...]:
    """Return the names of all backbones, in the table's order. Needs no TensorFlow.

    Example:
        >>> list_backbones()[:2]
        ('mobilenet_v2', 'efficientnet_lite0')
    """
    return tuple(row.name for row in TABLE)


def find(name: str) -> Backbone:
    """Return the row with this name.

    Raises:
        UnknownBackbone: No such name; suggests the nearest.

    Example:
        >>> find("mobilenet_v2").feature_size
        1280
    """
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
    image_size_px: int | None = None,
    weights_dir: Path | None = None,
    random_weights: bool = False,
    progress: Progress | None = None,
) -> Any:
    """Return the backbone as a `keras.Model` with its ImageNet weights.

    Args:
        name: From `list_backbones()`.
        image_size_px: S, the side of the pictures that it is fed; by default the row's `input_size_px`.
        weights_dir: Folder to look for weight files in first.
        random_weights: Leave the weights as initialised, the same at every call; for tests.
        progress: Told before weights are pulled.

    Returns:
        Flat graph from `pixels`, float32 (batch, S, S, 3), RGB in [0, 255], to `features`,
        float32 (batch, D) with D the row's `feature_size`. Its BatchNorms are layers of their own.

    Raises:
        UnknownBackbone: No such name.
        WeightsError, FetchError, DiskFull: The weights cannot be had.
        MissingPackage: TensorFlow is not installed.
    """
    # Imported here because `weights` reads this package's table.
    from headstart.networks import weights

    row = find(name)
    weights_path = None if random_weights else weights.locate(row, weights_dir, progress or Progress())
    return _builder(row)(row, image_size_px=image_size_px or row.input_size_px, weights_path=weights_path)


def _family(row: Backbone) -> ModuleType:
    return importlib.import_module(f"headstart.networks.backbones.{row.builder.partition(':')[0]}")


def _builder(row: Backbone) -> Any:
    return getattr(_family(row), row.builder.partition(":")[2])


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
            "Run `pip install 'tensorflow-cpu~=2.21.0' 'keras~=3.15.0'`, "
            "or with 'tensorflow[and-cuda]~=2.21.0' for an NVIDIA GPU.",
        ) from error
    if keras.backend.backend() != "tensorflow":
        raise SettingsError(
            f"Keras runs on {keras.backend.backend()!r}.", "Set KERAS_BACKEND=tensorflow and run this again."
        )
    keras.config.set_image_data_format("channels_last")
    return keras


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
