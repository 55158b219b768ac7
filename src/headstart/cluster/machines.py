"""The machines of a cluster, as Ray knows them, and work that is given to them."""

import logging
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import msgspec

from headstart.base.errors import ClusterError, HeadstartError, MissingPackage
from headstart.cluster.readers import Found, Order, Reader
from headstart.workflow.techniques.bench import Bench, Given, Made, Opened

if TYPE_CHECKING:
    import ray.data
    from ray.util.queue import Queue

AT_ONCE = 64
"""Photos that are read at a time: with 5,000 features by two backbones each 1.4 MB come back."""

BLOCK = 4 * AT_ONCE
"""Photos of one task, which is done again as a whole where its machine dies."""

HEARD_EVERY_S = 0.5
"""Seconds after which news of work on other machines are looked for."""

PATIENCE_S = 10
"""Seconds that a cluster may take to answer."""


@contextmanager
def connected(address: str) -> Iterator["Cluster"]:
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
        yield Cluster()
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


class Cluster:
    """All machines of the cluster that this process is connected with; `Machines` of a bench.

    What dies with a machine is Ray's to give to another.
    """

    def read(self, files: Sequence[str], opened: Sequence[Opened], bench: Bench) -> Sequence[str]:
        """Have photos read; see `headstart.workflow.techniques.bench.Machines`.

        Raises:
            ClusterError: A machine would give other numbers, or machines died over and over.
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

    def each(
        self,
        work: Callable[[Given, Callable[..., None]], Made],
        given: Sequence[Given],
        hear: Callable[..., None],
    ) -> Iterator[tuple[int, Made]]:
        """Have work done on each of some things; see `headstart.workflow.techniques.bench.Machines`.

        A machine does one at a time, each in a process of its own, whose memory goes with it.

        Raises:
            ClusterError: A machine would give other numbers, or machines died over and over.
        """
        import ray

        news, (n_cpus, _) = _queue(), _shares()
        task = ray.remote(num_cpus=n_cpus, max_calls=1)(_told)
        pending = {task.remote(work, one, number, news): number for number, one in enumerate(given)}
        try:
            while pending:
                with _own_errors():
                    done, _ = ray.wait([*pending], timeout=HEARD_EVERY_S)
                    for told in news.get_nowait_batch(news.qsize()):
                        hear(*told)
                    made = [(pending.pop(one), ray.get(one)) for one in done]
                yield from made
        finally:
            for one in pending:
                ray.cancel(one, force=True)
            news.shutdown()


def _queue() -> "Queue":
    """Return a queue of Ray's that lives on this machine, so that it dies with no other."""
    import ray
    from ray.util.queue import Queue
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True)
    return Queue(actor_options={"num_cpus": 0, "scheduling_strategy": here})


def _told(work: Callable[[Given, Callable[..., None]], Made], one: Given, number: int, news: "Queue") -> Made:
    """Do work on another machine; what it tells is put into a queue with the number of what is worked on."""
    return work(one, lambda *told: news.put((number, *told)))


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
        _refuse_dead(error)
        raise


def _refuse_dead(error: Exception) -> None:
    """Say it where Ray has given up, after it gave work to one machine after the other."""
    from ray import exceptions

    if isinstance(error, exceptions.RayError) and not isinstance(error, exceptions.RayTaskError):
        raise ClusterError(
            f"Machines of the cluster died while they worked: {str(error).strip().splitlines()[0]}",
            "See that they have memory enough and stay up (`ray status`); the same command goes on with what "
            "is kept.",
        ) from error
