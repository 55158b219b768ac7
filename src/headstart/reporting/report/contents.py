"""What a run folder holds for the report, each file where it is there."""

import csv
from dataclasses import dataclass
from pathlib import Path

from headstart.base import filenames, records
from headstart.base.errors import RunError
from headstart.results import exports, predictions
from headstart.results.comparison import Results
from headstart.results.exports import Exports
from headstart.results.gallery import Gallery
from headstart.results.predictions import Predictions
from headstart.results.run import Run
from headstart.results.suspect import Suspect


@dataclass(frozen=True)
class Contents:
    """All that the report is drawn from.

    Attributes:
        name: The name of the run folder.
        results: The whole of results.json.
        predictions: By "backbone/technique", in the order of the file; empty without predictions.csv.
        suspects: Worst first; empty without suspects.csv.
        quarantine: Paths of photos that could not be read, with the reasons.
        gallery: Small pictures, and the map; None without gallery.json.
        exports: What was exported; None without exports.json.
    """

    name: str
    results: Results
    predictions: dict[str, Predictions]
    suspects: tuple[Suspect, ...]
    quarantine: tuple[tuple[str, str], ...]
    gallery: Gallery | None
    exports: Exports | None = None


def read(folder: Path) -> Contents:
    """Read a run folder; no photo of the user's is opened.

    Raises:
        RunError: The folder holds no finished run, or a file of it is damaged or of another version.
    """
    results = Run(folder).results()
    has_predictions = (folder / filenames.PREDICTIONS).is_file()
    has_gallery = (folder / filenames.GALLERY).is_file()
    return Contents(
        name=folder.resolve().name,
        results=results,
        predictions=predictions.read(folder, results.dataset.class_names) if has_predictions else {},
        suspects=tuple(
            Suspect(path, label, suggested, float(p_label), float(p_suggested))
            for path, label, suggested, p_label, p_suggested in _rows(folder / filenames.SUSPECTS, 5)
        ),
        quarantine=tuple((path, reason) for path, reason in _rows(folder / filenames.QUARANTINE, 2)),
        gallery=records.read_json(folder / filenames.GALLERY, Gallery) if has_gallery else None,
        exports=exports.read(folder / filenames.EXPORTS_TABLE),
    )


def _rows(path: Path, n_columns: int) -> list[list[str]]:
    """Return the rows of a CSV file without its header; none where the file is not there.

    Raises:
        RunError: A row has another number of columns.
    """
    if not path.is_file():
        return []
    with path.open(encoding="utf-8", errors="surrogateescape", newline="") as stream:
        rows = list(csv.reader(stream))[1:]
    for number, row in enumerate(rows, 2):
        if len(row) != n_columns:
            raise RunError(
                f"{path} has {len(row)} columns in row {number}, not {n_columns}.",
                "It was changed by hand or written by another version; run the command again with a new "
                "--out.",
            )
    return rows
