"""The cells of a table of text, whatever it was saved by: CSV, TSV, semicolons, UTF-16."""

import codecs
import csv
import io
import itertools
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from headstart.base.errors import DataError
from headstart.base.progress import Advance, silent

SUFFIXES = (".csv", ".tsv", ".tab", ".txt")
"""Extensions that a table may have."""

MARKS = ("\t", ",", ";", "|")
"""What may stand between cells; of those that divide the first lines equally well the first is taken."""

SNIFFED_BYTES, SNIFFED_ROWS = 1 << 16, 50
"""How much of a table is looked at to tell what stands between its cells."""

_MARKS_OF_ORDER = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)

_NO_TEXT = (
    (b"PK\x03\x04", "a workbook or an archive"),
    (b"\xd0\xcf\x11\xe0", "an old Excel workbook"),
    (b"PAR1", "a Parquet file"),
    (b"SQLite format 3", "a database"),
)

WINDOWS = "cp1252"
"""What Excel for Western Europe and America saves plain CSV in."""

_SEP_LINE = re.compile(r"sep=(.)\r?\n", re.IGNORECASE)
"""The first line by which Excel is told, and says, what stands between cells."""


Line = tuple[int, Sequence[str]]
"""A row's last line, and its cells."""


@dataclass(frozen=True)
class Sheet:
    """N rows of M cells, without blanks around them.

    Attributes:
        header: M names; those that are empty in the file too.
        cells: N rows, each of M cells; missing ones at a row's end are empty.
        lines: N line numbers, each that of a row's last line; the first of the file is 1.
        overlong: Numbers of rows, from 0, that have more cells than the header.
        encoding: As Python names it; `WINDOWS` where the file is no UTF-8 and has no byte-order mark, so
            that what is not ASCII may be read wrongly.
        has_header: Whether the file names its columns; else they are named "1" to "M".
    """

    header: tuple[str, ...]
    cells: tuple[tuple[str, ...], ...]
    lines: tuple[int, ...]
    overlong: tuple[int, ...]
    encoding: str
    has_header: bool = True

    def column(self, index: int) -> list[str]:
        """Return the N cells of a column."""
        return [row[index] for row in self.cells]

    def without_header(self) -> "Sheet":
        """Return the sheet with its first line as a row, too."""
        return replace(
            self,
            header=tuple(str(number) for number in range(1, len(self.header) + 1)),
            cells=(self.header, *self.cells),
            lines=(1, *self.lines),
            overlong=tuple(number + 1 for number in self.overlong),
            has_header=False,
        )


def read(source: Path, advance: Advance = silent) -> Sheet:
    """Return the cells of a file; blank rows are left out.

    Args:
        source: The file.
        advance: Told of each row.

    Raises:
        DataError: It is no text, or no table, such as where a quotation mark is not closed.
    """
    try:
        data = source.read_bytes()
    except OSError as error:
        raise DataError(
            f"'{source}' cannot be opened: {error.strerror}.", "Give yourself the right to read it."
        ) from error
    encoding = _encoding(source, data)
    start = data[:SNIFFED_BYTES].decode(encoding, errors="ignore")
    told = _SEP_LINE.match(start)
    mark = told[1] if told else _mark(start, source.suffix.casefold(), len(data) > SNIFFED_BYTES)
    stream = io.TextIOWrapper(io.BytesIO(data), encoding=encoding, newline="")
    if told:
        stream.readline()
    rows = _rows(source, stream, mark, first_line=1 + bool(told))
    _, header = next(rows, (1, ()))
    return laid_out(header, _counted(rows, advance), encoding)


def _counted(rows: Iterable[Line], advance: Advance) -> Iterator[Line]:
    for row in rows:
        advance()
        yield row


def laid_out(header: Sequence[str], rows: Iterable[Line], encoding: str) -> Sheet:
    """Return the sheet of a header and rows, whose last line's number and cells are given; see `Sheet`."""
    width, same = len(header), {}  # type: int, dict[str, str]
    cells, lines, overlong = [], [], []
    for number, (line, row) in enumerate(rows):
        lines.append(line)
        if any(cell.strip() for cell in row[width:]):
            overlong.append(number)
        # Labels and the like repeat: one text for all keeps a table of a million rows small.
        kept = [same.setdefault(cell, cell) for cell in map(str.strip, row[:width])]
        cells.append(tuple(kept + [""] * (width - len(kept))))
    return Sheet(
        header=tuple(map(str.strip, header)),
        cells=tuple(cells),
        lines=tuple(lines),
        overlong=tuple(overlong),
        encoding=encoding,
    )


def _rows(source: Path, stream: io.TextIOBase, mark: str, first_line: int) -> Iterator[Line]:
    """Yield the last line's number and the cells of each row that has any."""
    table = csv.reader(stream, delimiter=mark, skipinitialspace=True, strict=True)
    ended = 0
    try:
        for row in table:
            ended = table.line_num
            if any(map(str.strip, row)):
                yield first_line - 1 + ended, row
    except csv.Error as error:
        line = first_line + ended
        what = "a quotation mark is opened there and not closed" if "end of data" in str(error) else error
        raise DataError(
            f"'{source}' cannot be read from line {line} on: {what}.",
            "Mend that line, or save the table anew as CSV UTF-8.",
        ) from error


def _encoding(source: Path, data: bytes) -> str:
    for magic, what in _NO_TEXT:
        if data.startswith(magic):
            raise DataError(
                f"'{source}' is {what}, and not a table of text.", "Save it as CSV UTF-8, and name that file."
            )
    marked = next((name for mark, name in _MARKS_OF_ORDER if data.startswith(mark)), None)
    guesses = [marked] if marked else ["utf-8", WINDOWS]
    if not marked and b"\0" in data[:SNIFFED_BYTES]:
        guesses = ["utf-16-le" if data[1:2] == b"\0" else "utf-16-be"]
    for name in guesses:
        try:
            data.decode(name)
        except UnicodeDecodeError:
            continue
        return name
    raise DataError(
        f"'{source}' is not text in an encoding that can be told.",
        "Save it as CSV UTF-8, and name that file.",
    )


def _mark(start: str, suffix: str, is_cut: bool) -> str:
    """Return what stands between the cells: what divides the most of the first rows as it does the header."""
    lines = io.StringIO(start, newline="").readlines()
    if is_cut:
        lines.pop()
    found = {mark: _evenness(lines, mark) for mark in MARKS}
    best = max(MARKS, key=found.__getitem__)
    if found[best]:
        return best
    return " " if suffix == ".txt" and _evenness(lines, " ") == 1 else ","


def _evenness(lines: Sequence[str], mark: str) -> float:
    """Return the part of some rows that have as many cells as the first, 0 where that has only one."""
    widths = []
    try:
        table = csv.reader(lines, delimiter=mark, skipinitialspace=True)
        for row in itertools.islice(filter(None, table), SNIFFED_ROWS):
            widths.append(len(row))
    except csv.Error:
        return 0.0
    if not widths or widths[0] < 2:
        return 0.0
    return sum(width == widths[0] for width in widths) / len(widths)
