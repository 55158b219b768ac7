"""What a machine of a cluster fine-tunes, in this process; tests/cluster/test_machines.py has Ray do it."""

import errno
import platform
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import text_of
from faults import Planter

from headstart.base.errors import ClusterError, DiskFull
from headstart.base.settings import Settings
from headstart.networks import versions
from headstart.results.comparison import Epoch
from headstart.results.run import Run
from headstart.training.finetune import unwatched
from headstart.workflow import experiment
from headstart.workflow.techniques import errand
from headstart.workflow.techniques.bench import Given, Made
from headstart.workflow.techniques.errand import Errand

FIX = "Give all machines of the cluster the same Headstart, the same packages and one kind of processor."


class Here:
    """Machines that are this one, last first; `runs` are their errands."""

    def __init__(self) -> None:
        self.runs = list[Errand]()

    def read(self, files: Sequence[str], *_: object) -> list[str]:
        """None is read elsewhere."""
        return []

    def each(
        self,
        work: Callable[[Given, Callable[..., None]], Made],
        given: Sequence[Given],
        hear: Callable[..., None],
    ) -> Iterator[tuple[int, Made]]:
        for number, one in reversed([*enumerate(given)]):
            assert isinstance(one, Errand)
            self.runs.append(one)

            def tell(*told: object, number: int = number) -> None:
                hear(number, *told)
                hear(number, *told)  # as where a machine died and another began anew

            yield number, work(one, tell)


def compare(photos: Path, folder: Path, machines: Here | None = None, **more: Any) -> Run:
    asked: dict[str, Any] = {"techniques": ("finetune",), "epochs": 1, "folds": 0, "report": False} | more
    settings = Settings(str(photos), ("tiny",), out=str(folder / "run"), **asked)
    experiment.compare(settings, store_path=folder / "store.sqlite", machines=machines)
    return Run(folder / "run")


def outcome(run: Run) -> list[object]:
    [candidate] = run.results().candidates
    answers = np.loadtxt(run.folder / "predictions.csv", delimiter=",", skiprows=1, usecols=(-3, -2, -1))
    passes = [round(one.validation_loss, 4) for one in candidate.training.history]
    accuracies = [(one.seed, one.validation_accuracy, one.test_accuracy) for one in candidate.repeats]
    return [passes, candidate.training.effects, accuracies, {*candidate.seconds}, answers.round(3).tolist()]


def test_what_others_fine_tune_is_what_would_be_made_here(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = Here()
    alone = compare(photos, tmp_path / "alone", seeds=2)
    made = compare(photos, tmp_path / "made", here, seeds=2)
    assert [one.draft.seed for one in here.runs] == [1, None]
    assert [one.n_passes for one in here.runs] == [1, 1]
    assert outcome(made) == outcome(alone)


def test_a_single_one_is_made_here_and_so_is_nothing_twice(photos: Path, tmp_path: Path) -> None:
    here = Here()
    compare(photos, tmp_path, here)
    assert not here.runs


def test_within_a_budget_repeats_are_handed_out(photos: Path, tmp_path: Path) -> None:
    here = Here()
    compare(photos, tmp_path, here, seeds=2, budget="1h")
    assert len(here.runs) == 2


@pytest.fixture
def handed_out(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Errand:
    """An errand of a comparison that ended there."""

    class Interrupted(Here):
        def each(self, work: Any, given: Sequence[Any], hear: Any) -> Iterator[Any]:
            self.runs += given
            raise KeyboardInterrupt

    here = Interrupted()
    with pytest.raises(KeyboardInterrupt):
        compare(photos, tmp_path, here, seeds=2)
    return here.runs[0]


def test_a_machine_that_would_give_other_numbers_or_sees_no_photos_is_refused(handed_out: Errand) -> None:
    def run(**changes: Any) -> str:
        other = replace(handed_out, origin=replace(handed_out.origin, **changes))
        return text_of(ClusterError, lambda: errand.run(other, unwatched))

    node, own = platform.node(), versions.here()
    assert run(versions=own | {"numpy": "1.0"}) == (
        f"{node} has numpy {own['numpy']}, and this run needs numpy 1.0.\n{FIX}"
    )
    assert run(versions=own | {"tensorflow-gpu": "2.0"}) == (
        f"{node} has no tensorflow-gpu, and this run needs tensorflow-gpu 2.0.\n{FIX}"
    )
    photos = replace(handed_out.lesson.photos, files=(Path("/elsewhere/a.jpg"),))
    unseen = replace(handed_out, lesson=replace(handed_out.lesson, photos=photos))
    assert text_of(ClusterError, lambda: errand.run(unseen, unwatched)) == (
        f"{node} does not see the photo /elsewhere/a.jpg.\n"
        "Put the photos on a disk that all machines of the cluster see under the same path. For the copy of "
        "those in an object store HEADSTART_CACHE must name such a place."
    )
    assert run(backbone="0") == f"{node} has another tiny, and this run needs the first machine's.\n{FIX}"


def test_what_comes_back_on_a_full_disk_is_told_and_is_not_taken_for_whole(
    handed_out: Errand, monkeypatch: pytest.MonkeyPatch
) -> None:
    passes = list[tuple[str, Epoch]]()
    files = errand.run(handed_out, lambda *told: passes.append(told))
    assert [(fold, one.number) for fold, one in passes] == [("", 0), ("", 1)]
    planter = Planter(errno.ENOSPC)
    while True:
        try:
            with planter.planted():
                handed_out.keep(files)
            break
        except DiskFull:
            assert not handed_out.draft.is_of(handed_out.origin)
    assert "workflow/techniques/draft:Draft.unpack" in planter.places
    assert handed_out.draft.is_of(handed_out.origin)
    assert handed_out.draft.packed() == files


def test_a_machine_without_room_tells_it(handed_out: Errand) -> None:
    planter = Planter(errno.ENOSPC)
    with planter.planted():
        said = text_of(DiskFull, lambda: errand.run(handed_out, unwatched))
    assert planter.failed == [("workflow/techniques/errand:run", "os.mkdir ")]
    assert said.startswith(f"No space is left on the disk that holds {tempfile.gettempdir()}.\n")
