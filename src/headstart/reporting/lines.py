"""What a model says of a photo, as a line: of words, of CSV or of JSON."""

import csv
import dataclasses
import io
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path

from headstart.base.errors import DataError, disk_full_named
from headstart.networks.classifier import Prediction

NOVEL = "none of these"

COLUMNS = ("path", "label", "confidence", "is_sure", "is_novel", "novelty", "error")
"""Of a table of predictions; the runners-up follow, each with its confidence."""


def render(prediction: Prediction, top: int = 1) -> str:
    r"""Return a path and the likeliest classes, each with its confidence, with tabs between.

    Of a picture unlike the training photos "none of these" and "-" stand in their place.

    Example:
        >>> render(Prediction("a.jpg", "cat", 0.75, {"cat": 0.75, "dog": 0.25}), top=2)
        'a.jpg\tcat\t0.7500\tdog\t0.2500'
    """
    ranked = ((name, f"{share:.4f}") for name, share in likeliest(prediction, top))
    shown = [(NOVEL, "-")] if prediction.is_novel else ranked
    return "\t".join([prediction.path, *chain.from_iterable(shown)])


def to_json(prediction: Prediction, top: int | None = None) -> str:
    """Return all of a prediction as a JSON object; with `top`, of so many classes, the likeliest first."""
    record = dataclasses.asdict(prediction)
    if top is not None and prediction.probabilities is not None:
        record["probabilities"] = dict(likeliest(prediction, top))
    if prediction.error is None:
        del record["error"]
    return json.dumps(record, ensure_ascii=False)


class Table:
    """A table of predictions, written line by line; what is not known is empty.

    Args:
        write: Takes a line, without its end.
        top: Classes of each prediction.

    Example:
        >>> table = Table(print, top=2)
        path,label,confidence,is_sure,is_novel,novelty,error,label_2,confidence_2
        >>> table.add(Prediction("a,b.jpg", "cat", 0.75, {"cat": 0.75, "dog": 0.25}, is_sure=True))
        "a,b.jpg",cat,0.750000,true,,,,dog,0.250000
    """

    def __init__(self, write: Callable[[str], None], top: int = 1) -> None:
        self._write, self._top = write, top
        more = ((f"label_{rank}", f"confidence_{rank}") for rank in range(2, top + 1))
        header = [*COLUMNS, *chain.from_iterable(more)]
        self._n_columns = len(header)
        self._add(header)

    def add(self, prediction: Prediction) -> None:
        """Write one prediction."""
        cells = (_cell(getattr(prediction, name)) for name in COLUMNS)
        runners_up = ((name, _cell(share)) for name, share in likeliest(prediction, self._top)[1:])
        filled = [*cells, *chain.from_iterable(runners_up)]
        self._add([*filled, *[""] * (self._n_columns - len(filled))])

    def _add(self, cells: Sequence[str]) -> None:
        line = io.StringIO()
        csv.writer(line, lineterminator="").writerow(cells)
        self._write(line.getvalue())


@contextmanager
def new_file(path: Path) -> Iterator[Callable[[str], None]]:
    """Give what writes a line to a new file, UTF-8, at once.

    Raises:
        DataError: There is such a file already.
        DiskFull: No space is left.
    """
    with disk_full_named(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            # Paths may be no text.
            stream = path.open("x", buffering=1, encoding="utf-8", errors="backslashreplace", newline="\n")
        except FileExistsError as error:
            raise DataError(
                f"'{path}' is there already, and no file is overwritten.",
                "Name a new one, or have the table printed: --csv -",
            ) from error
        with stream:
            yield lambda line: print(line, file=stream)


def likeliest(prediction: Prediction, top: int) -> list[tuple[str, float]]:
    """Return at most so many classes with their probabilities, the likeliest first; of no answer none.

    Example:
        >>> likeliest(Prediction("a.jpg", "cat", 0.7, {"ant": 0.1, "cat": 0.7, "dog": 0.2}), 2)
        [('cat', 0.7), ('dog', 0.2)]
    """
    return sorted((prediction.probabilities or {}).items(), key=lambda one: -one[1])[:top]


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.6f}" if isinstance(value, float) else str(value)
