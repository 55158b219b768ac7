"""A run as TensorBoard reads it: files of events."""

import os
import socket
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from headstart.base.errors import MissingPackage, SettingsError
from headstart.base.settings import Settings
from headstart.reporting.card import escape
from headstart.reporting.tracking.tracker import Tracker, outcome, params_of, reason, said, title, verdict
from headstart.results.comparison import Results


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
        self._root = self._folder.expanduser() / f"{title(settings)}_{time.strftime('%Y-%m-%d_%H-%M-%S')}"
        rows = [f"| {name} | {escape(value)} |" for name, value in said(settings).items()]
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
        self._file(self._root).add(text_pb("verdict", verdict(results)))
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
