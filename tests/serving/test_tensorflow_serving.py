"""What TensorFlow Serving answers by REST: https://www.tensorflow.org/tfx/serving/api_rest."""

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from served import Served, awkward_pictures, blotches, serving

TEXT = base64.b64encode(awkward_pictures()["plain.jpg"]).decode()
PIXELS = np.asarray(blotches(32, 32)).tolist()


@pytest.fixture(scope="module")
def served(garments: Path) -> Iterator[Served]:
    with serving([garments]) as running:
        yield running


def test_status_and_metadata(served: Served) -> None:
    version = str(served.shelf.model().version)
    available = {"error_code": "OK", "error_message": ""}
    expected = {"model_version_status": [{"version": version, "state": "AVAILABLE", "status": available}]}
    for path in ("/v1/models/garments", f"/v1/models/garments/versions/{version}"):
        assert served.client.get(path).json() == expected
    assert served.client.get("/v1/models/garments/versions/1").status_code == 404
    found = served.client.get("/v1/models/garments/metadata").json()
    assert found["model_spec"] == {"name": "garments", "signature_name": "", "version": version}
    signature = found["metadata"]["signature_def"]["signature_def"]["serving_default"]
    assert signature["method_name"] == "tensorflow/serving/predict"
    assert [one["size"] for one in signature["inputs"]["pixels"]["tensor_shape"]["dim"]] == [
        "-1",
        "32",
        "32",
        "3",
    ]
    assert signature["outputs"]["probabilities"]["dtype"] == "DT_FLOAT"


def test_one_picture_in_every_form_has_one_answer(served: Served) -> None:
    def ask(body: dict[str, Any], version: str = "") -> list[list[float]]:
        path = f"/v1/models/garments{version}:predict"
        got = served.client.post(path, json=body).json()
        [(name, rows)] = got.items()
        assert name == ("predictions" if "instances" in body else "outputs")
        return [row for row in rows]

    version = f"/versions/{served.shelf.model().version}"
    by_file = [
        ask({"instances": [{"b64": TEXT}]}),
        ask({"instances": [{"b64": TEXT}]}, version),
        ask({"instances": [{"picture": {"b64": TEXT}}], "signature_name": "serving_default"}),
        ask({"inputs": {"b64": TEXT}}),
        ask({"inputs": {"picture": [{"b64": TEXT}]}}),
    ]
    assert all(one == by_file[0] for one in by_file)
    by_pixels = [
        ask({"instances": [PIXELS]}),
        ask({"instances": [{"pixels": PIXELS}]}),
        ask({"inputs": [PIXELS]}),
        ask({"inputs": {"pixels": [PIXELS]}}),
        ask({"inputs": np.array([PIXELS], float).tolist()}),
    ]
    assert all(one == by_pixels[0] for one in by_pixels)
    assert abs(sum(by_pixels[0][0]) - 1) < 1e-5


@pytest.mark.parametrize(
    "body",
    [
        {"instances": []},
        {"instances": [{"b64": TEXT}], "inputs": [{"b64": TEXT}]},
        {"instances": [{"b64": TEXT}], "signature_name": "other"},
        {"instances": [{"b64": TEXT}, PIXELS]},
        {"instances": [{"b64": 3}]},
        {"instances": [{"a": 1, "b": 2}]},
        {"instances": [PIXELS, PIXELS[1:]]},
        {"instances": [[[["a"]]]]},
        {"instances": [10**30]},
        {"instances": [None]},
        {"instances": [True]},
        {"inputs": 5},
        {"instances": "x"},
        [],
        3,
    ],
)
def test_malformed_requests_are_refused(served: Served, body: Any) -> None:
    got = served.client.post("/v1/models/garments:predict", json=body)
    assert got.status_code == 422
    assert got.json().keys() == {"error", "problem", "fix"}
