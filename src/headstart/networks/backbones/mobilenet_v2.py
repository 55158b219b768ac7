"""MobileNetV2 as torchvision draws it, so that torchvision's weights mean the same here.

It differs from Keras's: pixels are scaled by ImageNet's mean and standard deviation, stride-2 convolutions
are padded by 1 on all sides, and BatchNorm's epsilon is 1e-5.
Sandler et al. 2018, https://arxiv.org/abs/1801.04381, table 2; torchvision/models/mobilenetv2.py.
"""

from headstart.networks.backbones.description import Network
from headstart.networks.backbones.inverted_residual import Block, steps
from headstart.networks.table import Backbone

# Of RGB in [0, 255], over ImageNet's training set: torchvision's transforms, times 255.
MEAN = (0.485 * 255, 0.456 * 255, 0.406 * 255)
STD = (0.229 * 255, 0.224 * 255, 0.225 * 255)

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


def describe(row: Backbone) -> Network:
    """Return the network, whose features are 1280."""
    blocks = [
        Block(3, stride if repeat == 0 else 1, expand, n_out)
        for expand, n_out, n_blocks, stride in STAGES
        for repeat in range(n_blocks)
    ]
    red, green, blue = (-mean / std for mean, std in zip(MEAN, STD, strict=True))
    return Network(
        steps(32, blocks, row.feature_size),
        scale=(1 / STD[0], 1 / STD[1], 1 / STD[2]),
        offset=(red, green, blue),
        epsilon=1e-5,
        is_padded_evenly=True,
        torch_names=_torch_names(blocks),
        classifier="classifier.1",
    )


def _torch_names(blocks: list[Block]) -> dict[str, tuple[str, str]]:
    names = {"stem": ("features.0.0", "features.0.1")}
    for number, block in enumerate(blocks, start=1):
        wide = ["expand", "depthwise"] if block.expand > 1 else ["depthwise"]
        inside = f"features.{number}.conv"
        for position, step in enumerate(wide):
            names[f"block_{number}_{step}"] = f"{inside}.{position}.0", f"{inside}.{position}.1"
        names[f"block_{number}_project"] = f"{inside}.{len(wide)}", f"{inside}.{len(wide) + 1}"
    top = f"features.{len(blocks) + 1}"
    return names | {"top": (f"{top}.0", f"{top}.1")}
