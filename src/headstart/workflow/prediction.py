"""What a model says of photos, however many they are."""

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from headstart.base.errors import ChangedPhoto, NoSuchData
from headstart.networks.classifier import Classifier, Prediction
from headstart.reporting.sorting import Sorter
from headstart.sources import listing


def predict(
    model: Classifier, sources: Iterable[Path], problem: Callable[[str], None], sorter: Sorter | None = None
) -> Iterator[Prediction]:
    """Yield what a model says of photos, as they come; some dozens are held at a time.

    Args:
        model: What is asked.
        sources: Photos, or folders of them; taken one after another.
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

    for prediction in model.predict_each(files()):
        error = absent.pop(prediction.path, prediction.error)
        if sorter and error is None:
            error = _sorted(prediction, sorter)
        if error is not None:
            problem(error)
        yield dataclasses.replace(prediction, error=error)


def _sorted(prediction: Prediction, sorter: Sorter) -> str | None:
    """Put a photo into its folder; return why not, where it is not there any more."""
    try:
        sorter.put(prediction)
    except ChangedPhoto as error:
        return f"{error.problem} {error.fix}"
    return None
