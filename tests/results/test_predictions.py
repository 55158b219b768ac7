import csv
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from conftest import Finished
from hypothesis import given
from hypothesis import strategies as st

from headstart.base import records
from headstart.base.errors import RunError
from headstart.base.filenames import PREDICTIONS_COLUMNS
from headstart.results import predictions
from headstart.results.predictions import Predictions
from headstart.results.run import Run
from headstart.statistics import metrics

NAMES = ("cat", "dog", "owl")
HEADER = (*PREDICTIONS_COLUMNS, "p_cat", "p_dog", "p_owl")
AGAIN = "It was changed by hand or written by another version; run the command again with a new --out."
Row = Sequence[object]

ROWS: tuple[Row, ...] = (
    ("tiny", "features", "cat/1.jpg", "cat", "cat", "0.800000", "0.800000", "0.150000", "0.050000"),
    ("tiny", "features", "dog/1.jpg", "dog", "owl", "0.500000", "0.100000", "0.400000", "0.500000"),
    ("tiny", "finetune", "cat/1.jpg", "cat", "cat", "1.000000", "1.000000", "0.000000", "0.000000"),
    ("tiny", "finetune", "dog/1.jpg", "dog", "dog", "0.900000", "0.050000", "0.900000", "0.050000"),
)


def write(folder: Path, rows: Sequence[Row], header: Row = HEADER) -> Path:
    records.write_csv(folder / "predictions.csv", [str(name) for name in header], rows)
    return folder


def changed(row: int, column: int, value: str) -> list[Row]:
    """The rows with one value another."""
    rows = [list(one) for one in ROWS]
    rows[row][column] = value
    return list(rows)


def problem_of(folder: Path, class_names: Sequence[str] = NAMES) -> str:
    with pytest.raises(RunError) as caught:
        predictions.read(folder, class_names)
    assert caught.value.fix == AGAIN
    return caught.value.problem.replace(str(folder / "predictions.csv"), "FILE")


def answers(labels: Sequence[int], probabilities: Sequence[Sequence[float]]) -> Predictions:
    paths = tuple(f"{number}.jpg" for number in range(len(labels)))
    return Predictions(
        "tiny", "features", NAMES, paths, np.array(labels, np.int32), np.array(probabilities, np.float32)
    )


def test_every_candidate_of_a_real_run_comes_back_with_its_scores(finished: Finished) -> None:
    results = Run(finished.folder).results()
    names = results.dataset.class_names
    read = predictions.read(finished.folder, names)
    assert list(read) == [one.name for one in results.candidates] and len(read) == 2
    for candidate, got in zip(results.candidates, read.values(), strict=True):
        assert (got.backbone, got.technique, got.class_names) == (
            candidate.backbone,
            candidate.technique,
            names,
        )
        assert got.labels.dtype == np.int32
        assert got.probabilities.dtype == np.float32
        scores = metrics.evaluate(got.labels, got.probabilities, names)
        assert candidate.test and scores.accuracy == candidate.test.accuracy
        assert scores.confusion == candidate.test.confusion
        assert scores.log_loss == pytest.approx(candidate.test.log_loss, abs=1e-5)


def test_values_are_those_of_the_file(tmp_path: Path) -> None:
    features, finetune = predictions.read(write(tmp_path, ROWS), list(NAMES)).values()
    assert features.paths == finetune.paths == ("cat/1.jpg", "dog/1.jpg")
    assert features.labels.tolist() == finetune.labels.tolist() == [0, 1]
    expected = np.array([[0.8, 0.15, 0.05], [0.1, 0.4, 0.5]], np.float32)
    assert np.array_equal(features.probabilities, expected)
    assert (features.predicted.tolist(), finetune.predicted.tolist()) == ([0, 2], [0, 1])
    assert np.array_equal(features.confidence, np.array([0.8, 0.5], np.float32))


def test_rows_of_candidates_may_be_mixed(tmp_path: Path) -> None:
    mixed = predictions.read(write(tmp_path, ROWS[::2] + ROWS[1::2]), NAMES)
    apart = predictions.read(write(tmp_path, ROWS), NAMES)
    for name, one in apart.items():
        assert mixed[name].paths == one.paths
        assert np.array_equal(mixed[name].probabilities, one.probabilities)


ODD = ("a,b.jpg", 'say "cat".jpg', "zwei\nZeilen.jpg", "<i>&amp;.jpg", " ü .jpg", "'", "", "=1+1")


@pytest.mark.parametrize("path", ODD)
def test_odd_paths_come_back_as_they_were(tmp_path: Path, path: str) -> None:
    [got] = predictions.read(write(tmp_path, [*changed(0, 2, path)[:2]]), NAMES).values()
    assert got.paths == (path, "dog/1.jpg")


def test_odd_class_names_come_back_as_they_were(tmp_path: Path) -> None:
    names = ('the "cat"', "dog, small", "ö\nw")
    rows = [
        [names[NAMES.index(str(value))] if column in (3, 4) else value for column, value in enumerate(row)]
        for row in ROWS
    ]
    folder = write(tmp_path, rows, (*PREDICTIONS_COLUMNS, *(f"p_{name}" for name in names)))
    assert predictions.read(folder, names)["tiny/features"].class_names == names


def test_a_path_that_is_no_utf8_comes_back_as_the_file_system_gives_it(tmp_path: Path) -> None:
    write(tmp_path, ROWS)
    file = tmp_path / "predictions.csv"
    file.write_bytes(file.read_bytes().replace(b"cat/1", b"cat/caf\xe9"))
    got = predictions.read(tmp_path, NAMES)["tiny/features"]
    assert got.paths[0].encode(errors="surrogateescape") == b"cat/caf\xe9.jpg"
    if os.name == "posix":
        assert got.paths[0] == os.fsdecode(b"cat/caf\xe9.jpg")


def test_what_was_predicted_survives_a_tie_made_by_rounding(tmp_path: Path) -> None:
    # 0.4999998 and 0.4999999, say: to 6 decimals both are 0.5, and the first would count as the likeliest.
    row = ("tiny", "features", "1.jpg", "dog", "dog", "0.500000", "0.500000", "0.500000", "0.000000")
    [got] = predictions.read(write(tmp_path, [row]), NAMES).values()
    assert got.predicted.tolist() == [1]
    assert np.abs(got.probabilities - [[0.5, 0.5, 0]]).max() <= 1e-7


@given(
    st.lists(
        st.lists(st.floats(1e-3, 1), min_size=3, max_size=3).map(lambda odds: np.array(odds) / sum(odds)),
        min_size=1,
        max_size=20,
    )
)
def test_six_decimals_never_change_what_was_predicted(
    tmp_path_factory: pytest.TempPathFactory, measured: list[np.ndarray]
) -> None:
    rows = [
        ("b", "t", str(number), "cat", NAMES[one.argmax()], f"{one.max():.6f}", *(f"{p:.6f}" for p in one))
        for number, one in enumerate(measured)
    ]
    [got] = predictions.read(write(tmp_path_factory.mktemp("run"), rows), NAMES).values()
    assert got.predicted.tolist() == [one.argmax() for one in measured]
    assert np.abs(got.probabilities - measured).max() < 1e-6


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(RunError) as caught:
        predictions.read(tmp_path, NAMES)
    assert str(caught.value) == (
        f"{tmp_path / 'predictions.csv'} is missing.\nName a run folder that `headstart compare` finished."
    )


@pytest.mark.parametrize(
    ("header", "problem"),
    [
        (("path", *HEADER[1:]), "FILE has no column 'backbone' in place 1."),
        ((*PREDICTIONS_COLUMNS, "p_dog", "p_cat", "p_owl"), "FILE has no column 'p_cat' in place 7."),
        (HEADER[:-1], "FILE has no column 'p_owl' in place 9."),
        ((*HEADER, "p_yak"), "FILE has a column too many: 'p_yak'."),
    ],
)
def test_other_columns_are_refused(tmp_path: Path, header: Row, problem: str) -> None:
    assert problem_of(write(tmp_path, ROWS, header)) == problem


@pytest.mark.parametrize(
    ("rows", "problem"),
    [
        ([], "FILE holds no predictions."),
        (changed(1, 3, "yak"), "FILE cannot be read: line 3 does not fit."),
        (changed(1, 4, "yak"), "FILE cannot be read: line 3 does not fit."),
        (changed(0, 7, "much"), "FILE cannot be read: line 2 does not fit."),
        ([*ROWS[:3], ROWS[3][:-1]], "FILE cannot be read: line 5 does not fit."),
        ([*ROWS[:3], (*ROWS[3], "0")], "FILE cannot be read: line 5 does not fit."),
        ([*ROWS[:3], ("tiny",)], "FILE cannot be read: line 5 does not fit."),
        (changed(1, 7, "0.300000"), "FILE: the probabilities of dog/1.jpg do not add up to 1."),
        (changed(0, 6, "nan"), "FILE: the probabilities of cat/1.jpg do not add up to 1."),
        ([[*ROWS[0][:6], "1.2", "-0.2", "0"]], "FILE: the probabilities of cat/1.jpg do not add up to 1."),
        (changed(1, 4, "dog"), "FILE: 'dog' is not the likeliest class of dog/1.jpg."),
        (changed(1, 2, "cat/1.jpg"), "FILE has a photo twice for tiny/features."),
        (ROWS[:3], "FILE has other photos for tiny/finetune than for tiny/features."),
        (changed(3, 2, "dog/2.jpg"), "FILE has other photos for tiny/finetune than for tiny/features."),
    ],
)
def test_other_rows_are_refused(tmp_path: Path, rows: Sequence[Row], problem: str) -> None:
    assert problem_of(write(tmp_path, rows)) == problem


def test_a_file_that_was_cut_short_is_refused(tmp_path: Path) -> None:
    write(tmp_path, ROWS)
    file = tmp_path / "predictions.csv"
    file.write_bytes(file.read_bytes()[:-12])
    assert problem_of(tmp_path) == "FILE cannot be read: line 5 does not fit."
    file.write_bytes(b"")
    assert problem_of(tmp_path) == "FILE has no column 'backbone' in place 1."


def test_a_field_longer_than_csv_reads_is_refused(tmp_path: Path) -> None:
    folder = write(tmp_path, changed(0, 2, "x" * (csv.field_size_limit() + 1)))
    assert problem_of(folder) == "FILE cannot be read: line 2 does not fit."


MIXED = answers(
    # Right and sure, wrong and sure, wrong and less so, right and unsure, wrong and as sure as the second.
    [0, 0, 1, 2, 0],
    [[0.95, 0.03, 0.02], [0.1, 0.9, 0], [0.6, 0.3, 0.1], [0.3, 0.3, 0.4], [0.05, 0.9, 0.05]],
)


def test_rows_by_how_sure_it_was() -> None:
    assert MIXED.confident_mistakes(10) == [1, 4, 2]
    assert MIXED.confident_mistakes(2) == [1, 4]
    assert MIXED.confident_hits(10) == [0, 3]
    assert MIXED.confident_mistakes(0) == MIXED.confident_hits(0) == MIXED.least_sure(0) == []


def test_the_least_sure_is_where_two_classes_are_closest() -> None:
    # Margins 0.92, 0.8, 0.3, 0.1 and 0.85; of the other two the second is less confident, yet leads clearly.
    assert MIXED.least_sure(10) == [3, 2, 1, 4, 0]
    assert answers([0, 0], [[0.5, 0.49, 0.01], [0.45, 0.3, 0.25]]).least_sure(1) == [0]


def test_cells_of_the_confusion_matrix() -> None:
    cells = {(i, j): MIXED.cell(i, j, 10) for i in range(3) for j in range(3)}
    assert {cell: rows for cell, rows in cells.items() if rows} == {
        (0, 0): [0],
        (0, 1): [1, 4],
        (1, 0): [2],
        (2, 2): [3],
    }
    assert MIXED.cell(0, 1, 1) == [1]
    scores = metrics.evaluate(MIXED.labels, MIXED.probabilities, NAMES)
    assert all(scores.confusion[i][j] == len(rows) for (i, j), rows in cells.items())


def test_on_a_tie_the_lower_class_is_predicted_as_in_the_scores() -> None:
    assert answers([2], [[0.2, 0.4, 0.4]]).predicted.tolist() == [1]
