"""The Open Inference Protocol, version 2, over HTTP, as KServe's and Triton's clients speak it.

https://github.com/kserve/open-inference-protocol, with Triton's extension for tensors in binary
(`binary_tensor_data`) and for classification (`class_count` of its client).
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
from fastapi import APIRouter, Request
from numpy.typing import NDArray
from starlette.responses import Response

from headstart.base.settings import Serving
from headstart.base.version import __version__
from headstart.serving import tensors, uploads
from headstart.serving.crew import Answer, Crew, Source
from headstart.serving.models import Model, Shelf
from headstart.serving.problems import JSON, Declined, json_response

HEADER_LENGTH = "Inference-Header-Content-Length"

DTYPES: dict[str, Any] = {
    **{"UINT8": np.uint8, "UINT16": np.uint16, "UINT32": np.uint32, "INT8": np.int8, "INT16": np.int16},
    **{"INT32": np.int32, "INT64": np.int64, "FP16": np.float16, "FP32": np.float32, "FP64": np.float64},
}

EXPECTED = (
    'Send one input: "pixels" (UINT8 or FP32, N pictures of the model\'s size) or "picture" '
    "(BYTES, N files; in base64 where they are not binary)."
)


class Tensor(msgspec.Struct):
    """An input."""

    name: str
    shape: list[int]
    datatype: str
    parameters: dict[str, Any] = {}
    data: list[Any] | None = None


class Wanted(msgspec.Struct):
    """An output that is asked for."""

    name: str
    parameters: dict[str, Any] = {}


class Asked(msgspec.Struct):
    """The header of a request, or all of it."""

    inputs: list[Tensor]
    id: str | None = None
    outputs: list[Wanted] = []
    parameters: dict[str, Any] = {}


REQUEST: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "properties": {
                        "id": {"type": "string"},
                        "inputs": {
                            "type": "array",
                            "minItems": 1,
                            "maxItems": 1,
                            "items": {
                                "type": "object",
                                "properties": {
                                    "name": {"type": "string"},
                                    "shape": {"type": "array", "items": {"type": "integer", "minimum": 1}},
                                    "datatype": {"type": "string", "enum": ["BYTES", *DTYPES]},
                                    "data": {"type": "array", "items": {}},
                                },
                                "required": ["name", "shape", "datatype", "data"],
                            },
                        },
                    },
                    "required": ["inputs"],
                }
            }
        },
    }
}


ANSWER: dict[int | str, dict[str, Any]] = {
    200: {"content": {"application/octet-stream": {}}, "description": "JSON, or tensors in binary after it."}
}


def router(shelf: Shelf, crew: Crew, intake: uploads.Intake, settings: Serving) -> APIRouter:
    """Return what stands below /v2."""
    routes = APIRouter(prefix="/v2")

    @routes.get("")
    async def server() -> Response:
        """Say what this server is, and which extensions it has."""
        extensions = ["binary_tensor_data", "classification"]
        return json_response({"name": "headstart", "version": __version__, "extensions": extensions})

    @routes.get("/health/live")
    async def live() -> Response:
        """Say that the server runs."""
        return json_response({"live": True})

    @routes.get("/health/ready")
    async def ready() -> Response:
        """Say that all models are there."""
        return json_response({"ready": True})

    @routes.get("/models/{name}/ready")
    @routes.get("/models/{name}/versions/{version}/ready")
    async def model_ready(name: str, version: str | None = None) -> Response:
        """Say that a model is there."""
        return json_response({"name": shelf.model(name, version).name, "ready": True})

    @routes.get("/models/{name}")
    @routes.get("/models/{name}/versions/{version}")
    async def metadata(name: str, version: str | None = None) -> Response:
        """Say what a model takes and gives."""
        return json_response(_metadata(shelf.model(name, version)))

    @routes.post("/models/{name}/infer", openapi_extra=REQUEST, responses=ANSWER)
    @routes.post("/models/{name}/versions/{version}/infer", openapi_extra=REQUEST, responses=ANSWER)
    async def infer(request: Request, name: str, version: str | None = None) -> Response:
        """Answer with the tensors that are asked for."""
        model = shelf.model(name, version)
        async with intake.body(request) as body:
            asked, binary = _split(body, request.headers.get(HEADER_LENGTH))
            sources = _sources(asked, binary, model, settings.max_files)
            answers = await crew.answer(model, sources)
        for number, one in enumerate(answers):
            if isinstance(one, Declined):
                raise Declined(one.status, f"Picture {number}: {one.told.problem}", one.told.fix)
        return _response(model, asked, [one for one in answers if isinstance(one, Answer)])

    return routes


def _metadata(model: Model) -> dict[str, Any]:
    side = model.size_px
    return {
        "name": model.name,
        "versions": [str(model.version)],
        "platform": "openvino",
        "inputs": [
            {"name": "pixels", "datatype": "UINT8", "shape": [-1, side, side, 3]},
            {"name": "picture", "datatype": "BYTES", "shape": [-1]},
        ],
        "outputs": [
            {"name": one.name, "datatype": one.datatype, "shape": [-1, *one.shape]} for one in _outputs(model)
        ],
    }


@dataclass(frozen=True)
class _Output:
    """An output that a model has; `shape` is that for one picture."""

    name: str
    datatype: str
    shape: tuple[int, ...]


def _outputs(model: Model) -> list[_Output]:
    found = [_Output("probabilities", "FP32", (len(model.classifier.class_names),))]
    if model.has_novelty:
        found.append(_Output("novelty", "FP32", (1,)))
    return [*found, _Output("label", "BYTES", (1,))]


def _split(body: bytes, header_length: str | None) -> tuple[Asked, bytes]:
    """Return the JSON at the beginning of a body, and the tensors in binary after it."""
    if header_length is None:
        return uploads.parse(body, Asked), b""
    length = int(header_length) if header_length.isascii() and header_length.isdecimal() else -1
    if not 0 <= length <= len(body):
        raise Declined(422, f"{HEADER_LENGTH} is no length of a part of the body.", "Send the JSON's bytes.")
    return uploads.parse(body[:length], Asked), body[length:]


def _sources(asked: Asked, binary: bytes, model: Model, max_files: int) -> list[Source]:
    if len(asked.inputs) != 1:
        raise Declined(422, f"The request has {len(asked.inputs)} inputs.", EXPECTED)
    [tensor] = asked.inputs
    if any(not 0 < side <= 1 << 31 for side in tensor.shape):
        raise Declined(422, f"The input has the shape {tuple(tensor.shape)}.", EXPECTED)
    uploads.few(range(tensor.shape[0] if len(tensor.shape) in (1, 4) else 1), max_files)
    size = tensor.parameters.get("binary_data_size")
    if (size is None and tensor.data is None) or (size is not None and size != len(binary)):
        raise Declined(422, "The input has no data, or others than it says.", EXPECTED)
    if tensor.datatype == "BYTES":
        return list(_files(tensor, binary if size is not None else None))
    if tensor.datatype not in DTYPES:
        raise Declined(422, "The input is of no type that is known here.", EXPECTED)
    return list(tensors.pictures(_array(tensor, binary if size is not None else None), model.size_px))


def _files(tensor: Tensor, binary: bytes | None) -> list[bytes]:
    if binary is not None:
        found = list(_elements(binary))
    elif all(isinstance(one, str) for one in tensor.data or ()):
        found = [uploads.decoded(one) for one in tensor.data or ()]
    else:
        raise Declined(422, "The input is no list of texts.", EXPECTED)
    if len(found) != np.prod(tensor.shape, dtype=object):
        raise Declined(422, "The input has another number of files than its shape says.", EXPECTED)
    return found


def _elements(binary: bytes) -> list[bytes]:
    """Return what is in binary of BYTES: before each element its length, in four bytes, little end first."""
    found, place = [], 0
    while place < len(binary):
        head = binary[place : place + 4]
        length = struct.unpack("<I", head)[0] if len(head) == 4 else len(binary)
        place += 4 + length
        if place > len(binary):
            raise Declined(422, "The input in binary is cut short.", EXPECTED)
        found.append(binary[place - length : place])
    return found


def _array(tensor: Tensor, binary: bytes | None) -> NDArray[np.generic]:
    dtype = np.dtype(DTYPES[tensor.datatype]).newbyteorder("<")
    try:
        if binary is not None:
            return np.frombuffer(binary, dtype).reshape(tensor.shape)
        values = np.asarray(tensor.data)
        if values.dtype.kind not in "iuf":
            raise ValueError
        return values.reshape(tensor.shape)
    except (ValueError, OverflowError):
        raise Declined(422, "The input's data are not of its shape and type.", EXPECTED) from None


def _response(model: Model, asked: Asked, answers: Sequence[Answer]) -> Response:
    known = {one.name: one for one in _outputs(model)}
    wanted = asked.outputs or [Wanted(name) for name in known]
    if any(one.name not in known for one in wanted):
        raise Declined(422, "There is no output of that name.", f"There are: {', '.join(known)}.")
    told: list[dict[str, Any]] = []
    tail = b""
    for one in wanted:
        values, datatype = _values(model, one, answers)
        tensor: dict[str, Any] = {"name": one.name, "datatype": datatype, "shape": list(values.shape)}
        if one.parameters.get("binary_data", asked.parameters.get("binary_data_output", False)):
            content = _binary(values)
            tail += content
            tensor["parameters"] = {"binary_data_size": len(content)}
        else:
            tensor["data"] = values.ravel().tolist()
        told.append(tensor)
    head = {"model_name": model.name, "model_version": str(model.version), "outputs": told}
    if asked.id is not None:
        head["id"] = asked.id
    content = msgspec.json.encode(head)
    if not tail:
        return Response(content, media_type=JSON)
    headers = {HEADER_LENGTH: str(len(content))}
    return Response(content + tail, headers=headers, media_type="application/octet-stream")


def _values(model: Model, wanted: Wanted, answers: Sequence[Answer]) -> tuple[NDArray[Any], str]:
    """Return an output for all pictures, (N, ...), and its type."""
    names = model.classifier.class_names
    count = wanted.parameters.get("classification", 0)
    if not isinstance(count, int) or count < 0:
        raise Declined(422, "The number of classes to name is no number.", "Send 1 or more.")
    if wanted.name == "label":
        return np.array([[names[int(one.outputs[0].argmax())]] for one in answers], object), "BYTES"
    values = np.stack([one.outputs[0 if wanted.name == "probabilities" else 1] for one in answers])
    if count == 0 or wanted.name != "probabilities":
        return values, "FP32"
    order = np.argsort(-values, axis=1, kind="stable")[:, :count]
    rows = [
        [f"{row[at]:f}:{at}:{names[at]}" for at in ranked] for row, ranked in zip(values, order, strict=True)
    ]
    return np.array(rows, object), "BYTES"


def _binary(values: NDArray[Any]) -> bytes:
    if values.dtype != object:
        return bytes(np.ascontiguousarray(values, "<f4").tobytes())
    texts = [str(text).encode() for text in values.ravel()]
    return b"".join(struct.pack("<I", len(text)) + text for text in texts)
