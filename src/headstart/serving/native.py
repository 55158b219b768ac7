"""Headstart's own shape: pictures in, answers with all that is known of their worth out."""

import base64
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from headstart.base.settings import Serving
from headstart.serving import uploads
from headstart.serving.crew import Answer, Crew, kind
from headstart.serving.models import Model, Shelf
from headstart.serving.problems import Declined, json_response

TOP = 5


@dataclass(frozen=True)
class Ranked:
    """A class and its probability, calibrated."""

    label: str
    probability: float


@dataclass(frozen=True)
class HeatMap:
    """How much each place speaks for a class.

    Attributes:
        label: The class.
        png: The picture as the model sees it, in grey, with the heat over it; a PNG in base64.
    """

    label: str
    png: str


@dataclass(frozen=True)
class Answered:
    """What the model says of a picture.

    Attributes:
        answer: The class, or "not sure", or "none of these".
        label: The likeliest class, whatever the answer.
        confidence: Its probability, calibrated.
        is_sure: Whether the confidence reaches that from which on few answers are wrong; null where none
            could be promised.
        is_novel: Whether the picture is unlike all that the model was trained on, so that the label means
            nothing; null where that could not be promised.
        novelty: How unlike, from 0 to 2; null where the model does not say.
        likely: The classes that together hold the true one in most cases.
        top: The likeliest classes, the first first.
        heat_map: Where it was asked for.
    """

    answer: str
    label: str
    confidence: float
    is_sure: bool | None
    is_novel: bool | None
    novelty: float | None
    likely: tuple[str, ...]
    top: tuple[Ranked, ...]
    heat_map: HeatMap | None = None


@dataclass(frozen=True)
class Failed:
    """Why there is no answer for a picture, beside others for which there is one.

    Attributes:
        status: Of HTTP, had it come alone.
        error: Problem and fix in one text.
        problem: What is wrong with it.
        fix: What to do about it.
    """

    status: int
    error: str
    problem: str
    fix: str


@dataclass(frozen=True)
class Predictions:
    """Answers, in the order of the pictures.

    Attributes:
        model: The name of the run.
        version: Of the model, a number that grows.
        predictions: One for each picture.
    """

    model: str
    version: str
    predictions: list[Answered | Failed]


@dataclass(frozen=True)
class ModelCard:
    """What is known of a model.

    Attributes:
        model: The name of the run.
        version: Of the model, a number that grows.
        models: All that are served here.
        class_names: In the order of the probabilities in the other two shapes.
        backbone: Of the network.
        technique: "features" or "finetune".
        image_size_px: The side of the squares that it eats.
        fit: How a picture becomes square.
        sure_from: The confidence from which on it is sure; null where none could be promised.
        max_error: The part of such answers that is wrong at most.
        coverage: How often the likely classes hold the true one.
        novel_above: The novelty above which a picture is none of these; null where that is not said.
        max_queue: Pictures that may wait here.
        max_files: Pictures in one request.
        max_megabytes: Of one request.
        max_megapixels: Of one picture.
    """

    model: str
    version: str
    models: tuple[str, ...]
    class_names: tuple[str, ...]
    backbone: str
    technique: str
    image_size_px: int
    fit: str
    sure_from: float | None
    max_error: float | None
    coverage: float
    novel_above: float | None
    max_queue: int
    max_files: int
    max_megabytes: int
    max_megapixels: int


PICTURES: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "properties": {
                        "file": {
                            "type": "array",
                            "items": {"type": "string", "format": "binary"},
                            "minItems": 1,
                        }
                    },
                    "required": ["file"],
                }
            },
            "application/json": {
                "schema": {
                    "type": "object",
                    "properties": {
                        "images": {
                            "type": "array",
                            "minItems": 1,
                            "items": {
                                "type": "object",
                                "properties": {"b64": {"type": "string", "format": "byte"}},
                                "required": ["b64"],
                            },
                        }
                    },
                    "required": ["images"],
                }
            },
            "image/*": {"schema": {"type": "string", "format": "binary"}},
        },
    }
}
"""What `POST /v1/predict` takes, for OpenAPI alone: FastAPI itself would put files on the disk."""

Named = Annotated[str | None, Query(description="The name of a run; without it the first that is served.")]


def router(shelf: Shelf, crew: Crew, intake: uploads.Intake, settings: Serving) -> APIRouter:
    """Return /v1/predict and /v1/model."""
    routes = APIRouter()

    @routes.post("/v1/predict", response_model=Predictions, openapi_extra=PICTURES)
    async def predict(
        request: Request,
        model: Named = None,
        top: Annotated[int, Query(ge=1, description="Classes to name for each picture.")] = TOP,
        heat_map: Annotated[bool, Query(description="Show what speaks for the likeliest class.")] = False,
    ) -> Response:
        """Say what is on one picture or several.

        Where some of several cannot be read, theirs are told in their places; where none can, the status is
        that of the first.
        """
        asked = shelf.model(model)
        async with intake.body(request) as body:
            files = uploads.pictures(request.headers.get("content-type", ""), body, settings.max_files)
            answers = await crew.answer(asked, files, with_heat=heat_map)
        if all(isinstance(one, Declined) for one in answers):
            raise answers[0]  # type: ignore[misc]
        told = [_told(asked, one, top) for one in answers]
        return json_response(Predictions(asked.name, str(asked.version), told))

    @routes.get("/v1/model", response_model=ModelCard)
    async def describe(model: Named = None) -> Response:
        """Say what a model knows, what its answers are worth, and what may be sent."""
        return json_response(_card(shelf.model(model), shelf.names, settings))

    return routes


def _told(model: Model, answer: Answer | Declined, top: int) -> Answered | Failed:
    if isinstance(answer, Declined):
        return Failed(answer.status, answer.told.error, answer.told.problem, answer.told.fix)
    found, names = answer.prediction, model.classifier.class_names
    probabilities = answer.outputs[0]
    order = np.argsort(-probabilities, kind="stable")[:top]
    best, word = names[order[0]], kind(answer)
    return Answered(
        best if word == "a class" else word,
        best,
        float(probabilities[order[0]]),
        found.is_sure,
        found.is_novel,
        found.novelty,
        found.likely,
        tuple(Ranked(names[index], float(probabilities[index])) for index in order),
        None if answer.heat_map is None else HeatMap(best, base64.b64encode(answer.heat_map).decode()),
    )


def _card(model: Model, names: tuple[str, ...], settings: Serving) -> ModelCard:
    record = model.classifier.record
    calibration = record.calibration
    abstention, refusal = calibration.abstention, calibration.refusal
    return ModelCard(
        model.name,
        str(model.version),
        names,
        record.class_names,
        record.backbone,
        record.technique,
        record.image_size_px,
        record.fit,
        abstention.threshold if abstention else None,
        abstention.max_error if abstention else None,
        calibration.conformal.coverage,
        refusal.threshold if refusal else None,
        settings.max_queue,
        settings.max_files,
        settings.max_megabytes,
        settings.max_megapixels,
    )
