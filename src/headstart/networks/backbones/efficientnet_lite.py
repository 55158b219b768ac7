"""EfficientNet-Lite: EfficientNet without squeeze-and-excitation, with ReLU6, its two ends not scaled.

Tan and Le 2019, https://arxiv.org/abs/1905.11946, table 1, as changed by
https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite.
The weights are TensorFlow's, converted to torch: TensorFlow's 'same' padding, BatchNorm epsilon 1e-3,
pixels (x - 127) / 128.
"""

import math
from pathlib import Path
from typing import Any

from headstart.networks.backbones.inverted_residual import Block, Layers, begin, finish
from headstart.networks.backbones.torch_weights import load
from headstart.networks.table import Backbone

CLASSIFIER = "_fc"
"""Torch's name of the classification layer, which is not in the graph."""

# Kernel, blocks, channels, expansion, stride of the first block: B0 of the paper.
STAGES = (
    (3, 1, 16, 1, 1),
    (3, 2, 24, 6, 2),
    (5, 2, 40, 6, 2),
    (3, 3, 80, 6, 2),
    (5, 3, 112, 6, 1),
    (5, 4, 192, 6, 2),
    (3, 1, 320, 6, 1),
)

# Factors on the channels and on the blocks of a stage.
WIDTH_AND_DEPTH = {
    "efficientnet_lite0": (1.0, 1.0),
    "efficientnet_lite1": (1.0, 1.1),
    "efficientnet_lite2": (1.1, 1.2),
}


def build(row: Backbone, *, image_size_px: int, weights_path: Path | None) -> Any:
    """Return the graph, `pixels` to `features` (batch, 1280).

    Args:
        row: The row of the table; its name gives width and depth.
        image_size_px: Side of the input.
        weights_path: The torch file, or None for seeded random weights.

    Raises:
        WeightsError: The file is not this network's.
        MissingPackage: TensorFlow is not installed.
    """
    blocks = _blocks(*WIDTH_AND_DEPTH[row.name])
    layers = Layers(epsilon=1e-3, is_padded_evenly=False)
    pixels, x = begin(image_size_px, 1 / 128, -127 / 128)
    x = layers.convolve(x, "stem", 32, kernel=3, stride=2)
    for number, block in enumerate(blocks, start=1):
        x = layers.invert(x, f"block_{number}", block)
    x = layers.convolve(x, "top", 1280, kernel=1, stride=1)
    model = finish(pixels, x, row.name)
    if weights_path is not None:
        load(model, weights_path, _torch_names(blocks), left_out=[CLASSIFIER])
    return model


def _blocks(width: float, depth: float) -> list[Block]:
    blocks = []
    for stage, (kernel, n_blocks, n_out, expand, stride) in enumerate(STAGES):
        is_end = stage in (0, len(STAGES) - 1)
        for repeat in range(n_blocks if is_end else math.ceil(n_blocks * depth)):
            blocks.append(Block(kernel, stride if repeat == 0 else 1, expand, _round_to_8(n_out * width)))
    return blocks


def _round_to_8(n_channels: float) -> int:
    """Return the nearest multiple of 8, but never less than 90% of the number (as TensorFlow's code does)."""
    nearest = max(8, int(n_channels + 4) // 8 * 8)
    return nearest if nearest >= 0.9 * n_channels else nearest + 8


def _torch_names(blocks: list[Block]) -> dict[str, str]:
    names = {"stem": "_conv_stem", "stem_bn": "_bn0", "top": "_conv_head", "top_bn": "_bn1"}
    for number, block in enumerate(blocks, start=1):
        steps = ["expand", "depthwise", "project"] if block.expand > 1 else ["depthwise", "project"]
        for step in steps:
            norm = {"expand": 0, "depthwise": 1, "project": 2}[step]
            names[f"block_{number}_{step}"] = f"_blocks.{number - 1}._{step}_conv"
            names[f"block_{number}_{step}_bn"] = f"_blocks.{number - 1}._bn{norm}"
    return names
