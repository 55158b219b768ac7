"""A disk that fails wherever Headstart writes ends a command in a clear message, and loses nothing."""

import errno
import itertools
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from conftest import PATIENCE_S, Finished, write_mixed_photos
from faults import Planter, places, walk

from headstart.base import filenames, records
from headstart.base.errors import DiskFull, SettingsError
from headstart.base.settings import Settings
from headstart.cli import main
from headstart.networks import backbones, engine
from headstart.networks.sweep import Fed, Squares
from headstart.reporting import tracking
from headstart.results.comparison import Results
from headstart.workflow import experiment, preparation
from headstart.workflow.preparation import Photos

TESTS = Path(__file__).parent

OF_FEATURES = {
    "networks/classifier:Classifier.save",
    "networks/engine:Engine.save",
    "networks/pieces:Pieces.save",
    "photos/splits:write_csv",
    "reporting/card:write",
    "reporting/report:draw",
    "results/run:Run.decide",
    "results/run:Run.finish",
    "results/run:Run.keep_model",
    "results/run:_locked",
    "results/run:claim",
    "results/snapshot:write",
    "storage/checksums:write",
    "storage/database:_connect_with",
    "storage/database:_turn",
    "workflow/experiment:judge_labels",
    "workflow/illustration:write",
    "workflow/preparation:_audit",
    "workflow/scoring:measure",
    "workflow/techniques/draft:Draft.keep",
}
"""Where a comparison by features writes, small photos and no large features among them."""

OF_FINE_TUNING = {
    "networks/engine:convert",
    "training/activations:Kept.__init__",
    "training/activations:_reserve",
    "training/activations:Kept._keep",
    "training/finetune:Tuner._keep",
    "workflow/techniques/draft:Draft.asked",
    "workflow/techniques/draft:Draft.end",
    "workflow/techniques/draft:Draft.keep_answers",
    "workflow/techniques/tuning:Tuning._effects",
}

OF_EXPORTS = {
    "export/inspection:inspect",
    "export/litert_file:write",
    "export/onnx_file:_quantise",
    "export/onnx_file:write",
    "export/shipment:_record",
    "export/shipment:_replace",
    "export/shipment:_room_in",
    "export/shipment:_try",
    "export/tensorflow_files:write_keras",
    "export/tensorflow_files:write_saved_model",
}

OF_PREDICTIONS = {
    "reporting/lines:new_file",
    "reporting/sorting:Sorter._make",
    "reporting/sorting:Sorter._placed",
}

OF_CHECKS = {"workflow/check:write"}

OF_A_REPLAY = {"workflow/replay:replay"}

OF_LIBRARIES = {
    "export/litert_file:_save_frozen": "litert",
    "export/openvino_file:write": "openvino",
}
"""What libraries write that are no Python, with the format of which it is: a really full disk tells."""

ELSEWHERE = {
    "export/inspection:_inspect": "test_faults.py::test_an_inspector_without_room_is_told",
    "networks/engine:KerasEngine.write": "test_faults.py::test_a_network_of_keras_on_a_full_disk",
    "networks/engine:OpenVINOEngine.write": "networks/test_engine.py"
    "::test_a_disk_too_small_for_a_graph_is_told",
    "networks/engine:_keep": "networks/test_engine.py"
    "::test_a_disk_too_small_for_a_kept_graph_names_the_cache",
    "networks/engine:_why_not_written": "networks/test_engine.py::test_a_disk_too_small_for_a_graph_is_told",
    "networks/engine:write_graph": "networks/test_engine.py::test_a_disk_too_small_for_a_graph_is_told",
    "networks/keras_weights:_download": "networks/test_keras_weights.py::test_a_full_disk_is_named",
    "networks/keras_weights:_fetch": "networks/test_keras_weights.py::test_a_full_disk_is_named",
    "networks/keras_weights:_temporary": "networks/test_keras_weights.py::test_a_full_disk_is_named",
    "networks/sweep:Squares.take": "test_faults.py::test_squares_on_a_full_disk",
    "networks/vectors:Filed.__setitem__": "networks/test_vectors.py::test_a_full_disk_is_named",
    "networks/vectors:Filed.create": "networks/test_vectors.py::test_a_full_disk_is_named",
    "reporting/tracking/tensorboard:EventFile.__init__": "test_faults.py::test_a_log_on_a_full_disk",
    "results/run:Run.adopt": "workflow/test_experiment.py"
    "::test_an_update_that_is_interrupted_loses_nothing_and_goes_on",
    "storage/remote:_get": "storage/test_remote.py"
    "::test_what_was_fetched_before_a_full_disk_is_not_fetched_again",
    "storage/remote:_write": "storage/test_remote.py"
    "::test_what_was_fetched_before_a_full_disk_is_not_fetched_again",
    "storage/remote:fetch": "storage/test_remote.py"
    "::test_what_was_fetched_before_a_full_disk_is_not_fetched_again",
    "storage/wheels:_unpack": "storage/test_wheels.py::test_a_full_disk_is_named",
    "storage/wheels:_workspace": "storage/test_wheels.py::test_a_full_disk_is_named",
    "storage/wheels:extract_file": "storage/test_wheels.py::test_a_full_disk_is_named",
    "storage/wheels:extract_tree": "storage/test_wheels.py::test_a_full_disk_is_named",
    "workflow/techniques/draft:Draft.unpack": "workflow/test_techniques_errand.py"
    "::test_what_comes_back_on_a_full_disk_is_told_and_is_not_taken_for_whole",
    "workflow/techniques/errand:run": "workflow/test_techniques_errand.py"
    "::test_a_machine_without_room_tells_it",
    "training/activations:_has_room": "training/test_activations.py"
    "::test_a_disk_that_is_full_by_then_is_told",
}
"""Places that a test elsewhere lets fail, since few runs come to them."""

NO_ROOM_NEEDED = {
    "export/shipment:_hushed",  # to nowhere
    "networks/backbones:_hushed",  # to nowhere
    "networks/engine:_join_openvino",  # in a graph in memory
    "results/gallery:_webp",  # to memory
    "storage/cache:discard",  # it removes
    "storage/database:_connect_at_rest",  # it reads
    "workflow/preparation:prepare",  # by photos/splits
}
"""What looks like writing, and needs no room of its own."""

FULL = re.compile(
    r"No space is left on the disk that holds (\S+)\.\n"
    r"Free some space, or name a folder on another disk: --out RUN for the run, HEADSTART_CACHE=FOLDER for "
    r"what is kept between runs, TMPDIR=FOLDER for what is temporary\.\n$"
)
READ_ONLY = re.compile(
    r"(\S+)( cannot be written)?: Read-only file system\.\n"
    r"(Name a folder that you may write to: --out RUN for the run, HEADSTART_CACHE=FOLDER for what is kept "
    r"between runs|Name another folder: --out RUN)\.\n$"
)
TABLES = {"split.csv", "predictions.csv", "suspects.csv", "quarantine.csv"}
"""All but photos.csv, which has the times of the photos."""

Probed = tuple[Path, tuple[object, ...]]
"""Photos, and a command for them, whose last word is the run folder."""

MESSAGES = {errno.ENOSPC: FULL, errno.EROFS: READ_ONLY}


def test_every_place_that_writes_has_a_fault_planted() -> None:
    """A new one fails here until a fault is planted at it and it stands in one of the lists above."""
    reached = OF_FEATURES | OF_FINE_TUNING | OF_EXPORTS | OF_PREDICTIONS | OF_CHECKS | OF_A_REPLAY
    assert places() == reached | {*OF_LIBRARIES} | {*ELSEWHERE} | NO_ROOM_NEEDED


@pytest.mark.parametrize("place", ELSEWHERE)
def test_the_test_that_plants_it_is_there(place: str) -> None:
    file, _, name = ELSEWHERE[place].partition("::")
    assert f"\ndef {name}(" in (TESTS / file).read_text(encoding="utf-8")


def run(*words: object) -> Result:
    return CliRunner().invoke(main, list(map(str, words)))


def failing(number: int, *words: object) -> Planter:
    """Give a command until it is through, and return where the disk failed meanwhile.

    Each time that it fails it must say so, and name a folder that is there.
    """
    planter = Planter(number)

    def attempt() -> bool:
        done = run(*words)
        if done.exit_code == 0:
            return True
        told = MESSAGES[number].search(done.stderr)
        assert told, f"{planter.failed[-1]}: {done.stderr} {done.exception!r}"
        assert done.exit_code == 1
        assert "Traceback" not in done.stderr
        return False

    walk(planter, attempt)
    return planter


def compare(folder: Path, techniques: str) -> tuple[object, ...]:
    photos, run_folder = folder / "photos", folder / "run"
    words = ("--backbones", "tiny", "--techniques", techniques, "--epochs", 1, "--folds", 0)
    return ("compare", photos, *words, "--out", run_folder)


def outcome(folder: Path) -> dict[str, Any]:
    """What a run came to, but for times and versions, and which files are there."""
    results = records.read_json(folder / "results.json", Results)
    found = [
        (one.name, one.validation, one.test, one.calibration, one.training) for one in results.candidates
    ]
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))
    tables = {name: (folder / name).read_bytes() for name in names if name in TABLES}
    recommended = results.recommended
    others = tuple(replace(one, latency_ratio=1.0) for one in recommended.alternatives)
    return {
        "candidates": found,
        "recommended": replace(recommended, alternatives=others),
        "files": names,
        "tables": tables,
    }


@pytest.mark.parametrize(
    "number",
    [
        pytest.param(errno.ENOSPC, id="full"),
        pytest.param(errno.EROFS, id="read-only", marks=pytest.mark.slow),
    ],
)
def test_a_comparison_by_features_on_a_disk_that_fails_everywhere(number: int, tmp_path: Path) -> None:
    check_comparison("features", OF_FEATURES, number, tmp_path)


@pytest.mark.slow
def test_a_comparison_by_both_on_a_disk_that_fails_everywhere(tmp_path: Path) -> None:
    check_comparison("features,finetune", OF_FEATURES | OF_FINE_TUNING, errno.ENOSPC, tmp_path)


def check_comparison(techniques: str, expected: set[str], number: int, folder: Path) -> None:
    for name in ("disturbed", "undisturbed"):
        write_mixed_photos(folder / name / "photos")
    photos = {path: path.read_bytes() for path in (folder / "disturbed" / "photos").rglob("*.*")}
    planter = failing(number, *compare(folder / "disturbed", techniques))
    done = run(*compare(folder / "undisturbed", techniques))
    assert done.exit_code == 0, done.stderr
    assert outcome(folder / "disturbed" / "run") == outcome(folder / "undisturbed" / "run")
    assert {path: path.read_bytes() for path in photos} == photos
    # What the store keeps of a command before, such as an opened network, is not written again.
    assert planter.places - {"networks/engine:_frozen"} == expected


@pytest.mark.slow
def test_exports_to_a_disk_that_fails_everywhere(finished: Finished, tmp_path: Path) -> None:
    pytest.importorskip("tf2onnx")
    pytest.importorskip("ai_edge_litert")
    copy = shutil.copytree(finished.folder, tmp_path / "run")
    words = ("export", copy, "--overwrite", "--format")
    reached = failing(errno.ENOSPC, *words, "keras,savedmodel,openvino,onnx,litert").places
    reached |= failing(errno.ENOSPC, *words, "onnx", "--precision", "int8").places
    assert reached >= OF_EXPORTS
    names = {path.name for path in (copy / "exports").iterdir()}
    assert names >= {"keras-f32", "litert-f32", "onnx-f32", "openvino-f32", "savedmodel-f32"}
    assert not any(name.startswith(".") for name in names)


@pytest.mark.slow
@pytest.mark.parametrize("name", [*OF_LIBRARIES.values(), "savedmodel"])
def test_an_export_to_a_disk_that_is_really_full(
    name: str,
    finished: Finished,
    tmp_path: Path,
    small_disk: Callable[[int], Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    copy, disk = shutil.copytree(finished.folder, tmp_path / "run"), small_disk(24)
    if name == "litert":  # by way of a SavedModel that is temporary
        monkeypatch.setattr(tempfile, "tempdir", str(disk))
    done = run("export", copy, "--format", name, *(() if name == "litert" else ("--out", disk / "exports")))
    assert (done.exit_code, done.stdout) == (1, "")
    told = FULL.search(done.stderr)
    assert told, done.stderr
    assert told[1].startswith(str(disk))


@pytest.mark.slow
@pytest.mark.parametrize("kilobytes", [8, 40, 120])
def test_a_comparison_on_a_disk_that_is_really_full(
    kilobytes: int, probed: Probed, tmp_path: Path, small_disk: Callable[[int], Path]
) -> None:
    """With room the same command goes on, and ends with the results that it would have had."""
    _, words = probed
    disk = small_disk(kilobytes)
    done = run(*words[:-1], disk / "run", "--quiet")
    assert (done.exit_code, done.stdout) == (1, "")
    told = FULL.fullmatch(done.stderr)
    assert told and told[1].startswith(str(disk)), done.stderr
    remount(disk, "size=50m")
    for folder in (disk / "run", tmp_path / "undisturbed"):
        done = run(*words[:-1], folder, "--quiet")
        assert done.exit_code == 0, done.stderr
    assert outcome(disk / "run") == outcome(tmp_path / "undisturbed")


@pytest.mark.slow
@pytest.mark.parametrize("kilobytes", [4, 200])
def test_a_cache_on_a_disk_that_is_really_full(
    kilobytes: int,
    probed: Probed,
    tmp_path: Path,
    small_disk: Callable[[int], Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is remarked, and the results are those with a cache."""
    _, words = probed
    assert run(*words, "--quiet").exit_code == 0
    monkeypatch.setenv("HEADSTART_CACHE", str(small_disk(kilobytes) / "cache"))
    done = run(*words[:-1], tmp_path / "without")
    assert done.exit_code == 0, done.stderr
    assert "Nothing more is kept" in done.stderr
    assert outcome(tmp_path / "without") == outcome(tmp_path / "run")


@pytest.mark.slow
def test_a_file_system_that_is_read_only(
    probed: Probed, tmp_path: Path, small_disk: Callable[[int], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Photos and cache may lie on one. A run under which it became so goes on when it may write again."""
    photos, words = probed
    disk = small_disk(50_000)
    shutil.copytree(photos, disk / "photos")
    command = [disk / "photos" if word == photos else word for word in words[:-1]]
    cut_short(monkeypatch, *command, disk / "run")
    remount(disk, "ro")
    done = run(*command, disk / "run", "--quiet")
    assert (done.exit_code, done.stdout) == (1, "")
    assert READ_ONLY.fullmatch(done.stderr), done.stderr
    with monkeypatch.context() as patch:
        patch.setenv("HEADSTART_CACHE", str(disk / "cache"))
        done = run(*command, tmp_path / "elsewhere")
    assert done.exit_code == 0, done.stderr
    assert "Nothing more is kept" in done.stderr
    remount(disk, "rw")
    assert run(*command, disk / "run", "--quiet").exit_code == 0
    assert outcome(disk / "run") == outcome(tmp_path / "elsewhere")


def remount(disk: Path, option: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{option}", str(disk)], check=True)


def cut_short(monkeypatch: pytest.MonkeyPatch, *words: object) -> None:
    """Give a command, and interrupt it when the photos are divided."""

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(experiment, "open_trial", interrupted)
        assert run(*words, "--quiet").exit_code != 0


def test_predictions_on_a_disk_that_fails_everywhere(garments: Path, tmp_path: Path) -> None:
    write_mixed_photos(tmp_path / "photos")
    sources = sorted((tmp_path / "photos" / "red").iterdir())
    planter = Planter(errno.ENOSPC)
    numbers = iter(range(100))

    def attempt() -> bool:
        """Each to a new table, for nothing is overwritten."""
        table = tmp_path / "tables" / f"{next(numbers)}.csv"
        done = run("predict", garments, *sources, "--csv", table, "--sort-into", tmp_path / "sorted")
        assert done.exit_code == 0 or FULL.search(done.stderr), (done.stderr, done.exception)
        return done.exit_code == 0

    walk(planter, attempt)
    assert planter.places == OF_PREDICTIONS
    kept = {path.name: path.read_bytes() for path in (tmp_path / "sorted").rglob("*.jpg")}
    assert kept == {path.name: path.read_bytes() for path in sources}


def test_a_list_of_findings_on_a_disk_that_fails(tmp_path: Path) -> None:
    write_mixed_photos(tmp_path / "photos")
    words = ("check", tmp_path / "photos", "--fix", "list", "--out", tmp_path / "found")
    assert failing(errno.ENOSPC, *words).places >= OF_CHECKS


@pytest.mark.slow
def test_a_replay_on_a_disk_that_fails(finished: Finished, tmp_path: Path) -> None:
    """One that came through, or as far as its report, leaves a finished run: the next has another folder."""
    planter, numbers = Planter(errno.ENOSPC), itertools.count(1)
    out = tmp_path / "0"

    def attempt() -> bool:
        nonlocal out
        done = run("replay", finished.folder, "--out", out)
        assert done.exit_code == 0 or FULL.search(done.stderr), (planter.failed[-1], done.stderr)
        out = tmp_path / str(next(numbers)) if (out / filenames.RESULTS).exists() else out
        return done.exit_code == 0

    walk(planter, attempt)
    assert planter.places >= OF_A_REPLAY


def test_squares_on_a_full_disk(tmp_path: Path) -> None:
    squares, planter = Squares(tmp_path / "squares", [8], "squash"), Planter(errno.ENOSPC)
    fed = Fed("00", {8: np.full((8, 8, 3), 7, np.uint8)}, ())
    for _ in range(2):
        with pytest.raises(DiskFull, match=f"the disk that holds {tmp_path / 'squares'}"), planter.planted():
            squares.take([fed])
    assert planter.failed == [
        ("networks/sweep:Squares.take", "os.mkdir "),
        ("networks/sweep:Squares.take", "open .squares"),
    ]
    with planter.planted():
        squares.take([fed])
    assert [one.tolist() for one in squares.read(["00"], 8)] == [fed.squares[8].tolist()]


def test_a_network_of_keras_on_a_full_disk(tmp_path: Path) -> None:
    network, planter = engine.KerasEngine(backbones.build("tiny")), Planter(errno.ENOSPC)
    for _ in range(2):
        with pytest.raises(DiskFull, match=f"the disk that holds {tmp_path}"), planter.planted():
            network.save(tmp_path)
        assert [*tmp_path.iterdir()] == []
    assert ("networks/engine:KerasEngine.write", "open .keras") in planter.failed


def test_a_log_on_a_full_disk(tmp_path: Path) -> None:
    planter, settings = Planter(errno.ENOSPC), Settings(data="photos", out=str(tmp_path / "run"))
    for _ in range(2):
        with (
            planter.planted(),
            pytest.raises(SettingsError, match="No space left"),
            tracking.opened(settings, tensorboard=tmp_path / "logs"),
        ):
            raise AssertionError("it could not be opened")
    assert planter.places == {"reporting/tracking/tensorboard:EventFile.__init__"}
    assert [what.split()[0] for _, what in planter.failed] == ["os.mkdir", "open"]


@pytest.mark.slow
def test_an_inspector_without_room_is_told(
    finished: Finished,
    tmp_path: Path,
    small_disk: Callable[[int], Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is a process of its own: what it cannot write, the one that asked it tells."""
    copy, disk = shutil.copytree(finished.folder, tmp_path / "run"), small_disk(4)
    monkeypatch.setattr(tempfile, "tempdir", str(disk))
    done = run("export", copy, "--format", "openvino", "--quiet")
    assert done.exit_code == 1
    place = rf"{disk}/headstart-export-\S+"
    told = rf"OpenVINO cannot use the file: No space is left on the disk that holds {place}\."
    assert re.search(told, " ".join(done.output.split()))  # lines are broken to fit


@pytest.fixture
def probed(tmp_path: Path) -> Iterator[Probed]:
    """A folder of photos and the words of a comparison of them by features, into `run` beside it."""
    write_mixed_photos(tmp_path / "photos")
    command, *words = compare(tmp_path, "features")
    yield tmp_path / "photos", (command, "--no-report", *words)


@pytest.mark.parametrize(("is_gone", "what"), [(True, "is gone"), (False, "was changed")])
def test_a_photo_that_goes_or_changes_after_it_was_checked(
    is_gone: bool, what: str, probed: Probed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No figure is told of a photo that is another by now; put back, the same command is through."""
    _, words = probed
    before = dict[Path, bytes]()

    def prepared(*args: Any) -> Photos:
        found = preparation.prepare(*args)
        for file in found.test.files:
            before[file] = file.read_bytes()
            file.unlink() if is_gone else file.write_bytes(before[file] + b" ")
        return found

    with monkeypatch.context() as patch:
        patch.setattr(experiment, "prepare", prepared)
        done = run(*words, "--quiet")
    assert (done.exit_code, done.stdout) == (1, "")
    first = next(iter(before))
    assert done.stderr == (
        f"{first} {what} since it was checked.\nLeave the photos as they are while it works, "
        "and run the same command again.\n"
    )
    for file, content in before.items():
        file.write_bytes(content)
    assert run(*words, "--quiet").exit_code == 0


def test_a_clock_that_jumps(probed: Probed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Durations are taken from another clock, and what is kept is found by what it is made from."""
    _, words = probed
    years = itertools.cycle((0.0, 1e9, -1e9, 3e7))
    with monkeypatch.context() as patch:
        patch.setattr(time, "time", lambda: 1.7e9 + next(years))
        assert run(*words).exit_code == 0
    still = run(*words[:-1], tmp_path / "still")
    assert still.exit_code == 0
    assert outcome(tmp_path / "run") == outcome(tmp_path / "still")
    seconds = records.read_json(tmp_path / "run" / "results.json", Results).candidates[0].seconds
    assert all(0 <= one < 600 for one in seconds.values())


def test_too_little_memory_is_told(probed: Probed, monkeypatch: pytest.MonkeyPatch) -> None:
    def measure(*_: object) -> None:
        np.empty(1 << 50)  # more than a process can address

    with monkeypatch.context() as patch:
        patch.setattr(experiment, "measure", measure)
        done = run(*probed[1], "--quiet")
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr == TOO_LITTLE
    assert run(*probed[1], "--quiet").exit_code == 0


TOO_LITTLE = (
    "There is not enough memory for it.\n"
    "End other programs, or raise the limit (`ulimit -v`, a container's). "
    "The same command goes on with what it has kept.\n"
)
OF_OPENBLAS = "OpenBLAS error: Memory allocation still failed after 10 retries, giving up.\n"
"""It ends the process itself, with 1."""


LIMITED = """
import resource, sys
from pathlib import Path
from headstart.cli import main
from headstart.workflow import experiment
experiment.load_libraries()
taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
most = taken + int(sys.argv.pop(1)) * 10**6
resource.setrlimit(resource.RLIMIT_AS, (most, most))
main(prog_name="headstart")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="Linux holds a process to a limit of its addresses")
@pytest.mark.parametrize("megabytes", [20, 200])
def test_memory_that_is_limited(megabytes: int, probed: Probed, tmp_path: Path) -> None:
    """As by `ulimit -v`: networks find too little. It says so, and with more the same command goes on."""
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(megabytes), *map(str, probed[1]), "--quiet"],
        env=os.environ | {"HEADSTART_CACHE": str(tmp_path / "cache")},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr in (TOO_LITTLE, OF_OPENBLAS)
    assert run(*probed[1], "--quiet").exit_code == 0


CONFINED = """
import os, sys
from pathlib import Path
from headstart.cli import main
from headstart.workflow import experiment
group, prepare = Path(sys.argv.pop(1)), experiment.prepare
def prepared(*arguments):
    found = prepare(*arguments)
    (group / "cgroup.procs").write_text(str(os.getpid()))
    return found
experiment.prepare = prepared
main(prog_name="headstart")
"""


@pytest.fixture
def memory_group() -> Iterator[Callable[[int], Path]]:
    """A function that gives a control group below this process's own, limited to so many megabytes."""
    made = list[Path]()

    def limited(megabytes: int) -> Path:
        try:
            own, limit = control_group()
            made.append(own / "headstart-test")
            made[0].mkdir()
            (made[0] / limit).write_text(str(megabytes * 10**6))
        except OSError as error:
            pytest.skip(f"this system lets nobody limit a group of processes here: {error}")
        return made[0]

    yield limited
    for group in made:
        if group.exists():
            group.rmdir()


def control_group() -> tuple[Path, str]:
    """This process's group of those that limit memory, of cgroup 1 or 2, and what its limit is called."""
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if "memory" in controllers.split(","):
            return Path("/sys/fs/cgroup/memory") / path[1:], "memory.limit_in_bytes"
        if not controllers and (Path("/sys/fs/cgroup") / path[1:] / "memory.max").exists():
            return Path("/sys/fs/cgroup") / path[1:], "memory.max"
    raise FileNotFoundError("no control group for memory")


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="Linux has control groups")
def test_a_process_that_the_system_ends_for_its_memory_loses_nothing(
    probed: Probed, tmp_path: Path, memory_group: Callable[[int], Path]
) -> None:
    """As in a container: no word, for the system kills it; the same command goes on with what is kept."""
    _, words = probed
    code = [sys.executable, "-c", CONFINED, str(memory_group(4))]
    done = subprocess.run([*code, *map(str, words), "--quiet"], capture_output=True, check=False, timeout=300)
    assert (done.returncode, done.stdout) == (-signal.SIGKILL, b"")
    assert (tmp_path / "run" / "split.csv").exists()
    for folder in (tmp_path / "run", tmp_path / "undisturbed"):
        done_again = run(*words[:-1], folder, "--quiet")
        assert done_again.exit_code == 0, done_again.stderr
    assert outcome(tmp_path / "run") == outcome(tmp_path / "undisturbed")


@pytest.mark.slow
def test_two_comparisons_and_a_prediction_at_once_on_one_cache(garments: Path, tmp_path: Path) -> None:
    """All of them answer what they answer alone, and the store is whole."""
    write_mixed_photos(tmp_path / "photos")
    environment = os.environ | {"HEADSTART_CACHE": str(tmp_path / "cache")}
    asked = ("predict", garments, *sorted((tmp_path / "photos" / "red").glob("*.jpg")), "--json")
    commands = [
        (*compare(tmp_path, "features")[:-1], tmp_path / "one"),
        (*compare(tmp_path, "features")[:-1], tmp_path / "other"),
        asked,
    ]
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "headstart", *map(str, words)],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for words in commands
    ]
    said = [process.communicate(timeout=600) for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0], said
    assert not any("begins anew" in stderr or "Nothing more is kept" in stderr for _, stderr in said)
    assert said[2][0] == run(*asked).stdout
    assert run(*compare(tmp_path, "features")).exit_code == 0
    alone = outcome(tmp_path / "run")
    assert outcome(tmp_path / "one") == outcome(tmp_path / "other") == alone
    with sqlite3.connect(tmp_path / "cache" / "store.sqlite") as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_a_lock_of_a_killed_process_holds_nobody_up(probed: Probed) -> None:
    """The system lets go of it, whatever the file that is left says."""
    folder = probed[0].parent / "run"
    code = (
        "import os, signal, sys; from pathlib import Path; from headstart.results.run import _locked\n"
        "with _locked(Path(sys.argv[1])): os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(folder)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert (folder / ".lock").exists()
    assert run(*probed[1], "--quiet").exit_code == 0
