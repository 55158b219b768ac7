"""What is answered where a request cannot be: one shape for every status from 400 on."""

import math
from dataclasses import dataclass
from typing import Any

import msgspec
from starlette.responses import Response

JSON = "application/json"


@dataclass(frozen=True)
class Problem:
    """What is wrong with a request, and what to do about it; nothing of what was sent stands in it.

    Attributes:
        error: Both in one text, under the name that TensorFlow Serving and the Open Inference Protocol use.
        problem: What is wrong.
        fix: What to do about it.
    """

    error: str
    problem: str
    fix: str


class Declined(Exception):
    """A request, or a picture of it, that is not answered.

    Args:
        status: Of HTTP.
        problem: What is wrong.
        fix: What to do about it.
        retry_after_s: Seconds after which to ask again, where that helps.

    Example:
        >>> Declined(422, "No picture was sent.", "Send one.").told.error
        'No picture was sent. Send one.'
    """

    def __init__(self, status: int, problem: str, fix: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(status, problem, fix)
        self.status = status
        self.told = Problem(f"{problem} {fix}", problem, fix)
        self.retry_after_s = retry_after_s


def response(declined: Declined) -> Response:
    """Return what is sent for it."""
    headers = {}
    if declined.retry_after_s is not None:
        headers["Retry-After"] = str(max(1, math.ceil(declined.retry_after_s)))
    if declined.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return json_response(declined.told, declined.status, headers)


def json_response(record: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """Return a dataclass, or what JSON knows, as a response."""
    return Response(msgspec.json.encode(record), status, headers, JSON)
