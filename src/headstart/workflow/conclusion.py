"""What is to be said when all candidates are measured: evidence, verdict, and the results of the run."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from headstart.base.progress import Progress
from headstart.base.settings import Settings
from headstart.networks import versions, weights
from headstart.networks.table import Backbone, alone
from headstart.photos import duplicates, findings, splits, variants
from headstart.photos.findings import KINDS
from headstart.results import reservations
from headstart.results import run as runs
from headstart.results.comparison import (
    SCHEMA_VERSION,
    Baseline,
    Candidate,
    Recommendation,
    Results,
    Shift,
    SizeTried,
    Worth,
)
from headstart.results.cost import Forecast
from headstart.results.curve import LearningCurve
from headstart.results.verdict import Evidence, worth_finetuning
from headstart.results.verdict import write as write_verdict
from headstart.statistics.answers import Answers
from headstart.statistics.significance import compare_all
from headstart.training.suspects import Judgement
from headstart.workflow.preparation import Photos, fingerprint, summarised
from headstart.workflow.scoring import Tested
from headstart.workflow.techniques.trial import Trial


@dataclass(frozen=True, eq=False)
class Case:
    """All that a run came to, before it is put into words.

    Attributes:
        settings: What was asked for.
        photos: All parts, with all that was found of the photos.
        tested: All candidates, measured.
        recommended: Which of the candidates to use, decided before they were measured.
        decided_at: When that was, ISO 8601, UTC.
        held_out: What that one answered before the decision, to photos that it was not fitted on.
        curve: How accuracy on the features of that one's backbone grows with the photos.
        judgement: Labels that look wrong.
        forecast: What the run was said to cost, and what it cost.
        picture_size: The sizes of picture that were tried.
    """

    settings: Settings
    photos: Photos
    tested: Tested
    recommended: Recommendation
    decided_at: str
    held_out: Answers
    curve: LearningCurve
    judgement: Judgement
    forecast: Forecast
    picture_size: tuple[SizeTried, ...]

    @property
    def chosen(self) -> Candidate:
        """The recommended candidate."""
        return next(one for one in self.tested.candidates if one.name == self.recommended.name)


def with_versions(photos: Photos, best: Trial, progress: Progress) -> Photos:
    """Return the photos with a finding where classes seem to be altered versions of fewer pictures.

    That shows in features alone, so it comes after the split, which must not depend on what was computed.
    """
    judge = alone([best.row])[-1].name  # whose last layer a vector ends with
    if judge not in duplicates.JUDGES:
        return photos
    whole = splits.joined(photos.lesson.photos, photos.test)
    different = np.unique(whole.digests, return_index=True)[1]
    vectors = best.heads.last.above(best.extraction.last_of(photos.test.unlabelled))
    labels = whole.labels[different]
    found = variants.find(vectors.of(different), labels, whole.groups[different])
    if found is None:
        return photos
    paths = [whole.paths[index] for index in different]
    new = summarised(findings.variants(paths, labels, photos.class_names, found, judge))
    progress.remark(f"{new.detail} {new.advice}")
    kinds = list(KINDS)
    both = sorted((*photos.findings, new), key=lambda one: kinds.index(one.kind))
    return dataclasses.replace(photos, findings=tuple(both))


def evidence_of(case: Case) -> Evidence:
    """Return what the verdict is drawn from."""
    test = case.photos.test
    return Evidence(
        candidates=case.tested.candidates,
        recommended=case.recommended,
        comparisons=compare_all(dict(case.tested.right), case.chosen.name, groups=test.groups),
        worth=judge_finetuning(case.tested, case.photos),
        baseline=judge_baseline(case),
        shift=judge_shift(case),
        dataset=case.photos.summary,
        max_error=case.settings.max_error,
        findings=case.photos.findings,
        n_judged=case.judgement.expected.n_images,
        suspects=case.judgement.suspects,
        suspects_expected=case.judgement.expected,
        learning_curve=case.curve,
        forecast=case.forecast,
    )


def judge_finetuning(tested: Tested, photos: Photos) -> tuple[Worth, ...]:
    """Return whether fine-tuning was worth it, for each backbone that was tried with both techniques."""
    names = dict.fromkeys(one.backbone for one in tested.candidates)
    asked = [(f"{name}/finetune", f"{name}/features") for name in names]
    pairs = [pair for pair in asked if set(pair) <= set(tested.right)]
    comparisons = compare_all(dict(tested.right), pairs=pairs, groups=photos.test.groups)
    photos_per_class = photos.summary.n_train / len(photos.class_names)
    return worth_finetuning(tested.candidates, comparisons, photos_per_class)


def judge_baseline(case: Case) -> Baseline:
    """Return what always saying the commonest class gets, on test photos without copies where there are."""
    photos, parts = case.photos, case.photos.parts
    asked = ~photos.leaks if photos.has_clean else np.ones_like(photos.leaks)
    return reservations.baseline(
        case.chosen.name,
        case.tested.right[case.chosen.name][asked],
        train=parts["train"].labels,
        validation=parts["validation"].labels,
        test=parts["test"].labels[asked],
        groups=parts["test"].groups[asked],
        class_names=photos.class_names,
        seed=case.settings.seed,
    )


def judge_shift(case: Case) -> Shift | None:
    """Return how far the recommended candidate's accuracy on test is from that before."""
    held_out, labels = case.held_out, case.photos.lesson.photos.labels
    before = held_out.right(labels, held_out.rows)
    return reservations.shift(before, case.tested.right[case.chosen.name][~case.photos.leaks])


def results_of(case: Case, rows: Sequence[Backbone], seconds: float) -> Results:
    """Return the results of a run, the verdict among them.

    Args:
        case: What it came to.
        rows: The backbones that were asked for.
        seconds: What it took.
    """
    settings, photos, evidence = case.settings, case.photos, evidence_of(case)
    return Results(
        schema_version=SCHEMA_VERSION,
        dataset=photos.summary,
        findings=photos.findings,
        candidates=evidence.candidates,
        recommended=case.recommended,
        decided_at=case.decided_at,
        comparisons=evidence.comparisons,
        baseline=evidence.baseline,
        shift=evidence.shift,
        learning_curve=case.curve,
        n_suspects=len(case.judgement.suspects),
        suspects_expected=case.judgement.expected,
        verdict=write_verdict(evidence),
        worth=evidence.worth,
        n_folds=len(photos.lesson.folds) if photos.lesson.has_folds else 0,
        settings=runs.config(settings),
        versions=versions.here(),
        data_sha256=fingerprint(photos.parts),
        weights_sha256={row.name: weights.fingerprint(row, settings.weights_folder) for row in rows},
        seed=settings.seed,
        seconds=seconds,
        forecast=case.forecast,
        picture_size=case.picture_size,
    )
