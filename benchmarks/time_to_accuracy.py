"""Seconds until an accuracy is reached on clothing: the article's recipe, fine-tuning, and features.

Everything from an empty cache, on the same photos in the same parts. The picture goes to docs/pictures.

python benchmarks/time_to_accuracy.py ../shared/data
"""

import json
import tempfile
from pathlib import Path
from typing import Any

import altair
import article
import measured

EPOCHS = 5
PICTURE = Path(__file__).parents[1] / "docs" / "pictures" / "time-to-accuracy.svg"


def ours(photos: Path, technique: str, folder: Path) -> dict[str, Any]:
    """Run one technique from an empty cache; return its results."""
    cache = folder / f"cache-{technique}"
    measured.link_weights(cache)
    words = ["compare", str(photos), "--techniques", technique, "--no-report", "--json"]
    seconds, _, text = measured.command([*words, "--out", str(folder / technique)], cache)
    found: dict[str, Any] = json.loads(text)
    return found | {"seconds_with_start": seconds}


def by_features(results: dict[str, Any]) -> list[dict[str, Any]]:
    """Return when each candidate of a comparison by features was there, all of it counted for the last."""
    return [
        {
            "name": f"{one['backbone']}, features",
            "seconds": results["seconds_with_start"]
            if "+" in one["backbone"]
            else sum(one["seconds"].values()),
            "validation": one["validation"]["accuracy"],
            "test": one["test"]["accuracy"],
        }
        for one in results["candidates"]
    ]


def by_passes(results: dict[str, Any]) -> list[dict[str, Any]]:
    """Return what each pass of fine-tuning came to, the passes taken to be equally long."""
    points = []
    for one in results["candidates"]:
        passes, seconds = one["training"]["history"], one["seconds"]
        before = sum(taken for stage, taken in seconds.items() if stage in ("prepare", "features", "probe"))
        rest = sum(seconds.values()) - before
        for each in passes:
            points.append(
                {
                    "name": f"{one['backbone']}, fine-tuning",
                    "seconds": before + rest * each["number"] / max(1, passes[-1]["number"]),
                    "validation": each["validation_accuracy"],
                    "test": one["test"]["accuracy"] if each is passes[-1] else None,
                }
            )
    return points


def by_epochs(name: str, found: dict[str, Any]) -> list[dict[str, Any]]:
    """Return what each epoch of the article's recipe came to."""
    *_, last = found["history"]
    return [
        {
            "name": f"{name}, the article's recipe",
            "seconds": seconds,
            "validation": accuracy,
            "test": found["test_accuracy"] if (seconds, accuracy) == tuple(last) else None,
        }
        for seconds, accuracy in found["history"]
    ]


def draw(points: list[dict[str, Any]]) -> None:
    """Write the picture: a line for each way, a point for each pass."""
    data = altair.Data(values=points)
    base = altair.Chart(data, width=620, height=340).encode(
        x=altair.X("seconds:Q", title="seconds from an empty cache", scale=altair.Scale(type="log")),
        y=altair.Y(
            "validation:Q",
            title="accuracy on validation",
            axis=altair.Axis(format="%"),
            scale=altair.Scale(zero=False),
        ),
        color=altair.Color("name:N", title=None, legend=altair.Legend(labelLimit=320)),
    )
    (base.mark_line(opacity=0.5) + base.mark_point(size=60, filled=True)).save(PICTURE)


def main() -> None:
    """Measure all, draw the picture, print and keep the figures."""
    photos = measured.photos_folder(__doc__) / "clothing"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        points = by_features(ours(photos, "features", folder))
        points += by_passes(ours(photos, "finetune", folder))
        parts = article.read_parts(folder / "features", photos)
        for backbone in article.EPOCHS:
            points += by_epochs(backbone, article.run_article(backbone, parts, EPOCHS))
    draw(points)
    measured.keep("time_to_accuracy", {"points": points})


if __name__ == "__main__":
    main()
