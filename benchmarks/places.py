"""Which places of a frozen network to ask: the left-out log loss of several choices, on four sets of photos.

Photos of train and validation alone are looked at, never the test part.

python benchmarks/places.py ../shared/data
"""

import itertools
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import article
import measured
import numpy as np

from headstart.base.arrays import Floats
from headstart.base.progress import Progress
from headstart.networks import backbones
from headstart.networks.backbones import openvino_builder, parameters
from headstart.networks.backbones.description import Add, Convolution, Network
from headstart.networks.engine import OpenVINOEngine
from headstart.networks.table import Moment, Place
from headstart.networks.vectors import Vectors
from headstart.networks.weights import locate
from headstart.pictures import pixels
from headstart.statistics.metrics import log_loss
from headstart.storage import samples
from headstart.training.ridge import Ridge

BACKBONES = ("mobilenet_v2", "efficientnet_lite0")
N_PHOTOS = 1400
SIZES_PX = {"textile": 250, "clothing": 288, "animals": 288, "flowers": 288}
MOMENTS: tuple[Moment, ...] = ("mean", "std")

Wanted = tuple[str, int, bool, str]
"""What comes of a step (narrow, wide or filtered), from which stride on, the last of each shape or all, and
which moments."""

CHOICES: dict[str, tuple[Wanted, ...]] = {
    "last layer alone": (),
    "blocks, last of each shape, mean and deviation": (("narrow", 16, True, "mean std"),),
    "all blocks, mean and deviation": (("narrow", 16, False, "mean std"),),
    "expanded, last of each shape, mean and deviation": (("wide", 16, True, "mean std"),),
    "filtered, last of each shape, mean": (("filtered", 16, True, "mean"),),
    "filtered, last of each shape, deviation": (("filtered", 16, True, "std"),),
    "filtered, last of each shape, mean and deviation": (("filtered", 16, True, "mean std"),),
    "filtered deviation, blocks both": (("filtered", 16, True, "std"), ("narrow", 16, True, "mean std")),
    "the same, filtered from stride 8 on (chosen)": (
        ("filtered", 8, True, "std"),
        ("narrow", 16, True, "mean std"),
    ),
    "the same, all blocks": (("filtered", 8, True, "std"), ("narrow", 16, False, "mean std")),
}


def kinds(network: Network) -> dict[str, tuple[str, int]]:
    """Return by step what comes of it and at which stride, of those that may be a place."""
    stride, found = 1, {}
    added = {step.name.removesuffix("_add") for step in network.steps if isinstance(step, Add)}
    for step in network.steps:
        stride *= step.stride if isinstance(step, Convolution) else 1
        if isinstance(step, Add) or (step.name.endswith("_project") and step.name[:-8] not in added):
            found[step.name] = "narrow", stride
        elif step.name.endswith("_expand"):
            found[step.name] = "wide", stride
        elif step.name.endswith("_depthwise"):
            found[step.name] = "filtered", stride
    return {name: one for name, one in found.items() if one[1] >= 8}


def chosen(network: Network, choice: tuple[Wanted, ...]) -> Iterator[Place]:
    """Yield the places of a choice."""
    told = kinds(network)
    last = {(*told[name], network.n_channels(name)): name for name in told}
    for kind, stride, is_last, takes in choice:
        for name, (its_kind, its_stride) in told.items():
            is_kept = not is_last or name in last.values()
            if its_kind == kind and its_stride >= stride and is_kept:
                yield from (Place(name, moment) for moment in MOMENTS if moment in takes)


def left_out_loss(columns: list[Floats], labels: Any) -> tuple[float, float, int]:
    """Return log loss and accuracy of what was left out, and how many numbers a photo has."""
    widths = tuple(one.shape[1] for one in columns)
    n, n_classes = len(labels), int(labels.max()) + 1
    photos = Ridge(
        Vectors((np.concatenate(columns, axis=1),), widths), labels, np.ones(n, np.float32), n_classes
    )
    answers = photos.fit(np.arange(n), np.arange(n)).left_out
    return log_loss(labels, answers), float((answers.argmax(axis=1) == labels).mean()), sum(widths)


def learnt_from(data: str) -> tuple[list[Path], np.ndarray]:
    """Return some photos of train and validation, as Headstart divides them, and their labels."""
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        words = ["compare", data, "--backbones", "tiny", "--techniques", "features", "--no-report", "--quiet"]
        measured.command([*words, "--out", str(run)], measured.cache_dir())
        parts = article.read_parts(run, samples.resolve(data, Progress()))
    files = [*parts["train"][0], *parts["validation"][0]]
    drawn = np.sort(np.random.default_rng(0).permutation(len(files))[:N_PHOTOS])
    labels = np.concatenate([parts["train"][1], parts["validation"][1]])
    return [Path(files[one]) for one in drawn], labels[drawn]


def moments(backbone: str, files: list[Path], size_px: int) -> tuple[Network, dict[Place, Floats], Floats]:
    """Return what every place of a network makes of photos, and its last layer."""
    row = backbones.find(backbone)
    network = backbones.describe(row)
    places = [Place(one, moment) for one, moment in itertools.product(kinds(network), MOMENTS)]
    numbers = parameters.read(network, locate(row, None, Progress()))
    engine = OpenVINOEngine(openvino_builder.build(backbone, network, numbers, places, size_px))
    rows = np.stack(list(engine.stream(pixels.read_many(files, size_px, "squash"))))
    columns = np.split(rows, np.cumsum(engine.widths)[:-1], axis=1)
    return network, dict(zip(places, columns, strict=False)), columns[-1]


def main() -> None:
    """Measure all, print and keep the figures."""
    photos = measured.photos_folder(__doc__)
    figures: dict[str, list[dict[str, Any]]] = {choice: [] for choice in CHOICES}
    for name, size_px in SIZES_PX.items():
        files, labels = learnt_from("sample:textile" if name == "textile" else str(photos / name))
        for backbone in BACKBONES:
            network, told, last = moments(backbone, files, size_px)
            for choice, what in CHOICES.items():
                columns = [*(told[place] for place in chosen(network, what)), last]
                loss, accuracy, size = left_out_loss(columns, labels)
                found = {"photos": name, "backbone": backbone, "log_loss": loss, "accuracy": accuracy}
                figures[choice].append(found | {"size": size})
                print(choice, figures[choice][-1], flush=True)
    measured.keep("places", {"n_photos": N_PHOTOS, "sizes_px": SIZES_PX, "choices": figures})


if __name__ == "__main__":
    main()
