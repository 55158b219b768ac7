"""Exported files on the page and on the model card: figures as exports.json has them."""

import dataclasses
import re
import shutil
from pathlib import Path

import pytest
import vl_convert
from conftest import Finished

from headstart.base import filenames, records
from headstart.reporting import card, report
from headstart.reporting.report import charts
from headstart.results import exports
from headstart.results.exports import Export, Exports, Scores
from headstart.results.run import Run
from headstart.statistics.significance import Comparison, Interval

ONE = Export(
    format="onnx",
    precision="f16",
    asked="int8",
    why="int8: 10 test photos cannot show that it loses less than 1 points: it takes 268.",
    folder="exports/onnx-f16",
    files=("model.onnx", "labels.txt"),
    size_mb=4.62,
    runtime="ONNX Runtime 1.32.0",
    n_images=10,
    n_other_labels=1,
    largest_difference=0.0123,
    largest_novelty_difference=0.001,
    scores=Scores(0.7, 0.5, 0.111),
    comparison=Comparison("export", "run", 10, -0.1, Interval(-0.25, 0.05, 0.95), 0, 1, 1.0, 1.0, "unclear"),
    latency_ms=3.21,
    batch_latency_ms=87.6,
    batch=32,
)


@pytest.fixture
def run(finished: Finished, tmp_path: Path) -> Run:
    """A finished run with two exported files."""
    run = Run(shutil.copytree(finished.folder, tmp_path / "run"))
    other = dataclasses.replace(ONE, format="litert", precision="f32", asked="f32", why="")
    name = run.results().recommended.name
    made = Exports(exports.SCHEMA_VERSION, name, 32, "squash", ONE.scores, (ONE, other))
    records.write_json(run.folder / filenames.EXPORTS_TABLE, made)
    return run


def test_the_page_has_a_table_of_them(run: Run) -> None:
    page = report.draw(run.folder).read_text(encoding="utf-8")
    table = page[page.index('<h3 id="exported">') : page.index('<h3 id="differences">')]
    cells = re.sub(r"<[^>]+>", " ", table)
    told = " ".join(cells.split())
    assert (
        "a onnx f16 exports/onnx-f16 4.6 9 of 10 1.2e-02 70.0% −25.0 to +5.0 0.111 3.2 88 "
        "ONNX Runtime 1.32.0 In the place of int8. int8: 10 test photos cannot show"
    ) in told
    assert "b litert f32" in told


def test_a_page_without_any_says_nothing_of_them(finished: Finished, tmp_path: Path) -> None:
    run = shutil.copytree(finished.folder, tmp_path / "run")
    assert 'id="exported"' not in report.draw(run).read_text(encoding="utf-8")
    assert "Exported files" not in card.render(run)


@pytest.mark.parametrize(("cost", "expected"), [("latency_ms", 3.21), ("size_mb", 4.62)])
def test_they_are_points_of_the_pictures_of_costs(run: Run, cost: str, expected: float) -> None:
    results = run.results()
    spec = charts.costs(results, cost, "cost", (ONE,))
    assert spec
    assert vl_convert.vegalite_to_vega(spec)["marks"]
    [rows] = [rows for rows in spec["datasets"].values() if any(row.get("number") == "a" for row in rows)]
    [row] = [row for row in rows if row["technique"] == "export"]
    assert (row["cost"], row["accuracy"], row["name"]) == (expected, 0.7, "exported, onnx f16")
    plain = charts.costs(results, cost, "cost")
    assert plain and "export" not in str(plain["layer"])


def test_the_card_lists_them(run: Run) -> None:
    assert (
        "| onnx f16 | exports/onnx-f16 | 4.6 | 9 of 10 | 1.2e-02 | 70.0% | 3.2 | ONNX Runtime 1.32.0 |"
    ) in card.render(run.folder)
