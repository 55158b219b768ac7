"""A folder or a table -> its photos and their labels."""

import difflib
import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from headstart.base.errors import DataError, NoSuchData, SettingsError, TooFewClasses
from headstart.base.progress import Progress, late_stage
from headstart.pictures import formats
from headstart.sources import parquet, tree
from headstart.sources.columns import Wish
from headstart.sources.dataset import LAYOUT_ADVICE, Dataset
from headstart.sources.folders import from_folder
from headstart.sources.sheet import SUFFIXES
from headstart.sources.tables import from_table


def load(
    source: Path,
    *,
    exclude: Sequence[str] = (),
    group_by: str | None = None,
    layout: str = "auto",
    path_column: str | None = None,
    label_column: str | None = None,
    split_column: str | None = None,
    images: str | Path | None = None,
    fewest_classes: int = 2,
    progress: Progress | None = None,
) -> Dataset:
    """List the photos of a folder, or of a CSV, TSV or Parquet file.

    A folder holds a folder for each class; photos in deeper folders belong to the class. It counts as
    pre-split when all its folders are named like parts (see `parts.named`) and one of them is for
    training; class folders are then inside the parts. A table has a column of paths, one of labels and, if
    the photos are divided already, one of parts. They are told by the usual names, else by what they hold;
    where that is not certain it is an error. Paths are absolute or relative to the table's folder or
    `images`; a file may also have an extension that the table leaves out, or be in a folder inside if only
    one fits.

    Args:
        source: Folder of class folders or of parts, or a table: a file with one of `SUFFIXES`, or .parquet.
        exclude: Classes to leave out entirely, or folders beside those of the parts.
        group_by: What belongs together: the name of a column of the table, or a regular expression that is
            looked for in each path; its first group, or else the whole match, is the key. A photo with an
            empty key, or without a match, belongs to no other.
        layout: What the topmost folders are: "classes", "parts", or "auto", which asks where that is not
            plain (see `headstart.sources.layouts`). Of a table it says nothing.
        path_column: The table's column of paths.
        label_column: The table's column of labels.
        split_column: The table's column of parts, or "none" for no such column.
        images: Folder of the table's photos, where they are not in its own.
        fewest_classes: 2; 1 where there is nothing to tell apart, as for photos to measure a model on.
        progress: Told how many files or rows were listed, where that takes long.

    Returns:
        Dataset in natural order, whatever order the file system lists files in. No file is modified.

    Raises:
        NoSuchData: No such folder or file; suggests the nearest.
        TooFewClasses: No class folders, or fewer than `fewest_classes`.
        UnclearLayout: The folders can be read as classes and as parts, or as neither.
        DataError: `exclude` names no class, `group_by` is no column and matches no path, or a table has a
            row that cannot be used.
        SettingsError: `group_by` is no regular expression, or `layout` none of the three.
    """
    source = Path(source)
    with late_stage(progress or Progress(), "Listing photos", unit="files") as advance:
        if source.is_dir():
            with _unread_told(source):
                return _grouped(from_folder(source, exclude, layout, fewest_classes, advance), group_by)
        _refuse_no_table(source)
        wish = Wish(path_column, label_column, split_column, group_by)
        folder = None if images is None else Path(images).expanduser()
        return _grouped(from_table(source, exclude, wish, folder, fewest_classes, advance), group_by)


def _refuse_no_table(source: Path) -> None:
    if not source.is_file():
        raise NoSuchData(f"No folder or file '{source}'.", _nearest_sibling(source) or LAYOUT_ADVICE)
    if source.suffix.casefold() not in (*SUFFIXES, parquet.SUFFIX):
        raise NoSuchData(
            f"'{source}' is neither a folder nor a CSV, TSV or Parquet file.",
            "If it is an archive, unpack it and name the folder that comes out.",
        )


def pictures(source: Path) -> Iterator[Path]:
    """Yield a file as it is named, or the pictures in a folder, at any depth, as they are found.

    A folder may be of any size: see `tree.stream` for their order, and what is held in memory.

    Raises:
        NoSuchData: No such folder or file, with the nearest suggested; or, in the end, no picture in the
            folder.
    """
    if source.is_file():
        yield source
        return
    if not source.is_dir():
        raise NoSuchData(
            f"No folder or file '{source}'.", _nearest_sibling(source) or "Name photos or folders."
        )
    path = None
    for path in tree.stream(Path(os.path.abspath(source))):
        yield source / path
    if path is None:
        raise NoSuchData(f"No pictures in '{source}'.", "Name photos, or folders that hold some.")


@contextmanager
def _unread_told(source: Path) -> Iterator[None]:
    """Say with the error that there are too few photos what lies in the folder and is not read."""
    try:
        yield
    except TooFewClasses as error:
        files = (Path(folder, name) for folder, _, names in os.walk(source) for name in names)
        found = (formats.foreign_kind(file) for file in files if file.is_file())
        kinds = Counter(kind for kind in found if kind and kind.is_picture)
        if not kinds:
            raise
        [(kind, number)] = kinds.most_common(1)
        many = f"{number:,} files in it are" if number > 1 else "A file in it is"
        raise TooFewClasses(f"{error.problem} {many} {kind.name} and not read.", kind.advice) from error


def _nearest_sibling(source: Path) -> str | None:
    try:
        names = os.listdir(source.parent)
    except OSError:
        return None
    near = difflib.get_close_matches(source.name, names, n=1)
    return f"Did you mean '{source.parent / near[0]}'?" if near else None


def _grouped(listed: Dataset, group_by: str | None) -> Dataset:
    """Return photos with their keys, which `group_by` takes from the paths unless a column gave them."""
    if group_by is None or listed.group_keys:
        return listed
    try:
        found = [re.search(group_by, path) for path in listed.paths]
    except re.error as error:
        raise SettingsError(
            f"group_by is {group_by!r}, which is no regular expression: {error}.",
            "Write it as Python does; a dot, bracket or star of the path itself needs a \\ before it.",
        ) from error
    if not any(found):
        raise DataError(
            f"group_by is {group_by!r}: no column of that name, and no path has such a text in it.",
            f"A path is written as in '{listed.paths[0]}'.",
        )
    keys = (match[1 if match.re.groups else 0] if match else "" for match in found)
    return replace(listed, group_keys=tuple(key or "" for key in keys))
