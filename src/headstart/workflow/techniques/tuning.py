"""Technique 2, fine-tuning: from the probe on, the last layers of a backbone learn too."""

import dataclasses
import functools
import math
import time
from dataclasses import dataclass

import numpy as np

from headstart.base import records
from headstart.base.arrays import Floats, Labels, Rows
from headstart.base.settings import Settings
from headstart.networks import backbones, engine, features, novelty, versions
from headstart.networks.engine import Engine
from headstart.networks.pieces import Pieces
from headstart.photos.splits import Lesson, Part, held_out_in
from headstart.pictures import pixels
from headstart.pictures.pixels import Pixels
from headstart.results.comparison import Effect, Epoch, Repeat, Training
from headstart.statistics import metrics
from headstart.storage.checkpoint import Checkpoints
from headstart.training import augmentation, tail
from headstart.training.finetune import FineTuned, Probes, Tuner, Watch, unwatched
from headstart.training.heads import Heads
from headstart.training.recipe import Recipe
from headstart.workflow import forecast
from headstart.workflow.forecast import Work
from headstart.workflow.techniques.bench import Bench, Opened, examples_of, unfreeze
from headstart.workflow.techniques.draft import Draft, Origin, Outcome, Trained, photos_sha256

VIEWS = 4
"""Random views of a photo that a frozen trunk is asked about; see docs/performance.md."""


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


class Tuning:
    """Fine-tuning of one backbone.

    Args:
        opened: The backbone.
        lesson: What is learnt from.
        heads: What it starts from.
        bench: What is worked with.
    """

    def __init__(self, opened: Opened, lesson: Lesson, heads: Heads, bench: Bench) -> None:
        self._opened, self._lesson, self._heads, self._bench = opened, lesson, heads, bench
        self._tuner: Tuner | None = None

    @functools.cached_property
    def _examples(self) -> Pixels:
        return examples_of(self._lesson, self._opened.image_size_px, self._bench.settings.fit)

    @property
    def is_built(self) -> bool:
        """Whether the backbone is ready to be fine-tuned."""
        return self._tuner is not None

    def measure(self) -> None:
        """Find out what training on a photo costs on this machine, where that is not known."""
        ledger = self._opened.ledger
        if ledger.known().train is not None:
            return
        start = time.perf_counter()
        tuner = self._built()
        build = time.perf_counter() - start
        rates = tuner.rates(self._bench.settings.batch_size)
        trunk = 1 / rates.trunk if rates.trunk else 0.0
        n_values = math.prod(tuner.trunk.output_shape) if tuner.trunk else 0
        # To convert the whole network takes about as long as to build it and convert its trunk.
        ledger.note(
            build=build, trunk=trunk, train=1 / rates.training, convert=build, trunk_bytes=2 * n_values
        )

    def stages(self, work: Work) -> dict[str, float]:
        """Return the seconds that it will take from the probe on, by stage."""
        return forecast.finetune_stages(self._opened.ledger.known(), work)

    def train(self, epochs: int, watch: Watch = unwatched) -> Trained:
        """Fine-tune from the probe, and score on validation what will be handed over; so with each seed.

        A candidate that an interrupted run of the same settings had finished is taken as it is, where its
        `Origin` is the same.
        """
        settings, row = self._bench.settings, self._opened.row
        seeds = range(settings.seed, settings.seed + settings.seeds)
        drafts = [
            Draft(self._bench.work, row.name, "finetune", None if seed == settings.seed else seed)
            for seed in seeds
        ]
        for seed, draft in zip(seeds, drafts, strict=True):
            self._finish(draft, seed, epochs, watch)
        candidates = [draft.candidate() for draft in drafts]
        repeats = [
            Repeat(seed, one.validation.accuracy, None) for seed, one in zip(seeds, candidates, strict=True)
        ]
        first = dataclasses.replace(candidates[0], repeats=tuple(repeats) if len(repeats) > 1 else ())
        answers = [draft.answer(self._bench.progress) for draft in drafts]
        return Trained(first, drafts[0].model, drafts[0].answers(), answers[0], tuple(answers[1:]))

    def _finish(self, draft: Draft, seed: int, epochs: int, watch: Watch) -> None:
        """Make sure that a draft lies in the work folder, whole."""
        key = self._opened.extractor.identity
        origin = Origin(photos_sha256(self._lesson), key, seed, epochs, versions.here())
        if draft.is_of(origin):
            return
        draft.begin()
        self._finetune(draft, seed, epochs, watch if draft.seed is None else _of_seed(watch, seed))
        draft.end(origin)

    def _finetune(self, draft: Draft, seed: int, epochs: int, watch: Watch) -> None:
        opened, lesson, clock = self._opened, self._lesson, self._opened.watch
        with clock.stage("augmentation"):
            effects = self._effects
        harmless = augmentation.harmless(effects)
        recipe = recipe_of(opened, self._bench.settings, epochs, harmless, seed)
        with clock.stage("finetune"):
            tuned = self._built().train(
                self._probes(), lesson, recipe, self._checkpoints, self._bench.progress, watch
            )
        backbone = self._converted(tuned)
        judged = self._judged(tuned, backbone)
        scores = metrics.evaluate(judged.labels, judged.probabilities, lesson.class_names)
        calibration = self._bench.calibrate(judged.probabilities, judged.labels, judged.novelty)
        calibrated = tuned.head.tempered(calibration.temperature)
        pieces = Pieces(calibrated.weights, calibrated.bias, judged.references, tuned.model)
        draft.keep_answers(judged.rows, judged.probabilities, judged.novelty)
        outcome = Outcome(scores, calibration, training_of(tuned, recipe, effects))
        draft.keep(backbone, pieces, outcome, opened, lesson.class_names)

    @functools.cached_property
    def _checkpoints(self) -> Checkpoints:
        """Where what is finished of a training is kept, and what decides it beside the recipe."""
        row, settings = self._opened.row, self._bench.settings
        decisive = photos_sha256(self._lesson), self._opened.extractor.identity, unfreeze(row, settings)
        checkpoints = Checkpoints(self._bench.work / f"{row.name}-training", "")
        return checkpoints.made_from(*decisive, settings.seed, versions.here())

    def _probes(self) -> Probes:
        heads = self._heads
        whole = heads.whole if self._lesson.has_folds else heads.heads[0]
        return Probes(heads.heads, whole, heads.scaling)

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

    def _built(self) -> Tuner:
        """Return the backbone made ready to be fine-tuned, built where it is not there."""
        if self._tuner is None:
            with self._opened.watch.stage("finetune"):
                n_classes = len(self._lesson.class_names)
                self._tuner = build(self._opened, self._examples, n_classes, self._bench)
        return self._tuner

    @functools.cached_property
    def _effects(self) -> tuple[Effect, ...]:
        """What each operation does to some training photos; one that does harm is remarked on."""
        chosen = checked(self._lesson, self._bench)
        if not len(chosen):
            return ()
        kept = self._checkpoints.load("augmentation")
        if kept:
            effects = records.from_bytes(kept["effects"].tobytes(), tuple[Effect, ...])
        else:
            effects = self._measured_effects(chosen)
            told = np.frombuffer(records.to_bytes(effects), np.uint8)
            self._checkpoints.save("augmentation", {"effects": told})
        harmful = [one.operation for one in effects if not augmentation.is_harmless(one)]
        if harmful:
            self._bench.progress.remark(
                f"Augmentation leaves out {', '.join(harmful)}: it makes photos look like another class."
            )
        return effects

    def _measured_effects(self, chosen: Rows) -> tuple[Effect, ...]:
        opened, photos = self._opened, self._lesson.photos
        files, digests = [photos.files[row] for row in chosen], [photos.digests[row] for row in chosen]
        size_px, fit = opened.image_size_px, self._bench.settings.fit
        return augmentation.check(
            opened.extractor.engine,
            np.stack(list(pixels.read_many(files, size_px, fit, digests))),
            self._heads.last[chosen],
            photos.labels[chosen],
            l2=self._heads.l2,
            seed=self._bench.settings.seed,
        )

    def release(self) -> None:
        """Drop what takes memory; it would be computed again."""
        self._heads.release()
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


def checked(lesson: Lesson, bench: Bench) -> Rows:
    """Return the rows of the photos that augmentation is checked on; none where it is not asked for."""
    train = lesson.folds[0].train
    if bench.settings.augment != "auto":
        return train[:0]
    return train[augmentation.sample(lesson.photos.labels[train], bench.settings.seed)]


def _of_seed(watch: Watch, seed: int) -> Watch:
    def told(fold: str, epoch: Epoch) -> None:
        watch(f"seed {seed} {fold}".strip(), epoch)

    return told
