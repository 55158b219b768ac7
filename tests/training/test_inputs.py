"""Every photo is fed once a pass, with its own label."""

import hashlib
from pathlib import Path

import numpy as np

from headstart.pictures import pixels
from headstart.training import activations, inputs
from headstart.training.inputs import Inputs
from headstart.training.recipe import Recipe


def test_every_photo_is_seen_once_a_pass_with_its_own_label(photos: Path) -> None:
    files = sorted(photos.rglob("*.jpg"))[:26]
    digests = [hashlib.sha256(file.read_bytes()).hexdigest() for file in files]
    plain = np.stack(list(pixels.read_many(files, 32, "squash"))).astype(np.float32)
    live = activations.Live(None, activations.random_view(files, digests, 32, "squash", (), 0))
    fed = Inputs(np.arange(26), live)
    recipe = Recipe(32, "squash", 2, batch_size=8, learning_rate=1e-3, operations=(), views=2, seed=0)
    for epoch in (1, 2):
        batches = list(inputs.training_batches(fed, np.arange(26), recipe, epoch=epoch))
        assert [len(chosen) for _, chosen in batches] == [8, 8, 8, 2]
        seen = np.concatenate([rows for rows, _ in batches])
        places = [int(np.flatnonzero((plain == one).all(axis=(1, 2, 3)))[0]) for one in seen]
        assert sorted(places) == list(range(26))
        assert places == np.concatenate([chosen for _, chosen in batches]).tolist()
        assert places != list(range(26))
