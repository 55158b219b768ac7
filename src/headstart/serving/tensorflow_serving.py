"""TensorFlow Serving's REST shape, so that its clients work as they are.

https://www.tensorflow.org/tfx/serving/api_rest: status, metadata and predict, in rows ("instances") and in
columns ("inputs"). What comes back are the probabilities, in the order of `class_names`.
"""

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
from fastapi import APIRouter, Request
from starlette.responses import Response

from headstart.base.settings import Serving
from headstart.serving import tensors, uploads
from headstart.serving.crew import Answer, Crew, Source
from headstart.serving.models import Model, Shelf
from headstart.serving.problems import Declined, json_response

SIGNATURE = "serving_default"

EXPECTED = (
    'Send {"instances": [{"b64": "..."}]} with the bytes of pictures in base64, '
    "or their pixels in the model's own size."
)


class Asked(msgspec.Struct):
    """The body of a request."""

    instances: list[Any] | None = None
    inputs: Any = None
    signature_name: str = SIGNATURE


REQUEST: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "properties": {
                        "signature_name": {"type": "string", "enum": [SIGNATURE]},
                        "instances": {
                            "type": "array",
                            "minItems": 1,
                            "items": {
                                "type": "object",
                                "properties": {"b64": {"type": "string", "format": "byte"}},
                                "required": ["b64"],
                            },
                        },
                    },
                    "required": ["instances"],
                }
            }
        },
    }
}


def router(shelf: Shelf, crew: Crew, intake: uploads.Intake, settings: Serving) -> APIRouter:
    """Return what stands below /v1/models."""
    routes = APIRouter()

    @routes.post("/v1/models/{name}:predict", openapi_extra=REQUEST)
    @routes.post("/v1/models/{name}/versions/{version}:predict", openapi_extra=REQUEST)
    async def predict(request: Request, name: str, version: str | None = None) -> Response:
        """Answer with the probabilities of each class for each picture, as TensorFlow Serving would."""
        model = shelf.model(name, version)
        async with intake.body(request) as body:
            asked = uploads.parse(body, Asked)
            sources = _sources(asked, model, settings.max_files)
            answers = await crew.answer(model, sources)
        rows = [_probabilities(one, number) for number, one in enumerate(answers)]
        return json_response({"predictions" if asked.instances is not None else "outputs": rows})

    @routes.get("/v1/models/{name}")
    @routes.get("/v1/models/{name}/versions/{version}")
    async def status(name: str, version: str | None = None) -> Response:
        """Say that a model is there."""
        found = shelf.model(name, version)
        state = {"version": str(found.version), "state": "AVAILABLE", "status": _OK}
        return json_response({"model_version_status": [state]})

    @routes.get("/v1/models/{name}/metadata")
    @routes.get("/v1/models/{name}/versions/{version}/metadata")
    async def metadata(name: str, version: str | None = None) -> Response:
        """Say what a model takes and gives."""
        return json_response(_metadata(shelf.model(name, version)))

    return routes


_OK = {"error_code": "OK", "error_message": ""}


def _sources(asked: Asked, model: Model, max_files: int) -> list[Source]:
    if (asked.instances is None) == (asked.inputs is None):
        raise Declined(422, 'The request has not just one of "instances" and "inputs".', EXPECTED)
    if asked.signature_name not in (SIGNATURE, ""):
        raise Declined(422, "There is no signature of that name.", f"Leave it out; it is {SIGNATURE}.")
    rows = asked.instances if asked.instances is not None else _columns(asked.inputs)
    if not rows:
        raise Declined(422, "The request holds no picture.", EXPECTED)
    named = [_unnamed(row) for row in uploads.few(rows, max_files)]
    texts = [row["b64"] for row in named if isinstance(row, dict) and isinstance(row.get("b64"), str)]
    if len(texts) == len(named):
        return [uploads.decoded(text) for text in texts]
    if texts or any(isinstance(row, dict) for row in named):
        raise Declined(422, "The pictures are not all of one form.", EXPECTED)
    return list(tensors.pictures(_array(named), model.size_px))


def _columns(inputs: Any) -> list[Any]:
    """Return the rows of what is given by columns: one column, named or not, of one picture or several."""
    column = _unnamed(inputs)
    return column if isinstance(column, list) else [column]


def _unnamed(row: Any) -> Any:
    """Return the only value of what may be named: {"pixels": value} is value, {"b64": text} itself."""
    if isinstance(row, dict) and len(row) == 1 and "b64" not in row:
        return next(iter(row.values()))
    return row


def _array(rows: Sequence[Any]) -> np.ndarray[Any, Any]:
    try:
        return np.asarray(rows)
    except (ValueError, OverflowError):
        raise Declined(422, "The pixels are no array: its rows differ in length.", EXPECTED) from None


def _probabilities(answer: Answer | Declined, number: int) -> list[float]:
    if isinstance(answer, Declined):
        raise Declined(answer.status, f"Picture {number}: {answer.told.problem}", answer.told.fix)
    return [float(value) for value in answer.outputs[0]]


def _metadata(model: Model) -> dict[str, Any]:
    size, classes = str(model.size_px), str(len(model.classifier.class_names))
    spec = {"name": model.name, "signature_name": "", "version": str(model.version)}
    signature = {
        "inputs": {"pixels": _tensor("DT_UINT8", ("-1", size, size, "3"), "pixels:0")},
        "outputs": {"probabilities": _tensor("DT_FLOAT", ("-1", classes), "probabilities:0")},
        "method_name": "tensorflow/serving/predict",
    }
    return {
        "model_spec": spec,
        "metadata": {"signature_def": {"signature_def": {SIGNATURE: signature}}},
    }


def _tensor(dtype: str, shape: Sequence[str], name: str) -> dict[str, Any]:
    sizes = [{"size": size, "name": ""} for size in shape]
    return {"dtype": dtype, "tensor_shape": {"dim": sizes, "unknown_rank": False}, "name": name}
