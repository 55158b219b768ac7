"""Small copies of the photos that a report shows, so that it is whole without them.

Chosen by what a reader wants to see: mistakes, doubtful labels, copies, then the rest of the map.
"""

import hashlib
import io
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from headstart.base.errors import ChangedPhoto, UnreadableImage
from headstart.base.progress import Progress
from headstart.pictures import pixels
from headstart.pictures.pixels import Pixels
from headstart.results.comparison import FindingSummary
from headstart.results.predictions import Predictions
from headstart.storage.store import Kind, Store

if TYPE_CHECKING:
    from PIL import Image


VERSION = 3
"""Goes up when another thumbnail comes of the same pixels."""

KIND: Kind = "reports"
"""What thumbnails are called in the store."""

LIKELY = 1.1
"""Thumbnails are made of so many times as many photos as are on the map, while photos are read."""

THUMBNAIL_PX, EXPLAINED_PX = 96, 192
"""Longest side of a thumbnail, and the side of a photo with a heat map."""

QUALITY, METHOD = 70, 2
"""Of WebP: a thumbnail then takes 1.3 KB (clothing), 1.7 KB (animals) or 2.7 KB (sample:textile), and SSIM is
0.93 to 0.97. Method 4, libwebp's own choice, takes twice as long for 4% fewer bytes and 0.002 of SSIM; 6, six
times."""

THUMBNAIL_BYTES, EXPLAINED_BYTES = 2_600_000, 400_000
"""4 MB in a page, for base64 makes 4 bytes of 3: 6 MB with up to 2 MB of its own. They hold about 1,500
thumbnails, and 24 photos with their heat maps even of sample:textile (380 kB)."""

SIDE_BY_SIDE = ("conflict", "leak", "near_duplicate", "duplicate")
"""Kinds of findings whose photos are to be compared, gravest first."""

GROUPS, IN_A_GROUP = 12, 6
"""How many such findings of a kind are shown, and how many photos of each."""

SUSPECTS, MISTAKES, IN_A_CELL, LEAST_SURE, OTHERS_MISTAKES = 60, 60, 12, 40, 20
"""How many photos are shown at most: doubtful labels; mistakes of the candidate, those in each cell of its
confusion matrix, those it is least sure of; mistakes of each other candidate."""

EXPLAINED = 12
"""Photos with a heat map, at most. Each takes 26 inferences: twice as many would cost as much as a network
takes for 624 photos."""


@dataclass(frozen=True)
class Picture:
    """A small copy of a photo.

    Attributes:
        path: As in predictions.csv.
        thumbnail: WebP, upright, its longest side `THUMBNAIL_PX`, or less if the photo is smaller.
    """

    path: str
    thumbnail: bytes


@dataclass(frozen=True)
class Explained:
    """A test photo, and where the classifier saw what it took it for.

    Attributes:
        path: As in predictions.csv.
        label: The class name it bears.
        predicted: The class that it was taken for, which the heat speaks for.
        confidence: Probability of that class.
        picture: The photo as the network saw it, WebP of `EXPLAINED_PX` a side.
        heat: That picture with the heat map laid over, in the same form.
    """

    path: str
    label: str
    predicted: str
    confidence: float
    picture: bytes
    heat: bytes


@dataclass(frozen=True)
class Spot:
    """Where a photo lies on the map.

    Attributes:
        path: As in predictions.csv.
        part: train, validation or test.
        label: The class name it bears.
        predicted: What the recommended candidate took it for; None unless it is a test photo.
        x: From 0, left, to 1.
        y: From 0, bottom, to 1.
    """

    path: str
    part: str
    label: str
    predicted: str | None
    x: float
    y: float


@dataclass(frozen=True)
class Gallery:
    """All the pictures that a report holds; gallery.json is this.

    Attributes:
        pictures: The most wanted first, each photo once.
        explained: Mistakes, then those it was least sure of, then those it got right.
        spots: The map, empty without one.
        projection: How the map was made, a sentence.
        backbone: Whose features the map shows.
        n_unreadable: Photos that were wanted and could not be read any more.
    """

    pictures: tuple[Picture, ...]
    explained: tuple[Explained, ...]
    spots: tuple[Spot, ...]
    projection: str
    backbone: str
    n_unreadable: int = 0


def thumbnail_key(digest: str) -> bytes:
    """Return what the thumbnail of a photo is kept under; `digest` is the SHA-256 of its bytes."""
    return hashlib.sha256(f"thumbnail {VERSION} {pixels.PIXELS_VERSION} {digest}".encode()).digest()


class Thumbnails:
    """An onlooker of `headstart.photos.audit.audit` that makes thumbnails of photos likely to be on the map.

    Those are the ones of the least digests. Mistakes and doubtful photos are not known before.

    Args:
        store: Where they are kept.
        n_photos: Photos there are.
        n_spots: Photos on the map at most.
    """

    title, decoded_px = "Making thumbnails", (2 * THUMBNAIL_PX,)

    def __init__(self, store: Store, n_photos: int, n_spots: int) -> None:
        self._store = store
        self._likely = LIKELY * n_spots / max(1, n_photos)

    def wanted(self, digests: Sequence[str]) -> list[str]:
        """Return which photos are likely and have no thumbnail."""
        likely = [one for one in dict.fromkeys(digests) if int(one[:8], 16) < self._likely * 16**8]
        return [likely[index] for index in self._store.missing([thumbnail_key(one) for one in likely])]

    def look(self, digest: str, picture: pixels.Picture) -> tuple[bytes, bytes]:
        """Return the key of a photo's thumbnail, and that."""
        return thumbnail_key(digest), thumbnail(picture.about(2 * THUMBNAIL_PX))

    def take(self, seen: Sequence[tuple[bytes, bytes]]) -> None:
        """Keep thumbnails."""
        self._store.put(seen, KIND)

    def end(self) -> None:
        """Nothing is left to be done."""


def wanted(
    findings: Iterable[FindingSummary] = (),
    suspects: Sequence[str] = (),
    chosen: Predictions | None = None,
    others: Iterable[Predictions] = (),
    spots: Iterable[str] = (),
) -> tuple[str, ...]:
    """Return the paths of the photos that a report shows, the most wanted first, none twice.

    Findings to be compared side by side; doubtful labels; mistakes of the chosen candidate, surest first,
    then of each cell of its confusion matrix; those it is least sure of; mistakes of the other candidates;
    those that it got right, of each class; the rest of the map. Of the cells, and of the classes, the first
    photo of each comes before the second of any, so that none is empty when there is not room for all.

    Args:
        findings: Gravest first.
        suspects: Paths of photos whose labels look wrong, worst first.
        chosen: What the recommended candidate answered on the test photos.
        others: What each of the other candidates answered on them.
        spots: Paths of the photos on the map.
    """
    shown = [*_compared(findings), *suspects[:SUSPECTS]]
    if chosen:
        shown += _paths(chosen, chosen.confident_mistakes(MISTAKES))
        shown += _paths(chosen, _by_cell(chosen, chosen.confident_mistakes(len(chosen.paths)), IN_A_CELL))
        shown += _paths(chosen, chosen.least_sure(LEAST_SURE))
    for other in others:
        shown += _paths(other, other.confident_mistakes(OTHERS_MISTAKES))
    if chosen:
        shown += _paths(chosen, _by_cell(chosen, chosen.confident_hits(len(chosen.paths)), IN_A_CELL))
    return tuple(dict.fromkeys(chain(shown, spots)))


def _compared(findings: Iterable[FindingSummary]) -> Iterator[str]:
    """Yield photos of findings in which several are to be compared."""
    n_shown: Counter[str] = Counter()
    for finding in findings:
        if finding.kind in SIDE_BY_SIDE and n_shown[finding.kind] < GROUPS:
            n_shown[finding.kind] += 1
            yield from finding.paths[:IN_A_GROUP]


def _paths(predictions: Predictions, rows: Iterable[int]) -> list[str]:
    return [predictions.paths[row] for row in rows]


def _by_cell(predictions: Predictions, rows: Iterable[int], most: int) -> list[int]:
    labels, predicted = predictions.labels.tolist(), predictions.predicted.tolist()
    return _in_turn(rows, lambda row: (labels[row], predicted[row]), most)


def _in_turn(rows: Iterable[int], kind: Callable[[int], Hashable], most: int) -> list[int]:
    """Return the first row of each kind, then the second of each, and so on up to `most` of a kind.

    Example:
        >>> _in_turn([10, 20, 31, 12, 41], lambda row: row % 10, most=2)
        [10, 31, 12, 20, 41]
    """
    turns: list[list[int]] = [[] for _ in range(most)]
    n_seen: Counter[Hashable] = Counter()
    for row in rows:
        turn = n_seen[kind(row)]
        n_seen[kind(row)] += 1
        if turn < most:
            turns[turn].append(row)
    return list(chain.from_iterable(turns))


def to_explain(predictions: Predictions, limit: int = EXPLAINED) -> list[int]:
    """Return the rows of test photos to draw heat maps for, at most `limit` and none twice.

    A third are mistakes, surest first, a third those it is least sure of, and a third those it got right,
    surest first; where one runs out, the others have more. Of the mistakes and of those it got right the
    classes have one each before any has a second.
    """
    n, labels = len(predictions.paths), predictions.labels.tolist()
    thirds = [
        iter(_in_turn(predictions.confident_mistakes(n), labels.__getitem__, limit)),
        iter(predictions.least_sure(n)),
        iter(_in_turn(predictions.confident_hits(n), labels.__getitem__, limit)),
    ]
    chosen: list[list[int]] = [[] for _ in thirds]
    taken: set[int] = set()
    while len(taken) < min(limit, n):
        for third, rows in zip(chosen, thirds, strict=True):
            row = next((row for row in rows if row not in taken), None)
            if row is not None and len(taken) < limit:
                third.append(row)
                taken.add(row)
    return list(chain.from_iterable(chosen))


def explain(predictions: Predictions, row: int, picture: Pixels, heat: Pixels) -> Explained:
    """Return a test photo with its heat map, as a report shows it.

    Args:
        predictions: The answers of the classifier that is explained.
        row: The place of the photo among these answers.
        picture: uint8 RGB (S, S, 3), as the classifier was fed it.
        heat: uint8 RGB (S, S, 3), the same with the heat map laid over.
    """
    names = predictions.class_names
    return Explained(
        path=predictions.paths[row],
        label=names[predictions.labels[row]],
        predicted=names[predictions.predicted[row]],
        confidence=float(predictions.confidence[row]),
        picture=_square(picture),
        heat=_square(heat),
    )


def place(
    paths: Sequence[str],
    parts: Sequence[str],
    labels: Sequence[str],
    positions: NDArray[np.floating],
    chosen: Predictions,
) -> tuple[Spot, ...]:
    """Return the spots of a map.

    Args:
        paths: N photos.
        parts: N times train, validation or test.
        labels: N class names.
        positions: (N, 2) in [0, 1]; kept to 4 decimals.
        chosen: What the recommended candidate answered on the test photos.
    """
    predicted = (chosen.class_names[label] for label in chosen.predicted.tolist())
    answers: Mapping[str, str] = dict(zip(chosen.paths, predicted, strict=True))
    return tuple(
        Spot(path, part, label, answers.get(path), round(x, 4), round(y, 4))
        for path, part, label, (x, y) in zip(paths, parts, labels, positions.tolist(), strict=True)
    )


def make(
    photos: Sequence[tuple[str, Path]],
    *,
    explained: Sequence[Explained] = (),
    spots: tuple[Spot, ...] = (),
    projection: str = "",
    backbone: str = "",
    kept: Mapping[str, bytes] | None = None,
    digests: Mapping[str, str] | None = None,
    thumbnail_bytes: int = THUMBNAIL_BYTES,
    explained_bytes: int = EXPLAINED_BYTES,
    progress: Progress | None = None,
) -> Gallery:
    """Return a gallery with thumbnails of as many photos as there is room for.

    Photos that cannot be read any more, since someone deleted them or is writing them, or that were changed,
    are left out and counted. Files are never modified.

    Args:
        photos: Paths as in predictions.csv with the files, the most wanted first.
        explained: Heat maps, the most wanted first.
        spots: The map.
        projection: How it was made, a sentence.
        backbone: Whose features it shows.
        kept: Thumbnails that were made before, by path.
        digests: The SHA-256 that the bytes of a photo must have, by path, where it is known.
        thumbnail_bytes: What all thumbnails may take; the first that does not fit ends it.
        explained_bytes: What all heat maps and their photos may take.
        progress: Where to tell how far it is.
    """
    found = list(_thumbnails(photos, kept or {}, digests or {}, thumbnail_bytes, progress or Progress()))
    pictures = [Picture(path, thumbnail) for path, thumbnail in found if thumbnail]
    return Gallery(
        pictures=tuple(pictures),
        explained=tuple(_fitting(explained, explained_bytes)),
        spots=spots,
        projection=projection,
        backbone=backbone,
        n_unreadable=len(found) - len(pictures),
    )


def _thumbnails(
    photos: Sequence[tuple[str, Path]],
    kept: Mapping[str, bytes],
    digests: Mapping[str, str],
    room_bytes: int,
    progress: Progress,
) -> Iterator[tuple[str, bytes | None]]:
    """Yield each photo with its thumbnail, None if it cannot be read, up to the first without room."""

    def small_of(photo: tuple[str, Path]) -> bytes | None:
        path, file = photo
        return kept.get(path) or _read_thumbnail(file, digests.get(path))

    with progress.stage("Drawing thumbnails", len(photos)) as advance:
        for (path, _), small in zip(photos, pixels.map_in_order(small_of, photos), strict=True):
            room_bytes -= len(small or b"")
            if room_bytes < 0:
                break
            yield path, small
            advance()


def _read_thumbnail(file: Path, digest: str | None) -> bytes | None:
    try:
        return thumbnail(pixels.decode(pixels.read_bytes(file, digest), at_least_px=2 * THUMBNAIL_PX))
    except (UnreadableImage, ChangedPhoto):
        return None


def thumbnail(image: Pixels) -> bytes:
    """Return a picture, uint8 RGB (H, W, 3), as WebP of the same shape, no side above `THUMBNAIL_PX`."""
    import cv2
    from PIL import Image

    scale = min(1.0, THUMBNAIL_PX / max(image.shape[:2]))
    height, width = (max(1, round(scale * side)) for side in image.shape[:2])
    small = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA) if scale < 1 else image
    return _webp(Image.fromarray(small))


def _square(image: Pixels) -> bytes:
    from PIL import Image

    return _webp(Image.fromarray(image).resize((EXPLAINED_PX, EXPLAINED_PX)))


def _webp(picture: "Image.Image") -> bytes:
    content = io.BytesIO()
    picture.save(content, "WEBP", quality=QUALITY, method=METHOD)
    return content.getvalue()


def _fitting(explained: Iterable[Explained], room_bytes: int) -> Iterator[Explained]:
    """Yield the first ones that there is room for."""
    for one in explained:
        room_bytes -= len(one.picture) + len(one.heat)
        if room_bytes < 0:
            return
        yield one
