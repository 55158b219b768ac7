"""The rooms of docs/design.md are those of the package, and what is slow to import is imported late."""

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from headstart.base import arrays, filenames
from headstart.photos import findings
from headstart.photos.findings import Finding
from headstart.reporting.report import glossary
from headstart.sources.dataset import Dataset

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "headstart"
FILES = sorted(PACKAGE.rglob("*.py"))
FRONT_DOORS = {"__init__", "__main__"}
MAY_IMPORT_KERAS = {"backbones", "engine", "pieces", "tail", "finetune", "export"}
SLOW = {"cv2", "keras", "openvino", "scipy", "sklearn", "tensorflow"}
DUSTBINS = {"common", "helpers", "misc", "util", "utils"}


@cache
def mapped() -> dict[str, list[str]]:
    """The rooms in the layout of docs/design.md, each with its modules; those at the top stand under ""."""
    text = (ROOT / "docs" / "design.md").read_text(encoding="utf-8")
    layout = re.search(r"^src/headstart/\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert layout, "docs/design.md has no layout block"
    rooms: dict[str, list[str]] = {"": []}
    for indent, name, suffix in re.findall(r"^( +)(\w+)(\.py|/) ", layout[1], re.MULTILINE):
        if indent == "  " and suffix == "/":
            rooms[name] = []
        else:
            rooms[list(rooms)[-1] if indent == "    " else ""].append(name)
    return rooms


def label(file: Path) -> str:
    return file.relative_to(PACKAGE).as_posix().removesuffix(".py")


def place_of(file: Path) -> tuple[str, str]:
    """The room of a file, "" at the top, and its module; a package inside a room is one module."""
    *folders, name = label(file).split("/")
    return (folders[0], folders[1] if len(folders) > 1 else name) if folders else ("", name)


def imports(tree: ast.AST, *, eager_only: bool = False) -> Iterator[str]:
    """Dotted names that a tree imports; the eager ones run when the module itself is imported."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: a relative import"
            yield from (f"{node.module}.{name.name}" for name in node.names)
        elif not (eager_only and _runs_later(node)):
            yield from imports(node, eager_only=eager_only)


def _runs_later(node: ast.AST) -> bool:
    is_for_types = isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")
    return is_for_types or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)


@cache
def tree_of(file: Path) -> ast.AST:
    return ast.parse(file.read_text(encoding="utf-8"))


def test_the_layout_is_that_of_the_contract() -> None:
    [rooms, _] = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    assert [*mapped()][1:] == rooms["layers"][:0:-1]
    assert mapped()[""] == ["cli"]


@pytest.mark.parametrize("file", FILES, ids=label)
def test_every_module_has_its_line_in_the_layout(file: Path) -> None:
    room, module = place_of(file)
    assert module in {*mapped()[room], *FRONT_DOORS}
    assert file.stem not in DUSTBINS


def test_no_room_is_a_hall() -> None:
    assert {room: len(modules) for room, modules in mapped().items() if len(modules) > 14} == {}
    assert len(list(PACKAGE.glob("*.py"))) <= 6


def test_every_test_stands_in_the_room_of_its_module() -> None:
    strays = {
        file.name
        for room in mapped()
        for file in (ROOT / "tests" / room).glob("test_*.py")
        if room and not any(file.stem.startswith(f"test_{module}") for module in mapped()[room])
    }
    assert strays == {"test_keras_applications.py"}  # of a builder inside backbones


def test_a_wrong_import_is_seen(tmp_path: Path) -> None:
    """What import-linter is asked fails where a room imports from one after it, and where a cycle is made."""
    shutil.copytree(PACKAGE, tmp_path / "headstart", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    wrong = {"base/words": "results import verdict", "photos/groups": "photos import audit"}
    for module, imported in wrong.items():
        with (tmp_path / "headstart" / f"{module}.py").open("a") as stream:
            stream.write(f"\nfrom headstart.{imported}\n")
    command = [
        sys.executable,
        "-c",
        "from importlinter.cli import lint_imports_command as run; run()",
        "--no-cache",
    ]
    done = subprocess.run(
        command,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    assert "headstart.base is not allowed to import headstart.results" in done.stdout
    assert "No cycles are allowed in headstart.photos." in done.stdout


@pytest.mark.parametrize("file", FILES, ids=label)
def test_a_private_name_is_used_in_its_own_module_only(file: Path) -> None:
    tree = tree_of(file)
    brought = {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("headstart")
        for alias in node.names
    }
    taken = {name for name in brought if name.startswith("_") and not name.startswith("__")}
    reached = {
        f"{node.value.id}.{node.attr}"
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id in brought
        and re.match(r"_[a-z]", node.attr)
    }
    assert taken | reached == set()


FILE_NAME = re.compile(r"(?<![\w/.-])[\w-]+\.(?:json|csv|toml|html|md|xml|bin|keras)\b(?!\.j2)|SHA256SUMS")


@cache
def file_names() -> set[str]:
    """Every name of a file in base/filenames.py."""
    return {one for one in vars(filenames).values() if isinstance(one, str) and FILE_NAME.fullmatch(one)}


def texts(tree: ast.AST) -> Iterator[str]:
    """Every text in a program but its docstrings."""
    docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            yield node.value


@pytest.mark.parametrize("file", FILES, ids=label)
def test_a_file_of_a_run_is_called_by_its_one_owner(file: Path) -> None:
    if label(file) != "base/filenames":
        # Help shows whole commands, where a name with a folder before it is an example of what users type.
        spelt = {
            name
            for text in texts(tree_of(file))
            for name in FILE_NAME.findall(text)
            if "/" + name not in text
        }
        assert spelt & file_names() == set()


@pytest.mark.parametrize("file", FILES, ids=label)
def test_a_kind_of_array_has_one_name(file: Path) -> None:
    """The names of base/arrays.py are defined there alone."""
    nodes = [node for node in ast.walk(tree_of(file)) if isinstance(node, ast.Assign)]
    assigned = {ast.unparse(node.targets[0]) for node in nodes}
    owned = {name for name in vars(arrays) if name[0].isupper()} - {"Any", "NDArray", "Protocol", "Matrix"}
    assert assigned & owned == (owned if label(file) == "base/arrays" else set())


def section(document: str, heading: str) -> str:
    """What stands below a heading of a document."""
    text = (ROOT / document).read_text(encoding="utf-8")
    return text.split(f"\n{heading}\n", 1)[1].split("\n## ", 1)[0]


def missing(text: str) -> list[str]:
    """The files and folders of the project that a text names and that are not there."""
    networks = PACKAGE / "networks"
    places = (
        ROOT,
        PACKAGE,
        networks,
        networks / "backbones",
        ROOT / "tests" / "networks",
        PACKAGE / "photos",
    )
    names = re.findall(r"`([\w./-]+(?:\.(?:py|j2|css|md|toml)|/))`", text)
    return [name for name in names if not any((place / name).exists() for place in places)]


def test_the_ways_to_change_things_lead_to_files_that_there_are() -> None:
    ways = section("docs/design.md", "## Where do I change ...?")
    assert ways.count("\n| ") == 11  # the header, and ten changes
    assert ways.count(".py`") > 25
    assert missing(ways) == []


@pytest.mark.parametrize(
    "heading", ["## Where things are", "## A new backbone in ten minutes", "## Add a check"]
)
def test_contributing_leads_to_files_that_there_are(heading: str) -> None:
    text = section("CONTRIBUTING.md", heading)
    assert ".py`" in text
    assert missing(text) == []


def test_the_check_that_contributing_shows_can_be_pasted() -> None:
    """Into findings.py: it uses no other names than are there."""
    [code] = re.findall(r"^```\n(def .*?)^```", section("CONTRIBUTING.md", "## Add a check"), re.M | re.S)
    names = dict(vars(findings))
    exec(compile(code, "CONTRIBUTING.md", "exec"), names)
    paths = ("a/1.jpg", "a/2.jpg", "b/1.jpg", "b/2.jpg")
    dataset = Dataset(Path(), paths, np.array([0, 0, 1, 1], np.int32), ("a", "b"), ("",) * 4)
    sizes_px = np.array([[40, 20], [80, 40], [30, 30], [30, 40]], np.int32)
    told = "All 2 photos of 'a' are 2.00 times as wide as high."
    assert [*names["one_shapes"](dataset, sizes_px)] == [
        Finding("one_shape", paths[:2], told, "Crop all classes alike.")
    ]


def test_the_glossary_speaks_of_modules_that_there_are_and_of_the_terms_of_the_report() -> None:
    text = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
    assert missing(text) == []
    names = [term.name for term in glossary.TERMS.values()]
    assert text.endswith(f"\nThe report explains: {'; '.join(names)}.\n")
    rows = {line.split("|")[1].strip() for line in text.splitlines() if line.startswith("| ")}
    both = {name.casefold() for name in names} & rows
    assert both >= {"backbone", "probe", "suspect label", "leak", "set of classes", "front", "fitted law"}


def test_templates_name_files_that_there_are() -> None:
    own = {"page.js", "data.csv"}
    for file in PACKAGE.rglob("*.j2"):
        assert set(FILE_NAME.findall(file.read_text(encoding="utf-8"))) <= file_names() | own, file.name


@pytest.mark.parametrize("file", FILES, ids=label)
def test_keras_is_imported_in_few_modules_and_only_in_functions(file: Path) -> None:
    tree = tree_of(file)
    heavy = {"keras", "tensorflow"}
    assert not heavy & {name.split(".")[0] for name in imports(tree, eager_only=True)}
    if not MAY_IMPORT_KERAS & {*place_of(file)}:
        assert not heavy & {name.split(".")[0] for name in imports(tree)}


@pytest.mark.parametrize("module", ["headstart", "headstart.cli"])
def test_starting_up_imports_nothing_slow(module: str) -> None:
    code = f"import sys, {module}; print(*sorted({SLOW!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stderr, done.stdout.split()) == ("", [])
