"""The learning rate rises and falls as Keras's own schedule does."""

import pytest

from headstart.networks import backbones
from headstart.training import recipe


@pytest.mark.parametrize("n_steps", [1, 2, 3, 10, 97])
def test_the_learning_rate_is_that_of_keras(n_steps: int) -> None:
    n_warm_up = max(1, int(0.3 * n_steps))
    schedule = backbones.import_keras().optimizers.schedules.CosineDecay(
        0.5 / (n_warm_up + 1), max(1, n_steps - n_warm_up), warmup_target=0.5, warmup_steps=n_warm_up
    )
    for step in range(n_steps):
        assert recipe.learning_rate(step, n_steps, 0.5) == pytest.approx(float(schedule(step)), abs=1e-6)
