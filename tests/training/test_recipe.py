"""The learning rate rises and falls as Keras's own schedule does."""

import pytest

from headstart.networks import backbones
from headstart.training import recipe


@pytest.mark.parametrize(("n_steps", "n_warm_up"), [(1, 1), (2, 1), (10, 3), (166, 49), (167, 50), (900, 50)])
def test_the_learning_rate_is_that_of_keras(n_steps: int, n_warm_up: int) -> None:
    schedule = backbones.import_keras().optimizers.schedules.CosineDecay(
        1 / (n_warm_up + 1),
        max(1, n_steps - n_warm_up),
        alpha=1 / 20,
        warmup_target=1.0,
        warmup_steps=n_warm_up,
    )
    for step in range(n_steps):
        assert recipe.part_of_rate(step, n_steps) == pytest.approx(float(schedule(step)), abs=1e-6)


@pytest.mark.parametrize("epochs", [2, 4, 8])
def test_more_passes_lengthen_the_fall_and_not_the_rise(epochs: int) -> None:
    parts = [recipe.part_of_rate(step, 100 * epochs) for step in range(100 * epochs)]
    assert parts[:50] == pytest.approx([step / 51 for step in range(1, 51)])
    assert parts[50:] == sorted(parts[50:], reverse=True)
    assert 1 / 20 < parts[-1] < 1 / 10
