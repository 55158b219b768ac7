"""What folders of photos mean: classes, or parts with classes in them; where that is not plain, a question.

A wrong reading that goes unseen costs more than a question, so folders are read only when one reading makes
sense. Photos that lie directly in folders with names of their own are never questioned.
"""

import itertools
import re
import shlex
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from headstart.base.errors import DataError, SettingsError, TooFewClasses, UnclearLayout
from headstart.base.settings import LAYOUTS
from headstart.base.words import are, counted, in_a_list
from headstart.sources import doubts, parts, tree
from headstart.sources.dataset import LAYOUT_ADVICE, SetAside, natural_order
from headstart.sources.tree import NAMED, Folder, listed

LOOSE = "not in a class folder"
"""Why a photo beside class folders takes no part."""

_UNLABELLED = re.compile("no label: '(.*)' has no class folders", re.DOTALL)

ORDER = ("train", "validation", "test")


@dataclass(frozen=True)
class ClassFolder:
    """A folder whose photos, at any depth, are of one class; `part` is "" where parts are not given."""

    folder: Folder
    name: str
    part: str


@dataclass(frozen=True)
class Reading:
    """How folders were read.

    Attributes:
        classes: The class folders, with those that hold no photo.
        left_out: Photos that have no class, each with the reason.
        text: The reading in words, as in "5 class folders".
        excluded: Which of the names to exclude are folders that would have counted.
    """

    classes: tuple[ClassFolder, ...]
    left_out: tuple[SetAside, ...]
    text: str
    excluded: frozenset[str]


@dataclass(frozen=True)
class _Part:
    """A folder that is a part: which, and the folder whose folders are its classes."""

    folder: Folder
    name: str
    level: Folder
    exclude: frozenset[str]

    def classes(self) -> list[ClassFolder]:
        named = [ClassFolder(one, class_name(one.name), self.name) for one in self.level.folders]
        return [one for one in named if one.name not in self.exclude]

    def names(self) -> frozenset[str]:
        """The classes of which it holds photos."""
        return frozenset(one.name for one in self.classes() if one.folder.n_photos)

    def agrees(self, train: frozenset[str]) -> bool:
        """Tell whether it has a class folder, be it empty, of a class to train on; or none at all."""
        return not self.names() or any(one.name in train for one in self.classes())


def class_name(folder_name: str) -> str:
    """Return a folder's name as that of a class: the same for both ways in which an accent is written."""
    return unicodedata.normalize("NFC", folder_name)


def bare_folders(ignored: Iterable[SetAside]) -> dict[str, tuple[str, ...]]:
    """Return the parts without class folders among what was set aside, each with its photos.

    Example:
        >>> bare_folders([SetAside("test/1.jpg", "no label: 'test' has no class folders")])
        {'test': ('test/1.jpg',)}
    """
    found: defaultdict[str, list[str]] = defaultdict(list)
    for item in ignored:
        if bare := _UNLABELLED.fullmatch(item.reason):
            found[bare[1]].append(item.path)
    return {folder: tuple(paths) for folder, paths in found.items()}


def read(root: Folder, source: str, layout: str = "auto", exclude: Iterable[str] = ()) -> Reading:
    """Say what folders mean.

    Args:
        root: What lies below the folder that the user named.
        source: That folder, as it was named.
        layout: "classes" takes the topmost folders for classes, "parts" for parts; "auto" asks where it is
            not plain.
        exclude: Names of folders that are no class and no part.

    Raises:
        UnclearLayout: There is more than one reading, or none; draws the folders.
        TooFewClasses: There are no class folders.
        DataError: A class is written in two ways.
        SettingsError: `layout` is none of the three.
    """
    if layout not in LAYOUTS:
        raise SettingsError(f"layout is {layout!r}.", f"Choose one of {', '.join(LAYOUTS)}.")
    reader = _Reader(root, source, entered(root, layout), frozenset(map(class_name, exclude)))
    if layout == "classes":
        return reader.as_classes()
    if layout == "parts":
        return reader.as_named_parts()
    return reader.as_parts() if reader.is_parts() else reader.as_plain_classes()


def entered(root: Folder, layout: str = "auto") -> Folder:
    """Return the folder to read: below one that holds nothing but another, if that holds several.

    Beside folders without photos, which may be classes still to be filled, only one with a name that says
    nothing, or with parts in it, is entered.
    """
    folder = root
    while len(folder.full) == 1:
        inner = folder.full[0]
        if layout == "parts" and parts.named([inner.name])[inner.name]:
            return folder
        is_alone = len(folder.folders) == 1 or parts.is_neutral(inner.name) or doubts.holds_parts(inner)
        if doubts.is_direct(inner) or not is_alone:
            return root
        folder = inner
    return folder if folder.full else root


class _Reader:
    """Folders while they are read; `top` holds those that count."""

    def __init__(self, root: Folder, source: str, top: Folder, exclude: frozenset[str]) -> None:
        self.root = root
        self.source = source
        self.top = top
        self.exclude = exclude
        self.folders = [one for one in top.folders if class_name(one.name) not in exclude]
        self.full = [one for one in self.folders if one.n_photos]
        names = [one.name for one in self.full]
        self.part_of = parts.named(names)
        bare = parts.unlabelled(names)
        self.bare = [one for one in self.full if one.name in bare]
        self.known = [one for one in self.full if self.part_of[one.name]]
        self.others = [one for one in self.full if one not in self.known]

    def is_parts(self) -> bool:
        """Tell whether all folders are named like parts; one alone may be a class beside empty ones."""
        found = {self.part_of[one.name] for one in self.full if one not in self.bare}
        if "train" not in found or "" in found:
            return False
        empty = [one.name for one in self.folders if not one.n_photos]
        return len(self.full) > 1 or (all(parts.named(empty).values()) and not doubts.is_direct(self.full[0]))

    def as_plain_classes(self) -> Reading:
        why = self.why_no_classes() or doubts.doubt([(one.name, [one]) for one in self.full])
        if why:
            raise self.unclear(why)
        return self.as_classes()

    def why_no_classes(self) -> str:
        """Return why the folders are not plainly classes by their own names."""
        found = {self.part_of[one.name] for one in self.known}
        if len(self.full) < 2:
            return ""
        if not self.others:
            return f"{listed(self.known)} are named like parts of a data set, and none is for training"
        if all(doubts.is_fold(one.name) for one in self.others):
            return f"{listed(self.others)} {are(self.others)} named like pieces of a data set"
        a_part = "a part" if len(self.known) == 1 else "parts"
        if ("train" in found and len(found) > 1) or not all(map(doubts.is_direct, self.known)):
            return (
                f"{listed(self.known)} {are(self.known)} named like {a_part} of a data set, "
                f"{listed(self.others)} {are(self.others)} not"
            )
        return ""

    def as_classes(self) -> Reading:
        if not self.folders:
            raise self.no_class_folders([])
        text = f"{counted(len(self.full), 'class folder')}{self.where()}"
        if not all(map(doubts.is_direct, self.full)):
            text += ", each with all the folders in it"
        if self.known:
            count = "counts as a class" if len(self.known) == 1 else "count as classes"
            text += f"; {listed(self.known)} {count}"
        return Reading(
            classes=tuple(ClassFolder(one, class_name(one.name), "") for one in self.folders),
            left_out=tuple(SetAside(path, LOOSE) for path in _passed(self.root, self.top)),
            text=text,
            excluded=self.excluded([self.top]),
        )

    def as_named_parts(self) -> Reading:
        """Read as parts because the user said so: nothing is asked, and two folders may be one part."""
        strange = [one for one in self.others if one not in self.bare]
        if strange:
            raise UnclearLayout(
                f"'{self.source}' cannot be read as parts: {listed(strange)} {are(strange)} none by name.\n"
                f"{self.drawing()}",
                f"C{_rename(strange)[1:]}; or write a table with the columns path,label,split.",
            )
        found = self.parts()
        return self.of_parts(next(_fitting(found), found))

    def as_parts(self) -> Reading:
        found = self.parts()
        for name in ORDER:
            same = [part.folder for part in found if part.name == name]
            if len(same) > 1:
                raise self.unclear(f"{listed(same)} are each named like the {name} part")
        if any(doubts.inner(one).full for one in self.bare):
            raise self.unclear(f"{listed(self.bare)} should have no labels, and yet there are folders in it")
        if not any(part.level.full for part in found if part.name == "train"):
            raise self.no_class_folders([part for part in found if not part.level.full])
        choice = next(_fitting(found), found)
        train = _names_in(choice, "train")
        for part in choice:
            if not part.agrees(train):
                raise self.unclear(f"no folder in '{part.folder.path}' is named like one in the train part")
        classes = [one for part in choice for one in part.classes()]
        self.refuse_spellings(classes)
        same_name: defaultdict[str, list[Folder]] = defaultdict(list)
        for one in classes:
            if one.folder.n_photos:
                same_name[one.name].append(one.folder)
        if why := doubts.doubt(list(same_name.items())):
            raise self.unclear(why)
        return self.of_parts(choice)

    def parts(self) -> list[_Part]:
        found = [
            _Part(one, part, doubts.inner(one, part), self.exclude)
            for one in self.full
            if (part := self.part_of[one.name])
        ]
        return sorted(found, key=lambda part: ORDER.index(part.name))

    def refuse_spellings(self, classes: Sequence[ClassFolder]) -> None:
        spellings: defaultdict[str, dict[str, ClassFolder]] = defaultdict(dict)
        for one in classes:
            spellings[doubts.key(one.name)].setdefault(one.name, one)
        for different in spellings.values():
            if len(different) > 1:
                paths = " and ".join(f"'{one.folder.path}'" for one in different.values())
                raise DataError(
                    f"{paths} in '{self.source}' differ only in how the name is written.",
                    "Give a class the same name in each part.",
                )

    def of_parts(self, found: Sequence[_Part]) -> Reading:
        labelled = [part for part in found if part.level.full]
        if not labelled:
            raise self.no_class_folders(found)
        flat = [*(part.folder for part in found if not part.level.full), *self.bare]
        levels = [(self.root, self.top), *((part.folder, part.level) for part in labelled)]
        loose = [SetAside(path, LOOSE) for top, level in levels for path in _passed(top, level)]
        return Reading(
            classes=tuple(one for part in labelled for one in part.classes()),
            left_out=(*loose, *(aside for one in flat for aside in _unlabelled(one))),
            text=self.words_for(labelled, flat),
            excluded=self.excluded([self.top, *(part.level for part in labelled)]),
        )

    def words_for(self, labelled: Sequence[_Part], flat: Sequence[Folder]) -> str:
        named = [
            part.name if part.folder.name == part.name else f"{part.name} ({part.folder.name})"
            for part in labelled
        ]
        counts = [len(part.names()) for part in labelled]
        if len(set(counts)) == 1:
            many = f"{counted(counts[0], 'class', 'classes')} in {'each' if len(counts) > 1 else 'it'}"
        else:
            many = f"{in_a_list([f'{count:,}' for count in counts])} classes"
        text = f"{_parts(named)} {', '.join(named)}{self.where()}, with {many}"
        has = "has" if len(flat) == 1 else "have"
        return text + (f"; {listed(flat)} {has} no class folders and so no labels" if flat else "")

    def excluded(self, levels: Iterable[Folder]) -> frozenset[str]:
        return self.exclude & {class_name(one.name) for level in levels for one in level.folders}

    def where(self) -> str:
        return f" in '{self.top.path}'" if self.top.path else ""

    def drawing(self) -> str:
        def note(folder: Folder) -> str:
            return f"{self.part_of[folder.name]} part" if folder in self.known else ""

        return tree.draw(self.top, f"{self.source}/{self.top.path}".rstrip("/"), note)

    def unclear(self, why: str) -> UnclearLayout:
        fix = f"If {listed(self.full)} are the classes: --layout classes.\n"
        if not self.others:
            fix += "If they are parts of one data set, with the classes in them: --layout parts."
        elif self.known:
            fix += f"If they are parts of one data set: {_rename(self.others)}; then --layout parts."
        elif any(map(doubts.holds_parts, self.full)):
            fix += f"To keep the parts, make them the topmost folders, as in train/{self.full[0].name}."
        else:
            fix += (
                "If the classes are the folders in them: call them train, validation and test and give "
                "--layout parts, or write a table with the columns path,label,split."
            )
        return UnclearLayout(f"It is not clear how '{self.source}' is meant: {why}.\n{self.drawing()}", fix)

    def no_class_folders(self, found: Sequence[_Part]) -> TooFewClasses:
        if not found:
            n_photos = self.root.n_photos
            photos = f", only {counted(n_photos, 'photo')}" if n_photos else ""
            return TooFewClasses(f"No class folders in '{self.source}'{photos}.", LAYOUT_ADVICE)
        names = sorted((part.folder.name for part in found), key=natural_order)
        photos = counted(sum(part.folder.n_photos for part in found), "photo")
        return TooFewClasses(
            f"No class folders in the {_parts(names)} {', '.join(names)} in '{self.source}', only {photos}.",
            f"{LAYOUT_ADVICE}\nIf {listed(self.full)} are the classes: --layout classes.",
        )


def _fitting(found: Sequence[_Part]) -> Iterator[list[_Part]]:
    """Yield the ways to enter single folders in the parts after which each part has classes of train's."""
    for levels in itertools.product(*(_levels(part.level) for part in found)):
        choice = [replace(part, level=level) for part, level in zip(found, levels, strict=True)]
        train = _names_in(choice, "train")
        names = train.union(*(part.names() for part in choice))
        if train and len(names) > 1 and all(part.agrees(train) for part in choice):
            yield choice


def _levels(top: Folder) -> Iterator[Folder]:
    yield top
    while len(top.full) == len(top.folders) == 1:
        top = top.full[0]
        yield top


def _names_in(found: Iterable[_Part], name: str) -> frozenset[str]:
    return frozenset[str]().union(*(part.names() for part in found if part.name == name))


def _passed(top: Folder, level: Folder) -> Iterator[str]:
    """Yield the photos that lie directly in a folder, in that of the class folders, or between the two."""
    yield from top.photos
    while top is not level:
        top = top.full[0]
        yield from top.photos


def _unlabelled(folder: Folder) -> Iterator[SetAside]:
    reason = f"no label: '{folder.path}' has no class folders"
    return (SetAside(path, reason) for one in folder.walk() for path in one.photos)


def _rename(folders: Sequence[Folder]) -> str:
    them = "it" if len(folders) == 1 else "them"
    names = shlex.quote(",".join(one.name for one in folders)) if len(folders) <= NAMED else "A,B,..."
    return f"call {listed(folders)} train, validation or test, or leave {them} out (--exclude {names})"


def _parts(items: Sequence[object]) -> str:
    return "part" if len(items) == 1 else "parts"
