"""Tables as they stand on a terminal, to the letter, and narrow enough for one of 80 columns."""

from dataclasses import replace

from conftest import CALIBRATION, CURVE, made_baseline, made_measured, made_recommendation
from rich.cells import cell_len

from headstart.networks.backbones import TABLE, find
from headstart.reporting import leaderboard
from headstart.results.comparison import Candidate, DatasetSummary, Results, Training
from headstart.results.cost import Forecast
from headstart.statistics.metrics import Evaluation, PerClass
from headstart.statistics.significance import Comparison, Interval

SCORES = Evaluation(
    n_images=1_200,
    accuracy=0.925,
    balanced_accuracy=0.91,
    macro_f1=0.9044,
    log_loss=0.25,
    per_class=(PerClass("cat", 0.9, 1.0, 0.947, 1_000), PerClass("dog", 1.0, 0.82, 0.9011, 200)),
    confusion=((1000, 0), (90, 110)),
)

FEATURES = Candidate(
    backbone="efficientnet_lite0",
    technique="features",
    validation=replace(SCORES, accuracy=0.9),
    test=None,
    calibration=CALIBRATION,
    seconds={"features": 5.2, "probe": 1.2},
    parameters=3_400_000,
    size_mb=13.61,
    latency_ms=7.04,
    training=Training(224, 0.1),
)

FINETUNE = replace(
    FEATURES,
    technique="finetune",
    validation=SCORES,
    test=made_measured(SCORES),
    seconds={"finetune": 3671.0},
    latency_ms=7.26,
)


UNCLEAR = Comparison(
    "efficientnet_lite0/features",
    "efficientnet_lite0/finetune",
    1_200,
    -0.025,
    Interval(-0.05, 0.0, 0.95),
    10,
    40,
    0.06,
    0.06,
    "unclear",
)


def made_results(*candidates: Candidate) -> Results:
    best = candidates[0]
    return Results(
        schema_version=1,
        dataset=DatasetSummary(6_000, ("cat", "dog"), 3_900, 900, 1_200, 0, 0),
        findings=(),
        candidates=candidates,
        recommended=made_recommendation(best),
        decided_at="2026-11-22T10:00:00+00:00",
        comparisons=(UNCLEAR,),
        baseline=made_baseline(best),
        shift=None,
        worth=(),
        learning_curve=CURVE,
        n_suspects=0,
        verdict=("Use efficientnet_lite0 with finetune: it is right on 92.5% of 1,200 test photos.", "One."),
        n_folds=0,
        settings={},
        versions={},
        data_sha256="",
        weights_sha256={},
        seed=0,
        seconds=1.0,
        forecast=Forecast({}, 1.0, 0.0, 500.0),
    )


def test_the_leaderboard() -> None:
    assert (
        leaderboard.render(made_results(FINETUNE, FEATURES))
        == """\
6,000 photos of 2 classes: 3,900 to train on, 900 to choose by, 1,200 to measure on

  backbone            technique  validation   test    interval          ms   time
─────────────────────────────────────────────────────────────────────────────────
★ efficientnet_lite0  finetune        92.5%  92.5%  90.5–95.5%         7.3  61:11
  efficientnet_lite0  features        90.0%                     ?      7.0   0:06
  always hat                          55.0%  50.0%  45.0–55.0%  worse

★: the one to use, decided before test was read; rows: best on validation first
validation, test: accuracy; interval: 95%, of test; ms: one photo, on this machine
better, worse: than ★ on the same test photos; ?: they cannot tell the two apart
time: what it took, minutes:seconds

Use efficientnet_lite0 with finetune: it is right on 92.5% of 1,200 test
photos.
One.
"""
    )


def test_before_the_test_part_is_read_no_figure_of_it_is_claimed() -> None:
    text = leaderboard.render(made_results(FEATURES))
    assert "★ efficientnet_lite0  features        90.0%    " in text


def test_columns_stay_under_each_other_with_wide_letters() -> None:
    header, _, cat, dog = leaderboard.table(
        ("class", "photos"), [("猫", "1,000"), ("dog", "20")]
    ).splitlines()
    assert cell_len(header) == cell_len(cat) == cell_len(dog)


def test_backbones() -> None:
    rows = [(find("mobilenet_v2"), True), (find("convnext_xlarge"), False), (find("tiny"), True)]
    assert (
        leaderboard.render_backbones(rows)
        == """\
backbone         pixels  features  parameters  top-1  licence       weights
───────────────────────────────────────────────────────────────────────────
mobilenet_v2        224     1,280       2.3 M  71.9%  BSD-3-Clause  here
convnext_xlarge     224     2,048     348.1 M  86.7%  MIT           to pull
tiny                 32         8       1,464         none needed   here

pixels: side of the picture it is fed; features: numbers it makes of one
top-1: published accuracy on ImageNet
Weights to pull come on first use, or now by `headstart weights pull NAME`.
"""
    )


def test_the_whole_table_of_backbones_fits_80_columns() -> None:
    lines = leaderboard.render_backbones([(row, False) for row in TABLE]).splitlines()
    assert max(map(len, lines)) <= 80
    assert len(lines) == len(TABLE) + 6
