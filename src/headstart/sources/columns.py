"""Which columns of a table hold the photos' paths, their labels and their parts."""

import re
import shlex
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from headstart.base.errors import DataError
from headstart.base.words import all_or_few
from headstart.pictures.formats import picture_extensions
from headstart.sources import parts as part_names
from headstart.sources.dataset import suggest
from headstart.sources.sheet import Sheet
from headstart.sources.shelves import Match, Shelves

PATH_NAMES = frozenset(
    {
        *("path", "paths", "filepath", "filepaths", "file", "files", "filename", "filenames", "fname", "fn"),
        *("image", "images", "imagepath", "imagefile", "imagefilename", "imagefilepath", "imagename"),
        *("img", "imgs", "imgpath", "imgfile", "imgfilename", "imgname", "imageid", "imgid", "imageindex"),
        *("photo", "photos", "photopath", "photofile", "photoname", "photoid", "picture", "pic", "pictureid"),
        *("bild", "datei", "dateiname", "imagen", "archivo", "imagem", "arquivo", "fichier"),
        *("id", "ids", "idcode", "name", "relpath", "relativepath", "fullpath", "abspath", "fileid", "uri"),
    }
)
"""Usual names of the column of paths, without blanks, capitals and signs: 'File_Name' is 'filename'."""

LABEL_NAMES = frozenset(
    {
        *("label", "labels", "labelname", "class", "classes", "classname", "classlabel", "classid", "target"),
        *(
            "classindex",
            "category",
            "categories",
            "categoryname",
            "categoryid",
            "targets",
            "breed",
            "species",
        ),
        *("klasse", "kategorie", "clase", "categoria", "etiqueta", "classe", "etiquette", "rotulo"),
        *("diagnosis", "dx", "groundtruth", "gt", "findinglabels", "labelid"),
    }
)
"""Usual names of the column of labels."""

OTHER_LABEL_NAMES = frozenset(
    {
        *("tag", "tags", "type", "kind", "level", "variety", "disease", "finding", "findings", "emotion"),
        *("annotation", "answer", "choice", "grade", "condition", "articletype", "expression", "style"),
    }
)
"""Names of the column of labels where none has one of `LABEL_NAMES`."""

SPLIT_NAMES = frozenset(
    {*("split", "splits", "partition", "subset", "datasplit", "traintest"), *("fold", "folds", "kfold")}
)
"""Usual names of the column of parts: it must hold parts, or be said not to."""

OTHER_SPLIT_NAMES = frozenset({"part", "set", "dataset", "usage", "phase", "stage", "group"})
"""Names of the column of parts if any of its values is one; a body has parts, too."""

YES = frozenset({"1", "1.0", "true", "t", "yes", "y"})
NO = frozenset({"0", "0.0", "false", "f", "no", "n"})

NO_COLUMN = "none"
"""What `--split-column` says where no column is to divide the photos."""

BEST = 4
"""The rank of a column with a usual name that names files by their whole names."""

LOOKED_AT = 200
"""Rows whose values are looked for as files, to tell which column names them."""

SHOWN_CELL = 40
"""Characters of a cell that an error shows."""


@dataclass(frozen=True)
class Wish:
    """What the user says of the columns, None where nothing is said."""

    path: str | None = None
    label: str | None = None
    split: str | None = None
    group: str | None = None


@dataclass(frozen=True)
class Columns:
    """Where in a sheet of N rows and M columns everything stands.

    Attributes:
        path: Its column, 0 to M - 1.
        labels: Its column, or those that are named after the classes and hold one yes in each row.
        splits: Columns of parts: none, one, or several such as is_valid and is_test.
        parts: N times "train", "validation" or "test", an empty text for a blank, or None for a value that
            names no part.
        group: The column that says what belongs together.
        unused: Names of all others.
    """

    path: int
    labels: tuple[int, ...]
    splits: tuple[int, ...]
    parts: tuple[str | None, ...]
    group: int | None
    unused: tuple[str, ...]


Find = Callable[[Sequence[str]], dict[str, Match]]


def plain(name: str) -> str:
    """Return the letters and digits of a name, in small letters.

    Example:
        >>> plain("Image File_Name")
        'imagefilename'
    """
    return "".join(filter(str.isalnum, name.casefold()))


def with_header(sheet: Sheet, wish: Wish) -> Sheet:
    """Return a sheet whose header names columns: one that holds a picture's name is a row.

    Its columns are then named "1", "2" and so on.
    """
    wished = {plain(name) for name in (wish.path, wish.label, wish.split, wish.group) if name}
    names = {plain(name) for name in sheet.header}
    if names & (wished | PATH_NAMES | LABEL_NAMES) or not any(map(_is_picture_name, sheet.header)):
        return sheet
    return sheet.without_header()


def choose(source: Path, sheet: Sheet, wish: Wish, shelves: Shelves) -> Columns:
    """Return which columns hold what: as the user says, else by their names, else by what they hold.

    Args:
        source: As the user named it, for what an error says.
        sheet: The table.
        wish: What the user says.
        shelves: The files that it may name.

    Raises:
        DataError: No such column, or it cannot be told which one holds the paths, the labels or the parts.
    """
    if not sheet.cells:
        raise DataError(f"'{source}' has no rows.", "Name a table with a row for each photo.")
    return _Choice(source, sheet, wish, shelves).made()


def is_row(source: Path, sheet: Sheet, columns: Columns, wish: Wish, shelves: Shelves) -> bool:
    """Tell whether what was taken for the header names a photo itself, as in `0a1b,cat` above `0a1c,cat`.

    Raises:
        DataError: It may, but none of its labels is one of another row.
    """
    name = sheet.header[columns.path]
    is_known = wish.path is not None or plain(name) in PATH_NAMES
    if not sheet.has_header or is_known or not shelves.find([name])[name].paths:
        return False
    labels = [sheet.header[index] for index in columns.labels]
    if all(label in sheet.column(index) for label, index in zip(labels, columns.labels, strict=True)):
        return True
    raise DataError(
        f"The first line of '{source}' may be a header or a row: '{name}' is a file here, and no other line "
        f"has the label {_some(labels)}.",
        "Write a header above it, such as path,label; or if it is one, name the column: "
        f"--path-column {shlex.quote(name)}",
    )


class _Choice:
    """The choice of columns: paths first, for what is left to be a label depends on them."""

    def __init__(self, source: Path, sheet: Sheet, wish: Wish, shelves: Shelves) -> None:
        self.source, self.sheet, self.wish, self.shelves = source, sheet, wish, shelves
        self.names = [plain(name) for name in sheet.header]
        self.columns = [sheet.column(index) for index in range(len(sheet.header))]

    def made(self) -> Columns:
        label = None if self.wish.label is None else self._named(self.wish.label)
        path = self._path(label) if self.wish.path is None else self._named(self.wish.path)
        splits, parts = self._splits({path, label})
        group = self._group()
        labels = (label,) if label is not None else self._labels({path, *splits}, group)
        used = {path, group, *labels, *splits}
        return Columns(
            path=path,
            labels=labels,
            splits=splits,
            parts=parts,
            group=group,
            unused=tuple(
                name or f"column {index + 1}"
                for index, name in enumerate(self.sheet.header)
                if index not in used and (name or any(self.columns[index]))
            ),
        )

    def _named(self, name: str) -> int:
        """Return the column that the user names."""
        header = self.sheet.header
        for names, wanted in ((header, name), (self.names, plain(name))):
            found = [index for index, one in enumerate(names) if one == wanted]
            if len(found) == 1:
                return found[0]
            if found:
                raise DataError(
                    f"'{self.source}' has {len(found)} columns '{name}'.", "Give each a name of its own."
                )
        raise DataError(
            f"'{self.source}' has no column '{name}'.",
            suggest(name, header) or f"Its columns are {_some(header)}.",
        )

    def _group(self) -> int | None:
        wanted = (self.wish.group or "").strip().casefold()
        names = [name.casefold() for name in self.sheet.header]
        return names.index(wanted) if wanted in names and wanted else None

    # Paths

    def _path(self, label: int | None) -> int:
        """Return the column of paths: of those that name files here, the one that does so best."""
        free = [index for index, name in enumerate(self.names) if index != label and name not in LABEL_NAMES]
        usual = [index for index in free if self.names[index] in PATH_NAMES]
        ranks = {index: self._rank(index, self.shelves.find_here) for index in usual}
        if BEST not in ranks.values():  # else folders inside, which may hold millions, need not be listed
            ranks = {index: self._rank(index, self.shelves.find) for index in free}
        best = [index for index, rank in ranks.items() if rank and rank == max(ranks.values())]
        if len(best) == 1 or (best and self._is_same_file(best)):
            return best[0]
        if best:
            raise self._undecided("paths", best, "path", "may each hold the paths of the photos")
        with_extension = [index for index in usual if any(map(_is_picture_name, self.columns[index]))]
        if with_extension or usual:  # none of its files is there, which is then said
            return (with_extension or usual)[0]
        others = [
            index for index in range(len(self.names)) if any(map(_is_picture_name, self.columns[index]))
        ]
        if len(others) == 1:
            return others[0]
        raise self._undecided("paths", (), "path", "")

    def _rank(self, index: int, find: Find) -> int:
        """Return how well a column names files: by their whole names is better, so is a usual header."""
        matches = [match for match in find(self._looked_at(index)).values() if match.paths]
        if not matches:
            return 0
        is_whole = any(match.is_exact and _is_picture_name(path) for match in matches for path in match.paths)
        return 1 + 2 * is_whole + (self.names[index] in PATH_NAMES)

    def _looked_at(self, index: int) -> list[str]:
        values = list(dict.fromkeys(filter(None, self.columns[index])))
        return values[:: 1 + len(values) // LOOKED_AT]

    def _is_same_file(self, indices: Sequence[int]) -> bool:
        rows = self.sheet.cells[:: 1 + len(self.sheet.cells) // LOOKED_AT]
        found = [self.shelves.find([row[index] for row in rows]) for index in indices]
        return all(
            len({matches[row[index]].paths for index, matches in zip(indices, found, strict=True)}) == 1
            for row in rows
        )

    # Parts

    def _splits(self, taken: set[int | None]) -> tuple[tuple[int, ...], tuple[str | None, ...]]:
        none = ((), ("",) * len(self.sheet.cells))
        wanted = self.wish.split
        if wanted is not None:
            if wanted.casefold() == NO_COLUMN and NO_COLUMN not in self.names:
                return none
            index = self._named(wanted)
            parts = self._flags([index]) if self._is_flag(index) else self._words(index)
            self._refuse_no_part(index, parts)
            return (index,), parts
        ways = list(self._ways(taken))
        if not ways:
            return none
        if not any(any(parts) for _, parts in ways):
            self._refuse_no_part(ways[0][0][0], ways[0][1])
        ways = [way for way in ways if any(way[1])]
        if len({parts for _, parts in ways}) > 1:
            columns = [index for indices, _ in ways for index in indices]
            raise self._undecided("parts", columns, "split", "divide the photos, each in another way")
        return ways[0]

    def _ways(self, taken: set[int | None]) -> Iterator[tuple[tuple[int, ...], tuple[str | None, ...]]]:
        """Yield the columns of each way in which the table divides the photos, and their parts."""
        free = [
            index
            for index, column in enumerate(self.columns)
            if index not in taken and self.names[index] not in LABEL_NAMES and any(column)
        ]
        flags = [index for index in free if self._is_flag(index)]
        if flags:
            self._refuse_single_word(flags)
            parts = self._flags(flags)
            self._refuse_mostly_validation(flags, parts)
            yield tuple(flags), parts
        for index in free:
            if index not in flags and self._is_split(index):
                yield (index,), self._words(index)

    def _is_split(self, index: int) -> bool:
        """Tell whether a column says which part a row is in: by its name, or by what it holds."""
        name = self.names[index]
        if name in SPLIT_NAMES or (name.startswith("is") and _flagged(name)):
            return True
        words = set(part_names.named(set(filter(None, self.columns[index]))).values())
        if name in OTHER_SPLIT_NAMES or _flagged(name):
            return words != {""}
        return "" not in words and len(words) > 1

    def _is_flag(self, index: int) -> bool:
        values = {one.casefold() for one in self.columns[index] if one}
        return bool(_flagged(self.names[index])) and values <= YES | NO

    def _words(self, index: int) -> tuple[str | None, ...]:
        named = part_names.named(set(filter(None, self.columns[index])))
        parts = {word: part or None for word, part in named.items()} | {"": ""}
        return tuple(parts[word] for word in self.columns[index])

    def _flags(self, indices: Sequence[int]) -> tuple[str | None, ...]:
        """Return the part of each row that one column says yes to; none: the part that has no column."""
        flagged = [_flagged(self.names[index]) for index in indices]
        left = [part for part in ("train", "test", "validation") if part not in flagged]
        parts: dict[tuple[str, ...], str | None] = {}
        rows = list(zip(*(self.columns[index] for index in indices), strict=True))
        for row in set(rows):
            said = [part for part, value in zip(flagged, row, strict=True) if value.casefold() in YES]
            rest = left[0] if left else None
            parts[row] = (said[0] if len(set(said)) == 1 else None) if said else rest
            if not all(row) and not said:
                parts[row] = ""
        return tuple(parts[row] for row in rows)

    def _refuse_no_part(self, index: int, parts: Sequence[str | None]) -> None:
        if any(parts) or not any(self.columns[index]):
            return
        name = self.sheet.header[index]
        values = sorted(set(filter(None, self.columns[index])))
        raise DataError(
            f"The column '{name}' of '{self.source}' holds {_some(values)}: none of them names a part.",
            "Write train, validation or test there, or have Headstart divide the photos: "
            f"--split-column {NO_COLUMN}",
        )

    def _refuse_single_word(self, flags: Sequence[int]) -> None:
        """Refuse one column such as test of yes and no: that may be the outcome of one."""
        if len(flags) == 1 and self.names[flags[0]] in part_names.PART_WORDS:
            raise self._undecided(
                "parts", flags, "split", "may say which part a photo is in, or another thing"
            )

    def _refuse_mostly_validation(self, flags: Sequence[int], parts: Sequence[str | None]) -> None:
        n_validation = parts.count("validation")
        if len(flags) > 1 or n_validation <= len(parts) / 2:
            return
        name = self.sheet.header[flags[0]]
        raise DataError(
            f"By its column '{name}', {n_validation:,} of the {len(parts):,} rows of '{self.source}' are for "
            "validation. Perhaps it means something else.",
            f"If it does, give --split-column {NO_COLUMN}; else --split-column {shlex.quote(name)}",
        )

    # Labels

    def _labels(self, taken: set[int], group: int | None) -> tuple[int, ...]:
        free = [index for index in range(len(self.names)) if index not in taken and any(self.columns[index])]
        for usual in (LABEL_NAMES, OTHER_LABEL_NAMES):
            named = [index for index in free if self.names[index] in usual]
            if len(named) == 1 or (named and self._is_same_division(named)):
                return (min(named, key=self._is_numbers),)
            if named:
                raise self._undecided("labels", named, "label", "may each hold the labels")
        rest = [index for index in free if index != group and not self._counts(index)]
        if len(rest) == 1:
            return (rest[0],)
        classes = [index for index in rest if {one.casefold() for one in self.columns[index]} <= YES | NO]
        n_yes = [sum(row[index].casefold() in YES for index in classes) for row in self.sheet.cells]
        if len(classes) > 1 and set(n_yes) == {1}:
            return tuple(classes)
        if len(classes) > 2 and n_yes.count(1) >= len(n_yes) / 2:
            raise self._several_classes(classes, n_yes)
        raise self._undecided("labels", rest, "label", "may each hold the labels")

    def _is_same_division(self, indices: Sequence[int]) -> bool:
        """Tell whether columns divide the photos alike, as the name and the number of a class do."""
        together = set(zip(*(self.columns[index] for index in indices), strict=True))
        sizes = {len(set(self.columns[index])) for index in indices}
        return sizes == {len(together)} and len(together) < len(self.sheet.cells)

    def _is_numbers(self, index: int) -> bool:
        return all(re.fullmatch(r"[\d.]*", one) for one in set(self.columns[index]))

    def _counts(self, index: int) -> bool:
        """Tell whether a column has no name and counts the rows, as a saved data frame's index does."""
        name = self.names[index]
        if name and not name.startswith("unnamed") and name != "index":
            return False
        values = self.columns[index]
        return all(one.isdecimal() for one in values) and len(set(values)) == len(values)

    def _several_classes(self, classes: Sequence[int], n_yes: Sequence[int]) -> DataError:
        row = next(number for number, n in enumerate(n_yes) if n != 1)
        said = [
            self.sheet.header[index] for index in classes if self.sheet.cells[row][index].casefold() in YES
        ]
        n_other = sum(n != 1 for n in n_yes)
        names = _some([self.sheet.header[index] for index in classes])
        return DataError(
            f"'{self.source}' has a column for each of the classes {names}, and {n_other:,} of its "
            f"{len(n_yes):,} rows {'do' if n_other > 1 else 'does'} not say yes to one alone, such as line "
            f"{self.sheet.lines[row]}: {' and '.join(said) or 'none'}.",
            "Headstart gives one class to a photo: leave those rows out, or write one column of labels and "
            "name it with --label-column COLUMN.",
        )

    # What is said where it cannot be told

    def _undecided(self, what: str, indices: Sequence[int], option: str, why: str) -> DataError:
        names = [self.sheet.header[index] for index in indices]
        if names:
            plural = "s" * (len(names) > 1)
            problem = f"The column{plural} {_some(names)} of '{self.source}' {why}."
            options = " or ".join(f"--{option}-column {shlex.quote(name)}" for name in names[:3])
            fix = f"Say which does: {options}"
        else:
            problem = f"It cannot be told which column of '{self.source}' holds the {what}."
            fix = f"Name it: --{option}-column COLUMN"
            if option == "path":
                fix += " (and the folder with the photos, if they are elsewhere: --images FOLDER)"
        if option == "split":
            fix += f", or have Headstart divide the photos: --split-column {NO_COLUMN}"
        return DataError(f"{problem} It begins:\n{self._beginning()}", fix)

    def _beginning(self) -> str:
        rows = [self.sheet.header, *self.sheet.cells[:1]]
        return "\n".join("  " + ", ".join(cell[:SHOWN_CELL] for cell in row) for row in rows)


def _flagged(name: str) -> str:
    """Return the part that a column such as is_valid says yes or no to, or an empty text."""
    word = name.removeprefix("is")
    return part_names.named([word])[word]


def _is_picture_name(name: str) -> bool:
    return f".{name.rpartition('.')[2].casefold()}" in picture_extensions() if "." in name else False


def _some(names: Sequence[str]) -> str:
    return all_or_few([f"'{name}'" for name in names], 10, most=12)
