"""The verdict to the letter, and that no sentence stands without a number."""

import itertools
import re
from collections.abc import Sequence
from dataclasses import replace

import msgspec
import numpy as np
import pytest
from conftest import made_baseline, made_measured, made_recommendation

from headstart.results import verdict
from headstart.results.comparison import (
    Alternative,
    Baseline,
    Candidate,
    DatasetSummary,
    Epoch,
    FindingSummary,
    Measured,
    Repeat,
    Shift,
    Training,
    WithoutLeaks,
    Worth,
)
from headstart.results.cost import Forecast
from headstart.results.curve import LearningCurve, MorePhotos, PowerLaw, Prediction
from headstart.results.suspect import Expectation, Suspect
from headstart.results.verdict import Evidence
from headstart.statistics import calibration
from headstart.statistics.calibration import Abstention, Calibration, Conformal, Selection
from headstart.statistics.metrics import Evaluation, PerClass
from headstart.statistics.significance import Comparison, Decision, Interval

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


TEST = replace(
    made_measured(SCORES), selection=Selection(400, 320, 2, 0.8, 2 / 320, Interval(0.001, 0.02, 0.95))
)


def candidate(name: str, technique: str = "features", **changes: object) -> Candidate:
    seconds = {"features": 12.0, "probe": 3.0, **({"finetune": 200.0} if technique == "finetune" else {})}
    made = Candidate(
        backbone=name,
        technique=technique,
        validation=replace(SCORES, n_images=360),
        test=TEST,
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
    return Comparison(a.name, b.name, 400, difference, interval, 8, 16, 0.15, 0.3, decision)


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
    recommended=made_recommendation(MOBILE),
    comparisons=(),
    worth=(),
    baseline=made_baseline(MOBILE),
    shift=None,
    dataset=DatasetSummary(3781, ("shirt", "hat", "shoe"), 3068, 341, 372, 0, 0),
    max_error=0.01,
    findings=(),
    n_judged=0,
    suspects=(),
    learning_curve=None,
    forecast=Forecast({}, 100.0, 0.0, 500.0),
)

TRIED = (FINETUNE, LITE0, MOBILE)
AGAINST = (
    compared(LITE0, FINETUNE, -0.03, "worse"),
    compared(MOBILE, FINETUNE, -0.0125, "unclear"),
)
CHEAPER = Alternative("mobile", "features", 360, -0.0125, -0.034, 0.563, 0.662)
DECIDED = replace(
    made_recommendation(FINETUNE),
    why="It was the best on 360 validation photos, right on 90.0%.",
    alternatives=(Alternative("lite0", "features", 360, -0.03, -0.05, 0.986, 1.0), CHEAPER),
)

WHOLE = replace(
    ALONE,
    candidates=TRIED,
    recommended=DECIDED,
    baseline=made_baseline(FINETUNE),
    comparisons=AGAINST,
    worth=verdict.worth_finetuning(TRIED, [compared(FINETUNE, LITE0, 0.03, "better")], 307.0),
    findings=(LEAK, COPY, COPY),
    n_judged=3409,
    suspects=(Suspect("hat/3.jpg", "hat", "shoe", 0.01, 0.97),) * 41,
    suspects_expected=Expectation("lite0/features", 3409, 0.861, 17.3, 33),
    learning_curve=CURVE,
    forecast=Forecast({}, 720.0, 0.0, 500.0, actual_seconds=655.0, left_out=("fine-tuning of mobile",)),
)

CONFIDENCE = (
    "Where it is 97.3% sure or more, at most 1.0% of its answers should be wrong: on test these were 80% of "
    "the photos, and 2 of 320 were wrong."
)


def test_one_candidate_of_which_nothing_else_is_known() -> None:
    assert verdict.write(ALONE) == (
        "Use mobile with features: it is right on 90.0% of 400 test photos (95% interval 88.0% to 93.0%).",
        CONFIDENCE,
        "It took 15 s to train, and takes 4.0 ms for a photo on this machine and 9.0 MB on disk.",
        "The check of 3,781 photos gave 0 findings.",
        "The weakest class is shirt: 80 of its 100 test photos are found, and 15 are taken for shoe.",
    )


def test_all_there_is_to_say() -> None:
    assert verdict.write(WHOLE) == (
        "Use lite0 with finetune: it is right on 90.0% of 400 test photos (95% interval 88.0% to 93.0%).",
        "It was the best on 360 validation photos, right on 90.0%. mobile with features would save 44% of "
        "the time and 34% of the size, and may cost up to 3.4 points: on 360 photos that neither was fitted "
        "on it differs by -1.2 points.",
        "On test it is better than 1 of 2 others, the nearest being lite0 with features (-3.0 points, 95% "
        "interval -5.0 to -1.5) and cannot be told apart from mobile with features on these 400 photos (they "
        "could differ by up to 3.2 points).",
        "Fine-tuning lite0 instead of training on its features changed accuracy on 400 test photos by "
        "+3.0 points (95% interval +1.0 to +4.5) for 3 min 20 s more: it was worth it.",
        CONFIDENCE,
        "It took 3 min 35 s to train, and takes 7.1 ms for a photo on this machine and 13.6 MB on disk; the "
        "whole comparison took 10 min 55 s, forecast 12 min 0 s, and left out fine-tuning of mobile for lack "
        "of time.",
        "The check of 3,781 photos gave 3 findings (1 leak, 2 duplicate), and 41 of 3,409 labels look wrong "
        "(suspects.csv), where to a model that is 86% sure on average, about 17 of as many right labels "
        "would: look first at hat/3.jpg, labelled hat and more like shoe.",
        "The weakest class is shirt: 80 of its 100 test photos are found, and 15 are taken for shoe.",
        "One point of accuracy takes about 1,900 more training photos (910 to 5,200), by the learning curve "
        "of the features.",
    )


def rivals(use: Candidate, *comparisons: Comparison) -> str:
    evidence = replace(ALONE, candidates=TRIED, recommended=made_recommendation(use), comparisons=comparisons)
    return verdict.write(evidence)[2]


def test_better_than_the_other() -> None:
    assert rivals(LITE0, compared(MOBILE, LITE0, -0.04, "worse")) == (
        "On test it is better than mobile with features (-4.0 points, 95% interval -6.0 to -2.5)."
    )


def test_what_cannot_be_told_apart_is_not_called_alike() -> None:
    assert rivals(MOBILE, compared(LITE0, MOBILE, 0.0, "unclear")) == (
        "On test it cannot be told apart from lite0 with features on these 400 photos (they could differ by "
        "up to 2.0 points)."
    )


def test_of_several_that_cannot_be_told_apart_the_nearest_and_the_farthest_are_named() -> None:
    found = [compared(one, MOBILE, gain, "unclear") for one, gain in ((FINETUNE, 0.01), (LITE0, -0.01))]
    assert rivals(MOBILE, *found) == (
        "On test it cannot be told apart from 2 of 2 others on these 400 photos (it could differ by up to "
        "2.5 points from lite0 with finetune, the nearest, and by up to 3.0 from lite0 with features, the "
        "farthest)."
    )


def test_one_of_several_came_out_better() -> None:
    found = (compared(LITE0, MOBILE, 0.03, "better"), compared(FINETUNE, MOBILE, 0.0, "unclear"))
    assert rivals(MOBILE, *found) == (
        "On test it cannot be told apart from lite0 with finetune on these 400 photos (they could differ by "
        "up to 2.0 points) and is worse than lite0 with features (+3.0 points, 95% interval +1.0 to +4.5), "
        "which validation had not foretold."
    )


def test_what_the_last_pass_gained_and_more_would_cost() -> None:
    """Of two seeds as of one: the seconds are those of both."""
    history = (
        Epoch(0, None, 0.4, 0.88),
        *(Epoch(number, 0.3, 0.32 - number / 100, 0.9 + number / 200) for number in (1, 2, 3, 4)),
    )
    trained = candidate(
        "lite0",
        "finetune",
        seconds={"features": 20.0, "finetune": 131.0, "convert": 4.0},
        training=Training(224, 0.1, history=history, best_epoch=4),
    )
    said = (
        "The last of its 4 passes changed validation from 91.5% right to 92.0%, and the log loss from 0.290 "
        "to 0.280; to train with twice as many, `--epochs 8`, would take about {}."
    )

    def write(use: Candidate) -> tuple[str, ...]:
        return verdict.write(replace(WHOLE, candidates=(use, *TRIED[1:])))

    assert said.format("4 min 22 s") in write(trained)
    mean = replace(trained, training=replace(trained.training, is_mean=True))
    alone = said.replace("validation from", "validation of the trained layers alone from")
    assert alone.format("4 min 22 s") in write(mean)
    seeds = (Repeat(0, 0.92, 0.91), Repeat(1, 0.92, 0.93))
    assert said.format("2 min 11 s") in write(replace(trained, repeats=seeds))
    kept_probe = replace(trained, training=replace(trained.training, best_epoch=0))
    assert not any("passes" in one for one in write(kept_probe))


def test_why_a_cheaper_one_is_recommended_is_said_in_the_words_of_the_decision() -> None:
    why = "It saves 44% of the time of lite0 with finetune."
    cheaper = replace(made_recommendation(MOBILE), best_on_validation=FINETUNE.name, why=why)
    assert verdict.write(replace(WHOLE, recommended=cheaper))[1] == why


def first(test: Measured, **changes: object) -> str:
    changed = {"candidates": (replace(MOBILE, test=test),), **changes}
    return verdict.write(replace(ALONE, **changed))[0]  # type: ignore[arg-type]


def test_copies_of_test_photos_come_first() -> None:
    clean = WithoutLeaks(128, 0.4375, Interval(0.355, 0.524, 0.95))
    assert first(replace(TEST, without_leaks=clean)) == (
        "Use mobile with features: it is right on 43.8% of the 128 test photos that have no copy in train or "
        "validation (95% interval 35.5% to 52.4%); of all 400, copies included, on 90.0%."
    )


def test_a_test_part_of_nothing_but_copies_says_nothing() -> None:
    assert first(replace(TEST, without_leaks=WithoutLeaks(0, None, None))) == (
        "Use mobile with features: it is right on 90.0% of 400 test photos, but each of these has a copy in "
        "train or validation, so how it does on new photos is not known."
    )


def test_of_unequal_classes_the_average_comes_first() -> None:
    unequal = replace(TEST, per_class=(replace(SCORES.per_class[0], n_images=60), *SCORES.per_class[1:]))
    assert first(unequal) == (
        "Use mobile with features: it finds 88.0% of a class's test photos on average, all classes counted "
        "alike (95% interval 86.0% to 91.0%), and is right on 90.0% of all 400 (95% interval 88.0% to 93.0%)."
    )


def always(difference: float, decision: Decision) -> Baseline:
    interval = Interval(difference - 0.02, difference + 0.015, 0.95)
    found = Comparison(MOBILE.name, "always", 400, difference, interval, 8, 8, 1.0, 1.0, decision)
    return replace(made_baseline(MOBILE, 0.9), comparison=found)


def test_an_accuracy_that_guessing_gets_too_is_said_in_the_first_sentence() -> None:
    assert first(TEST, baseline=always(0.0, "unclear")) == (
        "Use mobile with features: it is right on 90.0% of 400 test photos (95% interval 88.0% to 93.0%). "
        "That is not clearly better than always saying hat, which is right on 90.0% of the same photos (0.0 "
        "points, 95% interval -2.0 to +1.5)."
    )
    assert "That is worse than always saying hat" in first(TEST, baseline=always(-0.05, "worse"))


SHIFT = Shift(341, 0.967, 394, 0.772, -0.195, Interval(-0.24, -0.15, 0.95), 1e-15, True)


@pytest.mark.parametrize(
    ("given_parts", "findings", "difference", "reason"),
    [
        (
            ("train", "test"),
            (),
            -0.195,
            "The test part is one of your own, and seems to be of another kind: another camera, place or "
            "season, or other labels. If new photos will be like those of test, believe test, and train on "
            "such photos too.",
        ),
        (
            ("train", "test"),
            (FindingSummary("crowd", "So many photos look alike.", "Group them.", ()),),
            -0.195,
            "The likeliest reason are copies: So many photos look alike. Validation then flatters, and test "
            "is to be believed.",
        ),
        (
            (),
            (),
            -0.195,
            "Both were drawn from the same photos, so either this is rare bad luck, which another --seed "
            "would show, or photos that belong together were divided: --group-by keeps them together.",
        ),
        (
            (),
            (),
            0.195,
            "The test photos are easier than those it was chosen by: see whether they were picked.",
        ),
    ],
)
def test_test_far_from_validation(
    given_parts: tuple[str, ...], findings: tuple[FindingSummary, ...], difference: float, reason: str
) -> None:
    shift, dataset = replace(SHIFT, difference=difference), replace(ALONE.dataset, given_parts=given_parts)
    changed = replace(ALONE, shift=shift, dataset=dataset, findings=findings)
    assert verdict.write(changed)[1] == (
        "On 341 photos that were held out before it was right on 96.7%, on 394 of test on 77.2%: "
        f"{100 * difference:+.1f} points (95% interval -24.0 to -15.0), which is more than chance (p < "
        f"0.001). {reason}"
    )
    assert verdict.write(replace(changed, shift=replace(shift, is_more_than_chance=False)))[1] == CONFIDENCE


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
    unpromised = replace(MOBILE, calibration=given, test=replace(TEST, selection=None))
    assert verdict.write(replace(ALONE, candidates=(unpromised,)))[1] == (
        "No threshold of confidence can promise that at most 1.0% of the answers above it are wrong: "
        f"{reason}."
    )


def test_labels_that_all_look_right() -> None:
    sentences = verdict.write(replace(ALONE, n_judged=3409, findings=(COPY,)))
    assert sentences[3] == (
        "The check of 3,781 photos gave 1 finding (1 duplicate), and 0 of 3,409 labels look wrong."
    )


@pytest.mark.parametrize(
    ("n_suspects", "expected", "said"),
    [
        (
            97,
            Expectation("textile/features", 1600, 0.86, 90.2, 130),
            "97 of 1,600 labels look wrong, which is no sign that they are: to a model that is 86% sure on "
            "average, about 90 of as many right labels would (suspects.csv)",
        ),
        (
            1,
            Expectation("lite0/features", 1600, 0.991, 0.3, 1),
            "1 of 1,600 labels looks wrong, which is no sign that they are: to a model that is 99% sure on "
            "average, hardly any of as many right labels would (suspects.csv)",
        ),
        (
            2,
            Expectation("lite0/features", 1600, 0.991, 0.3, 1),
            "2 of 1,600 labels look wrong (suspects.csv), where to a model that is 99% sure on average, "
            "hardly any of as many right labels would: look first at hat/3.jpg, labelled hat and more like "
            "shoe",
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
    assert verdict.write(evidence)[3] == f"The check of 3,781 photos gave 0 findings, and {said}."


def test_without_a_mistake_no_class_is_weakest() -> None:
    right = replace(SCORES, accuracy=1.0, confusion=((100, 0, 0), (0, 200, 0), (0, 0, 100)))
    right = replace(right, per_class=tuple(replace(one, recall=1.0) for one in SCORES.per_class))
    sentences = verdict.write(replace(ALONE, candidates=(replace(MOBILE, test=made_measured(right)),)))
    assert len(sentences) == 4
    assert not any("weakest" in one for one in sentences)


def test_how_many_more_photos_cannot_be_said() -> None:
    reason = "it is 778 or more, with no upper limit in sight"
    unsaid = replace(CURVE, more=MorePhotos(0.01, None, None, None, reason))
    assert verdict.write(replace(ALONE, learning_curve=unsaid))[-1] == (
        f"How many more training photos bring 1 point of accuracy cannot be said: {reason}."
    )


def test_four_to_ten_sentences_each_with_a_number() -> None:
    choices = {
        "shift": (None, SHIFT),
        "findings": ((), (LEAK,)),
        "n_judged": (0, 3409),
        "suspects": ((), WHOLE.suspects),
        "learning_curve": (None, CURVE),
        "worth": ((), WHOLE.worth),
    }
    for base in (ALONE, WHOLE):
        for chosen in itertools.product(*choices.values()):
            sentences = verdict.write(replace(base, **dict(zip(choices, chosen, strict=True))))  # type: ignore[arg-type]
            assert 4 <= len(sentences) <= 10
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
            compared(slow, MOBILE, -0.0125, "unclear"),
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
        "-1.2 points (95% interval -3.2 to +0.2) for 12 min 15 s more: these photos cannot tell whether it "
        "was worth it."
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


def test_what_kept_its_probe_was_not_worth_it() -> None:
    history = (Epoch(0, None, 0.4, 0.88), Epoch(1, 0.3, 0.5, 0.86))
    tuned = candidate(
        "lite0",
        "finetune",
        seconds={"features": 20.0, "finetune": 131.0, "convert": 4.0},
        training=Training(224, 0.1, history=history, best_epoch=0),
    )
    features = candidate("lite0", "features", seconds={"features": 20.0})
    against = [compared(tuned, features, 0.0, "unclear")]
    (found,) = verdict.worth_finetuning((tuned, features), against, 100.0)
    assert found.measured == (
        "Fine-tuning lite0 for 2 min 15 s gained nothing on validation on its features, whose head it kept: "
        "it was not worth it."
    )
