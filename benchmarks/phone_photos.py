"""Photos as phones take them: a whole comparison by features against decoding alone, by libjpeg-turbo.

python benchmarks/phone_photos.py ../shared/data
"""

import statistics
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import measured
import numpy as np
import simplejpeg
from PIL import Image

from headstart.base.progress import Progress
from headstart.networks import backbones, engine
from headstart.networks.features import Extractor
from headstart.networks.sweep import Sweep
from headstart.photos.audit import audit
from headstart.pictures.pixels import core_count
from headstart.reporting.projection import MAX_SPOTS
from headstart.results.gallery import Thumbnails
from headstart.results.run import Run
from headstart.sources import listing
from headstart.storage.store import Store

BACKBONES = ("mobilenet_v2", "efficientnet_lite0")
N_PHOTOS = 80
SIZE = (4000, 3000)
QUALITY = 92
GRAIN = 4.0
"""Standard deviation of the noise, in levels of 255: photos are 2.9 MB then, as phones' are."""

ROUNDS = 3


def make(photos: Path, folder: Path) -> list[Path]:
    """Enlarge photos of two classes to 12 megapixels, with noise as of a small sensor."""
    random = np.random.default_rng(0)
    grain = random.normal(0, GRAIN, (SIZE[1], SIZE[0], 1)).astype(np.float32)
    made = []
    for name in ("cat", "dog"):
        (folder / name).mkdir(parents=True)
        for number, file in enumerate(sorted((photos / name).rglob("*.jpg"))[: N_PHOTOS // 2]):
            large = Image.open(file).convert("RGB").resize(SIZE, Image.Resampling.BICUBIC)
            noisy = np.asarray(large, np.float32) + np.roll(grain, number * 7919)
            made.append(folder / name / f"{number:02}.jpg")
            Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(made[-1], quality=QUALITY)
    return made


def decoding_s(files: Sequence[Path], at_least_px: int) -> float:
    """Return the seconds in which libjpeg-turbo alone decodes the files, on as many threads as cores.

    Args:
        files: JPEGs.
        at_least_px: They are reduced as far as both sides stay so long; 0: not at all.
    """
    reduced = {"min_height": at_least_px, "min_width": at_least_px, "min_factor": 2} if at_least_px else {}

    def decode(file: Path) -> None:
        simplejpeg.decode_jpeg(file.read_bytes(), fastdct=True, **reduced)

    start = time.perf_counter()
    with ThreadPoolExecutor(core_count()) as pool:
        list(pool.map(decode, files))
    return time.perf_counter() - start


def reading_s(folder: Path, size_px: int) -> float:
    """Return the seconds in which all photos are checked and asked about by both backbones, once opened."""
    photos = listing.load(folder)
    engines = [
        engine.open_backbone(backbones.find(name), image_size_px=size_px, features="stages")
        for name in BACKBONES
    ]
    for one in engines:
        one(np.zeros((1, size_px, size_px, 3), np.uint8))  # compiles
    with tempfile.TemporaryDirectory() as name, Store(Progress(), Path(name) / "store") as store:
        extractors = [Extractor(one, str(number), "squash", store) for number, one in enumerate(engines)]
        start = time.perf_counter()
        onlookers = (Sweep(extractors), Thumbnails(store, len(photos), MAX_SPOTS))
        audit(photos, store=store, progress=Progress(), is_thorough=False, onlookers=onlookers)
        return time.perf_counter() - start


def compare(folder: Path, cache: Path, out: Path) -> tuple[float, Run]:
    """Compare both default backbones by features, as a user would; return the seconds of the command."""
    words = ["compare", str(folder), "--techniques", "features", "--out", str(out), "--quiet"]
    seconds, _, _ = measured.command(words, cache)
    return seconds, Run(out)


def main() -> None:
    """Measure all by turns, print and keep the figures."""
    photos = measured.photos_folder(__doc__) / "animals"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = make(photos, folder / "photos")
        turns: list[dict[str, float]] = []
        for number in range(ROUNDS):
            cache = folder / f"cache {number}"
            measured.link_weights(cache)
            whole_s, run = compare(folder / "photos", cache, folder / f"run {number}")
            results = run.results()
            size_px = max(one.training.image_size_px for one in results.candidates)
            turns.append(
                {
                    "command": whole_s,
                    "run": results.seconds,
                    "reading": reading_s(folder / "photos", size_px),
                    "full_size": decoding_s(files, 0),
                    "reduced": decoding_s(files, 2 * size_px),
                }
            )
        n_bytes = statistics.mean(file.stat().st_size for file in files)
    rates = {title: len(files) / statistics.median(turn[title] for turn in turns) for title in turns[0]}
    figures: dict[str, Any] = {
        "n_photos": len(files),
        "mean_mb": n_bytes / 1e6,
        "image_size_px": size_px,
        "seconds": turns,
        "photos_per_s": rates,
        "parts": {
            f"{title} of {decoding}": rates[title] / rates[decoding]
            for title in ("run", "reading")
            for decoding in ("full_size", "reduced")
        },
    }
    measured.keep("phone_photos", figures)


if __name__ == "__main__":
    main()
