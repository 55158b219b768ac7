"""Evaluations of candidates -> a ranking on validation, and all that a run comes to: the results."""

from dataclasses import dataclass
from typing import Any, Literal

from headstart.base.settings import TECHNIQUES
from headstart.results.cost import Forecast
from headstart.results.curve import LearningCurve
from headstart.results.suspect import Expectation
from headstart.statistics.calibration import Calibration, Refused, Reliability, Selection, SetQuality
from headstart.statistics.metrics import Evaluation
from headstart.statistics.significance import Comparison, Decision, Interval, Intervals

Rule = Literal["features", "finetune", "nothing"]

SCHEMA_VERSION = 7


@dataclass(frozen=True)
class DatasetSummary:
    """How many photos there are, and in which part; `given_parts` are those that the user divided off."""

    n_images: int
    class_names: tuple[str, ...]
    n_train: int
    n_validation: int
    n_test: int
    n_quarantined: int
    n_ignored: int
    given_parts: tuple[str, ...] = ()

    @property
    def n_learnt_from(self) -> int:
        """Photos that were trained on or chosen by."""
        return self.n_train + self.n_validation


@dataclass(frozen=True)
class FindingSummary:
    """A finding of the audit: what is the matter, what to do about it, and with which photos."""

    kind: str
    detail: str
    advice: str
    paths: tuple[str, ...]


@dataclass(frozen=True)
class Effect:
    """What an operation did to photos that a probe had not seen.

    Attributes:
        operation: Such as "mirror", one of `augmentation.OPERATIONS`.
        plain_loss: Log loss of the probe on the photos as they are.
        view_loss: Its log loss on their views.
    """

    operation: str
    plain_loss: float
    view_loss: float


@dataclass(frozen=True)
class Epoch:
    """What one pass came to; epoch 0 is the probe that training started from."""

    number: int
    train_loss: float | None
    validation_loss: float
    validation_accuracy: float


@dataclass(frozen=True)
class Training:
    """How a candidate came about: what its technique chose, and by what.

    Attributes:
        image_size_px: Side of the pictures that it is fed.
        l2: Strength of the penalty of the probe.
        trained_layers: Layers of the network that were fine-tuned, the head not counted.
        operations: Augmentation used.
        effects: What augmentation was checked for, with `augment="auto"`.
        history: The probe (epoch 0) and each pass.
        best_epoch: The pass that its weights come from: the last, or 0, the probe's.
        is_mean: Whether its layers stand in it as they were, too, under the probe: it gives the mean of both.
        shares: Of a mean of fine-tuned networks, what each has in it; none else.
    """

    image_size_px: int
    l2: float
    trained_layers: int = 0
    operations: tuple[str, ...] = ()
    effects: tuple[Effect, ...] = ()
    history: tuple[Epoch, ...] = ()
    best_epoch: int = 0
    is_mean: bool = False
    shares: tuple[float, ...] = ()


@dataclass(frozen=True)
class SizeTried:
    """A size of picture, and what features of a sample of the training photos were worth at it.

    Attributes:
        image_size_px: Side of the squares.
        backbone: Whose features those were.
        n_images: Photos of the sample.
        accuracy: Of answers for photos that were left out of the fit, one after the other.
        log_loss: Of the same answers.
        gain: Mean of what log loss fell by, photo by photo, from the size chosen before; 0 of the smallest.
        standard_error: Of that mean; 0 of the smallest.
        seconds: What it took to find out.
        is_chosen: Whether this is the size of the run.
    """

    image_size_px: int
    backbone: str
    n_images: int
    accuracy: float
    log_loss: float
    gain: float
    standard_error: float
    seconds: float
    is_chosen: bool


@dataclass(frozen=True)
class WithoutLeaks:
    """Accuracy on the test photos that have no copy in train or validation, None where all have one."""

    n_images: int
    accuracy: float | None
    interval: Interval | None


@dataclass(frozen=True)
class Measured(Evaluation):
    """An evaluation on the test part, and how far it may be off by chance.

    Attributes:
        accuracy_interval: Wilson's, or by groups of photos where there are any.
        balanced_accuracy_interval: From those of the recalls.
        macro_f1_interval: By bootstrap.
        log_loss_interval: By bootstrap.
        recall_intervals: In the order of the class names, as those of accuracy; None without a photo.
        reliability: How often it is right, by its confidence.
        selection: What the confidence below which it abstains let through; None without one.
        risk_curve: What other confidences would let through, from few photos to all.
        sets: How often the label was in its set of classes, and how large the sets were.
        refused: How many were told as none of the classes, though they are; None where nothing is refused.
        without_leaks: Of the photos that have no copy in train or validation; None where no photo has one.
    """

    accuracy_interval: Interval
    balanced_accuracy_interval: Interval
    macro_f1_interval: Interval
    log_loss_interval: Interval
    recall_intervals: tuple[Interval | None, ...]
    reliability: Reliability
    selection: Selection | None
    risk_curve: tuple[Selection, ...]
    sets: SetQuality
    refused: Refused | None
    without_leaks: WithoutLeaks | None


def measured(
    scores: Evaluation,
    intervals: Intervals,
    *,
    reliability: Reliability,
    selection: Selection | None,
    risk_curve: tuple[Selection, ...],
    sets: SetQuality,
    refused: Refused | None,
    without_leaks: WithoutLeaks | None,
) -> Measured:
    """Return an evaluation with what goes around it."""
    return Measured(
        **{name: getattr(scores, name) for name in Evaluation.__dataclass_fields__},
        accuracy_interval=intervals.accuracy,
        balanced_accuracy_interval=intervals.balanced_accuracy,
        macro_f1_interval=intervals.macro_f1,
        log_loss_interval=intervals.log_loss,
        recall_intervals=intervals.recalls,
        reliability=reliability,
        selection=selection,
        risk_curve=risk_curve,
        sets=sets,
        refused=refused,
        without_leaks=without_leaks,
    )


@dataclass(frozen=True)
class Repeat:
    """The same training once more, from another seed: accuracies; None before test was read."""

    seed: int
    validation_accuracy: float
    test_accuracy: float | None


@dataclass(frozen=True)
class Named:
    """A backbone with a technique."""

    backbone: str
    technique: str

    @property
    def name(self) -> str:
        """The two as results and predictions.csv name them, such as "tiny/features"."""
        return f"{self.backbone}/{self.technique}"

    @property
    def words(self) -> str:
        """The backbone and the technique as a sentence says them, such as "tiny with features"."""
        return f"{self.backbone} with {self.technique}"


@dataclass(frozen=True)
class Candidate(Named):
    """A backbone with a technique, and what it came to.

    Attributes:
        validation: What it was chosen by, before its confidence was calibrated: on the validation part, or
            with folds on all photos of train and validation, each by a network not trained on it.
        test: What it was measured on, once, after the decision; None before.
        calibration: What its confidence is worth, from photos that its head was not fitted on.
        seconds: Wall time by stage.
        parameters: Numbers in the network, its head included.
        size_mb: The saved graph, in 10^6 bytes.
        latency_ms: Least of one picture at a time on this machine, all candidates asked in turns; 0 before
            that.
        training: How it came about.
        repeats: Each training with its seed, where `seeds` asked for several and it depends on the seed.
    """

    validation: Evaluation
    test: Measured | None
    calibration: Calibration
    seconds: dict[str, float]
    parameters: int
    size_mb: float
    latency_ms: float
    training: Training
    repeats: tuple[Repeat, ...] = ()


@dataclass(frozen=True)
class Worth:
    """Whether fine-tuning a backbone was worth it, beside a rule of thumb.

    The rule (https://cs231n.github.io/transfer-learning/): train on features where data is small and like
    ImageNet, fine-tune where it is large and unlike it. For the other two cases it has nothing plain to say.

    Attributes:
        backbone: The backbone that was tried with both techniques.
        gain: Accuracy on test of fine-tuning minus that of features, from -1 to 1.
        interval: Where the true gain lies, with confidence.
        decision: "better" where fine-tuning is, at the interval's level; "worse" or "unclear".
        n_images: How many test photos both were measured on.
        seconds: What fine-tuning took on top of features.
        photos_per_class: Training photos over classes; `verdict.LARGE` or more are large.
        headway: How far the probe gets on validation from always saying the commonest class, 0, to no
            mistake, 1: what ImageNet's features are worth here. `verdict.SIMILAR` or more is similar.
        rule: What the rule says, or "nothing".
        measured: What was measured, a sentence.
        rule_of_thumb: What the rule says, and from what, a sentence.
    """

    backbone: str
    gain: float
    interval: Interval
    decision: Decision
    n_images: int
    seconds: float
    photos_per_class: float
    headway: float
    rule: Rule
    measured: str
    rule_of_thumb: str


@dataclass(frozen=True)
class Alternative(Named):
    """Another candidate than the best on validation, and what it would save and may cost.

    Attributes:
        n_images: Photos that both answered and neither was fitted on, on which the two are compared.
        difference: Accuracy of this one minus that of the best there, from -1 to 1.
        at_least: The true difference is above it with the confidence of `Recommendation.level`.
        latency_ratio: What it takes for a photo, over what the best on validation takes.
        size_ratio: What it takes on the disk, over what the best on validation takes.
    """

    n_images: int
    difference: float
    at_least: float
    latency_ratio: float
    size_ratio: float


@dataclass(frozen=True)
class Recommendation(Named):
    """The candidate to use, decided before the test part was read; `decision.decide` makes it.

    Attributes:
        best_on_validation: The name, "backbone/technique", of the best on validation: mostly this one's.
        margin: By so much accuracy a cheaper one may be worse.
        level: The confidence with which it must be shown to be no worse than by that.
        why: A sentence.
        alternatives: The others, the better on validation first.
    """

    best_on_validation: str
    margin: float
    level: float
    why: str
    alternatives: tuple[Alternative, ...]


@dataclass(frozen=True)
class Baseline:
    """What always saying one class would get: the commonest in train.

    Attributes:
        class_name: The class that is the commonest in train.
        validation_accuracy: The part of the photos to choose by that is of this class.
        accuracy: Its part of the test photos; where some of these have copies in train, of the others.
        interval: Where the true accuracy on test lies, with confidence.
        comparison: The recommended candidate, `a`, with this, `b`, on the same photos.
    """

    class_name: str
    validation_accuracy: float
    accuracy: float
    interval: Interval
    comparison: Comparison


@dataclass(frozen=True)
class Shift:
    """The recommended candidate before test and on it.

    Attributes:
        n_held_out: Photos of train and validation that it answered without having been fitted on them.
        held_out_accuracy: The candidate's accuracy on these photos.
        n_test: Test photos; those with a copy in train or validation do not count.
        test_accuracy: The candidate's accuracy on these test photos.
        difference: Test minus held out, from -1 to 1.
        interval: Newcombe's interval of that difference.
        p_value: Fisher's exact test, two-sided.
        is_more_than_chance: Whether that is below `reservations.RARE`.
    """

    n_held_out: int
    held_out_accuracy: float
    n_test: int
    test_accuracy: float
    difference: float
    interval: Interval
    p_value: float
    is_more_than_chance: bool


@dataclass(frozen=True)
class Results:
    """All that a run came to; `results.json` is this.

    Attributes:
        candidates: Best on validation first.
        recommended: The one to use, whose model the run folder holds; decided before test was read.
        decided_at: When the decision was written down, ISO 8601, UTC; only then was test read.
        comparisons: Of each other candidate with the recommended, on test.
        baseline: What always saying the commonest class gets.
        shift: How far test is from what was held out before; None where test has no photo without a copy.
        worth: Whether fine-tuning was, for each backbone that was tried with both techniques.
        learning_curve: Of the features of the recommended backbone, on validation.
        n_suspects: Photos of train and validation whose labels look wrong; suspects.csv lists them.
        suspects_expected: How many of as many right labels would look so.
        verdict: What it all comes to, in sentences.
        n_folds: Validation was by so many folds of train and validation; 0: by the validation part alone.
        data_sha256: Of the photos that were used, their labels and their parts.
        weights_sha256: By backbone, of its pretrained weights.
        picture_size: The sizes of picture that were tried, smallest first; none where there was no choice,
            or where there were too few photos to choose by.
    """

    schema_version: int
    dataset: DatasetSummary
    findings: tuple[FindingSummary, ...]
    candidates: tuple[Candidate, ...]
    recommended: Recommendation
    decided_at: str
    comparisons: tuple[Comparison, ...]
    baseline: Baseline
    shift: Shift | None
    worth: tuple[Worth, ...]
    learning_curve: LearningCurve
    n_suspects: int
    verdict: tuple[str, ...]
    n_folds: int
    settings: dict[str, Any]
    versions: dict[str, str]
    data_sha256: str
    weights_sha256: dict[str, str]
    seed: int
    seconds: float
    forecast: Forecast
    suspects_expected: Expectation | None = None
    picture_size: tuple[SizeTried, ...] = ()

    def candidate(self, backbone: str, technique: str) -> Candidate:
        """Return that candidate; raises KeyError where there is none."""
        return {(one.backbone, one.technique): one for one in self.candidates}[backbone, technique]

    @property
    def chosen(self) -> Candidate:
        """The candidate that `recommended` names."""
        return self.candidate(self.recommended.backbone, self.recommended.technique)


def rank(candidates: tuple[Candidate, ...]) -> tuple[Candidate, ...]:
    """Return the candidates, best on validation first: accuracy, then log loss; test is not looked at.

    Of log losses that are equal to 3 decimals features goes first: fine-tuning that came back to its probe
    differs from it by rounding, and had fewer photos to fit.
    """
    return tuple(
        sorted(
            candidates,
            key=lambda one: (
                -one.validation.accuracy,
                round(one.validation.log_loss, 3),
                TECHNIQUES.index(one.technique),
            ),
        )
    )
