"""The photos of a run: listed, audited and divided, and whether a finished run is of them as they are now."""

import hashlib
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from headstart.base import filenames, records
from headstart.base.arrays import Bools, Labels
from headstart.base.errors import DataError, RunError
from headstart.base.progress import Progress
from headstart.base.settings import Settings
from headstart.photos import audit as audits
from headstart.photos import splits
from headstart.photos.audit import Audit
from headstart.photos.findings import IMBALANCE, Finding
from headstart.photos.splits import Lesson, Part, Sealed, Split
from headstart.results import run as runs
from headstart.results import snapshot
from headstart.results.comparison import DatasetSummary, FindingSummary
from headstart.results.run import Run
from headstart.sources import listing, samples
from headstart.sources.dataset import Dataset
from headstart.workflow.techniques.bench import Bench

SMALL = 1000
"""Photos below which a validation part would be too small to choose by, and folds are taken."""


@dataclass(frozen=True, eq=False)
class Photos:
    """What the data came to, and the summaries that the results tell.

    Attributes:
        root: Folder that all paths are relative to.
        parts: Train, validation and test by name.
        lesson: Train and validation together, by which folds they are learnt from, and the class names.
        summary: How many there are.
        findings: Gravest first.
        leaks: bool (N,), which test photos have a copy, or one of their group, in train or validation.
    """

    root: Path
    parts: dict[str, Part]
    lesson: Lesson
    summary: DatasetSummary
    findings: tuple[FindingSummary, ...]
    leaks: Bools

    @property
    def class_names(self) -> tuple[str, ...]:
        """C names."""
        return self.lesson.class_names

    @property
    def test(self) -> Part:
        """The part that is measured on, once the decision is made."""
        return self.parts["test"]

    @property
    def sealed(self) -> Sealed:
        """What is told of the test part before."""
        return Sealed(self.test.digests)

    @property
    def has_clean(self) -> bool:
        """Whether there are test photos without a copy in train or validation."""
        return not bool(self.leaks.all())


def prepare(run: Run, bench: Bench) -> Photos:
    """List, audit and split the photos; write photos.csv, quarantine.csv and split.csv.

    Raises:
        DataError: No photos, too few classes, or a class too small to split.
    """
    settings = bench.settings
    listed, audited = _audit(run, bench)
    told = tuple(map(summarised, audited.findings))
    for line in remarks(told):
        bench.progress.remark(line)
    n_folds = folds_of(settings, audited.dataset)
    split = splits.split(
        audited,
        seed=settings.seed,
        validation=settings.validation,
        test=settings.test,
        has_validation=not n_folds,
    )
    splits.write_csv(run.folder / filenames.SPLIT, audited, split)
    parts = _parts(audited, split, settings)
    train, validation = parts["train"], parts["validation"]
    folds = splits.folds(train, validation, n_folds=n_folds, seed=settings.seed)
    lesson = Lesson(splits.joined(train, validation), folds, audited.dataset.class_names)
    leaks = splits.leaking(audited, split)[split.indices("test")]
    summary = _summary(listed, audited, parts)
    return Photos(audited.dataset.root, parts, lesson, summary, told, leaks)


def _audit(run: Run, bench: Bench) -> tuple[Dataset, Audit]:
    """Return the photos as they were listed, and what was found of them; write both down."""
    settings, progress = bench.settings, bench.progress
    listed = listing.load(samples.resolve(settings.data, progress), **settings.reading)
    if listed.layout:
        progress.remark(f"Read as: {listed.layout}.")
    stamped = snapshot.stamps(listed)
    audited = audits.audit(listed, store=bench.store, progress=progress, is_thorough=settings.check)
    snapshot.write(run.folder / filenames.PHOTOS, listed, stamped, audited)
    rows = [(one.path, one.reason) for one in audited.quarantine]
    records.write_csv(run.folder / filenames.QUARANTINE, filenames.QUARANTINE_COLUMNS, rows)
    return listed, audited


def _parts(audited: Audit, split: Split, settings: Settings) -> dict[str, Part]:
    labels = audited.dataset.labels[split.indices("train")]
    is_balanced = _is_balanced(settings.class_weight, labels)
    return {name: splits.take_part(audited, split, name, is_balanced=is_balanced) for name in splits.PARTS}


def _summary(listed: Dataset, audited: Audit, parts: Mapping[str, Part]) -> DatasetSummary:
    usable = audited.dataset
    return DatasetSummary(
        n_images=len(usable.paths),
        class_names=usable.class_names,
        n_train=len(parts["train"].files),
        n_validation=len(parts["validation"].files),
        n_test=len(parts["test"].files),
        n_quarantined=len(audited.quarantine),
        n_ignored=len(listed.ignored),
        given_parts=tuple(part for part in splits.PARTS if part in usable.given_parts),
    )


def summarised(finding: Finding) -> FindingSummary:
    """Return a finding as the results tell it."""
    return FindingSummary(finding.kind, finding.detail, finding.advice, finding.paths)


def folds_of(settings: Settings, usable: Dataset) -> int:
    """Return how many folds to choose by; 0: by a validation part."""
    if settings.folds is not None:
        return settings.folds
    is_small = len(usable.paths) < SMALL and "validation" not in usable.given_parts
    return splits.N_FOLDS if is_small else 0


def remarks(told: Sequence[FindingSummary]) -> list[str]:
    """Return a line for each finding, at most 3 of a kind, and how many more there are."""
    lines = []
    for kind in dict.fromkeys(one.kind for one in told):
        same = [one for one in told if one.kind == kind]
        lines += [f"{one.detail} {one.advice}" for one in same[:3]]
        if len(same) > 3:
            lines.append(f"… and {len(same) - 3:,} more of this kind ({kind}): see {filenames.RESULTS}.")
    return lines


def _is_balanced(class_weight: str, labels: Labels) -> bool:
    counts = np.bincount(labels)
    is_unequal = bool(counts.max() >= IMBALANCE * counts.min())
    return class_weight == "balanced" or (class_weight == "auto" and is_unequal)


def fingerprint(parts: Mapping[str, Part]) -> str:
    """Return the sha256 of the photos of all parts, their paths and labels; their order does not count."""
    lines = sorted(
        f"{name} {digest} {label} {path}"
        for name, part in parts.items()
        for digest, label, path in zip(part.digests, part.labels.tolist(), part.paths, strict=True)
    )
    return hashlib.sha256("\n".join(lines).encode(errors="surrogateescape")).hexdigest()


def is_current(run: Run, settings: Settings, progress: Progress, *, update: bool) -> bool:
    """Say whether a finished run is of the photos as they are, or as far as can be told.

    Where they are gone, so that it cannot be told, that is said.

    Raises:
        RunError: It is not, and is not to be updated.
    """
    if settings.data.startswith(samples.PREFIX):
        return True  # of which checksums are known
    if not Path(settings.data).exists():
        progress.warn(
            f"{settings.data} is not there any more: whether {run.folder} is of these photos cannot be told."
        )
        return True
    changed = what_changed(run, settings)
    if not changed:
        shutil.rmtree(run.update.folder, ignore_errors=True)
        return True
    if not update:
        raise RunError(changed, runs.UPDATE_OR_ANOTHER)
    progress.remark(f"{changed} They are compared anew.")
    return False


def what_changed(run: Run, settings: Settings) -> str:
    """Say in a sentence what has changed of the photos since a run was finished; "" if nothing has."""
    opening = f"The photos in {settings.data} are not those that {run.folder} was made of"
    try:
        rows = snapshot.read(run.folder / filenames.PHOTOS)
        found = snapshot.changes(rows, listing.load(Path(settings.data), **settings.reading))
    except RunError as error:
        return f"{error.problem} Whether the photos have changed cannot be told."
    except DataError as error:
        return f"{opening}: {error.problem}"
    return f"{opening}: {snapshot.say(found)}." if found else ""
