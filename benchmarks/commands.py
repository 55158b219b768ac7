"""How long commands take from a cold start, and their memory: --help, and predict of one photo.

python benchmarks/commands.py ../shared/data
"""

import statistics
import tempfile
from pathlib import Path

import measured

RUNS = 9


def main() -> None:
    """Measure, print and keep the figures."""
    photos = measured.photos_folder(__doc__) / "animals"
    photo = sorted(photos.rglob("*.jpg"))[0]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        measured.link_weights(folder / "cache")
        words = ["compare", str(photos), "--techniques", "features", "--backbones", "mobilenet_v2", "--quiet"]
        measured.command([*words, "--out", str(folder / "run")], folder / "cache")
        figures = {}
        for title, command in {
            "help": ["--help"],
            "backbones": ["backbones"],
            "predict": ["predict", str(folder / "run"), str(photo)],
        }.items():
            runs = [measured.command(command, folder / "cache") for _ in range(RUNS)]
            figures[title] = {
                "seconds": statistics.median(run[0] for run in runs),
                "seconds_low": min(run[0] for run in runs),
                "seconds_high": max(run[0] for run in runs),
                "memory_mb": max(run[1] for run in runs),
            }
    measured.keep("commands", figures)


if __name__ == "__main__":
    main()
