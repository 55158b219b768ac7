"""A server as a process: it listens, is told of signals, and finishes what it has before it ends."""

import asyncio
import ipaddress
import os
import signal
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from types import FrameType

import uvicorn
from fastapi import FastAPI
from PIL import Image
from starlette.types import ASGIApp

from headstart.base.errors import SettingsError
from headstart.base.progress import Progress
from headstart.base.settings import Serving
from headstart.serving import app
from headstart.serving.models import Shelf

LOOK_S = 1.0
"""How often run folders are looked at; a look costs a few microseconds."""


def serve(runs: Sequence[Path], settings: Serving, progress: Progress) -> None:
    """Serve the models of run folders until a signal ends it.

    SIGTERM and SIGINT: it listens no more, answers what it has, and returns. SIGHUP, and by itself every
    second: what is new in a run folder is served.

    Raises:
        RunError: There is no model in one of them.
        SettingsError: The address cannot be listened on.
    """
    listening = _listen(settings)
    with listening:
        # A picture inside a picture, as in an icon, is checked by Pillow alone: above twice this it refuses.
        Image.MAX_IMAGE_PIXELS = settings.max_megapixels * 1_000_000 // 2
        shelf = Shelf(runs, progress)
        host, port = listening.getsockname()[:2]
        if settings.token is None and not _is_loopback(host):
            progress.warn(
                "Whoever reaches this address may ask, for there is no token: "
                "set HEADSTART_TOKEN, or --host 127.0.0.1."
            )
        server = _Server(config(app.build(shelf, settings, _watching(shelf)), settings))
        names = ", ".join(shelf.names)
        progress.remark(f"{names}: http://{_bracketed(host)}:{port}/ is the page; Ctrl-C ends it.")
        server.run(sockets=[listening])


def config(application: ASGIApp, settings: Serving) -> uvicorn.Config:
    """Return how uvicorn runs an application: silent, and no longer than a request may take when it ends."""
    return uvicorn.Config(
        application,
        log_config=None,
        access_log=False,
        server_header=False,
        ws="none",
        timeout_graceful_shutdown=settings.timeout,
    )


class _Server(uvicorn.Server):
    """Ends with 0 when a signal has asked for it, where uvicorn raises the signal again."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Finish, or at a second Ctrl-C end at once."""
        self.force_exit = self.should_exit and sig == signal.SIGINT
        self.should_exit = True


def _listen(settings: Serving) -> socket.socket:
    try:
        return socket.create_server(
            (settings.host, settings.port),
            family=socket.AF_INET6 if ":" in settings.host else socket.AF_INET,
            backlog=2048,
        )
    except (OSError, OverflowError) as error:
        # Python adds to the system's words the address, in its own way of writing it.
        number = error.errno if isinstance(error, OSError) and error.errno else 0
        why = os.strerror(number) if number > 0 else str(error)
        raise SettingsError(
            f"Cannot listen on {settings.host}, port {settings.port}: {why}.",
            "Name another: --host ADDRESS --port N; --port 0 takes one that is free.",
        ) from error


def _is_loopback(host: str) -> bool:
    return ipaddress.ip_address(host).is_loopback


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _watching(shelf: Shelf) -> app.Lifespan:
    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        asked = asyncio.Event()
        if hasattr(signal, "SIGHUP"):
            asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, asked.set)
        task = asyncio.create_task(_look(shelf, asked))
        yield
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    return lifespan


async def _look(shelf: Shelf, asked: asyncio.Event) -> None:
    """Look at the run folders every `LOOK_S`, or at once when it is asked for."""
    while True:
        with suppress(TimeoutError):
            await asyncio.wait_for(asked.wait(), LOOK_S)
        asked.clear()
        await asyncio.to_thread(shelf.refresh)
