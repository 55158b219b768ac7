"""The blocks that MobileNetV2 and EfficientNet-Lite are made of.

A block widens its input by `expand` (a 1 x 1 convolution), filters each channel by itself, and narrows to
`n_out` channels (1 x 1, no activation); it adds its input when the shapes are equal.
Sandler et al. 2018, MobileNetV2, https://arxiv.org/abs/1801.04381, figure 4 and table 1.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from headstart.networks.backbones.description import Add, Convolution, Step


@dataclass(frozen=True)
class Block:
    """Shape of one block: square kernel, stride, factor of expansion, channels out."""

    kernel: int
    stride: int
    expand: int
    n_out: int


def steps(n_stem: int, blocks: Sequence[Block], n_top: int) -> tuple[Step, ...]:
    """Return a network: a stem of stride 2, blocks numbered from 1, and a convolution of 1 x 1 at the top."""
    found: list[Step] = [Convolution("stem", 3, n_stem, kernel=3, stride=2)]
    for number, block in enumerate(blocks, start=1):
        found += _invert(f"block_{number}", block, found[-1])
    return (*found, Convolution("top", found[-1].n_out, n_top, kernel=1))


def _invert(name: str, block: Block, before: Step) -> Iterator[Step]:
    """Yield the steps of a block; a factor of expansion of 1 takes no step for it."""
    n_wide = before.n_out * block.expand
    if block.expand > 1:
        yield Convolution(f"{name}_expand", before.n_out, n_wide, kernel=1)
    yield Convolution(f"{name}_depthwise", n_wide, n_wide, block.kernel, block.stride, is_depthwise=True)
    yield Convolution(f"{name}_project", n_wide, block.n_out, kernel=1, has_relu6=False)
    if block.stride == 1 and before.n_out == block.n_out:
        yield Add(f"{name}_add", before.name, block.n_out)
