"""Bodies of every form, whole or not, quick or slow, are read in memory or refused."""

import socket
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from conftest import PATIENCE_S, until
from served import Served, awkward_pictures, serving

from headstart.base.settings import Serving
from headstart.serving import uploads
from headstart.serving.problems import Declined
from headstart.serving.uploads import HELD

PNG = awkward_pictures()["grey.png"]


def form(*parts: tuple[bytes, bytes], end: bytes = b"--b--\r\n") -> bytes:
    """A form of parts, each with its disposition."""
    return b"".join(b"--b\r\nContent-Disposition: %s\r\n\r\n%s\r\n" % part for part in parts) + end


FILE = b'form-data; name="file"; filename="a.png"'
KIND = "multipart/form-data; boundary=b"


def test_files_of_a_form_come_back_as_they_were_sent() -> None:
    contents = [PNG, b"", b"\r\n--", b"\r\n--b-", bytes(range(256)) * 9]
    client = httpx.Request("POST", "http://x", files=[("file", ("a", one)) for one in contents])
    assert uploads.pictures(client.headers["content-type"], client.read(), 9) == contents
    parts = [(FILE, PNG), (b'form-data; name="note"', b"not a file"), (b"form-data; filename=b", b"x")]
    assert uploads.pictures(KIND, form(*parts), 9) == [PNG, b"x"]


@pytest.mark.parametrize(
    ("content_type", "body", "status"),
    [
        (KIND, form((FILE, PNG), end=b""), 422),
        (KIND, form((FILE, PNG))[:-40], 422),
        (KIND, b"", 422),
        (KIND, b"nonsense", 422),
        (KIND, form((b'form-data; name="file"', PNG)), 422),
        (KIND, form((FILE, PNG), (FILE, PNG), (FILE, PNG)), 413),
        ("multipart/form-data", form((FILE, PNG)), 422),
        ("multipart/form-data; boundary=" + "b" * 300, form((FILE, PNG)), 422),
        ("application/json", b'{"images": [' * 100_000, 422),
        ("application/json", b"[" * 1_000_000, 422),
        ("application/json", b'{"images": [{"b64": "\xff"}]}', 422),
        ("application/json", b'{"images": [{"b64": 3}]}', 422),
        ("application/json", b'{"images": [{"b64": "a"}]}', 422),
        ("image/png", b"", 422),
        ("text/plain", PNG, 415),
        ("", PNG, 415),
    ],
)
def test_what_is_malformed_is_refused(content_type: str, body: bytes, status: int) -> None:
    with pytest.raises(Declined) as caught:
        uploads.pictures(content_type, body, 2)
    assert caught.value.status == status


@pytest.mark.parametrize("filler", [b"\r\n--", b"\r\n--boundar", b"\r", b"-"])
def test_a_form_made_to_be_slow_is_not(filler: bytes) -> None:
    content = filler * (8_000_000 // len(filler))
    body = form((FILE, content)).replace(b"--b\r\nC", b"--boundary\r\nC").replace(b"--b--", b"--boundary--")
    started = time.thread_time()
    assert uploads.pictures(KIND + "oundary", body, 2) == [content]
    assert time.thread_time() - started < 2


@pytest.fixture(scope="module")
def served(garments: Path) -> Iterator[Served]:
    with serving([garments], Serving(max_megabytes=1, timeout=PATIENCE_S)) as running:
        yield running


def begun(served: Served, size: int, sent: bytes) -> socket.socket:
    """A connection on which a request has begun to come."""
    host, port = served.host.split(":")
    connection = socket.create_connection((host, int(port)), timeout=PATIENCE_S)
    lines = (
        "POST /v1/predict HTTP/1.1",
        "Host: x",
        "Content-Type: image/png",
        f"Content-Length: {size}",
        "",
        "",
    )
    connection.sendall("\r\n".join(lines).encode() + sent)
    return connection


def answer_on(connection: socket.socket) -> bytes:
    """A response with its JSON, whole."""
    answer = b""
    while not answer.endswith(b"}"):
        answer += connection.recv(65536)
    return answer


def test_a_body_in_pieces_is_read_and_one_too_large_is_not(served: Served) -> None:
    def pieces(count: int) -> Iterator[bytes]:
        yield PNG
        for _ in range(count):
            yield bytes(100_000)

    kind = {"Content-Type": "image/png"}
    assert served.client.post("/v1/predict", content=pieces(9), headers=kind).status_code == 200
    assert served.client.post("/v1/predict", content=pieces(10), headers=kind).status_code == 413


def test_a_body_that_does_not_come_is_not_waited_for(garments: Path) -> None:
    with serving([garments], Serving(timeout=2)) as served, begun(served, 1000, b"x") as connection:
        answer = answer_on(connection)
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"The request did not come within 2 s. Send less at once." in answer


def test_bodies_are_bounded_together(garments: Path) -> None:
    """While requests that are nearly whole are held, the next must come again; then all is as before."""
    with serving([garments], Serving(max_megabytes=1, timeout=PATIENCE_S)) as served:
        open_ones = [begun(served, 1_000_000, bytes(999_000)) for _ in range(HELD)]
        until(lambda: held_bytes(served) == HELD * 999_000)
        with begun(served, 1_000_000, bytes(999_000)) as connection:
            answer = answer_on(connection)
        assert answer.startswith(b"HTTP/1.1 429 ")
        assert b"Too many large requests came together. Send it again soon." in answer
        for one in open_ones:
            one.close()
        until(lambda: held_bytes(served) == 0)


def held_bytes(served: Served) -> float:
    lines = served.client.get("/metrics").text.splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith("headstart_held_bytes "))
