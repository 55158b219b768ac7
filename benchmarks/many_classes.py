"""What a comparison by features of 9,000 photos of 102 classes is said to cost, and what it costs.

There is no such set at hand, so it is made: random parts of the photos there are, each class from one real
class with its hues turned by one angle.

python benchmarks/many_classes.py ../shared/data
"""

import json
import tempfile
from pathlib import Path

import measured
import numpy as np
from PIL import Image, ImageOps

N_CLASSES, N_PHOTOS, SIDE_PX = 102, 9000, 160


def altered(photo: Path, hue: int, random: np.random.Generator) -> Image.Image:
    """Return a random part of a photo, its hues turned by so many of 256 degrees."""
    with Image.open(photo) as opened:
        picture = ImageOps.exif_transpose(opened).convert("RGB")
    side = int(min(picture.size) * random.uniform(0.6, 0.95))
    left, top = (int(random.integers(0, length - side + 1)) for length in picture.size)
    part = picture.crop((left, top, left + side, top + side)).resize((SIDE_PX, SIDE_PX))
    channels = np.asarray(part.convert("HSV")).copy()
    channels[..., 0] += np.uint8(hue)
    return Image.fromarray(channels, "HSV").convert("RGB")


def make(photos: Path, folder: Path) -> None:
    """Write `N_PHOTOS` pictures of `N_CLASSES` classes into class folders."""
    random = np.random.default_rng(0)
    sources = sorted(
        one for name in ("animals", "flowers") for one in (photos / name).iterdir() if one.is_dir()
    )
    for number in range(N_CLASSES):
        turn, which = divmod(number, len(sources))
        source = sources[which]
        files = sorted(file for file in source.iterdir() if file.is_file())
        n_photos = N_PHOTOS // N_CLASSES + (number < N_PHOTOS % N_CLASSES)
        own = folder / f"{source.name}-{turn}"
        own.mkdir(parents=True)
        for index, chosen in enumerate(random.choice(len(files), n_photos, replace=n_photos > len(files))):
            altered(files[chosen], 37 * turn % 256, random).save(own / f"{index:04}.jpg", quality=90)


def main() -> None:
    """Make the photos, compare, print and keep the figures."""
    photos = measured.photos_folder(__doc__)
    with tempfile.TemporaryDirectory() as name:
        folder, cache = Path(name), Path(name) / "cache"
        make(photos, folder / "photos")
        measured.link_weights(cache)
        words = ["compare", str(folder / "photos"), "--techniques", "features", "--no-report"]
        seconds, megabytes, text = measured.command([*words, "--out", str(folder / "run"), "--json"], cache)
    results = json.loads(text)
    said = results["forecast"]
    figures = {
        "n_images": results["dataset"]["n_images"],
        "n_classes": len(results["dataset"]["class_names"]),
        "forecast_seconds": said["seconds"],
        "actual_seconds": said["actual_seconds"],
        "off": said["seconds"] / said["actual_seconds"] - 1,
        "stages": said["stages"],
        "seconds_with_start": seconds,
        "memory_mb": megabytes,
        "candidates": {
            one["backbone"]: {"test": one["test"]["accuracy"], "seconds": one["seconds"]}
            for one in results["candidates"]
        },
    }
    measured.keep("many_classes", figures)


if __name__ == "__main__":
    main()
