import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import skimage
from PIL import Image, ImageEnhance

from headstart import duplicates, pixels
from headstart.pixels import Pixels

PHOTOS = (
    *("astronaut.png", "brick.png", "camera.png", "chelsea.png", "coffee.png", "coins.png", "grass.png"),
    *("gravel.png", "ihc.png", "moon.png", "page.png", "retina.jpg", "rocket.jpg", "text.png"),
)
"""Of scikit-image: photos, textures, a scan, a stain."""

Change = Callable[[Image.Image], bytes]


@pytest.fixture(scope="module")
def photos() -> list[Image.Image]:
    folder = Path(skimage.__file__).parent / "data"
    return [Image.open(folder / name).convert("RGB") for name in PHOTOS]


def saved(image: Image.Image, kind: str = "JPEG", **options: int) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def scaled(image: Image.Image, factor: float) -> Image.Image:
    return image.resize((round(image.width * factor), round(image.height * factor)))


def cropped(image: Image.Image, part: float) -> Image.Image:
    left, top = image.width * part / 2, image.height * part / 2
    return image.crop((round(left), round(top), round(image.width - left), round(image.height - top)))


def thumbnails(contents: list[bytes]) -> Pixels:
    made = []
    for content in contents:
        _, width, height = pixels.header(content)
        made.append(duplicates.thumbnail(pixels.decode(content, at_least_px=64), width, height))
    return np.stack(made)


def pairs_among(contents: list[bytes]) -> list[tuple[int, int]]:
    """The near-duplicates, in the order of their places."""
    colour = thumbnails(contents)
    means = colour.mean(axis=(1, 2), dtype=np.float32)
    return sorted((late, early) for late, early in duplicates.find(duplicates.grey(colour), means).tolist())


def test_a_thumbnail_is_the_same_at_any_size_a_photo_is_decoded_at(photos: list[Image.Image]) -> None:
    """At 250 pixels a side 3/8 are 93.75: with the last pixel taken as whole, a weave is another picture."""
    random = np.random.default_rng(0)
    weave = Image.fromarray(random.integers(0, 256, (50, 50, 3), dtype=np.uint8)).resize((250, 250))
    for image in (weave, photos[0].crop((0, 0, 333, 257)), photos[3]):
        content = saved(image, quality=95)
        whole = duplicates.thumbnail(pixels.decode(content), *image.size)
        reduced = pixels.decode(content, at_least_px=64)
        assert reduced.shape[1] < image.width
        assert correlation(duplicates.thumbnail(reduced, *image.size), whole) > 0.997
        if image is not photos[3]:
            stretched = duplicates.thumbnail(reduced, reduced.shape[1], reduced.shape[0])
            assert correlation(stretched, whole) < 0.991


def correlation(one: Pixels, other: Pixels) -> float:
    return float(np.corrcoef(one.ravel(), other.ravel())[0, 1])


def test_a_thumbnail_of_a_few_pixels() -> None:
    assert duplicates.thumbnail(np.full((1, 1, 3), 7, np.uint8), 1, 1).tolist() == [[[7, 7, 7]] * 32] * 32
    assert duplicates.thumbnail(np.zeros((8, 3000, 3), np.uint8), 3000, 8).shape == (32, 32, 3)


def test_the_hash_is_that_of_the_formula(photos: list[Image.Image]) -> None:
    """Written out from the definition of the discrete cosine transform (DCT-II)."""
    small = duplicates.grey(thumbnails([saved(image) for image in photos]))
    frequency, place = np.arange(8)[:, None], np.arange(32)[None, :]
    cosines = np.cos(np.pi * frequency * (2 * place + 1) / 64)
    for key, picture in zip(duplicates.hashes(small), small.astype(float), strict=True):
        low = cosines @ picture @ cosines.T
        bits = [int(value > np.median(low)) for value in low.ravel()]
        assert np.packbits(bits).view(np.uint64)[0] == key


def test_the_hash_is_that_of_imagehash() -> None:
    """Golden: `imagehash.phash` of ImageHash 4.3.2 for the same 32 x 32 pixels."""
    x = np.arange(32)
    curves = (7 * x[:, None] ** 2 + 3 * x[:, None] * x + x**3) % 251
    waves = (x[:, None] + 40) * (x + 3) % 199 + (x[:, None] - 9) ** 2 // 11
    keys = duplicates.hashes(np.stack([curves, waves]).astype(np.uint8))
    assert [key.tobytes().hex() for key in keys] == ["805d6a0a9f972e6d", "ff7d807f0028263b"]


def test_candidates_are_those_that_comparing_one_by_one_finds() -> None:
    random = np.random.default_rng(0)
    keys = random.integers(0, 2**63, 1500, dtype=np.uint64)
    flips = random.integers(0, 64, (500, 14)).astype(np.uint64)
    keys[1000:] = keys[:500] ^ np.bitwise_or.reduce(np.uint64(1) << flips[:, :12], axis=1)
    expected = {
        (late, early)
        for late in range(1500)
        for early in range(late)
        if (int(keys[late]) ^ int(keys[early])).bit_count() <= duplicates.MAX_BITS
    }
    found = duplicates.candidates(keys)
    assert len(expected) > 100
    assert sorted(map(tuple, found.tolist())) == sorted(expected)


def test_in_a_crowd_each_is_a_candidate_with_its_nearest() -> None:
    keys = np.zeros(100, np.uint64)
    keys[::2] = 1
    found = duplicates.candidates(keys)
    assert len(found) == sum(min(late, duplicates.NEIGHBOURS) for late in range(100))
    last = found[found[:, 0] == 99, 1]
    assert len(last) == duplicates.NEIGHBOURS and (last % 2 == 1).all()


@pytest.mark.parametrize(
    "change",
    [
        lambda image: saved(image, quality=40),
        lambda image: saved(scaled(image, 0.3), quality=75),
        lambda image: saved(scaled(image, 0.7), quality=40),
        lambda image: saved(scaled(image, 1.6), quality=85),
        lambda image: saved(scaled(image, 0.45), "PNG"),
        lambda image: saved(scaled(image, 0.6), "WEBP"),
        lambda image: saved(image.resize((256, 256))),
        lambda image: saved(ImageEnhance.Brightness(image).enhance(0.9)),
        lambda image: saved(ImageEnhance.Brightness(image).enhance(1.1)),
        lambda image: saved(ImageEnhance.Contrast(image).enhance(0.8)),
    ],
    ids=["q40", "0.3", "0.7 q40", "1.6", "PNG", "WebP", "squashed", "darker", "brighter", "flatter"],
)
def test_copies_are_found_and_different_pictures_are_not(photos: list[Image.Image], change: Change) -> None:
    originals = [saved(image, quality=95) for image in photos]
    count = len(photos)
    expected = [(count + number, number) for number in range(count)]
    assert pairs_among([*originals, *map(change, photos)]) == expected


def test_photos_cropped_by_a_fiftieth_are_found(photos: list[Image.Image]) -> None:
    """But for pictures all of fine detail: brick, grass, gravel, page and text."""
    chosen = [
        image
        for name, image in zip(PHOTOS, photos, strict=True)
        if name.split(".")[0] not in ("brick", "grass", "gravel", "page", "text")
    ]
    contents = [saved(image) for image in (*chosen, *(cropped(image, 0.02) for image in chosen))]
    assert pairs_among(contents) == [(len(chosen) + number, number) for number in range(len(chosen))]


def test_another_colour_is_another_picture(photos: list[Image.Image]) -> None:
    """The same garment in red and in blue."""
    red, green, blue = photos[0].split()
    contents = [saved(photos[0]), saved(Image.merge("RGB", (blue, green, red)))]
    changed = np.asarray(photos[0]).astype(int)
    changed[..., 2] = (changed[..., 2] - 60).clip(0)
    contents.append(saved(Image.fromarray(changed.astype(np.uint8))))
    assert pairs_among(contents) == []


def test_a_picture_that_shows_nothing_is_like_no_other() -> None:
    plain = [Image.new("RGB", (90, 80), colour) for colour in ("black", "white", "white", "teal", "teal")]
    slope = np.broadcast_to(np.linspace(90, 120, 200), (150, 200)).astype(np.uint8)
    slopes = [saved(Image.fromarray(slope), quality=quality) for quality in (95, 80)]
    assert pairs_among([*map(saved, plain), *slopes]) == []


def test_the_closest_pair_comes_first(photos: list[Image.Image]) -> None:
    contents = [saved(photos[3], quality=95), saved(cropped(photos[3], 0.02)), saved(photos[3], quality=94)]
    colour = thumbnails(contents)
    found = duplicates.find(duplicates.grey(colour), colour.mean(axis=(1, 2), dtype=np.float32))
    assert found.tolist()[0] == [2, 0] and len(found) == 3


def test_no_photos() -> None:
    assert duplicates.find(np.empty((0, 32, 32), np.uint8), np.empty((0, 3), np.float32)).shape == (0, 2)
    assert duplicates.find_by_features(np.empty((0, 4), np.float32)).shape == (0, 2)


def test_pairs_by_features_are_those_that_comparing_one_by_one_finds() -> None:
    random = np.random.default_rng(0)
    features = random.standard_normal((300, 16)).astype(np.float32)
    features[200:] = features[:100] + 0.3 * random.standard_normal((100, 16)).astype(np.float32)
    features = features * np.linspace(0.1, 9, 16, dtype=np.float32) + 50
    features[:, 3] = 7
    before = features.copy()
    found = duplicates.find_by_features(features)
    wide = features.astype(np.float64)
    wide = (wide - wide.mean(axis=0)) / (wide.std(axis=0) + wide.std(axis=0).mean() / 10)
    wide /= np.linalg.norm(wide, axis=1, keepdims=True)
    cosine = wide @ wide.T
    expected = [tuple(pair) for pair in np.argwhere(np.tril(cosine, -1) >= duplicates.MIN_COSINE).tolist()]
    assert sorted(map(tuple, found.tolist())) == expected and len(expected) > 50
    order = [cosine[late, early] for late, early in found.tolist()]
    assert np.allclose(order, sorted(order, reverse=True), atol=1e-5)
    assert (features == before).all()


def test_features_that_are_all_alike() -> None:
    assert duplicates.find_by_features(np.ones((5, 4), np.float32)).tolist() == []


def test_fabric_that_all_looks_alike_is_not_one_picture(shared_data: Path) -> None:
    """Two thousand pictures of one weave, simulated: none is a copy of another."""
    from headstart import samples
    from headstart.progress import Progress

    folder = samples.resolve("sample:textile", Progress())
    contents = [path.read_bytes() for path in sorted(folder.glob("*/*"))]
    assert len(contents) == 2000
    assert pairs_among(contents) == []
