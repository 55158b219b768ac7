"""Fine-tuning as a plain loop of Keras, beside ours on the same split: accuracy of each pass, and seconds.

The plain loop starts from a new head. The second half of the layers is trained, BatchNorm frozen; dropout
of 0.2 before the head; AdamW at 3e-4 with weight decay 0.01, a warm-up of half a pass, then a cosine down
to a twentieth; crops of 60 to 100% of the area, mirrored, other brightness and contrast; four passes, of
which the last is what counts. Test is asked about once, at the end.

    python benchmarks/plain_loop.py ../shared/data [--photos clothing] [--seeds 0,1,2]
"""

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import article
import measured

from headstart.networks import backbones
from headstart.networks.backbones import import_keras
from headstart.statistics.metrics import log_loss

EPOCHS = 4
LEARNING_RATE = 3e-4
WEIGHT_DECAY = 0.01
LOWEST = 1 / 20
DROPOUT = 0.2
LEAST_AREA = 0.6
LIGHTING = 0.25


def view(picture: Any, label: Any) -> Any:
    """Return a random view of one picture, float32 (S, S, 3), and its label."""
    import tensorflow as tf

    part = tf.sqrt(tf.random.uniform((), LEAST_AREA, 1))
    top, left = tf.unstack(tf.random.uniform((2,)) * (1 - part))
    box = tf.stack([top, left, top + part, left + part])[None]
    cut = tf.image.crop_and_resize(picture[None], box, [0], tf.shape(picture)[:2])[0]
    contrast, brightness = tf.unstack(1 + tf.random.uniform((2,), -LIGHTING, LIGHTING))
    mean = tf.reduce_mean(cut)
    lit = (cut - mean) * contrast + mean * brightness
    return tf.image.random_flip_left_right(tf.clip_by_value(lit, 0, 255)), label


def views(part: article.Part, size_px: int, seed: int) -> Any:
    """Return the photos of a part in random order and random views, in batches."""
    import tensorflow as tf

    pictures = article.stream(part, size_px, is_shuffled=False).unbatch()
    shuffled = pictures.shuffle(len(part[0]), seed=seed)
    return shuffled.map(view, num_parallel_calls=tf.data.AUTOTUNE).batch(article.BATCH_SIZE).prefetch(2)


def network(name: str, n_classes: int) -> Any:
    """Return pixels to probabilities, the second half of the backbone's layers free to learn."""
    keras = import_keras()
    backbone = backbones.build(name)
    learning = [
        layer
        for layer in backbone.layers
        if layer.weights and not isinstance(layer, keras.layers.BatchNormalization)
    ]
    for layer in backbone.layers:
        layer.trainable = layer in learning[len(learning) // 2 :]
    features = keras.layers.Dropout(DROPOUT)(backbone(backbone.input, training=False))
    head = keras.layers.Dense(n_classes, activation="softmax")
    return keras.Model(backbone.input, head(features))


def run_plain(name: str, parts: dict[str, article.Part], seed: int) -> dict[str, Any]:
    """Train with the plain loop; return what each pass comes to on validation, and the last on test."""
    keras = import_keras()
    keras.utils.set_random_seed(seed)
    size_px = backbones.find(name).input_size_px
    n_steps = -(-len(parts["train"][1]) // article.BATCH_SIZE)
    n_warm_up = n_steps // 2
    rate = keras.optimizers.schedules.CosineDecay(
        0.0, EPOCHS * n_steps - n_warm_up, LOWEST, warmup_target=LEARNING_RATE, warmup_steps=n_warm_up
    )
    model = network(name, int(parts["train"][1].max()) + 1)
    model.compile(
        optimizer=keras.optimizers.AdamW(rate, weight_decay=WEIGHT_DECAY),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    start = time.perf_counter()
    fitted = model.fit(
        views(parts["train"], size_px, seed),
        validation_data=article.stream(parts["validation"], size_px, is_shuffled=False),
        epochs=EPOCHS,
        shuffle=False,  # the stream is shuffled already
        verbose=0,
    )
    seconds = time.perf_counter() - start
    labels = parts["test"][1]
    answers = model.predict(article.stream(parts["test"], size_px, is_shuffled=False), verbose=0)
    return {
        "seed": seed,
        "seconds": seconds,
        "passes": [
            {"train_loss": train, "validation_loss": loss, "validation_accuracy": accuracy}
            for train, loss, accuracy in zip(
                *(fitted.history[key] for key in ("loss", "val_loss", "val_accuracy")), strict=True
            )
        ],
        "test_accuracy": float((answers.argmax(axis=1) == labels).mean()),
        "test_log_loss": log_loss(labels, answers),
    }


def run_ours(name: str, photos: Path, folder: Path, seed: int) -> dict[str, Any]:
    """Fine-tune with `headstart compare` on its defaults, at the same size; return what came, and seconds."""
    cache = folder.parent / "cache"
    if not cache.exists():
        measured.link_weights(cache)
    words = ["compare", str(photos), "--techniques", "finetune", "--backbones", name, "--no-report", "--json"]
    size_px = str(backbones.find(name).input_size_px)
    words += ["--image-size", size_px, "--folds", "0", "--seed", str(seed), "--out", str(folder)]
    _, _, text = measured.command(words, cache)
    [one] = [one for one in json.loads(text)["candidates"] if one["technique"] == "finetune"]
    return {
        "seed": seed,
        "seconds": one["seconds"]["finetune"],
        "passes": one["training"]["history"],
        "best_epoch": one["training"]["best_epoch"],
        "validation_accuracy": one["validation"]["accuracy"],
        "test_accuracy": one["test"]["accuracy"],
        "test_log_loss": one["test"]["log_loss"],
    }


def main() -> None:
    """Run both, by turns, print and keep the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path, help="folder that holds the photos")
    parser.add_argument("--photos", default="clothing", help="which of its folders")
    parser.add_argument("--backbone", default="mobilenet_v2")
    parser.add_argument("--seeds", default="0,1,2")
    arguments = parser.parse_args()
    photos, name = (arguments.data / arguments.photos).resolve(), arguments.backbone
    runs: dict[str, list[dict[str, Any]]] = {"plain": [], "headstart": []}
    with tempfile.TemporaryDirectory() as folder:
        for seed in map(int, arguments.seeds.split(",")):
            out = Path(folder) / f"seed-{seed}"
            runs["headstart"].append(run_ours(name, photos, out, seed))
            runs["plain"].append(run_plain(name, article.read_parts(out, photos), seed))
    measured.keep("plain_loop", {"photos": arguments.photos, "backbone": name, **runs})


if __name__ == "__main__":
    main()
