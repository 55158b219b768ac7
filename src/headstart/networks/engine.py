"""Graphs as they run: OpenVINO in float32 on a CPU, Keras on a GPU and where OpenVINO answers otherwise.

Where a backbone's steps are described, OpenVINO's graph is built of them, without TensorFlow. Those of
Keras's own networks are converted from TensorFlow's, because Keras's own OpenVINO export of some families
is several times slower, and kept. All run in float32, because the default precision (bfloat16 where the
processor has it) gives other features (docs/design.md has the measurements).
"""

import contextlib
import errno
import functools
import hashlib
import mmap
import os
import tempfile
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

import numpy as np

from headstart.base import filenames
from headstart.base.arrays import Floats
from headstart.base.errors import EngineMismatch, disk_full_named
from headstart.base.progress import Progress
from headstart.networks import backbones, weights
from headstart.networks.backbones import has_keras, import_keras, import_openvino, keras_applications
from headstart.networks.table import Backbone
from headstart.pictures.pixels import Pixels, batches, core_count
from headstart.storage import checksums
from headstart.storage.cache import discard
from headstart.storage.wheels import cache_dir

if TYPE_CHECKING:
    import openvino
    from keras import Model

GRAPH_VERSION = 4
"""Part of every `backbone_key`; raised when a graph is made so that something else comes out."""

LARGEST_XML = 1 << 23
"""More than a graph without its weights takes, in bytes."""

ROOM = 1 << 28
"""Bytes that there must be to compile a graph. OpenVINO (2026.4) that finds no memory for one of its threads
ends the process or waits for ever: beside other programs 12 times of 95 with 200 MB left, and none of 42 with
240 and more."""

KERAS_BATCH = 32

PARITY_ERROR = 1e-3
PARITY_COSINE = 0.9999
"""How far OpenVINO may be from Keras: of the largest value, and in direction."""

WITH_KERAS = "Keras itself runs it, several times slower: --engine keras --out NEW"


class Engine(ABC):
    """A graph as it runs: pixels in; features, probabilities or a trunk's activations out.

    There may be more than one output; that of a classifier beside the probabilities is a picture's novelty.
    """

    @abstractmethod
    def outputs(self, pictures: Iterable[Pixels]) -> Iterator[tuple[Floats, ...]]:
        """Yield all outputs for each picture, uint8 RGB (S, S, 3), in order; several are in work at once."""

    @abstractmethod
    def with_head(self, head_weights: Floats, bias: Floats, references: Floats | None = None) -> "Engine":
        """Return an engine that makes probabilities of this one's features; this one stays as it is.

        Args:
            head_weights: float32 (D, C); the output is softmax(features @ head_weights + bias).
            bias: float32 (C,).
            references: float32 (R, E), from `novelty.references` on the last E of the D features; with them
                there is a second output, (1,), what `novelty.scores` gives.
        """

    @abstractmethod
    def headless(self) -> "Engine":
        """Return what `with_head` was asked of: pixels to features; this one stays as it is."""

    @abstractmethod
    def write(self, folder: Path) -> None:
        """Write its files into an empty folder; raises what the file system raises."""

    def save(self, folder: Path) -> None:
        """Write its files and their checksums into a folder, for `load`.

        Raises:
            DiskFull: No space is left.
        """
        with disk_full_named(folder):
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=folder) as name:
                _write_sealed(self, Path(name))
                for file in sorted(Path(name).iterdir(), key=lambda file: file.name == filenames.CHECKSUMS):
                    file.replace(folder / file.name)

    @property
    @abstractmethod
    def image_size_px(self) -> int:
        """The side of the square pictures that it eats."""

    @property
    @abstractmethod
    def output_shape(self) -> tuple[int, ...]:
        """The shape of the first output for one picture."""

    @property
    @abstractmethod
    def widths(self) -> tuple[int, ...]:
        """How many numbers of the first output, which is a vector, come of each place, in order."""

    @abstractmethod
    def answer(self, picture: Pixels) -> Floats:
        """Return the first output for one picture, as soon as it can be had."""

    def lane(self) -> Callable[[Pixels], tuple[Floats, ...]]:
        """Return a function that gives all outputs for one picture, and is used by one thread at a time.

        Threads that each have one of their own are answered side by side.
        """
        return lambda picture: next(self.outputs([picture]))

    def stream(self, pictures: Iterable[Pixels]) -> Iterator[Floats]:
        """Yield the first output for each picture; see `outputs`."""
        return (first for first, *_ in self.outputs(pictures))

    def __call__(self, pixels: Pixels) -> Floats:
        """Return float32 (B, ...) for uint8 RGB pixels (B, S, S, 3)."""
        return np.stack(list(self.stream(pixels)))


ROUNDS = 30
"""How often each engine is asked, for its latency."""


def latencies_ms(engines: Sequence[Engine]) -> list[float]:
    """Return the least milliseconds that each engine takes for one picture on this machine.

    They are asked in turns, so that whatever else the machine does meanwhile slows all of them alike. It can
    only add: beside twelve other programs the medians of two equal networks came out 49 and 68 ms.
    """
    pictures = [np.full((one.image_size_px, one.image_size_px, 3), 127, np.uint8) for one in engines]
    for one, picture in zip(engines, pictures, strict=True):
        one.answer(picture)  # compiles
    rounds = [list(map(_milliseconds, engines, pictures)) for _ in range(ROUNDS)]
    return [min(times) for times in zip(*rounds, strict=True)]


def _milliseconds(engine: Engine, picture: Pixels) -> float:
    start = time.perf_counter()
    engine.answer(picture)
    return (time.perf_counter() - start) * 1000


def _require_room() -> None:
    """Raise MemoryError where the process may not have `ROOM` more; nothing of it is used."""
    try:
        mmap.mmap(-1, ROOM).close()
    except OSError as error:
        raise MemoryError(f"{ROOM >> 20} MB to compile a graph") from error


class OpenVINOEngine(Engine):
    """A graph compiled for this processor, a picture at a time on each core.

    One picture's activations stay in a core's cache, those of a batch do not: on two cores two streams of
    single pictures gave 1.6 times the images/s of batches of 32 (docs/design.md).
    """

    def __init__(self, graph: "openvino.Model") -> None:
        self.graph = graph

    def outputs(self, pictures: Iterable[Pixels]) -> Iterator[tuple[Floats, ...]]:
        """Yield all outputs for each picture; see `Engine`."""
        idle = deque(self._compiled("THROUGHPUT").create_infer_request() for _ in range(2 * core_count()))
        busy: deque[Any] = deque()
        for picture in pictures:
            if not idle:
                yield _outputs(busy[0])
                idle.append(busy.popleft())
            request = idle.popleft()
            request.start_async({0: picture[None]})
            busy.append(request)
        while busy:
            yield _outputs(busy.popleft())

    def lane(self) -> Callable[[Pixels], tuple[Floats, ...]]:
        """Return a function for one thread; see `Engine`."""
        request = self._compiled("THROUGHPUT").create_infer_request()

        def ask(picture: Pixels) -> tuple[Floats, ...]:
            request.start_async({0: picture[None]})
            return _outputs(request)

        return ask

    def answer(self, picture: Pixels) -> Floats:
        """Return the first output, all cores at work on it."""
        return np.array(self._compiled("LATENCY")(picture[None])[0][0], dtype=np.float32)

    def resized(self, image_size_px: int) -> "OpenVINOEngine":
        """Return an engine of the same graph that eats pictures of another size; this one stays as it is.

        A graph that was converted for a picture of an odd size, say, need not be the network at an even one:
        `open_backbone` knows which are alike.
        """
        graph = self.graph.clone()
        graph.reshape([-1, image_size_px, image_size_px, 3])
        return OpenVINOEngine(graph)

    @functools.cache  # noqa: B019  (an engine lives as long as its graph)
    def _compiled(self, hint: str) -> "openvino.CompiledModel":
        openvino = import_openvino()

        single = self.graph.clone()
        single.reshape([1, self.image_size_px, self.image_size_px, 3])
        options: dict[str, Any] = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": hint}
        if hint == "THROUGHPUT":
            options["NUM_STREAMS"] = core_count()
        _require_room()
        return openvino.Core().compile_model(single, "CPU", options)

    def with_head(
        self, head_weights: Floats, bias: Floats, references: Floats | None = None
    ) -> "OpenVINOEngine":
        """Return pixels to probabilities, with nothing of Keras needed; see `Engine`."""
        openvino = import_openvino()
        from openvino import opset13 as ops

        whole = self.graph.clone()
        features = whole.output(0).get_node().input_value(0)
        logits = ops.add(ops.matmul(features, head_weights, False, False), bias)
        outputs = {"probabilities": ops.softmax(logits, axis=1)}
        if references is not None:
            last = ops.slice(features, [-references.shape[1]], [np.iinfo(np.int64).max], [1], [1])
            unit = ops.normalize_l2(last, [1], float(np.finfo(np.float32).tiny), "max")
            nearest = ops.reduce_max(ops.matmul(unit, references, False, True), [1], keep_dims=True)
            outputs["novelty"] = ops.subtract(np.float32(1), nearest)
        for name, node in outputs.items():
            node.output(0).set_names({name})
        return OpenVINOEngine(openvino.Model(list(outputs.values()), whole.get_parameters(), "classifier"))

    def headless(self) -> "OpenVINOEngine":
        """Return pixels to features; see `Engine`."""
        openvino = import_openvino()

        whole = self.graph.clone()
        last = whole.output("probabilities").get_node()
        for _ in ("result", "softmax", "sum", "product"):
            source = last.input_value(0)
            last = source.get_node()
        source.set_names({"features"})
        return OpenVINOEngine(openvino.Model([source], whole.get_parameters(), "features"))

    def write(self, folder: Path) -> None:
        """Write graph.xml and graph.bin, in float32; see `Engine`."""
        write_graph(self.graph, folder / filenames.GRAPH)

    @property
    def image_size_px(self) -> int:
        """See `Engine`."""
        return int(self.graph.input(0).partial_shape[1].get_length())

    @property
    def output_shape(self) -> tuple[int, ...]:
        """See `Engine`."""
        return tuple(size.get_length() for size in list(self.graph.output(0).partial_shape)[1:])

    @property
    def widths(self) -> tuple[int, ...]:
        """See `Engine`."""
        vector = self.graph.output(0).get_node().input_value(0)
        return tuple(part.get_partial_shape()[-1].get_length() for part in _parts(vector))


def _parts(vector: Any) -> Iterator[Any]:
    """Yield the vectors that one is put together from."""
    node = vector.get_node()
    if node.get_type_name() == "Concat":
        for part in node.input_values():
            yield from _parts(part)
    else:
        yield vector


def _outputs(request: Any) -> tuple[Floats, ...]:
    request.wait()
    return tuple(np.array(tensor.data[0], dtype=np.float32) for tensor in request.output_tensors)


class KerasEngine(Engine):
    """A Keras graph on whatever TensorFlow runs on."""

    def __init__(self, model: "Model") -> None:
        self.model = model

    def outputs(self, pictures: Iterable[Pixels]) -> Iterator[tuple[Floats, ...]]:
        """Yield all outputs for each picture; see `Engine`."""
        for batch in batches(pictures, KERAS_BATCH):
            found = self.model.predict_on_batch(np.stack(batch).astype(np.float32))
            yield from zip(*(found if isinstance(found, list) else [found]), strict=True)

    def answer(self, picture: Pixels) -> Floats:
        """Return the first output."""
        return next(self.stream([picture]))

    def with_head(
        self, head_weights: Floats, bias: Floats, references: Floats | None = None
    ) -> "KerasEngine":
        """Return pixels to probabilities; see `Engine`."""
        keras = import_keras()

        features = self.model.output
        layer = keras.layers.Dense(len(bias), activation="softmax", name="probabilities")
        outputs = [layer(features)]
        layer.set_weights([head_weights, bias])
        if references is not None:
            cosines = keras.layers.Dense(len(references), use_bias=False, name="cosines")
            last = features[:, -references.shape[1] :]
            unit = keras.layers.UnitNormalization(name="unit")(last)
            nearest = keras.ops.max(cosines(unit), axis=1, keepdims=True)
            outputs.append(keras.layers.Rescaling(-1.0, offset=1.0, name="novelty")(nearest))
            cosines.set_weights([references.T])
        return KerasEngine(keras.Model(self.model.input, outputs, name="classifier"))

    def headless(self) -> "KerasEngine":
        """Return pixels to features; see `Engine`."""
        features = self.model.get_layer("probabilities").input
        return KerasEngine(import_keras().Model(self.model.input, features))

    def write(self, folder: Path) -> None:
        """Write model.keras; see `Engine`."""
        self.model.save(folder / filenames.KERAS_MODEL)

    @property
    def image_size_px(self) -> int:
        """See `Engine`."""
        return int(self.model.input.shape[1])

    @property
    def output_shape(self) -> tuple[int, ...]:
        """See `Engine`."""
        return tuple(self.model.outputs[0].shape[1:])

    @property
    def widths(self) -> tuple[int, ...]:
        """See `Engine`."""
        return tuple(_keras_widths(self.model.outputs[0]))


def _keras_widths(vector: Any) -> Iterator[int]:
    layer = vector._keras_history.operation
    if type(layer).__name__ == "Concatenate":
        for part in layer.input:
            yield from _keras_widths(part)
    elif hasattr(layer, "layers"):  # one of several networks that were joined
        yield from _keras_widths(layer.outputs[0])
    else:
        yield vector.shape[-1]


def choose(asked: str) -> str:
    """Return "openvino" or "keras": what was asked for; of "auto", Keras if TensorFlow sees a GPU.

    Example:
        >>> choose("keras")
        'keras'
    """
    if asked != "auto":
        return asked
    return "keras" if _has_gpu() else "openvino"


def processor() -> str:
    """Return the processor, the kernels of linear algebra that were chosen for it, and the cores in use.

    Where one of them is another, figures differ by rounding.
    """
    openvino = import_openvino()
    from threadpoolctl import threadpool_info

    name, n_cores = openvino.Core().get_property("CPU", "FULL_DEVICE_NAME"), core_count()
    kernels = sorted({one["architecture"] for one in threadpool_info() if one.get("architecture")})
    return f"{', '.join([name, *kernels])}, {n_cores} core{'s' * (n_cores != 1)}"


def join(engines: Sequence[Engine]) -> Engine:
    """Return an engine from one picture to the features of several, side by side in their order.

    Args:
        engines: Of one kind, which eat pictures of one size; they stay as they are.

    Raises:
        EngineMismatch: Some run on OpenVINO and some on Keras.
        ValueError: They eat pictures of several sizes.
    """
    if len({one.image_size_px for one in engines}) != 1:
        raise ValueError(f"pictures of several sizes: {[one.image_size_px for one in engines]}")
    on_openvino = [one for one in engines if isinstance(one, OpenVINOEngine)]
    on_keras = [one for one in engines if isinstance(one, KerasEngine)]
    if on_openvino and on_keras:
        raise EngineMismatch("Some networks run on OpenVINO, others on Keras.", WITH_KERAS)
    return _join_openvino(on_openvino) if on_openvino else _join_keras(on_keras)


def _join_openvino(engines: Sequence[OpenVINOEngine]) -> OpenVINOEngine:
    openvino = import_openvino()
    from openvino import opset13 as ops

    graphs = [one.graph.clone() for one in engines]
    pixels = graphs[0].get_parameters()[0]
    for graph in graphs[1:]:
        graph.input(0).replace(pixels.output(0))
    # One concatenation of all: OpenVINO would make one of several itself, and forget what an export marks.
    vectors = [graph.output(0).get_node().input_value(0) for graph in graphs]
    features = ops.concat([part for vector in vectors for part in _parts(vector)], 1)
    features.output(0).set_names({"features"})
    return OpenVINOEngine(openvino.Model([features], [pixels], "joined"))


def _join_keras(engines: Sequence[KerasEngine]) -> KerasEngine:
    keras = import_keras()
    pixels = keras.Input(engines[0].model.input.shape[1:], dtype="float32", name="pixels")
    # Under other names, for a model has none twice.
    parts = [
        keras.Model(one.model.input, one.model.output, name=f"part_{number}")
        for number, one in enumerate(engines)
    ]
    features = keras.layers.Concatenate(name="features")([part(pixels) for part in parts])
    return KerasEngine(keras.Model(pixels, features, name="joined"))


def _has_gpu() -> bool:
    # The driver is looked for first: to ask TensorFlow means to import it, for seconds.
    has_driver = any(Path(device).exists() for device in ("/dev/nvidiactl", "/dev/dxg"))
    if not has_driver or not has_keras():
        return False
    import_keras()
    import tensorflow

    return bool(tensorflow.config.list_physical_devices("GPU"))


def backbone_key(
    row: Backbone, image_size_px: int, kind: str, weights_dir: Path | None, features: str = "last"
) -> str:
    """Return 16 hexadecimal digits that stand for all that decides what a backbone makes of pixels."""
    return _digits(GRAPH_VERSION, kind, features, row, weights.fingerprint(row, weights_dir), image_size_px)


def _digits(*decided_by: object) -> str:
    version = import_openvino().__version__
    return hashlib.sha256(repr((*decided_by, version)).encode()).hexdigest()[:16]


def open_backbone(
    row: Backbone,
    image_size_px: int | None = None,
    *,
    features: str = "last",
    asked: str = "auto",
    weights_dir: Path | None = None,
    progress: Progress | None = None,
) -> Engine:
    """Return a backbone with its ImageNet weights.

    OpenVINO's graph of one whose steps are described is built in less than a second. One of Keras's own is
    kept on disk and read from there; the first time, and where what was kept is damaged, TensorFlow is
    loaded and the graph converted, which takes some ten seconds.

    Args:
        row: Of the table of backbones.
        image_size_px: The side of the pictures that it will eat; by default the row's.
        features: "last" or "stages"; see `backbones.vector_size`.
        asked: "auto", "openvino" or "keras"; see `choose`.
        weights_dir: Folder to look for weight files in first.
        progress: Told what is prepared, and of a graph that is refused or damaged.

    Raises:
        WeightsError: The weights are neither here nor to be had, or not the expected ones.
        MissingPackage: TensorFlow is needed and not installed.
    """
    progress, kind, size_px = progress or Progress(), choose(asked), image_size_px or row.input_size_px
    needed = Needed(features=features, image_size_px=size_px, weights_dir=weights_dir, progress=progress)
    if kind == "keras":
        return KerasEngine(backbones.build(row.name, **needed))
    if row.is_described:
        return OpenVINOEngine(backbones.build_openvino(row.name, **needed))
    path = kept_path(row, size_px, weights_dir, features)
    if found := _recall(path, progress):
        return found.resized(size_px)
    progress.remark(f"Preparing {row.name} for this processor, once.")
    model = backbones.build(row.name, **needed)
    engine = prepare(model, _made(size_px), kind, progress)
    if isinstance(engine, OpenVINOEngine):
        _keep(engine, path)
    return engine


class Needed(TypedDict):
    """What decides a graph beside its row; see `backbones.build`."""

    features: str
    image_size_px: int
    weights_dir: Path | None
    progress: Progress


def _made(size_px: int) -> Pixels:
    """Return pictures of smooth blotches, (4, S, S, 3): noise would hardly excite a backbone."""
    blotches = np.random.default_rng(0).random((4, 8, 8, 3)) * 255
    positions = np.arange(size_px) * 8 // size_px
    return np.asarray(blotches[:, positions][:, :, positions], np.uint8)


def _recall(path: Path, progress: Progress) -> "OpenVINOEngine | None":
    """Return what was kept, if it is there and as it was written; else it is there no more."""
    if not path.is_dir():
        return None
    with contextlib.suppress(OSError):
        os.utime(path)  # `headstart cache prune` takes away what was not used for longest
    try:
        return _load_openvino(path)
    except RuntimeError:
        progress.remark(f"The converted network in {path} is damaged; it is made anew.")
        discard(path)
        return None


def _keep(engine: Engine, path: Path) -> None:
    """Keep a converted graph as a folder, whole or not at all; that of a faster process stays."""
    with disk_full_named(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            made = Path(folder) / path.name
            made.mkdir()
            _write_sealed(engine, made)
            try:
                made.rename(path)
            except OSError:
                if not path.is_dir():
                    raise


def kept_path(row: Backbone, image_size_px: int, weights_dir: Path | None, features: str = "last") -> Path:
    """Return the folder where the converted graph of one of Keras's networks is, or will be.

    It is the same for all sizes of picture at which the network is the same.
    """
    drawn = keras_applications.drawn_for(row, image_size_px)
    key = _digits(GRAPH_VERSION, features, row, weights.fingerprint(row, weights_dir), drawn)
    return cache_dir() / "graphs" / f"{row.name}-{features}-{key}"


def prepare(model: "Model", examples: Pixels, kind: str, progress: Progress) -> Engine:
    """Return a Keras graph as an engine of a kind; Keras, with a remark, where OpenVINO answers otherwise.

    Args:
        model: Eats float32 (B, S, S, 3) in [0, 255].
        examples: uint8 (B, S, S, 3), photos.
        kind: "openvino" or "keras".
        progress: Told of a graph that is refused.
    """
    if kind == "keras":
        return KerasEngine(model)
    try:
        engine = OpenVINOEngine(convert(model))
        check_parity(model, engine, examples)
    except EngineMismatch as error:
        progress.remark(f"{error.problem} Keras is used for it instead, which is several times slower.")
        return KerasEngine(model)
    return engine


def convert(model: "Model") -> "openvino.Model":
    """Return a Keras graph as an OpenVINO one that eats uint8 pixels.

    Raises:
        EngineMismatch: OpenVINO does not know an operation in it.
    """
    openvino = import_openvino()
    from openvino.frontend import OpConversionFailure
    from openvino.preprocess import PrePostProcessor

    with disk_full_named(Path(tempfile.gettempdir())), tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "frozen.pb"
        content, outputs = _frozen(model)
        path.write_bytes(content)
        try:
            steps = PrePostProcessor(openvino.convert_model(path, output=outputs))
        except OpConversionFailure as error:
            raise EngineMismatch(f"{model.name}: OpenVINO cannot convert it.", WITH_KERAS) from error
    steps.input().tensor().set_element_type(openvino.Type.u8)
    return steps.build()


def _frozen(model: "Model") -> tuple[bytes, list[str]]:
    """Return TensorFlow's graph, the weights in it as constants, and the names of its outputs.

    OpenVINO makes of it what it makes of a SavedModel, which takes 3 seconds more to write. To put constants
    in the place of variables afterwards takes two to three times as long as to trace it with them.
    """
    import tensorflow

    parts = model.trainable_variables, model.non_trainable_variables
    weights = [[weight.numpy() for weight in part] for part in parts]

    def infer(pixels: Any) -> Any:
        constants = ([tensorflow.constant(weight) for weight in part] for part in weights)
        return model.stateless_call(*constants, pixels, training=False)[0]

    shape = tensorflow.TensorSpec(model.input.shape, tensorflow.float32)
    graph = tensorflow.function(infer, autograph=False).get_concrete_function(shape).graph
    content: bytes = graph.as_graph_def().SerializeToString()
    return content, [output.name for output in graph.outputs]


def check_parity(model: "Model", engine: Engine, examples: Pixels) -> None:
    """Compare an engine with the Keras graph it was made from, on photos.

    Raises:
        EngineMismatch: A value is off by more than `PARITY_ERROR` of the largest, or a cosine is under
            `PARITY_COSINE`.
    """
    expected = np.asarray(model(examples.astype(np.float32), training=False)).reshape(len(examples), -1)
    received = engine(examples).reshape(len(examples), -1)
    error = float(np.abs(expected - received).max() / np.abs(expected).max())
    norms = np.linalg.norm(expected, axis=1) * np.linalg.norm(received, axis=1)
    cosine = float(((expected * received).sum(axis=1) / np.maximum(norms, 1e-12)).min())
    if not (error <= PARITY_ERROR and cosine >= PARITY_COSINE):
        raise EngineMismatch(
            f"{model.name}: OpenVINO and Keras differ, relative error {error:.2g}, cosine {cosine:.6f}.",
            WITH_KERAS,
        )


def _write_sealed(engine: Engine, folder: Path) -> None:
    engine.write(folder)
    checksums.write(folder)


def write_graph(graph: "openvino.Model", path: Path, *, is_halved: bool = False) -> None:
    """Write a graph as an .xml file and a .bin file beside it, the latter in float16 where it is halved.

    Raises what the file system raises.
    """
    try:
        import_openvino().save_model(graph, path, compress_to_fp16=is_halved)
    except RuntimeError as error:
        raise _why_not_written(graph, path) from error


def _why_not_written(graph: "openvino.Model", path: Path) -> OSError:
    """Return why a graph could not be written.

    OpenVINO does not say it, and removes what it had written; the system says it of as many bytes again.
    """
    constants = [one for one in graph.get_ops() if one.get_type_name() == "Constant"]
    n_bytes = sum(one.get_byte_size() for one in constants) + LARGEST_XML
    try:
        with path.open("wb") as stream:
            for _ in range(n_bytes >> 20):
                stream.write(bytes(1 << 20))
    except OSError as reason:
        return OSError(reason.errno, reason.strerror, str(path))
    return OSError(errno.EIO, os.strerror(errno.EIO), str(path))


def load(folder: Path) -> Engine:
    """Read the engine that `Engine.save` wrote into a folder; TensorFlow is imported only for a Keras one.

    Raises:
        RuntimeError: It is damaged.
    """
    kept = folder / filenames.KERAS_MODEL
    if not kept.exists():
        return _load_openvino(folder)
    checksums.check(folder)
    try:
        return KerasEngine(import_keras().saving.load_model(kept, safe_mode=True))
    except (ValueError, OSError) as error:
        raise RuntimeError(str(error)) from error


def _load_openvino(folder: Path) -> OpenVINOEngine:
    checksums.check(folder)
    core = import_openvino().Core()
    core.set_property({"ENABLE_MMAP": False})  # a file written over while it is mapped ends the process
    return OpenVINOEngine(core.read_model(folder / filenames.GRAPH))
