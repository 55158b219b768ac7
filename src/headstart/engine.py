"""A Keras graph compiled for inference: OpenVINO in float32 on a CPU, kept on disk.

Converted from a SavedModel, because Keras's own OpenVINO export of some families is several
times slower, and run in float32, because the default precision (bfloat16 where the processor
has it) gives other features (docs/design.md has the measurements).
"""

import hashlib
import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from headstart import backbones
from headstart.backbones.table import Backbone
from headstart.errors import disk_full_named
from headstart.progress import Progress
from headstart.wheels import cache_dir

if TYPE_CHECKING:
    import openvino
    from keras import Model

GRAPH_VERSION = 1
"""Part of the name of every kept graph; raised when the conversion changes what comes out."""

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]


class EngineMismatch(AssertionError):
    """A converted graph that does not answer like the graph it was made from: a defect of ours."""


class Engine:
    """A graph compiled for this processor: pixels in, features or probabilities out."""

    def __init__(self, graph: "openvino.Model") -> None:
        import openvino

        self.graph = graph
        self._compiled = openvino.Core().compile_model(graph, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})

    def __call__(self, pixels: Pixels) -> Floats:
        """Return float32 (B, D) for uint8 RGB pixels (B, S, S, 3)."""
        return np.array(self._compiled(pixels)[0], dtype=np.float32)

    @property
    def image_size_px(self) -> int:
        """The side of the square pictures that it eats."""
        return int(self.graph.input(0).partial_shape[1].get_length())

    def latency_ms(self, runs: int = 15) -> float:
        """Return the median milliseconds for one picture at a time on this machine."""
        size = self.image_size_px
        picture = np.full((1, size, size, 3), 127, np.uint8)
        self(picture)
        return statistics.median(_milliseconds(self, picture) for _ in range(runs))


def _milliseconds(engine: Engine, picture: Pixels) -> float:
    start = time.perf_counter()
    engine(picture)
    return (time.perf_counter() - start) * 1000


def open_backbone(
    row: Backbone, image_size_px: int, *, weights_dir: Path | None, progress: Progress
) -> "openvino.Model":
    """Return the graph of a backbone with its ImageNet weights, from disk where it was kept before.

    The first time, TensorFlow is loaded and the graph converted, which takes some ten seconds.

    Raises:
        WeightsError: The weights are neither here nor to be had, or not the expected ones.
        MissingPackage: TensorFlow is not installed, and the graph is not kept yet.
    """
    import openvino

    path = _kept_path(row, image_size_px)
    if not path.exists():
        progress.remark(f"Preparing {row.name} for this processor, once.")
        model = backbones.build(
            row.name, image_size_px=image_size_px, weights_dir=weights_dir, progress=progress
        )
        save_graph(convert(model), path)
    return openvino.Core().read_model(path)


def _kept_path(row: Backbone, image_size_px: int) -> Path:
    """Name the file after all that decides what is in it."""
    import openvino

    decided_by = (GRAPH_VERSION, row, image_size_px, openvino.__version__)
    key = hashlib.sha256(repr(decided_by).encode()).hexdigest()[:16]
    return cache_dir() / "graphs" / f"{row.name}-{image_size_px}-{key}.xml"


def convert(model: "Model") -> "openvino.Model":
    """Return a Keras graph as an OpenVINO one that eats uint8 pixels, checked against Keras.

    Raises:
        EngineMismatch: The two give other numbers for the same pixels.
    """
    import openvino
    from openvino.preprocess import PrePostProcessor

    with tempfile.TemporaryDirectory() as folder:
        model.export(folder, format="tf_saved_model", verbose=False)
        steps = PrePostProcessor(openvino.convert_model(folder))
    steps.input().tensor().set_element_type(openvino.Type.u8)
    graph = steps.build()
    check_parity(model, Engine(graph))
    return graph


def check_parity(model: "Model", engine: Engine, pixels: Pixels | None = None) -> None:
    """Compare an engine with the Keras graph it was made from, on photos or on made ones.

    Raises:
        EngineMismatch: A value is off by more than 1e-3 of the largest, or a cosine is under 0.9999.
    """
    pixels = _made_photos(engine.image_size_px) if pixels is None else pixels
    expected = np.asarray(model(pixels.astype(np.float32), training=False))
    expected, received = expected.reshape(len(pixels), -1), engine(pixels).reshape(len(pixels), -1)
    error = float(np.abs(expected - received).max() / np.abs(expected).max())
    norms = np.linalg.norm(expected, axis=1) * np.linalg.norm(received, axis=1)
    cosine = float(((expected * received).sum(axis=1) / np.maximum(norms, 1e-12)).min())
    if error > 1e-3 or cosine < 0.9999:
        raise EngineMismatch(
            f"{model.name}: OpenVINO and Keras differ, relative error {error:.2g}, cosine {cosine:.6f}"
        )


def _made_photos(size_px: int) -> Pixels:
    """Return 4 pictures of smooth blotches: noise would hardly excite a backbone."""
    blotches = np.random.default_rng(0).random((4, 8, 8, 3))
    repeated = blotches.repeat(-(-size_px // 8), axis=1).repeat(-(-size_px // 8), axis=2)
    return (repeated[:, :size_px, :size_px] * 255).astype(np.uint8)


def save_graph(graph: "openvino.Model", path: Path) -> None:
    """Write `path` (.xml) and its weights beside it (.bin), in float32; the .xml comes last.

    Raises:
        DiskFull: No space is left.
    """
    import openvino

    with disk_full_named(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            temporary = Path(folder) / path.name
            try:
                openvino.save_model(graph, temporary, compress_to_fp16=False)
            except RuntimeError:
                # OpenVINO does not say why a write failed; the system does.
                (Path(folder) / "more").write_bytes(bytes(1 << 20))
                raise
            temporary.with_suffix(".bin").replace(path.with_suffix(".bin"))
            temporary.replace(path)
