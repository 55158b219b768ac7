"""Folders as they lie on disk: the pictures in each, every folder once, and what was set aside.

Listing opens no picture: a file counts by its extension, and only one with another extension, or none,
has its first bytes looked at.
"""

import functools
import os
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from headstart.base.errors import NoSuchData
from headstart.base.progress import Advance, silent
from headstart.base.words import all_or_few
from headstart.pictures.formats import why_no_picture
from headstart.sources.dataset import SetAside, natural_order

LEFTOVERS = frozenset(
    {
        *("__macosx", "thumbs.db", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini", "icon\r", "@eadir"),
        *("#recycle", "$recycle.bin", "system volume information", "lost+found", "__pycache__"),
    }
)
"""What archives, file managers and storage boxes leave behind; in any case."""

SCREENFUL = 20
"""Lines of a drawing at most."""

BLOCK = 10_000
"""Files of one folder that are held at a time where they are listed as they are found."""

TOLD = 1_000
"""Files of one folder after which it is told how many there were."""

WIDTHS = ((10, 5, 3), (8, 4, 2), (8, 4), (6, 3), (6, 2), (4, 2), (12,))
"""Folders that are drawn at most at each depth; the first choice that fits on a screen is taken."""

NAME_LENGTH = 40
"""Letters of a name that are drawn at most."""

NAMED = 4
"""Folders that a sentence names at most."""

Identity = tuple[int, int]


@dataclass(eq=False)
class Folder:
    """A folder with what lies in it.

    Attributes:
        name: As on disk; of the root the empty text.
        path: From the root, with forward slashes.
        photos: Paths of the pictures that lie directly in it.
        folders: Those in it, in natural order.
        ignored: What was set aside of what lies directly in it.
    """

    name: str = ""
    path: str = ""
    photos: list[str] = field(default_factory=list)
    folders: list["Folder"] = field(default_factory=list)
    ignored: list[SetAside] = field(default_factory=list)

    def walk(self) -> Iterator["Folder"]:
        """Yield the folder and all below it."""
        waiting = [self]
        while waiting:
            folder = waiting.pop()
            yield folder
            waiting += folder.folders

    @functools.cached_property
    def n_photos(self) -> int:
        """Pictures in it, at any depth."""
        return sum(len(folder.photos) for folder in self.walk())

    @functools.cached_property
    def full(self) -> list["Folder"]:
        """The folders in it that hold a picture, at any depth."""
        return [folder for folder in self.folders if folder.n_photos]


@dataclass(frozen=True)
class _Link:
    """A folder that is reached by a link, or below one: where it is to be put, and its own path."""

    parent: Folder
    path: str
    is_link: bool


def scan(root: Path, advance: Advance = silent) -> Folder:
    """Return all that lies below a folder; each folder counts once, in its own place.

    A link to a folder elsewhere is followed, the link nearest to the root first. One that leads to a folder
    that counts already, or to one above the root, is set aside.

    Args:
        root: The folder.
        advance: Told how many files more were listed.

    Raises:
        NoSuchData: The root cannot be opened.
    """
    tree = Folder()
    for _ in _filled(root, tree, advance):
        pass
    for folder in tree.walk():
        folder.folders.sort(key=lambda one: natural_order(one.name))
    return tree


def stream(root: Path) -> Iterator[str]:
    """Yield the paths of the pictures that `scan` finds, from the root, as they are found.

    Folders come in natural order, those that only links lead to last; so do the pictures of one, unless they
    are more than `BLOCK`: then so many at a time. What is held in memory grows with the folders alone, not
    with the files.

    Raises:
        NoSuchData: The root cannot be opened.
    """
    for folder in _filled(root, Folder()):
        yield from sorted(folder.photos, key=natural_order)
        folder.photos.clear()
        folder.ignored.clear()


def _filled(root: Path, tree: Folder, advance: Advance = silent) -> Iterator[Folder]:
    """Read all that lies below a folder; yield each with what was read, every `BLOCK` files and at its end.

    What was yielded may be taken out of the folder.
    """
    places: dict[Identity | None, str] = {_identity(above): ".." for above in _above(root)}
    waiting = yield from _fill(root, tree, places, advance, is_own=True)
    while waiting:
        waiting.sort(key=lambda link: (link.path.count("/"), natural_order(link.path)))
        # All are placed before any is opened: of two ways to a folder, the shorter one counts.
        placed = [folder for link in waiting if (folder := _place(root, link, places))]
        waiting = []
        for folder in placed:
            waiting += yield from _fill(root, folder, places, advance, is_own=False)


def _above(root: Path) -> Iterator[Path]:
    yield from root.parents
    yield from root.resolve().parents


def _place(root: Path, link: _Link, places: dict[Identity | None, str]) -> Folder | None:
    identity = _identity(root / link.path)
    if identity is None or identity not in places:
        places[identity] = link.path
        folder = Folder(link.path.rpartition("/")[2], link.path)
        link.parent.folders.append(folder)
        return folder
    place = places[identity]
    if place in ("", "..") or link.path.startswith(f"{place}/"):
        reason = "a link to a folder above it" if link.is_link else "the same as a folder above it"
    else:
        reason = f"leads to the folder '{place}', where its photos count"
    link.parent.ignored.append(SetAside(f"{link.path}/", reason))
    return None


def _fill(
    root: Path, top: Folder, places: dict[Identity | None, str], advance: Advance, *, is_own: bool
) -> Generator[Folder, None, list[_Link]]:
    """Read a folder and all real folders below it; return those that may count elsewhere already."""
    if is_own:
        places[_identity(root / top.path)] = top.path
    later, waiting = [], [top]
    while waiting:
        folder = waiting.pop()
        number = n_told = 0
        for number, entry in enumerate(_visible(root, folder), start=1):
            if number % TOLD == 0:
                advance(TOLD)
                n_told = number
            path = f"{folder.path}/{entry.name}" if folder.path else entry.name
            if not _is_folder(entry):
                if reason := why_no_picture(entry):
                    folder.ignored.append(SetAside(path, reason))
                else:
                    folder.photos.append(path)
                if len(folder.photos) + len(folder.ignored) >= BLOCK:
                    yield folder
            elif entry.is_symlink() or not is_own:
                later.append(_Link(folder, path, entry.is_symlink()))
            else:
                places[_identity(root / path)] = path
                folder.folders.append(Folder(entry.name, path))
        advance(number - n_told)
        yield folder
        waiting += sorted(folder.folders, key=lambda one: natural_order(one.name), reverse=True)
    return later


def _identity(folder: Path) -> Identity | None:
    try:
        status = os.stat(folder)
    except OSError:  # which opening the folder then says
        return None
    return (status.st_dev, status.st_ino)


def _visible(root: Path, folder: Folder) -> Iterator[os.DirEntry[str]]:
    """Yield what a folder holds, after setting aside the hidden, the leftovers and the unusable names."""
    try:
        entries = os.scandir(root / folder.path)
    except OSError as error:
        if not folder.path:
            raise NoSuchData(
                f"'{root}' cannot be opened: {error.strerror}.", "Give yourself the right to read it."
            ) from error
        folder.ignored.append(SetAside(f"{folder.path}/", f"cannot be opened: {error.strerror}"))
        return
    with entries:
        for entry in entries:
            if reason := _why_unwanted(entry.name):
                name = os.fsencode(entry.name).decode(errors="backslashreplace")
                path = f"{folder.path}/{name}" if folder.path else name
                folder.ignored.append(SetAside(path + "/" * _is_folder(entry), reason))
            else:
                yield entry


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


def listed(folders: Iterable[Folder | str]) -> str:
    """Name folders in a sentence; of many the first few.

    Example:
        >>> listed(["a", "b"]), listed("abcdefg")
        ("'a' and 'b'", "'a', 'b', 'c', 'd' and 3 more")
    """
    names = [f"'{one if isinstance(one, str) else one.name}'" for one in folders]
    return all_or_few(names, NAMED, most=NAMED + 1)


def draw(top: Folder, title: str, note: Callable[[Folder], str]) -> str:
    """Return a drawing of the folders below one, cut to a screenful.

    Args:
        top: Where the drawing begins.
        title: What stands for it.
        note: What to say of each folder, after the number of its photos; or nothing.
    """
    lines: list[str] = []
    for widths in WIDTHS:
        lines = [f"{title}/{_content(top)}", *_branches(top, widths, "", note)]
        if len(lines) <= SCREENFUL:
            break
    return "\n".join(lines)


def _branches(
    folder: Folder, widths: Sequence[int], indent: str, note: Callable[[Folder], str]
) -> Iterable[str]:
    if not widths:
        return
    shown, n_more = folder.folders[: widths[0]], len(folder.folders) - widths[0]
    for number, one in enumerate(shown, start=1):
        is_last = number == len(shown) and n_more <= 0
        caption = ": ".join(filter(None, (f"{_short(one.name)}/{_content(one)}", note(one))))
        yield f"{indent}{'└── ' if is_last else '├── '}{caption}"
        yield from _branches(one, widths[1:], indent + ("    " if is_last else "│   "), note)
    if n_more > 0:
        yield f"{indent}└── … and {n_more:,} more folder{'s' * (n_more > 1)}"


def _short(name: str) -> str:
    return name if len(name) <= NAME_LENGTH else name[: NAME_LENGTH - 1] + "…"


def _content(folder: Folder) -> str:
    if not folder.n_photos:
        return "  no photos"
    loose = f", {len(folder.photos):,} of them loose" if folder.photos and folder.full else ""
    return f"  {folder.n_photos:,} photo{'s' * (folder.n_photos > 1)}{loose}"
