import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import touch

from headstart.sources.shelves import Match, Shelves, is_elsewhere


def shelves(root: Path, *images: str) -> Shelves:
    return Shelves(str(root), (str(root), *(str(root / one) for one in images)))


def paths(found: dict[str, Match]) -> dict[str, tuple[str, ...]]:
    return {name: match.paths for name, match in found.items()}


def test_names_with_and_without_extension(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg", "b.PNG", "b.txt", "C.d.jpeg", "sub/a.jpg", ".e.jpg", "plain")
    assert paths(shelves(tmp_path).find_here(["a.jpg", "A.JPG", "a", "b", "c.d", "sub/a", "./a.jpg"])) == {
        "a.jpg": ("a.jpg",),
        "A.JPG": ("a.jpg",),
        "a": ("a.jpg",),
        "b": ("b.PNG",),
        "c.d": ("C.d.jpeg",),
        "sub/a": ("sub/a.jpg",),
        "./a.jpg": ("a.jpg",),
    }
    found = shelves(tmp_path).find_here(
        ["plain", "b.txt", "PLAIN", ".e.jpg", ".e", "C.d", "d", "", ".", "sub"]
    )
    assert [(name, match.is_exact) for name, match in found.items() if match.paths] == [
        ("plain", True),
        ("b.txt", True),
        ("PLAIN", False),
        (".e.jpg", True),
        ("C.d", False),
    ]


def test_a_name_as_it_is_goes_before_others(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg", "A.jpg", "a.png", "a", "B.jpg", "b.jpeg")
    found = paths(shelves(tmp_path).find_here(["a.jpg", "a", "A", "b", "a.JPG"]))
    assert {name: sorted(files) for name, files in found.items()} == {
        "a.jpg": ["a.jpg"],
        "a": ["a"],
        "A": ["a"],
        "b": ["b.jpeg"],
        "a.JPG": ["A.jpg", "a.jpg"],
    }


def test_files_inside_are_looked_for_to_a_depth(tmp_path: Path) -> None:
    touch(tmp_path, "x/1.jpg", "x/y/2.jpg", "x/y/z/3.jpg", ".h/4.jpg", "x/k/5.jpg", "x/y/k/6.jpg")
    found = shelves(tmp_path).find(["1", "2", "3", "4", "k/5.jpg", "k/6.jpg"])
    assert paths(found) == {
        "1": ("x/1.jpg",),
        "2": ("x/y/2.jpg",),
        "3": (),
        "4": (),
        "k/5.jpg": ("x/k/5.jpg",),
        "k/6.jpg": ("x/y/k/6.jpg",),
    }
    assert all(match.is_inside for match in found.values() if match.paths)


def test_a_second_folder(tmp_path: Path) -> None:
    touch(tmp_path, "t/1.jpg", "else/2.jpg", "else/in/3.jpg", "else/1.jpg", "t/sub/3.jpg")
    root = tmp_path / "t"
    found = paths(Shelves(str(root), (str(root), str(tmp_path / "else"))).find(["1.jpg", "2.jpg", "3.jpg"]))
    assert found == {
        "1.jpg": ("../else/1.jpg", "1.jpg"),
        "2.jpg": ("../else/2.jpg",),
        "3.jpg": ("../else/in/3.jpg",),
    }


def test_absolute_paths(tmp_path: Path) -> None:
    touch(tmp_path, "t/1.jpg", "2.jpg")
    inside, outside = str(tmp_path / "t" / "1.jpg"), str(tmp_path / "2.jpg")
    assert paths(shelves(tmp_path / "t").find([inside, outside, "../2.jpg", "/nowhere/3.jpg"])) == {
        inside: ("1.jpg",),
        outside: (Path(outside).as_posix(),),
        "../2.jpg": ("../2.jpg",),
        "/nowhere/3.jpg": (),
    }


def test_a_broken_link_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "1.jpg").symlink_to(tmp_path / "gone.jpg")
    touch(tmp_path, "2.jpg")
    (tmp_path / "3.jpg").symlink_to(tmp_path / "2.jpg")
    assert paths(shelves(tmp_path).find(["1.jpg", "3.jpg"])) == {"1.jpg": (), "3.jpg": ("3.jpg",)}


def test_names_that_no_file_can_have(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    touch(tmp_path, "1.jpg")
    names = ["a\0b/c", "a\0b", "x" * 5000 + "/y", "loop", "loop/1.jpg", "1.jpg/1.jpg", "..", "/", "\\"]
    assert set(paths(shelves(tmp_path).find([*names, "1"])).values()) == {(), ("1.jpg",)}


def test_a_file_under_another_extension(tmp_path: Path) -> None:
    shelf = shelves(touch(tmp_path, "sub/a.jpg", "b.txt"))
    assert shelf.other_extension("sub/a.png") == "sub/a.jpg"
    assert [shelf.other_extension(name) for name in ("sub/a", "b.jpg", "c.jpg")] == ["", "", ""]


@pytest.mark.skipif(os.name == "nt", reason="there a backslash stands between folders")
def test_a_backslash_that_is_in_a_name(tmp_path: Path) -> None:
    touch(tmp_path, "a\\b.jpg", "c/d.jpg")
    assert paths(shelves(tmp_path).find(["a\\b.jpg", "c\\d.jpg"])) == {
        "a\\b.jpg": ("a\\b.jpg",),
        "c\\d.jpg": ("c/d.jpg",),
    }


def test_each_folder_is_listed_once_and_no_file_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [f"{number % 5}/{number}.jpg" for number in range(200)]
    touch(tmp_path, *files)
    listed: list[str] = []
    scan = os.scandir

    def noted(folder: str) -> "Iterator[os.DirEntry[str]]":
        listed.append(folder)
        return scan(folder)

    monkeypatch.setattr(os, "scandir", noted)
    monkeypatch.setattr(os, "stat", lambda *_, **__: pytest.fail("a file was asked for"))
    assert all(match.paths for match in shelves(tmp_path).find([*files, "7", "8"]).values())
    assert sorted(listed) == sorted({str(tmp_path), *(str(tmp_path / str(number)) for number in range(5))})


def test_what_is_elsewhere() -> None:
    names = ["C:\\a.jpg", "d:/a.jpg", "\\\\nas\\a.jpg", "gs://b/a.jpg", "a:b.jpg", "photos/a.jpg", "\\a.jpg"]
    assert [is_elsewhere(name) for name in names] == [True] * 4 + [False] * 3
