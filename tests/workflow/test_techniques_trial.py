"""A backbone on photos: what it cannot know, what a second run need not do, and what folds and seeds do."""

import gc
from collections.abc import Iterator
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import pytest

import headstart
from headstart.base.progress import Progress
from headstart.base.settings import Settings
from headstart.networks import backbones, engine
from headstart.results.comparison import Results
from headstart.results.run import Run
from headstart.storage.store import Store
from headstart.workflow import experiment
from headstart.workflow.preparation import Photos, foresee, list_photos, prepare, taste
from headstart.workflow.techniques.bench import Bench, open_backbone


def compare(photos: Path, out: Path, **settings: Any) -> Results:
    return headstart.compare(
        photos, backbones=("tiny",), out=str(out), **{"folds": 0, "report": False} | settings
    )


def refuse(*_: object, **__: object) -> None:
    raise AssertionError("it was trained again")


def reachable(*roots: object) -> Iterator[object]:
    """All that some objects lead to, by attributes, items and closures; classes and modules lead nowhere."""
    seen, waiting = set(), list(roots)
    while waiting:
        one = waiting.pop()
        if id(one) in seen or isinstance(one, type | ModuleType):
            continue
        seen.add(id(one))
        yield one
        if isinstance(one, FunctionType):  # but not by its globals
            waiting += [one.__closure__, one.__defaults__, one.__kwdefaults__]
        else:
            waiting += gc.get_referents(one)


def told_of_test(photos: Photos, *roots: object) -> set[str]:
    """What some objects lead to of the test part: its paths, files, labels and groups."""
    secrets = {name: getattr(photos.test, name) for name in ("labels", "groups", "sample_weights")}
    names = {*photos.test.paths, *photos.test.files, *map(str, photos.test.files)}
    found = list(reachable(*roots))
    told = {name for name, secret in secrets.items() if any(one is secret for one in found)}
    return told | {str(one) for one in found if isinstance(one, str | Path) and one in names}


def test_before_the_decision_nothing_leads_to_the_test_part(photos: Path, tmp_path: Path) -> None:
    settings = Settings(data=str(photos), backbones=("tiny",), folds=0, techniques=("features",))
    (tmp_path / "run").mkdir()
    run = Run(tmp_path / "run")
    with Store(Progress(), tmp_path / "store") as store:
        bench = Bench(settings, run.work, store, Progress())
        listed = list_photos(bench)
        opened = [open_backbone(backbones.find("tiny"), 32, bench)]
        [prospect] = foresee(listed, opened, taste(listed, opened, bench), bench)
        data = prepare(run, listed, opened, (), bench)
        trial = experiment.open_trial(prospect, data, bench)
        trained = trial.extraction.train()
        assert told_of_test(data, trial, trained) == set()
        assert trial.work(1).n_test == len(data.test.files) == 8
        # What is learnt from is found in the same way, and so would the test part be.
        assert any(one is data.lesson.photos.labels for one in reachable(trial))
        assert {"labels", data.test.paths[0]} <= told_of_test(data, trial, data)


def test_a_second_run_on_the_same_photos_computes_no_feature_and_needs_no_tensorflow(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = compare(photos, tmp_path / "one", techniques=("features",))
    asked: list[int] = []
    outputs = engine.OpenVINOEngine.outputs

    def counted(self: engine.OpenVINOEngine, pictures: Any) -> Any:
        taken = list(pictures)
        asked.append(len(taken))
        return outputs(self, taken)

    monkeypatch.setattr(engine.OpenVINOEngine, "outputs", counted)
    monkeypatch.setattr(backbones, "build", refuse)
    second = compare(photos, tmp_path / "two", techniques=("features",))
    # The kept model is asked about some test photos again, and nothing else is asked.
    assert asked == [experiment.CHECKED_AGAIN]
    assert second.candidates[0].test == first.candidates[0].test


def test_a_budget_leaves_out_and_says_so(photos: Path, tmp_path: Path) -> None:
    results = compare(photos, tmp_path / "run", budget="1s")
    assert [one.technique for one in results.candidates] == ["features"]
    assert results.forecast.left_out == ("fine-tuning of tiny",)
    assert results.forecast.budget_seconds == 1
    assert (results.forecast.actual_seconds or 0) > 0


def test_keras_gives_what_openvino_gives(photos: Path, tmp_path: Path) -> None:
    by_engine = [
        compare(photos, tmp_path / kind, engine=kind, techniques=("features",))
        for kind in ("openvino", "keras")
    ]
    assert by_engine[0].chosen.test
    assert by_engine[1].chosen.test
    assert by_engine[0].chosen.test.log_loss == pytest.approx(by_engine[1].chosen.test.log_loss, abs=1e-4)
    assert (tmp_path / "keras" / "model" / "model.keras").is_file()
    assert headstart.load(tmp_path / "keras").predict(photos / "red" / "red_00.jpg")[0].label == "red"


def test_folds_choose_by_every_photo_that_is_not_tested_on(photos: Path, tmp_path: Path) -> None:
    results = compare(photos, tmp_path / "run", folds=None, epochs=1)
    data = results.dataset
    assert (results.n_folds, data.n_train, data.n_validation, data.n_test) == (5, 32, 0, 8)
    for one in results.candidates:
        # Each photo was judged once, by a network that was not trained on it.
        assert one.validation.n_images == 32
        assert one.calibration.n_images == 32
    assert results.learning_curve.n_evaluated == 32
    assert results.learning_curve.points[-1].n_photos == 26
    with (tmp_path / "run" / "split.csv").open() as stream:
        parts = [line.split(",")[2] for line in stream.read().splitlines()[1:]]
    assert sorted(set(parts)) == ["test", "train"]


def test_folds_hand_over_a_network_that_was_trained_on_all(photos: Path, tmp_path: Path) -> None:
    """Fine-tuned at a rate that moves it far: what is kept differs from each fold's, and is no worse."""
    settings = {"folds": 2, "epochs": 12, "techniques": ("finetune",), "learning_rate": 1e-2}
    results = compare(photos, tmp_path / "run", **settings)
    one = results.chosen
    assert one.training.best_epoch == 12
    assert one.validation.n_images == 32
    assert one.test
    assert one.test.accuracy == 1


def test_each_seed_trains_anew_and_the_first_is_handed_over(photos: Path, tmp_path: Path) -> None:
    alone = compare(photos, tmp_path / "alone", epochs=1)
    several = compare(photos, tmp_path / "several", epochs=1, seeds=2)
    tuned = several.candidate("tiny", "finetune")
    assert [one.seed for one in tuned.repeats] == [0, 1]
    assert tuned.test
    assert tuned.repeats[0].test_accuracy == tuned.test.accuracy
    assert tuned.repeats[0].validation_accuracy == tuned.validation.accuracy
    assert tuned.test == alone.candidate("tiny", "finetune").test
    assert alone.candidate("tiny", "finetune").repeats == ()
    # Features are fitted to the one best head, whatever the seed.
    assert several.candidate("tiny", "features").repeats == ()
