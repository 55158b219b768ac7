import csv
import io
import random
from pathlib import Path

import pytest
from conftest import text_of
from hypothesis import given, settings
from hypothesis import strategies as st

from headstart.base.errors import DataError
from headstart.sources import sheet


def read(folder: Path, content: str | bytes, name: str = "t.csv") -> sheet.Sheet:
    (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return sheet.read(folder / name)


def test_cells_lines_and_blank_rows(tmp_path: Path) -> None:
    found = read(tmp_path, 'a , b\r\n\r\n 1,"x\ny"\r\n , \r\n2\r\n3,z,,\r\n4,z,!\r\n')
    assert found.header == ("a", "b")
    assert found.cells == (("1", "x\ny"), ("2", ""), ("3", "z"), ("4", "z"))
    assert found.lines == (4, 6, 7, 8)
    assert found.overlong == (3,)
    assert (found.encoding, found.has_header) == ("utf-8", True)
    assert found.column(0) == ["1", "2", "3", "4"]


def test_without_a_header(tmp_path: Path) -> None:
    found = read(tmp_path, "1.jpg,x\n2.jpg,y,!\n").without_header()
    assert found.header == ("1", "2") and not found.has_header
    assert found.cells == (("1.jpg", "x"), ("2.jpg", "y"))
    assert found.lines == (1, 2) and found.overlong == (1,)


@pytest.mark.parametrize(
    ("content", "name", "header"),
    [
        ("a;b,c\n1;2\n", "t.csv", ("a", "b,c")),
        ("a,b\n1;2,3\n", "t.csv", ("a", "b")),
        ("a\tb, c\n1\t2\n", "t.csv", ("a", "b, c")),
        ("a|b\n1|2\n", "t.csv", ("a", "b")),
        ("a.jpg,x|y\nb.jpg,z\n", "t.csv", ("a.jpg", "x|y")),
        ("a;b\n1;3,5\n2;4,5\n", "t.csv", ("a", "b")),
        ("sep=;\na;b,c\n1;2\n", "t.csv", ("a", "b,c")),
        ("a b\n1  2\n", "t.txt", ("a", "b")),
        ("a b\n1 2\n", "t.csv", ("a b",)),
        ("a b\n1 2 3\n", "t.txt", ("a b",)),
        ('"a, b";c\n1;2\n', "t.csv", ("a, b", "c")),
    ],
)
def test_what_stands_between_cells(content: str, name: str, header: tuple[str, ...], tmp_path: Path) -> None:
    assert read(tmp_path, content, name).header == header


def test_a_line_of_excel_counts_as_a_line(tmp_path: Path) -> None:
    assert read(tmp_path, "sep=;\na;b\n1;2\n").lines == (3,)


@pytest.mark.parametrize(
    ("data", "encoding"),
    [
        ("é,b\nü,1\n".encode(), "utf-8"),
        ("é,b\nü,1\n".encode("utf-8-sig"), "utf-8-sig"),
        ("é,b\nü,1\n".encode("utf-16"), "utf-16"),
        (b"\xfe\xff" + "é,b\nü,1\n".encode("utf-16-be"), "utf-16"),
        ("é,b\nü,1\n".encode("utf-16-le"), "utf-16-le"),
        ("é,b\nü,1\n".encode("utf-16-be"), "utf-16-be"),
        ("é,b\nü,1\n".encode("utf-32"), "utf-32"),
        ("é,b\nü,1\n".encode("cp1252"), "cp1252"),
    ],
)
def test_encodings(data: bytes, encoding: str, tmp_path: Path) -> None:
    found = read(tmp_path, data)
    assert (found.header, found.cells, found.encoding) == (("é", "b"), (("ü", "1"),), encoding)


def test_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    (tmp_path / "t.csv").mkdir()
    assert text_of(DataError, lambda: sheet.read(tmp_path / "t.csv")) == (
        f"'{tmp_path / 't.csv'}' cannot be opened: Is a directory.\nGive yourself the right to read it."
    )


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ('"x,y', "a quotation mark is opened there and not closed"),
        ('"x"z,y', "',' expected after '\"'"),
    ],
)
def test_a_line_that_cannot_be_read(line: str, what: str, tmp_path: Path) -> None:
    source = tmp_path / "t.csv"
    assert text_of(DataError, lambda: read(tmp_path, f"a,b\n1,2\n{line}\n3,4\n")) == (
        f"'{source}' cannot be read from line 3 on: {what}.\n"
        "Mend that line, or save the table anew as CSV UTF-8."
    )


CELLS = st.text(st.characters(blacklist_categories=("Cs", "Cc")), max_size=8).map(str.strip)


@settings(max_examples=60)
@given(
    st.lists(st.tuples(CELLS.filter(bool), CELLS, CELLS), min_size=2, max_size=8),
    st.sampled_from(sheet.MARKS),
    st.sampled_from(("utf-8-sig", "utf-16")),
    st.sampled_from((csv.QUOTE_MINIMAL, csv.QUOTE_ALL)),
)
def test_what_a_csv_writer_wrote_is_read(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[tuple[str, str, str]],
    mark: str,
    encoding: str,
    quoting: int,
) -> None:
    """As any program writes it; the header is plain, so that it tells what stands between the cells."""
    stream = io.StringIO(newline="")
    csv.writer(stream, delimiter=mark, quoting=quoting).writerows([("a", "b", "c"), *rows])  # type: ignore[arg-type]
    found = read(tmp_path_factory.getbasetemp(), stream.getvalue().encode(encoding), "random.csv")
    assert found.header == ("a", "b", "c") and not found.overlong
    assert found.cells == tuple(rows)


def test_a_mark_is_told_from_the_first_rows_of_a_large_file(tmp_path: Path) -> None:
    chance = random.Random(0)
    lines = [f"{number};{chance.random()},{chance.random()}" for number in range(5000)]
    found = read(tmp_path, "\n".join(["id;where", *lines]))
    assert found.header == ("id", "where") and len(found.cells) == 5000
