"""The order of modules in docs/design.md holds, and what is slow to import is imported late."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "headstart"
FILES = sorted(PACKAGE.rglob("*.py"))
FRONT_DOORS = {"__init__", "__main__"}
MAY_IMPORT_KERAS = {"backbones", "engine", "tail", "finetune", "export"}
SLOW = {"cv2", "keras", "openvino", "scipy", "sklearn", "tensorflow"}
DUSTBINS = {"common", "helpers", "misc", "util", "utils"}


@cache
def order() -> tuple[str, ...]:
    """The modules in the layout of docs/design.md, from the first that may be imported to the last."""
    text = (ROOT / "docs" / "design.md").read_text(encoding="utf-8")
    layout = re.search(r"^src/headstart/\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert layout, "docs/design.md has no layout block"
    return tuple(re.findall(r"^  (\w+(?:/\w+)?)(?:\.py|/) ", layout[1], re.MULTILINE))


def line_of(path: str) -> str:
    """The layout's line that a path below src/headstart is on: its own, or its folder's."""
    return path if path in order() else path.split("/")[0]


def label(file: Path) -> str:
    return file.relative_to(PACKAGE).as_posix().removesuffix(".py")


def module_of(file: Path) -> str:
    return line_of(label(file))


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


def tree_of(file: Path) -> ast.AST:
    return ast.parse(file.read_text(encoding="utf-8"))


def test_the_layout_is_read() -> None:
    assert order()[:3] == ("errors", "progress", "records")
    assert order()[-1] == "cli"
    assert len(set(order())) == len(order())


@pytest.mark.parametrize("file", FILES, ids=label)
def test_every_module_has_its_line_in_the_layout(file: Path) -> None:
    assert module_of(file) in {*order(), *FRONT_DOORS}
    assert file.stem not in DUSTBINS


@pytest.mark.parametrize("file", FILES, ids=label)
def test_a_module_imports_only_from_lines_above_its_own(file: Path) -> None:
    module = module_of(file)
    if module in FRONT_DOORS:
        return
    above = order()[: order().index(module)]
    names = [name.split(".") for name in imports(tree_of(file)) if name.startswith("headstart.")]
    ours = {line_of("/".join(parts[1:3])) for parts in names}
    assert (ours & set(order())) - {*above, module} == set()


@pytest.mark.parametrize("file", FILES, ids=label)
def test_keras_is_imported_in_few_modules_and_only_in_functions(file: Path) -> None:
    tree = tree_of(file)
    heavy = {"keras", "tensorflow"}
    assert not heavy & {name.split(".")[0] for name in imports(tree, eager_only=True)}
    if module_of(file).split("/")[0] not in MAY_IMPORT_KERAS:
        assert not heavy & {name.split(".")[0] for name in imports(tree)}


@pytest.mark.parametrize("module", ["headstart", "headstart.cli"])
def test_starting_up_imports_nothing_slow(module: str) -> None:
    code = f"import sys, {module}; print(*sorted({SLOW!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stderr, done.stdout.split()) == ("", [])
