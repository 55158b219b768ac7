"""What a Keras model of a trained classifier is put together from, kept beside its graph for exports.

OpenVINO's graph cannot be turned back into a Keras model, from which every other format is written. So a
saved classifier has a folder `keras`: `head.npz` (weights and bias of the head, its temperature inside, and
what novelty is measured from), the fine-tuned network as `backbone.keras` where it is not the pretrained one,
and the checksums of both. `predict` and serving never read it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from headstart.base import filenames, records
from headstart.base.arrays import Floats
from headstart.base.errors import RunError, disk_full_named
from headstart.networks import engine
from headstart.networks.backbones import import_keras
from headstart.networks.engine import Engine, KerasEngine
from headstart.storage import checksums

if TYPE_CHECKING:
    from keras import Model


@dataclass(frozen=True, eq=False)
class Pieces:
    """A head, and the network that it stands on.

    Attributes:
        weights: float32 (D, C), as in `Engine.with_head`.
        bias: float32 (C,).
        references: float32 (R, D), from `novelty.references`.
        backbone: The fine-tuned network, pixels to features; None where it is the pretrained one.
    """

    weights: Floats
    bias: Floats
    references: Floats
    backbone: "Model | None" = None

    def on(self, network: Engine) -> Engine:
        """Return an engine of the backbone with this head."""
        return network.with_head(self.weights, self.bias, self.references)

    def save(self, folder: Path) -> None:
        """Write them into the folder of a saved classifier.

        Raises:
            DiskFull: No space is left.
        """
        place = folder / filenames.PIECES
        with disk_full_named(folder):
            place.mkdir(parents=True)
            head = records.to_npz((self.weights, self.bias, self.references))
            (place / filenames.HEAD).write_bytes(head)
            if self.backbone is not None:
                self.backbone.save(place / filenames.BACKBONE)
            checksums.write(place)


def side_by_side(networks: Sequence["Model"]) -> "Model":
    """Return a network that gives the features of several, one behind the other."""
    joined = engine.join([KerasEngine(one) for one in networks])
    assert isinstance(joined, KerasEngine)
    return joined.model


def load(folder: Path) -> Pieces:
    """Read what `Pieces.save` wrote into the folder of a saved classifier.

    Raises:
        RunError: It is not there, or damaged.
        MissingPackage: There is a fine-tuned network, and TensorFlow is not installed.
    """
    place = folder / filenames.PIECES
    if not place.is_dir():
        raise RunError(
            f"{folder} does not hold what a Keras model is put together from, {place.name}/{filenames.HEAD}.",
            "Train it again with this version, or export it as openvino alone.",
        )
    try:
        checksums.check(place)
        weights, bias, references = records.from_npz((place / filenames.HEAD).read_bytes())
        kept = place / filenames.BACKBONE
        backbone = import_keras().saving.load_model(kept, safe_mode=True) if kept.exists() else None
    except (RuntimeError, ValueError, OSError) as error:
        raise RunError(
            f"{place} holds a damaged model, which cannot be read.",
            "Copy the folder again from where it was trained, or train it again.",
        ) from error
    return Pieces(weights, bias, references, backbone)
