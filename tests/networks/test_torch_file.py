"""Files in torch's old format, written here opcode by opcode; see pickletools for the letters."""

import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from headstart.base.errors import WeightsError
from headstart.networks import torch_file


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def number(value: int) -> bytes:
    return b"J" + struct.pack("<i", value)


def many(*values: bytes) -> bytes:
    return b"(" + b"".join(values) + b"t"


def name(module: str, attribute: str) -> bytes:
    return f"c{module}\n{attribute}\n".encode()


EMPTY = name("collections", "OrderedDict") + b")R"


def tensor(
    key: str,
    n_elements: int,
    size: list[int],
    strides: list[int],
    offset: int = 0,
    kind: str = "FloatStorage",
) -> bytes:
    storage = (
        many(text("storage"), name("torch", kind), text(key), text("cpu"), number(n_elements), b"N") + b"Q"
    )
    sides = many(*map(number, size)), many(*map(number, strides))
    return (
        name("torch._utils", "_rebuild_tensor_v2")
        + many(storage, number(offset), *sides, b"\x89", EMPTY)
        + b"R"
    )


def file_of(tensors: dict[str, bytes], storages: dict[str, NDArray[Any]]) -> bytes:
    """Return a whole file: header, state dict, keys, then count and elements of each storage."""
    head = [torch_file.MAGIC, torch_file.PROTOCOL, {"little_endian": True, "protocol_version": 1001}]
    items = b"".join(text(key) + value for key, value in tensors.items())
    content = b"".join(pickle.dumps(one, protocol=2) for one in head)
    content += b"\x80\x02" + EMPTY + b"(" + items + b"u."
    content += pickle.dumps(list(storages), protocol=2)
    return content + b"".join(struct.pack("<q", one.size) + one.tobytes() for one in storages.values())


def state_dict_of(arrays: dict[str, NDArray[Any]]) -> bytes:
    """Return a file of float32 arrays, each in its own storage and row by row."""
    tensors = {}
    for key, array in arrays.items():
        strides = [stride // array.itemsize for stride in array.strides]
        tensors[key] = tensor(key, array.size, list(array.shape), strides)
    return file_of(tensors, arrays)


def read(folder: Path, content: bytes) -> dict[str, NDArray[Any]]:
    (folder / "net.pth").write_bytes(content)
    return torch_file.read(folder / "net.pth")


def refused(folder: Path, content: bytes) -> str:
    with pytest.raises(WeightsError) as caught:
        read(folder, content)
    start = f"{folder / 'net.pth'} cannot be read as a torch file: "
    problem, fix = str(caught.value).split("\n")
    assert problem.startswith(start)
    assert fix == "Delete it; `headstart weights pull` brings the expected one."
    return problem.removeprefix(start)


def test_offset_size_and_permuted_strides_are_honoured(tmp_path: Path) -> None:
    ten = np.arange(10, dtype="<f4")
    content = file_of(
        {
            "plain": tensor("a", 10, [2, 3], [3, 1]),
            "permuted": tensor("a", 10, [2, 3], [1, 2]),
            "later": tensor("a", 10, [2, 2], [1, 3], offset=4),
        },
        {"a": ten},
    )
    tensors = read(tmp_path, content)
    assert list(tensors) == ["plain", "permuted", "later"]
    assert tensors["plain"].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert tensors["permuted"].tolist() == [[0, 2, 4], [1, 3, 5]]
    assert tensors["later"].tolist() == [[4, 7], [5, 8]]
    assert all(one.flags.c_contiguous and one.flags.owndata for one in tensors.values())


def test_storages_follow_the_order_of_the_keys(tmp_path: Path) -> None:
    tensors = {"x": tensor("a", 2, [2], [1]), "y": tensor("b", 3, [3], [1])}
    content = file_of(tensors, {"b": np.array([7, 8, 9], "<f4"), "a": np.array([1, 2], "<f4")})
    found = read(tmp_path, content)
    assert found["x"].tolist() == [1, 2]
    assert found["y"].tolist() == [7, 8, 9]


@pytest.mark.parametrize(
    ("kind", "dtype"),
    [
        ("FloatStorage", "f4"),
        ("DoubleStorage", "f8"),
        ("HalfStorage", "f2"),
        ("LongStorage", "i8"),
        ("IntStorage", "i4"),
        ("ShortStorage", "i2"),
        ("CharStorage", "i1"),
        ("ByteStorage", "u1"),
        ("BoolStorage", "?"),
    ],
)
def test_dtypes(tmp_path: Path, kind: str, dtype: str) -> None:
    stored = np.array([1, 0, 1], dtype)
    content = file_of({"x": tensor("a", 3, [3], [1], kind=kind)}, {"a": stored})
    found = read(tmp_path, content)["x"]
    assert found.dtype == np.dtype(dtype)
    assert found.tolist() == stored.tolist()


def test_bfloat16_becomes_float32(tmp_path: Path) -> None:
    # Upper halves of 1.0, -2.5 and 3.140625 in IEEE 754 binary32.
    stored = np.array([0x3F80, 0xC020, 0x4049], "<u2")
    content = file_of({"x": tensor("a", 3, [3], [1], kind="BFloat16Storage")}, {"a": stored})
    assert read(tmp_path, content)["x"].tolist() == [1.0, -2.5, 3.140625]


def test_a_single_number_has_no_sides(tmp_path: Path) -> None:
    content = file_of({"seen": tensor("a", 1, [], [], kind="LongStorage")}, {"a": np.array([42], "<i8")})
    found = read(tmp_path, content)["seen"]
    assert found.shape == ()
    assert found == 42


@pytest.mark.parametrize(
    ("module", "attribute"),
    [("posix", "system"), ("os", "system"), ("builtins", "eval"), ("torch._utils", "_rebuild_anything")],
)
def test_code_in_the_pickle_is_refused_and_not_run(tmp_path: Path, module: str, attribute: str) -> None:
    trap = tmp_path / "trap"
    call = name(module, attribute) + many(text(f"touch {trap}")) + b"R"
    reason = refused(tmp_path, file_of({"x": call}, {}))
    assert reason == f"it names {module}.{attribute}, which no weights need."
    assert not trap.exists()


def test_attributes_cannot_be_set_by_the_pickle(tmp_path: Path) -> None:
    change = tensor("a", 1, [1], [1]) + b"N}" + text("size") + many(number(9)) + b"s\x86b"
    assert "attribute" in refused(tmp_path, file_of({"x": change}, {"a": np.array([1], "<f4")}))


def test_every_cut_is_noticed(tmp_path: Path) -> None:
    whole = file_of({"x": tensor("a", 4, [2, 2], [2, 1])}, {"a": np.arange(4, dtype="<f4")})
    assert read(tmp_path, whole)["x"].shape == (2, 2)
    for length in range(len(whole)):
        refused(tmp_path, whole[:length])


@pytest.mark.parametrize(
    ("size", "strides", "offset"),
    [([5], [1], 0), ([2, 2], [1, 3], 0), ([4], [1], 1), ([2], [-1], 3), ([2], [1], -1), ([10**9], [0], 0)],
)
def test_a_tensor_outside_its_storage_is_refused(
    tmp_path: Path, size: list[int], strides: list[int], offset: int
) -> None:
    content = file_of({"x": tensor("a", 4, size, strides, offset)}, {"a": np.arange(4, dtype="<f4")})
    assert refused(tmp_path, content) == "a tensor reaches outside its storage."


def test_the_newer_format_is_named(tmp_path: Path) -> None:
    assert refused(tmp_path, b"PK\x03\x04...") == "it is in the zip format of PyTorch 1.6 and newer."


def test_another_pickle_is_refused(tmp_path: Path) -> None:
    others: list[Any] = [1, 2, {}, {}, []]
    content = b"".join(pickle.dumps(one, protocol=2) for one in others)
    assert refused(tmp_path, content) == "its first words are another format's."
