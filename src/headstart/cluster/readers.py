"""Photos read on every machine of a cluster: their checks, features and thumbnails come back to the store."""

import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from headstart.base import records
from headstart.base.progress import Progress
from headstart.base.settings import Settings
from headstart.base.version import __version__
from headstart.networks import backbones, versions
from headstart.photos import audit as audits
from headstart.photos.checks import Check
from headstart.results.gallery import Thumbnails
from headstart.storage.store import Kind, Store
from headstart.workflow.techniques.bench import Bench, Opened, open_backbone, sweep_of, thumbnails_of

Row = tuple[bytes, bytes, Kind]


@dataclass(frozen=True)
class Order:
    """What a machine needs to know to read photos as the head would.

    Attributes:
        settings: What was asked for.
        backbones: Name, side of the pictures, and what tells it and its weights from others, of each.
        n_photos: Photos there are in all.
        version: Of Headstart.
    """

    settings: Settings
    backbones: tuple[tuple[str, int, str], ...]
    n_photos: int
    version: str = __version__


class Found(msgspec.Struct, array_like=True):
    """What came of some photos: their places, the digests of their bytes, and rows for the store."""

    places: list[int]
    digests: list[str]
    rows: list[Row]


class Outbox(Store):
    """In place of the store: what is kept in it is handed over, and what the head has counts as here.

    Attributes:
        known: The beginnings of the keys that the head has, ascending; see `Store.heads`. Of two keys that
            begin alike one might be left to the head, which makes what it lacks.
    """

    def __init__(self) -> None:
        self.known, self._rows = np.empty(0, np.uint64), list[Row]()
        # What the head keeps of a photo need not be sent: a blank stands for it here.
        self._blank = records.to_bytes(Check(format="PNG"))

    def missing(self, keys: Sequence[bytes]) -> list[int]:
        """Return the positions in `keys`, ascending, of those that the head lacks."""
        begun = np.array([int.from_bytes(key[:8], "little") for key in keys], np.uint64)
        return np.flatnonzero(
            np.searchsorted(self.known, begun) == np.searchsorted(self.known, begun, side="right")
        ).tolist()

    def get(self, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        """Return a blank check for each key that the head has."""
        lacking = {*self.missing(keys)}
        return {key: self._blank for place, key in enumerate(keys) if place not in lacking}

    def put(self, items: Iterable[tuple[bytes, bytes]], kind: Kind) -> None:
        """Take rows."""
        self._rows += [(key, value, kind) for key, value in items]

    def emptied(self) -> list[Row]:
        """Return the rows that were taken since it was last asked."""
        rows, self._rows = self._rows, []
        return rows


class Reader:
    """An actor of Ray's: the backbones compiled once, and photos read batch by batch.

    Raises:
        ClusterError: This machine would give other numbers than the head.
    """

    def __init__(self, order: Order, heads: NDArray[np.uint64]) -> None:
        if order.version != __version__:
            raise versions.unlike(f"Headstart {__version__}", f"Headstart {order.version}")
        self._outbox = Outbox()
        bench = Bench(order.settings, Path(tempfile.gettempdir()), self._outbox, Progress())
        opened = [open_backbone(backbones.find(name), px, bench) for name, px, _ in order.backbones]
        self._refuse_others(opened, order)
        self._sweep = sweep_of(opened)
        self._thumbnails: list[Thumbnails] = thumbnails_of(order.n_photos, bench)
        self._outbox.emptied()
        self._outbox.known = heads

    @staticmethod
    def _refuse_others(opened: Sequence[Opened], order: Order) -> None:
        for one, (name, _, identity) in zip(opened, order.backbones, strict=True):
            if one.extractor.identity != identity:
                raise versions.unlike(f"another {name}: other packages or another processor", "the head's")

    def __call__(self, batch: dict[str, NDArray[Any]]) -> dict[str, list[bytes]]:
        """Return one row for a batch of rows with a `place` and a `file`."""
        files = [(str(file), "") for file in batch["file"]]
        found = [*audits.read(files, self._outbox, [self._sweep, *self._thumbnails])]
        digests = [check.digest for some in found for check in some]
        packed = Found(batch["place"].tolist(), digests, self._outbox.emptied())
        return {"found": [msgspec.msgpack.encode(packed)]}
