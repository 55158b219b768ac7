"""MobileNetV2 as torchvision draws it, so that torchvision's weights mean the same here.

It differs from Keras's: pixels are scaled by ImageNet's mean and standard deviation, stride-2 convolutions
are padded by 1 on all sides, and BatchNorm's epsilon is 1e-5.
Sandler et al. 2018, https://arxiv.org/abs/1801.04381, table 2; torchvision/models/mobilenetv2.py.
"""

from pathlib import Path
from typing import Any

from headstart.networks.backbones.inverted_residual import Block, Layers, begin, finish
from headstart.networks.backbones.torch_weights import load
from headstart.networks.table import Backbone

CLASSIFIER = "classifier.1"
"""Torch's name of the classification layer, which is not in the graph."""

# Of RGB in [0, 1], over ImageNet's training set; torchvision's transforms.
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)

# Expansion, channels, blocks, stride of the first of them: table 2 of the paper.
STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


def build(row: Backbone, *, image_size_px: int, weights_path: Path | None) -> Any:
    """Return the graph, `pixels` to `features` (batch, 1280).

    Args:
        row: The row of the table.
        image_size_px: Side of the input.
        weights_path: torchvision's file, or None for seeded random weights.

    Raises:
        WeightsError: The file is not this network's.
        MissingPackage: TensorFlow is not installed.
    """
    layers = Layers(epsilon=1e-5, is_padded_evenly=True)
    scale = [1 / (255 * std) for std in STD]
    offset = [-mean / std for mean, std in zip(MEAN, STD, strict=True)]
    pixels, x = begin(image_size_px, scale, offset)
    x = layers.convolve(x, "stem", 32, kernel=3, stride=2)
    for number, block in enumerate(_blocks(), start=1):
        x = layers.invert(x, f"block_{number}", block)
    x = layers.convolve(x, "top", 1280, kernel=1, stride=1)
    model = finish(pixels, x, row.name)
    if weights_path is not None:
        load(model, weights_path, _torch_names(), left_out=[CLASSIFIER])
    return model


def _blocks() -> list[Block]:
    return [
        Block(3, stride if repeat == 0 else 1, expand, n_out)
        for expand, n_out, n_blocks, stride in STAGES
        for repeat in range(n_blocks)
    ]


def _torch_names() -> dict[str, str]:
    blocks = _blocks()
    names = {"stem": "features.0.0", "stem_bn": "features.0.1"}
    for number, block in enumerate(blocks, start=1):
        steps = ["expand", "depthwise"] if block.expand > 1 else ["depthwise"]
        for position, step in enumerate(steps):
            names[f"block_{number}_{step}"] = f"features.{number}.conv.{position}.0"
            names[f"block_{number}_{step}_bn"] = f"features.{number}.conv.{position}.1"
        names[f"block_{number}_project"] = f"features.{number}.conv.{len(steps)}"
        names[f"block_{number}_project_bn"] = f"features.{number}.conv.{len(steps) + 1}"
    last = len(blocks) + 1
    return names | {"top": f"features.{last}.0", "top_bn": f"features.{last}.1"}
