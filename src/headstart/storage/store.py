"""What was computed before, kept between runs: features, heads, checks of photos, and so on (`Kind`).

A row is found by what decides its value (a digest of the photo's bytes, the backbone and so on), so
runs and projects share it and nothing in it goes stale. When it takes more than its limit, the rows
that were not used for longest go.
"""

import os
import re
import sqlite3
import sys
import time
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal, Self, get_args

import numpy as np
from numpy.typing import NDArray

from headstart.base.errors import SettingsError
from headstart.base.progress import Progress
from headstart.storage.database import Database, number, transaction
from headstart.storage.wheels import cache_dir

Kind = Literal["features", "heads", "checks", "reports", "costs"]
"""What a row holds.

features: those of one photo, by one backbone
heads: what was fitted on features, or measured with that
checks: what reading a photo showed
reports: what reports are made of: thumbnails, maps, scripts
costs: what a backbone costs on a machine
"""

KINDS: tuple[Kind, ...] = get_args(Kind)

DEFAULT_LIMIT = "10GB"
UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}

KEPT_BY_PRUNING = 0.9
"""Part of the limit that is left filled, so that not every run has to prune."""

FRESH_S = 3600
"""A row that was used this recently is not marked again: reading writes little."""

VERSION = 1

# Values lie apart from what is known of them, so that marking rows as used and looking for the oldest move no
# vectors. An id is never used twice: a row that was chosen to go cannot meanwhile have become another.
SCHEMA = """
CREATE TABLE entries (
    id INTEGER PRIMARY KEY AUTOINCREMENT, key BLOB NOT NULL UNIQUE, kind TEXT NOT NULL,
    used INTEGER NOT NULL, size INTEGER NOT NULL, checksum INTEGER NOT NULL
);
CREATE TABLE contents (id INTEGER PRIMARY KEY, value BLOB NOT NULL);
"""

ROW_BYTES = 100
"""About what a row takes beside its value; by size and this the file is shared out between kinds of rows."""

ROWS_AT_ONCE = 1_000
"""So many in one transaction, for a fraction of a second: other processes get their turn in between."""

Take = Callable[[int, bytes], bool]


@dataclass(frozen=True)
class Usage:
    """How much of one kind is kept.

    Attributes:
        kind: Such as "features".
        n_items: How many of them.
        size_bytes: What they take on the disk.
    """

    kind: str
    n_items: int
    size_bytes: int


class Store:
    """The rows of one file, over one connection; use it in a `with` block.

    Any number of processes may have a store open at once, and any number of threads may share one:
    their calls take turns. It must not be carried into a forked process. A process that is killed
    leaves whole rows, and of each `put` all or none.

    No method raises because of the file, the disk or the folder. A damaged file begins anew, since it
    holds nothing that cannot be computed again; what else fails is remarked upon once, and from then on
    nothing is found, or nothing is kept, as the case may be.

    Args:
        progress: Told of a damaged file, and of why nothing is kept.
        path: The file; by default `store.sqlite` in the cache folder.

    Raises:
        SettingsError: $HEADSTART_CACHE_LIMIT is no size.

    Example:
        >>> import tempfile
        >>> folder = tempfile.TemporaryDirectory()
        >>> with Store(Progress(), Path(folder.name) / "store.sqlite") as store:
        ...     store.put([(b"a" * 32, np.float16([1, 2]).tobytes())], "features")
        ...     rows = np.zeros((2, 2), np.float16)
        ...     store.fill([b"a" * 32, b"b" * 32], rows).tolist(), rows.tolist()
        ([True, False], [[1.0, 2.0], [0.0, 0.0]])
        >>> folder.cleanup()
    """

    def __init__(self, progress: Progress, path: Path | None = None) -> None:
        self._limit_bytes = limit_bytes()
        self._database = Database(path or default_path(), SCHEMA, VERSION, progress)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; from then on nothing is found or kept."""
        self._database.close()

    def fill(self, keys: Sequence[bytes], rows: NDArray[np.float16]) -> NDArray[np.bool_]:
        """Copy the vector of each key that is here into its row, and say which were.

        Takes little memory beside `rows`. A value of another length than a row's does not count as here.

        Args:
            keys: N digests of 32 bytes.
            rows: float16 (N, D), C-contiguous; a row whose vector is not here stays as it is.

        Returns:
            bool (N,).

        Raises:
            ValueError: `rows` is not of that type, shape or order.
        """
        if rows.dtype != np.float16 or rows.shape[:-1] != (len(keys),) or not rows.flags.c_contiguous:
            expected = f"C-contiguous float16 ({len(keys)}, D)"
            raise ValueError(f"rows are {rows.dtype} {rows.shape}; expected {expected}")
        is_here = np.zeros(len(keys), np.bool_)
        n_bytes = rows.itemsize * rows.shape[1]

        def take(index: int, value: bytes) -> bool:
            if len(value) == n_bytes:
                rows[index] = np.frombuffer(value, np.float16)
                is_here[index] = True
            return bool(is_here[index])

        self._visit(keys, take)
        return is_here

    def get(self, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        """Return the values of those keys that are here."""
        values: dict[bytes, bytes] = {}

        def take(index: int, value: bytes) -> bool:
            values[keys[index]] = value
            return True

        self._visit(keys, take)
        return values

    def heads(self) -> NDArray[np.uint64]:
        """Return the first 8 bytes of each key that is here, as numbers, ascending: 8 MB of a million."""
        found = self._database.read(_heads) or b""
        return np.sort(np.frombuffer(found, np.uint64))

    def missing(self, keys: Sequence[bytes]) -> list[int]:
        """Return the positions in `keys`, ascending, of those that are not here. Reads no values."""
        is_here = bytearray(len(keys))
        for part in _parts(len(keys)):
            self._database.read(_find, keys, part, is_here)
        return [position for position, known in enumerate(is_here) if not known]

    def put(self, items: Iterable[tuple[bytes, bytes]], kind: Kind) -> None:
        """Keep values under their keys, all or none, and hold the limit.

        A value that is here under such a key is replaced.

        Args:
            items: Digests of 32 bytes, and values. No other process can write until the last of them is
                taken, so nothing long should be computed meanwhile.
            kind: What they are.
        """
        self._database.write(_put, items, kind)
        self.prune(self._limit_bytes)

    def _visit(self, keys: Sequence[bytes], take: Take) -> None:
        for part in _parts(len(keys)):
            if stale := self._database.read(_visit, keys, part, take):
                self._database.write(_mark, stale)

    @property
    def size_bytes(self) -> int:
        """What the rows of all kinds take on the disk; no row is looked at for it."""
        return self._database.read(_size) or 0

    def usage(self) -> tuple[Usage, ...]:
        """Return how much there is of each of `KINDS`; together they take `size_bytes`, but for rounding."""
        return self._database.read(_usage) or tuple(Usage(kind, 0, 0) for kind in KINDS)

    def bytes_by_age(self) -> list[tuple[int, int]]:
        """Return when rows were last used (seconds since 1970) and what those take, oldest first."""
        return self._database.read(_bytes_by_age) or []

    def prune(self, limit_bytes: int) -> None:
        """If the rows take more than the limit, delete the least recently used until they take 90% of it."""
        if self.size_bytes > limit_bytes:
            self.shrink(int(limit_bytes * KEPT_BY_PRUNING))

    def shrink(self, target_bytes: int) -> None:
        """Delete the least recently used rows until the rest takes at most so much; give the space back."""
        while (size := self.size_bytes) > target_bytes:
            newest = self._database.read(_newest_to_go, (size - target_bytes) / size)
            if newest is None or not self._delete("(used, id) <= (?, ?)", newest):
                break

    def clear(self, kinds: Collection[Kind] = KINDS) -> None:
        """Delete all rows of these kinds, and give the space back; if that is all, the store is closed.

        Then the file itself is removed where it can be: it takes no time, and no space on a full disk.
        """
        if set(KINDS) <= set(kinds) and self._database.remove():
            return
        for kind in kinds:
            self._delete("kind = ?", (kind,))

    def _delete(self, condition: str, values: tuple[object, ...]) -> int:
        """Delete the rows of which `condition` is true, and give their space back; return how many."""
        n_deleted, before = 0, sys.maxsize
        # Newest first: they lie at the end of the file, which can be cut off. Space is given back at once
        # each time, because SQLite looks for each page at the end among all that are free.
        while ids := self._database.read(_choose, condition, (*values, before)):
            if self._database.write(_delete, ids) is None:
                break
            self._database.write(_give_back)
            n_deleted, before = n_deleted + len(ids), ids[-1]
        self._database.write(_bring_in)
        return n_deleted


def default_path() -> Path:
    """Return where the store is, or would be: in the cache folder."""
    return cache_dir() / "store.sqlite"


def limit_bytes() -> int:
    """Return $HEADSTART_CACHE_LIMIT in bytes, by default 10 GB.

    Raises:
        SettingsError: It is no size.
    """
    return parse_size(os.environ.get("HEADSTART_CACHE_LIMIT") or DEFAULT_LIMIT, "HEADSTART_CACHE_LIMIT")


def parse_size(text: str, name: str) -> int:
    """Return the bytes of a size in decimal units.

    Args:
        text: What the user wrote.
        name: What it was written for.

    Raises:
        SettingsError: It is no size.

    Example:
        >>> [parse_size(text, "--limit") for text in ("20GB", "1.5 mb", "4096")]
        [20000000000, 1500000, 4096]
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?B)?", text.strip().upper(), re.ASCII)
    if found is None:
        fix = "Give a size such as 500MB or 20GB, or a number of bytes."
        raise SettingsError(f"{name} is {text!r}.", fix)
    return round(float(found[1]) * UNITS[found[2] or ""])


def _parts(length: int) -> Iterator[range]:
    """Divide 0 to `length` - 1 into what is done at once."""
    for start in range(0, length, ROWS_AT_ONCE):
        yield range(start, min(start + ROWS_AT_ONCE, length))


def _checksum(key: bytes, value: bytes) -> int:
    """Tell a value that is another's or was changed on the disk: SQLite itself would not notice."""
    return zlib.crc32(value, zlib.crc32(key))


def _visit(connection: sqlite3.Connection, keys: Sequence[bytes], part: range, take: Take) -> list[bytes]:
    """Give `take` the values in this part of the keys; return the keys it took that were not used lately."""
    stale, fresh_since = [], time.time() - FRESH_S
    query = "SELECT used, checksum, value FROM entries JOIN contents USING (id) WHERE key = ?"
    with transaction(connection, "DEFERRED"):
        for index in part:
            for used, checksum, value in connection.execute(query, (keys[index],)):
                is_whole = checksum == _checksum(keys[index], value)
                if is_whole and take(index, value) and used < fresh_since:
                    stale.append(keys[index])
    return stale


def _find(connection: sqlite3.Connection, keys: Sequence[bytes], part: range, is_here: bytearray) -> None:
    """Set the bytes of those keys in this part that are here to 1."""
    with transaction(connection, "DEFERRED"):
        for index in part:
            for (found,) in connection.execute("SELECT 1 FROM entries WHERE key = ?", (keys[index],)):
                is_here[index] = found


def _heads(connection: sqlite3.Connection) -> bytes:
    return b"".join(key for (key,) in connection.execute("SELECT substr(key, 1, 8) FROM entries"))


def _mark(connection: sqlite3.Connection, keys: Sequence[bytes]) -> None:
    now = int(time.time())
    with transaction(connection, "IMMEDIATE"):
        connection.executemany("UPDATE entries SET used = ? WHERE key = ?", ((now, key) for key in keys))


def _put(connection: sqlite3.Connection, items: Iterable[tuple[bytes, bytes]], kind: Kind) -> None:
    now = int(time.time())
    with transaction(connection, "IMMEDIATE"):
        for key, value in items:
            here = connection.execute("SELECT id FROM entries WHERE key = ?", (key,)).fetchone()
            entry = (here[0] if here else None, key, kind, now, len(value), _checksum(key, value))
            added = connection.execute("INSERT OR REPLACE INTO entries VALUES (?, ?, ?, ?, ?, ?)", entry)
            connection.execute("INSERT OR REPLACE INTO contents VALUES (?, ?)", (added.lastrowid, value))


def _size(connection: sqlite3.Connection) -> int:
    pages = number(connection, "PRAGMA page_count") - number(connection, "PRAGMA freelist_count")
    return pages * number(connection, "PRAGMA page_size")


def _usage(connection: sqlite3.Connection) -> tuple[Usage, ...]:
    with transaction(connection, "DEFERRED"):
        counted = f"SELECT kind, count(*), sum(size + {ROW_BYTES}) FROM entries GROUP BY kind"
        rows = {kind: (n_items, weight) for kind, n_items, weight in connection.execute(counted)}
        scale = _size(connection) / max(1, sum(weight for _, weight in rows.values()))
    shares = [(kind, *rows.get(kind, (0, 0))) for kind in KINDS]
    return tuple(Usage(kind, n_items, round(weight * scale)) for kind, n_items, weight in shares)


def _bytes_by_age(connection: sqlite3.Connection) -> list[tuple[int, int]]:
    with transaction(connection, "DEFERRED"):
        summed = f"SELECT used, sum(size + {ROW_BYTES}) FROM entries GROUP BY used ORDER BY used"
        rows = connection.execute(summed).fetchall()
        scale = _size(connection) / max(1, sum(weight for _, weight in rows))
    return [(used, round(weight * scale)) for used, weight in rows]


def _newest_to_go(connection: sqlite3.Connection, part: float) -> tuple[int, int] | None:
    """Return when the newest of the rows was used that must go so that `part` of all goes, and its id."""
    weight = f"size + {ROW_BYTES}"
    newest = None
    with transaction(connection, "DEFERRED"):
        wanted = part * number(connection, f"SELECT coalesce(sum({weight}), 0) FROM entries")
        oldest_first = connection.execute(f"SELECT {weight}, used, id FROM entries ORDER BY used, id")
        while wanted > 0 and (row := oldest_first.fetchone()):
            newest, wanted = (row[1], row[2]), wanted - row[0]
        oldest_first.close()
    return newest


def _choose(connection: sqlite3.Connection, condition: str, values: tuple[object, ...]) -> list[int]:
    """Return the ids, below the last of `values`, of the next rows of which `condition` is true."""
    query = f"SELECT id FROM entries WHERE {condition} AND id < ? ORDER BY id DESC LIMIT {ROWS_AT_ONCE}"
    return [row for (row,) in connection.execute(query, values)]


def _delete(connection: sqlite3.Connection, ids: Sequence[int]) -> bool:
    """Return True, when it is done."""
    with transaction(connection, "IMMEDIATE"):
        for table in ("entries", "contents"):
            connection.executemany(f"DELETE FROM {table} WHERE id = ?", ((row,) for row in ids))
    return True


def _give_back(connection: sqlite3.Connection) -> None:
    """Cut free pages off the file; `execute` would do one step, which is one page."""
    connection.executescript("PRAGMA incremental_vacuum")


def _bring_in(connection: sqlite3.Connection) -> None:
    """Bring what was written ahead into the file, which makes it shorter."""
    connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
