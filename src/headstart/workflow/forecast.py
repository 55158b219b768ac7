"""What a comparison will cost: seconds by stage, disk and memory, from what this machine was seen to do."""

import dataclasses
import functools
import hashlib
import math
import platform
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from headstart.base import records
from headstart.networks import explanation, novelty, vectors
from headstart.pictures.pixels import core_count
from headstart.reporting.projection import MAX_SPOTS
from headstart.results import gallery
from headstart.storage.store import Kind, Store
from headstart.training import augmentation, cholesky, learning_curve, ridge, threads

KIND: Kind = "costs"
"""What measured costs are called in the store."""

TRIED = 3.3
"""Strengths of penalty that a search tries, on average: three at least."""

VALUE_S, FIT_S, SERIAL = 1e-8, 0.02, 0.2
"""Processor seconds of fitting a head that are in no products: for each number that is read or copied, and
however few the photos are; and the part of all of it that one core does alone.

With `product_s` the law is within 25% of what heads and learning curves took for nine made sets of 300 to
9,000 photos, 1,280 to 5,900 features and 3 to 102 classes, 0.2 to 13 s of processor time each; of a thousand
photos, which take less than a second, it is off by a factor of two at worst."""

MAP_S = 3.0
"""Seconds to draw a map of all the photos that it takes and their thumbnails."""

MEAN = 1.6
"""How many times the frozen network's the time is that a fine-tuned one takes for a photo, where its layers
stand in it twice: 1.6 for both backbones of the default, whose second half is trained (sample:textile)."""

BASE_MB = 450
TRAINING_MB = 2900
"""Memory of Python with OpenVINO, and what TensorFlow takes on top to fine-tune:
clothing and textile, both backbones and their mean, had 3,400 and 3,600 at the most."""


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
        "probe": heads_s(work),
        "test": (work.n_test - work.n_test_kept) * ask,
    }


def heads_s(work: Work) -> float:
    """Return the seconds that all heads of a backbone take, those included that leave photos out.

    With a validation part one search is made on the training photos, and one on all, from where that ended.
    With folds it is made on all, and a head is fitted on what each fold leaves.
    """
    n, n_train = work.n_photos, _n_train(work)
    if work.n_folds == 1:
        effort = _search(work, n_train, n_train) + _search(work, n, work.n_validation)
    else:
        one = _fit(work, n_train, ridge.n_asked(n_train, work.n_classes)) + _move(
            work, n_train, 2 * (n - n_train)
        )
        effort = _search(work, n, n) + work.n_folds * one
    return effort.seconds()


def pairs_s(works: Sequence[Work]) -> float:
    """Return the seconds that the heads of pairs take: of one backbone with each of the others beside it."""
    first, *others = works
    sizes = [first.feature_size + other.feature_size for other in others]
    return math.fsum(heads_s(dataclasses.replace(first, feature_size=size)) for size in sizes)


def curve_s(work: Work) -> float:
    """Return the seconds that the heads of the learning curve take."""
    n_train, draws = _n_train(work), learning_curve.REPEATS if work.n_folds == 1 else 2
    effort = Effort()
    for part in learning_curve.FRACTIONS:
        n = round(part * n_train)
        # Parts are nested: about half of one is new to its products. Those who are asked are read each time,
        # and for weights by products of photos the part itself, of which `_fit` counts a third.
        n_read = work.n_validation / work.n_folds + (2 * n / 3 if n <= work.feature_size else 0)
        one = _fit(work, n, 0) + _move(work, n, n // 2) + Effort(values=n_read * work.feature_size)
        effort += work.n_folds * (draws if part <= 0.5 else 1) * one
    return effort.seconds()


@dataclass(frozen=True)
class Effort:
    """What fitting takes: multiplications with additions in products, numbers read or copied, and fits."""

    products: float = 0.0
    values: float = 0.0
    fits: float = 0.0

    def __add__(self, other: "Effort") -> "Effort":
        return Effort(self.products + other.products, self.values + other.values, self.fits + other.fits)

    def __rmul__(self, times: float) -> "Effort":
        return Effort(times * self.products, times * self.values, times * self.fits)

    def seconds(self) -> float:
        """Return the seconds that it takes on all cores."""
        processor = self.products * product_s() + self.values * VALUE_S + self.fits * FIT_S
        return processor * (SERIAL + (1 - SERIAL) / core_count())


def _n_train(work: Work) -> int:
    n_held_out = work.n_validation if work.n_folds == 1 else work.n_photos // work.n_folds
    return work.n_photos - n_held_out


def _search(work: Work, n: int, n_new: int) -> Effort:
    """Return what a search on n photos takes, `n_new` of them new, and leaving out all of them in the end."""
    n_asked = ridge.n_asked(n, work.n_classes)
    tries = TRIED * _fit(work, n, n_asked) + _products(work, n, n_new)
    return tries + (_fit(work, n, n) if n_asked < n else Effort())


def _products(work: Work, n: int, n_new: int) -> Effort:
    """Return what half of the products takes, of n photos or of features, whichever are fewer."""
    size, side = work.feature_size, min(n, work.feature_size)
    # Twice for the features; for each block of photos those before it are read again.
    n_reads = 2 + (n / 2 / vectors.BLOCK if side == n else 0)
    return Effort(products=n_new * side * size / 2, values=n_reads * n_new * size)


def _move(work: Work, n: int, n_new: int) -> Effort:
    """Return what the products of another part take: where all photos have theirs, a part has them too."""
    if work.n_photos <= work.feature_size:
        return Effort()
    return _products(work, n, n if n <= work.feature_size else n_new)


def _fit(work: Work, n: int, n_asked: int) -> Effort:
    """Return what one penalty takes: its factor, the photos it leaves out, a right side for each class."""
    size, side = work.feature_size, min(n, work.feature_size)
    factor, solving = side**3 / 6, work.n_classes * side**2
    if side == n:
        # What is before a photo is skipped: a third is left on average.
        return Effort(factor + solving + n_asked * side**2 / 6, side**2 + n * size / 3, 1)
    leaving = n_asked * (side**2 / 2 + side * work.n_classes)
    return Effort(factor + solving + leaving, side**2 + n_asked * size, 1)


@functools.cache
def product_s() -> float:
    """Return the seconds that a multiplication and an addition in float32 take on one core, in products.

    The least of three measurements, a tenth of a second in all; other programs do not count.
    """
    square = np.ones((1024, 1024), np.float32)
    seconds = []
    with threads.opened():
        for _ in range(3):
            start = time.thread_time()
            square @ square
            seconds.append(time.thread_time() - start)
    return min(seconds) / 1024**3


def finetune_stages(costs: Costs, work: Work) -> dict[str, float]:
    """Return the seconds of fine-tuning, the probe that it starts from not counted."""
    ask, trunk, train = costs.ask or 0.0, work.read + (costs.trunk or 0.0), costs.train or 0.0
    n_trunk = work.n_viewed * (work.views or work.epochs)
    n_trunk += work.n_validation * (1 if work.views else work.epochs + 1)
    # Forward alone is about a third of forward and backward.
    n_forward = work.n_validation * (work.epochs + 1)
    training = n_trunk * trunk + (work.n_train * work.epochs + n_forward / 3) * train
    # With folds, what is handed over is not asked about the validation photos again.
    n_asked = min(work.n_photos, novelty.MAX_PHOTOS) + (work.n_validation if work.n_folds == 1 else 0)
    return {
        "augmentation": work.n_checked * len(augmentation.OPERATIONS) * ask,
        "finetune": (0.0 if work.is_built else costs.build or 0.0) + work.seeds * training,
        "convert": work.seeds * ((costs.convert or 0.0) + n_asked * (work.read + MEAN * ask)),
        "test of the fine-tuned": work.seeds * work.n_test * (work.read + MEAN * ask),
    }


def judging_stages(costs: Costs, work: Work, *, has_report: bool) -> dict[str, float]:
    """Return the seconds of what is said of the recommended candidate, if it is of this backbone."""
    n_asked = gallery.EXPLAINED * explanation.INFERENCES
    report = MAP_S * min(1.0, (work.n_photos + work.n_test) / MAX_SPOTS) + n_asked * (costs.ask or 0.0)
    return {
        "learning curve": curve_s(work),
        "report": report if has_report else 0.0,
    }


def disk_mb(costs: Costs, work: Work, *, has_finetune: bool) -> float:
    """Return what is added to the disk, 10^6 bytes: features for good, a trunk's activations for a while."""
    n_new = work.n_photos + work.n_test - work.n_kept - work.n_test_kept
    kept = n_new * work.feature_size * 2
    passing = (work.n_viewed * work.views + work.n_validation) * (costs.trunk_bytes or 0.0)
    return (kept + (passing if has_finetune else 0.0)) / 1e6


def memory_mb(works: Iterable[Work], *, has_finetune: bool) -> float:
    """Return the most memory at a time, 10^6 bytes; heads of one backbone are fitted at a time."""
    return BASE_MB + max(map(_heads_mb, works)) + (TRAINING_MB if has_finetune else 0.0)


def _heads_mb(work: Work) -> float:
    """Return what fitting heads takes: features or some of those in a file, blocks of them, the products."""
    side = min(work.n_photos, work.feature_size)
    features = min(work.n_photos * work.feature_size * 2, vectors.IN_MEMORY_BYTES)
    blocks = 4 * work.feature_size * (2 * vectors.BLOCK + 2 * core_count() * cholesky.ROWS)
    return (features + blocks + side**2 * (8 if side <= ridge.SMALL else 4)) / 1e6


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
