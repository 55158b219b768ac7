from dataclasses import replace
from typing import Any

import numpy as np

from headstart.photos.shortcuts import Shortcut, Traits, find

NAMES = ("cat", "dog", "newt")


def traits_of(labels: np.ndarray, **given: Any) -> Traits:
    """Photos whose properties say nothing of their class but for what is given."""
    random = np.random.default_rng(0)
    count = len(labels)
    means = random.normal(120, 30, (count, 4)).astype(np.float32)
    plain = Traits(
        sizes_px=random.integers(200, 400, (count, 2)).astype(np.int32),
        n_bytes=random.integers(8_000, 40_000, count),
        formats=["JPEG"] * count,
        borders=means,
        middles=means + random.normal(0, 20, (count, 4)).astype(np.float32),
    )
    return replace(plain, **given)


def labels_of(*sizes: int) -> np.ndarray:
    return np.repeat(np.arange(len(sizes), dtype=np.int32), sizes)


def test_photos_that_have_nothing_to_tell_them_by() -> None:
    for seed_labels in (labels_of(100, 60, 40), labels_of(1000, 25, 25)):
        assert find(traits_of(seed_labels), seed_labels, NAMES) == ()


def test_a_class_of_another_size() -> None:
    labels = labels_of(60, 50, 40)
    sizes = traits_of(labels).sizes_px
    sizes[labels == 1] = (224, 224)
    found = find(traits_of(labels, sizes_px=sizes), labels, NAMES)
    assert found == (Shortcut("dog", "image size", 1.0, 0.0, "224 x 224 pixels", found[0].others),)


def test_a_class_of_another_type() -> None:
    labels = labels_of(60, 50, 40)
    formats = ["PNG" if label == 2 else "JPEG" for label in labels]
    formats[0], formats[149] = "PNG", "JPEG"
    found = find(traits_of(labels, formats=formats), labels, NAMES)
    assert found == (Shortcut("newt", "file type", 39 / 40, 1 / 110, "PNG", "JPEG"),)


def test_a_class_saved_at_another_quality() -> None:
    labels = labels_of(60, 50, 40)
    traits = traits_of(labels, sizes_px=np.full((150, 2), 100, np.int32))
    n_bytes = np.where(labels == 0, traits.n_bytes + 40_000, traits.n_bytes)
    (found,) = find(replace(traits, n_bytes=n_bytes), labels, NAMES)
    assert (found.class_name, found.trait) == ("cat", "bytes per pixel")
    assert float(found.typical) > 4 > float(found.others)


def test_a_class_with_a_border_of_its_own() -> None:
    labels = labels_of(60, 50, 40)
    traits = traits_of(labels)
    traits.borders[labels == 2] = (255, 254, 255, 0.5)
    (found,) = find(traits, labels, NAMES)
    assert (found.class_name, found.trait) == ("newt", "border")
    assert found.typical == "red 255, green 254, blue 255, spread 0"


def test_a_border_that_is_as_the_whole_picture_is_no_shortcut() -> None:
    """Forests are green at the border because they are green all over."""
    labels = labels_of(60, 50, 40)
    traits = traits_of(labels)
    for means in (traits.borders, traits.middles):
        means[labels == 2, 1] += 300
    assert find(traits, labels, NAMES) == ()


def test_a_size_of_file_that_comes_from_what_is_on_the_photos_is_no_shortcut() -> None:
    """Pictures of more contrast take more bytes."""
    labels = labels_of(60, 50, 40)
    traits = traits_of(labels, sizes_px=np.full((150, 2), 100, np.int32))
    n_bytes = np.where(labels == 0, traits.n_bytes + 40_000, traits.n_bytes)
    traits.middles[labels == 0, 3] += 300
    assert find(replace(traits, n_bytes=n_bytes), labels, NAMES) == ()


def test_of_two_classes_the_first_is_told() -> None:
    labels = labels_of(60, 50)
    formats = ["PNG" if label else "JPEG" for label in labels]
    found = find(traits_of(labels, formats=formats), labels, NAMES[:2])
    assert found == (Shortcut("cat", "file type", 1.0, 0.0, "JPEG", "PNG"),)


def test_few_photos_tell_nothing() -> None:
    labels = labels_of(60, 50, 19)
    formats = ["PNG" if label == 2 else "JPEG" for label in labels]
    assert find(traits_of(labels, formats=formats), labels, NAMES) == ()
    assert find(traits_of(labels[:0]), labels[:0], NAMES) == ()


def test_of_many_photos_some_are_asked_about() -> None:
    labels = labels_of(30_000, 3_000, 30)
    formats = ["PNG" if label == 2 else "JPEG" for label in labels]
    (found,) = find(traits_of(labels, formats=formats), labels, NAMES)
    assert (found.class_name, found.recall, found.false_rate) == ("newt", 1.0, 0.0)
