"""The first is the best on validation, by a rule that rounding cannot turn."""

from pathlib import Path

import msgspec
import pytest
from conftest import CALIBRATION, CURVE, made_baseline, made_measured, made_recommendation

from headstart.base import records
from headstart.results.comparison import Candidate, DatasetSummary, Measured, Results, Training, rank
from headstart.results.cost import Forecast
from headstart.statistics.metrics import Evaluation


def scores(accuracy: float, log_loss: float) -> Evaluation:
    return Evaluation(10, accuracy, accuracy, accuracy, log_loss, (), ())


def candidate(
    backbone: str, technique: str, accuracy: float, log_loss: float, test: Measured | None = None
) -> Candidate:
    validation = scores(accuracy, log_loss)
    training = Training(32, 0.1)
    return Candidate(
        backbone, technique, validation, test, CALIBRATION, {"probe": 1.5}, 1482, 0.1, 2.0, training
    )


def order(*candidates: Candidate) -> list[str]:
    return [f"{one.backbone} {one.technique}" for one in rank(candidates)]


def test_accuracy_goes_before_log_loss() -> None:
    assert order(candidate("a", "features", 0.8, 0.1), candidate("b", "finetune", 0.9, 0.5)) == [
        "b finetune",
        "a features",
    ]


def test_log_loss_decides_between_equal_accuracies() -> None:
    assert order(candidate("a", "features", 0.9, 0.32), candidate("b", "finetune", 0.9, 0.31)) == [
        "b finetune",
        "a features",
    ]


@pytest.mark.parametrize("noise", [-1e-6, 0.0, 1e-6])
def test_rounding_does_not_decide(noise: float) -> None:
    finetune = candidate("a", "finetune", 0.9, 0.3121 + noise)
    assert order(finetune, candidate("a", "features", 0.9, 0.3121)) == ["a features", "a finetune"]


def test_equals_keep_the_order_that_was_asked_for() -> None:
    assert order(candidate("b", "features", 0.9, 0.3), candidate("a", "features", 0.9, 0.3)) == [
        "b features",
        "a features",
    ]


def test_test_scores_do_not_count() -> None:
    best_on_test = candidate("a", "features", 0.8, 0.3, test=made_measured(scores(1.0, 0.0)))
    assert (
        order(best_on_test, candidate("b", "features", 0.9, 0.3, test=made_measured(scores(0.1, 9.0))))[0]
        == "b features"
    )


@pytest.fixture
def results() -> Results:
    first = candidate("tiny", "finetune", 0.9, 0.3, test=made_measured(scores(0.8, 0.4)))
    second = candidate("tiny", "features", 0.8, 0.5)
    summary = DatasetSummary(50, ("cat", "dog"), 30, 10, 10, 1, 2)
    return Results(
        schema_version=1,
        dataset=summary,
        findings=(),
        candidates=(first, second),
        recommended=made_recommendation(first),
        decided_at="2026-11-22T10:00:00+00:00",
        comparisons=(),
        baseline=made_baseline(first),
        shift=None,
        worth=(),
        learning_curve=CURVE,
        n_suspects=0,
        verdict=("Use tiny with finetune.",),
        n_folds=0,
        settings={"data": "/photos", "backbones": ["tiny"], "image_size": None},
        versions={"python": "3.12.1"},
        data_sha256="",
        weights_sha256={},
        seed=0,
        seconds=12.5,
        forecast=Forecast({}, 1.0, 0.0, 500.0),
    )


def test_a_candidate_is_found_by_its_names(results: Results) -> None:
    assert results.chosen is results.candidates[0]
    assert results.candidate("tiny", "features") is results.candidates[1]
    with pytest.raises(KeyError, match="mobilenet_v2"):
        results.candidate("mobilenet_v2", "features")


def test_results_come_back_from_their_file(results: Results, tmp_path: Path) -> None:
    records.write_json(tmp_path / "results.json", results)
    assert records.read_json(tmp_path / "results.json", Results) == results


def test_the_file_names_what_the_interface_promises(results: Results) -> None:
    written = msgspec.json.decode(records.to_json(results))
    assert {"schema_version", "dataset", "candidates", "recommended", "settings", "versions", "seed"} <= set(
        written
    )
    assert written["recommended"]["backbone"] == "tiny"
    assert written["recommended"]["technique"] == "finetune"
    assert written["candidates"][1]["test"] is None
