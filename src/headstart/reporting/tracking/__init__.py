"""A run as other tools show it, while it trains and afterwards: TensorBoard and MLflow.

Metrics are called by group and name: `pass/...` is of each pass of fine-tuning, by its number;
`validation/...`, `test/...` and `cost/...` are of a finished candidate.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from headstart.base.errors import MissingPackage
from headstart.base.progress import Progress
from headstart.base.settings import Settings
from headstart.reporting.tracking.mlflow import MLflow
from headstart.reporting.tracking.tensorboard import TensorBoard
from headstart.reporting.tracking.tracker import Tracker, metrics_of, reason
from headstart.results.comparison import Epoch, Results

GOES_ON = "Training goes on; what is missing there is logged at the end."
IS_MISSING = "Not all of this run is there; the run folder has it."


class Trackers:
    """The tools that a run is logged to; with none of them it does nothing.

    Where one fails, that is remarked on once and training goes on. At the end it is told all that it missed.
    """

    def __init__(self, trackers: Sequence[Tracker] = (), progress: Progress | None = None) -> None:
        self._trackers = tuple(trackers)
        self._progress = progress or Progress()
        self._failed: set[Tracker] = set()
        self._logged: set[tuple[Tracker, str, int]] = set()
        self._is_finished = False

    def log(self, candidate: str, fold: str, epoch: Epoch) -> None:
        """Log a pass of a candidate, "backbone/technique"; the fold is as of `finetune.Watch`."""
        for tracker in self._trackers:
            if self._tried(
                tracker, lambda one: one.log(candidate, epoch.number, metrics_of(epoch, fold)), GOES_ON
            ):
                self._logged.add((tracker, f"{candidate} {fold}".strip(), epoch.number))

    def finish(self, results: Results, files: Sequence[Path] = ()) -> None:
        """Log the results, and every pass that is not logged yet, with the files that tell of the run."""
        for tracker in self._trackers:
            self._failed.discard(tracker)
            self._tried(tracker, lambda one: self._complete(one, results, files), IS_MISSING)
        self._is_finished = True

    def _complete(self, tracker: Tracker, results: Results, files: Sequence[Path]) -> None:
        for one in results.candidates:
            for epoch in one.training.history:
                if (tracker, one.name, epoch.number) not in self._logged:
                    tracker.log(one.name, epoch.number, metrics_of(epoch))
        tracker.finish(results, files)

    def close(self) -> None:
        """End the run everywhere: as finished where `finish` was called, else as failed."""
        for tracker in self._trackers:
            self._tried(tracker, lambda one: one.close(self._is_finished), IS_MISSING)

    def _tried(self, tracker: Tracker, act: Callable[[Tracker], None], consequence: str) -> bool:
        """Return whether that went well; else remark on it, if that was not done before."""
        try:
            act(tracker)
        except Exception as error:  # whatever is the matter with a tool, the training is worth more
            if tracker not in self._failed:
                self._progress.remark(f"{tracker.name}: {reason(error)}. {consequence}")
            self._failed.add(tracker)
            return False
        return True


@contextmanager
def opened(
    settings: Settings,
    progress: Progress | None = None,
    *,
    tensorboard: Path | None = None,
    mlflow: str | None = None,
) -> Iterator[Trackers]:
    """Start the tools that are named; when the block ends, end the run in them.

    Args:
        settings: Of the run, resolved: `out` names its folder.
        progress: Told where a tool fails later.
        tensorboard: Folder that `tensorboard --logdir` is given.
        mlflow: Address of an MLflow server, or of a store, such as "sqlite:///mlflow.db".

    Raises:
        MissingPackage: The tool is not installed.
        SettingsError: It cannot be written to.
    """
    named: list[Tracker] = []
    if tensorboard is not None:
        named.append(TensorBoard(tensorboard))
    if mlflow is not None:
        named.append(MLflow(mlflow))
    trackers = Trackers(named, progress)
    try:
        for tracker in named:
            _start(tracker, settings)
        yield trackers
    finally:
        trackers.close()


def _start(tracker: Tracker, settings: Settings) -> None:
    try:
        tracker.start(settings)
    except MissingPackage:
        raise
    except Exception as error:  # each tool and each store fails in ways of its own
        raise tracker.unusable(error) from error
