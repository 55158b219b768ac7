"""A finished run repeated from its own folder, computed anew, and whether the results agree with it."""

import tempfile
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from headstart.base import filenames
from headstart.base.errors import (
    DataError,
    NoSuchData,
    RunError,
    SettingsError,
    WeightsError,
    disk_full_named,
)
from headstart.base.progress import Progress
from headstart.base.settings import Settings, from_toml
from headstart.networks import backbones, engine, versions, weights
from headstart.photos import audit as audits
from headstart.photos import splits
from headstart.photos.audit import Audit
from headstart.photos.splits import Split, SplitRow
from headstart.reporting import leaderboard
from headstart.results import run as runs
from headstart.results.comparison import Results
from headstart.results.run import Run
from headstart.sources import listing, places
from headstart.sources.dataset import natural_order
from headstart.storage.store import Store
from headstart.workflow import agreement, experiment, preparation
from headstart.workflow.agreement import Check, Side, read

NAMED = 5
"""Photos that are named when they are not as they were."""

CELL = 20
"""Characters of a cell of the table; what disagrees is told below it in full."""

NOTE = "✗: does not agree; tolerance: how far apart two figures may be, or equal"

LATENCY_NOTE = (
    "By the latencies measured now another candidate is materially cheaper, so the verdict speaks of that "
    "one: its sentences and decisions were not compared."
)
BUDGET_NOTE = (
    "The run had a budget of {budget}, so what was tried depends on the clock: only what both tried, with as "
    "many passes, was compared."
)
GPU_NOTE = "A GPU adds up in no fixed order, so figures may differ by rounding."


@dataclass(frozen=True)
class VersionDifference:
    """Something that numbers depend on, as it was and as it is; "" where it was not there."""

    name: str
    then: str
    now: str


@dataclass(frozen=True)
class Replay:
    """Whether a run could be repeated.

    Attributes:
        run: Folder of the run.
        new_run: Folder of its repeat.
        agrees: Whether all checks do.
        checks: In the order in which a run comes about.
        versions: What differs of the processor, Python and packages.
        notes: What else is to be known.
    """

    run: str
    new_run: str
    agrees: bool
    checks: tuple[Check, ...]
    versions: tuple[VersionDifference, ...]
    notes: tuple[str, ...]


def replay(
    folder: Path,
    *,
    out: Path | None = None,
    data: str | None = None,
    weights_dir: Path | None = None,
    progress: Progress | None = None,
) -> Replay:
    """Repeat a finished run from its folder, and compare the results.

    Photos and weights must be those of the run, by their checksums. Everything is computed anew: what was
    kept of features and heads is not looked at. Weights, samples and converted graphs are used as they are
    kept, and of a replay into the same folder that was interrupted, what it had fine-tuned.

    Args:
        folder: A finished run.
        out: Folder of the new run; by default the run's own name with "-replay" after it.
        data: Where the photos are, if no longer where the run found them.
        weights_dir: Folder of weight files, if no longer that of the run.
        progress: Told how far it is, and beforehand what differs of the versions.

    Raises:
        RunError: The folder holds no finished run, was changed, or `out` cannot be written or has a finished
            run.
        DataError: The photos are not there, or not those of the run; names up to five.
        WeightsError: The weights are not those of the run.
        MissingPackage: The run fine-tuned, and TensorFlow is not installed.
        DiskFull: No space is left.
    """
    progress = progress or Progress()
    then = read(folder)
    settings = _settings(folder, out, data, weights_dir)
    if "finetune" in settings.techniques:
        backbones.import_keras()  # a comparison would leave it out
    new = Run(Path(str(settings.out)))
    if new.is_finished:
        raise RunError(
            f"{new.folder} holds a finished run, and a replay computes everything anew.",
            "Name another folder: --out NEW.",
        )
    versions = version_differences(then.results)
    if versions:
        progress.remark(_said(versions))
    with (
        disk_full_named(Path(tempfile.gettempdir())),
        tempfile.TemporaryDirectory(prefix="headstart-replay-") as kept,
    ):
        store_path = Path(kept) / "store.sqlite"
        check_photos(then, settings, store_path, progress)
        check_weights(then.results, settings, progress)
        experiment.compare(settings, progress, store_path=store_path)
    return judge(then, read(new.folder), settings, versions, has_gpu=engine.choose("auto") == "keras")


def _settings(folder: Path, out: Path | None, data: str | None, weights_dir: Path | None) -> Settings:
    named = folder if folder.name not in ("", "..") else folder.resolve()
    given = {"data": data, "weights_dir": str(weights_dir) if weights_dir else None}
    given = {name: value for name, value in given.items() if value is not None}
    target = out or named.with_name(f"{named.name}-replay")
    try:
        return runs.resolve(from_toml(folder / filenames.CONFIG, out=str(target), **given))
    except SettingsError as error:
        raise RunError(
            error.problem, "The run folder was changed; put the file back as the run wrote it."
        ) from error


def version_differences(before: Results) -> tuple[VersionDifference, ...]:
    """Return what differs of what numbers depend on, between a run and this installation."""
    then, now = before.versions, versions.here()
    return tuple(
        VersionDifference(name, then.get(name, ""), now.get(name, ""))
        for name in dict.fromkeys([*then, *now])
        if then.get(name) != now.get(name)
    )


def check_photos(then: Side, settings: Settings, store_path: Path, progress: Progress) -> None:
    """Make sure that the photos are there, and those of the run.

    Raises:
        DataError: They are not; up to five are named, each with what is the matter.
        RunError: They are as in split.csv, but results.json knows of others.
    """
    source = places.resolve(settings.data, progress)
    if not source.exists():
        raise NoSuchData(
            f"The photos of {then.folder} are not where they were: no folder or file '{source}'.",
            "Name where they are now: --data PHOTOS.",
        )
    listed = listing.load(source, **settings.reading)
    with Store(progress, store_path) as store:
        audited = audits.audit(listed, store=store, progress=progress, is_thorough=False)
    strays = changes(then.split, audited)
    if strays:
        named = "; ".join(strays[:NAMED])
        more = f"; and {len(strays) - NAMED:,} more" if len(strays) > NAMED else ""
        raise DataError(
            f"The photos of {then.folder} are not as they were: {named}{more}.",
            "Put them back as they were, or name where they are so: --data PHOTOS.",
        )
    part_of = {row.path: row.part for row in then.split}
    split = Split(np.array([part_of[path] for path in audited.dataset.paths]))
    parts = {name: splits.take_part(audited, split, name, is_balanced=False) for name in splits.PARTS}
    if preparation.fingerprint(parts) != then.results.data_sha256:
        raise RunError(
            f"The photos are those of {then.folder / filenames.SPLIT}, but not those of {filenames.RESULTS}.",
            "The run folder was changed; put its files back as the run wrote them.",
        )


def changes(rows: Sequence[SplitRow], audited: Audit) -> list[str]:
    """Return what is the matter with each photo that is not as a run found it, in natural order of paths."""
    then = {row.path: row for row in rows}
    found = audited.dataset
    now = {
        path: (found.class_names[label], digest)
        for path, label, digest in zip(found.paths, found.labels, audited.digests, strict=True)
    }
    unreadable = {one.path for one in audited.quarantine}
    said = []
    for path in sorted({*then, *now}, key=natural_order):
        if path not in now:
            said.append(f"{path} {'cannot be read' if path in unreadable else 'is missing'}")
        elif path not in then:
            said.append(f"{path} is new")
        elif now[path][0] != then[path].label:
            said.append(f"{path} is labelled {now[path][0]}, and was {then[path].label}")
        elif now[path][1] != then[path].sha256:
            said.append(f"{path} has changed")
    return said


def check_weights(before: Results, settings: Settings, progress: Progress) -> None:
    """Make sure that pretrained weights are here, and those of the run.

    Raises:
        WeightsError: They are not.
    """
    for name, expected in before.weights_sha256.items():
        row = backbones.find(name)
        weights.locate(row, settings.weights_folder, progress)
        found = weights.fingerprint(row, settings.weights_folder)
        if found != expected:
            raise WeightsError(
                f"The weights of {name} are not those of the run: their checksum is {found[:8] or 'none'}, "
                f"not {expected[:8] or 'none'}.",
                f"Name the folder of the right file, --weights-dir FOLDER, or use the version that made the "
                f"run, headstart=={before.versions.get('headstart', '')}.",
            )


def judge(
    then: Side, now: Side, settings: Settings, versions: tuple[VersionDifference, ...], *, has_gpu: bool
) -> Replay:
    """Compare two finished runs.

    Args:
        then: The first.
        now: Its repeat.
        settings: Of the repeat.
        versions: What differs of the versions.
        has_gpu: A GPU was used, by which even the same figures come out otherwise.
    """
    checks = tuple(agreement.checks(then, now, settings, is_same=not versions and not has_gpu))
    notes = [BUDGET_NOTE.format(budget=settings.budget)] if settings.budget else []
    notes += [GPU_NOTE] if has_gpu else []
    if not agreement.speak_of_one(then, now):
        notes.append(LATENCY_NOTE)
    agrees = all(check.agrees for check in checks)
    return Replay(str(then.folder), str(now.folder), agrees, checks, versions, tuple(notes))


def render(found: Replay) -> str:
    """Return a table of what was compared; then what disagrees in full, and what else is to be known."""
    header = ("  compared", "then", "now", "tolerance")
    table = leaderboard.table(header, [_cells(check) for check in found.checks])
    verb = "agrees" if found.agrees else "does not agree"
    told = [_disagreement(check) for check in found.checks if not check.agrees]
    told += [f"The replay {verb} with {found.run}; it is in {found.new_run}.", *found.notes]
    told += [_said(found.versions)] if found.versions else []
    return f"{table}\n{NOTE}\n\n" + "\n".join(map(_wrapped, told)) + "\n"


def _cells(check: Check) -> tuple[str, ...]:
    mark = " " if check.agrees else "✗"
    then, now = (_short(_number(one)) for one in (check.expected, check.received))
    return f"{mark} {check.what}", then, now, "equal" if not check.tolerance else f"{check.tolerance:.3g}"


def _disagreement(check: Check) -> str:
    where = f" of {check.where}" if check.where else ""
    then, now = _number(check.expected), _number(check.received)
    return f"{check.what[:1].upper()}{check.what[1:]}{where}: then {then}; now {now}."


def _wrapped(text: str) -> str:
    return textwrap.fill(text, 79, break_long_words=False, break_on_hyphens=False)


def _number(value: str | float) -> str:
    """Return a text as it is, and a number to 6 decimals, such as 0.953125 and 0.5."""
    return value if isinstance(value, str) else f"{value:.6f}".rstrip("0").rstrip(".")


def _short(text: str) -> str:
    """Cut out the middle, for the end of a name or a path tells as much as its start.

    Example:
        >>> _short("tiny/features"), _short("efficientnet_lite0/finetune")
        ('tiny/features', 'efficientn…/finetune')
    """
    return text if len(text) <= CELL else f"{text[: CELL // 2]}…{text[1 - CELL // 2 :]}"


def _said(versions: Sequence[VersionDifference]) -> str:
    said = "; ".join(f"{one.name}, {one.then or 'none'} then, {one.now or 'none'} now" for one in versions)
    return f"Not as it was: {said}. Figures may differ by rounding."
