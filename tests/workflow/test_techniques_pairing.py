"""Backbones side by side: which pair is tried, and that it is a candidate like any other."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import headstart
from headstart.base.errors import SettingsError
from headstart.base.settings import Settings
from headstart.networks import backbones, classifier, engine
from headstart.networks.table import TABLE, Backbone, alone, together
from headstart.results.comparison import Results

TINY = next(row for row in TABLE if row.name == "tiny")


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> Backbone:
    """A second network that needs no weights: tiny with more channels."""
    row = dataclasses.replace(TINY, name="tiny_wide", feature_size=12)
    monkeypatch.setattr(backbones, "TABLE", (*TABLE, row))
    return row


def compare(photos: Path, out: Path, *names: str, **settings: Any) -> Results:
    asked: dict[str, Any] = {"techniques": ("features",), "report": False} | settings
    return headstart.compare(photos, backbones=names, out=str(out), **asked)


def test_the_best_two_are_a_candidate_that_is_saved_and_loaded(photos: Path, tmp_path: Path) -> None:
    results = compare(photos, tmp_path / "run", "tiny", "tiny_wide")
    names = {one.backbone: one for one in results.candidates}
    assert set(names) == {"tiny", "tiny_wide", "tiny+tiny_wide"}
    pair = names["tiny+tiny_wide"]
    n_heads = pair.parameters - TINY.parameters - backbones.find("tiny_wide").parameters
    assert (
        n_heads
        == sum(names[one].parameters - backbones.find(one).parameters for one in ("tiny", "tiny_wide")) - 2
    )
    assert pair.size_mb == pytest.approx(names["tiny"].size_mb + names["tiny_wide"].size_mb, rel=0.5)
    assert set(results.weights_sha256) == {"tiny", "tiny_wide"}


def test_what_is_asked_for_side_by_side_is_the_only_candidate(photos: Path, tmp_path: Path) -> None:
    results = compare(photos, tmp_path / "run", "tiny+tiny_wide", report=True)
    assert [one.backbone for one in results.candidates] == ["tiny+tiny_wide"]
    model = classifier.load_run(tmp_path / "run")
    assert model.record.backbone == "tiny+tiny_wide"
    (said,) = model.predict(photos / "red" / "red_00.jpg")
    assert said.label == "red"
    assert "the networks tiny and tiny_wide, side by side" in (tmp_path / "run" / "README.md").read_text()


def test_no_pair_is_none(photos: Path, tmp_path: Path) -> None:
    results = compare(photos, tmp_path / "run", "tiny", "tiny_wide", pair=False)
    assert {one.backbone for one in results.candidates} == {"tiny", "tiny_wide"}


def test_joined_features_are_those_of_each_side_by_side(wide: Backbone) -> None:
    picture = np.random.default_rng(0).integers(0, 255, (1, 64, 64, 3), np.uint8)
    each = [engine.open_backbone(row, image_size_px=64) for row in (TINY, wide)]
    assert engine.join(each)(picture) == pytest.approx(
        np.concatenate([one(picture) for one in each], axis=1), abs=1e-6
    )


def test_backbones_side_by_side_are_not_fine_tuned() -> None:
    with pytest.raises(SettingsError) as caught:
        Settings(data="photos", backbones=("tiny+mobilenet_v2",), techniques=("finetune",))
    assert str(caught.value) == (
        "backbones is tiny+mobilenet_v2, and techniques is finetune alone.\n"
        "Backbones side by side give features alone: add features to the techniques."
    )


def test_a_pair_is_made_of_its_rows(wide: Backbone) -> None:
    both = together(TINY, wide)
    assert (both.name, both.parts, both.feature_size) == ("tiny+tiny_wide", (TINY, wide), 12)
    assert alone([both, TINY]) == (TINY, wide)
    assert backbones.find("tiny+tiny_wide") == both
    assert backbones.find("tiny+tiny") == TINY
