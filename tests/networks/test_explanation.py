"""The heat is where the evidence is: planted, computed by hand, by Keras's gradients, and by covering it."""

import csv
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import pytest
from conftest import Finished, made_photos
from numpy.typing import NDArray

import headstart
from headstart.networks import backbones, engine, explanation
from headstart.networks.classifier import Classifier
from headstart.networks.engine import Engine, OpenVINOEngine
from headstart.networks.explanation import CELLS, INFERENCES, Explainer, occlusion, overlay
from headstart.pictures import pixels
from headstart.pictures.pixels import Pixels
from headstart.results.gallery import Method
from headstart.training import probe

Floats = NDArray[np.float32]
Kind = Literal["openvino", "keras"]

CORNERS = [(top, left) for top in (0, 16) for left in (0, 16)]


def tiny(kind: Kind = "openvino") -> Engine:
    return engine.open_backbone(backbones.find("tiny"), made_photos(32), asked=kind)


def random_head(n_features: int, n_classes: int = 3) -> tuple[Floats, Floats]:
    random = np.random.default_rng(0)
    weights = random.normal(0, 1 / np.sqrt(n_features), (n_features, n_classes))
    return weights.astype(np.float32), random.normal(0, 1, n_classes).astype(np.float32)


# Evidence that was planted.


def planted(random: np.random.Generator, **corners: tuple[int, int]) -> Pixels:
    """A 32 x 32 picture of grey noise with a patch of 12 x 12 in a corner for each colour named."""
    picture = random.integers(90, 160, (32, 32, 1), dtype=np.uint8).repeat(3, axis=2)
    for colour, (top, left) in corners.items():
        patch = picture[top + 2 : top + 14, left + 2 : left + 14]
        patch[..., ["red", "green", "blue"].index(colour)] = 255
    return picture


@pytest.fixture(scope="module", params=["openvino", "keras"])
def colours(request: pytest.FixtureRequest) -> Engine:
    """Tells pictures with a red patch from those with a green or a blue one, wherever it is."""
    random, labels = np.random.default_rng(1), np.arange(240, dtype=np.int32) % 3
    names = ("red", "green", "blue")
    pictures = [planted(random, **{names[label]: CORNERS[random.integers(4)]}) for label in labels]
    frozen = tiny(request.param)
    features = frozen(np.stack(pictures))
    head = probe.refit(features, labels, np.ones(240, np.float32), 1e-2)
    # As in a run: with a second output, which makes something else of the same features.
    return frozen.with_head(head.weights, head.bias, np.eye(8, dtype=np.float32))


@pytest.mark.parametrize("asked", ["cam", "occlusion"])
def test_the_heat_of_a_class_is_on_its_patch_though_another_class_has_one_too(
    colours: Engine, asked: Method
) -> None:
    explainer, random = Explainer(colours, asked), np.random.default_rng(2)
    is_cam = asked == "cam" and isinstance(colours, OpenVINOEngine)
    assert explainer.method == ("cam" if is_cam else "occlusion")
    found = []
    for _ in range(20):
        red, green = (CORNERS[index] for index in random.permutation(4)[:2])
        picture = planted(random, red=red, green=green)
        for label, corner in enumerate((red, green)):
            found.append(hottest_corner(explainer.explain(picture, label)) == corner)
    assert np.mean(found) >= 0.8  # by chance 0.25


def hottest_corner(heat: Floats) -> tuple[int, int]:
    return max(CORNERS, key=lambda corner: heat[corner[0] :, corner[1] :][:16, :16].sum())


def test_heat_is_in_0_to_1_and_nothing_given_is_changed(colours: Engine) -> None:
    picture = planted(np.random.default_rng(3), blue=(0, 16))
    before, probabilities = picture.copy(), colours.answer(picture)
    for asked in ("cam", "occlusion"):
        heat = Explainer(colours, asked).explain(picture, 2)
        assert heat.shape == (32, 32)
        assert heat.dtype == np.float32
        assert [float(heat.min()), float(heat.max())] == [0, 1]
        assert np.array_equal(picture, before)
    assert np.array_equal(colours.answer(picture), probabilities)


# Evidence that is known.


def watcher(gain: float) -> OpenVINOEngine:
    """The log-odds of class 1 are `gain` times the mean brightness, of rows 8-11, columns 20-23, white 1."""
    import openvino
    from openvino import opset13 as ops

    picture = ops.parameter([-1, 32, 32, 3], np.uint8)
    cell = ops.slice(ops.convert(picture, "f32"), [8, 20], [12, 24], [1, 1], [1, 2])
    brightness = ops.reduce_mean(cell, [1, 2, 3])
    logits = ops.matmul(ops.unsqueeze(brightness, 1), np.array([[0, gain / 255]], np.float32), False, False)
    return OpenVINOEngine(openvino.Model([ops.softmax(logits, 1)], [picture], "watcher"))


@pytest.mark.parametrize("gain", [1, 40])
def test_occlusion_worked_by_hand(gain: float) -> None:
    # Of 8 x 8 cells of 4 x 4 pixels, the white one is row 2, column 5. The mean colour is 255 / 64, so 4.
    # Four of the 81 patches cover the white cell; each neighbour to its side is under two of these, each one
    # across a corner under one. With a gain of 40 the probability is 1 in float32 before and after.
    picture = np.zeros((32, 32, 3), np.uint8)
    picture[8:12, 20:24] = 255
    fall = gain * (255 - 4) / 255
    expected = np.zeros((CELLS, CELLS))
    expected[1:4, 4:7] = fall * np.array([[1, 2, 1], [2, 4, 2], [1, 2, 1]]) / 4
    assert occlusion(watcher(gain), picture, 1) == pytest.approx(expected, rel=1e-5, abs=1e-9)
    assert occlusion(watcher(gain), picture, 0) == pytest.approx(-expected, rel=1e-5, abs=1e-9)
    explainer = Explainer(watcher(gain))
    assert explainer.method == "occlusion"
    heat = explainer.explain(picture, 1)
    assert heat[8:12, 20:24].max() == 1
    assert heat[22:].max() == heat[:, :9].max() == 0
    assert explainer.explain(picture, 0).max() == 0


def test_what_speaks_against_a_class_everywhere_leaves_it_cold() -> None:
    # Features are not negative behind ReLU6, so with these weights every place speaks for class 1.
    weights = np.outer(np.ones(8), [-1, 1]).astype(np.float32)
    explainer = Explainer(tiny().with_head(weights, np.zeros(2, np.float32)))
    for picture in made_photos(32):
        assert explainer.explain(picture, 0).max() == 0
        assert explainer.explain(picture, 1).max() == 1


@pytest.mark.parametrize("name", ["tiny", pytest.param("mobilenet_v2", marks=pytest.mark.slow)])
def test_keras_gradients_give_the_same_map(name: str) -> None:
    """Grad-CAM by TensorFlow's own gradients of the log-odds, resized by TensorFlow."""
    row = backbones.find(name)
    pictures = made_photos(row.input_size_px)
    model, head = backbones.build(name), random_head(row.feature_size)
    whole = engine.open_backbone(row, pictures).with_head(*head)
    explainer = Explainer(whole)
    assert explainer.method == "cam"
    for picture in pictures:
        for label in range(3):
            expected = grad_cam(model, head, picture, label)
            assert expected.max() > 0
            assert cosine(explainer.explain(picture, label), expected) > 0.99


def grad_cam(model: Any, head: tuple[Floats, Floats], picture: Pixels, label: int) -> Floats:
    import tensorflow as tf

    keras = backbones.import_keras()
    pooled = next(
        layer for layer in reversed(model.layers) if isinstance(layer, keras.layers.GlobalAveragePooling2D)
    )
    to_maps = keras.Model(model.input, pooled.input)
    with tf.GradientTape() as tape:
        maps = to_maps(picture[None].astype(np.float32), training=False)
        tape.watch(maps)
        logits = (
            tf.reduce_mean(maps, axis=(1, 2))[0] @ head[0] + head[1]
            if False
            else (tf.linalg.matvec(head[0], tf.reduce_mean(maps, axis=(1, 2))[0], transpose_a=True) + head[1])
        )
        others = tf.concat([logits[:label], logits[label + 1 :]], axis=0)
        log_odds = logits[label] - tf.reduce_logsumexp(others)
    alphas = tf.reduce_mean(tape.gradient(log_odds, maps), axis=(1, 2))
    heat = tf.nn.relu(tf.reduce_sum(maps * alphas[:, None, None], axis=-1))[..., None]
    return np.asarray(tf.image.resize(heat, picture.shape[:2], method="bicubic"))[0, ..., 0].clip(min=0)


def cosine(one: Floats, other: Floats) -> float:
    return float((one * other).sum() / (np.linalg.norm(one) * np.linalg.norm(other)))


# Ends of graphs.

WEIGHTS, _ = random_head(8)


def ended(end: Callable[[Any, Any], Any]) -> OpenVINOEngine:
    """The tiny backbone with another end, which is given `ops` and the maps, (1, 8, 4, 4)."""
    import openvino
    from openvino import opset13 as ops

    backbone = tiny()
    assert isinstance(backbone, OpenVINOEngine)
    whole = backbone.graph.clone()
    pooling = whole.output(0).get_node().input_value(0).get_node()
    result = end(ops, pooling.input_value(0))
    return OpenVINOEngine(openvino.Model([result], whole.get_parameters(), "ended"))


def softmax(ops: Any, pooled: Any, weights: Floats = WEIGHTS) -> Any:
    return ops.softmax(ops.matmul(pooled, weights, False, False), 1)


SAME: dict[str, Callable[[Any, Any], Any]] = {
    "no bias": lambda ops, maps: softmax(ops, ops.reduce_mean(maps, [2, 3])),
    "bias first": lambda ops, maps: ops.softmax(
        ops.add(np.zeros(3, np.float32), ops.matmul(ops.reduce_mean(maps, [2, 3]), WEIGHTS, False, False)),
        1,
    ),
    "weights transposed": lambda ops, maps: ops.softmax(
        ops.matmul(ops.reduce_mean(maps, [2, 3]), WEIGHTS.T.copy(), False, True), 1
    ),
    "axes from the end": lambda ops, maps: softmax(ops, ops.reduce_mean(maps, [-1, -2])),
    "channels last": lambda ops, maps: softmax(
        ops, ops.reduce_mean(ops.transpose(maps, [0, 2, 3, 1]), [1, 2])
    ),
    "reshaped": lambda ops, maps: softmax(
        ops, ops.reshape(ops.reduce_mean(maps, [2, 3], keep_dims=True), [-1, 8], False)
    ),
    "squeezed": lambda ops, maps: softmax(
        ops, ops.squeeze(ops.reduce_mean(maps, [2, 3], keep_dims=True), [2, 3])
    ),
}

OTHER: dict[str, Callable[[Any, Any], Any]] = {
    "normalised after the pooling": lambda ops, maps: softmax(
        ops, ops.mvn(ops.reduce_mean(maps, [2, 3]), [1], True, 1e-6, "inside_sqrt")
    ),
    "the greatest, not the mean": lambda ops, maps: softmax(ops, ops.reduce_max(maps, [2, 3])),
    "each place of its own weight": lambda ops, maps: softmax(
        ops, ops.reshape(maps, [-1, 128], False), random_head(128)[0]
    ),
    "rows alone": lambda ops, maps: softmax(
        ops, ops.reshape(ops.reduce_mean(maps, [2]), [-1, 32], False), random_head(32)[0]
    ),
    "each class for itself": lambda ops, maps: ops.sigmoid(
        ops.matmul(ops.reduce_mean(maps, [2, 3]), WEIGHTS, False, False)
    ),
}


@pytest.mark.parametrize("form", SAME)
def test_the_same_function_in_another_form_gives_the_same_map(form: str) -> None:
    plain = Explainer(tiny().with_head(WEIGHTS, np.zeros(3, np.float32)))
    explainer = Explainer(ended(SAME[form]))
    assert explainer.method == "cam"
    for picture in made_photos(32):
        assert explainer.explain(picture, 1) == pytest.approx(plain.explain(picture, 1), abs=1e-4)


@pytest.mark.parametrize("form", OTHER)
def test_other_forms_are_explained_by_occlusion(form: str) -> None:
    explainer = Explainer(ended(OTHER[form]))
    assert explainer.method == "occlusion"
    for picture in made_photos(32):
        assert max(explainer.explain(picture, label).max() for label in range(3)) == 1


@pytest.mark.parametrize("bits", [32, 16])
def test_a_graph_read_back_from_disk_gives_the_same_map(bits: int, tmp_path: Path) -> None:
    import openvino

    whole = tiny().with_head(*random_head(8))
    assert isinstance(whole, OpenVINOEngine)
    openvino.save_model(whole.graph, tmp_path / "graph.xml", compress_to_fp16=bits == 16)
    loaded = OpenVINOEngine(openvino.Core().read_model(tmp_path / "graph.xml"))
    matmul = next(node for node in loaded.graph.get_ordered_ops() if node.get_type_name() == "MatMul")
    kind = matmul.input_value(1).get_node().get_type_name()
    assert kind == {32: "Constant", 16: "Convert"}[bits]
    explainer = Explainer(loaded)
    assert explainer.method == "cam"
    for picture in made_photos(32):
        expected = Explainer(whole).explain(picture, 2)
        assert explainer.explain(picture, 2) == pytest.approx(expected, abs={32: 1e-5, 16: 2e-2}[bits])


def test_the_graph_of_the_classifier_stays_as_it_is() -> None:
    whole = tiny().with_head(*random_head(8))
    assert isinstance(whole, OpenVINOEngine)
    before = [node.get_friendly_name() for node in whole.graph.get_ordered_ops()]
    Explainer(whole).explain(made_photos(32)[0], 0)
    assert [node.get_friendly_name() for node in whole.graph.get_ordered_ops()] == before
    assert (len(whole.graph.outputs), whole.output_shape) == (1, (3,))
    assert whole.graph.output(0).get_node().input_value(0).get_node().get_type_name() == "Softmax"


def test_a_saved_model_is_explained_without_tensorflow(finished: Finished) -> None:
    code = (
        "import sys, pathlib, headstart; from headstart.networks import explanation;"
        "from headstart.pictures import pixels;"
        f"model = headstart.load(pathlib.Path({str(finished.folder)!r}));"
        "explainer = explanation.Explainer(model.engine);"
        f"file = next(pathlib.Path({str(finished.photos)!r}).glob('red/*.jpg'));"
        "explainer.explain(pixels.read(file, model.record.image_size_px, model.record.fit), 0);"
        "print(explainer.method, *({'keras', 'tensorflow'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stderr, done.stdout.split()) == ("", ["cam"])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "method"),
    [
        ("mobilenet_v3_small", "cam"),
        ("efficientnet_v2_b0", "cam"),
        ("resnet50_v2", "cam"),
        ("vgg16", "cam"),
        ("convnext_tiny", "occlusion"),
    ],
)
def test_the_form_of_each_family_is_known_when_it_is_seen(name: str, method: Method) -> None:
    pictures = made_photos(96, count=1)
    model = backbones.build(name, image_size_px=96, random_weights=True)
    frozen = OpenVINOEngine(engine.convert(model))
    weights, bias = random_head(backbones.find(name).feature_size)
    head = weights / np.abs(frozen(pictures)).max(), bias  # so that no probability is rounded to 0
    explainer = Explainer(frozen.with_head(*head))
    assert explainer.method == method
    heats = [explainer.explain(picture, label) for picture in pictures for label in range(3)]
    assert max(heat.max() for heat in heats) == 1
    if method == "cam":
        expected = [grad_cam(model, head, picture, label) for picture in pictures for label in range(3)]
        assert all(
            cosine(one, other) > 0.99 for one, other in zip(heats, expected, strict=True) if other.any()
        )


# What is wrong with what was given.


@pytest.mark.parametrize(
    ("picture", "label", "message"),
    [
        (np.zeros((31, 32, 3), np.uint8), 0, "the picture is uint8 (31, 32, 3); expected uint8 (32, 32, 3)"),
        (np.zeros((32, 32, 3)), 0, "the picture is float64 (32, 32, 3); expected uint8 (32, 32, 3)"),
        (np.zeros((32, 32, 3), np.uint8), 3, "the label is 3; expected 0 to 2"),
        (np.zeros((32, 32, 3), np.uint8), -1, "the label is -1; expected 0 to 2"),
    ],
)
def test_what_does_not_fit_is_refused(picture: Any, label: int, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        Explainer(tiny().with_head(*random_head(8))).explain(picture, label)
    assert str(caught.value) == message


# The picture that is shown.


def test_the_photo_shows_in_grey_where_it_is_cold() -> None:
    picture = made_photos(32)[0]
    before = picture.copy()
    shown = overlay(picture, np.zeros((32, 32), np.float32))
    assert shown.shape == (32, 32, 3)
    assert shown.dtype == np.uint8
    assert np.array_equal(picture, before)
    # ITU-R BT.601's luma, at 60% of its brightness.
    expected = 0.6 * (picture @ np.array([0.299, 0.587, 0.114]))
    assert np.abs(shown - expected[..., None]).max() <= 1


@pytest.mark.parametrize("brightness", [0, 64, 128, 255])
def test_the_hotter_half_is_the_lighter_the_hotter_on_any_photo(brightness: int) -> None:
    heat = np.linspace(0, 1, 32, dtype=np.float32)[None].repeat(32, axis=0)
    shown = overlay(np.full((32, 32, 3), brightness, np.uint8), heat)
    lightness = cv2.cvtColor(shown.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)[0, :, 0]
    assert np.all(np.diff(lightness[16:]) > 0)
    assert lightness[-1] > lightness[:-1].max()
    assert lightness[-1] - lightness[0] > 15


# Real photos.


@pytest.mark.slow
@pytest.mark.parametrize(("data", "technique"), [("animals", "features"), ("clothing", "finetune")])
def test_blurring_what_is_hot_costs_more_than_blurring_another_place(
    data: str, technique: str, shared_data: Path, tmp_path: Path
) -> None:
    model, files = trained(shared_data / data, technique, tmp_path)
    pictures = list(pixels.read_many(files, model.engine.image_size_px, model.record.fit))
    labels = model.engine(np.stack(pictures)).argmax(axis=1).tolist()
    random = np.random.default_rng(0)
    elsewhere = np.mean(
        [falls(model.engine, pictures, labels, [square(random) for _ in files]) for _ in range(5)], axis=0
    )
    for asked in ("cam", "occlusion"):
        explainer = Explainer(model.engine, asked)
        assert explainer.method == asked
        heats = [explainer.explain(picture, label) for picture, label in zip(pictures, labels, strict=True)]
        hot = falls(model.engine, pictures, labels, [hottest(heat) for heat in heats])
        print(f"{data}, {technique}, {asked}: {hot.mean():.3f} where hot, {elsewhere.mean():.3f} elsewhere")
        difference = hot - elsewhere
        assert difference.mean() > 2 * difference.std() / np.sqrt(len(files))


def trained(photos: Path, technique: str, folder: Path) -> tuple[Classifier, list[Path]]:
    """A model of mobilenet_v2 for five classes of 60 photos, and 100 photos that it has not seen."""
    names = sorted(path.name for path in sorted(photos.glob("train/*")) or photos.iterdir())[:5]
    for name in names:
        (folder / "photos" / name).mkdir(parents=True)
        found = sorted(photos.glob(f"**/{name}/*.jpg"))
        for file in found[:: len(found) // 60][:60]:
            shutil.copy(file, folder / "photos" / name)
    asked = ["--backbones", "mobilenet_v2", "--techniques", technique, "--test", "0.34", "--folds", "0"]
    command = [sys.executable, "-m", "headstart", "compare", "photos", "--out", "run", *asked, "--no-check"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    model = headstart.load(folder / "run")
    assert (model.record.technique, type(model.engine)) == (technique, OpenVINOEngine)
    with (folder / "run" / "split.csv").open(encoding="utf-8", newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["part"] == "test"]
    return model, [folder / "photos" / row["path"] for row in rows][:100]


SIDE = 87
"""Of a square of 15% of 224 x 224 pixels."""


def square(random: np.random.Generator) -> NDArray[np.bool_]:
    mask = np.zeros((224, 224), np.bool_)
    top, left = random.integers(0, 224 - SIDE + 1, 2)
    mask[top : top + SIDE, left : left + SIDE] = True
    return mask


def hottest(heat: Floats) -> NDArray[np.bool_]:
    """The hottest pixels, as many as in a square."""
    mask = np.zeros(heat.size, np.bool_)
    mask[np.argsort(-heat, axis=None, kind="stable")[: SIDE**2]] = True
    return mask.reshape(heat.shape)


def falls(
    model: Engine, pictures: list[Pixels], labels: list[int], masks: list[NDArray[np.bool_]]
) -> NDArray[np.float64]:
    """How far each picture's probability of its label falls when what is masked is blurred."""
    blurred = [
        np.where(mask[..., None], cv2.GaussianBlur(picture, (0, 0), 22), picture)
        for picture, mask in zip(pictures, masks, strict=True)
    ]
    before, after = model(np.stack(pictures)), model(np.stack(blurred))
    rows = np.arange(len(labels))
    return (before[rows, labels] - after[rows, labels]).astype(np.float64)


def test_covering_asks_as_often_as_the_forecast_counts() -> None:
    asked = list(explanation._covered(np.zeros((32, 32, 3), np.uint8)))
    assert len(asked) == INFERENCES["occlusion"] == 82  # 9 by 9 places of a patch, and the whole picture
