"""The runs that are served, by name; what is in a run folder anew takes the place of what was served."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue

import numpy as np

from headstart.base import filenames
from headstart.base.arrays import Floats
from headstart.base.errors import HeadstartError, RunError
from headstart.base.progress import Progress
from headstart.networks import classifier
from headstart.networks.classifier import Classifier, Prediction
from headstart.networks.explanation import Heat, explain
from headstart.pictures.pixels import Pixels, core_count
from headstart.serving.problems import Declined

LANES = core_count() + 1
"""Threads that decode and ask: one more than cores, for one of them may wait for Python's lock."""


class Model:
    """A classifier that several threads ask at a time.

    Attributes:
        name: Of the run folder.
        version: When the run was finished, in seconds since 1970: of two versions the later is the greater.
        classifier: What is asked.
        has_novelty: Whether it says how unlike its training photos a picture is.
    """

    def __init__(self, name: str, version: int, loaded: Classifier) -> None:
        self.name = name
        self.version = version
        self.classifier = loaded
        self._lanes: SimpleQueue[Callable[[Pixels], tuple[Floats, ...]]] = SimpleQueue()
        for _ in range(LANES):
            self._lanes.put(loaded.engine.lane())
        grey = np.full((self.size_px, self.size_px, 3), 127, np.uint8)
        self.has_novelty = (
            len(self.ask(grey)) > 1
        )  # asked now, so that what fails does so before it is served

    @property
    def size_px(self) -> int:
        """The side of the squares that it eats."""
        return self.classifier.record.image_size_px

    def ask(self, picture: Pixels) -> tuple[Floats, ...]:
        """Return probabilities (C,) and, where the model has it, novelty (1,); uint8 RGB (S, S, 3) asked."""
        lane = self._lanes.get()
        try:
            return lane(picture)
        finally:
            self._lanes.put(lane)

    def explain(self, picture: Pixels, label: int) -> Heat:
        """Return what speaks for a class, float32 (S, S) in [0, 1]; it takes a few dozen inferences."""
        return explain(self.classifier.engine, picture, label)

    def told(self, outputs: Sequence[Floats]) -> Prediction:
        """Return what the outputs for a picture come to."""
        return self.classifier.prediction("", *outputs)


@dataclass(frozen=True)
class _State:
    """What a file was when it was looked at; another one has another state."""

    device: int
    inode: int
    modified_ns: int


class Shelf:
    """Models by name, each from its run folder, looked at again when it is asked for.

    Args:
        folders: Run folders, or folders that hold a classifier themselves.
        progress: Told of what takes another's place, and of what cannot.

    Raises:
        RunError: No finished run is there, or two have one name.
    """

    def __init__(self, folders: Sequence[Path], progress: Progress) -> None:
        self._progress = progress
        self._folders = {_name(folder): folder for folder in folders}
        if len(self._folders) < len(folders):
            raise RunError(
                "Two of the folders have one name, by which they are asked for.",
                "Rename one of them, or name a link to it that is called otherwise.",
            )
        self._states: dict[str, _State | None] = {}
        self._models: dict[str, Model] = {}
        self.swaps = 0
        for name, folder in self._folders.items():
            self._models[name], self._states[name] = _load(name, folder)

    @property
    def names(self) -> tuple[str, ...]:
        """As the folders were given; the first is asked where none is named."""
        return tuple(self._models)

    def model(self, name: str | None = None, version: str | None = None) -> Model:
        """Return the model that is served under a name.

        Raises:
            Declined: There is none of that name or version (404).
        """
        found = self._models.get(name or self.names[0])
        if found is None:
            raise Declined(404, "No such model is served here.", f"There are: {', '.join(self.names)}.")
        if version not in (None, str(found.version)):
            raise Declined(404, "No such version is served here.", f"It is {found.version}; or leave it out.")
        return found

    def refresh(self) -> None:
        """Look at all folders, and load what is new in them; where that fails, the older one goes on."""
        for name, folder in self._folders.items():
            state = _state(folder)
            if state is None or state == self._states[name]:
                continue
            started = time.monotonic()
            try:
                self._models[name], self._states[name] = _load(name, folder)
            except (HeadstartError, OSError, RuntimeError) as error:
                self._states[name] = state
                self._progress.warn(f"{name}: what is new cannot be served; the older model goes on. {error}")
            else:
                self.swaps += 1
                self._progress.remark(
                    f"{name}: a new model is served, after {time.monotonic() - started:.1f} s."
                )


def _name(folder: Path) -> str:
    return folder.absolute().name or str(folder)


def _watched(folder: Path) -> Path:
    """Return the file that a run writes last, or that of a folder with a classifier alone."""
    is_run = (folder / filenames.MODEL).is_dir()
    return folder / (filenames.RESULTS if is_run else filenames.CLASSIFIER)


def _state(folder: Path) -> _State | None:
    """Return the state of what is written last; None where it is not there, as while a run is made anew."""
    try:
        found = _watched(folder).stat()
    except OSError:
        return None
    return _State(found.st_dev, found.st_ino, found.st_mtime_ns)


def _load(name: str, folder: Path) -> tuple[Model, _State | None]:
    """Return a model with the state of its folder; tried again where that changed meanwhile."""
    while True:
        state = _state(folder)
        model = Model(name, state.modified_ns // 10**9 if state else 0, classifier.load_run(folder))
        if _state(folder) == state:
            return model, state
