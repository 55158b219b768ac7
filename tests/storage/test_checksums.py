"""Checksums notice what has changed, and are those of the usual command."""

import shutil
import subprocess
from pathlib import Path

import pytest

from headstart.storage import checksums


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "a.bin").write_bytes(bytes(range(256)) * 1000)
    (tmp_path / "b.txt").write_bytes(b"")
    checksums.write(tmp_path)
    return tmp_path


def test_they_are_those_of_the_usual_command(folder: Path) -> None:
    checksums.check(folder)
    text = (folder / "SHA256SUMS").read_text()
    # Of no bytes at all: FIPS 180-4, as NIST's examples give it.
    assert text.splitlines()[1] == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855  b.txt"
    if shutil.which("sha256sum"):
        command = ["sha256sum", "--check", "--strict", "SHA256SUMS"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout) == (0, "a.bin: OK\nb.txt: OK\n")


def test_writing_them_again_changes_nothing(folder: Path) -> None:
    before = (folder / "SHA256SUMS").read_bytes()
    checksums.write(folder)
    assert (folder / "SHA256SUMS").read_bytes() == before


def test_a_changed_file_is_named(folder: Path) -> None:
    (folder / "b.txt").write_bytes(b"b")
    with pytest.raises(RuntimeError, match=r"b\.txt is damaged$"):
        checksums.check(folder)


def test_a_missing_file_is_damage_and_one_more_is_none(folder: Path) -> None:
    (folder / "notes.txt").write_text("mine")
    checksums.check(folder)
    (folder / "a.bin").unlink()
    with pytest.raises(RuntimeError, match="No such file"):
        checksums.check(folder)
