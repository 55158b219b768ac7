import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from conftest import text_of, touch

from headstart.base.errors import DataError, NoSuchData, SettingsError
from headstart.base.progress import Advance, Progress
from headstart.sources import listing

LAYOUT = (
    "Put the photos of each class into a folder named after it, such as photos/cat and photos/dog, "
    "or name a CSV or TSV file with the columns path,label."
)


def test_no_such_folder_suggests_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    assert text_of(NoSuchData, lambda: listing.load(tmp_path / "fotos")) == (
        f"No folder or file '{tmp_path / 'fotos'}'.\nDid you mean '{tmp_path / 'photos'}'?"
    )
    assert text_of(NoSuchData, lambda: listing.load(Path("/no/such/folder"))) == (
        f"No folder or file '/no/such/folder'.\n{LAYOUT}"
    )


def test_a_file_that_is_no_table(tmp_path: Path) -> None:
    touch(tmp_path, "photos.zip")
    assert text_of(NoSuchData, lambda: listing.load(tmp_path / "photos.zip")) == (
        f"'{tmp_path / 'photos.zip'}' is neither a folder nor a CSV, TSV or Parquet file.\n"
        "If it is an archive, unpack it and name the folder that comes out."
    )


def test_keys_by_a_regular_expression(tmp_path: Path) -> None:
    touch(tmp_path, "cat/a_1.jpg", "cat/a_2.jpg", "dog/b_1.jpg", "dog/c.jpg")
    assert listing.load(tmp_path).group_keys == ()
    assert listing.load(tmp_path, group_by=r"(\w)_\d").group_keys == ("a", "a", "b", "")
    assert listing.load(tmp_path, group_by=r"\w_\d|c\.").group_keys == ("a_1", "a_2", "b_1", "c.")
    assert listing.load(tmp_path, group_by=r"(x)?_\d").group_keys == ("", "", "", "")
    listed = listing.load(tmp_path, group_by=r"(\w)_\d").take([3, 0])
    assert listed.group_keys == ("", "a") and listing.load(tmp_path).take([0]).group_keys == ()


def test_keys_that_match_nothing(tmp_path: Path) -> None:
    touch(tmp_path, "cat/1.jpg", "dog/1.jpg")
    assert text_of(DataError, lambda: listing.load(tmp_path, group_by="patient")) == (
        "group_by is 'patient': no column of that name, and no path has such a text in it.\n"
        "A path is written as in 'cat/1.jpg'."
    )


def test_keys_by_what_is_no_regular_expression(tmp_path: Path) -> None:
    touch(tmp_path, "cat/1.jpg", "dog/1.jpg")
    with pytest.raises(SettingsError) as caught:
        listing.load(tmp_path, group_by="p(")
    assert str(caught.value) == (
        "group_by is 'p(', which is no regular expression: "
        "missing ), unterminated subpattern at position 1.\n"
        "Write it as Python does; a dot, bracket or star of the path itself needs a \\ before it."
    )


class Told(Progress):
    """Keeps the stages, and when they began: in seconds of this process, for others may be at work."""

    def __init__(self) -> None:
        self.stages: list[tuple[str, float]] = []
        self.n_told, self._start = 0, time.process_time()

    @contextmanager
    def stage(self, title: str, total: int | None, unit: str = "images") -> Iterator[Advance]:
        self.stages.append((title, time.process_time() - self._start))
        yield self._count

    def _count(self, count: int = 1) -> None:
        self.n_told += count


@pytest.mark.slow
def test_a_folder_of_very_many_photos_is_told_of_within_two_seconds(tmp_path: Path) -> None:
    """What is told first does not wait for the others."""
    for number in range(4):
        (tmp_path / f"class_{number}").mkdir()
        for photo in range(50_000):
            os.mknod(tmp_path / f"class_{number}" / f"{photo}.jpg")
    told = Told()
    assert len(listing.load(tmp_path, progress=told)) == 200_000
    assert [title for title, _ in told.stages] == ["Listing photos"] and told.stages[0][1] < 2
    assert told.n_told == 200_004, "with the folders"


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_table_of_very_many_photos_is_told_of_within_two_seconds(tmp_path: Path, kind: str) -> None:
    names = [f"{number}.jpg" for number in range(100_000)]
    for name in names:
        os.mknod(tmp_path / name)
    labels = ["cat", "dog"] * 50_000
    table = tmp_path / f"photos.{kind}"
    if kind == "csv":
        table.write_text("path,label\n" + "".join(map("{},{}\n".format, names, labels)))
    else:
        pytest.importorskip("pyarrow", reason="pyarrow is not installed")
        import pyarrow
        import pyarrow.parquet

        pyarrow.parquet.write_table(pyarrow.table({"path": names, "label": labels}), table)
    told = Told()
    assert len(listing.load(table, progress=told)) == 100_000
    assert [title for title, _ in told.stages] == ["Listing photos"] and told.stages[0][1] < 2
