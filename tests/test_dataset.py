import csv
from pathlib import Path

import pytest
from conftest import text_of, touch

from headstart import listing
from headstart.errors import DataError


def test_take_keeps_the_class_names(tmp_path: Path) -> None:
    listed = listing.load(touch(tmp_path, "a/1.jpg", "a/2.jpg", "b/1.jpg")).take([1, 0])
    assert listed.paths == ("a/2.jpg", "a/1.jpg")
    assert listed.labels.tolist() == [0, 0]
    assert listed.class_names == ("a", "b")
    assert len(listed) == 2 and len(listed.take([])) == 0


@pytest.mark.parametrize(
    ("name", "mark", "encoding"),
    [("t.csv", ",", "utf-8"), ("t.CSV", ";", "utf-8-sig"), ("t.tsv", "\t", "utf-8")],
)
def test_a_table(tmp_path: Path, name: str, mark: str, encoding: str) -> None:
    touch(tmp_path, "here/x.jpg", "here/é, ;.jpg", "outside.jpg", "here/.hidden.jpg")
    rows = [
        ("Label", "PATH", "split"),
        ("cat", "x.jpg", "Training"),
        ("dog", "é, ;.jpg", "TEST"),
        ("cat", str(tmp_path / "outside.jpg"), "val"),
        ("dog", "./.hidden.jpg", "train"),
        ("dog", ".hidden.jpg", "train"),
        ("", "", ""),
    ]
    with (tmp_path / "here" / name).open("w", encoding=encoding, newline="") as stream:
        csv.writer(stream, delimiter=mark).writerows(rows)
    listed = listing.load(tmp_path / "here" / name)
    outside = f"{tmp_path.as_posix()}/outside.jpg"
    found = zip(listed.paths, listed.labels.tolist(), listed.given_parts, strict=True)
    assert listed.root == tmp_path / "here"
    assert sorted(found) == sorted(
        [
            ("x.jpg", 0, "train"),
            ("é, ;.jpg", 1, "test"),
            (outside, 0, "validation"),
            (".hidden.jpg", 1, "train"),
        ]
    )
    assert all(listed.file(index).is_file() for index in range(4))


def test_a_table_without_a_split(tmp_path: Path) -> None:
    touch(tmp_path, "1.jpg", "2.jpg", "sub/3.jpg")
    (tmp_path / "t.csv").write_text("path,label\n1.jpg,b\n2.jpg,a\nsub/../sub/3.jpg,c\n")
    listed = listing.load(tmp_path / "t.csv", exclude=["b"])
    assert listed.paths == ("2.jpg", "sub/3.jpg")
    assert listed.class_names == ("a", "c")
    assert listed.given_parts == ("", "")


@pytest.mark.parametrize(
    ("content", "problem", "fix"),
    [
        (
            "path,label\n1.jpg,a\ngone.jpg,b\nlost.jpg,b\n2.jpg,b\nno.jpg,a",
            "names files that are not there: gone.jpg (line 3) and 2 more.",
            "Paths are taken from the folder of the table, '{folder}': mend them, or remove these lines.",
        ),
        (
            "path,label\n1.jpg,a\ngone.jpg,b",
            "names files that are not there: gone.jpg (line 3).",
            "Paths are taken from the folder of the table, '{folder}': mend them, or remove these lines.",
        ),
        (
            "file,label\n1.jpg,a",
            "has no column path: its first line is 'file,label'.",
            "Make the first line path,label or path,label,split.",
        ),
        (
            "",
            "has no columns path and label: its first line is ''.",
            "Make the first line path,label or path,label,split.",
        ),
        ("path,label\n1.jpg,a\n2.jpg", "has no label in line 3.", "Fill it in, or remove the line."),
        ("path,label\n,a", "has no path in line 2.", "Fill it in, or remove the line."),
        (
            "path,label,split\n1.jpg,a,train\n2.jpg,b,holdout",
            "has the split 'holdout' in line 3.",
            "Write train, validation or test.",
        ),
        (
            "path,label,split\n1.jpg,a,train\n2.jpg,b,",
            "has no split in line 3.",
            "Write train, validation or test in each line, or leave the column out.",
        ),
        (
            "path,label\n1.jpg,a\n2.jpg,b\n./1.jpg,b",
            "gives 1.jpg twice: in line 2 as 'a', in line 4 as 'b'.",
            "Keep one of the two lines.",
        ),
        (
            "path,label,split\n1.jpg,a,train\n2.jpg,b,train\n1.jpg,a,test",
            "gives 1.jpg twice: in line 2 as 'a' in 'train', in line 4 as 'a' in 'test'.",
            "Keep one of the two lines.",
        ),
    ],
)
def test_a_table_that_cannot_be_used(tmp_path: Path, content: str, problem: str, fix: str) -> None:
    touch(tmp_path, "1.jpg", "2.jpg")
    table = tmp_path / "t.csv"
    table.write_text(content)
    said = text_of(DataError, lambda: listing.load(table))
    assert said == f"'{table}' {problem}\n{fix.format(folder=tmp_path)}"


def test_a_split_column_left_blank_is_no_split(tmp_path: Path) -> None:
    touch(tmp_path, "1.jpg", "2.jpg")
    (tmp_path / "t.csv").write_text("path,label,split\n1.jpg,a,\n2.jpg,b\n")
    assert listing.load(tmp_path / "t.csv").given_parts == ("", "")


def test_a_table_in_another_encoding(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes("path,label\ncafé.jpg,a\n".encode("latin-1"))
    assert text_of(DataError, lambda: listing.load(tmp_path / "t.csv")) == (
        f"'{tmp_path / 't.csv'}' cannot be read: 'utf-8' codec can't decode byte 0xe9 in position 14: "
        "invalid continuation byte.\nSave it as CSV in UTF-8."
    )


def test_keys_by_a_column(tmp_path: Path) -> None:
    touch(tmp_path, "2.jpg", "1.jpg", "3.jpg")
    table = tmp_path / "t.csv"
    table.write_text("path, Patient ,label\n2.jpg,p1,a\n1.jpg,p2,b\n3.jpg,,b\n")
    assert listing.load(table, group_by="patient").group_keys == ("p2", "p1", "")
    assert listing.load(table, group_by="[12]").group_keys == ("1", "2", "")
    assert listing.load(table, group_by="label").group_keys == ("b", "a", "b")
    assert listing.load(table).group_keys == ()


def test_a_photo_in_two_groups(tmp_path: Path) -> None:
    touch(tmp_path, "1.jpg", "2.jpg")
    table = tmp_path / "t.csv"
    table.write_text("path,label,group\n1.jpg,a,p1\n2.jpg,b,p1\n1.jpg,a,p2\n")
    assert len(listing.load(table)) == 2
    assert text_of(DataError, lambda: listing.load(table, group_by="group")) == (
        f"'{table}' gives 1.jpg twice: in line 2 as 'a' in 'p1', in line 4 as 'a' in 'p2'.\n"
        "Keep one of the two lines."
    )
