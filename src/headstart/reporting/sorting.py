"""Photos sorted into a folder for each class, by what a model says of them; the photos stay as they are."""

import filecmp
import os
import re
import shutil
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from headstart.base.errors import ChangedPhoto, DataError, disk_full_named
from headstart.base.words import first_few
from headstart.networks.classifier import Classifier, Prediction
from headstart.storage.wheels import sha256_of

UNSURE, NOVEL = "unsure", "none-of-these"
"""The folders of what the model is not sure of, and of what is unlike all that it was trained on."""

_ILLEGAL = re.compile(r'[<>:"/\\|?*\x00-\x1f\x7f]|^\.')
"""What some file system does not take in a name, and the dot that hides one."""

_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)
"""Names that Windows keeps for devices."""

_LONGEST = 200
"""Bytes of a folder's name; file systems take 255."""


class Sorter:
    """Puts photos into the folders of their classes.

    Args:
        folder: Where the folders are made, when the first photo comes.
        model: Whose answers decide.
        is_linked: Links are made, with absolute paths, in place of copies.

    Attributes:
        names: The folder's name by class; see `folder_names`.
        n_put: Photos by folder, those that were there already among them.
        n_kept: Photos that were there already.
    """

    def __init__(self, folder: Path, model: Classifier, *, is_linked: bool = False) -> None:
        if os.path.lexists(folder) and not folder.is_dir():
            raise DataError(f"'{folder}' is no folder.", "Name one, or a new one: --sort-into FOLDER.")
        self._folder, self._calibration, self._is_linked = folder, model.record.calibration, is_linked
        self.names = folder_names(model.class_names)
        self.n_put: Counter[str] = Counter()
        self.n_kept = 0

    def refuse(self, source: Path) -> None:
        """Refuse a folder of photos into which they would be sorted, for then it would never end.

        Raises:
            DataError: Says so.
        """
        root = source.resolve()
        for name in (*self.names.values(), UNSURE, NOVEL):
            target = (self._folder / name).resolve()
            if target.is_relative_to(root):
                raise DataError(
                    f"The photos of '{source}' would be sorted into '{self._folder / name}', inside it.",
                    "Name a folder outside of it: --sort-into FOLDER.",
                )

    def put(self, prediction: Prediction) -> Path:
        """Put a photo, of which there is an answer, into its folder; return where it is now.

        It keeps its name, its bytes and its times. Where another one has the name, the first digits of its
        SHA-256 are added to it; where the same bytes are there, that is all.

        Raises:
            ChangedPhoto: It is gone, or cannot be read any more.
            DiskFull: No space is left.
        """
        source, name = Path(prediction.path), self.folder_of(prediction)
        folder = self._folder / name
        try:
            with disk_full_named(self._folder):
                placed = self._placed(source, folder)
        except FileNotFoundError as error:
            raise ChangedPhoto(
                f"{source} was removed before it was sorted.", "Put it back, and run the command again."
            ) from error
        self.n_put[name] += 1
        return placed

    def folder_of(self, prediction: Prediction) -> str:
        """Return the name of the folder that a photo belongs in."""
        if prediction.is_novel:
            return NOVEL
        if prediction.is_sure is False or prediction.label is None:
            return UNSURE
        return self.names[prediction.label]

    def remarks(self) -> Iterator[str]:
        """Yield what the user should know of what was done."""
        many = ", ".join(f"{number:,} in {name}" for name, number in sorted(self.n_put.items()))
        kept = f"; {self.n_kept:,} of them were there before" if self.n_kept else ""
        yield f"Sorted into {self._folder}: {many or 'nothing'}{kept}."
        renamed = [f"'{name}' is in '{folder}'" for name, folder in self.names.items() if name != folder]
        if renamed:
            yield f"Names that no folder can have everywhere: {first_few(renamed)}."
        if self._calibration.abstention is None:
            yield f"Nothing is in {UNSURE}: from no confidence on is this model known to be sure."
        if self._calibration.refusal is None:
            yield f"Nothing is in {NOVEL}: this model does not tell what is unlike its training photos."

    def _placed(self, source: Path, folder: Path) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        if self._is_new(source, first := folder / source.name):
            return first
        sha256 = sha256_of(source)
        for n_digits in (8, 64):
            path = folder / f"{source.stem}-{sha256[:n_digits]}{source.suffix}"
            if self._is_new(source, path):
                return path
        raise DataError(f"'{path}' is there, with something else in it.", "Sort into another folder.")

    def _is_new(self, source: Path, path: Path) -> bool:
        """Make the copy or the link, or find it made; False where the name is taken."""
        try:
            self._make(source, path)
        except FileExistsError:
            if not path.is_file() or not filecmp.cmp(source, path, shallow=False):
                return False
            self.n_kept += 1
        return True

    def _make(self, source: Path, path: Path) -> None:
        if self._is_linked:
            path.symlink_to(source.resolve(strict=True))
            return
        path.open("xb").close()
        try:
            shutil.copy2(source, path)
        except BaseException:
            path.unlink()
            raise


def folder_names(class_names: Iterable[str]) -> dict[str, str]:
    """Return a name that every file system takes for each class; no two are alike, whatever their case.

    A class whose name will do keeps it. Of another one, what is illegal becomes an underscore; where that is
    taken, by `UNSURE` and `NOVEL` too, a number follows.

    Example:
        >>> folder_names(["cat", "Cat", "a/b", "a_b", "unsure", "aux"])
        {'cat': 'cat', 'Cat': 'Cat-2', 'a/b': 'a_b-2', 'a_b': 'a_b', 'unsure': 'unsure-2', 'aux': '_aux'}
    """
    names = tuple(class_names)
    taken, found = {UNSURE, NOVEL}, dict.fromkeys(names, "")
    # Those that are legal as they are go first, so that no other takes their name.
    for name in sorted(names, key=lambda one: _legal(one) != one):
        tries = (f"{_legal(name)}-{number}" if number > 1 else _legal(name) for number in range(1, 2**32))
        found[name] = next(one for one in tries if _seen(one) not in taken)
        taken.add(_seen(found[name]))
    return found


def _legal(name: str) -> str:
    cut = _ILLEGAL.sub("_", name.strip()).encode(errors="replace")[:_LONGEST].decode(errors="ignore")
    plain = cut.rstrip(" .") or "_"
    return f"_{plain}" if _RESERVED.fullmatch(plain) else plain


def _seen(name: str) -> str:
    """Return a name as a file system sees it that minds neither case nor how letters are composed."""
    return unicodedata.normalize("NFC", name).casefold()
