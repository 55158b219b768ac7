"""Photos and their labels, however they were listed."""

import difflib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from headstart.base.errors import DataError, TooFewClasses
from headstart.base.words import first_few

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
        layout: How the source was read, as in "5 class folders"; or nothing.
    """

    root: Path
    paths: tuple[str, ...]
    labels: NDArray[np.int32]
    class_names: tuple[str, ...]
    given_parts: tuple[str, ...]
    ignored: tuple[SetAside, ...] = ()
    empty_classes: tuple[str, ...] = ()
    group_keys: tuple[str, ...] = ()
    layout: str = ""

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
    layout: str = ""

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
    return f"The classes are {first_few(sorted(names, key=natural_order), 10)}."


def assemble(
    source: Path, listing: Listing, names: set[str], exclude: Sequence[str], fewest_classes: int = 2
) -> Dataset:
    """Return what was listed in natural order; TooFewClasses when that is too few classes.

    Args:
        source: As the user named it, for what an error says.
        listing: All photos and what was set aside.
        names: The classes asked for; those without a photo are reported as empty.
        exclude: The classes left out, for what an error says.
        fewest_classes: How many there must be, 1 or 2.
    """
    photos = sorted(listing.photos, key=lambda photo: natural_order(photo[0]))
    used = {name for _, name, _ in photos}
    class_names = tuple(sorted(used, key=natural_order))
    if len(class_names) < fewest_classes:
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
        layout=listing.layout,
    )


def _refuse_few_classes(
    source: Path,
    class_names: Sequence[str],
    names: set[str],
    exclude: Sequence[str],
    photos: Sequence[tuple[str, str, str]],
) -> None:
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
