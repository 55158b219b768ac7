"""The model of a run on labelled photos: how right it is, and how much of that it was trained on."""

import shlex
import textwrap
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Unpack

import numpy as np
from numpy.typing import NDArray

from headstart.base import filenames
from headstart.base.arrays import Bools
from headstart.base.errors import DataError
from headstart.base.progress import Progress
from headstart.base.settings import Reading
from headstart.base.words import all_or_few, first_few
from headstart.networks import classifier
from headstart.networks.classifier import Classifier
from headstart.photos import audit as audits
from headstart.photos import splits
from headstart.photos.audit import Audit
from headstart.reporting.leaderboard import table
from headstart.sources import listing, places
from headstart.sources.dataset import Dataset, SetAside
from headstart.sources.layouts import LOOSE, bare_folders
from headstart.statistics import calibration, metrics
from headstart.statistics.calibration import Selection
from headstart.statistics.metrics import Evaluation
from headstart.statistics.significance import Interval, accuracy_interval
from headstart.storage.store import Store

SCHEMA_VERSION = 1

SEEN, NEW = ("train", "validation"), "new"
"""Parts of the run's split that the model was trained on or chosen by; and photos that are in none."""

NAMED = 20
"""Names that a sentence lists before it counts the rest."""

_OTHERS = "Name other photos; `headstart check` tells what is amiss with these."


@dataclass(frozen=True)
class Share:
    """Some of the photos, one or more, and the part of them that the model is right on.

    `interval` is Wilson's; where some photos are copies of each other, it is by bootstrap of their groups.
    """

    n_images: int
    n_right: int
    accuracy: float
    interval: Interval


@dataclass(frozen=True)
class Appraisal(Evaluation):
    """A model's scores on labelled photos, and how much they say of new ones.

    `headstart evaluate --json` prints this.

    Attributes:
        schema_version: Goes up when a field is renamed, removed or means something else.
        accuracy_interval: As that of `Share`.
        commonest: The class of the most photos here.
        baseline: Accuracy of always saying that class.
        absent: Classes of the model without a photo here; balanced accuracy and macro-F1 are over the others.
        by_part: By "train", "validation" and "test", the photos that are in that part of the run's own split,
            and "new", those that are in none, told by their bytes; without a photo there is no entry. None
            where the folder of the model has no split.csv.
        seen: Photos that the model was trained on or chosen by; None where there are none, or `by_part` is.
        unseen: All others.
        n_refused: Photos that the model takes for none of its classes; None where it refuses nothing.
        selection: What the confidence from which on it is sure lets through; None where it has none.
        unreadable: Photos that were left out, each with the reason.
        n_unreadable: Their number.
        n_unlabelled: Photos beside the class folders or in a part without any; they were left out.
        n_ignored: Files that were passed over: these, and those that are no photos.
    """

    schema_version: int
    accuracy_interval: Interval
    commonest: str
    baseline: float
    absent: tuple[str, ...]
    by_part: dict[str, Share] | None
    seen: Share | None
    unseen: Share | None
    n_refused: int | None
    selection: Selection | None
    n_unreadable: int
    unreadable: tuple[SetAside, ...]
    n_unlabelled: int
    n_ignored: int


def evaluate(
    folder: Path, data: str, progress: Progress | None = None, **reading: Unpack[Reading]
) -> Appraisal:
    """Measure a model on all readable photos of some data.

    Args:
        folder: A finished run folder, or a folder that holds a model alone.
        data: Labelled photos, as for `compare`, of one of the model's classes or more. Classes are matched by
            name, not by position; parts that the data itself names are not told apart.
        progress: Where to tell how far it is, and what was left out.
        reading: How the data is listed, as for `headstart.sources.listing.load`.

    Raises:
        DataError: The data has a class that the model does not know, or no photo that can be read.
        ChangedPhoto: A photo was changed while it was measured on.
        RunError: The folder holds no model, or its split.csv is damaged.
    """
    progress = progress or Progress()
    model = classifier.load_run(folder)
    listed = listing.load(places.resolve(data, progress), **reading, fewest_classes=1)
    _refuse_unknown(listed.class_names, model.class_names)
    if listed.layout:
        progress.remark(f"Read as: {listed.layout}.")
    with Store(progress) as store:
        audited = audits.audit(listed, store=store, progress=progress, is_thorough=False)
    _tell_unreadable(audited.quarantine, data, len(listed), progress)
    labels = _labels(audited.dataset, model.class_names)
    files = [audited.dataset.file(index) for index in range(len(audited.dataset))]
    probabilities, novelty = model.ask(files, audited.digests, progress=progress)
    parts = _parts_of(_split_file(folder), audited.digests)
    return _appraise(model, labels, probabilities, novelty, parts, audited, listed)


def _refuse_unknown(names: Sequence[str], known: Sequence[str]) -> None:
    unknown = [name for name in names if name not in known]
    if not unknown:
        return
    fix = "Name photos whose folders or labels are called as the model's classes are."
    if len(unknown) < len(names):
        fix = (
            "Rename the folders or labels to the model's names for them, or leave these photos out: "
            f"--exclude {shlex.quote(','.join(unknown))}"
        )
    raise DataError(
        f"The model knows no class {all_or_few(list(map(repr, unknown)), NAMED, NAMED, 'or')}: its classes "
        f"are {first_few(known, NAMED)}.",
        fix,
    )


def _tell_unreadable(unreadable: Sequence[SetAside], data: str, n_listed: int, progress: Progress) -> None:
    if not unreadable:
        return
    first = f"the first, {unreadable[0].path}: {unreadable[0].reason}"
    if len(unreadable) == n_listed:
        raise DataError(f"No photo of '{data}' can be read, of {n_listed:,}; {first}", _OTHERS)
    told = first_few([f"{one.path} ({one.reason.removesuffix('.')})" for one in unreadable], NAMED)
    progress.remark(f"Left out, for {'it' if len(unreadable) == 1 else 'they'} cannot be read: {told}.")


def _labels(usable: Dataset, class_names: Sequence[str]) -> NDArray[np.int32]:
    """Return the labels as indices into a model's class names."""
    positions = np.array([class_names.index(name) for name in usable.class_names], np.int32)
    return positions[usable.labels]


def _split_file(folder: Path) -> Path | None:
    """Return the split.csv of a run, also where its model folder was named."""
    places = (folder, *([folder.absolute().parent] if not (folder / filenames.MODEL).is_dir() else []))
    return next((file for place in places if (file := place / filenames.SPLIT).is_file()), None)


def _parts_of(split: Path | None, digests: Sequence[str]) -> tuple[str, ...] | None:
    """Return the part of the run's split that each photo is in; of copies in several, the one trained on."""
    if split is None:
        return None
    rows = sorted(splits.read_csv(split), key=lambda row: splits.PARTS.index(row.part), reverse=True)
    part_of = {row.sha256: row.part for row in rows}
    return tuple(part_of.get(digest, NEW) for digest in digests)


def _appraise(
    model: Classifier,
    labels: NDArray[np.int32],
    probabilities: NDArray[np.float32],
    novelty: NDArray[np.float32] | None,
    parts: Sequence[str] | None,
    audited: Audit,
    listed: Dataset,
) -> Appraisal:
    scores = metrics.evaluate(labels, probabilities, model.class_names)
    correct, confidence = probabilities.argmax(axis=1) == labels, probabilities.max(axis=1)
    counts, calibrated = np.bincount(labels), model.record.calibration
    abstention, refusal = calibrated.abstention, calibrated.refusal

    def share(names: Collection[str]) -> Share | None:
        rows = np.array([part in names for part in parts or ()], bool)
        return _share(correct[rows], audited.groups[rows]) if rows.any() else None

    by_part = {name: found for name in (*splits.PARTS, NEW) if (found := share([name]))}
    return Appraisal(
        **{name: getattr(scores, name) for name in Evaluation.__dataclass_fields__},
        schema_version=SCHEMA_VERSION,
        accuracy_interval=accuracy_interval(correct, audited.groups),
        commonest=model.class_names[int(counts.argmax())],
        baseline=float(counts.max() / len(labels)),
        absent=tuple(one.name for one in scores.per_class if not one.n_images),
        by_part=None if parts is None else by_part,
        seen=share(SEEN),
        unseen=share({*splits.PARTS, NEW} - {*SEEN}),
        n_refused=None if refusal is None or novelty is None else int((novelty > refusal.threshold).sum()),
        selection=calibration.select(confidence, correct, abstention.threshold) if abstention else None,
        n_unreadable=len(audited.quarantine),
        unreadable=audited.quarantine,
        n_unlabelled=sum(one.reason == LOOSE for one in listed.ignored)
        + sum(map(len, bare_folders(listed.ignored).values())),
        n_ignored=len(listed.ignored),
    )


def _share(correct: Bools, groups: NDArray[np.integer]) -> Share:
    n_right = int(correct.sum())
    return Share(len(correct), n_right, n_right / len(correct), accuracy_interval(correct, groups))


def render(found: Appraisal) -> str:
    """Return an appraisal in words and tables: what it was trained on, the whole, then class by class."""
    rows = [(name, *_cells(share)) for name, share in (found.by_part or {}).items()]
    of_the_run = found.by_part and set(found.by_part) != {NEW}
    by_part = table(("part of the run", "photos", "accuracy", "interval"), rows) if of_the_run else ""
    told = _filled(*_whole(found), _absent(found), _refused(found), _left_out(found))
    return "\n".join(filter(None, (_filled(_familiar(found)), told, by_part, _by_class(found))))


def _filled(*sentences: str) -> str:
    """Return sentences, the empty ones left out, each on lines of its own."""
    return "".join(f"{textwrap.fill(one, 79, break_on_hyphens=False)}\n" for one in sentences if one)


def _familiar(found: Appraisal) -> str:
    """Say how many of the photos the model was trained on or chosen by, and how it does on the others."""
    seen, others = found.seen, found.unseen
    if seen is None:
        return ""
    if others is None:
        return (
            f"All of these {found.n_images:,} photos were trained on or chosen by: how right the model is on "
            "new ones they cannot say."
        )
    return (
        f"{seen.n_images:,} of these {found.n_images:,} photos were trained on or chosen by: the model is "
        f"right on {seen.accuracy:.1%} of them, and on {others.accuracy:.1%} of the {others.n_images:,} "
        f"others ({_interval(others.interval)}), which alone say how right it is on new ones."
    )


def _whole(found: Appraisal) -> tuple[str, str]:
    n_classes = len(found.per_class)
    n_present = n_classes - len(found.absent)
    over = f" over {n_present:,} of {n_classes:,} classes" if found.absent else ""
    guess = f"; always saying {found.commonest} would be right on {found.baseline:.1%}"
    return (
        f"accuracy {found.accuracy:.1%} ({_interval(found.accuracy_interval)}), balanced accuracy "
        f"{found.balanced_accuracy:.1%}{over}, macro F1 {found.macro_f1:.3f}, log loss {found.log_loss:.3f}",
        f"on {found.n_images:,} photos{guess if n_present > 1 else f', all of {found.commonest}'}",
    )


def _absent(found: Appraisal) -> str:
    return f"no photo here: {first_few(found.absent, NAMED)}" if found.absent else ""


def _refused(found: Appraisal) -> str:
    """Say what the model does not answer, and of what it is sure."""
    told, sure = [], found.selection
    if found.n_refused is not None:
        told.append(f"none of these: {found.n_refused:,} photos ({found.n_refused / found.n_images:.1%})")
    if sure:
        told.append(f"sure: {sure.n_accepted:,} photos ({sure.coverage:.1%}), {sure.n_wrong:,} of them wrong")
    return "; ".join(told)


def _left_out(found: Appraisal) -> str:
    counts = {
        "unreadable": found.n_unreadable,
        "without a label": found.n_unlabelled,
        "other files": found.n_ignored - found.n_unlabelled,
    }
    told = [f"{count:,} {what}" for what, count in counts.items() if count]
    return f"left out: {', '.join(told)}" if told else ""


def _by_class(found: Appraisal) -> str:
    rows = [
        (one.name, f"{one.n_images:,}", f"{one.precision:.3f}", f"{one.recall:.3f}", f"{one.f1:.3f}")
        if one.n_images
        else (one.name, "0", "", "", "")
        for one in found.per_class
    ]
    return table(("class", "photos", "precision", "recall", "F1"), rows)


def _cells(share: Share) -> tuple[str, str, str]:
    low, high = share.interval.low, share.interval.high
    return f"{share.n_images:,}", f"{share.accuracy:.1%}", f"{100 * low:.1f}–{high:.1%}"


def _interval(interval: Interval) -> str:
    return f"{interval.level:.0%} interval {interval.low:.1%} to {interval.high:.1%}"
