"""Feature extraction: from files against the engine alone, its memory, and what one changed photo costs.

python benchmarks/extraction.py ../shared/data
"""

import hashlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import measured

from headstart.base.progress import Progress
from headstart.networks import backbones, engine
from headstart.networks.engine import Engine
from headstart.networks.features import Extractor
from headstart.pictures import pixels
from headstart.storage.store import Store

BACKBONES = ("mobilenet_v2", "efficientnet_lite0")
N_PHOTOS = 600
ROUNDS = 5
FEW, MANY = 5_000, 50_000


def open_engine(name: str) -> Engine:
    """Return a backbone at its own size."""
    return engine.open_backbone(backbones.find(name))


def digests(files: list[Path]) -> list[str]:
    """Return the SHA-256 of each file."""
    return [hashlib.sha256(file.read_bytes()).hexdigest() for file in files]


def rates(name: str, files: list[Path]) -> dict[str, float]:
    """Return images/s of the engine on pixels in memory, and of extraction from files; medians, by turns."""
    backbone = open_engine(name)
    known = digests(files)
    pictures = list(pixels.read_many(files, backbone.image_size_px, "squash"))
    raw, whole = [], []
    with Store(Progress()) as store:
        for number in range(ROUNDS):
            start = time.perf_counter()
            sum(1 for _ in backbone.stream(pictures))
            raw.append(len(files) / (time.perf_counter() - start))
            extractor = Extractor(backbone, f"{name} {number}", "squash", store)
            start = time.perf_counter()
            assert extractor.compute(files, known, "", Progress()) == len(files)
            whole.append(len(files) / (time.perf_counter() - start))
    ratios = [one / other for one, other in zip(whole, raw, strict=True)]
    return {
        "engine_images_per_s": statistics.median(raw),
        "extraction_images_per_s": statistics.median(whole),
        "part": statistics.median(ratios),
        "part_low": min(ratios),
        "part_high": max(ratios),
    }


def one_changed(files: list[Path], folder: Path) -> int:
    """Return how many photos are computed when one of a folder has changed."""
    copies = [folder / file.name for file in files]
    for file, copy in zip(files, copies, strict=True):
        copy.write_bytes(file.read_bytes())
    backbone = open_engine("mobilenet_v2")
    with Store(Progress()) as store:
        extractor = Extractor(backbone, "changed", "squash", store)
        extractor.compute(copies, digests(copies), "", Progress())
        copies[3].write_bytes(copies[3].read_bytes() + b"changed")
        return extractor.compute(copies, digests(copies), "", Progress())


def memory_mb(photos: Path, count: int) -> float:
    """Return the most memory of a process that extracts the features of so many photos."""
    done = subprocess.run(
        [sys.executable, __file__, "--extract", str(photos), str(count)],
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    )
    return float(json.loads(done.stdout)["memory_mb"])


def extract(photos: Path, count: int) -> None:
    """Compute the features of so many files: the photos again and again, their last bytes changed."""
    from headstart.workflow.forecast import peak_memory_mb

    originals = sorted(photos.rglob("*.jpg"))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files, known = [], []
        for number in range(count):
            content = originals[number % len(originals)].read_bytes() + str(number).encode()
            files.append(folder / f"{number}.jpg")
            files[-1].write_bytes(content)
            known.append(hashlib.sha256(content).hexdigest())
        backbone = open_engine("mobilenet_v2")
        with Store(Progress()) as store:
            extractor = Extractor(backbone, str(count), "squash", store, folder / "work")
            assert extractor.compute(files, known, "", Progress()) == count
            n_read = sum(len(block) for _, block in extractor.features(files, known, "", Progress()).blocks())
    assert n_read == count
    print(json.dumps({"memory_mb": peak_memory_mb()}))


def main() -> None:
    """Measure all three, print and keep the figures."""
    if sys.argv[1] == "--extract":
        extract(Path(sys.argv[2]), int(sys.argv[3]))
        return
    photos = measured.photos_folder(__doc__) / "animals"
    # Of copies of a photo one would be computed.
    different = {file.read_bytes(): file for file in sorted(photos.rglob("*.jpg"))}
    files = list(different.values())[:: max(1, len(different) // N_PHOTOS)][:N_PHOTOS]
    with tempfile.TemporaryDirectory() as name:
        measured.link_weights(Path(name) / "cache")
        os.environ["HEADSTART_CACHE"] = str(Path(name) / "cache")
        figures: dict[str, Any] = {"rates": {name: rates(name, files) for name in BACKBONES}}
        (Path(name) / "photos").mkdir()
        figures["computed_after_one_change"] = one_changed(files[:200], Path(name) / "photos")
        few, many = memory_mb(photos, FEW), memory_mb(photos, MANY)
    figures["memory_mb"] = {str(FEW): few, str(MANY): many, "more": many - few}
    measured.keep("extraction", figures)


if __name__ == "__main__":
    main()
