"""A divided backbone computes what the whole one does, and learns where it is told to."""

from typing import Any

import numpy as np
import pytest

from headstart.networks import backbones
from headstart.networks.backbones import import_keras
from headstart.training import tail
from headstart.training.tail import Divided


def pictures(size_px: int) -> np.ndarray:
    return np.random.default_rng(0).uniform(0, 255, (3, size_px, size_px, 3)).astype(np.float32)


def asked(model: Any, pixels: np.ndarray) -> np.ndarray:
    """What a model answers, without a graph that would be made for it and asked once or twice."""
    return np.asarray(model(pixels, training=False))


SLOW = [
    pytest.param(name, unfreeze, marks=pytest.mark.slow)
    for name in ("efficientnet_lite0", "resnet50_v2", "efficientnet_v2_b0", "densenet121", "convnext_tiny")
    for unfreeze in ("last", "half", "all", "20")
]


@pytest.mark.parametrize("features", ["last", "stages"])
@pytest.mark.parametrize(
    ("name", "unfreeze"),
    [*(("tiny", unfreeze) for unfreeze in ("last", "half", "all", "20")), ("mobilenet_v2", "half"), *SLOW],
)
def test_trunk_and_tail_together_are_the_backbone(name: str, unfreeze: str, features: str) -> None:
    row = backbones.find(name)
    model = backbones.build(name, features=features, image_size_px=64, random_weights=True)
    divided = tail.divide(model, row.last_block, unfreeze)
    pixels = pictures(64)
    expected = asked(model, pixels)
    middle = asked(divided.trunk, pixels) if divided.trunk else pixels
    tolerance = 1e-4 * np.abs(expected).max()
    assert np.abs(asked(divided.whole, pixels) - expected).max() < tolerance
    assert np.abs(asked(divided.tail, middle) - expected).max() < tolerance
    assert (divided.trunk is None) == (unfreeze == "all" or (name, unfreeze) == ("tiny", "20"))
    assert_both_stand_beside_each_other(divided, pixels, expected)


def assert_both_stand_beside_each_other(divided: Divided, pixels: np.ndarray, then: np.ndarray) -> None:
    """Layers that were trained, of which one bias stands for all here, beside the same as they were."""
    before = divided.tail.get_weights()
    bias = next(one for one in reversed(divided.tail.trainable_weights) if len(one.shape) == 1)
    bias.assign(bias + 1)
    trained, n_early = asked(divided.whole, pixels), divided.n_early
    found = asked(divided.beside(before), pixels)
    expected = np.hstack([then, trained[:, n_early:]])
    tolerance = 1e-4 * np.abs(expected).max()
    assert np.abs(trained[:, n_early:] - then[:, n_early:]).max() > 10 * tolerance
    assert np.abs(trained[:, :n_early] - then[:, :n_early]).max(initial=0) < tolerance
    assert np.abs(found - expected).max() < tolerance
    assert np.abs(asked(divided.whole, pixels) - trained).max() == 0  # and it stays trained


@pytest.mark.parametrize(
    ("unfreeze", "expected"), [("last", 1), ("half", 2), ("all", 3), ("2", 2), ("99", 3)]
)
def test_how_many_layers_learn(unfreeze: str, expected: int) -> None:
    model = backbones.build("tiny")
    divided = tail.divide(model, "block_3_conv", unfreeze)
    assert divided.trained_layers == expected
    learning = {layer.name for layer in divided.whole.layers if layer.trainable_weights}
    assert learning == {f"block_{number}_conv" for number in range(4 - expected, 4)}


def test_no_batchnorm_is_left_to_train() -> None:
    """Nor those before an activation, as of ResNetV2, which have no convolution to be folded into."""
    keras = import_keras()
    layers = keras.layers
    pixels = keras.Input((16, 16, 3))
    start = layers.Conv2D(8, 3, name="start")(pixels)
    before = layers.ReLU()(layers.BatchNormalization(name="before")(start))
    middle = layers.Conv2D(8, 3, padding="same", name="middle")(before)
    behind = layers.BatchNormalization(name="behind")(layers.Conv2D(8, 3, padding="same", name="end")(middle))
    features = layers.GlobalAveragePooling2D()(layers.Add()([start, behind]))
    divided = tail.divide(keras.Model(pixels, features), "end", "all")
    norms = [layer for layer in divided.whole.layers if isinstance(layer, layers.BatchNormalization)]
    assert divided.trained_layers == 3
    assert [norm.name for norm in norms] == ["before"]
    assert not any(norm.trainable_weights for norm in norms)


def test_a_channel_that_hardly_varied_takes_small_steps() -> None:
    """The reason for folding: a kernel's step must not be multiplied by hundreds on its way out."""
    model = backbones.build("tiny")
    norm = model.get_layer("block_3_conv_bn")
    norm.moving_variance.assign(np.full(8, 1e-12, np.float32))
    whole = tail.divide(model, "block_3_conv", "last").whole
    kernel = whole.get_layer("block_3_conv").kernel
    pixels = pictures(32)
    before = asked(whole, pixels)
    kernel.assign(kernel + 1e-4)
    folded_step = np.abs(asked(whole, pixels) - before).max()
    plain = model.get_layer("block_3_conv").kernel
    plain.assign(plain + 1e-4)
    assert folded_step < 0.1 * np.abs(asked(model, pixels) - before).max()
