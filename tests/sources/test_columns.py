"""The usual names of columns, in every spelling; what is told by content stands in test_tables.py."""

from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import touch

from headstart.sources import columns, shelves
from headstart.sources.columns import LABEL_NAMES, OTHER_LABEL_NAMES, PATH_NAMES, SPLIT_NAMES, Wish
from headstart.sources.sheet import Sheet

SPELLINGS = (str, str.upper, str.title, lambda name: f"{name[:3]}_{name[3:]}", lambda name: f" {name} ")


def chosen(
    root: Path, header: tuple[str, ...], *rows: tuple[str, ...], wish: Wish | None = None
) -> columns.Columns:
    sheet = Sheet(header, rows, tuple(range(2, 2 + len(rows))), (), "utf-8")
    return columns.choose(root / "t.csv", sheet, wish or Wish(), shelves.Shelves(str(root), (str(root),)))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return touch(tmp_path, *(f"{number}.jpg" for number in range(9)))


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_usual_names(spelling: Callable[[str], str], root: Path) -> None:
    """Beside columns that might be taken for others: two more of few values, and one that counts."""
    for path in PATH_NAMES:
        found = chosen(root, ("n", spelling(path), "sex", "label", "age"), *ROWS)
        assert (found.path, found.labels, found.unused) == (1, (3,), ("n", "sex", "age")), path
    for label in LABEL_NAMES | OTHER_LABEL_NAMES:
        found = chosen(root, ("n", "file", "sex", spelling(label), "age"), *ROWS)
        assert (found.path, found.labels, found.unused) == (1, (3,), ("n", "sex", "age")), label
    for split in SPLIT_NAMES:
        rows = [(*row, part) for row, part in zip(ROWS, ("train", "test", "val"), strict=True)]
        found = chosen(root, ("n", "file", "sex", "label", "age", spelling(split)), *rows)
        assert (found.splits, found.parts) == ((5,), ("train", "test", "validation")), split


ROWS = (
    ("0", "0.jpg", "f", "x", "30"),
    ("1", "1.jpg", "m", "y", "30"),
    ("2", "2.jpg", "m", "y", "31"),
)


def test_no_name_is_usual_for_two_things() -> None:
    kinds = [PATH_NAMES, LABEL_NAMES, OTHER_LABEL_NAMES, SPLIT_NAMES, columns.OTHER_SPLIT_NAMES]
    names = [name for kind in kinds for name in kind]
    assert len(names) == len(set(names))
    assert all(name == columns.plain(name) for name in names)


def test_what_the_user_says_goes_before_names(root: Path) -> None:
    wish = Wish(path="n", label="age", split="none", group="sex")
    found = chosen(root, ("n", "file", "sex", "label", "age"), *ROWS, wish=wish)
    assert (found.path, found.labels, found.group) == (0, (4,), 2)
    assert found.unused == ("file", "label")


def test_a_column_named_none(root: Path) -> None:
    rows = [(*row, part) for row, part in zip(ROWS, ("train", "test", "val"), strict=True)]
    found = chosen(root, ("n", "file", "sex", "label", "age", "none"), *rows, wish=Wish(split="none"))
    assert found.splits == (5,)
