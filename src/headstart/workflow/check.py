"""What an audit found, in words and as CSV files to act on; no photo is changed, moved or deleted."""

import dataclasses
import itertools
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Unpack

import numpy as np

from headstart.base import records
from headstart.base.errors import DataError
from headstart.base.progress import Progress
from headstart.base.settings import FEATURES, FITS, Reading
from headstart.networks import backbones, engine, weights
from headstart.networks.features import Extractor, keys_of
from headstart.networks.table import Backbone
from headstart.networks.vectors import Vectors
from headstart.photos import duplicates, findings, variants
from headstart.photos.audit import Audit, audit
from headstart.photos.findings import KINDS, Finding
from headstart.photos.groups import linked, members, merged, near_groups, numbered
from headstart.photos.splits import PARTS
from headstart.pictures import pixels
from headstart.sources import listing, places
from headstart.sources.dataset import Dataset
from headstart.storage.store import Store
from headstart.workflow.techniques import picture_size

FIXES = {"list": "findings.csv", "quarantine": "kept.csv", "group": "groups.csv"}
"""What can be done about findings, and the file that it writes."""

SHOWN = 5
"""Findings of a kind that are printed at most."""

Row = tuple[object, ...]
Table = tuple[Sequence[str], Sequence[Row]]
"""Header and rows."""


@dataclass(frozen=True)
class Report:
    """What was found of some photos.

    Attributes:
        n_images: Photos that can be read.
        n_unreadable: Those that cannot.
        findings: Gravest first.
        layout: How the folders were read, as in "5 class folders".
    """

    data: str
    n_images: int
    n_unreadable: int
    class_names: tuple[str, ...]
    findings: tuple[Finding, ...]
    layout: str = ""


def look(data: str, *, progress: Progress | None = None, **reading: Unpack[Reading]) -> Audit:
    """Audit photos thoroughly, and look for photos that are alike in features from an earlier run.

    Those are sought here alone, and not in `audit`, by which `compare` divides the photos: a split must not
    depend on what the cache happens to hold.

    Args:
        data: Folder of photos, or a CSV, TSV or Parquet file; s3:// or gs://; or sample:NAME.
        progress: Where to tell how far it is.
        reading: How the photos are listed, as for `headstart.sources.listing.load`.

    Raises:
        DataError: The photos are not there, or not listed as they should be.
        SettingsError: `group_by` is no regular expression.
    """
    progress = progress or Progress()
    source = places.resolve(data, progress).expanduser()
    listed = listing.load(source, **reading, progress=progress)
    with Store(progress) as store:
        return _with_lookalikes(audit(listed, store=store, progress=progress), store)


def _with_lookalikes(found: Audit, store: Store) -> Audit:
    """Return the audit with lookalikes told of and in one group, where the features of all are kept."""
    kept = next(_kept_features(found, store), None)
    if kept is None:
        return found
    backbone, vectors = kept
    photos = found.dataset
    different = np.sort(np.unique(found.digests, return_index=True)[1])
    vectors, labels = vectors.of(different), photos.labels[different]
    groups = told_groups = found.groups
    told: list[Finding] = []
    altered = variants.find(vectors, labels, groups[different])
    if altered:
        paths = [photos.paths[index] for index in different]
        told.append(findings.variants(paths, labels, photos.class_names, altered, backbone))
        told_groups = merged(groups, linked(len(photos), different[altered.pairs]))
        groups = merged(groups, near_groups(photos, groups, different[altered.pairs])[0])
    pairs = different[duplicates.find_by_features(vectors[:])]
    late, early = told_groups[pairs].T
    alike = linked(len(photos), pairs[late != early])
    told += findings.lookalikes(photos, alike, backbone)
    return dataclasses.replace(
        found, groups=merged(groups, alike), findings=findings.in_order((*found.findings, *told))
    )


def _kept_features(found: Audit, store: Store) -> Iterator[tuple[str, Vectors]]:
    """Yield backbones with their last layer's means of all photos, (N, D), that need not be computed."""
    files = [found.dataset.file(index) for index in range(len(found.dataset))]
    for row in map(backbones.find, duplicates.JUDGES):
        for (size_px, kind), fit in itertools.product(_ways(row, files), FITS):
            key = engine.backbone_key(row, size_px, "openvino", None, kind)
            if _is_kept(store, keys_of(key, size_px, fit, found.digests)):
                frozen = engine.open_backbone(row, image_size_px=size_px, features=kind, asked="openvino")
                extractor = Extractor(frozen, key, fit, store)
                features = extractor.features(files, found.digests, "", Progress())
                yield row.name, features.last(row.feature_size)


def _ways(row: Backbone, files: Sequence[Path]) -> list[tuple[int, str]]:
    """Return the sizes of picture and the kinds of features that a run may have taken without being told to.

    Of a backbone whose weights are not here it has taken none.
    """
    if not weights.is_here(row, None):
        return []
    side = picture_size.own_side(row, pixels.common_side(files))
    sizes_px = picture_size.candidates(row, pixels.header_sizes(files), side)
    return list(itertools.product(sizes_px, FEATURES))


def _is_kept(store: Store, keys: list[bytes]) -> bool:
    # Of most ways there is nothing, which one photo tells.
    return not store.missing(keys[:1]) and not store.missing(keys)


def report(data: str, found: Audit) -> Report:
    """Return what an audit found, without the photos."""
    photos = found.dataset
    return Report(data, len(photos), len(found.quarantine), photos.class_names, found.findings, photos.layout)


def render(told: Report) -> str:
    """Return findings in words, kind by kind, at most `SHOWN` of each."""
    photos = f"{told.n_images:,} photos of {len(told.class_names):,} classes"
    lines = [f"Read as: {told.layout}"] if told.layout else []
    lines += [f"{photos}, and {told.n_unreadable:,} unreadable" if told.n_unreadable else photos]
    for kind, title in KINDS.items():
        same = [one for one in told.findings if one.kind == kind]
        if same:
            lines += ["", f"{title}: {len(same):,}", *_lines(same)]
    if not told.findings:
        lines += ["", "Nothing was found amiss."]
    return "\n".join(lines) + "\n"


def _lines(same: Sequence[Finding]) -> Iterator[str]:
    yield from (f"  {one.detail}" for one in same[:SHOWN])
    if len(same) > SHOWN:
        yield f"  … and {len(same) - SHOWN:,} more: --json or --fix list shows them."
    yield from (f"  → {advice}" for advice in dict.fromkeys(one.advice for one in same))


def write(fix: str, folder: Path, found: Audit) -> Path:
    """Write one of `FIXES` into a folder, which is made where it is missing, and return the file.

    list: each photo of each finding, with what to do. quarantine: the photos that can be used as they are,
    without those in two classes and all but one of exact copies (the one in test stays, else in
    validation); near-duplicates stay. group: all readable photos, with a column that says which belong
    together. The last two are tables that `headstart compare` reads, their paths absolute.

    Raises:
        DataError: A file of that name is there.
        DiskFull: No space is left.
    """
    path = folder / FIXES[fix]
    if os.path.lexists(path):
        raise DataError(f"{path} is there already.", "Name another folder with --out, or remove the file.")
    header, rows = {"list": _listed, "quarantine": _kept, "group": _grouped}[fix](found)
    records.write_csv(path, header, rows)
    return path


def _listed(found: Audit) -> Table:
    rows: list[Row] = [
        (one.kind, path, number, one.detail, one.advice)
        for number, one in enumerate(found.findings, start=1)
        for path in one.paths or ("",)
    ]
    return ("kind", "path", "finding", "detail", "advice"), rows


def _kept(found: Audit) -> Table:
    kept = []
    for copies in members(numbered(found.digests)):
        if len({int(found.dataset.labels[index]) for index in copies}) == 1:
            kept.append(min(copies, key=lambda index: _last_part_first(found.dataset.given_parts[index])))
    return _table(found.dataset, sorted(kept), {})


def _last_part_first(part: str) -> int:
    return -PARTS.index(part) if part else 0


def _grouped(found: Audit) -> Table:
    return _table(found.dataset, range(len(found.dataset)), {"group": found.groups.tolist()})


def _table(photos: Dataset, indices: Sequence[int], more: dict[str, list[int]]) -> Table:
    """Return header and rows of a table that `headstart.sources.listing.load` reads."""
    columns: dict[str, Sequence[object]] = {
        "path": [photos.file(index) for index in range(len(photos))],
        "label": [photos.class_names[label] for label in photos.labels],
    }
    if any(photos.given_parts):
        columns["split"] = photos.given_parts
    columns.update(more)
    return tuple(columns), [tuple(column[index] for column in columns.values()) for index in indices]
