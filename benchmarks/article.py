"""The article's recipe beside ours, on the same split, in one run: test accuracy and seconds.

The recipe, to the letter: a pretrained backbone from Keras, frozen, run again in each epoch; global
average pooling; a dense softmax layer with one unit per class; Adam at Keras's default rate; batches
of 32; early stopping; at most 10 epochs for the first backbone and 25 for the second.

    python benchmarks/article.py photos/ --out benchmarks/results/article.json
"""

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

from headstart import backbones, experiment, probe, run, samples
from headstart.backbones import import_keras
from headstart.progress import Console
from headstart.settings import Settings
from headstart.splits import Part

EPOCHS = {"mobilenet_v2": 10, "efficientnet_lite0": 25}
BATCH_SIZE = 32
PATIENCE = 3


def stream(part: Part, size_px: int, *, is_shuffled: bool) -> Any:
    """Return the photos of a part as the article's kind of pipeline: tf.data, decoded again in each pass."""
    import tensorflow as tf

    def load(path: Any, label: Any) -> Any:
        picture = tf.io.decode_image(tf.io.read_file(path), channels=3, expand_animations=False)
        return tf.image.resize(picture, (size_px, size_px)), label

    pairs = tf.data.Dataset.from_tensor_slices(([str(file) for file in part.files], part.labels))
    pairs = pairs.shuffle(len(part.files), seed=0) if is_shuffled else pairs
    return pairs.map(load, num_parallel_calls=tf.data.AUTOTUNE).batch(BATCH_SIZE).prefetch(tf.data.AUTOTUNE)


def run_article(name: str, parts: dict[str, Part], n_classes: int, seed: int) -> dict[str, Any]:
    """Train as the article does; return test accuracy, log loss, seconds in all and seconds by epoch."""
    keras = import_keras()
    keras.utils.set_random_seed(seed)
    start = time.perf_counter()
    row = backbones.find(name)
    backbone = backbones.build(name)
    backbone.trainable = False
    layer = keras.layers.Dense(n_classes, activation="softmax")
    model = keras.Model(backbone.input, layer(backbone(backbone.input, training=False)))
    model.compile(optimizer="adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    stop = keras.callbacks.EarlyStopping(patience=PATIENCE, restore_best_weights=True)
    fitted = model.fit(
        stream(parts["train"], row.input_size_px, is_shuffled=True),
        validation_data=stream(parts["validation"], row.input_size_px, is_shuffled=False),
        epochs=EPOCHS[name],
        callbacks=[stop],
        verbose=0,
    )
    seconds = time.perf_counter() - start
    test = parts["test"]
    probabilities = model.predict(stream(test, row.input_size_px, is_shuffled=False), verbose=0)
    n_epochs = len(fitted.history["loss"])
    return {
        "test_accuracy": float((probabilities.argmax(axis=1) == test.labels).mean()),
        "test_log_loss": probe.log_loss(probabilities, test.labels),
        "epochs": n_epochs,
        "seconds": seconds,
        "seconds_per_epoch": seconds / n_epochs,
    }


def run_ours(settings: Settings) -> dict[str, dict[str, Any]]:
    """Run `headstart.compare` with features alone; return the same figures by backbone."""
    results = experiment.compare(settings, Console())
    figures = {}
    for one in results.candidates:
        assert one.test is not None
        figures[one.backbone] = {
            "test_accuracy": one.test.accuracy,
            "test_log_loss": one.test.log_loss,
            "seconds": sum(one.seconds.values()),
        }
    return figures


def main() -> None:
    """Run both and print a table; `--out` keeps the figures as JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(
            data=str(samples.resolve(arguments.data, Console())),
            backbones=tuple(EPOCHS),
            techniques=("features",),
            out=f"{folder}/run",
            seed=arguments.seed,
        )
        ours = run_ours(settings)
        photos = experiment.prepare(settings, run.Run(Path(folder)), Console())
        article = {
            name: run_article(name, photos.parts, len(photos.class_names), arguments.seed) for name in EPOCHS
        }
    print(f"{'backbone':<20} {'':<10} {'test':>7} {'log loss':>9} {'seconds':>8}")
    for name in EPOCHS:
        for who, row in (("article", article[name]), ("headstart", ours[name])):
            accuracy, loss, seconds = row["test_accuracy"], row["test_log_loss"], row["seconds"]
            print(f"{name:<20} {who:<10} {accuracy:>7.2%} {loss:>9.3f} {seconds:>8.0f}")
    if arguments.out:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        figures = {"data": Path(arguments.data).name, "article": article, "headstart": ours}
        arguments.out.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
