"""Photos in an object store -> a copy of them in the cache, by fsspec; only what changes is fetched again.

A copy, because everything else reads files of this machine: a photo is opened by its path when it is checked,
asked about, trained on and shown, by libraries of their own. Each is fetched once for all of that.
"""

import hashlib
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from headstart.base import records
from headstart.base.errors import FetchError, HeadstartError, MissingPackage, NoSuchData, disk_full_named
from headstart.base.progress import Progress
from headstart.storage.wheels import cache_dir

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

_SCHEME = re.compile(r"[a-z][a-z0-9+.-]+://")

AT_ONCE = 256
"""Files that are fetched before it is written down that they are here."""

EXTRAS = {"s3": "s3", "gs": "gs"}
"""Schemes whose packages an extra of ours brings."""

CREDENTIALS = (
    "Give the credentials as the store's own tools take them: for S3 AWS_PROFILE, or AWS_ACCESS_KEY_ID and "
    "AWS_SECRET_ACCESS_KEY; for Google `gcloud auth application-default login`."
)


@dataclass(frozen=True)
class Manifest:
    """What a copy holds.

    Attributes:
        url: What it is a copy of.
        files: By path below it, what the store says of the file: size, checksum, time, as one digest.
    """

    url: str
    files: dict[str, str]


def is_remote(data: str) -> bool:
    """Say whether a text names something in another place, such as s3://bucket/photos.

    Example:
        >>> [is_remote(data) for data in ("s3://bucket/photos", "photos", "c://photos", "sample:textile")]
        [True, False, False, False]
    """
    return _SCHEME.match(data) is not None


def name_of(data: str) -> str:
    """Return what photos in another place are called: the last part of their address.

    Example:
        >>> name_of("s3://bucket/photos/"), name_of("s3://bucket/photos/labels.csv"), name_of("s3://bucket")
        ('photos', 'labels', 'bucket')
    """
    return PurePosixPath(_SCHEME.sub("", data)).stem


def fetch(url: str, progress: Progress) -> Path:
    """Make the copy of photos in an object store as they are there, and return it.

    All files below the address are fetched, or all in the folder of a table and below; what is gone there
    goes here. Where it was interrupted, it goes on with the files that are missing.

    Args:
        url: Folder or table, as fsspec names it.
        progress: Told of each file.

    Returns:
        The folder, or the table, in the cache.

    Raises:
        MissingPackage: What reads such a store is not installed.
        NoSuchData: Nothing is there.
        FetchError: The store cannot be reached, or does not let us read.
        DiskFull: No space is left for the cache.
    """
    import filelock

    url = url.rstrip("/")
    with _told(url):
        system, path = _opened(url)
        is_table = system.isfile(path)
        root = path.rpartition("/")[0] if is_table else path
        found = _found(system, root)
    if not found:
        raise _nothing(url)
    folder = _folder(url if not is_table else url.rpartition("/")[0])
    with disk_full_named(cache_dir()):
        folder.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(folder.with_name(f".{folder.name}.lock")):
            _bring_up_to_date(folder, url, system, root, found, progress)
    files = folder / "files"
    return files / path.rpartition("/")[2] if is_table else files


def _folder(url: str) -> Path:
    """Return where the copy of an address is, with its manifest."""
    digest = hashlib.sha256(url.encode()).hexdigest()
    return cache_dir() / "photos" / f"{name_of(url)}-{digest[:12]}"


def _opened(url: str) -> tuple["AbstractFileSystem", str]:
    scheme = url.partition("://")[0]
    try:
        import fsspec

        system, path = fsspec.url_to_fs(url)
    except ImportError as error:
        extra = EXTRAS.get(scheme)
        install = f"pip install 'headstart[{extra}]'" if extra else f"{error}."
        raise MissingPackage(f"{url} needs a package that is not installed.", install) from error
    except ValueError as error:
        raise NoSuchData(
            f"{url} is in no store that is known: {error}.", "Name a folder, a table, s3:// or gs://."
        ) from error
    # What it has listed before may be old by now.
    system.invalidate_cache()
    return system, path


def _found(system: "AbstractFileSystem", root: str) -> dict[str, str]:
    """Return all files below `root` by their paths below it, each with a digest of what is said of it."""
    from fsspec.utils import tokenize

    listed: Mapping[str, Any] = system.find(root, detail=True)
    return {
        path.removeprefix(root).lstrip("/"): tokenize(
            {key: str(value) for key, value in sorted(facts.items())}
        )
        for path, facts in listed.items()
        if not path.endswith("/")
    }


def _bring_up_to_date(
    folder: Path,
    url: str,
    system: "AbstractFileSystem",
    root: str,
    found: Mapping[str, str],
    progress: Progress,
) -> None:
    kept, files = _manifest(folder), folder / "files"
    here = {path: kept[path] for path in found if kept.get(path) == found[path] and (files / path).is_file()}
    for path in kept.keys() - found.keys():
        (files / path).unlink(missing_ok=True)
    missing = sorted(found.keys() - here.keys())
    if not missing:
        _write(folder, url, here)
        return
    for path in missing:  # a name that leads elsewhere would be written there
        if ".." in PurePosixPath(path).parts or not path:
            raise FetchError(f"{url} holds {path!r}, a name that leads elsewhere.", "Rename it there.")
    with progress.stage(f"Fetching {url}", len(missing), "files") as advance:
        for first in range(0, len(missing), AT_ONCE):
            some = missing[first : first + AT_ONCE]
            with _told(url):
                _get(system, root, some, files)
            here |= {path: found[path] for path in some}
            _write(folder, url, here)
            advance(len(some))


def _get(system: "AbstractFileSystem", root: str, paths: Sequence[str], files: Path) -> None:
    for parent in {(files / path).parent for path in paths}:
        parent.mkdir(parents=True, exist_ok=True)
    system.get([f"{root}/{path}" for path in paths], [str(files / path) for path in paths])


def _manifest(folder: Path) -> dict[str, str]:
    """Return what a copy was said to hold; nothing where that is damaged."""
    try:
        return records.read_json(folder / "manifest.json", Manifest).files
    except (OSError, ValueError, HeadstartError):
        shutil.rmtree(folder / "files", ignore_errors=True)
        return {}


def _write(folder: Path, url: str, files: dict[str, str]) -> None:
    records.write_json(folder / "manifest.json", Manifest(url, files))


def _nothing(url: str) -> NoSuchData:
    return NoSuchData(f"Nothing is at {url}.", "Name bucket and folder as the store does.")


@contextmanager
def _told(url: str) -> Iterator[None]:
    """Turn what a store's package raises into errors that say what to do."""
    try:
        yield
    except HeadstartError:
        raise
    except FileNotFoundError as error:
        raise _nothing(url) from error
    except Exception as error:  # each store's package has errors of its own
        if isinstance(error, OSError) and error.errno is not None and not isinstance(error, PermissionError):
            raise
        reason = str(error).strip().rstrip(".") or type(error).__name__
        is_refused = isinstance(error, PermissionError) or "credential" in reason.lower()
        fix = (
            CREDENTIALS
            if is_refused
            else "See that this machine reaches the store, and give the command again."
        )
        raise FetchError(f"{url} cannot be read: {reason}.", fix) from error
