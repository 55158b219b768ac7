"""A run as other tools show it, while it trains and afterwards: TensorBoard and MLflow.

Metrics are called by group and name: `pass/...` is of each pass of fine-tuning, by its number;
`validation/...`, `test/...` and `cost/...` are of a finished candidate.
"""

import dataclasses
import os
import re
import socket
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headstart.base.errors import MissingPackage, SettingsError
from headstart.base.progress import Progress
from headstart.base.settings import Settings
from headstart.reporting.card import data_name, escape
from headstart.results.comparison import Candidate, Epoch, Results
from headstart.results.run import config

if TYPE_CHECKING:
    from mlflow import MlflowClient

Params = dict[str, str | int | float]

QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
}
"""What MLflow is told where the user has not: to talk to its server alone, to print nothing, and not to keep
training waiting for a server that does not answer. Else that takes minutes: 7 retries of up to 120 s each."""

DATABASES = ("sqlite", "postgresql", "mysql", "mssql")
"""Stores that MLflow's client needs more packages for than it brings."""

SCORES = ("accuracy", "balanced_accuracy", "macro_f1", "log_loss")
"""What is logged of an evaluation."""

GOES_ON = "Training goes on; what is missing there is logged at the end."
ELSEWHERE = (
    "or name another with --mlflow: a server (http://HOST:5000) or a database (sqlite:///mlflow.db); "
    "or leave --mlflow out."
)
IS_MISSING = "Not all of this run is there; the run folder has it."


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
        "mix": training.mix,
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


def _verdict(results: Results) -> str:
    """Return the verdict as Markdown."""
    return "\n".join(f"- {escape(sentence)}" for sentence in results.verdict)


# TensorBoard


class EventFile:
    """A file of events in a folder, as TensorBoard reads them; each is there as soon as it is written.

    TensorBoard's own `EventFileWriter` imports TensorFlow where that is installed: seconds, and before
    Headstart has set it up.
    """

    def __init__(self, folder: Path) -> None:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.summary.writer.record_writer import RecordWriter

        folder.mkdir(parents=True, exist_ok=True)
        name = f"events.out.tfevents.{time.time():.6f}.{socket.gethostname()}.{os.getpid()}"
        self._records = RecordWriter((folder / name).open("xb"))
        self._event = Event
        self._write(Event(wall_time=time.time(), file_version="brain.Event:2"))

    def add(self, summary: Any, step: int = 0) -> None:
        """Write a summary."""
        self._write(self._event(wall_time=time.time(), step=step, summary=summary))

    def _write(self, event: Any) -> None:
        self._records.write(event.SerializeToString())
        self._records.flush()

    def close(self) -> None:
        """Close the file."""
        self._records.close()


class TensorBoard(Tracker):
    """Writes a folder of its own for each run, below which each candidate has one."""

    def __init__(self, folder: Path) -> None:
        self.name = f"TensorBoard in {folder}"
        self._folder = folder
        self._files: dict[Path, EventFile] = {}

    def start(self, settings: Settings) -> None:
        """Make the folder, and show the settings in it."""
        try:
            from tensorboard.plugins.text.summary_v2 import text_pb
        except ImportError as error:
            raise MissingPackage(
                f"TensorBoard, which --tensorboard writes for, cannot be imported: {error}.",
                "Run `pip install tensorboard`, or leave --tensorboard out.",
            ) from error
        self._root = self._folder.expanduser() / f"{_title(settings)}_{time.strftime('%Y-%m-%d_%H-%M-%S')}"
        rows = [f"| {name} | {escape(value)} |" for name, value in _said(settings).items()]
        self._file(self._root).add(text_pb("settings", "\n".join(("| | |", "|---|---|", *rows))))

    def _file(self, folder: Path) -> EventFile:
        if folder not in self._files:
            self._files[folder] = EventFile(folder)
        return self._files[folder]

    def log(self, candidate: str, step: int, metrics: Mapping[str, float]) -> None:
        """Write each metric as a scalar of the candidate."""
        from tensorboard.plugins.scalar.summary_v2 import scalar_pb

        for name, value in metrics.items():
            self._file(self._root / candidate).add(scalar_pb(name, value), step)

    def finish(self, results: Results, files: Sequence[Path]) -> None:
        """Write what the candidates came to, for the tab HParams too, and the texts among the files."""
        from tensorboard.plugins.hparams.summary_v2 import hparams_pb
        from tensorboard.plugins.text.summary_v2 import text_pb

        for one in results.candidates:
            file = self._file(self._root / one.name)
            file.add(hparams_pb(params_of(one, results.seed), trial_id=f"{self._root.name} {one.name}"))
            self.log(one.name, 0, outcome(one))
            file.add(_session_end())
        self._file(self._root).add(text_pb("verdict", _verdict(results)))
        for path in files:
            if path.suffix == ".md":
                self._file(self._root).add(text_pb(path.name, _body(path.read_text(encoding="utf-8"))))

    def close(self, is_finished: bool) -> None:
        """Close the files."""
        for file in self._files.values():
            file.close()

    def unusable(self, error: Exception) -> Exception:
        """See `Tracker`."""
        return SettingsError(
            f"{self.name} cannot be written: {reason(error)}.", "Name another folder: --tensorboard FOLDER."
        )


def _session_end() -> Any:
    """Return the summary that says that a candidate is done; TensorBoard's own function needs TensorFlow."""
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.plugins.hparams import api_pb2, metadata, plugin_data_pb2

    end = plugin_data_pb2.SessionEndInfo(status=api_pb2.STATUS_SUCCESS, end_time_secs=time.time())
    data = plugin_data_pb2.HParamsPluginData(session_end_info=end)
    value = Summary.Value(
        tag=metadata.SESSION_END_INFO_TAG,
        metadata=metadata.create_summary_metadata(data),
        tensor=metadata.NULL_TENSOR,
    )
    return Summary(value=[value])


def _body(markdown: str) -> str:
    """Return a Markdown file without the YAML at its head."""
    return markdown.split("\n---\n", 1)[-1] if markdown.startswith("---\n") else markdown


# MLflow


class MLflow(Tracker):
    """Writes a run into the experiment that is named after the photos, with a nested run for each candidate.

    Args:
        uri: Address of a server, or of a store.
    """

    def __init__(self, uri: str) -> None:
        self.name = f"MLflow at {without_password(uri)}"
        self._uri = uri
        self._nested: dict[str, str] = {}
        self._run = ""

    def start(self, settings: Settings) -> None:
        """Connect, and begin the run with the settings as its parameters."""
        self._client = _client(self._uri)
        name = data_name(settings.data)
        known = self._client.get_experiment_by_name(name)
        self._experiment = known.experiment_id if known else self._client.create_experiment(name)
        self._run = self._client.create_run(self._experiment, run_name=_title(settings)).info.run_id
        self._batch(self._run, params=_said(settings))

    def _batch(
        self,
        run: str,
        metrics: Mapping[str, float] | None = None,
        step: int = 0,
        params: Mapping[str, object] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        from mlflow.entities import Metric, Param, RunTag

        now_ms = int(time.time() * 1000)
        self._client.log_batch(
            run,
            [Metric(name, value, now_ms, step) for name, value in (metrics or {}).items()],
            [Param(name, str(value)) for name, value in (params or {}).items()],
            [RunTag(name, value) for name, value in (tags or {}).items()],
        )

    def _of(self, candidate: str) -> str:
        """Return the nested run of a candidate."""
        if candidate not in self._nested:
            tags = {"mlflow.parentRunId": self._run}
            created = self._client.create_run(self._experiment, tags=tags, run_name=candidate)
            self._nested[candidate] = created.info.run_id
        return self._nested[candidate]

    def log(self, candidate: str, step: int, metrics: Mapping[str, float]) -> None:
        """Log metrics to the candidate's run."""
        self._batch(self._of(candidate), metrics, step)

    def finish(self, results: Results, files: Sequence[Path]) -> None:
        """Log what the candidates came to; to the run itself the one to use, the verdict and the files."""
        for one in results.candidates:
            self._batch(self._of(one.name), outcome(one), params=params_of(one, results.seed))
        tags = {
            "recommended": results.recommended.name,
            "headstart.version": results.versions["headstart"],
            "data_sha256": results.data_sha256,
            "mlflow.note.content": _verdict(results),
        }
        self._batch(self._run, outcome(results.chosen), tags=tags)
        for path in files:
            self._client.log_artifact(self._run, str(path))

    def close(self, is_finished: bool) -> None:
        """End all runs that were begun."""
        for run in filter(None, (*self._nested.values(), self._run)):
            self._client.set_terminated(run, "FINISHED" if is_finished else "FAILED")

    def unusable(self, error: Exception) -> Exception:
        """See `Tracker`."""
        if isinstance(error, ModuleNotFoundError):
            return MissingPackage(
                f"{self.name} needs the package {error.name}, which is not installed.",
                f"Install it, {ELSEWHERE}",
            )
        return SettingsError(f"{self.name} cannot be used: {reason(error)}.", f"Start it, {ELSEWHERE}")


def _client(uri: str) -> "MlflowClient":
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    try:
        from mlflow import MlflowClient

        if re.split(r"[+:]", uri)[0] in DATABASES:
            import alembic  # noqa: F401
            import sqlalchemy  # noqa: F401
    except ImportError as error:
        raise MissingPackage(
            f"MLflow, which --mlflow writes to, cannot be imported: {error}.",
            "Run `pip install mlflow-skinny`, and for a database `pip install sqlalchemy alembic` too; "
            "or leave --mlflow out.",
        ) from error
    return MlflowClient(tracking_uri=uri)


def _title(settings: Settings) -> str:
    return Path(str(settings.out)).name


def _said(settings: Settings) -> dict[str, str]:
    """Return the settings in words."""
    return {
        name: ",".join(value) if isinstance(value, list) else str(value)
        for name, value in config(settings).items()
    }
