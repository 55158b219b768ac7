"""The verdict to the letter, and that no sentence stands without a number."""

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

import msgspec
import numpy as np
import pytest
from conftest import made_measured

from headstart import calibration, verdict
from headstart.calibration import Abstention, Calibration, Conformal, Selection
from headstart.comparison import Candidate, FindingSummary, Training, Worth
from headstart.forecast import Forecast
from headstart.learning_curve import LearningCurve, MorePhotos, PowerLaw, Prediction
from headstart.metrics import Evaluation, PerClass
from headstart.significance import Comparison, Decision, Interval
from headstart.suspects import Expectation, Suspect
from headstart.verdict import Evidence

SCORES = Evaluation(
    n_images=400,
    accuracy=0.9,
    balanced_accuracy=0.88,
    macro_f1=0.88,
    log_loss=0.3,
    per_class=(
        PerClass("shirt", 0.84, 0.8, 0.82, 100),
        PerClass("hat", 0.95, 0.96, 0.955, 200),
        PerClass("shoe", 0.9, 0.88, 0.89, 100),
    ),
    confusion=((80, 5, 15), (4, 192, 4), (10, 2, 88)),
)


CALIBRATION = Calibration(
    n_images=360,
    temperature=1.2,
    abstention=Abstention(0.973, 0.01, 0.95, Selection(360, 300, 0, 0.83, 0.0, Interval(0, 0.013, 0.95))),
    conformal=Conformal(0.95, 0.2, "lac", 360),
)


def candidate(name: str, technique: str = "features", **changes: object) -> Candidate:
    seconds = {"features": 12.0, "probe": 3.0, **({"finetune": 200.0} if technique == "finetune" else {})}
    made = Candidate(
        backbone=name,
        technique=technique,
        validation=replace(SCORES, n_images=360),
        test=made_measured(SCORES),
        calibration=CALIBRATION,
        seconds=seconds,
        parameters=2_200_000,
        size_mb=9.0,
        latency_ms=4.0,
        training=Training(224, 0.1),
    )
    return replace(made, **changes)  # type: ignore[arg-type]


FINETUNE = candidate("lite0", "finetune", size_mb=13.6, latency_ms=7.1)
LITE0 = candidate("lite0", size_mb=13.6, latency_ms=7.0)
MOBILE = candidate("mobile")


def compared(a: Candidate, b: Candidate, difference: float, decision: Decision) -> Comparison:
    interval = Interval(difference - 0.02, difference + 0.015, 0.95)
    names = verdict.name_of(a), verdict.name_of(b)
    return Comparison(*names, 400, difference, interval, 8, 16, 0.15, 0.3, decision)


def intervals(*candidates: Candidate) -> Mapping[str, Interval]:
    return {verdict.name_of(one): Interval(0.8668, 0.9256, 0.95) for one in candidates}


CURVE = LearningCurve(
    n_evaluated=360,
    points=(),
    law=PowerLaw(0.05, 1.2, 0.4),
    fitted=(),
    doubled=Prediction(6000, 0.915, Interval(0.9, 0.93, 0.95)),
    more=MorePhotos(0.01, 1873, 912, 5241),
    per_class=(),
)


LEAK = FindingSummary("leak", "a.jpg is also b.jpg.", "Keep it in one part.", ("a.jpg", "b.jpg"))
COPY = FindingSummary("duplicate", "c.jpg is also d.jpg.", "Remove one.", ("c.jpg", "d.jpg"))

ALONE = Evidence(
    candidates=(MOBILE,),
    accuracy=intervals(MOBILE),
    comparisons=(),
    worth=(),
    calibration=None,
    selection=None,
    max_error=0.01,
    n_images=3781,
    findings=(),
    n_judged=0,
    suspects=(),
    learning_curve=None,
    forecast=Forecast({}, 100.0, 0.0, 500.0),
)

TRIED = (FINETUNE, LITE0, MOBILE)
AGAINST = (
    compared(LITE0, FINETUNE, -0.03, "worse"),
    compared(MOBILE, FINETUNE, -0.0125, "tie"),
)

WHOLE = replace(
    ALONE,
    candidates=TRIED,
    accuracy=intervals(*TRIED),
    comparisons=AGAINST,
    worth=verdict.worth_finetuning(TRIED, [compared(FINETUNE, LITE0, 0.03, "better")], 307.0),
    calibration=CALIBRATION,
    selection=Selection(400, 320, 2, 0.8, 2 / 320, Interval(0.001, 0.02, 0.95)),
    findings=(LEAK, COPY, COPY),
    n_judged=3409,
    suspects=(Suspect("hat/3.jpg", "hat", "shoe", 0.01, 0.97),) * 41,
    suspects_expected=Expectation("lite0/features", 3409, 0.861, 17.3, 33),
    learning_curve=CURVE,
    forecast=Forecast({}, 720.0, 0.0, 500.0, actual_seconds=655.0, left_out=("fine-tuning of mobile",)),
)


def test_one_candidate_of_which_nothing_else_is_known() -> None:
    assert verdict.write(ALONE) == (
        "Use mobile with features: it is right on 90.0% of 400 test photos (95% interval 86.7% to 92.6%).",
        "It took 15 s to train, and takes 4.0 ms for a photo on this machine and 9.0 MB on disk.",
        "The check of 3,781 photos gave 0 findings.",
        "The weakest class is shirt: 80 of its 100 test photos are found, and 15 are taken for shoe.",
    )


def test_all_there_is_to_say() -> None:
    assert verdict.write(WHOLE) == (
        "Use mobile with features: it is right on 90.0% of 400 test photos (95% interval 86.7% to 92.6%).",
        "It ties with lite0 with finetune, the best on validation (-1.2 points, 95% interval -3.2 to +0.2), "
        "and is cheaper: 4.0 ms a photo against 7.1, 9.0 MB against 13.6. It is kept as `cheaper`.",
        "Fine-tuning lite0 instead of training on its features changed accuracy on 400 test photos by "
        "+3.0 points (95% interval +1.0 to +4.5) for 3 min 20 s more: it was worth it.",
        "Where it is 97.3% sure or more, at most 1.0% of its answers should be wrong: on test these were 80% "
        "of the photos, and 2 of 320 were wrong.",
        "It took 15 s to train, and takes 4.0 ms for a photo on this machine and 9.0 MB on disk; the whole "
        "comparison took 10 min 55 s, forecast 12 min 0 s, and left out fine-tuning of mobile for lack of "
        "time.",
        "The check of 3,781 photos gave 3 findings (1 leak, 2 duplicate), and 41 of 3,409 labels look wrong "
        "(suspects.csv), where to a model that is right on 86%, about 17 of as many right labels would: look "
        "first at hat/3.jpg, labelled hat and more like shoe.",
        "The weakest class is shirt: 80 of its 100 test photos are found, and 15 are taken for shoe.",
        "One point of accuracy takes about 1,900 more training photos (910 to 5,200), by the learning curve "
        "of the features.",
    )


def rivals(candidates: tuple[Candidate, ...], *comparisons: Comparison) -> str:
    evidence = replace(ALONE, candidates=candidates, accuracy=intervals(*candidates), comparisons=comparisons)
    return verdict.write(evidence)[1]


def test_better_than_the_other() -> None:
    assert rivals((LITE0, MOBILE), compared(MOBILE, LITE0, -0.04, "worse")) == (
        "On these photos it is better than mobile with features, which differs by -4.0 points "
        "(95% interval -6.0 to -2.5)."
    )


def test_a_tie_with_one_that_is_no_cheaper() -> None:
    assert rivals((MOBILE, LITE0), compared(LITE0, MOBILE, 0.0, "tie")) == (
        "On these photos it ties with lite0 with features, which differs by 0.0 points "
        "(95% interval -2.0 to +1.5)."
    )


def test_one_of_several_came_out_better() -> None:
    found = (compared(LITE0, MOBILE, 0.03, "better"), compared(FINETUNE, MOBILE, 0.0, "tie"))
    assert rivals((MOBILE, LITE0, FINETUNE), *found) == (
        "On these photos it ties with 1 and is worse than 1 of the 2 other candidates; the best of them, "
        "lite0 with features, differs by +3.0 points (95% interval +1.0 to +4.5); mobile with features was "
        "chosen before, on 360 validation photos."
    )


@pytest.mark.parametrize(("decision", "preferred"), [("tie", MOBILE), ("worse", LITE0), ("better", LITE0)])
def test_the_cheaper_is_recommended_only_of_ties(decision: Decision, preferred: Candidate) -> None:
    assert verdict.recommended((LITE0, MOBILE), [compared(MOBILE, LITE0, 0.0, decision)]) is preferred


@pytest.mark.parametrize(
    ("n_images", "missed", "reason"),
    [
        (
            120,
            (),
            "that takes 299 validation photos without a mistake, and there are 120; at most 3.0% can be "
            "promised (`--max-error 0.03`)",
        ),
        (
            304,
            (0, 100, 200, 290),  # enough photos: the mistakes are the cause
            "that takes 299 validation photos without a mistake, or more with few, and 4 of the 299 surest "
            "(of 304) are mistaken. Of photos like these 20,000 would not do; at most 4.0% can be promised "
            "(`--max-error 0.04`)",
        ),
        (
            304,
            (290,),
            "that takes 299 validation photos without a mistake, or more with few, and 1 of the 299 surest "
            "(of 304) is mistaken. Of photos like these about 340 would do; at most 2.0% can be promised "
            "(`--max-error 0.02`)",
        ),
        (
            20,
            range(15),
            "that takes 299 validation photos without a mistake, or more with few, and 15 of the 20 are "
            "mistaken. Of photos like these 20,000 would not do; not even 40% can be promised",
        ),
    ],
)
def test_why_no_threshold_can_be_promised(n_images: int, missed: Sequence[int], reason: str) -> None:
    confidence, correct = np.linspace(1, 0.5, n_images, dtype=np.float32), np.ones(n_images, bool)
    correct[list(missed)] = False
    found = calibration.shortfall(confidence, correct, 0.01)
    given = replace(CALIBRATION, abstention=None, n_images=n_images, shortfall=found)
    assert verdict.write(replace(ALONE, calibration=given))[1] == (
        "No threshold of confidence can promise that at most 1.0% of the answers above it are wrong: "
        f"{reason}."
    )


def test_labels_that_all_look_right() -> None:
    sentences = verdict.write(replace(ALONE, n_judged=3409, findings=(COPY,)))
    assert sentences[2] == (
        "The check of 3,781 photos gave 1 finding (1 duplicate), and 0 of 3,409 labels look wrong."
    )


@pytest.mark.parametrize(
    ("n_suspects", "expected", "said"),
    [
        (
            97,
            Expectation("textile/features", 1600, 0.86, 90.2, 130),
            "97 of 1,600 labels look wrong, which is no sign that they are: to a model that is right on 86%, "
            "about 90 of as many right labels would (suspects.csv)",
        ),
        (
            1,
            Expectation("lite0/features", 1600, 0.991, 0.3, 1),
            "1 of 1,600 labels looks wrong, which is no sign that they are: to a model that is right on 99%, "
            "hardly any of as many right labels would (suspects.csv)",
        ),
        (
            2,
            Expectation("lite0/features", 1600, 0.991, 0.3, 1),
            "2 of 1,600 labels look wrong (suspects.csv), where to a model that is right on 99%, hardly any "
            "of as many right labels would: look first at hat/3.jpg, labelled hat and more like shoe",
        ),
        (
            2,
            None,
            "2 of 1,600 labels look wrong (suspects.csv): look first at hat/3.jpg, labelled hat and more "
            "like shoe",
        ),
    ],
)
def test_labels_that_look_wrong_beside_those_that_would(
    n_suspects: int, expected: Expectation | None, said: str
) -> None:
    suspects = WHOLE.suspects[:1] * n_suspects
    evidence = replace(ALONE, n_judged=1600, suspects=suspects, suspects_expected=expected)
    assert verdict.write(evidence)[2] == f"The check of 3,781 photos gave 0 findings, and {said}."


def test_without_a_mistake_no_class_is_weakest() -> None:
    right = replace(SCORES, accuracy=1.0, confusion=((100, 0, 0), (0, 200, 0), (0, 0, 100)))
    right = replace(right, per_class=tuple(replace(one, recall=1.0) for one in SCORES.per_class))
    sentences = verdict.write(replace(ALONE, candidates=(replace(MOBILE, test=made_measured(right)),)))
    assert len(sentences) == 3
    assert not any("weakest" in one for one in sentences)


def test_how_many_more_photos_cannot_be_said() -> None:
    reason = "it is 778 or more, with no upper limit in sight"
    unsaid = replace(CURVE, more=MorePhotos(0.01, None, None, None, reason))
    assert verdict.write(replace(ALONE, learning_curve=unsaid))[-1] == (
        f"How many more training photos bring 1 point of accuracy cannot be said: {reason}."
    )


def test_three_to_eight_sentences_each_with_a_number() -> None:
    choices = {
        "calibration": (None, CALIBRATION, replace(CALIBRATION, abstention=None)),
        "findings": ((), (LEAK,)),
        "n_judged": (0, 3409),
        "suspects": ((), WHOLE.suspects),
        "learning_curve": (None, CURVE),
        "worth": ((), WHOLE.worth),
    }
    for base in (ALONE, WHOLE):
        for chosen in itertools.product(*choices.values()):
            sentences = verdict.write(replace(base, **dict(zip(choices, chosen, strict=True))))  # type: ignore[arg-type]
            assert 3 <= len(sentences) <= 8
            for one in sentences:
                assert re.search(r"\d", one), one
                assert one.endswith(".")
                assert "  " not in one


def test_what_was_not_measured_is_refused() -> None:
    with pytest.raises(ValueError) as caught:
        verdict.write(replace(ALONE, candidates=(replace(MOBILE, test=None),)))
    assert str(caught.value) == "mobile/features was not measured on test"


def test_worth_finetuning() -> None:
    slow = candidate("mobile", "finetune", seconds={"features": 12.0, "probe": 3.0, "finetune": 735.0})
    tried = (*TRIED, slow)
    found = verdict.worth_finetuning(
        tried,
        [
            *AGAINST,
            compared(slow, MOBILE, -0.0125, "tie"),
            compared(FINETUNE, LITE0, 0.03, "better"),
        ],
        photos_per_class=306.8,
    )
    assert [one.backbone for one in found] == ["lite0", "mobile"]
    lite0, mobile = found
    assert (lite0.gain, lite0.decision, lite0.n_images, lite0.seconds) == (0.03, "better", 400, 200.0)
    # 90% right, and the commonest class has 200 of 360 photos: (0.9 - 0.5556) / (1 - 0.5556).
    assert lite0.headway == pytest.approx(0.775)
    assert lite0.rule == "nothing"
    assert lite0.rule_of_thumb == (
        "The rule of thumb has no plain answer: 307 training photos of a class are few (from 1,000 on they "
        "are many), and the photos are unlike ImageNet's, for a probe gets 78% of the way from always saying "
        "the commonest class to no mistake (from 90% on they are like)."
    )
    assert mobile.measured == (
        "Fine-tuning mobile instead of training on its features changed accuracy on 400 test photos by "
        "-1.2 points (95% interval -3.2 to +0.2) for 12 min 15 s more: a tie, so features will do."
    )
    assert msgspec.json.decode(msgspec.json.encode(found), type=tuple[Worth, ...]) == found


@pytest.mark.parametrize(
    ("photos_per_class", "accuracy", "rule"),
    [(300, 0.99, "features"), (2000, 0.8, "finetune"), (300, 0.8, "nothing"), (2000, 0.99, "nothing")],
)
def test_the_rule_of_thumb(photos_per_class: float, accuracy: float, rule: str) -> None:
    probe = replace(LITE0, validation=replace(SCORES, accuracy=accuracy))
    found = [compared(FINETUNE, probe, -0.03, "worse")]
    [one] = verdict.worth_finetuning((FINETUNE, probe), found, photos_per_class)
    assert one.rule == rule
    assert one.measured.endswith("for 3 min 20 s more: it did harm.")


def test_headway_of_what_is_worse_than_guessing_and_of_one_class() -> None:
    assert verdict.headway(replace(SCORES, accuracy=0.2)) == 0
    only = (PerClass("hat", 1.0, 1.0, 1.0, 400),)
    assert verdict.headway(replace(SCORES, accuracy=1.0, per_class=only)) == 0


def test_of_backbones_tried_with_one_technique_nothing_is_said() -> None:
    assert verdict.worth_finetuning((FINETUNE, MOBILE), AGAINST, 307.0) == ()
