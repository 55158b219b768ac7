"""Evaluations of candidates -> a comparison, its winner, and the leaderboard in words."""

from dataclasses import dataclass
from typing import Any

from headstart.augmentation import Effect
from headstart.finetune import Epoch
from headstart.forecast import Forecast
from headstart.metrics import Evaluation
from headstart.settings import TECHNIQUES

SCHEMA_VERSION = 1


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
class Candidate:
    """A backbone with a technique, and what it came to.

    Attributes:
        validation: What it was chosen by.
        test: What it was measured on, once, after the winner was fixed; None before.
        seconds: Wall time by stage.
        parameters: Numbers in the network, its head included.
        size_mb: The saved graph, in 10^6 bytes.
        latency_ms: Median of one picture at a time on this machine.
        training: How it came about.
    """

    backbone: str
    technique: str
    validation: Evaluation
    test: Evaluation | None
    seconds: dict[str, float]
    parameters: int
    size_mb: float
    latency_ms: float
    training: Training


@dataclass(frozen=True)
class Winner:
    """The candidate to use."""

    backbone: str
    technique: str


@dataclass(frozen=True)
class Results:
    """All that a run came to; `results.json` is this."""

    schema_version: int
    dataset: DatasetSummary
    findings: tuple[FindingSummary, ...]
    candidates: tuple[Candidate, ...]
    winner: Winner
    settings: dict[str, Any]
    versions: dict[str, str]
    seed: int
    seconds: float
    forecast: Forecast

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
