"""Novelty of real digits and real photos, and of points whose centres are known."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.spatial.distance import cdist
from sklearn.datasets import load_digits
from sklearn.metrics import roc_auc_score

from headstart.networks import backbones, engine, features, novelty
from headstart.photos.splits import IN_EVERY_FIT, fold_numbers
from headstart.statistics import calibration

Floats = NDArray[np.float32]


def clouds(*sizes: int, seed: int = 0) -> tuple[Floats, NDArray[np.int64], Floats]:
    """Photos close to so many directions, their classes, and the directions."""
    random = np.random.default_rng(seed)
    directions = np.linalg.qr(random.normal(size=(32, len(sizes))))[0].T
    labels = np.repeat(np.arange(len(sizes)), sizes)
    lengths = random.uniform(1, 9, (len(labels), 1))
    vectors = lengths * (directions[labels] + random.normal(0, 0.01, (len(labels), 32)))
    return vectors.astype(np.float32), labels, directions.astype(np.float32)


def test_references_lie_where_the_photos_of_each_class_do() -> None:
    vectors, labels, directions = clouds(300, 4, 1)
    found = novelty.references(vectors, labels)
    assert found.dtype == np.float32
    assert found.shape == (10 + 4 + 1, 32)
    assert np.abs(np.linalg.norm(found, axis=1) - 1).max() < 1e-6
    assert (found @ directions.T).argmax(axis=1).tolist() == [0] * 10 + [1] * 4 + [2]
    assert novelty.scores(vectors, found).max() < 0.01


def test_a_class_of_two_kinds_has_references_for_both() -> None:
    vectors, _, directions = clouds(90, 30)
    found = novelty.references(vectors, np.zeros(120, int))
    assert novelty.scores(directions, found).max() < 0.01
    assert novelty.scores(directions.sum(axis=0, keepdims=True), found)[0] > 0.25


def test_many_classes_share_the_references() -> None:
    vectors, labels, _ = clouds(*[6] * 30)
    assert len(novelty.references(vectors, labels)) == 30 * 6  # 200 // 30 = 6 each
    many = np.random.default_rng(0).normal(size=(600, 8)).astype(np.float32)
    assert len(novelty.references(many, np.arange(600) // 2)) == 300


def test_photos_that_are_all_one_are_one_reference() -> None:
    same = np.ones((50, 4), np.float32)
    assert novelty.references(same, np.zeros(50, int)).tolist() == [[0.5] * 4]


def test_a_score_is_the_cosine_distance_to_the_nearest_reference() -> None:
    random = np.random.default_rng(0)
    vectors, references = random.normal(size=(2, 40, 16)).astype(np.float32)
    references /= np.linalg.norm(references, axis=1, keepdims=True)
    found = novelty.scores(vectors, references)
    assert np.abs(found - cdist(vectors, references, "cosine").min(axis=1)).max() < 1e-6
    assert np.abs(novelty.scores(7 * vectors, references) - found).max() < 1e-6
    assert novelty.scores(np.zeros((1, 16), np.float32), references).tolist() == [1.0]


def test_a_photo_is_scored_by_references_from_the_other_folds() -> None:
    vectors, labels, _ = clouds(20, 20, 1)
    vectors[0] = 100 * np.eye(32)[0]
    fold_of = fold_numbers(labels, np.arange(41))
    assert (fold_of == IN_EVERY_FIT).nonzero()[0].tolist() == [40]
    found = novelty.out_of_fold(vectors, labels, fold_of)
    assert found.shape == (40,)
    others = fold_of != fold_of[0]
    assert found[0] == novelty.scores(vectors[:1], novelty.references(vectors[others], labels[others]))[0]
    assert found[0] > 0.3  # nothing else is like it
    assert found[1:].max() < 0.01


def test_digits_unlike_those_trained_on_are_refused() -> None:
    vectors, labels = load_digits(return_X_y=True)
    vectors, is_known = vectors.astype(np.float32), labels < 5
    known, novel, labels = vectors[is_known], vectors[~is_known], labels[is_known]
    order = np.random.default_rng(0).permutation(len(known))
    train, test = order[:600], order[600:]
    threshold = calibration.refusal(
        novelty.out_of_fold(known[train], labels[train], fold_numbers(labels[train], np.arange(600))), 0.05
    )
    assert threshold is not None
    references = novelty.references(known[train], labels[train])
    scores = [novelty.scores(some, references) for some in (known[test], novel)]
    is_novel = np.repeat([False, True], [len(one) for one in scores])
    assert roc_auc_score(is_novel, np.concatenate(scores)) > 0.95
    refused = [(one > threshold.threshold).mean() for one in scores]
    assert refused[0] < 0.08  # 5%, and two standard deviations for 301 photos
    assert refused[1] > 0.7


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mobilenet_v2", "efficientnet_lite0"])
def test_garments_are_known_and_animals_refused(name: str, shared_data: Path) -> None:
    garments = sorted((shared_data / "clothing" / "train").glob("*/*.jpg"))[::4]
    tested = sorted((shared_data / "clothing" / "test").glob("*/*.jpg"))
    animals = sorted((shared_data / "animals").glob("*/*.jpg"))[::10]
    row = backbones.find(name)
    frozen = engine.open_backbone(row)
    vectors, *others = (
        np.stack(list(features.extract(frozen, files, "squash"))) for files in (garments, tested, animals)
    )
    labels = np.unique([file.parent.name for file in garments], return_inverse=True)[1]
    fold_of = fold_numbers(labels, np.arange(len(labels)))
    threshold = calibration.refusal(novelty.out_of_fold(vectors, labels, fold_of), 0.05)
    assert threshold is not None
    references = novelty.references(vectors, labels)
    known, novel = (novelty.scores(some, references) > threshold.threshold for some in others)
    assert 0.02 < known.mean() < 0.08
    assert novel.mean() > 0.98
