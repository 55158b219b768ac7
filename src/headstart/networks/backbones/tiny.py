"""A backbone of a thousand parameters with seeded random weights: it builds at once and needs no file."""

from pathlib import Path
from typing import Any

from headstart.networks.backbones.inverted_residual import Layers, begin, finish
from headstart.networks.table import Backbone


def build(row: Backbone, *, image_size_px: int, weights_path: Path | None) -> Any:
    """Return the graph, `pixels` to `features` (batch, 8): three convolutions with BatchNorm and ReLU6.

    Args:
        row: The row of the table.
        image_size_px: Side of the input.
        weights_path: Ignored, for the weights are the same at every call.

    Raises:
        MissingPackage: TensorFlow is not installed.
    """
    layers = Layers(epsilon=1e-3, is_padded_evenly=False)
    pixels, x = begin(image_size_px, 1 / 127.5, -1.0)
    for name in ("block_1", "block_2", "block_3"):
        x = layers.convolve(x, f"{name}_conv", row.feature_size, kernel=3, stride=2)
    return finish(pixels, x, row.name)
