"""An exported file asked about photos, in a process of its own that has nothing but the file and its runtime.

Run as `python -m headstart.export.inspection FOLDER`, it reads job.json there, and writes answers.npz and
report.json.
"""

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from headstart.base import records
from headstart.base.arrays import Floats
from headstart.base.errors import EngineMismatch, HeadstartError, disk_full_named
from headstart.pictures import pixels

if TYPE_CHECKING:  # the other process asks for them, and this one is to be quick
    from headstart.export.catalogue import Format
    from headstart.export.subject import Photos

BATCH = 32
"""Pictures that are asked about at once."""

ALONE = 4
"""Pictures that are asked about once more, each alone: its neighbours in a batch must not matter."""

ROUNDS, PATIENCE_S = 30, 3.0
"""How often latency is measured, at most, and for how long."""

JOB, ANSWERS, REPORT = "job.json", "answers.npz", "report.json"


@dataclass(frozen=True)
class Job:
    """What an inspector is to do.

    Attributes:
        format: Of the file.
        path: The file, or the folder that it is.
        files: N photos.
        digests: The SHA-256 of each.
        image_size_px: The side of the pictures.
        fit: How a photo becomes square.
        rounds: How often latency is measured, at most.
    """

    format: str
    path: str
    files: tuple[str, ...]
    digests: tuple[str, ...]
    image_size_px: int
    fit: str
    rounds: int


@dataclass(frozen=True)
class Report:
    """What an inspector found, beside the answers."""

    runtime: str
    labels: tuple[str, ...]
    latency_ms: float
    batch_latency_ms: float


@dataclass(frozen=True, eq=False)
class Inspected:
    """What a file answers.

    Attributes:
        report: What it says of itself, and what it takes.
        probabilities: float32 (N, C).
        novelty: float32 (N,), or None.
        alone: float32 (B, C), the probabilities of the first photos, each asked about alone.
    """

    report: Report
    probabilities: Floats
    novelty: Floats | None
    alone: Floats


def inspect(one: "Format", path: Path, photos: "Photos", image_size_px: int, fit: str) -> Inspected:
    """Return what a file answers for photos, asked in a fresh process.

    Raises:
        EngineMismatch: Its runtime cannot load it, or it does not answer as it should.
        DiskFull: No space is left for what is temporary.
    """
    files = tuple(map(str, photos.files))
    job = Job(one.name, str(path), files, photos.digests, image_size_px, fit, ROUNDS)
    with (
        disk_full_named(Path(tempfile.gettempdir())),
        tempfile.TemporaryDirectory(prefix="headstart-export-") as name,
    ):
        folder = Path(name)
        records.write_json(folder / JOB, job)
        command = [sys.executable, "-m", __name__, name]
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
        if done.returncode or not (folder / REPORT).exists():
            raise EngineMismatch(
                f"{one.runtime} cannot use the file: {_last_words(done)}", "Export to another format."
            )
        answers = records.from_npz((folder / ANSWERS).read_bytes())
        report = records.read_json(folder / REPORT, Report)
    probabilities, alone, *novelty = answers
    return Inspected(report, probabilities, novelty[0] if novelty else None, alone)


def _last_words(done: "subprocess.CompletedProcess[str]") -> str:
    if done.returncode < 0:
        return f"it was ended by signal {-done.returncode}."
    lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    return lines[-1] if lines else f"it ended with {done.returncode} and said nothing."


def _inspect(folder: Path) -> None:
    from headstart.export.runtimes import OPENED

    job = records.read_json(folder / JOB, Job)
    opened = OPENED[job.format](Path(job.path))
    photos = pixels.read_many([Path(file) for file in job.files], job.image_size_px, job.fit, job.digests)
    found, first = [], None
    for batch in pixels.batches(photos, BATCH):
        first = np.stack(batch) if first is None else first
        found.append(opened.answer(np.stack(batch)))
    assert first is not None, "there are test photos"
    alone = np.concatenate([opened.answer(picture[None])["probabilities"] for picture in first[:ALONE]])
    answers = [np.concatenate([one["probabilities"] for one in found]), alone]
    if "novelty" in found[0]:
        answers.append(np.concatenate([one["novelty"] for one in found])[:, 0])
    full = np.resize(first, (BATCH, *first.shape[1:]))
    latencies = [_least_ms(opened.answer, pictures, job.rounds) for pictures in (full[:1], full)]
    records.write_bytes(folder / ANSWERS, records.to_npz(answers))
    records.write_json(folder / REPORT, Report(opened.version, tuple(opened.labels()), *latencies))


def _least_ms(answer: Callable[[pixels.Pixels], object], pictures: pixels.Pixels, rounds: int) -> float:
    """Return the least milliseconds of some runs; whatever else the machine does can only add."""
    times: list[float] = []
    end = time.perf_counter() + PATIENCE_S
    while len(times) < rounds and (not times or time.perf_counter() < end):
        start = time.perf_counter()
        answer(pictures)
        times.append(time.perf_counter() - start)
    return 1000 * min(times)


if __name__ == "__main__":
    try:
        _inspect(Path(sys.argv[1]))
    except HeadstartError as told:
        sys.exit(told.problem)
