"""Technique 2, fine-tuning: from the probe on, the last layers of a backbone learn too."""

import dataclasses
import functools
import math
import time

import numpy as np

from headstart.base import records
from headstart.base.arrays import Rows
from headstart.networks import versions
from headstart.photos.splits import Lesson
from headstart.pictures import pixels
from headstart.results.comparison import Effect, Repeat
from headstart.training import augmentation
from headstart.training.finetune import Probes, Watch, unwatched
from headstart.training.heads import Heads
from headstart.workflow import forecast
from headstart.workflow.forecast import Work
from headstart.workflow.techniques.bench import Bench, Opened
from headstart.workflow.techniques.draft import Draft, Origin, Trained, photos_sha256
from headstart.workflow.techniques.errand import Errand
from headstart.workflow.techniques.trainer import Start, Trainer


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
        self._trainer = Trainer(opened, lesson, bench)

    @property
    def is_built(self) -> bool:
        """Whether the backbone is ready to be fine-tuned."""
        return self._trainer.is_built

    def measure(self) -> None:
        """Find out what training on a photo costs on this machine, where that is not known."""
        ledger = self._opened.ledger
        if ledger.known().train is not None:
            return
        start = time.perf_counter()
        tuner = self._trainer.built()
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

        A candidate that an interrupted run of the same settings had finished, or another machine, is taken
        as it is, where its `Origin` is the same.
        """
        drafts = self._drafts
        for seed, draft in drafts.items():
            self._finish(draft, seed, epochs, watch)
        candidates = [draft.candidate() for draft in drafts.values()]
        repeats = [
            Repeat(seed, one.validation.accuracy, None) for seed, one in zip(drafts, candidates, strict=True)
        ]
        first = dataclasses.replace(candidates[0], repeats=tuple(repeats) if len(repeats) > 1 else ())
        answers = [draft.answer(self._bench.progress) for draft in drafts.values()]
        own = drafts[self._bench.settings.seed]
        return Trained(first, own.model, own.answers(), answers[0], tuple(answers[1:]))

    @property
    def _drafts(self) -> dict[int, Draft]:
        """The candidate's by its seed, and those of its repeats by theirs."""
        work, name, first = self._bench.work, self._opened.row.name, self._bench.settings.seed
        seeds = range(first, first + self._bench.settings.seeds)
        return {seed: Draft(work, name, "finetune", None if seed == first else seed) for seed in seeds}

    def _origin(self, seed: int, epochs: int) -> Origin:
        key = self._opened.extractor.identity
        return Origin(photos_sha256(self._lesson), key, seed, epochs, versions.here())

    def _finish(self, draft: Draft, seed: int, epochs: int, watch: Watch) -> None:
        """Make sure that a draft lies in the work folder, whole."""
        origin = self._origin(seed, epochs)
        if draft.is_of(origin):
            return
        draft.begin()
        self._trainer.train(draft, self._start(), seed, epochs, draft.watched(watch))
        draft.end(origin)

    def errands(self, epochs: int) -> list[Errand]:
        """Return what another machine needs to know of each draft that does not lie there yet."""
        found = []
        for seed, draft in self._drafts.items():
            origin = self._origin(seed, epochs)
            if not draft.is_of(origin):
                found.append(self._errand(draft, origin))
        return found

    def _errand(self, draft: Draft, origin: Origin) -> Errand:
        start, opened = self._start(), self._opened
        return Errand(
            settings=self._bench.settings,
            draft=draft,
            origin=origin,
            image_size_px=opened.image_size_px,
            lesson=self._lesson,
            start=start,
            seconds=dict(opened.watch.seconds),
        )

    def _start(self) -> Start:
        heads = self._heads
        with self._opened.watch.stage("augmentation"):
            effects = self._effects
        whole = heads.whole if self._lesson.has_folds else heads.heads[0]
        return Start(Probes(heads.heads, whole, heads.scaling), effects)

    @functools.cached_property
    def _effects(self) -> tuple[Effect, ...]:
        """What each operation does to some training photos; one that does harm is remarked on."""
        chosen = checked(self._lesson, self._bench)
        if not len(chosen):
            return ()
        kept = self._trainer.checkpoints.load("augmentation")
        if kept:
            effects = records.from_bytes(kept["effects"].tobytes(), tuple[Effect, ...])
        else:
            effects = self._measured_effects(chosen)
            told = np.frombuffer(records.to_bytes(effects), np.uint8)
            self._trainer.checkpoints.save("augmentation", {"effects": told})
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
        self._trainer.release()


def checked(lesson: Lesson, bench: Bench) -> Rows:
    """Return the rows of the photos that augmentation is checked on; none where it is not asked for."""
    train = lesson.folds[0].train
    if bench.settings.augment != "auto":
        return train[:0]
    return train[augmentation.sample(lesson.photos.labels[train], bench.settings.seed)]
