"""The run folder: the only thing that passes between commands."""

import contextlib
import dataclasses
import datetime
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import filelock

from headstart.base import filenames
from headstart.base.errors import RunError, SettingsError, disk_full_named
from headstart.base.records import read_json, write_json, write_toml
from headstart.base.settings import Settings, from_toml
from headstart.results.comparison import SCHEMA_VERSION, Recommendation, Results
from headstart.sources import places

LEFT_BY_A_FAILURE = (filenames.QUARANTINE, filenames.SPLIT, filenames.PHOTOS)
ANOTHER = "Name another folder: --out RUN."
UPDATE_OR_ANOTHER = (
    "Compare them anew with --update (in Python update=True), which takes what is kept of them and then "
    "replaces this run; or name another folder: --out RUN."
)
WITHOUT_EFFECT = ("weights_dir",)
"""Settings that do not change the result: a weight file's checksum is the same in any folder."""


@dataclass(frozen=True)
class Run:
    """A run folder and what stands where in it."""

    folder: Path

    @property
    def model(self) -> Path:
        """The folder of the recommended model."""
        return self.folder / filenames.MODEL

    @property
    def work(self) -> Path:
        """What is deleted when the run is finished."""
        return self.folder / filenames.WORK

    @property
    def is_finished(self) -> bool:
        """Whether its results are there."""
        return (self.folder / filenames.RESULTS).is_file()

    def results(self) -> Results:
        """Return the results of a finished run.

        Raises:
            RunError: The folder holds no finished run, or one of another version of Headstart.
        """
        if not self.is_finished:
            raise RunError(
                f"{self.folder} holds no finished run.",
                "Name a run folder that `headstart compare` finished.",
            )
        results = read_json(self.folder / filenames.RESULTS, Results)
        if results.schema_version != SCHEMA_VERSION:
            raise RunError(
                f"{self.folder} was made by another version of Headstart: the schema of its results is "
                f"{results.schema_version}, not {SCHEMA_VERSION}.",
                "Run the command again with a new --out.",
            )
        return results

    def decide(self, recommended: Recommendation) -> str:
        """Write down the decision, before the test part is read, and return when that was: ISO 8601, UTC."""
        write_json(self.folder / filenames.DECISION, recommended)
        return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")

    def keep_model(self, folder: Path) -> None:
        """Copy a saved classifier into this run as its model: the whole of it, or none.

        Raises:
            DiskFull: No space is left.
        """
        copy, kept = self.work / filenames.MODEL, self.model
        with disk_full_named(self.folder):
            shutil.rmtree(copy, ignore_errors=True)
            copy.mkdir(parents=True)
            # One by one, for copytree hides why it failed.
            for path in sorted(folder.rglob("*")):
                target = copy / path.relative_to(folder)
                if path.is_dir():
                    target.mkdir()
                else:
                    shutil.copyfile(path, target)
            shutil.rmtree(kept, ignore_errors=True)
            copy.replace(kept)

    @property
    def finished_ns(self) -> int | None:
        """When its results were written, in nanoseconds since 1970; None where they are not there."""
        return (self.folder / filenames.RESULTS).stat().st_mtime_ns if self.is_finished else None

    @property
    def update(self) -> "Run":
        """The run that compares its photos anew, while its own results stay."""
        return Run(self.folder / filenames.UPDATE)

    def adopt(self) -> None:
        """Put what a finished update wrote in the place of its own files; nothing where there is none.

        Results are the first to go and the last to come. Interrupted, it is to be called again.
        """
        update = self.update
        if not update.is_finished:
            return
        if self.is_finished:
            for name in (filenames.GALLERY, filenames.EXPORTS_TABLE):  # of the model before
                (self.folder / name).unlink(missing_ok=True)
            (self.folder / filenames.RESULTS).unlink()
        shutil.rmtree(update.work, ignore_errors=True)
        for path in sorted(update.folder.iterdir(), key=lambda path: path.name == filenames.RESULTS):
            if path.is_dir():
                shutil.rmtree(self.folder / path.name, ignore_errors=True)
            path.replace(self.folder / path.name)
        update.folder.rmdir()

    def finish(self, results: Results) -> None:
        """Write the results, last of all, and delete the work folder."""
        write_json(self.folder / filenames.RESULTS, results)
        shutil.rmtree(self.work, ignore_errors=True)


def resolve(settings: Settings) -> Settings:
    """Return settings that mean the same from any folder, with the run folder named.

    Example:
        >>> resolve(Settings(data="sample:textile")).out == str(Path("runs", "textile"))
        True
    """
    settings = dataclasses.replace(settings, data=places.normal(settings.data))
    name = places.name_of(settings.data)
    if settings.images:
        images = Path(settings.images).expanduser().resolve()
        settings = dataclasses.replace(settings, images=str(images))
    if settings.weights_dir:
        weights = Path(settings.weights_dir).expanduser().resolve()
        settings = dataclasses.replace(settings, weights_dir=str(weights))
    return dataclasses.replace(settings, out=str(Path(settings.out or Path("runs", name)).expanduser()))


def config(settings: Settings) -> dict[str, Any]:
    """Return what decides the result, as JSON and TOML know it: every setting but what is written where."""
    values = dataclasses.asdict(settings)
    del values["out"], values["report"]
    return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}


@contextmanager
def claim(folder: Path, settings: Settings) -> Iterator[Run]:
    """Hold a run folder for one process, new or of the same settings; a finished one stays as it is.

    Where nothing comes of a new claim, not even the first training, it is given up again, so that
    the next one may have other settings.

    Raises:
        RunError: Another process holds it, it has other files, it cannot be written, or it was made
            with other settings.
        DiskFull: No space is left.
    """
    _refuse_foreign(folder)
    with _locked(folder):
        is_new = not (folder / filenames.CONFIG).is_file()
        if not is_new:
            _refuse_other_settings(folder, settings)
        try:
            if is_new:
                comment = "Repeat this run: headstart compare --config THIS_FILE --out NEW"
                write_toml(folder / filenames.CONFIG, config(settings), comment)
            yield Run(folder)
        except BaseException:
            if is_new and not (folder / filenames.WORK).is_dir():
                _give_up(folder)
            raise


def _give_up(folder: Path) -> None:
    # What cannot be removed, such as an open file on Windows, does no harm where it is.
    with contextlib.suppress(OSError):
        (folder / filenames.CONFIG).unlink(missing_ok=True)
        if os.listdir(folder) == [filenames.LOCK]:
            shutil.rmtree(folder)


def _refuse_foreign(folder: Path) -> None:
    if folder.is_file():
        raise RunError(f"{folder} is a file.", "Name a folder: --out RUN.")
    if not folder.is_dir() or (folder / filenames.CONFIG).is_file():
        return
    others = sorted(
        path.name
        for path in folder.iterdir()
        if not path.name.startswith(".") and path.name not in LEFT_BY_A_FAILURE
    )
    if others:
        raise RunError(
            f"{folder} holds other files, such as {others[0]}, and no run.",
            "Name a new or an empty folder: --out RUN.",
        )


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    lock = filelock.FileLock(folder / filenames.LOCK)
    try:
        with disk_full_named(folder):
            folder.mkdir(parents=True, exist_ok=True)
            lock.acquire(timeout=0)
    except filelock.Timeout as error:
        raise RunError(
            f"Another headstart is at work in {folder}.",
            "Wait until it ends, or name another folder: --out RUN.",
        ) from error
    except OSError as error:
        raise RunError(f"{folder} cannot be written: {error.strerror}.", ANOTHER) from error
    try:
        yield
    finally:
        lock.release()


def _refuse_other_settings(folder: Path, settings: Settings) -> None:
    before, now = config(_settings_of(folder)), config(settings)
    differences = [
        f"{name} was {_as_typed(before[name])}, now {_as_typed(now[name])}"
        for name in now
        if before[name] != now[name] and name not in WITHOUT_EFFECT
    ]
    if differences:
        raise RunError(f"{folder} was made with other settings: {'; '.join(differences)}.", ANOTHER)


def _settings_of(folder: Path) -> Settings:
    try:
        return from_toml(folder / filenames.CONFIG)
    except SettingsError as error:
        raise RunError(error.problem, f"The run folder was changed. {ANOTHER}") from error


def _as_typed(value: Any) -> str:
    """Return a value as it is written on the command line."""
    words = value if isinstance(value, list) else [value]
    return ",".join(str(word) for word in words if word is not None) or "not given"
