"""The SHA-256 of each file of a folder, kept beside them, so that later damage is noticed."""

from pathlib import Path

from headstart.base import filenames
from headstart.storage.wheels import sha256_of


def write(folder: Path) -> None:
    """Write down the checksum of every file in a folder; raises what the file system raises."""
    files = sorted(file for file in folder.iterdir() if file.name != filenames.CHECKSUMS)
    lines = [f"{sha256_of(file)}  {file.name}\n" for file in files]
    (folder / filenames.CHECKSUMS).write_bytes("".join(lines).encode())


def check(folder: Path) -> None:
    """Compare every file that was written down.

    Raises:
        RuntimeError: One of them, or what was written down, is damaged or missing.
    """
    try:
        lines = (folder / filenames.CHECKSUMS).read_text(encoding="ascii").splitlines()
        expected = {name: sha256 for sha256, _, name in (line.partition("  ") for line in lines)}
        damaged = [name for name, sha256 in expected.items() if sha256_of(folder / name) != sha256]
    except (OSError, ValueError) as error:
        raise RuntimeError(f"{folder} is damaged: {error}") from error
    if damaged or not expected:
        raise RuntimeError(f"{folder / (damaged or [filenames.CHECKSUMS])[0]} is damaged")
