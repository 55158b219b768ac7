"""What each candidate answered on each test photo, read back from a run folder."""

import csv
import functools
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from headstart.base import filenames
from headstart.base.errors import RunError
from headstart.results.comparison import Named

LAST_DIGIT = 1.5e-6
"""Probabilities have 6 decimals: closer together than this, they may have been in the other order."""

_AGAIN = "It was changed by hand or written by another version; run the command again with a new --out."


@dataclass(frozen=True, eq=False)
class Predictions:
    """What one candidate answered on N test photos of C classes.

    Attributes:
        class_names: C names.
        paths: N paths, none twice.
        labels: int32 (N,), indices into `class_names`.
        probabilities: float32 (N, C), each row with the sum 1 (to 1e-3).

    Example:
        >>> probabilities = np.float32([[0.9, 0.1], [0.8, 0.2], [0.4, 0.6], [0.3, 0.7]])
        >>> paths, labels = ("a.jpg", "b.jpg", "c.jpg", "d.jpg"), np.int32([0, 1, 0, 1])
        >>> asked = Predictions("tiny", "features", ("cat", "dog"), paths, labels, probabilities)
        >>> asked.predicted.tolist()
        [0, 0, 1, 1]
        >>> [asked.paths[row] for row in asked.confident_mistakes(10)]
        ['b.jpg', 'c.jpg']
    """

    backbone: str
    technique: str
    class_names: tuple[str, ...]
    paths: tuple[str, ...]
    labels: NDArray[np.int32]
    probabilities: NDArray[np.float32]

    @functools.cached_property
    def predicted(self) -> NDArray[np.intp]:
        """The likeliest class of each photo, (N,); on a tie the one with the lower index."""
        return np.asarray(self.probabilities.argmax(axis=1))

    @functools.cached_property
    def confidence(self) -> NDArray[np.float32]:
        """The probability of that class, float32 (N,)."""
        return np.asarray(self.probabilities.max(axis=1))

    def confident_mistakes(self, limit: int) -> list[int]:
        """Return at most so many rows of photos that were taken for another class, surest first."""
        return self._surest(self.predicted != self.labels, limit)

    def confident_hits(self, limit: int) -> list[int]:
        """Return at most so many rows of photos that were got right, surest first."""
        return self._surest(self.predicted == self.labels, limit)

    def cell(self, label: int, predicted: int, limit: int) -> list[int]:
        """Return at most so many rows of one cell of the confusion matrix, surest first."""
        return self._surest((self.labels == label) & (self.predicted == predicted), limit)

    def least_sure(self, limit: int) -> list[int]:
        """Return at most so many rows, right or not, those first whose two likeliest classes are closest."""
        second, first = np.partition(self.probabilities, -2, axis=1)[:, -2:].T
        return [int(row) for row in np.argsort(first - second, kind="stable")[:limit]]

    def _surest(self, wanted: NDArray[np.bool_], limit: int) -> list[int]:
        rows = np.flatnonzero(wanted)
        # Equally sure ones stay in the order of the file, so that the choice does not vary.
        return [int(row) for row in rows[np.argsort(-self.confidence[rows], kind="stable")][:limit]]


def read(folder: Path, class_names: Sequence[str]) -> dict[str, Predictions]:
    """Read what every candidate answered on the test part.

    A path whose name is no UTF-8 comes back as Python's file system functions give it, with its odd bytes
    as surrogates.

    Args:
        folder: A finished run folder.
        class_names: Those of its results, C of 2 or more.

    Returns:
        By "backbone/technique", in the order of the file. The probabilities are those that were measured to
        6 decimals, and `predicted` is what was predicted then.

    Raises:
        RunError: There is no predictions.csv, or it is not one of these classes.
    """
    path = folder / filenames.PREDICTIONS
    if not path.is_file():
        raise RunError(f"{path} is missing.", "Name a run folder that `headstart compare` finished.")
    answers = _parse(path, class_names)
    found = {name: one.predictions(path, tuple(class_names)) for name, one in answers.items()}
    _refuse_other_photos(path, found)
    return found


@dataclass
class _Answers:
    """What was read of one candidate so far; probabilities one after another, for a list would be large."""

    backbone: str
    technique: str
    paths: list[str] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    predicted: list[int] = field(default_factory=list)
    probabilities: "array[float]" = field(default_factory=lambda: array("f"))

    def predictions(self, path: Path, class_names: tuple[str, ...]) -> Predictions:
        probabilities = np.array(self.probabilities, np.float32).reshape(-1, len(class_names))
        labels, predicted = np.array(self.labels, np.int32), np.array(self.predicted)
        sums = probabilities.sum(axis=1, dtype=np.float64)
        is_fit = (probabilities.min(axis=1) >= 0) & (np.abs(sums - 1) <= 1e-3)  # false for NaN, too
        if not is_fit.all():
            raise RunError(
                f"{path}: the probabilities of {self.paths[is_fit.argmin()]} do not add up to 1.", _AGAIN
            )
        is_likeliest = _settle(probabilities, predicted)
        if not is_likeliest.all():
            row = is_likeliest.argmin()
            name = class_names[predicted[row]]
            raise RunError(f"{path}: {name!r} is not the likeliest class of {self.paths[row]}.", _AGAIN)
        return Predictions(
            self.backbone, self.technique, class_names, tuple(self.paths), labels, probabilities
        )


def _settle(probabilities: NDArray[np.float32], predicted: NDArray[np.integer]) -> NDArray[np.bool_]:
    """Put each predicted class first where rounding made a tie; return whether each is the likeliest."""
    rows, likeliest = np.arange(len(predicted)), probabilities.argmax(axis=1)
    behind = probabilities[rows, likeliest] - probabilities[rows, predicted]
    tied = rows[(likeliest != predicted) & (behind < LAST_DIGIT)]
    probabilities[tied, predicted[tied]] = np.nextafter(probabilities[tied].max(axis=1), np.float32(2))
    return np.asarray(behind < LAST_DIGIT)


def _parse(path: Path, class_names: Sequence[str]) -> dict[str, _Answers]:
    number = {name: position for position, name in enumerate(class_names)}
    answers: dict[str, _Answers] = {}
    with path.open(encoding="utf-8", errors="surrogateescape", newline="") as stream:
        lines = csv.reader(stream)
        _refuse_other_columns(path, next(lines, []), class_names)
        try:
            for backbone, technique, photo, label, predicted, _, *probabilities in lines:
                name = Named(backbone, technique).name
                one = answers.get(name) or answers.setdefault(name, _Answers(backbone, technique))
                one.paths.append(photo)
                one.labels.append(number[label])
                one.predicted.append(number[predicted])
                if len(probabilities) != len(number):
                    raise ValueError
                one.probabilities.extend(map(float, probabilities))
        except (ValueError, KeyError, csv.Error) as error:
            raise RunError(f"{path} cannot be read: line {lines.line_num} does not fit.", _AGAIN) from error
    return answers


def _refuse_other_columns(path: Path, header: Sequence[str], class_names: Sequence[str]) -> None:
    expected = filenames.predictions_columns(class_names)
    for position, name in enumerate(expected):
        if name != "".join(header[position : position + 1]):
            raise RunError(f"{path} has no column {name!r} in place {position + 1}.", _AGAIN)
    if len(header) > len(expected):
        raise RunError(f"{path} has a column too many: {header[len(expected)]!r}.", _AGAIN)


def _refuse_other_photos(path: Path, found: dict[str, Predictions]) -> None:
    if not found:
        raise RunError(f"{path} holds no predictions.", _AGAIN)
    first, photos = next(iter(found)), None
    for name, one in found.items():
        if len(set(one.paths)) < len(one.paths):
            raise RunError(f"{path} has a photo twice for {name}.", _AGAIN)
        photos = photos or set(one.paths)
        if photos != set(one.paths):
            raise RunError(f"{path} has other photos for {name} than for {first}.", _AGAIN)
