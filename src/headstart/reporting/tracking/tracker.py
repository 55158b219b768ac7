"""A tool that a run is logged to, and what any of them is told: metrics, parameters, settings and verdict."""

import dataclasses
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path

from headstart.base.settings import Settings
from headstart.reporting.card import escape
from headstart.results.comparison import Candidate, Epoch, Results
from headstart.results.run import config

Params = dict[str, str | int | float]

SCORES = ("accuracy", "balanced_accuracy", "macro_f1", "log_loss")
"""What is logged of an evaluation."""


class Tracker(ABC):
    """A tool that a run is logged to. Its methods may raise whatever the tool raises.

    Attributes:
        name: What the user knows it by, and where it writes.
    """

    name: str

    @abstractmethod
    def start(self, settings: Settings) -> None:
        """Begin a run of its own, with these settings."""

    @abstractmethod
    def log(self, candidate: str, step: int, metrics: Mapping[str, float]) -> None:
        """Log metrics of a candidate, "backbone/technique"."""

    @abstractmethod
    def finish(self, results: Results, files: Sequence[Path]) -> None:
        """Log what each candidate came to, and the files that tell of the run."""

    @abstractmethod
    def close(self, is_finished: bool) -> None:
        """End the run, finished or not."""

    @abstractmethod
    def unusable(self, error: Exception) -> Exception:
        """Return why it cannot be started, as an error that the user can mend."""


def metrics_of(epoch: Epoch, fold: str = "") -> dict[str, float]:
    """Return a pass as metrics.

    Example:
        >>> metrics_of(Epoch(0, None, 0.5, 0.75))
        {'pass/validation_loss': 0.5, 'pass/validation_accuracy': 0.75}
        >>> list(metrics_of(Epoch(0, None, 0.5, 0.75), "fold 1/5"))
        ['fold 1 of 5/validation_loss', 'fold 1 of 5/validation_accuracy']
    """
    group = fold.replace("/", " of ") or "pass"
    values = dataclasses.asdict(epoch)
    del values["number"]
    return {f"{group}/{name}": value for name, value in values.items() if value is not None}


def outcome(one: Candidate) -> dict[str, float]:
    """Return what a candidate came to, as metrics."""
    parts = {"validation": one.validation, "test": one.test}
    scores = {
        f"{part}/{name}": float(getattr(found, name))
        for part, found in parts.items()
        if found is not None
        for name in SCORES
    }
    return scores | {
        "cost/latency_ms": one.latency_ms,
        "cost/size_mb": one.size_mb,
        "cost/parameters": float(one.parameters),
        "cost/seconds": sum(one.seconds.values()),
    }


def params_of(one: Candidate, seed: int) -> Params:
    """Return how a candidate came about, as parameters to compare candidates by."""
    training = one.training
    return {
        "backbone": one.backbone,
        "technique": one.technique,
        "image_size_px": training.image_size_px,
        "l2": training.l2,
        "trained_layers": training.trained_layers,
        "operations": ",".join(training.operations),
        "best_epoch": training.best_epoch,
        "is_mean": training.is_mean,
        "seed": seed,
    }


def reason(error: BaseException) -> str:
    """Return why something failed: the operating system's word where there is one, else the first sentence.

    Example:
        >>> reason(ValueError("No such thing. Look elsewhere."))
        'No such thing'
    """
    chain = [error]
    while deeper := chain[-1].__cause__ or chain[-1].__context__:
        chain.append(deeper)
    said = [one.strerror for one in chain if isinstance(one, OSError) and one.strerror]
    text = said[-1] if said else " ".join(str(error).split()) or type(error).__name__
    return without_password(text).partition(". ")[0].rstrip(".")


def without_password(uri: str) -> str:
    """Return a text with what stands before the @ of addresses left out.

    Example:
        >>> without_password("postgresql://ann:secret@host/runs")
        'postgresql://…@host/runs'
    """
    return re.sub(r"://[^/@\s]*@", "://…@", uri)


def verdict(results: Results) -> str:
    """Return the verdict as Markdown."""
    return "\n".join(f"- {escape(sentence)}" for sentence in results.verdict)


def title(settings: Settings) -> str:
    """Return what a run is called: the name of its folder."""
    return Path(str(settings.out)).name


def said(settings: Settings) -> dict[str, str]:
    """Return the settings in words."""
    return {
        name: ",".join(value) if isinstance(value, list) else str(value)
        for name, value in config(settings).items()
    }
