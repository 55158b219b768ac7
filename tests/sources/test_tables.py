"""Tables: from the bytes of a file to photos, labels and parts; what cannot be read, said in whole."""

import csv
import io
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from conftest import text_of, touch
from hypothesis import given, settings
from hypothesis import strategies as st

from headstart.base.errors import DataError, NoSuchData, TooFewClasses
from headstart.sources import listing
from headstart.sources.dataset import Dataset


def read_as(listed: Dataset) -> dict[str, tuple[str, str]]:
    """Label and part of each photo."""
    labels = [listed.class_names[label] for label in listed.labels]
    return dict(zip(listed.paths, zip(labels, listed.given_parts, strict=True), strict=True))


@pytest.fixture
def table(tmp_path: Path) -> Callable[..., Path]:
    """A function that writes a table, and the files named, into a folder."""

    def write(content: str | bytes, *files: str, name: str = "t.csv") -> Path:
        touch(tmp_path, *files)
        data = content if isinstance(content, bytes) else content.encode()
        (tmp_path / name).write_bytes(data)
        return tmp_path / name

    return write


Write = Callable[..., Path]
MISSING = (
    "Paths are taken from '{folder}': mend them, remove these lines, or name the folder: --images FOLDER"
)
BY_STEM = "2 named without extension or in other capitals: 1.jpg is meant by '1'."
FOUR = ("1.jpg", "2.jpg", "3.jpg", "4.jpg")


# What is read


@pytest.mark.parametrize(
    ("name", "mark", "encoding"),
    [
        ("t.csv", ",", "utf-8"),
        ("t.CSV", ";", "utf-8-sig"),
        ("t.tsv", "\t", "utf-16"),
        ("t.txt", "|", "utf-32"),
    ],
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
    assert listed.root == tmp_path / "here"
    assert read_as(listed) == {
        "x.jpg": ("cat", "train"),
        "é, ;.jpg": ("dog", "test"),
        f"{tmp_path.as_posix()}/outside.jpg": ("cat", "validation"),
        ".hidden.jpg": ("dog", "train"),
    }
    assert all(listed.file(index).is_file() for index in range(4))
    told = {"utf-16": " as UTF-16", "utf-32": " as UTF-32"}.get(encoding, "")
    assert listed.layout == (
        f"{name}{told}, path from 'PATH', label from 'Label', part from 'split' "
        "(2 train, 1 validation, 1 test); 1 row said again what another had said"
    )


def test_a_table_without_a_split(table: Write) -> None:
    source = table("path,label\n1.jpg,b\n2.jpg,a\nsub/../sub/3.jpg,c\n", "1.jpg", "2.jpg", "sub/3.jpg")
    listed = listing.load(source, exclude=["b"])
    assert read_as(listed) == {"2.jpg": ("a", ""), "sub/3.jpg": ("c", "")}
    assert listed.class_names == ("a", "c")


# Headers as public tables have them; in each, the first row is of class x and the second of class y.
PUBLIC = {
    "filename,class\n1.jpg,x\n2.jpg,y": "path from 'filename', label from 'class'.",
    "image,category\n1.jpg,x\n2.jpg,y": "path from 'image', label from 'category'.",
    "id,breed\n1,x\n2,y": f"path from 'id', label from 'breed'; {BY_STEM}",
    "id_code,diagnosis\n1,x\n2,y": f"path from 'id_code', label from 'diagnosis'; {BY_STEM}",
    "lesion_id,image_id,dx,dx_type,age\nH1,1.jpg,x,histo,80\nH2,2.jpg,y,histo,75": (
        "path from 'image_id', label from 'dx'; not used: lesion_id, dx_type and age."
    ),
    # A whale's name is its Id, and names no file.
    "Image,Id\n1.jpg,x\n2.jpg,y": "path from 'Image', label from 'Id'.",
    "fname,labels,is_valid\n1.jpg,x,False\n2.jpg,y,True": (
        "path from 'fname', label from 'labels', part from 'is_valid' (1 train, 1 validation)."
    ),
    "class id,filepaths,labels,data set\n0,1.jpg,x,train\n0,3.jpg,x,test\n1,2.jpg,y,train\n": (
        "path from 'filepaths', label from 'labels', part from 'data set' (2 train, 1 test); "
        "not used: class id."
    ),
    "Width,Height,ClassId,Path\n9,9,x,1.jpg\n9,9,y,2.jpg": (
        "path from 'Path', label from 'ClassId'; not used: Width and Height."
    ),
    ",file_name,label\n0,1.jpg,x\n1,2.jpg,y": (
        "path from 'file_name', label from 'label'; not used: column 1."
    ),
    ",file_name,made of\n0,1.jpg,x\n1,2.jpg,y\n2,3.jpg,y": (
        "path from 'file_name', label from 'made of'; not used: column 1."
    ),
    "image,x,y\n1.jpg,1.0,0.0\n2.jpg,0.0,1.0": (
        "path from 'image', label from the one of 'x' and 'y' that says yes."
    ),
    "id,image,label\n2,1.jpg,x\n1,2.jpg,y": "path from 'image', label from 'label'; not used: id.",
    "image,mask,label\n1.jpg,3.jpg,x\n2.jpg,4.jpg,y": (
        "path from 'image', label from 'label'; not used: mask."
    ),
    "Bild;Klasse\n1.jpg;x\n2.jpg;y": "path from 'Bild', label from 'Klasse'.",
    "sep=;\nfile;label\n1.jpg;x\n2.jpg;y": "path from 'file', label from 'label'.",
    "foto;merkmal\n1.jpg;x\n2.jpg;y": "path from 'foto', label from 'merkmal'.",
    "merkmal;foto\nx;1\ny;2": f"path from 'foto', label from 'merkmal'; {BY_STEM}",
    "file,label\n1.JPG,x\n2.jpg,y": (
        "path from 'file', label from 'label'; "
        "1 named without extension or in other capitals: 1.jpg is meant by '1.JPG'."
    ),
}


@pytest.mark.parametrize("content", PUBLIC)
def test_headers_as_public_tables_have_them(content: str, table: Write) -> None:
    listed = listing.load(table(content, *FOUR))
    read = read_as(listed)
    assert (read["1.jpg"][0], read["2.jpg"][0]) == ("x", "y")
    assert f"{listed.layout}." == f"t.csv, {PUBLIC[content]}"


@pytest.mark.parametrize("content", ["1.jpg,x\n2.jpg,y\n", "x,1\ny,2\nx,3\n", "1.jpg;x\n2.jpg;y"])
def test_a_table_without_a_header(content: str, table: Write) -> None:
    listed = listing.load(table(content, *FOUR))
    read = read_as(listed)
    assert (read["1.jpg"][0], read["2.jpg"][0]) == ("x", "y") and len(read) == len(content.split())
    assert listed.layout.startswith("t.csv without a header, path from column ")


def test_a_first_line_that_may_be_a_header_or_a_row(table: Write) -> None:
    source = table("foto,merkmal\n1,x\n2,y", *FOUR, "foto.jpg")
    assert text_of(DataError, lambda: listing.load(source)) == (
        f"The first line of '{source}' may be a header or a row: 'foto' is a file here, and no other line "
        "has the label 'merkmal'.\nWrite a header above it, such as path,label; or if it is one, name the "
        "column: --path-column foto"
    )
    assert listing.load(source, path_column="foto").paths == ("1.jpg", "2.jpg")
    assert listing.load(table("foto,x\n1,x\n2,y")).paths == ("1.jpg", "2.jpg", "foto.jpg")


def test_parts_are_no_labels(table: Write) -> None:
    source = table("filename,what\n1.jpg,train\n2.jpg,test", *FOUR)
    assert text_of(DataError, lambda: listing.load(source)) == (
        f"It cannot be told which column of '{source}' holds the labels. It begins:\n"
        "  filename, what\n  1.jpg, train\nName it: --label-column COLUMN"
    )
    assert listing.load(source, label_column="what").class_names == ("test", "train")


def test_columns_of_a_table_without_a_header_are_named_by_number(table: Write) -> None:
    source = table("1.jpg,x,p,train\n2.jpg,y,q,train\n3.jpg,x,q,test\n", *FOUR)
    assert text_of(DataError, lambda: listing.load(source)) == (
        f"The columns '2' and '3' of '{source}' may each hold the labels. It begins:\n"
        "  1, 2, 3, 4\n  1.jpg, x, p, train\nSay which does: --label-column 2 or --label-column 3"
    )
    listed = listing.load(source, label_column="3")
    assert read_as(listed)["3.jpg"] == ("q", "test")
    assert listed.layout == (
        "t.csv without a header, path from column 1, label from column 3, "
        "part from column 4 (2 train, 1 test); not used: 2"
    )


def test_a_list_with_blanks_between(table: Write) -> None:
    source = table("a/1.jpg 0\na/2.jpg  1\n", "a/1.jpg", "a/2.jpg", name="list.txt")
    assert read_as(listing.load(source)) == {"a/1.jpg": ("0", ""), "a/2.jpg": ("1", "")}


# Parts


@pytest.mark.parametrize(
    ("header", "rows", "parts"),
    [
        ("is_valid", ["0", "1", "0"], ["train", "validation", "train"]),
        ("isVal", ["false", "TRUE", "False"], ["train", "validation", "train"]),
        ("is_test", ["no", "yes", "no"], ["train", "test", "train"]),
        ("is_train", ["1", "0", "1"], ["train", "test", "train"]),
        ("is_training_image", ["1", "0", "1"], ["train", "test", "train"]),
        ("validation_set", ["0", "1", "0"], ["train", "validation", "train"]),
        ("is_valid,is_test", ["1,0", "0,1", "0,0"], ["validation", "test", "train"]),
        ("is_train,is_valid", ["1,0", "0,1", "0,0"], ["train", "validation", "test"]),
        ("train,val,test", ["1,0,0", "0,1,0", "0,0,1"], ["train", "validation", "test"]),
        ("Split", ["Training", "dev", "TEST "], ["train", "validation", "test"]),
        ("subset", ["train", "val", "holdout"], ["train", "validation", "test"]),
        ("usage", ["train", "valid", "test"], ["train", "validation", "test"]),
        ("zzz", ["train", "valid", "test"], ["train", "validation", "test"]),
        ("split,is_test", ["train,0", "train,0", "test,1"], ["train", "train", "test"]),
        ("split,fold", ["train,0", "train,1", "test,2"], ["train", "train", "test"]),
        ("set", ["a", "b", "b"], ["", "", ""]),
        ("split", ["", "", ""], ["", "", ""]),
        ("is_valid", ["", "", ""], ["", "", ""]),
        ("is_valid", ["0", "0", "0"], ["train", "train", "train"]),
    ],
)
def test_parts(header: str, rows: list[str], parts: list[str], table: Write) -> None:
    lines = [f"{number}.jpg,{'xyx'[number - 1]},{row}" for number, row in enumerate(rows, start=1)]
    listed = listing.load(table("\n".join([f"path,label,{header}", *lines]), *FOUR))
    assert list(listed.given_parts) == parts
    assert ("part from" in listed.layout) == any(parts)
    if header == "set":
        assert listed.layout.endswith("; not used: set")


def test_parts_that_cannot_be_told(table: Write) -> None:
    source = table("path,label,fold\n1.jpg,x,0\n2.jpg,y,1\n3.jpg,y,2", *FOUR)
    assert text_of(DataError, lambda: listing.load(source)) == (
        f"The column 'fold' of '{source}' holds '0', '1' and '2': none of them names a part.\n"
        "Write train, validation or test there, or have Headstart divide the photos: --split-column none"
    )
    assert listing.load(source, split_column="none").given_parts == ("", "", "")
    source = table("path,label,is_valid\n1.jpg,x,maybe\n2.jpg,y,perhaps", *FOUR)
    assert text_of(DataError, lambda: listing.load(source)) == (
        f"The column 'is_valid' of '{source}' holds 'maybe' and 'perhaps': none of them names a part.\n"
        "Write train, validation or test there, or have Headstart divide the photos: --split-column none"
    )
    source = table("path,label,split,is_test\n1.jpg,x,train,1\n2.jpg,y,test,0", *FOUR)
    assert text_of(DataError, lambda: listing.load(source)) == (
        f"The columns 'is_test' and 'split' of '{source}' divide the photos, each in another way. "
        "It begins:\n  path, label, split, is_test\n  1.jpg, x, train, 1\n"
        "Say which does: --split-column is_test or --split-column split, or have Headstart divide the "
        "photos: --split-column none"
    )
    assert listing.load(source, split_column="split").given_parts == ("train", "test")
    assert listing.load(source, split_column="Is Test").given_parts == ("test", "train")


def test_yes_and_no_that_may_be_something_else(table: Write) -> None:
    source = table("path,label,test\n1.jpg,x,1\n2.jpg,y,0\n3.jpg,y,0", *FOUR)
    assert text_of(DataError, lambda: listing.load(source)) == (
        f"The column 'test' of '{source}' may say which part a photo is in, or another thing. It begins:\n"
        "  path, label, test\n  1.jpg, x, 1\n"
        "Say which does: --split-column test, or have Headstart divide the photos: --split-column none"
    )
    assert listing.load(source, split_column="test").given_parts == ("test", "train", "train")
    source = table("path,label,is_valid\n1.jpg,x,1\n2.jpg,y,1\n3.jpg,y,0", *FOUR)
    assert text_of(DataError, lambda: listing.load(source)) == (
        f"By its column 'is_valid', 2 of the 3 rows of '{source}' are for validation. Perhaps it means "
        "something else.\nIf it does, give --split-column none; else --split-column is_valid"
    )
    assert listing.load(source, split_column="none").given_parts == ("", "", "")
    assert listing.load(source, split_column="is_valid").given_parts == ("validation", "validation", "train")


# Columns that cannot be told


def test_two_columns_of_labels(table: Write) -> None:
    source = table("image,diagnosis,target\n1.jpg,nevus,0\n2.jpg,nevus,1\n3.jpg,mel,1", *FOUR)
    assert text_of(DataError, lambda: listing.load(source)) == (
        f"The columns 'diagnosis' and 'target' of '{source}' may each hold the labels. It begins:\n"
        "  image, diagnosis, target\n  1.jpg, nevus, 0\n"
        "Say which does: --label-column diagnosis or --label-column target"
    )
    assert listing.load(source, label_column="target").class_names == ("0", "1")


def test_two_columns_that_name_classes_alike_are_one(table: Write) -> None:
    source = table("image,class,label\n1.jpg,0,x\n2.jpg,1,y\n3.jpg,1,y", *FOUR)
    assert listing.load(source).class_names == ("x", "y")


def test_two_columns_of_paths(table: Write) -> None:
    source = table("left,right,label\n1.jpg,2.jpg,x\n3.jpg,4.jpg,y", *FOUR)
    assert text_of(DataError, lambda: listing.load(source)) == (
        f"The columns 'left' and 'right' of '{source}' may each hold the paths of the photos. It begins:\n"
        "  left, right, label\n  1.jpg, 2.jpg, x\n"
        "Say which does: --path-column left or --path-column right"
    )
    assert listing.load(source, path_column="right").paths == ("2.jpg", "4.jpg")


def test_two_columns_that_name_the_same_files(table: Write) -> None:
    source = table("id,path,label\n1,./1.jpg,x\n2,./2.jpg,y", *FOUR)
    assert listing.load(source).layout == "t.csv, path from 'path', label from 'label'; not used: id"
    source = table("id,name,label\n1,1,x\n2,2,y", *FOUR)
    assert listing.load(source).paths == ("1.jpg", "2.jpg")


def test_no_column_of_labels(table: Write) -> None:
    source = table("image,age,sex\n1.jpg,31,f\n2.jpg,40,m\n3.jpg,31,m", *FOUR)
    assert text_of(DataError, lambda: listing.load(source)) == (
        f"The columns 'age' and 'sex' of '{source}' may each hold the labels. It begins:\n"
        "  image, age, sex\n  1.jpg, 31, f\nSay which does: --label-column age or --label-column sex"
    )
    source = table("image\n1.jpg\n2.jpg", *FOUR)
    assert text_of(DataError, lambda: listing.load(source)) == (
        f"It cannot be told which column of '{source}' holds the labels. It begins:\n"
        "  image\n  1.jpg\nName it: --label-column COLUMN"
    )


def test_no_column_of_paths(table: Write) -> None:
    source = table("what,label\nwhite,x\nblack,y")
    assert text_of(DataError, lambda: listing.load(source)) == (
        f"It cannot be told which column of '{source}' holds the paths. It begins:\n"
        "  what, label\n  white, x\n"
        "Name it: --path-column COLUMN (and the folder with the photos, if they are elsewhere: "
        "--images FOLDER)"
    )


def test_a_column_that_is_not_there(table: Write) -> None:
    source = table("image,diagnosis\n1.jpg,x\n2.jpg,y", *FOUR)
    assert text_of(DataError, lambda: listing.load(source, label_column="diagnossis")) == (
        f"'{source}' has no column 'diagnossis'.\nDid you mean 'diagnosis'?"
    )
    assert text_of(DataError, lambda: listing.load(source, path_column="zzz")) == (
        f"'{source}' has no column 'zzz'.\nIts columns are 'image' and 'diagnosis'."
    )
    assert text_of(DataError, lambda: listing.load(source, split_column="zzz")) == (
        f"'{source}' has no column 'zzz'.\nIts columns are 'image' and 'diagnosis'."
    )
    source = table("image,class,class\n1.jpg,x,y\n2.jpg,y,x", *FOUR)
    assert text_of(DataError, lambda: listing.load(source, label_column="class")) == (
        f"'{source}' has 2 columns 'class'.\nGive each a name of its own."
    )


def test_classes_that_have_a_column_each(table: Write) -> None:
    source = table("image,rust,scab,healthy\n1.jpg,1,1,0\n2.jpg,0,0,1\n3.jpg,0,1,0\n4.jpg,0,0,0", *FOUR)
    assert text_of(DataError, lambda: listing.load(source)) == (
        f"'{source}' has a column for each of the classes 'rust', 'scab' and 'healthy', and 2 of its 4 rows "
        "do not say yes to one alone, such as line 2: rust and scab.\n"
        "Headstart gives one class to a photo: leave those rows out, or write one column of labels and name "
        "it with --label-column COLUMN."
    )


# Where the files are


def test_images(tmp_path: Path) -> None:
    touch(tmp_path, "else/1.png", "else/2.JPG", "tables/3.jpg")
    source = tmp_path / "tables" / "t.csv"
    source.write_text("id,label\n1,x\n2,y\n3,y\n")
    listed = listing.load(source, images=str(tmp_path / "else"))
    assert listed.paths == ("3.jpg", "../else/1.png", "../else/2.JPG")
    assert listed.file(2) == tmp_path / "tables" / "../else/2.JPG" and listed.file(2).is_file()
    assert text_of(NoSuchData, lambda: listing.load(source, images=str(tmp_path / "nowhere"))) == (
        f"No folder '{tmp_path / 'nowhere'}'.\nName the folder that holds the photos: --images FOLDER"
    )
    assert text_of(DataError, lambda: listing.load(source)) == (
        f"'{source}' names files that are not there: 1 (line 2) and 2 (line 3).\n"
        f"Paths are taken from '{tmp_path / 'tables'}': mend them, remove these lines, or name the folder: "
        "--images FOLDER"
    )
    touch(tmp_path, "tables/1.jpg")
    assert text_of(DataError, lambda: listing.load(source, images=str(tmp_path / "else"))) == (
        f"'{source}' has names that fit more than one file: 1 (line 2): ../else/1.png and 1.jpg.\n"
        "Write the whole path of the one that is meant, with its extension."
    )


def test_files_in_a_folder_inside(table: Write) -> None:
    source = table("id,label\n1,x\n2,y", "train/1.jpg", "train/2.jpg", "train/3.jpg")
    listed = listing.load(source)
    assert listed.paths == ("train/1.jpg", "train/2.jpg")
    assert listed.layout == (
        "t.csv, path from 'id', label from 'label'; 2 photos found in train; "
        "2 named without extension or in other capitals: 1.jpg is meant by '1'"
    )
    table("", "test/2.png")
    source = table("id,label\n1,x\n2,y")
    assert text_of(DataError, lambda: listing.load(source)) == (
        f"'{source}' has names that fit more than one file: 2 (line 3): test/2.png and train/2.jpg.\n"
        "Write the whole path of the one that is meant, with its extension."
    )
    assert listing.load(source, images=str(source.parent / "train")).paths == ("train/1.jpg", "train/2.jpg")


def test_files_in_several_folders_inside(table: Write) -> None:
    source = table("id,dx\n1,x\n2,y", "part_1/images/1.jpg", "part_2/images/2.jpg", ".trash/1.jpg")
    listed = listing.load(source)
    assert listed.paths == ("part_1/images/1.jpg", "part_2/images/2.jpg")
    assert "; 2 photos found in part_1/images and part_2/images; " in listed.layout
    source = table("id,dx\n1,x\n2,y\n3,x\n4,y", "part_3/3.jpg", "part_4/4.jpg")
    assert "; 4 photos found in 4 folders, such as part_1/images; " in listing.load(source).layout


def test_a_name_that_is_near_in_one_folder_and_elsewhere_too(table: Write) -> None:
    """A chart 1.png beside the table is not the photo that 1 means, when the others are in a folder."""
    source = table("id,label\n1,x\n2,y", "1.png", "photos/1.jpg", "photos/2.jpg")
    assert text_of(DataError, lambda: listing.load(source)) == (
        f"'{source}' has names that fit more than one file: 1 (line 2): 1.png and photos/1.jpg.\n"
        "Write the whole path of the one that is meant, with its extension."
    )


def test_an_id_that_fits_two_files(table: Write) -> None:
    source = table("id,breed\n0a1b,x\n0a1c,y", "0a1b.jpg", "0a1b.png", "0a1c.JPG", "0a1c.txt")
    assert text_of(DataError, lambda: listing.load(source)) == (
        f"'{source}' has names that fit more than one file: 0a1b (line 2): 0a1b.jpg and 0a1b.png.\n"
        "Write the whole path of the one that is meant, with its extension."
    )


def test_two_links_to_one_file_are_no_doubt(table: Write, tmp_path: Path) -> None:
    source = table("id,breed\n1,x\n2,y", "photos/1.jpg", "photos/2.jpg")
    (tmp_path / "again").symlink_to(tmp_path / "photos")
    assert len(listing.load(source)) == 2


def test_paths_as_windows_writes_them(table: Write) -> None:
    source = table("path,label\nphotos\\cat\\1.jpg,x\n.\\2.jpg,y", "photos/cat/1.jpg", "2.jpg")
    assert listing.load(source).paths == ("2.jpg", "photos/cat/1.jpg")
    source = table("path,label\nC:\\photos\\1.jpg,x\n\\\\nas\\2.jpg,y\nhttps://example.org/3.jpg,y")
    assert text_of(DataError, lambda: listing.load(source)) == (
        f"'{source}' names files by a web address or a drive of Windows: C:\\photos\\1.jpg (line 2), "
        "\\\\nas\\2.jpg (line 3) and https://example.org/3.jpg (line 4).\n"
        "Write their paths from the folder of the table, or their names alone and where they are: "
        "--images FOLDER"
    )


def test_accents_written_in_two_ways(table: Write) -> None:
    source = table("path,label\ncafe\u0301.jpg,x\n2.jpg,y", "caf\u00e9.jpg", "2.jpg")
    assert listing.load(source).paths == ("2.jpg", "caf\u00e9.jpg")


# Encodings


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_other_encodings(encoding: str, table: Write) -> None:
    mark = {"utf-16-le": b"", "utf-16-be": b""}
    content = "Pfad;Klasse\r\n1.jpg;Bär\r\n2.jpg;Löwe\r\n".encode(encoding)
    assert listing.load(table(mark.get(encoding, b"") + content, *FOUR)).class_names == ("Bär", "Löwe")


def test_letters_that_cannot_be_told(table: Write) -> None:
    source = table("path,label\n1.jpg,Bär\n2.jpg,x\n".encode("cp1252"), *FOUR)
    assert text_of(DataError, lambda: listing.load(source)) == (
        f"'{source}' is not in UTF-8, so what its letters are cannot be told: is this 'Bär'?\n"
        "Save it as CSV UTF-8. If it is, that also does it: "
        f"iconv -f WINDOWS-1252 -t UTF-8 {source} > {source.parent / 't-utf8.csv'}"
    )
    source = table("path,label\ncafé.jpg,a\n".encode("latin-1"))
    assert text_of(DataError, lambda: listing.load(source)).startswith(
        f"'{source}' is not in UTF-8, so what its letters are cannot be told: is this 'café.jpg'?\n"
    )


def test_letters_that_files_prove(table: Write) -> None:
    content = "path,label,note\ncafé.jpg,a,né\n2.jpg,b,x\n".encode("cp1252")
    listed = listing.load(table(content, "café.jpg", "2.jpg"))
    assert listed.paths == ("2.jpg", "café.jpg")
    assert listed.layout == ("t.csv as Windows-1252, path from 'path', label from 'label'; not used: note")


@pytest.mark.parametrize(
    ("content", "problem", "fix"),
    [
        (
            b"PK\x03\x04\x00\x00",
            "is a workbook or an archive, and not a table of text.",
            "Save it as CSV UTF-8, and name that file.",
        ),
        (
            b"\x81\x8d,\xff",
            "is not text in an encoding that can be told.",
            "Save it as CSV UTF-8, and name that file.",
        ),
        (
            b'path,label\n1.jpg,x\n"2.jpg,y\n3.jpg,x\n',
            "cannot be read from line 3 on: a quotation mark is opened there and not closed.",
            "Mend that line, or save the table anew as CSV UTF-8.",
        ),
        (b"", "has no rows.", "Name a table with a row for each photo."),
        (b"path,label\n", "has no rows.", "Name a table with a row for each photo."),
    ],
)
def test_what_is_no_table(content: bytes, problem: str, fix: str, table: Write) -> None:
    source = table(content, *FOUR)
    assert text_of(DataError, lambda: listing.load(source)) == f"'{source}' {problem}\n{fix}"


# Rows that cannot be used


@pytest.mark.parametrize(
    ("content", "problem", "fix"),
    [
        (
            "path,label\n1.jpg,a\ngone.jpg,b\nlost.jpg,b\n2.jpg,b\nno.jpg,a",
            "names files that are not there: gone.jpg (line 3), lost.jpg (line 4) and no.jpg (line 6).",
            MISSING,
        ),
        (
            "path,label\ngone.jpg,a\nlost.jpg,b",
            "names files that are not there, all 2: gone.jpg (line 2) and lost.jpg (line 3).",
            MISSING,
        ),
        (
            "path,label\n1.jpg,a\n2.png,b",
            "names files that are not there: 2.png (line 3).",
            f"1 of them has its file under another extension: 2.jpg for 2.png. {MISSING}",
        ),
        ("path,label\n1.jpg,a\n2.jpg", "has no label in line 3.", "Fill it in, or remove the line."),
        (
            "path,label\n,a\n1.jpg,a\n,b",
            "has no path in lines 2 and 4.",
            "Fill it in, or remove the lines.",
        ),
        (
            "path,label\n1.jpg,a\n2.jpg,b, black",
            "has more cells in line 3 than columns in its header.",
            "Put quotation marks around a text with a comma (or what else stands between cells) in it.",
        ),
        (
            "path,label,split\n1.jpg,a,train\n2.jpg,b,hold",
            "has a split that is none: 'hold' in line 3.",
            "Write train, validation or test.",
        ),
        (
            "path,label,split\n1.jpg,a,train\n2.jpg,b,",
            "has no split in line 3.",
            "Write train, validation or test in each line, or leave the column out: --split-column none",
        ),
        (
            "path,label,is_valid,is_test\n1.jpg,a,0,0\n2.jpg,b,1,1",
            "has a split that is none: '1, 1' in line 3.",
            "Write train, validation or test.",
        ),
        (
            "path,label\n1.jpg,a\n2.jpg,b\n./1.jpg,b",
            "says different things of one photo: 1.jpg in line 2 as 'a' and line 4 as 'b'.",
            "Keep one line for each photo: Headstart gives one class to a photo.",
        ),
        (
            "path,label,split\n1.jpg,a,train\n2.jpg,b,train\n1.jpg,a,test",
            "says different things of one photo: "
            "1.jpg in line 2 as 'a' in 'train' and line 4 as 'a' in 'test'.",
            "Keep one line for each photo: Headstart gives one class to a photo.",
        ),
    ],
)
def test_rows_that_cannot_be_used(content: str, problem: str, fix: str, table: Write) -> None:
    source = table(content, "1.jpg", "2.jpg")
    said = text_of(DataError, lambda: listing.load(source))
    assert said == f"'{source}' {problem}\n{fix.format(folder=source.parent)}"


def test_all_kinds_of_bad_rows_at_once(table: Write) -> None:
    rows = ["1.jpg,a,train", ",b,train", "2.jpg,,train", "3.jpg,a,hold", "1.jpg,b,train"]
    rows += [f"gone{number}.jpg,a,train" for number in range(47)]
    source = table("\n".join(["path,label,split", *rows]), *FOUR)
    gone = ", ".join(f"gone{number}.jpg (line {number + 7})" for number in range(10))
    assert text_of(DataError, lambda: listing.load(source)) == (
        f"'{source}' has rows that cannot be used:\n"
        "- It has no path in line 3. Fill it in, or remove the line.\n"
        "- It has no label in line 4. Fill it in, or remove the line.\n"
        "- It has a split that is none: 'hold' in line 5. Write train, validation or test.\n"
        f"- It names files that are not there: {gone} and 37 more. Paths are taken from '{source.parent}': "
        "mend them, remove these lines, or name the folder: --images FOLDER\n"
        "- It says different things of one photo: 1.jpg in line 2 as 'a' in 'train' and line 6 as 'b' in "
        "'train'. Keep one line for each photo: Headstart gives one class to a photo.\n"
        "Mend all of these, then try again."
    )


def test_a_list_below_twenty_is_whole(table: Write) -> None:
    rows = [f"gone{number}.jpg,a" for number in range(19)]
    said = text_of(DataError, lambda: listing.load(table("\n".join(["path,label", "1.jpg,b", *rows]), *FOUR)))
    assert said.count("gone") == 19 and "more" not in said


def test_rows_of_classes_left_out_need_no_files(table: Write) -> None:
    source = table("path,label\n1.jpg,a\ngone.jpg,z\n2.jpg,b", *FOUR)
    assert listing.load(source, exclude=["z"]).paths == ("1.jpg", "2.jpg")


def test_one_class(table: Write) -> None:
    source = table("path,label\n1.jpg,cat\n", *FOUR)
    assert text_of(TooFewClasses, lambda: listing.load(source)) == (
        f"Only one class in '{source}': 'cat'.\n"
        "Add rows with photos of another class: with one there is nothing to tell apart."
    )


# What belongs together


def test_keys_by_a_column(table: Write) -> None:
    source = table("path, Patient ,label\n2.jpg,p1,a\n1.jpg,p2,b\n3.jpg,,b\n", *FOUR)
    listed = listing.load(source, group_by="patient")
    assert listed.group_keys == ("p2", "p1", "")
    assert listed.layout == "t.csv, path from 'path', label from 'label', groups from 'Patient'"
    assert listing.load(source, group_by="[12]").group_keys == ("1", "2", "")
    assert listing.load(source, group_by="label").group_keys == ("b", "a", "b")
    assert listing.load(source).group_keys == ()


def test_the_column_of_groups_is_not_that_of_labels(table: Write) -> None:
    source = table("image,patient,what\n1.jpg,p1,a\n2.jpg,p1,b\n3.jpg,p2,b", *FOUR)
    assert listing.load(source, group_by="patient").class_names == ("a", "b")


def test_a_photo_in_two_groups(table: Write) -> None:
    source = table("path,label,group\n1.jpg,a,p1\n2.jpg,b,p1\n1.jpg,a,p2\n", *FOUR)
    assert len(listing.load(source)) == 2
    assert text_of(DataError, lambda: listing.load(source, group_by="group")) == (
        f"'{source}' says different things of one photo: 1.jpg in line 2 as 'a' in 'p1' and line 4 as 'a' in "
        "'p2'.\nKeep one line for each photo: Headstart gives one class to a photo."
    )


# The whole kind: random tables whose right reading is known

WORDS = {
    "path": ("path", "File_Name", "filename", "IMAGE", "img path", "image_id", "id", "Name", "filepaths"),
    "label": (
        "label",
        "Class",
        "category",
        "TARGET",
        "breed",
        "species",
        "diagnosis",
        "Labels",
        "class name",
    ),
    "split": ("split", "Subset", "partition", "data set", "usage", "set"),
}
STRANGE = ("foto", "was", "Spalte 3", "col_7", "x1", "Ünnamed")
PARTS = {
    "words": {"train": "train", "validation": "val", "test": "test"},
    "long": {"train": "Training", "validation": "Validation", "test": "TESTING"},
    "sets": {"train": "train_set", "validation": "dev_set", "test": "test_set"},
}
YES_NO = (("1", "0"), ("True", "False"), ("yes", "no"), ("TRUE", "FALSE"))
LABELS = ("cat", "dog", "Bär", "a|b", 'big "x"', "red, green", "0", "7;8", "new\nline", "train")
EXTRAS = {
    "age": tuple(str(age) for age in range(20, 90)),
    "note": ("", "x", "ok, fine", 'he said "no"', "a;b", "two\nlines"),
    "width": ("224", "300"),
    "sex": ("f", "m"),
    "smoker": ("0", "1"),
    "mask": ("mask1.png", "mask2.png"),
}


@dataclass(frozen=True)
class Drawn:
    """A table's bytes, its name and options, the files beside it, and what it truly says."""

    name: str
    data: bytes
    options: dict[str, str]
    files: tuple[str, ...]
    truth: dict[str, tuple[str, str]]
    is_plain: bool


@st.composite
def drawn_tables(draw: st.DrawFn) -> Drawn:
    def one_of(options: Sequence[str]) -> str:
        return draw(st.sampled_from(options))

    n = draw(st.integers(6, 14))
    folder = one_of(("", "photos/", "a/b/"))
    told, options = draw(st.booleans()), {}
    stems = draw(
        st.lists(
            st.text("abcXYZ019 _-é", min_size=1, max_size=6).map(str.strip).filter(bool),
            min_size=n,
            max_size=n,
            unique_by=str.casefold,
        )
    )
    files = [f"{folder}{stem}{one_of(('.jpg', '.JPG', '.png', '.jpeg'))}" for stem in stems]
    names = [file if told else file.removeprefix(folder) for file in files]
    if folder and not told and draw(st.booleans()):
        options["images"] = folder
    if draw(st.booleans()):
        names = [name.rpartition(".")[0] for name in names]
    if told and draw(st.booleans()):
        names = [name.replace("/", "\\") for name in names]
    labels = [one_of(LABELS) for _ in range(n)]
    parts = ["train", "test", *(one_of(("train", "validation", "test")) for _ in range(n - 2))]
    columns: dict[str, list[str]] = {}
    is_strange = draw(st.integers(0, 3)) == 0
    heads = {
        kind: one_of(STRANGE[place::3]) if is_strange else one_of(WORDS[kind])
        for place, kind in enumerate(("path", "label", "split"))
    }
    columns[heads["path"]] = names
    columns[heads["label"]] = labels
    style = one_of(("none", "words", "long", "sets", "flags"))
    if style == "none":
        parts = [""] * n
    elif style == "flags":
        yes, no = draw(st.sampled_from(YES_NO))
        columns["is_valid"] = [yes if part == "validation" else no for part in parts]
        columns["Is Test"] = [yes if part == "test" else no for part in parts]
    else:
        columns[heads["split"]] = [PARTS[style][part] for part in parts]
    for extra in draw(st.lists(st.sampled_from(sorted(EXTRAS)), max_size=3, unique=True)):
        columns[extra] = [one_of(EXTRAS[extra]) for _ in range(n)]
    if draw(st.integers(0, 4)) == 0:
        columns[""] = [str(number) for number in range(n)]
    for option in ("path", "label"):
        if draw(st.integers(0, 4)) == 0:
            options[f"{option}_column"] = heads[option]
    order = draw(st.permutations(sorted(columns)))
    encoding = one_of(("utf-8", "utf-8-sig", "utf-16", "utf-16-be-bom", "cp1252"))
    mark, suffix = draw(st.sampled_from(((",", ".csv"), (";", ".csv"), ("\t", ".tsv"), ("|", ".csv"))))
    stream = io.StringIO(newline="")
    writer = csv.writer(
        stream,
        delimiter=mark,
        quoting=draw(st.sampled_from((csv.QUOTE_MINIMAL, csv.QUOTE_ALL))),
        lineterminator=one_of(("\n", "\r\n")),
    )
    writer.writerows([order, *zip(*(columns[name] for name in order), strict=True)])
    text = stream.getvalue()
    data = ("\ufeff" + text).encode("utf-16-be") if "bom" in encoding else text.encode(encoding)
    decoys = tuple(draw(st.lists(st.sampled_from(DECOYS), max_size=3, unique=True)))
    decoys = tuple(file for file in decoys if file not in files)
    truth = {file: (label, part) for file, label, part in zip(files, labels, parts, strict=True)}
    is_sure = not is_strange and not decoys and encoding != "cp1252" and len(set(labels)) > 1
    return Drawn(f"t{suffix}", data, options, (*files, *decoys), truth, is_sure)


DECOYS = (
    "31.jpg",
    "40.png",
    "0.jpg",
    "1.png",
    "photos/a.jpg",
    "thumbs/a.jpg",
    "mask1.png",
    "m.png",
    "x.jpg",
    "foto.jpg",
    "was.png",
    "x1.jpg",
)


@settings(max_examples=200)
@given(drawn_tables())
def test_no_table_is_misread_in_silence(drawn: Drawn) -> None:
    """Each is read as it was meant, or refused with what to do; one with the usual headers is read."""
    with tempfile.TemporaryDirectory() as folder:
        root = touch(Path(folder), *drawn.files)
        (root / drawn.name).write_bytes(drawn.data)
        options: Any = {
            name: str(root / value) if name == "images" else value for name, value in drawn.options.items()
        }
        try:
            listed = listing.load(root / drawn.name, **options)
        except DataError as error:
            assert error.fix and not drawn.is_plain, str(error)
        else:
            assert read_as(listed) == drawn.truth, listed.layout
