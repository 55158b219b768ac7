"""What is tried in the time there is: a forecast before photos are read, and what is left out for it."""

import dataclasses
import time
from collections.abc import Iterator, Sequence

from headstart.base.progress import Progress
from headstart.base.settings import Settings
from headstart.base.words import in_words
from headstart.networks.table import SIDE_BY_SIDE, Backbone
from headstart.results.cost import Forecast
from headstart.training import recipe
from headstart.workflow import forecast
from headstart.workflow.techniques.trial import Prospect, Trial

REVISED = 1.2
"""Where the forecast that is made when all photos are read is so many times the first, or less than the first
by that, it is said."""


class Plan:
    """The trials that there is time for.

    With a budget, fewer backbones are tried: the costliest are left out until feature extraction fits;
    then those with the best probes are fine-tuned, as many as fit; then, of a single one, fewer passes.

    Args:
        prospects: All that was asked for, opened.
        reading_s: Seconds to read and check the photos, about.
        settings: What was asked for.
        start: When the run started, by `time.perf_counter`.
        progress: Told the forecast, and what is left out.

    Attributes:
        prospects: Those that there is time for.
        trials: The same, when the photos are read.
        forecast: What they will cost, fine-tuning of all of them included.
    """

    def __init__(
        self,
        prospects: Sequence[Prospect],
        reading_s: float,
        settings: Settings,
        start: float,
        progress: Progress,
    ) -> None:
        self.prospects, self.trials = list(prospects), list[Trial]()
        self._settings, self._start, self._progress = settings, start, progress
        self._left_out: list[str] = []
        self._has_finetune = "finetune" in settings.techniques
        self._drop_costly(reading_s)
        self.forecast = self._forecast(self.prospects, {"reading": reading_s})
        is_known = all(one.is_known for one in prospects)
        progress.remark(self._in_words("" if is_known else ", without fine-tuning, which is measured then"))
        if is_known:
            self.forecast = dataclasses.replace(self.forecast, first_seconds=self.forecast.seconds)

    def go_on(self, trials: Sequence[Trial]) -> None:
        """Take the trials of all that there is time for, when the photos are read; forecast anew."""
        self.trials = list(trials)
        for trial in trials:
            trial.costs()
        first, again = self.forecast.first_seconds, self._forecast(trials, {})
        self.forecast = dataclasses.replace(again, first_seconds=first)
        if first is None or not 1 / REVISED <= again.seconds / first <= REVISED:
            self._progress.remark(self._in_words())

    @property
    def _budget(self) -> float | None:
        return self._settings.budget_seconds

    def _spent(self) -> float:
        return time.perf_counter() - self._start

    def _drop_costly(self, reading_s: float) -> None:
        def seconds(one: Prospect) -> float:
            return forecast.total(one.features_stages())

        while self._budget and len(self.prospects) > 1:
            if self._spent() + reading_s + sum(map(seconds, self.prospects)) <= self._budget:
                break
            costliest = max(self.prospects, key=seconds)
            self.prospects.remove(costliest)
            self._leave_out(f"{costliest.row.name}, which takes {in_words(seconds(costliest))}")

    def _leave_out(self, what: str) -> None:
        self._left_out.append(what)
        self._progress.remark(f"Left out for lack of time: {what}.")

    def finetuning(self, rows: Sequence[Backbone]) -> Iterator[tuple[Trial, int]]:
        """Yield what to fine-tune and for how many passes, by the time that is left when it is asked for.

        Without features among the techniques, one is fine-tuned however long it takes.

        Args:
            rows: What was asked for; those side by side are not fine-tuned as one.
        """
        alone = [one for one in self.trials if one.row in rows and not one.row.parts]
        if not self._has_finetune or not alone:
            return
        epochs = self._epochs(alone)
        if self._budget is None:
            yield from ((trial, epochs) for trial in alone)
            return
        best_first = sorted(alone, key=lambda trial: trial.heads.scores.log_loss)
        for number, trial in enumerate(best_first):
            fitting = [n for n in range(epochs, 0, -1) if self._fits(trial, n)]
            is_needed = number == 0 and "features" not in self._settings.techniques
            if fitting[:1] == [epochs] or (number == 0 and fitting):
                n_epochs = fitting[0]
            elif is_needed:
                n_epochs = 1
            else:
                self._leave_out(f"fine-tuning of {trial.row.name}")
                continue
            if n_epochs < epochs:
                self._leave_out(f"{epochs - n_epochs} of {epochs} passes of fine-tuning {trial.row.name}")
            yield trial, n_epochs

    def _epochs(self, trials: Sequence[Prospect | Trial]) -> int:
        """Return how many passes fine-tuning takes where there is time: all backbones see the same photos."""
        asked = self._settings.epochs
        n_train = trials[0].work(1).n_viewed
        return recipe.epochs_for(n_train, self._settings.batch_size) if isinstance(asked, str) else asked

    def _fits(self, trial: Trial, epochs: int) -> bool:
        assert self._budget is not None
        tests = sum(one.features_stages()["test"] for one in self.trials)
        return self._spent() + forecast.total(trial.finetune_stages(epochs)) + tests <= self._budget

    def _forecast(self, trials: Sequence[Prospect | Trial], reading: dict[str, float]) -> Forecast:
        epochs = self._epochs(trials)
        stages = {"so far": self._spent(), **reading}
        for trial in trials:
            parts = trial.features_stages() | (trial.finetune_stages(epochs) if self._has_finetune else {})
            stages |= {f"{trial.row.name} {stage}": seconds for stage, seconds in parts.items()}
        if self._has_pairs:
            stages["pairs"] = forecast.pairs_s([one.work(epochs) for one in trials])
        has_finetune, first = self._has_finetune, trials[0]
        stages |= forecast.judging_stages(first.costs(), first.work(epochs), has_report=self._settings.report)
        return Forecast(
            stages=stages,
            seconds=forecast.total(stages),
            disk_mb=sum(
                forecast.disk_mb(one.costs(), one.work(epochs), has_finetune=has_finetune) for one in trials
            ),
            memory_mb=forecast.memory_mb([one.work(epochs) for one in trials], has_finetune=has_finetune),
            budget_seconds=self._budget,
        )

    @property
    def _has_pairs(self) -> bool:
        is_asked = self._settings.pair or any(SIDE_BY_SIDE in name for name in self._settings.backbones)
        return is_asked and "features" in self._settings.techniques

    def _in_words(self, without: str = "") -> str:
        said = self.forecast
        limit = f", to be fitted into {in_words(self._budget)}" if self._budget else ""
        return (
            f"Forecast: {in_words(said.seconds)} in all{without}{limit}; "
            f"{said.disk_mb:,.0f} MB of disk, {said.memory_mb / 1000:.1f} GB of memory."
        )

    def with_actual(self) -> Forecast:
        """Return the forecast beside what it has come to by now, and what was left out."""
        return dataclasses.replace(
            self.forecast,
            actual_seconds=self._spent(),
            actual_memory_mb=forecast.peak_memory_mb(),
            left_out=tuple(self._left_out),
        )
