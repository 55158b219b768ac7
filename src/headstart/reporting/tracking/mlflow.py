"""A run as an MLflow server or store has it."""

import os
import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from headstart.base.errors import MissingPackage, SettingsError
from headstart.base.settings import Settings
from headstart.reporting.card import data_name
from headstart.reporting.tracking.tracker import (
    Tracker,
    outcome,
    params_of,
    reason,
    said,
    title,
    verdict,
    without_password,
)
from headstart.results.comparison import Results

if TYPE_CHECKING:
    from mlflow import MlflowClient

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

ELSEWHERE = (
    "or name another with --mlflow: a server (http://HOST:5000) or a database (sqlite:///mlflow.db); "
    "or leave --mlflow out."
)


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
        self._run = self._client.create_run(self._experiment, run_name=title(settings)).info.run_id
        self._batch(self._run, params=said(settings))

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
            "mlflow.note.content": verdict(results),
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
