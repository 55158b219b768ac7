"""What was exported from a run, and how each file did on its test photos: the schema of exports.json."""

from dataclasses import dataclass
from pathlib import Path

from headstart.base.errors import RunError
from headstart.base.records import read_json
from headstart.statistics.significance import Comparison

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Scores:
    """What answers on the test photos were worth.

    Attributes:
        accuracy: Part of the photos that was taken for its own class.
        log_loss: As in `metrics.log_loss`.
        ece: The expected calibration error, as in `calibration.reliability`.
    """

    accuracy: float
    log_loss: float
    ece: float


@dataclass(frozen=True)
class Export:
    """One exported model, which was loaded again by its own runtime and agreed with the model of the run.

    Attributes:
        format: "keras", "savedmodel", "openvino", "onnx" or "litert".
        precision: "f32", "f16" or "int8": what it is.
        asked: The precision that was asked for.
        why: Why it is not what was asked for, a sentence; "" where it is.
        folder: Where it is; relative to the run folder where it is in there.
        files: Names of its files, what a runtime is to be given first.
        size_mb: All of them but the labels, in 10^6 bytes.
        runtime: What it was loaded with, name and version.
        n_images: Test photos that it was asked about.
        n_other_labels: How many of them it took for another class than the model of the run did.
        largest_difference: Of a probability from that of the model of the run, 0 to 1.
        largest_novelty_difference: Of the novelty, 0 to 2; None where the model of the run says none.
        scores: Its own.
        comparison: Of its answers, `a`, with those of the model of the run, `b`, on the same photos.
        latency_ms: Least of one picture at a time on this machine, all cores at work on it.
        batch_latency_ms: Least of `batch` pictures at once.
        batch: How many these are.
    """

    format: str
    precision: str
    asked: str
    why: str
    folder: str
    files: tuple[str, ...]
    size_mb: float
    runtime: str
    n_images: int
    n_other_labels: int
    largest_difference: float
    largest_novelty_difference: float | None
    scores: Scores
    comparison: Comparison
    latency_ms: float
    batch_latency_ms: float
    batch: int

    @property
    def name(self) -> str:
        """Format and precision, such as "onnx f32"."""
        return f"{self.format} {self.precision}"


@dataclass(frozen=True)
class Refused:
    """An export that failed, and of which no file is left."""

    format: str
    asked: str
    reason: str


@dataclass(frozen=True)
class Exports:
    """All that was exported from a run: `exports.json` is this.

    Attributes:
        candidate: The recommended candidate, "backbone/technique", whose model it is.
        image_size_px: Side of the square pictures that every file eats: RGB, 0 to 255.
        fit: How a photo becomes square: squash, crop or pad.
        scores: Of the model of the run, on the same photos.
        exports: In the order in which they were first made.
        refused: Of the last command.
    """

    schema_version: int
    candidate: str
    image_size_px: int
    fit: str
    scores: Scores
    exports: tuple[Export, ...]
    refused: tuple[Refused, ...] = ()


def read(path: Path) -> Exports | None:
    """Read exports.json; None where nothing was exported.

    Raises:
        RunError: It is damaged, or of another version of Headstart.
    """
    if not path.is_file():
        return None
    found = read_json(path, Exports)
    if found.schema_version != SCHEMA_VERSION:
        raise RunError(
            f"{path} was written by another version of Headstart.", "Remove it, and export the model again."
        )
    return found
