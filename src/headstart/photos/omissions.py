"""What lies among the photos and is not read: pictures of other kinds, videos, and files of labels."""

import os
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence

from headstart.base.words import first_few
from headstart.photos.findings import Finding
from headstart.pictures import foreign
from headstart.pictures.foreign import Kind
from headstart.sources.dataset import Dataset, natural_order

GRAVE_SHARE = 0.1
"""A class that loses this part of its pictures, or more, is no longer what the user thinks it is."""

LABEL_SHARE = 0.1
LABEL_EXTENSIONS = (".txt", ".json", ".xml")
"""Files that lie beside this part of the photos, under their names, may hold labels."""

LABEL_ADVICE = "Whatever labels or boxes they hold is not read: the class of a photo is that of its folder."

Item = tuple[str, Kind]
"""A path and what lies there."""


def find(listed: Dataset, refused: Mapping[str, Kind]) -> Iterator[Finding]:
    """Say class by class what is not read, and what to do about it.

    Args:
        listed: Photos as listed; what was set aside has its kind in its reason.
        refused: Those of the listed photos that are of another kind than their names say, and not read.
    """
    set_aside = [(item.path, kind) for item in listed.ignored if (kind := foreign.of(item.reason))]
    items = sorted([*set_aside, *refused.items()], key=lambda item: natural_order(item[0]))
    names = (listed.class_names[label] for label in listed.labels)
    class_of = dict(zip(listed.paths, names, strict=True))
    n_read = Counter(name for path, name in class_of.items() if path not in refused)
    by_class: defaultdict[str, list[Item]] = defaultdict(list)
    for path, kind in _without_live_photos(listed, items):
        by_class[class_of.get(path) or _owner(listed, path)].append((path, kind))
    for owner in sorted(by_class, key=natural_order):
        where = f"of class '{owner}'" if owner in listed.class_names else f"in '{owner or '.'}'"
        yield from _of_class(where, by_class[owner], n_read[owner])
    yield from _label_files(listed)


def _owner(listed: Dataset, path: str) -> str:
    """Return the class that a file is of by the folders it is in, or else its folder."""
    folders = path.split("/")[:-1]
    names = {*listed.class_names, *listed.empty_classes}
    return next((folder for folder in folders if folder in names), "/".join(folders))


def _without_live_photos(listed: Dataset, items: Sequence[Item]) -> list[Item]:
    """Return what is not the short film that a telephone takes with a photo, under the same name."""
    photos = {*map(_stem, listed.paths), *(_stem(path) for path, kind in items if kind.is_picture)}
    return [(path, kind) for path, kind in items if kind.is_picture or _stem(path) not in photos]


def _of_class(where: str, items: Sequence[Item], n_read: int) -> Iterator[Finding]:
    n_pictures = sum(kind.is_picture for _, kind in items)
    total = n_read + n_pictures
    is_grave = n_pictures >= GRAVE_SHARE * total
    for kind in foreign.KINDS:
        paths = tuple(path for path, one in items if one is kind)
        if not paths:
            continue
        if kind.is_picture:
            detail = f"{_share(len(paths), total, where)} {kind.name} and not read here: {first_few(paths)}."
            yield Finding("unsupported" if is_grave else "passed_over", paths, detail, kind.advice)
        else:
            many = f"{len(paths):,} {kind.name}s lie" if len(paths) > 1 else f"A {kind.name} lies"
            detail = f"{many} among the photos {where}: {first_few(paths)}."
            yield Finding("passed_over", paths, detail, kind.advice)


def _share(number: int, total: int, where: str) -> str:
    if number == total:
        return f"All {total:,} pictures {where} are" if total > 1 else f"The only picture {where} is"
    return f"{number:,} of {total:,} pictures {where} {'is' if number == 1 else 'are'}"


def _label_files(listed: Dataset) -> Iterator[Finding]:
    photos = set(map(_stem, listed.paths))
    for extension in LABEL_EXTENSIONS:
        paths = tuple(
            item.path
            for item in listed.ignored
            if item.path.casefold().endswith(extension) and _stem(item.path) in photos
        )
        if paths and len(paths) >= LABEL_SHARE * len(photos):
            where = f"Beside {len(paths):,} of {len(photos):,} photos"
            detail = f"{where} lies a {extension} file of the same name, such as {paths[0]}."
            yield Finding("passed_over", paths, detail, LABEL_ADVICE)


def _stem(path: str) -> str:
    return os.path.splitext(path)[0].casefold()
