"""A table that names photos and their labels -> Dataset."""

import os
import shlex
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from headstart.base.errors import DataError, NoSuchData
from headstart.base.progress import Advance, silent
from headstart.base.words import all_or_few
from headstart.sources import parquet
from headstart.sources import sheet as sheets
from headstart.sources.columns import YES, Columns, Wish, choose, is_row, with_header
from headstart.sources.dataset import Dataset, Listing, assemble, without_excluded
from headstart.sources.sheet import Sheet
from headstart.sources.shelves import Match, Shelves, is_elsewhere

SHOWN = 10
"""Lines that an error names where there are `MANY` or more."""

MANY = 20


@dataclass(frozen=True, slots=True)
class Row:
    """One photo of a table: the line, and what it says; `part` is None where it names none."""

    line: int
    name: str
    label: str
    part: str | None
    word: str
    key: str | None


@dataclass(frozen=True)
class Bad:
    """What is wrong with some rows, as what the table does, and how to mend it."""

    problem: str
    fix: str


def from_table(
    source: Path,
    exclude: Sequence[str],
    wish: Wish | None = None,
    images: Path | None = None,
    fewest_classes: int = 2,
    advance: Advance = silent,
) -> Dataset:
    """Return the photos that a table names; see `headstart.sources.listing.load`.

    Raises:
        DataError: It is no text, its columns cannot be told, or it has rows that cannot be used: all of
            them are named, kind by kind.
        NoSuchData: There is no folder `images`.
        TooFewClasses: Fewer than `fewest_classes`.
    """
    wish = wish or Wish()
    root = os.path.dirname(os.path.abspath(source))
    shelves = Shelves(root, _bases(root, images), advance)
    sheet, columns = _laid_out(source, wish, shelves, advance)
    rows = list(_rows(sheet, columns))
    names = without_excluded({row.label for row in rows if row.label}, exclude)
    rows = [row for row in rows if row.label in names or not row.label]
    found = shelves.find(dict.fromkeys(row.name for row in rows if row.name))
    bad = list(_bad(sheet, rows, found, shelves))
    if bad:
        raise _unusable(source, bad)
    photos = {found[row.name].paths[0]: row for row in rows}
    listing = Listing(Path(root))
    listing.photos = [(path, row.label, row.part or "") for path, row in photos.items()]
    listing.keys = {path: row.key for path, row in photos.items() if row.key is not None}
    listing.layout = _told(source, sheet, columns, found, listing, len(rows) - len(photos))
    return assemble(source, listing, names, exclude, fewest_classes)


def _bases(root: str, images: Path | None) -> tuple[str, ...]:
    if images is None:
        return (root,)
    if not images.is_dir():
        raise NoSuchData(f"No folder '{images}'.", "Name the folder that holds the photos: --images FOLDER")
    return tuple(dict.fromkeys((root, os.path.abspath(images))))


def _laid_out(source: Path, wish: Wish, shelves: Shelves, advance: Advance) -> tuple[Sheet, Columns]:
    if source.suffix.casefold() == parquet.SUFFIX:
        sheet = parquet.read(source, advance)
        return sheet, choose(source, sheet, wish, shelves)
    sheet = with_header(sheets.read(source, advance), wish)
    columns = choose(source, sheet, wish, shelves)
    if is_row(source, sheet, columns, wish, shelves):
        sheet = sheet.without_header()
        columns = choose(source, sheet, wish, shelves)
    _refuse_doubtful_text(source, sheet, columns, shelves)
    return sheet, columns


def _refuse_doubtful_text(source: Path, sheet: Sheet, columns: Columns, shelves: Shelves) -> None:
    """Refuse what is not ASCII in an unknown encoding, but for names that are proven by their files."""
    if sheet.encoding != sheets.WINDOWS:
        return
    used = [*columns.labels, *columns.splits, *([] if columns.group is None else [columns.group])]
    texts = [sheet.header[index] for index in used]
    texts += [row[index] for row in sheet.cells for index in used]
    names = [name for name in sheet.column(columns.path) if not name.isascii()]
    texts += [name for name, match in shelves.find(names).items() if not match.paths]
    doubtful = next((text for text in texts if not text.isascii()), None)
    if doubtful is not None:
        copy = source.with_name(f"{source.stem}-utf8{source.suffix}")
        raise DataError(
            f"'{source}' is not in UTF-8, so what its letters are cannot be told: is this '{doubtful}'?",
            "Save it as CSV UTF-8. If it is, that also does it: iconv -f WINDOWS-1252 -t UTF-8 "
            f"{shlex.quote(str(source))} > {shlex.quote(str(copy))}",
        )


def _rows(sheet: Sheet, columns: Columns) -> Iterator[Row]:
    one_hot = [(index, sheet.header[index]) for index in columns.labels] if columns.labels[1:] else []
    for line, cells, part in zip(sheet.lines, sheet.cells, columns.parts, strict=True):
        label = cells[columns.labels[0]]
        if one_hot:
            label = next(name for index, name in one_hot if cells[index].casefold() in YES)
        word = ", ".join(cells[index] for index in columns.splits)
        key = None if columns.group is None else cells[columns.group]
        yield Row(line, cells[columns.path], label, part, word, key)


# What is wrong


def _bad(sheet: Sheet, rows: Sequence[Row], found: dict[str, Match], shelves: Shelves) -> Iterator[Bad]:
    if sheet.overlong:
        where = _lines([sheet.lines[number] for number in sheet.overlong])
        yield Bad(
            f"has more cells in {where} than columns in its header",
            "Put quotation marks around a text with a comma (or what else stands between cells) in it.",
        )
    for what, empty in (
        ("path", [row.line for row in rows if not row.name]),
        ("label", [row.line for row in rows if not row.label]),
    ):
        if empty:
            yield Bad(f"has no {what} in {_lines(empty)}", _fill_in(empty))
    yield from _bad_parts(rows)
    yield from _bad_names(rows, found, shelves)
    yield from _bad_repeats(rows, found)


def _bad_parts(rows: Sequence[Row]) -> Iterator[Bad]:
    unknown = [f"'{row.word}' in line {row.line}" for row in rows if row.part is None]
    if unknown:
        yield Bad(f"has a split that is none: {_some(unknown)}", "Write train, validation or test.")
    blank = [row.line for row in rows if row.part == ""]
    if blank and len(blank) < len(rows):
        yield Bad(
            f"has no split in {_lines(blank)}",
            "Write train, validation or test in each line, or leave the column out: --split-column none",
        )


def _bad_names(rows: Sequence[Row], found: dict[str, Match], shelves: Shelves) -> Iterator[Bad]:
    lines: dict[str, int] = {}
    for row in rows:
        lines.setdefault(row.name, row.line)
    elsewhere = {name: None for name in found if is_elsewhere(name)}
    if elsewhere:
        yield Bad(
            f"names files by a web address or a drive of Windows: {_with_lines(list(elsewhere), lines)}",
            "Write their paths from the folder of the table, or their names alone and where they are: "
            "--images FOLDER",
        )
    missing = [name for name, match in found.items() if not match.paths and name not in elsewhere]
    if missing:
        yield _missing(missing, lines, len(found), shelves)
    twins = [
        f"{name} (line {lines[name]}): {' and '.join(match.paths)}"
        for name, match in found.items()
        if len(match.paths) > 1
    ]
    if twins:
        yield Bad(
            f"has names that fit more than one file: {_some(twins)}",
            "Write the whole path of the one that is meant, with its extension.",
        )


def _missing(missing: Sequence[str], lines: dict[str, int], n_names: int, shelves: Shelves) -> Bad:
    all_of = "" if len(missing) < n_names or n_names == 1 else f", all {n_names:,}"
    where = " and ".join(f"'{base}'" for base in shelves.bases)
    fix = f"Paths are taken from {where}: mend them, remove these lines, or name the folder: --images FOLDER"
    other = [(name, path) for name in missing if (path := shelves.other_extension(name))]
    if other:
        are = "has its file" if len(other) == 1 else "have theirs"
        fix = f"{len(other):,} of them {are} under another extension: {other[0][1]} for {other[0][0]}. {fix}"
    return Bad(f"names files that are not there{all_of}: {_with_lines(missing, lines)}", fix)


def _bad_repeats(rows: Sequence[Row], found: dict[str, Match]) -> Iterator[Bad]:
    """Tell of photos that have several lines which do not say the same."""
    firsts: dict[str, Row] = {}
    others: defaultdict[str, list[Row]] = defaultdict(list)
    for row in rows:
        if row.name and len(found[row.name].paths) == 1:
            path = found[row.name].paths[0]
            first = firsts.setdefault(path, row)
            if (row.label, row.part, row.key) != (first.label, first.part, first.key):
                others[path].append(row)
    repeated = [
        f"{path} in {_some([f'line {row.line} as {_label_and_place(row)}' for row in (firsts[path], *more)])}"
        for path, more in others.items()
    ]
    if repeated:
        yield Bad(
            f"says different things of one photo: {_some(repeated)}",
            "Keep one line for each photo: Headstart gives one class to a photo.",
        )


def _label_and_place(row: Row) -> str:
    return " in ".join(f"'{value}'" for value in (row.label, row.part, row.key) if value)


def _unusable(source: Path, bad: Sequence[Bad]) -> DataError:
    if len(bad) == 1:
        return DataError(f"'{source}' {bad[0].problem}.", bad[0].fix)
    kinds = "\n".join(f"- It {one.problem}. {one.fix}" for one in bad)
    return DataError(
        f"'{source}' has rows that cannot be used:\n{kinds}", "Mend all of these, then try again."
    )


def _fill_in(lines: Sequence[int]) -> str:
    return f"Fill it in, or remove the line{'s' * (len(lines) > 1)}."


def _with_lines(names: Sequence[str], lines: dict[str, int]) -> str:
    return _some([f"{name} (line {lines[name]})" for name in names])


def _lines(lines: Sequence[int]) -> str:
    return f"line{'s' * (len(lines) > 1)} {_some([str(line) for line in lines])}"


def _some(items: Sequence[str]) -> str:
    """Name all, or of twenty or more the first ten and how many more there are.

    Example:
        >>> _some(["a", "b", "c"]), _some(list("abcdefghijklmnopqrstuvwxyz"))
        ('a, b and c', 'a, b, c, d, e, f, g, h, i, j and 16 more')
    """
    return all_or_few(items, SHOWN, most=MANY - 1)


# How it was read


def _told(
    source: Path,
    sheet: Sheet,
    columns: Columns,
    found: dict[str, Match],
    listing: Listing,
    n_repeats: int,
) -> str:
    """Return how a table was read."""
    parts = [f"{source.name}{_unusual(sheet)}, path from {_names(sheet, [columns.path])}"]
    if len(columns.labels) > 1:
        parts.append(f"label from the one of {_names(sheet, columns.labels)} that says yes")
    else:
        parts.append(f"label from {_names(sheet, columns.labels)}")
    if columns.splits:
        counts = Counter(part for _, _, part in listing.photos)
        shown = ", ".join(
            f"{counts[name]:,} {name}" for name in ("train", "validation", "test") if counts[name]
        )
        parts.append(f"part from {_names(sheet, columns.splits)} ({shown})")
    if columns.group is not None:
        parts.append(f"groups from {_names(sheet, [columns.group])}")
    told = [", ".join(parts), *_where(found)]
    if n_repeats:
        told.append(f"{n_repeats:,} row{'s' * (n_repeats > 1)} said again what another had said")
    if columns.unused:
        told.append(f"not used: {_some(columns.unused)}")
    return "; ".join(told)


def _unusual(sheet: Sheet) -> str:
    encoding = {"utf-8": "", "utf-8-sig": "", sheets.WINDOWS: " as Windows-1252"}
    told = encoding.get(sheet.encoding, f" as {sheet.encoding[:6].upper()}")
    return told if sheet.has_header else f"{told} without a header"


def _names(sheet: Sheet, indices: Sequence[int]) -> str:
    if not sheet.has_header:
        return _some([f"column {sheet.header[index]}" for index in indices])
    return _some([f"'{sheet.header[index]}'" for index in indices])


def _where(found: dict[str, Match]) -> Iterator[str]:
    """Say how files were found that are not just where the table says."""
    inside = [match.paths[0] for match in found.values() if match.is_inside]
    if inside:
        folders = sorted({path.rpartition("/")[0] for path in inside})
        where = _some(folders) if len(folders) < 4 else f"{len(folders):,} folders, such as {folders[0]}"
        yield f"{len(inside):,} photo{'s' * (len(inside) > 1)} found in {where}"
    loose = [(name, match) for name, match in found.items() if not match.is_exact]
    if loose:
        name, path = loose[0][0], loose[0][1].paths[0].rpartition("/")[2]
        yield f"{len(loose):,} named without extension or in other capitals: {path} is meant by '{name}'"
