"""Engines answer like Keras or are not used, and graphs are prepared once."""

import errno
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import openvino
import pytest
from conftest import made_photos
from openvino import opset13 as ops
from test_keras_applications import ask_keras

from headstart.base.errors import DiskFull, EngineMismatch, MissingPackage
from headstart.base.progress import Progress
from headstart.networks import backbones, engine, novelty
from headstart.networks.engine import Engine, KerasEngine, OpenVINOEngine
from headstart.networks.table import KerasFile
from headstart.statistics.metrics import softmax


class Remarks(Progress):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def remark(self, text: str) -> None:
        self.lines.append(text)


@pytest.fixture
def pictures() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (40, 32, 32, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def compiled() -> Engine:
    """The backbone `tiny`, converted; not to be changed."""
    return engine.prepare(backbones.build("tiny"), made_photos(32), "openvino", Progress())


OF_KERAS = backbones.find("mobilenet")
"""A backbone of Keras's whose weight file has no known checksum, so that one of random numbers will do."""


@pytest.fixture(scope="module")
def weights_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a weight file for `OF_KERAS`."""
    assert isinstance(OF_KERAS.weights, KerasFile)
    folder = tmp_path_factory.mktemp("weights")
    ask_keras("MobileNet", 32, folder / OF_KERAS.weights.name)
    return folder


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory, weights_dir: Path) -> tuple[Path, Engine]:
    """A cache that keeps `OF_KERAS`, and what was opened as it was made."""
    folder = tmp_path_factory.mktemp("opened")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HEADSTART_CACHE", str(folder))
        return folder, engine.open_backbone(OF_KERAS, 32, weights_dir=weights_dir)


@pytest.fixture
def kept_graph(
    opened: tuple[Path, Engine], weights_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A copy of that cache is the one in use; the folder of the graph in it."""
    shutil.copytree(opened[0], tmp_path, dirs_exist_ok=True)
    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path))
    return engine.kept_path(OF_KERAS, 32, weights_dir)


@pytest.mark.parametrize(("kind", "expected_type"), [("openvino", OpenVINOEngine), ("keras", KerasEngine)])
def test_an_engine_gives_keras_features(kind: str, expected_type: type, pictures: np.ndarray) -> None:
    model = backbones.build("tiny")
    found = engine.prepare(model, made_photos(32), kind, Progress())
    assert isinstance(found, expected_type)
    expected = model.predict_on_batch(pictures.astype(np.float32))
    assert (found.image_size_px, found.output_shape) == (32, (8,))
    received = found(pictures)
    assert received.dtype == np.float32
    assert np.abs(received - expected).max() <= 1e-5 * np.abs(expected).max()
    assert np.abs(found.answer(pictures[3]) - expected[3]).max() <= 1e-5 * np.abs(expected).max()


def test_latencies_are_measured_in_turns(compiled: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "ROUNDS", 3)
    asked: list[int] = []

    class Counted(engine.OpenVINOEngine):
        def answer(self, picture: np.ndarray) -> np.ndarray:
            asked.append(self.image_size_px)
            return super().answer(picture)

    assert isinstance(compiled, engine.OpenVINOEngine)
    larger = compiled.graph.clone()
    larger.reshape([-1, 64, 64, 3])
    latencies_ms = engine.latencies_ms([Counted(compiled.graph), Counted(larger)])
    assert asked == [32, 64] * 4  # once to compile
    assert all(one > 0 for one in latencies_ms)


@pytest.mark.parametrize("kind", ["openvino", "keras"])
def test_a_stream_keeps_the_order_and_asks_for_pictures_as_it_goes(
    kind: str, compiled: Engine, pictures: np.ndarray
) -> None:
    found = compiled if kind == "openvino" else KerasEngine(backbones.build("tiny"))
    asked: list[int] = []

    def feed() -> Any:
        for number, picture in enumerate(pictures):
            asked.append(number)
            yield picture

    stream = found.stream(feed())
    first = next(stream)
    assert len(asked) < 40
    rest = np.stack([first, *stream])
    alone = np.stack([found.answer(picture) for picture in pictures])
    assert np.abs(rest - alone).max() <= 1e-5 * np.abs(alone).max()


@pytest.mark.parametrize("kind", ["openvino", "keras"])
def test_one_inference_gives_probabilities_and_novelty(
    kind: str, compiled: Engine, pictures: np.ndarray, tmp_path: Path
) -> None:
    frozen = compiled if kind == "openvino" else KerasEngine(backbones.build("tiny"))
    random = np.random.default_rng(0)
    weights, bias = random.normal(0, 1, (8, 3)).astype(np.float32), random.normal(0, 1, 3).astype(np.float32)
    references = novelty.references(frozen(pictures[:30]), np.arange(30) % 3)
    features = frozen(pictures)
    expected = novelty.scores(features, references)
    assert np.ptp(expected[30:]) > 1e-3
    whole = frozen.with_head(weights, bias, references)
    whole.save(tmp_path)
    for each in (whole, engine.load(tmp_path)):
        assert each.output_shape == (3,)
        probabilities, scores = map(np.stack, zip(*each.outputs(pictures), strict=True))
        assert np.abs(probabilities - softmax(features @ weights + bias)).max() < 1e-5
        assert scores.shape == (40, 1)
        assert scores.dtype == np.float32
        assert np.abs(scores[:, 0] - expected).max() < 1e-5
        assert np.array_equal(each(pictures), probabilities)
        assert np.abs(each.answer(pictures[7]) - probabilities[7]).max() < 1e-5
    assert len(next(frozen.with_head(weights, bias).outputs(pictures))) == 1


@pytest.mark.parametrize("kind", ["openvino", "keras"])
def test_novelty_is_measured_on_the_last_of_the_features(
    kind: str, pictures: np.ndarray, tmp_path: Path
) -> None:
    row, random = backbones.find("tiny"), np.random.default_rng(0)
    stages, last = (
        engine.open_backbone(row, image_size_px=32, features=one, asked=kind) for one in ("stages", "last")
    )
    features, own = stages(pictures), last(pictures)
    assert features.shape == (40, 32)
    assert np.abs(features[:, -8:] - own).max() < 1e-5
    weights, bias = random.normal(0, 1, (32, 3)).astype(np.float32), np.zeros(3, np.float32)
    references = novelty.references(own[:30], np.arange(30) % 3)
    stages.with_head(weights, bias, references).save(tmp_path)
    probabilities, scores = map(np.stack, zip(*engine.load(tmp_path).outputs(pictures), strict=True))
    assert np.abs(probabilities - softmax(features @ weights + bias)).max() < 1e-5
    assert np.abs(scores[:, 0] - novelty.scores(own, references)).max() < 1e-5
    assert np.ptp(scores) > 1e-3


@pytest.mark.parametrize("kind", ["openvino", "keras"])
def test_several_backbones_joined_answer_side_by_side(kind: str, tmp_path: Path) -> None:
    tiny, random = backbones.find("tiny"), np.random.default_rng(0)
    alone = [
        engine.open_backbone(tiny, image_size_px=40, features=one, asked=kind) for one in ("stages", "last")
    ]
    photos = made_photos(40)
    expected = np.concatenate([one(photos) for one in alone], axis=1)
    joined = engine.join(alone)
    assert (joined.image_size_px, joined.output_shape) == (40, (40,))
    assert joined.widths == (8, 8, 8, 8, 8)
    assert np.abs(joined(photos) - expected).max() < 1e-5
    weights, bias = random.normal(0, 1, (40, 3)).astype(np.float32), np.zeros(3, np.float32)
    references = novelty.references(expected[:, -8:], np.arange(4))
    joined.with_head(weights, bias, references).save(tmp_path)
    probabilities, scores = map(np.stack, zip(*engine.load(tmp_path).outputs(photos), strict=True))
    assert np.abs(probabilities - softmax(expected @ weights + bias)).max() < 1e-5
    assert np.abs(scores).max() < 1e-5
    # What was joined still answers by itself.
    assert np.abs(np.concatenate([one(photos) for one in alone], axis=1) - expected).max() < 1e-6


def test_joined_vectors_are_put_together_once() -> None:
    """Of one concatenation within another OpenVINO makes a third, and in bfloat16 if it may."""
    tiny = backbones.find("tiny")
    joined = engine.join([engine.open_backbone(tiny, image_size_px=32, features="stages") for _ in range(2)])
    assert isinstance(joined, engine.OpenVINOEngine)
    joins = [one for one in joined.graph.get_ops() if one.get_type_name() == "Concat"]
    used = [one for one in joins if one.output(0).get_target_inputs()]
    assert len(used) == 1
    assert used[0].get_input_size() == 8


def test_only_engines_of_one_kind_and_size_can_be_joined() -> None:
    tiny = backbones.find("tiny")
    one, larger, keras = (
        engine.open_backbone(tiny, image_size_px=size_px, asked=kind)
        for size_px, kind in [(32, "openvino"), (40, "openvino"), (32, "keras")]
    )
    with pytest.raises(ValueError, match=r"pictures of several sizes: \[32, 40\]"):
        engine.join([one, larger])
    with pytest.raises(EngineMismatch) as caught:
        engine.join([one, keras])
    assert str(caught.value) == (
        "Some networks run on OpenVINO, others on Keras.\n"
        "Keras itself runs it, several times slower: --engine keras --out NEW"
    )


def test_the_outputs_of_a_saved_graph_are_named(tmp_path: Path) -> None:
    frozen = engine.open_backbone(backbones.find("tiny"), 32)
    ones = np.eye(8, dtype=np.float32)
    frozen.with_head(ones[:, :3], ones[0, :3], ones).save(tmp_path)
    graph = openvino.Core().read_model(tmp_path / "graph.xml")
    assert [output.get_any_name() for output in graph.outputs] == ["probabilities", "novelty"]


def test_a_graph_that_answers_otherwise_is_refused_and_keras_used(
    pictures: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = backbones.build("tiny")
    converted = engine.convert(model)
    layer = model.get_layer("block_3_conv")
    layer.set_weights([weight * 1.01 for weight in layer.get_weights()])
    with pytest.raises(EngineMismatch, match="OpenVINO and Keras differ, relative error 0"):
        engine.check_parity(model, OpenVINOEngine(converted), made_photos(32))
    monkeypatch.setattr(engine, "convert", lambda _: converted)
    said = Remarks()
    used = engine.prepare(model, made_photos(32), "openvino", said)
    assert isinstance(used, KerasEngine)
    assert len(said.lines) == 1
    assert said.lines[0].startswith("tiny: OpenVINO and Keras differ, relative error")
    assert said.lines[0].endswith("Keras is used for it instead, which is several times slower.")
    expected = model.predict_on_batch(pictures.astype(np.float32))
    assert np.abs(used(pictures) - expected).max() <= 1e-5 * np.abs(expected).max()


def test_nobody_is_told_that_openvino_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """It binds what it reports with as it is imported: without that nothing is sent."""
    told = "print([name for name in sys.modules if 'openvino_telemetry' in name])"
    program = f"import sys; from headstart.networks import backbones; backbones.import_openvino(); {told}"
    printed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert printed.stdout == "[]\n"
    telemetry = pytest.importorskip("openvino_telemetry.main")
    sent: list[str] = []
    monkeypatch.setattr(telemetry.Telemetry, "init", lambda *_, **__: sent.append("begun"))
    monkeypatch.setattr(telemetry.TelemetrySender, "send", lambda *_: sent.append("sent"))
    engine.convert(backbones.build("tiny"))
    assert sent == []


def test_a_graph_is_converted_once_for_all_sizes(
    opened: tuple[Path, Engine], kept_graph: Path, weights_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = Remarks()
    [kept] = kept_graph.parent.iterdir()
    assert kept == kept_graph == engine.kept_path(OF_KERAS, 51, weights_dir)
    assert sorted(path.name for path in kept.iterdir()) == ["SHA256SUMS", "graph.bin", "graph.xml"]
    at_51 = backbones.build(OF_KERAS.name, image_size_px=51, weights_dir=weights_dir)
    monkeypatch.setattr(backbones, "build", None)
    for size_px, expected in (32, opened[1](made_photos(32))), (51, KerasEngine(at_51)(made_photos(51))):
        found = engine.open_backbone(OF_KERAS, image_size_px=size_px, weights_dir=weights_dir, progress=said)
        assert found.image_size_px == size_px
        assert np.abs(found(made_photos(size_px)) - expected).max() <= 1e-5 * np.abs(expected).max()
    assert said.lines == []


def test_stages_are_another_graph(kept_graph: Path, weights_dir: Path) -> None:
    said = Remarks()
    found = engine.open_backbone(OF_KERAS, 32, features="stages", weights_dir=weights_dir, progress=said)
    assert said.lines == ["Preparing mobilenet for this processor, once."]
    assert {one.name.rpartition("-")[0] for one in kept_graph.parent.iterdir()} == {
        "mobilenet-last",
        "mobilenet-stages",
    }
    last = engine.load(kept_graph)(made_photos(32))
    assert found.output_shape == (4608,)
    assert np.abs(found(made_photos(32))[:, -1024:] - last).max() <= 1e-5 * np.abs(last).max()


def test_what_is_described_needs_no_tensorflow_and_is_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pictures: np.ndarray, compiled: Engine
) -> None:
    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path))
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    said = Remarks()
    found = engine.open_backbone(backbones.find("tiny"), image_size_px=32, progress=said)
    expected = compiled(pictures)
    assert np.abs(found(pictures) - expected).max() <= 1e-5 * np.abs(expected).max()
    assert said.lines == []
    assert list(tmp_path.iterdir()) == []


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-2] ^= 0b1000000
    path.write_bytes(content)


def empty(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.mkdir()


DAMAGES: dict[str, Callable[[Path], object]] = {
    "a bit of a weight": lambda folder: flip(folder / "graph.bin"),
    "short weights": lambda folder: (folder / "graph.bin").write_bytes(b"short"),
    "no weights": lambda folder: (folder / "graph.bin").unlink(),
    "half a graph": lambda folder: (folder / "graph.xml").write_text("<net"),
    "no checksums": lambda folder: (folder / "SHA256SUMS").unlink(),
    "an empty folder": empty,
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_graph_is_never_read(damage: str, kept_graph: Path) -> None:
    DAMAGES[damage](kept_graph)
    with pytest.raises(RuntimeError):
        engine.load(kept_graph)


def test_a_damaged_graph_is_told_and_made_anew(
    opened: tuple[Path, Engine], kept_graph: Path, weights_dir: Path
) -> None:
    said = Remarks()
    flip(kept_graph / "graph.bin")
    received = engine.open_backbone(OF_KERAS, 32, weights_dir=weights_dir, progress=said)
    assert said.lines == [
        f"The converted network in {kept_graph} is damaged; it is made anew.",
        "Preparing mobilenet for this processor, once.",
    ]
    expected = opened[1](made_photos(32))
    assert np.array_equal(received(made_photos(32)), expected)
    assert np.array_equal(engine.load(kept_graph)(made_photos(32)), expected)
    assert [path.name for path in kept_graph.parent.iterdir()] == [kept_graph.name]


def test_without_tensorflow_a_damaged_graph_is_told(
    kept_graph: Path, weights_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flip(kept_graph / "graph.bin")
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    with pytest.raises(MissingPackage) as caught:
        engine.open_backbone(OF_KERAS, 32, weights_dir=weights_dir)
    assert caught.value.problem == (
        "TensorFlow, which builds and trains backbones, cannot be imported: import of tensorflow halted; "
        "None in sys.modules."
    )


def test_two_processes_that_convert_at_once_leave_one_whole_graph(
    tmp_path: Path, weights_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The slower finds the graph of the faster in its place, however far either is: that one stays."""
    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path))
    prepare, faster = engine.prepare, list[Engine]()

    def opened() -> Engine:
        return engine.open_backbone(OF_KERAS, 32, weights_dir=weights_dir)

    def overtaken(*asked: Any) -> Engine:
        if not faster:
            faster.append(KerasEngine(asked[0]))  # which stops this from being overtaken, too
            faster.append(opened())
            modified.update((one.name, one.stat().st_mtime_ns) for one in path.iterdir())
        return prepare(*asked)

    path, modified = engine.kept_path(OF_KERAS, 32, weights_dir), dict[str, int]()
    monkeypatch.setattr(engine, "prepare", overtaken)
    slower = opened()
    assert {one.name: one.stat().st_mtime_ns for one in path.iterdir()} == modified
    assert [one.name for one in path.parent.iterdir()] == [path.name]
    assert np.array_equal(engine.load(path)(made_photos(32)), slower(made_photos(32)))


def big_graph(megabytes: int) -> OpenVINOEngine:
    """A graph of weights alone; they are random, for zeros would be written once."""
    pixels = ops.parameter([-1, 32, 32, 3], np.float32)
    weights = np.random.default_rng(0).random((3, megabytes * 2**18 // 3), np.float32)
    product = ops.matmul(ops.reduce_mean(pixels, [1, 2]), weights, False, False)
    return OpenVINOEngine(openvino.Model([product], [pixels], "big"))


@pytest.mark.parametrize("kilobytes", [100, 1500, 3000, 6000])
def test_a_disk_too_small_for_a_graph_is_told(kilobytes: int, small_disk: Callable[[int], Path]) -> None:
    """Also where there is room again as soon as OpenVINO has removed what it could not write to its end."""
    disk = small_disk(kilobytes)
    with pytest.raises(DiskFull) as caught:
        big_graph(6).save(disk / "model")
    assert caught.value.problem == f"No space is left on the disk that holds {disk / 'model'}."
    assert list((disk / "model").iterdir()) == []


def test_a_disk_too_small_for_a_kept_graph_names_the_cache(
    small_disk: Callable[[int], Path], weights_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = small_disk(5000)
    monkeypatch.setenv("HEADSTART_CACHE", str(disk))
    with pytest.raises(DiskFull) as caught:
        engine.open_backbone(OF_KERAS, 32, weights_dir=weights_dir)
    assert caught.value.problem == f"No space is left on the disk that holds {disk / 'graphs'}."
    assert list((disk / "graphs").iterdir()) == []


def test_a_graph_larger_than_a_file_may_be_is_told(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, hard))
    try:
        with pytest.raises(OSError, match="File too large") as caught:
            big_graph(6).save(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert caught.value.errno == errno.EFBIG
    assert Path(caught.value.filename).name == "graph.xml"
    assert list(tmp_path.iterdir()) == []


def test_other_weights_another_size_or_kind_are_another_key() -> None:
    tiny, v2 = backbones.find("tiny"), backbones.find("mobilenet_v2")
    keys = [
        engine.backbone_key(row, size_px, kind, None, features)
        for row, size_px, kind, features in [
            (tiny, 32, "openvino", "last"),
            (tiny, 48, "openvino", "last"),
            (tiny, 32, "keras", "last"),
            (v2, 32, "openvino", "last"),
            (tiny, 32, "openvino", "stages"),
        ]
    ]
    assert len(set(keys)) == 5
    assert keys[0] == engine.backbone_key(tiny, 32, "openvino", None)


def test_without_a_gpu_openvino_is_chosen() -> None:
    if any(Path(device).exists() for device in ("/dev/nvidiactl", "/dev/dxg")):
        pytest.skip("this machine has a GPU")
    assert engine.choose("auto") == "openvino"
