"""What is logged is read back from the real TensorBoard and MLflow; a tool that fails costs no training.

MLflow's own server needs packages that its client does not bring, so over HTTP the client talks to a small
server here that answers in its protocol and keeps what it is sent.
"""

import contextlib
import io
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from conftest import PATIENCE_S, Finished

from headstart.base.errors import MissingPackage, SettingsError
from headstart.base.progress import Progress
from headstart.base.settings import Settings
from headstart.reporting import card
from headstart.reporting.tracking import opened, tracker
from headstart.results.comparison import Epoch, Results
from headstart.results.run import Run

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run as MlflowRun

TUNED = "tiny/finetune"
PASSES = [Epoch(0, None, 0.5, 0.75), Epoch(1, 0.4, 0.3, 0.875)]
GO_ON = "Training goes on; what is missing there is logged at the end."
INSTEAD = (
    "or name another with --mlflow: a server (http://HOST:5000) or a database (sqlite:///mlflow.db); "
    "or leave --mlflow out."
)


class Remarks(Progress):
    """Keeps what is remarked on."""

    def __init__(self) -> None:
        self.made: list[str] = []

    def remark(self, text: str) -> None:
        self.made.append(text)


@pytest.fixture(scope="module")
def settings(finished: Finished) -> Settings:
    return Settings(data=str(finished.photos), backbones=("tiny",), seed=3, out=str(finished.folder))


@pytest.fixture(scope="module")
def results(finished: Finished) -> Results:
    return Run(finished.folder).results()


def history(results: Results) -> tuple[Epoch, ...]:
    return results.candidate("tiny", "finetune").training.history


def refused(settings: Settings, **tools: Any) -> str:
    with pytest.raises((MissingPackage, SettingsError)) as caught, opened(settings, **tools):
        pass
    return str(caught.value)


# Without a tool, and what is logged


def test_without_a_tool_nothing_happens(settings: Settings, results: Results) -> None:
    with opened(settings) as trackers:
        trackers.log(TUNED, "", PASSES[0])
        trackers.finish(results)


def test_what_a_candidate_came_to(results: Results) -> None:
    best = results.chosen
    assert best.test is not None
    assert tracker.outcome(best) == {
        "validation/accuracy": best.validation.accuracy,
        "validation/balanced_accuracy": best.validation.balanced_accuracy,
        "validation/macro_f1": best.validation.macro_f1,
        "validation/log_loss": best.validation.log_loss,
        "test/accuracy": best.test.accuracy,
        "test/balanced_accuracy": best.test.balanced_accuracy,
        "test/macro_f1": best.test.macro_f1,
        "test/log_loss": best.test.log_loss,
        "cost/latency_ms": best.latency_ms,
        "cost/size_mb": best.size_mb,
        "cost/parameters": best.parameters,
        "cost/seconds": sum(best.seconds.values()),
    }


def test_tools_are_imported_late_and_tensorflow_is_not(tmp_path: Path) -> None:
    program = """
import sys
from pathlib import Path
from headstart.results.comparison import Epoch
from headstart.base.settings import Settings
from headstart.reporting.tracking import opened
assert not {"mlflow", "tensorboard"} & set(sys.modules)
with opened(Settings(data="photos", out="run"), tensorboard=Path("logs")) as trackers:
    trackers.log("tiny/finetune", "", Epoch(0, None, 0.5, 0.75))
print("tensorboard" in sys.modules, "tensorflow" in sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr) == ("True False\n", "")


# TensorBoard


def single(value: float | None) -> float:
    """A value as TensorBoard keeps it: float32."""
    assert value is not None
    return float(np.float32(value))


@dataclass(frozen=True)
class Board:
    """What TensorBoard finds in a folder: by candidate and tag, steps and values; texts by tag; sessions."""

    scalars: dict[str, dict[str, list[tuple[int, float]]]]
    texts: dict[str, str]
    sessions: list[dict[str, Any]]


def read_board(folder: Path) -> Board:
    from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
    from tensorboard.util.tensor_util import make_ndarray

    multiplexer = EventMultiplexer().AddRunsFromDirectory(str(folder)).Reload()
    scalars: dict[str, dict[str, list[tuple[int, float]]]] = {}
    texts = {}
    for name in multiplexer.Runs():
        title, _, candidate = name.partition("/")
        assert title.startswith("photos_20")
        found = multiplexer.GetAccumulator(name)
        if "scalars" in found.ActivePlugins():
            scalars[candidate] = {
                tag: [(one.step, make_ndarray(one.tensor_proto).item()) for one in found.Tensors(tag)]
                for tag in found.PluginTagToContent("scalars")
            }
        if "text" in found.ActivePlugins():
            for tag in found.PluginTagToContent("text"):
                texts[tag] = make_ndarray(found.Tensors(tag)[0].tensor_proto).item().decode()
    return Board(scalars, texts, sessions(multiplexer, folder))


def sessions(multiplexer: Any, folder: Path) -> list[dict[str, Any]]:
    """What the tab HParams shows of the candidates that are done."""
    from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
    from tensorboard.context import RequestContext
    from tensorboard.plugins.base_plugin import TBContext
    from tensorboard.plugins.hparams import api_pb2, backend_context, list_session_groups

    provider = MultiplexerDataProvider(multiplexer, str(folder))
    context = backend_context.Context(TBContext(data_provider=provider))
    request = api_pb2.ListSessionGroupsRequest(
        start_index=0, slice_size=10, allowed_statuses=[api_pb2.STATUS_SUCCESS]
    )
    answer = list_session_groups.Handler(RequestContext(), context, "", request).run()
    return [
        {name: getattr(value, value.WhichOneof("kind")) for name, value in group.hparams.items()}
        | {one.name.tag: one.value for one in group.metric_values}
        for group in answer.session_groups
    ]


@pytest.fixture(scope="module")
def board(
    finished: Finished, settings: Settings, results: Results, tmp_path_factory: pytest.TempPathFactory
) -> Board:
    """A run that was watched from its first pass on, as TensorBoard reads it without TensorFlow."""
    folder = tmp_path_factory.mktemp("board")
    readme = folder / "README.md"
    readme.write_text(card.render(finished.folder), encoding="utf-8")
    with opened(settings, tensorboard=folder / "logs") as trackers:
        for epoch in history(results)[:2]:
            trackers.log(TUNED, "", epoch)
            trackers.log(TUNED, "fold 1/5", epoch)
        trackers.finish(results, [readme, finished.folder / "results.json"])
    with pytest.MonkeyPatch.context() as patch:
        # TensorBoard asks for this module before it imports TensorFlow to read files.
        patch.setitem(sys.modules, "tensorboard.compat.notf", ModuleType("tensorboard.compat.notf"))
        return read_board(folder / "logs")


def test_tensorboard_shows_each_pass_once_and_in_order(board: Board, results: Results) -> None:
    epochs = history(results)
    shown = board.scalars[TUNED]
    assert shown["pass/validation_accuracy"] == [
        (one.number, single(one.validation_accuracy)) for one in epochs
    ]
    assert shown["pass/validation_loss"] == [(one.number, single(one.validation_loss)) for one in epochs]
    assert shown["pass/train_loss"] == [(one.number, single(one.train_loss)) for one in epochs[1:]]
    assert [step for step, _ in shown["fold 1 of 5/validation_loss"]] == [0, 1]


def test_tensorboard_shows_what_the_candidates_came_to(board: Board, results: Results) -> None:
    assert set(board.scalars) == {one.name for one in results.candidates}
    for one in results.candidates:
        expected = {tag: [(0, single(value))] for tag, value in tracker.outcome(one).items()}
        assert {tag: board.scalars[one.name][tag] for tag in expected} == expected


def test_tensorboard_compares_the_candidates_by_their_parameters(board: Board, results: Results) -> None:
    rows = {f"{one['backbone']}/{one['technique']}": one for one in board.sessions}
    assert set(rows) == {one.name for one in results.candidates}
    for one in results.candidates:
        row, training = rows[one.name], one.training
        assert one.test is not None
        assert row["test/accuracy"] == single(one.test.accuracy)
        assert row["trained_layers"] == training.trained_layers
        assert row["operations"] == ",".join(training.operations)
        assert (row["image_size_px"], row["l2"]) == (32, training.l2)
        assert (row["best_epoch"], row["seed"]) == (training.best_epoch, results.seed)


def test_tensorboard_shows_the_settings_the_verdict_and_the_card(
    board: Board, finished: Finished, results: Results
) -> None:
    assert set(board.texts) == {"settings", "verdict", "README.md"}
    assert "| seed | 3 |\n" in board.texts["settings"]
    assert board.texts["verdict"].splitlines() == [f"- {card.escape(one)}" for one in results.verdict]
    assert board.texts["README.md"].startswith("\n# photos: tiny, ")


def test_a_folder_that_cannot_be_made_is_refused(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "logs").write_text("a file")
    assert refused(settings, tensorboard=tmp_path / "logs") == (
        f"TensorBoard in {tmp_path / 'logs'} cannot be written: Not a directory.\n"
        "Name another folder: --tensorboard FOLDER."
    )


def test_without_tensorboard_the_command_to_install_it_is_told(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard.plugins.text.summary_v2", None)
    assert refused(settings, tensorboard=tmp_path) == (
        "TensorBoard, which --tensorboard writes for, cannot be imported: import of "
        "tensorboard.plugins.text.summary_v2 halted; None in sys.modules.\n"
        "Run `pip install tensorboard`, or leave --tensorboard out."
    )


# MLflow, in a database


@dataclass(frozen=True)
class Logged:
    """A run that was logged to a database: its address, a client to read with, and what was printed."""

    uri: str
    client: "MlflowClient"
    printed: str

    def runs(self) -> dict[str, "MlflowRun"]:
        """All runs of the experiment, by name."""
        experiment = self.client.get_experiment_by_name("photos")
        assert experiment is not None
        return {str(run.info.run_name): run for run in self.client.search_runs([experiment.experiment_id])}

    def values(self, run: "MlflowRun", metric: str) -> list[tuple[int, float]]:
        """Steps and values of a metric."""
        found = self.client.get_metric_history(run.info.run_id, metric)
        return [(one.step, one.value) for one in found]


@pytest.fixture(scope="module")
def logged(
    finished: Finished, settings: Settings, results: Results, tmp_path_factory: pytest.TempPathFactory
) -> Logged:
    folder, printed = tmp_path_factory.mktemp("mlflow"), io.StringIO()
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    with (
        contextlib.chdir(folder),  # the artifacts go below it
        contextlib.redirect_stdout(printed),
        contextlib.redirect_stderr(printed),
        opened(settings, mlflow=uri) as trackers,
    ):
        for epoch in history(results)[:2]:
            trackers.log(TUNED, "", epoch)
        trackers.finish(results, [finished.folder / "results.json", finished.folder / "config.toml"])
    # Not before: MlflowClient is imported quietly by what is tested here.
    from mlflow import MlflowClient

    return Logged(uri, MlflowClient(tracking_uri=uri), printed.getvalue())


def test_mlflow_prints_nothing(logged: Logged) -> None:
    assert logged.printed == ""


def test_mlflow_has_a_run_with_one_nested_for_each_candidate(logged: Logged, results: Results) -> None:
    runs = logged.runs()
    whole = runs.pop("photos")
    assert set(runs) == {one.name for one in results.candidates}
    assert {run.data.tags["mlflow.parentRunId"] for run in runs.values()} == {whole.info.run_id}
    assert {run.info.status for run in (whole, *runs.values())} == {"FINISHED"}


def test_mlflow_has_each_pass_once_and_in_order(logged: Logged, results: Results) -> None:
    run, epochs = logged.runs()[TUNED], history(results)
    assert logged.values(run, "pass/validation_accuracy") == [
        (one.number, one.validation_accuracy) for one in epochs
    ]
    assert logged.values(run, "pass/validation_loss") == [(one.number, one.validation_loss) for one in epochs]
    assert logged.values(run, "pass/train_loss") == [(one.number, one.train_loss) for one in epochs[1:]]


def test_mlflow_has_parameters_and_outcome_of_each_candidate(logged: Logged, results: Results) -> None:
    for one in results.candidates:
        run = logged.runs()[one.name]
        expected = tracker.outcome(one)
        assert {name: run.data.metrics[name] for name in expected} == expected
        params = tracker.params_of(one, results.seed)
        assert run.data.params == {name: str(value) for name, value in params.items()}
        assert run.data.params["technique"] == one.technique


def test_mlflow_has_settings_verdict_and_files_of_the_run(
    logged: Logged, finished: Finished, settings: Settings, results: Results, tmp_path: Path
) -> None:
    run = logged.runs()["photos"]
    assert run.data.params["data"] == settings.data
    assert (run.data.params["seed"], run.data.params["backbones"]) == ("3", "tiny")
    assert run.data.metrics == tracker.outcome(results.chosen)
    assert run.data.tags["recommended"] == results.chosen.name
    assert run.data.tags["data_sha256"] == results.data_sha256
    assert run.data.tags["mlflow.note.content"].splitlines()[0] == f"- {card.escape(results.verdict[0])}"
    files = [one.path for one in logged.client.list_artifacts(run.info.run_id)]
    assert files == ["config.toml", "results.json"]
    copy = logged.client.download_artifacts(run.info.run_id, "results.json", str(tmp_path))
    assert Path(copy).read_bytes() == (finished.folder / "results.json").read_bytes()


def test_a_run_that_is_interrupted_does_not_go_on_forever(
    logged: Logged, settings: Settings, tmp_path: Path
) -> None:
    interrupted = Settings(data=settings.data, out=str(tmp_path / "interrupted"))
    with pytest.raises(KeyboardInterrupt), opened(interrupted, mlflow=logged.uri) as trackers:
        trackers.log("tiny/interrupted", "", PASSES[0])
        raise KeyboardInterrupt
    runs = logged.runs()
    assert {runs[name].info.status for name in ("interrupted", "tiny/interrupted")} == {"FAILED"}


def test_a_deleted_experiment_is_refused_before_training(logged: Logged, tmp_path: Path) -> None:
    gone = logged.client.create_experiment("gone")
    logged.client.delete_experiment(gone)
    assert refused(Settings(data="gone", out=str(tmp_path)), mlflow=logged.uri) == (
        f"MLflow at {logged.uri} cannot be used: The experiment {gone} must be in the 'active' state.\n"
        f"Start it, {INSTEAD}"
    )


@pytest.mark.parametrize("missing", ["mlflow", "sqlalchemy"])
def test_without_mlflow_or_its_database_the_command_to_install_it_is_told(
    missing: str, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    assert refused(settings, mlflow=f"sqlite:///{tmp_path}/mlflow.db") == (
        f"MLflow, which --mlflow writes to, cannot be imported: import of {missing} halted; None in "
        "sys.modules.\nRun `pip install mlflow-skinny`, and for a database `pip install sqlalchemy alembic` "
        "too; or leave --mlflow out."
    )
    assert list(tmp_path.iterdir()) == []


# MLflow, over HTTP


class Server:
    """Answers an MLflow client in its protocol, on a port that can be closed and opened again.

    `metrics` are what it was sent, each run's by name: steps with values.
    """

    def __init__(self) -> None:
        self.metrics: dict[str, list[tuple[str, int, float]]] = {}
        self.ended: dict[str, str] = {}
        self.port = 0
        self.open()

    def open(self) -> None:
        self._http = ThreadingHTTPServer(("127.0.0.1", self.port), self._handler())
        self.port = self._http.server_port
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    def close(self) -> None:
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()

    def answer(self, action: str, asked: dict[str, Any]) -> dict[str, Any]:
        if action == "experiments/get-by-name":
            return {"experiment": {"experiment_id": "1", "name": "photos", "lifecycle_stage": "active"}}
        if action == "runs/create":
            self.metrics[asked["run_name"]] = []
            ids = {"run_id": asked["run_name"], "run_uuid": asked["run_name"], "experiment_id": "1"}
            return {"run": {"info": ids | {"status": "RUNNING", "lifecycle_stage": "active"}}}
        if action == "runs/log-batch":
            for one in asked.get("metrics", ()):
                sent = (one["key"], int(one.get("step", 0)), one["value"])
                self.metrics[asked["run_id"]].append(sent)
        if action == "runs/update":
            self.ended[asked["run_id"]] = asked["status"]
        return {}

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                action = self.path.partition("/mlflow/")[2].partition("?")[0]
                found = json.dumps(server.answer(action, json.loads(body or b"{}"))).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(found)))
                self.end_headers()
                self.wfile.write(found)

            def do_POST(self) -> None:
                self.do_GET()

            def log_message(self, format: str, *args: Any) -> None:
                pass

        return Handler


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", str(PATIENCE_S))
    one = Server()
    yield one
    with contextlib.suppress(OSError):
        one.close()


def test_what_a_server_missed_it_is_told_at_the_end(
    server: Server, settings: Settings, results: Results
) -> None:
    remarks, epochs = Remarks(), history(results)
    uri = f"http://127.0.0.1:{server.port}"
    with opened(settings, remarks, mlflow=uri) as trackers:
        trackers.log(TUNED, "", epochs[0])
        server.close()
        for epoch in epochs[1:]:
            trackers.log(TUNED, "", epoch)
        server.open()
        trackers.finish(results)
    assert remarks.made == [f"MLflow at {uri}: Connection refused. {GO_ON}"]
    sent = server.metrics[TUNED]
    assert [(step, value) for name, step, value in sent if name == "pass/validation_loss"] == [
        (one.number, one.validation_loss) for one in epochs
    ]
    assert set(server.ended.values()) == {"FINISHED"}
    assert set(server.ended) == {"photos", *(one.name for one in results.candidates)}


def test_a_server_that_is_gone_for_good_costs_two_remarks_and_no_error(
    server: Server, settings: Settings, results: Results
) -> None:
    remarks, uri = Remarks(), f"http://127.0.0.1:{server.port}"
    with opened(settings, remarks, mlflow=uri) as trackers:
        server.close()
        for epoch in PASSES:
            trackers.log(TUNED, "", epoch)
        trackers.finish(results)
    assert remarks.made == [
        f"MLflow at {uri}: Connection refused. {GO_ON}",
        f"MLflow at {uri}: Connection refused. Not all of this run is there; the run folder has it.",
    ]


def test_one_tool_that_fails_does_not_stop_the_other(
    server: Server, settings: Settings, results: Results, tmp_path: Path
) -> None:
    uri = f"http://127.0.0.1:{server.port}"
    with opened(settings, tensorboard=tmp_path, mlflow=uri) as trackers:
        server.close()
        trackers.log(TUNED, "", PASSES[0])
    (events,) = tmp_path.glob(f"photos_*/{TUNED}/events*")
    assert b"pass/validation_loss" in events.read_bytes()


def test_a_server_that_does_not_answer_is_refused_before_training(server: Server, settings: Settings) -> None:
    server.close()
    assert refused(settings, mlflow=f"http://ann:secret@127.0.0.1:{server.port}") == (
        f"MLflow at http://…@127.0.0.1:{server.port} cannot be used: Connection refused.\nStart it, {INSTEAD}"
    )
