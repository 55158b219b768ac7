"""Charts: what they are drawn from is what results hold, and Vega-Lite takes them."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import altair as alt
import pytest
import vl_convert
from test_report import made_run

from headstart.reporting.report import charts
from headstart.reporting.report.charts import Spec
from headstart.results.comparison import Candidate, Measured, Results
from headstart.results.curve import LearningCurve


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    return made_run(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def best_test(results: Results) -> Measured:
    assert results.chosen.test
    return results.chosen.test


def rows(spec: Spec | None, field: str) -> list[dict[str, Any]]:
    """The rows of a chart that have a field, of all that it is drawn from."""
    assert spec
    return [row for one in spec["datasets"].values() for row in one if field in row]


def styles(spec: Spec | None) -> Iterator[str]:
    assert spec
    return (layer["mark"]["style"] for layer in spec["layer"])


@pytest.mark.parametrize("cost", ["latency_ms", "size_mb"])
def test_costs_are_those_of_the_candidates(results: Results, cost: str) -> None:
    spec = charts.costs(results, cost, "a cost")
    expected = [
        (str(number), getattr(one, cost), one.test.accuracy, one.test.accuracy_interval.low)
        for number, one in enumerate(results.candidates, 1)
        if one.test
    ]
    assert [
        (one["number"], one["cost"], one["accuracy"], one["low"]) for one in rows(spec, "cost")
    ] == expected
    assert [one["number"] for one in rows(spec, "cost") if one["is_chosen"]] == ["1"]
    assert {"finetune", "features", "chosen", "front"} <= set(styles(spec))


def test_a_technique_that_no_candidate_has_is_not_drawn(results: Results) -> None:
    alike = tuple(one for one in results.candidates if one.technique == "finetune")
    spec = charts.costs(replace(results, candidates=alike), "size_mb", "MB")
    assert "features" not in set(styles(spec))


def test_costs_far_apart_are_drawn_by_their_logarithm(results: Results) -> None:
    def scale(factor: float) -> str:
        first, *others = results.candidates
        slow = replace(first, latency_ms=factor * min(one.latency_ms for one in others))
        spec = charts.costs(replace(results, candidates=(slow, *others)), "latency_ms", "ms")
        assert spec
        return str(spec["layer"][0]["encoding"]["x"]["scale"]["type"])

    assert (scale(charts.LOG_FROM), scale(charts.LOG_FROM + 0.1)) == ("linear", "log")


def test_there_is_nothing_to_set_against_one_candidate(results: Results) -> None:
    alone = replace(results, candidates=results.candidates[:1], comparisons=())
    assert charts.costs(alone, "size_mb", "MB") is None
    assert charts.differences(alone) is None


def test_the_front_is_what_no_other_beats() -> None:
    assert charts.front([(1, 0.8), (2, 0.9), (3, 0.9), (1, 0.7), (4, 0.95)]) == [
        True,
        True,
        False,
        False,
        True,
    ]
    # Two that are alike in both are on it together.
    assert charts.front([(1, 0.8), (1, 0.8)]) == [True, True]
    assert charts.front([]) == []


def test_differences_are_those_of_the_comparisons(results: Results) -> None:
    drawn = rows(charts.differences(results), "difference")
    expected = sorted(results.comparisons, key=lambda one: -one.difference)
    assert [
        (one["difference"], one["low"], one["high"], one["decision"], one["name"].replace(" · ", "/"))
        for one in drawn
    ] == [(one.difference, one.interval.low, one.interval.high, one.decision, one.a) for one in expected]


def test_passes_are_those_of_the_history(results: Results) -> None:
    tuned: Candidate = results.candidate("backbone_0", "finetune")
    history = tuned.training.history
    drawn = rows(charts.losses(tuned), "loss")
    assert [one["loss"] for one in drawn if one["of"] == "validation"] == [
        one.validation_loss for one in history
    ]
    assert [one["loss"] for one in drawn if one["of"] == "training"] == [0.5, 0.4]
    accuracies = rows(charts.accuracies(tuned), "accuracy")
    assert [one["accuracy"] for one in accuracies] == [one.validation_accuracy for one in history]
    assert [one["epoch"] for one in accuracies if one["is_best"]] == [tuned.training.best_epoch]


def test_without_passes_there_is_no_chart_of_them(results: Results) -> None:
    probed = results.candidate("backbone_0", "features")
    assert charts.losses(probed) is charts.accuracies(probed) is None


def test_bins_without_a_photo_are_not_drawn(best_test: Measured) -> None:
    drawn = rows(charts.reliability(best_test), "n_images")
    expected = [one for one in best_test.reliability.bins if one.n_images]
    assert 0 < len(expected) < len(best_test.reliability.bins)
    assert [(one["confidence"], one["accuracy"], one["n_images"]) for one in drawn] == [
        (one.confidence, one.accuracy, one.n_images) for one in expected
    ]
    emptied = replace(best_test.reliability, bins=())
    assert charts.reliability(replace(best_test, reliability=emptied)) is None


def test_risk_is_that_of_the_curve_and_the_ring_that_of_the_threshold(best_test: Measured) -> None:
    assert best_test.selection
    spec = charts.risk(best_test)
    curve = [(one.coverage, one.risk) for one in best_test.risk_curve]
    drawn = [(one["coverage"], one["risk"]) for one in rows(spec, "coverage")]
    assert drawn[: len(curve)] == curve
    assert drawn[len(curve) :] == [(best_test.selection.coverage, best_test.selection.risk)]
    assert "ring" in set(styles(spec))
    without = charts.risk(replace(best_test, selection=None))
    assert "ring" not in set(styles(without))
    assert charts.risk(replace(best_test, risk_curve=())) is None


def test_recalls_come_with_their_intervals_the_least_first(best_test: Measured) -> None:
    spec = charts.recalls(best_test)
    drawn = {one["name"]: (one["recall"], one["low"], one["high"]) for one in rows(spec, "recall")}
    pairs = zip(best_test.per_class, best_test.recall_intervals, strict=True)
    assert drawn == {one.name: (one.recall, around.low, around.high) for one, around in pairs if around}
    order = (spec or {})["layer"][0]["encoding"]["y"]["sort"]
    assert [drawn[name][0] for name in order] == sorted(one[0] for one in drawn.values())
    assert charts.recalls(replace(best_test, recall_intervals=())) is None


def test_the_law_goes_through_what_it_foretells(results: Results) -> None:
    curve: LearningCurve = results.learning_curve
    spec = charts.learning(curve)
    drawn = rows(spec, "accuracy")
    expected = {(one.n_photos, one.accuracy) for one in curve.points}
    expected |= {(one.n_photos, one.accuracy) for one in (*curve.fitted, curve.doubled)}
    assert {(one["n"], one["accuracy"]) for one in drawn if "low" in one} == expected
    law = [one for one in drawn if "low" not in one]
    assert law[0]["accuracy"] == pytest.approx(curve.fitted[0].accuracy)
    assert law[-1]["accuracy"] == pytest.approx(curve.doubled.accuracy)
    assert charts.learning(replace(curve, points=())) is None


def test_vega_lite_takes_every_chart(results: Results, best_test: Measured) -> None:
    drawn = [
        charts.costs(results, "size_mb", "MB"),
        charts.differences(results),
        charts.losses(results.chosen),
        charts.accuracies(results.chosen),
        charts.reliability(best_test),
        charts.risk(best_test),
        charts.recalls(best_test),
        charts.learning(results.learning_curve),
        {**charts.photo_map(), "datasets": {"spots": []}},
    ]
    for spec in drawn:
        assert spec
        # The page gives colours to styles; no chart has any of its own.
        assert "#" not in str(spec["layer"])
        assert vl_convert.vegalite_to_vega(spec)["marks"]
        assert alt.Chart.from_dict(spec)  # or it raises what Vega-Lite's schema does not allow


def test_the_map_has_the_parameters_that_the_page_sets() -> None:
    assert {one["name"] for one in charts.photo_map()["params"]} == {"chosen", "shown", "frame"}


def test_no_chart_brings_a_style_of_altairs(results: Results, tmp_path: Path) -> None:
    spec = charts.costs(results, "size_mb", "MB")
    assert spec
    assert "config" not in spec
    assert (spec["width"], spec["autosize"]["type"]) == ("container", "fit-x")
