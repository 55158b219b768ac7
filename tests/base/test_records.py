import csv
import errno
import os
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

import pytest

from headstart.base.errors import DiskFull, RunError
from headstart.base.records import (
    read_json,
    read_toml,
    to_json,
    write_bytes,
    write_csv,
    write_json,
    write_toml,
)


@dataclass(frozen=True)
class Cat:
    name: str
    weight_kg: float
    toys: tuple[str, ...] = ()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_dataclass_comes_back_from_json_as_it_was(tmp_path: Path) -> None:
    cat = Cat("Mîtzi", 0.1 + 0.2, ("ball", "mouse"))
    write_json(tmp_path / "cat.json", cat)
    assert read_json(tmp_path / "cat.json", Cat) == cat


def test_json_is_indented_utf8_that_ends_in_a_newline() -> None:
    assert to_json(Cat("Mîtzi", 4.0)) == (
        '{\n  "name": "Mîtzi",\n  "weight_kg": 4.0,\n  "toys": []\n}\n'.encode()
    )


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b'{"name": "Tom"}', "Object missing required field `weight_kg`"),
        (b'{"name": 3, "weight_kg": 4}', "Expected `str`, got `int` - at `$.name`"),
        (b'{"name": "Tom", ', "Input data was truncated"),
        (b"", "Input data was truncated"),
    ],
)
def test_damaged_json_is_named(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "results.json"
    path.write_bytes(content)
    with pytest.raises(RunError) as caught:
        read_json(path, Cat)
    assert str(caught.value) == (
        f"{path} cannot be read: {reason}.\n"
        "It was changed by hand or written by another version; run the command again with a new --out."
    )


def test_json_that_is_not_utf8_is_named(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    path.write_bytes(b'{"name": "\xff\xfe", "weight_kg": 4}')
    with pytest.raises(RunError) as caught:
        read_json(path, Cat)
    assert caught.value.problem.startswith(f"{path} cannot be read: ")


def test_csv_quotes_what_needs_it_and_ends_lines_in_a_newline(tmp_path: Path) -> None:
    path = tmp_path / "split.csv"
    rows = [("a,b.jpg", 'say "cat"', 1), ("zwei\nZeilen.jpg", "ü", 0.5)]
    write_csv(path, ("path", "label", "group"), rows)
    assert path.read_bytes() == (
        'path,label,group\n"a,b.jpg","say ""cat""",1\n"zwei\nZeilen.jpg",ü,0.5\n'.encode()
    )
    with path.open(newline="", encoding="utf-8") as stream:
        read = list(csv.reader(stream))
    assert read[1:] == [[str(value) for value in row] for row in rows]


def test_toml_comes_back_and_leaves_none_out(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    values = {"data": 'photos of "Ü"', "seed": 0, "test": 0.2, "backbones": ["a", "b"], "out": None}
    write_toml(path, values, "headstart compare --config config.toml")
    assert path.read_text(encoding="utf-8").startswith("# headstart compare --config config.toml\ndata = ")
    assert read_toml(path) == {key: value for key, value in values.items() if key != "out"}


def test_toml_raises_what_the_parser_and_the_file_system_raise(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_toml(tmp_path / "none.toml")
    (tmp_path / "bad.toml").write_text("seed = = 1", encoding="utf-8")
    with pytest.raises(tomllib.TOMLDecodeError):
        read_toml(tmp_path / "bad.toml")


def test_missing_folders_are_made_and_nothing_else_is_left(tmp_path: Path) -> None:
    write_bytes(tmp_path / "runs" / "pets" / "a.bin", b"one")
    write_bytes(tmp_path / "runs" / "pets" / "a.bin", b"two")
    assert (tmp_path / "runs" / "pets" / "a.bin").read_bytes() == b"two"
    assert names(tmp_path / "runs" / "pets") == ["a.bin"]


@pytest.mark.skipif(os.name != "posix", reason="file modes are POSIX's")
def test_others_may_read_what_was_written(tmp_path: Path) -> None:
    write_bytes(tmp_path / "a.bin", b"one")
    assert (tmp_path / "a.bin").stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("failing", ["fsync", "replace"])
def test_a_full_disk_leaves_the_old_file_and_no_litter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    path = tmp_path / "results.json"
    write_bytes(path, b"old")
    monkeypatch.setattr(os, failing, fail)
    with pytest.raises(DiskFull) as caught:
        write_bytes(path, b"new")
    assert str(caught.value) == (
        f"No space is left on the disk that holds {tmp_path}.\n"
        "Free some space, or name a folder on another disk: --out RUN for the run, "
        "HEADSTART_CACHE=FOLDER for what is kept between runs, TMPDIR=FOLDER for what is temporary."
    )
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["results.json"]


def test_a_file_too_large_for_its_limit_leaves_the_old_one(tmp_path: Path) -> None:
    """A real failure of the system in the middle of a write: the kernel stops the file at 4 kB."""
    resource = pytest.importorskip("resource", reason="limits on file size are POSIX's")
    path = tmp_path / "model.bin"
    write_bytes(path, b"old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(OSError) as caught:
            write_bytes(path, bytes(1_000_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert caught.value.errno == errno.EFBIG
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["model.bin"]


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL is POSIX's")
def test_a_killed_process_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    write_bytes(path, b"old")
    code = (
        "import os, signal, sys; from pathlib import Path; from headstart.base.records import write_bytes\n"
        "os.fsync = lambda handle: os.kill(os.getpid(), signal.SIGKILL)  # written, not in place\n"
        "write_bytes(Path(sys.argv[1]), b'new' * 1000)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], check=False)
    assert done.returncode == -9
    assert path.read_bytes() == b"old"
    litter = [name for name in names(tmp_path) if name != "results.json"]
    assert len(litter) == 1 and litter[0].startswith(".results.json.")
    write_bytes(path, b"newer")
    assert path.read_bytes() == b"newer"
