import csv
import os
from pathlib import Path

import numpy as np
import pytest
from conftest import text_of, touch
from PIL import Image

from headstart import listing
from headstart.dataset import Dataset
from headstart.errors import DataError, TooFewClasses

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


@pytest.mark.parametrize("folders", [("train", "bus"), ("test", "val")])
def test_folders_that_are_not_all_parts_or_without_train_are_classes(
    tmp_path: Path, folders: tuple[str, str]
) -> None:
    touch(tmp_path, *(f"{folder}/1.jpg" for folder in folders))
    listed = listing.load(tmp_path)
    assert listed.class_names == tuple(sorted(folders))
    assert listed.given_parts == ("", "")


def test_what_is_ignored_is_listed_with_its_reason(tmp_path: Path) -> None:
    touch(tmp_path, "a/1.jpg", "b/1.jpg", ".cache/x/1.jpg", "__MACOSX/a/1.jpg", "loose.jpg", "a/@eaDir/1.jpg")
    touch(tmp_path, "a/._1.jpg", "a/.DS_Store", "a/Thumbs.db", "a/Desktop.ini", "a/clip.mp4", "a/photo.heic")
    (tmp_path / "a" / "drawing.eps").write_bytes(
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n"
    )
    (tmp_path / "a" / "scan.pdf").write_bytes(b"%PDF-1.4\n")
    (tmp_path / "a" / "gone.jpg").symlink_to("nowhere")
    (tmp_path / "a" / "self.jpg").symlink_to("self.jpg")
    os.mkfifo(tmp_path / "a" / "pipe.jpg")
    listed = listing.load(tmp_path)
    assert listed.paths == ("a/1.jpg", "b/1.jpg")
    leftover = "left by an archive or a file manager"
    assert reasons(listed) == {
        ".cache/": "hidden",
        "__MACOSX/": leftover,
        "a/._1.jpg": "hidden",
        "a/.DS_Store": "hidden",
        "a/@eaDir/": leftover,
        "a/clip.mp4": "not a picture that Pillow reads",
        "a/Desktop.ini": leftover,
        "a/drawing.eps": "not a picture that Pillow reads",
        "a/gone.jpg": "a broken link",
        "a/photo.heic": "HEIC, which Pillow does not read: save it as JPEG",
        "a/pipe.jpg": "not a regular file",
        "a/scan.pdf": "not a picture that Pillow reads",
        "a/self.jpg": "a broken link",
        "a/Thumbs.db": leftover,
        "loose.jpg": "not in a class folder",
    }


def test_a_name_that_is_not_utf8_is_ignored(tmp_path: Path) -> None:
    touch(tmp_path, "a/1.jpg", "b/1.jpg")
    try:
        (tmp_path / "a" / os.fsdecode(b"caf\xe9.jpg")).touch()
    except OSError:
        pytest.skip("this file system takes no such name")
    listed = listing.load(tmp_path)
    assert reasons(listed) == {"a/caf\\xe9.jpg": "its name is not valid UTF-8"}
    assert listed.paths == ("a/1.jpg", "b/1.jpg")


def test_a_picture_counts_whatever_its_name_says(tmp_path: Path, bomb_png: bytes) -> None:
    touch(tmp_path, "a/1.jpg", "b/1.jpg")
    picture = Image.new("RGB", (3, 3))
    picture.save(tmp_path / "a" / "no_extension", "JPEG")
    picture.save(tmp_path / "a" / "photo.txt", "PNG")
    (tmp_path / "a" / "bomb.dat").write_bytes(bomb_png)
    assert listing.load(tmp_path).paths[:4] == ("a/1.jpg", "a/bomb.dat", "a/no_extension", "a/photo.txt")


def test_links_are_followed_but_not_in_circles(tmp_path: Path) -> None:
    touch(tmp_path, "photos/a/1.jpg", "photos/b/1.jpg", "elsewhere/2.jpg")
    (tmp_path / "photos" / "a" / "more").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "photos" / "a" / "3.jpg").symlink_to(tmp_path / "elsewhere" / "2.jpg")
    (tmp_path / "photos" / "b" / "up").symlink_to(tmp_path / "photos" / "b")
    (tmp_path / "photos" / "c").symlink_to(tmp_path / "elsewhere")
    listed = listing.load(tmp_path / "photos")
    assert listed.paths == ("a/1.jpg", "a/3.jpg", "a/more/2.jpg", "b/1.jpg", "c/2.jpg")
    assert reasons(listed) == {"b/up/": "a link to a folder above it"}


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


def test_no_class_folders(tmp_path: Path) -> None:
    assert text_of(TooFewClasses, lambda: listing.load(tmp_path)) == (
        f"No class folders in '{tmp_path}'.\n{LAYOUT}"
    )
    touch(tmp_path, "1.jpg")
    assert text_of(TooFewClasses, lambda: listing.load(tmp_path)) == (
        f"No class folders in '{tmp_path}', only 1 photo.\n{LAYOUT}"
    )
    touch(tmp_path, "2.jpg", "notes.txt")
    assert text_of(TooFewClasses, lambda: listing.load(tmp_path)) == (
        f"No class folders in '{tmp_path}', only 2 photos.\n{LAYOUT}"
    )


def test_no_class_folders_in_the_parts(tmp_path: Path) -> None:
    touch(tmp_path, "train/1.jpg", "train/2.jpg", "test/3.jpg")
    assert text_of(TooFewClasses, lambda: listing.load(tmp_path)) == (
        f"No class folders in the parts test, train in '{tmp_path}', only 3 photos.\n{LAYOUT}"
    )


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


def test_class_folders_one_level_down(tmp_path: Path) -> None:
    touch(tmp_path, "animals/cat/1.jpg", "animals/dog/1.jpg")
    assert text_of(TooFewClasses, lambda: listing.load(tmp_path)) == (
        f"Only one class in '{tmp_path}': 'animals'.\n"
        f"Did you mean '{tmp_path / 'animals'}'? It holds 2 folders."
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


def test_listing_leaves_the_files_shut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "a/1.jpg", "b/1.png")
    monkeypatch.setattr("PIL.Image.open", lambda *_, **__: pytest.fail("a file was opened"))
    assert len(listing.load(tmp_path)) == 2


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
