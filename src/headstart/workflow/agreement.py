"""Whether two finished runs agree: each kind of figure and statement compared, with its tolerance."""

import dataclasses
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from headstart.base import filenames
from headstart.base.settings import Settings
from headstart.photos import splits
from headstart.photos.splits import SplitRow
from headstart.results import decision, predictions
from headstart.results import run as runs
from headstart.results.comparison import Alternative, Candidate, Recommendation, Results
from headstart.results.predictions import Predictions
from headstart.results.run import Run
from headstart.results.verdict import choice
from headstart.statistics.metrics import Evaluation

ScoredPart = Literal["validation", "test"]
SCORED_PARTS: tuple[ScoredPart, ...] = get_args(ScoredPart)

TIMES = re.compile(r"\d (ms|s|min|h)\b")
TIME_SAVED = re.compile(r"\d+% of the time(?: and )?")
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


def read(folder: Path) -> Side:
    """Return what a finished run came to.

    Raises:
        RunError: The folder holds no finished run, or was changed.
    """
    results = Run(folder).results()
    rows = splits.read_csv(folder / filenames.SPLIT)
    return Side(folder, results, rows, predictions.read(folder, results.dataset.class_names))


@dataclass(frozen=True, eq=False)
class Pair:
    """Two runs of the same settings.

    Attributes:
        then: The first.
        now: Its repeat.
        both: Candidates that are compared, by name.
        is_same: Versions and processor are those of then, and no GPU was used: figures must be equal.
    """

    then: Side
    now: Side
    both: tuple[str, ...]
    is_same: bool

    @property
    def sides(self) -> tuple[Side, Side]:
        """The two, the first first."""
        return self.then, self.now

    def tolerance(self, technique: str) -> Tolerance:
        """Return how far figures of a technique may be off."""
        return SAME if self.is_same else ELSEWHERE[technique]


def checks(then: Side, now: Side, settings: Settings, *, is_same: bool) -> Iterator[Check]:
    """Yield one check of each kind, in the order in which a run comes about.

    Args:
        then: The first.
        now: Its repeat.
        settings: Of the repeat.
        is_same: Versions and processor are those of then, and no GPU was used: figures must be equal.
    """
    has_budget = bool(settings.budget)
    pair = Pair(then, now, tuple(_both_tried(then, now, has_budget=has_budget)), is_same)
    # Where the clock decided what to try, the decision and what is said of it may be others with good reason.
    is_whole = not has_budget or set(then.candidates) == set(now.candidates) == set(pair.both)
    yield _settings_alike(then.results.settings, runs.config(settings))
    yield _equal(filenames.SPLIT, *([_placed(row) for row in side.split] for side in pair.sides))
    if is_whole:
        best = ([side.results.recommended.best_on_validation] for side in pair.sides)
        yield _equal("best on validation", *best)
    else:
        then, now = _only(then, pair.both), _only(now, pair.both)
        pair = dataclasses.replace(pair, then=then, now=now)
    yield _equal("ranking", *([" > ".join(side.candidates)] for side in pair.sides))
    yield from _figures(pair)
    yield from _probabilities(pair)
    if is_whole:
        yield from _conclusions(pair)


def _conclusions(pair: Pair) -> Iterator[Check]:
    recommended = pair.then.results.recommended.name
    yield _equal("recommendation", [recommended], [_by_costs_of(*pair.sides)])
    if speak_of_one(*pair.sides):
        yield _equal("decisions", *(_decisions(side.results) for side in pair.sides))
        said = (_at_costs_of(pair.then, side) for side in pair.sides)
        yield _equal("verdict", *(_sentences(one, is_same=pair.is_same) for one in said))


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
    chosen = decision.choose(_weighed(before, after), after.margin)
    return chosen.name if chosen else after.best_on_validation


def _weighed(before: Recommendation, after: Recommendation) -> tuple[Alternative, ...]:
    """Return the alternatives of after, with what they cost before."""
    costs = {one.name: one for one in before.alternatives}
    return tuple(
        dataclasses.replace(
            one, latency_ratio=costs[one.name].latency_ratio, size_ratio=costs[one.name].size_ratio
        )
        for one in after.alternatives
        if one.name in costs
    )


def _at_costs_of(then: Side, now: Side) -> Results:
    """Return the results of now, naming as cheaper what was cheaper then: that is by the clock."""
    after = now.results.recommended
    before = dataclasses.replace(after, alternatives=_weighed(then.results.recommended, after))
    said = [choice(before) if one == choice(after) else one for one in now.results.verdict]
    return dataclasses.replace(now.results, verdict=tuple(said))


def speak_of_one(then: Side, now: Side) -> bool:
    """Say whether the verdict of now is of the candidate that the costs of then would have it recommend."""
    return now.results.recommended.name == _by_costs_of(then, now)


def _sentences(results: Results, *, is_same: bool) -> list[str]:
    """Return the sentences of the verdict without those of times; without figures, which have a tolerance."""
    timeless = [TIME_SAVED.sub("", one) for one in results.verdict if not TIMES.search(one)]
    return timeless if is_same else [FIGURES.sub("…", one) for one in timeless]


def _equal(what: str, expected: Sequence[str], received: Sequence[str]) -> Check:
    """Return the first difference of two lists; without one, the single item, or how many there are."""
    for one, other in zip_longest(expected, received, fillvalue="nothing"):
        if one != other:
            return Check(what, "", one, other, None, False)
    said = expected[0] if len(expected) == 1 else f"all {len(expected):,}" if expected else "none"
    return Check(what, "", said, said, None, True)


def _figures(pair: Pair) -> Iterator[Check]:
    """Yield what the accuracies and log losses of the candidates come to, on validation and on test."""
    for part in SCORED_PARTS if pair.both else ():
        yield _most_telling([check for name in pair.both for check in _accuracies(pair, name, part)])
    for part in SCORED_PARTS if pair.both else ():
        yield _most_telling([_log_loss(pair, name, part) for name in pair.both])


def _accuracies(pair: Pair, name: str, part: ScoredPart) -> Iterator[Check]:
    """Yield a check of the candidate, and one of each of its trainings from other seeds."""
    then, now = (side.candidates[name] for side in pair.sides)
    share = pair.tolerance(then.technique).accuracy
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


def _log_loss(pair: Pair, name: str, part: ScoredPart) -> Check:
    then, now = (side.candidates[name] for side in pair.sides)
    ours, theirs = _scores(then, part).log_loss, _scores(now, part).log_loss
    return _near(f"log loss on {part}", name, ours, theirs, pair.tolerance(then.technique).log_loss)


def _scores(one: Candidate, part: ScoredPart) -> Evaluation:
    if part == "validation":
        return one.validation
    assert one.test is not None  # of a finished run
    return one.test


def _near(what: str, where: str, expected: float, received: float, tolerance: float) -> Check:
    agrees = bool(abs(expected - received) <= tolerance + ROUNDING)
    return Check(what, where, expected, received, tolerance, agrees)


def _most_telling(checks: Sequence[Check]) -> Check:
    def distance(check: Check) -> float:
        return abs(float(check.expected) - float(check.received))

    return next((check for check in checks if not check.agrees), None) or max(checks, key=distance)


def _probabilities(pair: Pair) -> Iterator[Check]:
    """Yield the rows of predictions.csv that are not of the same photos; else the largest difference."""
    rows = _equal(
        f"rows of {filenames.PREDICTIONS}", *(_rows(side.predictions, pair.both) for side in pair.sides)
    )
    if not rows.agrees:
        yield rows
    elif pair.both:
        yield _most_telling([_probability(pair, name) for name in pair.both])


def _rows(side: dict[str, Predictions], both: Sequence[str]) -> list[str]:
    """Return the rows in one order of candidates: that of the file is the ranking, a check of its own."""
    return [
        f"{name}: {path}, {one.class_names[label]}"
        for name, one in ((name, side[name]) for name in both if name in side)
        for path, label in zip(one.paths, one.labels, strict=True)
    ]


def _probability(pair: Pair, name: str) -> Check:
    then, now = (side.predictions[name] for side in pair.sides)
    tolerance = pair.tolerance(pair.then.candidates[name].technique)
    difference = np.abs(then.probabilities.astype(np.float64) - now.probabilities)
    if tolerance.is_mean:
        mean = float(difference.max(axis=1).mean())
        return _near("probabilities, mean", name, 0.0, mean, tolerance.probability)
    row, column = np.unravel_index(difference.argmax(), difference.shape)
    where = f"{name}, {then.class_names[column]} for {then.paths[row]}"
    expected, received = (round(float(one.probabilities[row, column]), 6) for one in (then, now))
    return _near("probabilities", where, expected, received, tolerance.probability)
