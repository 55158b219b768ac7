"""Views keep what they promise, and those that change a label are found."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont
from sklearn.datasets import load_digits

from headstart.networks import backbones, engine
from headstart.networks.engine import Engine
from headstart.results.comparison import Effect
from headstart.training import augmentation

SIZE_PX = 96


@pytest.fixture
def picture() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)


@pytest.mark.parametrize("name", augmentation.OPERATIONS)
def test_a_view_is_a_new_picture_of_the_same_kind(name: str, picture: np.ndarray) -> None:
    before = picture.copy()
    operation, _ = augmentation.OPERATIONS[name]
    view = operation(picture, np.random.default_rng(2))
    again = operation(picture, np.random.default_rng(2))
    assert view.shape == picture.shape
    assert view.dtype == np.uint8
    assert np.array_equal(picture, before)
    assert np.array_equal(view, again)
    assert not np.array_equal(view, picture)


def test_mirror_swaps_left_and_right(picture: np.ndarray) -> None:
    assert np.array_equal(augmentation.mirror(picture, np.random.default_rng(0)), np.fliplr(picture))


def test_shift_moves_by_an_eighth_at_most_and_changes_no_scale(picture: np.ndarray) -> None:
    random = np.random.default_rng(0)
    for _ in range(20):
        view = augmentation.shift(picture, random)
        # The middle of the view stands, pixel for pixel, somewhere near the middle of the picture.
        middle = view[8:24, 8:24]
        places = [(y, x) for y in range(4, 13) for x in range(4, 13)]
        assert any(np.array_equal(picture[y : y + 16, x : x + 16], middle) for y, x in places)


def test_mirror_is_applied_to_half_of_the_views(picture: np.ndarray) -> None:
    random = np.random.default_rng(0)
    views = [augmentation.view(picture, ("mirror",), random) for _ in range(400)]
    mirrored = sum(not np.array_equal(view, picture) for view in views)
    assert 160 < mirrored < 240


@pytest.mark.parametrize(
    ("plain_loss", "view_loss", "is_harmless"),
    [(0.6, 0.74, True), (0.6, 0.76, False), (0.01, 0.10, True), (0.01, 0.12, False), (0.5, 0.4, True)],
)
def test_harm_is_a_quarter_more_loss_and_a_tenth_of_a_nat(
    plain_loss: float, view_loss: float, is_harmless: bool
) -> None:
    assert augmentation.is_harmless(Effect("mirror", plain_loss, view_loss)) is is_harmless


@pytest.fixture(scope="module")
def compiled() -> Engine:
    return engine.open_backbone(backbones.find("mobilenet_v2"), SIZE_PX)


def harmless(compiled: Engine, pictures: list[np.ndarray], labels: list[int]) -> dict[str, bool]:
    stacked = np.stack(pictures)
    effects = augmentation.check(
        compiled, stacked, compiled(stacked), np.array(labels, np.int32), l2=1.0, seed=0
    )
    return {one.operation: augmentation.is_harmless(one) for one in effects}


def upscaled(values: np.ndarray) -> np.ndarray:
    return np.asarray(Image.fromarray(values.astype(np.uint8)).convert("RGB").resize((SIZE_PX, SIZE_PX)))


def test_digits_are_not_mirrored(compiled: Engine) -> None:
    images, labels = load_digits().images[:200], load_digits().target[:200]
    found = harmless(compiled, [upscaled(image * 15) for image in images], labels.tolist())
    assert not found["mirror"]


def letter(text: str, random: np.random.Generator) -> np.ndarray:
    """Print a letter somewhere on paper of a random shade."""
    page = Image.new("RGB", (SIZE_PX, SIZE_PX), tuple(random.integers(180, 256, 3).tolist()))
    place = tuple(random.integers(10, 40, 2).tolist())
    ImageDraw.Draw(page).text(place, text, (0, 0, 0), ImageFont.load_default(int(random.integers(35, 50))))
    return np.asarray(page)


def test_printed_letters_are_not_mirrored_but_may_be_moved(compiled: Engine) -> None:
    random = np.random.default_rng(0)
    labels = [number % 2 for number in range(120)]
    found = harmless(compiled, [letter("bd"[label], random) for label in labels], labels)
    assert not found["mirror"]
    assert found["shift"]
    assert found["lighting"]


def test_what_helps_on_photos_of_animals_is_kept(compiled: Engine, shared_data: Path) -> None:
    from headstart.pictures import pixels

    files, labels = [], []
    for label, name in enumerate(("cat", "panda", "snake")):
        chosen = sorted((shared_data / "animals" / name).iterdir())[:60]
        files += chosen
        labels += [label] * len(chosen)
    pictures = list(pixels.read_many(files, SIZE_PX, "squash"))
    assert harmless(compiled, pictures, labels) == dict.fromkeys(augmentation.OPERATIONS, True)
