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

from headstart.base.errors import DiskFull, EngineMismatch, MissingPackage
from headstart.base.progress import Progress
from headstart.networks import backbones, engine, novelty
from headstart.networks.engine import Engine, KerasEngine, OpenVINOEngine
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


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[int, Engine]]:
    """A cache that keeps `tiny` at two sizes, and by size what was opened as they were made."""
    folder, row = tmp_path_factory.mktemp("opened"), backbones.find("tiny")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HEADSTART_CACHE", str(folder))
        assert list(engine.kept(row)) == []
        return folder, {size: engine.open_backbone(row, made_photos(size)) for size in (32, 48)}


@pytest.fixture
def sizes_kept(
    opened: tuple[Path, dict[int, Engine]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> dict[int, Engine]:
    """A copy of that cache is the one in use; what was opened."""
    shutil.copytree(opened[0], tmp_path, dirs_exist_ok=True)
    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path))
    return opened[1]


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


def test_latencies_are_measured_in_turns(compiled: Engine) -> None:
    asked: list[int] = []

    class Counted(engine.OpenVINOEngine):
        def answer(self, picture: np.ndarray) -> np.ndarray:
            asked.append(self.image_size_px)
            return super().answer(picture)

    assert isinstance(compiled, engine.OpenVINOEngine)
    larger = compiled.graph.clone()
    larger.reshape([-1, 64, 64, 3])
    latencies_ms = engine.latencies_ms([Counted(compiled.graph), Counted(larger)], runs=3)
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


def test_the_outputs_of_a_saved_graph_are_named(tmp_path: Path) -> None:
    frozen = engine.open_backbone(backbones.find("tiny"), made_photos(32))
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
    program = f"import sys; from headstart.networks import engine; engine.import_openvino(); {told}"
    printed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert printed.stdout == "[]\n"
    telemetry = pytest.importorskip("openvino_telemetry.main")
    sent: list[str] = []
    monkeypatch.setattr(telemetry.Telemetry, "init", lambda *_, **__: sent.append("begun"))
    monkeypatch.setattr(telemetry.TelemetrySender, "send", lambda *_: sent.append("sent"))
    engine.convert(backbones.build("tiny"))
    assert sent == []


def test_a_graph_is_converted_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pictures: np.ndarray
) -> None:
    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path))
    row, said = backbones.find("tiny"), Remarks()
    first = engine.open_backbone(row, made_photos(32), progress=said)(pictures)
    assert said.lines == ["Preparing tiny for this processor, once."]
    monkeypatch.setattr(backbones, "build", None)
    second = engine.open_backbone(row, made_photos(32), progress=said)(pictures)
    assert len(said.lines) == 1
    assert np.array_equal(first, second)
    [kept] = (tmp_path / "graphs").iterdir()
    assert kept == engine.kept_path(row, 32, None)
    assert sorted(path.name for path in kept.iterdir()) == ["SHA256SUMS", "graph.bin", "graph.xml"]


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


@pytest.fixture
def kept_tiny(sizes_kept: dict[int, Engine]) -> Path:
    """The folder of a graph that was kept, alone in a cache of its own."""
    row = backbones.find("tiny")
    shutil.rmtree(engine.kept_path(row, 48, None))
    return engine.kept_path(row, 32, None)


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_graph_is_told_and_made_anew(damage: str, kept_tiny: Path, pictures: np.ndarray) -> None:
    row, said = backbones.find("tiny"), Remarks()
    expected = engine.load(kept_tiny)(pictures)
    DAMAGES[damage](kept_tiny)
    assert list(engine.kept(row)) == []
    received = engine.open_backbone(row, made_photos(32), progress=said)(pictures)
    assert said.lines == [
        f"The converted network in {kept_tiny} is damaged; it is made anew.",
        "Preparing tiny for this processor, once.",
    ]
    assert np.array_equal(received, expected)
    assert np.array_equal(engine.load(kept_tiny)(pictures), expected)
    assert [path.name for path in kept_tiny.parent.iterdir()] == [kept_tiny.name]


def test_without_tensorflow_a_damaged_graph_is_told(kept_tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flip(kept_tiny / "graph.bin")
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    with pytest.raises(MissingPackage) as caught:
        engine.open_backbone(backbones.find("tiny"), made_photos(32))
    assert caught.value.problem == (
        "TensorFlow, which builds and trains backbones, cannot be imported: import of tensorflow halted; "
        "None in sys.modules."
    )


def test_two_processes_that_convert_at_once_leave_one_whole_graph(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pictures: np.ndarray
) -> None:
    """The slower finds the graph of the faster in its place, however far either is: that one stays."""
    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path))
    row = backbones.find("tiny")
    prepare, faster = engine.prepare, list[Engine]()

    def overtaken(*asked: Any) -> Engine:
        if not faster:
            faster.append(KerasEngine(asked[0]))  # which stops this from being overtaken, too
            faster.append(engine.open_backbone(row, made_photos(32)))
            path = engine.kept_path(row, 32, None)
            modified.update((one.name, one.stat().st_mtime_ns) for one in path.iterdir())
        return prepare(*asked)

    modified: dict[str, int] = {}
    monkeypatch.setattr(engine, "prepare", overtaken)
    slower = engine.open_backbone(row, made_photos(32))
    path = engine.kept_path(row, 32, None)
    assert {one.name: one.stat().st_mtime_ns for one in path.iterdir()} == modified
    assert [one.name for one in path.parent.iterdir()] == [path.name]
    assert np.array_equal(engine.load(path)(pictures), slower(pictures))


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
    small_disk: Callable[[int], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = small_disk(12)
    monkeypatch.setenv("HEADSTART_CACHE", str(disk))
    with pytest.raises(DiskFull) as caught:
        engine.open_backbone(backbones.find("tiny"), made_photos(32))
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


def test_another_size_is_another_graph(sizes_kept: dict[int, Engine]) -> None:
    sizes = [
        engine.open_backbone(backbones.find("tiny"), made_photos(size)).image_size_px for size in (32, 48)
    ]
    assert sizes == [one.image_size_px for one in sizes_kept.values()] == [32, 48]


def test_kept_graphs_are_found_without_being_made(
    sizes_kept: dict[int, Engine], monkeypatch: pytest.MonkeyPatch, pictures: np.ndarray
) -> None:
    row = backbones.find("tiny")
    monkeypatch.setattr(backbones, "build", None)
    path = engine.kept_path(row, 32, None)
    for name in (f"tiny-64-{path.name.split('-')[2]}", "tiny-of-others"):
        shutil.copytree(path, path.with_name(name))
    found = {graph.image_size_px: (key, graph) for key, graph in engine.kept(row)}
    assert {size: key for size, (key, _) in found.items()} == {
        size: engine.backbone_key(row, size, "openvino", None) for size in (32, 48)
    }
    assert np.array_equal(found[32][1](pictures), sizes_kept[32](pictures))


def test_other_weights_another_size_or_kind_are_another_key() -> None:
    tiny, v2 = backbones.find("tiny"), backbones.find("mobilenet_v2")
    keys = [
        engine.backbone_key(row, size_px, kind, None)
        for row, size_px, kind in [
            (tiny, 32, "openvino"),
            (tiny, 48, "openvino"),
            (tiny, 32, "keras"),
            (v2, 32, "openvino"),
        ]
    ]
    assert len(set(keys)) == 4
    assert keys[0] == engine.backbone_key(tiny, 32, "openvino", None)


def test_without_a_gpu_openvino_is_chosen() -> None:
    if any(Path(device).exists() for device in ("/dev/nvidiactl", "/dev/dxg")):
        pytest.skip("this machine has a GPU")
    assert engine.choose("auto") == "openvino"
