"""The whole flow, from a folder of photos to a finished run folder."""

import dataclasses
import functools
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from headstart.base import filenames, records
from headstart.base.arrays import Floats
from headstart.base.errors import EngineMismatch
from headstart.base.progress import Progress
from headstart.base.settings import Settings
from headstart.networks import backbones, classifier, engine, weights
from headstart.networks.classifier import Classifier
from headstart.networks.table import Backbone, alone
from headstart.photos.splits import Part
from headstart.reporting import card, report, tracking
from headstart.reporting.tracking import Trackers
from headstart.results import run as runs
from headstart.results.comparison import Results, rank
from headstart.results.decision import decide
from headstart.results.run import Run
from headstart.statistics.answers import Answers
from headstart.storage import cache
from headstart.storage.store import Store
from headstart.training.finetune import Watch
from headstart.training.suspects import Judgement, judge
from headstart.workflow import illustration
from headstart.workflow.conclusion import Case, results_of, with_versions
from headstart.workflow.illustration import Material
from headstart.workflow.plan import Plan
from headstart.workflow.preparation import Photos, foresee, is_current, list_photos, prepare, taste
from headstart.workflow.scoring import measure
from headstart.workflow.techniques import errand, picture_size
from headstart.workflow.techniques.averaging import averaged
from headstart.workflow.techniques.bench import Bench, Machines, load_libraries
from headstart.workflow.techniques.draft import Trained
from headstart.workflow.techniques.pairing import pairs
from headstart.workflow.techniques.trial import Prospect, Trial

CHECKED_AGAIN = 4
"""Photos that the kept model is asked about again."""

KEPT_MODEL_ERROR = 1e-2
"""How far its probabilities may be off. Candidates were measured on features of half precision, the kept
model computes in float32: `tiny`, whose logits are steep, was off by 0.0026 on textile. A wrong model is off
by tenths."""


def compare(
    settings: Settings,
    progress: Progress | None = None,
    *,
    update: bool = False,
    store_path: Path | None = None,
    tensorboard: Path | None = None,
    mlflow: str | None = None,
    machines: Machines | None = None,
) -> Results:
    """Train every candidate, decide on validation which to use, then measure all of them on test.

    Args:
        settings: What to compare, on which photos, and where to write it.
        progress: Where to tell how far it is; silent when None.
        update: Compare anew where the run folder is finished and the photos have changed since.
        store_path: What was computed before is looked for, and kept, in this file; by default the cache's.
        tensorboard: Folder to log the training to, for TensorBoard.
        mlflow: Where to log the training to, as MLflow names a tracking server or a store.
        machines: Other machines that read the photos and fine-tune, such as a `headstart.cluster`.

    Returns:
        The results; the run folder holds them too, with the recommended model. Where the run folder
        is finished already, with equal settings and photos, its results are returned and nothing is done,
        but for a report that is asked for and missing.

    Raises:
        DataError: The photos are not there, or not such that they can be compared on.
        UnknownBackbone: No such backbone.
        WeightsError: Pretrained weights are missing.
        RunError: The run folder is in use, holds something else, or is finished with other photos.
        SettingsError: TensorBoard's folder or MLflow cannot be written to.
        MissingPackage: One of them, or TensorFlow, is needed and not installed; fine-tuning beside another
            technique is left out without it.
        DiskFull: No space is left.
    """
    progress = progress or Progress()
    settings = possible(runs.resolve(settings), progress)
    rows = [backbones.find(name) for name in settings.backbones]
    with runs.claim(Path(str(settings.out)), settings) as run:
        run.adopt()
        if run.is_finished:
            results = run.results()
            if is_current(run, settings, progress, update=update):
                if not is_described(run, settings):  # it was ended just before
                    describe(run, settings)
                return results
        target = run.update if run.is_finished else run
        with tracking.opened(settings, progress, tensorboard=tensorboard, mlflow=mlflow) as trackers:
            with Store(progress, store_path) as store, ThreadPoolExecutor(1) as pool:
                bench = Bench(settings, target.work, store, progress, machines)
                results = train_and_judge(rows, target, bench, trackers, pool)
            target.finish(results)
            run.adopt()
            trackers.finish(results, describe(run, settings))
        cache.prune(progress)
    return results


def possible(settings: Settings, progress: Progress) -> Settings:
    """Return settings without fine-tuning where TensorFlow is not installed, with a remark.

    Raises:
        MissingPackage: Nothing else was asked for, or all networks are to run on Keras.
    """
    others = tuple(technique for technique in settings.techniques if technique != "finetune")
    if settings.engine == "keras" or not others:
        backbones.import_keras()
    if others == settings.techniques or backbones.has_keras():
        return settings
    progress.remark(
        f"Fine-tuning is left out, for TensorFlow is not installed: `{backbones.INSTALL}` brings it."
    )
    return dataclasses.replace(settings, techniques=others)


def train_and_judge(
    rows: Sequence[Backbone], run: Run, bench: Bench, trackers: Trackers, pool: ThreadPoolExecutor
) -> Results:
    """Do all of it but write the results: the run folder holds the rest then."""
    start, settings, progress = time.perf_counter(), bench.settings, bench.progress
    load_libraries()
    listed = list_photos(bench)
    if settings.report:
        pool.submit(report.prepare)  # in a process of its own, while pip works in others
    weights.pull(alone(rows), settings.weights_folder, progress)
    size = picture_size.choose(listed.photos, alone(rows), bench)
    opened = picture_size.open_all(alone(rows), size, bench)
    pace = taste(listed, opened, bench)
    plan = Plan(
        foresee(listed, opened, pace, bench), pace.reading_s(len(listed.photos)), settings, start, progress
    )
    photos = prepare(run, listed, [one.opened for one in plan.prospects], size.sample, bench)
    plan.go_on([open_trial(one, photos, bench) for one in plan.prospects])
    trained = {one.candidate.name: one for one in timed(train(plan, rows, photos, bench, trackers))}
    ranking = rank(tuple(one.candidate for one in trained.values()))
    answers = {name: one.validation for name, one in trained.items()}
    learnt_from, margin, seed = photos.lesson.photos, settings.margin, settings.seed
    recommended = decide(ranking, answers, learnt_from.labels, learnt_from.groups, margin=margin, seed=seed)
    decided_at = run.decide(recommended)
    tested = measure(trained, ranking, photos, run, settings)
    chosen = trained[recommended.name]
    model = keep_model(run, chosen.folder, photos.test, tested.answers[recommended.name])
    best = next(trial for trial in plan.trials if trial.row.name == recommended.backbone)
    curve = best.heads.learning_curve()
    photos = with_versions(photos, best, progress)
    judgement = judge_labels(list(answers.values()), run, photos, settings)
    if settings.report:
        material = Material(photos, judgement.suspects, best, recommended.name, model)
        illustration.write(run, material, bench.store, progress)
    case = Case(
        settings,
        photos,
        tested,
        recommended,
        decided_at,
        chosen.validation,
        curve,
        judgement,
        plan.with_actual(),
        size.tried,
    )
    return results_of(case, alone(rows), time.perf_counter() - start)


def open_trial(prospect: Prospect, photos: Photos, bench: Bench) -> Trial:
    """Return a backbone on the photos of a run; of the test part it is told what is sealed, and no more."""
    return Trial(prospect.opened, photos.lesson, photos.sealed, bench, read_s=prospect.work(1).read)


def train(
    plan: Plan, rows: Sequence[Backbone], photos: Photos, bench: Bench, trackers: Trackers
) -> list[Trained]:
    """Train every candidate that there is time for; nothing of the test part is read."""
    trained = []
    if "features" in bench.settings.techniques:
        for trial in plan.trials:
            trained += [trial.extraction.train()] if trial.row in rows else []
            trial.release()
        for pair in pairs(rows, plan.trials, photos.lesson, photos.sealed, bench):
            plan.trials.append(pair)
            trained.append(pair.extraction.train())
            pair.release()
    tuned = finetune(plan, rows, bench, trackers)
    trained += [one for _, one in tuned]
    for opened, one in averaged(tuned, photos.lesson, bench):
        trained.append(one)
        if opened.row not in [trial.row for trial in plan.trials]:
            plan.trials.append(Trial(opened, photos.lesson, photos.sealed, bench))
    return trained


def finetune(
    plan: Plan, rows: Sequence[Backbone], bench: Bench, trackers: Trackers
) -> list[tuple[Trial, Trained]]:
    """Fine-tune what there is time for."""
    tuned = []
    for some in at_once(plan.finetuning(rows), bench.settings):
        hand_out(some, bench, trackers)
        for trial, epochs in some:
            tuned.append((trial, trial.tuning.train(epochs, watch_of(trial, trackers))))
            trial.release()
    return tuned


def at_once(planned: Iterable[tuple[Trial, int]], settings: Settings) -> Iterator[list[tuple[Trial, int]]]:
    """Yield all that is to be fine-tuned; within a budget one by one, as what is left of the time decides."""
    if settings.budget_seconds:
        yield from ([one] for one in planned)
    else:
        yield [*planned]


def hand_out(planned: Sequence[tuple[Trial, int]], bench: Bench, trackers: Trackers) -> None:
    """Have other machines, where there are some, make what is missing of several trainings.

    A single one is made here, where each of its passes is kept.
    """
    if not bench.machines:
        return
    errands = []
    for trial, epochs in planned:
        watch = watch_of(trial, trackers)
        errands += [(one, watch) for one in trial.tuning.errands(epochs)]
        trial.release()
    if len(errands) > 1:
        errand.spread(errands, bench.machines, bench.progress)


def watch_of(trial: Trial, trackers: Trackers) -> Watch:
    """Return what is told of the passes of a backbone."""
    return functools.partial(trackers.log, f"{trial.row.name}/finetune")


def timed(trained: Sequence[Trained]) -> list[Trained]:
    """Return the candidates with the time that one picture takes each, measured in turns in one go."""
    latencies_ms = engine.latencies_ms([classifier.load(one.folder).engine for one in trained])
    return [
        dataclasses.replace(one, candidate=dataclasses.replace(one.candidate, latency_ms=latency_ms))
        for one, latency_ms in zip(trained, latencies_ms, strict=True)
    ]


def keep_model(run: Run, folder: Path, test: Part, probabilities: Floats) -> Classifier:
    """Keep a saved model, and ask it about some test photos again, as `headstart predict` would; return it.

    Raises:
        ChangedPhoto: One of them was changed since it was measured on.
        EngineMismatch: It answers otherwise than what was measured: a defect of ours.
    """
    run.keep_model(folder)
    asked = test.files[:CHECKED_AGAIN]
    model, digests = classifier.load_run(run.folder), test.digests[:CHECKED_AGAIN]
    received, _ = model.ask(asked, digests)
    error = float(np.abs(received - probabilities[: len(asked)]).max())
    if not error <= KEPT_MODEL_ERROR:
        raise EngineMismatch(
            f"The kept model's probabilities are off by {error:.2g} from those measured.",
            f"This is a defect of Headstart, please report it. {engine.WITH_KERAS}",
        )
    return model


def judge_labels(answers: Sequence[Answers], run: Run, photos: Photos, settings: Settings) -> Judgement:
    """Return the labels to learn from that look wrong, and write suspects.csv."""
    learnt_from = photos.lesson.photos
    found = judge(answers, learnt_from.labels, photos.class_names, learnt_from.paths, settings.seed)
    rows = [one.row() for one in found.suspects]
    records.write_csv(run.folder / filenames.SUSPECTS, filenames.SUSPECTS_COLUMNS, rows)
    return found


def is_described(run: Run, settings: Settings) -> bool:
    """Say whether a finished run has its report and its model card, if they are asked for."""
    return not settings.report or all(
        (run.folder / name).exists() for name in (filenames.REPORT, filenames.CARD)
    )


def describe(run: Run, settings: Settings) -> list[Path]:
    """Write the report and the model card of a finished run, if asked for; return what describes it.

    They are written anew where they were before.
    """
    is_drawn = settings.report or (run.folder / filenames.REPORT).exists()
    drawn = [report.draw(run.folder), card.write(run.folder)] if is_drawn else []
    return [*drawn, run.folder / filenames.RESULTS, run.folder / filenames.CONFIG]
