"""What a comparison will cost: seconds by stage, disk and memory, from what this machine was seen to do."""

import dataclasses
import hashlib
import platform
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from headstart.base import records
from headstart.networks import explanation, novelty
from headstart.pictures.pixels import core_count
from headstart.reporting.projection import MAX_SPOTS
from headstart.results import gallery
from headstart.storage.store import Kind, Store
from headstart.training import augmentation
from headstart.training.finetune import MIXES

KIND: Kind = "costs"
"""What measured costs are called in the store."""

PROBE_S, CURVE_S = (2.7e-7, 4.6e-9), (1.7e-7, 1.6e-9)
"""What `fitting_s` takes for all probes of a backbone, out-of-fold ones included, and for the learning curve,
which is measured for the recommended one alone.

Fitted to 12 sets of features of mobilenet_v2, of 800 to 9,000 photos in 3 to 102 classes. With one validation
part the probes took two cores 1.8 s of processor time for 1,000 photos in 3 classes, 46 s for 9,000 in 102,
and four fifths of that by the clock. The law is within 25% of the probes; the curve, a third of it all, took
from a fifth less to twice as much, the most with few photos of many classes."""

FIXED_PHOTOS, CLASS_POWER, FOLD_S = 3000, 1.3, 0.6
"""What fitting costs however few the photos are, in photos; how it grows with the classes; and the part of a
single fold's seconds that each further one takes."""

MAP_S = 3.0
"""Seconds to draw a map of all the photos that it takes and their thumbnails."""

BASE_MB = 450
TRAINING_MB = 2200
"""Memory of Python with OpenVINO, and what TensorFlow takes on top to fine-tune in batches of 32."""


@dataclass(frozen=True)
class Costs:
    """What one backbone costs on this machine, in seconds; None is what was not measured.

    Attributes:
        prepare: To open it.
        ask: To send a photo, decoded, through the compiled backbone.
        build: To make it ready for fine-tuning.
        trunk: To send a photo, decoded, through the frozen trunk.
        train: To train on a photo whose activations are there.
        convert: To turn the fine-tuned graph into what is handed over.
        trunk_bytes: What the frozen trunk makes of a photo takes so many bytes on disk.
    """

    prepare: float | None = None
    ask: float | None = None
    build: float | None = None
    trunk: float | None = None
    train: float | None = None
    convert: float | None = None
    trunk_bytes: float | None = None


@dataclass(frozen=True)
class Work:
    """How much there is to do with one backbone.

    Attributes:
        n_photos: Photos to learn from and to choose by.
        n_train: Photos to train on in all folds, and at the end of several, in one pass each.
        n_validation: Photos to choose by in all folds.
        n_test: Photos to measure on.
        n_kept: Photos to learn from and to choose by whose features are kept from before.
        n_test_kept: The same of the test part.
        feature_size: D.
        n_classes: C.
        n_checked: Photos whose views are checked for augmentation.
        n_viewed: Different photos to train on.
        views: Random views of a photo that the trunk is asked about; 0: in each pass anew.
        epochs: Passes.
        n_folds: Folds to choose by: 1 with a validation part.
        seeds: How often all of fine-tuning is done.
        is_built: Whether it is ready for fine-tuning already.
        read: Seconds to read and decode a photo.
    """

    n_photos: int
    n_train: int
    n_validation: int
    n_test: int
    n_kept: int
    n_test_kept: int
    feature_size: int
    n_classes: int
    n_checked: int
    n_viewed: int
    views: int
    epochs: int
    n_folds: int
    seeds: int
    is_built: bool
    read: float = 0.0


def features_stages(costs: Costs, work: Work) -> dict[str, float]:
    """Return the seconds of feature extraction, of the probe, and of features of the test part.

    Photos are read once for all backbones, which is not among it.
    """
    ask = costs.ask or 0.0
    return {
        "features": (work.n_photos - work.n_kept) * ask,
        "probe": fitting_s(work, *PROBE_S),
        "test": (work.n_test - work.n_test_kept) * ask,
    }


def fitting_s(work: Work, each: float, per_class: float) -> float:
    """Return the seconds that heads take: (N + `FIXED_PHOTOS`) D (each + per_class C^`CLASS_POWER`).

    With several folds, each of the others adds `FOLD_S` of that.
    """
    per_value = each + per_class * work.n_classes**CLASS_POWER
    once: float = (work.n_photos + FIXED_PHOTOS) * work.feature_size * per_value
    return once * (1 + FOLD_S * (work.n_folds - 1))


def finetune_stages(costs: Costs, work: Work) -> dict[str, float]:
    """Return the seconds of fine-tuning, the probe that it starts from not counted."""
    ask, trunk, train = costs.ask or 0.0, work.read + (costs.trunk or 0.0), costs.train or 0.0
    n_trunk = work.n_viewed * (work.views or work.epochs)
    n_trunk += work.n_validation * (1 if work.views else work.epochs + 1)
    # Forward alone is about a third of forward and backward.
    n_forward = work.n_validation * (work.epochs + 1 + len(MIXES))
    training = n_trunk * trunk + (work.n_train * work.epochs + n_forward / 3) * train
    # With folds, what is handed over is not asked about the validation photos again.
    n_asked = min(work.n_photos, novelty.MAX_PHOTOS) + (work.n_validation if work.n_folds == 1 else 0)
    return {
        "augmentation": work.n_checked * len(augmentation.OPERATIONS) * ask,
        "finetune": (0.0 if work.is_built else costs.build or 0.0) + work.seeds * training,
        "convert": work.seeds * ((costs.convert or 0.0) + n_asked * (work.read + ask)),
        "test of the fine-tuned": work.seeds * work.n_test * (work.read + ask),
    }


def judging_stages(costs: Costs, work: Work, *, has_report: bool) -> dict[str, float]:
    """Return the seconds of what is said of the recommended candidate, if it is of this backbone."""
    n_asked = gallery.EXPLAINED * explanation.INFERENCES
    report = MAP_S * min(1.0, (work.n_photos + work.n_test) / MAX_SPOTS) + n_asked * (costs.ask or 0.0)
    return {
        "learning curve": fitting_s(work, *CURVE_S),
        "report": report if has_report else 0.0,
    }


def disk_mb(costs: Costs, work: Work, *, has_finetune: bool) -> float:
    """Return what is added to the disk, 10^6 bytes: features for good, a trunk's activations for a while."""
    n_new = work.n_photos + work.n_test - work.n_kept - work.n_test_kept
    kept = n_new * work.feature_size * 2
    passing = (work.n_viewed * work.views + work.n_validation) * (costs.trunk_bytes or 0.0)
    return (kept + (passing if has_finetune else 0.0)) / 1e6


def memory_mb(works: Iterable[Work], *, has_finetune: bool) -> float:
    """Return the most memory at a time, 10^6 bytes: the features of one backbone are there twice."""
    features = max(one.n_photos * one.feature_size * 4 * 2 / 1e6 for one in works)
    return BASE_MB + features + (TRAINING_MB if has_finetune else 0.0)


def remember(store: Store, key: str, costs: Costs) -> None:
    """Keep what was measured of a backbone on this machine; what was not measured now stays as it was."""
    known = {name: value for name, value in dataclasses.asdict(costs).items() if value is not None}
    merged = dataclasses.replace(recall(store, key), **known)
    store.put([(_key(key), records.to_bytes(merged))], KIND)


def recall(store: Store, key: str) -> Costs:
    """Return what was measured of a backbone on this machine before."""
    kept = store.get([_key(key)])
    return records.from_bytes(kept[_key(key)], Costs) if kept else Costs()


@dataclass(frozen=True, eq=False)
class Ledger:
    """What one backbone was seen to cost on this machine; `key` tells it from others."""

    store: Store
    key: str

    def known(self) -> Costs:
        """Return what was measured before."""
        return recall(self.store, self.key)

    def note(self, **seconds: float) -> None:
        """Keep what was measured now, by the names of `Costs`."""
        remember(self.store, self.key, Costs(**seconds))


def _key(key: str) -> bytes:
    machine = (platform.node(), platform.machine(), platform.processor(), core_count())
    return hashlib.sha256(repr((machine, key)).encode()).digest()


def total(stages: Mapping[str, float]) -> float:
    """Return the sum of the seconds of all stages."""
    return sum(stages.values())


def peak_memory_mb() -> float | None:
    """Return the most memory that this process has had, 10^6 bytes; None where the system does not tell."""
    status = Path("/proc/self/status")
    if status.exists():
        # Not `getrusage`: on Linux its figure begins with that of the process that started this one.
        (line,) = (one for one in status.read_text().splitlines() if one.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024 / 1e6
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if platform.system() == "Darwin" else peak * 1024 / 1e6
