"""The photos as a run found them, kept in its folder, and what has changed since.

To tell it, only photos of another size or time are read; one that was touched and is the same is not changed.
"""

import csv
import os
from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path

from headstart.base import records
from headstart.base.errors import RunError
from headstart.photos.audit import Audit
from headstart.sources.dataset import Dataset
from headstart.storage.wheels import sha256_of

NAMED = 5
"""Photos that are named, of all kinds of change together; of each kind at least one is."""

AGAIN = "Run the command again with --update, or with a new --out."

Stamp = tuple[int, int]
"""Size in bytes and time of modification in nanoseconds since 1970; -1 and -1 where they cannot be asked."""

Changes = dict[str, list[str]]
"""What has changed: by kind, in words, the paths."""


@dataclass(frozen=True)
class Row:
    """A listed photo, readable or not; a line of photos.csv.

    Attributes:
        path: Relative to the dataset's root, as the dataset has it.
        label: Its class name.
        part: "train", "validation" or "test" where it was given, else "".
        group: Its group key, else "".
        size_bytes: The size of its file before it was read; see `Stamp`.
        mtime_ns: When its file was last changed, as it was before it was read; see `Stamp`.
        sha256: Of its bytes, in hexadecimal; "" where they could not be read.
    """

    path: str
    label: str
    part: str
    group: str
    size_bytes: int
    mtime_ns: int
    sha256: str


HEADER = tuple(column.name for column in fields(Row))


def stamps(listed: Dataset) -> list[Stamp]:
    """Return the stamp of each photo, in their order; to be taken before any of them is read."""
    return [_stamp(os.path.join(listed.root, path)) for path in listed.paths]


def _stamp(path: str) -> Stamp:
    try:
        status = os.stat(path)
    except OSError:
        return (-1, -1)
    return (status.st_size, status.st_mtime_ns)


def write(path: Path, listed: Dataset, stamped: Sequence[Stamp], audited: Audit) -> None:
    """Write photos.csv, atomically.

    Args:
        path: The file.
        listed: All photos.
        stamped: What `stamps` gave of them.
        audited: What reading them showed; the digests of what was set aside are taken now.

    Raises:
        DiskFull: No space is left.
    """
    known = dict(zip(audited.dataset.paths, audited.digests, strict=True))
    digests = [known.get(one) or _digest(listed.root / one) for one in listed.paths]
    rows = (
        (*facts, *stamp, digest)
        for facts, stamp, digest in zip(_facts(listed), stamped, digests, strict=True)
    )
    records.write_csv(path, HEADER, rows)


def _facts(listed: Dataset) -> list[tuple[str, str, str, str]]:
    """Return path, class name, given part and group key of each photo."""
    names = [listed.class_names[label] for label in listed.labels.tolist()]
    keys = listed.group_keys or ("",) * len(listed)
    return list(zip(listed.paths, names, listed.given_parts, keys, strict=True))


def _digest(file: Path) -> str:
    try:
        return sha256_of(file)
    except OSError:
        return ""


def read(path: Path) -> tuple[Row, ...]:
    """Read the lines that `write` wrote.

    Raises:
        RunError: The file is missing, or something else.
    """
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            header, *lines = list(csv.reader(stream)) or [[]]
        if tuple(header) != HEADER:
            raise ValueError
        return tuple(
            Row(path, label, part, group, int(size_bytes), int(mtime_ns), sha256)
            for path, label, part, group, size_bytes, mtime_ns, sha256 in lines
        )
    except FileNotFoundError as error:
        raise RunError(f"{path} is missing.", AGAIN) from error
    except (ValueError, csv.Error) as error:
        raise RunError(f"{path} is no list of photos.", AGAIN) from error


def changes(rows: Sequence[Row], listed: Dataset) -> Changes:
    """Return what is not as it was: kinds that have photos alone.

    Args:
        rows: What was written of the photos.
        listed: The photos as they are now.
    """
    then = {row.path: astuple(row) for row in rows}
    now = {facts[0]: facts for facts in _facts(listed)}
    both = [path for path in now if path in then]
    found = {
        "new": [path for path in now if path not in then],
        "changed": [path for path in both if _is_changed(listed.root, then[path])],
        "missing": [path for path in then if path not in now],
        "labelled otherwise": [path for path in both if now[path][1] != then[path][1]],
        "in another part": [path for path in both if now[path][2] != then[path][2]],
        "in another group": [path for path in both if now[path][3] != then[path][3]],
    }
    return {kind: paths for kind, paths in found.items() if paths}


def _is_changed(root: Path, row: tuple[str | int, ...]) -> bool:
    path, *_, size_bytes, mtime_ns, sha256 = row
    file = os.path.join(root, str(path))
    return _stamp(file) != (size_bytes, mtime_ns) and _digest(Path(file)) != sha256


def say(found: Changes) -> str:
    """Return changes in words, with their numbers and some of the names.

    Example:
        >>> say({"new": ["cat/a.jpg", "cat/b.jpg"], "missing": [f"dog/{n}.jpg" for n in range(1000)]})
        '2 new (cat/a.jpg, cat/b.jpg), 1,000 missing (dog/0.jpg, dog/1.jpg, …)'
    """
    each = max(1, NAMED // max(1, len(found)))
    return ", ".join(
        f"{len(paths):,} {kind} ({', '.join([*paths[:each], *['…'] * (len(paths) > each)])})"
        for kind, paths in found.items()
    )
