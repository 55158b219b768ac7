import datetime
from pathlib import Path

import numpy as np
import pytest
from conftest import text_of, touch

from headstart.base.errors import DataError, MissingPackage
from headstart.sources import listing, parquet

PHOTOS = ("a/1.jpg", "a/2.jpg", "b/1.jpg", "b/2.jpg")


def table(folder: Path, **columns: object) -> Path:
    pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    import pyarrow
    import pyarrow.parquet

    path = folder / "photos.parquet"
    pyarrow.parquet.write_table(pyarrow.table(columns), path, row_group_size=3)
    return path


def test_a_table_in_parquet_lists_photos_as_one_of_text_does(tmp_path: Path) -> None:
    touch(tmp_path, *PHOTOS)
    columns = {"path": PHOTOS, "label": ["cat", "cat", "dog", "dog"], "split": ["train", "test"] * 2}
    text = tmp_path / "photos.csv"
    text.write_text("\n".join(map(",".join, [tuple(columns), *zip(*columns.values(), strict=True)])))
    expected, found = listing.load(text), listing.load(table(tmp_path, **columns))
    assert found.paths == expected.paths and found.class_names == expected.class_names == ("cat", "dog")
    np.testing.assert_array_equal(found.labels, expected.labels)
    assert found.given_parts == expected.given_parts == ("train", "test", "train", "test")
    assert found.layout == expected.layout.replace("photos.csv", "photos.parquet")


def test_columns_of_many_kinds_become_text_and_those_of_bytes_and_lists_are_left_out(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    path = table(
        tmp_path,
        image=[{"bytes": b"\xff\xd8", "path": "1.jpg"}] * 4,
        raw=[b"\xff\xd8"] * 4,
        boxes=[[1, 2]] * 4,
        name=pyarrow.array(PHOTOS).dictionary_encode(),
        is_cat=[True, False, None, True],
        count=[1, 2, 3, None],
        day=[datetime.date(2026, 5, 1)] * 4,
    )
    told: list[int] = []
    sheet = parquet.read(path, lambda count=1: told.append(count))
    assert sheet.header == ("name", "is_cat", "count", "day")
    assert sheet.cells == (
        ("a/1.jpg", "True", "1", "2026-05-01"),
        ("a/2.jpg", "False", "2", "2026-05-01"),
        ("b/1.jpg", "", "3", "2026-05-01"),
        ("b/2.jpg", "True", "", "2026-05-01"),
    )
    assert sheet.lines == (1, 2, 3, 4) and sum(told) == 4


def test_what_is_no_parquet(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    path = tmp_path / "photos.parquet"
    path.write_text("path,label\n")
    problem, fix = text_of(DataError, lambda: listing.load(path)).rsplit("\n", 1)
    assert problem.startswith(f"'{path}' cannot be read as a Parquet file: ")
    assert fix == "Save it anew, or as CSV UTF-8."


def test_without_pyarrow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pyarrow.parquet", None)
    path = tmp_path / "photos.parquet"
    path.touch()
    assert text_of(MissingPackage, lambda: listing.load(path)) == (
        f"'{path}' is a Parquet file, and pyarrow is not installed.\n"
        "Install it: pip install 'headstart[parquet]'"
    )
