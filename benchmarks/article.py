"""The article's recipe beside ours on the same split: test accuracy and seconds.

The recipe, to the letter: a pretrained backbone from Keras, frozen, run again in each epoch; global
average pooling; a dense softmax layer with one unit per class; Adam at Keras's default rate; batches
of 32; early stopping; at most 10 epochs for the first backbone and 25 for the second.

`--epochs N` stops it earlier; all its epochs are then reckoned at the seconds of those. Ours is run
three times, each a process of its own: on an empty cache, with the converted graphs kept, and with
everything kept; without the report, to which the recipe has no counterpart, and once more with it.

    python benchmarks/article.py ../shared/data [--epochs 2]
"""

import argparse
import csv
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import measured
import numpy as np

from headstart.networks import backbones
from headstart.networks.backbones import import_keras
from headstart.statistics.metrics import log_loss

EPOCHS = {"mobilenet_v2": 10, "efficientnet_lite0": 25}
BATCH_SIZE = 32
PATIENCE = 3

Part = tuple[list[str], np.ndarray]


def read_parts(run: Path, photos: Path) -> dict[str, Part]:
    """Return the files and the labels of each part, as our run divided them."""
    with (run / "split.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    names = sorted({row["label"] for row in rows})
    parts = {}
    for part in ("train", "validation", "test"):
        own = [row for row in rows if row["part"] == part]
        labels = np.array([names.index(row["label"]) for row in own], np.int32)
        parts[part] = [str(photos / row["path"]) for row in own], labels
    return parts


def stream(part: Part, size_px: int, *, is_shuffled: bool) -> Any:
    """Return the photos of a part as the article's kind of pipeline: tf.data, decoded again in each pass."""
    import tensorflow as tf

    def load(path: Any, label: Any) -> Any:
        picture = tf.io.decode_image(tf.io.read_file(path), channels=3, expand_animations=False)
        return tf.image.resize(picture, (size_px, size_px)), label

    pairs = tf.data.Dataset.from_tensor_slices(part)
    pairs = pairs.shuffle(len(part[0]), seed=0) if is_shuffled else pairs
    return pairs.map(load, num_parallel_calls=tf.data.AUTOTUNE).batch(BATCH_SIZE).prefetch(tf.data.AUTOTUNE)


def run_article(name: str, parts: dict[str, Part], epochs: int) -> dict[str, Any]:
    """Train as the article does; return what that came to, and validation accuracy by seconds."""
    keras = import_keras()
    keras.utils.set_random_seed(0)
    row = backbones.find(name)
    backbone = backbones.build(name)
    backbone.trainable = False
    layer = keras.layers.Dense(int(parts["train"][1].max()) + 1, activation="softmax")
    model = keras.Model(backbone.input, layer(backbone(backbone.input, training=False)))
    model.compile(optimizer="adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    stop = keras.callbacks.EarlyStopping(patience=PATIENCE, restore_best_weights=True)
    start, history = time.perf_counter(), []
    note = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda _, logs: history.append((time.perf_counter() - start, logs["val_accuracy"]))
    )
    fitted = model.fit(
        stream(parts["train"], row.input_size_px, is_shuffled=True),
        validation_data=stream(parts["validation"], row.input_size_px, is_shuffled=False),
        epochs=epochs,
        shuffle=False,  # the stream is shuffled already
        callbacks=[stop, note],
        verbose=0,
    )
    seconds = time.perf_counter() - start
    probabilities = model.predict(stream(parts["test"], row.input_size_px, is_shuffled=False), verbose=0)
    n_epochs = len(fitted.history["loss"])
    return {
        "test_accuracy": float((probabilities.argmax(axis=1) == parts["test"][1]).mean()),
        "test_log_loss": log_loss(parts["test"][1], probabilities),
        "epochs": n_epochs,
        "seconds": seconds,
        "history": history,
        "seconds_of_all_epochs": seconds / n_epochs * EPOCHS[name],
    }


def run_ours(photos: Path, folder: Path) -> dict[str, Any]:
    """Run `headstart compare` three times; return its seconds, and accuracies by backbone."""
    cache = folder / "cache"
    measured.link_weights(cache)
    words = ["compare", str(photos), "--techniques", "features", "--backbones", ",".join(EPOCHS), "--json"]
    figures: dict[str, Any] = {}
    for state in ("cold", "graphs_kept", "all_kept", "report", "report_again"):
        if state == "graphs_kept":
            measured.command(["cache", "clear", "features", "checks"], cache)
        asked = [] if state.startswith("report") else ["--no-report"]
        seconds, megabytes, text = measured.command([*words, *asked, "--out", str(folder / state)], cache)
        figures[state] = {"seconds": seconds, "memory_mb": megabytes}
    for one in json.loads(text)["candidates"]:
        scores = {"test_accuracy": one["test"]["accuracy"], "test_log_loss": one["test"]["log_loss"]}
        figures[one["backbone"]] = scores
    return figures


def main() -> None:
    """Run both, print and keep the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path, help="folder that holds animals")
    parser.add_argument("--epochs", type=int, help="stop the article's recipe after so many")
    arguments = parser.parse_args()
    photos = (arguments.data / "animals").resolve()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ours = run_ours(photos, folder)
        parts = read_parts(folder / "cold", photos)
        article = {name: run_article(name, parts, arguments.epochs or EPOCHS[name]) for name in EPOCHS}
    total = sum(one["seconds_of_all_epochs"] for one in article.values())
    figures = {
        "article": article,
        "article_seconds_of_all_epochs": total,
        "headstart": ours,
        "times_faster": {
            state: total / ours[state]["seconds"] for state in ("cold", "graphs_kept", "all_kept")
        },
    }
    measured.keep("article_timed" if arguments.epochs else "article", figures)


if __name__ == "__main__":
    main()
