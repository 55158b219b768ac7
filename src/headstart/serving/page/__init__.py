"""The page on which a model is tried: three files as they are, nothing from elsewhere."""

from collections.abc import Awaitable, Callable
from importlib import resources

from fastapi import APIRouter
from starlette.responses import Response

FILES = {
    "/": ("page.html", "text/html; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
}

PATHS = frozenset(FILES)
"""What anyone may load: there is nothing of a model in it."""


def router() -> APIRouter:
    """Return the routes of the page."""
    routes = APIRouter(include_in_schema=False)
    for path, (name, media_type) in FILES.items():
        content = resources.files(__package__).joinpath(name).read_bytes()
        routes.add_api_route(path, _sender(content, media_type), methods=["GET", "HEAD"])
    return routes


def _sender(content: bytes, media_type: str) -> Callable[[], Awaitable[Response]]:
    async def send() -> Response:
        return Response(content, media_type=media_type)

    return send
