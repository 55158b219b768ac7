"""A comparison by both techniques, killed (kill -9) at random moments and started again each time.

Its results must be those of an undisturbed one, on one core to the last bit, and nothing that was kept may be
computed again. Any class folders do; some photos of each class are taken.

    python benchmarks/interruptions.py PHOTOS [--kills 30] [--backbones mobilenet_v2] [--photos 120]

It may be interrupted itself: with `--folder FOLDER` the same command goes on after the last kill.
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
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
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

TIMED = ("seconds", "latency", "forecast", "decided_at", "created_at")
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

    def __init__(self, folder: Path, photos: Path, backbones: str) -> None:
        self.run, self.cache, self._log = folder / "run", folder / "cache", folder / "pieces"
        self._words = ["compare", str(photos), "--out", str(self.run), "--backbones", backbones]
        self._words += ["--epochs", "3", "--folds", "0", "--quiet"]
        if not self.cache.exists():
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
    def is_begun(self) -> bool:
        """Whether it was started before."""
        return self.run.exists()

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


@dataclass(frozen=True)
class Tally:
    """What came of the kills by now.

    Attributes:
        undisturbed_s: Seconds of the comparison that was let alone.
        killed_after_s: Of each kill, after how many seconds of the process.
        n_runs: Comparisons that came to their end after kills.
        apart: The largest differences between them and the undisturbed one.
        twice: By kind, how many pieces were kept twice.
    """

    undisturbed_s: float
    killed_after_s: tuple[float, ...] = ()
    n_runs: int = 0
    apart: dict[str, float] = field(default_factory=dict)
    twice: dict[str, int] = field(default_factory=dict)


def taken(photos: Path, n_photos: int, folder: Path) -> Path:
    """Copy so many photos, evenly of all class folders."""
    classes = sorted(path for path in photos.iterdir() if path.is_dir())
    for one in classes:
        files = sorted(path for path in one.iterdir() if path.suffix.lower() in formats.picture_extensions())
        (folder / one.name).mkdir(parents=True, exist_ok=True)
        for file in files[: max(1, n_photos // len(classes))]:
            shutil.copy2(file, folder / one.name / file.name)
    return folder


class Trials:
    """Comparisons that are killed, and one that is not, in a folder in which a later process goes on.

    Args:
        folder: Of all.
        photos: What is compared on.
        backbones: Names, with commas between.
        seed: Of the moments.
    """

    def __init__(self, folder: Path, photos: Path, backbones: str, seed: int) -> None:
        self._folder, self._photos, self._backbones, self._seed = folder, photos, backbones, seed
        self._file = folder / "tally.json"
        self.undisturbed = Comparison(folder / "undisturbed", photos, backbones)
        self.tally = records.read_json(self._file, Tally) if self._file.exists() else self._begin()

    def _begin(self) -> Tally:
        start = time.perf_counter()
        if self.undisturbed.start().wait():
            raise SystemExit("The undisturbed comparison failed.")
        self._note(Tally(time.perf_counter() - start))
        return self.tally

    def _note(self, tally: Tally) -> None:
        self.tally = tally
        records.write_json(self._file, tally)

    def go_on(self, n_kills: int, until: float) -> bool:
        """Start and kill comparisons until there were so many kills and the last has ended by itself.

        Returns:
            Whether that was so before `until`, by `time.monotonic`.
        """
        while len(self.tally.killed_after_s) < n_kills or self._comparison.is_begun:
            if time.monotonic() > until:
                return False
            self._start(n_kills)
        return True

    @property
    def _comparison(self) -> Comparison:
        """The one that is in hand."""
        folder = self._folder / f"disturbed {self.tally.n_runs + 1}"
        return Comparison(folder, self._photos, self._backbones)

    def _start(self, n_kills: int) -> None:
        """Start it and kill it at a random moment, if it has not ended by then; at last let it end."""
        killed, comparison = self.tally.killed_after_s, self._comparison
        moment = random.Random(f"{self._seed} {len(killed)}").uniform(0, self.tally.undisturbed_s)
        process = comparison.start()
        try:
            status = process.wait(moment if len(killed) < n_kills else None)
        except subprocess.TimeoutExpired:
            self._note(replace(self.tally, killed_after_s=(*killed, round(moment, 1))))
        else:
            if status:
                raise SystemExit(f"After {len(killed)} kills it ended with {status}.")
            self._judge(comparison)
        finally:
            process.kill()
            process.wait()

    def _judge(self, comparison: Comparison) -> None:
        apart, twice = Counter(self.tally.apart), Counter(self.tally.twice)
        for what, much in differences(self.undisturbed, comparison).items():
            apart[what] = max(apart[what], much)  # type: ignore[assignment]
        for piece, count in comparison.pieces.items():
            twice[piece.split()[0]] += count - 1
        n_runs = self.tally.n_runs + 1
        self._note(replace(self.tally, n_runs=n_runs, apart=dict(apart), twice=dict(+twice)))


def differences(one: Comparison, other: Comparison) -> dict[str, float]:
    """Return how far two comparisons are apart: largest differences, and 0 or 1 where it is a question."""
    heads = [same_keys(each.rows("heads"), records.from_npz) for each in (one, other)]
    features = [same_keys(each.rows("features"), vector) for each in (one, other)]
    return {
        "features": largest(*features),
        "heads": largest(*heads),
        "test_probabilities": float(np.abs(probabilities(one) - probabilities(other)).max()),
        "passes": apart(history(one), history(other)),
        "recommended_weights": apart(weights(one), weights(other)),
        "results": apart(untimed(one.results), untimed(other.results)),
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


def apart(one: Any, other: Any) -> float:
    """Return the largest difference of numbers; infinite where anything else differs."""
    if isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys():
        return max((apart(one[name], other[name]) for name in one), default=0.0)
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        return max(map(apart, one, other), default=0.0)
    if one == other:
        return 0.0
    return abs(one - other) if isinstance(one, float) and isinstance(other, float) else float("inf")


def history(comparison: Comparison) -> list[Any]:
    return [json.loads(records.to_json(one.training.history)) for one in comparison.results.candidates]


def weights(comparison: Comparison) -> list[float]:
    """The recommended network's, whose graph is of the same bytes but for them."""
    content = (comparison.run / "model" / "graph.bin").read_bytes()
    return np.nan_to_num(np.frombuffer(content[: len(content) // 4 * 4], np.float32)).tolist()


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
    parser.add_argument("--backbones", default="mobilenet_v2", help="names, with commas between")
    parser.add_argument("--photos", dest="n_photos", type=int, default=120)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--folder", type=Path, help="where all of it is kept, to go on there")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="start nothing after so many")
    parser.add_argument("--keep", action="store_true", help="write benchmarks/results/interruptions.json")
    arguments = parser.parse_args()
    until = time.monotonic() + 60 * arguments.minutes
    with nullcontext(arguments.folder) if arguments.folder else tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        photos = taken(arguments.photos, arguments.n_photos, folder / "photos")
        trials = Trials(folder, photos, arguments.backbones, arguments.seed)
        is_done = trials.go_on(arguments.kills, until)
        tally = trials.tally
        figures = {
            "backbones": arguments.backbones,
            "photos": len([*photos.rglob("*.*")]),
            "undisturbed_s": round(tally.undisturbed_s, 1),
            "kills": len(tally.killed_after_s),
            "killed_after_s": tally.killed_after_s,
            "runs": tally.n_runs,
            "pieces": sum(trials.undisturbed.pieces.values()),
            "kept_twice": tally.twice,
            "largest_differences": tally.apart,
        }
    if arguments.keep and is_done:
        measured.keep("interruptions", figures)
    else:
        print(json.dumps(figures, indent=2))
    if tally.twice or any(much > 1e-5 for much in tally.apart.values()):
        raise SystemExit(1)
    if not is_done:
        raise SystemExit("It is not done yet: the same command goes on.")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--watched"]:
        del sys.argv[1]
        watch()
    else:
        main()
