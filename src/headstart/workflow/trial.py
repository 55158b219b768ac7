"""A backbone on a user's photos, from opened to trained with either technique."""

import dataclasses
import functools
import hashlib
import math
import shutil
import time
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headstart.base import records
from headstart.base.arrays import Floats
from headstart.base.errors import RunError
from headstart.base.progress import Progress, Stopwatch
from headstart.base.settings import Settings
from headstart.networks import backbones, classifier, engine, features, novelty, versions
from headstart.networks.classifier import Classifier, ClassifierRecord
from headstart.networks.engine import Engine
from headstart.networks.features import Extractor
from headstart.networks.table import Backbone
from headstart.photos.splits import Part, Turn, held_out_in
from headstart.pictures import pixels
from headstart.results.comparison import Candidate, Effect, Epoch, Repeat, Training
from headstart.statistics import calibration as calibrations
from headstart.statistics import metrics
from headstart.statistics.answers import Answers
from headstart.statistics.calibration import Calibration
from headstart.statistics.metrics import Evaluation
from headstart.storage.store import Store
from headstart.training import augmentation
from headstart.training.finetune import FineTuned, Recipe, Tuner, Watch, unwatched
from headstart.training.heads import Heads
from headstart.workflow import forecast
from headstart.workflow.forecast import Costs, Work

NEAR = (0.75, 1.25)
"""Photos of one size, by this part of the backbone's own, are fed as they are."""

EXAMPLES = 8
"""Photos that a converted graph is compared with Keras on."""

MEASURED = 64
"""Photos that the time of one is measured on; their features are kept."""

VIEWS = 2
"""Random views of a photo that a frozen trunk is asked about; see docs/performance.md."""


@dataclass(frozen=True, eq=False)
class Trained:
    """A candidate not yet measured on test, the folder of its classifier, and how it answers a part.

    `validation` is what it answered on photos that it was not fitted on, by which it is compared with others.
    `repeats` are the same training from other seeds, in the order of the candidate's own.
    """

    candidate: Candidate
    folder: Path
    validation: Answers
    answer: Callable[[Part], Floats]
    repeats: tuple[Callable[[Part], Floats], ...] = ()


@dataclass(frozen=True)
class Origin:
    """What a fine-tuned candidate came from, beside the settings of the run.

    An interrupted run goes on with it only where all of this is as before.

    Attributes:
        photos: The SHA-256 of what is learnt from and how it is divided: paths, labels, digests, groups,
            weights and turns.
        backbone: `engine.backbone_key`.
        seed: Of its training.
        epochs: How many passes it could take.
        versions: `versions.here`.
    """

    photos: str
    backbone: str
    seed: int
    epochs: int
    versions: dict[str, str]


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

    labels: NDArray[np.int32]
    rows: NDArray[np.intp]
    probabilities: Floats
    references: Floats
    novelty: Floats


class Trial:
    """A backbone opened for the photos of a run.

    Args:
        row: Of the table of backbones.
        photos: What is learnt from and chosen by.
        turns: Which of them are for what.
        n_test: Photos that will be measured on, by `Trained.answer`, later.
        class_names: C names.
        settings: What was asked for.
        work: Folder of what is deleted when the run is finished.
        store: What is kept between runs.
        progress: Told of everything.

    Attributes:
        heads: What is fitted on the features.

    Raises:
        WeightsError: Pretrained weights are missing.
    """

    def __init__(
        self,
        row: Backbone,
        photos: Part,
        turns: Sequence[Turn],
        test: Part,
        class_names: tuple[str, ...],
        settings: Settings,
        work: Path,
        store: Store,
        progress: Progress,
    ) -> None:
        self.row, self.settings, self.class_names = row, settings, class_names
        self.photos, self.turns, self.test = photos, tuple(turns), test
        self._work, self._store, self._progress = work, store, progress
        self._watch = Stopwatch()
        self.image_size_px = image_size_px(row, photos.files, settings)
        with self._watch.stage("prepare"):
            self.extractor = self._open()
        self._remember(prepare=self._watch.seconds["prepare"])
        self.heads = Heads(
            row.name, self.extractor, photos, turns, class_names, settings.seed, self._watch, progress
        )

    def _open(self) -> Extractor:
        frozen = engine.open_backbone(
            self.row,
            self._examples,
            asked=self.settings.engine,
            weights_dir=self.settings.weights_folder,
            progress=self._progress,
        )
        return Extractor(frozen, self._key, self.settings.fit, self._store)

    @functools.cached_property
    def _key(self) -> str:
        kind = engine.choose(self.settings.engine)
        return engine.backbone_key(self.row, self.image_size_px, kind, self.settings.weights_folder)

    @functools.cached_property
    def _examples(self) -> pixels.Pixels:
        """Some training photos, evenly spread."""
        chosen = slice(0, None, max(1, len(self.photos.files) // EXAMPLES))
        files, digests = self.photos.files[chosen][:EXAMPLES], self.photos.digests[chosen][:EXAMPLES]
        return np.stack(list(pixels.read_many(files, self.image_size_px, self.settings.fit, digests)))

    # What it will cost.

    def costs(self) -> Costs:
        """Return what this backbone costs on this machine: measured now, where it was not before."""
        costs = forecast.recall(self._store, self._cost_key)
        if costs.photo is None:
            self._measure_photo()
        if "finetune" in self.settings.techniques and costs.train is None:
            self._measure_training()
        return forecast.recall(self._store, self._cost_key)

    @property
    def _cost_key(self) -> str:
        return f"{self._key} {self._unfreeze} {self.settings.batch_size}"

    def _remember(self, **seconds: float) -> None:
        forecast.remember(self._store, self._cost_key, Costs(**seconds))

    def _measure_photo(self) -> None:
        self.extractor.engine(self._examples)  # compiles
        files, digests = self.photos.files[:MEASURED], self.photos.digests[:MEASURED]
        start = time.perf_counter()
        if self.extractor.compute(files, digests, "", Progress()) != len(files):
            start = time.perf_counter()
            list(features.extract(self.extractor.engine, files, self.settings.fit, digests))
        self._remember(photo=(time.perf_counter() - start) / len(files))

    def _measure_training(self) -> None:
        start = time.perf_counter()
        tuner = self._tuner
        build = time.perf_counter() - start
        rates = tuner.rates(self.settings.batch_size)
        trunk = 1 / rates.trunk if rates.trunk else 0.0
        n_values = math.prod(tuner.trunk.output_shape) if tuner.trunk else 0
        # To convert the whole network takes about as long as to build it and convert its trunk.
        self._remember(
            build=build, trunk=trunk, train=1 / rates.training, convert=build, trunk_bytes=2 * n_values
        )

    def work(self, epochs: int) -> Work:
        """Return how much there is to do, with so many passes of fine-tuning."""
        n_photos, n_new = len(self.photos.files), self.extractor.n_missing(self.photos.digests)
        n_checked = len(self._sample) if self.settings.augment == "auto" else 0
        n_validation = sum(len(turn.validation) for turn in self.turns)
        return Work(
            n_photos=n_photos,
            n_train=sum(len(turn.train) for turn in self.turns) + (n_photos if len(self.turns) > 1 else 0),
            n_validation=n_validation,
            n_test=len(self.test.files),
            n_kept=n_photos - n_new,
            n_test_kept=len(self.test.files) - self.extractor.n_missing(self.test.digests),
            feature_size=self.row.feature_size,
            n_classes=len(self.class_names),
            n_checked=n_checked,
            n_viewed=len(np.unique(np.concatenate([turn.train for turn in self.turns]))),
            views=min(VIEWS, epochs),
            epochs=epochs,
            n_turns=len(self.turns),
            seeds=self.settings.seeds,
            is_built="_tuner" in self.__dict__,
        )

    def features_stages(self) -> dict[str, float]:
        """Return the seconds that feature extraction will take, by stage."""
        return forecast.features_stages(self.costs(), self.work(self.settings.epochs))

    def finetune_stages(self, epochs: int) -> dict[str, float]:
        """Return the seconds that fine-tuning will take from the probe on, by stage."""
        return forecast.finetune_stages(self.costs(), self.work(epochs))

    # Technique 1.

    def features_of(self, test: Part) -> Floats:
        """Return the features of the test part, float32 (N, D); only after the decision."""
        title = f"{self.row.name} test features"
        return self.extractor.features(test.files, test.digests, title, self._progress)

    def probed(self) -> Trained:
        """Return the probe that was fitted on all photos; its scores are from before.

        What its confidence is worth is asked of heads that were fitted on a part of these photos each.
        """
        heads, labels = self.heads, self.photos.labels
        references, scores = heads.novelty
        calibration = self._calibration(heads.out_of_fold[heads.judged], labels[heads.judged], scores)
        calibrated = heads.whole.tempered(calibration.temperature)

        def answer(part: Part) -> Floats:
            return calibrated.probabilities(self.features_of(part))

        training = Training(self.image_size_px, heads.l2)
        whole = self.extractor.engine.with_head(calibrated.weights, calibrated.bias, references)
        candidate = self._saved("features", whole, heads.scores, calibration, training)
        return Trained(candidate, self._folder("features"), heads.answers, answer)

    def _calibration(
        self, probabilities: Floats, labels: NDArray[np.int32], novelty_scores: Floats
    ) -> Calibration:
        return calibrations.calibrate(
            probabilities,
            labels,
            max_error=self.settings.max_error,
            coverage=self.settings.coverage,
            novelty=novelty_scores,
        )

    # Technique 2.

    def finetuned(self, epochs: int, watch: Watch = unwatched) -> Trained:
        """Fine-tune from the probe, and score on validation what will be handed over; so with each seed.

        A candidate that an interrupted run of the same settings had finished is taken as it is, where its
        `Origin` is the same.
        """
        seeds = range(self.settings.seed, self.settings.seed + self.settings.seeds)
        names = [f"finetune-{seed}" if seed != self.settings.seed else "finetune" for seed in seeds]
        for seed, name in zip(seeds, names, strict=True):
            photos = photos_sha256(self.photos, self.turns, self.class_names)
            origin = Origin(photos, self._key, seed, epochs, versions.here())
            if not self._is_kept(name, origin):
                self._origin_file(name).unlink(missing_ok=True)
                self._finetune(name, seed, epochs, watch if name == "finetune" else _of_seed(watch, seed))
                records.write_json(self._origin_file(name), origin)
        candidates = [records.read_json(self._candidate_file(name), Candidate) for name in names]
        answers = [self._answer_of(name) for name in names]
        repeats = [
            Repeat(seed, one.validation.accuracy, None) for seed, one in zip(seeds, candidates, strict=True)
        ]
        first = dataclasses.replace(candidates[0], repeats=tuple(repeats) if len(repeats) > 1 else ())
        rows, probabilities = records.from_npz(self._answers_file("finetune").read_bytes())
        validation = Answers(first.name, rows, probabilities)
        return Trained(first, self._folder("finetune"), validation, answers[0], tuple(answers[1:]))

    def _is_kept(self, name: str, origin: Origin) -> bool:
        """Say whether a candidate of this origin lies in the work folder, whole."""
        try:
            if records.read_json(self._origin_file(name), Origin) != origin:
                return False
            classifier.load(self._folder(name))
            records.read_json(self._candidate_file(name), Candidate)
            records.from_npz(self._answers_file(name).read_bytes())
        except (RunError, OSError, EOFError, ValueError, zipfile.BadZipFile):
            return False
        return True

    def _answer_of(self, name: str) -> Callable[[Part], Floats]:
        model = classifier.load(self._folder(name))

        def answer(part: Part) -> Floats:
            title = f"{self.row.name} {name} test"
            return model.probabilities(part.files, part.digests, title=title, progress=self._progress)

        return answer

    def _finetune(self, name: str, seed: int, epochs: int, watch: Watch) -> None:
        with self._watch.stage("augmentation"):
            effects = self._effects
        recipe = self._recipe(
            epochs, tuple(one.operation for one in effects if augmentation.is_harmless(one)), seed
        )
        with self._watch.stage("finetune"):
            tuned = self._tuner.train(
                self.heads.heads,
                self.heads.whole if len(self.turns) > 1 else self.heads.heads[0],
                self.photos,
                self.turns,
                recipe,
                self._folder("activations"),
                self._progress,
                watch,
            )
        converted_before = self._watch.seconds.get("convert", 0.0)  # of another seed
        with self._watch.stage("convert"):
            kind = engine.choose(self.settings.engine)
            backbone = engine.prepare(tuned.model, self._examples, kind, self._progress)
        self._remember(convert=self._watch.seconds["convert"] - converted_before)
        training = Training(
            image_size_px=self.image_size_px,
            l2=tuned.head.l2,
            trained_layers=tuned.trained_layers,
            operations=recipe.operations,
            effects=effects,
            history=tuned.history,
            best_epoch=tuned.best,
            mix=tuned.mix,
        )
        judged = self._judged(tuned, backbone)
        scores = metrics.evaluate(judged.labels, judged.probabilities, self.class_names)
        calibration = self._calibration(judged.probabilities, judged.labels, judged.novelty)
        calibrated = tuned.head.tempered(calibration.temperature)
        whole = backbone.with_head(calibrated.weights, calibrated.bias, judged.references)
        answers = records.to_npz((judged.rows, judged.probabilities))
        records.write_bytes(self._answers_file(name), answers)
        self._saved(name, whole, scores, calibration, training)

    def _judged(self, tuned: FineTuned, backbone: Engine) -> Judged:
        """Ask what will be handed over about the validation photos, and some others beside them.

        With folds it has seen them all. There the networks of the folds answer for it, but novelty is that of
        its own features, by references from the other folds: of two fine-tuned networks the threshold refused
        0.3 and 1.1 points more of new photos so than by photos that they had not seen.
        """
        labels, seed = self.photos.labels, self.settings.seed
        validation = np.concatenate([turn.validation for turn in self.turns])
        rows, has_seen_all = novelty.sample(labels, seed=seed), len(self.turns) > 1
        if not has_seen_all:
            rows = np.union1d(rows, validation)
        vectors = self._vectors(backbone, rows)
        fold_of = held_out_in(self.turns, len(labels))
        own = vectors[np.isin(rows, validation)]
        order = np.argsort(validation)
        return Judged(
            labels=labels[validation[order]],
            rows=validation[order],
            probabilities=tuned.answers[order] if has_seen_all else tuned.head.probabilities(own),
            references=novelty.references(vectors, labels[rows], seed=seed),
            novelty=novelty.out_of_fold(vectors, labels[rows], fold_of[rows], seed=seed),
        )

    def _vectors(self, backbone: Engine, rows: NDArray[np.intp]) -> Floats:
        """Return what a fine-tuned backbone makes of some photos, float32 (M, D)."""
        files, digests = [self.photos.files[row] for row in rows], [self.photos.digests[row] for row in rows]
        found = []
        with self._progress.stage(f"{self.row.name} fine-tuned validation", len(files)) as advance:
            for vector in features.extract(backbone, files, self.settings.fit, digests):
                found.append(vector)
                advance()
        return np.stack(found)

    @functools.cached_property
    def _tuner(self) -> Tuner:
        with self._watch.stage("finetune"):
            backbone = backbones.build(
                self.row.name,
                image_size_px=self.image_size_px,
                weights_dir=self.settings.weights_folder,
                progress=self._progress,
            )
            return Tuner(
                backbone,
                self.row.last_block,
                self._unfreeze,
                len(self.class_names),
                examples=self._examples,
                kind=engine.choose(self.settings.engine),
                seed=self.settings.seed,
                progress=self._progress,
            )

    @property
    def _unfreeze(self) -> str:
        asked = self.settings.unfreeze
        return self.row.default_unfreeze if asked == "auto" else asked

    def _recipe(self, epochs: int, harmless: tuple[str, ...], seed: int) -> Recipe:
        settings = self.settings
        return Recipe(
            image_size_px=self.image_size_px,
            fit=settings.fit,
            epochs=epochs,
            batch_size=settings.batch_size,
            learning_rate=settings.learning_rate,
            patience=settings.patience,
            unfreeze=self._unfreeze,
            operations=augmentation.LEVELS.get(settings.augment, harmless),
            views=VIEWS,
            seed=seed,
        )

    @property
    def _sample(self) -> NDArray[np.intp]:
        train = self.turns[0].train
        return train[augmentation.sample(self.photos.labels[train], self.settings.seed)]

    @functools.cached_property
    def _effects(self) -> tuple[Effect, ...]:
        """What each operation does to some training photos; one that does harm is remarked on."""
        if self.settings.augment != "auto":
            return ()
        chosen = self._sample
        files = [self.photos.files[index] for index in chosen]
        digests = [self.photos.digests[index] for index in chosen]
        pictures = np.stack(list(pixels.read_many(files, self.image_size_px, self.settings.fit, digests)))
        effects = augmentation.check(
            self.extractor.engine,
            pictures,
            self.heads.features[chosen],
            self.photos.labels[chosen],
            l2=self.heads.l2,
            seed=self.settings.seed,
        )
        harmful = [one.operation for one in effects if not augmentation.is_harmless(one)]
        if harmful:
            self._progress.remark(
                f"Augmentation leaves out {', '.join(harmful)}: it makes photos look like another class."
            )
        return effects

    # What comes of both.

    def release(self) -> None:
        """Drop what takes memory; it would be computed again."""
        self.heads.release()
        self.__dict__.pop("_tuner", None)

    def _folder(self, name: str) -> Path:
        return self._work / f"{self.row.name}-{name}"

    def _candidate_file(self, name: str) -> Path:
        return self._work / f"{self.row.name}-{name}.json"

    def _origin_file(self, name: str) -> Path:
        """Return the file that is written last of a candidate."""
        return self._work / f"{self.row.name}-{name}.origin.json"

    def _answers_file(self, name: str) -> Path:
        return self._work / f"{self.row.name}-{name}.npz"

    def _record(self, technique: str, calibration: Calibration) -> ClassifierRecord:
        return ClassifierRecord(
            schema_version=classifier.SCHEMA_VERSION,
            class_names=self.class_names,
            backbone=self.row.name,
            technique=technique,
            image_size_px=self.image_size_px,
            fit=self.settings.fit,
            scaling=self.row.scaling,
            pixels_version=pixels.PIXELS_VERSION,
            calibration=calibration,
        )

    def _saved(
        self,
        name: str,
        whole: Engine,
        scores: Evaluation,
        calibration: Calibration,
        training: Training,
    ) -> Candidate:
        """Save a candidate's classifier and what is known of it in the work folder."""
        folder, technique = self._folder(name), name.partition("-")[0]
        shutil.rmtree(folder, ignore_errors=True)
        Classifier(self._record(technique, calibration), whole).save(folder)
        n_head = (self.row.feature_size + 1) * len(self.class_names)
        candidate = Candidate(
            backbone=self.row.name,
            technique=technique,
            validation=scores,
            test=None,
            calibration=calibration,
            seconds=seconds_of(technique, self._watch.seconds),
            parameters=self.row.parameters + n_head,
            size_mb=max(file.stat().st_size for file in folder.iterdir()) / 1e6,
            latency_ms=0.0,
            training=training,
        )
        records.write_json(self._candidate_file(name), candidate)
        return candidate


def photos_sha256(photos: Part, turns: Sequence[Turn], class_names: tuple[str, ...]) -> str:
    """Return the SHA-256 of all that a training depends on of the photos, in hexadecimal."""
    told = hashlib.sha256(repr((class_names, photos.paths, photos.digests)).encode())
    of_turns = [rows for turn in turns for rows in (turn.train, turn.validation)]
    arrays: list[NDArray[Any]] = [photos.labels, photos.groups, photos.sample_weights, *of_turns]
    for numbers in arrays:
        told.update(f"{numbers.dtype} {numbers.shape}".encode() + numbers.tobytes())
    return told.hexdigest()


def _of_seed(watch: Watch, seed: int) -> Watch:
    def told(fold: str, epoch: Epoch) -> None:
        watch(f"seed {seed} {fold}".strip(), epoch)

    return told


def image_size_px(row: Backbone, files: Sequence[Path], settings: Settings) -> int:
    """Return the size asked for; else the photos' own where it is nearly the backbone's; else the backbone's.

    Squares of one size come from a camera or a scanner that is set up for it. Resizing them by a few
    per cent blurs every detail of a pixel or two and gains nothing: on sample:textile (250 pixels), a probe
    on mobilenet_v2 got 87% of the test photos right unscaled and 78% at 224.
    """
    side = pixels.common_side(files)
    is_near = side is not None and NEAR[0] * row.input_size_px <= side <= NEAR[1] * row.input_size_px
    return settings.image_size or (side if side is not None and is_near else row.input_size_px)


def seconds_of(technique: str, seconds: dict[str, float]) -> dict[str, float]:
    """Return what a technique would have cost on its own; fine-tuning starts from the probe."""
    shared = ("prepare", "features", "probe")
    return {stage: spent for stage, spent in seconds.items() if technique == "finetune" or stage in shared}
