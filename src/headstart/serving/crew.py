"""Threads that read pictures and ask a model, and the queue before them, which is no longer than agreed."""

import asyncio
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

from PIL import Image

from headstart.base.arrays import Floats
from headstart.base.errors import UnreadableImage, UnreadableNow, UnsupportedImage
from headstart.base.settings import Serving
from headstart.networks.classifier import Prediction
from headstart.networks.explanation import overlay
from headstart.pictures import pixels
from headstart.pictures.pixels import Pixels
from headstart.serving.metrics import Metrics
from headstart.serving.models import LANES, Model
from headstart.serving.problems import Declined

Source = bytes | Pixels
"""The bytes of a picture of any kind, or pixels as the model eats them."""

SAVE_ANEW = "Send it again, or save it anew as JPEG or PNG."


@dataclass(frozen=True, eq=False)
class Answer:
    """What a model answers for one picture.

    Attributes:
        outputs: Probabilities (C,) and, where the model has it, novelty (1,).
        prediction: What they come to.
        heat_map: The picture with the heat of its likeliest class over it, as PNG, where it was asked for.
    """

    outputs: Sequence[Floats]
    prediction: Prediction
    heat_map: bytes | None


class Crew:
    """Answers for pictures, several side by side; those with heat maps one after another.

    Attributes:
        waiting: Pictures that were taken in and are not answered yet.
    """

    def __init__(self, settings: Serving, metrics: Metrics) -> None:
        self.waiting = 0
        self._settings = settings
        self._metrics = metrics
        self._threads = ThreadPoolExecutor(LANES, "headstart-serving")
        # A heat map takes a few dozen inferences: no other answer is to wait for one.
        self._explaining = ThreadPoolExecutor(1, "headstart-explaining")

    async def answer(
        self, model: Model, sources: Sequence[Source], *, with_heat: bool = False
    ) -> list[Answer | Declined]:
        """Return what a model answers for each picture, or why it does not.

        Raises:
            Declined: Too many wait already (429), or it takes too long (503).
        """
        with self._place(len(sources)):
            answers = await self._answers(model, sources, with_heat)
        for one in answers:
            self._metrics.pictures.labels(model.name, kind(one)).inc()
        if with_heat:
            self._metrics.heat_maps.labels(model.name).inc(sum(isinstance(one, Answer) for one in answers))
        return answers

    async def _answers(
        self, model: Model, sources: Sequence[Source], with_heat: bool
    ) -> list[Answer | Declined]:
        pool = self._explaining if with_heat else self._threads
        most = self._settings.max_megapixels * 1_000_000
        futures = [pool.submit(_answer, model, one, most, with_heat) for one in sources]
        try:
            async with asyncio.timeout(self._settings.timeout):
                return list(await asyncio.gather(*map(asyncio.wrap_future, futures)))
        except TimeoutError:
            raise Declined(
                503,
                f"There was no answer within {self._settings.timeout} s.",
                "Send fewer pictures at once, or the same later.",
                retry_after_s=self._settings.timeout,
            ) from None
        finally:
            for one in futures:
                one.cancel()

    @contextmanager
    def _place(self, count: int) -> Iterator[None]:
        if self.waiting + count > self._settings.max_queue:
            raise Declined(
                429, f"{self.waiting} pictures wait already.", "Send it again soon.", retry_after_s=1
            )
        self.waiting += count
        try:
            yield
        finally:
            self.waiting -= count

    def close(self) -> None:
        """Let the threads end when they have done what they have."""
        self._threads.shutdown()
        self._explaining.shutdown()


def kind(answer: Answer | Declined) -> str:
    """Return what an answer comes to: "a class", "not sure", "none of these", or "not read"."""
    if isinstance(answer, Declined):
        return "not read"
    if answer.prediction.is_novel:
        return "none of these"
    return "not sure" if answer.prediction.is_sure is False else "a class"


def _answer(model: Model, source: Source, max_pixels: int, with_heat: bool) -> Answer | Declined:
    try:
        picture = prepared(source, model, max_pixels) if isinstance(source, bytes) else source
    except Declined as declined:
        return declined
    outputs = model.ask(picture)
    prediction = model.told(outputs)
    if not with_heat:
        return Answer(outputs, prediction, None)
    heat = model.explain(picture, int(outputs[0].argmax()))
    return Answer(outputs, prediction, _png(overlay(picture, heat)))


def _png(picture: Pixels) -> bytes:
    import cv2

    return bytes(cv2.imencode(".png", picture[..., ::-1])[1])


def prepared(content: bytes, model: Model, max_pixels: int) -> Pixels:
    """Return the bytes of a picture as a model eats it, uint8 RGB (S, S, 3).

    What is said of one that is not read has nothing of its bytes; a decoder's errors have some.

    Raises:
        Declined: It is too large (413), of a kind that is not read (415), damaged (422), or there is no
            memory for it (503).
    """
    if not content:
        raise Declined(422, "The picture is empty.", "Send the bytes of its file.")
    try:
        _, width, height = pixels.header(content)
    except UnreadableImage as error:
        if isinstance(error.__cause__, Image.DecompressionBombError):
            raise _too_large(max_pixels) from None
        raise _declined(error, 415, "The picture is of no kind that is read here, or damaged.") from None
    if width * height > max_pixels:
        raise _too_large(max_pixels)
    try:
        return pixels.prepare(content, model.size_px, model.classifier.record.fit)
    except UnreadableImage as error:
        raise _declined(error, 422, "The picture is damaged or cut short.") from None


def _too_large(max_pixels: int) -> Declined:
    problem = f"The picture has more than {max_pixels:,} pixels."
    return Declined(413, problem, "Make it smaller; the model looks at a few hundred a side.")


def _declined(error: UnreadableImage, status: int, problem: str) -> Declined:
    if isinstance(error, UnsupportedImage):
        return Declined(415, f"The picture is {error.kind}, which is not read here.", error.fix)
    if isinstance(error, UnreadableNow):
        fix = "Send it again later, or smaller."
        return Declined(503, "The picture could not be read now.", fix, retry_after_s=1)
    return Declined(status, problem, SAVE_ANEW)
