"""A run folder is claimed by one process, refused to what is not its own, and written whole or not at all."""

import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import Finished

from headstart.base import records
from headstart.base.errors import DiskFull, RunError
from headstart.base.settings import Settings, from_toml
from headstart.results import run
from headstart.results.comparison import Recommendation
from headstart.results.run import Run, claim

SETTINGS = Settings(data="/photos", backbones=("tiny",), seed=4)


def refused(folder: Path, settings: Settings = SETTINGS) -> str:
    with pytest.raises(RunError) as caught, claim(folder, settings):
        pass
    return str(caught.value)


def train_something(one: Run) -> None:
    (one.work / "tiny-features").mkdir(parents=True)


@pytest.mark.parametrize(
    ("data", "out", "expected"),
    [
        ("sample:textile", None, "runs/textile"),
        ("photos.v2", None, "runs/photos.v2"),
        ("labels.csv", None, "runs/labels"),
        (".", None, "runs/here"),
        ("photos.v2", "elsewhere", "elsewhere"),
    ],
)
def test_the_run_folder_is_named_after_the_data(
    data: str, out: str | None, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "here"
    (here / "photos.v2").mkdir(parents=True)
    (here / "labels.csv").touch()
    monkeypatch.chdir(here)
    assert run.resolve(Settings(data=data, out=out)).out == str(Path(expected))


def test_paths_become_absolute_and_samples_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    resolved = run.resolve(Settings(data="photos", weights_dir="weights", images="images"))
    assert resolved.images == str(tmp_path / "images")
    assert (resolved.data, resolved.weights_dir) == (str(tmp_path / "photos"), str(tmp_path / "weights"))
    assert run.resolve(resolved) == resolved
    assert run.resolve(Settings(data="sample:textile")).data == "sample:textile"


def test_a_new_folder_gets_a_configuration_that_reads_back(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "new"
    with claim(folder, SETTINGS) as claimed:
        assert not claimed.is_finished
        assert from_toml(folder / "config.toml") == SETTINGS
        first_line = (folder / "config.toml").read_text(encoding="utf-8").splitlines()[0]
    assert first_line == "# Repeat this run: headstart compare --config THIS_FILE --out NEW"


def test_a_claim_of_which_nothing_came_is_given_up(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt), claim(folder, SETTINGS):
        raise KeyboardInterrupt
    assert not folder.exists()


def test_a_failure_before_training_does_not_bind_the_settings(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with pytest.raises(ZeroDivisionError), claim(folder, SETTINGS):
        (folder / "quarantine.csv").write_text("path,reason\n")
        (folder / "split.csv").write_text("path,label,part,group\n")
        raise ZeroDivisionError
    other = Settings(data="/photos", backbones=("tiny",), exclude=("rare",))
    with claim(folder, other):
        assert from_toml(folder / "config.toml") == other


def test_a_failure_after_training_does(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with pytest.raises(ZeroDivisionError), claim(folder, SETTINGS) as claimed:
        train_something(claimed)
        raise ZeroDivisionError
    other = Settings(
        data="/photos", backbones=("tiny", "mobilenet_v2"), techniques=("features",), seed=4, image_size=64
    )
    assert refused(folder, other) == (
        f"{folder} was made with other settings: backbones was tiny, now tiny,mobilenet_v2; "
        "techniques was features,finetune, now features; image_size was auto, now 64.\n"
        "Name another folder: --out RUN."
    )
    with claim(folder, SETTINGS) as claimed:
        assert claimed.work.is_dir()


def test_where_weights_and_the_run_stand_does_not_count_as_a_setting(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with claim(folder, SETTINGS) as claimed:
        train_something(claimed)
    elsewhere = Settings(data="/photos", backbones=("tiny",), seed=4, weights_dir="/weights", out="/else")
    with claim(folder, elsewhere):
        pass


def test_a_folder_in_use_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    code = (
        "import sys; from pathlib import Path; from headstart.results.run import claim;"
        "from headstart.base.settings import Settings\n"
        "with claim(Path(sys.argv[1]), Settings(data='/photos', backbones=('tiny',), seed=4)):\n"
        "    print('claimed', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", code, str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout
        assert other.stdout.readline() == "claimed\n"
        assert refused(folder) == (
            f"Another headstart is at work in {folder}.\n"
            "Wait until it ends, or name another folder: --out RUN."
        )
        assert other.stdin
        other.stdin.close()
    with claim(folder, SETTINGS):
        pass


def test_a_claim_ends_with_its_block(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError) as held, claim(tmp_path / "run", SETTINGS):
        raise ZeroDivisionError
    with claim(tmp_path / "run", SETTINGS):
        assert held  # its traceback keeps the first claim's frames alive


def test_a_foreign_folder_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.doc").write_text("years of work")
    (tmp_path / "z.txt").touch()
    assert refused(tmp_path) == (
        f"{tmp_path} holds other files, such as thesis.doc, and no run.\n"
        "Name a new or an empty folder: --out RUN."
    )
    assert sorted(os.listdir(tmp_path)) == ["thesis.doc", "z.txt"]


def test_hidden_files_make_no_folder_foreign(tmp_path: Path) -> None:
    (tmp_path / ".DS_Store").touch()
    with claim(tmp_path, SETTINGS):
        pass


def test_another_programs_configuration_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text('baseURL = "https://example.org/"\n')
    assert refused(tmp_path) == (
        f"{path} has the unknown key 'baseURL'.\nThe run folder was changed. Name another folder: --out RUN."
    )
    assert path.read_text() == 'baseURL = "https://example.org/"\n'


def test_a_file_is_no_run_folder(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.touch()
    assert refused(path) == f"{path} is a file.\nName a folder: --out RUN."


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    folder = tmp_path / "file" / "run"
    assert refused(folder) == f"{folder} cannot be written: Not a directory.\nName another folder: --out RUN."


def test_an_unfinished_run_has_no_results(tmp_path: Path) -> None:
    with pytest.raises(RunError) as caught:
        Run(tmp_path).results()
    assert str(caught.value) == (
        f"{tmp_path} holds no finished run.\nName a run folder that `headstart compare` finished."
    )


def test_results_of_another_version_are_refused(tmp_path: Path, finished: Finished) -> None:
    text = (finished.folder / "results.json").read_text(encoding="utf-8")
    (tmp_path / "results.json").write_text(text.replace('"schema_version": 7', '"schema_version": 8'))
    with pytest.raises(RunError) as caught:
        Run(tmp_path).results()
    assert str(caught.value) == (
        f"{tmp_path} was made by another version of Headstart: the schema of its results is 8, not 7.\n"
        "Run the command again with a new --out."
    )


def test_damaged_results_are_told(tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text('{"schema_version": 1,')
    with pytest.raises(RunError) as caught:
        Run(tmp_path).results()
    assert str(caught.value) == (
        f"{tmp_path / 'results.json'} cannot be read: Input data was truncated.\n"
        "It was changed by hand or written by another version; run the command again with a new --out."
    )


def files_of(folder: Path) -> dict[str, str]:
    paths = [path for path in folder.rglob("*") if path.is_file() and path.name != ".lock"]
    return {path.relative_to(folder).as_posix(): path.read_text() for path in sorted(paths)}


def write_run(folder: Path, version: str, *more: str) -> dict[str, str]:
    """Write what stands for the files of a finished run."""
    (folder / "model").mkdir(parents=True)
    for name in ("model/graph.xml", "photos.csv", "results.json", "split.csv", *more):
        (folder / name).write_text(f"{version} {name}")
    return files_of(folder)


class Killed(BaseException):
    """Stands for a process that ends there."""


@pytest.mark.parametrize("step", range(11))
def test_an_update_takes_the_place_of_the_run_wherever_it_was_interrupted(
    step: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is never a result of one beside a file of the other; what the user has put there stays."""
    one = Run(tmp_path / "run")
    before = write_run(one.folder, "old", "config.toml", "exports.json", "gallery.json", "notes.txt")
    expected = write_run(one.update.folder, "new", "model/model.keras")
    expected |= {name: before[name] for name in ("config.toml", "notes.txt")}
    (one.update.work / "left").mkdir(parents=True)
    steps = 0

    def counted(call: Callable[..., Any]) -> Callable[..., Any]:
        def do(*given: Any, **named: Any) -> Any:
            nonlocal steps
            if steps == step:
                raise Killed
            steps += 1
            return call(*given, **named)

        return do

    with monkeypatch.context() as patch:
        for owner, name in ((Path, "replace"), (Path, "unlink"), (Path, "rmdir"), (shutil, "rmtree")):
            patch.setattr(owner, name, counted(getattr(owner, name)))
        try:
            one.adopt()
        except Killed:
            results = (one.folder / "results.json").read_text() if one.is_finished else None
            own = files_of(one.folder)
            if results == "old results.json":
                kept = [name for name in before if name not in {"gallery.json", "exports.json"}]
                assert {name: own[name] for name in kept} == {name: before[name] for name in kept}
            elif results == "new results.json":
                assert {name: own[name] for name in expected} == expected
    one.adopt()
    assert files_of(one.folder) == expected
    if step == 10:  # beyond the last
        assert steps == 10
        assert not one.update.folder.exists()


def test_an_update_that_is_not_finished_is_not_adopted(tmp_path: Path) -> None:
    one = Run(tmp_path / "run")
    before = write_run(one.folder, "old")
    write_run(one.update.folder, "new")
    (one.update.folder / "results.json").unlink()
    one.adopt()
    assert {name: text for name, text in files_of(one.folder).items() if ".update" not in name} == before


@pytest.fixture
def trained(tmp_path: Path) -> tuple[Run, Path]:
    """A run, and the folder of a classifier that it has trained."""
    one = Run(tmp_path / "run")
    folder = one.work / "tiny-features"
    folder.mkdir(parents=True)
    for name in ("classifier.json", "graph.bin", "graph.xml"):
        (folder / name).write_text(f"new {name}")
    return one, folder


def test_the_model_replaces_an_older_one_whole(trained: tuple[Run, Path]) -> None:
    one, folder = trained
    one.model.mkdir()
    (one.model / "stale").touch()
    one.keep_model(folder)
    kept = {path.name: path.read_text() for path in one.model.iterdir()}
    assert kept == {path.name: path.read_text() for path in folder.iterdir()}


def test_a_full_disk_leaves_no_part_of_a_model(
    trained: tuple[Run, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, folder = trained
    copy = shutil.copyfile

    def copyfile(source: Path, target: Path) -> None:
        if source.name == "graph.xml":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(target))
        copy(source, target)

    monkeypatch.setattr(shutil, "copyfile", copyfile)
    with pytest.raises(DiskFull) as caught:
        one.keep_model(folder)
    assert str(caught.value) == (
        f"No space is left on the disk that holds {one.folder}.\n"
        "Free some space, or name a folder on another disk: --out RUN for the run, "
        "HEADSTART_CACHE=FOLDER for what is kept between runs, TMPDIR=FOLDER for what is temporary."
    )
    assert not one.model.exists()


def test_the_decision_is_written_down(tmp_path: Path) -> None:
    decided = Recommendation("tiny", "features", "tiny/features", 0.01, 0.95, "It is the only one.", ())
    assert Run(tmp_path).decide(decided).endswith("+00:00")
    assert records.read_json(tmp_path / "decision.json", Recommendation) == decided
