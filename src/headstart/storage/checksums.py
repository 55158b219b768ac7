"""The SHA-256 of each file of a folder, kept beside them, so that later damage is noticed."""

from pathlib import Path

from headstart.storage.wheels import sha256_of

NAME = "SHA256SUMS"
"""The file that they are in; `sha256sum --check SHA256SUMS` reads it, too."""


def write(folder: Path) -> None:
    """Write down the checksum of every file in a folder; raises what the file system raises."""
    files = sorted(file for file in folder.iterdir() if file.name != NAME)
    lines = [f"{sha256_of(file)}  {file.name}\n" for file in files]
    (folder / NAME).write_bytes("".join(lines).encode())


def check(folder: Path) -> None:
    """Compare every file that was written down.

    Raises:
        RuntimeError: One of them, or what was written down, is damaged or missing.
    """
    try:
        lines = (folder / NAME).read_text(encoding="ascii").splitlines()
        expected = {name: sha256 for sha256, _, name in (line.partition("  ") for line in lines)}
        damaged = [name for name, sha256 in expected.items() if sha256_of(folder / name) != sha256]
    except (OSError, ValueError) as error:
        raise RuntimeError(f"{folder} is damaged: {error}") from error
    if damaged or not expected:
        raise RuntimeError(f"{folder / (damaged or [NAME])[0]} is damaged")
