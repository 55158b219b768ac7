"""A run repeated from its own folder: what is refused, what is compared, and what a difference looks like."""

import csv
import io
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from conftest import Finished, audited, write_mixed_photos

import headstart
from headstart.base.errors import HeadstartError
from headstart.base.progress import Progress
from headstart.base.settings import from_toml
from headstart.cli import main
from headstart.networks import versions
from headstart.networks.sweep import Fed, Sweep
from headstart.photos import splits
from headstart.pictures.pixels import Picture
from headstart.results.run import Run
from headstart.results.verdict import choice
from headstart.sources import listing
from headstart.workflow.agreement import Check, read
from headstart.workflow.replay import (
    BUDGET_NOTE,
    GPU_NOTE,
    LATENCY_NOTE,
    NOTE,
    Replay,
    VersionDifference,
    changes,
    judge,
    render,
    replay,
)

KINDS = [
    *("settings", "split.csv", "best on validation", "ranking", "accuracy on validation", "accuracy on test"),
    *("log loss on validation", "log loss on test", "probabilities", "recommendation", "decisions"),
    "verdict",
]


@dataclass(frozen=True)
class Probed:
    """A run of feature extraction alone, its photos, and its repeat; not to be changed by a test."""

    photos: Path
    folder: Path
    repeat: Path
    found: Replay
    sent_by_compare: list[str]
    sent_by_replay: list[str]


@pytest.fixture(scope="module")
def probed(tmp_path_factory: pytest.TempPathFactory) -> Probed:
    root = tmp_path_factory.mktemp("probed")
    photos, folder, repeat = root / "photos", root / "run", root / "run-replay"
    write_mixed_photos(photos)
    given: dict[str, Any] = {"backbones": "tiny", "techniques": "features", "seed": 3, "report": False}
    headstart.compare(photos, out=str(folder), **given)
    sent: list[str] = []
    look = Sweep.look

    def recorded(self: Sweep, digest: str, picture: Picture) -> Fed:
        sent.append(digest)
        return look(self, digest, picture)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Sweep, "look", recorded)
        headstart.compare(photos, out=str(root / "other"), **given)
        by_compare = [*sent]
        found = replay(folder)
    return Probed(photos, folder, repeat, found, by_compare, sent[len(by_compare) :])


@pytest.fixture
def run(probed: Probed, tmp_path: Path) -> Path:
    """A copy of the run's folder, of the same photos."""
    return Path(shutil.copytree(probed.folder, tmp_path / "run"))


@pytest.fixture
def photos(probed: Probed, tmp_path: Path) -> Path:
    """A copy of the photos."""
    return Path(shutil.copytree(probed.photos, tmp_path / "photos"))


def command(*words: object) -> Result:
    return CliRunner().invoke(main, ["replay", *map(str, words), "--quiet"])


def edited(folder: Path, change: Callable[[Any], None]) -> Path:
    """Change results.json."""
    results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    change(results)
    (folder / "results.json").write_text(json.dumps(results), encoding="utf-8")
    return folder


def change_probability(folder: Path, technique: str, path: str, by: float) -> None:
    """Move so much probability from a photo's likeliest class to its unlikeliest, in predictions.csv."""
    file, names = folder / "predictions.csv", ("blue", "green", "red")
    rows = list(csv.DictReader(io.StringIO(file.read_text(encoding="utf-8"))))
    (row,) = (one for one in rows if (one["technique"], one["path"]) == (technique, path))
    asked = {name: float(row[f"p_{name}"]) for name in names}
    least, most = sorted(names, key=asked.__getitem__)[::2]
    asked |= {least: asked[least] + by, most: asked[most] - by}
    predicted = max(names, key=asked.__getitem__)
    row |= {f"p_{name}": f"{asked[name]:.6f}" for name in names}
    row |= {"predicted": predicted, "confidence": f"{asked[predicted]:.6f}"}
    with file.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def judged(then: Path, now: Path, *, has_gpu: bool = False, **given: Any) -> Replay:
    settings = replace(from_toml(then / "config.toml"), **given)
    return judge(read(then), read(now), settings, (), has_gpu=has_gpu)


def disagreeing(found: Replay) -> list[Check]:
    return [check for check in found.checks if not check.agrees]


def text_of(folder: Path, **given: Any) -> str:
    with pytest.raises(HeadstartError) as caught:
        replay(folder, **given)
    return str(caught.value)


def test_a_run_of_both_techniques_repeats_to_the_digit(finished: Finished, tmp_path: Path) -> None:
    done = command(finished.folder, "--out", tmp_path / "again", "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert (found["agrees"], found["versions"]) == (True, [])
    assert (found["run"], found["new_run"]) == (str(finished.folder), str(tmp_path / "again"))
    assert [check["what"] for check in found["checks"]] == KINDS
    assert all(check["expected"] == check["received"] for check in found["checks"])
    allowed = {check["what"]: check["tolerance"] for check in found["checks"]}
    assert (allowed["accuracy on test"], allowed["probabilities"], allowed["recommendation"]) == (
        0.0,
        1e-5,
        None,
    )
    for name in ("split.csv", "predictions.csv", "suspects.csv"):
        assert (tmp_path / "again" / name).read_bytes() == (finished.folder / name).read_bytes(), name


def test_everything_is_computed_anew(probed: Probed) -> None:
    """Where `compare` finds the features of all photos kept, a replay sends each through the backbone."""
    assert probed.found.agrees
    assert probed.found.new_run == str(probed.folder.with_name("run-replay"))
    assert probed.sent_by_compare == []
    assert {*probed.sent_by_replay} == {row.sha256 for row in splits.read_csv(probed.folder / "split.csv")}


def test_what_is_printed_of_a_run_that_repeats(probed: Probed) -> None:
    results = Run(probed.folder).results()
    best = results.chosen
    assert best.test
    probability = next(one.expected for one in probed.found.checks if one.what == "probabilities")
    settings = f"all {len(results.settings) - 2}"  # without where photos and weights are
    sentences = f"all {len(results.verdict) - 1}"  # without that of times

    def cell(value: float) -> str:
        return f"{value:.6f}".rstrip("0").rstrip(".").ljust(13)

    expected = f"""\
  compared                then           now            tolerance
─────────────────────────────────────────────────────────────────
  settings                {settings:<13}  {settings:<13}  equal
  split.csv               all 49         all 49         equal
  best on validation      tiny/features  tiny/features  equal
  ranking                 tiny/features  tiny/features  equal
  accuracy on validation  {cell(best.validation.accuracy)}  {cell(best.validation.accuracy)}  equal
  accuracy on test        {cell(best.test.accuracy)}  {cell(best.test.accuracy)}  equal
  log loss on validation  {cell(best.validation.log_loss)}  {cell(best.validation.log_loss)}  1e-05
  log loss on test        {cell(best.test.log_loss)}  {cell(best.test.log_loss)}  1e-05
  probabilities           {cell(float(probability))}  {cell(float(probability))}  1e-05
  recommendation          tiny/features  tiny/features  equal
  decisions               none           none           equal
  verdict                 {sentences:<13}  {sentences:<13}  equal

{NOTE}

The replay agrees with runs/a; it is in runs/b.
"""
    assert render(replace(probed.found, run="runs/a", new_run="runs/b")) == expected


@pytest.mark.parametrize(
    "then", ["It saves 30% of the time and 33% of the size.", "It saves 33% of the size."]
)
def test_time_that_is_saved_otherwise_is_no_difference(then: str, run: Path, tmp_path: Path) -> None:
    now = Path(shutil.copytree(run, tmp_path / "now"))

    def say(sentence: str) -> Callable[[Any], None]:
        return lambda results: results.update(verdict=[*results["verdict"], sentence])

    edited(run, say(then))
    edited(now, say("It saves 4% of the time and 33% of the size."))
    assert disagreeing(judged(run, now)) == []
    edited(now, say("It saves 4% of the time and 32% of the size."))
    assert [one.what for one in disagreeing(judged(run, now))] == ["verdict"]


def test_what_is_printed_of_one_that_does_not() -> None:
    found = Replay(
        run="runs/a",
        new_run="runs/a-replay",
        agrees=False,
        checks=(
            Check("ranking", "", "efficientnet_lite0/finetune", "mobilenet_v2/finetune", None, False),
            Check("accuracy on test", "mobilenet_v2/finetune", 0.9825, 0.9525, 0.03, True),
            Check("log loss on test", "mobilenet_v2/features", 0.25, 0.5, 0.005, False),
        ),
        versions=(VersionDifference("numpy", "2.2.0", "2.3.1"), VersionDifference("scipy", "", "1.16.0")),
        notes=(GPU_NOTE,),
    )
    assert render(found) == (
        "  compared          then                  now                   tolerance\n"
        "─────────────────────────────────────────────────────────────────────────\n"
        "✗ ranking           efficientn…/finetune  mobilenet_…/finetune  equal\n"
        "  accuracy on test  0.9825                0.9525                0.03\n"
        "✗ log loss on test  0.25                  0.5                   0.005\n"
        "\n"
        "✗: does not agree; tolerance: how far apart two figures may be, or equal\n"
        "\n"
        "Ranking: then efficientnet_lite0/finetune; now mobilenet_v2/finetune.\n"
        "Log loss on test of mobilenet_v2/features: then 0.25; now 0.5.\n"
        "The replay does not agree with runs/a; it is in runs/a-replay.\n"
        "A GPU adds up in no fixed order, so figures may differ by rounding.\n"
        "Not as it was: numpy, 2.2.0 then, 2.3.1 now; scipy, none then, 1.16.0 now.\n"
        "Figures may differ by rounding.\n"
    )


def test_an_accuracy_that_was_changed_is_found(run: Path, tmp_path: Path) -> None:
    def change(results: Any) -> None:
        results["candidates"][0]["test"]["accuracy"] = 0.95

    now = Run(run).results().chosen.test
    assert now
    done = command(edited(run, change), "--out", tmp_path / "again")
    assert (done.exit_code, done.stderr) == (1, "")
    assert [line for line in done.stdout.splitlines() if line.startswith("✗ ")] == [
        f"✗ accuracy on test        0.95           {now.accuracy:<13g}  equal"
    ]
    assert (
        done.stdout.partition(f"{NOTE}\n\n")[2].split()
        == (
            f"Accuracy on test of tiny/features: then 0.95; now {now.accuracy:g}. "
            f"The replay does not agree with {run}; it is in {tmp_path / 'again'}."
        ).split()
    )


def test_the_accuracy_from_another_seed_is_compared_too(run: Path, tmp_path: Path) -> None:
    def repeats(*accuracies: float) -> list[dict[str, float]]:
        return [
            {"seed": 3 + n, "validation_accuracy": 0.9, "test_accuracy": one}
            for n, one in enumerate(accuracies)
        ]

    now = Path(shutil.copytree(run, tmp_path / "now"))
    edited(run, lambda results: results["candidates"][0].update(repeats=repeats(0.7, 0.8)))
    edited(now, lambda results: results["candidates"][0].update(repeats=repeats(0.7, 0.9)))
    assert disagreeing(judged(run, now)) == [
        Check("accuracy on test", "tiny/features, seed 4", 0.8, 0.9, 0.0, False)
    ]


@pytest.mark.parametrize("by", [2e-5, 0.1])
def test_a_probability_that_was_changed_is_found(by: float, run: Path, probed: Probed) -> None:
    (one,) = json.loads((run / "results.json").read_text(encoding="utf-8"))["candidates"]
    path = next(row.path for row in splits.read_csv(run / "split.csv") if row.part == "test")
    change_probability(run, one["technique"], path, by)
    (check,) = disagreeing(judged(run, probed.repeat))
    assert (check.what, check.tolerance) == ("probabilities", 1e-5)
    assert check.where in {f"tiny/features, {name} for {path}" for name in ("blue", "green", "red")}
    assert abs(float(check.expected) - float(check.received)) == pytest.approx(by, abs=1e-6)


def test_a_row_that_was_taken_out_of_the_predictions_is_found(run: Path, probed: Probed) -> None:
    header, first, *rest = (run / "predictions.csv").read_text(encoding="utf-8").splitlines()
    (run / "predictions.csv").write_text("\n".join([header, *rest, ""]), encoding="utf-8")
    paths = [line.split(",")[2:4] for line in (first, rest[0])]
    then, now = (f"tiny/features: {path}, {label}" for path, label in reversed(paths))
    assert disagreeing(judged(run, probed.repeat)) == [
        Check("rows of predictions.csv", "", then, now, None, False)
    ]


def test_another_seed_gives_another_split(run: Path, tmp_path: Path) -> None:
    config = (run / "config.toml").read_text(encoding="utf-8")
    (run / "config.toml").write_text(config.replace("seed = 3", "seed = 4"), encoding="utf-8")
    found = replay(run, out=tmp_path / "again")
    assert not found.agrees
    settings, split = disagreeing(found)[:2]
    assert settings == Check("settings", "", "seed = 3", "seed = 4", None, False)
    pairs = zip(*(splits.read_csv(folder / "split.csv") for folder in (run, tmp_path / "again")), strict=True)
    then, now = next(pair for pair in pairs if pair[0] != pair[1])
    assert then.path == now.path
    assert split == Check(
        "split.csv",
        "",
        f"{then.path}: {then.label}, {then.part}, group {then.group}",
        f"{now.path}: {now.label}, {now.part}, group {now.group}",
        None,
        False,
    )
    # The test photos are others, so their predictions cannot be laid side by side.
    assert "rows of predictions.csv" in [check.what for check in disagreeing(found)]


def test_the_order_of_candidates_in_the_predictions_does_not_count(
    finished: Finished, tmp_path: Path
) -> None:
    other = Path(shutil.copytree(finished.folder, tmp_path / "other"))
    header, *rows = (other / "predictions.csv").read_text(encoding="utf-8").splitlines()
    swapped = [*rows[len(rows) // 2 :], *rows[: len(rows) // 2]]
    (other / "predictions.csv").write_text("\n".join([header, *swapped, ""]), encoding="utf-8")
    assert [*read(other).predictions] == [*read(finished.folder).predictions][::-1]
    assert judged(finished.folder, other).agrees


def test_the_first_of_each_kind_of_statement_that_differs_is_told(run: Path, probed: Probed) -> None:
    def change(results: Any) -> None:
        results["recommended"]["technique"] = results["candidates"][0]["technique"] = "finetune"
        results["verdict"][0] = "Use it."

    verdict = Run(probed.repeat).results().verdict[0]
    said = {check.what: check for check in disagreeing(judged(edited(run, change), probed.repeat))}
    assert said["ranking"].expected == said["recommendation"].expected == "tiny/finetune"
    assert said["ranking"].received == said["recommendation"].received == "tiny/features"
    assert (said["verdict"].expected, said["verdict"].received) == ("Use it.", verdict)


def test_photos_that_are_not_as_they_were_are_named(run: Path, photos: Path) -> None:
    (photos / "red" / "red_03.jpg").write_bytes((photos / "red" / "red_04.jpg").read_bytes())
    told = f"The photos of {run} are not as they were: "
    back = "Put them back as they were, or name where they are so: --data PHOTOS."
    assert text_of(run, data=str(photos)) == f"{told}red/red_03.jpg has changed.\n{back}"
    (photos / "blue" / "blue_02.jpg").unlink()
    (photos / "blue" / "blue_10.jpg").write_bytes(b"\xff\xd8\xff\xe0 no more of it")
    (photos / "green" / "green_00.jpg").rename(photos / "green" / "other.jpg")
    assert text_of(run, data=str(photos)) == (
        f"{told}blue/blue_02.jpg is missing; blue/blue_10.jpg cannot be read; green/green_00.jpg is missing; "
        f"green/other.jpg is new; red/red_03.jpg has changed.\n{back}"
    )
    (photos / "red" / "red_15.jpg").unlink()
    (photos / "red" / "red_14.jpg").unlink()
    assert text_of(run, data=str(photos)).split("; ")[-2:] == [
        "red/red_03.jpg has changed",
        f"and 2 more.\n{back}",
    ]
    assert not run.with_name("run-replay").exists()


def test_a_label_that_is_another_is_told(probed: Probed) -> None:
    first, *rest = splits.read_csv(probed.folder / "split.csv")
    found = audited(listing.load(probed.photos))
    assert changes([first, *rest], found) == []
    other = replace(first, label="crimson")
    assert changes([other, *rest], found) == [f"{first.path} is labelled {first.label}, and was crimson"]


def test_photos_that_were_moved(run: Path, photos: Path, tmp_path: Path) -> None:
    moved = photos.rename(tmp_path / "moved")
    config = (run / "config.toml").read_text(encoding="utf-8").splitlines()
    lines = [f"data = '{photos}'" if line.startswith("data =") else line for line in config]
    (run / "config.toml").write_text("\n".join(lines), encoding="utf-8")
    assert text_of(run) == (
        f"The photos of {run} are not where they were: no folder or file '{photos}'.\n"
        "Name where they are now: --data PHOTOS."
    )
    assert command(run, "--data", moved).exit_code == 0
    assert (tmp_path / "run-replay" / "results.json").exists()


def test_results_of_other_photos_than_those_of_the_split(run: Path) -> None:
    edited(run, lambda results: results.update(data_sha256="0" * 64))
    assert text_of(run) == (
        f"The photos are those of {run / 'split.csv'}, but not those of results.json.\n"
        "The run folder was changed; put its files back as the run wrote them."
    )


def test_other_weights_are_refused(run: Path) -> None:
    edited(run, lambda results: results.update(weights_sha256={"tiny": "0123456789abcdef"}))
    assert text_of(run) == (
        "The weights of tiny are not those of the run: their checksum is none, not 01234567.\n"
        "Name the folder of the right file, --weights-dir FOLDER, or use the version that made the run, "
        f"headstart=={headstart.__version__}."
    )


def test_a_folder_that_is_taken_is_refused(probed: Probed, tmp_path: Path) -> None:
    for taken in (probed.repeat, probed.folder):
        assert text_of(probed.folder, out=taken) == (
            f"{taken} holds a finished run, and a replay computes everything anew.\n"
            "Name another folder: --out NEW."
        )
    (tmp_path / "notes.txt").write_text("mine")
    assert text_of(probed.folder, out=tmp_path) == (
        f"{tmp_path} holds other files, such as notes.txt, and no run.\n"
        "Name a new or an empty folder: --out RUN."
    )


def test_a_folder_without_a_finished_run_or_its_settings(run: Path, tmp_path: Path) -> None:
    (run / "config.toml").unlink()
    assert text_of(run) == (
        f"No file {run / 'config.toml'}.\nThe run folder was changed; put the file back as the run wrote it."
    )
    assert text_of(tmp_path) == (
        f"{tmp_path} holds no finished run.\nName a run folder that `headstart compare` finished."
    )


class Told(Progress):
    """Keeps what was remarked."""

    def __init__(self) -> None:
        self.remarks: list[str] = []

    def remark(self, text: str) -> None:
        self.remarks.append(text)


def test_other_versions_are_told_first_and_give_room_for_rounding(run: Path, tmp_path: Path) -> None:
    def change(results: Any) -> None:
        results["versions"]["numpy"] = "1.0"
        results["candidates"][0]["validation"]["log_loss"] += 0.004
        results["verdict"][0] = results["verdict"][0].replace("%", ".1%")

    told = Told()
    found = replay(edited(run, change), out=tmp_path / "again", progress=told)
    numpy = versions.here()["numpy"]
    assert found.versions == (VersionDifference("numpy", "1.0", numpy),)
    assert told.remarks[0] == f"Not as it was: numpy, 1.0 then, {numpy} now. Figures may differ by rounding."
    assert found.agrees
    allowed = {check.what: check.tolerance for check in found.checks}
    n_test = Run(run).results().dataset.n_test
    assert (allowed["accuracy on test"], allowed["log loss on validation"]) == (1 / n_test, 0.005)
    assert allowed["probabilities"] == 0.005


def test_on_a_gpu_one_photo_may_go_over_in_fine_tuning_but_not_in_features(
    finished: Finished, tmp_path: Path
) -> None:
    path = next(row.path for row in splits.read_csv(finished.folder / "split.csv") if row.part == "test")
    other = Path(shutil.copytree(finished.folder, tmp_path / "other"))
    change_probability(other, "finetune", path, 0.3)
    found = judged(finished.folder, other, has_gpu=True)
    assert (found.agrees, found.notes) == (True, (GPU_NOTE,))
    check = next(check for check in found.checks if check.what.startswith("probabilities"))
    assert (check.what, check.where, check.tolerance) == ("probabilities, mean", "tiny/finetune", 0.05)
    assert check.received == pytest.approx(0.3 / 10, abs=1e-6)
    change_probability(other, "features", path, 0.006)
    (check,) = disagreeing(judged(finished.folder, other, has_gpu=True))
    assert (check.what, check.tolerance) == ("probabilities", 0.005)


def test_a_verdict_on_another_candidate_because_of_its_latency_is_not_compared(
    finished: Finished, tmp_path: Path
) -> None:
    """The other is shown to be within the margin, so it is to be used if it is cheaper, by the clock."""

    def timed(name: str, latency_ratio: float) -> Path:
        def change(results: Any) -> None:
            recommended = results["recommended"]
            [other] = recommended["alternatives"]
            other |= {"latency_ratio": latency_ratio, "size_ratio": 1.0, "at_least": -0.001}
            if latency_ratio < 0.75:
                recommended["technique"] = other["technique"]

        return edited(Path(shutil.copytree(finished.folder, tmp_path / name)), change)

    found = judged(timed("then", 1.0), timed("now", 0.5))
    assert (found.agrees, found.notes) == (True, (LATENCY_NOTE,))
    best = Run(finished.folder).results().recommended.best_on_validation
    assert found.checks[-1] == Check("recommendation", "", best, best, None, True)
    assert [check.what for check in judged(tmp_path / "then", tmp_path / "then").checks] == KINDS


@pytest.mark.parametrize(("latency_then", "latency_now"), [(1.0, 0.5), (0.5, 1.0), (0.6, 0.4)])
def test_what_is_cheaper_by_the_clock_is_no_difference(
    latency_then: float, latency_now: float, finished: Finished, tmp_path: Path
) -> None:
    """A cheaper one that is not shown to be as good is named with what it would save; latencies vary."""

    def timed(name: str, latency_ratio: float, at_least: float = -0.279) -> Path:
        folder = Path(shutil.copytree(finished.folder, tmp_path / name))
        recommended = Run(folder).results().recommended
        [other] = recommended.alternatives
        costs = replace(other, latency_ratio=latency_ratio, size_ratio=0.99, at_least=at_least)
        sentence = choice(replace(recommended, alternatives=(costs,)))
        assert ("would save" in sentence) == (latency_ratio < 0.75)

        def change(results: Any) -> None:
            results["recommended"]["alternatives"][0] |= {
                "latency_ratio": latency_ratio,
                "size_ratio": 0.99,
                "at_least": at_least,
            }
            old = choice(recommended)
            results["verdict"] = [sentence if one == old else one for one in results["verdict"]]

        return edited(folder, change)

    then = timed("then", latency_then)
    found = judged(then, timed("now", latency_now))
    assert (found.agrees, found.notes) == (True, ())
    assert [check.what for check in found.checks] == KINDS
    differs = disagreeing(judged(then, timed("other", latency_now, at_least=-0.4)))
    assert [check.what for check in differs] == (["verdict"] if latency_then < 0.75 else [])


def test_with_a_budget_only_what_both_tried_is_compared(finished: Finished, tmp_path: Path) -> None:
    def change(results: Any) -> None:
        results["candidates"] = [one for one in results["candidates"] if one["technique"] == "features"]
        results["recommended"]["technique"], results["comparisons"] = "features", []

    fewer = edited(Path(shutil.copytree(finished.folder, tmp_path / "fewer")), change)
    edited(fewer, lambda results: results["settings"].update(budget="9m"))
    found = judged(fewer, finished.folder, budget="9m")
    assert (found.agrees, found.notes) == (True, (BUDGET_NOTE.format(budget="9m"),))
    assert [check.what for check in found.checks] == [*KINDS[:2], *KINDS[3:9]]
    assert found.checks[2].expected == "tiny/features"
    edited(fewer, lambda results: results["settings"].update(budget=None))
    ranking = next(check for check in judged(fewer, finished.folder).checks if check.what == "ranking")
    assert (ranking.expected, ranking.agrees) == ("tiny/features", False)


def test_a_run_with_a_budget_that_was_enough_agrees(photos: Path, tmp_path: Path) -> None:
    given: dict[str, Any] = {"backbones": "tiny", "techniques": "features", "budget": "1h", "report": False}
    headstart.compare(photos, out=str(tmp_path / "run"), **given)
    found = replay(tmp_path / "run")
    assert (found.agrees, found.notes) == (True, (BUDGET_NOTE.format(budget="1h"),))
    assert [check.what for check in found.checks] == KINDS
