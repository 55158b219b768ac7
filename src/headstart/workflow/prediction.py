"""What a model says of photos, however many they are."""

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from pathlib import Path
from queue import Empty, Queue
from threading import Thread

from headstart.base.errors import ChangedPhoto, NoSuchData
from headstart.networks.classifier import Classifier, Prediction
from headstart.pictures.pixels import LOOK_AHEAD
from headstart.reporting.sorting import Sorter
from headstart.sources import listing

PATIENCE_S = 0.05
"""How long the next photo is waited for before those in work are answered."""


def predict(
    model: Classifier, sources: Iterable[Path], problem: Callable[[str], None], sorter: Sorter | None = None
) -> Iterator[Prediction]:
    """Yield what a model says of photos, as they come; some dozens are held at a time.

    Args:
        model: What is asked.
        sources: Photos, or folders of them; taken one after another, by a thread, as they are named.
        problem: Told of what is not there or cannot be read.
        sorter: Puts each photo into a folder.

    Raises:
        DataError: A folder of photos would be sorted into itself.
    """
    absent: dict[str, str] = {}

    def files() -> Iterator[Path]:
        for source in sources:
            if sorter and source.is_dir():
                sorter.refuse(source)
            try:
                yield from listing.pictures(source)
            except NoSuchData as error:
                told = f"{error.problem} {error.fix}"
                if source.is_dir():
                    problem(told)
                else:  # so that it stands in its place among the answers
                    absent[str(source)] = told
                    yield source

    for prediction in chain.from_iterable(map(model.predict_each, runs(files()))):
        error = absent.pop(prediction.path, prediction.error)
        if sorter and error is None:
            error = _sorted(prediction, sorter)
        if error is not None:
            problem(error)
        yield dataclasses.replace(prediction, error=error)


def runs(items: Iterable[Path]) -> Iterator[Iterator[Path]]:
    """Yield items in runs, of which each ends where the next item is not there yet.

    Each is to be taken to its end before the next. So whoever works some items ahead is done with all of
    them while, say, nobody has named another photo.

    Example:
        >>> [path.name for run in runs([Path("a"), Path("b")]) for path in run]
        ['a', 'b']
    """
    waiting: Queue[Path | None] = Queue(LOOK_AHEAD)
    failed: list[Exception] = []
    is_over = False

    def fill() -> None:
        try:
            for item in items:
                waiting.put(item)
        except Exception as error:
            failed.append(error)
        waiting.put(None)

    def run(item: Path | None) -> Iterator[Path]:
        nonlocal is_over
        while item is not None:
            yield item
            try:
                item = waiting.get(timeout=PATIENCE_S)
            except Empty:
                return
        is_over = True

    Thread(target=fill, daemon=True).start()
    while not is_over:
        yield run(waiting.get())
    if failed:
        raise failed[0]


def _sorted(prediction: Prediction, sorter: Sorter) -> str | None:
    """Put a photo into its folder; return why not, where it is not there any more."""
    try:
        sorter.put(prediction)
    except ChangedPhoto as error:
        return f"{error.problem} {error.fix}"
    return None
