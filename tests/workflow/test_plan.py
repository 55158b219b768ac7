"""With a budget less is tried: costly backbones first, then fine-tuning by the probes, then passes."""

import time
from dataclasses import dataclass, field, replace
from typing import Any, cast

import pytest

from headstart.base.progress import Progress
from headstart.base.settings import Settings
from headstart.workflow import forecast
from headstart.workflow.forecast import Costs, Work
from headstart.workflow.plan import Plan
from headstart.workflow.techniques.trial import Prospect, Trial

WORK = Work(120, 100, 20, 30, 0, 0, 8, 3, 0, 100, 1, 1, 1, 1, True)


@dataclass
class Row:
    name: str
    parts: tuple[()] = ()


@dataclass
class Scores:
    log_loss: float


@dataclass
class Probes:
    scores: Scores


@dataclass
class Made:
    """A prospect, and a trial, whose costs are given, so that no machine decides the test."""

    name: str
    features_s: float
    pass_s: float
    log_loss: float
    is_known: bool = True
    row: Row = field(init=False)
    heads: Probes = field(init=False)

    def __post_init__(self) -> None:
        self.row, self.heads = Row(self.name), Probes(Scores(self.log_loss))

    def costs(self) -> Costs:
        return Costs()

    def work(self, epochs: int) -> Work:
        return WORK

    def features_stages(self) -> dict[str, float]:
        return {"features": self.features_s, "test": 1.0}

    def finetune_stages(self, epochs: int) -> dict[str, float]:
        return {"finetune": self.pass_s * epochs} if self.is_known else {}


class Remarks(Progress):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def remark(self, text: str) -> None:
        self.lines.append(text)


def foreseen(trials: list[Made], said: Remarks | None = None, **settings: Any) -> Plan:
    asked = Settings(data="photos", **{"pair": False, "epochs": 2} | settings)
    return Plan(cast(list[Prospect], trials), 5.0, asked, time.perf_counter(), said or Remarks())


def made_plan(trials: list[Made], said: Remarks | None = None, **settings: Any) -> Plan:
    plan = foreseen(trials, said, **settings)
    plan.go_on(cast(list[Trial], plan.prospects))
    return plan


def tuned(plan: Plan) -> list[tuple[str, int]]:
    return [(trial.row.name, epochs) for trial, epochs in plan.finetuning([one.row for one in plan.trials])]


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """One of two cores, of which each makes 10^11 multiplications a second, and whose clock stands still."""
    monkeypatch.setattr(forecast, "product_s", lambda: 1e-11)
    monkeypatch.setattr(forecast, "core_count", lambda: 2)
    now = time.perf_counter()
    monkeypatch.setattr(time, "perf_counter", lambda: now)


A, B, C = Made("a", 10, 100, 0.3), Made("b", 40, 100, 0.1), Made("c", 20, 300, 0.2)


def test_without_a_budget_all_is_tried_in_the_order_asked_for() -> None:
    said = Remarks()
    plan = made_plan([A, B, C], said)
    assert [trial.row.name for trial in plan.trials] == ["a", "b", "c"]
    assert tuned(plan) == [("a", 2), ("b", 2), ("c", 2)]
    assert plan.forecast.seconds == pytest.approx(11 + 41 + 21 + 200 + 200 + 600, abs=1)
    assert said.lines == ["Forecast: 17 min 58 s in all; 0 MB of disk, 3.4 GB of memory."]
    assert plan.with_actual().left_out == ()
    assert plan.forecast.first_seconds == pytest.approx(plan.forecast.seconds + 5, abs=1)


def test_few_photos_are_passed_over_more_often_and_the_forecast_knows() -> None:
    plan = made_plan([A, B], epochs="auto")
    assert tuned(plan) == [("a", 16), ("b", 16)]
    assert plan.forecast.seconds == pytest.approx(11 + 41 + 1600 + 1600, abs=1)
    tight = made_plan([A, B], epochs="auto", budget="15m")
    assert tuned(tight)[0] == ("b", 8)
    assert tight.with_actual().left_out[0] == "8 of 16 passes of fine-tuning b"


def test_what_is_known_later_is_said_later() -> None:
    said = Remarks()
    unknown = replace(A, is_known=False)
    plan = foreseen([unknown], said)
    plan.go_on(cast(list[Trial], [A]))
    assert said.lines == [
        "Forecast: 16 s in all, without fine-tuning, which is measured then; 0 MB of disk, 3.4 GB of memory.",
        "Forecast: 3 min 31 s in all; 0 MB of disk, 3.4 GB of memory.",
    ]
    assert plan.forecast.first_seconds is None


def test_a_forecast_that_was_off_is_said_again() -> None:
    said = Remarks()
    plan = foreseen([replace(A, features_s=300)], said, techniques=("features",))
    plan.go_on(cast(list[Trial], [A]))
    assert [line.partition(" in all")[0] for line in said.lines] == ["Forecast: 5 min 6 s", "Forecast: 11 s"]


def test_the_costliest_backbones_are_left_out_first() -> None:
    said = Remarks()
    plan = made_plan([A, B, C], said, budget="40s", techniques=("features",))
    assert [trial.row.name for trial in plan.trials] == ["a", "c"]
    assert said.lines[0] == "Left out for lack of time: b, which takes 41 s."
    assert plan.with_actual().left_out == ("b, which takes 41 s",)
    assert plan.forecast.budget_seconds == 40


def test_one_backbone_is_left_however_long_it_takes() -> None:
    assert [trial.row.name for trial in made_plan([A, B], budget="1s").trials] == ["a"]


def test_the_best_probes_are_fine_tuned_as_many_as_fit() -> None:
    said = Remarks()
    plan = made_plan([A, B, C], said, budget="5m")
    # b and a fit one by one (nothing really takes time here); c, three times as long, does not.
    assert tuned(plan) == [("b", 2), ("a", 2)]
    assert plan.with_actual().left_out == ("fine-tuning of c",)


def test_of_a_single_one_fewer_passes_are_made() -> None:
    plan = made_plan([C], budget="8m", epochs=3)
    assert tuned(plan) == [("c", 1)]
    assert plan.with_actual().left_out == ("2 of 3 passes of fine-tuning c",)


def test_where_not_even_one_pass_fits_features_are_left() -> None:
    plan = made_plan([C], budget="1m")
    assert tuned(plan) == []
    assert plan.with_actual().left_out == ("fine-tuning of c",)


def test_fine_tuning_alone_is_done_however_long_it_takes() -> None:
    assert tuned(made_plan([C], budget="1m", techniques=("finetune",))) == [("c", 1)]


def test_time_that_went_by_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = made_plan([A, B], budget="5m")
    now = time.perf_counter()
    monkeypatch.setattr(time, "perf_counter", lambda: now + 90)
    assert tuned(plan) == [("b", 2), ("a", 2)]
    monkeypatch.setattr(time, "perf_counter", lambda: now + 110)
    assert tuned(plan) == [("b", 1)]


def test_heads_of_pairs_are_a_stage_where_there_are_two() -> None:
    assert "pairs" not in made_plan([A, B]).forecast.stages
    assert made_plan([A, B], pair=True).forecast.stages["pairs"] > 0
    assert made_plan([A], pair=True).forecast.stages["pairs"] == 0
    assert "pairs" not in made_plan([A, B], pair=True, techniques=("finetune",)).forecast.stages
    assert made_plan([A, B], backbones=("a+b",)).forecast.stages["pairs"] > 0
