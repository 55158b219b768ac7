"""Faults planted where Headstart writes: every place in the code that does, and a disk that fails there."""

import ast
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import headstart

PACKAGE = Path(headstart.__file__).parent
HANDS_ON = ("base/records", "storage/checkpoint")
"""Modules that write for others: the place is where they are called."""

WRITERS = {
    *("copyfile", "copyfileobj", "copy2", "copytree", "move", "rename", "symlink_to", "hardlink_to", "touch"),
    *("mkdir", "makedirs", "mkstemp", "mkdtemp", "NamedTemporaryFile", "TemporaryDirectory"),
    *("save", "save_model", "savez", "savez_compressed", "tofile", "open_memmap", "memmap", "truncate"),
    *("write_bytes", "write_text", "write_json", "write_csv", "write_toml", "replacing", "write_graph"),
    *("FileLock", "SoftFileLock", "posix_fallocate", "connect", "RecordWriter"),
}
"""Names of what writes to a disk, or claims room there; `open` and `replace` are looked at more closely."""


def places() -> set[str]:
    """All functions that write, as "room/module:Class.function"."""
    return {
        f"{label}:{inside}"
        for label, tree in trees()
        for inside, call in _calls(tree)
        if _writes(call) and label not in HANDS_ON
    }


def trees() -> Iterator[tuple[str, ast.AST]]:
    for file in sorted(PACKAGE.rglob("*.py")):
        yield label_of(str(file)), ast.parse(file.read_text(encoding="utf-8"))


def label_of(file: str) -> str:
    return Path(file).relative_to(PACKAGE).as_posix().removesuffix(".py").removesuffix("/__init__")


def _calls(tree: ast.AST, inside: str = "") -> Iterator[tuple[str, ast.Call]]:
    """Each call with the name of the function that it stands in."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield from _calls(node, f"{inside}.{node.name}" if inside else node.name)
        else:
            if isinstance(node, ast.Call):
                yield inside, node
            yield from _calls(node, inside)


def _writes(call: ast.Call) -> bool:
    whose, name = "", ast.unparse(call.func)
    if isinstance(call.func, ast.Attribute):
        whose, name = ast.unparse(call.func.value), call.func.attr
    if name == "replace":  # of a path, not of text or of a dataclass
        return whose == "os" or (len(call.args) == 1 and not call.keywords)
    if name not in {"open", "fdopen"}:
        return name in WRITERS
    modes = [*call.args, *(word.value for word in call.keywords if word.arg == "mode")]
    words = [one.value for mode in modes for one in ast.walk(mode) if isinstance(one, ast.Constant)]
    return any(
        isinstance(word, str) and set(word) <= set("rwxabt+") and set(word) & set("wxa+") for word in words
    )


class Planter:
    """Makes the disk fail once at each place that writes below the temporary folder.

    Attributes:
        failed: The places by now, "room/module:Class.function", each with what failed there: an event of
            Python's audit, and the suffix of the file.
    """

    def __init__(self, number: int) -> None:
        self.failed = list[tuple[str, str]]()
        self._error = OSError(number, os.strerror(number))
        self._is_on = False
        sys.addaudithook(self._hook)

    @property
    def places(self) -> set[str]:
        """Where it failed by now."""
        return {place for place, _ in self.failed}

    @contextmanager
    def planted(self) -> Iterator[None]:
        """Within, the next new place fails, and each that comes after it where work goes on."""
        self._is_on = True
        try:
            yield
        finally:
            self._is_on = False

    def _hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self._is_on or not is_writing(event, arguments):
            return
        place = place_of(sys._getframe(1))
        what = f"{event} {suffix(str(arguments[0]))}"
        if place is not None and (place, what) not in self.failed:
            self.failed.append((place, what))
            raise OSError(self._error.errno, self._error.strerror, str(arguments[0]))


def suffix(path: str) -> str:
    """What a file's name ends with, but for what is random in that of a temporary one."""
    name = Path(path).name
    return Path(name.rpartition(".")[0] if name.startswith(".") else name).suffix


def is_writing(event: str, arguments: tuple[Any, ...]) -> bool:
    """Whether an audit event is of something that needs room below the temporary folder."""
    if event == "open":
        if not isinstance(arguments[2], int) or not arguments[2] & (os.O_WRONLY | os.O_RDWR):
            return False
    elif event not in {"os.mkdir", "os.rename", "os.symlink", "sqlite3.connect"}:
        return False
    path = arguments[1] if event in {"os.rename", "os.symlink"} else arguments[0]
    if event == "os.mkdir" and os.path.isdir(path):
        return False
    return isinstance(path, str | os.PathLike) and str(path).startswith(tempfile.gettempdir())


def place_of(frame: FrameType | None) -> str | None:
    """The innermost function of ours that is being carried out, but for those that write for others."""
    while frame is not None:
        code = frame.f_code
        if code.co_filename.startswith(str(PACKAGE)):
            label = label_of(code.co_filename)
            if label not in HANDS_ON:
                return f"{label}:{code.co_qualname.replace('.<locals>', '').partition('.<')[0]}"
        frame = frame.f_back
    return None


def walk(planter: Planter, attempt: Callable[[], bool], most: int = 100) -> int:
    """Attempt something until it is through with no place failing any more; return how often it failed."""
    n_failures = 0
    for _ in range(most):
        before = len(planter.failed)
        with planter.planted():
            is_through = attempt()
        n_failures += not is_through
        if is_through and len(planter.failed) == before:
            return n_failures
    raise AssertionError(f"It never came through: {planter.failed[-5:]}")
