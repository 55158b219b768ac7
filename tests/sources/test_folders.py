import csv
from pathlib import Path

import numpy as np
import pytest
from conftest import text_of, touch

from headstart.base.errors import DataError, TooFewClasses
from headstart.sources import listing
from headstart.sources.dataset import Dataset

LAYOUT = (
    "Put the photos of each class into a folder named after it, such as photos/cat and photos/dog, "
    "or name a CSV or TSV file with the columns path,label."
)


def reasons(listed: Dataset) -> dict[str, str]:
    return {item.path: item.reason for item in listed.ignored}


def test_class_folders(tmp_path: Path) -> None:
    touch(tmp_path, "dog/10.jpg", "dog/9.jpg", "cat/b/deep/2.png", "cat/A.JPEG")
    listed = listing.load(tmp_path)
    assert listed.root == tmp_path and listed.root.is_absolute()
    assert listed.paths == ("cat/A.JPEG", "cat/b/deep/2.png", "dog/9.jpg", "dog/10.jpg")
    assert listed.class_names == ("cat", "dog")
    assert listed.labels.tolist() == [0, 0, 1, 1] and listed.labels.dtype == np.int32
    assert listed.given_parts == ("", "", "", "")
    assert listed.ignored == () and listed.empty_classes == ()
    assert listed.file(2) == tmp_path / "dog" / "9.jpg"


def test_numbered_classes_are_in_natural_order(tmp_path: Path) -> None:
    touch(tmp_path, "10/a.jpg", "9/a.jpg", "1/a.jpg")
    assert listing.load(tmp_path).class_names == ("1", "9", "10")


@pytest.mark.parametrize(
    ("train", "validation", "test"),
    [("train", "val", "test"), ("Training", "VALID", "Testing"), ("TRAIN", "Validation", "TEST")],
)
def test_pre_split_folders(tmp_path: Path, train: str, validation: str, test: str) -> None:
    touch(tmp_path, f"{train}/cat/1.jpg", f"{train}/dog/1.jpg", f"{validation}/dog/sub/2.jpg")
    touch(tmp_path, f"{test}/newt/3.jpg", f"{test}/cat/.hidden.jpg", "README.md", f"{test}/loose.jpg")
    (tmp_path / ".git").mkdir()
    listed = listing.load(tmp_path)
    assert dict(zip(listed.paths, listed.given_parts, strict=True)) == {
        f"{train}/cat/1.jpg": "train",
        f"{train}/dog/1.jpg": "train",
        f"{validation}/dog/sub/2.jpg": "validation",
        f"{test}/newt/3.jpg": "test",
    }
    assert listed.class_names == ("cat", "dog", "newt")
    assert reasons(listed) == {
        ".git/": "hidden",
        "README.md": "not a picture that Pillow reads",
        f"{test}/cat/.hidden.jpg": "hidden",
        f"{test}/loose.jpg": "not in a class folder",
    }


def test_an_empty_class_is_reported_and_no_class(tmp_path: Path) -> None:
    touch(tmp_path, "a/1.jpg", "b/1.jpg", "c/.gitkeep", "d/notes.txt")
    listed = listing.load(tmp_path)
    assert listed.class_names == ("a", "b")
    assert listed.empty_classes == ("c", "d")


def test_exclude_leaves_classes_out_entirely(tmp_path: Path) -> None:
    touch(tmp_path, "train/a/1.jpg", "train/b/1.jpg", "test/c/1.jpg", "test/c/notes.txt", "train/d/.gitkeep")
    listed = listing.load(tmp_path, exclude=["c", "d"])
    assert listed.paths == ("train/a/1.jpg", "train/b/1.jpg")
    assert listed.class_names == ("a", "b")
    assert listed.ignored == () and listed.empty_classes == ()


def test_class_folders_without_photos(tmp_path: Path) -> None:
    touch(tmp_path, "b/notes.txt", "a/.gitkeep")
    assert text_of(TooFewClasses, lambda: listing.load(tmp_path)) == (
        f"No photos in '{tmp_path}'; the folders a, b hold none.\n{LAYOUT}"
    )


def test_one_class(tmp_path: Path) -> None:
    touch(tmp_path, "cat/1.jpg", "dog/.gitkeep", "t/1.jpg")
    more = "photos of another class: with one there is nothing to tell apart."
    assert text_of(TooFewClasses, lambda: listing.load(tmp_path, exclude=["t"])) == (
        f"Only one class in '{tmp_path}' without t: 'cat'.\nAdd a folder with {more}"
    )
    table = tmp_path / "t.csv"
    table.write_text("path,label\ncat/1.jpg,cat\n")
    assert text_of(TooFewClasses, lambda: listing.load(table)) == (
        f"Only one class in '{table}': 'cat'.\nAdd rows with {more}"
    )


def test_an_unknown_class_to_exclude(tmp_path: Path) -> None:
    touch(tmp_path, *(f"class{number}/1.jpg" for number in range(12)), "zebra/1.jpg")
    assert text_of(DataError, lambda: listing.load(tmp_path, exclude=["zebar"])) == (
        "No class is named 'zebar'.\nDid you mean 'zebra'?"
    )
    shown = ", ".join(f"class{number}" for number in range(10))
    assert text_of(DataError, lambda: listing.load(tmp_path, exclude=["42"])) == (
        f"No class is named '42'.\nThe classes are {shown} and 3 more."
    )


def test_the_messy_folder_is_listed_as_it_should_be(shared_data: Path) -> None:
    listed = listing.load(shared_data / "messy")
    ignored = tuple(reasons(listed))
    with (shared_data / "messy.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 64
    for row in rows:
        is_ignored = any(row["path"] == path or row["path"].startswith(path) for path in ignored)
        if row["outcome"] == "ignore":
            assert is_ignored and row["path"] not in listed.paths, row
        elif row["path"] == "empty_class":
            assert listed.empty_classes == ("empty_class",)
        else:
            assert row["path"] in listed.paths and not is_ignored, row
    assert listed.class_names == ("cat", "dog", "horse", "zebra")
