"""Steps of fine-tuning: photos per second, and how near that is to the machine's limit.

The limit is the product of two matrices of 2,048 x 2,048 by TensorFlow, in float32. A step is counted as
three times the multiply-adds of the trained part: forward, backward to its kernels and to its inputs.
Each way is tried in a process of its own: as it is, with TensorFlow's own allocator in place of the system's,
in mixed bfloat16, and without oneDNN. Weights are random where there are none: they do not change the speed.

    python benchmarks/steps.py
"""

import argparse
import json
import math
import os
import subprocess
import sys
import time
from typing import Any

import measured
import numpy as np

from headstart.base.settings import Settings
from headstart.networks import backbones
from headstart.networks.backbones import import_keras
from headstart.training import tail
from headstart.training.finetune import Tuner

BACKBONES = ("mobilenet_v2", "efficientnet_lite0", "mobilenet_v2_keras", "efficientnet_v2_b0", "resnet50_v2")
WAYS: dict[str, dict[str, str]] = {
    "as it is": {},
    "own allocator": {"TF_CPU_ALLOCATOR_USE_BFC": "1"},
    "mixed bfloat16": {"HEADSTART_BENCHMARK_POLICY": "mixed_bfloat16"},
    "without oneDNN": {"TF_ENABLE_ONEDNN_OPTS": "0"},
}
N_STEPS, N_CLASSES, SIDE = 8, 10, 2048


def multiply_adds(model: Any) -> int:
    """Return those of the convolutions and dense layers of a flat model, for one picture."""
    keras, found = import_keras(), 0
    for layer in model.layers:
        if layer.weights and not isinstance(layer, keras.layers.BatchNormalization):
            places = math.prod(layer.output.shape[1:-1])
            found += places * math.prod(layer.weights[0].shape)
    return found


def behind(divided: tail.Divided) -> int:
    """Return the multiply-adds behind the boundary."""
    whole = divided.whole
    before = import_keras().Model(whole.input, whole.get_layer(divided.boundary).output)
    return multiply_adds(whole) - multiply_adds(before)


def limit() -> float:
    """Return the multiply-adds per second of the best of some products of matrices."""
    import tensorflow

    square = tensorflow.ones((SIDE, SIDE))
    product = tensorflow.function(lambda: square @ square)
    seconds = []
    for _ in range(8):
        start = time.perf_counter()
        product().numpy()
        seconds.append(time.perf_counter() - start)
    return float(SIDE**3 / min(seconds))


def figures_of(name: str) -> dict[str, float]:
    """Return what steps of a backbone come to, here and now."""
    keras, row, batch_size = import_keras(), backbones.find(name), Settings(data="").batch_size
    keras.mixed_precision.set_global_policy(os.environ.get("HEADSTART_BENCHMARK_POLICY", "float32"))
    backbone = backbones.build(name, features="stages", random_weights=True)
    divided = tail.divide(backbone, row.last_block, row.default_unfreeze)
    side = row.input_size_px
    tuner = Tuner(divided, None, n_classes=N_CLASSES, examples=np.zeros((1, side, side, 3), np.uint8), seed=0)
    random = np.random.default_rng(0)
    rows = random.random((batch_size, *divided.tail.input_shape[1:]), np.float32)
    labels, weights = np.arange(batch_size, dtype=np.int32) % N_CLASSES, np.ones(batch_size, np.float32)
    seconds = []
    for _ in range(N_STEPS):
        start = time.perf_counter()
        tuner._step(rows, labels, weights, 0.0)
        seconds.append(time.perf_counter() - start)
    typical = float(np.median(seconds[N_STEPS // 4 :]))
    keras.mixed_precision.set_global_policy("float32")
    return {
        "steps_per_s": 1 / typical,
        "photos_per_s": batch_size / typical,
        "multiply_adds": behind(divided),
        "part_of_limit": 3 * behind(divided) * batch_size / typical / limit(),
    }


def main() -> None:
    """Measure all, print and keep the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--one", help="measure this backbone alone, as the environment says")
    if one := parser.parse_args().one:
        print(json.dumps(figures_of(one)))
        return
    figures: dict[str, dict[str, Any]] = {}
    for name in BACKBONES:
        for way, variables in WAYS.items():
            words = [sys.executable, __file__, "--one", name]
            said = subprocess.run(words, env=os.environ | variables, stdout=subprocess.PIPE, check=True)
            figures.setdefault(name, {})[way] = json.loads(said.stdout.splitlines()[-1])
            print(name, way, figures[name][way], flush=True)
    measured.keep("steps", {"batch_size": Settings(data="").batch_size, "backbones": figures})


if __name__ == "__main__":
    main()
