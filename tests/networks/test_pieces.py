"""From the pieces of a run the same network is put together again, and damage is noticed."""

import shutil
from pathlib import Path

import numpy as np
from conftest import Finished, made_photos, text_of

from headstart.base.errors import RunError
from headstart.networks import backbones, classifier, engine, pieces
from headstart.networks.engine import KerasEngine
from headstart.networks.pieces import Pieces
from headstart.results.run import Run


def test_a_head_and_a_network_are_read_back(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    weights, references = (random.normal(size=shape).astype(np.float32) for shape in ((8, 3), (4, 8)))
    whole = Pieces(weights, np.ones(3, np.float32), references, backbones.build("tiny"))
    whole.save(tmp_path)
    found = pieces.load(tmp_path)
    np.testing.assert_array_equal(found.weights, weights)
    np.testing.assert_array_equal(found.references, references)
    pictures = made_photos(32)
    expected = whole.on(KerasEngine(whole.backbone))(pictures)
    np.testing.assert_array_equal(found.on(KerasEngine(found.backbone))(pictures), expected)


def test_those_of_a_run_make_its_model(finished: Finished) -> None:
    """Put together in Keras it answers as the graph of the run, fine-tuned or not."""
    model = classifier.load_run(finished.folder)
    found = pieces.load(finished.folder / "model")
    assert (found.backbone is None) == (model.record.technique == "features")
    backbone = found.backbone or backbones.build("tiny", features="stages")
    pictures = made_photos(32)
    again = found.on(KerasEngine(backbone))
    for received, expected in zip(again.outputs(pictures), model.engine.outputs(pictures), strict=True):
        for one, other in zip(received, expected, strict=True):
            np.testing.assert_allclose(one, other, atol=1e-5)
    assert isinstance(model.engine, engine.OpenVINOEngine)


def test_damage_is_noticed(finished: Finished, tmp_path: Path) -> None:
    folder = shutil.copytree(Run(finished.folder).model, tmp_path / "model")
    (folder / "keras" / "head.npz").write_bytes(b"nothing")
    assert text_of(RunError, lambda: pieces.load(folder)) == (
        f"{folder / 'keras'} holds a damaged model, which cannot be read.\n"
        "Copy the folder again from where it was trained, or train it again."
    )
