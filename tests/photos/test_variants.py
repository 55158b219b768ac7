import numpy as np

from headstart.photos import findings, variants
from headstart.photos.groups import numbered


def features_of(n_pictures: int, n_versions: int, spread: float, seed: int = 0) -> np.ndarray:
    """Vectors around one of each picture, the versions of a picture one after the other."""
    random = np.random.default_rng(seed)
    pictures = random.standard_normal((n_pictures, 64)).repeat(n_versions, axis=0)
    return np.asarray(pictures + spread * random.standard_normal(pictures.shape), dtype=np.float32)


def test_altered_versions_of_a_few_pictures_are_found() -> None:
    features = features_of(30, 6, 0.4) * np.linspace(0.1, 9, 64, dtype=np.float32) + 50
    before, labels = features.copy(), (np.arange(180) // 90).astype(np.int32)
    found = variants.find(features, labels, numbered(range(180)))
    assert found is not None and found.labels == (0, 1)
    assert found.groups.tolist() == np.arange(30).repeat(6).tolist()
    assert found.is_variant().all() and (features == before).all()
    late, early = found.pairs.T
    assert (late // 6 == early // 6).all() and (late > early).all()


def test_photos_as_they_were_taken_are_no_versions() -> None:
    labels = np.zeros(180, np.int32)
    assert variants.find(features_of(180, 1, 0), labels, numbered(range(180))) is None


def test_a_class_is_told_from_half_of_it_on() -> None:
    """Of each class 60 photos; 29 or 30 of them are two versions each of a picture, or one more."""
    for n_versions, is_told in ((28, False), (30, True)):
        altered = features_of(n_versions // 2, 2, 0.3)
        plain = features_of(60 - n_versions + 60, 1, 0, seed=1)
        features, labels = np.concatenate([altered, plain]), (np.arange(120) // 60).astype(np.int32)
        found = variants.find(features, labels, numbered(range(120)))
        assert (found.labels if found else ()) == ((0,) if is_told else ())


def test_what_is_known_to_belong_together_is_not_told_again() -> None:
    labels = np.zeros(180, np.int32)
    assert variants.find(features_of(30, 6, 0.4), labels, numbered(np.arange(180) // 6)) is None


def test_versions_are_sought_within_a_class() -> None:
    labels = np.tile(np.array([0, 1], np.int32), 40)
    assert variants.find(features_of(40, 2, 0.3), labels, numbered(range(80))) is None


def test_few_photos() -> None:
    assert variants.find(np.empty((0, 4), np.float32), np.empty(0, np.int32), numbered([])) is None
    assert variants.find(np.ones((3, 4), np.float32), np.zeros(3, np.int32), numbered(range(3))) is None


def test_what_is_said_of_versions() -> None:
    labels = np.array([0] * 12 + [1] * 12, np.int32)
    features = np.concatenate([features_of(2, 6, 0.3), features_of(12, 1, 0, seed=1)])
    found = variants.find(features, labels, numbered(range(24)))
    assert found is not None
    paths = [f"{'ab'[label]}/{number:02}.jpg" for number, label in enumerate(labels)]
    told = findings.variants(paths, labels, ("a", "b"), found, "mobilenet_v2")
    assert told.kind == "variant" and told.paths == tuple(paths[:12])
    assert told.detail == (
        "12 photos of 'a' seem to be altered versions of 2 pictures, turned, shifted, cropped or lit "
        "otherwise, such as a/00.jpg, a/01.jpg, a/02.jpg, a/03.jpg, a/04.jpg and 1 more. Found by the "
        "features of mobilenet_v2."
    )
    assert told.advice == (
        "Look at them. Scores flatter where versions of one picture stand in several parts: say what belongs "
        "together with --group-by, or have headstart check write a table of it with --fix group."
    )
