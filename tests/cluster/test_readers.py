"""What a machine of a cluster does, in this process; tests/cluster/test_machines.py has Ray do it."""

import platform
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from conftest import text_of

from headstart.base.errors import ClusterError
from headstart.base.progress import Progress
from headstart.base.settings import Settings
from headstart.base.version import __version__
from headstart.cluster.readers import Found, Order, Outbox, Reader
from headstart.networks import backbones
from headstart.photos.audit import Onlooker, audit
from headstart.sources import listing
from headstart.storage.store import Store
from headstart.workflow.techniques.bench import Bench, Opened, open_backbone, sweep_of, thumbnails_of


def opened_at(bench: Bench) -> Opened:
    return open_backbone(backbones.find("tiny"), 64, bench)


def bench_of(photos: Path, store: Store) -> Bench:
    return Bench(Settings(str(photos), ("tiny",), ("features",)), photos.parent / "work", store, Progress())


def order_of(bench: Bench, n_photos: int) -> Order:
    opened = opened_at(bench)
    return Order(bench.settings, (("tiny", 64, opened.extractor.identity),), n_photos)


def read(reader: Reader, files: list[str]) -> Found:
    [packed] = reader({"place": np.arange(len(files)), "file": np.array(files)})["found"]
    return msgspec.msgpack.decode(packed, type=Found)


def test_what_comes_back_is_what_an_audit_here_keeps_and_is_not_read_again(
    photos: Path, tmp_path: Path
) -> None:
    (photos / "red" / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 and no more")
    listed = listing.load(photos)
    files = [str(listed.file(index)) for index in range(len(listed))]
    with Store(Progress(), tmp_path / "here.sqlite") as here, Store(Progress(), tmp_path / "there") as there:
        bench = bench_of(photos, here)
        opened = opened_at(bench)
        onlookers: list[Onlooker[Any]] = [sweep_of([opened]), *thumbnails_of(len(listed), bench)]
        expected = audit(listed, store=here, progress=Progress(), onlookers=onlookers)
        found = read(Reader(order_of(bench, len(files)), np.empty(0, np.uint64)), files)
        assert found.places == [*range(len(files))]
        values = here.get([key for key, _, _ in found.rows])
        assert {kind for _, _, kind in found.rows} == {"checks", "features", "reports"}
        assert {key: value for key, value, _ in found.rows} == values
        for key, value, kind in found.rows:
            there.put([(key, value)], kind)
        moved = photos.rename(photos.with_name("moved"))
        again = audit(
            listed,
            store=there,
            progress=Progress(),
            onlookers=[sweep_of([opened_at(bench_of(moved, there))])],
            digests=found.digests,
        )
        assert again.digests == expected.digests and again.quarantine == expected.quarantine
        assert (again.groups == expected.groups).all() and again.findings == expected.findings
        heads = here.heads()
        assert (
            read(
                Reader(order_of(bench, len(files)), heads), [f.replace("photos", "moved", 1) for f in files]
            ).rows
            == []
        )


def test_an_outbox_lacks_what_the_head_lacks(tmp_path: Path) -> None:
    keys = [bytes([number]) * 32 for number in (1, 200, 3, 255)]
    with Store(Progress(), tmp_path / "store.sqlite") as store:
        store.put([(key, b"x") for key in keys[:3]], "checks")
        box = Outbox()
        assert box.missing(keys) == [0, 1, 2, 3] and box.get(keys) == {}
        box.known = store.heads()
    assert box.missing(keys) == [3] and [*box.get(keys)] == keys[:3]
    box.put([(keys[3], b"y")], "features")
    assert box.emptied() == [(keys[3], b"y", "features")] and box.emptied() == []


def test_a_machine_that_would_give_other_numbers_is_refused(photos: Path, tmp_path: Path) -> None:
    with Store(Progress(), tmp_path / "store.sqlite") as store:
        settings = bench_of(photos, store).settings
    none, fix = (
        np.empty(0, np.uint64),
        ("Give all machines of the cluster the same Headstart, the same packages and one kind of processor."),
    )
    assert text_of(ClusterError, lambda: Reader(Order(settings, (), 1, "0.0.1"), none)) == (
        f"{platform.node()} has Headstart {__version__}, and this run needs Headstart 0.0.1.\n{fix}"
    )
    other = Order(settings, (("tiny", 64, "0123"),), 1)
    assert text_of(ClusterError, lambda: Reader(other, none)) == (
        f"{platform.node()} has another tiny: other packages or another processor, and this run needs the "
        f"head's.\n{fix}"
    )
