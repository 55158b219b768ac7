"""Every format holds the same model, tried by its own runtime; a file that does not is refused and gone."""

import dataclasses
import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Finished, text_of

import headstart
from headstart.base import filenames, records
from headstart.base.errors import DataError, RunError
from headstart.export import catalogue, shipment
from headstart.export.network import Network
from headstart.networks import backbones, classifier, engine
from headstart.networks.classifier import Classifier
from headstart.networks.engine import OpenVINOEngine
from headstart.networks.pieces import Pieces
from headstart.photos import splits
from headstart.pictures import pixels
from headstart.results import exports
from headstart.results.exports import Export, Exports

AGAIN = "Export to another format or precision; and please report it, for that should not be."


@pytest.fixture
def run(finished: Finished, tmp_path: Path) -> Path:
    """A copy of a finished run of `tiny`, whose photos are where they were; it has no report to be drawn."""
    return shutil.copytree(finished.folder, tmp_path / "run", ignore=shutil.ignore_patterns(filenames.REPORT))


def pictures_of(run: Path, photos: Path, count: int) -> np.ndarray:
    """The first test photos, uint8 (N, S, S, 3)."""
    record = classifier.load_run(run).record
    rows = [row for row in splits.read_csv(run / filenames.SPLIT) if row.part == "test"][:count]
    return np.stack([pixels.read(photos / row.path, record.image_size_px, record.fit) for row in rows])


def test_the_command_writes_files_that_their_runtimes_read(exported: Path, finished: Finished) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    litert = pytest.importorskip("ai_edge_litert.interpreter")
    told = records.from_bytes((exported.parent / "stdout").read_bytes(), Exports)
    table = exports.read(exported / filenames.EXPORTS_TABLE)
    assert table and told == dataclasses.replace(table, exports=table.exports[:3])
    assert [one.name for one in told.exports] == ["openvino f32", "onnx f32", "litert f32"]
    for one in told.exports:
        check_told(one, exported)
    pictures = pictures_of(exported, finished.photos, 3)
    model = classifier.load_run(exported)
    expected = [np.stack(column) for column in zip(*model.engine.outputs(pictures), strict=True)]
    session = onnxruntime.InferenceSession(exported / "exports" / "onnx-f32" / "model.onnx")
    found = session.run(["probabilities", "novelty"], {"image": pictures.astype(np.float32)})
    runner = litert.Interpreter(exported / "exports" / "litert-f32" / "model.tflite").get_signature_runner()
    lite = runner(image=pictures.astype(np.float32))
    for received in (found, [lite["probabilities"], lite["novelty"]]):
        for one, own in zip(received, expected, strict=True):
            np.testing.assert_allclose(one, own, atol=1e-4)


def check_told(one: Export, run: Path) -> None:
    """What the record says of a file that agrees is true."""
    place = run / one.folder
    sizes = [file.stat().st_size for file in place.iterdir() if file.name != filenames.LABELS]
    assert one.size_mb == sum(sizes) / 1e6
    assert all((place / name).exists() for name in one.files)
    assert (one.n_images, one.n_other_labels, one.why) == (10, 0, "")
    assert one.largest_difference < 1e-4
    assert one.largest_novelty_difference is not None and one.largest_novelty_difference < 1e-4
    results = json.loads((run / filenames.RESULTS).read_text())
    best = results["recommended"]["backbone"], results["recommended"]["technique"]
    [own] = [two for two in results["candidates"] if (two["backbone"], two["technique"]) == best]
    assert one.scores.accuracy == own["test"]["accuracy"]
    assert one.comparison.difference == 0
    assert one.scores.ece == pytest.approx(own["test"]["reliability"]["ece"], abs=1e-3)
    assert one.latency_ms > 0 and one.batch_latency_ms > 0


def test_keras_and_tensorflow_take_bytes_and_floats(run: Path, finished: Finished) -> None:
    made = shipment.export(run, ["keras", "savedmodel"])
    assert [one.name for one in made.exports] == ["keras f32", "savedmodel f32"]
    import keras
    import tensorflow

    pictures = pictures_of(run, finished.photos, 3)
    expected = classifier.load_run(run).engine(pictures)
    loaded = keras.saving.load_model(run / "exports" / "keras-f32" / "model.keras", safe_mode=True)
    saved = tensorflow.saved_model.load(str(run / "exports" / "savedmodel-f32" / "saved_model"))
    for kind, name in ((np.float32, "serving_default"), (np.uint8, "serving_uint8")):
        given = pictures.astype(kind)
        served = saved.signatures[name](image=tensorflow.constant(given))
        assert sorted(served) == ["novelty", "probabilities"]
        np.testing.assert_allclose(served["probabilities"], expected, atol=1e-4)
        np.testing.assert_allclose(loaded.predict_on_batch(given)["probabilities"], expected, atol=1e-4)


Damage = Callable[[Path], None]


def swap_classes(path: Path) -> None:
    """Let the columns of the head change places, which the names do not."""
    import onnx
    from onnx import numpy_helper

    model = onnx.load(path)
    [softmax] = [node for node in model.graph.node if node.op_type == "Softmax"]
    [bias] = [node for node in model.graph.node if softmax.input[0] in node.output]
    [product] = [node for node in model.graph.node if bias.input[0] in node.output]
    for tensor in model.graph.initializer:
        if tensor.name in {*bias.input, *product.input}:
            values = numpy_helper.to_array(tensor)
            tensor.CopyFrom(numpy_helper.from_array(np.roll(values, 1, axis=-1), tensor.name))
    onnx.save(model, path)


def swap_names(path: Path) -> None:
    import onnx

    model = onnx.load(path)
    [entry] = [one for one in model.metadata_props if one.key == "names"]
    first, second, *others = json.loads(entry.value).values()
    entry.value = json.dumps(dict(enumerate([second, first, *others])))
    onnx.save(model, path)


def scale_otherwise(path: Path) -> None:
    """Let it want pixels of 0 to 1."""
    put_first(path, "Mul", np.float32(255))


def want_bgr(path: Path) -> None:
    put_first(path, "Gather", np.array([2, 1, 0]), axis=3)


def put_first(path: Path, operation: str, value: np.ndarray | np.generic, **attributes: Any) -> None:
    """Put an operation with a constant between the input and what eats it."""
    import onnx
    from onnx import helper, numpy_helper

    model = onnx.load(path)
    for node in model.graph.node:
        node.input[:] = ["changed" if name == "image" else name for name in node.input]
    model.graph.initializer.append(numpy_helper.from_array(np.asarray(value), "constant"))
    node = helper.make_node(operation, ["image", "constant"], ["changed"], **attributes)
    model.graph.node.insert(0, node)
    onnx.save(model, path)


def truncate(path: Path) -> None:
    files = [file for file in path.parent.rglob("*") if file.is_file() and file.name != filenames.LABELS]
    largest = max(files, key=lambda file: file.stat().st_size)
    largest.write_bytes(largest.read_bytes()[: largest.stat().st_size // 2])


Refusal = Callable[[str, Damage], Sequence[str]]


@pytest.fixture
def refusal(run: Path, exported: Path, monkeypatch: pytest.MonkeyPatch) -> Refusal:
    """The reasons why a file that is damaged after it was written is refused, of which nothing is left."""

    def refused(name: str, damage: Damage) -> Sequence[str]:
        write, written = shipment.WRITERS[name], exported / "exports" / f"{name}-f32"

        def damaged(network: Network, path: Path, precision: str) -> None:
            if written.exists():
                shutil.copytree(written, path.parent, dirs_exist_ok=True)
            else:
                write(network, path, precision)
            damage(path)

        monkeypatch.setitem(shipment.WRITERS, name, damaged)
        made = shipment.export(run, [name])
        assert made.exports == ()
        assert list((run / "exports").iterdir()) == []
        return [one.reason for one in made.refused]

    return refused


def test_a_wrong_export_is_refused_and_gone(run: Path, refusal: Refusal) -> None:
    names = classifier.load_run(run).class_names
    told = refusal("onnx", swap_names)
    expected = f"It names other classes: {names[1]!r} in place 1, where the run has {names[0]!r}. {AGAIN}"
    assert told == [expected]


@pytest.mark.parametrize("damage", [swap_classes, scale_otherwise, want_bgr])
def test_a_network_that_answers_otherwise_is_refused(refusal: Refusal, damage: Damage) -> None:
    [reason] = refusal("onnx", damage)
    assert "test photos for another class than the model of the run does" in reason or "is off by" in reason


@pytest.mark.parametrize(
    "name",
    [
        "openvino",
        "onnx",
        "litert",
        pytest.param("keras", marks=pytest.mark.slow),
        pytest.param("savedmodel", marks=pytest.mark.slow),
    ],
)
def test_half_a_file_is_refused(refusal: Refusal, name: str) -> None:
    [reason] = refusal(name, truncate)
    assert reason.startswith(f"{catalogue.find(name).runtime} cannot use the file: ")


def test_what_is_there_is_replaced_only_when_asked(run: Path) -> None:
    shipment.export(run, ["openvino"])
    place = run / "exports" / "openvino-f32"
    (place / "mine.txt").write_text("mine")
    assert text_of(RunError, lambda: shipment.export(run, ["openvino"])) == (
        f"{place} is there already.\nName another folder with --out, or replace it: --overwrite."
    )
    assert (place / "mine.txt").exists()
    made = shipment.export(run, ["openvino"], overwrite=True)
    assert len(made.exports) == 1
    assert not (place / "mine.txt").exists()


def test_photos_that_are_gone_are_said_to_be(run: Path, finished: Finished, tmp_path: Path) -> None:
    moved = shutil.copytree(finished.photos, tmp_path / "moved")
    row = next(row for row in splits.read_csv(run / filenames.SPLIT) if row.part == "test")
    (moved / row.path).unlink()
    assert text_of(DataError, lambda: shipment.export(run, ["openvino"], data=str(moved))) == (
        f"Photos of {run}, on which an exported file is tried, are gone: {moved / row.path}.\n"
        "Put them back, or name where they are now: --data PHOTOS."
    )
    assert not (run / "exports").exists()


def test_a_run_without_parts_goes_to_openvino_alone(run: Path) -> None:
    shutil.rmtree(run / "model" / "keras")
    assert len(shipment.export(run, ["openvino"]).exports) == 1
    assert text_of(RunError, lambda: shipment.export(run, ["onnx"])) == (
        f"{run / 'model'} does not hold what a Keras model is put together from, keras/head.npz.\n"
        "Train it again with this version, or export it as openvino alone."
    )


def test_what_was_made_before_stays_in_the_table(run: Path, tmp_path: Path) -> None:
    first = shipment.export(run, ["openvino"])
    second = shipment.export(run, ["openvino"], out=tmp_path / "elsewhere")
    assert second.exports[0] == first.exports[0]
    assert second.exports[1].folder == str(tmp_path / "elsewhere" / "openvino-f32")
    again = shipment.export(run, ["openvino"], overwrite=True)
    assert [one.folder for one in again.exports] == [second.exports[1].folder, "exports/openvino-f32"]


def test_the_table_says_what_was_refused(run: Path) -> None:
    made = shipment.export(run, ["openvino"])
    told = dataclasses.replace(made, refused=(exports.Refused("onnx", "f32", "It was wrong."),))
    assert shipment.render(told).endswith("\nonnx f32 was refused, and no file is left. It was wrong.\n")


def with_margin(run: Path, margin: float) -> Path:
    """The run, as if it had been made with that margin."""
    config = run / filenames.CONFIG
    lines = [line for line in config.read_text().splitlines() if not line.startswith("margin")]
    config.write_text("\n".join([*lines, f"margin = {margin}"]) + "\n")
    return run


@pytest.mark.parametrize("name", ["openvino", "onnx", "litert"])
def test_weights_of_16_bits_take_half_the_place(exported: Path, name: str) -> None:
    made = exports.read(exported / filenames.EXPORTS_TABLE)
    assert made
    whole, half = (one for one in made.exports if one.format == name)
    assert (half.name, half.why) == (f"{name} f16", "")
    assert 1e-7 < half.largest_difference < 0.05
    # Tiny has 1,600 numbers, so that the rest of a file counts; a graph of OpenVINO is a file of its own.
    kinds = {"openvino": "model.bin", "onnx": "model.onnx", "litert": "model.tflite"}
    sizes = [(exported / one.folder / kinds[name]).stat().st_size for one in (whole, half)]
    assert sizes[1] < {"openvino": 0.55, "onnx": 0.95, "litert": 0.9}[name] * sizes[0]


@pytest.mark.parametrize("name", ["onnx", "litert"])
def test_int8_is_handed_out_where_the_margin_allows_it(run: Path, name: str) -> None:
    made = shipment.export(with_margin(run, 0.49), [name], precision="int8")
    [one] = made.exports
    assert (one.precision, one.asked, one.why) == ("int8", "int8", "")
    assert one.largest_difference > 1e-4


def test_int8_of_openvino(run: Path) -> None:
    pytest.importorskip("nncf")
    [one] = shipment.export(with_margin(run, 0.49), ["openvino"], precision="int8").exports
    assert (one.precision, one.why) == ("int8", "")
    assert "FakeQuantize" in (run / one.folder / "model.xml").read_text()


def test_int8_that_cannot_be_shown_to_be_good_falls_back(run: Path) -> None:
    made = shipment.export(run, ["onnx"], precision="int8")
    [one] = made.exports
    assert (one.name, one.asked, one.folder) == ("onnx f16", "int8", "exports/onnx-f16")
    assert one.why == "int8: 10 test photos cannot show that it loses less than 1 points: it takes 268."
    assert "onnx f16 in the place of int8. int8: 10 test photos" in shipment.render(made)
    [refused] = shipment.export(run, ["onnx"], precision="int8").refused
    assert refused.reason == (
        "10 test photos cannot show that it loses less than 1 points: it takes 268. "
        f"{run / 'exports' / 'onnx-f16'} is there already; it was left as it is."
    )


@pytest.mark.parametrize("backbone", ["tiny", "tiny+tiny"])
def test_features_of_stages_and_of_joined_backbones(run: Path, finished: Finished, backbone: str) -> None:
    """The heads are random: what is tried is whether every format has the same network below them."""
    count = backbone.count("tiny")
    record = dataclasses.replace(classifier.load_run(run).record, backbone=backbone, technique="features")
    size_px = record.image_size_px
    graphs = [backbones.build_openvino("tiny", features="stages", image_size_px=size_px)] * count
    engines = [OpenVINOEngine(graph) for graph in graphs]
    whole = engines[0] if count == 1 else engine.join(engines)
    random, n_features = np.random.default_rng(0), 32 * count
    weights = random.normal(0, 3, (n_features, len(record.class_names))).astype(np.float32)
    references = random.normal(size=(5, 8)).astype(np.float32)
    references /= np.linalg.norm(references, axis=1, keepdims=True)
    made = Pieces(weights, np.zeros(len(record.class_names), np.float32), references)
    shutil.rmtree(run / "model")
    Classifier(record, made.on(whole)).save(run / "model")
    made.save(run / "model")
    told = shipment.export(run, ["openvino", "onnx", "litert"])
    assert told.refused == ()
    assert [one.n_other_labels for one in told.exports] == [0, 0, 0]
    assert max(one.largest_difference for one in told.exports) < 1e-4


def test_a_run_that_keras_runs_goes_to_openvino_too(photos: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    tried: dict[str, Any] = {"backbones": "tiny", "techniques": "features", "engine": "keras"}
    headstart.compare(photos, out=str(run), folds=0, report=False, **tried)
    assert (run / "model" / "model.keras").exists()
    made = shipment.export(run, ["openvino", "onnx"])
    assert made.refused == ()
    assert [one.n_other_labels for one in made.exports] == [0, 0]
