"""No photo is answered for by a head that has seen it or one of its group, and nothing is fitted twice."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from headstart.base.progress import Progress, Stopwatch
from headstart.networks import backbones, engine, novelty
from headstart.networks.features import Extractor, Together
from headstart.networks.vectors import Vectors
from headstart.photos import splits
from headstart.photos.splits import Fold, Lesson, Part
from headstart.statistics import metrics
from headstart.storage.store import Store
from headstart.training import ridge
from headstart.training.heads import Heads
from headstart.training.ridge import Ridge

TINY = backbones.find("tiny")
NAMES = ("green", "red")


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path / "cache"))
    with Store(Progress()) as opened:
        yield opened


def part(photos: Path, groups: np.ndarray | None = None) -> Part:
    """Twenty green photos, then twenty red ones; three of the red ones are called green."""
    files = tuple(sorted(photos.rglob("*.jpg")))
    digests = tuple(hashlib.sha256(file.read_bytes()).hexdigest() for file in files)
    labels = np.array([file.parent.name == "red" for file in files], np.int32)
    labels[[25, 30, 35]] = 0
    numbers = (np.arange(len(files)) if groups is None else groups).astype(np.int32)
    weights = np.linspace(0.5, 1.5, len(files), dtype=np.float32)
    return Part(tuple(file.name for file in files), files, digests, numbers, labels, weights)


def lesson(photos: Part, n_folds: int = 1) -> Lesson:
    """Every fifth photo is to choose by, or each in its turn."""
    turn = np.arange(len(photos.files)) % (n_folds if n_folds > 1 else 5)
    chosen = range(n_folds) if n_folds > 1 else (3,)
    folds = tuple(Fold(np.flatnonzero(turn != one), np.flatnonzero(turn == one)) for one in chosen)
    return Lesson(photos, folds, NAMES)


def made(store: Store, given: Lesson, features: str = "last") -> Heads:
    frozen = engine.open_backbone(TINY, 32, features=features)
    extractor = Extractor(frozen, f"tiny {features}", "squash", store)
    return Heads(TINY, extractor, given, 0, Stopwatch(), Progress())


def alone(heads: Heads, photos: Part) -> Ridge:
    """The same photos, to be fitted on by hand."""
    return Ridge(heads.features, photos.labels, photos.sample_weights, 2)


def test_validation_photos_are_asked_of_the_head_of_the_training_photos(photos: Path, store: Store) -> None:
    given = lesson(part(photos))
    heads, [fold] = made(store, given), given.folds
    found = alone(heads, given.photos).fit(fold.train, given.photos.groups)
    assert heads.l2 == found.head.l2
    assert np.array_equal(heads.heads[0].weights, found.head.weights)
    asked = found.head.answers(heads.features.of(fold.validation))
    assert np.array_equal(heads.answers.of(fold.validation), asked)
    assert heads.answers.of(fold.train) == pytest.approx(found.left_out, abs=1e-6)
    assert heads.answers.rows.tolist() == list(range(40))
    assert heads.answers.by == "tiny/features"
    assert heads.scores == metrics.evaluate(given.photos.labels[fold.validation], asked, NAMES)


def test_what_is_handed_over_is_fitted_on_all_and_judged_by_what_it_leaves_out(
    photos: Path, store: Store
) -> None:
    given = lesson(part(photos))
    heads = made(store, given)
    found = alone(heads, given.photos).fit(np.arange(40), given.photos.groups, heads.l2)
    assert np.array_equal(heads.whole.weights, found.head.weights)
    assert heads.left_out == pytest.approx(found.left_out, abs=1e-6)
    assert heads.judged.tolist() == list(range(40))
    # Of one photo it is what a head says that was fitted on the 39 others, its penalty being the same.
    is_wrong = heads.left_out.argmax(axis=1) != given.photos.labels
    assert np.flatnonzero(is_wrong).tolist() == [25, 30, 35]


def test_each_fold_is_asked_of_the_head_of_the_others(photos: Path, store: Store) -> None:
    given = lesson(part(photos), n_folds=4)
    heads = made(store, given)
    by_hand = alone(heads, given.photos)
    whole = by_hand.fit(np.arange(40), given.photos.groups)
    assert heads.l2 == heads.whole.l2 == whole.head.l2
    for fold, head in zip(given.folds, heads.heads, strict=True):
        expected = by_hand.head(fold.train, given.photos.groups, heads.l2)
        assert head.weights == pytest.approx(expected.weights, rel=1e-4)
        asked = head.answers(heads.features.of(fold.validation))
        assert np.array_equal(heads.answers.of(fold.validation), asked)
    assert heads.answers.rows.tolist() == list(range(40))
    assert heads.scores.n_images == 40


def test_a_class_that_is_one_group_is_not_judged(photos: Path, store: Store) -> None:
    """Left out it would be unknown. What shares its group is not judged either."""
    groups = np.arange(40)
    groups[[*range(20), 25, 30, 35, 39]] = 0
    given = lesson(part(photos, groups))
    heads = made(store, given)
    assert heads.judged.tolist() == sorted({*range(20, 39)} - {25, 30, 35})
    validation = given.folds[0].validation.tolist()
    assert heads.answers.rows.tolist() == sorted({*heads.judged.tolist(), *validation})
    # Nor has it a say in what scores are worth: the others are told as well as before.
    assert (heads.left_out[heads.judged].argmax(axis=1) == 1).mean() > 0.9
    assert heads.left_out[heads.judged, 1].mean() > 0.8


@pytest.mark.parametrize("n_folds", [1, 4])
def test_nothing_is_fitted_twice(
    n_folds: int, photos: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = lesson(part(photos), n_folds)

    def told(heads: Heads) -> tuple[object, ...]:
        arrays = heads.left_out, heads.whole.weights, *heads.novelty, heads.answers.probabilities
        heads_of_folds = [one.weights.tolist() for one in heads.heads]
        return (
            heads.l2,
            heads.scores,
            heads.learning_curve(),
            heads_of_folds,
            [one.tolist() for one in arrays],
        )

    first = told(made(store, given))

    def refused(*_: object) -> None:
        raise AssertionError("fitted again")

    monkeypatch.setattr(ridge, "Ridge", refused)
    monkeypatch.setattr("headstart.training.heads.Ridge", refused)
    monkeypatch.setattr(novelty, "references", refused)
    assert told(made(store, given)) == first
    other = lesson(part(photos, np.arange(40) // 2), n_folds)
    with pytest.raises(AssertionError, match="fitted again"):
        told(made(store, other))


def test_features_that_were_let_go_are_read_again(photos: Path, store: Store) -> None:
    given = lesson(part(photos))
    heads = made(store, given)
    before = heads.whole.weights
    held: Vectors = heads.features
    heads.release()
    assert heads.features is not held
    assert np.array_equal(heads.features[:], held[:])
    assert np.array_equal(heads.whole.weights, before)


def test_novelty_is_that_of_photos_whose_group_is_elsewhere(photos: Path, store: Store) -> None:
    given = lesson(part(photos, np.arange(40) // 2))
    heads, labels, groups = made(store, given, "stages"), part(photos).labels, np.arange(40) // 2
    fold_of = splits.fold_numbers(labels, groups, n_folds=splits.N_FOLDS, seed=0)
    references, scores = heads.novelty
    last = heads.features[:][:, -TINY.feature_size :]
    assert references == pytest.approx(novelty.references(last, labels))
    assert scores == pytest.approx(novelty.out_of_fold(last, labels, fold_of))


def test_novelty_of_two_side_by_side_is_that_of_the_second_and_measured_once(
    photos: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = lesson(part(photos))
    first, second = (made(store, given, features) for features in ("last", "stages"))
    both = Together((first._extractor, second._extractor))  # type: ignore[arg-type]
    side_by_side = Heads(TINY, both, given, 0, Stopwatch(), Progress())
    last = side_by_side.last[:]
    assert last == pytest.approx(second.last[:])
    references, scores = second.novelty
    monkeypatch.setattr(novelty, "references", None)
    assert [one.tolist() for one in side_by_side.novelty] == [references.tolist(), scores.tolist()]
    with pytest.raises(TypeError):
        first.novelty  # noqa: B018  (of another backbone)
