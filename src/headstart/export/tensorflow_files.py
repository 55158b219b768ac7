"""Keras's own file, and TensorFlow's SavedModel."""

from pathlib import Path

from headstart.base import filenames
from headstart.export.names import INPUT, SIGNATURE
from headstart.export.network import Network, label_lines

SIGNATURES = {SIGNATURE: "float32", "serving_uint8": "uint8"}
"""By signature, what pictures it eats: RGB in [0, 255] in either case."""


def write_keras(network: Network, path: Path, precision: str) -> None:
    """Write a .keras file, in f32; `keras.saving.load_model` reads it, in safe mode too."""
    network.keras.save(path)


def write_saved_model(network: Network, path: Path, precision: str) -> None:
    """Write a SavedModel folder, in f32, with `SIGNATURES`, and the labels in its assets.extra.

    That is the folder for what is not TensorFlow's own: https://www.tensorflow.org/guide/saved_model.
    """
    import tensorflow

    size_px, infer = network.image_size_px, network.function

    def of(kind: str) -> object:
        spec = tensorflow.TensorSpec([None, size_px, size_px, 3], kind, name=INPUT)
        cast = tensorflow.function(lambda image: infer(tensorflow.cast(image, tensorflow.float32)))
        return cast.get_concrete_function(spec)

    module = tensorflow.Module()
    module.network = network.keras
    module.infer = infer
    signatures = {name: of(kind) for name, kind in SIGNATURES.items()}
    tensorflow.saved_model.save(module, str(path), signatures=signatures)
    extra = path / "assets.extra"
    extra.mkdir()
    (extra / filenames.LABELS).write_text(label_lines(network.class_names), encoding="utf-8")
