"""What a report shows of the photos themselves: gallery.json, made while the photos are at hand."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from headstart.base import filenames, records
from headstart.base.errors import ChangedPhoto, UnreadableImage
from headstart.base.progress import Progress
from headstart.networks import explanation
from headstart.networks.classifier import Classifier
from headstart.pictures import pixels
from headstart.reporting import projection
from headstart.results import gallery, predictions
from headstart.results.gallery import Explained, Spot
from headstart.results.predictions import Predictions
from headstart.results.run import Run
from headstart.results.suspect import Suspect
from headstart.storage.store import Kind, Store
from headstart.workflow.preparation import Photos
from headstart.workflow.techniques.trial import Trial

KIND: Kind = "reports"
"""What the map is called in the store."""

MAP_VERSION = 2
"""Goes up when another map comes of the same features."""


@dataclass(frozen=True, eq=False)
class Material:
    """What there is to be shown.

    Attributes:
        photos: Of all parts, with what was found of them.
        suspects: Whose labels look wrong, worst first.
        trial: The backbone of the candidate that is shown.
        chosen: The name of that candidate, the recommended one.
        model: That candidate as it was kept.
    """

    photos: Photos
    suspects: tuple[Suspect, ...]
    trial: Trial
    chosen: str
    model: Classifier

    @property
    def doubtful(self) -> tuple[str, ...]:
        """The paths of the suspects."""
        return tuple(one.path for one in self.suspects)


def write(run: Run, material: Material, store: Store, progress: Progress) -> None:
    """Write gallery.json into a run folder that holds predictions.csv and the recommended model.

    Raises:
        DiskFull: No space is left.
    """
    answers = predictions.read(run.folder, material.photos.class_names)
    chosen = answers.pop(material.chosen)
    digests = _digests(material)
    with ThreadPoolExecutor(1) as pool:  # the map keeps one core busy, heat maps both
        placed = pool.submit(place, material, chosen, store, progress)
        heats = list(explained(material.model, chosen, material.photos.root, digests))
        spots = placed.result()
    shown = gallery.wanted(
        material.photos.findings,
        material.doubtful,
        chosen,
        list(answers.values()),
        [spot.path for spot in spots],
    )
    keys = {path: gallery.thumbnail_key(digests[path]) for path in shown if path in digests}
    values = store.get(list(keys.values()))
    kept = {path: values[key] for path, key in keys.items() if key in values}
    made = gallery.make(
        [(path, material.photos.root / path) for path in shown],
        kept=kept,
        digests=digests,
        explained=heats,
        spots=spots,
        projection=projection.described(len(spots), material.trial.row.name),
        backbone=material.trial.row.name,
        progress=progress,
    )
    records.write_json(run.folder / filenames.GALLERY, made)
    new = [one for one in made.pictures if one.path in keys and one.path not in kept]
    store.put([(keys[one.path], one.thumbnail) for one in new], KIND)


def _digests(material: Material) -> dict[str, str]:
    return {
        path: digest
        for part in material.photos.parts.values()
        for path, digest in zip(part.paths, part.digests, strict=True)
    }


def place(material: Material, chosen: Predictions, store: Store, progress: Progress) -> tuple[Spot, ...]:
    """Return the map: all photos, or mistakes, suspects and others drawn at random."""
    parts = [(name, part) for name, part in material.photos.parts.items() if part.files]
    paths = [path for _, part in parts for path in part.paths]
    row_of = {path: row for row, path in enumerate(paths)}
    mistakes = [chosen.paths[row] for row in chosen.confident_mistakes(len(chosen.paths))]
    digests = [digest for _, part in parts for digest in part.digests]
    drawn = projection.choose(digests, [row_of[path] for path in (*mistakes, *material.doubtful)])
    trial, test = material.trial, material.photos.test
    all_features = trial.heads.last.above(trial.extraction.last_of(test.unlabelled))
    names = [name for name, part in parts for _ in part.paths]
    labels = np.concatenate([part.labels for _, part in parts])
    return gallery.place(
        [paths[row] for row in drawn],
        [names[row] for row in drawn],
        [material.photos.class_names[labels[row]] for row in drawn],
        _positions(all_features[drawn], trial.settings.seed, store),
        chosen,
    )


def _positions(features: NDArray[np.float32], seed: int, store: Store) -> NDArray[np.float64]:
    """Return the map of these features, from the store where it was drawn before."""
    key = hashlib.sha256(f"map {MAP_VERSION} {seed}".encode() + features.tobytes()).digest()
    kept = store.get([key])
    if kept:
        return records.from_npz(kept[key])[0]
    found = projection.project(features, seed=seed)
    store.put([(key, records.to_npz((found,)))], KIND)
    return found


def explained(
    model: Classifier, chosen: Predictions, root: Path, digests: Mapping[str, str]
) -> Iterator[Explained]:
    """Yield heat maps of the recommended candidate over some test photos, for the class that it predicts.

    A photo that was changed or removed since it was measured on is passed over.
    """
    rows: Sequence[int] = gallery.to_explain(chosen)

    def read(row: int) -> pixels.Pixels | None:
        path = chosen.paths[row]
        try:
            return pixels.read(root / path, model.record.image_size_px, model.record.fit, digests[path])
        except (ChangedPhoto, UnreadableImage):
            return None

    for row, picture in zip(rows, pixels.map_in_order(read, rows), strict=True):
        if picture is None:
            continue
        heat = explanation.explain(model.engine, picture, int(chosen.predicted[row]))
        yield gallery.explain(chosen, row, picture, explanation.overlay(picture, heat))
