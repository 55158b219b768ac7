"""A backbone fine-tuned from its probe into a draft, on whichever machine that is."""

import functools
from dataclasses import dataclass

import numpy as np

from headstart.base.arrays import Floats, Labels, Rows
from headstart.base.settings import Settings
from headstart.networks import backbones, engine, features, novelty, versions
from headstart.networks.engine import Engine
from headstart.networks.pieces import Pieces
from headstart.photos.splits import Lesson, Part, held_out_in
from headstart.pictures.pixels import Pixels
from headstart.results.comparison import Effect, Training
from headstart.statistics import metrics
from headstart.storage.checkpoint import Checkpoints
from headstart.training import augmentation, tail
from headstart.training.finetune import FineTuned, Probes, Tuner, Watch
from headstart.training.recipe import Recipe
from headstart.workflow.techniques.bench import Bench, Opened, examples_of, unfreeze
from headstart.workflow.techniques.draft import Draft, Outcome, photos_sha256

VIEWS = 4
"""Random views of a photo that a frozen trunk is asked about; see docs/performance.md."""


@dataclass(frozen=True, eq=False)
class Start:
    """What fine-tuning starts from.

    Attributes:
        probes: What is to be gained on.
        effects: What each operation of augmentation does to some training photos.
    """

    probes: Probes
    effects: tuple[Effect, ...]


@dataclass(frozen=True, eq=False)
class Judged:
    """Of a fine-tuned network: what it answered on M validation photos.

    Attributes:
        labels: int32 (M,).
        rows: (M,), which of the photos to learn from they are, ascending.
        probabilities: float32 (M, C).
        references: float32 (R, D), what novelty is measured from.
        novelty: Scores of photos by references that they are not among.
    """

    labels: Labels
    rows: Rows
    probabilities: Floats
    references: Floats
    novelty: Floats


class Trainer:
    """Fine-tunes a backbone.

    Args:
        opened: The backbone.
        lesson: What is learnt from.
        bench: What is worked with; what is finished of a training is kept in its work folder.
    """

    def __init__(self, opened: Opened, lesson: Lesson, bench: Bench) -> None:
        self._opened, self._lesson, self._bench = opened, lesson, bench
        self._tuner: Tuner | None = None

    @functools.cached_property
    def _examples(self) -> Pixels:
        return examples_of(self._lesson, self._opened.image_size_px, self._bench.settings.fit)

    @property
    def is_built(self) -> bool:
        """Whether the backbone is ready to be fine-tuned."""
        return self._tuner is not None

    def train(self, draft: Draft, start: Start, seed: int, epochs: int, watch: Watch) -> None:
        """Fine-tune, score on validation what will be handed over, and keep it as a draft."""
        opened, lesson = self._opened, self._lesson
        harmless = augmentation.harmless(start.effects)
        recipe = recipe_of(opened, self._bench.settings, epochs, harmless, seed)
        with opened.watch.stage("finetune"):
            tuned = self.built().train(
                start.probes, lesson, recipe, self.checkpoints, self._bench.progress, watch
            )
        backbone = self._converted(tuned)
        judged = self._judged(tuned, backbone)
        scores = metrics.evaluate(judged.labels, judged.probabilities, lesson.class_names)
        calibration = self._bench.calibrate(judged.probabilities, judged.labels, judged.novelty)
        calibrated = tuned.head.tempered(calibration.temperature)
        pieces = Pieces(calibrated.weights, calibrated.bias, judged.references, tuned.model)
        draft.keep_answers(judged.rows, judged.probabilities, judged.novelty)
        outcome = Outcome(scores, calibration, training_of(tuned, recipe, start.effects))
        draft.keep(backbone, pieces, outcome, opened, lesson.class_names)

    @functools.cached_property
    def checkpoints(self) -> Checkpoints:
        """Where what is finished of a training is kept, and what decides it beside the recipe."""
        row, settings = self._opened.row, self._bench.settings
        decisive = photos_sha256(self._lesson), self._opened.extractor.identity, unfreeze(row, settings)
        checkpoints = Checkpoints(self._bench.work / f"{row.name}-training", "")
        return checkpoints.made_from(*decisive, settings.seed, versions.here())

    def _converted(self, tuned: FineTuned) -> Engine:
        opened, seconds = self._opened, self._opened.watch.seconds
        before = seconds.get("convert", 0.0)  # of another seed
        with opened.watch.stage("convert"):
            backbone = engine.prepare(tuned.model, self._examples, opened.kind, self._bench.progress)
        opened.ledger.note(convert=seconds["convert"] - before)
        return backbone

    def _judged(self, tuned: FineTuned, backbone: Engine) -> Judged:
        """Ask what will be handed over about the validation photos, and some others beside them.

        With folds it has seen them all. There the networks of the folds answer for it, but novelty is that of
        its own features, by references from the other folds: of two fine-tuned networks the threshold refused
        0.3 and 1.1 points more of new photos so than by photos that they had not seen.
        """
        lesson, seed = self._lesson, self._bench.settings.seed
        labels, validation = lesson.photos.labels, lesson.validation
        rows = novelty.sample(labels, seed=seed)
        if not lesson.has_folds:
            rows = np.union1d(rows, validation)
        title = f"{self._opened.row.name} fine-tuned validation"
        vectors = vectors_of(backbone, lesson.photos, rows, self._bench, title)
        last = vectors[:, -self._opened.row.feature_size :]
        fold_of = held_out_in(lesson.folds, len(labels))
        own = vectors[np.isin(rows, validation)]
        order = np.argsort(validation)
        return Judged(
            labels=labels[validation[order]],
            rows=validation[order],
            probabilities=tuned.answers[order] if lesson.has_folds else tuned.head.probabilities(own),
            references=novelty.references(last, labels[rows], seed=seed),
            novelty=novelty.out_of_fold(last, labels[rows], fold_of[rows], seed=seed),
        )

    def built(self) -> Tuner:
        """Return the backbone made ready to be fine-tuned, built where it is not there."""
        if self._tuner is None:
            with self._opened.watch.stage("finetune"):
                n_classes = len(self._lesson.class_names)
                self._tuner = build(self._opened, self._examples, n_classes, self._bench)
        return self._tuner

    def release(self) -> None:
        """Drop what takes memory; it would be built again."""
        self._tuner = None


def build(opened: Opened, examples: Pixels, n_classes: int, bench: Bench) -> Tuner:
    """Return a backbone made ready to be fine-tuned to C classes, tried on some photos as it is fed them."""
    settings, row = bench.settings, opened.row
    backbone = backbones.build(
        row.name,
        features=settings.features,
        image_size_px=opened.image_size_px,
        weights_dir=settings.weights_folder,
        progress=bench.progress,
    )
    divided = tail.divide(backbone, row.last_block, unfreeze(row, settings))
    trunk = None
    if divided.trunk is not None:
        trunk = engine.prepare(divided.trunk, examples, opened.kind, bench.progress)
    return Tuner(divided, trunk, n_classes=n_classes, examples=examples, seed=settings.seed)


def recipe_of(
    opened: Opened, settings: Settings, epochs: int, harmless: tuple[str, ...], seed: int
) -> Recipe:
    """Return how to fine-tune, with those operations of augmentation that do no harm."""
    return Recipe(
        image_size_px=opened.image_size_px,
        fit=settings.fit,
        epochs=epochs,
        batch_size=settings.batch_size,
        learning_rate=settings.learning_rate,
        operations=augmentation.LEVELS.get(settings.augment, harmless),
        views=VIEWS,
        seed=seed,
    )


def training_of(tuned: FineTuned, recipe: Recipe, effects: tuple[Effect, ...]) -> Training:
    """Return how a fine-tuned network came about, as results tell it."""
    return Training(
        image_size_px=recipe.image_size_px,
        l2=tuned.head.l2,
        trained_layers=tuned.trained_layers,
        operations=recipe.operations,
        effects=effects,
        history=tuned.history,
        best_epoch=len(tuned.history) - 1 if tuned.has_gained else 0,
        is_mean=tuned.is_mean,
    )


def vectors_of(backbone: Engine, photos: Part, rows: Rows, bench: Bench, title: str) -> Floats:
    """Return what a fine-tuned backbone makes of M of the photos, float32 (M, D)."""
    files, digests = [photos.files[row] for row in rows], [photos.digests[row] for row in rows]
    found = []
    with bench.progress.stage(title, len(files)) as advance:
        for vector in features.extract(backbone, files, bench.settings.fit, digests):
            found.append(vector)
            advance()
    return np.stack(found)
