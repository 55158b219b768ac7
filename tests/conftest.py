"""What several tests share: the real photos beside the checkout, and small folders of made ones."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

SHARED_DATA = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real photos that stands beside a development checkout."""
    if not SHARED_DATA.is_dir():
        pytest.skip("the development photos (../shared/data) are not here")
    return SHARED_DATA


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Class folders `red` and `green` of 20 noisy 40 x 30 pixel JPEGs each, told apart by their colour."""
    random = np.random.default_rng(0)
    for channel, name in enumerate(("red", "green")):
        folder = tmp_path / "photos" / name
        folder.mkdir(parents=True)
        for number in range(20):
            image = random.integers(0, 90, (30, 40, 3), dtype=np.uint8)
            image[..., channel] += 140
            Image.fromarray(image).save(folder / f"{name}_{number:02}.jpg", quality=95)
    return tmp_path / "photos"


@pytest.fixture
def bomb_png() -> bytes:
    """A PNG of 100 bytes or so that claims 60,000 x 60,000 pixels."""
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(bytes(99))), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )
