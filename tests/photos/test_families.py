import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps

from headstart.photos import families
from headstart.photos.duplicates import Pictures
from headstart.photos.families import Families
from headstart.pictures import pixels, thumbnails


def scene(number: int) -> Image.Image:
    """A picture of its own: smooth blotches of a few colours."""
    random = np.random.default_rng(number)
    colours = random.integers(0, 256, (3, 3))
    blotches = colours[random.integers(0, 3, (5, 5))].astype(np.uint8)
    return Image.fromarray(blotches).resize((96, 96), Image.Resampling.BICUBIC)


def altered(image: Image.Image, random: np.random.Generator) -> Image.Image:
    """As augmentation does: mirrored or not, turned, shifted, cut, lit otherwise."""
    if random.random() < 0.5:
        image = ImageOps.mirror(image)
    image = image.rotate(
        random.uniform(-15, 15),
        Image.Resampling.BILINEAR,
        translate=tuple(random.integers(-8, 9, 2).tolist()),
    )
    cut = random.uniform(0, 10)
    image = image.crop((round(cut), round(cut), round(96 - cut), round(96 - cut)))
    return ImageEnhance.Brightness(image).enhance(random.uniform(0.8, 1.2))


def pictures_of(images: list[Image.Image]) -> Pictures:
    contents = []
    for image in images:
        stream = io.BytesIO()
        image.save(stream, "JPEG", quality=85)
        contents.append(pixels.decode(stream.getvalue()))
    colour = np.stack([thumbnails.thumbnail(one, one.shape[1], one.shape[0]) for one in contents])
    grounds = np.stack([thumbnails.ground(one) for one in contents])
    return Pictures(thumbnails.grey(colour), grounds, colour.mean(axis=(1, 2), dtype=np.float32))


def versions(n_scenes: int, n_versions: int) -> list[Image.Image]:
    """The versions of each scene, one after the other."""
    random = np.random.default_rng(1)
    return [altered(scene(number), random) for number in range(n_scenes) for _ in range(n_versions)]


@pytest.fixture(scope="module")
def four_of_each() -> Pictures:
    """Four altered versions of each of 40 scenes."""
    return pictures_of(versions(40, 4))


def found(names: list[str], pictures: Pictures, n_classes: int = 2) -> list[Families]:
    """Every other scene is of the other class."""
    scenes = np.arange(len(names)) // 4
    return list(families.find(names, (scenes % n_classes).astype(np.int32), pictures))


def hexadecimal(number: int, digits: int) -> str:
    return np.random.default_rng(number).bytes(digits // 2).hex()


NAMES = {
    "Roboflow": lambda scene, version: f"IMG_{scene}_jpg.rf.{hexadecimal(9 * scene + version, 32)}.jpg",
    "hash": lambda scene, version: f"{scene}-{hexadecimal(9 * scene + version, 6)}a1.png",
    "uuid": lambda scene, version: (
        f"{scene}_{hexadecimal(scene, 8)}-0a1b-4c2d-8e3f-{hexadecimal(9 * scene + version, 12)}.jpg"
    ),
    "counter": lambda scene, version: f"cat_{scene:02}_{version}.jpg",
    "frames": lambda scene, version: f"clip{scene}_frame_{version + 10:04}.png",
    "frames without a line": lambda scene, version: f"g{scene:02}_c{version:03}.png",
    "aug": lambda scene, version: f"cat{scene}{f'_aug_{version}' * (version > 0)}.png",
    "words": lambda scene, version: f"{scene}x{('', '_flip', '_rot90', '-BRIGHT-1_crop')[version]}.JPG",
    "Windows": lambda scene, version: f"{scene}x{('', ' - Copy', ' - Copy (2)', ' - Copy (3)')[version]}.jpg",
    "brackets": lambda scene, version: f"a{scene}{f' ({version})' * (version > 0)}.jpg",
    "in front": lambda scene, version: f"{('', 'Copy of ', 'copy_of_', 'aug_3_')[version]}{scene}x.jpg",
}
"""How versions of one photo are called."""


@pytest.mark.parametrize("kind", NAMES)
def test_names_of_versions_make_families(kind: str, four_of_each: Pictures) -> None:
    names = [NAMES[kind](number, version) for number in range(40) for version in range(4)]
    first = found(names, four_of_each)[0]
    expected = [tuple(range(4 * number, 4 * number + 4)) for number in range(40)]
    assert sorted(first.members) == expected
    assert first.n_closer >= families.MIN_SHARE * first.n_asked and first.n_asked >= 30


@pytest.mark.parametrize("kind", NAMES)
def test_the_same_names_dealt_out_anew_mean_nothing(kind: str, four_of_each: Pictures) -> None:
    names = [NAMES[kind](number, version) for number in range(40) for version in range(4)]
    for seed in range(5):
        dealt = np.random.default_rng(seed).permutation(len(names))
        assert found([names[place] for place in dealt], four_of_each) == []


@pytest.mark.parametrize(
    "name", ["cat_{0:03}.jpg", "cat ({0}).jpg", "{0}.jpg", "IMG_20240101_{0}.jpg", "{1}.jpg", "frame{0}.png"]
)
def test_names_that_only_number_the_photos_mean_nothing(name: str, four_of_each: Pictures) -> None:
    """Though neighbours are versions of one scene."""
    assert found([name.format(number, hexadecimal(number, 20)) for number in range(160)], four_of_each) == []


def test_two_kinds_of_photos_in_a_class_that_are_numbered_each_are_no_families() -> None:
    """Dark ones from one camera, light ones from another."""
    scenes = [scene(number) for number in range(60)]
    mixed = [ImageEnhance.Brightness(one).enhance(0.3) for one in scenes[:30]] + scenes[30:]
    names = [f"{'night' if number < 30 else 'day'}_{number:02}.jpg" for number in range(60)]
    assert list(families.find(names, np.zeros(60, np.int32), pictures_of(mixed))) == []


def test_names_that_begin_anew_in_each_folder(four_of_each: Pictures) -> None:
    """img_0 of one folder is not that of another: only within a folder do names mean something."""
    names = [
        f"{'ab'[number // 20]}/img{number // 2 % 10}{'xy'[number % 2]}_{version}.jpg"
        for number in range(40)
        for version in range(4)
    ]
    [one] = found(names, four_of_each)
    assert set(one.members) == {tuple(range(4 * number, 4 * number + 4)) for number in range(40)}


def test_a_few_photos_prove_nothing() -> None:
    """Seven scenes of two: too few threes for an error of one in a thousand."""
    few = pictures_of(versions(7, 2))
    names = [f"s{number}_{version}.jpg" for number in range(7) for version in range(2)]
    assert list(families.find(names, np.zeros(14, np.int32), few)) == []


def test_a_member_and_the_one_before_are_a_pair() -> None:
    pairs = Families("", ((0, 3, 5), (2, 4)), 1, 1).pairs()
    assert pairs.tolist() == [[3, 0], [5, 3], [4, 2]] and pairs.dtype == np.int64
    assert Families("", (), 0, 0).pairs().shape == (0, 2)


def test_no_photos() -> None:
    nothing = np.empty((0, 32, 32))
    none = Pictures(nothing.astype(np.uint8), nothing.astype(bool), np.empty((0, 3), np.float32))
    assert list(families.find([], np.empty(0, np.int32), none)) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", ["animals", "flowers", "clothing"])
def test_names_of_real_photos_mean_nothing(name: str, shared_data: Path) -> None:
    """Numbers, an index of Flickr, identifiers."""
    from conftest import audited

    from headstart.sources import listing

    kinds = [finding.kind for finding in audited(listing.load(shared_data / name)).findings]
    assert "family" not in kinds
