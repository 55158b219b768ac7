"""Vectors kept between runs: found whole or not at all, by many at once, after kill -9, under a limit."""

import hashlib
import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
import tracemalloc
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import PATIENCE_S
from numpy.typing import NDArray

from headstart.base.errors import SettingsError
from headstart.base.progress import Progress
from headstart.networks.table import TABLE
from headstart.storage import store
from headstart.storage.store import Store, Usage

Halves = NDArray[np.float16]


class Remarks(Progress):
    """Remembers what was said."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def remark(self, text: str) -> None:
        self.texts.append(text)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.sqlite"


@pytest.fixture
def remarks() -> Iterator[Remarks]:
    """What was said by a store; a test that expects something takes it out."""
    remarks = Remarks()
    yield remarks
    assert remarks.texts == []


def key(number: int) -> bytes:
    return hashlib.sha256(str(number).encode()).digest()


def vectors(count: int, size: int = 1280) -> Halves:
    return np.random.default_rng(0).standard_normal((count, size)).astype(np.float16)


def items(rows: Halves, start: int = 0) -> list[tuple[bytes, bytes]]:
    return [(key(number), row.tobytes()) for number, row in enumerate(rows, start)]


def query(path: Path, text: str, *values: object) -> list[tuple[Any, ...]]:
    """Ask or change the file behind the store's back."""
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        return connection.execute(text, values).fetchall()
    finally:
        connection.close()


def check_file(path: Path) -> None:
    """Nothing in the file contradicts itself."""
    assert query(path, "PRAGMA integrity_check") == [("ok",)]
    alone = "SELECT id FROM entries EXCEPT SELECT id FROM contents"
    assert query(path, alone) == query(path, "SELECT id FROM contents EXCEPT SELECT id FROM entries") == []


# Rows


def test_vectors_come_back_to_the_bit_and_other_rows_stay(path: Path, remarks: Remarks) -> None:
    rows = vectors(2500)
    with Store(remarks, path) as first:
        first.put(items(rows[::2]), "features")
    got = np.full_like(rows, 7)
    order = np.random.default_rng(1).permutation(2500)
    with Store(remarks, path) as second:
        is_here = second.fill([key(number) for number in order], got)
        assert second.missing([key(number) for number in order]) == np.flatnonzero(order >= 1250).tolist()
    assert is_here.tolist() == (order < 1250).tolist()
    assert np.array_equal(got[is_here], rows[::2][order[is_here]])
    assert (got[~is_here] == 7).all()


def test_a_value_of_another_length_is_not_the_vector(path: Path, remarks: Remarks) -> None:
    with Store(remarks, path) as opened:
        opened.put(items(vectors(2, size=8)), "features")
        got = np.zeros((2, 9), np.float16)
        assert opened.fill([key(0), key(1)], got).tolist() == [False, False]
        assert not got.any()
        opened.put(items(vectors(2, size=9)), "features")
        assert opened.fill([key(0), key(1)], got).tolist() == [True, True]
        assert np.array_equal(got, vectors(2, size=9))
    check_file(path)


def test_the_same_key_asked_for_twice(path: Path, remarks: Remarks) -> None:
    with Store(remarks, path) as opened:
        opened.put([*items(vectors(1)), *items(vectors(1))], "features")
        got = np.zeros((2, 1280), np.float16)
        assert opened.fill([key(0), key(0)], got).all()
        assert np.array_equal(got[0], got[1])
        assert opened.usage()[0].n_items == 1


def test_values_of_any_length(path: Path, remarks: Remarks) -> None:
    values = {key(length): bytes([length % 251]) * length for length in (0, 1, 100, 1000, 1100, 70_000)}
    with Store(remarks, path) as opened:
        opened.put(values.items(), "checks")
        assert opened.get([*values, key(7)]) == values
        opened.put([(key(100), b"changed")], "checks")
        assert opened.get([key(100)]) == {key(100): b"changed"}
        assert opened.get([]) == {}
        assert opened.fill([], np.zeros((0, 5), np.float16)).shape == (0,)
        assert opened.missing([]) == []


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (np.zeros((2, 4)), "rows are float64 (2, 4); expected C-contiguous float16 (2, D)"),
        (np.zeros((3, 4), np.float16), "rows are float16 (3, 4); expected C-contiguous float16 (2, D)"),
        (np.zeros(2, np.float16), "rows are float16 (2,); expected C-contiguous float16 (2, D)"),
        (np.zeros((4, 2), np.float16).T, "rows are float16 (2, 4); expected C-contiguous float16 (2, D)"),
    ],
)
def test_rows_that_cannot_be_filled(path: Path, remarks: Remarks, rows: Halves, message: str) -> None:
    with Store(remarks, path) as opened, pytest.raises(ValueError) as caught:
        opened.fill([key(0), key(1)], rows)
    assert str(caught.value) == message


def test_a_batch_that_fails_is_not_kept_at_all(path: Path, remarks: Remarks) -> None:
    def failing() -> Iterator[tuple[bytes, bytes]]:
        yield from items(vectors(5))
        raise RuntimeError("no more")

    with Store(remarks, path) as opened:
        with pytest.raises(RuntimeError, match="no more"):
            opened.put(failing(), "features")
        assert opened.missing([key(number) for number in range(5)]) == [0, 1, 2, 3, 4]


def test_a_value_that_was_changed_on_the_disk_is_not_found(path: Path, remarks: Remarks) -> None:
    rows = vectors(3)
    with Store(remarks, path) as opened:
        opened.put(items(rows), "features")
    query(path, "UPDATE contents SET value = zeroblob(2560) WHERE id = 1")
    query(path, "UPDATE contents SET value = (SELECT value FROM contents WHERE id = 3) WHERE id = 2")
    with Store(remarks, path) as opened:
        got = np.zeros_like(rows)
        keys = [key(number) for number in range(3)]
        assert opened.fill(keys, got).tolist() == [False, False, True]
        assert list(opened.get(keys)) == [key(2)]
        opened.put(items(rows), "features")
        assert opened.fill(keys, got).all()
    assert np.array_equal(got, rows)


def test_filling_takes_little_memory_beside_the_rows(path: Path, remarks: Remarks) -> None:
    rows = vectors(4000, size=2048)
    keys = [key(number) for number in range(4000)]
    with Store(remarks, path) as opened:
        opened.put(items(rows), "features")
        rows[:] = 0
        tracemalloc.start()
        assert opened.fill(keys, rows).all()
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < 500_000 < rows.nbytes / 30


def test_a_closed_store_finds_and_keeps_nothing(path: Path, remarks: Remarks) -> None:
    with Store(remarks, path) as opened:
        opened.put(items(vectors(1)), "features")
    opened.put(items(vectors(2)), "features")
    assert (opened.get([key(0)]), opened.missing([key(0)]), opened.size_bytes) == ({}, [0], 0)
    assert opened.usage() == tuple(Usage(kind, 0, 0) for kind in store.KINDS)


def test_a_row_is_found_whatever_it_was_filed_as(path: Path, remarks: Remarks) -> None:
    with Store(remarks, path) as opened:
        opened.put(items(vectors(3)), "features")
        query(path, "UPDATE entries SET kind = 'of another version' WHERE id = 1")
        assert opened.missing([key(0), key(1), key(2)]) == []
        opened.put(items(vectors(3))[1:2], "heads")
        counted = {one.kind: one.n_items for one in opened.usage()}
    assert (counted["features"], counted["heads"]) == (1, 1)


def test_by_default_it_is_in_the_cache_folder(
    tmp_path: Path, remarks: Remarks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path / "kept"))
    with Store(remarks) as opened:
        opened.put(items(vectors(1)), "features")
    assert (tmp_path / "kept" / "store.sqlite").stat().st_size > 5120


# What is used, and what goes


def used(path: Path) -> dict[int, int]:
    """When each row was last used, by its id, in seconds before now."""
    now = time.time()
    return {row: round(now - then) for row, then in query(path, "SELECT id, used FROM entries")}


def test_reading_marks_a_row_as_used_once_an_hour(path: Path, remarks: Remarks) -> None:
    with Store(remarks, path) as opened:
        opened.put(items(vectors(5)), "features")
        for row, age in enumerate((0, 3000, 4000, 4000, 4000), start=1):
            query(path, "UPDATE entries SET used = used - ? WHERE id = ?", age, row)
        opened.fill([key(0), key(1), key(2)], np.zeros((3, 1280), np.float16))
        opened.get([key(3)])
        opened.fill([key(4)], np.zeros((1, 7), np.float16))  # of another length: not what was asked for
    assert used(path) == pytest.approx({1: 0, 2: 3000, 3: 0, 4: 0, 5: 4000}, abs=PATIENCE_S)


def test_sizes_add_up_to_what_the_file_takes(path: Path, remarks: Remarks) -> None:
    with Store(remarks, path) as opened:
        opened.put(items(vectors(300, 2048)), "features")
        opened.put(((key(number), bytes(100)) for number in range(1000, 1200)), "checks")
        features, _, checks, _, costs = opened.usage()
        assert opened.size_bytes == sum(one.size_bytes for one in opened.usage())
        assert opened.size_bytes == sum(size for _, size in opened.bytes_by_age())
    assert path.stat().st_size == features.size_bytes + checks.size_bytes
    assert (features.kind, features.n_items, checks.n_items, costs) == (
        "features",
        300,
        200,
        Usage("costs", 0, 0),
    )
    assert features.size_bytes == pytest.approx(300 * 4096, rel=0.08)
    assert checks.size_bytes == pytest.approx(200 * 200, rel=0.2)


@pytest.mark.parametrize("size", [*sorted({row.feature_size for row in TABLE} - {8}), 2700, 4576, 9000])
def test_little_is_lost_beside_the_vectors(path: Path, remarks: Remarks, size: int) -> None:
    with Store(remarks, path) as opened:
        opened.put(items(vectors(300, size)), "features")
        assert 1.02 < opened.size_bytes / (300 * size * 2) < (1.15 if size >= 2048 else 1.5)


def test_pruning_removes_what_was_not_used_for_longest(path: Path, remarks: Remarks) -> None:
    order = np.random.default_rng(2).permutation(400).tolist()
    with Store(remarks, path) as opened:
        opened.put(items(vectors(400)), "features")
        for age in range(0, 400, 2):
            pair = [key(number) for number in order[age : age + 2]]
            query(path, f"UPDATE entries SET used = used - {age} WHERE key IN (?, ?)", *pair)
        before = opened.size_bytes
        opened.prune(before)  # takes no more than the limit
        assert opened.size_bytes == before
        opened.prune(before - 1)
        after = opened.size_bytes
        assert path.stat().st_size == after
        kept = set(range(400)) - set(opened.missing([key(number) for number in range(400)]))
    assert 0.88 * before < after <= 0.9 * before
    assert 355 <= len(kept) <= 361
    # Two rows share each second; of the pair at the edge either may go.
    assert set(order[: len(kept) - 1]) <= kept <= set(order[: len(kept) + 1])
    check_file(path)


def test_the_limit_is_held_while_rows_are_put(
    path: Path, remarks: Remarks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADSTART_CACHE_LIMIT", "1MB")
    rows = vectors(1000)
    sizes = []
    with Store(remarks, path) as opened:
        for start in range(0, 1000, 50):
            opened.put(items(rows[start : start + 50], start), "features")
            sizes.append(opened.size_bytes)
        got = np.zeros_like(rows)
        is_here = opened.fill([key(number) for number in range(1000)], got)
    assert 700_000 < sizes[-1] <= max(sizes) <= 1_000_000
    assert path.stat().st_size <= 1_000_000
    assert is_here.tolist() == sorted(is_here.tolist())  # within one second, the first that came go first
    assert is_here.sum() > 130
    assert np.array_equal(got[is_here], rows[is_here])


def test_a_limit_of_nothing_keeps_nothing(
    path: Path, remarks: Remarks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADSTART_CACHE_LIMIT", "0")
    with Store(remarks, path) as opened:
        opened.put(items(vectors(20)), "features")
        assert opened.usage()[0].n_items == 0


def test_clearing_one_kind_leaves_the_others(path: Path, remarks: Remarks) -> None:
    with Store(remarks, path) as opened:
        opened.put(items(vectors(1500)), "features")
        opened.put([(key(-1), b"checked")], "checks")
        opened.clear(["features"])
        assert {one.kind for one in opened.usage() if one.n_items} == {"checks"}
        assert opened.get([key(0), key(-1)]) == {key(-1): b"checked"}
    assert path.stat().st_size < 10_000
    check_file(path)


def test_clearing_all_removes_the_file(path: Path, remarks: Remarks) -> None:
    with Store(remarks, path) as opened:
        opened.put(items(vectors(10)), "features")
        opened.clear()
        assert opened.missing([key(0)]) == [0]
    assert not path.exists()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, 10_000_000_000),
        ("", 10_000_000_000),
        ("20GB", 20_000_000_000),
        ("500MB", 500_000_000),
        (" 1.5 tb ", 1_500_000_000_000),
        ("64kB", 64_000),
        ("12B", 12),
        ("123456", 123_456),
        ("0", 0),
    ],
)
def test_the_limit(text: str | None, expected: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HEADSTART_CACHE_LIMIT", raising=False)
    if text is not None:
        monkeypatch.setenv("HEADSTART_CACHE_LIMIT", text)
    assert store.limit_bytes() == expected


@pytest.mark.parametrize("text", ["much", "-1", "5 giga", "1e9", "10GiB", "1,5GB", "GB", "٣GB"])
def test_a_limit_that_is_no_size(text: str, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADSTART_CACHE_LIMIT", text)
    with pytest.raises(SettingsError) as caught:
        Store(Progress(), path)
    assert str(caught.value) == (
        f"HEADSTART_CACHE_LIMIT is {text!r}.\nGive a size such as 500MB or 20GB, or a number of bytes."
    )
    assert not path.exists()


# A file that is damaged


@pytest.mark.parametrize("seed", range(8))
def test_whatever_is_damaged_no_wrong_vector_comes_out(path: Path, seed: int) -> None:
    rows = vectors(500)
    keys = [key(number) for number in range(500)]
    with Store(Progress(), path) as opened:
        opened.put(items(rows), "features")
    chosen = random.Random(seed)
    with path.open("r+b") as stream:
        for _ in range(20):
            stream.seek(chosen.randrange(100 if seed < 4 else 0, path.stat().st_size - 600))
            stream.write(chosen.randbytes(600))
    got, remarks = np.zeros_like(rows), Remarks()
    with Store(remarks, path) as opened:
        is_here = opened.fill(keys, got)
        assert np.array_equal(got[is_here], rows[is_here])
        assert not is_here.all()
        for _ in range(2):  # the first may be what meets the damage
            opened.put(items(rows), "features")
        assert opened.fill(keys, got).all()
    assert np.array_equal(got, rows)
    assert set(remarks.texts) <= {f"{path} is damaged or of another version; it begins anew."}


# Several at once


CHILD = """
import hashlib, sys
from pathlib import Path
import numpy as np
from headstart.base.progress import Console
from headstart.storage.store import Store

def item(number):
    digest = hashlib.sha256(str(number).encode()).digest()
    return digest, hashlib.shake_256(digest).digest(5120)

path, start, count, size = Path(sys.argv[1]), *map(int, sys.argv[2:])
with Store(Console(), path) as store:
    print("ready", flush=True)
    for first in range(start, start + count, size):
        store.put([item(number) for number in range(first, first + size)], "features")
        print("put", flush=True)
        if not first % 3:
            keys = [item(number)[0] for number in range(first - size, first + size)]
            rows = np.zeros((len(keys), 1280), np.float16)
            for index in np.flatnonzero(store.fill(keys, rows)):
                assert rows[index].tobytes() == item(first - size + int(index))[1]
"""


def child(path: Path, start: int, count: int, size: int, **environment: str) -> "subprocess.Popen[str]":
    """Start a process that puts values with the keys `start` to `start + count`, `size` at a time."""
    return subprocess.Popen(
        [sys.executable, "-c", CHILD, *map(str, (path, start, count, size))],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | environment,
    )


def numbers_of(opened: Store, numbers: Iterable[int]) -> set[int]:
    """The numbers below a bound whose values are here; all that are must be whole."""
    keys = {key(number): number for number in numbers}
    values = opened.get(list(keys))
    for digest, value in values.items():
        assert value == hashlib.shake_256(digest).digest(5120)
    return {keys[digest] for digest in values}


@pytest.mark.parametrize("limit", ["1GB", "1MB"])
def test_kill_9_leaves_whole_rows_and_whole_batches(path: Path, remarks: Remarks, limit: str) -> None:
    wait = random.Random(3)
    n_found = 0
    for round_number in range(4):
        start = round_number * 100_000
        with child(path, start, 100_000, 20, HEADSTART_CACHE_LIMIT=limit) as process:
            assert process.stdout
            assert process.stderr
            assert process.stdout.readline() == "ready\n"
            for _ in range(wait.randrange(3, 20)):
                assert process.stdout.readline() == "put\n"
            time.sleep(wait.uniform(0, 0.03))
            process.send_signal(signal.SIGKILL)
            process.wait(PATIENCE_S)
            assert process.stderr.read() == ""
        with Store(remarks, path) as opened:
            found = numbers_of(opened, range(start, start + 20_000))
            n_entries = opened.usage()[0].n_items
        check_file(path)
        n_found += len(found)
        if limit == "1GB":
            assert len(found) % 20 == 0
            assert found == set(range(start, start + len(found)))
            assert n_entries == n_found
        else:
            assert path.stat().st_size < 1_300_000
    assert n_found >= 100


def test_processes_share_it(path: Path, remarks: Remarks) -> None:
    """Three at once, of which two put the same values."""
    children = [child(path, start, 600, 30) for start in (0, 0, 1000)]
    said = [process.communicate(timeout=PATIENCE_S) for process in children]
    assert said == [("ready\n" + 20 * "put\n", "")] * 3
    assert [process.returncode for process in children] == [0, 0, 0]
    with Store(remarks, path) as opened:
        assert numbers_of(opened, range(2000)) == {*range(600), *range(1000, 1600)}
        assert opened.usage()[0].n_items == 1200
    check_file(path)


def test_processes_share_it_under_a_limit(path: Path, remarks: Remarks) -> None:
    children = [child(path, start, 900, 30, HEADSTART_CACHE_LIMIT="1MB") for start in (0, 1000)]
    said = [process.communicate(timeout=PATIENCE_S) for process in children]
    assert said == [("ready\n" + 30 * "put\n", "")] * 2
    assert [process.returncode for process in children] == [0, 0]
    with Store(remarks, path) as opened:
        assert 100 < len(numbers_of(opened, range(2000))) < 200
        assert opened.size_bytes <= 1_000_000
    check_file(path)


def test_threads_share_one_store(path: Path, remarks: Remarks) -> None:
    rows = vectors(400, size=64)
    wrong: list[int] = []

    def work(opened: Store, start: int) -> None:
        for first in range(start, 400, 40):
            opened.put(items(rows[first : first + 10], first), "features")
            got = np.zeros((10, 64), np.float16)
            is_here = opened.fill([key(number) for number in range(first, first + 10)], got)
            if not is_here.all() or not np.array_equal(got, rows[first : first + 10]):
                wrong.append(first)

    with Store(remarks, path) as opened:
        threads = [threading.Thread(target=work, args=(opened, start)) for start in (0, 10, 20, 30)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert opened.missing([key(number) for number in range(400)]) == wrong == []
