"""Forecasts add up what was measured, and what was measured is kept by machine."""

import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from headstart.base.progress import Progress
from headstart.networks.vectors import Vectors
from headstart.photos import splits
from headstart.storage.store import Store
from headstart.training import learning_curve
from headstart.training.ridge import Ridge
from headstart.workflow import forecast
from headstart.workflow.forecast import Costs, Work

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
    # 2 views of 1,000 photos and one of 200; 2 passes; forward alone before and after them.
    expected = 8.0 + 2200 * 0.004 + (2000 + 3 * 200 / 3) * 0.02
    assert stages["finetune"] == pytest.approx(expected)
    # Novelty is measured from 1,000 photos, and asked of 200; trained layers stand beside those as they were.
    assert stages["convert"] == pytest.approx(6.0 + 1200 * 1.6 * 0.01)
    assert stages["test of the fine-tuned"] == pytest.approx(300 * 1.6 * 0.01)
    built = forecast.finetune_stages(COSTS, replace(WORK, is_built=True))
    assert stages["finetune"] - built["finetune"] == pytest.approx(8.0)


def test_live_activations_are_computed_in_each_pass() -> None:
    live = forecast.finetune_stages(COSTS, replace(WORK, views=0, epochs=3))
    kept = forecast.finetune_stages(COSTS, replace(WORK, views=1, epochs=3))
    # 3 passes of 1,000 photos through the trunk instead of one, and 4 of 200 instead of one.
    assert live["finetune"] - kept["finetune"] == pytest.approx((2 * 1000 + 3 * 200) * 0.004)


def test_disk_and_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forecast, "core_count", lambda: 2)
    features = (1500 - 150) * 1280 * 2
    assert forecast.disk_mb(COSTS, WORK, has_finetune=False) == pytest.approx(features / 1e6)
    passing = 2200 * 1000
    assert forecast.disk_mb(COSTS, WORK, has_finetune=True) == pytest.approx((features + passing) / 1e6)
    small, large = (forecast.memory_mb([WORK], has_finetune=on) for on in (False, True))
    assert large - small == forecast.TRAINING_MB
    # Of 1,200 photos the features, at half precision, and the products; and 4,096 rows in work.
    expected = 1200 * 1280 * 2 + 1200**2 * 4 + 4096 * 1280 * 4
    assert small == pytest.approx(forecast.BASE_MB + expected / 1e6)
    many = replace(WORK, n_photos=10**6)
    expected = 32_000_000 + 1280**2 * 4 + 4096 * 1280 * 4
    assert forecast.memory_mb([many], has_finetune=False) == pytest.approx(forecast.BASE_MB + expected / 1e6)


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
    """In a process of its own: the most that one has held never falls, so to raise it takes as much again."""
    code = (
        "from headstart.workflow.forecast import peak_memory_mb as told\n"
        "before, ballast = told(), b'x' * 300_000_000\n"
        "print(before, told())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    before, after = map(float, done.stdout.split())
    assert 10 < before < after
    assert after - before == pytest.approx(300, rel=0.1)


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine of one core that makes 10^11 multiplications a second, and does the rest in no time."""
    monkeypatch.setattr(forecast, "product_s", lambda: 1e-11)
    monkeypatch.setattr(forecast, "core_count", lambda: 1)
    monkeypatch.setattr(forecast, "VALUE_S", 0.0)
    monkeypatch.setattr(forecast, "FIT_S", 0.0)


@pytest.mark.usefixtures("counted")
def test_heads_by_photos_take_what_their_products_take() -> None:
    # 800 photos to train on and 200 to choose by, of 4,000 features: half of the products of 800 with each
    # other, and of 200 with all 1,000; for each of 3.3 strengths n^3 / 6 for the factor, as much for the
    # photos that are left out, and for 10 right sides forward and backward.
    work = replace(WORK, n_photos=1000, n_validation=200, feature_size=4000)
    products = 4000 * (800 * 800 + 200 * 1000) / 2
    tried = sum(n**3 / 6 + n**3 / 6 + 10 * n**2 for n in (800, 1000))
    assert forecast.heads_s(work) == pytest.approx((products + 3.3 * tried) * 1e-11)


@pytest.mark.usefixtures("counted")
def test_heads_by_features_take_what_their_products_take() -> None:
    # 9,000 photos of 5,000 features: 3,000 choose, and all are left out in the end.
    work = replace(WORK, n_photos=9000, n_validation=1000, feature_size=5000, n_classes=102)
    products = 5000**2 * (8000 + 1000) / 2
    some, train, every = (
        5000**3 / 6 + m * 5000**2 / 2 + 102 * (5000**2 + m * 5000) for m in (3000, 8000, 9000)
    )
    assert forecast.heads_s(work) == pytest.approx((products + 6.6 * some + train + every) * 1e-11)


@pytest.mark.usefixtures("counted")
def test_each_fold_takes_a_head() -> None:
    folds = replace(WORK, n_photos=1000, n_validation=1000, feature_size=4000, n_folds=5)
    whole, alone = (n**3 / 3 + 10 * n**2 for n in (1000, 800))
    assert forecast.heads_s(folds) == pytest.approx((4000 * 1000**2 / 2 + 3.3 * whole + 5 * alone) * 1e-11)


@pytest.mark.usefixtures("counted")
def test_a_second_core_does_four_fifths_by_half(monkeypatch: pytest.MonkeyPatch) -> None:
    alone = forecast.heads_s(WORK), forecast.curve_s(WORK)
    monkeypatch.setattr(forecast, "core_count", lambda: 2)
    assert (forecast.heads_s(WORK), forecast.curve_s(WORK)) == pytest.approx([0.6 * one for one in alone])


def test_more_classes_take_longer() -> None:
    few, many = (replace(WORK, n_classes=one, n_photos=9000) for one in (5, 102))
    for law in (forecast.heads_s, forecast.curve_s):
        assert law(few) < law(many) < 3 * law(few)


@pytest.mark.slow
@pytest.mark.parametrize(("n", "n_features", "n_classes"), [(3000, 1280, 10), (2000, 5000, 102)])
def test_heads_take_as_long_as_is_forecast(
    n: int, n_features: int, n_classes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forecast, "core_count", lambda: 1)
    random = np.random.default_rng(0)
    labels = (np.arange(n) % n_classes).astype(np.int32)
    features = random.normal(size=(n_classes, n_features))[labels] / 8 + random.normal(size=(n, n_features))
    rows, n_train = np.arange(n), n * 7 // 8
    start = time.process_time()
    photos = Ridge(Vectors((features.astype(np.float16),)), labels, np.ones(n, np.float32), n_classes)
    of_train = photos.fit(rows[:n_train], rows)
    photos.fit(rows, rows, of_train.head.l2)
    heads_s, start = time.process_time() - start, time.process_time()
    fold = splits.Fold(rows[:n_train], rows[n_train:])
    names = tuple(map(str, range(n_classes)))
    learning_curve.measure(photos, labels, rows, [fold], class_names=names, like=of_train)
    curve_s = time.process_time() - start
    work = replace(WORK, n_photos=n, n_validation=n - n_train, feature_size=n_features, n_classes=n_classes)
    assert forecast.heads_s(work) == pytest.approx(heads_s, rel=0.5)
    assert forecast.curve_s(work) == pytest.approx(curve_s, rel=0.5)
