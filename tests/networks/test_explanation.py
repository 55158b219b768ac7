"""The heat is where the evidence is: planted, computed by hand, and by blurring it."""

import csv
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import pytest
from conftest import Finished, fitted, made_photos
from numpy.typing import NDArray

import headstart
from headstart.networks import backbones, engine
from headstart.networks.classifier import Classifier
from headstart.networks.engine import Engine, OpenVINOEngine
from headstart.networks.explanation import CELLS, INFERENCES, explain, occlusion, overlay
from headstart.pictures import pixels
from headstart.pictures.pixels import Pixels

Floats = NDArray[np.float32]
Kind = Literal["openvino", "keras"]

CORNERS = [(top, left) for top in (0, 16) for left in (0, 16)]


def tiny(kind: Kind = "openvino") -> Engine:
    return engine.open_backbone(backbones.find("tiny"), 32, asked=kind)


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
    head = fitted(features, labels)
    # As in a run: with a second output, which makes something else of the same features.
    return frozen.with_head(head.weights, head.bias, np.eye(8, dtype=np.float32))


def test_the_heat_of_a_class_is_on_its_patch_though_another_class_has_one_too(colours: Engine) -> None:
    random, found = np.random.default_rng(2), []
    for _ in range(20):
        red, green = (CORNERS[index] for index in random.permutation(4)[:2])
        picture = planted(random, red=red, green=green)
        for label, corner in enumerate((red, green)):
            found.append(hottest_corner(explain(colours, picture, label)) == corner)
    assert np.mean(found) >= 0.8  # by chance 0.25


def hottest_corner(heat: Floats) -> tuple[int, int]:
    return max(CORNERS, key=lambda corner: heat[corner[0] :, corner[1] :][:16, :16].sum())


def test_heat_is_in_0_to_1_and_nothing_given_is_changed(colours: Engine) -> None:
    picture = planted(np.random.default_rng(3), blue=(0, 16))
    before, probabilities = picture.copy(), colours.answer(picture)
    heat = explain(colours, picture, 2)
    assert heat.shape == (32, 32)
    assert heat.dtype == np.float32
    assert [float(heat.min()), float(heat.max())] == [0, 1]
    assert np.array_equal(picture, before)
    assert np.array_equal(colours.answer(picture), probabilities)


# Evidence that is known.


class Watcher(OpenVINOEngine):
    """The log-odds of class 1 are `gain` times the mean brightness of one cell of 8 x 8, white 1."""

    def __init__(self, gain: float, row: int, column: int) -> None:
        import openvino
        from openvino import opset13 as ops

        picture = ops.parameter([-1, 32, 32, 3], np.uint8)
        begin, end = [4 * row, 4 * column], [4 * row + 4, 4 * column + 4]
        cell = ops.slice(ops.convert(picture, "f32"), begin, end, [1, 1], [1, 2])
        brightness = ops.unsqueeze(ops.reduce_mean(cell, [1, 2, 3]), 1)
        logits = ops.matmul(brightness, np.array([[0, gain / 255]], np.float32), False, False)
        super().__init__(openvino.Model([ops.softmax(logits, 1)], [picture], "watcher"))
        self.n_asked = 0

    def outputs(self, pictures: Iterable[Pixels]) -> Iterator[tuple[Floats, ...]]:
        for outputs in super().outputs(pictures):
            self.n_asked += 1
            yield outputs


@pytest.mark.parametrize("gain", [1, 40])
@pytest.mark.parametrize("cell", [(row, column) for row in range(8) for column in (0, row, 5)])
def test_the_cell_that_decides_is_the_hottest(gain: float, cell: tuple[int, int]) -> None:
    # The mean colour is 255 / 64, so 4. Whatever patch covers the cell, the log-odds fall by as much; so
    # does their mean. With a gain of 40 the probability is 1 in float32 before and after.
    row, column = cell
    picture = np.zeros((32, 32, 3), np.uint8)
    picture[4 * row : 4 * row + 4, 4 * column : 4 * column + 4] = 255
    fall = gain * (255 - 4) / 255
    watcher = Watcher(gain, row, column)
    found = occlusion(watcher, picture, 1)
    assert watcher.n_asked == INFERENCES == 26
    assert found[row, column] == pytest.approx(fall, rel=1e-5)
    others = np.delete(found, 8 * row + column)
    assert others.max() < 0.9 * fall
    assert others.min() > -1e-9
    rows, columns = np.indices((CELLS, CELLS))
    is_far = np.maximum(abs(rows - row), abs(columns - column)) > 3
    assert np.abs(found[is_far]).max() < 1e-9
    heat = explain(watcher, picture, 1)
    hottest = np.unravel_index(heat.argmax(), heat.shape)
    assert [place // 4 for place in hottest] == [row, column]
    assert explain(watcher, picture, 0).max() == 0


def all_places(engine: Engine, picture: Pixels, label: int) -> Floats:
    """The same by its definition, every place asked about: 81 patches of 2 x 2 cells."""
    size_px, falls = len(picture) // 8, np.zeros((9, 9))
    odds = [np.log(one[label] / (1 - one[label])) for one in [engine.answer(picture).astype(np.float64)]]
    for row, column in np.ndindex(9, 9):
        covered = picture.copy()
        top, left = (max(0, place - 1) * size_px for place in (row, column))
        bottom, right = (min(8, place + 1) * size_px for place in (row, column))
        covered[top:bottom, left:right] = picture.mean(axis=(0, 1)).round()
        answer = engine.answer(covered).astype(np.float64)
        falls[row, column] = odds[0] - np.log(answer[label] / (1 - answer[label]))
    return np.asarray((falls[:-1, :-1] + falls[1:, :-1] + falls[:-1, 1:] + falls[1:, 1:]) / 4)


def test_a_third_of_the_places_give_the_map_of_all() -> None:
    engine, agreement = tiny().with_head(*random_head(8)), []
    for picture in made_photos(32, count=12):
        for label in range(3):
            found, expected = occlusion(engine, picture, label), all_places(engine, picture, label)
            agreement.append(np.corrcoef(found.ravel(), expected.ravel())[0, 1])
    assert np.median(agreement) > 0.8


def test_a_saved_model_is_explained_without_tensorflow(finished: Finished) -> None:
    code = (
        "import sys, pathlib, headstart; from headstart.networks import explanation;"
        "from headstart.pictures import pixels;"
        f"model = headstart.load(pathlib.Path({str(finished.folder)!r}));"
        f"file = next(pathlib.Path({str(finished.photos)!r}).glob('red/*.jpg'));"
        "picture = pixels.read(file, model.record.image_size_px, model.record.fit);"
        "heat = explanation.explain(model.engine, picture, 0);"
        "print(heat.shape[0], *({'keras', 'tensorflow'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stderr, done.stdout.split()) == ("", ["32"])


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
        explain(tiny().with_head(*random_head(8)), picture, label)
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
    heats = [explain(model.engine, picture, label) for picture, label in zip(pictures, labels, strict=True)]
    hot = falls(model.engine, pictures, labels, [hottest(heat) for heat in heats])
    print(f"{data}, {technique}: {hot.mean():.3f} where hot, {elsewhere.mean():.3f} elsewhere")
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
