"""A backbone on a user's photos, from opened to trained with either technique."""

import functools
import hashlib
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headstart import (
    augmentation,
    backbones,
    classifier,
    engine,
    features,
    forecast,
    learning_curve,
    metrics,
    pixels,
    probe,
    records,
    suspects,
)
from headstart import calibration as calibrations
from headstart.augmentation import Effect
from headstart.backbones.table import Backbone
from headstart.calibration import Calibration
from headstart.classifier import Classifier, ClassifierRecord
from headstart.comparison import Candidate, Training
from headstart.engine import Engine
from headstart.features import Extractor
from headstart.finetune import Recipe, Tuner
from headstart.forecast import Costs, Work
from headstart.learning_curve import LearningCurve
from headstart.metrics import Evaluation
from headstart.probe import Head
from headstart.progress import Progress
from headstart.settings import Settings
from headstart.splits import Part
from headstart.store import Store
from headstart.suspects import Suspect

NEAR = (0.75, 1.25)
"""Photos of one size, by this part of the backbone's own, are fed as they are."""

EXAMPLES = 8
"""Photos that a converted graph is compared with Keras on."""

MEASURED = 64
"""Photos that the time of one is measured on; their features are kept."""

VIEWS = 2
"""Random views of a photo that a frozen trunk is asked about; see docs/performance.md."""

HEADS_VERSION = 2
"""Goes up when other heads, probabilities or learning curves come of the same features."""

Floats = NDArray[np.float32]
Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Both:
    """Photos of train and validation, N: labels and groups int32 (N,), weights float32 (N,)."""

    paths: tuple[str, ...]
    labels: NDArray[np.int32]
    groups: NDArray[np.int32]
    sample_weights: Floats


@dataclass(frozen=True, eq=False)
class Trained:
    """A candidate not yet measured on test, the folder of its classifier, and how it answers a part."""

    candidate: Candidate
    folder: Path
    answer: Callable[[Part], Floats]


class Trial:
    """A backbone opened for the photos of a run.

    Args:
        row: Of the table of backbones.
        parts: The photos by part; those of test are touched by nothing but `Trained.answer`.
        class_names: C names.
        settings: What was asked for.
        work: Folder of what is deleted when the run is finished.
        store: What is kept between runs.
        progress: Told of everything.

    Attributes:
        seconds: Wall time by stage so far.

    Raises:
        WeightsError: Pretrained weights are missing.
    """

    def __init__(
        self,
        row: Backbone,
        parts: dict[str, Part],
        class_names: tuple[str, ...],
        settings: Settings,
        work: Path,
        store: Store,
        progress: Progress,
    ) -> None:
        self.row, self.settings, self.class_names = row, settings, class_names
        self.train, self.validation, self.test = parts["train"], parts["validation"], parts["test"]
        self.seconds: dict[str, float] = {}
        self._work, self._store, self._progress = work, store, progress
        self.image_size_px = image_size_px(row, self.train, settings)
        with self._timed("prepare"):
            self.extractor = self._open()
        self._remember(prepare=self.seconds["prepare"])

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
        files = self.train.files[:: max(1, len(self.train.files) // EXAMPLES)][:EXAMPLES]
        return np.stack(list(pixels.read_many(files, self.image_size_px, self.settings.fit)))

    @contextmanager
    def _timed(self, stage: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - start

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
        files, digests = self.train.files[:MEASURED], self.train.digests[:MEASURED]
        start = time.perf_counter()
        if self.extractor.compute(files, digests, "", Progress()) != len(files):
            start = time.perf_counter()
            list(features.extract(self.extractor.engine, files, self.settings.fit))
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
        n_new = self.extractor.n_missing([*self.train.digests, *self.validation.digests])
        n_checked = len(augmentation.sample(self.train.labels, 0)) if self.settings.augment == "auto" else 0
        return Work(
            n_train=len(self.train.files),
            n_validation=len(self.validation.files),
            n_test=len(self.test.files),
            n_kept=len(self.train.files) + len(self.validation.files) - n_new,
            n_test_kept=len(self.test.files) - self.extractor.n_missing(self.test.digests),
            feature_size=self.row.feature_size,
            n_checked=n_checked,
            views=min(VIEWS, epochs),
            epochs=epochs,
            is_built="_tuner" in self.__dict__,
        )

    def features_stages(self) -> dict[str, float]:
        """Return the seconds that feature extraction will take, by stage."""
        return forecast.features_stages(self.costs(), self.work(self.settings.epochs))

    def finetune_stages(self, epochs: int) -> dict[str, float]:
        """Return the seconds that fine-tuning will take from the probe on, by stage."""
        return forecast.finetune_stages(self.costs(), self.work(epochs))

    # Technique 1.

    @functools.cached_property
    def _features(self) -> tuple[Floats, Floats]:
        """The features of train and of validation."""
        with self._timed("features"):
            files, digests = (
                (*self.train.files, *self.validation.files),
                (*self.train.digests, *self.validation.digests),
            )
            both = self.extractor.features(files, digests, f"{self.row.name} features", self._progress)
        return both[: len(self.train.files)], both[len(self.train.files) :]

    @functools.cached_property
    def _both(self) -> Both:
        """What is known of train and validation together, train first."""
        parts = (self.train, self.validation)
        return Both(
            paths=(*self.train.paths, *self.validation.paths),
            labels=np.concatenate([part.labels for part in parts]),
            groups=np.concatenate([part.groups for part in parts]),
            sample_weights=np.concatenate([part.sample_weights for part in parts]),
        )

    def _once(self, what: str, compute: Callable[[], tuple[Array, ...]]) -> tuple[Array, ...]:
        """Return what was computed from these features, labels and parts before, else compute and keep it."""
        decided_by = (
            what,
            HEADS_VERSION,
            self._key,
            self.settings.fit,
            self.settings.seed,
            len(self.train.files),
            (*self.train.digests, *self.validation.digests),
            self._both.labels.tobytes(),
            self._both.groups.tobytes(),
            self._both.sample_weights.tobytes(),
        )
        key = hashlib.sha256(repr(decided_by).encode()).digest()
        kept = self._store.get([key])
        if kept:
            return records.from_npz(kept[key])
        found = compute()
        self._store.put([(key, records.to_npz(found))], features.KIND)
        return found

    def _head_once(self, what: str, fit: Callable[[], Head]) -> Head:
        def arrays() -> tuple[Array, ...]:
            found = fit()
            return found.weights, found.bias, np.array(found.l2)

        with self._timed("probe"):
            weights, bias, l2 = self._once(what, arrays)
        return Head(weights, bias, float(l2))

    @functools.cached_property
    def head(self) -> Head:
        """The probe, fitted on train, its penalty chosen on validation."""

        def fit() -> Head:
            train, validation = self._features
            return probe.fit(
                train, self.train.labels, validation, self.validation.labels, self.train.sample_weights
            )

        return self._head_once("head", fit)

    @functools.cached_property
    def out_of_fold(self) -> Floats:
        """What heads that were not fitted on a photo make of it, for each of train and validation."""

        def ask() -> tuple[Array, ...]:
            both, l2 = self._both, self.head.l2
            vectors = np.concatenate(self._features)
            return (
                suspects.out_of_fold(
                    vectors, both.labels, both.groups, both.sample_weights, l2, seed=self.settings.seed
                ),
            )

        with self._timed("probe"):
            return self._once("out of fold", ask)[0]

    def suspects(self) -> tuple[Suspect, ...]:
        """Return the photos of train and validation whose labels look wrong, the worst first."""
        both = self._both
        return suspects.rank(both.labels, self.out_of_fold, self.class_names, both.paths)

    def learning_curve(self) -> LearningCurve:
        """Return how accuracy on validation grew with the training photos."""

        def measure() -> tuple[Array, ...]:
            train, validation = self._features
            found = learning_curve.measure(
                train,
                self.train.labels,
                self.train.groups,
                self.train.sample_weights,
                validation,
                self.validation.labels,
                class_names=self.class_names,
                l2=self.head.l2,
                evaluation_groups=self.validation.groups,
                seed=self.settings.seed,
            )
            return (np.frombuffer(records.to_bytes(found), np.uint8),)

        (content,) = self._once(f"learning curve {self.class_names}", measure)
        return records.from_bytes(content.tobytes(), LearningCurve)

    @functools.cached_property
    def probe_scores(self) -> Evaluation:
        """What the probe is worth on validation."""
        probabilities = self.head.probabilities(self._features[1])
        return metrics.evaluate(self.validation.labels, probabilities, self.class_names)

    def probed(self) -> Trained:
        """Fit the probe again, its penalty fixed, on train and validation; its scores are from before.

        What its confidence is worth is asked of heads that were fitted on a part of these photos each.
        """
        scores, both = self.probe_scores, self._both

        def refit() -> Head:
            vectors = np.concatenate(self._features)
            return probe.refit(vectors, both.labels, both.sample_weights, self.head.l2, start=self.head)

        # A class that is a single group of photos was fitted on by every head: its answers prove nothing.
        fold_of = suspects.folds(both.labels, both.groups, seed=self.settings.seed)
        judged = fold_of != suspects.IN_EVERY_FIT
        calibration = self._calibration(self.out_of_fold[judged], both.labels[judged])
        calibrated = self._head_once("refitted head", refit).tempered(calibration.temperature)

        def answer(part: Part) -> Floats:
            title = f"{self.row.name} test features"
            vectors = self.extractor.features(part.files, part.digests, title, self._progress)
            return calibrated.probabilities(vectors)

        training = Training(self.image_size_px, self.head.l2)
        whole = self.extractor.engine.with_head(calibrated.weights, calibrated.bias)
        candidate = self._saved("features", whole, scores, calibration, training, self._latency_ms())
        return Trained(candidate, self._folder("features"), answer)

    def _calibration(self, probabilities: Floats, labels: NDArray[np.int32]) -> Calibration:
        return calibrations.calibrate(
            probabilities, labels, max_error=self.settings.max_error, coverage=self.settings.coverage
        )

    def _latency_ms(self) -> float:
        """Return what one picture takes; on this machine it is measured once."""
        known = forecast.recall(self._store, self._cost_key).latency_ms
        if known is None:
            known = self.extractor.engine.latency_ms()
            self._remember(latency_ms=known)
        return known

    # Technique 2.

    def finetuned(self, epochs: int) -> Trained:
        """Fine-tune from the probe, and score on validation what will be handed over.

        A candidate that an interrupted run of the same settings had finished is taken as it is.
        """
        folder = self._folder("finetune")
        if not self._candidate_file("finetune").is_file():
            self._finetune(epochs)
        candidate = records.read_json(self._candidate_file("finetune"), Candidate)
        model = classifier.load(folder)
        title = f"{self.row.name} fine-tuned test"

        def answer(part: Part) -> Floats:
            return model.probabilities(part.files, title=title, progress=self._progress)

        return Trained(candidate, folder, answer)

    def _finetune(self, epochs: int) -> None:
        head = self.head
        with self._timed("augmentation"):
            effects = self._checked_views() if self.settings.augment == "auto" else ()
        recipe = self._recipe(epochs, tuple(one.operation for one in effects if one.is_harmless))
        with self._timed("finetune"):
            folder = self._folder("activations")
            tuned = self._tuner.train(head, self.train, self.validation, recipe, folder, self._progress)
        with self._timed("convert"):
            kind = engine.choose(self.settings.engine)
            backbone = engine.prepare(tuned.model, self._examples, kind, self._progress)
        self._remember(convert=self.seconds["convert"])
        training = Training(
            image_size_px=self.image_size_px,
            l2=head.l2,
            trained_layers=tuned.trained_layers,
            operations=recipe.operations,
            effects=effects,
            history=tuned.history,
            best_epoch=tuned.best,
            mix=tuned.mix,
        )
        files = self.validation.files
        with self._progress.stage(f"{self.row.name} fine-tuned validation", len(files)) as advance:
            rows = []
            for row in features.extract(backbone, files, self.settings.fit):
                rows.append(row)
                advance()
        probabilities = tuned.head.probabilities(np.stack(rows))
        scores = metrics.evaluate(self.validation.labels, probabilities, self.class_names)
        calibration = self._calibration(probabilities, self.validation.labels)
        calibrated = tuned.head.tempered(calibration.temperature)
        whole = backbone.with_head(calibrated.weights, calibrated.bias)
        self._saved("finetune", whole, scores, calibration, training, whole.latency_ms())

    @functools.cached_property
    def _tuner(self) -> Tuner:
        with self._timed("finetune"):
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

    def _recipe(self, epochs: int, harmless: tuple[str, ...]) -> Recipe:
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
            seed=settings.seed,
        )

    def _checked_views(self) -> tuple[Effect, ...]:
        """Return what each operation does to some training photos; one that does harm is remarked on."""
        chosen = augmentation.sample(self.train.labels, self.settings.seed)
        files = [self.train.files[index] for index in chosen]
        pictures = np.stack(list(pixels.read_many(files, self.image_size_px, self.settings.fit)))
        effects = augmentation.check(
            self.extractor.engine,
            pictures,
            self._features[0][chosen],
            self.train.labels[chosen],
            l2=self.head.l2,
            seed=self.settings.seed,
        )
        harmful = [one.operation for one in effects if not one.is_harmless]
        if harmful:
            self._progress.remark(
                f"Augmentation leaves out {', '.join(harmful)}: it makes photos look like another class."
            )
        return effects

    # What comes of both.

    def release(self) -> None:
        """Drop what takes memory; it would be computed again."""
        for name in ("_features", "_tuner"):
            self.__dict__.pop(name, None)

    def _folder(self, what: str) -> Path:
        return self._work / f"{self.row.name}-{what}"

    def _candidate_file(self, technique: str) -> Path:
        return self._work / f"{self.row.name}-{technique}.json"

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
        technique: str,
        whole: Engine,
        scores: Evaluation,
        calibration: Calibration,
        training: Training,
        latency_ms: float,
    ) -> Candidate:
        """Save a candidate's classifier and what is known of it in the work folder."""
        folder = self._folder(technique)
        Classifier(self._record(technique, calibration), whole).save(folder)
        n_head = (self.row.feature_size + 1) * len(self.class_names)
        candidate = Candidate(
            backbone=self.row.name,
            technique=technique,
            validation=scores,
            test=None,
            calibration=calibration,
            seconds=seconds_of(technique, self.seconds),
            parameters=self.row.parameters + n_head,
            size_mb=max(file.stat().st_size for file in folder.iterdir()) / 1e6,
            latency_ms=latency_ms,
            training=training,
        )
        records.write_json(self._candidate_file(technique), candidate)
        return candidate


def image_size_px(row: Backbone, train: Part, settings: Settings) -> int:
    """Return the size asked for; else the photos' own where it is nearly the backbone's; else the backbone's.

    Squares of one size come from a camera or a scanner that is set up for it. Resizing them by a few
    per cent blurs every detail of a pixel or two and gains nothing: on sample:textile (250 pixels), a probe
    on mobilenet_v2 got 87% of the test photos right unscaled and 78% at 224.
    """
    side = pixels.common_side(train.files)
    is_near = side is not None and NEAR[0] * row.input_size_px <= side <= NEAR[1] * row.input_size_px
    return settings.image_size or (side if side is not None and is_near else row.input_size_px)


def seconds_of(technique: str, seconds: dict[str, float]) -> dict[str, float]:
    """Return what a technique would have cost on its own; fine-tuning starts from the probe."""
    shared = ("prepare", "features", "probe")
    return {stage: spent for stage, spent in seconds.items() if technique == "finetune" or stage in shared}
