"""The machines of a cluster, as Ray knows them, and work that is given to them."""

import logging
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import msgspec

from headstart.base.errors import ClusterError, HeadstartError, MissingPackage
from headstart.cluster.readers import Found, Order, Reader
from headstart.workflow.techniques.bench import Bench, Opened

if TYPE_CHECKING:
    import ray.data

AT_ONCE = 64
"""Photos that are read at a time: with 5,000 features by two backbones each 1.4 MB come back."""

BLOCK = 4 * AT_ONCE
"""Photos of one task, which is done again as a whole where its machine dies."""


PATIENCE_S = 10
"""Seconds that a cluster may take to answer."""


@contextmanager
def connected(address: str) -> Iterator["Machines"]:
    """Connect with a cluster, until the end of the block.

    Args:
        address: "auto" is the cluster that this machine belongs to, else this machine alone; or
            ray://HOST:PORT, or HOST:PORT.

    Raises:
        MissingPackage: Ray is not installed.
        ClusterError: No cluster is there.
    """
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise MissingPackage(
            f"--cluster is {address!r}, and Ray is not installed.",
            "Install it on all machines: pip install 'headstart[cluster]'",
        ) from error
    logging.getLogger("ray.data").setLevel(logging.ERROR)  # how it is done is none of the user's concern
    is_own = not ray.is_initialized()
    if is_own:
        _begin(address)
    try:
        yield Machines()
    finally:
        if is_own:
            ray.shutdown()


def _begin(address: str) -> None:
    import ray

    # Asked beforehand, for Ray tries for minutes and then ends the process.
    if address != "auto" and not _answers(address):
        raise ClusterError(
            f"No Ray cluster answers at {address}.",
            "Begin one with `ray start --head`, and name it as it then says.",
        )
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    try:
        ray.init(address=address, **quiet)
    except ConnectionError:
        if address != "auto":
            raise
        ray.init(include_dashboard=False, **quiet)


def _answers(address: str) -> bool:
    """Say whether anything listens at HOST:PORT."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=PATIENCE_S).close()
    except (OSError, ValueError):
        return False
    return True


class Machines:
    """All machines of the cluster that this process is connected with; `Readers` of a bench."""

    def read(self, files: Sequence[str], opened: Sequence[Opened], bench: Bench) -> Sequence[str]:
        """Have photos read; see `headstart.workflow.techniques.bench.Readers`.

        What dies with a machine is Ray's to give to another.

        Raises:
            ClusterError: A machine would give other numbers.
        """
        order = Order(
            bench.settings,
            tuple((one.row.name, one.image_size_px, one.extractor.identity) for one in opened),
            len(files),
        )
        digests = [""] * len(files)
        title = "Reading photos on the cluster"
        with bench.progress.stage(title, len(files)) as advance, _own_errors():
            for row in _read(files, order, bench).iter_rows():
                found = msgspec.msgpack.decode(row["found"], type=Found)
                for kind in {kind for _, _, kind in found.rows}:
                    rows = [(key, value) for key, value, own in found.rows if own == kind]
                    bench.store.put(rows, kind)
                for place, digest in zip(found.places, found.digests, strict=True):
                    digests[place] = digest
                advance(len(found.places))
        return digests


def _read(files: Sequence[str], order: Order, bench: Bench) -> "ray.data.Dataset":
    import pyarrow
    import ray

    ray.data.DataContext.get_current().enable_progress_bars = False
    n_cpus, n_actors = _shares()
    blocks = [
        pyarrow.table({"place": range(first, first + len(some)), "file": some})
        for first in range(0, len(files), BLOCK)
        if (some := files[first : first + BLOCK])
    ]
    return ray.data.from_arrow(blocks).map_batches(
        Reader,
        fn_constructor_args=(order, bench.store.heads()),
        batch_size=AT_ONCE,
        num_cpus=n_cpus,
        compute=ray.data.ActorPoolStrategy(min_size=1, max_size=n_actors, initial_size=n_actors),
    )


def _shares() -> tuple[int, int]:
    """Return how many processors an actor takes, those of the smallest machine, and how many actors fit."""
    import ray

    sizes = [int(node["Resources"].get("CPU", 0)) for node in ray.nodes() if node["Alive"]]
    n_cpus = min(size for size in sizes if size)
    return n_cpus, sum(size // n_cpus for size in sizes)


@contextmanager
def _own_errors() -> Iterator[None]:
    """Raise what was raised on another machine, without Ray's account of where."""
    try:
        yield
    except Exception as error:
        found: BaseException | None = error
        while found is not None:
            if isinstance(cause := getattr(found, "cause", found), HeadstartError):
                raise cause from None
            found = found.__cause__
        raise
