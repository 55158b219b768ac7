"""What a GPU makes of it: photos per second through frozen backbones and through steps of fine-tuning.

Both in float32, as Headstart computes, and the networks in mixed precision, too, with how far their features
are then off: what that would gain, and cost. It says which device did it; without a GPU it refuses, but for
--cpu, by which the script itself is tried.

python benchmarks/gpu.py
"""

import argparse
import time
from typing import Any

import measured
import numpy as np

from headstart.networks import backbones
from headstart.networks.backbones import import_keras
from headstart.networks.engine import KERAS_BATCH, KerasEngine

BACKBONES = ("mobilenet_v2", "efficientnet_lite0")
N_PICTURES, N_STEPS = 2048, 50


def features(engine: KerasEngine, pictures: list[Any]) -> tuple[float, Any]:
    """Return photos per second and the features, (N, D); what compiles it is not timed."""
    list(engine.stream(pictures[:KERAS_BATCH]))
    start = time.perf_counter()
    found = np.stack(list(engine.stream(pictures)))
    return len(pictures) / (time.perf_counter() - start), found


def steps(engine: KerasEngine, pictures: list[Any]) -> float:
    """Return photos per second through steps of training all layers under a new head of ten classes."""
    keras, rows = import_keras(), np.stack(pictures[:KERAS_BATCH]).astype(np.float32)
    output = keras.layers.Dense(10, activation="softmax", dtype="float32")(engine.model.output)
    model = keras.Model(engine.model.input, output)
    model.compile("adamw", "sparse_categorical_crossentropy")
    labels = np.arange(len(rows)) % 10
    model.train_on_batch(rows, labels)
    start = time.perf_counter()
    for _ in range(N_STEPS):
        model.train_on_batch(rows, labels)
    return N_STEPS * len(rows) / (time.perf_counter() - start)


def figures_of(name: str, n_pictures: int) -> dict[str, Any]:
    """Return what a backbone comes to in float32 and in mixed precision."""
    keras, side = import_keras(), backbones.find(name).input_size_px
    random = np.random.default_rng(0)
    pictures = list(random.integers(0, 256, (n_pictures, side, side, 3), np.uint8))
    found, told = {}, {}
    for policy in ("float32", "mixed_float16"):
        keras.config.set_dtype_policy(policy)
        engine = KerasEngine(backbones.build(name))
        rate, found[policy] = features(engine, pictures)
        told[policy] = {"features_photos_per_s": rate, "training_photos_per_s": steps(engine, pictures)}
    keras.config.set_dtype_policy("float32")
    one, other = found.values()
    off = np.linalg.norm(one - other, axis=1) / np.linalg.norm(one, axis=1)
    return told | {"features_off_by_at_most": float(off.max())}


def main() -> None:
    """Measure all, print and keep the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cpu", action="store_true", help="try the script on `tiny`, and keep nothing")
    is_trial = parser.parse_args().cpu
    import_keras()
    import tensorflow

    devices = tensorflow.config.list_physical_devices("GPU")
    if is_trial:
        print(figures_of("tiny", 2 * KERAS_BATCH))
    elif not devices:
        raise SystemExit("TensorFlow sees no GPU here. Install it: pip install 'headstart[gpu]'")
    else:
        names = [tensorflow.config.experimental.get_device_details(one)["device_name"] for one in devices]
        measured.keep("gpu", {"devices": names} | {one: figures_of(one, N_PICTURES) for one in BACKBONES})


if __name__ == "__main__":
    main()
