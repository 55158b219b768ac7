"""What candidates come to on the test part: the first place that asks them about it, the decision made."""

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from headstart.base import filenames, records
from headstart.base.arrays import Bools, Floats
from headstart.base.settings import Settings
from headstart.photos.splits import Part
from headstart.results.comparison import Candidate, Measured, Repeat, WithoutLeaks, measured
from headstart.results.run import Run
from headstart.statistics import calibration as calibrations
from headstart.statistics import metrics
from headstart.statistics.significance import accuracy_interval, intervals
from headstart.workflow.preparation import Photos
from headstart.workflow.techniques.draft import Asked, Trained


@dataclass(frozen=True, eq=False)
class Tested:
    """All candidates, measured on N test photos.

    Attributes:
        candidates: Best on validation first.
        answers: By the name of each, float32 (N, C), its probabilities.
        right: By the name of each, bool (N,), which photos it got right.
    """

    candidates: tuple[Candidate, ...]
    answers: Mapping[str, Floats]
    right: Mapping[str, Bools]


def measure(
    trained: Mapping[str, Trained],
    ranking: tuple[Candidate, ...],
    photos: Photos,
    run: Run,
    settings: Settings,
) -> Tested:
    """Ask every candidate about the test part, in the order of the ranking, and write predictions.csv.

    No candidate was asked about it before; the decision is made.
    """
    test = photos.test
    asked = {one.name: trained[one.name].answer(test.unlabelled) for one in ranking}
    answers = {name: one.probabilities for name, one in asked.items()}
    found = []
    for candidate in ranking:
        scores = score(candidate, asked[candidate.name], photos, settings)
        repeats = measure_repeats(trained[candidate.name], scores, test)
        found.append(dataclasses.replace(candidate, test=scores, repeats=repeats))
    header = filenames.predictions_columns(photos.class_names)
    rows = (
        row for one in ranking for row in prediction_rows(one, test, answers[one.name], photos.class_names)
    )
    records.write_csv(run.folder / filenames.PREDICTIONS, header, rows)
    right = {name: one.argmax(axis=1) == test.labels for name, one in answers.items()}
    return Tested(tuple(found), answers, right)


def measure_repeats(trained: Trained, scores: Measured, test: Part) -> tuple[Repeat, ...]:
    """Return each training of a candidate with its accuracy on test; the first is the candidate itself."""
    accuracies = [
        scores.accuracy,
        *(
            float((answer(test.unlabelled).probabilities.argmax(axis=1) == test.labels).mean())
            for answer in trained.repeats
        ),
    ]
    return tuple(
        dataclasses.replace(repeat, test_accuracy=accuracy)
        for repeat, accuracy in zip(trained.candidate.repeats, accuracies, strict=False)
    )


def score(candidate: Candidate, asked: Asked, photos: Photos, settings: Settings) -> Measured:
    """Return what a candidate came to on the test part, and how far that may be off by chance."""
    test, calibration, (probabilities, novelty) = photos.test, candidate.calibration, asked
    correct = probabilities.argmax(axis=1) == test.labels
    given, refusal = calibration.abstention, calibration.refusal
    confidence = probabilities.max(axis=1)
    return measured(
        metrics.evaluate(test.labels, probabilities, photos.class_names),
        intervals(test.labels, probabilities, test.groups, seed=settings.seed),
        reliability=calibrations.reliability(probabilities, test.labels),
        selection=calibrations.select(confidence, correct, given.threshold) if given else None,
        risk_curve=calibrations.risk_curve(confidence, correct),
        sets=calibrations.measure(calibration.conformal.sets(probabilities), test.labels),
        refused=calibrations.refused(novelty, refusal.threshold) if refusal and novelty is not None else None,
        without_leaks=without_leaks(correct, photos, settings) if photos.leaks.any() else None,
    )


def without_leaks(correct: Bools, photos: Photos, settings: Settings) -> WithoutLeaks:
    """Return accuracy on the test photos that have no copy, and none of their group, in another part."""
    clean = correct[~photos.leaks]
    if not len(clean):
        return WithoutLeaks(0, None, None)
    groups = photos.test.groups[~photos.leaks]
    interval = accuracy_interval(clean, groups, seed=settings.seed)
    return WithoutLeaks(len(clean), float(clean.mean()), interval)


def prediction_rows(
    candidate: Candidate, part: Part, probabilities: Floats, class_names: tuple[str, ...]
) -> Iterator[tuple[object, ...]]:
    """Yield the rows of predictions.csv for one candidate."""
    best = probabilities.argmax(axis=1)
    for path, label, predicted, row in zip(part.paths, part.labels, best, probabilities, strict=True):
        yield (
            candidate.backbone,
            candidate.technique,
            path,
            class_names[label],
            class_names[predicted],
            f"{row[predicted]:.6f}",
            *(f"{one:.6f}" for one in row),
        )
