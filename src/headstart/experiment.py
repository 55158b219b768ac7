"""The whole flow, from a folder of photos to a finished run folder."""

import contextlib
import dataclasses
import importlib.metadata
import platform
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

import headstart
from headstart import audit as audits
from headstart import (
    augmentation,
    backbones,
    classifier,
    dataset,
    engine,
    features,
    finetune,
    metrics,
    pixels,
    probe,
    records,
    samples,
    splits,
)
from headstart import run as runs
from headstart.augmentation import Effect
from headstart.backbones.table import Backbone
from headstart.classifier import Classifier, ClassifierRecord
from headstart.comparison import (
    SCHEMA_VERSION,
    Candidate,
    DatasetSummary,
    FindingSummary,
    Results,
    Training,
    Winner,
    rank,
)
from headstart.engine import Engine
from headstart.errors import DataError
from headstart.finetune import Recipe
from headstart.metrics import Evaluation
from headstart.probe import Head
from headstart.progress import Progress
from headstart.settings import Settings
from headstart.splits import Part

if TYPE_CHECKING:
    import openvino

IMBALANCE = 3.0
"""From this ratio of the largest to the smallest class on, `class_weight="auto"` weighs classes."""

NEAR = (0.75, 1.25)
"""Photos of one size, by this part of the backbone's own, are fed as they are."""

PACKAGES = ("keras", "tensorflow-cpu", "tensorflow", "openvino", "numpy", "scikit-learn")


@dataclass(frozen=True, eq=False)
class Photos:
    """What the data came to: its parts, its class names, and the summaries that the results tell."""

    parts: dict[str, Part]
    class_names: tuple[str, ...]
    summary: DatasetSummary
    findings: tuple[FindingSummary, ...]


@dataclass(frozen=True, eq=False)
class Trained:
    """A candidate not yet measured on test, and the folder of its classifier."""

    candidate: Candidate
    folder: Path


def compare(settings: Settings, progress: Progress | None = None) -> Results:
    """Train every candidate, fix the winner on validation, then measure all of them on test.

    Args:
        settings: What to compare, on which photos, and where to write it.
        progress: Where to tell how far it is; silent when None.

    Returns:
        The results; the run folder holds them too, with the winner's model. Where the run folder
        is finished already, with equal settings, its results are returned and nothing is done.

    Raises:
        DataError: The photos are not there, or not such that they can be compared on.
        UnknownBackbone: No such backbone.
        WeightsError: Pretrained weights are missing.
        RunError: The run folder is in use or holds something else.
        DiskFull: No space is left.
    """
    progress = progress or Progress()
    settings = runs.resolve(settings)
    rows = [backbones.find(name) for name in settings.backbones]
    with runs.claim(Path(str(settings.out)), settings) as run:
        if run.is_finished:
            return run.results()
        start = time.perf_counter()
        photos = prepare(settings, run, progress)
        trained = [one for row in rows for one in train_backbone(row, photos, settings, run, progress)]
        ranking = rank(tuple(one.candidate for one in trained))
        winner = Winner(ranking[0].backbone, ranking[0].technique)
        run.select(winner)
        candidates = measure(trained, ranking, photos, run, progress)
        results = Results(
            schema_version=SCHEMA_VERSION,
            dataset=photos.summary,
            findings=photos.findings,
            candidates=candidates,
            winner=winner,
            settings=runs.config(settings),
            versions=versions(),
            seed=settings.seed,
            seconds=time.perf_counter() - start,
        )
        run.finish(results)
    return results


def prepare(settings: Settings, run: runs.Run, progress: Progress) -> Photos:
    """List, audit and split the photos; write split.csv and quarantine.csv.

    Raises:
        DataError: No photos, too few classes, or a class too small to split.
    """
    listed = dataset.load(samples.resolve(settings.data, progress), exclude=settings.exclude)
    audited = audits.audit(listed, progress=progress)
    records.write_csv(
        run.folder / "quarantine.csv",
        ("path", "reason"),
        [(one.path, one.reason) for one in audited.quarantine],
    )
    findings = tuple(FindingSummary(one.kind, one.detail, one.advice, one.paths) for one in audited.findings)
    for line in remarks(findings):
        progress.remark(line)
    split = splits.split(audited, seed=settings.seed, validation=settings.validation, test=settings.test)
    splits.write_csv(run.folder / "split.csv", audited, split)
    usable = audited.dataset
    is_balanced = _is_balanced(settings.class_weight, usable.labels[split.indices("train")])
    parts = {name: splits.take_part(usable, split, name, is_balanced=is_balanced) for name in splits.PARTS}
    summary = DatasetSummary(
        n_images=len(usable.paths),
        class_names=usable.class_names,
        n_train=len(parts["train"].files),
        n_validation=len(parts["validation"].files),
        n_test=len(parts["test"].files),
        n_quarantined=len(audited.quarantine),
        n_ignored=len(listed.ignored),
    )
    return Photos(parts, usable.class_names, summary, findings)


def remarks(findings: Sequence[FindingSummary]) -> list[str]:
    """Return a line for each finding, at most 3 of a kind, and how many more there are."""
    lines = []
    for kind in dict.fromkeys(one.kind for one in findings):
        same = [one for one in findings if one.kind == kind]
        lines += [f"{one.detail} {one.advice}" for one in same[:3]]
        if len(same) > 3:
            lines.append(f"… and {len(same) - 3:,} more of this kind ({kind}): see results.json.")
    return lines


def _is_balanced(class_weight: str, labels: NDArray[np.int32]) -> bool:
    counts = np.bincount(labels)
    return class_weight == "balanced" or (class_weight == "auto" and counts.max() >= IMBALANCE * counts.min())


@dataclass(frozen=True, eq=False)
class Trial:
    """A backbone on these photos: what both techniques share."""

    row: Backbone
    image_size_px: int
    photos: Photos
    settings: Settings
    run: runs.Run
    progress: Progress
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Add the wall time of a block to its stage."""
        start = time.perf_counter()
        yield
        self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - start


def train_backbone(
    row: Backbone, photos: Photos, settings: Settings, run: runs.Run, progress: Progress
) -> list[Trained]:
    """Train a backbone with each technique asked for, features first, and save the classifiers.

    Nothing of the test part is read.
    """
    trial = Trial(row, image_size_px(row, photos, settings), photos, settings, run, progress)
    with trial.timed("prepare"):
        graph = engine.open_backbone(
            row, trial.image_size_px, weights_dir=weights_folder(settings), progress=progress
        )
    frozen = Engine(graph)
    train, validation = photos.parts["train"], photos.parts["validation"]
    with trial.timed("features"):
        train_features = extract(trial, frozen, train, "train features")
        validation_features = extract(trial, frozen, validation, "validation features")
    with trial.timed("probe"):
        head = probe.fit(
            train_features, train.labels, validation_features, validation.labels, train.sample_weights
        )
    trained = []
    if "features" in settings.techniques:
        trained.append(probed(trial, graph, head, train_features, validation_features))
    if "finetune" in settings.techniques:
        trained.append(finetuned(trial, frozen, head, train_features))
    return trained


def image_size_px(row: Backbone, photos: Photos, settings: Settings) -> int:
    """Return the size asked for; else the photos' own where it is nearly the backbone's; else the backbone's.

    Squares of one size come from a camera or a scanner that is set up for it. Resizing them by a few
    per cent blurs every detail of a pixel or two and gains nothing: on sample:textile (250 pixels), a probe
    on mobilenet_v2 got 87% of the test photos right unscaled and 78% at 224.
    """
    side = pixels.common_side(photos.parts["train"].files)
    is_near = side is not None and NEAR[0] * row.input_size_px <= side <= NEAR[1] * row.input_size_px
    return settings.image_size or (side if side is not None and is_near else row.input_size_px)


def extract(trial: Trial, graph: Engine, part: Part, what: str) -> NDArray[np.float32]:
    """Return what a graph says of each photo of a part."""
    with trial.progress.stage(f"{trial.row.name} {what}", len(part.files)) as advance:
        return features.extract(
            graph, part.files, size_px=trial.image_size_px, fit=trial.settings.fit, advance=advance
        )


def probed(
    trial: Trial,
    graph: "openvino.Model",
    head: Head,
    train_features: NDArray[np.float32],
    validation_features: NDArray[np.float32],
) -> Trained:
    """Score the probe on validation, then fit it again, its penalty fixed, on train and validation."""
    train, validation = trial.photos.parts["train"], trial.photos.parts["validation"]
    scores = metrics.evaluate(
        validation.labels, head.probabilities(validation_features), trial.photos.class_names
    )
    with trial.timed("probe"):
        refitted = probe.refit(
            np.concatenate([train_features, validation_features]),
            np.concatenate([train.labels, validation.labels]),
            np.concatenate([train.sample_weights, validation.sample_weights]),
            head.l2,
        )
    training = Training(trial.image_size_px, head.l2)
    return kept(trial, "features", classifier.with_head(graph, refitted), scores, training)


def finetuned(trial: Trial, frozen: Engine, head: Head, train_features: NDArray[np.float32]) -> Trained:
    """Fine-tune from the probe and score on validation what will be handed over: the converted graph."""
    settings, train, validation = (
        trial.settings,
        trial.photos.parts["train"],
        trial.photos.parts["validation"],
    )
    with trial.timed("augmentation"):
        effects = checked_views(trial, frozen, head, train_features) if settings.augment == "auto" else ()
    harmless = tuple(one.operation for one in effects if one.is_harmless)
    recipe = Recipe(
        image_size_px=trial.image_size_px,
        fit=settings.fit,
        epochs=settings.epochs,
        batch_size=settings.batch_size,
        learning_rate=settings.learning_rate,
        patience=settings.patience,
        unfreeze=trial.row.default_unfreeze if settings.unfreeze == "auto" else settings.unfreeze,
        operations=augmentation.LEVELS.get(settings.augment, harmless),
        seed=settings.seed,
    )
    with trial.timed("finetune"):
        backbone = backbones.build(
            trial.row.name,
            image_size_px=trial.image_size_px,
            weights_dir=weights_folder(settings),
            progress=trial.progress,
        )
        tuned = finetune.finetune(
            backbone, trial.row.last_block, head, train, validation, recipe, trial.progress
        )
    with trial.timed("convert"):
        graph = engine.convert(tuned.model)
    training = Training(
        image_size_px=trial.image_size_px,
        l2=head.l2,
        trained_layers=tuned.trained_layers,
        operations=recipe.operations,
        effects=effects,
        history=tuned.history,
        best_epoch=tuned.best,
    )
    probabilities = extract(trial, Engine(graph), validation, "fine-tuned validation")
    scores = metrics.evaluate(validation.labels, probabilities, trial.photos.class_names)
    return kept(trial, "finetune", graph, scores, training)


def checked_views(
    trial: Trial, frozen: Engine, head: Head, train_features: NDArray[np.float32]
) -> tuple[Effect, ...]:
    """Return what each operation does to some training photos; one that does harm is remarked on."""
    train, seed = trial.photos.parts["train"], trial.settings.seed
    chosen = augmentation.sample(train.labels, seed)
    files = [train.files[index] for index in chosen]
    pictures = np.stack(list(pixels.read_many(files, trial.image_size_px, trial.settings.fit)))
    effects = augmentation.check(
        frozen, pictures, train_features[chosen], train.labels[chosen], l2=head.l2, seed=seed
    )
    harmful = [one.operation for one in effects if not one.is_harmless]
    if harmful:
        trial.progress.remark(
            f"Augmentation leaves out {', '.join(harmful)}: it makes photos look like another class."
        )
    return effects


def kept(
    trial: Trial, technique: str, graph: "openvino.Model", scores: Evaluation, training: Training
) -> Trained:
    """Save a candidate's classifier in the work folder, measure its latency, and drop it from memory."""
    record = ClassifierRecord(
        schema_version=classifier.SCHEMA_VERSION,
        class_names=trial.photos.class_names,
        backbone=trial.row.name,
        technique=technique,
        image_size_px=trial.image_size_px,
        fit=trial.settings.fit,
        scaling=trial.row.scaling,
        pixels_version=pixels.PIXELS_VERSION,
    )
    model = Classifier(record, graph)
    folder = trial.run.work / f"{trial.row.name}-{technique}"
    model.save(folder)
    candidate = Candidate(
        backbone=trial.row.name,
        technique=technique,
        validation=scores,
        test=None,
        seconds=seconds_of(technique, trial.seconds),
        parameters=trial.row.parameters + (trial.row.feature_size + 1) * len(trial.photos.class_names),
        size_mb=(folder / "graph.bin").stat().st_size / 1e6,
        latency_ms=model.engine.latency_ms(),
        training=training,
    )
    return Trained(candidate, folder)


def seconds_of(technique: str, seconds: dict[str, float]) -> dict[str, float]:
    """Return what a technique would have cost on its own; fine-tuning starts from the probe."""
    shared = ("prepare", "features", "probe")
    return {stage: spent for stage, spent in seconds.items() if technique == "finetune" or stage in shared}


def measure(
    trained: list[Trained], ranking: tuple[Candidate, ...], photos: Photos, run: runs.Run, progress: Progress
) -> tuple[Candidate, ...]:
    """Measure every candidate on the test part, in the order of the ranking, and keep the first as the model.

    This is the only place where photos of the test part are predicted; the winner is fixed before.
    """
    test = photos.parts["test"]
    folders = {id(one.candidate): one.folder for one in trained}
    measured, rows = [], []
    for candidate in ranking:
        model = classifier.load(folders[id(candidate)])
        title = f"{candidate.backbone} {candidate.technique} test"
        probabilities = model.probabilities(test.files, title=title, progress=progress)
        scores = metrics.evaluate(test.labels, probabilities, photos.class_names)
        measured.append(dataclasses.replace(candidate, test=scores))
        rows += prediction_rows(candidate, test, probabilities, photos.class_names)
    header = ("backbone", "technique", "path", "label", "predicted", "confidence")
    records.write_csv(
        run.folder / "predictions.csv", (*header, *(f"p_{name}" for name in photos.class_names)), rows
    )
    run.keep_model(folders[id(ranking[0])])
    return tuple(measured)


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


def weights_folder(settings: Settings) -> Path | None:
    """Return the folder of weight files that the user named, if any."""
    return Path(settings.weights_dir).expanduser() if settings.weights_dir else None


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that decide the numbers."""
    found = {"headstart": headstart.__version__, "python": platform.python_version()}
    for package in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    return found


def evaluate(folder: Path, data: str, progress: Progress | None = None) -> Evaluation:
    """Measure the model of a run on all readable photos of other data; its parts are not told apart.

    Args:
        folder: A finished run folder.
        data: Labelled photos, as for `compare`; classes are matched by name, not by position.
        progress: Where to tell how far it is.

    Raises:
        DataError: The data has a class that the model does not know.
        RunError: The folder holds no finished run.
    """
    progress = progress or Progress()
    model = classifier.load_run(folder)
    listed = dataset.load(samples.resolve(data, progress))
    usable = audits.audit(listed, progress=progress).dataset
    labels = matched_labels(usable, model.class_names)
    files = [usable.file(index) for index in range(len(usable))]
    return metrics.evaluate(labels, model.probabilities(files, progress=progress), model.class_names)


def matched_labels(usable: dataset.Dataset, class_names: tuple[str, ...]) -> NDArray[np.int32]:
    """Return the labels as indices into a model's class names.

    Raises:
        DataError: A class is none of the model's.
    """
    unknown = [name for name in usable.class_names if name not in class_names]
    if unknown:
        raise DataError(
            f"The model knows no class {unknown[0]!r}: its classes are {', '.join(class_names)}.",
            "Rename the folder or the label to the model's name for it, or leave those photos out.",
        )
    positions = np.array([class_names.index(name) for name in usable.class_names], np.int32)
    return positions[usable.labels]
