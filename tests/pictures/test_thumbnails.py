import io
from pathlib import Path

import numpy as np
import pytest
import skimage
from PIL import Image, ImageDraw

from headstart.pictures import pixels, thumbnails
from headstart.pictures.pixels import Pixels


def saved(image: Image.Image, **options: int) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "JPEG", **options)
    return stream.getvalue()


def test_a_thumbnail_is_the_same_at_any_size_a_photo_is_decoded_at() -> None:
    """At 250 pixels a side 3/8 are 93.75: with the last pixel taken as whole, a weave is another picture."""
    folder = Path(skimage.__file__).parent / "data"
    astronaut, cat = (Image.open(folder / name).convert("RGB") for name in ("astronaut.png", "chelsea.png"))
    random = np.random.default_rng(0)
    weave = Image.fromarray(random.integers(0, 256, (50, 50, 3), dtype=np.uint8)).resize((250, 250))
    for image in (weave, astronaut.crop((0, 0, 333, 257)), cat):
        content = saved(image, quality=95)
        whole = thumbnails.thumbnail(pixels.decode(content), *image.size)
        reduced = pixels.decode(content, at_least_px=64)
        assert reduced.shape[1] < image.width
        assert correlation(thumbnails.thumbnail(reduced, *image.size), whole) > 0.997
        if image is not cat:
            stretched = thumbnails.thumbnail(reduced, reduced.shape[1], reduced.shape[0])
            assert correlation(stretched, whole) < 0.991


def correlation(one: Pixels, other: Pixels) -> float:
    return float(np.corrcoef(one.ravel(), other.ravel())[0, 1])


def test_a_thumbnail_of_a_few_pixels() -> None:
    assert thumbnails.thumbnail(np.full((1, 1, 3), 7, np.uint8), 1, 1).tolist() == [[[7, 7, 7]] * 32] * 32
    assert thumbnails.thumbnail(np.zeros((8, 3000, 3), np.uint8), 3000, 8).shape == (32, 32, 3)


@pytest.mark.parametrize("colour", ["black", "white", (90, 120, 60)])
@pytest.mark.parametrize("degrees", [5, 12, 30])
def test_what_a_turn_leaves_empty_is_ground(degrees: int, colour: str) -> None:
    """The corners by the formula of a turn, but for the pixels on an edge."""
    noise = np.random.default_rng(0).integers(0, 256, (300, 300, 3), dtype=np.uint8)
    turned = Image.fromarray(noise).rotate(degrees, Image.Resampling.BILINEAR, fillcolor=colour)
    found = thumbnails.ground(pixels.decode(saved(turned, quality=85), at_least_px=64))
    centres = (np.arange(32) + 0.5) / 32 - 0.5
    angle = np.deg2rad(degrees)
    down, right = np.meshgrid(centres, centres, indexing="ij")
    x, y = right * np.cos(angle) - down * np.sin(angle), right * np.sin(angle) + down * np.cos(angle)
    beyond = np.maximum(np.abs(x), np.abs(y)) - 0.5
    assert found[beyond > 0.03].all() and not found[beyond < -0.08].any()


def test_a_ground_is_what_reaches_a_corner() -> None:
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (200, 200, 3), dtype=np.uint8))
    assert not thumbnails.ground(np.asarray(image)).any()
    ImageDraw.Draw(image).rectangle((60, 60, 140, 140), fill="black")
    assert not thumbnails.ground(np.asarray(image)).any()
    ImageDraw.Draw(image).rectangle((0, 0, 200, 50), fill="black")
    assert thumbnails.ground(np.asarray(image))[:8].all()
    assert not thumbnails.ground(np.asarray(image))[9:].any()
    assert thumbnails.ground(np.zeros((1, 1, 3), np.uint8)).all()


def test_ground_between_things_is_not_outside() -> None:
    grounds = np.ones((4, 32, 32), bool)
    grounds[0] = False
    grounds[2, 10:20, 10:20] = False
    grounds[3, [5, 5, 25, 25], [5, 25, 5, 25]] = False
    before = grounds.copy()
    around = thumbnails.outside(grounds)
    assert (grounds == before).all()
    assert (around[:3] == grounds[:3]).all()
    assert not around[3, 5:26, 5:26].any() and (~around[3]).sum() == 21**2


def test_the_eight_ways_a_square_can_lie() -> None:
    """Each differs from all others, and doing it all over comes back."""
    square = np.arange(9).reshape(3, 3)
    ways = [thumbnails.turned(square, turn) for turn in range(len(thumbnails.TURNS))]
    assert len({way.tobytes() for way in ways}) == 8 and ways[0].tolist() == square.tolist()
    assert ways[1].tolist() == [[2, 5, 8], [1, 4, 7], [0, 3, 6]]
    assert ways[4].tolist() == [[2, 1, 0], [5, 4, 3], [8, 7, 6]]
    for turn, order in enumerate((1, 4, 2, 4, 2, 2, 2, 2)):
        lying = square
        for _ in range(order):
            lying = thumbnails.turned(lying, turn)
        assert lying.tolist() == square.tolist()
