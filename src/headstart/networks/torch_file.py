"""Reads tensors from a torch file in the old, non-zip format, without torch and without running its code.

The format: five pickles (magic number, protocol, system, object, storage keys), then for each key, in
order, the number of elements as int64 and the raw elements. A tensor is a view of a storage: an offset,
a size and strides, all in elements, and the strides may be permuted.
See `torch/serialization.py`, `_legacy_save`, in PyTorch 1.0 to 1.5.
"""

import collections
import io
import math
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from headstart.base.errors import WeightsError

MAGIC = 0x1950A86A20F9469CFC6C
PROTOCOL = 1001

_BFLOAT16 = "bfloat16"
_DTYPES = {
    "FloatStorage": "<f4",
    "DoubleStorage": "<f8",
    "HalfStorage": "<f2",
    "BFloat16Storage": _BFLOAT16,
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "|i1",
    "ByteStorage": "|u1",
    "BoolStorage": "|b1",
}


def read(path: Path) -> dict[str, NDArray[Any]]:
    """Return the tensors of a state dict by name, in the file's order.

    Args:
        path: A file that `torch.save(model.state_dict(), path)` wrote before PyTorch 1.6.

    Returns:
        Contiguous arrays of their own, in the tensors' dtypes; bfloat16 as float32.

    Raises:
        WeightsError: The file is cut short, is not of this format, names anything but tensors,
            or holds a tensor that reaches outside its storage.
    """
    content = path.read_bytes()
    if content.startswith(b"PK"):
        raise _unreadable(path, "it is in the zip format of PyTorch 1.6 and newer")
    try:
        return _tensors(content)
    # A damaged pickle raises nearly anything, says the documentation of pickle.
    except Exception as error:
        raise _unreadable(path, str(error) or type(error).__name__) from error


def _unreadable(path: Path, reason: str) -> WeightsError:
    return WeightsError(
        f"{path} cannot be read as a torch file: {reason}.",
        "Delete it; `headstart weights pull` brings the expected one.",
    )


# Named tuples, for a pickle cannot set their fields afterwards; a frozen dataclass with slots lets it.
class _Storage(NamedTuple):
    key: str
    dtype: str
    n_elements: int


class _View(NamedTuple):
    storage: _Storage
    offset: int
    size: tuple[int, ...]
    strides: tuple[int, ...]


class _Unpickler(pickle.Unpickler):
    """Knows the names that a state dict needs and refuses all others."""

    def find_class(self, module: str, name: str) -> Any:
        if module == "torch" and name in _DTYPES:
            return _DTYPES[name]
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"it names {module}.{name}, which no weights need")
        return _ALLOWED[module, name]

    def persistent_load(self, pid: Any) -> _Storage:
        kind, dtype, key, _device, n_elements, part = pid
        if kind != "storage" or dtype not in _DTYPES.values() or part is not None:
            raise pickle.UnpicklingError("it has a storage of an unknown kind")
        return _Storage(str(key), dtype, int(n_elements))


def _view(storage: _Storage, offset: int, size: Any, strides: Any, *_: object) -> _View:
    return _View(storage, int(offset), tuple(map(int, size)), tuple(map(int, strides)))


def _parameter(view: _View, *_: object) -> _View:
    return view


_ALLOWED: dict[tuple[str, str], Callable[..., Any]] = {
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): _view,
    ("torch._utils", "_rebuild_parameter"): _parameter,
}


def _tensors(content: bytes) -> dict[str, NDArray[Any]]:
    stream = io.BytesIO(content)
    magic, protocol, system, views, keys = (_Unpickler(stream).load() for _ in range(5))
    if magic != MAGIC or protocol != PROTOCOL or not system["little_endian"]:
        raise ValueError("its first words are another format's")
    storages = _storages(stream, content, keys, views.values())
    return {str(name): _materialise(view, storages[view.storage.key]) for name, view in views.items()}


def _storages(stream: io.BytesIO, content: bytes, keys: Any, views: Any) -> dict[str, NDArray[Any]]:
    known = {view.storage.key: view.storage for view in views}
    arrays = {}
    for key in keys:
        storage = known[key]
        n_elements = int.from_bytes(stream.read(8), "little")
        if n_elements != storage.n_elements:
            raise ValueError(f"storage {key} has {n_elements} elements, not {storage.n_elements}")
        dtype = np.dtype("<u2" if storage.dtype == _BFLOAT16 else storage.dtype)
        # NumPy refuses a count that reaches past the end of the content.
        arrays[key] = np.frombuffer(content, dtype, n_elements, stream.tell())
        stream.seek(n_elements * dtype.itemsize, io.SEEK_CUR)
    return arrays


def _materialise(view: _View, storage: NDArray[Any]) -> NDArray[Any]:
    if math.prod(view.size) > storage.size or min((view.offset, *view.size, *view.strides)) < 0:
        raise ValueError("a tensor reaches outside its storage")
    width = storage.itemsize
    try:
        # Given a buffer, NumPy itself refuses a shape and strides that reach outside it.
        array: NDArray[Any] = np.ndarray(
            view.size, storage.dtype, storage.data, view.offset * width, [one * width for one in view.strides]
        )
    except (TypeError, ValueError) as error:
        raise ValueError("a tensor reaches outside its storage") from error
    if view.storage.dtype == _BFLOAT16:
        return (array.astype(np.uint32) << 16).view(np.float32)
    return array.copy(order="C")
