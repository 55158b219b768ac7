"""Photos and their labels, however they were listed."""

import csv
import difflib
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from headstart.errors import DataError, TooFewClasses

PART_WORDS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation"), "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
}
"""Names of folders, and words in a split column, that stand for a part; in any case."""

Row = tuple[int, str, str, str, str | None]
"""Of a table: line number, path, label, part, and the key if there is a column for it."""

_DIGITS = re.compile(r"([0-9]+)")

LAYOUT_ADVICE = (
    "Put the photos of each class into a folder named after it, such as photos/cat and photos/dog, "
    "or name a CSV or TSV file with the columns path,label."
)


@dataclass(frozen=True)
class SetAside:
    """A file or folder that takes no part, and why; a folder's path ends in a slash."""

    path: str
    reason: str


@dataclass(frozen=True, eq=False)
class Dataset:
    """N labelled photos of C classes; each array and tuple of length N is in the order of `paths`.

    Attributes:
        root: Absolute folder that `paths` are relative to.
        paths: N paths with forward slashes, unique, in natural order (2 before 10). One that a CSV file
            names outside `root` is absolute or begins with `..`.
        labels: int32 (N,), an index into `class_names`.
        class_names: C names in natural order; each had a photo when it was listed.
        given_parts: N times "train", "validation" or "test", or N times "" when no part was given.
        ignored: Hidden files, leftovers and non-pictures, in natural order.
        empty_classes: Class folders that hold no picture; they are not in `class_names`.
        group_keys: N texts, those that are equal and not empty belong together; or none at all.
    """

    root: Path
    paths: tuple[str, ...]
    labels: NDArray[np.int32]
    class_names: tuple[str, ...]
    given_parts: tuple[str, ...]
    ignored: tuple[SetAside, ...] = ()
    empty_classes: tuple[str, ...] = ()
    group_keys: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.paths)

    def take(self, indices: Iterable[int]) -> "Dataset":
        """Return the photos at `indices`, in that order, under the same class names."""
        chosen = [int(index) for index in indices]
        return replace(
            self,
            paths=tuple(self.paths[index] for index in chosen),
            labels=self.labels[chosen],
            given_parts=tuple(self.given_parts[index] for index in chosen),
            group_keys=tuple(self.group_keys[index] for index in chosen if self.group_keys),
        )

    def file(self, index: int) -> Path:
        """Return the file of one photo."""
        return self.root / self.paths[index]


@dataclass
class Listing:
    """What a scan has found so far: photos as (path, class name, part), and their keys if they have some."""

    root: Path
    photos: list[tuple[str, str, str]] = field(default_factory=list)
    ignored: list[SetAside] = field(default_factory=list)
    keys: dict[str, str] = field(default_factory=dict)

    def set_aside(self, path: str, reason: str) -> None:
        """Say that a file or folder takes no part, and why."""
        self.ignored.append(SetAside(path, reason))


def natural_order(text: str) -> tuple[list[str | int], str]:
    """Return a sort key that counts: img_2 before img_10, upper and lower case together.

    Example:
        >>> sorted(["b10", "B2", "a"], key=natural_order)
        ['a', 'B2', 'b10']
    """
    pieces: list[str | int] = _DIGITS.split(text.casefold())
    pieces[1::2] = map(int, pieces[1::2])
    return pieces, text


def suggest(name: str, known: Iterable[str]) -> str | None:
    """Return 'Did you mean ...?' with the nearest of the known names, or None when none is near."""
    near = difflib.get_close_matches(name, list(known), n=1)
    return f"Did you mean '{near[0]}'?" if near else None


def without_excluded(names: set[str], exclude: Sequence[str]) -> set[str]:
    """Return the class names without the excluded ones."""
    for name in exclude:
        if name not in names:
            raise DataError(f"No class is named '{name}'.", suggest(name, names) or _name_some(names))
    return names - set(exclude)


def _name_some(names: Iterable[str]) -> str:
    shown = sorted(names, key=natural_order)
    more = f" and {len(shown) - 10:,} more" if len(shown) > 10 else ""
    return f"The classes are {', '.join(shown[:10])}{more}."


def assemble(source: Path, listing: Listing, names: set[str], exclude: Sequence[str]) -> Dataset:
    """Return what was listed in natural order; TooFewClasses when that is fewer than two classes.

    Args:
        source: As the user named it, for what an error says.
        listing: All photos and what was set aside.
        names: The classes asked for; those without a photo are reported as empty.
        exclude: The classes left out, for what an error says.
    """
    photos = sorted(listing.photos, key=lambda photo: natural_order(photo[0]))
    used = {name for _, name, _ in photos}
    class_names = tuple(sorted(used, key=natural_order))
    _refuse_few_classes(source, class_names, names, exclude, photos)
    index = {name: number for number, name in enumerate(class_names)}
    return Dataset(
        root=listing.root,
        paths=tuple(path for path, _, _ in photos),
        labels=np.array([index[name] for _, name, _ in photos], np.int32),
        class_names=class_names,
        given_parts=tuple(part for _, _, part in photos),
        ignored=tuple(sorted(listing.ignored, key=lambda item: natural_order(item.path))),
        empty_classes=tuple(sorted(names - used, key=natural_order)),
        group_keys=tuple(listing.keys[path] for path, _, _ in photos if listing.keys),
    )


def _refuse_few_classes(
    source: Path,
    class_names: Sequence[str],
    names: set[str],
    exclude: Sequence[str],
    photos: Sequence[tuple[str, str, str]],
) -> None:
    if len(class_names) > 1:
        return
    without = f" without {', '.join(exclude)}" if exclude else ""
    if not class_names:
        folders = (
            f"; the folders {', '.join(sorted(names, key=natural_order)[:10])} hold none" if names else ""
        )
        raise TooFewClasses(f"No photos in '{source}'{without}{folders}.", LAYOUT_ADVICE)
    inside = {path.split("/")[1] for path, _, _ in photos if path.count("/") >= 2 and source.is_dir()}
    fix = "Add a folder with photos of another class: with one there is nothing to tell apart."
    if len(inside) > 1 and not exclude:
        fix = f"Did you mean '{source / class_names[0]}'? It holds {len(inside):,} folders."
    elif not source.is_dir():
        fix = "Add rows with photos of another class: with one there is nothing to tell apart."
    raise TooFewClasses(f"Only one class in '{source}'{without}: '{class_names[0]}'.", fix)


def from_table(source: Path, exclude: Sequence[str], group_by: str | None) -> Dataset:
    """Return the photos that a CSV or TSV file names; see `headstart.listing.load`."""
    listing = Listing(Path(os.path.abspath(source)).parent)
    rows = list(_rows(source, group_by))
    names = without_excluded({name for _, _, name, *_ in rows}, exclude)
    seen: dict[str, tuple[int, str, str, str | None]] = {}
    for number, path, name, part, key in rows:
        if name not in names:
            continue
        path = _relative(listing.root, path)
        first = seen.setdefault(path, (number, name, part, key))
        if first[1:] != (name, part, key):
            raise DataError(
                f"'{source}' gives {path} twice: in line {first[0]} as {_said(first[1:])}, "
                f"in line {number} as {_said((name, part, key))}.",
                "Keep one of the two lines.",
            )
    _refuse_missing(source, listing.root, seen)
    listing.photos = [(path, name, part) for path, (_, name, part, _) in seen.items()]
    listing.keys = {path: key for path, (*_, key) in seen.items() if key is not None}
    return assemble(source, listing, names, exclude)


def _said(row: tuple[str, str, str | None]) -> str:
    return " in ".join(f"'{value}'" for value in row if value)


def _relative(root: Path, path: str) -> str:
    """Return a path relative to `root` where it lies below; so each file has one spelling."""
    full = os.path.normpath(root / path)
    inside = os.path.join(root, "")
    relative = full.removeprefix(inside) if full.startswith(inside) or os.path.isabs(path) else None
    return Path(relative or os.path.relpath(full, root)).as_posix()


def _refuse_missing(source: Path, root: Path, seen: dict[str, tuple[int, str, str, str | None]]) -> None:
    missing = [path for path in seen if not os.path.isfile(root / path)]
    if missing:
        more = f" and {len(missing) - 1:,} more" if len(missing) > 1 else ""
        raise DataError(
            f"'{source}' names files that are not there: {missing[0]} (line {seen[missing[0]][0]}){more}.",
            f"Paths are taken from the folder of the table, '{root}': mend them, or remove these lines.",
        )


def _rows(source: Path, group_by: str | None) -> Iterator[Row]:
    """Yield each row of a table; its key is None when no column has the name `group_by`."""
    try:
        with source.open(encoding="utf-8-sig", newline="") as stream:
            first = stream.readline()
            stream.seek(0)
            table = csv.reader(stream, delimiter=_delimiter(first))
            columns = _columns(source, next(table, []), group_by)
            parsed = [_row(source, table.line_num, row, columns) for row in table if any(map(str.strip, row))]
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"'{source}' cannot be read: {error}.", "Save it as CSV in UTF-8.") from error
    parts = [part for _, _, _, part, _ in parsed]
    if columns[2] is not None and not all(parts):
        empty = parsed[parts.index("")][0]
        if any(parts):
            raise DataError(
                f"'{source}' has no split in line {empty}.",
                "Write train, validation or test in each line, or leave the column out.",
            )
    yield from parsed


def _delimiter(header: str) -> str:
    return next((mark for mark in ("\t", ",", ";") if mark in header), ",")


def _columns(source: Path, header: Sequence[str], group_by: str | None) -> list[int | None]:
    """Return where path, label, split and the keys stand; the last two may be missing."""
    names = [name.strip().casefold() for name in header]
    missing = [name for name in ("path", "label") if name not in names]
    if missing:
        twice = "s" * (len(missing) > 1)
        raise DataError(
            f"'{source}' has no column{twice} {' and '.join(missing)}: its first line is "
            f"'{','.join(header)}'.",
            "Make the first line path,label or path,label,split.",
        )
    wanted = ("path", "label", "split", (group_by or "").strip().casefold())
    return [names.index(name) if name and name in names else None for name in wanted]


def _row(source: Path, number: int, row: Sequence[str], columns: Sequence[int | None]) -> Row:
    path, name, word, key = (
        row[column].strip() if column is not None and column < len(row) else "" for column in columns
    )
    for column, value in (("path", path), ("label", name)):
        if not value:
            raise DataError(
                f"'{source}' has no {column} in line {number}.", "Fill it in, or remove the line."
            )
    part = PART_WORDS.get(word.casefold(), "")
    if word and not part:
        raise DataError(
            f"'{source}' has the split '{word}' in line {number}.", "Write train, validation or test."
        )
    return number, path, name, part, None if columns[3] is None else key
