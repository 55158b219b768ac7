"""A candidate before the run is finished: how it answers, and what lies in the work folder of it."""

import hashlib
import shutil
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from headstart.base import filenames, records
from headstart.base.arrays import Array, Floats, Rows
from headstart.base.errors import RunError, disk_full_named
from headstart.base.progress import Progress
from headstart.networks import classifier
from headstart.networks.classifier import Classifier, ClassifierRecord
from headstart.networks.engine import Engine
from headstart.networks.pieces import Pieces
from headstart.photos.splits import Lesson, Unlabelled
from headstart.pictures import pixels
from headstart.results.comparison import Candidate, Epoch, Named, Training
from headstart.statistics.answers import Answers
from headstart.statistics.calibration import Calibration
from headstart.statistics.metrics import Evaluation
from headstart.storage.checkpoint import Checkpoints
from headstart.training.finetune import Watch
from headstart.workflow.techniques.bench import Opened


class Asked(NamedTuple):
    """What was answered for N photos: probabilities, (N, C), and how novel they are, (N,), if it is said."""

    probabilities: Floats
    novelty: Floats | None


Answer = Callable[[Unlabelled], Asked]


@dataclass(frozen=True, eq=False)
class Trained:
    """A candidate not yet measured on test, the folder of its classifier, and how it answers.

    `validation` is what it answered on photos that it was not fitted on, by which it is compared with others.
    `repeats` are the same training from other seeds, in the order of the candidate's own.
    """

    candidate: Candidate
    folder: Path
    validation: Answers
    answer: Answer
    repeats: tuple[Answer, ...] = ()


@dataclass(frozen=True)
class Origin:
    """What a fine-tuned candidate came from, beside the settings of the run.

    An interrupted run goes on with it only where all of this is as before.

    Attributes:
        photos: `photos_sha256`.
        backbone: `engine.backbone_key`.
        seed: Of its training.
        epochs: How many passes it could take.
        versions: `versions.here`.
    """

    photos: str
    backbone: str
    seed: int
    epochs: int
    versions: dict[str, str]


def photos_sha256(lesson: Lesson) -> str:
    """Return the SHA-256 of all that a training depends on of the photos, in hexadecimal.

    That is class names, paths, digests, labels, groups, weights and folds.
    """
    photos = lesson.photos
    told = hashlib.sha256(repr((lesson.class_names, photos.paths, photos.digests)).encode())
    of_folds = [rows for fold in lesson.folds for rows in (fold.train, fold.validation)]
    arrays: list[Array] = [photos.labels, photos.groups, photos.sample_weights, *of_folds]
    for numbers in arrays:
        told.update(f"{numbers.dtype} {numbers.shape}".encode() + numbers.tobytes())
    return told.hexdigest()


@dataclass(frozen=True, eq=False)
class Outcome:
    """What a training came to: its scores on validation, what its confidence is worth, how it came about."""

    scores: Evaluation
    calibration: Calibration
    training: Training


@dataclass(frozen=True)
class Draft:
    """The files of a candidate in the work folder; no other module knows their names.

    Attributes:
        work: The folder.
        backbone: Its name.
        technique: "features" or "finetune".
        seed: Of a further training of the same candidate; None: the first.
    """

    work: Path
    backbone: str
    technique: str
    seed: int | None = None

    @property
    def name(self) -> str:
        """What the technique is called, with the seed of a further training."""
        return self.technique if self.seed is None else f"{self.technique}-{self.seed}"

    @property
    def model(self) -> Path:
        """The folder of its classifier."""
        return self.work / f"{self.backbone}-{self.name}"

    @property
    def _candidate(self) -> Path:
        return self.work / f"{self.model.name}.json"

    @property
    def _answers(self) -> Path:
        return self.work / f"{self.model.name}.npz"

    @property
    def _origin(self) -> Path:
        """The file that is written last."""
        return self.work / f"{self.model.name}.origin.json"

    def keep(
        self, backbone: Engine, pieces: Pieces, outcome: Outcome, opened: Opened, class_names: tuple[str, ...]
    ) -> Candidate:
        """Save a network with its head, pixels to probabilities, and what it came to; return the candidate.

        Raises:
            DiskFull: No space is left.
        """
        shutil.rmtree(self.model, ignore_errors=True)
        record = self._record(outcome, opened, class_names)
        Classifier(record, pieces.on(backbone)).save(self.model)
        pieces.save(self.model)
        network = opened.row.parameters if pieces.backbone is None else pieces.backbone.count_params()
        candidate = Candidate(
            backbone=self.backbone,
            technique=self.technique,
            validation=outcome.scores,
            test=None,
            calibration=outcome.calibration,
            seconds=seconds_of(self.technique, opened.watch.seconds),
            parameters=network + (backbone.output_shape[0] + 1) * len(class_names),
            size_mb=max(file.stat().st_size for file in self.model.iterdir() if file.is_file()) / 1e6,
            latency_ms=0.0,
            training=outcome.training,
        )
        records.write_json(self._candidate, candidate)
        return candidate

    def _record(self, outcome: Outcome, opened: Opened, class_names: tuple[str, ...]) -> ClassifierRecord:
        return ClassifierRecord(
            schema_version=classifier.SCHEMA_VERSION,
            class_names=class_names,
            backbone=self.backbone,
            technique=self.technique,
            image_size_px=opened.image_size_px,
            fit=opened.extractor.fit,
            scaling=opened.row.scaling,
            pixels_version=pixels.PIXELS_VERSION,
            calibration=outcome.calibration,
        )

    def watched(self, watch: Watch) -> Watch:
        """Return what is told of the passes of a further training: its seed stands before the fold."""
        if self.seed is None:
            return watch

        def told(fold: str, epoch: Epoch) -> None:
            watch(f"seed {self.seed} {fold}".strip(), epoch)

        return told

    def keep_answers(self, rows: Rows, probabilities: Floats, novelty: Floats) -> None:
        """Keep what it answered on photos that it was not fitted on, and the scores of photos' novelty."""
        records.write_bytes(self._answers, records.to_npz((rows, probabilities, novelty)))

    def candidate(self) -> Candidate:
        """Return the candidate that was kept."""
        return records.read_json(self._candidate, Candidate)

    def answers(self) -> Answers:
        """Return what `keep_answers` was given."""
        rows, probabilities, _ = records.from_npz(self._answers.read_bytes())
        return Answers(Named(self.backbone, self.technique).name, rows, probabilities)

    def novelty(self) -> Floats:
        """Return the scores of novelty that `keep_answers` was given."""
        return records.from_npz(self._answers.read_bytes())[2]

    def answer(self, progress: Progress) -> Answer:
        """Return how its classifier answers; what it answered before an interruption is kept."""
        model = classifier.load(self.model)

        def ask(photos: Unlabelled) -> Asked:
            title = f"{self.backbone} {self.name} test"
            return Asked(*model.ask(photos.files, photos.digests, title=title, progress=progress))

        return lambda photos: self.asked(photos, ask)

    def asked(self, photos: Unlabelled, answer: Answer) -> Asked:
        """Return what its classifier answers, by `answer`; what it answered before an interruption is kept.

        Raises:
            DiskFull: No space is left.
        """
        model = [(self.model / name).read_bytes() for name in (filenames.CHECKSUMS, filenames.CLASSIFIER)]
        checkpoints = Checkpoints(self.work, "").made_from(model, photos.digests)
        kept = checkpoints.load(f"{self.model.name}.asked")
        if kept:
            return Asked(kept["probabilities"], kept.get("novelty"))
        found = answer(photos)
        told = {name: values for name, values in found._asdict().items() if values is not None}
        checkpoints.save(f"{self.model.name}.asked", told)
        return found

    def is_of(self, origin: Origin) -> bool:
        """Say whether a candidate of this origin lies there, whole."""
        try:
            if records.read_json(self._origin, Origin) != origin:
                return False
            classifier.load(self.model)
            self.candidate()
            self.answers()
        except (RunError, OSError, EOFError, ValueError, zipfile.BadZipFile):
            return False
        return True

    def packed(self) -> dict[str, bytes]:
        """Return its files, each by its path in the work folder."""
        files = [self._candidate, self._answers, *(one for one in self.model.rglob("*") if one.is_file())]
        return {file.relative_to(self.work).as_posix(): file.read_bytes() for file in files}

    def unpack(self, files: Mapping[str, bytes]) -> None:
        """Put the files of a draft of the same name, `packed`, into this work folder.

        Raises:
            DiskFull: No space is left.
        """
        shutil.rmtree(self.model, ignore_errors=True)
        with disk_full_named(self.work):
            for name, content in files.items():
                (self.work / name).parent.mkdir(parents=True, exist_ok=True)
                records.write_bytes(self.work / name, content)

    def begin(self) -> None:
        """Say that what lies there is not whole any more."""
        self._origin.unlink(missing_ok=True)

    def end(self, origin: Origin) -> None:
        """Say that all of it lies there, and what it came from."""
        records.write_json(self._origin, origin)


def seconds_of(technique: str, seconds: dict[str, float]) -> dict[str, float]:
    """Return what a technique would have cost on its own; fine-tuning starts from the probe."""
    shared = ("prepare", "features", "probe")
    return {stage: spent for stage, spent in seconds.items() if technique == "finetune" or stage in shared}
