"""The photos that the page shows, each kept once, and what its script is told of them."""

import base64
from collections.abc import Iterable, Sequence
from typing import Any

from headstart.reporting.report import charts
from headstart.results.comparison import Candidate, FindingSummary, Results
from headstart.results.gallery import SIDE_BY_SIDE, Gallery, Spot
from headstart.results.predictions import Predictions

CELL = 24
"""Photos of a cell of the confusion matrix that are listed at most."""

Json = dict[str, Any]


class Photos:
    """Gives each photo of the page a number, by which its script finds path and thumbnail.

    Args:
        gallery: Where thumbnails come from; None without.
    """

    def __init__(self, gallery: Gallery | None) -> None:
        self.pictures = {one.path: one.thumbnail for one in gallery.pictures} if gallery else {}
        self.keys: dict[str, int] = {}

    def key(self, path: str) -> int:
        """Return the number of a photo, a new one when it is asked for the first time."""
        return self.keys.setdefault(path, len(self.keys))

    def has_thumbnail(self, path: str) -> bool:
        """Whether there is a small picture of a photo."""
        return path in self.pictures

    def thumbnails(self, room_bytes: int) -> dict[str, str]:
        """Return base64 WebP by the numbers of photos, in the gallery's order, as many as have room."""
        kept: dict[str, str] = {}
        for path, picture in self.pictures.items():
            if path in self.keys:
                key, written = str(self.keys[path]), base64.b64encode(picture).decode()
                room_bytes -= len(key) + len(written) + len('"":"",')
                if room_bytes < 0:
                    break
                kept[key] = written
        return kept


def cells(candidate: Candidate, predicted: Predictions | None, photos: Photos) -> list[Json]:
    """Return the cells of a confusion matrix that are not 0: row, column, count, photos and confidences.

    Confidences are in tenths of a percent.
    """
    if candidate.test is None:
        return []
    found = []
    for label, row in enumerate(candidate.test.confusion):
        for column, count in enumerate(row):
            if count:
                rows = predicted.cell(label, column, CELL) if predicted else []
                found.append({"i": label, "j": column, "n": count, **_listed(rows, predicted, photos)})
    return found


def _listed(rows: Sequence[int], predicted: Predictions | None, photos: Photos) -> Json:
    if predicted is None:
        return {"photos": [], "sure": []}
    return {
        "photos": [photos.key(predicted.paths[row]) for row in rows],
        "sure": [round(1000 * float(predicted.confidence[row])) for row in rows],
    }


def spots(gallery: Gallery, class_names: Sequence[str], photos: Photos) -> list[list[Any]]:
    """Return the map's rows: photo, across, up, label, prediction (-1 without one), part."""
    number = {name: position for position, name in enumerate(class_names)}
    return [
        [
            photos.key(one.path),
            round(one.x, 4),
            round(one.y, 4),
            number.get(one.label, -1),
            -1 if one.predicted is None else number.get(one.predicted, -1),
            one.part,
        ]
        for one in gallery.spots
    ]


def coloured(found: Iterable[Spot]) -> tuple[str, ...]:
    """Return the classes with a colour of their own: those with the most spots, then by name."""
    counts: dict[str, int] = {}
    for one in found:
        counts[one.label] = counts.get(one.label, 0) + 1
    most = sorted(counts, key=lambda name: (-counts[name], name))
    return tuple(sorted(most[: charts.COLOURS]))


def side_by_side(results: Results) -> dict[str, tuple[FindingSummary, ...]]:
    """Return the findings with photos to be compared, by kind, gravest first."""
    return {
        kind: found
        for kind in SIDE_BY_SIDE
        if (found := tuple(one for one in results.findings if one.kind == kind and len(one.paths) > 1))
    }
