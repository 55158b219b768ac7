"""Names as tables write them -> files: with or without extension, in some folders or in those inside them."""

import ntpath
import os
import posixpath
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from headstart.base.progress import Advance, silent
from headstart.pictures.formats import picture_extensions

DEPTH = 2
"""How far inside the folders a file is looked for that is not in them themselves."""

_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
_WINDOWS = re.compile(r"[A-Za-z]:[\\/]|\\\\")


@dataclass(frozen=True, slots=True)
class Match:
    """The files that a name fits: none, one, or several, when which is meant cannot be told.

    Attributes:
        paths: As in `headstart.sources.dataset.Dataset.paths`.
        is_exact: The name is the file's own; else an extension was added, or capitals differ.
        is_inside: It is in a folder inside the one that it should be in.
    """

    paths: tuple[str, ...] = ()
    is_exact: bool = True
    is_inside: bool = False


@dataclass(frozen=True)
class _Shelf:
    """Files of some folders, by their names.

    Attributes:
        names: For each folder, as its path begins in a dataset, the names of its files.
    """

    names: Mapping[str, Sequence[str]]

    @cached_property
    def exact(self) -> dict[str, list[str]]:
        return self._by(lambda name: name)

    @cached_property
    def folded(self) -> dict[str, list[str]]:
        return self._by(_folded)

    @cached_property
    def stems(self) -> dict[str, list[str]]:
        return self._by(lambda name: _stem(name) if _is_named_as_picture(name) else None)

    @cached_property
    def folded_stems(self) -> dict[str, list[str]]:
        return self._by(lambda name: _folded(_stem(name)) if _is_named_as_picture(name) else None)

    def _by(self, key: Callable[[str], str | None]) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for folder, names in self.names.items():
            for name in names:
                word = key(name)
                if word is not None:
                    found.setdefault(word, []).append(folder + name)
        return found

    def find(self, name: str) -> Match:
        """Return the files that a name fits: as it is, else in any case, else with an extension added."""
        if name in self.exact:
            return Match(tuple(self.exact[name]))
        for among, word in (
            (self.folded, _folded(name)),
            (self.stems, name),
            (self.folded_stems, _folded(name)),
        ):
            if word in among:
                return Match(tuple(among[word]), is_exact=False)
        return Match()


def _folded(name: str) -> str:
    """Return a name as it is in any case, its accents written one way: macOS writes them another."""
    return unicodedata.normalize("NFC", name).casefold()


def _stem(name: str) -> str:
    return os.path.splitext(name)[0]


def _is_named_as_picture(name: str) -> bool:
    return os.path.splitext(name)[1].casefold() in picture_extensions() and not name.startswith(".")


@dataclass
class Shelves:
    """The files that a table's names may mean; each folder is listed once.

    Attributes:
        root: Absolute folder that paths are told relative to: the table's.
        bases: Absolute folders that names begin in: the table's, and the one that the user named.
        advance: Told of each file that is listed.
    """

    root: str
    bases: tuple[str, ...]
    advance: Advance = silent
    _listed: dict[str, tuple[list[str], list[str]]] = field(default_factory=dict)
    _shelves: dict[tuple[str, bool], _Shelf] = field(default_factory=dict)

    def find(self, names: Iterable[str]) -> dict[str, Match]:
        """Return what each name fits: in the bases, else in the folders inside them.

        Where that is needed for some, the others are looked for inside as well: one that fits a file of a
        base and one inside is ambiguous, for the table may mean the folder inside for all.
        """
        found = self.find_here(names)
        inside = {name: self._find(name, is_inside=True) for name, match in found.items() if not match.paths}
        if any(match.paths for match in inside.values()):
            for name, match in found.items():
                deeper = inside.get(name) or self._find(name, is_inside=True)
                if deeper.paths:
                    paths = (*match.paths, *deeper.paths)
                    found[name] = Match(paths, deeper.is_exact and match.is_exact, is_inside=True)
        return {name: self._only(match) for name, match in found.items()}

    def find_here(self, names: Iterable[str]) -> dict[str, Match]:
        """Return what each name fits in the bases alone."""
        return {name: self._find(name, is_inside=False) for name in names}

    def other_extension(self, name: str) -> str:
        """Return a file of the same name but for its extension, or an empty text."""
        head, tail = posixpath.split(name.replace("\\", "/"))
        paths = self._shelf(head, is_inside=False).stems.get(_stem(tail), ())
        return paths[0] if _stem(tail) != tail and paths else ""

    def _find(self, name: str, *, is_inside: bool) -> Match:
        if is_elsewhere(name):
            return Match()
        for spelled in dict.fromkeys((name, name.replace("\\", "/"))):
            head, tail = posixpath.split(spelled)
            if tail in ("", ".", "..") or (is_inside and posixpath.isabs(head)):
                continue
            match = self._shelf(head, is_inside=is_inside).find(tail)
            if match.paths:
                return match
        return Match()

    def _shelf(self, head: str, *, is_inside: bool) -> _Shelf:
        shelf = self._shelves.get((head, is_inside))
        if shelf is None:
            bases = self._folders_with(head) if is_inside else self.bases
            full = dict.fromkeys(os.path.normpath(os.path.join(base, head)) for base in bases)
            is_absolute = posixpath.isabs(head)
            shelf = _Shelf({self._prefix(folder, is_absolute): self._list(folder)[1] for folder in full})
            self._shelves[head, is_inside] = shelf
        return shelf

    def _folders_with(self, head: str) -> Sequence[str]:
        """Return the folders inside that have the first folder of a path in them, or all for none."""
        first = posixpath.normpath(head).split("/")[0] if head else "."
        return self._folders_inside if first == "." else self._by_folder.get(first, ())

    @cached_property
    def _folders_inside(self) -> list[str]:
        """All folders in the last base, to `DEPTH`: it is the user's, if one was named."""
        found, level = [], [self.bases[-1]]
        for _ in range(DEPTH):
            level = [os.path.join(folder, name) for folder in level for name in self._list(folder)[0]]
            found += level
        return found

    @cached_property
    def _by_folder(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for folder in self._folders_inside:
            for name in self._list(folder)[0]:
                found.setdefault(name, []).append(folder)
        return found

    def _list(self, folder: str) -> tuple[list[str], list[str]]:
        """Return the names of the folders in a folder, but hidden ones, and of its files."""
        if folder not in self._listed:
            folders: list[str] = []
            files: list[str] = []
            for entry in _entries(folder):
                if _is(entry.is_file):
                    files.append(entry.name)
                    self.advance()
                elif not entry.name.startswith((".", "__MACOSX")) and _is(entry.is_dir):
                    folders.append(entry.name)
            self._listed[folder] = sorted(folders), files
        return self._listed[folder]

    def _prefix(self, folder: str, is_absolute: bool) -> str:
        """Return how a dataset's paths of a folder's files begin: relative to the root where that can be."""
        inside = os.path.join(self.root, "")
        if folder == self.root:
            return ""
        if folder.startswith(inside):
            folder = folder.removeprefix(inside)
        elif not is_absolute and os.path.splitdrive(folder)[0] == os.path.splitdrive(self.root)[0]:
            folder = os.path.relpath(folder, self.root)
        return posixpath.join(Path(folder).as_posix(), "")

    def _only(self, match: Match) -> Match:
        """Return a match without further names of one and the same file."""
        if len(match.paths) < 2:
            return match
        real = {os.path.realpath(os.path.join(self.root, path)): path for path in reversed(match.paths)}
        return Match(tuple(sorted(real.values())), match.is_exact, match.is_inside)


def _entries(folder: str) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            yield from entries
    except (OSError, ValueError):  # no such folder, none that may be read, or no name of one: nothing fits
        return


def _is(kind: Callable[[], bool]) -> bool:
    try:
        return kind()
    except OSError:  # a link that leads to itself, say
        return False


def is_elsewhere(name: str) -> bool:
    """Tell whether a name is a web address, or an absolute path of Windows while this is not Windows.

    Example:
        >>> is_elsewhere("https://example.org/1.jpg"), is_elsewhere("photos/1.jpg")
        (True, False)
    """
    return bool(_ADDRESS.match(name)) or (os.path is not ntpath and bool(_WINDOWS.match(name)))
