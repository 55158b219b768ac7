"""One answer in all three shapes, one shape of all problems, and nothing of what was sent anywhere."""

import base64
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.http as triton
from served import Served, awkward_pictures, heic_picture, serving

from headstart import load
from headstart.base.settings import Serving
from headstart.pictures import pixels

TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def served(garments: Path) -> Iterator[Served]:
    """A run as it is served, with low limits."""
    settings = Serving(max_files=16, max_queue=16, max_megabytes=4, max_megapixels=1)
    with serving([garments], settings) as running:
        yield running


def photos_in(folder: Path) -> list[Path]:
    contents = awkward_pictures() | {"phone.heic": heic_picture()}
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return [folder / name for name in contents]


def test_one_photo_has_one_answer(garments: Path, served: Served, tmp_path: Path) -> None:
    """By `headstart predict`, as files, in JSON, as TensorFlow Serving's, by Triton's client, as pixels."""
    files = photos_in(tmp_path)
    name = garments.name
    model = load(garments)
    command = [sys.executable, "-m", "headstart", "predict", str(garments), *map(str, files), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    told = [json.loads(line) for line in done.stdout.splitlines()]
    expected = np.array([[one["probabilities"][label] for label in model.class_names] for one in told])
    assert np.abs(expected - expected[0]).max() > 0.01  # they are not all of one answer

    contents = [file.read_bytes() for file in files]
    texts = [base64.b64encode(content).decode() for content in contents]
    prepared = [pixels.prepare(content, 32, model.record.fit) for content in contents]
    ask = served.client.post

    def ranked(answers: dict[str, Any]) -> list[list[float]]:
        rows = [{row["label"]: row["probability"] for row in one["top"]} for one in answers["predictions"]]
        return [[row[label] for label in model.class_names] for row in rows]

    forms = ask("/v1/predict", files=[("file", (file.name, file.read_bytes())) for file in files]).json()
    in_json = ask("/v1/predict", json={"images": [{"b64": text} for text in texts]}).json()
    alone = [
        ask("/v1/predict", content=one, headers={"Content-Type": "image/jpeg"}).json() for one in contents
    ]
    rows = ask(f"/v1/models/{name}:predict", json={"instances": [{"b64": text} for text in texts]}).json()
    columns = ask(f"/v1/models/{name}:predict", json={"inputs": [{"b64": text} for text in texts]}).json()
    arrays = ask(f"/v1/models/{name}:predict", json={"instances": [one.tolist() for one in prepared]}).json()
    received = {
        "form": ranked(forms),
        "json": ranked(in_json),
        "one by one": [ranked(one)[0] for one in alone],
        "rows": rows["predictions"],
        "columns": columns["outputs"],
        "arrays": arrays["predictions"],
        "triton": by_triton(served.host, name, np.array(contents, object), "BYTES"),
        "triton pixels": by_triton(served.host, name, np.stack(prepared), "UINT8"),
        "triton floats": by_triton(served.host, name, np.stack(prepared).astype(np.float32), "FP32"),
    }
    assert {
        key: float(np.abs(expected - np.array(one)).max()) <= TOLERANCE for key, one in received.items()
    } == (dict.fromkeys(received, True))
    for said, one in zip(forms["predictions"], told, strict=True):
        assert {key: said[key] for key in ("label", "is_sure", "is_novel", "likely")} == (
            {key: one[key] for key in ("label", "is_sure", "is_novel", "likely")}
        )
        assert abs(said["novelty"] - one["novelty"]) <= TOLERANCE


def by_triton(host: str, name: str, values: np.ndarray, datatype: str) -> Any:
    asked = triton.InferInput("pixels", values.shape, datatype)
    asked.set_data_from_numpy(values)
    with triton.InferenceServerClient(host) as client:
        return client.infer(name, [asked]).as_numpy("probabilities")


PNG = awkward_pictures()["grey.png"]
B64 = base64.b64encode(PNG).decode()
SHAPES = "Send multipart/form-data with files, application/json, or the bytes of one picture as image/jpeg."
OPENAPI = "GET /openapi.json shows what is expected."


def test_every_problem_has_one_shape(served: Served, garments: Path) -> None:
    name = garments.name
    form = [("file", ("a.png", PNG))]
    cases: list[tuple[str, str, dict[str, Any], int, str, str]] = [
        ("GET", "/nowhere", {}, 404, "There is no such path.", "GET /openapi.json shows all."),
        ("GET", "/v1/predict", {}, 405, "The path is not asked in this way.", "GET /openapi.json shows how."),
        ("GET", "/v1/model?model=x", {}, 404, "No such model is served here.", f"There are: {name}."),
        ("POST", "/v1/predict", {}, 415, "The request is of another kind than is read here.", SHAPES),
        ("POST", "/v1/predict?top=0", {"files": form}, 422, "The query top is not as expected.",
         "It should be: Input should be greater than or equal to 1."),
        ("POST", "/v1/predict", {"json": {"images": []}}, 422, "The request holds no picture.", SHAPES),
        ("POST", "/v1/predict", {"content": b"{", "headers": {"Content-Type": "application/json"}}, 422,
         "The JSON is not as expected: Input data was truncated.", OPENAPI),
        ("POST", "/v1/predict", {"json": {"images": [{"b64": "ü"}]}}, 422, "A picture is not in base64.",
         "Encode the bytes of the file, without a prefix."),
        ("POST", "/v1/predict", {"files": form * 17}, 413, "The request holds more than 16 pictures.",
         "Send at most 16 at once."),
        ("POST", "/v1/predict", {"content": bytes(4_000_001)}, 413, "The request has more than 4 MB.",
         "Send fewer pictures at once, or smaller ones."),
        ("POST", "/v1/predict", {"content": PNG, "headers": {"Content-Encoding": "gzip"}}, 415,
         "The request is compressed.", "Send it without Content-Encoding."),
        ("POST", f"/v1/models/{name}:predict", {"json": {}}, 422,
         'The request has not just one of "instances" and "inputs".',
         'Send {"instances": [{"b64": "..."}]} with the bytes of pictures in base64, or their pixels in the '
         "model's own size."),
        ("POST", f"/v1/models/{name}:predict", {"json": {"instances": [[[[1, 2, 3]]]]}}, 422,
         "The pixels have the shape (1, 1, 1, 3).",
         "Send (N, 32, 32, 3), RGB, or the bytes of a picture of any size in base64."),
        ("POST", f"/v2/models/{name}/infer", {"json": {"inputs": []}}, 422, "The request has 0 inputs.",
         'Send one input: "pixels" (UINT8 or FP32, N pictures of the model\'s size) or "picture" '
         "(BYTES, N files; in base64 where they are not binary)."),
    ]  # fmt: skip
    for method, path, sent, status, problem, fix in cases:
        got = served.client.request(method, path, **sent)
        assert (got.status_code, got.json()) == (
            status,
            {"error": f"{problem} {fix}", "problem": problem, "fix": fix},
        )


def test_a_request_at_its_limit_is_answered(served: Served) -> None:
    answers = served.client.post("/v1/predict", files=[("file", ("a.png", PNG))] * 16).json()
    assert len(answers["predictions"]) == 16


def test_nothing_of_an_upload_is_said_again_or_kept(
    served: Served, garments: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Marked bytes come back in no response, and no file is opened to be written."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    opened, is_over = list[str](), threading.Event()
    sys.addaudithook(lambda event, arguments: None if is_over.is_set() else _note(opened, event, arguments))
    marked = b"MARKED-" * 9
    pictures = {
        "text": marked,
        "jpeg": b"\xff\xd8\xff\xe0" + marked,
        "png": PNG[:40] + marked + PNG[40:],
        "large": marked * 45_000,  # more than a form's parser would keep in memory by itself
    }
    for content in pictures.values():
        got = [
            served.client.post("/v1/predict", files=[("file", ("MARKED-.jpg", content, "image/MARKED-"))]),
            served.client.post("/v1/predict", json={"images": [{"b64": content.decode("latin-1")}]}),
            served.client.post("/v1/predict", content=content, headers={"Content-Type": "MARKED-/x"}),
            served.client.post("/v1/models/MARKED-:predict", content=content),
            served.client.post(f"/v1/models/{garments.name}:predict", content=content),
            served.client.post(f"/v2/models/{garments.name}/infer", content=content),
            served.client.get("/MARKED-"),
        ]
        assert {one.status_code for one in got} <= {404, 413, 415, 422}
        assert not any("MARKED" in one.text or "Traceback" in one.text for one in got)
        assert not any(os.sep + "headstart" in one.text or "File " in one.text for one in got)
    is_over.set()
    assert opened == []
    assert list(tmp_path.iterdir()) == []


def _note(opened: list[str], event: str, arguments: tuple[Any, ...]) -> None:
    if (
        event == "open"
        and isinstance(arguments[2], int)
        and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
    ):
        opened.append(str(arguments[0]))
    elif event.startswith("tempfile."):
        opened.append(event)
