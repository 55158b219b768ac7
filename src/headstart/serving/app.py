"""All routes of a server, as one application."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp

from headstart.base.settings import Serving
from headstart.base.version import __version__
from headstart.serving import metrics, native, open_inference, page, tensorflow_serving
from headstart.serving.crew import Crew
from headstart.serving.entrance import Entrance
from headstart.serving.metrics import Metrics
from headstart.serving.models import Shelf
from headstart.serving.problems import Declined, Problem, json_response, response
from headstart.serving.uploads import Intake

STATUSES = {
    400: "The request was cut off.",
    401: "The token is missing or another.",
    404: "There is no such model or path.",
    408: "The request came too slowly.",
    413: "The request, a picture, or the number of pictures is too large.",
    415: "The request or a picture is of a kind that is not read.",
    422: "The request or a picture is malformed.",
    429: "Too much waits; Retry-After says when to come again.",
    503: "There was no answer in time.",
}

Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[None]]


def build(shelf: Shelf, settings: Serving, lifespan: Lifespan | None = None) -> ASGIApp:
    """Return the application that serves models.

    Args:
        shelf: The models.
        settings: Limits, token, origins.
        lifespan: What goes on beside it while it serves.
    """
    counts = Metrics()
    crew, intake = Crew(settings, counts), Intake(settings)
    counts.watch("headstart_waiting_pictures", "Pictures that are not answered yet.", lambda: crew.waiting)
    counts.watch("headstart_held_bytes", "Bytes of requests in memory.", lambda: intake.held)
    counts.watch("headstart_models", "Models that are served.", lambda: len(shelf.names))
    counts.watch("headstart_model_swaps", "Models that took another's place.", lambda: shelf.swaps)

    @asynccontextmanager
    async def whole(application: FastAPI) -> AsyncIterator[None]:
        try:
            if lifespan is None:
                yield
            else:
                async with lifespan(application):
                    yield
        finally:
            crew.close()

    application = FastAPI(
        title="Headstart",
        version=__version__,
        summary="Says what is on pictures, by models trained with Headstart.",
        docs_url=None,  # they would load their scripts from elsewhere
        redoc_url=None,
        lifespan=whole,
        responses={status: {"model": Problem, "description": told} for status, told in STATUSES.items()},
    )
    for routes in (native, tensorflow_serving, open_inference):
        application.include_router(routes.router(shelf, crew, intake, settings))
    application.include_router(page.router())
    _add_health(application, counts)
    _add_problems(application)
    entrance = Entrance(application, settings.token, counts, page.PATHS)
    if settings.allow_origin:  # before the entrance: a browser asks whether it may without the token
        return CORSMiddleware(
            entrance,
            allow_origins=list(settings.allow_origin),
            allow_methods=["GET", "POST"],
            allow_headers=["Authorization", "Content-Type", open_inference.HEADER_LENGTH],
            expose_headers=["Retry-After", open_inference.HEADER_LENGTH],
        )
    return entrance


def _add_health(application: FastAPI, counts: Metrics) -> None:
    @application.get("/healthz")
    async def is_alive() -> Response:
        """Say that the server runs."""
        return json_response({"status": "ok"})

    @application.get("/readyz")
    async def is_ready() -> Response:
        """Say that it answers: all models are loaded before it listens."""
        return json_response({"status": "ok"})

    @application.get("/metrics", response_class=PlainTextResponse)
    async def show_metrics() -> Response:
        """Show what Prometheus reads."""
        return Response(counts.text(), media_type=metrics.CONTENT_TYPE)


def _add_problems(application: FastAPI) -> None:
    """Give all that goes wrong one shape."""

    @application.exception_handler(Declined)
    async def declined(_: Request, error: Declined) -> Response:
        return response(error)

    @application.exception_handler(HTTPException)
    async def unknown(_: Request, error: HTTPException) -> Response:
        if error.status_code == 405:
            told = Declined(405, "The path is not asked in this way.", "GET /openapi.json shows how.")
        else:
            told = Declined(error.status_code, "There is no such path.", "GET /openapi.json shows all.")
        found = response(told)
        found.headers.update(error.headers or {})
        return found

    @application.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        where = " ".join(str(part) for part in first["loc"])
        return response(Declined(422, f"The {where} is not as expected.", f"It should be: {first['msg']}."))

    @application.exception_handler(Exception)
    async def failed(_: Request, error: Exception) -> Response:
        return response(
            Declined(500, "The server failed.", "Send it again; whoever runs it finds the reason in its log.")
        )
