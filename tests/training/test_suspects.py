"""Labels planted wrong are found, and no photo is judged by a head that has seen it or a copy of it."""

import functools
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.datasets import load_digits

from headstart.base import filenames
from headstart.networks import backbones, engine
from headstart.networks.features import extract
from headstart.networks.vectors import Vectors
from headstart.photos import splits
from headstart.photos.splits import IN_EVERY_FIT
from headstart.results.suspect import Suspect
from headstart.statistics import calibration
from headstart.statistics.answers import Answers
from headstart.statistics.metrics import softmax
from headstart.training import suspects
from headstart.training.ridge import Ridge

Floats = NDArray[np.float32]
Labels = NDArray[np.int32]

NAMES = tuple(f"class {number}" for number in range(10))


def digits() -> tuple[Floats, Labels]:
    """1,797 handwritten digits, 8 x 8 grey levels each."""
    values, labels = load_digits(return_X_y=True)
    return values.astype(np.float32), labels.astype(np.int32)


def flipped(labels: Labels, n: int, n_classes: int, seed: int) -> tuple[Labels, NDArray[np.intp]]:
    """Labels of which n are those of another class, and which."""
    random = np.random.default_rng(seed)
    chosen = random.choice(len(labels), n, replace=False)
    planted = labels.copy()
    planted[chosen] = (labels[chosen] + random.integers(1, n_classes, n)) % n_classes
    return planted, chosen


def judged(features: Floats, labels: Labels, groups: NDArray[np.int_] | None = None) -> Floats:
    """What heads make of photos that they were not fitted on."""
    rows = np.arange(len(labels))
    photos = Ridge(Vectors((features,)), labels, np.ones(len(labels), np.float32), int(labels.max()) + 1)
    return photos.fit(rows, rows if groups is None else groups).left_out


@functools.cache
def clothing(shared_data: Path) -> tuple[tuple[Floats, Labels], tuple[Floats, Labels]]:
    """Features by mobilenet_v2, and labels, of 3,068 photos of clothing to train on and 341 to choose by."""
    folder, row = shared_data / "clothing", backbones.find("mobilenet_v2")
    classes = sorted(path.name for path in (folder / "train").iterdir())
    parts = [
        [
            (file, label)
            for label, name in enumerate(classes)
            for file in sorted((folder / part / name).iterdir())
        ]
        for part in ("train", "validation")
    ]
    frozen = engine.open_backbone(row)
    train, validation = (
        (
            np.stack(list(extract(frozen, [file for file, _ in part], "squash"))),
            np.array([label for _, label in part], np.int32),
        )
        for part in parts
    )
    return train, validation


def found(ranked: tuple[Suspect, ...], planted: NDArray[np.intp]) -> int:
    return len({int(one.path) for one in ranked} & set(planted.tolist()))


@given(
    labels=st.lists(st.integers(0, 4), min_size=1, max_size=60),
    n_groups=st.integers(1, 40),
    n_folds=st.integers(2, 6),
    seed=st.integers(0, 5),
)
def test_every_class_has_photos_outside_every_fold_and_groups_stay_whole(
    labels: list[int], n_groups: int, n_folds: int, seed: int
) -> None:
    given_labels = np.array(labels)
    groups = np.random.default_rng(seed).integers(n_groups, size=len(labels))
    fold_of = splits.fold_numbers(given_labels, groups, n_folds=n_folds, seed=seed)
    assert all(len(set(fold_of[groups == one].tolist())) == 1 for one in groups)
    assert set(fold_of.tolist()) <= {IN_EVERY_FIT, *range(n_folds)}
    for fold in range(n_folds):
        assert set(given_labels[fold_of != fold].tolist()) == set(labels)
    assert np.array_equal(fold_of, splits.fold_numbers(given_labels, groups, n_folds=n_folds, seed=seed))


def test_folds_have_as_many_of_each_class() -> None:
    labels = np.repeat(np.arange(4), [100, 53, 11, 2])
    fold_of = splits.fold_numbers(labels, np.arange(len(labels)), n_folds=5, seed=3)
    counts = np.array([np.bincount(fold_of[labels == one], minlength=5) for one in range(4)])
    assert np.ptp(counts, axis=1).max() <= 1
    assert np.ptp(counts.sum(axis=0)) <= 1
    other = splits.fold_numbers(labels, np.arange(len(labels)), n_folds=5, seed=4)
    assert (fold_of != other).mean() > 0.5


def test_a_copy_gives_nothing_away() -> None:
    # Noise with labels drawn by lot, each photo there twice: whoever has seen the copy knows the label.
    random = np.random.default_rng(0)
    features = np.repeat(random.normal(size=(150, 200)), 2, axis=0).astype(np.float32)
    labels = np.repeat(random.integers(3, size=150), 2).astype(np.int32)
    apart, torn = (judged(features, labels, groups) for groups in (np.arange(300) // 2, np.arange(300)))
    assert (torn.argmax(axis=1) == labels).mean() > 0.7
    assert (apart.argmax(axis=1) == labels).mean() < 0.45


def test_does_not_change_its_inputs() -> None:
    features, labels = digits()
    features, labels = features[:200].copy(), labels[:200].copy()
    before = features.copy(), labels.copy()
    got = judged(features, labels)
    kept = got.copy()
    suspects.rank(labels, got, NAMES, [str(number) for number in range(200)])
    assert np.array_equal(features, before[0])
    assert np.array_equal(labels, before[1])
    assert np.array_equal(got, kept)


def test_ranking_worked_by_hand() -> None:
    # Mean probability of the label: 0.68 of the four a's and (0.9 + 0.15 + 0.35) / 3 = 0.47 of the three b's.
    # The other class is the likeliest of photos 3, 5 and 6, but 6 gives a only 0.65, less than 0.68. So two
    # labels are wrong, and the least probabilities of a label are those of 3 and 5.
    p_a = np.array([0.92, 0.9, 0.7, 0.2, 0.1, 0.85, 0.65], np.float32)
    probabilities = np.stack([p_a, 1 - p_a], axis=1)
    labels = np.array([0, 0, 0, 0, 1, 1, 1])
    got = suspects.rank(labels, probabilities, ("a", "b"), [f"{number}.jpg" for number in range(7)])
    assert [one.row() for one in got] == [
        ("5.jpg", "b", "a", "0.1500", "0.8500"),
        ("3.jpg", "a", "b", "0.2000", "0.8000"),
    ]
    assert len(got[0].row()) == len(filenames.SUSPECTS_COLUMNS)


def test_labels_that_are_believed_are_not_suspected() -> None:
    labels = np.array([0, 1, 2, 0])
    assert suspects.rank(labels, np.eye(3, dtype=np.float32)[labels], ("a", "b", "c"), "wxyz") == ()
    assert suspects.rank(labels, np.full((4, 3), 1 / 3, np.float32), ("a", "b", "c"), "wxyz") == ()


def test_a_class_with_no_photo_is_never_suggested_for_certain() -> None:
    probabilities = np.array([[0.1, 0.2, 0.7], [0.6, 0.2, 0.2], [0.1, 0.8, 0.1]], np.float32)
    assert suspects.rank(np.array([0, 0, 1]), probabilities, ("a", "b", "never"), "xyz") == ()


@pytest.mark.parametrize("seed", range(3))
def test_planted_labels_come_first(seed: int) -> None:
    features, labels = digits()
    planted, chosen = flipped(labels, 40, 10, seed)
    paths = [str(number) for number in range(len(labels))]
    ranked = suspects.rank(planted, judged(features, planted), NAMES, paths)
    assert found(ranked[:80], chosen) >= 30
    of_planted = [one for one in ranked if int(one.path) in chosen]
    assert sum(one.suggested == NAMES[labels[int(one.path)]] for one in of_planted) >= 29
    assert len(ranked) < 120
    assert msgspec.json.decode(msgspec.json.encode(ranked), type=tuple[Suspect, ...]) == ranked


@pytest.mark.parametrize("seed", range(3))
def test_agrees_with_cleanlab(seed: int) -> None:
    cleanlab = pytest.importorskip("cleanlab")
    features, labels = digits()
    planted, _ = flipped(labels, 40 * (seed + 1), 10, seed)
    probabilities = judged(features, planted)
    expected = cleanlab.filter.find_label_issues(
        planted,
        probabilities,
        filter_by="low_self_confidence",
        return_indices_ranked_by="self_confidence",
        n_jobs=1,
    )
    ranked = suspects.rank(planted, probabilities, NAMES, [str(number) for number in range(len(labels))])
    assert [int(one.path) for one in ranked] == expected.tolist()
    quality = cleanlab.rank.get_label_quality_scores(planted, probabilities, method="self_confidence")
    assert quality[expected].tolist() == pytest.approx([one.p_label for one in ranked])


def drawn(n: int, n_classes: int, separation: float, seed: int) -> tuple[Floats, Labels]:
    """Probabilities that are right as often as they say, and labels: Gaussian classes, Bayes's rule."""
    random = np.random.default_rng(seed)
    labels = random.integers(n_classes, size=n).astype(np.int32)
    logits = separation**0.5 * random.normal(size=(n, n_classes))
    logits[np.arange(n), labels] += separation
    return softmax(logits.astype(np.float32)), labels


def asked(labels: Labels, probabilities: Floats) -> suspects.Judgement:
    rows = np.arange(len(labels))
    names, paths = [f"class {one}" for one in range(probabilities.shape[1])], [str(row) for row in rows]
    return suspects.judge([Answers("tiny/features", rows, probabilities)], labels, names, paths)


@pytest.mark.parametrize(("n_classes", "separation"), [(3, 2.0), (10, 5.0), (100, 6.0)])
def test_as_many_right_labels_look_wrong_as_expected(n_classes: int, separation: float) -> None:
    found = [
        asked(labels, p) for p, labels in (drawn(2000, n_classes, separation, seed) for seed in range(6))
    ]
    counts = np.array([len(one.suspects) for one in found])
    expected = np.array([one.expected.n_expected for one in found])
    assert counts.mean() > 20
    assert abs(counts.mean() - expected.mean()) < 0.1 * expected.mean()
    assert not any(one.is_sign for one in found)
    right = np.mean(
        [(p.argmax(1) == y).mean() for p, y in (drawn(2000, n_classes, separation, s) for s in range(6))]
    )
    assert np.mean([one.expected.accuracy for one in found]) == pytest.approx(right, abs=0.01)


@pytest.mark.parametrize("share", [0.02, 0.05, 0.1])
@pytest.mark.parametrize(("n_classes", "separation"), [(3, 5.0), (10, 5.0), (100, 8.0)])
def test_as_many_more_as_were_planted(n_classes: int, separation: float, share: float) -> None:
    probabilities, labels = drawn(4000, n_classes, separation, seed=1)
    planted, chosen = flipped(labels, int(4000 * share), n_classes, seed=2)
    got = asked(planted, probabilities)
    assert got.is_sign or share < 0.05
    excess = len(got.suspects) - got.expected.n_expected
    chance = 2 * got.expected.n_expected**0.5
    assert excess == pytest.approx(len(chosen), abs=0.2 * len(chosen) + chance)
    # The accuracy that is told is that on right labels.
    assert got.expected.accuracy == pytest.approx((probabilities.argmax(axis=1) == labels).mean(), abs=0.02)


def test_wrong_labels_do_not_move_the_temperature() -> None:
    probabilities, labels = drawn(4000, 5, 5.0, seed=3)
    planted, _ = flipped(labels, 400, 5, seed=4)
    for truth in (0.4, 1.0, 2.0):
        distorted = calibration.apply(probabilities, 1 / truth)
        assert suspects.honest_temperature(planted, distorted) == pytest.approx(truth, rel=0.08)
    assert calibration.temperature(probabilities, planted) > 1.5


@pytest.mark.parametrize("seed", range(3))
def test_of_digits_as_many_as_expected_and_as_many_more_as_planted(seed: int) -> None:
    features, labels = digits()
    honest = asked(labels, judged(features, labels))
    assert not honest.is_sign
    planted, chosen = flipped(labels, 90, 10, seed)
    got = asked(planted, judged(features, planted))
    assert got.is_sign
    assert len(got.suspects) - got.expected.n_expected == pytest.approx(found(got.suspects, chosen), rel=0.2)
    assert found(got.suspects, chosen) > 60


def test_the_best_of_those_who_answered_for_the_most_photos_is_asked() -> None:
    probabilities, labels = drawn(400, 4, 4.0, seed=5)
    whole, rows = np.arange(400), np.arange(300, 400)
    sure = np.eye(4, dtype=np.float32)[labels]
    worse = Answers("worse/features", whole, calibration.apply(probabilities, 3.0))
    best, part = Answers("best/features", whole, probabilities), Answers("part/finetune", rows, sure[rows])
    paths = [str(row) for row in whole]
    got = suspects.judge([worse, part, best], labels, NAMES[:4], paths)
    assert got.expected.by == "best/features"
    assert got.suspects == suspects.rank(labels, probabilities, NAMES[:4], paths)
    assert got == suspects.judge([worse, part, best], labels, NAMES[:4], paths)
    assert msgspec.json.decode(msgspec.json.encode(got), type=suspects.Judgement) == got


def test_answers_for_a_part_are_those_of_its_photos() -> None:
    probabilities, labels = drawn(400, 4, 3.0, seed=6)
    rows = np.arange(1, 400, 2)
    paths = [str(row) for row in range(400)]
    got = suspects.judge([Answers("odd", rows, probabilities[rows])], labels, NAMES[:4], paths)
    assert got.expected.n_images == 200
    assert got.suspects
    assert all(int(one.path) % 2 and one.label == NAMES[labels[int(one.path)]] for one in got.suspects)


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.0, 0.05, 0.1])
def test_of_clothing_as_many_more_as_were_planted(shared_data: Path, share: float) -> None:
    (train, train_labels), (validation, validation_labels) = clothing(shared_data)
    features, labels = np.concatenate([train, validation]), np.concatenate([train_labels, validation_labels])
    planted, chosen = flipped(labels, int(share * len(labels)), 10, seed=1)
    got = asked(planted, judged(features, planted))
    n_found = found(got.suspects, chosen)
    assert got.is_sign == (share > 0)
    assert abs(len(got.suspects) - got.expected.n_expected - n_found) < 0.25 * n_found + 40


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_planted_labels_of_clothing_are_found(shared_data: Path, seed: int) -> None:
    (train, train_labels), (validation, validation_labels) = clothing(shared_data)
    features, labels = np.concatenate([train, validation]), np.concatenate([train_labels, validation_labels])
    planted, chosen = flipped(labels, 40, 10, seed)
    ranked = suspects.rank(
        planted, judged(features, planted), NAMES, [str(number) for number in range(len(labels))]
    )
    assert found(ranked[:80], chosen) >= 28
