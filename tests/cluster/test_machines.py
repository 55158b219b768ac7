"""A real Ray cluster of three nodes on this machine."""

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import text_of
from PIL import Image

from headstart.base.errors import ClusterError
from headstart.base.progress import Advance, Progress, silent
from headstart.base.settings import Settings
from headstart.cluster import machines
from headstart.cluster.machines import Cluster
from headstart.cluster.readers import Reader
from headstart.results.run import Run
from headstart.training.finetune import Watch
from headstart.workflow import experiment
from headstart.workflow.techniques import errand
from headstart.workflow.techniques.errand import Errand

N_PHOTOS = 1200

ray = pytest.importorskip("ray", reason="Ray is not installed")
pytestmark = pytest.mark.slow

PATIENCE_S = 60

ROOM_BYTES = 100_000_000
"""For objects of each node: by default Ray claims a third of the machine for each."""


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Three nodes of one processor each."""
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    node = {"num_cpus": 1, "object_store_memory": ROOM_BYTES}
    made = Cluster(initialize_head=True, head_node_args={**node, "include_dashboard": False})
    for _ in range(2):
        made.add_node(**node)
    yield made
    ray.shutdown()
    made.shutdown()


class Told(Progress):
    """Counts the photos that come back from the nodes, and once does something meanwhile."""

    def __init__(self, meanwhile: Callable[[], object] = lambda: None) -> None:
        self.n_told, self._meanwhile = 0, meanwhile

    @contextmanager
    def stage(self, title: str, total: int | None, unit: str = "images") -> Iterator[Advance]:
        yield self._count if title == "Reading photos on the cluster" else silent

    def _count(self, count: int = 1) -> None:
        if not self.n_told:
            self._meanwhile()
        self.n_told += count


class Watched(Reader):
    """Writes down on which node it has begun with some photos, and when it has done them; takes its time."""

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[bytes]]:
        log = Path(os.environ["HEADSTART_CACHE"]) / f"{ray.get_runtime_context().get_node_id()}.log"
        for what in ("begun", "done"):
            with log.open("a") as stream:
                stream.write(f"{what} {batch['place'][0]}\n")
            if what == "begun":
                time.sleep(0.5)
                found = super().__call__(batch)
        return found


def compared(photos: Path, folder: Path, cluster: Cluster | None, progress: Progress, **more: Any) -> Run:
    asked: dict[str, Any] = {"backbones": ("tiny",), "techniques": ("features",), "image_size": 64} | more
    settings = Settings(str(photos), out=str(folder / "run"), **asked)
    experiment.compare(settings, progress, store_path=folder / "store.sqlite", machines=cluster)
    return Run(folder / "run")


def told_of(run: Run) -> list[object]:
    """What a run came to, but for times."""
    results = run.results()
    measured = [(one.name, one.validation, one.test) for one in results.candidates]
    return [measured, *((run.folder / name).read_text() for name in ("split.csv", "predictions.csv"))]


def test_three_nodes_give_the_results_of_one_machine(tmp_path: Path, cluster: Any) -> None:
    photos = many_photos(tmp_path / "photos")
    alone = compared(photos, tmp_path / "alone", None, Progress())
    told = Told()
    with machines.connected(cluster.address) as many_machines:
        many = compared(photos, tmp_path / "many", many_machines, told)
    assert told.n_told == N_PHOTOS
    assert told_of(many) == told_of(alone)


def test_a_node_that_dies_in_the_middle_changes_no_result(
    tmp_path: Path, cluster: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it had in hand, Ray gives to another."""
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    monkeypatch.setattr(machines, "Reader", Watched)
    monkeypatch.setattr(machines, "BLOCK", machines.AT_ONCE)
    cache = Path(os.environ["HEADSTART_CACHE"])
    killed = list[list[str]]()

    def kill() -> None:
        """Kill one that is at work, as soon as one is."""
        at_work = list[Any]()
        until = time.monotonic() + PATIENCE_S
        while not at_work and time.monotonic() < until:
            at_work = [one for one in cluster.worker_nodes if in_hand(cache / f"{one.node_id}.log")]
            time.sleep(0.01)
        node = at_work[0]
        cluster.remove_node(node, allow_graceful=False)
        killed.append(in_hand(cache / f"{node.node_id}.log"))

    photos = many_photos(tmp_path / "photos")
    alone = compared(photos, tmp_path / "alone", None, Progress())
    told = Told(kill)
    with machines.connected(cluster.address) as many_machines:
        many = compared(photos, tmp_path / "many", many_machines, told)
    assert killed[0], "it had nothing in hand"
    assert told.n_told == N_PHOTOS
    assert told_of(many) == told_of(alone)


TUNED: dict[str, Any] = {"techniques": ("finetune",), "epochs": 2, "folds": 0, "seeds": 3, "report": False}


@pytest.fixture
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """On several, sums are added in another order from run to run."""
    for name in ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
        monkeypatch.setenv(name, "1")


def log_of(node_id: str) -> Path:
    return Path(os.environ["HEADSTART_CACHE"]) / f"{node_id}.tuned"


def logged(one: Errand, watch: Watch) -> dict[str, bytes]:
    """Fine-tune, and write down on which node that began and ended."""
    log = log_of(ray.get_runtime_context().get_node_id())
    for word in ("began", "ended"):
        with log.open("a") as stream:
            stream.write(f"{word} {one.origin.seed}\n")
        if word == "began":
            files = errand.run(one, watch)
    return files


class Passes(Progress):
    """Counts the passes that the nodes tell of, and does something at the first."""

    def __init__(self, meanwhile: Callable[[], object] = lambda: None) -> None:
        self.n_told, self._meanwhile, self.total = 0, meanwhile, 0

    @contextmanager
    def stage(self, title: str, total: int | None, unit: str = "images") -> Iterator[Advance]:
        if title == "Fine-tuning on the cluster":
            self.total = total or 0
            yield self._count
        else:
            yield silent

    def _count(self, count: int = 1) -> None:
        if not self.n_told and count:
            self._meanwhile()
        self.n_told += count


def fine_tuned(run: Run) -> list[object]:
    """What fine-tuning came to: passes, repeats and answers."""
    [candidate] = run.results().candidates
    answers = np.loadtxt(run.folder / "predictions.csv", delimiter=",", skiprows=1, usecols=(-3, -2, -1))
    return [candidate.training, candidate.repeats, candidate.validation, candidate.test, answers.tolist()]


@pytest.mark.usefixtures("one_thread")
def test_repeats_on_three_nodes_are_those_of_one_machine_also_where_one_dies(
    tmp_path: Path, photos: Path, cluster: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it had in hand begins anew on another."""
    alone = compared(photos, tmp_path / "alone", None, Progress(), **TUNED)
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    deaths = list[Any]()

    def kill() -> None:
        """Kill one of the nodes that have begun; none has ended by then but that which told of a pass."""
        began = [one for one in cluster.worker_nodes if log_of(one.node_id).exists()]
        until = time.monotonic() + PATIENCE_S
        while len(began) < 2 and time.monotonic() < until:
            time.sleep(0.01)
            began = [one for one in cluster.worker_nodes if log_of(one.node_id).exists()]
        deaths.extend(one for one in began if "ended" not in log_of(one.node_id).read_text())
        cluster.remove_node(deaths[0], allow_graceful=False)

    told = Passes(kill)
    monkeypatch.setattr(errand, "run", logged)
    with machines.connected(cluster.address) as nodes:
        many = compared(photos, tmp_path / "many", nodes, told, **TUNED)
    assert deaths, "none had anything in hand"
    runs = [line for one in Path(os.environ["HEADSTART_CACHE"]).glob("*.tuned") for line in one.open()]
    assert sum("began" in one for one in runs) == TUNED["seeds"] + 1
    assert told.n_told == told.total == TUNED["epochs"] * TUNED["seeds"]
    assert fine_tuned(many) == fine_tuned(alone)


def broken(what: str, tell: Callable[..., None]) -> str:
    tell("began")
    raise ClusterError(f"{what} has no TensorFlow.", "Install it.")


def died(what: str, tell: Callable[..., None]) -> str:
    os._exit(1)


def test_an_error_on_another_machine_is_told_as_it_is(cluster: Any) -> None:
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    heard = list[tuple[object, ...]]()
    with machines.connected(cluster.address) as nodes:
        assert text_of(
            ClusterError, lambda: [*nodes.each(broken, ["a"], lambda *told: heard.append(told))]
        ) == ("a has no TensorFlow.\nInstall it.")
        said = text_of(ClusterError, lambda: [*nodes.each(died, ["a"], lambda *_: None)])
    assert said.startswith("Machines of the cluster died while they worked: ")
    assert said.endswith("; the same command goes on with what is kept.")


def in_hand(log: Path) -> list[str]:
    """The photos that a node has begun with and not done, each batch by its first."""
    lines = log.read_text().splitlines() if log.exists() else []
    done = {line.partition(" ")[2] for line in lines if line.startswith("done")}
    return [place for line in lines if (place := line.partition(" ")[2]) not in done]


def many_photos(folder: Path) -> Path:
    """Noise, of which each photo has some of its class's colour."""
    random = np.random.default_rng(0)
    for number in range(N_PHOTOS):
        pixels = random.integers(0, 200, (32, 32, 3), np.uint8)
        pixels[:16, :16, number % 3] += 50
        path = folder / ("red", "green", "blue")[number % 3] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
    return folder


def test_no_cluster_at_the_address() -> None:
    assert text_of(ClusterError, lambda: machines.connected("127.0.0.1:1").__enter__()) == (
        "No Ray cluster answers at 127.0.0.1:1.\n"
        "Begin one with `ray start --head`, and name it as it then says."
    )
