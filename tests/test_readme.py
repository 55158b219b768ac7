"""README.md runs: its commands and its Python, in order, in a folder with some photos.

In a ```console block each line that begins with `$ ` is a command, and it must exit with 0. The lines after
it are what it prints on stdout, `...` standing for anything; where there are none, anything is. `make TARGET`
is a dry run, so that the tests do not run themselves. All ```python blocks are one program.

Real networks would take a minute for it, so the quick tests have `tiny` under the names of the default ones,
with a cache of its own; the slow ones have the real ones.
"""

import doctest
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from headstart.cli import main
from headstart.networks import backbones
from headstart.networks.table import TABLE

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")


@dataclass(frozen=True)
class Step:
    """A command with what it prints, or a piece of Python."""

    line: int
    language: str
    code: str
    output: str = ""


def steps(text: str) -> list[Step]:
    found = []
    for block in re.finditer(r"^```(console|python)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        line = text.count("\n", 0, block.start(2)) + 1
        if block[1] == "python":
            found.append(Step(line, "python", block[2]))
            continue
        for command in re.finditer(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", block[2], re.MULTILINE):
            number = line + block[2].count("\n", 0, command.start())
            found.append(Step(number, "console", command[1], command[2]))
    return found


STEPS = steps(TEXT)


@pytest.fixture(scope="module", params=["tiny", pytest.param("real", marks=pytest.mark.slow)])
def networks(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """What stands behind the names of backbones."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "tiny":
            tiny = backbones.find("tiny")
            rows = (replace(tiny, name=row.name) if row.is_described else row for row in TABLE)
            patch.setattr(backbones, "TABLE", tuple(rows))
            # Graphs and features are kept by the names of networks.
            patch.setenv("HEADSTART_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield request.param


@pytest.fixture(scope="module")
def folder(networks: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where README is followed: `photos/cat` is 20 reddish pictures, `photos/dog` 20 greenish ones."""
    root = tmp_path_factory.mktemp("readme")
    random = np.random.default_rng(0)
    for channel, name in enumerate(("cat", "dog")):
        (root / "photos" / name).mkdir(parents=True)
        for number in range(20):
            picture = random.integers(0, 90, (60, 80, 3), dtype=np.uint8)
            picture[..., channel] += 140
            Image.fromarray(picture).save(root / "photos" / name / f"{name}_{number:02}.jpg")
    return root


@pytest.fixture(scope="module")
def names(networks: str) -> dict[str, object]:
    """What the Python blocks define, passed on from each to the next."""
    return {"__name__": "__main__"}


@pytest.mark.parametrize("step", STEPS, ids=lambda step: f"line {step.line}: {step.code.splitlines()[0]}")
def test_readme_does_what_it_says(
    step: Step, folder: Path, names: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    if step.language == "python":
        exec(compile(step.code, f"README.md:{step.line}", "exec"), names)
    elif step.code.startswith("make "):
        subprocess.run([*step.code.split(), "--dry-run"], cwd=ROOT, check=True, capture_output=True)
    else:
        check(step, run(step.code))


def run(command: str) -> subprocess.CompletedProcess[str]:
    """Run a command in this process, which spares each the imports; tests/test_cli.py has real processes."""
    program, *arguments = command.split()
    assert program == "headstart", f"README runs {program}, which this test does not know"
    done = CliRunner().invoke(main, arguments, prog_name=program)
    why = f"{done.stderr}{done.exception!r}" if done.exception else done.stderr
    return subprocess.CompletedProcess(arguments, done.exit_code, done.stdout, why)


def check(step: Step, done: subprocess.CompletedProcess[str]) -> None:
    assert done.returncode == 0, done.stderr
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    if step.output and not doctest.OutputChecker().check_output(step.output, done.stdout, flags):
        pytest.fail(f"README.md line {step.line} shows\n{step.output}\nand it prints\n{done.stdout}")


def test_readme_opens_with_the_two_commands() -> None:
    assert [step.code for step in STEPS[:2]] == ["make demo", "make test"]
    assert TEXT.index("```console") < TEXT.index("\n## ")


def test_every_figure_is_measured() -> None:
    assert re.findall(r"TBD[\w-]*", TEXT) == []


@pytest.mark.parametrize("path", re.findall(r"\]\(([^)#:]+)\)", TEXT))
def test_links_lead_somewhere(path: str) -> None:
    assert (ROOT / path).is_file()


def test_a_command_with_its_output_is_read() -> None:
    text = "x\n```console\n$ headstart a\nout 1\nout 2\n$ headstart b\n```\n```python\nprint(1)\n```\n"
    assert steps(text) == [
        Step(3, "console", "headstart a", "out 1\nout 2\n"),
        Step(6, "console", "headstart b"),
        Step(9, "python", "print(1)\n"),
    ]


def test_other_output_than_shown_is_a_failure() -> None:
    done = subprocess.CompletedProcess([], 0, stdout="accuracy 93%\n", stderr="")
    check(Step(1, "console", "headstart a", "accuracy ...\n"), done)
    with pytest.raises(pytest.fail.Exception):
        check(Step(1, "console", "headstart a", "error ...\n"), done)
