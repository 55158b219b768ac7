"""What a run comes to in words: which candidate to use, how sure that is, what it costs, what may be wrong.

Each sentence has the number behind it, and nothing is said that was not measured.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from headstart.base import filenames
from headstart.base.words import in_a_list, in_words
from headstart.photos.findings import COPY_KINDS, IMBALANCE
from headstart.results.comparison import (
    Baseline,
    Candidate,
    DatasetSummary,
    FindingSummary,
    Measured,
    Recommendation,
    Rule,
    Shift,
    Worth,
)
from headstart.results.cost import Forecast
from headstart.results.curve import LearningCurve
from headstart.results.decision import is_cheaper, saved
from headstart.results.suspect import Expectation, Suspect
from headstart.statistics.calibration import LADDER, MOST, Calibration, Selection, Shortfall
from headstart.statistics.metrics import Evaluation
from headstart.statistics.significance import Comparison, Interval

LARGE = 1000
"""Photos of a class from which on the rule of thumb's data is large. The rule names no number; this is what
ImageNet's own classes have, 732 to 1,300 (Russakovsky et al., IJCV 115, 2015, table 2)."""

SIMILAR = 0.9
"""Headway from which on the rule of thumb's data is similar to ImageNet. The rule names no number; ours lies
between what mobilenet_v2 comes to on photos of animals, 0.98, and of clothing, 0.78."""


@dataclass(frozen=True)
class Evidence:
    """All that a verdict is drawn from.

    Attributes:
        candidates: Best on validation first, each measured on test.
        recommended: Which of them to use; decided before.
        comparisons: Of each other candidate with the recommended, on test.
        worth: Whether fine-tuning was worth it, for each backbone that was tried with both techniques.
        baseline: What always saying the commonest class gets.
        shift: How far test is from what was held out before; None where no test photo is without a copy.
        dataset: How many photos there are, and in which part.
        max_error: Part of the answers that calibration was told may be wrong.
        findings: What the audit found of the photos, gravest first.
        n_judged: Labels that a probe was asked about.
        suspects: The labels among them that look wrong, the worst first.
        suspects_expected: How many would look wrong, were all labels right; None where that was not asked.
        learning_curve: How accuracy on features grows with the photos; None where it was not measured.
        forecast: What the run was said to cost, and what it cost.
    """

    candidates: tuple[Candidate, ...]
    recommended: Recommendation
    comparisons: tuple[Comparison, ...]
    worth: tuple[Worth, ...]
    baseline: Baseline
    shift: Shift | None
    dataset: DatasetSummary
    max_error: float
    findings: tuple[FindingSummary, ...]
    n_judged: int
    suspects: tuple[Suspect, ...]
    learning_curve: LearningCurve | None
    forecast: Forecast
    suspects_expected: Expectation | None = None

    @property
    def chosen(self) -> Candidate:
        """The recommended candidate."""
        return next(one for one in self.candidates if one.name == self.recommended.name)

    @property
    def calibration(self) -> Calibration:
        """What the answers of the recommended candidate are worth."""
        return self.chosen.calibration

    @property
    def selection(self) -> Selection | None:
        """What its threshold let through on test; None without a threshold."""
        return self.chosen.test.selection if self.chosen.test else None

    @property
    def n_images(self) -> int:
        """Photos that were checked and can be read."""
        return self.dataset.n_images


def write(evidence: Evidence) -> tuple[str, ...]:
    """Return the verdict in sentences, each with a number; the first bears what its figure needs beside it.

    Raises:
        ValueError: The candidate to use was not measured on test.
    """
    use = evidence.chosen
    if use.test is None:
        raise ValueError(f"{use.name} was not measured on test")
    sentences = (
        _use(use, use.test, evidence),
        _shifted(evidence),
        choice(evidence.recommended) if len(evidence.candidates) > 1 else "",
        _rivals(use, evidence),
        _finetuning(use, evidence.worth),
        _passes(use),
        _confidence(evidence),
        _cost(use, evidence.forecast),
        _data(evidence),
        _weakest(use.test),
        _more_photos(evidence.learning_curve),
    )
    return tuple(filter(None, sentences))


def worth_finetuning(
    candidates: Sequence[Candidate], comparisons: Sequence[Comparison], photos_per_class: float
) -> tuple[Worth, ...]:
    """Return one judgement for each backbone with both techniques, in the order of the candidates.

    Args:
        candidates: Each with its scores on validation.
        comparisons: On test, among them "backbone/finetune" with "backbone/features" as `b`.
        photos_per_class: Training photos over classes.
    """
    by_name = {one.name: one for one in candidates}
    found = {(one.a, one.b): one for one in comparisons}
    pairs = [
        (f"{name}/finetune", f"{name}/features") for name in dict.fromkeys(one.backbone for one in candidates)
    ]
    return tuple(
        _worth(by_name[features], by_name[finetune], found[finetune, features], photos_per_class)
        for finetune, features in pairs
        if (finetune, features) in found
    )


def headway(scores: Evaluation) -> float:
    """Return how far accuracy is from that of always saying the commonest class, 0, to 1; 0 at the least.

    Example:
        >>> from headstart.statistics.metrics import PerClass
        >>> classes = (PerClass("cat", 0.9, 0.9, 0.9, 60), PerClass("dog", 0.9, 0.9, 0.9, 40))
        >>> round(headway(Evaluation(100, 0.9, 0.9, 0.9, 0.3, classes, ())), 2)
        0.75
    """
    commonest = max(one.n_images for one in scores.per_class) / scores.n_images
    return max(0.0, (scores.accuracy - commonest) / (1 - commonest)) if commonest < 1 else 0.0


def _worth(features: Candidate, finetune: Candidate, found: Comparison, photos_per_class: float) -> Worth:
    made = headway(features.validation)
    is_large, is_similar = photos_per_class >= LARGE, made >= SIMILAR
    rule: Rule = "nothing" if is_large == is_similar else "finetune" if is_large else "features"
    seconds = sum(finetune.seconds.values()) - sum(features.seconds.values())
    return Worth(
        backbone=features.backbone,
        gain=found.difference,
        interval=found.interval,
        decision=found.decision,
        n_images=found.n_images,
        seconds=seconds,
        photos_per_class=photos_per_class,
        headway=made,
        rule=rule,
        measured=_measured(finetune, found, seconds),
        rule_of_thumb=_rule_of_thumb(rule, photos_per_class, made),
    )


def _measured(finetune: Candidate, found: Comparison, seconds: float) -> str:
    backbone, training = finetune.backbone, finetune.training
    if training.history and not training.best_epoch:
        return (
            f"Fine-tuning {backbone} for {in_words(max(seconds, 0))} gained nothing on validation on its "
            "features, whose head it kept: it was not worth it."
        )
    outcome = {
        "better": "it was worth it",
        "worse": "it did harm",
        "unclear": "these photos cannot tell whether it was worth it",
    }
    return (
        f"Fine-tuning {backbone} instead of training on its features changed accuracy on {found.n_images:,} "
        f"test photos by {_points(found.difference)} ({_range(found.interval)}) for "
        f"{in_words(max(seconds, 0))} more: {outcome[found.decision]}."
    )


def _rule_of_thumb(rule: Rule, photos_per_class: float, made: float) -> str:
    says = {"features": "says features", "finetune": "says fine-tuning", "nothing": "has no plain answer"}
    return (
        f"The rule of thumb {says[rule]}: {photos_per_class:,.0f} training photos of a class are "
        f"{'many' if photos_per_class >= LARGE else 'few'} (from {LARGE:,} on they are many), and the photos "
        f"are {'like' if made >= SIMILAR else 'unlike'} ImageNet's, for a probe gets {made:.0%} of the way "
        f"from always saying the commonest class to no mistake (from {SIMILAR:.0%} on they are like)."
    )


def _use(use: Candidate, test: Measured, evidence: Evidence) -> str:
    return f"Use {use.words}: {_right(test)}{_spread(use)}{_guessing(evidence.baseline)}."


def _right(test: Measured) -> str:
    """Say how often it is right: first where that is not flattered, by copies or by one large class."""
    clean, n = test.without_leaks, f"{test.n_images:,}"
    if clean is None:
        return _on_average(test) if _is_unequal(test) else f"it is {_accuracy(test, f'{n} test photos')}"
    if clean.accuracy is None or clean.interval is None:
        return (
            f"it is right on {test.accuracy:.1%} of {n} test photos, but each of these has a copy in train "
            "or validation, so how it does on new photos is not known"
        )
    return (
        f"it is right on {clean.accuracy:.1%} of the {clean.n_images:,} test photos that have no copy in "
        f"train or validation ({_ends(clean.interval)}); of all {n}, copies included, on {test.accuracy:.1%}"
    )


def _accuracy(test: Measured, photos: str) -> str:
    return f"right on {test.accuracy:.1%} of {photos} ({_ends(test.accuracy_interval)})"


def _on_average(test: Measured) -> str:
    return (
        f"it finds {test.balanced_accuracy:.1%} of a class's test photos on average, all classes counted "
        f"alike ({_ends(test.balanced_accuracy_interval)}), and is "
        f"{_accuracy(test, f'all {test.n_images:,}')}"
    )


def _is_unequal(test: Measured) -> bool:
    counts = [one.n_images for one in test.per_class if one.n_images]
    return max(counts) >= IMBALANCE * min(counts)


def _ends(interval: Interval) -> str:
    return f"{interval.level:.0%} interval {interval.low:.1%} to {interval.high:.1%}"


def _guessing(baseline: Baseline) -> str:
    """Say what guessing gets where the candidate is not clearly above it."""
    compared = baseline.comparison
    if compared.decision == "better":
        return ""
    stands = "worse than" if compared.decision == "worse" else "not clearly better than"
    return (
        f". That is {stands} always saying {baseline.class_name}, which is right on {baseline.accuracy:.1%} "
        f"of the same photos ({_points(compared.difference)}, {_range(compared.interval)})"
    )


def _shifted(evidence: Evidence) -> str:
    """Say that test is farther from what was held out before than chance takes it, and why that may be."""
    found = evidence.shift
    if found is None or not found.is_more_than_chance:
        return ""
    return (
        f"On {found.n_held_out:,} photos that were held out before it was right on "
        f"{found.held_out_accuracy:.1%}, on {found.n_test:,} of test on {found.test_accuracy:.1%}: "
        f"{_points(found.difference)} ({_range(found.interval)}), which is more than chance (p "
        f"{_chance(found.p_value)}). {_reason(found, evidence)}"
    )


def _reason(found: Shift, evidence: Evidence) -> str:
    """Return what may have taken test away from validation, the likeliest first."""
    copied = [one for one in evidence.findings if _flatters_validation(one)]
    if found.difference > 0:
        return "The test photos are easier than those it was chosen by: see whether they were picked."
    if copied:
        return (
            f"The likeliest reason are copies: {copied[0].detail} Validation then flatters, and test is to "
            "be believed."
        )
    if "test" in evidence.dataset.given_parts:
        return (
            "The test part is one of your own, and seems to be of another kind: another camera, place or "
            "season, or other labels. If new photos will be like those of test, believe test, and train on "
            "such photos too."
        )
    return (
        "Both were drawn from the same photos, so either this is rare bad luck, which another --seed would "
        "show, or photos that belong together were divided: --group-by keeps them together."
    )


def _flatters_validation(finding: FindingSummary) -> bool:
    """Say whether it is of copies that may stand both in train and in validation."""
    is_leak = finding.kind == "leak" and "validation" in finding.detail and "train" in finding.detail
    return finding.kind in COPY_KINDS or is_leak


def _chance(p_value: float) -> str:
    return f"= {p_value:.3f}" if p_value >= 0.001 else "< 0.001"


def choice(recommended: Recommendation) -> str:
    """Return why it is this one, and what a cheaper one would save and may cost."""
    if recommended.name != recommended.best_on_validation:
        return recommended.why
    cheaper = [one for one in recommended.alternatives if is_cheaper(one)]
    if not cheaper:
        return recommended.why
    other = max(cheaper, key=lambda one: one.at_least)
    return (
        f"{recommended.why} {other.words} would save {saved(other)}, and may cost up to "
        f"{-100 * other.at_least:.1f} points: on {other.n_images:,} photos that neither was fitted "
        f"on it {_apart_by(other.difference)}."
    )


def _spread(use: Candidate) -> str:
    """Say how far other seeds went, where it was trained from several."""
    accuracies = [one.test_accuracy for one in use.repeats if one.test_accuracy is not None]
    if len(accuracies) < 2:
        return ""
    return f"; from {len(accuracies)} seeds, {min(accuracies):.1%} to {max(accuracies):.1%}"


def _rivals(use: Candidate, evidence: Evidence) -> str:
    """Say how the one to use stands beside the others on test."""
    found = [one for one in evidence.comparisons if one.b == use.name]
    names = {
        decision: [one for one in found if one.decision == decision]
        for decision in ("worse", "unclear", "better")
    }
    told = [
        _beaten(names["worse"], len(found)),
        _not_told_apart(names["unclear"], len(found)),
        *(_beats(one) for one in names["better"]),
    ]
    said = [one for one in told if one]
    return f"On test it {in_a_list(said)}." if said else ""


def _beaten(worse: Sequence[Comparison], n_others: int) -> str:
    if not worse:
        return ""
    nearest = max(worse, key=lambda one: one.difference)
    which = (
        "is better than"
        if n_others == 1
        else f"is better than {len(worse):,} of {n_others:,} others, the nearest being"
    )
    return f"{which} {_other(nearest)} ({_differs(nearest)})"


def _not_told_apart(unclear: Sequence[Comparison], n_others: int) -> str:
    if not unclear:
        return ""
    by_distance = sorted(unclear, key=lambda one: one.at_most)
    nearest, farthest = by_distance[0], by_distance[-1]
    photos = f"on these {nearest.n_images:,} photos"
    if len(unclear) == 1:
        told = f"they could differ by up to {100 * nearest.at_most:.1f} points"
        return f"cannot be told apart from {_other(nearest)} {photos} ({told})"
    return (
        f"cannot be told apart from {len(unclear):,} of {n_others:,} others {photos} (it could differ by up "
        f"to {100 * nearest.at_most:.1f} points from {_other(nearest)}, the nearest, and by up to "
        f"{100 * farthest.at_most:.1f} from {_other(farthest)}, the farthest)"
    )


def _beats(one: Comparison) -> str:
    return f"is worse than {_other(one)} ({_differs(one)}), which validation had not foretold"


def _other(one: Comparison) -> str:
    return one.a.replace("/", " with ")


def _differs(one: Comparison) -> str:
    return f"{_points(one.difference)}, {_range(one.interval)}"


def _finetuning(use: Candidate, worth: Sequence[Worth]) -> str:
    """Say of one backbone, that of the candidate to use if it can be, whether fine-tuning was worth it."""
    own_first = sorted(worth, key=lambda one: one.backbone != use.backbone)
    return own_first[0].measured if own_first else ""


def _passes(use: Candidate) -> str:
    """Say what the last pass of fine-tuning gained, and what as many passes again would cost."""
    history = use.training.history
    if use.training.best_epoch < 2 or "finetune" not in use.seconds:
        return ""
    before, last = history[-2:]
    once = use.seconds["finetune"] / max(1, len(use.repeats))
    whose = " of the trained layers alone" if use.training.is_mean else ""
    return (
        f"The last of its {last.number} passes changed validation{whose} from "
        f"{before.validation_accuracy:.1%} right to {last.validation_accuracy:.1%}, and the log loss from "
        f"{before.validation_loss:.3f} to {last.validation_loss:.3f}; to train with twice as many, "
        f"`--epochs {2 * last.number}`, would take about {in_words(2 * once)}."
    )


def _confidence(evidence: Evidence) -> str:
    calibration, selection, max_error = evidence.calibration, evidence.selection, evidence.max_error
    if calibration is None:
        return ""
    if calibration.abstention is None or selection is None:
        none = f"No threshold of confidence can promise that at most {max_error:.1%} of the answers above it "
        found = calibration.shortfall
        return f"{none}are wrong{f': {_shortfall(found, calibration.n_images)}' if found else ''}."
    return (
        f"Where it is {calibration.abstention.threshold:.1%} sure or more, at most {max_error:.1%} of its "
        f"answers should be wrong: on test these were {selection.coverage:.0%} of the photos, and "
        f"{selection.n_wrong:,} of {selection.n_accepted:,} were wrong."
    )


def _shortfall(found: Shortfall, n_images: int) -> str:
    """Say why no threshold can be promised, how many photos it would take, and what can be promised."""
    takes, least = f"that takes {found.n_needed:,} validation photos without a mistake", found.least_error
    best = (
        f"at most {least:.1%} can be promised (`--max-error {least:g}`)"
        if least
        else (f"not even {LADDER[0]:.0%} can be promised")
    )
    if not found.n_wrong:
        return f"{takes}, and there are {n_images:,}; {best}"
    of = (
        f"the {found.n_surest:,} surest (of {n_images:,})"
        if found.n_surest < n_images
        else f"the {n_images:,}"
    )
    rate = f"{found.n_wrong:,} of {of} {'is' if found.n_wrong == 1 else 'are'} mistaken"
    enough = f"about {_rounded(found.n_enough)} would do" if found.n_enough else f"{MOST:,} would not do"
    return f"{takes}, or more with few, and {rate}. Of photos like these {enough}; {best}"


def _cost(use: Candidate, forecast: Forecast) -> str:
    took = forecast.actual_seconds
    whole = (
        f"; the whole comparison took {in_words(took)}, forecast {in_words(forecast.seconds)}" if took else ""
    )
    left_out = f", and left out {in_a_list(forecast.left_out)} for lack of time" if forecast.left_out else ""
    return (
        f"It took {in_words(sum(use.seconds.values()))} to train, and takes {use.latency_ms:.1f} ms for a "
        f"photo on this machine and {use.size_mb:.1f} MB on disk{whole}{left_out}."
    )


def _data(evidence: Evidence) -> str:
    """Say what the audit found, and how many labels look wrong."""
    n_findings = len(evidence.findings)
    kinds = Counter(one.kind.replace("_", " ") for one in evidence.findings)
    counted = ", ".join(f"{count:,} {kind}" for kind, count in kinds.items())
    text = f"The check of {evidence.n_images:,} photos gave {n_findings:,} finding{'s' * (n_findings != 1)}"
    text += f" ({counted})" if counted else ""
    return f"{text}, and {_labels(evidence)}." if evidence.n_judged else f"{text}."


def _labels(evidence: Evidence) -> str:
    """Say how many labels look wrong, and whether that is more than of right ones."""
    suspects, expected = evidence.suspects, evidence.suspects_expected
    text = (
        f"{len(suspects):,} of {evidence.n_judged:,} labels {'looks' if len(suspects) == 1 else 'look'} wrong"
    )
    if not suspects:
        return text
    first = suspects[0]
    look = f"look first at {first.path}, labelled {first.label} and more like {first.suggested}"
    if expected is None:
        return f"{text} ({filenames.SUSPECTS}): {look}"
    about = f"about {_rounded(round(expected.n_expected))}" if expected.n_expected >= 0.5 else "hardly any"
    sure = f"{expected.accuracy:.0%} sure on average"
    honest = f"to a model that is {sure}, {about} of as many right labels would"
    if len(suspects) > expected.n_most:
        return f"{text} ({filenames.SUSPECTS}), where {honest}: {look}"
    return f"{text}, which is no sign that they are: {honest} ({filenames.SUSPECTS})"


def _weakest(test: Evaluation) -> str:
    """Name the class that is found least often, and what it is taken for."""
    seen = [index for index, one in enumerate(test.per_class) if one.n_images]
    weakest = min(seen, key=lambda index: test.per_class[index].recall)
    one, row = test.per_class[weakest], test.confusion[weakest]
    strays = [0 if index == weakest else count for index, count in enumerate(row)]
    if not sum(strays):
        return ""
    other = test.per_class[strays.index(max(strays))].name
    return (
        f"The weakest class is {one.name}: {row[weakest]:,} of its {one.n_images:,} test photos are found, "
        f"and {max(strays):,} {'is' if max(strays) == 1 else 'are'} taken for {other}."
    )


def _more_photos(curve: LearningCurve | None) -> str:
    if curve is None:
        return ""
    more = curve.more
    if more.n_photos is None or more.low is None or more.high is None:
        return f"How many more training photos bring 1 point of accuracy cannot be said: {more.reason}."
    return (
        f"One point of accuracy takes about {_rounded(more.n_photos)} more training photos "
        f"({_rounded(more.low)} to {_rounded(more.high)}), by the learning curve of the features."
    )


def _apart_by(difference: float) -> str:
    return f"differs by {_points(difference)}" if round(difference, 3) else "is right as often"


def _points(difference: float) -> str:
    """Return a difference of accuracies in percentage points, with its sign.

    >>> _points(-0.0124), _points(0.01), _points(0)
    ('-1.2 points', '+1.0 points', '0.0 points')
    """
    return f"{100 * difference:+.1f} points" if round(difference, 3) else "0.0 points"


def _range(interval: Interval) -> str:
    return f"{interval.level:.0%} interval {100 * interval.low:+.1f} to {100 * interval.high:+.1f}"


def _rounded(number: int) -> str:
    """Return a number to two digits, for no more of them are known.

    >>> _rounded(1873), _rounded(96), _rounded(0)
    ('1,900', '96', '0')
    """
    return f"{round(number, 1 - math.floor(math.log10(number))) if number > 0 else 0:,}"
