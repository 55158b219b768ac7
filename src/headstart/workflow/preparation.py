"""The photos of a run: listed, audited and divided, and whether a finished run is of them as they are now."""

import hashlib
import shutil
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from headstart.base import filenames, records
from headstart.base.arrays import Bools, Labels
from headstart.base.errors import DataError, FetchError, NoSuchData, RunError
from headstart.base.progress import Progress
from headstart.base.settings import Settings
from headstart.networks.sweep import Pace
from headstart.photos import audit as audits
from headstart.photos import splits
from headstart.photos.audit import Audit, Onlooker
from headstart.photos.findings import IMBALANCE, Finding
from headstart.photos.splits import Lesson, Part, Sealed, Split
from headstart.results import run as runs
from headstart.results import snapshot
from headstart.results.comparison import DatasetSummary, FindingSummary
from headstart.results.run import Run
from headstart.results.snapshot import Stamp
from headstart.sources import listing, places
from headstart.sources.dataset import Dataset
from headstart.storage import samples
from headstart.training import augmentation
from headstart.workflow.forecast import Work
from headstart.workflow.techniques.bench import Bench, Opened, note, sweep_of, thumbnails_of
from headstart.workflow.techniques.trial import Prospect

TASTED = 64
"""Photos that the time of reading one is measured on."""

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


@dataclass(frozen=True, eq=False)
class Listed:
    """The photos before any of them is read.

    Attributes:
        photos: N, as they were listed.
        stamps: Size and time of each file.
    """

    photos: Dataset
    stamps: Sequence[Stamp]

    @property
    def files(self) -> list[Path]:
        """N, absolute."""
        return [self.photos.file(index) for index in range(len(self.photos))]


def list_photos(bench: Bench) -> Listed:
    """List the photos, none of which is read.

    Raises:
        DataError: No photos, or too few classes.
    """
    settings, progress = bench.settings, bench.progress
    listed = listing.load(places.resolve(settings.data, progress), **settings.reading, progress=progress)
    if listed.layout:
        progress.remark(f"Read as: {listed.layout}.")
    return Listed(listed, snapshot.stamps(listed))


def taste(listed: Listed, opened: Sequence[Opened], bench: Bench) -> Pace:
    """Read some of the photos as `prepare` will read all, and return how fast that went.

    What is found of them is kept, so that they need not be read again for it.
    """
    step = max(1, len(listed.photos) // TASTED)
    some = listed.photos.take(range(0, len(listed.photos), step)[:TASTED])
    sweep = sweep_of(opened)
    onlookers: list[Onlooker[Any]] = [sweep, *thumbnails_of(len(listed.photos), bench)]
    audits.audit(some, store=bench.store, progress=Progress(), is_thorough=False, onlookers=onlookers)
    note(opened, sweep.pace)
    return sweep.pace


def foresee(listed: Listed, opened: Sequence[Opened], pace: Pace, bench: Bench) -> list[Prospect]:
    """Return what there will be to do with each backbone, from the photos as they are listed."""
    settings, photos = bench.settings, listed.photos
    given, n = Counter(photos.given_parts), len(photos)
    n_test = given["test"] or round(n * settings.test)
    n_folds = folds_of(settings, photos)
    n_held_out = given["validation"] or round((n - given["test"]) * settings.validation)
    n_learnt = n - n_test
    n_train = n_learnt * n_folds if n_folds else n_learnt - n_held_out
    n_different = n_learnt if n_folds else n_train
    n_checked = min(n_different, augmentation.CHECKED) if settings.augment == "auto" else 0
    found = []
    for one, n_fed in zip(opened, pace.n_fed, strict=True):
        kept = 1 - n_fed / max(1, pace.n_read)
        work = Work(
            n_photos=n_learnt,
            n_train=n_train,
            n_validation=n_learnt if n_folds else n_held_out,
            n_test=n_test,
            n_kept=round(n_learnt * kept),
            n_test_kept=round(n_test * kept),
            feature_size=one.extractor.engine.output_shape[0],
            n_classes=len(photos.class_names),
            n_checked=n_checked,
            n_viewed=n_different,
            views=1,
            epochs=1,
            n_folds=n_folds or 1,
            seeds=settings.seeds,
            is_built=False,
            read=pace.read_s / max(1, pace.n_read),
        )
        found.append(Prospect(one, work, bench))
    return found


def prepare(
    run: Run, listed: Listed, opened: Sequence[Opened], sample: Collection[str], bench: Bench
) -> Photos:
    """Read each photo once, for the audit and for the features by all backbones; then divide the photos.

    Writes photos.csv, quarantine.csv and split.csv.

    Args:
        run: Where they are written.
        listed: The photos.
        opened: The backbones.
        sample: Paths of photos that have had a say already, and so must not be test photos.
        bench: What is worked with.

    Raises:
        DataError: A class is too small to split.
    """
    settings = bench.settings
    audited = _audit(run, listed, opened, bench)
    told = tuple(map(summarised, audited.findings))
    for line in remarks(told):
        bench.progress.remark(line)
    n_folds = folds_of(settings, audited.dataset)
    pinned = np.flatnonzero(np.isin(audited.dataset.paths, list(sample)))
    split = splits.split(
        audited,
        seed=settings.seed,
        validation=settings.validation,
        test=settings.test,
        has_validation=not n_folds,
        pinned=pinned.tolist(),
    )
    if n_tested := int((split.parts[pinned] == "test").sum()):
        bench.progress.remark(
            f"{n_tested:,} of the photos that the size of the pictures was chosen by are test photos: they "
            "are of groups so large that no others are left."
        )
    splits.write_csv(run.folder / filenames.SPLIT, audited, split)
    parts = _parts(audited, split, settings)
    train, validation = parts["train"], parts["validation"]
    folds = splits.folds(train, validation, n_folds=n_folds, seed=settings.seed)
    lesson = Lesson(splits.joined(train, validation), folds, audited.dataset.class_names)
    leaks = splits.leaking(audited, split)[split.indices("test")]
    summary = _summary(listed.photos, audited, parts)
    return Photos(audited.dataset.root, parts, lesson, summary, told, leaks)


def _audit(run: Run, listed: Listed, opened: Sequence[Opened], bench: Bench) -> Audit:
    """Return what was found of the photos, and write it down."""
    settings, sweep, digests = bench.settings, sweep_of(opened), list[str]()
    if bench.machines:
        digests += bench.machines.read([*map(str, listed.files)], opened, bench)
    audited = audits.audit(
        listed.photos,
        store=bench.store,
        progress=bench.progress,
        is_thorough=settings.check,
        onlookers=[sweep, *thumbnails_of(len(listed.photos), bench)],
        digests=digests,
    )
    note(opened, sweep.pace)
    snapshot.write(run.folder / filenames.PHOTOS, listed.photos, listed.stamps, audited)
    rows = [(one.path, one.reason) for one in audited.quarantine]
    records.write_csv(run.folder / filenames.QUARANTINE, filenames.QUARANTINE_COLUMNS, rows)
    return audited


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
    if not _is_there(settings.data, progress):
        progress.warn(
            f"{settings.data} is not there any more: whether {run.folder} is of these photos cannot be told."
        )
        return True
    changed = what_changed(run, settings, progress)
    if not changed:
        shutil.rmtree(run.update.folder, ignore_errors=True)
        return True
    if not update:
        raise RunError(changed, runs.UPDATE_OR_ANOTHER)
    progress.remark(f"{changed} They are compared anew.")
    return False


def _is_there(data: str, progress: Progress) -> bool:
    try:
        return places.resolve(data, progress).exists()
    except (NoSuchData, FetchError):
        return False


def what_changed(run: Run, settings: Settings, progress: Progress) -> str:
    """Say in a sentence what has changed of the photos since a run was finished; "" if nothing has."""
    opening = f"The photos in {settings.data} are not those that {run.folder} was made of"
    try:
        rows = snapshot.read(run.folder / filenames.PHOTOS)
        found = snapshot.changes(
            rows, listing.load(places.resolve(settings.data, progress), **settings.reading)
        )
    except RunError as error:
        return f"{error.problem} Whether the photos have changed cannot be told."
    except DataError as error:
        return f"{opening}: {error.problem}"
    return f"{opening}: {snapshot.say(found)}." if found else ""
