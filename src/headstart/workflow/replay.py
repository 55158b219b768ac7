"""A finished run repeated from its own folder, computed anew, and whether the results agree with it."""

import dataclasses
import re
import tempfile
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from headstart.base import filenames
from headstart.base.errors import DataError, NoSuchData, RunError, SettingsError, WeightsError
from headstart.base.progress import Progress
from headstart.base.settings import Settings, from_toml
from headstart.networks import backbones, engine, versions, weights
from headstart.photos import audit as audits
from headstart.photos import splits
from headstart.photos.audit import Audit
from headstart.photos.splits import Split, SplitRow
from headstart.reporting import leaderboard
from headstart.results import decision, predictions
from headstart.results import run as runs
from headstart.results.comparison import Candidate, Results
from headstart.results.predictions import Predictions
from headstart.results.run import Run
from headstart.sources import listing, samples
from headstart.sources.dataset import natural_order
from headstart.statistics.metrics import Evaluation
from headstart.storage.store import Store
from headstart.workflow import experiment, preparation

NAMED = 5
"""Photos that are named when they are not as they were."""


ScoredPart = Literal["validation", "test"]
SCORED_PARTS: tuple[ScoredPart, ...] = get_args(ScoredPart)

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

TIMES = re.compile(r"\d (ms|s|min|h)\b")
FIGURES = re.compile(r"[-+−]?\d[\d,.]*%?")


@dataclass(frozen=True)
class Tolerance:
    """How far figures of a candidate may be off.

    Attributes:
        accuracy: From 0 to 1. Where it is not 0, a single photo may always fall otherwise.
        log_loss: In nats.
        probability: Of a class for a photo, from 0 to 1.
        is_mean: It holds for the mean over the photos, of the largest difference of each; else for every one.
    """

    accuracy: float
    log_loss: float
    probability: float
    is_mean: bool = False


SAME = Tolerance(accuracy=0.0, log_loss=1e-5, probability=1e-5)
"""On the same processor with the same versions. There all of it repeats to the digit, fine-tuning of
mobilenet_v2 and efficientnet_lite0 included (four runs of sample:textile); predictions.csv has 6 decimals."""

ELSEWHERE = {
    "features": Tolerance(accuracy=0.005, log_loss=0.005, probability=0.005),
    "finetune": Tolerance(accuracy=0.03, log_loss=0.05, probability=0.05, is_mean=True),
}
"""Where rounding is another.

With OpenBLAS's kernels for another processor, or features off by 1e-5 of the largest, probabilities of probes
on mobilenet_v2 moved by 0.0005 at most (360 photos of clothing): ten times that. Training makes rounding
grow: of efficientnet_lite0 on sample:textile, two starts that differed by it alone came to 95.2% and 98.2% of
400 photos (docs/design.md), log losses 0.03 apart and probabilities 0.046 on average, of one photo 0.94.
"""

ROUNDING = 1e-9
"""Of the difference of two accuracies that are one photo apart."""


@dataclass(frozen=True)
class Check:
    """One thing that was compared: where more than one was, the first that differs, or else the farthest off.

    Attributes:
        what: Such as "accuracy on test".
        where: Of which candidate, photo or class; "" where it is of the whole run.
        expected: What the run had.
        received: What the repeat has.
        tolerance: How far apart two numbers may be; None where both must be equal.
        agrees: Whether they are.
    """

    what: str
    where: str
    expected: str | float
    received: str | float
    tolerance: float | None
    agrees: bool


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


@dataclass(frozen=True, eq=False)
class Side:
    """One of the two runs, as its folder tells of it."""

    folder: Path
    results: Results
    split: tuple[SplitRow, ...]
    predictions: dict[str, Predictions]

    @property
    def candidates(self) -> dict[str, Candidate]:
        """The candidates by "backbone/technique", best on validation first."""
        return {one.name: one for one in self.results.candidates}


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
        DiskFull: No space is left.
    """
    progress = progress or Progress()
    then = read(folder)
    settings = _settings(folder, out, data, weights_dir)
    new = Run(Path(str(settings.out)))
    if new.is_finished:
        raise RunError(
            f"{new.folder} holds a finished run, and a replay computes everything anew.",
            "Name another folder: --out NEW.",
        )
    versions = version_differences(then.results)
    if versions:
        progress.remark(_said(versions))
    with tempfile.TemporaryDirectory(prefix="headstart-replay-") as kept:
        store_path = Path(kept) / "store.sqlite"
        check_photos(then, settings, store_path, progress)
        check_weights(then.results, settings, progress)
        experiment.compare(settings, progress, store_path=store_path)
    return judge(then, read(new.folder), settings, versions, has_gpu=engine.choose("auto") == "keras")


def read(folder: Path) -> Side:
    """Return what a finished run came to.

    Raises:
        RunError: The folder holds no finished run, or was changed.
    """
    results = Run(folder).results()
    rows = splits.read_csv(folder / filenames.SPLIT)
    return Side(folder, results, rows, predictions.read(folder, results.dataset.class_names))


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
    source = samples.resolve(settings.data, progress)
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
    checks = tuple(_checks(then, now, settings, is_same=not versions and not has_gpu))
    notes = [BUDGET_NOTE.format(budget=settings.budget)] if settings.budget else []
    notes += [GPU_NOTE] if has_gpu else []
    if not _speak_of_one(then, now):
        notes.append(LATENCY_NOTE)
    agrees = all(check.agrees for check in checks)
    return Replay(str(then.folder), str(now.folder), agrees, checks, versions, tuple(notes))


def _checks(then: Side, now: Side, settings: Settings, *, is_same: bool) -> Iterator[Check]:
    """Yield one check of each kind, in the order in which a run comes about."""
    has_budget = bool(settings.budget)
    both = _both_tried(then, now, has_budget=has_budget)
    # Where the clock decided what to try, the decision and what is said of it may be others with good reason.
    is_whole = not has_budget or set(then.candidates) == set(now.candidates) == set(both)
    yield _settings_alike(then.results.settings, runs.config(settings))
    yield _equal(filenames.SPLIT, *([_placed(row) for row in side.split] for side in (then, now)))
    if is_whole:
        best = ([side.results.recommended.best_on_validation] for side in (then, now))
        yield _equal("best on validation", *best)
    else:
        then, now = _only(then, both), _only(now, both)
    yield _equal("ranking", *([" > ".join(side.candidates)] for side in (then, now)))
    yield from _figures(then, now, both, is_same=is_same)
    yield from _probabilities(then, now, both, is_same=is_same)
    if is_whole:
        recommended = then.results.recommended.name
        yield _equal("recommendation", [recommended], [_by_costs_of(then, now)])
        if _speak_of_one(then, now):
            yield _equal("decisions", *(_decisions(side.results) for side in (then, now)))
            yield _equal("verdict", *(_sentences(side.results, is_same=is_same) for side in (then, now)))


def _both_tried(then: Side, now: Side, *, has_budget: bool) -> list[str]:
    """Return the candidates that both have; with a budget, those that were trained with as many passes."""

    def n_passes(one: Candidate) -> int:
        return len(one.training.history) if has_budget else 0

    ours, theirs = then.candidates, now.candidates
    return [name for name in ours if name in theirs and n_passes(ours[name]) == n_passes(theirs[name])]


def _only(side: Side, names: Sequence[str]) -> Side:
    chosen = tuple(one for name, one in side.candidates.items() if name in names)
    return dataclasses.replace(side, results=dataclasses.replace(side.results, candidates=chosen))


def _settings_alike(then: dict[str, Any], now: dict[str, Any]) -> Check:
    """Compare what decides the result; where the photos and the weights lie does not."""
    names = [name for name in then if name not in ("data", *runs.WITHOUT_EFFECT)]
    return _equal("settings", *([f"{name} = {one.get(name)}" for name in names] for one in (then, now)))


def _placed(row: SplitRow) -> str:
    return f"{row.path}: {row.label}, {row.part}, group {row.group}"


def _decisions(results: Results) -> list[str]:
    compared = [f"{one.a} against {one.b}: {one.decision}" for one in results.comparisons]
    return compared + [f"fine-tuning of {one.backbone}: {one.decision}" for one in results.worth]


def _by_costs_of(then: Side, now: Side) -> str:
    """Return what the answers of now recommend by the latencies and sizes that were measured then."""
    before, after = then.results.recommended, now.results.recommended
    if before.best_on_validation != after.best_on_validation:
        return after.name
    costs = {one.name: one for one in before.alternatives}
    weighed = [
        dataclasses.replace(
            one, latency_ratio=costs[one.name].latency_ratio, size_ratio=costs[one.name].size_ratio
        )
        for one in after.alternatives
        if one.name in costs
    ]
    chosen = decision.choose(weighed, after.margin)
    return chosen.name if chosen else after.best_on_validation


def _speak_of_one(then: Side, now: Side) -> bool:
    """Say whether the verdict of now is of the candidate that the costs of then would have it recommend."""
    return now.results.recommended.name == _by_costs_of(then, now)


def _sentences(results: Results, *, is_same: bool) -> list[str]:
    """Return the sentences of the verdict without those of times; without figures, which have a tolerance."""
    timeless = [one for one in results.verdict if not TIMES.search(one)]
    return timeless if is_same else [FIGURES.sub("…", one) for one in timeless]


def _equal(what: str, expected: Sequence[str], received: Sequence[str]) -> Check:
    """Return the first difference of two lists; without one, the single item, or how many there are."""
    for one, other in zip_longest(expected, received, fillvalue="nothing"):
        if one != other:
            return Check(what, "", one, other, None, False)
    said = expected[0] if len(expected) == 1 else f"all {len(expected):,}" if expected else "none"
    return Check(what, "", said, said, None, True)


def _figures(then: Side, now: Side, both: Sequence[str], *, is_same: bool) -> Iterator[Check]:
    """Yield what the accuracies and log losses of the candidates come to, on validation and on test."""
    pairs = [(then.candidates[name], now.candidates[name]) for name in both]
    for part in SCORED_PARTS if pairs else ():
        yield _most_telling([check for pair in pairs for check in _accuracies(part, *pair, is_same=is_same)])
    for part in SCORED_PARTS if pairs else ():
        yield _most_telling([_log_loss(part, *pair, is_same=is_same) for pair in pairs])


def _accuracies(part: ScoredPart, then: Candidate, now: Candidate, *, is_same: bool) -> Iterator[Check]:
    """Yield a check of the candidate, and one of each of its trainings from other seeds."""
    share = _tolerance(then.technique, is_same=is_same).accuracy
    allowed = max(share, 1 / _scores(then, part).n_images) if share else 0.0
    ours, theirs = _by_seed(then, part), _by_seed(now, part)
    for seed in (seed for seed in ours if seed in theirs):
        where = f"{then.name}{seed}"
        yield _near(f"accuracy on {part}", where, ours[seed], theirs[seed], allowed)


def _by_seed(one: Candidate, part: ScoredPart) -> dict[str, float]:
    found = {"": _scores(one, part).accuracy}
    for repeat in one.repeats:
        accuracy = repeat.validation_accuracy if part == "validation" else repeat.test_accuracy
        found |= {f", seed {repeat.seed}": accuracy} if accuracy is not None else {}
    return found


def _log_loss(part: ScoredPart, then: Candidate, now: Candidate, *, is_same: bool) -> Check:
    allowed = _tolerance(then.technique, is_same=is_same).log_loss
    ours, theirs = _scores(then, part).log_loss, _scores(now, part).log_loss
    return _near(f"log loss on {part}", then.name, ours, theirs, allowed)


def _scores(one: Candidate, part: ScoredPart) -> Evaluation:
    if part == "validation":
        return one.validation
    assert one.test is not None  # of a finished run
    return one.test


def _tolerance(technique: str, *, is_same: bool) -> Tolerance:
    return SAME if is_same else ELSEWHERE[technique]


def _near(what: str, where: str, expected: float, received: float, tolerance: float) -> Check:
    agrees = bool(abs(expected - received) <= tolerance + ROUNDING)
    return Check(what, where, expected, received, tolerance, agrees)


def _most_telling(checks: Sequence[Check]) -> Check:
    def distance(check: Check) -> float:
        return abs(float(check.expected) - float(check.received))

    return next((check for check in checks if not check.agrees), None) or max(checks, key=distance)


def _probabilities(then: Side, now: Side, both: Sequence[str], *, is_same: bool) -> Iterator[Check]:
    """Yield the rows of predictions.csv that are not of the same photos; else the largest difference."""
    ours, theirs = then.predictions, now.predictions
    rows = _equal(f"rows of {filenames.PREDICTIONS}", *(_rows(side, both) for side in (ours, theirs)))
    if not rows.agrees:
        yield rows
    elif both:
        techniques = {name: then.candidates[name].technique for name in both}
        yield _most_telling(
            [
                _probability(name, ours[name], theirs[name], _tolerance(technique, is_same=is_same))
                for name, technique in techniques.items()
            ]
        )


def _rows(side: dict[str, Predictions], both: Sequence[str]) -> list[str]:
    """Return the rows in one order of candidates: that of the file is the ranking, a check of its own."""
    return [
        f"{name}: {path}, {one.class_names[label]}"
        for name, one in ((name, side[name]) for name in both if name in side)
        for path, label in zip(one.paths, one.labels, strict=True)
    ]


def _probability(name: str, then: Predictions, now: Predictions, tolerance: Tolerance) -> Check:
    difference = np.abs(then.probabilities.astype(np.float64) - now.probabilities)
    if tolerance.is_mean:
        mean = float(difference.max(axis=1).mean())
        return _near("probabilities, mean", name, 0.0, mean, tolerance.probability)
    row, column = np.unravel_index(difference.argmax(), difference.shape)
    where = f"{name}, {then.class_names[column]} for {then.paths[row]}"
    expected, received = (round(float(one.probabilities[row, column]), 6) for one in (then, now))
    return _near("probabilities", where, expected, received, tolerance.probability)


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
