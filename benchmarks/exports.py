"""Every format of every candidate on real photos: whether it agrees, how accurate, fast and large it is.

Runs are made where they are not there yet: each backbone with both techniques, and the pair with feature
extraction. Two families of Keras, which converters were seen to get wrong, stand with random numbers in a
copy of the first run. What comes out goes to benchmarks/results/exports.json and docs/exports.md.

    python benchmarks/exports.py ../shared/data [--out FOLDER] [--precisions f32,f16,int8] [--only TEXT]
"""

import argparse
import dataclasses
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from headstart.base.progress import Progress
from headstart.base.records import from_bytes, to_json
from headstart.export import catalogue, shipment
from headstart.export.subject import open_run
from headstart.networks import backbones, classifier, engine
from headstart.networks.classifier import Classifier
from headstart.networks.engine import KerasEngine
from headstart.networks.pieces import Pieces
from headstart.pictures import pixels
from headstart.results.exports import Export, Exports

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "exports.json"
PAGE, START, END = ROOT / "docs" / "exports.md", "<!-- measured -->\n", "<!-- end of measured -->\n"
CANDIDATES = (
    ("mobilenet_v2", "features"),
    ("mobilenet_v2", "finetune"),
    ("efficientnet_lite0", "features"),
    ("efficientnet_lite0", "finetune"),
    ("mobilenet_v2+efficientnet_lite0", "features"),
)
FAMILIES = ("efficientnet_v2_b0", "resnet50_v2")


def train(photos: Path, backbone: str, technique: str, out: Path) -> Path:
    """Return a finished run, made now where it is not there."""
    if not (out / "results.json").is_file():
        words = ["train", str(photos), "--backbone", backbone, "--technique", technique, "--out", str(out)]
        subprocess.run([sys.executable, "-m", "headstart", *words, "--no-report", "--quiet"], check=True)
    return out


def with_family(run: Path, name: str, out: Path) -> Path:
    """Return a copy of a run whose model is a network of Keras with random numbers, and a head of such."""
    if not out.is_dir():
        shutil.copytree(run, out, ignore=shutil.ignore_patterns("exports*"))
        network, record = backbones.build(name, random_weights=True), classifier.load_run(run).record
        size_px = int(network.input.shape[1])
        pictures = some_photos(run, size_px, record.fit)
        stir(network, pictures)
        features = KerasEngine(network)(pictures)
        centre, least = features.mean(axis=0), 0.02 * np.abs(features).max()
        # What hardly varies would make rounding count for more than the photos.
        spread = np.maximum(features.std(axis=0), least)
        weights = np.random.default_rng(1).normal(size=(len(centre), len(record.class_names))) * 2
        weights = (weights / spread[:, None] / np.sqrt(len(centre))).astype(np.float32)
        references = features / np.linalg.norm(features, axis=1, keepdims=True)
        made = Pieces(weights, -centre @ weights, references, network)
        graph = engine.prepare(network, pictures[:8], "openvino", Progress())
        shutil.rmtree(out / "model")
        record = dataclasses.replace(record, backbone=name, technique="finetune", image_size_px=size_px)
        Classifier(record, made.on(graph)).save(out / "model")
        made.save(out / "model")
    return out


def stir(network: Any, pictures: np.ndarray) -> None:
    """Give the BatchNorms of a network random numbers, and the statistics of its own layers on photos.

    As they are made they do nothing; with statistics of anything else, photos would hardly differ at the end.
    """
    random = np.random.default_rng(0)
    layers = [layer for layer in network.layers if type(layer).__name__ == "BatchNormalization"]
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.gamma.assign(random.uniform(0.5, 1.5, layer.gamma.shape))
        layer.beta.assign(random.uniform(-0.5, 0.5, layer.beta.shape))
        layer.momentum = 0.0  # what is kept is what this batch has
    network(pictures.astype(np.float32), training=True)
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum


def some_photos(run: Path, size_px: int, fit: str) -> np.ndarray:
    """Return some training photos of a run."""
    train = open_run(run, None, Progress()).train
    chosen = slice(0, None, max(1, len(train) // 64))
    return np.stack(list(pixels.read_many(train.files[chosen], size_px, fit, train.digests[chosen])))


def export(run: Path, precisions: list[str]) -> Exports:
    """Export a run in every format that has the precision."""
    made = None
    for precision in precisions:
        names = [one.name for one in catalogue.FORMATS if precision in one.precisions]
        made = shipment.export(run, names, precision=precision, overwrite=True)
        for one in made.refused:
            print(f"{run.name}: {one.format} {one.asked} refused: {one.reason}", file=sys.stderr)
    assert made, "there is a precision"
    return made


def known() -> dict[str, Exports]:
    """Return what was measured before."""
    told = json.loads(RESULTS.read_text(encoding="utf-8"))
    return {name: from_bytes(json.dumps(one).encode(), Exports) for name, one in told.items()}


def table(found: dict[str, Exports]) -> str:
    """Return the table of the page."""
    header = (
        "| candidate | file | same label | largest difference of a probability | accuracy | of the run | ECE "
        "| ms a photo | ms for 32 | MB |\n|---|---|--:|--:|--:|--:|--:|--:|--:|--:|\n"
    )
    return header + "".join(row(name, one, told) for name, told in found.items() for one in told.exports)


def row(name: str, one: Export, told: Exports) -> str:
    instead = f", for {one.asked}" if one.asked != one.precision else ""
    return (
        f"| {name} | {one.name}{instead} | {one.n_images - one.n_other_labels:,} of {one.n_images:,} "
        f"| {one.largest_difference:.1e} | {one.scores.accuracy:.1%} | {told.scores.accuracy:.1%} "
        f"| {one.scores.ece:.3f} | {one.latency_ms:.1f} | {one.batch_latency_ms:.0f} | {one.size_mb:.1f} |\n"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("data", type=Path, help="folder with the photos `animals`")
    parser.add_argument("--out", type=Path, default=Path("runs/exports"), help="folder of the runs")
    parser.add_argument("--precisions", default="f32,f16,int8")
    parser.add_argument("--only", default="", help="candidates whose name has this text")
    options = parser.parse_args()
    photos, out, precisions = options.data / "animals", options.out, options.precisions.split(",")
    found = {}
    for backbone, technique in CANDIDATES:
        name = f"{backbone} {technique}"
        if options.only in name:
            run = train(photos, backbone, technique, out / name.replace(" ", "-"))
            found[name] = export(run, precisions)
    for family in FAMILIES:
        if options.only in family:
            first = train(photos, *CANDIDATES[0], out / "-".join(CANDIDATES[0]))
            run = with_family(first, family, out / family)
            found[f"{family}, random numbers"] = export(run, precisions)
    found = (known() if options.only else {}) | found
    RESULTS.write_bytes(to_json({name: json.loads(to_json(one)) for name, one in found.items()}))
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(START)
    after = rest.partition(END)[2]
    PAGE.write_text(f"{before}{START}\n{table(found)}\n{END}{after}", encoding="utf-8")
    print(table(found))


if __name__ == "__main__":
    main()
