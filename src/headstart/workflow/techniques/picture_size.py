"""The size of the pictures that backbones are fed: tried on some of the photos to train on."""

import dataclasses
import hashlib
import math
import shutil
import time
import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from headstart.base import records
from headstart.base.arrays import Floats, Integers, Labels
from headstart.base.errors import UnreadableImage
from headstart.base.progress import Progress
from headstart.base.settings import AUTO
from headstart.base.words import in_a_list
from headstart.networks import engine
from headstart.networks.features import Extractor
from headstart.networks.sweep import AT_ONCE, Squares
from headstart.networks.table import Backbone
from headstart.networks.vectors import Vectors, halved
from headstart.photos import audit as audits
from headstart.photos import splits
from headstart.photos.audit import Onlooker
from headstart.photos.groups import by_key
from headstart.pictures import pixels
from headstart.results.comparison import SizeTried
from headstart.sources.dataset import Dataset
from headstart.statistics import metrics
from headstart.storage.store import Kind
from headstart.training.ridge import Ridge
from headstart.workflow.techniques.bench import Bench, Opened, open_backbone, thumbnails_of

KIND: Kind = "heads"
"""What the sizes that were tried are called in the store."""

VERSION = 2
"""Goes up when another size comes of the same photos."""

LADDER = (224, 288, 384)
"""Sides in pixels that are tried, from that on which the backbone itself was trained with."""

LARGEST_OWN_PX = 300
"""A backbone that was trained with larger pictures is fed those."""

ENLARGED = 1.5
"""No picture is made larger than so many times the photos' shorter side, by the median: enlarging adds no
detail, though a network may see small detail better for it."""

OWN_SIDE = (0.75, 512)
"""Where all photos are squares of one size, that is tried too: from this part of the backbone's own on, and
up to so many pixels."""

SQUARES = "squares"
"""Folder of what the sample was decoded to, in the work folder."""

NEAR = 1.25
"""Up to so many times the backbone's size such squares take the place of it. They come from a camera or a
scanner that is set up for it, and resizing them by a few per cent blurs every detail of a pixel or two."""

LEAST_GAIN, SURE = 0.03, 3.0
"""What log loss must fall by, in nats: less is not worth the time that a larger picture takes. One wrong
answer of a hundred put right gives about so much. And of how many standard errors it is believed at once: a
few hard photos make most of the loss, so that one error is soon there by chance."""

SMALL_STEP = 1.2
"""A size that is less than so many times the one before, and no better, does not end the search."""

MOST, PART, ENOUGH, FEWEST, LEAST = 300, 10, 100, 40, 3
"""Photos of the sample: a tenth of all, at least 100 and at most 300, as far as what may be pinned to the
train part allows; from fewer than 40 nothing is chosen. Of a class at least 3.

By features of mobilenet_v2 samples of 300, drawn six times, choose 250 rather than 224 pixels six times on
sample:textile (left-out log loss of 1,200 photos 0.12 and 0.36); 224 rather than 288 five times on clothing
(0.42 and 0.41), six times on flowers (0.25 and 0.23) and on animals (0.03 and 0.03). Samples of 100 do so
five, six, five and five times."""


@dataclass(frozen=True, eq=False)
class PictureSize:
    """How large the pictures are that the backbones of a run are fed.

    Attributes:
        size_px: The side of all; None: each backbone's own.
        is_exact: Whether it holds for every backbone, since it was asked for or is the photos' own; else for
            those that were trained with pictures of at most this size.
        tried: What was tried, smallest first.
        sample: Paths of the photos that it was tried on, which must not be test photos.
        opened: Backbones that were opened for it, by side in pixels.
        squares: Those photos as squares of that side.
    """

    size_px: int | None
    is_exact: bool = False
    tried: tuple[SizeTried, ...] = ()
    sample: tuple[str, ...] = ()
    opened: dict[int, Opened] = field(default_factory=dict)
    squares: Sequence[Squares] = ()

    def of(self, row: Backbone) -> int:
        """Return the side in pixels that one backbone is fed.

        Example:
            >>> from headstart.networks import backbones
            >>> [PictureSize(288).of(backbones.find(name)) for name in ("mobilenet_v2", "xception")]
            [288, 299]
        """
        if self.size_px is None:
            return row.input_size_px
        return self.size_px if self.is_exact else max(self.size_px, row.input_size_px)


def choose(photos: Dataset, rows: Sequence[Backbone], bench: Bench) -> PictureSize:
    """Return the size that was asked for, or the one that some photos speak for.

    It is tried on the smallest of the backbones that were trained with pictures of up to `LARGEST_OWN_PX`,
    walking upward: the next size is taken while its left-out log loss is better than that of the one before
    by more than the standard error of their difference, photo by photo, and by `LEAST_GAIN`. What speaks for
    a larger size by less than `SURE` standard errors is asked of twice as many photos before a still larger
    one is tried, and so are all after it.

    Args:
        photos: As they are listed; none of them was read.
        rows: The backbones of the run.
        bench: What is worked with.
    """
    asked = bench.settings.image_size
    if asked != AUTO:
        return PictureSize(asked, is_exact=True)
    fitting = [row for row in rows if row.input_size_px <= LARGEST_OWN_PX]
    if not fitting:
        return PictureSize(None)
    row = min(fitting, key=lambda one: one.parameters)
    files = [photos.file(index) for index in range(len(photos))]
    side = own_side(row, pixels.common_side(files))
    sizes = candidates(row, pixels.header_sizes(files), side)
    settings = bench.settings
    chosen = draw(photos, most=splits.pinnable(settings.validation, settings.test), seed=settings.seed)
    if len(sizes) == 1 or len(chosen[0]) < FEWEST:
        return untried(row, side)
    return _Search(photos, chosen, row, sizes, side, bench).result()


def untried(row: Backbone, side: int | None) -> PictureSize:
    """Return the size where none can be tried: the photos' own if it is near the backbone's, or else that."""
    is_near = side is not None and side <= NEAR * row.input_size_px
    return PictureSize(side if is_near else None, is_exact=is_near)


def own_side(row: Backbone, side: int | None) -> int | None:
    """Return the side of photos that are all squares of one size, if it is one to be fed."""
    least, most = OWN_SIDE
    return side if side is not None and least * row.input_size_px <= side <= most else None


def candidates(row: Backbone, sizes: Sequence[tuple[int, int]], side: int | None) -> list[int]:
    """Return the sides in pixels to try, ascending.

    Args:
        row: The backbone that they are tried on. The least is its own size, or the photos' near it.
        sizes: Width and height of some photos.
        side: That of photos that are all squares of one size; None of others.

    Example:
        >>> from headstart.networks import backbones
        >>> row = backbones.find("mobilenet_v2")
        >>> candidates(row, [(640, 480)] * 3, None), candidates(row, [(250, 250)] * 3, 250)
        ([224, 288, 384], [250, 288])
    """
    own = untried(row, side).of(row)
    shorter = float(np.median([min(size) for size in sizes])) if sizes else 0.0
    larger = [size_px for size_px in LADDER if own < size_px <= ENLARGED * shorter]
    return sorted({own, *larger, *([side] if side else [])})


def draw(photos: Dataset, *, most: float, seed: int) -> tuple[list[int], list[int]]:
    """Return some photos to try sizes on, and as many others, ascending; none of a given other part.

    Of each class there are photos in proportion; where classes are so many that they would have less than
    `LEAST` each, some of the classes have so many. Of a group that is kept together one photo is drawn; of no
    class more are in groups with them than may be pinned to the train part. Which are drawn depends on the
    paths, not on their order.

    Args:
        photos: N photos.
        most: The part of a class that may be pinned.
        seed: Of NumPy's default generator.
    """
    groups = by_key(photos.group_keys) if photos.group_keys else np.arange(len(photos))
    is_free = np.isin(np.array(photos.given_parts), ("", "train"))
    is_free &= ~np.isin(groups, groups[~is_free])
    sizes, taken, first, more = Counter(groups.tolist()), set[int](), list[int](), list[int]()
    quotas = _quotas(np.bincount(photos.labels[is_free], minlength=len(photos.class_names)), seed)
    for label, name in enumerate(photos.class_names):
        of_class = np.flatnonzero(is_free & (photos.labels == label)).tolist()
        own = sorted(of_class, key=photos.paths.__getitem__)
        random = np.random.default_rng([seed % 2**64, zlib.crc32(name.encode()), 1])
        room, drawn = math.floor(most * len(own) + 1e-9), list[int]()
        for index in (own[number] for number in random.permutation(len(own))):
            group = int(groups[index])
            if len(drawn) < 2 * quotas[label] and group not in taken and sizes[group] <= room:
                taken.add(group)
                drawn.append(index)
                room -= sizes[group]
        first += drawn[: quotas[label]]
        more += drawn[quotas[label] :]
    return sorted(first), sorted(more)


def _quotas(counts: Integers, seed: int) -> list[int]:
    """Return how many photos of each class to draw, for the numbers that there are."""
    n_wanted = min(MOST, max(int(counts.sum()) // PART, ENOUGH))
    shares = counts * (n_wanted / max(1, counts.sum()))
    if LEAST * np.count_nonzero(counts) <= n_wanted:
        return [max(LEAST, round(share)) for share in shares]
    drawn = np.random.default_rng([seed % 2**64, 2]).permutation(np.flatnonzero(counts))
    return [LEAST if label in drawn[: n_wanted // LEAST] else 0 for label in range(len(counts))]


@dataclass(frozen=True)
class _Outcome:
    """What was tried, and on how many of the samples."""

    tried: tuple[SizeTried, ...]
    n_samples: int


@dataclass(eq=False)
class _Sample:
    """Photos that can be read, each once, with their digests, and as squares of some sizes.

    Attributes:
        photos: N.
        digests: N.
        squares: By side in pixels.
    """

    photos: Dataset
    digests: list[str]
    squares: dict[int, Squares]


class _Search:
    """The walk from size to size on some photos.

    Args:
        photos: All photos.
        chosen: Which of them sizes are tried on, and others in case of doubt.
        row: The backbone that sizes are tried on.
        sizes: Sides in pixels, ascending.
        side: That of photos that are all squares of one size; None of others.
        bench: What is worked with.
    """

    def __init__(
        self,
        photos: Dataset,
        chosen: Sequence[Sequence[int]],
        row: Backbone,
        sizes: Sequence[int],
        side: int | None,
        bench: Bench,
    ) -> None:
        self._listed, self._n_photos = [photos.take(some) for some in chosen], len(photos)
        self._row, self._sizes, self._side, self._bench = row, sizes, side, bench
        self._opened: dict[int, Opened] = {}
        self._samples: list[_Sample] = []

    def result(self) -> PictureSize:
        """Return the size; what was tried before on the same photos is taken from the store."""
        store, key = self._bench.store, self._key()
        kept = store.get([key])
        found = records.from_bytes(kept[key], _Outcome) if kept else self._outcome()
        store.put([] if kept else [(key, records.to_bytes(found))], KIND)
        if not found.tried:
            return untried(self._row, self._side)
        self._bench.progress.remark(_said(found.tried))
        chosen = next(one.image_size_px for one in found.tried if one.is_chosen)
        return PictureSize(
            chosen,
            is_exact=chosen == self._side,
            tried=found.tried,
            sample=tuple(path for listed in self._listed[: found.n_samples] for path in listed.paths),
            opened={size_px: one for size_px, one in self._opened.items() if size_px == chosen},
            squares=[one.squares[chosen] for one in self._samples if chosen in one.squares],
        )

    def _key(self) -> bytes:
        """Return what decides the outcome: the photos' bytes and labels, and the backbone at each size."""
        settings, kind = self._bench.settings, engine.choose(self._bench.settings.engine)
        files = [listed.file(index) for listed in self._listed for index in range(len(listed))]
        told = (
            VERSION,
            list(pixels.map_in_order(_digest, files)),
            [listed.labels.tolist() for listed in self._listed],
            settings.fit,
            [
                engine.backbone_key(self._row, size_px, kind, settings.weights_folder, settings.features)
                for size_px in self._sizes
            ],
        )
        return hashlib.sha256(repr(told).encode()).digest()

    def _outcome(self) -> _Outcome:
        """Walk on the first sample, and where that leaves a doubt, again on both."""
        tried = self._walk()
        if tried and _is_doubtful(tried[-1]) and self._has_more:
            tried = self._walk()
        return _Outcome(tried, len(self._samples))

    @property
    def _has_more(self) -> bool:
        return len(self._samples) < len(self._listed) and len(self._listed[len(self._samples)]) > 0

    def _walk(self) -> tuple[SizeTried, ...]:
        """Try sizes upward on one sample more than before; none where too few photos can be read.

        A doubt ends it where there are more photos to ask: a larger size costs more than they do.
        """
        self._samples.append(self._read(self._listed[len(self._samples)], self._sizes[:2]))
        labels = np.concatenate([one.photos.labels for one in self._samples])
        if len(labels) < FEWEST or len(np.unique(labels)) < 2:
            return ()
        tried, chosen, least = list[SizeTried](), 0, np.empty(0)
        for size_px in self._sizes:
            start = time.perf_counter()
            probabilities = left_out(self._vectors(size_px), labels, len(self._listed[0].class_names))
            losses = metrics.losses(labels, probabilities)
            gains = least - losses if tried else np.zeros_like(losses)
            one = SizeTried(
                image_size_px=size_px,
                backbone=self._row.name,
                n_images=len(labels),
                accuracy=float((probabilities.argmax(axis=1) == labels).mean()),
                log_loss=float(losses.mean()),
                gain=float(gains.mean()),
                standard_error=float(gains.std(ddof=1) / math.sqrt(len(gains))),
                seconds=time.perf_counter() - start,
                is_chosen=False,
            )
            tried.append(one)
            if one.gain > _needed(one) or not chosen:
                chosen, least = size_px, losses
            elif size_px >= SMALL_STEP * chosen:
                break
            if _is_doubtful(one) and self._has_more:
                break
        return tuple(dataclasses.replace(one, is_chosen=one.image_size_px == chosen) for one in tried)

    def _read(self, listed: Dataset, sizes: Sequence[int]) -> _Sample:
        """Decode photos to squares of some sizes.

        What the audit keeps of them at these sizes spares it decoding them again.
        """
        bench, known = self._bench, {digest for one in self._samples for digest in one.digests}
        folder = bench.work / SQUARES / f"{len(self._samples)} {min(sizes)}"
        squares = Squares(folder, sizes, bench.settings.fit)
        onlookers: list[Onlooker[Any]] = [squares, *thumbnails_of(self._n_photos, bench)]
        found = audits.audit(
            listed, store=bench.store, progress=Progress(), is_thorough=False, onlookers=onlookers
        )
        different = np.sort(np.unique(found.digests, return_index=True)[1])
        chosen = [index for index in different.tolist() if found.digests[index] not in known]
        digests = [found.digests[index] for index in chosen]
        return _Sample(found.dataset.take(chosen), digests, dict.fromkeys(sizes, squares))

    def _vectors(self, size_px: int) -> Vectors:
        """Return the features of all samples, fed squares of a size."""
        if size_px not in self._opened:
            self._opened[size_px] = open_backbone(self._row, size_px, self._bench)
        opened, progress = self._opened[size_px], self._bench.progress
        for number, one in enumerate(self._samples):
            if size_px not in one.squares:
                one.squares |= self._read(self._listed[number], [size_px]).squares
            feed(opened, one.digests, one.squares[size_px], progress)
        files = [one.photos.file(index) for one in self._samples for index in range(len(one.photos))]
        digests = [digest for one in self._samples for digest in one.digests]
        return opened.extractor.features(files, digests, "", progress)


def _is_doubtful(tried: SizeTried) -> bool:
    return _needed(tried) < tried.gain < SURE * tried.standard_error


def _needed(tried: SizeTried) -> float:
    return max(tried.standard_error, LEAST_GAIN)


def feed(opened: Opened, digests: Sequence[str], squares: Squares, progress: Progress) -> None:
    """Compute the features of photos that lie there as squares, as far as they are not kept."""
    extractor, size_px = opened.extractor, opened.image_size_px
    assert isinstance(extractor, Extractor)
    lacking = extractor.lacking(digests)
    asked = [digest for digest in dict.fromkeys(digests) if digest in lacking and digest in squares]
    if not asked:
        return
    title = f"{opened.row.name} at {size_px} pixels, a sample"
    with progress.stage(title, len(asked)) as advance, opened.watch.stage("features"):
        found = extractor.engine.stream(squares.read(asked, size_px))
        for some in pixels.batches(zip(asked, found, strict=True), AT_ONCE):
            extractor.keep([digest for digest, _ in some], [halved(vector) for _, vector in some])
            advance(len(some))


def open_all(rows: Sequence[Backbone], size: PictureSize, bench: Bench) -> list[Opened]:
    """Return the backbones of a run, each opened for its size and asked about what was read to find that."""
    found = []
    for row in rows:
        tried = size.opened.get(size.of(row))
        opened = tried if tried and tried.row == row else open_backbone(row, size.of(row), bench)
        for squares in size.squares if opened.image_size_px == size.size_px else ():
            feed(opened, squares.digests, squares, bench.progress)
        found.append(opened)
    if size.squares:
        shutil.rmtree(bench.work / SQUARES, ignore_errors=True)
    return found


def left_out(vectors: Vectors, labels: Labels, n_classes: int) -> Floats:
    """Return what heads that have not seen a photo make of it, as probabilities, float32 (N, C)."""
    every, ones = np.arange(len(labels)), np.ones(len(labels), np.float32)
    return Ridge(vectors, labels, ones, n_classes).fit(every, every).left_out


def _digest(file: Path) -> str:
    """Return the SHA-256 of a file, or nothing where it cannot be read."""
    try:
        return hashlib.sha256(pixels.read_bytes(file)).hexdigest()
    except UnreadableImage:
        return ""


def _said(tried: Sequence[SizeTried]) -> str:
    chosen = next(one for one in tried if one.is_chosen)
    losses = in_a_list([f"{one.log_loss:.3f} at {one.image_size_px}" for one in tried])
    return (
        f"Pictures of {chosen.image_size_px} pixels a side: on {chosen.n_images:,} of the photos to train on "
        f"the log loss of {chosen.backbone} is {losses}."
    )
