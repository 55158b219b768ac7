"""What a long computation has come to so far, kept so that after an interruption it goes on from there."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np

from headstart.base import records
from headstart.base.arrays import Array

LABEL = "label"


@dataclass(frozen=True)
class Checkpoints:
    """Arrays in files of a folder, each with what all of them were made from.

    A file is whole or not there, and what is damaged, or was made from something else, is not found: so what
    is found is what the same computation would come to again.

    Attributes:
        folder: Where the files are; it is made where it is missing.
        origin: The SHA-256 of all that decides the values, in hexadecimal.

    Example:
        >>> import tempfile
        >>> folder = tempfile.TemporaryDirectory()
        >>> seven = Checkpoints(Path(folder.name), "").made_from("seed 7")
        >>> seven.save("sums", {"of two": np.float32([1, 2])})
        >>> {name: values.tolist() for name, values in seven.load("sums").items()}
        {'of two': [1.0, 2.0]}
        >>> seven.made_from("another rate").load("sums")
        {}
        >>> folder.cleanup()
    """

    folder: Path
    origin: str

    def made_from(self, *decisive: object) -> Self:
        """Return the same, where these decide the values too; what they are is told by their `repr`."""
        told = hashlib.sha256(f"{self.origin} {decisive!r}".encode())
        return type(self)(self.folder, told.hexdigest())

    def save(self, name: str, arrays: Mapping[str, Array]) -> None:
        """Keep arrays of numbers in the place of those of that name.

        Raises:
            DiskFull: No space is left.
        """
        label = np.frombuffer(self._label(arrays), np.uint8)
        with records.replacing(self._path(name)) as stream:
            np.savez(stream, **{LABEL: label, **arrays})  # type: ignore[arg-type]

    def load(self, name: str) -> dict[str, Array]:
        """Return the arrays of that name by theirs; none where there are none of this origin, whole."""
        try:
            with self._path(name).open("rb") as stream, np.load(stream, allow_pickle=False) as kept:
                names = [one for one in kept.files if one != LABEL]
                is_of_this = kept[LABEL].tobytes() == self._label(names)
                return {one: kept[one] for one in names} if is_of_this else {}
        except Exception:  # damaged bytes make zipfile, which has checksums, and NumPy fail in a dozen ways
            return {}

    def _label(self, names: Iterable[str]) -> bytes:
        """Return what stands in a file beside its arrays: a damaged table of contents may lack some."""
        return repr((self.origin, *names)).encode()

    def _path(self, name: str) -> Path:
        return self.folder / f"{name.replace('/', ' of ')}.npz"
