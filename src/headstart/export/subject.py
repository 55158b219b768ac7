"""What is exported: the model of a finished run, and the photos that its files are tried on."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from headstart.base import filenames
from headstart.base.arrays import Floats, Integers, Labels
from headstart.base.errors import DataError, RunError, SettingsError
from headstart.base.progress import Progress
from headstart.base.settings import Settings, from_toml
from headstart.networks import classifier
from headstart.networks.classifier import Classifier
from headstart.photos import splits
from headstart.photos.splits import SplitRow
from headstart.pictures import pixels
from headstart.pictures.pixels import Pixels
from headstart.results.comparison import Results
from headstart.results.run import Run
from headstart.sources import listing, places

NAMED = 3
"""Photos that are named when they are gone."""

SAMPLES = 300
"""Training photos that quantisers take ranges of activations from: as NNCF does by default."""


@dataclass(frozen=True, eq=False)
class Photos:
    """N photos of a run.

    Attributes:
        files: Where each is.
        digests: The SHA-256 of each, in hexadecimal.
        labels: int32 (N,), indices into the class names.
        groups: (N,), those of one number belong together.
    """

    files: tuple[Path, ...]
    digests: tuple[str, ...]
    labels: Labels
    groups: Integers

    def __len__(self) -> int:
        return len(self.files)


@dataclass(frozen=True, eq=False)
class Subject:
    """A finished run, opened to be exported.

    Attributes:
        run: Its folder.
        results: What it came to.
        settings: Those that it was made with.
        model: Its recommended model.
        test: What exported files are tried on.
        train: What it was trained on.
    """

    run: Run
    results: Results
    settings: Settings
    model: Classifier
    test: Photos
    train: Photos

    def answers(self, progress: Progress) -> tuple[Floats, Floats | None]:
        """Return what the run's own model says of the test photos: probabilities (N, C), novelty (N,).

        Raises:
            ChangedPhoto: A photo is not as it was in the run.
        """
        record, outputs = self.model.record, []
        pictures = pixels.read_many(self.test.files, record.image_size_px, record.fit, self.test.digests)
        with progress.stage("Asking the model of the run", len(self.test)) as advance:
            for output in self.model.engine.outputs(pictures):
                outputs.append(output)
                advance()
        probabilities, *novelty = (np.stack(column) for column in zip(*outputs, strict=True))
        return probabilities, novelty[0][:, 0] if novelty else None

    def samples(self) -> Pixels:
        """Return up to `SAMPLES` training photos for a quantiser, evenly spread, uint8 (B, S, S, 3)."""
        rows = np.unique(np.linspace(0, len(self.train) - 1, SAMPLES).round().astype(int))
        files, digests = [self.train.files[row] for row in rows], [self.train.digests[row] for row in rows]
        record = self.model.record
        return np.stack(list(pixels.read_many(files, record.image_size_px, record.fit, digests)))


def open_run(folder: Path, data: str | None, progress: Progress) -> Subject:
    """Open a finished run, with its photos where they are now.

    Args:
        folder: The run folder.
        data: Where the photos are, if no longer where the run found them.
        progress: Told before a sample is pulled.

    Raises:
        RunError: No finished run is there, or it was changed.
        DataError: The photos are not there.
    """
    run = Run(folder)
    results, model = run.results(), classifier.load(run.model)
    try:
        settings = from_toml(folder / filenames.CONFIG)
    except SettingsError as error:
        raise RunError(error.problem, "Put the file back as the run wrote it.") from error
    rows = splits.read_csv(folder / filenames.SPLIT)
    root = _root(settings, data, progress)
    parts = [
        _photos([row for row in rows if row.part == part], root, model.class_names, folder)
        for part in ("test", "train")
    ]
    return Subject(run, results, settings, model, *parts)


def _root(settings: Settings, data: str | None, progress: Progress) -> Path:
    """Return the folder that the paths of a run's photos are relative to.

    Raises:
        DataError: They cannot be listed.
    """
    try:
        return listing.load(places.resolve(data or settings.data, progress), **settings.reading).root
    except DataError as error:
        raise DataError(
            f"The photos of the run, on which an exported file is tried, cannot be listed: {error.problem}",
            "Name where they are now: --data PHOTOS.",
        ) from error


def _photos(rows: Sequence[SplitRow], root: Path, class_names: Sequence[str], folder: Path) -> Photos:
    files = tuple(root / row.path for row in rows)
    gone = [str(file) for file in files if not file.is_file()]
    if gone:
        more = f" and {len(gone) - NAMED:,} more" if len(gone) > NAMED else ""
        raise DataError(
            f"Photos of {folder}, on which an exported file is tried, are gone: "
            f"{', '.join(gone[:NAMED])}{more}.",
            "Put them back, or name where they are now: --data PHOTOS.",
        )
    number = {name: position for position, name in enumerate(class_names)}
    return Photos(
        files,
        tuple(row.sha256 for row in rows),
        np.array([number[row.label] for row in rows], np.int32),
        np.array([row.group for row in rows]),
    )
