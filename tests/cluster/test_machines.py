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
from headstart.cluster.machines import Machines
from headstart.cluster.readers import Reader
from headstart.results.run import Run
from headstart.workflow import experiment

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


def compared(photos: Path, folder: Path, readers: Machines | None, progress: Progress) -> Run:
    settings = Settings(str(photos), ("tiny",), ("features",), str(folder / "run"), image_size=64)
    experiment.compare(settings, progress, store_path=folder / "store.sqlite", readers=readers)
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
    with machines.connected(cluster.address) as readers:
        many = compared(photos, tmp_path / "many", readers, told)
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
    with machines.connected(cluster.address) as readers:
        many = compared(photos, tmp_path / "many", readers, told)
    assert killed[0], "it had nothing in hand"
    assert told.n_told == N_PHOTOS
    assert told_of(many) == told_of(alone)


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
