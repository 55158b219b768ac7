"""Class folders, alone or inside the folders of parts -> Dataset."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from headstart.base.progress import Advance, silent
from headstart.sources import layouts, tree
from headstart.sources.dataset import Dataset, Listing, SetAside, assemble, without_excluded
from headstart.sources.layouts import Reading, class_name
from headstart.sources.tree import Folder


def from_folder(
    source: Path, exclude: Sequence[str], layout: str, fewest_classes: int = 2, advance: Advance = silent
) -> Dataset:
    """Return the photos of a folder of class folders or of parts; see `headstart.sources.listing.load`."""
    listing = Listing(Path(os.path.abspath(source)))
    root = tree.scan(listing.root, advance)
    read = layouts.read(root, str(source), layout, exclude)
    names = {one.name for one in read.classes}
    without_excluded(names | read.excluded, [class_name(name) for name in exclude])
    listing.photos = [
        (path, one.name, one.part)
        for one in read.classes
        for below in one.folder.walk()
        for path in below.photos
    ]
    listing.ignored = [*read.left_out, *_ignored(root, read)]
    listing.layout = read.text
    return assemble(source, listing, names, exclude, fewest_classes)


def _ignored(root: Folder, read: Reading) -> Iterator[SetAside]:
    """Yield what was set aside, but not of folders that were left out as a whole."""
    classes = {id(one.folder) for one in read.classes}
    waiting = [(root, False)]
    while waiting:
        folder, is_class = waiting.pop()
        yield from folder.ignored
        for one in folder.folders:
            if is_class or id(one) in classes or class_name(one.name) not in read.excluded:
                waiting.append((one, is_class or id(one) in classes))
