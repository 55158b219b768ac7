"""A SQLite file that several processes share, of things that can be made again: it never ends a run.

A file that is damaged begins anew. Where it cannot be written it is only read, and where it cannot be
read either, the work goes on without.
"""

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Concatenate, Literal, ParamSpec, TypeVar

from headstart.base.progress import Progress

BUSY_TIMEOUT_S = 30
"""How long another process may write before this one gives up waiting."""

PAGE_BYTES = 1024
"""Vectors of 2,700 to 9,000 halves then take 4 to 9% more than their bytes, of 768 at worst 43%."""

JOURNALS = ("-wal", "-shm", "-journal")
JOURNAL_PAGES = 16_000

MOUNTS = Path("/proc/self/mounts")
NETWORK_FILE_SYSTEMS = (
    *("9p", "afs", "beegfs", "ceph", "cifs", "glusterfs", "gpfs", "lustre", "nfs", "nfs4", "smb3", "smbfs"),
    *("vboxsf", "virtiofs"),
)

DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)

Given = ParamSpec("Given")
Result = TypeVar("Result")
Work = Callable[Concatenate[sqlite3.Connection, Given], Result]


class Database:
    """One connection to the file. Threads may share it, and take turns; it must not cross a fork.

    What fails because of the file, the disk or the folder is remarked upon once, and never raised.

    Args:
        path: The file; its folder is made.
        schema: SQL that makes the tables of an empty file.
        version: Of the schema, 1 or more; a file of another one begins anew.
        progress: Told of a damaged file, and of why nothing is kept.
    """

    def __init__(self, path: Path, schema: str, version: int, progress: Progress) -> None:
        self.path = path
        self._schema, self._version = schema, version
        self._progress = progress
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self._file_id: tuple[int, int] | None = None
        self._is_writable = True
        self._may_begin_anew = True
        self._has_remarked = False
        self._open()

    def close(self) -> None:
        """Close the file; from then on nothing is read or written."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
            self._connection = None

    def remove(self) -> bool:
        """Close and remove the file, and return whether it could be; if not, it is open again.

        Needs no space, so it also works where the disk is full. Other processes that have it open go on
        with what they have, unseen by anybody else; on Windows, though, it is then not removed.
        """
        with self._lock:
            self.close()
            try:
                with _turn(self.path):
                    _unlink(self.path)
                return True
            except OSError:
                self._open()
                return False

    def read(self, work: Work[Given, Result], *args: Given.args, **kwargs: Given.kwargs) -> Result | None:
        """Return what `work` returns when given the connection, None where nothing can be read."""
        with self._lock:
            if self._connection is None:
                return None
            try:
                return work(self._connection, *args, **kwargs)
            except sqlite3.DatabaseError as error:
                self._recover(error)
                return None

    def write(self, work: Work[Given, Result], *args: Given.args, **kwargs: Given.kwargs) -> Result | None:
        """Do the same where `work` writes; after a failure nothing more is written, but reading goes on."""
        with self._lock:
            if self._connection is None or not self._is_writable:
                return None
            try:
                return work(self._connection, *args, **kwargs)
            except sqlite3.OperationalError as error:
                self._is_writable = False
                self._say_why(error)
            except sqlite3.DatabaseError as error:
                self._recover(error)
            return None

    def _recover(self, error: sqlite3.DatabaseError) -> None:
        """Begin a damaged file anew, once, unless another process has done so; else give the file up."""
        if not _is_damage(error) and not isinstance(error, sqlite3.OperationalError):
            raise error
        self.close()
        if _is_damage(error) and self._may_begin_anew:
            self._may_begin_anew = False
            self._progress.remark(_damaged(self.path))
            self._open(instead_of=self._file_id)
        else:
            self._say_why(error)

    def _open(self, instead_of: tuple[int, int] | None = None) -> None:
        try:
            with _turn(self.path):
                if instead_of is not None and _file_id(self.path) == instead_of:
                    _unlink(self.path)
                self._connection = self._connect()
                self._file_id = _file_id(self.path)
        except (OSError, NotImplementedError, sqlite3.Error) as error:
            self._is_writable = self._may_begin_anew = False
            self._say_why(error)
            self._connection = _connect_at_rest(self.path, self._version)

    def _connect(self) -> sqlite3.Connection:
        try:
            return _connect(self.path, self._schema, self._version)
        except sqlite3.DatabaseError as error:
            if not _is_damage(error):
                raise
        self._progress.remark(_damaged(self.path))
        _unlink(self.path)
        return _connect(self.path, self._schema, self._version)

    def _say_why(self, error: Exception) -> None:
        if not self._has_remarked:
            self._has_remarked = True
            reason = getattr(error, "strerror", None) or str(error).rstrip(".")
            self._progress.remark(
                f"Nothing more is kept in {self.path}: {reason}. "
                "HEADSTART_CACHE=FOLDER names a folder elsewhere."
            )


@contextmanager
def transaction(connection: sqlite3.Connection, kind: Literal["DEFERRED", "IMMEDIATE"]) -> Iterator[None]:
    """Begin as a reader (DEFERRED) or a writer (IMMEDIATE: a reader cannot wait to become one)."""
    connection.execute(f"BEGIN {kind}")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def number(connection: sqlite3.Connection, query: str) -> int:
    """Return the one number that a query or a pragma gives."""
    (value,) = connection.execute(query).fetchone()
    return int(value)


@contextmanager
def _turn(path: Path) -> Iterator[None]:
    """Keep other processes from opening or removing the file meanwhile."""
    import filelock

    path.parent.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(path.with_name(f".{path.name}.lock"), timeout=2 * BUSY_TIMEOUT_S):
        yield


def _file_id(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def _unlink(path: Path) -> None:
    """Remove the file, its journals first: SQLite would take them for those of the next file."""
    for suffix in (*JOURNALS, ""):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def _damaged(path: Path) -> str:
    return f"{path} is damaged or of another version; it begins anew."


class _OtherVersion(sqlite3.DatabaseError):
    """The file is a database, but not one of this version."""


def _is_damage(error: sqlite3.DatabaseError) -> bool:
    """Say whether the file is to blame; the last 8 bits of an error's code are its kind."""
    return isinstance(error, _OtherVersion) or getattr(error, "sqlite_errorcode", 0) & 0xFF in DAMAGED


def _connect(path: Path, schema: str, version: int) -> sqlite3.Connection:
    """Return a connection that writes ahead, or with a rollback journal where that cannot be.

    A write-ahead log needs memory that all its processes share, which a network file system lacks: some
    refuse it, with others two computers would damage the file (https://www.sqlite.org/wal.html).
    """
    if not _is_on_network(path.parent):
        try:
            return _connect_with("WAL", path, schema, version)
        except sqlite3.OperationalError:
            pass
    return _connect_with("TRUNCATE", path, schema, version)


def _connect_with(
    journal: Literal["WAL", "TRUNCATE"], path: Path, schema: str, version: int
) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
    try:
        if journal == "TRUNCATE":
            # Alone with the file, SQLite needs no shared memory to read what was written ahead.
            connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        connection.execute(f"PRAGMA journal_mode = {journal}")
        connection.execute("PRAGMA locking_mode = NORMAL")
        if journal == "WAL":
            # A power cut may then cost the last rows, though never the file; kill -9 costs nothing.
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.execute(f"PRAGMA wal_autocheckpoint = {JOURNAL_PAGES}")
            connection.execute(f"PRAGMA journal_size_limit = {JOURNAL_PAGES * PAGE_BYTES}")
        _prepare(connection, schema, version)
    except BaseException:
        connection.close()
        raise
    return connection


def _connect_at_rest(path: Path, version: int) -> sqlite3.Connection | None:
    """Return a connection that only reads, where no file can be made beside it: on a full or read-only disk.

    None where that cannot be: no such file, or one that another process may just be writing.
    """
    journals = [path.with_name(path.name + suffix) for suffix in ("-wal", "-journal")]
    if not path.is_file() or any(journal.exists() and journal.stat().st_size for journal in journals):
        return None
    address = f"{path.absolute().as_uri()}?immutable=1"
    connection = sqlite3.connect(address, isolation_level=None, check_same_thread=False, uri=True)
    try:
        if number(connection, "PRAGMA user_version") == version:
            return connection
    except sqlite3.DatabaseError:
        pass
    connection.close()
    return None


def _prepare(connection: sqlite3.Connection, schema: str, version: int) -> None:
    found = number(connection, "PRAGMA user_version")
    if found == 0 and number(connection, "SELECT count(*) FROM sqlite_master") == 0:
        connection.executescript(f"BEGIN IMMEDIATE; {schema} PRAGMA user_version = {version}; COMMIT;")
    elif found != version:
        raise _OtherVersion(f"version {found}")


def _is_on_network(folder: Path) -> bool:
    """Say whether a folder is known to be on a network file system; only Linux and UNC paths tell."""
    if folder.drive.startswith("\\\\"):
        return True
    kinds = {}
    if MOUNTS.exists():
        for line in MOUNTS.read_text(encoding="utf-8", errors="surrogateescape").splitlines():
            _, point, kind, *_ = line.split(" ")
            kinds[Path(point.replace("\\040", " "))] = kind
    folder = folder.resolve()
    kind = next((kinds[one] for one in (folder, *folder.parents) if one in kinds), "")
    return kind in NETWORK_FILE_SYSTEMS or kind.startswith("fuse.")
