"""The run folder -> one HTML file that needs nothing else: no network, no photo, no server."""

from pathlib import Path

from headstart.base import filenames, records
from headstart.reporting.report import page
from headstart.reporting.report.contents import read


def prepare() -> None:
    """Put together the scripts of a report where they are not kept, in a process of their own."""
    page.bundle()


def draw(folder: Path) -> Path:
    """Write the report of a finished run into its folder, and return where it is.

    Raises:
        RunError: The folder holds no finished run, or a file of it is damaged or of another version.
        DiskFull: No space is left.
    """
    path = folder / filenames.REPORT
    records.write_bytes(path, render(folder).encode(errors="replace"))
    return path


def render(folder: Path) -> str:
    """Return the report of a finished run: HTML of at most 6 MB for 10 candidates and 5,000 test photos.

    Every figure on it is one of results.json; what is not in the folder is left out, with a sentence that
    says so. Nothing on the page asks the network for anything, which its Content-Security-Policy holds.

    Raises:
        RunError: The folder holds no finished run, or a file of it is damaged or of another version.
    """
    return page.write(read(folder))
