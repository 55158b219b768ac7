"""What `compare` says that it will cost, against what it did cost, from an empty cache.

python benchmarks/forecasts.py ../shared/data
"""

import json
import tempfile
from pathlib import Path

import measured


def main() -> None:
    """Run the default comparison on animals and on sample:textile; print and keep the figures."""
    animals = measured.photos_folder(__doc__) / "animals"
    figures = {}
    for name, data in (("animals", str(animals)), ("textile", "sample:textile")):
        with tempfile.TemporaryDirectory() as folder:
            cache = Path(folder) / "cache"
            measured.link_weights(cache)
            seconds, _, text = measured.command(
                ["compare", data, "--out", str(Path(folder) / "run"), "--json"], cache
            )
            results = json.loads(text)
        said = results["forecast"]
        figures[name] = {
            "forecast_seconds": said["seconds"],
            "actual_seconds": said["actual_seconds"],
            "seconds_with_start": seconds,
            "off": said["seconds"] / said["actual_seconds"] - 1,
            "forecast_memory_mb": said["memory_mb"],
            "actual_memory_mb": said["actual_memory_mb"],
            "stages": said["stages"],
            "candidates": [
                {
                    "backbone": one["backbone"],
                    "technique": one["technique"],
                    "validation_accuracy": one["validation"]["accuracy"],
                    "test_accuracy": one["test"]["accuracy"],
                    "operations": one["training"]["operations"],
                    "seconds": one["seconds"],
                }
                for one in results["candidates"]
            ],
        }
    measured.keep("forecasts", figures)


if __name__ == "__main__":
    main()
