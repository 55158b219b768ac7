"""Class folders, alone or inside the folders of parts -> Dataset.

Listing opens no picture: a file counts by its extension, and only one with another extension, or none,
has its first bytes looked at.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from headstart.dataset import (
    LAYOUT_ADVICE,
    PART_WORDS,
    Dataset,
    Listing,
    assemble,
    natural_order,
    without_excluded,
)
from headstart.errors import NoSuchData, TooFewClasses
from headstart.formats import why_no_picture

LEFTOVERS = frozenset(
    {
        *("__macosx", "thumbs.db", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini", "icon\r", "@eadir"),
        *("#recycle", "$recycle.bin", "system volume information", "lost+found", "__pycache__"),
    }
)
"""What archives, file managers and storage boxes leave behind; in any case."""


def from_folder(source: Path, exclude: Sequence[str]) -> Dataset:
    """Return the photos of a folder of class folders or of parts; see `headstart.listing.load`."""
    listing = Listing(Path(os.path.abspath(source)))
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
    names = without_excluded({name for _, name, _ in folders}, exclude)
    for folder, name, part in folders:
        if name in names:
            listing.photos += [(path, name, part) for path in pictures_under(listing, folder)]
    return assemble(source, listing, names, exclude)


def _parts(names: Sequence[str]) -> dict[str, str] | None:
    """Return the part of each folder, or None when these are not the parts of a pre-split folder."""
    parts = {name: PART_WORDS.get(name.strip().casefold(), "") for name in names}
    return parts if "train" in parts.values() and all(parts.values()) else None


def _divide(listing: Listing, folder: str) -> tuple[list[str], list[str]]:
    """Return the names of the folders and the paths of the files that lie directly in a folder."""
    folders, files = [], []
    for entry in _visible(listing, folder):
        if _is_folder(entry):
            folders.append(entry.name)
        else:
            files.append(_join(folder, entry.name))
    return sorted(folders, key=natural_order), files


def _set_loose_aside(listing: Listing, loose: Iterable[str]) -> None:
    for path in loose:
        listing.set_aside(path, why_no_picture(listing.root / path) or "not in a class folder")


def _no_class_folders(source: Path, listing: Listing, parts: Iterable[str]) -> TooFewClasses:
    loose = sum(item.reason == "not in a class folder" for item in listing.ignored)
    where = f"the parts {', '.join(parts)} in '{source}'" if parts else f"'{source}'"
    photos = f", only {loose:,} photo{'s' * (loose != 1)}" if loose else ""
    return TooFewClasses(f"No class folders in {where}{photos}.", LAYOUT_ADVICE)


def pictures_under(listing: Listing, top: str) -> Iterator[str]:
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
            elif reason := why_no_picture(entry):
                listing.set_aside(path, reason)
            else:
                yield path


def _identity(folder: Path) -> tuple[int, int]:
    try:
        status = os.stat(folder)
    except OSError:  # which listing the folder then says
        return (-1, -1)
    return (status.st_dev, status.st_ino)


def _visible(listing: Listing, folder: str) -> Iterator[os.DirEntry[str]]:
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
