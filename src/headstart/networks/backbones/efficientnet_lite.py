"""EfficientNet-Lite: EfficientNet without squeeze-and-excitation, with ReLU6, its two ends not scaled.

Tan and Le 2019, https://arxiv.org/abs/1905.11946, table 1, as changed by
https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite.
The weights are TensorFlow's, converted to torch: TensorFlow's 'same' padding, BatchNorm epsilon 1e-3,
pixels (x - 127) / 128.
"""

import math

from headstart.networks.backbones.description import Network
from headstart.networks.backbones.inverted_residual import Block, steps
from headstart.networks.table import Backbone

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


def describe(row: Backbone) -> Network:
    """Return the network, whose features are 1280; the row's name gives width and depth."""
    blocks = _blocks(*WIDTH_AND_DEPTH[row.name])
    return Network(
        steps(32, blocks, row.feature_size),
        scale=(1 / 128,) * 3,
        offset=(-127 / 128,) * 3,
        epsilon=1e-3,
        is_padded_evenly=False,
        torch_names=_torch_names(blocks),
        classifier="_fc",
    )


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


def _torch_names(blocks: list[Block]) -> dict[str, tuple[str, str]]:
    names = {"stem": ("_conv_stem", "_bn0"), "top": ("_conv_head", "_bn1")}
    for number, block in enumerate(blocks, start=1):
        wide = ["expand"] if block.expand > 1 else []
        for step in (*wide, "depthwise", "project"):
            norm = {"expand": 0, "depthwise": 1, "project": 2}[step]
            inside = f"_blocks.{number - 1}"
            names[f"block_{number}_{step}"] = f"{inside}._{step}_conv", f"{inside}._bn{norm}"
    return names
