"""What is recommended, beside the best on validation, and what both come to on test: three sets, three seeds.

python benchmarks/decisions.py ../shared/data
"""

import json
import tempfile
from pathlib import Path
from typing import Any

import measured

SEEDS = (0, 1, 2)


def decided(data: str, seed: int, folder: Path) -> dict[str, Any]:
    """Run the default comparison; return the decision and the accuracies of all candidates."""
    words = ["compare", data, "--seed", str(seed), "--no-report", "--out", str(folder), "--json", "--quiet"]
    seconds, _, text = measured.command(words, measured.cache_dir())
    results = json.loads(text)
    recommended = results["recommended"]
    candidates = {f"{one['backbone']}/{one['technique']}": one for one in results["candidates"]}
    name, best = f"{recommended['backbone']}/{recommended['technique']}", recommended["best_on_validation"]
    return {
        "recommended": name,
        "best_on_validation": best,
        "test_accuracy": candidates[name]["test"]["accuracy"],
        "test_accuracy_of_best": candidates[best]["test"]["accuracy"],
        "alternatives": recommended["alternatives"],
        "verdict": results["verdict"][:4],
        "worth": results["worth"],
        "candidates": {
            each: {
                "validation": one["validation"]["accuracy"],
                "test": one["test"]["accuracy"],
                "log_loss": one["test"]["log_loss"],
                "latency_ms": one["latency_ms"],
            }
            for each, one in candidates.items()
        },
        "forecast_seconds": results["forecast"]["seconds"],
        "actual_seconds": results["forecast"]["actual_seconds"],
        "seconds_with_start": seconds,
    }


def main() -> None:
    """Measure all, print and keep the figures."""
    photos = measured.photos_folder(__doc__)
    sets = {"textile": "sample:textile", **{one: str(photos / one) for one in ("clothing", "animals")}}
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, data in sets.items():
            figures[name] = []
            for seed in SEEDS:
                figures[name].append(decided(data, seed, Path(folder) / f"{name} {seed}"))
                print(name, seed, json.dumps(figures[name][-1]), flush=True)
    measured.keep("decisions", {"seeds": SEEDS, "sets": figures})


if __name__ == "__main__":
    main()
