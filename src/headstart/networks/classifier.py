"""A trained model as a user holds it: photos in, class names and probabilities out.

A saved classifier is a folder of four files, none of them pickled: `classifier.json` (class names,
picture size, how a photo becomes square, thresholds), `graph.xml` and `graph.bin` (OpenVINO, float32, which
eats RGB in [0, 255]: scaling and softmax are inside, and the outputs are named probabilities and novelty),
and `SHA256SUMS`, the checksums of both. Where Keras runs it, `model.keras` is in their place. A run's model
has a folder `keras` beside them, for exports (`networks/pieces.py`).
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from headstart.base import filenames
from headstart.base.errors import RunError, UnreadableImage, UnsupportedImage
from headstart.base.progress import Progress
from headstart.base.records import read_json, write_json
from headstart.networks import engine as engines
from headstart.networks.engine import Engine
from headstart.pictures import pixels
from headstart.pictures.pixels import Pixels
from headstart.statistics.calibration import Calibration

SCHEMA_VERSION = 3


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
    calibration: Calibration


@dataclass(frozen=True)
class Prediction:
    """What a classifier says of one photo.

    Of a picture that cannot be read, `error` says why, and the rest is None.

    Attributes:
        path: As it was given.
        label: The likeliest class.
        confidence: Its probability, calibrated.
        probabilities: Of each class.
        is_sure: Whether the confidence reaches that from which on few answers are wrong (`--max-error`);
            None where no such confidence could be promised.
        likely: The classes that together hold the label in most cases (`--coverage`).
        novelty: How unlike the training photos it is, from 0 to 2 (`novelty.scores`); None where the model
            does not say.
        is_novel: Whether that is more than of nearly all photos of these classes, so that the answer is "none
            of these" and all of the above means nothing; None where no threshold could be promised.
    """

    path: str
    label: str | None
    confidence: float | None
    probabilities: dict[str, float] | None
    is_sure: bool | None = None
    likely: tuple[str, ...] = ()
    novelty: float | None = None
    is_novel: bool | None = None
    error: str | None = None


class Classifier:
    """Class names and an engine from pixels to probabilities and, as its second output, novelty."""

    def __init__(self, record: ClassifierRecord, engine: Engine) -> None:
        self.record = record
        self.engine = engine

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes, in the order of the probabilities."""
        return self.record.class_names

    def ask(
        self,
        photos: Sequence[Path],
        digests: Sequence[str] | None = None,
        *,
        title: str = "Predicting",
        progress: Progress | None = None,
    ) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        """Return the probabilities of N readable photos, float32 (N, C), and how novel they are, (N,).

        The latter is None of a model that does not say.

        Raises:
            UnreadableImage: Names the file.
            ChangedPhoto: A file is gone, or has not the SHA-256 that `digests` says.
        """
        pictures = pixels.read_many(photos, self.record.image_size_px, self.record.fit, digests)
        outputs = []
        with (progress or Progress()).stage(title, len(photos)) as advance:
            for output in self.engine.outputs(pictures):
                outputs.append(output)
                advance()
        probabilities, *novelty = (np.stack(column) for column in zip(*outputs, strict=True))
        return probabilities, novelty[0][:, 0] if novelty else None

    def predict(self, paths: str | Path | Iterable[str | Path]) -> list[Prediction]:
        """Return one prediction per photo, in the order of `paths`; an unreadable one is told, not raised."""
        return list(self.predict_each(paths))

    def predict_each(self, paths: str | Path | Iterable[str | Path]) -> Iterator[Prediction]:
        """Yield the predictions of `predict` as they come; of any number, some dozens are held at a time."""
        waiting: deque[tuple[str, str | None]] = deque()  # paths in work, each with what is wrong with it
        side = self.record.image_size_px
        blank = np.zeros((side, side, 3), np.uint8)

        def pictures() -> Iterator[Pixels]:
            files = [paths] if isinstance(paths, str | Path) else paths
            for path, picture, error in pixels.map_in_order(self._read, files):
                waiting.append((path, error))
                # Something is asked for what cannot be read, too, or a long row of that would have to wait.
                yield blank if picture is None else picture

        for outputs in self.engine.outputs(pictures()):
            path, error = waiting.popleft()
            yield (
                self.prediction(path, *outputs)
                if error is None
                else Prediction(path, None, None, None, error=error)
            )

    def _read(self, path: str | Path) -> tuple[str, Pixels | None, str | None]:
        """Return a path with its picture, or with why it cannot be read."""
        try:
            return str(path), pixels.read(Path(path), self.record.image_size_px, self.record.fit), None
        except UnsupportedImage as error:
            return str(path), None, f"{error.problem} {error.fix}"
        except UnreadableImage as error:
            return str(path), None, error.problem

    def prediction(
        self, path: str, probabilities: NDArray[np.float32], novelty: NDArray[np.float32] | None = None
    ) -> Prediction:
        """Return what the engine's outputs for one photo, (C,) and (1,), come to."""
        best = int(probabilities.argmax())
        named = dict(zip(self.class_names, map(float, probabilities), strict=True))
        confidence, calibration = float(probabilities[best]), self.record.calibration
        in_set = calibration.conformal.sets(probabilities[None])[0]
        score = None if novelty is None else float(novelty[0])
        refusal = calibration.refusal
        return Prediction(
            path,
            self.class_names[best],
            confidence,
            named,
            is_sure=confidence >= calibration.abstention.threshold if calibration.abstention else None,
            likely=tuple(name for name, is_in in zip(self.class_names, in_set, strict=True) if is_in),
            novelty=score,
            is_novel=None if score is None or refusal is None else score > refusal.threshold,
        )

    def save(self, folder: Path) -> None:
        """Write the classifier into a folder.

        Raises:
            DiskFull: No space is left.
        """
        self.engine.save(folder)
        write_json(folder / filenames.CLASSIFIER, self.record)


def load(folder: Path) -> Classifier:
    """Read a classifier from the folder that `Classifier.save` wrote.

    Raises:
        RunError: No classifier is there, it is damaged, or another version of Headstart made it.
    """
    if not (folder / filenames.CLASSIFIER).is_file():
        what = "holds no trained model" if folder.is_dir() else "is no folder"
        raise RunError(f"{folder} {what}.", "Name a run folder that `headstart compare` finished.")
    record = read_json(folder / filenames.CLASSIFIER, ClassifierRecord)
    if (record.schema_version, record.pixels_version) != (SCHEMA_VERSION, pixels.PIXELS_VERSION):
        raise RunError(
            f"{folder} was trained by a version of Headstart that saves models or reads pictures otherwise.",
            "Train it again with this version, or use it with the version that its "
            f"{filenames.RESULTS} names.",
        )
    try:
        return Classifier(record, engines.load(folder))
    except RuntimeError as error:
        raise RunError(
            f"{folder} holds a damaged model, which cannot be read.",
            "Copy the folder again from where it was trained, or train it again.",
        ) from error


def load_run(folder: Path) -> Classifier:
    """Read the model of a run folder, or a folder that holds a classifier itself.

    Raises:
        RunError: No finished run is there.
    """
    return load(folder / filenames.MODEL if (folder / filenames.MODEL).is_dir() else folder)
