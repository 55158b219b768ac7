"""The cache folder: how much it holds of each kind, and how to take it away.

Rows of the store and converted graphs can be made again here, so they are pruned. Weights, samples
and copies of photos need a network to come back, so they go only when they are named. Keras's own downloads
are Keras's.
"""

import os
import shutil
import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path

from headstart.base.errors import SettingsError
from headstart.base.progress import Progress
from headstart.storage import store
from headstart.storage.store import KEPT_BY_PRUNING, Store, Usage
from headstart.storage.wheels import cache_dir

FOLDERS = ("graphs", "weights", "samples", "photos")
"""Each kind of file lies in a folder of that name."""

ARE_FOLDERS = ("graphs", "samples", "photos")
"""The kinds of which one is not a file but a folder."""

KINDS = (*store.KINDS, *FOLDERS)
PRUNED = (*store.KINDS, "graphs")

LEFT_BEHIND_S = 24 * 3600
"""Nothing takes so long to write: a temporary file of this age was left by a process that was killed."""


@dataclass(frozen=True)
class _Item:
    """What is removed as one: a file, or a folder.

    Attributes:
        path: Where it is.
        used: When it was last used, in seconds since 1970.
        size_bytes: What it takes.
    """

    path: Path
    used: float
    size_bytes: int


def summary(progress: Progress) -> tuple[Usage, ...]:
    """Return how much there is of each of `KINDS`; no folder is made for it.

    Args:
        progress: Told of a store that cannot be read.
    """
    return (*_rows(progress), *(_count(kind, list(_items(kind))) for kind in FOLDERS))


def clear(kinds: Collection[str], progress: Progress) -> tuple[Usage, ...]:
    """Remove all there is of these kinds, and return what was removed, in the order of `KINDS`.

    Works where the disk is full. A process that uses any of it goes on, but for one that reads photos of
    a sample or of a copy.

    Args:
        kinds: Some of `KINDS`.
        progress: Told of what cannot be removed.

    Raises:
        SettingsError: Something else is named.
    """
    for kind in kinds:
        if kind not in KINDS:
            known = f"The kinds are {', '.join(KINDS)}."
            raise SettingsError(f"Nothing in the cache is of the kind {kind!r}.", known)
    with Store(progress) as rows:
        before = rows.usage()
        rows.clear([kind for kind in store.KINDS if kind in kinds])
        removed = [one for one in _difference(before, rows.usage()) if one.kind in kinds]
    for kind in FOLDERS:
        if kind in kinds:
            _sweep(kind)
            removed.append(_count(kind, [item for item in _items(kind) if _remove(item, progress)]))
    return tuple(removed)


def prune(progress: Progress, limit_bytes: int | None = None) -> tuple[Usage, ...]:
    """Hold rows and graphs under a limit, and return what was removed of each kind of `PRUNED`.

    When together they take more, the least recently used are removed until they take 90% of it.

    Args:
        progress: Told of what cannot be removed.
        limit_bytes: By default that of the environment.

    Raises:
        SettingsError: $HEADSTART_CACHE_LIMIT is no size.
    """
    limit = store.limit_bytes() if limit_bytes is None else limit_bytes
    _sweep("graphs")
    graphs = list(_items("graphs"))
    with Store(progress) as rows:
        before, doomed = rows.usage(), list[_Item]()
        total = rows.size_bytes + sum(item.size_bytes for item in graphs)
        if total > limit:
            doomed = _shrink(rows, graphs, total - int(limit * KEPT_BY_PRUNING))
        removed = [item for item in doomed if _remove(item, progress)]
        return (*_difference(before, rows.usage()), _count("graphs", removed))


def _shrink(rows: Store, graphs: Sequence[_Item], excess: int) -> list[_Item]:
    """Delete the rows that are among the least recently used of all; return the graphs that are."""
    ages: list[tuple[float, int, _Item | None]] = [
        *((used, size, None) for used, size in rows.bytes_by_age()),
        *((item.used, item.size_bytes, item) for item in graphs),
    ]
    doomed, of_rows = [], 0
    for _, size, item in sorted(ages, key=itemgetter(0)):
        if excess <= 0:
            break
        if item is None:
            of_rows += min(size, excess)
        else:
            doomed.append(item)
        excess -= size
    rows.shrink(rows.size_bytes - of_rows)
    return doomed


def _rows(progress: Progress) -> tuple[Usage, ...]:
    if not store.default_path().exists():
        return tuple(Usage(kind, 0, 0) for kind in store.KINDS)
    with Store(progress) as rows:
        return rows.usage()


def _difference(before: tuple[Usage, ...], after: tuple[Usage, ...]) -> tuple[Usage, ...]:
    """Return what went; another process may have added some meanwhile."""
    return tuple(
        Usage(old.kind, max(0, old.n_items - new.n_items), max(0, old.size_bytes - new.size_bytes))
        for old, new in zip(before, after, strict=True)
    )


def _items(kind: str) -> Iterator[_Item]:
    """Yield what is whole and in its place."""
    for path in _listed(kind):
        if path.is_dir() == (kind in ARE_FOLDERS) and not _is_temporary(path):
            yield _Item(path, _modified(path), _size(path))


def _listed(kind: str) -> list[Path]:
    folder = cache_dir() / kind
    return sorted(folder.iterdir()) if folder.is_dir() else []


def _modified(path: Path) -> float:
    """Return when a file was changed or touched; now, if another process has just removed it."""
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return time.time()


def _size(path: Path) -> int:
    try:
        if path.is_dir():
            return sum(
                Path(folder, name).stat().st_size for folder, _, names in os.walk(path) for name in names
            )
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _count(kind: str, items: list[_Item]) -> Usage:
    return Usage(kind, len(items), sum(item.size_bytes for item in items))


def _remove(item: _Item, progress: Progress) -> bool:
    """Return whether it is gone."""
    try:
        if item.path.is_dir():
            discard(item.path)
        else:
            item.path.unlink(missing_ok=True)
    except OSError as error:
        progress.remark(f"{error.filename} cannot be removed: {error.strerror}.")
        return False
    return True


def discard(folder: Path) -> None:
    """Remove a folder at once, for a part of it would be taken for the whole; raises OSError."""
    doomed = folder.with_name(f".{folder.name}.{os.getpid()}")
    folder.rename(doomed)
    shutil.rmtree(doomed, ignore_errors=True)


def _sweep(kind: str) -> None:
    """Remove what processes that were killed left half written, and graphs as they were kept once."""
    for path in _listed(kind):
        is_left = _is_temporary(path) if path.is_dir() else kind == "graphs"
        if is_left and time.time() - _modified(path) > LEFT_BEHIND_S:
            _remove(_Item(path, 0, 0), Progress())


def _is_temporary(path: Path) -> bool:
    return path.name.startswith((".", "tmp"))
