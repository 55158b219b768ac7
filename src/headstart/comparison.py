"""Evaluations of candidates -> a comparison, its winner, and the leaderboard in words."""

from dataclasses import dataclass
from typing import Any, Literal

from headstart.augmentation import Effect
from headstart.calibration import Calibration, Reliability, Selection, SetQuality
from headstart.finetune import Epoch
from headstart.forecast import Forecast
from headstart.learning_curve import LearningCurve
from headstart.metrics import Evaluation
from headstart.settings import TECHNIQUES
from headstart.significance import Comparison, Decision, Interval, Intervals
from headstart.suspects import Expectation

Rule = Literal["features", "finetune", "nothing"]

SCHEMA_VERSION = 3


@dataclass(frozen=True)
class DatasetSummary:
    """How many photos there are, and in which part."""

    n_images: int
    class_names: tuple[str, ...]
    n_train: int
    n_validation: int
    n_test: int
    n_quarantined: int
    n_ignored: int


@dataclass(frozen=True)
class FindingSummary:
    """A finding of the audit: what is the matter, what to do about it, and with which photos."""

    kind: str
    detail: str
    advice: str
    paths: tuple[str, ...]


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
        best_epoch: The pass that its weights come from; 0 is the probe.
        mix: Its weights are so much of the way from the probe's to those of that pass.
    """

    image_size_px: int
    l2: float
    trained_layers: int = 0
    operations: tuple[str, ...] = ()
    effects: tuple[Effect, ...] = ()
    history: tuple[Epoch, ...] = ()
    best_epoch: int = 0
    mix: float = 0.0


@dataclass(frozen=True)
class Measured(Evaluation):
    """An evaluation on the test part, and how far it may be off by chance.

    Attributes:
        accuracy_interval: Wilson's, or by groups of photos where there are any.
        macro_f1_interval: By bootstrap.
        log_loss_interval: By bootstrap.
        recall_intervals: In the order of the class names, as those of accuracy; None without a photo.
        reliability: How often it is right, by its confidence.
        selection: What the confidence below which it abstains let through; None without one.
        risk_curve: What other confidences would let through, from few photos to all.
        sets: How often the label was in its set of classes, and how large the sets were.
        without_leaks: Accuracy on the photos that have no copy in train or validation; None where all have
            none.
    """

    accuracy_interval: Interval
    macro_f1_interval: Interval
    log_loss_interval: Interval
    recall_intervals: tuple[Interval | None, ...]
    reliability: Reliability
    selection: Selection | None
    risk_curve: tuple[Selection, ...]
    sets: SetQuality
    without_leaks: float | None


def measured(
    scores: Evaluation,
    intervals: Intervals,
    *,
    reliability: Reliability,
    selection: Selection | None,
    risk_curve: tuple[Selection, ...],
    sets: SetQuality,
    without_leaks: float | None,
) -> Measured:
    """Return an evaluation with what goes around it."""
    return Measured(
        **{name: getattr(scores, name) for name in Evaluation.__dataclass_fields__},
        accuracy_interval=intervals.accuracy,
        macro_f1_interval=intervals.macro_f1,
        log_loss_interval=intervals.log_loss,
        recall_intervals=intervals.recalls,
        reliability=reliability,
        selection=selection,
        risk_curve=risk_curve,
        sets=sets,
        without_leaks=without_leaks,
    )


@dataclass(frozen=True)
class Repeat:
    """The same training once more, from another seed: accuracies; None before test was read."""

    seed: int
    validation_accuracy: float
    test_accuracy: float | None


@dataclass(frozen=True)
class Candidate:
    """A backbone with a technique, and what it came to.

    Attributes:
        validation: What it was chosen by, before its confidence was calibrated: on the validation part, or
            with folds on all photos of train and validation, each by a network not trained on it.
        test: What it was measured on, once, after the winner was fixed; None before.
        calibration: What its confidence is worth, from photos that its head was not fitted on.
        seconds: Wall time by stage.
        parameters: Numbers in the network, its head included.
        size_mb: The saved graph, in 10^6 bytes.
        latency_ms: Median of one picture at a time on this machine.
        training: How it came about.
        repeats: Each training with its seed, where `seeds` asked for several and it depends on the seed.
    """

    backbone: str
    technique: str
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
        backbone: Its name.
        gain: Accuracy on test of fine-tuning minus that of features, from -1 to 1.
        interval: Of the gain.
        decision: "better" where fine-tuning is, at the interval's level; "worse" or "tie".
        n_images: Test photos.
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
class Winner:
    """The candidate to use."""

    backbone: str
    technique: str


@dataclass(frozen=True)
class Results:
    """All that a run came to; `results.json` is this.

    Attributes:
        comparisons: Of each other candidate with the winner, on test.
        worth: Whether fine-tuning was, for each backbone that was tried with both techniques.
        learning_curve: Of the features of the winner's backbone, on validation.
        n_suspects: Photos of train and validation whose labels look wrong; suspects.csv lists them.
        suspects_expected: How many of as many right labels would look so.
        verdict: What it all comes to, in sentences.
        winner_fixed_at: When the winner was written down, ISO 8601, UTC; only then was test read.
        n_folds: Validation was by so many folds of train and validation; 0: by the validation part alone.
        data_sha256: Of the photos that were used, their labels and their parts.
        weights_sha256: By backbone, of its pretrained weights.
    """

    schema_version: int
    dataset: DatasetSummary
    findings: tuple[FindingSummary, ...]
    candidates: tuple[Candidate, ...]
    winner: Winner
    winner_fixed_at: str
    comparisons: tuple[Comparison, ...]
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

    def candidate(self, backbone: str, technique: str) -> Candidate:
        """Return that candidate; raises KeyError where there is none."""
        return {(one.backbone, one.technique): one for one in self.candidates}[backbone, technique]

    @property
    def best(self) -> Candidate:
        """The winner's row."""
        return self.candidate(self.winner.backbone, self.winner.technique)


def rank(candidates: tuple[Candidate, ...]) -> tuple[Candidate, ...]:
    """Return the candidates, best on validation first: accuracy, then log loss; test is not looked at.

    Log losses that are equal to 3 decimals are a tie, and of tied candidates features goes first:
    fine-tuning that came back to its probe differs from it by rounding, and had fewer photos to fit.
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
