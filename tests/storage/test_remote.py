"""Photos in S3, for which moto's server stands: the same requests over HTTP, without an account."""

import errno
import json
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from conftest import text_of
from faults import Planter

from headstart.base.errors import DiskFull, FetchError, MissingPackage, NoSuchData
from headstart.base.progress import Advance, Progress
from headstart.cli import main
from headstart.results.run import Run
from headstart.storage import remote
from headstart.storage.wheels import cache_dir

pytest.importorskip("s3fs", reason="s3fs is not installed")
server = pytest.importorskip("moto.server", reason="moto is not installed")

URL = "s3://bucket/some/photos"


class Told(Progress):
    """Counts the files that are fetched."""

    def __init__(self) -> None:
        self.n_files = 0

    def stage(self, title: str, total: int | None, unit: str = "images") -> AbstractContextManager[Advance]:
        assert title.startswith("Fetching s3://bucket") and unit == "files"
        return nullcontext(self._count)

    def _count(self, count: int = 1) -> None:
        self.n_files += count


@pytest.fixture(scope="module")
def store() -> Iterator[str]:
    """The address of the server."""
    running = server.ThreadedMotoServer(port=0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    yield f"http://{host}:{port}"
    running.stop()


@pytest.fixture
def bucket(store: str, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A bucket with the photos; whoever asks finds the server by the environment, and has its own cache."""
    import s3fs

    for name, value in {
        "AWS_ENDPOINT_URL": store,
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "us-east-1",
        "HEADSTART_CACHE": str(tmp_path / "cache"),
    }.items():
        monkeypatch.setenv(name, value)
    s3fs.S3FileSystem.clear_instance_cache()
    system = s3fs.S3FileSystem()
    system.mkdir("bucket")
    system.put(str(photos), "bucket/some/photos", recursive=True)
    yield system
    system.rm("bucket", recursive=True)
    s3fs.S3FileSystem.clear_instance_cache()


def fetched(url: str = URL) -> tuple[Path, int]:
    """Where the copy is, and how many files were fetched for it."""
    told = Told()
    return remote.fetch(url, told), told.n_files


def content(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def test_the_copy_is_what_is_there_and_only_what_changed_is_fetched_again(bucket: Any, photos: Path) -> None:
    copy, n_files = fetched()
    there = content(photos)
    assert content(copy) == there and n_files == len(there)
    assert fetched(f"{URL}/") == (copy, 0)
    first, second, *_ = sorted(there)
    bucket.pipe(f"bucket/some/photos/{first}", there[second])
    bucket.pipe("bucket/some/photos/red/new.jpg", there[first])
    bucket.rm(f"bucket/some/photos/{second}")
    assert fetched() == (copy, 2)
    there = there | {first: there[second], "red/new.jpg": there[first]}
    del there[second]
    assert content(copy) == there


def test_a_file_that_is_gone_from_the_copy_and_a_damaged_manifest_are_mended(
    bucket: Any, photos: Path
) -> None:
    copy, n_files = fetched()
    sorted(copy.rglob("*.jpg"))[0].unlink()
    assert fetched()[1] == 1
    (copy.parent / "manifest.json").write_text("{")
    assert fetched()[1] == n_files
    assert content(copy) == content(photos)


def test_what_was_fetched_before_a_full_disk_is_not_fetched_again(
    bucket: Any, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "AT_ONCE", 4)
    planter, told = Planter(errno.ENOSPC), Told()
    while True:
        try:
            with planter.planted():
                copy = remote.fetch(URL, told)
            break
        except DiskFull as error:
            assert f"the disk that holds {cache_dir()}" in str(error)
    assert planter.places >= {
        "storage/remote:fetch",
        "storage/remote:_get",
        "storage/remote:_write",
    }
    assert content(copy) == content(photos)


def test_a_table_in_a_bucket_has_its_photos_beside_it(bucket: Any) -> None:
    bucket.pipe(
        "bucket/some/photos/labels.csv", b"path,label\nred/red_00.jpg,red\ngreen/green_00.jpg,green\n"
    )
    table, _ = fetched(f"{URL}/labels.csv")
    assert table.name == "labels.csv" and (table.parent / "red" / "red_00.jpg").is_file()


def command(*words: object) -> Result:
    return CliRunner().invoke(main, [*map(str, words), "--quiet"])


def test_a_comparison_in_a_bucket_is_that_of_its_photos(bucket: Any, photos: Path, tmp_path: Path) -> None:
    """And the finished run knows when they change there."""
    words = ("--backbones", "tiny", "--techniques", "features", "--no-report", "--out")
    for data, out in ((URL, "there"), (photos, "here")):
        done = command("compare", data, *words, tmp_path / out)
        assert done.exit_code == 0, done.stderr
    there, here = Run(tmp_path / "there").results(), Run(tmp_path / "here").results()
    assert there.data_sha256 == here.data_sha256
    assert [one.test for one in there.candidates] == [one.test for one in here.candidates]
    bucket.rm("bucket/some/photos/red/red_00.jpg")
    done = command("compare", URL, *words, tmp_path / "there")
    assert done.exit_code == 1
    then = f"{tmp_path / 'there'} was made of"
    told = f"The photos in {URL} are not those that {then}: 1 missing (red/red_00.jpg).\n"
    assert done.stderr.startswith(told)
    bucket.rm("bucket/some", recursive=True)
    done = command("compare", URL, *words, tmp_path / "there")
    assert done.exit_code == 0
    assert f"{URL} is not there any more" in done.stderr


def test_copies_are_shown_with_the_cache_and_cleared(bucket: Any) -> None:
    copy, n_files = fetched()
    shown = json.loads(CliRunner().invoke(main, ["cache", "--json"]).stdout)["kinds"][-1]
    assert (shown["kind"], shown["n_items"]) == ("photos", 1)
    assert CliRunner().invoke(main, ["cache", "clear", "photos"]).exit_code == 0
    assert not copy.exists()
    assert fetched() == (copy, n_files)


@pytest.mark.parametrize("url", ["s3://bucket/some/fotos", "s3://no-such-bucket/photos"])
def test_where_nothing_is(url: str, bucket: Any) -> None:
    assert text_of(NoSuchData, lambda: fetched(url)) == (
        f"Nothing is at {url}.\nName bucket and folder as the store does."
    )


def test_without_credentials(bucket: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import s3fs

    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    s3fs.S3FileSystem.clear_instance_cache()
    assert text_of(FetchError, fetched) == (
        f"{URL} cannot be read: Unable to locate credentials.\n{remote.CREDENTIALS}"
    )


def test_a_store_that_does_not_answer(bucket: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import s3fs

    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    monkeypatch.setattr(s3fs.S3FileSystem, "retries", 1)
    s3fs.S3FileSystem.clear_instance_cache()
    said = text_of(FetchError, fetched)
    assert said.startswith(f"{URL} cannot be read: Could not connect to the endpoint URL")
    assert said.endswith("\nSee that this machine reaches the store, and give the command again.")


def test_without_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "s3fs", None)
    monkeypatch.delitem(sys.modules["fsspec.registry"]._registry, "s3", raising=False)
    assert text_of(MissingPackage, fetched) == (
        f"{URL} needs a package that is not installed.\npip install 'headstart[s3]'"
    )


def test_a_scheme_that_nobody_knows() -> None:
    assert text_of(NoSuchData, lambda: fetched("s4://bucket/photos")) == (
        "s4://bucket/photos is in no store that is known: Protocol not known: s4.\n"
        "Name a folder, a table, s3:// or gs://."
    )
