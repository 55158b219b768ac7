"""The whole flow, from a folder of photos to a finished run folder."""

import dataclasses
import functools
import hashlib
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from headstart.base import filenames, records
from headstart.base.errors import DataError, EngineMismatch, RunError
from headstart.base.progress import Progress
from headstart.base.settings import Settings
from headstart.networks import backbones, classifier, engine, versions, weights
from headstart.networks.table import Backbone
from headstart.photos import audit as audits
from headstart.photos import duplicates, findings, splits, variants
from headstart.photos.findings import IMBALANCE, KINDS, Finding
from headstart.photos.splits import Part
from headstart.reporting import card, report, tracking
from headstart.reporting.tracking import Trackers
from headstart.results import reservations, snapshot
from headstart.results import run as runs
from headstart.results.comparison import (
    SCHEMA_VERSION,
    Baseline,
    Candidate,
    DatasetSummary,
    FindingSummary,
    Measured,
    Repeat,
    Results,
    WithoutLeaks,
    Worth,
    measured,
    rank,
)
from headstart.results.decision import decide
from headstart.results.suspect import Suspect
from headstart.results.verdict import Evidence, worth_finetuning
from headstart.results.verdict import write as write_verdict
from headstart.sources import listing, samples
from headstart.sources.dataset import Dataset
from headstart.statistics import calibration as calibrations
from headstart.statistics import metrics
from headstart.statistics.significance import accuracy_interval, compare_all, intervals
from headstart.storage import cache
from headstart.storage.store import Store
from headstart.training.suspects import judge
from headstart.workflow import illustration
from headstart.workflow.illustration import Material
from headstart.workflow.plan import Plan
from headstart.workflow.trial import Trained, Trial

SMALL = 1000
"""Photos below which a validation part would be too small to choose by, and folds are taken."""

CHECKED_AGAIN = 4
KEPT_MODEL_ERROR = 1e-3
"""Photos that the kept model is asked about again, and how far its probabilities may be off."""


@dataclass(frozen=True, eq=False)
class Photos:
    """What the data came to: its parts, its class names, and the summaries that the results tell.

    `turns` are of the photos of train and validation joined.
    `leaks` is bool (N,), which test photos have a copy, or one of their group, in train or validation.
    """

    root: Path
    parts: dict[str, Part]
    turns: tuple[splits.Turn, ...]
    class_names: tuple[str, ...]
    summary: DatasetSummary
    findings: tuple[FindingSummary, ...]
    leaks: NDArray[np.bool_]


def compare(
    settings: Settings,
    progress: Progress | None = None,
    *,
    update: bool = False,
    store_path: Path | None = None,
    tensorboard: Path | None = None,
    mlflow: str | None = None,
) -> Results:
    """Train every candidate, decide on validation which to use, then measure all of them on test.

    Args:
        settings: What to compare, on which photos, and where to write it.
        progress: Where to tell how far it is; silent when None.
        update: Compare anew where the run folder is finished and the photos have changed since.
        store_path: What was computed before is looked for, and kept, in this file; by default the cache's.
        tensorboard: Folder to log the training to, for TensorBoard.
        mlflow: Where to log the training to, as MLflow names a tracking server or a store.

    Returns:
        The results; the run folder holds them too, with the recommended model. Where the run folder
        is finished already, with equal settings and photos, its results are returned and nothing is done.

    Raises:
        DataError: The photos are not there, or not such that they can be compared on.
        UnknownBackbone: No such backbone.
        WeightsError: Pretrained weights are missing.
        RunError: The run folder is in use, holds something else, or is finished with other photos.
        SettingsError: TensorBoard's folder or MLflow cannot be written to.
        MissingPackage: One of them, or TensorFlow, is needed and not installed.
        DiskFull: No space is left.
    """
    progress = progress or Progress()
    settings = runs.resolve(settings)
    rows = [backbones.find(name) for name in settings.backbones]
    with runs.claim(Path(str(settings.out)), settings) as run:
        run.adopt()
        if run.is_finished:
            results = run.results()
            if is_current(run, settings, progress, update=update):
                return results
        target = run.update if run.is_finished else run
        with tracking.opened(settings, progress, tensorboard=tensorboard, mlflow=mlflow) as trackers:
            with Store(progress, store_path) as store:
                results = train_and_judge(settings, rows, target, store, trackers, progress)
            target.finish(results)
            run.adopt()
            trackers.finish(results, describe(run, settings))
        cache.prune(progress)
    return results


def is_current(run: runs.Run, settings: Settings, progress: Progress, *, update: bool) -> bool:
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


def what_changed(run: runs.Run, settings: Settings) -> str:
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


def describe(run: runs.Run, settings: Settings) -> list[Path]:
    """Write the report and the model card of a finished run, if asked for; return what describes it.

    They are written anew where they were before.
    """
    is_drawn = settings.report or (run.folder / filenames.REPORT).exists()
    drawn = [report.draw(run.folder), card.write(run.folder)] if is_drawn else []
    return [*drawn, run.folder / filenames.RESULTS, run.folder / filenames.CONFIG]


def train_and_judge(
    settings: Settings,
    rows: Sequence[Backbone],
    run: runs.Run,
    store: Store,
    trackers: Trackers,
    progress: Progress,
) -> Results:
    """Do all of it but write the results: the run folder holds the rest then."""
    start = time.perf_counter()
    photos = prepare(settings, run, store, progress)
    trials = [open_trial(row, photos, settings, run, store, progress) for row in rows]
    plan = Plan(trials, settings, start, progress)
    trained = {one.candidate.name: one for one in timed(train(plan, settings, trackers))}
    ranking = rank(tuple(one.candidate for one in trained.values()))
    learnt_from = splits.joined(photos.parts["train"], photos.parts["validation"])
    recommended = decide(
        ranking,
        {name: one.validation for name, one in trained.items()},
        learnt_from.labels,
        learnt_from.groups,
        margin=settings.margin,
        seed=settings.seed,
    )
    decided_at = run.decide(recommended)
    candidates, answered = measure(trained, ranking, photos, run, settings)
    test = photos.parts["test"]
    right = {name: one.argmax(axis=1) == test.labels for name, one in answered.items()}
    chosen = next(one for one in candidates if one.name == recommended.name)
    keep_model(run, trained[chosen.name].folder, test, answered[chosen.name])
    best = next(trial for trial in plan.trials if trial.row.name == chosen.backbone)
    curve = best.heads.learning_curve()
    photos = with_versions(photos, best, progress)
    judgement = judge(
        [one.validation for one in trained.values()],
        learnt_from.labels,
        photos.class_names,
        learnt_from.paths,
        settings.seed,
    )
    records.write_csv(
        run.folder / filenames.SUSPECTS, filenames.SUSPECTS_COLUMNS, [one.row() for one in judgement.suspects]
    )
    comparisons = compare_all(right, chosen.name, groups=test.groups)
    if settings.report:
        illustrate(run, chosen.name, best, photos, judgement.suspects, store, progress)
    forecast, held_out = plan.with_actual(), trained[chosen.name].validation
    evidence = Evidence(
        candidates=candidates,
        recommended=recommended,
        comparisons=comparisons,
        worth=judge_finetuning(candidates, right, photos),
        baseline=judge_baseline(chosen, right[chosen.name], photos, settings),
        shift=reservations.shift(
            held_out.right(learnt_from.labels, held_out.rows), right[chosen.name][~photos.leaks]
        ),
        dataset=photos.summary,
        max_error=settings.max_error,
        findings=photos.findings,
        n_judged=judgement.expected.n_images,
        suspects=judgement.suspects,
        suspects_expected=judgement.expected,
        learning_curve=curve,
        forecast=forecast,
    )
    return Results(
        schema_version=SCHEMA_VERSION,
        dataset=photos.summary,
        findings=photos.findings,
        candidates=candidates,
        recommended=recommended,
        decided_at=decided_at,
        comparisons=comparisons,
        baseline=evidence.baseline,
        shift=evidence.shift,
        learning_curve=curve,
        n_suspects=len(judgement.suspects),
        suspects_expected=judgement.expected,
        verdict=write_verdict(evidence),
        worth=evidence.worth,
        n_folds=len(photos.turns) if len(photos.turns) > 1 else 0,
        settings=runs.config(settings),
        versions=versions.here(),
        data_sha256=fingerprint(photos.parts),
        weights_sha256={row.name: weights.fingerprint(row, settings.weights_folder) for row in rows},
        seed=settings.seed,
        seconds=time.perf_counter() - start,
        forecast=forecast,
    )


def timed(trained: Sequence[Trained]) -> list[Trained]:
    """Return the candidates with the time that one picture takes each, measured in turns in one go."""
    latencies_ms = engine.latencies_ms([classifier.load(one.folder).engine for one in trained])
    return [
        dataclasses.replace(one, candidate=dataclasses.replace(one.candidate, latency_ms=latency_ms))
        for one, latency_ms in zip(trained, latencies_ms, strict=True)
    ]


def with_versions(photos: Photos, best: Trial, progress: Progress) -> Photos:
    """Return the photos with a finding where classes seem to be altered versions of fewer pictures.

    That shows in features alone, so it comes after the split, which must not depend on what was computed.
    """
    if best.row.name not in duplicates.JUDGES:
        return photos
    test = photos.parts["test"]
    whole = splits.joined(best.photos, test)
    different = np.unique(whole.digests, return_index=True)[1]
    vectors = np.concatenate([best.heads.features, best.features_of(test)])[different]
    labels = whole.labels[different]
    found = variants.find(vectors, labels, whole.groups[different])
    if found is None:
        return photos
    paths = [whole.paths[index] for index in different]
    new = summarised(findings.variants(paths, labels, photos.class_names, found, best.row.name))
    progress.remark(f"{new.detail} {new.advice}")
    kinds = list(KINDS)
    both = sorted((*photos.findings, new), key=lambda one: kinds.index(one.kind))
    return dataclasses.replace(photos, findings=tuple(both))


def summarised(finding: Finding) -> FindingSummary:
    """Return a finding as the results tell it."""
    return FindingSummary(finding.kind, finding.detail, finding.advice, finding.paths)


def judge_baseline(
    chosen: Candidate, right: NDArray[np.bool_], photos: Photos, settings: Settings
) -> Baseline:
    """Return what always saying the commonest class gets, on test photos without copies where there are."""
    asked = ~photos.leaks if not photos.leaks.all() else np.ones_like(photos.leaks)
    parts = photos.parts
    return reservations.baseline(
        chosen.name,
        right[asked],
        train=parts["train"].labels,
        validation=parts["validation"].labels,
        test=parts["test"].labels[asked],
        groups=parts["test"].groups[asked],
        class_names=photos.class_names,
        seed=settings.seed,
    )


def illustrate(
    run: runs.Run,
    chosen: str,
    best: Trial,
    photos: Photos,
    doubtful: tuple[Suspect, ...],
    store: Store,
    progress: Progress,
) -> None:
    """Write gallery.json."""
    paths = tuple(one.path for one in doubtful)
    material = Material(photos.root, photos.parts, photos.class_names, photos.findings, paths, best, chosen)
    illustration.write(run, material, store, progress)


def open_trial(
    row: Backbone, photos: Photos, settings: Settings, run: runs.Run, store: Store, progress: Progress
) -> Trial:
    """Open a backbone for the photos of a run."""
    learnt_from = splits.joined(photos.parts["train"], photos.parts["validation"])
    return Trial(
        row,
        learnt_from,
        photos.turns,
        photos.parts["test"],
        photos.class_names,
        settings,
        run.work,
        store,
        progress,
    )


def train(plan: Plan, settings: Settings, trackers: Trackers) -> list[Trained]:
    """Train every candidate that there is time for; nothing of the test part is read."""
    trained = []
    for trial in plan.trials if "features" in settings.techniques else ():
        trained.append(trial.probed())
        trial.release()
    for trial, epochs in plan.finetuning():
        watch = functools.partial(trackers.log, f"{trial.row.name}/finetune")
        trained.append(trial.finetuned(epochs, watch))
        trial.release()
    return trained


def prepare(settings: Settings, run: runs.Run, store: Store, progress: Progress) -> Photos:
    """List, audit and split the photos; write photos.csv, quarantine.csv and split.csv.

    Raises:
        DataError: No photos, too few classes, or a class too small to split.
    """
    source = samples.resolve(settings.data, progress)
    listed = listing.load(source, **settings.reading)
    if listed.layout:
        progress.remark(f"Read as: {listed.layout}.")
    stamped = snapshot.stamps(listed)
    audited = audits.audit(listed, store=store, progress=progress, is_thorough=settings.check)
    snapshot.write(run.folder / filenames.PHOTOS, listed, stamped, audited)
    records.write_csv(
        run.folder / filenames.QUARANTINE,
        filenames.QUARANTINE_COLUMNS,
        [(one.path, one.reason) for one in audited.quarantine],
    )
    told = tuple(map(summarised, audited.findings))
    for line in remarks(told):
        progress.remark(line)
    usable = audited.dataset
    n_folds = folds_of(settings, usable)
    split = splits.split(
        audited,
        seed=settings.seed,
        validation=settings.validation,
        test=settings.test,
        has_validation=not n_folds,
    )
    splits.write_csv(run.folder / filenames.SPLIT, audited, split)
    is_balanced = _is_balanced(settings.class_weight, usable.labels[split.indices("train")])
    parts = {name: splits.take_part(audited, split, name, is_balanced=is_balanced) for name in splits.PARTS}
    summary = DatasetSummary(
        n_images=len(usable.paths),
        class_names=usable.class_names,
        n_train=len(parts["train"].files),
        n_validation=len(parts["validation"].files),
        n_test=len(parts["test"].files),
        n_quarantined=len(audited.quarantine),
        n_ignored=len(listed.ignored),
        given_parts=tuple(part for part in splits.PARTS if part in usable.given_parts),
    )
    leaks = splits.leaking(audited, split)[split.indices("test")]
    turns = splits.turns(parts["train"], parts["validation"], n_folds=n_folds, seed=settings.seed)
    return Photos(usable.root, parts, turns, usable.class_names, summary, told, leaks)


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


def _is_balanced(class_weight: str, labels: NDArray[np.int32]) -> bool:
    counts = np.bincount(labels)
    is_unequal = bool(counts.max() >= IMBALANCE * counts.min())
    return class_weight == "balanced" or (class_weight == "auto" and is_unequal)


def measure(
    trained: Mapping[str, Trained],
    ranking: tuple[Candidate, ...],
    photos: Photos,
    run: runs.Run,
    settings: Settings,
) -> tuple[tuple[Candidate, ...], dict[str, NDArray[np.float32]]]:
    """Measure every candidate on the test part, in the order of the ranking, and write predictions.csv.

    This is where photos of the test part are predicted for the first time; the decision is made before.

    Returns:
        The candidates, and by the name of each, float32 (N, C), its probabilities for the test photos.
    """
    test = photos.parts["test"]
    found, rows, answered = [], [], {}
    for candidate in ranking:
        probabilities = trained[candidate.name].answer(test)
        scores = score(candidate, probabilities, photos, settings)
        repeats = measure_repeats(trained[candidate.name], scores, test)
        found.append(dataclasses.replace(candidate, test=scores, repeats=repeats))
        answered[candidate.name] = probabilities
        rows += prediction_rows(candidate, test, probabilities, photos.class_names)
    header = filenames.predictions_columns(photos.class_names)
    records.write_csv(run.folder / filenames.PREDICTIONS, header, rows)
    return tuple(found), answered


def measure_repeats(trained: Trained, scores: Measured, test: Part) -> tuple[Repeat, ...]:
    """Return each training of a candidate with its accuracy on test; the first is the candidate itself."""
    accuracies = [
        scores.accuracy,
        *(float((answer(test).argmax(axis=1) == test.labels).mean()) for answer in trained.repeats),
    ]
    return tuple(
        dataclasses.replace(repeat, test_accuracy=accuracy)
        for repeat, accuracy in zip(trained.candidate.repeats, accuracies, strict=False)
    )


def score(
    candidate: Candidate, probabilities: NDArray[np.float32], photos: Photos, settings: Settings
) -> Measured:
    """Return what a candidate came to on the test part, and how far that may be off by chance."""
    test, calibration = photos.parts["test"], candidate.calibration
    correct = probabilities.argmax(axis=1) == test.labels
    given = calibration.abstention
    confidence = probabilities.max(axis=1)
    return measured(
        metrics.evaluate(test.labels, probabilities, photos.class_names),
        intervals(test.labels, probabilities, test.groups, seed=settings.seed),
        reliability=calibrations.reliability(probabilities, test.labels),
        selection=calibrations.select(confidence, correct, given.threshold) if given else None,
        risk_curve=calibrations.risk_curve(confidence, correct),
        sets=calibrations.measure(calibration.conformal.sets(probabilities), test.labels),
        without_leaks=without_leaks(correct, photos, settings) if photos.leaks.any() else None,
    )


def without_leaks(correct: NDArray[np.bool_], photos: Photos, settings: Settings) -> WithoutLeaks:
    """Return accuracy on the test photos that have no copy, and none of their group, in another part."""
    clean = correct[~photos.leaks]
    if not len(clean):
        return WithoutLeaks(0, None, None)
    groups = photos.parts["test"].groups[~photos.leaks]
    interval = accuracy_interval(clean, groups, seed=settings.seed)
    return WithoutLeaks(len(clean), float(clean.mean()), interval)


def judge_finetuning(
    candidates: tuple[Candidate, ...], right: dict[str, NDArray[np.bool_]], photos: Photos
) -> tuple[Worth, ...]:
    """Return whether fine-tuning was worth it, for each backbone that was tried with both techniques."""
    asked = [
        (f"{name}/finetune", f"{name}/features") for name in dict.fromkeys(one.backbone for one in candidates)
    ]
    pairs = [pair for pair in asked if set(pair) <= set(right)]
    comparisons = compare_all(right, pairs=pairs, groups=photos.parts["test"].groups)
    return worth_finetuning(candidates, comparisons, photos.summary.n_train / len(photos.class_names))


def keep_model(run: runs.Run, folder: Path, test: Part, probabilities: NDArray[np.float32]) -> None:
    """Keep a saved model, and ask it about some test photos again, as `headstart predict` would.

    Raises:
        EngineMismatch: It answers otherwise than what was measured: a defect of ours.
    """
    run.keep_model(folder)
    asked = test.files[:CHECKED_AGAIN]
    kept = classifier.load_run(run.folder).predict(asked)
    received = np.array([list((one.probabilities or {}).values()) for one in kept])
    error = float(np.abs(received - probabilities[: len(asked)]).max())
    if not error <= KEPT_MODEL_ERROR:
        raise EngineMismatch(
            f"The kept model's probabilities are off by {error:.2g} from those measured.",
            f"This is a defect of Headstart, please report it. {engine.WITH_KERAS}",
        )


def prediction_rows(
    candidate: Candidate, part: Part, probabilities: NDArray[np.float32], class_names: tuple[str, ...]
) -> list[tuple[object, ...]]:
    """Return the rows of predictions.csv for one candidate."""
    best = probabilities.argmax(axis=1)
    return [
        (
            candidate.backbone,
            candidate.technique,
            path,
            class_names[label],
            class_names[predicted],
            f"{row[predicted]:.6f}",
            *(f"{one:.6f}" for one in row),
        )
        for path, label, predicted, row in zip(part.paths, part.labels, best, probabilities, strict=True)
    ]


def fingerprint(parts: Mapping[str, Part]) -> str:
    """Return the sha256 of the photos of all parts, their paths and labels; their order does not count."""
    lines = sorted(
        f"{name} {digest} {label} {path}"
        for name, part in parts.items()
        for digest, label, path in zip(part.digests, part.labels.tolist(), part.paths, strict=True)
    )
    return hashlib.sha256("\n".join(lines).encode(errors="surrogateescape")).hexdigest()
