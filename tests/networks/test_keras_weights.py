"""Where Keras's weight files are looked for, and what is said when one cannot be had."""

import errno
import hashlib
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from conftest import PATIENCE_S

from headstart.base.errors import DiskFull, WeightsError
from headstart.base.progress import Advance, Progress
from headstart.networks import keras_weights
from headstart.networks.backbones import find
from headstart.networks.table import Backbone, KerasFile

NAME = "a_net_notop.h5"
CONTENT = bytes(range(256)) * 10_000
MD5 = hashlib.md5(CONTENT).hexdigest()
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Recorder(Progress):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.remarks: list[str] = []
        self.stages: list[tuple[str, int | None, str]] = []

    def remark(self, text: str) -> None:
        self.remarks.append(text)

    def stage(self, title: str, total: int | None, unit: str = "images") -> AbstractContextManager[Advance]:
        self.stages.append((title, total, unit))
        return super().stage(title, total, unit)


class Handler(BaseHTTPRequestHandler):
    """A download server with its moods."""

    def do_GET(self) -> None:
        if self.path == "/missing":
            self.send_error(404)
            return
        if self.path == "/silent":
            self.rfile.read()  # until the client has hung up
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        self.wfile.write({"/other": CONTENT[::-1], "/broken": CONTENT[:1000]}.get(self.path, CONTENT))

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        threading.Thread(target=listening.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{listening.server_port}"
        listening.shutdown()


@pytest.fixture(scope="module")
def nowhere() -> str:
    """An address that refuses connections at once."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{taken.getsockname()[1]}/{NAME}"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keras's folder of weights, empty; and no proxy between the test and its server."""
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.setenv("no_proxy", "*")
    return tmp_path / "keras" / "models"


def row_of(url: str, checksum: str = MD5) -> Backbone:
    return replace(find("tiny"), name="a_net", weights=KerasFile(NAME, url, checksum))


def write(folder: Path, content: bytes = CONTENT) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    folder.joinpath(NAME).write_bytes(content)
    return folder / NAME


def fail(row: Backbone, weights_dir: Path | None = None) -> str:
    with pytest.raises(WeightsError) as caught:
        keras_weights.locate(row, weights_dir=weights_dir, progress=Progress())
    return str(caught.value)


@pytest.mark.parametrize("checksum", [MD5, SHA256, ""], ids=["md5", "sha256", "none published"])
@pytest.mark.parametrize("has_folder", [True, False])
def test_a_file_that_is_here_needs_no_network(
    tmp_path: Path, cache: Path, nowhere: str, checksum: str, has_folder: bool
) -> None:
    here = write(tmp_path / "mine" if has_folder else cache)
    row = row_of(nowhere, checksum)
    assert keras_weights.locate(row, weights_dir=tmp_path / "mine", progress=Progress()) == here
    assert keras_weights.find(row, tmp_path / "mine") == here


def test_the_users_folder_goes_before_the_cache(tmp_path: Path, cache: Path, nowhere: str) -> None:
    write(cache)
    mine = write(tmp_path / "mine")
    assert keras_weights.locate(row_of(nowhere), weights_dir=tmp_path / "mine", progress=Progress()) == mine


def test_the_cache_is_in_the_home_folder(
    tmp_path: Path, nowhere: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("KERAS_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    kept = write(tmp_path / ".keras" / "models")
    assert keras_weights.locate(row_of(nowhere), weights_dir=None, progress=Progress()) == kept


def test_a_cache_that_cannot_be_written_is_still_read(
    cache: Path, nowhere: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = write(cache)
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert keras_weights.locate(row_of(nowhere), weights_dir=None, progress=Progress()) == kept


@pytest.mark.parametrize(("checksum", "kind"), [(MD5, "MD5"), (SHA256, "SHA-256")])
def test_another_file_in_the_users_folder_is_refused(
    tmp_path: Path, nowhere: str, checksum: str, kind: str
) -> None:
    path = write(tmp_path, b"another")
    found = {"MD5": hashlib.md5(b"another"), "SHA-256": hashlib.sha256(b"another")}[kind].hexdigest()
    assert fail(row_of(nowhere, checksum), tmp_path) == (
        f"{path} is not the weights of a_net: its {kind} is {found}, not {checksum}.\n"
        f"Put the file from {nowhere} in its place, or remove it."
    )


def test_offline_the_error_names_the_file_the_address_and_the_folder(
    tmp_path: Path, cache: Path, nowhere: str
) -> None:
    problem = f"The weights of a_net cannot be downloaded from {nowhere}: {os.strerror(errno.ECONNREFUSED)}."
    fix = "Download it where there is a network, and put it into {} as " + f"{NAME}."
    assert fail(row_of(nowhere)) == f"{problem}\n{fix.format(cache)}"
    assert fail(row_of(nowhere), tmp_path / "mine") == f"{problem}\n{fix.format(tmp_path / 'mine')}"
    assert keras_weights.find(row_of(nowhere), tmp_path / "mine") is None
    assert list(cache.iterdir()) == []


def test_a_host_that_is_not_known() -> None:
    text = fail(row_of("http://a-host.invalid/file.h5"))
    assert text.startswith(
        "The weights of a_net cannot be downloaded from http://a-host.invalid/file.h5: "
    ), text


def test_a_download_is_kept_where_keras_looks(cache: Path, server: str, nowhere: str) -> None:
    progress = Recorder()
    path = keras_weights.locate(row_of(f"{server}/right"), weights_dir=None, progress=progress)
    assert path == cache / NAME
    assert path.read_bytes() == CONTENT
    assert list(cache.iterdir()) == [path]
    assert progress.remarks == [f"Downloading the weights of a_net, once, from {server}/right."]
    assert progress.stages == [(f"Downloading {NAME}", 3, "MB")]
    assert keras_weights.locate(row_of(nowhere), weights_dir=None, progress=Progress()) == path


def test_a_damaged_file_in_the_cache_is_downloaded_again(cache: Path, server: str) -> None:
    write(cache, CONTENT[:1000])
    path = keras_weights.locate(row_of(f"{server}/right"), weights_dir=None, progress=Progress())
    assert path.read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("path", "reason", "timeout_s"),
    [
        ("missing", "HTTP Error 404: Not Found", PATIENCE_S),
        ("silent", "timed out", 0.3),
        ("broken", f"it broke off after 1000 of {len(CONTENT)} bytes", PATIENCE_S),
    ],
)
def test_a_download_that_fails_leaves_nothing(
    cache: Path, server: str, monkeypatch: pytest.MonkeyPatch, path: str, reason: str, timeout_s: float
) -> None:
    monkeypatch.setattr(keras_weights, "TIMEOUT_S", timeout_s)
    assert fail(row_of(f"{server}/{path}", "")) == (
        f"The weights of a_net cannot be downloaded from {server}/{path}: {reason}.\n"
        f"Download it where there is a network, and put it into {cache} as {NAME}."
    )
    assert list(cache.iterdir()) == []


def test_a_download_of_another_file_is_refused(cache: Path, server: str) -> None:
    assert fail(row_of(f"{server}/other")) == (
        f"What {server}/other gives is not the weights of a_net: "
        f"its MD5 is {hashlib.md5(CONTENT[::-1]).hexdigest()}, not {MD5}.\n"
        f"Download it where there is a network, and put it into {cache} as {NAME}."
    )
    assert list(cache.iterdir()) == []


def test_a_full_disk_is_named(cache: Path, nowhere: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fill(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(keras_weights, "_fetch", fill)
    with pytest.raises(DiskFull) as caught:
        keras_weights.locate(row_of(nowhere), weights_dir=None, progress=Progress())
    assert caught.value.problem == f"No space is left on the disk that holds {cache}."


def test_nothing_here_imports_keras() -> None:
    code = """if True:
        import sys
        from pathlib import Path
        from headstart.networks import keras_weights
        from headstart.networks.backbones import find
        keras_weights.find(find("efficientnet_v2_b0"), Path("."))
        print(sorted({"keras", "tensorflow"} & set(sys.modules)))
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
