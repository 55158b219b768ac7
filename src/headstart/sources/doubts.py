"""Why folders may not be classes: by their names, and by the names of the folders in them."""

import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

from headstart.sources import parts
from headstart.sources.dataset import natural_order
from headstart.sources.tree import Folder, listed

FOLD_WORDS = frozenset({"fold", "folds", "kfold", "split", "subset", "partition", "chunk", "shard", "cv"})
"""Words that, with a number, name a piece of a data set and no class."""

Named = Sequence[tuple[str, Sequence[Folder]]]
"""Names of what may be classes, each with the folders of that name: one, or one in each part."""


def key(name: str) -> str:
    """Return what is equal of names that differ in case, in how an accent is written or in outer blanks."""
    return unicodedata.normalize("NFKC", name).casefold().strip()


def is_fold(name: str) -> bool:
    """Tell whether a folder is named like a numbered piece of a data set.

    Example:
        >>> is_fold("fold_1"), is_fold("Split 02"), is_fold("1"), is_fold("folder")
        (True, True, False, False)
    """
    letters = "".join(mark for mark in name.casefold() if mark.isalpha())
    return letters in FOLD_WORDS and any(mark.isdecimal() for mark in name)


def is_direct(folder: Folder) -> bool:
    """Tell whether at least half of a folder's photos lie in it, or in the one folder that holds them."""
    n_direct = sum(len(one.photos) for one in _to_inner(folder, ""))
    return 2 * n_direct >= folder.n_photos


def inner(folder: Folder, part: str = "") -> Folder:
    """Return the folder that holds the photos of another: behind `images/`, or behind its own name again.

    Args:
        folder: Where to begin.
        part: The part that the folder is, if it is one; a name of that part says nothing in it either.
    """
    return list(_to_inner(folder, part))[-1]


def holds_parts(folder: Folder) -> bool:
    """Tell whether some of the folders in a folder are parts of a data set, a train part among them."""
    return len(folder.full) > 1 and _has_parts([one.name for one in folder.full])


def doubt(classes: Named) -> str:
    """Return why folders are not plainly classes, in words that go after a colon; or nothing."""
    if len(classes) < 2:
        return ""
    return (
        _parts_among(classes)
        or _all_photos_among(classes)
        or _parts_inside(classes)
        or _sibling_inside(classes)
        or _same_inside(classes)
    )


def _to_inner(folder: Folder, part: str) -> Iterator[Folder]:
    yield folder
    while len(folder.full) == 1:
        name = folder.full[0].name
        is_part = bool(part) and parts.named([name])[name] == part
        if not (is_part or parts.is_neutral(name) or key(name) == key(folder.name)):
            return
        folder = folder.full[0]
        yield folder


def _has_parts(names: Iterable[str]) -> bool:
    known = set(parts.named(names).values()) - {""}
    return "train" in known and len(known) > 1


def _parts_among(classes: Named) -> str:
    names = [name for name, _ in classes]
    if not _has_parts(names):
        return ""
    return f"{listed(name for name, part in parts.named(names).items() if part)} are named like parts"


def _all_photos_among(classes: Named) -> str:
    for name, folders in classes:
        for one in folders:
            if parts.is_neutral(name) and len(inner(one).full) > 1:
                return f"'{one.path}' is named like a folder of all photos, and stands beside others"
    return ""


def _parts_inside(classes: Named) -> str:
    for _, folders in classes:
        for one in folders:
            for below in one.walk():
                if holds_parts(below):
                    return f"parts of a data set stand in '{below.path}': {listed(below.full)}"
    return ""


def _sibling_inside(classes: Named) -> str:
    keys = {key(name) for name, _ in classes}
    for name, folders in classes:
        for one in folders:
            for below in one.walk():
                if below.n_photos and key(below.name) in keys - {key(name)} and below is not one:
                    return f"'{below.path}' is named like a folder beside '{one.path}'"
    return ""


def _same_inside(classes: Named) -> str:
    """Say which names stand in several of the folders: they may be the classes, and the folders parts.

    They cannot be where no other name stands at their depth, for that would be a single class. Folders
    whose photos lie directly in them are no parts.
    """
    owners: defaultdict[str, dict[str, str]] = defaultdict(dict)
    depths: defaultdict[str, set[int]] = defaultdict(set)
    for name, folders in classes:
        for one in folders:
            for depth, below in [] if is_direct(one) else _by_depth(inner(one)):
                owners[key(below.name)].setdefault(name, below.name)
                depths[key(below.name)].add(depth)
    repeated = [one for one in owners if len(owners[one]) > 1 and _has_company(one, depths)]
    if not repeated:
        return ""
    most = max(repeated, key=lambda one: len(owners[one]))
    same = [one for one in repeated if owners[one].keys() == owners[most].keys()]
    names = sorted((next(iter(owners[one].values())) for one in same), key=natural_order)
    many = f"folders {listed(names)} stand" if len(names) > 1 else f"folder {listed(names)} stands"
    return f"the same {many} in {listed(owners[most])}"


def _by_depth(top: Folder) -> Iterator[tuple[int, Folder]]:
    waiting = [(1, one) for one in top.full]
    while waiting:
        depth, folder = waiting.pop()
        yield depth, folder
        waiting += [(depth + 1, one) for one in folder.full]


def _has_company(name: str, depths: dict[str, set[int]]) -> bool:
    return any(other != name and depths[other] & depths[name] for other in depths)
