"""Fine-tuned networks side by side: the mean of their logits is a candidate like any other."""

import dataclasses
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import write_mixed_photos

import headstart
from headstart.base.settings import Settings
from headstart.networks import backbones, classifier, engine, pieces
from headstart.networks.table import TABLE
from headstart.results.comparison import Candidate, Results
from headstart.statistics.metrics import log_loss, softmax
from headstart.workflow import experiment
from headstart.workflow.techniques import averaging
from headstart.workflow.techniques.draft import Trained

TINY = next(row for row in TABLE if row.name == "tiny")
BOTH = "tiny+tiny_wide"


@dataclasses.dataclass
class Kept:
    """A run of two fine-tuned networks: its results, and of each candidate what it was trained to."""

    results: Results
    trained: dict[str, Trained]
    photos: Path
    labels: np.ndarray

    def candidate(self, backbone: str) -> Candidate:
        return next(one for one in self.results.candidates if one.backbone == backbone)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kept]:
    """The folders of all candidates are copied before the run deletes them."""
    folder, trained, labels = tmp_path_factory.mktemp("averaged"), dict[str, Trained](), []
    write_mixed_photos(folder / "photos")

    def copied(one: Trained) -> Trained:
        there = shutil.copytree(one.folder, folder / one.folder.name)
        return dataclasses.replace(one, folder=there)

    def told(tuned: Sequence[Any], lesson: Any, bench: Any) -> Iterator[Any]:
        labels.append(lesson.photos.labels)
        for opened, made in averaging.averaged(tuned, lesson, bench):
            trained.update(
                {one.candidate.backbone: copied(one) for one in (made, *(two for _, two in tuned))}
            )
            yield opened, made

    with pytest.MonkeyPatch.context() as patch:
        wide = dataclasses.replace(TINY, name="tiny_wide", feature_size=12)
        patch.setattr(backbones, "TABLE", (*TABLE, wide))
        patch.setattr(experiment, "averaged", told)
        results = headstart.compare(
            folder / "photos",
            backbones=("tiny", "tiny_wide"),
            techniques=("finetune",),
            epochs=30,
            folds=2,
            learning_rate=1e-2,
            unfreeze="all",
            augment="none",
            report=True,
            out=str(folder / "run"),
        )
        yield Kept(results, trained, folder / "photos", labels[0])


def test_it_is_a_candidate_beside_those_it_is_made_of(kept: Kept) -> None:
    assert {one.name for one in kept.results.candidates} == {
        "tiny/finetune",
        "tiny_wide/finetune",
        f"{BOTH}/finetune",
    }
    both, alone = kept.candidate(BOTH), [kept.candidate(name) for name in BOTH.split("+")]
    assert both.training.trained_layers == sum(one.training.trained_layers for one in alone)
    assert sum(both.training.shares) == 1
    assert both.training.shares[0] in averaging.WEIGHTS
    assert both.seconds["finetune"] == pytest.approx(sum(one.seconds["finetune"] for one in alone))


def test_its_answers_are_the_mean_of_the_calibrated_logits_of_least_loss(kept: Kept) -> None:
    rows = kept.trained[BOTH].validation.rows

    def logits(name: str) -> Any:
        one = kept.trained[name]
        return np.log(one.validation.of(rows)) / one.candidate.calibration.temperature

    first, second = (logits(name) for name in BOTH.split("+"))
    tried = {weight: softmax(weight * first + (1 - weight) * second) for weight in averaging.WEIGHTS}
    best = min(tried, key=lambda weight: log_loss(kept.labels[rows], tried[weight]))
    assert kept.candidate(BOTH).training.shares == (best, 1 - best)
    assert kept.trained[BOTH].validation.probabilities == pytest.approx(tried[best], abs=1e-5)


def test_the_saved_graph_gives_that_mean_for_any_photo(kept: Kept) -> None:
    files = sorted(kept.photos.rglob("*.jpg"))[:6]
    loaded = {name: classifier.load(one.folder) for name, one in kept.trained.items()}
    asked = {name: model.ask(files)[0] for name, model in loaded.items()}
    shares = kept.candidate(BOTH).training.shares
    mean: Any = sum(share * np.log(asked[name]) for name, share in zip(BOTH.split("+"), shares, strict=True))
    temperature = kept.candidate(BOTH).calibration.temperature
    assert asked[BOTH] == pytest.approx(softmax(mean / temperature), abs=1e-5)


def test_its_keras_model_is_both_networks_side_by_side(kept: Kept) -> None:
    whole = pieces.load(kept.trained[BOTH].folder)
    picture = np.random.default_rng(0).integers(0, 255, (1, 32, 32, 3)).astype(np.uint8)
    loaded = classifier.load(kept.trained[BOTH].folder).engine
    assert whole.backbone is not None
    on_keras = whole.on(engine.KerasEngine(whole.backbone))
    assert on_keras(picture) == pytest.approx(loaded(picture), abs=1e-5)
    assert on_keras.headless()(picture) == pytest.approx(loaded.headless()(picture), abs=1e-5)


@pytest.mark.parametrize(("pair", "best_epoch"), [(False, 30), (True, 0)])
def test_without_pairs_or_gain_there_is_none(pair: bool, best_epoch: int, kept: Kept) -> None:
    bench: Any = type("Bench", (), {"settings": Settings(data="photos", pair=pair)})
    tuned: Any = []
    for name in BOTH.split("+"):
        made = kept.trained[name]
        training = dataclasses.replace(made.candidate.training, best_epoch=best_epoch)
        candidate = dataclasses.replace(made.candidate, training=training)
        tuned.append((None, dataclasses.replace(made, candidate=candidate)))
    assert not list(averaging.averaged(tuned, None, bench))  # type: ignore[arg-type]
