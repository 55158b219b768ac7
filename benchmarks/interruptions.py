"""A comparison by both techniques, killed (kill -9) at random moments and started again each time.

Its results must be those of an undisturbed one, on one core to the last bit, and nothing that was kept may be
computed again. Any class folders do; some photos of each class are taken.

    python benchmarks/interruptions.py PHOTOS [--kills 30] [--backbone mobilenet_v2] [--photos 120]
"""

import argparse
import hashlib
import json
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import measured
import numpy as np

from headstart.base import records
from headstart.base.arrays import Array
from headstart.pictures import formats
from headstart.results.comparison import Results
from headstart.storage.checkpoint import Checkpoints
from headstart.storage.store import Kind, Store

LOG = "HEADSTART_PIECES"
"""The variable that names the file in which a watched process writes down what it has kept."""

ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")

TIMED = ("seconds", "latency_ms", "forecast", "decided_at", "created_at")
"""What stands in results.json of clocks, which differ anyhow."""


def watch() -> None:
    """Run `headstart` with this process's words, and write down each piece as soon as it is kept."""
    log = os.open(os.environ[LOG], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    put, save = Store.put, Checkpoints.save

    def kept(*lines: str) -> None:
        os.write(log, "".join(f"{line}\n" for line in lines).encode())

    def watched_put(self: Store, items: Iterable[tuple[bytes, bytes]], kind: Kind) -> None:
        taken = list(items)
        put(self, taken, kind)
        if kind != "costs":  # measured, not computed
            kept(*(f"{kind} {key.hex()}" for key, _ in taken))

    def watched_save(self: Checkpoints, name: str, arrays: Mapping[str, Array]) -> None:
        save(self, name, arrays)
        content = hashlib.sha256(b"".join(arrays[one].tobytes() for one in sorted(arrays)))
        kept(f"checkpoint {name} {self.origin} {content.hexdigest()}")

    Store.put, Checkpoints.save = watched_put, watched_save  # type: ignore[method-assign]
    from headstart.cli import main

    main(prog_name="headstart")


class Comparison:
    """A run folder and a cache of its own, and the command that fills both.

    Attributes:
        run: The run folder.
        cache: The cache folder.
    """

    def __init__(self, folder: Path, photos: Path, backbone: str) -> None:
        self.run, self.cache, self._log = folder / "run", folder / "cache", folder / "pieces"
        self._words = ["compare", str(photos), "--out", str(self.run), "--backbones", backbone]
        self._words += ["--epochs", "3", "--folds", "0", "--quiet"]
        measured.link_weights(self.cache)
        self._log.touch()

    def start(self) -> "subprocess.Popen[bytes]":
        """Give the command, on one core."""
        environment = os.environ | {"HEADSTART_CACHE": str(self.cache), LOG: str(self._log)}
        environment |= dict.fromkeys(ONE_THREAD, "1")
        return subprocess.Popen(
            [sys.executable, __file__, "--watched", *self._words],
            stdout=subprocess.DEVNULL,
            env=environment,
            preexec_fn=on_one_core,
        )

    @property
    def results(self) -> Results:
        """What it came to."""
        return records.read_json(self.run / "results.json", Results)

    @property
    def pieces(self) -> Counter[str]:
        """How often each piece was kept."""
        return Counter(self._log.read_text().splitlines())

    def rows(self, kind: Kind) -> dict[bytes, bytes]:
        """What its store holds of a kind, by key."""
        with sqlite3.connect(self.cache / "store.sqlite") as connection:
            query = "SELECT key, value FROM entries JOIN contents USING (id) WHERE kind = ?"
            return dict(connection.execute(query, (kind,)).fetchall())


def on_one_core() -> None:
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


def taken(photos: Path, n_photos: int, folder: Path) -> Path:
    """Copy so many photos, evenly of all class folders."""
    classes = sorted(path for path in photos.iterdir() if path.is_dir())
    for one in classes:
        files = sorted(path for path in one.iterdir() if path.suffix.lower() in formats.picture_extensions())
        (folder / one.name).mkdir(parents=True)
        for file in files[: max(1, n_photos // len(classes))]:
            shutil.copyfile(file, folder / one.name / file.name)
    return folder


def disturb(comparison: Comparison, n_kills: int, longest_s: float, moments: random.Random) -> list[float]:
    """Start it and kill it until it has ended by itself; return after how many seconds it was killed."""
    killed_after = list[float]()
    while True:
        process = comparison.start()
        wait = moments.uniform(0, longest_s) if len(killed_after) < n_kills else None
        try:
            if process.wait(wait):
                raise SystemExit(f"After {len(killed_after)} kills it ended with {process.returncode}.")
            return killed_after
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            killed_after.append(float(wait or 0))


def differences(one: Comparison, other: Comparison) -> dict[str, float]:
    """Return how far two comparisons are apart: largest differences, and 0 or 1 where it is a question."""
    heads = [same_keys(each.rows("heads"), records.from_npz) for each in (one, other)]
    features = [same_keys(each.rows("features"), vector) for each in (one, other)]
    return {
        "features": largest(*features),
        "heads": largest(*heads),
        "test_probabilities": float(np.abs(probabilities(one) - probabilities(other)).max()),
        "other_passes": float(history(one) != history(other)),
        "other_recommended_weights": float(weights(one) != weights(other)),
        "other_results": float(untimed(one.results) != untimed(other.results)),
    }


def vector(value: bytes) -> tuple[Array, ...]:
    return (np.frombuffer(value, np.float16).astype(np.float64),)


def same_keys(
    rows: dict[bytes, bytes], read: Callable[[bytes], tuple[Array, ...]]
) -> dict[bytes, tuple[Array, ...]]:
    found = {}
    for key, value in rows.items():
        if read is vector or value.startswith(b"PK"):  # other heads are JSON, times among it
            found[key] = read(value)
    return found


def largest(one: dict[bytes, tuple[Array, ...]], other: dict[bytes, tuple[Array, ...]]) -> float:
    """Return the largest difference of arrays under the same key; infinite where keys are missing."""
    if one.keys() != other.keys() or not one:
        return float("inf")
    apart = [
        np.abs(first.astype(np.float64) - second.astype(np.float64)).max()
        for key in one
        for first, second in zip(one[key], other[key], strict=True)
        if first.size and first.dtype != np.uint8  # a learning curve is JSON: it stands in the results
    ]
    return float(max(apart))


def probabilities(comparison: Comparison) -> Array:
    lines = (comparison.run / "predictions.csv").read_text(encoding="utf-8").splitlines()[1:]
    n_classes = len(comparison.results.dataset.class_names)
    return np.array([[float(cell) for cell in line.split(",")[-n_classes:]] for line in lines])


def history(comparison: Comparison) -> list[Any]:
    return [one.training.history for one in comparison.results.candidates]


def weights(comparison: Comparison) -> bytes:
    return (comparison.run / "model" / "graph.bin").read_bytes()


def untimed(results: Results) -> Any:
    """Return results as JSON knows them, without what clocks say and where the run is."""

    def without(value: Any) -> Iterator[Any]:
        if isinstance(value, dict):
            yield {name: next(without(one)) for name, one in value.items() if not name.startswith(TIMED)}
        else:
            yield [next(without(one)) for one in value] if isinstance(value, list) else value

    told = next(without(json.loads(records.to_json(results))))
    return {name: told[name] for name in ("candidates", "recommended", "dataset")}


def main() -> None:
    """Compare undisturbed and disturbed runs, print and keep the figures; exit with 1 where they differ."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("photos", type=Path, help="folder of class folders")
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--backbone", default="mobilenet_v2")
    parser.add_argument("--photos", dest="n_photos", type=int, default=120)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--keep", action="store_true", help="write benchmarks/results/interruptions.json")
    arguments = parser.parse_args()
    moments = random.Random(arguments.seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        photos = taken(arguments.photos, arguments.n_photos, folder / "photos")
        undisturbed = Comparison(folder / "undisturbed", photos, arguments.backbone)
        start = time.perf_counter()
        if undisturbed.start().wait():
            raise SystemExit("The undisturbed comparison failed.")
        longest_s = time.perf_counter() - start
        killed_after, apart, twice = list[float](), Counter[str](), Counter[str]()
        n_runs = 0
        while len(killed_after) < arguments.kills:
            n_runs += 1
            disturbed = Comparison(folder / f"disturbed {n_runs}", photos, arguments.backbone)
            killed_after += disturb(disturbed, arguments.kills - len(killed_after), longest_s, moments)
            for what, much in differences(undisturbed, disturbed).items():
                apart[what] = max(apart[what], much)  # type: ignore[assignment]
            pieces = disturbed.pieces
            twice.update(line.split()[0] for line, count in pieces.items() for _ in range(count - 1))
        figures = {
            "backbone": arguments.backbone,
            "photos": len([*photos.rglob("*.*")]),
            "undisturbed_s": round(longest_s, 1),
            "kills": len(killed_after),
            "killed_after_s": [round(one, 1) for one in killed_after],
            "runs": n_runs,
            "pieces": sum(undisturbed.pieces.values()),
            "kept_twice": dict(twice),
            "largest_differences": dict(apart),
        }
    if arguments.keep:
        measured.keep("interruptions", figures)
    else:
        print(json.dumps(figures, indent=2))
    if twice or any(much > 1e-5 for much in apart.values()):
        raise SystemExit(1)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--watched"]:
        del sys.argv[1]
        watch()
    else:
        main()
