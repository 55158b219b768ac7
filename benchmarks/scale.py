"""What many photos take: processor seconds, memory and disk of `check` and `compare`, at several numbers.

The photos are made: 64 x 64 pixels in ten classes, each another picture. So the figures are those of all that
is done beside decoding large photos and asking a real backbone, whose price per photo is in features.json and
phone_photos.json.

    python benchmarks/scale.py 5000 50000 200000 [--folder FOLDER]

With a folder, the same command goes on where it was interrupted.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import cv2
import measured
import numpy as np
import simplejpeg

from headstart.sources import listing

N_CLASSES = 10
COARSE_PX, SIDE_PX = 8, 64


def photo(number: int) -> bytes:
    """Return a picture of smooth noise, one channel of which says its class in part."""
    label, random = number % N_CLASSES, np.random.default_rng(number)
    coarse = random.integers(0, 256, (COARSE_PX, COARSE_PX, 3)).astype(np.uint8)
    coarse[..., label % 3] = coarse[..., label % 3] // 2 + 12 * label
    smooth = cv2.resize(coarse, (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_CUBIC)
    return bytes(simplejpeg.encode_jpeg(np.ascontiguousarray(smooth), 80))


def photos(folder: Path, count: int) -> Path:
    """Make so many photos in class folders."""
    for label in range(N_CLASSES):
        (folder / f"class_{label}").mkdir(parents=True)
    for number in range(count):
        (folder / f"class_{number % N_CLASSES}" / f"{number:07}.jpg").write_bytes(photo(number))
    return folder


def price(words: list[str], cache: Path) -> dict[str, float]:
    """Run `headstart WORDS`; return the processor seconds and the most memory of its process."""
    environment = os.environ | {"HEADSTART_CACHE": str(cache)}
    with subprocess.Popen(
        [sys.executable, "-m", "headstart", *words], stdout=subprocess.DEVNULL, env=environment
    ) as process:
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"headstart {' '.join(words)} failed")
    return {"processor_s": usage.ru_utime + usage.ru_stime, "memory_mb": usage.ru_maxrss * 1024 / 1e6}


def size_mb(path: Path) -> float:
    """Return what a file or all files of a folder take."""
    files = [path] if path.is_file() else [one for one in path.rglob("*") if one.is_file()]
    return sum(one.stat().st_size for one in files) / 1e6


STAGES = ("photos", "listing", "check", "compare after the check")


def taken_by(stage: str, count: int, folder: Path) -> dict[str, float]:
    """Return what a stage takes of so many photos, in a folder in which those before it were done."""
    data, cache, run = folder / "photos", folder / "cache", folder / "run"
    if stage == "photos":
        shutil.rmtree(data, ignore_errors=True)
        photos(data, count)
        return {}
    if stage == "listing":
        start = time.process_time()
        listing.load(data)
        return {"processor_s": time.process_time() - start}
    if stage == "check":
        return price(["check", str(data), "--quiet"], cache)
    words = ["--backbones", "tiny", "--techniques", "features", "--image-size", "64", "--quiet"]
    taken = price(["compare", str(data), *words, "--out", str(run)], cache)
    sizes = {"store": cache / "store.sqlite", "run": run, "report": run / "report.html"}
    return taken | {f"{name}_mb": size_mb(path) for name, path in sizes.items()}


def main() -> None:
    """Measure all that is not measured yet, print and keep the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("counts", type=int, nargs="+", help="numbers of photos")
    parser.add_argument("--folder", type=Path, help="where photos and figures are kept, to go on there")
    parser.add_argument("--stages", type=int, default=len(STAGES), help="so many of them and no more")
    arguments = parser.parse_args()
    figures: dict[str, Any] = {}
    with nullcontext(arguments.folder) if arguments.folder else tempfile.TemporaryDirectory() as name:
        for count in arguments.counts:
            folder = Path(name).resolve() / f"{count}"
            folder.mkdir(parents=True, exist_ok=True)
            kept = folder / "figures.json"
            known = json.loads(kept.read_text()) if kept.exists() else {}
            for stage in STAGES[: arguments.stages]:
                if stage not in known:
                    known[stage] = taken_by(stage, count, folder)
                    kept.write_text(json.dumps(known))
            figures[f"{count}"] = {stage: taken for stage, taken in known.items() if taken}
    measured.keep("scale", figures)


if __name__ == "__main__":
    main()
