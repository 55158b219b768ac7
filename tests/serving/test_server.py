"""A server as a process: what it says, what it finishes, and what it serves anew."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from conftest import PATIENCE_S, until
from served import awkward_pictures, write_run

from headstart.base import filenames

JPEG, HEADERS = awkward_pictures()["plain.jpg"], {"Content-Type": "image/jpeg"}


@dataclass(frozen=True)
class Process:
    """`headstart serve`, listening."""

    running: "subprocess.Popen[str]"
    url: str
    said: str

    def end(self, number: int = signal.SIGTERM) -> str:
        """What it still says once a signal has ended it."""
        self.running.send_signal(number)
        return self.running.communicate(timeout=PATIENCE_S)[1]

    def client(self) -> httpx.Client:
        return httpx.Client(base_url=f"http://{self.url}", timeout=PATIENCE_S)


@contextmanager
def started(*words: str, **environment: str) -> Iterator[Process]:
    command = [sys.executable, "-m", "headstart", "serve", *words, "--port", "0"]
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, env=os.environ | environment
    ) as running:
        said = said_up_to(" is the page", running)
        try:
            yield Process(running, said.split("://")[1].split("/ is")[0], said)
        finally:
            running.kill()


def said_up_to(words: str, running: "subprocess.Popen[str]") -> str:
    """What a process says, up to the line in which it says some words."""
    assert running.stderr is not None
    said = ""
    while words not in said:
        line = running.stderr.readline()
        assert line, said
        said += line
    return said


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, garments: Path) -> Path:
    """Two runs that answer otherwise; not to be changed."""
    folder = tmp_path_factory.mktemp("runs")
    (folder / "garments").symlink_to(garments)
    write_run(folder / "other", seed=1)
    return folder


def test_it_serves_several_and_ends_with_0(runs: Path) -> None:
    with started(str(runs / "garments"), str(runs / "other")) as process:
        assert process.said == f"garments, other: http://{process.url}/ is the page; Ctrl-C ends it.\n"
        with process.client() as client:
            first, second = (
                client.post(f"/v1/predict?model={name}", content=JPEG, headers=HEADERS).json()
                for name in ("garments", "other")
            )
        assert (first["model"], second["model"]) == ("garments", "other")
        assert first["predictions"] != second["predictions"]
        assert process.end(signal.SIGINT) == ""
        assert process.running.returncode == 0


def test_beyond_the_loopback_it_warns_without_a_token(runs: Path) -> None:
    run = str(runs / "garments")
    with started(run, "--host", "0.0.0.0") as process:
        assert process.said.splitlines()[0] == (
            "Whoever reaches this address may ask, for there is no token: "
            "set HEADSTART_TOKEN, or --host 127.0.0.1."
        )
    with started(run, "--host", "0.0.0.0", HEADSTART_TOKEN="secret") as process:
        assert len(process.said.splitlines()) == 1
        with process.client() as client:
            assert client.get("/v1/model").status_code == 401


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["nowhere"], "nowhere is no folder.\nName a run folder that `headstart compare` finished.\n"),
        (
            ["garments", "elsewhere/../garments"],
            "Two of the folders have one name, by which they are asked for.\n"
            "Rename one of them, or name a link to it that is called otherwise.\n",
        ),
        (
            ["garments", "--host", "203.0.113.1"],
            "Cannot listen on 203.0.113.1, port 0: Cannot assign requested address.\n"
            "Name another: --host ADDRESS --port N; --port 0 takes one that is free.\n",
        ),
    ],
)
def test_what_cannot_be_served_is_told(runs: Path, words: list[str], problem: str) -> None:
    (runs / "elsewhere").mkdir(exist_ok=True)
    command = [sys.executable, "-m", "headstart", "serve", *words, "--port", "0"]
    done = subprocess.run(command, cwd=runs, capture_output=True, text=True, check=False, timeout=PATIENCE_S)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", problem)


def test_a_request_that_is_coming_is_answered_before_it_ends(runs: Path) -> None:
    with started(str(runs / "garments"), "--timeout", str(PATIENCE_S)) as process:
        host, port = process.url.split(":")
        with socket.create_connection((host, int(port))) as connection, process.client() as client:
            lines = ("POST /v1/predict HTTP/1.1", "Host: x", "Content-Type: image/jpeg")
            head = "\r\n".join([*lines, f"Content-Length: {len(JPEG)}", "", ""])
            connection.sendall(head.encode() + JPEG[:100])
            until(lambda: "\nheadstart_held_bytes 100.0\n" in client.get("/metrics").text)
            process.running.send_signal(signal.SIGTERM)
            until(lambda: not is_listening(host, int(port)))
            connection.sendall(JPEG[100:])
            answer = b""
            while chunk := connection.recv(65536):
                answer += chunk
        assert answer.startswith(b"HTTP/1.1 200 OK")
        assert b'"predictions":[{"answer"' in answer
        assert process.running.wait(PATIENCE_S) == 0


def is_listening(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), timeout=1).close()
    except OSError:
        return False
    return True


def test_a_new_run_takes_the_place_of_the_old_without_a_lost_request(runs: Path, tmp_path: Path) -> None:
    """While four clients ask, files are exchanged as a run does it; an answer is of one or the other."""
    run = tmp_path / "garments"
    shutil.copytree(runs / "garments", run)
    with started(str(run)) as process:
        before = predictions(process)
        answers: list[tuple[int, list[object]]] = []
        is_over = threading.Event()

        def ask() -> None:
            with process.client() as client:
                while not is_over.is_set():
                    got = client.post("/v1/predict", content=JPEG, headers=HEADERS)
                    answers.append((got.status_code, got.json().get("predictions")))

        clients = [threading.Thread(target=ask) for _ in range(4)]
        for one in clients:
            one.start()
        exchange(run, runs / "other")
        until(lambda: bool(answers) and answers[-1][1] not in (None, before))
        time.sleep(0.2)
        is_over.set()
        for one in clients:
            one.join()
        after = predictions(process)
        assert after != before
        assert {status for status, _ in answers} == {200}
        assert all(said in (before, after) for _, said in answers)

        (run / filenames.MODEL / filenames.WEIGHTS).write_bytes(b"damaged")
        (run / filenames.RESULTS).touch()
        process.running.send_signal(signal.SIGHUP)
        said = said_up_to("cannot be served", process.running)
        assert predictions(process) == after
        assert "garments: a new model is served, after " in said
        assert (
            "garments: what is new cannot be served; the older model goes on. "
            f"{run / filenames.MODEL} holds a damaged model, which cannot be read.\n" in said
        )
        assert process.end() == ""


def predictions(process: Process) -> list[object]:
    with process.client() as client:
        answer: list[object] = client.post("/v1/predict", content=JPEG, headers=HEADERS).json()["predictions"]
    return answer


def exchange(run: Path, new: Path) -> None:
    """Put the files of a run in the place of another's, results.json first to go and last to come."""
    (run / filenames.RESULTS).unlink()
    for file in sorted((new / filenames.MODEL).iterdir()):
        shutil.copy(file, run / file.name)
        (run / file.name).replace(run / filenames.MODEL / file.name)
    shutil.copy(new / filenames.RESULTS, run / "new")
    (run / "new").replace(run / filenames.RESULTS)
