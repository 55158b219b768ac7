"""How the time in which photos are read falls with the nodes of a Ray cluster.

The nodes are of one machine, with a processor each as Ray counts. The backbone is simulated: beside `tiny`
each photo takes as long as a large network would, by sleeping.

    python benchmarks/cluster.py [--photos 1500] [--sleep-ms 100] [--nodes 1 2 3]
"""

import argparse
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import measured
import scale
from ray.cluster_utils import Cluster

from headstart.base.progress import Progress
from headstart.base.settings import Settings
from headstart.cluster import machines
from headstart.cluster.readers import Reader
from headstart.networks import backbones
from headstart.storage.store import Store
from headstart.workflow.techniques.bench import Bench, open_backbone

NODE = {"num_cpus": 1, "object_store_memory": 100_000_000}


class Sleeping(Reader):
    """A reader whose backbone sleeps."""

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[bytes]]:
        """Take as long as a large network."""
        time.sleep(len(batch["file"]) * float(os.environ["HEADSTART_SLEEP_S"]))
        return super().__call__(batch)


def seconds(photos: Path, n_nodes: int, folder: Path) -> float:
    """Return how long it takes so many nodes to read all photos, from the first order to the last answer."""
    cluster = Cluster(initialize_head=True, head_node_args={**NODE, "include_dashboard": False})
    for _ in range(n_nodes - 1):
        cluster.add_node(**NODE)
    settings = Settings(
        str(photos), ("tiny",), ("features",), str(folder / "run"), image_size=64, report=False
    )
    files = sorted(map(str, photos.rglob("*.jpg")))
    try:
        with (
            Store(Progress(), folder / "store.sqlite") as store,
            machines.connected(cluster.address) as nodes,
        ):
            bench = Bench(settings, folder, store, Progress())
            opened = [open_backbone(backbones.find("tiny"), 64, bench)]
            start = time.perf_counter()
            digests = nodes.read(files, opened, bench)
            assert all(digests)
            return time.perf_counter() - start
    finally:
        cluster.shutdown()


def main() -> None:
    """Measure all, print and keep the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--photos", type=int, default=1500)
    parser.add_argument("--sleep-ms", type=float, default=100)
    parser.add_argument("--nodes", type=int, nargs="+", default=[1, 2, 3])
    arguments = parser.parse_args()
    os.environ["HEADSTART_SLEEP_S"] = str(arguments.sleep_ms / 1000)
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    machines.Reader = Sleeping  # type: ignore[misc]
    machines.BLOCK = machines.AT_ONCE
    with tempfile.TemporaryDirectory() as name:
        photos = scale.photos(Path(name) / "photos", arguments.photos)
        taken = {
            n_nodes: round(seconds(photos, n_nodes, Path(name) / f"{n_nodes}"), 1)
            for n_nodes in arguments.nodes
        }
    least_s = arguments.photos * arguments.sleep_ms / 1000
    measured.keep(
        "cluster",
        {
            "photos": arguments.photos,
            "sleep_ms": arguments.sleep_ms,
            "seconds_by_nodes": taken,
            "least_seconds_by_nodes": {n_nodes: round(least_s / n_nodes, 1) for n_nodes in arguments.nodes},
        },
    )


if __name__ == "__main__":
    main()
