"""`headstart serve` under load: clients, bad requests among theirs, memory, and a plain server beside it.

python benchmarks/serving.py ../shared/data [--run RUN] [--seconds 600] [--clients 32]

By turns on the same cores: the engine alone from files, as `headstart predict` runs it; the server with
photos; with a tenth of bad requests; a plain server of the same network, FastAPI and Keras as people write
it. The clients are locust's (`pip install locust`), on this machine too: what they take, the servers lack. So
the rate is also taken by wrk's (`apt install wrk`), a minute long, which take next to nothing.
"""

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import measured

import headstart

HERE = Path(__file__).parent
PORT = 8931
WARM_UP_S = 10
STARTS = 5


def main() -> None:
    """Measure, print and keep the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="folder that holds animals")
    parser.add_argument("--run", type=Path, help="a run on them; without it one is made, by features alone")
    parser.add_argument("--seconds", type=int, default=600)
    parser.add_argument("--clients", type=int, default=32)
    asked = parser.parse_args()
    photos = asked.data.resolve() / "animals"
    with tempfile.TemporaryDirectory() as name:
        run = asked.run.resolve() if asked.run else made_run(photos, Path(name))
        own = [sys.executable, "-m", "headstart", "serve", str(run), "--port", str(PORT), "--quiet"]
        size_px = headstart.load(run).record.image_size_px
        plain = [sys.executable, str(HERE / "plain_server.py"), str(size_px), str(PORT)]
        figures: dict[str, Any] = {
            "seconds": asked.seconds,
            "clients": asked.clients,
            "start": started(own),
            "light": by_wrk(own, run, photos, min(60, asked.seconds), asked.clients),
            "files_before": from_files(run, photos, min(20, asked.seconds)),
            "photos": under_load(own, photos, asked.seconds, asked.clients, bad=0.0),
            "a_tenth_bad": under_load(own, photos, asked.seconds, asked.clients, bad=0.1),
            "plain_keras": under_load(plain, photos, min(60, max(20, asked.seconds)), asked.clients, bad=0.0),
            "files_after": from_files(run, photos, min(20, asked.seconds)),
        }
    figures["part_of_raw"] = figures["light"]["per_second"] / figures["light"]["files_per_second"]
    figures["times_plain"] = (
        figures["photos"]["photo"]["per_second"] / figures["plain_keras"]["photo"]["per_second"]
    )
    measured.keep("serving", figures)


def made_run(photos: Path, folder: Path) -> Path:
    measured.link_weights(folder / "cache")
    words = ["compare", str(photos), "--techniques", "features", "--backbones", "mobilenet_v2", "--quiet"]
    measured.command([*words, "--out", str(folder / "run"), "--no-report"], folder / "cache")
    return folder / "run"


def started(command: list[str]) -> dict[str, float]:
    """Seconds from a process's start to its first answer, the median, and its memory then."""
    seconds, memory = [], 0.0
    for _ in range(STARTS):
        begun = time.perf_counter()
        with listening(command) as process:
            seconds.append(time.perf_counter() - begun)
            memory = max(memory, resident_mb(process.pid))
    return {"seconds": sorted(seconds)[STARTS // 2], "seconds_high": max(seconds), "memory_mb": memory}


@contextmanager
def listening(command: Sequence[str]) -> Iterator["subprocess.Popen[bytes]"]:
    with subprocess.Popen(command) as process:
        try:
            while not is_ready():
                if process.poll() is not None:
                    raise SystemExit(f"{command} ended with {process.returncode}")
                time.sleep(0.01)
            yield process
        finally:
            process.terminate()


def is_ready() -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{PORT}/readyz", timeout=5) as response:
            return bool(response.status == 200)
    except OSError:
        return False


def from_files(run: Path, photos: Path, seconds: float) -> float:
    """Photos a second from files, by one process that does nothing else."""
    model = headstart.load(run)
    files = sorted(photos.rglob("*.jpg"))
    list(model.predict_each(files[:100]))
    begun, count = time.perf_counter(), 0
    for _ in model.predict_each(cycle(files)):
        count += 1
        if time.perf_counter() - begun > seconds:
            break
    return count / (time.perf_counter() - begun)


def by_wrk(command: list[str], run: Path, photos: Path, seconds: int, clients: int) -> dict[str, float]:
    """What wrk's clients saw, with photos a second from files just before and after."""
    files = sorted(map(str, photos.rglob("*.jpg")))[::5]
    words = ["wrk", "-t1", f"-c{clients}", f"-d{seconds}s", "-s", str(HERE / "serving_clients.lua")]
    words += [f"http://127.0.0.1:{PORT}", "--", *files]
    before = from_files(run, photos, seconds / 3)
    with listening(command):
        done = subprocess.run(words, check=True, capture_output=True, text=True)
    found: dict[str, float] = json.loads(done.stdout.strip().splitlines()[-1])
    after = from_files(run, photos, seconds / 3)
    return found | {"files_per_second": (before + after) / 2}


def under_load(command: list[str], photos: Path, seconds: int, clients: int, *, bad: float) -> dict[str, Any]:
    """What clients saw, by kind of request, and the server's memory after a warm-up and at the end."""
    with listening(command) as process, tempfile.TemporaryDirectory() as folder:
        clients_run(photos, min(WARM_UP_S, seconds), clients, bad, Path(folder) / "warm")
        memory: list[float] = []
        is_over = threading.Event()
        watch = threading.Thread(target=watch_memory, args=(process.pid, memory, is_over))
        watch.start()
        used = cpu_seconds(process.pid)
        clients_run(photos, seconds, clients, bad, Path(folder) / "load")
        used = cpu_seconds(process.pid) - used
        is_over.set()
        watch.join()
        found = stats(Path(folder) / "load_stats.csv")
    answered = sum(one["count"] for one in found.values())
    thirds = [memory[: len(memory) // 3], memory[-(len(memory) // 3) :]]
    return found | {
        "cpu_ms_per_request": 1000 * used / answered,
        "memory_mb_first_third": sum(thirds[0]) / len(thirds[0]),
        "memory_mb_last_third": sum(thirds[1]) / len(thirds[1]),
        "memory_mb_most": max(memory),
        "memory_mb": list(islice(memory, 0, None, max(1, len(memory) // 60))),
    }


def clients_run(photos: Path, seconds: int, clients: int, bad: float, prefix: Path) -> None:
    words = ["-f", str(HERE / "serving_clients.py"), "--headless", "--only-summary", "--loglevel", "ERROR"]
    words += ["--host", f"http://127.0.0.1:{PORT}", "-u", str(clients), "-r", str(clients)]
    words += ["-t", f"{seconds}s", "--csv", str(prefix), "--exit-code-on-error", "0"]
    environment = os.environ | {"SERVING_PHOTOS": str(photos), "SERVING_BAD": str(bad)}
    command = [sys.executable, "-m", "locust", *words]
    done = subprocess.run(command, env=environment, check=False, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)


def stats(table: Path) -> dict[str, dict[str, float]]:
    """By kind of request what locust counted, in milliseconds and a second."""
    with table.open(newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["Name"] != "Aggregated"]
    return {
        row["Name"]: {
            "count": int(row["Request Count"]),
            "failed": int(row["Failure Count"]),
            "per_second": float(row["Requests/s"]),
            "p50_ms": float(row["50%"]),
            "p95_ms": float(row["95%"]),
            "p99_ms": float(row["99%"]),
            "most_ms": float(row["Max Response Time"]),
        }
        for row in rows
    }


def watch_memory(pid: int, memory: list[float], is_over: threading.Event) -> None:
    while not is_over.wait(1):
        memory.append(resident_mb(pid))


def resident_mb(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) * 1024 / 1e6


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
