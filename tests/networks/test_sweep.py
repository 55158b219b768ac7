"""Fed while photos are checked, backbones make of them what each makes alone, and none is decoded twice."""

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import made_photos
from PIL import Image

from headstart.base.progress import Progress
from headstart.networks import backbones, engine, sweep
from headstart.networks.engine import Engine
from headstart.networks.features import Extractor
from headstart.networks.sweep import Sweep
from headstart.photos.audit import Audit, audit
from headstart.pictures import pixels
from headstart.sources import listing
from headstart.storage.store import Store


@pytest.fixture(scope="module")
def engines() -> list[Engine]:
    row = backbones.find("tiny")
    return [engine.open_backbone(row, size_px) for size_px in (32, 40)]


@pytest.fixture
def extractors(engines: list[Engine], tmp_path: Path) -> Iterator[list[Extractor]]:
    with Store(Progress(), tmp_path / "store") as store:
        yield [Extractor(one, f"tiny {number}", "crop", store) for number, one in enumerate(engines)]


@pytest.fixture
def photos(photos: Path) -> Path:
    """The small photos, with large ones, a copy of one, one of another kind, and one that is damaged."""
    random = np.random.default_rng(0)
    for number in range(6):
        blotches = random.integers(0, 256, (9, 12, 3), dtype=np.uint8)
        large = Image.fromarray(blotches).resize(
            (int(random.integers(90, 900)), 410), Image.Resampling.BICUBIC
        )
        large.save(photos / "red" / f"large_{number}.jpg", quality=90)
    (photos / "green" / "copy.jpg").write_bytes((photos / "red" / "large_3.jpg").read_bytes())
    Image.fromarray(random.integers(0, 256, (70, 90, 4), dtype=np.uint8)).save(photos / "green" / "clear.png")
    damaged = (photos / "red" / "large_2.jpg").read_bytes()[:-300]
    (photos / "green" / "damaged.jpg").write_bytes(damaged)
    return photos


def run(photos: Path, extractors: list[Extractor]) -> Audit:
    store = extractors[0].store
    return audit(listing.load(photos), store=store, progress=Progress(), onlookers=[Sweep(extractors)])


def values(found: Audit, extractor: Extractor) -> np.ndarray:
    files = [found.dataset.file(index) for index in range(len(found.dataset))]
    return extractor.features(files, found.digests, "", Progress())[:]


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The SHA-256 of whatever is decoded."""
    contents: list[str] = []
    decode = pixels.decode

    def counted(content: bytes, **more: Any) -> pixels.Pixels:
        contents.append(hashlib.sha256(content).hexdigest())
        return decode(content, **more)

    monkeypatch.setattr(pixels, "decode", counted)
    return contents


@pytest.mark.parametrize("at_once", [3, 32])
def test_vectors_are_those_of_each_backbone_alone(
    at_once: int, photos: Path, extractors: list[Extractor], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweep, "AT_ONCE", at_once)
    found = run(photos, extractors)
    for one in extractors:
        assert one.n_missing(found.digests) == 0
        alone = replace(one, identity=f"{one.identity} alone")
        assert alone.n_missing(found.digests) == 47
        assert np.array_equal(values(found, one), values(found, alone))


def test_what_is_found_of_photos_does_not_depend_on_whether_features_were_lacking(
    photos: Path, extractors: list[Extractor], tmp_path: Path
) -> None:
    first = run(photos, extractors)
    again = run(photos, extractors)
    with Store(Progress(), tmp_path / "other") as other:
        kept = [replace(one, store=other) for one in extractors]
        for one in kept:  # features, but no checks
            values(first, one)
        fresh = run(photos, kept)
    for found in (again, fresh):
        assert found.digests == first.digests
        assert np.array_equal(found.groups, first.groups)
        assert found.findings == first.findings
        assert found.quarantine == first.quarantine
    assert [one.path for one in first.quarantine] == ["green/damaged.jpg"]


def test_each_photo_is_decoded_once_for_the_check_and_all_backbones(
    photos: Path, extractors: list[Extractor], decoded: list[str]
) -> None:
    found = run(photos, extractors)
    assert len(decoded) == len({*decoded}) == 48
    assert {*found.digests} < {*decoded}
    decoded.clear()
    run(photos, extractors)
    # What decoders refused is kept, too.
    assert decoded == []
    other = replace(extractors[1], identity="another backbone")
    run(photos, [extractors[0], other])
    assert sorted(decoded) == sorted({*found.digests})


def test_only_photos_whose_features_are_lacking_are_decoded_again(
    photos: Path, extractors: list[Extractor], decoded: list[str]
) -> None:
    run(photos, extractors)
    decoded.clear()
    new = photos / "red" / "new.png"
    Image.fromarray(made_photos(50)[0]).save(new)
    found = run(photos, extractors)
    assert decoded == [hashlib.sha256(new.read_bytes()).hexdigest()]
    assert extractors[0].n_missing(found.digests) == 0


def test_the_pace_counts_photos(photos: Path, extractors: list[Extractor]) -> None:
    onlooker = Sweep(extractors)
    dataset = listing.load(photos)
    audit(dataset, store=extractors[0].store, progress=Progress(), onlookers=[onlooker])
    pace = onlooker.pace
    assert (pace.n_read, pace.n_fed) == (49, (47, 47))
    assert pace.read_s > 0
    assert min(pace.fed_s) > 0


def test_a_backbone_that_fails_ends_it(
    photos: Path, extractors: list[Extractor], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise MemoryError("no room for the network")

    monkeypatch.setattr(engine.OpenVINOEngine, "outputs", fail)
    with pytest.raises(MemoryError, match="no room for the network"):
        run(photos, extractors)


def test_few_pictures_wait_however_slow_a_backbone_is(
    photos: Path, extractors: list[Extractor], monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(200):
        Image.new("RGB", (40, 40), (number % 256, number // 256, 7)).save(photos / "red" / f"{number}.png")
    made, taken, waiting = [0], [0], [0]
    look, feed = Sweep.look, Sweep._feed

    def looked(self: Sweep, digest: str, picture: pixels.Picture) -> sweep.Fed:
        made[0] += 1
        waiting[0] = max(waiting[0], made[0] - taken[0])
        return look(self, digest, picture)

    def fed(self: Sweep, photos: list[sweep.Fed]) -> None:
        feed(self, photos)
        taken[0] += len(photos)

    monkeypatch.setattr(Sweep, "look", looked)
    monkeypatch.setattr(Sweep, "_feed", fed)
    run(photos, extractors)
    assert taken[0] == 247
    assert waiting[0] <= pixels.LOOK_AHEAD + sweep.AT_ONCE + 8
