"""Dataclasses to and from JSON and TOML, and files that are whole or not there."""

import codecs
import csv
import io
import os
import tempfile
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from headstart.base.errors import RunError, disk_full_named

Record = TypeVar("Record")


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Give a stream to write a file to, atomically: readers see the old content or the new, never a part.

    Where the block fails, the file stays as it was.

    Raises:
        DiskFull: No space is left on the disk of `path`.
    """
    with disk_full_named(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "wb") as stream:
                yield stream
                stream.flush()
                os.fsync(stream.fileno())
            os.chmod(temporary, 0o644)
            os.replace(temporary, path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file atomically; see `replacing`.

    Raises:
        DiskFull: No space is left on the disk of `path`.
    """
    with replacing(path) as stream:
        stream.write(content)


def to_json(record: object) -> bytes:
    r"""Return a dataclass as indented UTF-8 JSON that ends in a newline.

    Example:
        >>> from headstart.base.settings import Settings
        >>> to_json(Settings(data="photos"))[:24]
        b'{\n  "data": "photos",\n  '
    """
    return msgspec.json.format(msgspec.json.encode(record), indent=2) + b"\n"


def to_bytes(record: object) -> bytes:
    """Return a dataclass as compact JSON."""
    return msgspec.json.encode(record)


def from_bytes(content: bytes, kind: type[Record]) -> Record:
    """Read what `to_bytes` gave; raises msgspec.DecodeError where it is something else."""
    return msgspec.json.decode(content, type=kind)


def to_npz(arrays: Sequence[NDArray[Any]]) -> bytes:
    """Return arrays, of numbers, as the bytes of a .npz file."""
    content = io.BytesIO()
    np.savez(content, *arrays)
    return content.getvalue()


def from_npz(content: bytes) -> tuple[NDArray[Any], ...]:
    """Read what `to_npz` gave; nothing in it is unpickled."""
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        return tuple(arrays[name] for name in arrays.files)


def write_json(path: Path, record: object) -> None:
    """Write a dataclass to a JSON file, atomically."""
    write_bytes(path, to_json(record))


def read_json(path: Path, kind: type[Record]) -> Record:
    """Read a JSON file into a dataclass, types checked.

    Raises:
        RunError: The file is damaged, or of another version of Headstart.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise RunError(
            f"{path} cannot be read: {error}.",
            "It was changed by hand or written by another version; run the command again with a new --out.",
        ) from error


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    r"""Write a CSV file (UTF-8, RFC 4180 quoting, lines end in \n), atomically."""
    with replacing(path) as stream:
        writer = csv.writer(codecs.getwriter("utf-8")(stream), lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file into a dict; raises what `tomllib` and the file system raise."""
    return tomllib.loads(path.read_text(encoding="utf-8"))


def write_toml(path: Path, values: dict[str, Any], comment: str) -> None:
    """Write a TOML file with a first line of comment, atomically; TOML has no null, so None is left out."""
    import tomli_w

    present = {key: value for key, value in values.items() if value is not None}
    write_bytes(path, f"# {comment}\n{tomli_w.dumps(present)}".encode())
