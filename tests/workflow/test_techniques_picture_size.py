"""The size of pictures is chosen by photos to train on, and none of them is a test photo then."""

import csv
import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as checked
from hypothesis import strategies as st
from PIL import Image

import headstart
from headstart.base.progress import Progress
from headstart.base.settings import Settings
from headstart.networks import backbones
from headstart.networks.sweep import Squares
from headstart.photos import splits
from headstart.photos.audit import audit
from headstart.pictures import pixels
from headstart.results.comparison import Results
from headstart.sources import listing
from headstart.sources.dataset import Dataset
from headstart.storage.store import Store
from headstart.workflow.techniques import picture_size
from headstart.workflow.techniques.bench import Bench
from headstart.workflow.techniques.picture_size import PictureSize, candidates, choose, draw, own_side

TINY, MOBILE = backbones.find("tiny"), backbones.find("mobilenet_v2")


def write(folder: Path, n: int, *, is_fine: bool, size: tuple[int, int] = (300, 260)) -> Path:
    """Write two classes of n photos, told apart by detail of two pixels, or by colour."""
    random = np.random.default_rng(0)
    for label, name in enumerate(("calm", "busy")):
        (folder / name).mkdir(parents=True)
        for number in range(n):
            ground = random.integers(80, 176, (5, 6, 3)).astype(np.uint8)
            image = np.array(Image.fromarray(ground).resize(size, Image.Resampling.BICUBIC), np.float64)
            if is_fine and label:
                # Rows by turns lighter and darker: nothing of it is left at a tenth of the size.
                image += 60 * np.where(np.arange(len(image)) // 2 % 2, 1, -1)[:, None, None]
            if not is_fine:
                image[..., label] += 60
            Image.fromarray(image.clip(0, 255).astype(np.uint8)).save(
                folder / name / f"{number:03}.png", compress_level=1
            )
    return folder


@pytest.fixture
def decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The SHA-256 of whatever is decoded; nothing is kept from before."""
    contents: list[str] = []
    decode = pixels.decode

    def counted(content: bytes, **more: Any) -> pixels.Pixels:
        contents.append(hashlib.sha256(content).hexdigest())
        return decode(content, **more)

    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(pixels, "decode", counted)
    return contents


@pytest.fixture(scope="module")
def fine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("fine") / "photos", 60, is_fine=True)


@pytest.fixture(scope="module")
def coarse(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("coarse") / "photos", 60, is_fine=False)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(Progress(), tmp_path / "store") as opened:
        yield opened


def found_of(photos: Path, store: Store, work: Path, **more: Any) -> PictureSize:
    bench = Bench(Settings(data=str(photos), **more), work, store, Progress())
    return choose(listing.load(photos), [TINY], bench)


def compare(photos: Path, out: Path, **more: Any) -> Results:
    given = {"report": False} | more
    return headstart.compare(photos, backbones=("tiny",), techniques=("features",), out=str(out), **given)


def test_where_detail_tells_classes_apart_a_larger_size_is_taken(
    fine: Path, store: Store, tmp_path: Path
) -> None:
    found = found_of(fine, store, tmp_path / "work")
    assert [one.image_size_px for one in found.tried] == [32, 224, 288]
    assert found.size_px == 224
    small, chosen, large = found.tried
    assert small.accuracy == pytest.approx(0.5, abs=0.2)
    assert (small.gain, small.standard_error) == (0, 0)
    assert chosen.accuracy > 0.95
    assert chosen.gain == pytest.approx(small.log_loss - chosen.log_loss)
    assert chosen.gain > chosen.standard_error > 0
    assert large.gain <= large.standard_error
    assert [one.is_chosen for one in found.tried] == [False, True, False]
    assert [one.n_images for one in found.tried] == [48, 48, 48]


def test_what_is_in_doubt_is_asked_of_more_photos(
    fine: Path, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, decoded: list[str]
) -> None:
    monkeypatch.setattr(picture_size, "ENOUGH", 40)
    first = found_of(fine, store, tmp_path / "one")
    assert [one.n_images for one in first.tried] == [40] * 3
    monkeypatch.setattr(picture_size, "SURE", 1e9)
    monkeypatch.setattr(picture_size, "VERSION", -1)
    decoded.clear()
    second = found_of(fine, store, tmp_path / "two")
    assert [one.n_images for one in second.tried] == [48, 48, 48]
    assert (second.size_px, len(second.sample), len({*decoded})) == (224, 48, 48)
    assert {*first.sample} < {*second.sample}
    third = found_of(fine, store, tmp_path / "three")
    assert (third.tried, third.sample) == (second.tried, second.sample)


def test_where_it_gains_nothing_the_smaller_size_stays(coarse: Path, store: Store, tmp_path: Path) -> None:
    found = found_of(coarse, store, tmp_path / "work")
    assert found.size_px == 32
    assert [one.image_size_px for one in found.tried] == [32, 224]


def test_what_was_found_is_found_again_without_decoding(
    fine: Path, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = found_of(fine, store, tmp_path / "one")

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a photo was decoded again")

    monkeypatch.setattr(pixels, "decode", refuse)
    again = found_of(fine, store, tmp_path / "two")
    assert again.tried == first.tried
    assert (again.size_px, again.sample) == (first.size_px, first.sample)


def test_a_size_that_is_asked_for_is_taken(fine: Path, store: Store, tmp_path: Path) -> None:
    found = found_of(fine, store, tmp_path, image_size=288)
    assert [found.of(row) for row in (TINY, backbones.find("xception"))] == [288, 288]
    assert (found.tried, found.sample) == ((), ())


def test_few_photos_are_not_asked(tmp_path: Path, store: Store) -> None:
    photos = write(tmp_path / "photos", 20, is_fine=True)
    found = found_of(photos, store, tmp_path / "work")
    assert (found.size_px, found.tried, found.sample) == (None, (), ())
    assert found.of(MOBILE) == 224


@pytest.mark.parametrize(
    ("sizes", "side", "expected"),
    [
        ([(640, 480), (100, 100), (4000, 3000)], None, [224, 288, 384]),
        ([(256, 256)] * 2, 256, [256, 288, 384]),
        ([(250, 250)], 250, [250, 288]),
        ([(168, 168)], 168, [168, 224]),
        ([(120, 90)], None, [224]),
        ([(600, 600)], None, [224, 288, 384]),
        ([(500, 500)], 500, [224, 288, 384, 500]),
        ([], None, [224]),
    ],
)
def test_the_sizes_that_are_tried(
    sizes: list[tuple[int, int]], side: int | None, expected: list[int]
) -> None:
    assert candidates(MOBILE, sizes, side) == expected


@pytest.mark.parametrize(
    ("side", "expected"), [(None, None), (167, None), (168, 168), (250, 250), (512, 512), (513, None)]
)
def test_the_photos_own_side(side: int | None, expected: int | None) -> None:
    assert own_side(MOBILE, side) == expected


@pytest.mark.parametrize(("side", "expected"), [(None, 224), (168, 168), (250, 250), (280, 280), (300, 224)])
def test_squares_near_the_backbones_own_are_fed_as_they_are(side: int | None, expected: int) -> None:
    assert picture_size.untried(MOBILE, side).of(MOBILE) == expected


def test_one_size_is_for_all_but_backbones_of_larger_pictures() -> None:
    rows = [MOBILE, backbones.find("efficientnet_b1"), backbones.find("xception")]
    assert [PictureSize(224).of(row) for row in rows] == [224, 240, 299]
    assert [PictureSize(288).of(row) for row in rows] == [288, 288, 299]
    assert [PictureSize(250, is_exact=True).of(row) for row in rows] == [250] * 3


def dataset(rows: list[tuple[int, int, str]], root: Path = Path("/photos")) -> Dataset:
    """Photos of label, group and given part."""
    return Dataset(
        root=root,
        paths=tuple(f"{number:04}" for number in range(len(rows))),
        labels=np.array([label for label, _, _ in rows], np.int32),
        class_names=tuple(f"class{label}" for label in range(4)),
        given_parts=tuple(part for _, _, part in rows),
        group_keys=tuple(str(group) if group else "" for _, group, _ in rows),
    )


@checked(max_examples=100, derandomize=True)
@given(
    rows=st.lists(
        st.tuples(st.integers(0, 3), st.integers(0, 40), st.sampled_from(("", *splits.PARTS))),
        max_size=400,
    ),
    most=st.floats(0, 0.4),
    seed=st.integers(0, 2**40),
)
def test_what_always_holds_of_a_sample(rows: list[tuple[int, int, str]], most: float, seed: int) -> None:
    photos = dataset(rows)
    first, more = draw(photos, most=most, seed=seed)
    assert (first, more) == draw(photos, most=most, seed=seed)
    assert (first, more) == (sorted({*first}), sorted({*more}))
    assert not {*first} & {*more}
    chosen = [*first, *more]
    assert all(rows[index][2] in ("", "train") for index in chosen)
    grouped = [rows[index][1] for index in chosen if rows[index][1]]
    assert len(grouped) == len({*grouped})
    for group in grouped:
        assert all(part in ("", "train") for _, other, part in rows if other == group)
    for label in range(4):
        free = [row for row in rows if row[0] == label and row[2] in ("", "train")]
        pinned = sum(
            1 if not rows[index][1] else sum(other == rows[index][1] for _, other, _ in rows)
            for index in chosen
            if rows[index][0] == label
        )
        assert pinned <= most * len(free) + 1e-6


def test_a_sample_is_in_proportion_and_of_some_hundred() -> None:
    rows = [(label, 0, "") for label, n in enumerate((3000, 1500, 600, 0)) for _ in range(n)]
    drawn = Counter(rows[index][0] for index in draw(dataset(rows), most=0.4, seed=0)[0])
    assert drawn == {0: 176, 1: 88, 2: 35}
    rows = [(label, 0, "") for label, n in enumerate((200, 100, 50, 10)) for _ in range(n)]
    drawn = Counter(rows[index][0] for index in draw(dataset(rows), most=0.4, seed=0)[0])
    assert drawn == {0: 56, 1: 28, 2: 14, 3: 3}
    many = Dataset(
        root=Path("/photos"),
        paths=tuple(map(str, range(4000))),
        labels=(np.arange(4000) % 400).astype(np.int32),
        class_names=tuple(map(str, range(400))),
        given_parts=("",) * 4000,
    )
    drawn = Counter(many.labels[draw(many, most=0.4, seed=0)[0]].tolist())
    assert Counter(drawn.values()) == {3: 300 // 3}
    first, more = draw(dataset([(0, 0, ""), (1, 0, "")] * 30_000), most=0.4, seed=0)
    assert len(first) == len(more) == picture_size.MOST


def test_a_run_tells_what_was_tried_and_tests_on_none_of_it(fine: Path, tmp_path: Path) -> None:
    results = compare(fine, tmp_path / "run")
    assert results.chosen.training.image_size_px == 224
    assert [one.image_size_px for one in results.picture_size] == [32, 224, 288]
    kept = json.loads((tmp_path / "run" / "results.json").read_text())["picture_size"]
    assert [one["is_chosen"] for one in kept] == [False, True, False]
    sample, _ = draw(listing.load(fine), most=0.4, seed=0)
    paths = {listing.load(fine).paths[index] for index in sample}
    with (tmp_path / "run" / "split.csv").open() as stream:
        parts = {row["path"]: row["part"] for row in csv.DictReader(stream)}
    assert {parts[path] for path in paths} == {"train"}
    assert Counter(parts.values()) == {"train": 96, "test": 24}


def test_no_photo_is_decoded_twice(fine: Path, tmp_path: Path, decoded: list[str]) -> None:
    """But for those that the kept model is asked about, and for a third size, which is read for itself."""
    results = compare(fine, tmp_path / "run")
    n_sample = results.picture_size[0].n_images
    assert len({*decoded}) == 120
    assert len(decoded) == 120 + n_sample + 4
    decoded.clear()
    compare(fine, tmp_path / "again", image_size=224)
    assert len(decoded) == 4


def test_a_report_decodes_none_again_but_those_with_heat_maps(
    fine: Path, tmp_path: Path, decoded: list[str]
) -> None:
    compare(fine, tmp_path / "run", image_size=224, report=True)
    shown = json.loads((tmp_path / "run" / "gallery.json").read_text())
    assert len(shown["pictures"]) == 120
    assert len(decoded) == 120 + 4 + len(shown["explained"])


def test_squares_that_were_kept_are_the_pixels_of_prepare(fine: Path, store: Store, tmp_path: Path) -> None:
    listed = listing.load(fine).take(range(0, 120, 9))
    squares = Squares(tmp_path / "squares", [40, 64], "crop")
    found = audit(listed, store=store, progress=Progress(), is_thorough=False, onlookers=[squares])
    order = list(found.digests)[::-1]
    assert sorted(squares.digests) == sorted(order)
    assert order[0] in squares
    assert "0" * 64 not in squares
    for size_px in (40, 64):
        for index, square in zip(range(13, -1, -1), squares.read(order, size_px), strict=True):
            expected = pixels.prepare(listed.file(index).read_bytes(), size_px, "crop")
            assert np.array_equal(square, expected)
