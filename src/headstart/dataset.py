"""Photos and their labels, from class folders, pre-split folders, or a CSV or TSV file.

Listing opens no picture: a file counts by its extension, and only one with another extension, or none,
has its first bytes looked at.
"""

import csv
import difflib
import functools
import os
import re
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from headstart.errors import DataError, NoSuchData, SettingsError, TooFewClasses

if TYPE_CHECKING:
    from PIL import ImageFile

RASTER_FORMATS = (
    *("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "MPO", "AVIF", "JPEG2000", "PPM", "ICO", "ICNS", "CUR"),
    *("DIB", "PSD", "QOI", "DDS", "SGI", "SUN", "PCX", "DCX", "FLI", "BLP", "FTEX", "GBR", "MSP", "PIXAR"),
    *("XBM", "XPM", "PCD", "IM", "TGA", "SPIDER"),
)
"""Pillow's names of what counts as a picture, common ones first, those without a magic number last.

Left out: drawings and video (EPS, PDF, WMF, MPEG), containers that Pillow identifies and cannot decode
(BUFR, GRIB, HDF5), measurements (FITS, MCIDAS), and wrappers of little use (IPTC, IMT, XVTHUMB).
"""

PART_WORDS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation"), "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
}
"""Names of folders, and words in a split column, that stand for a part; in any case."""

LEFTOVERS = frozenset(
    {
        *("__macosx", "thumbs.db", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini", "icon\r", "@eadir"),
        *("#recycle", "$recycle.bin", "system volume information", "lost+found", "__pycache__"),
    }
)
"""What archives, file managers and storage boxes leave behind; in any case."""

Row = tuple[int, str, str, str, str | None]
"""Of a table: line number, path, label, part, and the key if there is a column for it."""

_DIGITS = re.compile(r"([0-9]+)")
_HUSH = ("ignore", None, Warning, re.compile(r"PIL\."), 0)

_LAYOUT = (
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
class _Listing:
    """What a scan has found so far: photos as (path, class name, part), and their keys if they have some."""

    root: Path
    photos: list[tuple[str, str, str]] = field(default_factory=list)
    ignored: list[SetAside] = field(default_factory=list)
    keys: dict[str, str] = field(default_factory=dict)

    def set_aside(self, path: str, reason: str) -> None:
        self.ignored.append(SetAside(path, reason))


def load(source: Path, *, exclude: Sequence[str] = (), group_by: str | None = None) -> Dataset:
    """List the photos of a folder, or of a CSV or TSV file.

    A folder holds a folder for each class; photos in deeper folders belong to the class. It counts as
    pre-split when all its folders are parts (see `PART_WORDS`) and one of them is for training; class
    folders are then inside the parts. A table has the columns path, label and, if the photos are divided
    already, split; paths are absolute or relative to the table's folder.

    Args:
        source: Folder of class folders or of parts, or a .csv or .tsv file.
        exclude: Classes to leave out entirely.
        group_by: What belongs together: the name of a column of the table, or a regular expression that is
            looked for in each path; its first group, or else the whole match, is the key. A photo with an
            empty key, or without a match, belongs to no other.

    Returns:
        Dataset in natural order, whatever order the file system lists files in. No file is modified.

    Raises:
        NoSuchData: No such folder or file; suggests the nearest.
        TooFewClasses: No class folders, or a single class.
        DataError: `exclude` names no class, `group_by` is no column and matches no path, or a table has a
            row that cannot be used.
        SettingsError: `group_by` is no regular expression.
    """
    source = Path(source)
    if source.is_dir():
        return _grouped(_from_folder(source, exclude), group_by)
    if not source.is_file():
        raise NoSuchData(f"No folder or file '{source}'.", _nearest_sibling(source) or _LAYOUT)
    if source.suffix.casefold() not in (".csv", ".tsv"):
        raise NoSuchData(
            f"'{source}' is neither a folder nor a CSV or TSV file.",
            "If it is an archive, unpack it and name the folder that comes out.",
        )
    return _grouped(_from_table(source, exclude, group_by), group_by)


def pictures(sources: Iterable[Path]) -> Iterator[Path]:
    """Yield files as they are named, and for a folder the pictures in it, at any depth, in natural order.

    Raises:
        NoSuchData: No such folder or file; suggests the nearest.
    """
    for source in sources:
        if source.is_dir():
            listing = _Listing(Path(os.path.abspath(source)))
            yield from (source / path for path in sorted(_pictures_under(listing, ""), key=natural_order))
        elif source.is_file():
            yield source
        else:
            raise NoSuchData(
                f"No folder or file '{source}'.", _nearest_sibling(source) or "Name photos or folders."
            )


def is_picture(path: Path) -> bool:
    """Tell by its first bytes whether a file is of one of `RASTER_FORMATS`; damage further on goes unseen."""
    from PIL import Image

    try:
        with open_picture(path):
            return True
    except Exception as error:  # decoders raise anything on foreign bytes: struct.error, SyntaxError, ...
        return isinstance(error, Image.DecompressionBombError)


def open_picture(source: "Path | IO[bytes]") -> "ImageFile.ImageFile":
    """Return a picture of one of `RASTER_FORMATS` with its header read and its pixels not.

    Raises what Pillow raises, which on damaged bytes is nearly anything; its warnings are silenced for good.
    """
    from PIL import Image

    if _HUSH not in warnings.filters:
        # In place of catch_warnings, which is not safe with threads before Python 3.14.
        warnings.filterwarnings("ignore", module=_HUSH[3].pattern)
    return Image.open(source, formats=raster_formats())


@functools.cache
def raster_formats() -> tuple[str, ...]:
    """Return those of `RASTER_FORMATS` that the installed Pillow was built with."""
    from PIL import Image

    Image.init()
    return tuple(name for name in RASTER_FORMATS if name in Image.OPEN)


@functools.cache
def picture_extensions() -> dict[str, str]:
    """Return the picture formats by extension, as in `{".jpg": "JPEG"}`; extensions in lower case."""
    from PIL import Image

    formats = raster_formats()
    return {suffix: name for suffix, name in Image.registered_extensions().items() if name in formats}


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


def _nearest_sibling(source: Path) -> str | None:
    try:
        names = os.listdir(source.parent)
    except OSError:
        return None
    near = difflib.get_close_matches(source.name, names, n=1)
    return f"Did you mean '{source.parent / near[0]}'?" if near else None


def _from_folder(source: Path, exclude: Sequence[str]) -> Dataset:
    listing = _Listing(Path(os.path.abspath(source)))
    top, loose = _divide(listing, "")
    parts = _parts(top)
    if parts is None:
        folders = [(name, name, "") for name in top]
    else:
        folders = []
        for part_folder, part in parts.items():
            inside, loose_inside = _divide(listing, part_folder)
            folders += [(f"{part_folder}/{name}", name, part) for name in inside]
            loose += loose_inside
    _set_loose_aside(listing, loose)
    if not folders:
        raise _no_class_folders(source, listing, parts or ())
    names = _left({name for _, name, _ in folders}, exclude)
    for folder, name, part in folders:
        if name in names:
            listing.photos += [(path, name, part) for path in _pictures_under(listing, folder)]
    return _assemble(source, listing, names, exclude)


def _parts(names: Sequence[str]) -> dict[str, str] | None:
    """Return the part of each folder, or None when these are not the parts of a pre-split folder."""
    parts = {name: PART_WORDS.get(name.strip().casefold(), "") for name in names}
    return parts if "train" in parts.values() and all(parts.values()) else None


def _divide(listing: _Listing, folder: str) -> tuple[list[str], list[str]]:
    """Return the names of the folders and the paths of the files that lie directly in a folder."""
    folders, files = [], []
    for entry in _visible(listing, folder):
        if _is_folder(entry):
            folders.append(entry.name)
        else:
            files.append(_join(folder, entry.name))
    return sorted(folders, key=natural_order), files


def _set_loose_aside(listing: _Listing, loose: Iterable[str]) -> None:
    for path in loose:
        listing.set_aside(path, _why_no_picture(listing.root / path) or "not in a class folder")


def _no_class_folders(source: Path, listing: _Listing, parts: Iterable[str]) -> TooFewClasses:
    loose = sum(item.reason == "not in a class folder" for item in listing.ignored)
    where = f"the parts {', '.join(parts)} in '{source}'" if parts else f"'{source}'"
    photos = f", only {loose:,} photo{'s' * (loose != 1)}" if loose else ""
    return TooFewClasses(f"No class folders in {where}{photos}.", _LAYOUT)


def _pictures_under(listing: _Listing, top: str) -> Iterator[str]:
    """Yield the path of each picture at any depth; a link back to a folder above is not followed."""
    waiting: list[tuple[str, frozenset[tuple[int, int]]]] = [(top, frozenset())]
    while waiting:
        folder, above = waiting.pop()
        identity = _identity(listing.root / folder)
        if identity in above:
            listing.set_aside(f"{folder}/", "a link to a folder above it")
            continue
        for entry in _visible(listing, folder):
            path = _join(folder, entry.name)
            if _is_folder(entry):
                waiting.append((path, above | {identity}))
            elif reason := _why_no_picture(entry):
                listing.set_aside(path, reason)
            else:
                yield path


def _identity(folder: Path) -> tuple[int, int]:
    try:
        status = os.stat(folder)
    except OSError:  # which listing the folder then says
        return (-1, -1)
    return (status.st_dev, status.st_ino)


def _visible(listing: _Listing, folder: str) -> Iterator[os.DirEntry[str]]:
    """Yield what a folder holds, after setting aside the hidden, the leftovers and the unusable names."""
    try:
        entries = os.scandir(listing.root / folder)
    except OSError as error:
        if not folder:
            raise NoSuchData(
                f"'{listing.root}' cannot be opened: {error.strerror}.", "Give yourself the right to read it."
            ) from error
        listing.set_aside(f"{folder}/", f"cannot be opened: {error.strerror}")
        return
    with entries:
        for entry in entries:
            if reason := _why_unwanted(entry.name):
                name = os.fsencode(entry.name).decode(errors="backslashreplace")
                listing.set_aside(_join(folder, name) + "/" * _is_folder(entry), reason)
            else:
                yield entry


def _join(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name


def _why_unwanted(name: str) -> str:
    if name.startswith("."):
        return "hidden"
    if name.casefold() in LEFTOVERS:
        return "left by an archive or a file manager"
    if not name.isascii() and not _is_utf8(name):
        return "its name is not valid UTF-8"
    return ""


def _is_utf8(name: str) -> bool:
    try:
        return bool(name.encode())
    except UnicodeEncodeError:
        return False


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def _why_no_picture(file: os.DirEntry[str] | Path) -> str:
    """Return why a file is not listed, or nothing; asks the file system only where a name is not enough."""
    try:
        is_file = file.is_file()
    except OSError:
        is_file = False
    if not is_file:
        return "a broken link" if file.is_symlink() else "not a regular file"
    suffix = os.path.splitext(file.name)[1].casefold()
    if suffix in picture_extensions() or is_picture(Path(file)):
        return ""
    if suffix in (".heic", ".heif"):
        return "HEIC, which Pillow does not read: save it as JPEG"
    return "not a picture that Pillow reads"


def _left(names: set[str], exclude: Sequence[str]) -> set[str]:
    """Return the class names without the excluded ones."""
    for name in exclude:
        if name not in names:
            raise DataError(f"No class is named '{name}'.", suggest(name, names) or _name_some(names))
    return names - set(exclude)


def _name_some(names: Iterable[str]) -> str:
    shown = sorted(names, key=natural_order)
    more = f" and {len(shown) - 10:,} more" if len(shown) > 10 else ""
    return f"The classes are {', '.join(shown[:10])}{more}."


def _assemble(source: Path, listing: _Listing, names: set[str], exclude: Sequence[str]) -> Dataset:
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
        raise TooFewClasses(f"No photos in '{source}'{without}{folders}.", _LAYOUT)
    inside = {path.split("/")[1] for path, _, _ in photos if path.count("/") >= 2 and source.is_dir()}
    fix = "Add a folder with photos of another class: with one there is nothing to tell apart."
    if len(inside) > 1 and not exclude:
        fix = f"Did you mean '{source / class_names[0]}'? It holds {len(inside):,} folders."
    elif not source.is_dir():
        fix = "Add rows with photos of another class: with one there is nothing to tell apart."
    raise TooFewClasses(f"Only one class in '{source}'{without}: '{class_names[0]}'.", fix)


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


def _from_table(source: Path, exclude: Sequence[str], group_by: str | None) -> Dataset:
    listing = _Listing(Path(os.path.abspath(source)).parent)
    rows = list(_rows(source, group_by))
    names = _left({name for _, _, name, *_ in rows}, exclude)
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
    return _assemble(source, listing, names, exclude)


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
