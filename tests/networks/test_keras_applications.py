"""Each family against Keras's own network and `preprocess_input`, on the same random weights."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py  # type: ignore[import-untyped]
import numpy as np
import pytest
from conftest import made_photos
from numpy.typing import NDArray

from headstart.base.errors import SettingsError, WeightsError
from headstart.networks import engine
from headstart.networks.backbones import find, import_keras, keras_applications
from headstart.networks.backbones.description import VARIANCE_FLOOR
from headstart.networks.engine import OpenVINOEngine
from headstart.networks.table import TABLE, Backbone, KerasFile, Place

Floats = NDArray[np.float32]
Asked = tuple[str, str, str | None]

ROWS = [row for row in TABLE if isinstance(row.weights, KerasFile)]

# Of each family the smallest: row, Keras's module and function, the smallest picture that it takes, and the
# gain of its random kernels. Where it is not 2, as behind ReLU, pictures would drown in the biases on their
# way, or rounding errors would grow to the size of the features.
FAMILIES = [
    ("mobilenet", "mobilenet", "MobileNet", 32, 2),
    ("mobilenet_v2_keras", "mobilenet_v2", "MobileNetV2", 32, 1.5),
    ("mobilenet_v3_small", "mobilenet_v3", "MobileNetV3Small", 32, 2),
    ("efficientnet_v2_b0", "efficientnet_v2", "EfficientNetV2B0", 32, 1.5),
    ("resnet50", "resnet", "ResNet50", 32, 2),
    ("resnet50_v2", "resnet_v2", "ResNet50V2", 32, 2),
]
# To build these takes some 5 to 30 seconds each; how they scale pixels is in the quick tests all the same.
LARGE_FAMILIES = [
    ("efficientnet_b0", "efficientnet", "EfficientNetB0", 32, 2.5),
    ("densenet121", "densenet", "DenseNet121", 32, 2),
    ("xception", "xception", "Xception", 71, 2),
    ("inception_v3", "inception_v3", "InceptionV3", 75, 2),
    ("vgg16", "vgg16", "VGG16", 32, 2),
    ("convnext_tiny", "convnext", "ConvNeXtTiny", 32, 2),
    ("inception_resnet_v2", "inception_resnet_v2", "InceptionResNetV2", 75, 2),
    ("nasnet_mobile", "nasnet", "NASNetMobile", 32, 2),
    ("efficientnet_v2_s", "efficientnet_v2", "EfficientNetV2S", 32, 1.5),
]


# Keras's module by family, of those that it does not scale pixels for inside the network.
PREPROCESS = {
    "mobilenet": "mobilenet",
    "mobilenet_v2": "mobilenet_v2",
    "nasnet": "nasnet",
    "densenet": "densenet",
    "resnet": "resnet",
    "resnet_v2": "resnet_v2",
    "inception_v3": "inception_v3",
    "inception_resnet_v2": "inception_resnet_v2",
    "xception": "xception",
    "vgg": "vgg16",
}


@dataclass(frozen=True, eq=False)
class Pair:
    """Our graph and Keras's, with the same weights, and what Keras would have downloaded for its own."""

    row: Backbone
    ours: Any
    pictures: Floats
    expected: Floats
    asked: Asked


def randomise(model: Any, random: np.random.Generator, gain: float) -> None:
    """Give every weight a value of its own, BatchNorm's and Normalization's statistics too."""
    for weight in model.weights:
        shape = tuple(weight.shape)
        values: Floats = random.standard_normal(shape, dtype=np.float32)
        if len(shape) > 1:
            is_depthwise = shape[-1] == 1
            values *= np.sqrt(gain / np.prod(shape[:2] if is_depthwise else shape[:-1]))
        elif "variance" in weight.name or "gamma" in weight.name:
            values = random.uniform(0.5, 1.5, shape).astype(np.float32)
        else:
            values *= 0.1
        weight.assign(values)
    for layer in model.layers:
        if hasattr(layer, "finalize_state"):
            layer.finalize_state()


def ask_keras(function: str, size_px: int, path: Path | None = None, gain: float = 2) -> tuple[Any, Asked]:
    """Build Keras's own network with `weights="imagenet"`, as if its weight file held random numbers.

    Args:
        function: Name in `keras.applications`.
        size_px: Side of the input.
        path: Where to write that file, or None to leave the weights as they are.
        gain: Of the kernels in it.

    Returns:
        The network; and the name, address and checksum of the file that Keras asked for.
    """
    keras = import_keras()
    from keras.src.legacy.saving.legacy_h5_format import save_weights_to_hdf5_group
    from keras.src.utils import file_utils

    asked = []

    def get_file(name: str, url: str, cache_subdir: str, file_hash: str | None = None) -> str:
        assert cache_subdir == "models"
        asked.append((name, url, file_hash))
        return name

    def load_weights(model: Any, _: str) -> None:
        if path:
            randomise(model, np.random.default_rng(1), gain)
            with h5py.File(path, "w") as file:
                save_weights_to_hdf5_group(file, model)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(file_utils, "get_file", get_file)
        patch.setattr(keras.Model, "load_weights", load_weights)
        network = getattr(keras.applications, function)(
            include_top=False, weights="imagenet", pooling="avg", input_shape=(size_px, size_px, 3)
        )
    assert len(asked) == 1
    return network, asked[0]


@pytest.fixture(
    scope="module",
    params=[*FAMILIES, *(pytest.param(family, marks=pytest.mark.slow) for family in LARGE_FAMILIES)],
    ids=lambda family: family[0],
)
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    name, module, function, size_px, gain = request.param
    keras = import_keras()
    row, path = find(name), tmp_path_factory.mktemp(name) / "weights.h5"
    theirs, asked = ask_keras(function, size_px, path, gain)
    pictures = np.random.default_rng(0).integers(0, 256, (2, size_px, size_px, 3)).astype(np.float32)
    pictures[1] //= 2
    scaled = getattr(keras.applications, module).preprocess_input(pictures.copy())
    expected = np.asarray(theirs(scaled, training=False))
    yield Pair(
        row=row,
        ours=keras_applications.build(row, image_size_px=size_px, weights_path=path),
        pictures=pictures,
        expected=expected,
        asked=asked,
    )
    path.unlink()


def difference(one: Floats, other: Floats) -> float:
    return float(np.abs(one - other).max() / np.abs(other).max())


def test_raw_pixels_give_the_features_of_keras_on_its_own_scaling(pair: Pair) -> None:
    features = np.asarray(pair.ours(pair.pictures, training=False))
    assert difference(features, pair.expected) < 1e-4
    # Otherwise any scaling would pass.
    assert difference(pair.expected[1], pair.expected[0]) > 1e-2


@pytest.mark.parametrize("row", [row for row in ROWS if row.family in PREPROCESS], ids=lambda row: row.name)
def test_pixels_are_scaled_as_keras_scales_them(row: Backbone) -> None:
    pixels = np.arange(256, dtype=np.float32).reshape(1, 256, 1, 1) * np.ones(3, np.float32)
    scale, offset = keras_applications.SCALINGS[row.scaling]
    module = getattr(import_keras().applications, PREPROCESS[row.family])
    expected = module.preprocess_input(pixels.copy())
    if row.scaling == "ImageNet mean, channels as BGR":
        expected = expected[..., ::-1]
    np.testing.assert_allclose(pixels * scale + offset, expected, rtol=0, atol=1e-5)


def test_the_file_in_the_table_is_the_one_that_keras_asks_for(pair: Pair) -> None:
    check_file(pair.row, pair.asked)


def check_file(row: Backbone, asked: Asked) -> None:
    assert isinstance(row.weights, KerasFile)
    assert (row.weights.name, row.weights.url, row.weights.checksum or None) == asked


def test_the_row_tells_the_graph(pair: Pair) -> None:
    check_graph(pair.row, pair.ours)
    if pair.row.name in PLACES:
        check_places(pair.row.name, pair.ours)


def check_graph(row: Backbone, model: Any) -> None:
    keras = import_keras()
    assert model.input.name == "pixels"
    assert model.input.dtype == "float32"
    assert model.output_names == ["features"]
    assert model.output.shape == (None, row.feature_size)
    assert model.count_params() == row.parameters
    assert not [layer.name for layer in model.layers if isinstance(layer, keras.Model)]
    assert [layer.name for layer in model.layers if isinstance(layer, keras.layers.Rescaling)] == ["scale"]
    assert not [layer.name for layer in model.layers if isinstance(layer, keras.layers.Normalization)]
    assert row.last_block in [layer.name for layer in model.layers if layer.weights]


# By hand from Keras's source, for a picture of 224 pixels: the last layer of each shape at strides 16 and 32
# that sums up all before it. The last of all is asked for its deviation alone.
PLACES = {
    "mobilenet": ["conv_dw_6_relu", "conv_pw_11_relu", "conv_dw_12_relu", "conv_pw_13_relu"],
    "vgg16": ["block5_conv3", "block5_pool"],
    "resnet50": ["conv4_block6_out", "conv5_block3_out"],
    "densenet121": ["pool4_relu", "pool4_conv", "relu"],
    "inception_v3": ["mixed7", "mixed8", "mixed10"],
    "nasnet_mobile": ["normal_concat_11", "activation_187"],
}


@pytest.mark.parametrize(
    ("name", "size_px"),
    [
        *(("vgg16", 45), ("densenet121", 32)),
        *(pytest.param(name, 96, marks=pytest.mark.slow) for name in ("inception_v3", "nasnet_mobile")),
    ],
)
def test_places_sum_up_what_comes_before_them(name: str, size_px: int) -> None:
    check_places(name, keras_applications.build(find(name), image_size_px=size_px, weights_path=None))


def check_places(name: str, model: Any) -> None:
    *inside, last = PLACES[name]
    assert keras_applications.places(model) == (
        *(Place(one, takes) for one in inside for takes in ("mean", "std")),
        Place(last, "std"),
    )


def moments_of(model: Any, pictures: Floats) -> Floats:
    """What the places of a graph say, reckoned in NumPy of the maps themselves, and the mean of the last."""
    plain = import_keras().Model(model.input, model.get_layer("last").output)
    places = keras_applications.places(plain)
    outputs = {one.name: one.output for one in plain.operations}
    inside = import_keras().Model(plain.input, [*(outputs[one.layer] for one in places), plain.output])
    *maps, last = (np.asarray(one, np.float64) for one in inside(pictures, training=False))
    told = [
        one.mean((1, 2)) if place.takes == "mean" else np.sqrt(one.var((1, 2)) + VARIANCE_FLOOR)
        for place, one in zip(places, maps, strict=True)
    ]
    return np.concatenate([*told, last], axis=1).astype(np.float32)


def check_stages(row: Backbone, size_px: int) -> None:
    """Features are those moments, and a graph that OpenVINO resizes is the network at that size."""
    pictures = made_photos(size_px, 2)
    built = keras_applications.build(row, image_size_px=size_px, weights_path=None, features="stages")
    assert built.output_names == ["features"]
    features = np.asarray(built(pictures.astype(np.float32), training=False))
    assert difference(features, moments_of(built, pictures.astype(np.float32))) < 1e-4
    other_px = size_px + 32
    other = keras_applications.build(row, image_size_px=other_px, weights_path=None, features="stages")
    assert keras_applications.drawn_for(row, other_px) == keras_applications.drawn_for(row, size_px)
    assert difference(OpenVINOEngine(engine.convert(other)).resized(size_px)(pictures), features) < 1e-4


STAGED = [
    ("mobilenet", 45),
    ("mobilenet_v2_keras", 64),
    ("mobilenet_v3_small", 33),
    ("efficientnet_v2_b0", 41),
]


@pytest.mark.parametrize(("name", "size_px"), STAGED)
def test_stages_are_the_moments_of_the_places_at_any_size(name: str, size_px: int) -> None:
    check_stages(find(name), size_px)


def test_a_network_that_pads_by_hand_is_another_at_odd_sides() -> None:
    row, pictures = find("mobilenet_v3_small"), made_photos(64, 2)
    drawn_for_65, drawn_for_64 = (
        keras_applications.build(row, image_size_px=size_px, weights_path=None) for size_px in (65, 64)
    )
    at_65 = OpenVINOEngine(engine.convert(drawn_for_65)).resized(64)(pictures)
    at_64 = np.asarray(drawn_for_64(pictures.astype(np.float32), training=False))
    assert difference(at_65, at_64) > 1e-2
    assert engine.kept_path(row, 65, None) != engine.kept_path(row, 64, None)
    # 224, 112, 56, 28 and 14 are even, as 288, 144, 72, 36 and 18 are; 240 ends with 15.
    assert engine.kept_path(row, 224, None) == engine.kept_path(row, 288, None)
    assert engine.kept_path(row, 224, None) != engine.kept_path(row, 240, None)


@pytest.mark.slow
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_every_row_has_stages(row: Backbone) -> None:
    size_px = max(64, keras_applications.MINIMUM_SIZE_PX.get(row.family, 0) + 2)
    check_stages(row, size_px)


@pytest.mark.slow
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_every_row_is_as_keras_builds_it(row: Backbone) -> None:
    functions = {name.lower(): name for name in dir(import_keras().applications) if name[0].isupper()}
    function = functions[row.name.removesuffix("_keras").replace("_", "")]
    theirs, asked = ask_keras(function, row.input_size_px)
    ours = keras_applications.build(row, image_size_px=row.input_size_px, weights_path=None)
    check_file(row, asked)
    check_graph(row, ours)
    # EfficientNet's Normalization has a mean and a variance of each channel, and a count.
    assert theirs.count_params() - row.parameters == (7 if row.family == "efficientnet" else 0)


def test_all_of_keras_applications_are_in_the_table() -> None:
    functions = {name.lower() for name in dir(import_keras().applications) if name[0].isupper()}
    assert {row.name.removesuffix("_keras").replace("_", "") for row in ROWS} == functions


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_small_networks_are_fine_tuned_whole_and_large_ones_at_the_end(row: Backbone) -> None:
    expected = "all" if row.parameters < 8e6 else "half" if row.parameters < 30e6 else "last"
    assert row.default_unfreeze == expected


def test_names_and_random_weights_are_the_same_whatever_was_built_before() -> None:
    one, other = (
        keras_applications.build(find("mobilenet_v3_small"), image_size_px=32, weights_path=None)
        for _ in range(2)
    )
    assert [layer.name for layer in one.layers] == [layer.name for layer in other.layers]
    assert "activation_17" in [layer.name for layer in other.layers]
    for first, second in zip(one.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(first, second)


def test_a_picture_too_small_is_refused() -> None:
    with pytest.raises(SettingsError) as caught:
        keras_applications.build(find("xception"), image_size_px=64, weights_path=None)
    assert str(caught.value) == "image_size is 64.\nxception needs 71 or more."


def test_another_networks_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.h5"
    ask_keras("VGG16", 32, path)
    with pytest.raises(WeightsError) as caught:
        keras_applications.build(find("mobilenet"), image_size_px=32, weights_path=path)
    assert str(caught.value) == (
        f"{path} does not fit mobilenet: Layer count mismatch when loading weights from file. "
        "Model expected 54 layers, found 13 saved layers.\n"
        "Delete it and run `headstart weights pull mobilenet`."
    )


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.h5"
    path.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))
    with pytest.raises(WeightsError, match=f"{path} does not fit mobilenet: Unable to") as caught:
        keras_applications.build(find("mobilenet"), image_size_px=32, weights_path=path)
    assert caught.value.fix == "Delete it and run `headstart weights pull mobilenet`."
