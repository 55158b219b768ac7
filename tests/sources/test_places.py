"""What DATA may name."""

from pathlib import Path

import pytest

from headstart.base.progress import Progress
from headstart.base.settings import Settings
from headstart.results import run
from headstart.sources import places


def test_what_is_no_sample_and_no_address_is_a_path() -> None:
    assert places.resolve("photos/animals", Progress()) == Path("photos/animals")


def test_a_file_address_is_the_path_in_it(tmp_path: Path) -> None:
    folder = tmp_path / "my photos"
    folder.mkdir()
    assert places.resolve(folder.as_uri(), Progress()) == folder
    assert run.resolve(Settings(folder.as_uri())).data == str(folder)


@pytest.mark.parametrize(
    ("data", "kept", "out"),
    [
        ("s3://bucket/some/photos/", "s3://bucket/some/photos", "photos"),
        ("s3://bucket/labels.csv", "s3://bucket/labels.csv", "labels"),
        ("sample:textile", "sample:textile", "textile"),
    ],
)
def test_a_run_keeps_an_address_as_it_is_and_is_called_by_it(data: str, kept: str, out: str) -> None:
    settings = run.resolve(Settings(data))
    assert (settings.data, settings.out) == (kept, str(Path("runs", out)))
