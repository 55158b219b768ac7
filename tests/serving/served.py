"""A run to serve, a server in a thread of the tests' own process, and pictures of every awkward kind."""

import io
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
import numpy as np
import uvicorn
from conftest import CALIBRATION, PATIENCE_S
from PIL import Image
from starlette.types import ASGIApp
from test_classifier import RECORD

from headstart.base import filenames, records
from headstart.base.progress import Progress
from headstart.base.settings import Serving
from headstart.networks import backbones, engine, novelty
from headstart.networks.classifier import Classifier
from headstart.serving import app
from headstart.serving.models import Shelf
from headstart.serving.server import config
from headstart.statistics.calibration import Abstention, Refusal, Selection

SELECTION = Selection(
    n_images=340, n_accepted=300, n_wrong=3, coverage=300 / 340, risk=0.01, risk_interval=None
)


def write_run(folder: Path, seed: int = 0) -> Path:
    """Write what is served of a run folder; another seed, another model. It knows the made photos."""
    random = np.random.default_rng(seed)
    weights, bias = (
        random.normal(0, scale, size).astype(np.float32) for scale, size in ((1, (8, 3)), (1, 3))
    )
    backbone = engine.open_backbone(backbones.find("tiny"), 32)
    known = backbone(np.stack([np.asarray(blotches(32, 32, one)) for one in range(3)]))
    references = novelty.references(known, np.arange(3))
    calibration = replace(
        CALIBRATION,
        abstention=Abstention(threshold=0.65, max_error=0.01, level=0.95, validation=SELECTION),
        refusal=Refusal(threshold=0.035, part=0.05, n_images=300),
    )
    record = replace(RECORD, fit="squash", calibration=calibration)
    Classifier(record, backbone.with_head(weights, bias, references)).save(folder / filenames.MODEL)
    records.write_json(folder / filenames.RESULTS, {"seed": seed})
    return folder


@dataclass(frozen=True)
class Served:
    """A server that listens, what it serves, and a client of it."""

    shelf: Shelf
    application: ASGIApp
    host: str
    client: httpx.Client


@contextmanager
def serving(folders: Sequence[Path], settings: Serving | None = None) -> Iterator[Served]:
    """Serve run folders on a free port until the block ends."""
    shelf = Shelf(folders, Progress())
    settings = settings or Serving(timeout=PATIENCE_S)
    application = app.build(shelf, settings)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        own = uvicorn.Server(config(application, settings))
        thread = threading.Thread(target=own.run, kwargs={"sockets": [listening]})
        thread.start()
        host = f"127.0.0.1:{listening.getsockname()[1]}"
        while not own.started:
            time.sleep(0.01)
        try:
            with httpx.Client(base_url=f"http://{host}", timeout=PATIENCE_S) as client:
                yield Served(shelf, application, host, client)
        finally:
            own.should_exit = True
            thread.join()


def blotches(height: int = 60, width: int = 90, seed: int = 0) -> Image.Image:
    """A picture of smooth blotches, as photos are."""
    values = np.random.default_rng(seed).integers(
        0, 256, (-(-height // 10), -(-width // 10), 3), dtype=np.uint8
    )
    return Image.fromarray(values.repeat(10, axis=0).repeat(10, axis=1)[:height, :width])


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    """The bytes of a picture as a file of a kind."""
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def awkward_pictures() -> dict[str, bytes]:
    """Pictures of every kind that a server and a command line may read otherwise, by name of a file."""
    plain = blotches()
    turned = Image.Exif()
    turned[0x0112] = 6
    deep = Image.fromarray(np.asarray(plain.convert("L")).astype(np.uint16) * 257)
    seen_through = plain.convert("RGBA")
    seen_through.putalpha(plain.convert("L"))
    return {
        "plain.jpg": saved(plain, "JPEG", quality=92),
        "large.jpg": saved(plain.resize((900, 600)), "JPEG", quality=92),
        "turned.jpg": saved(plain, "JPEG", exif=turned, quality=92),
        "cmyk.jpg": saved(plain.convert("CMYK"), "JPEG", quality=92),
        "grey.jpg": saved(plain.convert("L"), "JPEG", quality=92),
        "grey.png": saved(plain.convert("L"), "PNG"),
        "alpha.png": saved(seen_through, "PNG"),
        "palette.png": saved(plain.convert("P"), "PNG", transparency=3),
        "deep.png": saved(deep, "PNG"),
        "moving.gif": saved(plain, "GIF", save_all=True, append_images=[blotches(seed=1)]),
        "lossless.webp": saved(plain, "WEBP", lossless=True),
        "stripes.tif": saved(plain, "TIFF", compression="tiff_lzw"),
    }


def heic_picture() -> bytes:
    """A picture as HEIC; the test is skipped where nothing writes it."""
    import pytest

    pillow_heif = pytest.importorskip("pillow_heif")
    stream = io.BytesIO()
    pillow_heif.from_pillow(blotches()).save(stream, quality=90)
    return stream.getvalue()
