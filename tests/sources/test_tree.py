import os
import tracemalloc
from pathlib import Path

import pytest
from conftest import text_of, touch
from PIL import Image

from headstart.base.errors import NoSuchData
from headstart.sources import listing, tree
from headstart.sources.dataset import Dataset


def reasons(listed: Dataset) -> dict[str, str]:
    return {item.path: item.reason for item in listed.ignored}


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
    assert listed.paths == ("a/1.jpg", "a/photo.heic", "b/1.jpg")
    leftover = "left by an archive or a file manager"
    assert reasons(listed) == {
        ".cache/": "hidden",
        "__MACOSX/": leftover,
        "a/._1.jpg": "hidden",
        "a/.DS_Store": "hidden",
        "a/@eaDir/": leftover,
        "a/clip.mp4": "video, which is not read here",
        "a/Desktop.ini": leftover,
        "a/drawing.eps": "PostScript, which is not read here",
        "a/gone.jpg": "a broken link",
        "a/pipe.jpg": "not a regular file",
        "a/scan.pdf": "PDF, which is not read here",
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
    assert listed.paths == ("a/1.jpg", "a/3.jpg", "b/1.jpg", "c/2.jpg")
    assert reasons(listed) == {
        "a/more/": "leads to the folder 'c', where its photos count",
        "b/up/": "a link to a folder above it",
    }


def test_listing_leaves_the_files_shut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "a/1.jpg", "b/1.png")
    monkeypatch.setattr("PIL.Image.open", lambda *_, **__: pytest.fail("a file was opened"))
    assert len(listing.load(tmp_path)) == 2


def test_a_folder_counts_once_in_its_own_place(tmp_path: Path) -> None:
    touch(tmp_path, "all/photos/cat/1.jpg", "all/photos/dog/2.jpg", "all/3.jpg", "elsewhere/in/4.jpg")
    photos = tmp_path / "all" / "photos"
    for name, target in {
        "cat/root": photos,
        "cat/sibling": photos / "dog",
        "cat/above": tmp_path / "all",
        "cat/self": photos / "cat",
        "cat/inner": tmp_path / "elsewhere" / "in",
        "dog/outer": tmp_path / "elsewhere",
        "bird": tmp_path / "elsewhere" / "in",
    }.items():
        (photos / name).symlink_to(target, target_is_directory=True)
    (tmp_path / "elsewhere" / "back").symlink_to(photos, target_is_directory=True)
    listed = listing.load(photos)
    assert listed.paths == ("bird/4.jpg", "cat/1.jpg", "dog/2.jpg")
    assert reasons(listed) == {
        "cat/above/": "a link to a folder above it",
        "cat/inner/": "leads to the folder 'bird', where its photos count",
        "cat/root/": "a link to a folder above it",
        "cat/self/": "a link to a folder above it",
        "cat/sibling/": "leads to the folder 'dog', where its photos count",
        "dog/outer/back/": "a link to a folder above it",
        "dog/outer/in/": "leads to the folder 'bird', where its photos count",
    }


def test_the_root_may_be_a_link(tmp_path: Path) -> None:
    touch(tmp_path, "real/cat/1.jpg", "real/dog/2.jpg")
    (tmp_path / "photos").symlink_to(tmp_path / "real")
    (tmp_path / "real" / "cat" / "up").symlink_to(tmp_path / "real")
    (tmp_path / "real" / "cat" / "top").symlink_to(tmp_path)
    listed = listing.load(tmp_path / "photos")
    assert listed.root == tmp_path / "photos" and listed.paths == ("cat/1.jpg", "dog/2.jpg")
    assert set(reasons(listed).values()) == {"a link to a folder above it"}


def test_the_pictures_of_a_folder_are_each_named_once(tmp_path: Path) -> None:
    touch(tmp_path, "10.jpg", "2.jpg", "in/1.jpg", "notes.txt")
    (tmp_path / "in" / "up").symlink_to(tmp_path)
    assert list(listing.pictures(tmp_path)) == [tmp_path / name for name in ("2.jpg", "10.jpg", "in/1.jpg")]


def test_pictures_come_as_they_are_found_and_each_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tree, "BLOCK", 10)
    touch(tmp_path, *(f"{name}.jpg" for name in range(25)), *(f"{name}.txt" for name in range(25)))
    touch(tmp_path, *(f"in/{folder}/{name}.jpg" for folder in (10, 9) for name in range(3)), "in/0.jpg")
    (tmp_path / "in" / "a").symlink_to(tmp_path / "in" / "9")
    touch(tmp_path.parent / f"{tmp_path.name}-outside", "z.jpg")
    (tmp_path / "b").symlink_to(tmp_path.parent / f"{tmp_path.name}-outside")
    found = list(tree.stream(tmp_path))
    scanned = [path for folder in tree.scan(tmp_path).walk() for path in folder.photos]
    assert len(found) == len(scanned) == len(set(found)) == 33
    assert set(found) == set(scanned)
    # The folders one after another, in natural order, and what only a link leads to last.
    assert [path.rpartition("/")[0] for path in found] == [
        *[""] * 25,
        *["in"],
        *["in/9"] * 3,
        *["in/10"] * 3,
        "b",
    ]
    assert found[26:29] == [f"in/9/{name}.jpg" for name in range(3)]
    monkeypatch.undo()
    assert [*tree.stream(tmp_path)][:25] == [f"{name}.jpg" for name in range(25)]


def test_a_folder_of_any_size_is_listed_in_little_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tree, "BLOCK", 200)
    touch(tmp_path, *(f"{name:060}.jpg" for name in range(4_000)))
    assert sum(1 for _ in listing.pictures(tmp_path)) == 4_000  # what is imported for it is
    tracemalloc.start()
    try:
        assert sum(1 for _ in listing.pictures(tmp_path)) == 4_000
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < 150_000  # the names alone take 450,000


def test_a_folder_that_cannot_be_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "a/1.jpg", "b/1.jpg", "c/1.jpg")
    scandir = os.scandir

    def refuse(path: Path) -> object:
        # Whoever runs the tests may be allowed to open anything.
        if str(path) in (str(tmp_path / "c"), shut):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    shut = ""
    monkeypatch.setattr(os, "scandir", refuse)
    listed = listing.load(tmp_path)
    assert reasons(listed) == {"c/": "cannot be opened: Permission denied"} and listed.empty_classes == ("c",)
    shut = str(tmp_path)
    assert text_of(NoSuchData, lambda: listing.load(tmp_path)) == (
        f"'{tmp_path}' cannot be opened: Permission denied.\nGive yourself the right to read it."
    )


def test_a_drawing_fits_on_a_screen(tmp_path: Path) -> None:
    long = "n" * 60
    touch(tmp_path, *(f"{top}/{sub}/{name}.jpg" for top in range(30) for sub in "abcdefgh" for name in "xy"))
    touch(tmp_path, "loose.jpg", "0/loose.jpg", f"{long}/1.jpg")
    (tmp_path / "1" / "empty").mkdir()
    root = tree.scan(tmp_path)
    assert (root.n_photos, len(root.full)) == (483, 31)
    drawn = tree.draw(root, "photos", lambda folder: "first" if folder.name == "0" else "")
    below = ["│   ├── a/  2 photos", "│   ├── b/  2 photos", "│   └── … and 6 more folders"]
    assert drawn.split("\n") == [
        "photos/  483 photos, 1 of them loose",
        *("├── 0/  17 photos, 1 of them loose: first", *below),
        *("├── 1/  16 photos", *below[:2], "│   └── … and 7 more folders"),
        *("├── 2/  16 photos", *below),
        *("├── 3/  16 photos", *below),
        "└── … and 27 more folders",
    ]
    touch(tmp_path / "few", f"{long}/1.jpg")
    (tmp_path / "few" / "empty").mkdir()
    assert tree.draw(tree.scan(tmp_path / "few"), "few", lambda _: "").split("\n") == [
        "few/  1 photo",
        "├── empty/  no photos",
        f"└── {long[:39]}…/  1 photo",
    ]
