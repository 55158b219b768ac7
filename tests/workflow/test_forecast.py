"""Forecasts add up what was measured, and what was measured is kept by machine."""

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from test_suspects import clothing

from headstart.base.progress import Progress
from headstart.photos import splits
from headstart.storage.store import Store
from headstart.training import learning_curve, probe, suspects
from headstart.workflow import forecast
from headstart.workflow.forecast import Costs, Work

Floats = NDArray[np.float32]
Labels = NDArray[np.int32]

COSTS = Costs(
    prepare=9.0,
    ask=0.01,
    build=8.0,
    trunk=0.004,
    train=0.02,
    convert=6.0,
    trunk_bytes=1000.0,
)
WORK = Work(
    n_photos=1200,
    n_train=1000,
    n_validation=200,
    n_test=300,
    n_kept=100,
    n_test_kept=50,
    feature_size=1280,
    n_classes=10,
    n_checked=200,
    n_viewed=1000,
    views=2,
    epochs=2,
    n_folds=1,
    seeds=1,
    is_built=False,
)


def test_features_cost_what_is_not_kept() -> None:
    stages = forecast.features_stages(COSTS, WORK)
    assert stages["features"] == pytest.approx(1100 * 0.01)
    assert stages["test"] == pytest.approx(250 * 0.01)
    everything = replace(WORK, n_kept=1200, n_test_kept=300)
    kept = forecast.features_stages(COSTS, everything)
    assert (kept["features"], kept["test"], kept["probe"]) == (0, 0, stages["probe"])


def test_fine_tuning_costs_its_views_its_steps_and_its_conversion() -> None:
    stages = forecast.finetune_stages(COSTS, WORK)
    assert stages["augmentation"] == pytest.approx(200 * 4 * 0.01)
    # 2 views of 1,000 photos and one of 200; 2 passes; forward alone before and after them and for 3 mixes.
    expected = 8.0 + 2200 * 0.004 + (2000 + 6 * 200 / 3) * 0.02
    assert stages["finetune"] == pytest.approx(expected)
    # Novelty is measured from 1,000 photos, and asked of 200.
    assert stages["convert"] == pytest.approx(6.0 + 1200 * 0.01)
    assert stages["test of the fine-tuned"] == pytest.approx(300 * 0.01)
    built = forecast.finetune_stages(COSTS, replace(WORK, is_built=True))
    assert stages["finetune"] - built["finetune"] == pytest.approx(8.0)


def test_live_activations_are_computed_in_each_pass() -> None:
    live = forecast.finetune_stages(COSTS, replace(WORK, views=0, epochs=3))
    kept = forecast.finetune_stages(COSTS, replace(WORK, views=1, epochs=3))
    # 3 passes of 1,000 photos through the trunk instead of one, and 4 of 200 instead of one.
    assert live["finetune"] - kept["finetune"] == pytest.approx((2 * 1000 + 3 * 200) * 0.004)


def test_disk_and_memory() -> None:
    features = (1500 - 150) * 1280 * 2
    assert forecast.disk_mb(COSTS, WORK, has_finetune=False) == pytest.approx(features / 1e6)
    passing = 2200 * 1000
    assert forecast.disk_mb(COSTS, WORK, has_finetune=True) == pytest.approx((features + passing) / 1e6)
    small, large = (forecast.memory_mb([WORK], has_finetune=on) for on in (False, True))
    assert large - small == forecast.TRAINING_MB
    assert small == pytest.approx(forecast.BASE_MB + 1200 * 1280 * 8 / 1e6)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path))
    with Store(Progress()) as opened:
        yield opened


def test_what_was_measured_is_kept_and_added_to(store: Store) -> None:
    assert forecast.recall(store, "a") == Costs()
    forecast.remember(store, "a", Costs(ask=0.01, prepare=3.0))
    forecast.remember(store, "a", Costs(prepare=2.0, build=5.0))
    assert forecast.recall(store, "a") == Costs(ask=0.01, prepare=2.0, build=5.0)
    assert forecast.recall(store, "b") == Costs()


def test_another_machine_is_measured_anew(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    forecast.remember(store, "a", COSTS)
    monkeypatch.setattr(forecast, "core_count", lambda: 96)
    assert forecast.recall(store, "a") == Costs()


def test_memory_is_what_the_system_says() -> None:
    before = forecast.peak_memory_mb()
    assert before is not None
    ballast = bytearray(int(before * 1e6))
    ballast[::4096] = b"x" * len(ballast[::4096])
    after = forecast.peak_memory_mb()
    assert after is not None
    assert after - before == pytest.approx(len(ballast) / 1e6, rel=0.5)


def test_more_classes_and_turns_take_longer() -> None:
    few, many = (forecast.fitting_s(replace(WORK, n_classes=one), *forecast.PROBE_S) for one in (5, 102))
    # (1,200 + 3,000) photos of 1,280 features; 5^1.3 = 8.10 and 102^1.3 = 408.6.
    assert few == pytest.approx(4200 * 1280 * (2.7e-7 + 4.6e-9 * 8.10), rel=1e-3)
    assert many == pytest.approx(4200 * 1280 * (2.7e-7 + 4.6e-9 * 408.6), rel=1e-3)
    judged = forecast.judging_stages(COSTS, replace(WORK, n_classes=102), has_report=False)
    assert judged["learning curve"] > 3 * forecast.CURVE_S[0] * 4200 * 1280
    folds = replace(WORK, n_folds=5)
    ratio = forecast.features_stages(COSTS, folds)["probe"] / forecast.features_stages(COSTS, WORK)["probe"]
    assert ratio == pytest.approx(3.4)


def fitted_s(features: Floats, labels: Labels) -> float:
    """Processor seconds for the probes of photos and for their learning curve."""
    n, n_classes = features.shape[0], int(labels.max()) + 1
    groups, weights = np.arange(n), np.ones(n, np.float32)
    fold_of = splits.fold_numbers(labels, groups, seed=0)
    fold = splits.Fold(np.flatnonzero(fold_of != 0), np.flatnonzero(fold_of == 0))
    parts = [(features[rows], labels[rows]) for rows in (fold.train, fold.validation)]
    names = tuple(map(str, range(n_classes)))
    start = time.process_time()
    head = probe.fit(*parts[0], *parts[1], weights[fold.train])
    probe.refit(features, labels, weights, head.l2, start=head)
    suspects.out_of_fold(features, labels, fold_of, weights, head.l2)
    learning_curve.measure(features, labels, groups, weights, (fold,), class_names=names, l2=head.l2)
    return time.process_time() - start


@pytest.mark.slow
def test_many_classes_take_as_much_longer_as_is_forecast(shared_data: Path) -> None:
    (train, train_labels), (validation, validation_labels) = clothing(shared_data)
    features, kinds = np.concatenate([train, validation]), np.concatenate([train_labels, validation_labels])
    # Classes as many as are wanted: clusters of the photos, one label in ten at random.
    labels = KMeans(102, n_init=1, random_state=0).fit_predict(features[:, :200]).astype(np.int32)
    random = np.random.default_rng(0)
    labels[::10] = random.integers(102, size=len(labels[::10]))
    measured = fitted_s(features, labels) / min(fitted_s(features, kinds % 5) for _ in range(2))
    few, many = (replace(WORK, n_photos=len(features), n_classes=one) for one in (5, 102))
    expected = [
        sum(forecast.fitting_s(work, *law) for law in (forecast.PROBE_S, forecast.CURVE_S))
        for work in (few, many)
    ]
    assert measured == pytest.approx(expected[1] / expected[0], rel=0.3)
