"""Triton's own client finds what it knows: health, metadata, tensors in binary and JSON, classification."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.http as triton
from served import Served, awkward_pictures, blotches, serving
from tritonclient.utils import InferenceServerException

from headstart import load
from headstart.serving.open_inference import HEADER_LENGTH

JPEG = awkward_pictures()["plain.jpg"]


@pytest.fixture(scope="module")
def served(garments: Path) -> Iterator[Served]:
    with serving([garments]) as running:
        yield running


@pytest.fixture
def client(served: Served) -> Iterator[Any]:
    with triton.InferenceServerClient(served.host) as client:
        yield client


def asked(values: np.ndarray, datatype: str, *, is_binary: bool = True) -> Any:
    found = triton.InferInput("x", list(values.shape), datatype)
    found.set_data_from_numpy(values, binary_data=is_binary)
    return found


def test_health_and_metadata(served: Served, client: Any) -> None:
    version = str(served.shelf.model().version)
    assert client.is_server_live() and client.is_server_ready()
    assert client.is_model_ready("garments") and client.is_model_ready("garments", version)
    assert not client.is_model_ready("hats") and not client.is_model_ready("garments", "1")
    assert client.get_server_metadata()["extensions"] == ["binary_tensor_data", "classification"]
    assert client.get_model_metadata("garments") == {
        "name": "garments",
        "versions": [version],
        "platform": "openvino",
        "inputs": [
            {"name": "pixels", "datatype": "UINT8", "shape": [-1, 32, 32, 3]},
            {"name": "picture", "datatype": "BYTES", "shape": [-1]},
        ],
        "outputs": [
            {"name": "probabilities", "datatype": "FP32", "shape": [-1, 3]},
            {"name": "novelty", "datatype": "FP32", "shape": [-1, 1]},
            {"name": "label", "datatype": "BYTES", "shape": [-1, 1]},
        ],
    }


@pytest.mark.parametrize("is_binary", [True, False])
def test_outputs_come_as_they_are_asked_for(garments: Path, client: Any, is_binary: bool) -> None:
    model = load(garments)
    pixels = np.stack([np.asarray(blotches(32, 32, seed)) for seed in range(5)])
    expected = [np.stack(column) for column in zip(*model.engine.outputs(pixels), strict=True)]
    wanted = [triton.InferRequestedOutput(name, is_binary) for name in ("label", "novelty", "probabilities")]
    inputs = [asked(pixels, "UINT8", is_binary=is_binary)]
    found = client.infer("garments", inputs, outputs=wanted, request_id="7")
    assert (found.get_response()["id"], found.get_response()["model_name"]) == ("7", "garments")
    assert np.abs(found.as_numpy("probabilities") - expected[0]).max() <= 1e-6
    assert np.abs(found.as_numpy("novelty") - expected[1]).max() <= 1e-6
    labels = [model.class_names[index] for index in expected[0].argmax(axis=1)]
    told = found.as_numpy("label").ravel().tolist()
    assert [one.decode() if isinstance(one, bytes) else one for one in told] == labels
    assert [one["name"] for one in found.get_response()["outputs"]] == ["label", "novelty", "probabilities"]


def test_classification_names_the_likeliest(garments: Path, client: Any) -> None:
    best = triton.InferRequestedOutput("probabilities", class_count=2)
    found = client.infer("garments", [asked(np.array([JPEG], object), "BYTES")], outputs=[best])
    [row] = found.as_numpy("probabilities")
    (garments.parent / "a.jpg").write_bytes(JPEG)
    [expected] = load(garments).predict(garments.parent / "a.jpg")
    ranked = sorted((expected.probabilities or {}).items(), key=lambda one: -one[1])[:2]
    names = list(expected.probabilities or {})
    assert [text.decode().split(":")[1:] for text in row] == [
        [str(names.index(one)), one] for one, _ in ranked
    ]
    assert [float(text.decode().split(":")[0]) for text in row] == pytest.approx(
        [p for _, p in ranked], abs=1e-6
    )


PIXELS = np.zeros((1, 32, 32, 3), np.uint8)


@pytest.mark.parametrize(
    ("name", "inputs", "outputs", "problem"),
    [
        ("hats", [asked(PIXELS, "UINT8")], None, "No such model is served here."),
        ("garments", [asked(PIXELS, "UINT8")] * 2, None, "The request has 2 inputs."),
        ("garments", [asked(PIXELS[:, :9], "UINT8")], None, "The pixels have the shape (1, 9, 32, 3)."),
        ("garments", [asked(PIXELS > 0, "BOOL")], None, "The input is of no type that is known here."),
        ("garments", [asked(np.array([JPEG, b"x"], object), "BYTES")], None,
         "Picture 1: The picture is of no kind that is read here, or damaged."),
        ("garments", [asked(PIXELS, "UINT8")], ["logits"], "There is no output of that name."),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_as_the_client_reads_it(
    client: Any, name: str, inputs: list[Any], outputs: list[str] | None, problem: str
) -> None:
    wanted = outputs and [triton.InferRequestedOutput(one) for one in outputs]
    with pytest.raises(InferenceServerException) as caught:
        client.infer(name, inputs, outputs=wanted)
    assert caught.value.message().startswith(problem)


@pytest.mark.parametrize(
    ("body", "header"),
    [
        (b"{}", None),
        (b'{"inputs": [{"name": "x", "shape": [1], "datatype": "BYTES"}]}', None),
        (b'{"inputs": [{"name": "x", "shape": [1], "datatype": "BYTES", "data": ["aa", "aa"]}]}', None),
        (b'{"inputs": [{"name": "x", "shape": [-1], "datatype": "BYTES", "data": ["aa"]}]}', None),
        (b'{"inputs": [{"name": "x", "shape": [1], "datatype": "BYTES", "data": [1]}]}', None),
        (b'{"inputs": [{"name": "x", "shape": [1, 32, 32, 3], "datatype": "FP32", "data": ["a"]}]}', None),
        (b'{"inputs": [{"name": "x", "shape": [9999999999], "datatype": "FP32", "data": [1]}]}', None),
        (b'{"inputs": []}', "99"),
        (b'{"inputs": []}', "-1"),
        (b'{"inputs": []}', "nonsense"),
        (b'{"inputs": [{"name": "x", "shape": [1], "datatype": "BYTES", '
         b'"parameters": {"binary_data_size": 7}}]}\xff\xff\xff\x7fabc', "91"),
    ],
)  # fmt: skip
def test_malformed_requests_are_refused(served: Served, body: bytes, header: str | None) -> None:
    headers = {} if header is None else {HEADER_LENGTH: header}
    got = served.client.post("/v2/models/garments/infer", content=body, headers=headers)
    assert got.status_code in (413, 422)
    assert got.json().keys() == {"error", "problem", "fix"}
