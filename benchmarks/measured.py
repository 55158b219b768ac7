"""What every benchmark does: find the photos, name the machine, keep the figures."""

import argparse
import datetime
import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from headstart.networks import versions
from headstart.pictures.pixels import core_count
from headstart.storage.wheels import cache_dir

RESULTS = Path(__file__).parent / "results"


def photos_folder(description: str | None) -> Path:
    """Return the folder that holds `animals` and `clothing`, from the command line."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("data", type=Path, help="folder that holds animals and clothing")
    return Path(parser.parse_args().data).resolve()


def keep(name: str, figures: dict[str, Any]) -> None:
    """Write benchmarks/results/NAME.json: the figures, and on what they were measured."""
    RESULTS.mkdir(exist_ok=True)
    about = {
        "date": datetime.date.today().isoformat(),
        "processor": processor(),
        "cores": core_count(),
        "versions": versions.here(),
    }
    (RESULTS / f"{name}.json").write_text(json.dumps({"measured_on": about, **figures}, indent=2) + "\n")
    print(json.dumps(figures, indent=2))


def processor() -> str:
    """Return the processor's name."""
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()


def link_weights(cache: Path) -> None:
    """Begin an empty cache that has the user's weights and samples, so that nothing is pulled."""
    cache.mkdir(parents=True, exist_ok=True)
    for name in ("weights", "samples"):
        (cache_dir() / name).mkdir(parents=True, exist_ok=True)
        (cache / name).symlink_to(cache_dir() / name, target_is_directory=True)


def command(words: list[str], cache: Path, *, cwd: Path | None = None) -> tuple[float, float, str]:
    """Run `headstart WORDS` as a process of its own; return seconds, its most memory in MB, its stdout."""
    environment = os.environ | {"HEADSTART_CACHE": str(cache)}
    start = time.perf_counter()
    with subprocess.Popen(
        [sys.executable, "-m", "headstart", *words],
        stdout=subprocess.PIPE,
        env=environment,
        cwd=cwd,
        text=True,
    ) as process:
        assert process.stdout
        text = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.perf_counter() - start
    if process.returncode:
        raise SystemExit(f"headstart {' '.join(words)} failed")
    return seconds, usage.ru_maxrss * 1024 / 1e6, text
