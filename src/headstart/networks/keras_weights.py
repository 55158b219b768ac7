"""Keras's own weight files: in a folder that the user names, in Keras's cache, or from Keras's address.

A file that is pulled stays where Keras itself looks for it, under Keras's name. Keras is not imported for
that: it takes seconds, and its own download writes to stdout, waits on a dead network without end and
leaves half a file behind when it is killed.
"""

import hashlib
import http.client
import math
import os
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from headstart.base.errors import WeightsError, disk_full_named
from headstart.base.progress import Progress
from headstart.networks.table import Backbone, KerasFile

TIMEOUT_S = 30
"""How long the other side may be silent before a download is given up."""

MEGABYTE = 1_000_000


def locate(row: Backbone, *, weights_dir: Path | None, progress: Progress) -> Path:
    """Return the weight file of a row of keras.applications, downloaded if it is not here yet.

    Looks in `weights_dir`, then in Keras's cache ($KERAS_HOME/models, by default ~/.keras/models), then
    at Keras's address. As with Keras, a damaged file in its cache is downloaded again.

    Args:
        row: A row whose weights are a `KerasFile`.
        weights_dir: Folder with files under the names that Keras uses, or None.
        progress: Told before a download, and of its megabytes.

    Raises:
        WeightsError: The file in `weights_dir` is not the expected one, or the download failed or gave
            another file.
        DiskFull: No space is left for it.
    """
    source = _source(row)
    if weights_dir and (given := weights_dir / source.name).is_file():
        _refuse_other_weights(
            given, row, str(given), f"Put the file from {source.url} in its place, or remove it."
        )
        return given
    for kept in [folder / source.name for folder in _cache_dirs()]:
        if kept.is_file() and _is_right(kept, source):
            return kept
    target = _cache_dirs()[-1] / source.name
    _download(row, target, weights_dir or target.parent, progress)
    return target


def find(row: Backbone, weights_dir: Path | None) -> Path | None:
    """Return the weight file in `weights_dir` or in Keras's cache, unread; None where there is none."""
    folders = [*([weights_dir] if weights_dir else []), *_cache_dirs()]
    files = (folder / _source(row).name for folder in folders)
    return next((file for file in files if file.is_file()), None)


def _source(row: Backbone) -> KerasFile:
    if not isinstance(row.weights, KerasFile):
        raise TypeError(f"{row.name} is not of keras.applications")
    return row.weights


def _cache_dirs() -> list[Path]:
    """Return where Keras looks, last the folder it writes to; keras/src/utils/file_utils.py, `get_file`."""
    home = _keras_home()
    existing = next(folder for folder in (home, *home.absolute().parents) if folder.exists())
    if os.access(existing, os.W_OK):
        return [home / "models"]
    spare = "/tmp" if os.path.isdir("/tmp") else tempfile.gettempdir()
    return [home / "models", Path(spare, ".keras", "models")]


def _keras_home() -> Path:
    """Return what Keras calls its home; keras/src/backend/config.py."""
    base = Path.home() if os.access(Path.home(), os.W_OK) else Path("/tmp")
    return Path(os.environ.get("KERAS_HOME", base / ".keras")).expanduser()


def _checksum(path: Path, source: KerasFile) -> tuple[str, str]:
    """Return the kind of checksum that Keras publishes of this file, and the one that the file has."""
    kind = "SHA-256" if len(source.checksum) == 64 else "MD5"
    with path.open("rb") as stream:
        return kind, hashlib.file_digest(stream, kind.replace("-", "")).hexdigest()


def _is_right(path: Path, source: KerasFile) -> bool:
    return not source.checksum or _checksum(path, source)[1] == source.checksum


def _refuse_other_weights(path: Path, row: Backbone, subject: str, fix: str) -> None:
    source = _source(row)
    if not _is_right(path, source):
        kind, found = _checksum(path, source)
        raise WeightsError(
            f"{subject} is not the weights of {row.name}: its {kind} is {found}, not {source.checksum}.", fix
        )


def _download(row: Backbone, target: Path, folder: Path, progress: Progress) -> None:
    """Put the file at `target`, whole or not at all; `folder` is where the user may put it instead."""
    source = _source(row)
    by_hand = f"Download it where there is a network, and put it into {folder} as {source.name}."
    progress.remark(f"Downloading the weights of {row.name}, once, from {source.url}.")
    try:
        with disk_full_named(target.parent), _temporary(target) as part:
            _fetch(source, part, progress)
            _refuse_other_weights(part, row, f"What {source.url} gives", by_hand)
            part.replace(target)
    except (OSError, http.client.HTTPException) as error:
        raise WeightsError(
            f"The weights of {row.name} cannot be downloaded from {source.url}: {_reason(error)}.", by_hand
        ) from error


@contextmanager
def _temporary(target: Path) -> Iterator[Path]:
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as folder:
        yield Path(folder) / target.name


def _fetch(source: KerasFile, part: Path, progress: Progress) -> None:
    with urllib.request.urlopen(source.url, timeout=TIMEOUT_S) as answer, part.open("wb") as file:
        size = int(answer.headers["Content-Length"] or 0)
        with progress.stage(f"Downloading {source.name}", math.ceil(size / MEGABYTE), "MB") as advance:
            while chunk := answer.read(MEGABYTE):
                file.write(chunk)
                advance()
        if file.tell() < size:
            raise ConnectionError(f"it broke off after {file.tell()} of {size} bytes")


def _reason(error: Exception) -> str:
    if isinstance(error, urllib.error.HTTPError):
        return str(error)
    reason = getattr(error, "reason", error)
    return getattr(reason, "strerror", None) or str(reason)
