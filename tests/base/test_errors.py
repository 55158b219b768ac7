import errno
import inspect
import pickle
import re
from pathlib import Path

import pytest

from headstart.base import errors
from headstart.base.errors import DataError, DiskFull, HeadstartError, NoSuchData, disk_full_named

DISK_FULL = (
    "No space is left on the disk that holds {}.\n"
    "Free some space, or name a folder on another disk: --out RUN for the run, "
    "HEADSTART_CACHE=FOLDER for what is kept between runs, TMPDIR=FOLDER for what is temporary."
)


def test_an_error_reads_as_its_problem_and_its_fix() -> None:
    error = NoSuchData("No folder 'fotos'.", "Did you mean 'photos'?")
    assert str(error) == "No folder 'fotos'.\nDid you mean 'photos'?"
    assert (error.problem, error.fix) == ("No folder 'fotos'.", "Did you mean 'photos'?")
    assert isinstance(error, DataError) and isinstance(error, HeadstartError)


def test_the_tree_in_the_docstring_is_the_tree() -> None:
    drawn: dict[str, str] = {}
    parents = ["HeadstartError"]
    for line in inspect.cleandoc(errors.__doc__ or "").splitlines():
        if found := re.match(r"((?:│   |    )*)[├└]── (\w+)", line):
            depth = 1 + len(found[1]) // 4
            parents[depth:] = [found[2]]
            drawn[found[2]] = parents[depth - 1]
    kinds = [
        kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, HeadstartError)
    ]
    actual = {kind.__name__: kind.__mro__[1].__name__ for kind in kinds if kind is not HeadstartError}
    assert drawn == actual


def test_errors_survive_a_pickle_as_worker_processes_send_them() -> None:
    again = pickle.loads(pickle.dumps(DiskFull("Full.", "Free some.")))
    assert type(again) is DiskFull
    assert str(again) == "Full.\nFree some."


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_no_space_left_is_named(number: int) -> None:
    with pytest.raises(DiskFull) as caught, disk_full_named(Path("runs/pets")):
        raise OSError(number, "no space")
    assert str(caught.value) == DISK_FULL.format(Path("runs/pets"))
    assert isinstance(caught.value.__cause__, OSError)


def test_a_really_full_disk_is_named() -> None:
    full = Path("/dev/full")
    if not full.is_char_device():
        pytest.skip("this system has no /dev/full")
    with pytest.raises(DiskFull) as caught, disk_full_named(full.parent), full.open("wb") as stream:
        stream.write(b"a")
        stream.flush()
    assert caught.value.problem == "No space is left on the disk that holds /dev."


def test_other_errors_of_the_system_pass_as_they_are() -> None:
    with pytest.raises(PermissionError), disk_full_named(Path("runs")):
        raise PermissionError(errno.EACCES, "not yours")
