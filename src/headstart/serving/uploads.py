"""What a request brings, its body and its pictures: in memory alone, and no more of it than was agreed."""

import asyncio
import base64
import binascii
import logging
from collections.abc import AsyncIterator, Sized
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import msgspec
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect, Request

from headstart.base.settings import Serving
from headstart.serving.problems import Declined

HELD = 8
"""Requests of the largest size whose bodies may be in memory at once."""

SHAPES = "Send multipart/form-data with files, application/json, or the bytes of one picture as image/jpeg."

Shape = TypeVar("Shape")
Items = TypeVar("Items", bound=Sized)

logging.getLogger("python_multipart").setLevel(logging.ERROR)  # it remarks on every malformed body


class JsonPicture(msgspec.Struct):
    """A picture in JSON: the bytes of a file, in base64."""

    b64: str


class JsonPictures(msgspec.Struct):
    """The pictures of a request in JSON."""

    images: list[JsonPicture]


class Intake:
    """Reads the bodies of requests; beside each of them, all that are in memory together have a limit.

    Attributes:
        held: Bytes in memory now.
    """

    def __init__(self, settings: Serving) -> None:
        self._settings = settings
        self.held = 0

    @asynccontextmanager
    async def body(self, request: Request) -> AsyncIterator[bytes]:
        """Give the body of a request, which counts as held until the block ends.

        Raises:
            Declined: It is too large (413), compressed (415), too slow (408), cut off (400), or all that is
                held is too much (429).
        """
        chunks: list[bytes] = []
        try:
            await self._read(request, chunks)
            yield b"".join(chunks)
        finally:
            self.held -= sum(map(len, chunks))

    async def _read(self, request: Request, chunks: list[bytes]) -> None:
        """Append the chunks of a body as they come, counted as held."""
        if request.headers.get("content-encoding", "identity") != "identity":
            raise Declined(415, "The request is compressed.", "Send it without Content-Encoding.")
        self._refuse(int(request.headers.get("content-length", "0")))
        size = 0
        try:
            async with asyncio.timeout(self._settings.timeout):
                async for chunk in request.stream():
                    chunks.append(chunk)
                    size += len(chunk)
                    self.held += len(chunk)
                    self._refuse(size)
        except TimeoutError:
            limit = self._settings.timeout
            raise Declined(408, f"The request did not come within {limit} s.", "Send less at once.") from None
        except ClientDisconnect:
            raise Declined(400, "The request was cut off.", "Send it again.") from None

    def _refuse(self, size: int) -> None:
        most = self._settings.max_megabytes * 1_000_000
        if size > most:
            raise Declined(
                413,
                f"The request has more than {self._settings.max_megabytes} MB.",
                "Send fewer pictures at once, or smaller ones.",
            )
        if self.held > HELD * most:
            raise Declined(
                429, "Too many large requests came together.", "Send it again soon.", retry_after_s=1
            )


def pictures(content_type: str, body: bytes, max_files: int) -> list[bytes]:
    """Return the files in a body, one or more, as they were sent.

    Args:
        content_type: The header of that name.
        body: The body.
        max_files: Most files in one.

    Raises:
        Declined: The body is of another kind (415) or malformed, holds none (422) or too many files (413).
    """
    kind, options = parse_options_header(content_type)
    if kind == b"multipart/form-data":
        found = _of_form(options.get(b"boundary", b""), body, max_files)
    elif kind == b"application/json":
        found = [decoded(one.b64) for one in few(parse(body, JsonPictures).images, max_files)]
    elif kind.startswith(b"image/") or kind == b"application/octet-stream":
        found = [body] if body else []
    else:
        raise Declined(415, "The request is of another kind than is read here.", SHAPES)
    if not found:
        raise Declined(422, "The request holds no picture.", SHAPES)
    return found


def few(items: Items, max_files: int) -> Items:
    """Return what there is, if it is not too much.

    Raises:
        Declined: There are more than `max_files` (413).
    """
    if len(items) > max_files:
        raise Declined(
            413, f"The request holds more than {max_files} pictures.", f"Send at most {max_files} at once."
        )
    return items


def parse(body: bytes, shape: type[Shape]) -> Shape:
    """Return JSON as what it should be.

    Raises:
        Declined: It is malformed or something else (422).
    """
    try:
        return msgspec.json.decode(body, type=shape)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        problem = str(error) if isinstance(error, msgspec.DecodeError) else "it is no UTF-8, or too deep"
        raise Declined(
            422, f"The JSON is not as expected: {problem}.", "GET /openapi.json shows what is expected."
        ) from None


def decoded(text: str) -> bytes:
    """Return the bytes that a text has in base64, of the usual or of the URL's alphabet, padded or not.

    Raises:
        Declined: It is no base64 (422).

    Example:
        >>> decoded("aGVhZA=="), decoded("aGVhZA")
        (b'head', b'head')
    """
    try:
        plain = text.encode("ascii").translate(bytes.maketrans(b"-_", b"+/")).rstrip(b"=")
        return base64.b64decode(plain + b"=" * (-len(plain) % 4), validate=True)
    except (UnicodeEncodeError, binascii.Error):
        raise Declined(
            422, "A picture is not in base64.", "Encode the bytes of the file, without a prefix."
        ) from None


class _Form:
    """The files of a form, as a parser of one whole body tells of them.

    Attributes:
        files: The bytes of each part that has a file name.
    """

    def __init__(self, max_files: int) -> None:
        self.files: list[bytes] = []
        self.is_whole = False
        self._max_files = max_files
        self._name = self._value = b""
        self._is_file = False
        self._data: list[bytes] = []

    def part_begin(self) -> None:
        self._is_file, self._data = False, []

    def header_begin(self) -> None:
        self._name = self._value = b""

    def header_field(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def header_end(self) -> None:
        if self._name.lower() == b"content-disposition":
            self._is_file = b"filename" in parse_options_header(self._value)[1]

    def part_data(self, data: bytes, start: int, end: int) -> None:
        if self._is_file:
            self._data.append(data[start:end])

    def part_end(self) -> None:
        if self._is_file:
            self.files.append(b"".join(self._data))
            few(self.files, self._max_files)

    def end(self) -> None:
        self.is_whole = True

    def callbacks(self) -> dict[str, Any]:
        names = ("part_begin", "header_begin", "header_field", "header_value", "header_end")
        return {f"on_{name}": getattr(self, name) for name in (*names, "part_data", "part_end", "end")}


def _of_form(boundary: bytes, body: bytes, max_files: int) -> list[bytes]:
    form = _Form(max_files)
    try:
        MultipartParser(boundary, form.callbacks()).write(body)  # type: ignore[arg-type]
    except FormParserError:
        form.is_whole = False
    if not boundary or not form.is_whole:
        raise Declined(
            422,
            "The form is malformed or cut short.",
            "Let your HTTP client make it, as in curl -F file=@photo.jpg.",
        )
    return form.files
