"""The sample is the real one, pulled once into the user's cache."""

import pytest
from PIL import Image

from headstart.base.errors import NoSuchData
from headstart.base.progress import Progress
from headstart.storage.samples import resolve


def test_textile_is_2000_fabric_pictures_in_three_classes() -> None:
    photos = resolve("sample:textile", Progress())
    counts = {folder.name: len(list(folder.glob("*.jpg"))) for folder in photos.iterdir()}
    # The counts that the wheel's own description gives.
    assert counts == {"nominal": 1000, "local": 500, "global": 500}
    with Image.open(photos / "nominal" / "textile_1000.jpg") as image:
        assert image.size == (250, 250)
    assert (photos.parent / "LICENSE").read_text().startswith("MIT License")


def test_an_unknown_sample_gives_the_known_ones() -> None:
    with pytest.raises(NoSuchData) as caught:
        resolve("sample:textiles", Progress())
    assert str(caught.value) == "No sample is named 'textiles'.\nThe samples are: sample:textile."
