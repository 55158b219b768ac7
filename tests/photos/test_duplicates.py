import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import skimage
from PIL import Image, ImageDraw, ImageEnhance, ImageOps

from headstart.photos import duplicates
from headstart.photos.duplicates import Alike, Pictures
from headstart.pictures import pixels, thumbnails
from headstart.pictures.pixels import Pixels

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


def small(contents: list[bytes]) -> Pixels:
    """Thumbnails in colour."""
    return np.stack(
        [
            thumbnails.thumbnail(pixels.decode(content, at_least_px=64), *pixels.header(content)[1:])
            for content in contents
        ]
    )


def found_among(contents: list[bytes]) -> Alike:
    colour = small(contents)
    return duplicates.find(
        Pictures(
            thumbnails=thumbnails.grey(colour),
            grounds=np.stack(
                [thumbnails.ground(pixels.decode(content, at_least_px=64)) for content in contents]
            ),
            colours=colour.mean(axis=(1, 2), dtype=np.float32),
        )
    )


def pairs_among(contents: list[bytes]) -> list[tuple[int, int]]:
    """The near-duplicates, in the order of their places."""
    return sorted((late, early) for late, early in found_among(contents).pairs.tolist())


def test_the_hash_is_that_of_the_formula(photos: list[Image.Image]) -> None:
    """Written out from the definition of the discrete cosine transform (DCT-II)."""
    grey = thumbnails.grey(small([saved(image) for image in photos]))
    frequency, place = np.arange(8)[:, None], np.arange(32)[None, :]
    cosines = np.cos(np.pi * frequency * (2 * place + 1) / 64)
    for key, picture in zip(duplicates.hashes(grey), grey.astype(float), strict=True):
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


# Mirrored and turned


@pytest.mark.parametrize("turn", range(1, 8))
def test_mirrored_and_turned_copies_are_found(photos: list[Image.Image], turn: int) -> None:
    def changed(image: Image.Image) -> bytes:
        lying = thumbnails.turned(np.asarray(image).transpose(2, 0, 1), turn).transpose(1, 2, 0)
        return saved(scaled(Image.fromarray(lying), 0.5), quality=75)

    chosen = [image for name, image in zip(PHOTOS, photos, strict=True) if name != "retina.jpg"]
    contents = [saved(image, quality=95) for image in chosen]
    found = found_among([*contents, *map(changed, chosen)])
    expected = {(len(chosen) + number, number) for number in range(len(chosen))}
    assert {(late, early) for late, early in found.pairs.tolist()} == expected
    back = {1: 3, 3: 1}.get(turn, turn)
    assert set(found.turns.tolist()) == {back}


def test_a_copy_of_a_symmetrical_picture_is_a_copy_as_it_is(photos: list[Image.Image]) -> None:
    """It looks like its mirror image along the diagonal, too: the pair stands once."""
    half = photos[3].crop((0, 0, 300, 300))
    whole = Image.blend(half, half.transpose(Image.Transpose.TRANSPOSE), 0.5)
    found = found_among([saved(whole), saved(scaled(whole, 0.5))])
    assert found.pairs.tolist() == [[1, 0]] and found.turns.tolist() == [0]


# Where there is nothing to be seen


def slide(number: int) -> Image.Image:
    """A picture through a microscope: some round cells on a smooth, bright ground."""
    random = np.random.default_rng(number)
    down, right = np.mgrid[:256, :256]
    light = random.uniform(185, 215) + (right - 128) * random.normal(0, 0.05)
    for _ in range(random.integers(3, 9)):
        (left, top), radius = random.uniform(40, 216, 2), random.uniform(8, 30)
        inside = 1 / (1 + np.exp((np.hypot(right - left, down - top) - radius) / 2))
        light = light - random.uniform(20, 70) * inside
    light = light + random.normal(0, 3, light.shape)
    tinted = np.stack([light, 0.9 * light, 0.95 * light], axis=-1)
    return Image.fromarray(tinted.clip(0, 255).astype(np.uint8))


def turned_by(degrees: float, colour: str = "black") -> Callable[[Image.Image], Image.Image]:
    return lambda image: image.rotate(degrees, Image.Resampling.BILINEAR, fillcolor=colour)


def through_a_round_opening(image: Image.Image) -> Image.Image:
    opening = Image.new("L", image.size)
    ImageDraw.Draw(opening).ellipse((4, 4, 251, 251), fill=255)
    return Image.composite(image, Image.new("RGB", image.size), opening)


def framed(colour: str) -> Callable[[Image.Image], Image.Image]:
    return lambda image: ImageOps.expand(image.resize((170, 170)), 43, colour)


GROUNDS: dict[str, Callable[[Image.Image], Image.Image]] = {
    "turned by 6": turned_by(6),
    "turned by 15": turned_by(15),
    "turned by 45": turned_by(45),
    "turned on white": turned_by(20, "white"),
    "expanded": lambda image: image.rotate(20, Image.Resampling.BILINEAR, expand=True),
    "round opening": through_a_round_opening,
    "black frame": framed("black"),
    "white frame": framed("white"),
    "bars": lambda image: ImageOps.pad(image.resize((256, 150)), (256, 256)),
}


@pytest.mark.parametrize("kind", GROUNDS)
def test_pictures_that_have_a_ground_in_common_are_not_alike_and_their_copies_are(kind: str) -> None:
    made = [GROUNDS[kind](slide(number)) for number in range(40)]
    copies = [saved(scaled(image, 0.6), quality=70) for image in made[:10]]
    copies += [saved(ImageOps.mirror(image), quality=60) for image in made[10:15]]
    expected = [(40 + number, number) for number in range(15)]
    assert pairs_among([*(saved(image, quality=92) for image in made), *copies]) == expected


def goods(image: Image.Image) -> Image.Image:
    """A shirt with a picture for a fabric, photographed on white."""
    shape = Image.new("L", (256, 256))
    outline = ((30, 30), (226, 30), (226, 90), (180, 90), (180, 226), (76, 226), (76, 90), (30, 90))
    ImageDraw.Draw(shape).polygon(outline, fill=255)
    return Image.composite(image.resize((256, 256)), Image.new("RGB", (256, 256), "white"), shape)


def test_goods_of_one_shape_are_not_alike_and_their_copies_are(photos: list[Image.Image]) -> None:
    chosen = [image for name, image in zip(PHOTOS, photos, strict=True) if name != "page.png"]
    made = [goods(image) for image in chosen]
    contents = [saved(image, quality=92) for image in (*made, *(scaled(image, 0.5) for image in made))]
    assert pairs_among(contents) == [(len(made) + number, number) for number in range(len(made))]


def test_things_strewn_on_a_plain_ground_are_told_by_their_places() -> None:
    def strewn(number: int) -> Image.Image:
        random, image = np.random.default_rng(number), Image.new("RGB", (256, 256), (225, 225, 225))
        for left, top in random.integers(10, 215, (12, 2)).tolist():
            ImageDraw.Draw(image).ellipse((left, top, left + 30, top + 30), fill=(90, 90, 90))
        return image

    made = [strewn(number) for number in range(30)]
    contents = [saved(image) for image in (*made, *(scaled(image, 0.5) for image in made))]
    assert pairs_among(contents) == [(30 + number, number) for number in range(30)]


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
    found = found_among(contents)
    assert found.pairs.tolist()[0] == [2, 0] and len(found.pairs) == 3


def test_no_photos() -> None:
    nothing = np.empty((0, 32, 32))
    none = Pictures(nothing.astype(np.uint8), nothing.astype(bool), np.empty((0, 3), np.float32))
    assert duplicates.find(none).pairs.shape == (0, 2)
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
    from headstart.base.progress import Progress
    from headstart.storage import samples

    folder = samples.resolve("sample:textile", Progress())
    contents = [path.read_bytes() for path in sorted(folder.glob("*/*"))]
    assert len(contents) == 2000
    assert pairs_among(contents) == []


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["turned by 15", "expanded", "round opening", "black frame", "white frame"])
@pytest.mark.parametrize("name", ["animals", "clothing/train"])
def test_real_photos_that_have_a_ground_in_common(name: str, kind: str, shared_data: Path) -> None:
    """At least 95% of what is told is true, and of what is true is told."""
    paths = sorted((shared_data / name).glob("*/*.jpg"))[::17][:120]
    made = [GROUNDS[kind](ImageOps.fit(Image.open(path).convert("RGB"), (256, 256))) for path in paths]
    copies = [saved(scaled(image, 0.5), quality=60) for image in made[:40]]
    found = set(pairs_among([*(saved(image, quality=92) for image in made), *copies]))
    true = {(len(made) + number, number) for number in range(40)}
    assert len(found & true) >= 0.95 * max(len(found), len(true))
