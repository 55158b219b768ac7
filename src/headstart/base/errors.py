"""Errors that a user can mend: what is wrong, with the value received, then how to mend it.

HeadstartError
├── DataError            the photos, their folders or their labels
│   ├── NoSuchData         no such folder or file
│   ├── TooFewClasses      no class folders, or a single class
│   ├── UnclearLayout      folders that may be classes or parts
│   ├── SmallClass         a class that cannot be divided into the parts
│   ├── UnreadableImage    a picture that no decoder reads
│   │   ├── UnsupportedImage   a picture of a kind that is not read
│   │   └── UnreadableNow      a fault of the machine: tried again, it may be read
│   └── ChangedPhoto       a photo that was changed or removed while it was used
├── SettingsError        an option's value, or a configuration file
│   └── UnknownBackbone    no such row in the table of backbones
├── FetchError           a wheel that cannot be pulled or is another; a store that cannot be read
├── WeightsError         pretrained weights that are missing or not the expected ones
├── RunError             a run folder that is in use, holds something else, or holds no run
├── EngineMismatch       a network that answers otherwise once it is converted or kept
├── DiskFull             no space left where the run or the cache is written
├── ClusterError         other machines that cannot be reached, or would give other numbers
└── MissingPackage       an optional package that this command needs
"""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class HeadstartError(Exception):
    """Something that the user can mend.

    Args:
        problem: What is wrong, with the value received.
        fix: What to do about it, a command where there is one.

    Example:
        >>> print(HeadstartError("No folder 'fotos'.", "Did you mean 'photos'?"))
        No folder 'fotos'.
        Did you mean 'photos'?
    """

    def __init__(self, problem: str, fix: str) -> None:
        super().__init__(problem, fix)
        self.problem = problem
        self.fix = fix

    def __str__(self) -> str:
        return f"{self.problem}\n{self.fix}"


class DataError(HeadstartError):
    """The photos, their folders or their labels."""


class NoSuchData(DataError):
    """No such folder or file."""


class TooFewClasses(DataError):
    """No class folders, or a single class."""


class UnclearLayout(DataError):
    """Folders that may be classes or parts."""


class SmallClass(DataError):
    """A class that cannot be divided into the parts."""


class UnreadableImage(DataError):
    """A picture that no decoder reads."""


class UnsupportedImage(UnreadableImage):
    """A picture of a kind that is not read; `kind` is its name."""

    def __init__(self, problem: str, fix: str, kind: str) -> None:
        super().__init__(problem, fix)
        self.kind = kind


class UnreadableNow(UnreadableImage):
    """A fault of the machine and not of the picture: tried again, it may be read."""


class ChangedPhoto(DataError):
    """A photo that was changed or removed while it was used."""


class SettingsError(HeadstartError):
    """An option's value, or a configuration file."""


class UnknownBackbone(SettingsError):
    """No such row in the table of backbones."""


class FetchError(HeadstartError):
    """A wheel that cannot be pulled or is not the expected one; a store of photos that cannot be read."""


class WeightsError(HeadstartError):
    """Pretrained weights that are missing or not the expected ones."""


class RunError(HeadstartError):
    """A run folder that is in use, holds something else, or holds no run."""


class EngineMismatch(HeadstartError):
    """A network that answers otherwise once it is converted or kept."""


class DiskFull(HeadstartError):
    """No space left where the run or the cache is written."""


class ClusterError(HeadstartError):
    """Other machines that cannot be reached, or would give other numbers than this one."""


class MissingPackage(HeadstartError):
    """An optional package that this command needs."""


@contextmanager
def disk_full_named(folder: Path) -> Iterator[None]:
    """Turn 'no space left', by the operating system or as a library words it, into `DiskFull`."""
    try:
        yield
    except Exception as error:
        if not _is_of_a_full_disk(error):
            raise
        raise DiskFull(
            f"No space is left on the disk that holds {folder}.",
            "Free some space, or name a folder on another disk: --out RUN for the run, "
            "HEADSTART_CACHE=FOLDER for what is kept between runs, TMPDIR=FOLDER for what is temporary.",
        ) from error


def _is_of_a_full_disk(error: Exception) -> bool:
    """Tell by the text, too: errors of TensorFlow have no number."""
    number = error.errno if isinstance(error, OSError) else None
    return number in (errno.ENOSPC, errno.EDQUOT) or os.strerror(errno.ENOSPC) in str(error)


NO_MEMORY = (
    "bad_alloc",
    "Cannot allocate memory",
    "Resource temporarily unavailable",
    "can't alloc",
    "can't start new thread",
    "failed to map segment from shared object",
    "error return without exception set",
)
"""What OpenVINO, TensorFlow, threads, libraries that are loaded and Python say where there is no memory."""


def lacks_memory(error: Exception) -> bool:
    """Say whether an error, whichever library raised it, is for lack of memory."""
    return isinstance(error, MemoryError) or any(words in str(error) for words in NO_MEMORY)
