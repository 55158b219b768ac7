"""The run folder: the only thing that passes between commands."""

import dataclasses
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import filelock

from headstart.comparison import Results, Winner
from headstart.errors import RunError, SettingsError, disk_full_named
from headstart.records import read_json, read_toml, write_json, write_toml
from headstart.settings import Settings, from_toml

CONFIG, RESULTS, SELECTION, MODEL, WORK, LOCK = (
    "config.toml",
    "results.json",
    "selection.json",
    "model",
    ".work",
    ".lock",
)


@dataclass(frozen=True)
class Run:
    """A run folder and what stands where in it."""

    folder: Path

    @property
    def model(self) -> Path:
        """The winner's folder."""
        return self.folder / MODEL

    @property
    def work(self) -> Path:
        """What is deleted when the run is finished."""
        return self.folder / WORK

    def results(self) -> Results:
        """Return the results of a finished run.

        Raises:
            RunError: The folder holds no finished run.
        """
        path = self.folder / RESULTS
        if not path.is_file():
            raise RunError(
                f"{self.folder} holds no finished run.", "Name a run folder that `headstart compare` finished."
            )
        return read_json(path, Results)

    @property
    def is_finished(self) -> bool:
        """Whether its results are there."""
        return (self.folder / RESULTS).is_file()

    def select(self, winner: Winner) -> None:
        """Write down the winner, before the test part is read."""
        write_json(self.folder / SELECTION, winner)

    def keep_model(self, folder: Path) -> None:
        """Make a saved classifier the model of this run."""
        shutil.rmtree(self.model, ignore_errors=True)
        with disk_full_named(self.folder):
            shutil.copytree(folder, self.model)

    def finish(self, results: Results) -> None:
        """Write the results, last of all, and delete the work folder."""
        write_json(self.folder / RESULTS, results)
        shutil.rmtree(self.work, ignore_errors=True)


@contextmanager
def claim(folder: Path, settings: Settings) -> Iterator[Run]:
    """Hold a run folder for one process, new or of the same settings.

    Raises:
        RunError: Another process holds it, it has other files, or it was made with other settings.
        DiskFull: No space is left.
    """
    _refuse_foreign(folder)
    with disk_full_named(folder):
        folder.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(folder / LOCK)
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout as error:
        raise RunError(
            f"Another headstart is at work in {folder}.", "Wait until it ends, or name another folder: --out RUN."
        ) from error
    with lock:
        _refuse_other_settings(folder, settings)
        write_toml(folder / CONFIG, config(settings), "Repeat this run: headstart compare --config THIS_FILE --out NEW")
        yield Run(folder)


def config(settings: Settings) -> dict[str, Any]:
    """Return what decides the result: every setting but where it is written."""
    values = dataclasses.asdict(settings)
    del values["out"]
    return values


def _refuse_foreign(folder: Path) -> None:
    if folder.is_file():
        raise RunError(f"{folder} is a file.", "Name a folder: --out RUN.")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / CONFIG).is_file():
        names = {path.name for path in folder.iterdir()}
        if names != {LOCK}:
            raise RunError(
                f"{folder} holds other files, such as {min(names)}, and no run.",
                "Name a new or an empty folder: --out RUN.",
            )


def _refuse_other_settings(folder: Path, settings: Settings) -> None:
    if not (folder / CONFIG).is_file():
        return
    before = config(_settings_of(folder))
    differences = [
        f"{name} was {before[name]!r}, now {value!r}"
        for name, value in config(settings).items()
        if before[name] != value
    ]
    if differences:
        raise RunError(
            f"{folder} was made with other settings: {'; '.join(differences)}.",
            "Name another folder: --out RUN.",
        )


def _settings_of(folder: Path) -> Settings:
    try:
        return from_toml(folder / CONFIG)
    except SettingsError as error:
        raise RunError(error.problem, "The run folder was changed: name another one with --out RUN.") from error
