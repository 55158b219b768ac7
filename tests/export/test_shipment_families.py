"""Keras's families that converters were seen to get wrong, in every format."""

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Finished, made_photos

from headstart.base.progress import Progress
from headstart.export import shipment
from headstart.export.catalogue import NAMES
from headstart.networks import backbones, classifier, engine
from headstart.networks.classifier import Classifier
from headstart.networks.engine import KerasEngine
from headstart.networks.pieces import Pieces
from headstart.training import tail


def stirred(name: str, size_px: int) -> Any:
    """A Keras network of random numbers, its BatchNorms among them, which as they are made do nothing."""
    network = backbones.build(name, image_size_px=size_px, random_weights=True)
    random = np.random.default_rng(0)
    for layer in network.layers:
        if type(layer).__name__ == "BatchNormalization":
            ranges = {"gamma": (0.5, 1.5), "beta": (-0.5, 0.5), "mean": (-0.5, 0.5), "variance": (0.5, 2)}
            for weight in layer.weights:
                weight.assign(random.uniform(*ranges[weight.name.removeprefix("moving_")], weight.shape))
    return network


def beside_itself(name: str, size_px: int) -> Any:
    """A network whose last layers stand in it as they were and trained, of which one bias stands for all."""
    row = backbones.find(name)
    network = backbones.build(name, features="stages", image_size_px=size_px, random_weights=True)
    divided = tail.divide(network, row.last_block, row.default_unfreeze)
    before = divided.tail.get_weights()
    bias = next(one for one in reversed(divided.tail.trainable_weights) if len(one.shape) == 1)
    bias.assign(bias + np.random.default_rng(0).normal(size=bias.shape))
    return divided.beside(before)


def with_model(run: Path, network: Any, name: str, size_px: int) -> Path:
    """The run, as if such a network with a head of random numbers had been trained in it."""
    record = dataclasses.replace(
        classifier.load_run(run).record, backbone=name, technique="finetune", image_size_px=size_px
    )
    pictures = made_photos(size_px, 8)
    features = KerasEngine(network)(pictures)
    centre, least = features.mean(axis=0), 0.02 * np.abs(features).max()
    # What hardly varies would make rounding count for more than the photos.
    spread = np.maximum(features.std(axis=0), least)
    random = np.random.default_rng(1)
    weights = random.normal(size=(features.shape[1], len(record.class_names))) * 2
    weights = (weights / spread[:, None] / np.sqrt(len(centre))).astype(np.float32)
    references = features / np.linalg.norm(features, axis=1, keepdims=True)
    made = Pieces(weights, -centre @ weights, references, network)
    graph = engine.prepare(network, pictures, "openvino", Progress())
    shutil.rmtree(run / "model")
    Classifier(record, made.on(graph)).save(run / "model")
    made.save(run / "model")
    return run


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "network"),
    [("efficientnet_v2_b0", stirred), ("resnet50_v2", stirred), ("mobilenet_v2", beside_itself)],
)
def test_a_family_agrees_in_every_format(
    finished: Finished, tmp_path: Path, name: str, network: Callable[[str, int], Any]
) -> None:
    run = with_model(shutil.copytree(finished.folder, tmp_path / "run"), network(name, 96), name, 96)
    made = shipment.export(run, NAMES)
    assert made.refused == ()
    assert [one.n_other_labels for one in made.exports] == [0] * 5
    assert max(one.largest_difference for one in made.exports) < 1e-4
