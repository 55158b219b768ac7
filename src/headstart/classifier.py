"""A trained model as a user holds it: photos in, class names and probabilities out.

A saved classifier is a folder of three files, none of them pickled: `classifier.json` (class names,
picture size, how a photo becomes square), `graph.xml` and `graph.bin` (OpenVINO, float32, which eats
RGB in [0, 255]: scaling and softmax are inside).
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from headstart import features, pixels
from headstart.engine import Engine, save_graph
from headstart.errors import RunError, UnreadableImage
from headstart.probe import Head
from headstart.progress import Progress
from headstart.records import read_json, write_json

if TYPE_CHECKING:
    import openvino

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class ClassifierRecord:
    """What must be known beside the graph to use it."""

    schema_version: int
    class_names: tuple[str, ...]
    backbone: str
    technique: str
    image_size_px: int
    fit: str
    scaling: str
    pixels_version: int


@dataclass(frozen=True)
class Prediction:
    """What a classifier says of one photo.

    Of a picture that cannot be read, `error` says why, and the rest is None.
    """

    path: str
    label: str | None
    confidence: float | None
    probabilities: dict[str, float] | None
    error: str | None = None


class Classifier:
    """Class names and a graph from pixels to probabilities."""

    def __init__(self, record: ClassifierRecord, graph: "openvino.Model") -> None:
        self.record = record
        self.engine = Engine(graph)

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes, in the order of the probabilities."""
        return self.record.class_names

    def probabilities(
        self, photos: Sequence[Path], *, title: str = "Predicting", progress: Progress | None = None
    ) -> NDArray[np.float32]:
        """Return float32 (N, C) for N readable photos, in their order.

        Raises:
            UnreadableImage: Names the file.
        """
        with (progress or Progress()).stage(title, len(photos)) as advance:
            return features.extract(
                self.engine, photos, size_px=self.record.image_size_px, fit=self.record.fit, advance=advance
            )

    def predict(self, paths: str | Path | Iterable[str | Path]) -> list[Prediction]:
        """Return one prediction per photo, in the order of `paths`; an unreadable one is told, not raised."""
        return list(self.predict_each(paths))

    def predict_each(self, paths: str | Path | Iterable[str | Path]) -> Iterator[Prediction]:
        """Yield the predictions of `predict` as they come."""
        for path in [paths] if isinstance(paths, str | Path) else paths:
            try:
                picture = pixels.read(Path(path), self.record.image_size_px, self.record.fit)
            except UnreadableImage as error:
                yield Prediction(str(path), None, None, None, error.problem)
            else:
                yield self._prediction(str(path), self.engine(picture[None])[0])

    def _prediction(self, path: str, probabilities: NDArray[np.float32]) -> Prediction:
        best = int(probabilities.argmax())
        named = dict(zip(self.class_names, map(float, probabilities), strict=True))
        return Prediction(path, self.class_names[best], float(probabilities[best]), named)

    def save(self, folder: Path) -> None:
        """Write the classifier into a folder.

        Raises:
            DiskFull: No space is left.
        """
        save_graph(self.engine.graph, folder / "graph.xml")
        write_json(folder / "classifier.json", self.record)


def load(folder: Path) -> Classifier:
    """Read a classifier from the folder that `Classifier.save` wrote.

    Raises:
        RunError: No classifier is there, it is damaged, or another version of Headstart made it.
    """
    import openvino

    if not (folder / "classifier.json").is_file():
        what = "holds no trained model" if folder.is_dir() else "is no folder"
        raise RunError(f"{folder} {what}.", "Name a run folder that `headstart compare` finished.")
    record = read_json(folder / "classifier.json", ClassifierRecord)
    if (record.schema_version, record.pixels_version) != (SCHEMA_VERSION, pixels.PIXELS_VERSION):
        raise RunError(
            f"{folder} was trained by a version of Headstart that saves models or reads pictures otherwise.",
            "Train it again with this version, or use it with the version that its results.json names.",
        )
    try:
        return Classifier(record, openvino.Core().read_model(folder / "graph.xml"))
    except RuntimeError as error:
        raise RunError(
            f"{folder} holds a damaged model: graph.xml and graph.bin cannot be read.",
            "Copy the folder again from where it was trained, or train it again.",
        ) from error


def load_run(folder: Path) -> Classifier:
    """Read the model of a run folder, or a folder that holds a classifier itself.

    Raises:
        RunError: No finished run is there.
    """
    return load(folder / "model" if (folder / "model").is_dir() else folder)


def with_head(backbone: "openvino.Model", head: Head) -> "openvino.Model":
    """Return pixels to probabilities: a backbone's graph, a linear head, a softmax.

    `backbone` stays as it is, and nothing of Keras is needed.
    """
    import openvino
    from openvino import opset13 as ops

    whole = backbone.clone()
    outputs = whole.output(0).get_node().input_value(0)
    logits = ops.add(ops.matmul(outputs, head.weights, False, False), head.bias)
    return openvino.Model([ops.softmax(logits, axis=1)], whole.get_parameters(), "classifier")
