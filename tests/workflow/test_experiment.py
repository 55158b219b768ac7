"""From a folder of photos to a run folder: what is in it, in which order it came about, and again."""

import csv
import dataclasses
import errno
import hashlib
import io
import json
import math
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from conftest import Finished, write_mixed_photos, write_photos
from PIL import Image

import headstart
from headstart.base.errors import ChangedPhoto, RunError
from headstart.base.progress import Advance, Progress
from headstart.base.settings import Settings
from headstart.cli import main
from headstart.pictures import pixels
from headstart.results import snapshot
from headstart.results.comparison import Recommendation, Results
from headstart.results.run import Run
from headstart.storage.store import Store
from headstart.workflow import experiment

FULL = (
    "Free some space, or name a folder on another disk: --out RUN for the run, "
    "HEADSTART_CACHE=FOLDER for what is kept between runs, TMPDIR=FOLDER for what is temporary.\n"
)


def read_csv(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"))))


def probe(photos: Path, out: Path, **settings: Any) -> Results:
    """A comparison that needs no TensorFlow: one backbone, features; and no pictures of the photos."""
    settings = {"folds": 0, "report": False} | settings
    return headstart.compare(photos, backbones=("tiny",), techniques=("features",), out=str(out), **settings)


def command(photos: Path, out: Path, *more: str) -> Result:
    words = [
        "compare",
        str(photos),
        "--backbones",
        "tiny",
        "--techniques",
        "features",
        "--out",
        str(out),
        *more,
    ]
    return CliRunner().invoke(main, words)


def modified(folder: Path) -> dict[str, int]:
    """When each file, but the lock, was last written, in nanoseconds."""
    return {
        str(path.relative_to(folder)): path.stat().st_mtime_ns
        for path in sorted(folder.rglob("*"))
        if path.name != ".lock"
    }


def test_the_run_folder_holds_what_it_should(finished: Finished) -> None:
    assert sorted(path.name for path in finished.folder.iterdir()) == [
        ".lock",
        "README.md",
        "config.toml",
        "decision.json",
        "gallery.json",
        "model",
        "photos.csv",
        "predictions.csv",
        "quarantine.csv",
        "report.html",
        "results.json",
        "split.csv",
        "suspects.csv",
    ]


def test_results_have_the_documented_shape(finished: Finished) -> None:
    results = json.loads((finished.folder / "results.json").read_text(encoding="utf-8"))
    assert results["schema_version"] == 7
    assert results["seed"] == 3
    expected = {
        "n_images": 49,
        "class_names": ["blue", "green", "red"],
        "n_train": 32,
        "n_validation": 7,
        "n_test": 10,
        "n_quarantined": 1,
        "n_ignored": 1,
        "given_parts": [],
    }
    assert results["dataset"] == expected
    techniques = [(one["backbone"], one["technique"]) for one in results["candidates"]]
    assert sorted(techniques) == [("tiny", "features"), ("tiny", "finetune")]
    assert results["recommended"]["best_on_validation"] == "/".join(techniques[0])
    assert results["recommended"] == json.loads((finished.folder / "decision.json").read_text())
    assert {"python", "processor", "keras", "openvino", "numpy"} <= set(results["versions"])
    assert results["settings"]["epochs"] == 2


@pytest.mark.parametrize("technique", ["features", pytest.param("finetune", marks=pytest.mark.slow)])
def test_what_was_refused_on_test_is_what_the_model_refuses(technique: str, tmp_path: Path) -> None:
    write_mixed_photos(tmp_path / "photos")
    given: dict[str, Any] = {"backbones": ("tiny",), "techniques": (technique,), "epochs": 1, "folds": 0}
    out = tmp_path / "run"
    results = headstart.compare(
        tmp_path / "photos", out=str(out), max_refused=0.4, report=False, check=False, **given
    )
    chosen, model = results.chosen, headstart.load(out)
    assert chosen.test and chosen.test.refused and chosen.calibration.refusal
    assert chosen.calibration.refusal.part == 0.4
    rows = csv.DictReader((out / "split.csv").open(encoding="utf-8", newline=""))
    asked = [tmp_path / "photos" / row["path"] for row in rows if row["part"] == "test"]
    n_novel = sum(one.is_novel is True for one in model.predict(asked))
    assert (chosen.test.refused.n_images, chosen.test.refused.n_refused) == (len(asked), n_novel)
    assert 0 < n_novel < len(asked)
    assert chosen.test.refused.part == n_novel / len(asked)


@pytest.mark.parametrize("technique", ["features", "finetune"])
def test_a_candidate_has_the_documented_shape(technique: str, finished: Finished) -> None:
    results = json.loads((finished.folder / "results.json").read_text(encoding="utf-8"))
    candidate = next(one for one in results["candidates"] if one["technique"] == technique)
    # 1,464 of the backbone, and for each of 3 classes a bias and a weight a feature: 8 of the last layer and
    # 24 of stages before it.
    # Fine-tuned, two BatchNorms of 8 channels, four numbers each, are biases of convolutions.
    folded = 0 if technique == "features" else 2 * 8 * (4 - 1)
    assert candidate["parameters"] == 1464 - folded + 3 * 33
    assert 0 < candidate["size_mb"] < 0.1
    assert 0 < candidate["latency_ms"] < 1000
    stages = {"prepare", "features", "probe"}
    assert set(candidate["seconds"]) == stages | (
        {"augmentation", "finetune", "convert"} if technique == "finetune" else set()
    )
    for part, n_images in (("validation", 7), ("test", 10)):
        scores = candidate[part]
        assert {"accuracy", "balanced_accuracy", "macro_f1", "log_loss", "per_class"} <= set(scores)
        assert [one["name"] for one in scores["per_class"]] == ["blue", "green", "red"]
        assert sum(one["n_images"] for one in scores["per_class"]) == scores["n_images"] == n_images


def test_fine_tuning_is_not_worse_on_validation_than_its_probe(finished: Finished) -> None:
    best = Run(finished.folder).results().candidate("tiny", "finetune")
    probe_epoch = best.training.history[0]
    assert best.validation.accuracy >= probe_epoch.validation_accuracy
    assert best.validation.log_loss <= probe_epoch.validation_loss + 1e-3


def test_stdout_is_the_result_and_stderr_the_rest(finished: Finished) -> None:
    assert finished.stdout == (finished.folder / "results.json").read_text(encoding="utf-8")
    lines = finished.stderr.splitlines()
    assert "red/copy.jpg is also red/red_03.jpg. Copies stay in one part; remove all but one." in lines
    assert any("images/s" in line for line in lines)
    assert (
        lines[-1]
        == f"Use it: headstart predict {finished.folder.relative_to(finished.folder.parents[1])} PHOTO"
    )


def test_the_split_names_every_photo_once_and_keeps_copies_together(finished: Finished) -> None:
    rows = read_csv(finished.folder / "split.csv")
    assert list(rows[0]) == ["path", "label", "part", "group", "sha256"]
    for row in rows:
        assert row["sha256"] == hashlib.sha256((finished.photos / row["path"]).read_bytes()).hexdigest()
    on_disk = {path.relative_to(finished.photos).as_posix() for path in finished.photos.rglob("*.jpg")}
    assert {row["path"] for row in rows} == on_disk - {"green/damaged.jpg"}
    assert len(rows) == 49
    by_path = {row["path"]: row for row in rows}
    copies = by_path["red/copy.jpg"], by_path["red/red_03.jpg"]
    assert copies[0]["part"] == copies[1]["part"]
    assert copies[0]["group"] == copies[1]["group"]
    for part in ("train", "validation", "test"):
        assert {row["label"] for row in rows if row["part"] == part} == {"blue", "green", "red"}


def test_quarantine_gives_the_reason(finished: Finished) -> None:
    text = (finished.folder / "quarantine.csv").read_text(encoding="utf-8")
    assert text == "path,reason\ngreen/damaged.jpg,It is cut short.\n"


def test_predictions_have_a_row_for_each_candidate_and_test_photo(finished: Finished) -> None:
    rows = read_csv(finished.folder / "predictions.csv")
    header = [
        "backbone",
        "technique",
        "path",
        "label",
        "predicted",
        "confidence",
        "p_blue",
        "p_green",
        "p_red",
    ]
    assert list(rows[0]) == header
    test = {row["path"] for row in read_csv(finished.folder / "split.csv") if row["part"] == "test"}
    for technique in ("features", "finetune"):
        assert sorted(row["path"] for row in rows if row["technique"] == technique) == sorted(test)
    assert len(rows) == 2 * len(test)
    for row in rows:
        named = {name: float(row[f"p_{name}"]) for name in ("blue", "green", "red")}
        assert sum(named.values()) == pytest.approx(1, abs=2e-6)
        assert row["predicted"] == max(named, key=lambda name: named[name])
        assert float(row["confidence"]) == max(named.values())
        assert row["label"] == row["path"].split("/")[0]


def test_scores_on_test_are_those_of_the_predictions(finished: Finished) -> None:
    rows = read_csv(finished.folder / "predictions.csv")
    for candidate in Run(finished.folder).results().candidates:
        own = [row for row in rows if row["technique"] == candidate.technique]
        losses = [-math.log(max(float(row[f"p_{row['label']}"]), 1e-6)) for row in own]
        assert candidate.test
        assert candidate.test.accuracy == sum(row["label"] == row["predicted"] for row in own) / len(own)
        assert candidate.test.log_loss == pytest.approx(sum(losses) / len(own), abs=0.01)


@dataclass(frozen=True)
class Read:
    """A photo that was read, and how far the run was."""

    path: str
    is_split: bool
    is_decided: bool


@dataclass(frozen=True)
class Repeated:
    """The finished run repeated from its configuration, and every photo that it read, in order."""

    folder: Path
    reads: list[Read]


@pytest.fixture(scope="module")
def repeated(finished: Finished, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Repeated]:
    folder = tmp_path_factory.mktemp("repeated") / "run"
    reads: list[Read] = []
    read_bytes = pixels.read_bytes

    def recorded(path: str | Path, digest: str | None = None) -> bytes:
        short = Path(path).relative_to(finished.photos).as_posix()
        reads.append(Read(short, (folder / "split.csv").exists(), (folder / "decision.json").exists()))
        return read_bytes(path, digest)

    with pytest.MonkeyPatch.context() as patch:
        # An empty cache: what is kept of a photo would not be read again.
        patch.setenv("HEADSTART_CACHE", str(folder.parent / "cache"))
        patch.setattr(pixels, "read_bytes", recorded)
        words = ["compare", "--config", str(finished.folder / "config.toml"), "--out", str(folder)]
        words.append("--no-report")  # which reads photos of all parts again, for thumbnails
        done = CliRunner().invoke(main, words)
    assert done.exit_code == 0, done.stderr
    yield Repeated(folder, reads)


def test_the_decision_is_made_before_the_test_part_is_read(finished: Finished, repeated: Repeated) -> None:
    parts = {row["path"]: row["part"] for row in read_csv(finished.folder / "split.csv")}
    after_audit = [read for read in repeated.reads if read.is_split]
    before = {parts[read.path] for read in after_audit if not read.is_decided}
    after = {parts[read.path] for read in after_audit if read.is_decided}
    assert before == {"train", "validation"}
    assert after == {"test"}
    n_test = sum(part == "test" for part in parts.values())
    n_again = experiment.CHECKED_AGAIN  # beside those that the fine-tuned network is asked about
    assert sum(read.is_decided for read in after_audit) == n_test + n_again


def test_kept_features_of_the_test_part_are_not_looked_at_before_either(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    probe(photos, tmp_path / "one")
    filled: list[tuple[int, bool]] = []
    fill = Store.fill

    def recorded(self: Store, keys: list[bytes], rows: np.ndarray) -> np.ndarray:
        filled.append((len(keys), (tmp_path / "two" / "decision.json").exists()))
        return fill(self, keys, rows)

    monkeypatch.setattr(Store, "fill", recorded)
    results = probe(photos, tmp_path / "two")
    n_seen = results.dataset.n_train + results.dataset.n_validation
    before = [count for count, is_decided in filled if not is_decided]
    assert set(before) <= {n_seen}
    assert [count for count, is_decided in filled if is_decided] == [results.dataset.n_test]


def test_every_figure_of_the_verdict_is_in_the_results(finished: Finished) -> None:
    results = json.loads((finished.folder / "results.json").read_text(encoding="utf-8"))
    assert 4 <= len(results["verdict"]) <= 10
    assert all(any(letter.isdigit() for letter in sentence) for sentence in results["verdict"])
    for one in results["candidates"]:
        interval = one["test"]["accuracy_interval"]
        assert interval["low"] <= one["test"]["accuracy"] <= interval["high"]
        assert len(one["test"]["recall_intervals"]) == 3
        assert one["calibration"]["temperature"] > 0
    [comparison] = results["comparisons"]
    assert comparison["b"] == f"tiny/{results['recommended']['technique']}"
    assert comparison["decision"] == "unclear"
    assert [one["backbone"] for one in results["worth"]] == ["tiny"]
    suspects = read_csv(finished.folder / "suspects.csv")
    assert len(suspects) == results["n_suspects"]
    assert results["decided_at"].startswith("20")


def test_the_configuration_repeats_the_run(finished: Finished, repeated: Repeated) -> None:
    for name in ("config.toml", "split.csv", "quarantine.csv"):
        assert (repeated.folder / name).read_bytes() == (finished.folder / name).read_bytes(), name
    first, second = Run(finished.folder).results(), Run(repeated.folder).results()
    assert untimed(first.recommended) == untimed(second.recommended)
    assert first.settings == second.settings
    assert first.dataset == second.dataset
    before, now = (probabilities(folder, "features") for folder in (finished.folder, repeated.folder))
    assert np.abs(before - now).max() <= 1e-5
    before, now = (probabilities(folder, "finetune") for folder in (finished.folder, repeated.folder))
    assert np.abs(before - now).max() <= 1e-2


def untimed(decided: Recommendation) -> Recommendation:
    """A decision without costs: the clock measures one, and graphs name their nodes as they come."""
    alternatives = (
        dataclasses.replace(one, latency_ratio=1.0, size_ratio=1.0) for one in decided.alternatives
    )
    return dataclasses.replace(decided, alternatives=tuple(alternatives))


def probabilities(folder: Path, technique: str) -> np.ndarray:
    rows = [row for row in read_csv(folder / "predictions.csv") if row["technique"] == technique]
    rows.sort(key=lambda row: row["path"])
    return np.array([[float(row[f"p_{name}"]) for name in ("blue", "green", "red")] for row in rows])


def test_another_seed_gives_another_split(finished: Finished, tmp_path: Path) -> None:
    probe(finished.photos, tmp_path / "run", seed=4)
    assert (tmp_path / "run" / "split.csv").read_bytes() != (finished.folder / "split.csv").read_bytes()


def test_from_python_results_are_typed_and_those_of_the_file(photos: Path, tmp_path: Path) -> None:
    results = probe(photos, tmp_path / "run")
    assert isinstance(results, Results)
    assert results == Run(tmp_path / "run").results()
    assert results.chosen.test
    assert results.chosen.test.accuracy == 1.0
    predictions = headstart.load(tmp_path / "run").predict([photos / "red" / "red_00.jpg"])
    assert [one.label for one in predictions] == ["red"]


def test_a_finished_run_is_shown_and_left_alone(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "run"
    first = command(photos, folder)
    before = modified(folder)

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a photo was read again")

    monkeypatch.setattr(pixels, "read_bytes", refuse)
    monkeypatch.setattr(snapshot, "sha256_of", refuse)
    again = command(photos, folder)
    assert (again.exit_code, again.stdout) == (0, first.stdout)
    assert again.stderr == (
        f"{folder} was finished before; nothing was done.\nUse it: headstart predict {folder} PHOTO\n"
    )
    assert modified(folder) == before


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Photos, and their finished run with its report; not to be changed."""
    folder = tmp_path_factory.mktemp("shown")
    write_photos(folder / "photos")
    assert command(folder / "photos", folder / "run", "--folds", "0").exit_code == 0
    return folder / "photos", folder / "run"


@pytest.fixture
def done(shown: tuple[Path, Path], tmp_path: Path) -> tuple[Path, Path]:
    """A copy of both."""
    copies = [shutil.copytree(folder, tmp_path / folder.name) for folder in shown]
    config = copies[1] / "config.toml"
    config.write_text(config.read_text().replace(str(shown[0]), str(copies[0])))
    return copies[0], copies[1]


UPDATE_OR_ANOTHER = (
    "Compare them anew with --update (in Python update=True), which takes what is kept of them and then "
    "replaces this run; or name another folder: --out RUN.\n"
)


def add_ten(photos: Path) -> None:
    for number in range(10):
        shutil.copyfile(photos / "red" / f"red_{number:02}.jpg", photos / "green" / f"extra_{number}.jpg")


TEN = f"10 new ({', '.join(f'green/extra_{number}.jpg' for number in range(5))}, …)"


@pytest.mark.parametrize("more", [(), ("--quiet",), ("--json",), ("--no-report", "--json", "--quiet")])
def test_ten_more_photos_are_told_and_no_old_figure_is_shown(
    more: tuple[str, ...], done: tuple[Path, Path]
) -> None:
    photos, folder = done
    add_ten(photos)
    before = modified(folder)
    again = command(photos, folder, "--folds", "0", *more)
    assert (again.exit_code, again.stdout) == (1, "")
    assert again.stderr == (
        f"The photos in {photos} are not those that {folder} was made of: {TEN}.\n{UPDATE_OR_ANOTHER}"
    )
    assert modified(folder) == before


def test_in_python_they_are_told_too(done: tuple[Path, Path]) -> None:
    add_ten(done[0])
    with pytest.raises(RunError) as caught:
        probe(*done)
    assert caught.value.problem == (
        f"The photos in {done[0]} are not those that {done[1]} was made of: {TEN}."
    )


def change_all(photos: Path) -> None:
    (photos / "red" / "red_00.jpg").unlink()
    shutil.copyfile(photos / "red" / "red_01.jpg", photos / "red" / "new.jpg")
    for number in (3, 4, 5):
        shutil.copyfile(photos / "red" / "red_01.jpg", photos / "red" / f"red_{number:02}.jpg")


def empty(photos: Path) -> None:
    shutil.rmtree(photos)
    photos.mkdir()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (change_all, "1 new (red/new.jpg), 3 changed (red/red_03.jpg, …), 1 missing (red/red_00.jpg)."),
        (lambda photos: shutil.rmtree(photos / "red"), "Only one class in '{photos}': 'green'."),
        (empty, "No class folders in '{photos}'."),
    ],
)
def test_other_changes_are_told(change: Callable[[Path], object], said: str, done: tuple[Path, Path]) -> None:
    photos, folder = done
    change(photos)
    again = command(photos, folder, "--folds", "0")
    assert (again.exit_code, again.stdout) == (1, "")
    assert again.stderr == (
        f"The photos in {photos} are not those that {folder} was made of: {said.format(photos=photos)}\n"
        f"{UPDATE_OR_ANOTHER}"
    )


def test_without_its_list_of_photos_a_run_is_not_shown(done: tuple[Path, Path]) -> None:
    photos, folder = done
    (folder / "photos.csv").unlink()
    again = command(photos, folder, "--folds", "0")
    assert (again.exit_code, again.stdout) == (1, "")
    assert again.stderr == (
        f"{folder / 'photos.csv'} is missing. Whether the photos have changed cannot be told.\n"
        f"{UPDATE_OR_ANOTHER}"
    )


def test_photos_that_are_gone_are_told_and_the_results_shown(done: tuple[Path, Path]) -> None:
    photos, folder = done
    expected = (folder / "results.json").read_text()
    photos.rename(photos.with_name("moved"))
    told = f"{photos} is not there any more: whether {folder} is of these photos cannot be told."
    again = command(photos, folder, "--folds", "0", "--json", "--quiet")
    assert (again.exit_code, again.stdout, again.stderr) == (0, expected, f"{told}\n")
    with pytest.warns(UserWarning, match=f"^{re.escape(told)}$"):
        assert probe(photos, folder) == Run(folder).results()


def test_an_update_of_the_same_photos_does_nothing(done: tuple[Path, Path]) -> None:
    photos, folder = done
    os.utime(photos / "red" / "red_00.jpg")
    before = modified(folder)
    again = command(photos, folder, "--folds", "0", "--update")
    assert again.exit_code == 0
    assert again.stderr.startswith(f"{folder} was finished before; nothing was done.\n")
    assert modified(folder) == before


def test_an_update_compares_anew_and_replaces_the_run(done: tuple[Path, Path]) -> None:
    photos, folder = done
    add_ten(photos)
    (folder / "notes.txt").write_text("mine")
    again = command(photos, folder, "--folds", "0", "--update", "--json")
    assert again.exit_code == 0, again.stderr
    assert again.stderr.splitlines()[0] == (
        f"The photos in {photos} are not those that {folder} was made of: {TEN}. They are compared anew."
    )
    assert "nothing was done" not in again.stderr
    assert again.stdout == (folder / "results.json").read_text()
    assert Run(folder).results().dataset.n_images == 50
    assert {row["path"] for row in read_csv(folder / "split.csv")} >= {"green/extra_3.jpg"}
    assert (folder / "notes.txt").read_text() == "mine"
    assert not (folder / ".update").exists()
    assert not (folder / ".work").exists()
    shown = command(photos, folder, "--folds", "0", "--json")
    assert (shown.exit_code, shown.stdout) == (0, again.stdout)


def test_an_update_without_a_report_draws_the_older_one_anew(done: tuple[Path, Path]) -> None:
    photos, folder = done
    add_ten(photos)
    before = modified(folder)
    assert command(photos, folder, "--folds", "0", "--update", "--no-report").exit_code == 0
    assert not (folder / "gallery.json").exists()
    now = modified(folder)
    assert all(now[name] > before[name] for name in ("report.html", "README.md"))


@pytest.mark.parametrize(
    "stage",
    [
        (experiment, "prepare"),
        (experiment, "train"),
        (experiment, "measure"),
        (Run, "finish"),
        (Run, "adopt"),
    ],
    ids=lambda stage: stage[1],
)
def test_an_update_that_is_interrupted_loses_nothing_and_goes_on(
    stage: tuple[Any, str], done: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    photos, folder = done
    add_ten(photos)
    before = modified(folder)

    def interrupt(*_: object, **__: object) -> None:
        if stage[1] != "adopt" or Run(folder).update.is_finished:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(*stage, interrupt)
        with pytest.raises(KeyboardInterrupt):
            probe(photos, folder, update=True)
    now = {name: time for name, time in modified(folder).items() if not name.startswith(".update")}
    assert now == before
    if stage[1] != "adopt":
        with pytest.raises(RunError, match="10 new"):
            probe(photos, folder)
    assert probe(photos, folder, update=stage[1] != "adopt").dataset.n_images == 50
    assert not (folder / ".update").exists()


def test_photos_put_back_after_an_interrupted_update_are_those_of_the_run(
    done: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    photos, folder = done
    before = modified(folder)
    extra = shutil.copyfile(photos / "red" / "red_00.jpg", photos / "green" / "extra.jpg")

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(experiment, "measure", interrupt)
        with pytest.raises(KeyboardInterrupt):
            probe(photos, folder, update=True)
    extra.unlink()
    assert probe(photos, folder).dataset.n_images == 40
    assert modified(folder) == before


def test_train_tells_it_too_and_updates(photos: Path, tmp_path: Path) -> None:
    words = ["train", str(photos), "--backbone", "tiny", "--technique", "features", "--no-report"]
    words += ["--out", str(tmp_path / "run")]
    assert CliRunner().invoke(main, words).exit_code == 0
    add_ten(photos)
    again = CliRunner().invoke(main, words)
    assert (again.exit_code, again.stdout) == (1, "")
    assert again.stderr.startswith(
        f"The photos in {photos} are not those that {tmp_path / 'run'} was made of:"
    )
    assert CliRunner().invoke(main, [*words, "--update"]).exit_code == 0
    assert Run(tmp_path / "run").results().dataset.n_images == 50


def test_a_finished_run_with_other_settings_is_refused(photos: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    command(photos, folder)
    before = modified(folder)
    done = command(photos, folder, "--seed", "7", "--fit", "pad")
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr == (
        f"{folder} was made with other settings: seed was 0, now 7; fit was squash, now pad.\n"
        "Name another folder: --out RUN.\n"
    )
    assert modified(folder) == before


def test_an_unfinished_run_is_finished_by_the_same_command(photos: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    first = probe(photos, folder)
    split = (folder / "split.csv").read_bytes()
    (folder / "results.json").unlink()
    with pytest.raises(RunError, match="seed was 0, now 9"):
        probe(photos, folder, seed=9)
    second = probe(photos, folder)
    assert second.recommended.name == first.recommended.name
    assert [one.test for one in second.candidates] == [one.test for one in first.candidates]
    assert (folder / "split.csv").read_bytes() == split
    assert not (folder / ".work").exists()


def test_advice_of_an_error_can_be_followed_in_the_same_run_folder(photos: Path, tmp_path: Path) -> None:
    (photos / "blue").mkdir()
    shutil.copy(photos / "red" / "red_00.jpg", photos / "blue" / "only.jpg")
    shutil.copy(photos / "red" / "red_01.jpg", photos / "blue" / "other.jpg")
    done = command(photos, tmp_path / "run")
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr.splitlines()[-1] == "Add photos of it, or leave it out: --exclude blue"
    assert command(photos, tmp_path / "run", "--exclude", "blue").exit_code == 0


def test_a_disk_that_fills_up_at_the_end_leaves_no_half_written_result(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "run"
    fsync = os.fsync

    def full(handle: int) -> None:
        if (folder / "model").exists():
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fsync(handle)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        done = command(photos, folder, "--quiet")
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr == f"No space is left on the disk that holds {folder}.\n{FULL}"
    assert not any("results.json" in path.name for path in folder.iterdir())
    assert command(photos, folder, "--quiet").exit_code == 0


@pytest.mark.parametrize("kilobytes", [8, 20, 32, 36, 44, 52])
def test_a_full_disk_is_told_wherever_the_run_is(
    kilobytes: int, photos: Path, small_disk: Callable[[int], Path]
) -> None:
    """Tables, then a classifier's graph, then its class names, then the winner's copy do not fit."""
    disk = small_disk(kilobytes)
    done = command(photos, disk / "run", "--quiet")
    assert (done.exit_code, done.stdout) == (1, "")
    problem, fix = done.stderr.split("\n", 1)
    assert problem.startswith(f"No space is left on the disk that holds {disk / 'run'}")
    assert fix == FULL
    assert not (disk / "run" / "results.json").exists()


def test_a_kept_model_that_answers_otherwise_is_told(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(experiment, "KEPT_MODEL_ERROR", -1.0)
    done = command(photos, tmp_path / "run", "--quiet")
    assert (done.exit_code, done.stdout) == (1, "")
    assert re.sub(r"off by [-.\de]+ ", "off by ERROR ", done.stderr) == (
        "The kept model's probabilities are off by ERROR from those measured.\n"
        "This is a defect of Headstart, please report it. "
        "Keras itself runs it, several times slower: --engine keras --out NEW\n"
    )
    assert not (tmp_path / "run" / "results.json").exists()


def test_one_technique_alone_is_one_candidate(photos: Path, tmp_path: Path) -> None:
    results = probe(photos, tmp_path / "run")
    assert [(one.backbone, one.technique) for one in results.candidates] == [("tiny", "features")]


HIDDEN = """
import sys

class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"tensorflow", "keras"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Hidden())
from headstart.cli import main
main()
"""


def without_tensorflow(*words: str) -> "subprocess.CompletedProcess[str]":
    """Run the command line where neither TensorFlow nor Keras is installed."""
    command = [sys.executable, "-c", HIDDEN, *words]
    return subprocess.run(command, capture_output=True, text=True, check=False)


INSTALL = "Run `pip install 'headstart[cpu]'`, or with 'headstart[gpu]' for an NVIDIA GPU.\n"


def test_without_tensorflow_all_but_fine_tuning_is_done(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    asked = ("compare", str(photos), "--backbones", "tiny", "--folds", "0", "--out", str(out))
    done = without_tensorflow(*asked)
    assert done.returncode == 0, done.stderr
    assert [line for line in done.stderr.splitlines() if "TensorFlow" in line] == [
        "Fine-tuning is left out, for TensorFlow is not installed: `pip install 'headstart[cpu]'` brings it."
    ]
    results = json.loads((out / "results.json").read_text())
    assert results["settings"]["techniques"] == ["features"]
    assert [one["technique"] for one in results["candidates"]] == ["features"]
    assert (out / "report.html").is_file()
    predicted = without_tensorflow("predict", str(out), str(next(photos.rglob("*.jpg"))))
    assert (predicted.returncode, predicted.stderr) == (0, "")
    # The same command once more shows what is there.
    assert without_tensorflow(*asked).stdout == done.stdout


def test_without_tensorflow_a_run_that_fine_tuned_is_not_repeated(finished: Finished, tmp_path: Path) -> None:
    done = without_tensorflow("replay", str(finished.folder), "--out", str(tmp_path / "again"))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.endswith(f"No module named 'tensorflow'.\n{INSTALL}")
    assert not (tmp_path / "again").exists()


def test_without_tensorflow_what_needs_it_says_so(photos: Path, tmp_path: Path) -> None:
    words = ("compare", str(photos), "--backbones", "tiny", "--out", str(tmp_path / "run"))
    for more in ("--techniques", "finetune"), ("--engine", "keras"):
        done = without_tensorflow(*words, *more)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.endswith(
            "TensorFlow, which builds and trains backbones, cannot be imported: "
            f"No module named 'tensorflow'.\n{INSTALL}"
        )
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_promises_hold_on_test_photos_of_clothing(shared_data: Path, tmp_path: Path) -> None:
    """What was promised on train and validation: at most 5% wrong above a confidence, sets of 95%."""
    results = headstart.compare(
        shared_data / "clothing", techniques=("features",), max_error=0.05, out=str(tmp_path), report=False
    )
    for one in results.candidates:
        assert one.test
        assert one.calibration.abstention
        assert one.test.selection
        risk = one.test.selection.risk_interval
        assert risk
        assert risk.low <= 0.05
        assert one.test.selection.n_accepted >= 100
        assert one.test.sets.interval.high >= 0.95
        assert one.test.sets.mean_size < 4
        assert one.test.reliability.ece < 0.1


def noisy(channel: int, level: int, random: np.random.Generator) -> np.ndarray:
    image = random.integers(0, 90, (30, 40, 3), dtype=np.uint8)
    image[..., channel] += np.uint8(level)
    return image


@pytest.fixture
def leaked(tmp_path: Path) -> Path:
    """Two thirds of the test photos are copies of training photos; the rest are of another kind."""
    random = np.random.default_rng(0)
    for channel, name in enumerate(("red", "green")):
        for part in ("Training", "Testing"):
            (tmp_path / "scans" / part / name).mkdir(parents=True)
        for number in range(30):
            photo = tmp_path / "scans" / "Training" / name / f"{number:02}.png"
            Image.fromarray(noisy(channel, 140, random)).save(photo)
            if number < 20:
                shutil.copy(photo, tmp_path / "scans" / "Testing" / name / f"copy_{number:02}.png")
        for number in range(10):  # blue, so that their class cannot be told
            other = tmp_path / "scans" / "Testing" / name / f"other_{number}.png"
            Image.fromarray(noisy(2, 140, random)).save(other)
    return tmp_path / "scans"


def test_the_first_sentences_of_a_leaked_test_part(leaked: Path, tmp_path: Path) -> None:
    results = probe(leaked, tmp_path / "run")
    test, shift = results.chosen.test, results.shift
    assert test
    assert shift
    clean = test.without_leaks
    assert clean
    assert clean.accuracy is not None
    assert clean.interval
    assert (clean.n_images, shift.n_test, results.dataset.given_parts) == (20, 20, ("train", "test"))
    assert clean.accuracy < 0.8 < 0.95 < test.accuracy + 0.15
    first, second = results.verdict[:2]
    low, high = clean.interval.low, clean.interval.high
    assert first == (
        f"Use tiny with features: it is right on {clean.accuracy:.1%} of the 20 test photos that have no "
        f"copy in train or validation (95% interval {low:.1%} to {high:.1%}); of all 60, copies included, on "
        f"{test.accuracy:.1%}{first.partition(f'on {test.accuracy:.1%}')[2]}"
    )
    assert second.startswith(
        f"On {shift.n_held_out} photos that were held out before it was right on "
        f"{shift.held_out_accuracy:.1%}, on 20 of test on {clean.accuracy:.1%}: "
    )
    assert second.endswith(
        "The test part is one of your own, and seems to be of another kind: another camera, place or season, "
        "or other labels. If new photos will be like those of test, believe test, and train on such photos "
        "too."
    )


class Meddler(Progress):
    """Does something to the photos as a stage begins, but as the one that checks them ends."""

    def __init__(self, stage: str, meddle: Callable[[], object]) -> None:
        self._stage, self._meddle = stage, meddle

    def stage(self, title: str, total: int | None, unit: str = "images") -> AbstractContextManager[Advance]:
        return self._meddling() if self._stage in title else super().stage(title, total, unit)

    @contextmanager
    def _meddling(self) -> Iterator[Advance]:
        if self._stage != "Checking photos":
            self._meddle()
        yield lambda count=1: None
        if self._stage == "Checking photos":
            self._meddle()


@pytest.mark.parametrize(
    ("technique", "stage", "part"),
    [
        pytest.param("finetune", "Checking photos", "", marks=pytest.mark.slow),
        pytest.param("finetune", "tiny trunk, train", "train", marks=pytest.mark.slow),
        pytest.param("finetune", "tiny fine-tuned validation", "validation", marks=pytest.mark.slow),
        pytest.param("finetune", "tiny finetune test", "test", marks=pytest.mark.slow),
    ],
)
def test_a_photo_that_changes_while_a_run_works_ends_it_and_another_run_goes_well(
    technique: str, stage: str, part: str, tmp_path: Path
) -> None:
    write_mixed_photos(tmp_path / "photos")
    out = tmp_path / "run"
    changed: list[Path] = []

    def meddle() -> None:
        rows = read_csv(out / "split.csv") if part else [{"path": "blue/blue_07.jpg", "part": ""}]
        path = next(row["path"] for row in rows if row["part"] == part and "copy" not in row["path"])
        changed.append(tmp_path / "photos" / path)
        changed[0].write_bytes(changed[0].read_bytes() + b"x")

    settings = Settings(
        data=str(tmp_path / "photos"),
        backbones=("tiny",),
        techniques=(technique,),
        epochs=1,
        out=str(out),
        folds=0,
        report=False,
    )
    with pytest.raises(ChangedPhoto) as caught:
        experiment.compare(settings, Meddler(stage, meddle), store_path=tmp_path / "store")
    assert caught.value.problem == f"{changed[0]} was changed since it was checked."
    assert experiment.compare(settings).dataset.n_images == 49


def test_a_photo_that_changes_after_it_was_read_counts_as_it_was_read(tmp_path: Path) -> None:
    write_mixed_photos(tmp_path / "photos")
    expected = probe(tmp_path / "photos", tmp_path / "before")
    rows = read_csv(tmp_path / "before" / "split.csv")
    # None of those that the kept model is asked about.
    changed = tmp_path / "photos" / next(row["path"] for row in rows if row["part"] == "train")
    out = str(tmp_path / "after")
    photos, techniques = str(tmp_path / "photos"), ("features",)
    settings = Settings(photos, ("tiny",), techniques, out=out, folds=0, report=False)
    meddler = Meddler("Checking photos", lambda: changed.write_bytes(changed.read_bytes() + b"x"))
    found = experiment.compare(settings, meddler, store_path=tmp_path / "store")
    assert found.data_sha256 == expected.data_sha256
    assert found.candidates[0].test == expected.candidates[0].test
    with pytest.raises(RunError, match="1 changed"):
        experiment.compare(settings)


def test_altered_versions_are_found_by_the_features_of_a_run(tmp_path: Path) -> None:
    """Six versions of each of a few photos: the split cannot know, the results tell it."""
    random = np.random.default_rng(0)
    for name in ("rough", "smooth"):
        (tmp_path / "made" / name).mkdir(parents=True)
        for _ in range(8):
            blotches = random.random((8 if name == "smooth" else 24,) * 2 + (3,)) * 255
            photo = Image.fromarray(blotches.astype(np.uint8)).resize((320, 320), Image.Resampling.BICUBIC)
            for _ in range(6):
                turned = photo.rotate(float(random.uniform(-12, 12)), Image.Resampling.BICUBIC)
                left, top = random.integers(30, 50, 2).tolist()
                file = tmp_path / "made" / name / f"{random.integers(10**9)}.jpg"
                turned.crop((left, top, left + 240, top + 240)).save(file, quality=90)
    results = headstart.compare(
        tmp_path / "made",
        backbones=("mobilenet_v2",),
        techniques=("features",),
        out=str(tmp_path / "run"),
        report=False,
    )
    found = [one for one in results.findings if one.kind == "variant"]
    assert [one.detail.partition(" seem to be")[0].split(" photos of ")[1] for one in found] == [
        "'rough', 'smooth'"
    ]
