"""One model, four ways to it: Keras, the compiled graph, the folder on disk and the command line agree."""

import csv
import io
import pickle
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from click.testing import CliRunner
from conftest import CALIBRATION, Finished
from PIL import Image
from test_foreign import BEGINNINGS

import headstart
from headstart.base import records
from headstart.base.errors import RunError, UnreadableImage
from headstart.cli import main
from headstart.networks import backbones, classifier, engine, novelty
from headstart.networks.classifier import Classifier, ClassifierRecord
from headstart.pictures import pixels
from headstart.statistics.calibration import Refusal
from headstart.training.ridge import Head

RECORD = ClassifierRecord(
    schema_version=classifier.SCHEMA_VERSION,
    class_names=("cat", "dog", "fox"),
    backbone="tiny",
    technique="features",
    image_size_px=32,
    fit="crop",
    scaling="x / 127.5 - 1",
    pixels_version=pixels.PIXELS_VERSION,
    calibration=CALIBRATION,
)


@pytest.fixture(scope="module")
def head() -> Head:
    random = np.random.default_rng(0)
    weights = random.normal(0, 2, (8, 3)).astype(np.float32)
    return Head(weights, random.normal(0, 1, 3).astype(np.float32), 0.1)


@pytest.fixture
def model(head: Head) -> Classifier:
    frozen = engine.open_backbone(backbones.find("tiny"), 32)
    return Classifier(RECORD, frozen.with_head(head.weights, head.bias))


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Five photos whose probabilities are not all alike."""
    random = np.random.default_rng(2)
    paths = [tmp_path / f"{number}.png" for number in range(5)]
    for path in paths:
        blotches = random.integers(0, 256, (6, 9, 3), dtype=np.uint8).repeat(8, axis=0).repeat(8, axis=1)
        Image.fromarray(blotches).save(path)
    return paths


def test_keras_engine_folder_and_command_line_agree(
    model: Classifier, head: Head, files: list[Path], tmp_path: Path
) -> None:
    keras = backbones.import_keras()
    backbone = backbones.build("tiny")
    layer = keras.layers.Dense(3, activation="softmax")
    whole = keras.Model(backbone.input, layer(backbone.output))
    layer.set_weights([head.weights, head.bias])
    pictures = np.stack([pixels.read(path, 32, "crop") for path in files])
    expected = whole.predict_on_batch(pictures.astype(np.float32))
    assert expected.max(axis=1).std() > 0.01

    model.save(tmp_path / "saved")
    loaded = headstart.load(tmp_path / "saved")
    printed = (
        CliRunner().invoke(main, ["predict", str(tmp_path / "saved"), *map(str, files), "--json"]).stdout
    )
    answers = [
        model.engine(pictures),
        loaded.ask(files)[0],
        np.array([list((one.probabilities or {}).values()) for one in loaded.predict(files)]),
        np.array([list(line["probabilities"].values()) for line in json_lines(printed)]),
    ]
    for answer in answers:
        assert np.abs(answer - expected).max() < 1e-4


def json_lines(text: str) -> list[dict[str, dict[str, float]]]:
    import json

    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.parametrize("kind", ["openvino", "keras"])
def test_the_head_is_a_softmax_of_a_linear_layer_and_the_backbone_stays_as_it_was(
    kind: str, head: Head, files: list[Path]
) -> None:
    frozen = engine.open_backbone(backbones.find("tiny"), 32, asked=kind)
    pictures = np.stack([pixels.read(path, 32, "squash") for path in files])
    before = frozen(pictures)
    logits = before.astype(np.float64) @ head.weights + head.bias
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    answer = frozen.with_head(head.weights, head.bias)(pictures)
    assert np.abs(answer - expected).max() < 1e-5
    assert np.array_equal(frozen(pictures), before)


def test_a_model_that_keras_runs_is_saved_without_pickle_and_answers_alike(
    model: Classifier, head: Head, files: list[Path], tmp_path: Path
) -> None:
    frozen = engine.open_backbone(backbones.find("tiny"), 32, asked="keras")
    Classifier(RECORD, frozen.with_head(head.weights, head.bias)).save(tmp_path / "model")
    assert sorted(path.name for path in (tmp_path / "model").iterdir()) == [
        "SHA256SUMS",
        "classifier.json",
        "model.keras",
    ]
    loaded = headstart.load(tmp_path)
    assert np.abs(loaded.ask(files)[0] - model.ask(files)[0]).max() < 1e-4
    (tmp_path / "model" / "model.keras").write_bytes(b"short")
    assert error_of(tmp_path).startswith(f"{tmp_path / 'model'} holds a damaged model, which cannot be read.")


def test_a_prediction_names_the_likeliest_class(model: Classifier, files: list[Path]) -> None:
    probabilities = model.ask(files)[0]
    for prediction, row, path in zip(model.predict(files), probabilities, files, strict=True):
        assert prediction.path == str(path)
        assert prediction.label == RECORD.class_names[int(row.argmax())]
        assert prediction.confidence == pytest.approx(row.max(), abs=1e-6)
        assert list(prediction.probabilities or {}) == ["cat", "dog", "fox"]
        assert sum((prediction.probabilities or {}).values()) == pytest.approx(1, abs=1e-5)
        assert prediction.error is None


def test_answers_do_not_depend_on_order_or_neighbours(model: Classifier, files: list[Path]) -> None:
    together = model.ask(files)[0]
    assert np.abs(model.ask(files[::-1])[0][::-1] - together).max() < 1e-6
    alone = np.concatenate([model.ask([path])[0] for path in files])
    assert np.abs(alone - together).max() < 1e-6


def test_one_path_need_not_stand_in_a_list(model: Classifier, files: list[Path]) -> None:
    assert model.predict(files[0]) == model.predict([files[0]]) == model.predict(str(files[0]))


def test_an_unreadable_photo_is_told_and_the_others_predicted(model: Classifier, files: list[Path]) -> None:
    files[1].write_bytes(b"no picture")
    missing = files[0].with_name("none.jpg")
    first, damaged, absent, last = model.predict([files[0], files[1], missing, files[2]])
    assert (damaged.label, damaged.confidence, damaged.probabilities) == (None, None, None)
    assert damaged.error == f"{files[1]} cannot be read. It is no picture: it begins with 'no picture'."
    assert absent.error == f"{missing} cannot be read. The file cannot be opened: No such file or directory."
    assert first.label
    assert last.label
    with pytest.raises(UnreadableImage, match=r"1\.png cannot be read"):
        model.ask(files[:2])[0]


def test_a_photo_of_a_kind_that_is_not_read_says_what_reads_it(model: Classifier, files: list[Path]) -> None:
    files[0].write_bytes(BEGINNINGS["camera raw"])
    [one] = model.predict(files[0])
    assert one.error == (
        f"{files[0]} cannot be read. It is camera raw, which is not read here. "
        "Export them as JPEG, from the camera's program or by darktable-cli PHOTO.NEF PHOTO.jpg."
    )


def test_a_run_folder_holds_a_model_without_pickle(
    finished: Finished, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("something was unpickled")

    folder = finished.folder / "model"
    assert sorted(path.name for path in folder.iterdir()) == [
        "SHA256SUMS",
        "classifier.json",
        "graph.bin",
        "graph.xml",
        "keras",
    ]
    assert ElementTree.parse(folder / "graph.xml").getroot().tag == "net"
    for name in ("load", "loads", "Unpickler", "_Unpickler"):
        monkeypatch.setattr(pickle, name, refuse)
    model = headstart.load(finished.folder)
    assert model.class_names == ("blue", "green", "red")
    assert model.record.scaling == "x / 127.5 - 1"
    assert headstart.load(folder).record == model.record


def test_a_run_predicts_what_it_measured(finished: Finished) -> None:
    """The winner's rows of predictions.csv, made before the model was saved into the run, come out again."""
    text = (finished.folder / "predictions.csv").read_text(encoding="utf-8")
    model = headstart.load(finished.folder)
    rows = [
        row
        for row in csv.DictReader(io.StringIO(text))
        if (row["backbone"], row["technique"]) == (model.record.backbone, model.record.technique)
    ]
    assert len(rows) == 10
    for row, prediction in zip(
        rows, model.predict([finished.photos / row["path"] for row in rows]), strict=True
    ):
        assert prediction.label == row["predicted"]
        for name, probability in (prediction.probabilities or {}).items():
            # Measured on features that are kept at half precision.
            assert probability == pytest.approx(float(row[f"p_{name}"]), abs=5e-4)


@pytest.fixture
def wary(head: Head, files: list[Path]) -> Classifier:
    """Its references are the first three of the files; what is as far from them as the fourth is novel."""
    frozen = engine.open_backbone(backbones.find("tiny"), 32)
    vectors = frozen(np.stack([pixels.read(path, 32, "crop") for path in files]))
    references = novelty.references(vectors[:3], np.arange(3))
    least = float(novelty.scores(vectors[3:4], references)[0]) - 1e-4
    calibration = replace(CALIBRATION, refusal=Refusal(least, 0.05, 340))
    return Classifier(
        replace(RECORD, calibration=calibration), frozen.with_head(head.weights, head.bias, references)
    )


def test_a_photo_unlike_the_training_photos_is_novel(
    wary: Classifier, model: Classifier, files: list[Path], tmp_path: Path
) -> None:
    wary.save(tmp_path / "saved")
    for each in (wary, headstart.load(tmp_path / "saved")):
        found = each.predict(files)
        assert [one.is_novel for one in found[:4]] == [False, False, False, True]
        assert [one.novelty for one in found[:3]] == pytest.approx([0, 0, 0], abs=1e-5)
        assert [one.label for one in found] == [one.label for one in model.predict(files)]
        assert np.abs(each.ask(files)[0] - model.ask(files)[0]).max() < 1e-6


def test_where_no_threshold_could_be_promised_nothing_is_novel(
    wary: Classifier, model: Classifier, files: list[Path]
) -> None:
    unsure = Classifier(RECORD, wary.engine)
    assert {one.is_novel for one in unsure.predict(files)} == {None}
    assert unsure.predict(files)[3].novelty == wary.predict(files)[3].novelty
    assert (model.predict(files)[3].novelty, model.predict(files)[3].is_novel) == (None, None)


def flip(path: Path, place: int) -> None:
    """Turn round a bit of a file: the weights are then others, and as good as any to OpenVINO."""
    content = bytearray(path.read_bytes())
    content[place] ^= 0b1000000
    path.write_bytes(content)


def error_of(folder: Path) -> str:
    with pytest.raises(RunError) as caught:
        headstart.load(folder)
    return str(caught.value)


def test_what_is_no_run_is_told(tmp_path: Path) -> None:
    fix = "Name a run folder that `headstart compare` finished."
    assert error_of(tmp_path) == f"{tmp_path} holds no trained model.\n{fix}"
    assert error_of(tmp_path / "none") == f"{tmp_path / 'none'} is no folder.\n{fix}"


@pytest.mark.parametrize("changed", [{"schema_version": 99}, {"pixels_version": 99}])
def test_a_model_of_another_version_is_refused(changed: dict[str, int], tmp_path: Path) -> None:
    records.write_json(tmp_path / "classifier.json", replace(RECORD, **changed))  # type: ignore[arg-type]
    assert error_of(tmp_path) == (
        f"{tmp_path} was trained by a version of Headstart that saves models or reads pictures otherwise.\n"
        "Train it again with this version, or use it with the version that its results.json names."
    )


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "graph.bin").unlink(),
        lambda folder: (folder / "graph.bin").write_bytes(b"short"),
        lambda folder: flip((folder / "graph.bin"), 0),
        lambda folder: flip((folder / "graph.bin"), -1),
        lambda folder: (folder / "graph.xml").write_text("<net"),
        lambda folder: (folder / "SHA256SUMS").unlink(),
        lambda folder: (folder / "SHA256SUMS").write_bytes(b"\xff"),
        lambda folder: (folder / "SHA256SUMS").write_bytes(b""),
    ],
    ids=[
        *("no weights", "short weights", "a bit of the first weight", "a bit of the last weight"),
        *("half a graph", "no checksums", "no text", "nothing"),
    ],
)
def test_a_damaged_model_is_told(
    damage: Callable[[Path], object], finished: Finished, tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(finished.folder / "model", folder)
    damage(folder)
    assert error_of(tmp_path) == (
        f"{folder} holds a damaged model, which cannot be read.\n"
        "Copy the folder again from where it was trained, or train it again."
    )
