"""What the stages of a frozen network add to its last layer, and two networks to one: four sets of photos.

Both sides get the same pictures, at the same size, in the same parts; the test part is read once, at the end
of each run.

python benchmarks/features.py ../shared/data
"""

import json
import tempfile
from pathlib import Path
from typing import Any

import measured

from headstart.results import predictions
from headstart.statistics.significance import compare_all

KINDS = ("last", "stages")


def compared(data: str, kind: str, size_px: int | None, folder: Path) -> dict[str, Any]:
    """Run a comparison by features, by the networks' last layers or stages; return its results."""
    words = ["compare", data, "--techniques", "features", "--features", kind, "--no-report"]
    words += ["--out", str(folder), "--json", "--quiet"]
    words += ["--image-size", str(size_px)] if size_px else []
    seconds, _, text = measured.command(words, measured.cache_dir())
    results: dict[str, Any] = json.loads(text)
    return results | {"seconds_with_start": seconds}


def figures_of(results: dict[str, Any]) -> dict[str, Any]:
    """Return what each candidate came to."""
    return {
        one["backbone"]: {
            "validation": one["validation"]["accuracy"],
            "test": one["test"]["accuracy"],
            "log_loss": one["test"]["log_loss"],
            "calibration_error": one["test"]["reliability"]["ece"],
            "latency_ms": one["latency_ms"],
        }
        for one in results["candidates"]
    }


def gains(folders: dict[str, Path], results: dict[str, Any]) -> dict[str, Any]:
    """Return by how much stages are right more often than the last layer, with the paired interval."""
    class_names = results["dataset"]["class_names"]
    read = {kind: predictions.read(folder, class_names) for kind, folder in folders.items()}
    found = {}
    for name in read["last"]:
        right = {kind: read[kind][name].predicted == read[kind][name].labels for kind in KINDS}
        (one,) = compare_all(right, pairs=[("stages", "last")])
        found[name] = {
            "gain": one.difference,
            "low": one.interval.low,
            "high": one.interval.high,
            "n_images": one.n_images,
        }
    return found


def main() -> None:
    """Measure all, print and keep the figures."""
    photos = measured.photos_folder(__doc__)
    sets = {"textile": "sample:textile"}
    sets |= {one: str(photos / one) for one in ("clothing", "animals", "flowers")}
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, data in sets.items():
            folders = {kind: Path(folder) / f"{name} {kind}" for kind in KINDS}
            stages = compared(data, "stages", None, folders["stages"])
            size_px = stages["candidates"][0]["training"]["image_size_px"]
            last = compared(data, "last", size_px, folders["last"])
            figures[name] = {
                "image_size_px": size_px,
                "picture_size": stages["picture_size"],
                "n_test": stages["dataset"]["n_test"],
                "stages": figures_of(stages),
                "last": figures_of(last),
                "gains": gains(folders, stages),
                "recommended": stages["recommended"]["backbone"],
                "seconds": stages["seconds_with_start"],
            }
            print(name, json.dumps(figures[name]), flush=True)
    measured.keep("features", {"sets": figures})


if __name__ == "__main__":
    main()
