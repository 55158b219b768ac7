import hashlib
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from conftest import Finished, made_photos
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from headstart.base import filenames, records
from headstart.base.progress import Advance, Progress
from headstart.pictures import pixels
from headstart.results import gallery, predictions
from headstart.results.comparison import FindingSummary
from headstart.results.gallery import Explained, Gallery, Picture, Spot
from headstart.results.predictions import Predictions
from headstart.results.run import Run
from headstart.storage.store import Store

NAMES = ("cat", "dog", "owl")
Bytes = NDArray[np.uint8]


def answers(
    labels: Sequence[int], predicted: Sequence[int], sure: Sequence[float], name: str = "a"
) -> Predictions:
    """Answers on photos a0, a1, …: the predicted class gets `sure`, the others share the rest alike."""
    shared = (1 - np.array(sure)) / 2
    probabilities = np.tile(shared[:, None], (1, 3)).astype(np.float32)
    probabilities[np.arange(len(sure)), predicted] = sure
    paths = tuple(f"{name}{number}" for number in range(len(sure)))
    return Predictions("tiny", "features", NAMES, paths, np.array(labels, np.int32), probabilities)


def many(n: int, seed: int = 0) -> Predictions:
    """Answers at random on n photos, about half of them right."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, 3, n)
    predicted = np.where(random.random(n) < 0.25, labels, random.integers(0, 3, n))
    return answers(labels.tolist(), predicted.tolist(), random.uniform(0.4, 0.99, n).tolist())


def finding(kind: str, *paths: str) -> FindingSummary:
    return FindingSummary(kind, "What.", "Do.", paths)


def opened(picture: bytes) -> Bytes:
    """The pixels of a WebP picture."""
    with Image.open(io.BytesIO(picture)) as image:
        assert image.format == "WEBP"
        return np.asarray(image.convert("RGB"))


def halves(height: int, width: int) -> Bytes:
    """A picture whose upper half is red and whose lower half is blue, with a green upper left corner."""
    image = np.zeros((height, width, 3), np.uint8)
    image[: height // 2, :, 0] = image[height // 2 :, :, 2] = 220
    image[: height // 4, : width // 4] = (0, 220, 0)
    return image


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """12 photos of smooth blotches, 300 x 200 pixels, 00.jpg to 11.jpg."""
    for number, image in enumerate(made_photos(300, 12)):
        Image.fromarray(image[:200]).save(tmp_path / f"{number:02}.jpg", quality=90)
    return tmp_path


def listed(folder: Path) -> list[tuple[str, Path]]:
    return [(file.name, file) for file in sorted(folder.iterdir())]


def test_photos_are_wanted_in_the_order_in_which_they_are_missed() -> None:
    #                cell:   0,0  0,1  0,1  1,1  1,0   2,2
    chosen = answers([0, 0, 0, 1, 1, 2], [0, 1, 1, 1, 0, 2], [0.9, 0.8, 0.7, 0.95, 0.75, 0.5])
    other = answers([0, 1, 2], [0, 0, 0], [0.9, 0.6, 0.7], name="b")
    got = gallery.wanted(
        [finding("imbalance"), finding("near_duplicate", "n1", "n2"), finding("small_class", "s1", "s2")],
        ["suspect", "n2", "a3"],
        chosen,
        [other],
        ["spot", "a0", "a5", "b0"],
    )
    # Findings; suspects; mistakes, surest first; least sure; the other's mistakes; the map.
    assert got == (
        *("n1", "n2", "suspect", "a3", "a1", "a4", "a2", "a5", "a0"),
        *("b2", "b1", "spot", "b0"),
    )


def test_only_findings_to_be_compared_are_wanted_and_not_all_of_them() -> None:
    kinds = ("conflict", "leak", "near_duplicate", "duplicate", "odd_size", "unreadable", "small_class")
    found = [
        finding(kind, *(f"{kind} {number} {copy}" for copy in range(9)))
        for kind in kinds
        for number in range(15)
    ]
    assert gallery.wanted(found) == tuple(
        f"{kind} {number} {copy}" for kind in kinds[:4] for number in range(12) for copy in range(6)
    )


def test_of_each_cell_the_first_comes_before_the_second_of_any() -> None:
    # Of class 0, 80 photos are taken for class 1 and, with less confidence, 2 for class 2.
    labels, predicted = [0] * 82, [1] * 80 + [2] * 2
    sure = [0.99 - number / 1000 for number in range(82)]
    got = gallery.wanted(chosen=answers(labels, predicted, sure))
    assert got[:60] == tuple(f"a{number}" for number in range(60))
    assert got[60:62] == ("a80", "a81")


def test_nothing_is_wanted_without_end() -> None:
    chosen, others = many(4000), [many(4000, seed) for seed in (1, 2)]
    suspects = [f"suspect {number}" for number in range(100)]
    got = gallery.wanted((), suspects, chosen, others)
    assert len(set(got)) == len(got)
    assert got[:60] == tuple(suspects[:60])
    wrong = [chosen.paths[row] for row in chosen.confident_mistakes(4000)]
    assert got[60:120] == tuple(wrong[:60])
    cells = {
        (i, j): {chosen.paths[row] for row in chosen.cell(i, j, 4000)} for i in range(3) for j in range(3)
    }
    assert all(len(set(got) & photos) >= 12 for photos in cells.values())
    assert len(got) <= 60 + 60 + 9 * 12 + 40 + 2 * 20


def test_without_anything_nothing_is_wanted() -> None:
    assert gallery.wanted() == ()


def test_heat_maps_are_shared_out_between_mistakes_doubts_and_hits() -> None:
    asked = many(600)
    got = gallery.to_explain(asked)
    assert len(got) == len(set(got)) == 12
    wrong, unsure, right = got[:4], got[4:8], got[8:]
    is_right = asked.predicted == asked.labels
    assert not is_right[wrong].any() and is_right[right].all()
    assert unsure == asked.least_sure(4)
    for third in (wrong, right):
        counts = np.bincount(asked.labels[third])
        assert sorted(counts.tolist()) == [1, 1, 2]
    for label in range(3):  # the surest of each class
        hits = [row for row in asked.confident_hits(600) if asked.labels[row] == label]
        mine = [row for row in right if asked.labels[row] == label]
        assert mine == hits[: len(mine)]


def test_where_there_are_few_mistakes_there_are_more_of_the_others() -> None:
    n = 100
    asked = answers([0] * n, [0] * (n - 1) + [1], [0.5 + number / 250 for number in range(n)])
    got = gallery.to_explain(asked)
    assert len(got) == 12
    assert got[0] == n - 1  # the only mistake
    assert set(got[1:]) == {*range(6), *range(n - 6, n - 1)}


@given(n=st.integers(1, 40), limit=st.integers(0, 30), seed=st.integers(0, 5))
def test_heat_maps_are_never_drawn_twice_and_never_too_few(n: int, limit: int, seed: int) -> None:
    got = gallery.to_explain(many(n, seed), limit)
    assert len(got) == len(set(got)) == min(n, limit)
    assert set(got) <= set(range(n))


@pytest.mark.parametrize(
    ("height", "width", "shape"),
    [
        (480, 640, (72, 96)),
        (640, 480, (96, 72)),
        (200, 200, (96, 96)),
        (3000, 100, (96, 3)),
        (2000, 1, (96, 1)),
        (1, 2000, (1, 96)),
        (60, 90, (60, 90)),
        (1, 1, (1, 1)),
    ],
)
def test_thumbnails_keep_their_shape_and_never_grow(height: int, width: int, shape: tuple[int, int]) -> None:
    image = halves(height, width)
    before = image.copy()
    assert opened(gallery.thumbnail(image)).shape == (*shape, 3)
    assert np.array_equal(image, before)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["jpg", "png"])
def test_thumbnails_are_upright(tmp_path: Path, kind: str, orientation: int) -> None:
    """A photo that a camera stored turned or mirrored, by the definition of the tag in EXIF 2.3."""
    upright = halves(400, 600)
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright, 1),
        7: upright[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = tmp_path / f"photo.{kind}"
    Image.fromarray(stored).save(file, exif=exif, quality=95)
    [picture] = gallery.make([("photo", file)]).pictures
    small = opened(picture.thumbnail)
    assert small.shape == (64, 96, 3)
    corners = [small[8, 8], small[8, 88], small[56, 8], small[56, 88]]
    assert [int(corner.argmax()) for corner in corners] == [1, 0, 2, 2]
    assert b"EXIF" not in picture.thumbnail


def test_thumbnails_look_like_their_photos_and_are_small(shared_data: Path) -> None:
    files = sorted((shared_data / "animals").rglob("*.jpg"))[::40]
    made = gallery.make([(file.name, file) for file in files])
    assert made.n_unreadable == 0
    assert 1300 < np.mean([len(one.thumbnail) for one in made.pictures]) < 2500
    for file, one in zip(files, made.pictures, strict=True):
        small = opened(one.thumbnail).astype(float)
        with Image.open(file) as photo:
            expected = np.asarray(photo.convert("RGB").resize(small.shape[1::-1]), float)
        assert max(small.shape) == 96
        # Mean of the squares, in grey levels: 20 dB of signal to noise is where blocks begin to be seen.
        assert 10 * np.log10(255**2 / ((small - expected) ** 2).mean()) > 20


def test_a_photo_that_is_gone_damaged_or_changed_is_left_out_and_counted(folder: Path) -> None:
    photos = listed(folder)
    photos[2][1].unlink()
    photos[4][1].write_bytes(b"")
    photos[5][1].write_bytes(photos[5][1].read_bytes()[:300])
    photos[7][1].unlink()
    photos[7][1].mkdir()
    digests = {photos[row][0]: hashlib.sha256(photos[row][1].read_bytes()).hexdigest() for row in (8, 9)}
    photos[9][1].write_bytes(photos[8][1].read_bytes())
    made = gallery.make(photos, digests=digests)
    names = [name for name, _ in photos]
    assert [one.path for one in made.pictures] == [names[row] for row in (0, 1, 3, 6, 8, 10, 11)]
    assert made.n_unreadable == 5


def test_thumbnails_end_with_the_first_that_there_is_no_room_for(folder: Path) -> None:
    photos = listed(folder)
    every = gallery.make(photos).pictures
    assert [one.path for one in every] == [name for name, _ in photos]
    sizes = [len(one.thumbnail) for one in every]
    room = sum(sizes[:5])
    assert gallery.make(photos, thumbnail_bytes=room).pictures == every[:5]
    assert gallery.make(photos, thumbnail_bytes=room - 1).pictures == every[:4]
    assert gallery.make(photos, thumbnail_bytes=0).pictures == ()


def test_photos_far_beyond_the_room_are_not_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[Path] = []
    really = pixels.read_bytes

    def noted(path: Path, digest: str | None) -> bytes:
        read.append(path)
        return really(path, digest)

    monkeypatch.setattr(pixels, "read_bytes", noted)
    room = sum(len(one.thumbnail) for one in gallery.make(listed(folder)).pictures[:3])
    read.clear()
    assert len(gallery.make(listed(folder) * 50, thumbnail_bytes=room).pictures) == 3
    assert 4 <= len(read) <= 4 + pixels.LOOK_AHEAD


class Counting(Progress):
    """Keeps what it was told."""

    def __init__(self) -> None:
        self.told: list[str | int | None] = []

    def stage(self, title: str, total: int | None, unit: str = "images") -> "Counted":
        self.told += [title, total]
        return Counted(self.told)


class Counted:
    def __init__(self, told: list[str | int | None]) -> None:
        self.told = told

    def __enter__(self) -> Advance:
        def advance(count: int = 1) -> None:
            self.told.append(count)

        return advance

    def __exit__(self, *_: object) -> None:
        self.told.append("end")


def test_progress_is_told(folder: Path) -> None:
    progress = Counting()
    gallery.make(listed(folder)[:3], progress=progress)
    assert progress.told == ["Drawing thumbnails", 3, 1, 1, 1, "end"]


def heat_map(row: int, side: int = 224) -> Explained:
    asked = answers([0, 1, 2], [0, 2, 2], [0.9, 0.75, 0.5])
    picture = made_photos(side, 1)[0]
    return gallery.explain(asked, row, picture, picture[::-1])


def test_an_explained_photo_says_what_it_was_taken_for() -> None:
    one = heat_map(1)
    assert (one.path, one.label, one.predicted, one.confidence) == ("a1", "dog", "owl", 0.75)


@pytest.mark.parametrize("side", [96, 192, 224, 250])
def test_an_explained_photo_is_a_square_of_192_pixels_beside_its_heat(side: int) -> None:
    one = heat_map(0, side)
    picture, heat = opened(one.picture), opened(one.heat)
    assert picture.shape == heat.shape == (192, 192, 3)
    # WebP keeps colours at half the resolution, and the blotches have sharp borders.
    assert np.abs(picture.astype(int) - heat[::-1]).mean() < 10
    small = np.asarray(Image.fromarray(made_photos(side, 1)[0]).resize((192, 192)), int)
    assert np.abs(picture - small).mean() < 10


def test_heat_maps_end_with_the_first_that_there_is_no_room_for() -> None:
    every = [heat_map(row) for row in range(3)]
    room = sum(len(one.picture) + len(one.heat) for one in every[:2])
    assert gallery.make([], explained=every).explained == tuple(every)
    assert gallery.make([], explained=every, explained_bytes=room).explained == tuple(every[:2])
    assert gallery.make([], explained=every, explained_bytes=room - 1).explained == (every[0],)


def test_spots_say_what_test_photos_were_taken_for() -> None:
    chosen = answers([0, 1], [0, 2], [0.9, 0.8])
    got = gallery.place(
        ["t0", "a1", "v0"],
        ["train", "test", "validation"],
        ["cat", "dog", "owl"],
        np.array([[0, 1], [0.123456, 0.5], [1, 0]]),
        chosen,
    )
    assert got == (
        Spot("t0", "train", "cat", None, 0.0, 1.0),
        Spot("a1", "test", "dog", "owl", 0.1235, 0.5),
        Spot("v0", "validation", "owl", None, 1.0, 0.0),
    )


def test_a_gallery_comes_back_from_its_file_as_it_was(tmp_path: Path) -> None:
    made = Gallery(
        pictures=(Picture('<b>"ü"&\n.jpg', bytes(range(256))), Picture("b", b"")),
        explained=(heat_map(0), heat_map(1)),
        spots=(Spot("'", "test", "a", "b", 0.25, 1.0), Spot("c", "train", "a", None, 0.0, 0.5)),
        projection="A map.",
        backbone="tiny",
        n_unreadable=3,
    )
    records.write_json(tmp_path / filenames.GALLERY, made)
    assert records.read_json(tmp_path / "gallery.json", Gallery) == made


def test_a_real_run_has_a_gallery(finished: Finished) -> None:
    results = Run(finished.folder).results()
    read = predictions.read(finished.folder, results.dataset.class_names)
    chosen = read.pop(results.chosen.name)
    paths = gallery.wanted(results.findings, (), chosen, read.values())
    assert paths[:2] == ("red/copy.jpg", "red/red_03.jpg")
    assert set(chosen.paths) <= set(paths)
    made = gallery.make([(path, finished.photos / path) for path in paths])
    assert [one.path for one in made.pictures] == list(paths)
    for one in made.pictures:
        original = pixels.decode((finished.photos / one.path).read_bytes())
        small = opened(one.thumbnail)
        assert small.shape == original.shape == (30, 40, 3)  # smaller than a thumbnail: as it is
        assert small.mean(axis=(0, 1)) == pytest.approx(original.mean(axis=(0, 1)), abs=8)


def test_thumbnails_that_are_made_while_photos_are_read_are_those_that_a_report_shows(
    folder: Path, tmp_path: Path
) -> None:
    photos = listed(folder)
    digests = {name: hashlib.sha256(file.read_bytes()).hexdigest() for name, file in photos}
    with Store(Progress(), tmp_path / "store") as store:
        maker = gallery.Thumbnails(store, len(photos), 1500)
        assert sorted(maker.wanted(list(digests.values()) * 2)) == sorted(set(digests.values()))
        for _, file in photos:
            digest = hashlib.sha256(file.read_bytes()).hexdigest()
            maker.take([maker.look(digest, pixels.Picture(file.read_bytes()))])
        maker.end()
        assert maker.wanted(list(digests.values())) == []
        kept = store.get([gallery.thumbnail_key(digest) for digest in digests.values()])
    made = gallery.make(photos).pictures
    assert [kept[gallery.thumbnail_key(digests[one.path])] for one in made] == [one.thumbnail for one in made]


def test_of_many_photos_those_of_the_least_digests_are_likely(tmp_path: Path) -> None:
    digests = [hashlib.sha256(str(number).encode()).hexdigest() for number in range(3000)]
    with Store(Progress(), tmp_path / "store") as store:
        likely = gallery.Thumbnails(store, 3000, 300).wanted(digests)
    assert {*sorted(digests)[:300]} < {*likely}
    assert len(likely) < 400
