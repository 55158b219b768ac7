"""However many photos there are, each is answered for, in its place, and what cannot be is told."""

import itertools
import os
import shutil
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import Finished, text_of

import headstart
from headstart.base.errors import DataError
from headstart.networks.classifier import Classifier
from headstart.pictures.pixels import LOOK_AHEAD, core_count
from headstart.reporting.sorting import Sorter
from headstart.workflow import prediction


@pytest.fixture(scope="module")
def model(finished: Finished) -> Classifier:
    return headstart.load(finished.folder)


def test_answers_come_before_the_last_photo_is_asked_for(finished: Finished, model: Classifier) -> None:
    n_asked = 0

    def endless() -> Iterator[Path]:
        nonlocal n_asked
        for n_asked in itertools.count(1):  # noqa: B007
            yield finished.photos / "red" / "red_00.jpg"

    problems: list[str] = []
    answers = list(itertools.islice(prediction.predict(model, endless(), problems.append), 300))
    assert len({one.confidence for one in answers}) == 1
    assert n_asked <= 300 + 2 * (LOOK_AHEAD + core_count()) + 2
    assert problems == []


@pytest.mark.parametrize("n_photos", [200, 1000])
def test_a_long_row_of_what_cannot_be_read_is_told_as_it_comes(
    model: Classifier, tmp_path: Path, n_photos: int
) -> None:
    empty = tmp_path / "empty.jpg"
    empty.touch()
    problems: list[str] = []
    n_told = []
    for one in prediction.predict(model, itertools.repeat(empty, n_photos), problems.append):
        assert (one.label, one.error) == (None, f"{empty} cannot be read. The file is empty.")
        n_told.append(len(problems))
    assert n_told == list(range(1, n_photos + 1))


def test_each_stands_in_its_place(finished: Finished, model: Classifier, tmp_path: Path) -> None:
    red, missing = finished.photos / "red" / "red_00.jpg", finished.photos / "red" / "red_99.jpg"
    damaged = finished.photos / "green" / "damaged.jpg"
    problems: list[str] = []
    sources = [missing, red, damaged, tmp_path, missing, red]
    answers = list(prediction.predict(model, sources, problems.append))
    assert [one.path for one in answers] == [str(one) for one in (missing, red, damaged, missing, red)]
    assert [one.error is None for one in answers] == [False, True, False, False, True]
    assert len(problems) == 4


def test_what_was_removed_before_it_was_sorted_is_told(
    finished: Finished, model: Classifier, tmp_path: Path
) -> None:
    files = [tmp_path / f"{number}.jpg" for number in range(3)]
    for file in files:
        shutil.copy(finished.photos / "red" / "red_00.jpg", file)
    problems: list[str] = []
    sorter = Sorter(tmp_path / "sorted", model)
    answers = prediction.predict(model, files, problems.append, sorter)
    first = next(answers)
    files[1].unlink()
    second, third = answers
    told = f"{files[1]} was removed before it was sorted. Put it back, and run the command again."
    assert (first.error, second.error, third.error, problems) == (None, told, None, [told])
    assert second.label == third.label
    assert len(list((tmp_path / "sorted").glob("*/*.jpg"))) == 2


def test_a_folder_is_not_sorted_into_itself(model: Classifier, tmp_path: Path) -> None:
    sorter = Sorter(tmp_path / "in", model)
    text = text_of(DataError, lambda: list(prediction.predict(model, [tmp_path], print, sorter)))
    assert text.startswith(f"The photos of '{tmp_path}' would be sorted into ")
    assert not (tmp_path / "in").exists()


@pytest.mark.slow
def test_memory_does_not_grow_with_the_photos(finished: Finished, model: Classifier, tmp_path: Path) -> None:
    for number in range(20_000):
        os.link(finished.photos / "red" / "red_00.jpg", tmp_path / f"{number:05}.jpg")
    peaks = []
    for n_photos in (2_000, 20_000):
        tracemalloc.start()
        answers = prediction.predict(model, [tmp_path], print)
        assert sum(1 for _ in itertools.islice(answers, n_photos)) == n_photos
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] - peaks[0] < 5_000_000
