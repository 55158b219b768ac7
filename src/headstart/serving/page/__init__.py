"""The page on which a model is tried: files as they are, nothing from elsewhere; it looks as reports do."""

from collections.abc import Awaitable, Callable
from importlib import resources

from fastapi import APIRouter
from starlette.responses import Response

OWN, REPORT = __name__, "headstart.reporting.report"

FILES = {
    "/": (OWN, "page.html", "text/html; charset=utf-8"),
    "/page.js": (OWN, "page.js", "text/javascript; charset=utf-8"),
    "/page.css": (OWN, "page.css", "text/css; charset=utf-8"),
    "/style.css": (REPORT, "style.css", "text/css; charset=utf-8"),
}
"""By path the package of a file, its name and its type."""

PATHS = frozenset(FILES)
"""What anyone may load: there is nothing of a model in it."""


def router() -> APIRouter:
    """Return the routes of the page."""
    routes = APIRouter(include_in_schema=False)
    for path, (package, name, media_type) in FILES.items():
        content = resources.files(package).joinpath(name).read_bytes()
        routes.add_api_route(path, _sender(content, media_type), methods=["GET", "HEAD"])
    return routes


def _sender(content: bytes, media_type: str) -> Callable[[], Awaitable[Response]]:
    async def send() -> Response:
        return Response(content, media_type=media_type)

    return send
