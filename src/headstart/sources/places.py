"""What the user names as the place of photos -> a folder or a table of this machine."""

from pathlib import Path
from urllib.parse import unquote, urlsplit

from headstart.base.progress import Progress
from headstart.storage import remote, samples

LOCAL = "file://"


def normal(data: str) -> str:
    """Return what names the same place from any folder.

    Example:
        >>> normal("file:///data/my%20photos"), normal("s3://bucket/photos/"), normal("sample:textile")
        ('/data/my photos', 's3://bucket/photos', 'sample:textile')
    """
    if data.startswith(LOCAL):
        data = unquote(urlsplit(data).path)
    if data.startswith(samples.PREFIX):
        return data
    return data.rstrip("/") if remote.is_remote(data) else str(Path(data).expanduser().resolve())


def name_of(data: str) -> str:
    """Return what photos are called by their place, as `normal` gives it.

    Example:
        >>> name_of("sample:textile"), name_of("s3://bucket/photos")
        ('textile', 'photos')
    """
    if data.startswith(samples.PREFIX):
        return data.removeprefix(samples.PREFIX)
    if remote.is_remote(data):
        return remote.name_of(data)
    return Path(data).stem if Path(data).is_file() else Path(data).name


def resolve(data: str, progress: Progress) -> Path:
    """Return the folder or table: pulled, if it is a sample, or fetched from an object store, into the cache.

    Raises:
        NoSuchData: No sample has that name, or nothing is there in the store; of a path nothing is said.
        FetchError, MissingPackage, DiskFull: It cannot be pulled or fetched.

    Example:
        >>> resolve("photos/animals", Progress()).as_posix()
        'photos/animals'
    """
    if data.startswith(samples.PREFIX):
        return samples.resolve(data, progress)
    if data.startswith(LOCAL):
        return Path(normal(data))
    return remote.fetch(data, progress) if remote.is_remote(data) else Path(data)
