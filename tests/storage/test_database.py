"""Files that are damaged, locked, full or not to be written: real ones, as far as a test can make them."""

import sqlite3
import threading
from pathlib import Path

import pytest

from headstart.base.progress import Progress
from headstart.storage import database
from headstart.storage.database import Database, number, transaction

SCHEMA = "CREATE TABLE words (word TEXT NOT NULL);"
ELSEWHERE = "HEADSTART_CACHE=FOLDER names a folder elsewhere."


class Remarks(Progress):
    """Remembers what was said."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def remark(self, text: str) -> None:
        self.texts.append(text)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "words.sqlite"


@pytest.fixture
def remarks() -> Remarks:
    return Remarks()


def opened(path: Path, remarks: Remarks, version: int = 1) -> Database:
    return Database(path, SCHEMA, version, remarks)


def add(connection: sqlite3.Connection, *words: str) -> int:
    with transaction(connection, "IMMEDIATE"):
        connection.executemany("INSERT INTO words VALUES (?)", [(word,) for word in words])
    return len(words)


def listed(connection: sqlite3.Connection) -> list[str]:
    return [word for (word,) in connection.execute("SELECT word FROM words ORDER BY rowid")]


def keep(path: Path, *words: str) -> None:
    file = opened(path, Remarks())
    assert file.write(add, *words) == len(words)
    file.close()


def journal_mode(connection: sqlite3.Connection) -> str:
    (mode,) = connection.execute("PRAGMA journal_mode").fetchone()
    return str(mode)


def test_what_is_written_is_read_by_the_next(path: Path, remarks: Remarks) -> None:
    keep(path, "cat", "dog")
    file = opened(path, remarks)
    assert file.read(listed) == ["cat", "dog"]
    file.close()
    assert (file.read(listed), file.write(add, "fox"), remarks.texts) == (None, None, [])
    assert sorted(one.name for one in path.parent.iterdir()) == [".words.sqlite.lock", "words.sqlite"]


def test_a_transaction_is_undone_when_anything_fails(path: Path, remarks: Remarks) -> None:
    def add_and_stop(connection: sqlite3.Connection) -> None:
        with transaction(connection, "IMMEDIATE"):
            connection.execute("INSERT INTO words VALUES ('cat')")
            raise KeyboardInterrupt

    file = opened(path, remarks)
    with pytest.raises(KeyboardInterrupt):
        file.write(add_and_stop)
    assert file.read(listed) == []
    assert file.write(add, "dog") == 1


def test_a_defect_of_the_caller_is_not_hidden(path: Path, remarks: Remarks) -> None:
    file = opened(path, remarks)
    with pytest.raises(sqlite3.ProgrammingError):
        file.read(lambda connection: connection.execute("SELECT ?", ()))
    with pytest.raises(sqlite3.IntegrityError):
        file.write(lambda connection: connection.execute("INSERT INTO words VALUES (NULL)"))
    assert remarks.texts == []


def test_threads_take_turns(path: Path, remarks: Remarks) -> None:
    file = opened(path, remarks)
    threads = [
        threading.Thread(target=lambda: [file.write(add, "cat", "dog") for _ in range(50)]) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert file.read(listed) == ["cat", "dog"] * 200
    assert remarks.texts == []


# A damaged file


@pytest.mark.parametrize("content", [b"no database at all" * 500, b"SQLite format 3\0" + b"\xff" * 5000])
def test_a_file_that_is_no_database_begins_anew(path: Path, remarks: Remarks, content: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(content)
    file = opened(path, remarks)
    assert file.read(listed) == []
    assert file.write(add, "cat") == 1
    assert remarks.texts == [f"{path} is damaged or of another version; it begins anew."]


def test_a_file_of_another_version_begins_anew(path: Path, remarks: Remarks) -> None:
    keep(path, "cat")
    assert opened(path, remarks, version=2).read(listed) == []
    assert remarks.texts == [f"{path} is damaged or of another version; it begins anew."]


def test_a_database_of_something_else_begins_anew(path: Path, remarks: Remarks) -> None:
    path.parent.mkdir()
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE recipes (name TEXT)")
    other.close()
    assert opened(path, remarks).read(listed) == []
    assert remarks.texts == [f"{path} is damaged or of another version; it begins anew."]


def test_an_empty_file_is_a_new_one(path: Path, remarks: Remarks) -> None:
    path.parent.mkdir()
    path.touch()
    assert opened(path, remarks).read(listed) == []
    assert remarks.texts == []


def test_damage_that_two_find_is_mended_once(path: Path, remarks: Remarks) -> None:
    keep(path, "cat")
    first, second = opened(path, remarks), opened(path, remarks)
    with path.open("r+b") as stream:
        stream.seek(database.PAGE_BYTES)
        stream.write(b"\xff" * (path.stat().st_size - database.PAGE_BYTES))
    assert first.read(listed) is None
    assert first.write(add, "dog") == 1
    assert second.read(listed) is None
    assert second.read(listed) == ["dog"]
    assert remarks.texts == [f"{path} is damaged or of another version; it begins anew."] * 2


def test_damage_that_comes_back_ends_the_attempts(path: Path, remarks: Remarks) -> None:
    def fail(connection: sqlite3.Connection) -> None:
        connection.executescript("PRAGMA writable_schema = 1; UPDATE sqlite_master SET rootpage = 99;")
        connection.executescript("PRAGMA writable_schema = RESET; SELECT * FROM words;")

    file = opened(path, remarks)
    assert (file.read(fail), file.read(listed)) == (None, [])
    assert (file.read(fail), file.read(listed)) == (None, None)
    first, second = remarks.texts
    assert first == f"{path} is damaged or of another version; it begins anew."
    assert second.startswith(f"Nothing more is kept in {path}: ")


# A file that cannot be written


def test_a_folder_that_cannot_be_made(tmp_path: Path, remarks: Remarks) -> None:
    (tmp_path / "file").touch()
    path = tmp_path / "file" / "cache" / "words.sqlite"
    file = opened(path, remarks)
    assert (file.read(listed), file.write(add, "cat"), file.remove()) == (None, None, False)
    assert remarks.texts == [f"Nothing more is kept in {path}: Not a directory. {ELSEWHERE}"]


def test_where_no_file_can_be_made_it_is_still_read(path: Path, remarks: Remarks) -> None:
    keep(path, "cat")
    lock = path.with_name(".words.sqlite.lock")
    lock.unlink()
    lock.mkdir()  # so that it cannot be locked, as on a read-only disk
    file = opened(path, remarks)
    assert (file.read(listed), file.write(add, "dog"), file.read(listed)) == (["cat"], None, ["cat"])
    (text,) = remarks.texts
    assert text.startswith(f"Nothing more is kept in {path}: ")


def test_a_damaged_file_that_cannot_be_written_stays(path: Path, remarks: Remarks) -> None:
    path.parent.mkdir()
    path.write_bytes(b"no database at all")
    path.with_name(".words.sqlite.lock").mkdir()
    assert opened(path, remarks).read(listed) is None
    assert path.read_bytes() == b"no database at all"


def test_a_full_disk(path: Path, remarks: Remarks) -> None:
    file = opened(path, remarks)
    assert file.write(add, "cat") == 1
    file.read(lambda connection: connection.execute("PRAGMA max_page_count = 4"))
    assert file.write(add, *["dog" * 1000] * 10) is None
    assert (file.write(add, "fox"), file.read(listed)) == (None, ["cat"])
    assert remarks.texts == [f"Nothing more is kept in {path}: database or disk is full. {ELSEWHERE}"]


def test_a_disk_that_becomes_read_only(path: Path, remarks: Remarks) -> None:
    file = opened(path, remarks)
    assert file.write(add, "cat") == 1
    file.read(lambda connection: connection.execute("PRAGMA query_only = 1"))
    assert (file.write(add, "dog"), file.read(listed)) == (None, ["cat"])
    assert remarks.texts == [
        f"Nothing more is kept in {path}: attempt to write a readonly database. {ELSEWHERE}"
    ]


def test_another_process_that_writes_without_end(
    path: Path, remarks: Remarks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "BUSY_TIMEOUT_S", 0.1)
    keep(path, "cat")
    file, other = opened(path, remarks), sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    assert (file.write(add, "dog"), file.read(listed)) == (None, ["cat"])
    assert remarks.texts == [f"Nothing more is kept in {path}: database is locked. {ELSEWHERE}"]
    other.close()


# A file that is removed


def test_a_removed_file_is_no_loss_to_who_has_it_open(path: Path, remarks: Remarks) -> None:
    mine, theirs = opened(path, remarks), opened(path, remarks)
    assert theirs.write(add, "cat") == 1
    assert mine.remove()
    assert not path.exists()
    assert theirs.read(listed) == ["cat"]
    assert theirs.write(add, "dog") == 1
    fresh = opened(path, remarks)
    assert fresh.write(add, "fox") == 1
    theirs.close()  # must not take the fresh one's journal with it
    assert opened(path, remarks).read(listed) == ["fox"]
    assert (fresh.read(listed), mine.read(listed), remarks.texts) == (["fox"], None, [])


# Journals


def test_it_writes_ahead(path: Path, remarks: Remarks) -> None:
    assert opened(path, remarks).read(journal_mode) == "wal"


def test_without_shared_memory_it_keeps_a_rollback_journal(path: Path, remarks: Remarks) -> None:
    keep(path, "cat")
    path.with_name("words.sqlite-shm").mkdir()  # in the way of what the processes would share
    file = opened(path, remarks)
    assert (file.read(journal_mode), file.read(listed)) == ("truncate", ["cat"])
    assert (file.write(add, "dog"), opened(path, remarks).read(listed)) == (1, ["cat", "dog"])
    assert remarks.texts == []


def test_on_a_network_file_system_it_keeps_a_rollback_journal(
    path: Path, remarks: Remarks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(path, "cat")
    mounts = tmp_path / "mounts"
    mounts.write_text(f"/dev/sda1 / ext4 rw 0 0\nserver:/home {tmp_path} nfs4 rw 0 0\n")
    monkeypatch.setattr(database, "MOUNTS", mounts)
    file = opened(path, remarks)
    assert (file.read(journal_mode), file.write(add, "dog")) == ("truncate", 1)
    monkeypatch.undo()
    file.close()
    assert opened(path, remarks).read(journal_mode) == "wal"


@pytest.mark.parametrize(
    ("folder", "expected"),
    [
        ("/home/ann/.cache", True),
        ("/home/ann/local", False),
        ("/home", True),
        ("/homes", False),
        ("/media/my photos/cache", True),
        ("/tmp", False),
    ],
)
def test_the_innermost_mount_says_what_a_folder_is_on(
    folder: str, expected: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text(
        "/dev/sda1 / ext4 rw,relatime 0 0\n"
        "auto /home autofs rw 0 0\n"
        "server:/export/home /home nfs4 rw,vers=4.2 0 0\n"
        "/dev/sdb1 /home/ann/local xfs rw 0 0\n"
        "ann@server:photos /media/my\\040photos fuse.sshfs rw 0 0\n"
    )
    monkeypatch.setattr(database, "MOUNTS", mounts)
    assert database._is_on_network(Path(folder)) is expected


def test_a_number_of_the_database(path: Path, remarks: Remarks) -> None:
    assert opened(path, remarks).read(number, "PRAGMA page_size") == database.PAGE_BYTES
