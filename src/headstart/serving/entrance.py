"""What every request passes through: the token, the headers of every response, and the count of both."""

import hmac
import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from headstart.serving.metrics import Metrics
from headstart.serving.problems import Declined, response

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "media-src 'self' blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""Of the page's contents: nothing from elsewhere, and nothing that is written into it runs."""

HEADERS = (
    (b"content-security-policy", POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
)

OPEN = frozenset({"/healthz", "/readyz", "/v2/health/live", "/v2/health/ready", "/openapi.json"})
"""Paths that need no token, beside those of the page: what watches a server has none, and nothing is told."""


class Entrance:
    """The application with a token before it, if there is one.

    Args:
        application: What answers.
        token: What a request must bring as `Authorization: Bearer TOKEN`; None: nothing.
        metrics: Where requests are counted.
        open_paths: Paths that need none, beside `OPEN`.
    """

    def __init__(
        self, application: ASGIApp, token: str | None, metrics: Metrics, open_paths: frozenset[str]
    ) -> None:
        self._application = application
        self._expected = None if token is None else f"Bearer {token}".encode()
        self._metrics = metrics
        self._open = OPEN | open_paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._application(scope, receive, send)
            return
        started, status = time.perf_counter(), 500

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], *HEADERS]
            await send(message)

        try:
            refused = self._refused(scope)
            await (refused or self._application)(scope, receive, sending)
        finally:
            route = _route(scope)
            self._metrics.requests.labels(route, str(status)).inc()
            self._metrics.seconds.labels(route).observe(time.perf_counter() - started)

    def _refused(self, scope: Scope) -> ASGIApp | None:
        """Return the response to a request without the token."""
        if self._expected is None or scope["path"] in self._open:
            return None
        given = dict(scope["headers"]).get(b"authorization", b"")
        if hmac.compare_digest(given, self._expected):
            return None
        return response(
            Declined(401, "The token is missing or another.", "Send it: Authorization: Bearer TOKEN.")
        )


def _route(scope: Scope) -> str:
    """Return the route of a request as it stands in the program: what was sent would have no end of kinds."""
    found = getattr(scope.get("route"), "path", None)
    return found if isinstance(found, str) else "other"
