"""What MobileNetV2 and EfficientNet-Lite are made of: convolution, BatchNorm, ReLU6 and their blocks.

A block widens its input by `expand` (a 1 x 1 convolution), filters each channel by itself, and narrows to
`n_out` channels (1 x 1, no activation); it adds its input when the shapes are equal.
Sandler et al. 2018, MobileNetV2, https://arxiv.org/abs/1801.04381, figure 4 and table 1.
"""

import math
import zlib
from dataclasses import dataclass
from typing import Any

from headstart.networks.backbones import import_keras


@dataclass(frozen=True)
class Block:
    """Shape of one block: square kernel, stride, factor of expansion, channels out."""

    kernel: int
    stride: int
    expand: int
    n_out: int


@dataclass(frozen=True)
class Layers:
    """Layers of one family: its BatchNorm epsilon, and how convolutions with stride 2 are padded.

    `is_padded_evenly`: by kernel // 2 on all sides, as in torch; otherwise 'same' as in TensorFlow,
    where an odd pixel goes to the right and to the bottom.
    """

    epsilon: float
    is_padded_evenly: bool

    def convolve(self, x: Any, name: str, n_out: int, kernel: int, stride: int, *, relu: bool = True) -> Any:
        """Add convolution, BatchNorm and, unless told not to, ReLU6."""
        x, padding = self._pad(x, name, kernel, stride)
        convolution = import_keras().layers.Conv2D(
            n_out, kernel, stride, padding, use_bias=False, name=name, kernel_initializer=seeded(name)
        )
        return self._normalise(convolution(x), name, relu)

    def filter_depthwise(self, x: Any, name: str, kernel: int, stride: int) -> Any:
        """Add a convolution of each channel by itself, BatchNorm and ReLU6."""
        x, padding = self._pad(x, name, kernel, stride)
        # He's variance, 2 / fan in, by hand: Keras counts all channels into the fan in of a depthwise kernel.
        initializer = import_keras().initializers.RandomNormal(stddev=math.sqrt(2) / kernel, seed=_seed(name))
        convolution = import_keras().layers.DepthwiseConv2D(
            kernel, stride, padding, use_bias=False, name=name, depthwise_initializer=initializer
        )
        return self._normalise(convolution(x), name, relu=True)

    def invert(self, x: Any, name: str, block: Block) -> Any:
        """Add a block; a factor of expansion of 1 adds no layers for it."""
        start, n_in = x, x.shape[-1]
        if block.expand > 1:
            x = self.convolve(x, f"{name}_expand", n_in * block.expand, 1, 1)
        x = self.filter_depthwise(x, f"{name}_depthwise", block.kernel, block.stride)
        x = self.convolve(x, f"{name}_project", block.n_out, 1, 1, relu=False)
        if block.stride == 1 and n_in == block.n_out:
            x = import_keras().layers.Add(name=f"{name}_add")([start, x])
        return x

    def _pad(self, x: Any, name: str, kernel: int, stride: int) -> tuple[Any, str]:
        if not self.is_padded_evenly or stride == 1:
            return x, "same"
        return import_keras().layers.ZeroPadding2D(kernel // 2, name=f"{name}_pad")(x), "valid"

    def _normalise(self, x: Any, name: str, relu: bool) -> Any:
        layers = import_keras().layers
        x = layers.BatchNormalization(epsilon=self.epsilon, name=f"{name}_bn")(x)
        return layers.ReLU(6, name=f"{name}_relu")(x) if relu else x


def seeded(name: str) -> Any:
    """Return He's normal initialiser, seeded by the layer's name: the same weights in each run."""
    return import_keras().initializers.HeNormal(seed=_seed(name))


def _seed(name: str) -> int:
    return zlib.crc32(name.encode())


def begin(image_size_px: int, scale: float | list[float], offset: float | list[float]) -> tuple[Any, Any]:
    """Return the input `pixels`, and `pixels * scale + offset`; lists hold one number a channel."""
    keras = import_keras()
    pixels = keras.Input((image_size_px, image_size_px, 3), dtype="float32", name="pixels")
    return pixels, keras.layers.Rescaling(scale, offset, name="scale")(pixels)


def finish(pixels: Any, x: Any, name: str) -> Any:
    """Return the model from `pixels` to the average of `x` over the picture, `features`."""
    keras = import_keras()
    features = keras.layers.GlobalAveragePooling2D(name="features")(x)
    return keras.Model(pixels, features, name=name)
