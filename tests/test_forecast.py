"""Forecasts add up what was measured, and what was measured is kept by machine."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from headstart import forecast
from headstart.forecast import Costs, Work
from headstart.progress import Progress
from headstart.store import Store

COSTS = Costs(
    prepare=9.0,
    photo=0.01,
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
    n_checked=200,
    n_viewed=1000,
    views=2,
    epochs=2,
    n_turns=1,
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
    features = (1500 - 150) * 1280 * 4
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
    forecast.remember(store, "a", Costs(photo=0.01, prepare=3.0))
    forecast.remember(store, "a", Costs(prepare=2.0, build=5.0))
    assert forecast.recall(store, "a") == Costs(photo=0.01, prepare=2.0, build=5.0)
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
