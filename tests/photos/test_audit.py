import csv
import errno
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
import pytest
from conftest import audited
from PIL import Image, ImageEnhance

from headstart.base.progress import Advance, Progress
from headstart.photos import audit as audits
from headstart.photos import checks
from headstart.photos.audit import Audit, audit
from headstart.photos.findings import Finding
from headstart.photos.groups import missing_parts
from headstart.pictures import pixels
from headstart.sources import listing
from headstart.sources.dataset import SetAside
from headstart.storage.store import Store


def audit_folder(folder: Path) -> Audit:
    return audited(listing.load(folder))


def copy(root: Path, source: str, target: str) -> None:
    (root / target).parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(root / source, root / target)


def save_again(root: Path, source: str, target: str) -> None:
    """Save a photo larger and with another quality."""
    (root / target).parent.mkdir(parents=True, exist_ok=True)
    with Image.open(root / source) as image:
        image.resize((60, 45)).save(root / target, quality=85)


def findings_of(result: Audit, kind: str) -> list[Finding]:
    return [finding for finding in result.findings if finding.kind == kind]


def test_clean_photos_have_no_findings(photos: Path) -> None:
    result = audit_folder(photos)
    assert result.findings == () and result.quarantine == ()
    assert result.dataset.paths == listing.load(photos).paths
    assert result.groups.tolist() == list(range(40)) and result.groups.dtype == np.int32
    assert result.digests[7] == hashlib.sha256(result.dataset.file(7).read_bytes()).hexdigest()


def test_unreadable_photos_go_to_quarantine(photos: Path, bomb_png: bytes) -> None:
    (photos / "red" / "a.jpg").write_bytes(b"")
    (photos / "red" / "b.jpg").write_bytes(b"no photo")
    (photos / "red" / "c.png").write_bytes(bomb_png)
    half = (photos / "red" / "red_00.jpg").read_bytes()
    (photos / "red" / "d.jpg").write_bytes(half[: len(half) // 2])
    result = audit_folder(photos)
    assert result.quarantine == (
        SetAside("red/a.jpg", "The file is empty."),
        SetAside("red/b.jpg", "It is no picture: it begins with 'no photo'."),
        SetAside(
            "red/c.png",
            "It claims more pixels than can be held. At most 178,956,970 pixels are decoded.",
        ),
        SetAside("red/d.jpg", "It is cut short."),
    )
    assert result.findings == tuple(
        Finding(
            "unreadable",
            (item.path,),
            f"{item.path} cannot be read and is left out. {item.reason}",
            "Replace or remove it.",
        )
        for item in result.quarantine
    )
    assert len(result.dataset) == len(result.digests) == len(result.groups) == 40
    assert result.dataset.class_names == ("green", "red")


def test_a_file_that_cannot_be_opened_goes_to_quarantine(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Permission is denied by hand, for an administrator may read anything."""
    listed = listing.load(photos)
    (photos / "green" / "green_03.jpg").unlink()

    def guarded(path: str, mode: str) -> IO[Any]:
        if path.endswith("green_05.jpg"):
            raise PermissionError(errno.EACCES, "Permission denied")
        return open(path, mode)

    monkeypatch.setattr(pixels, "open", guarded, raising=False)
    assert audited(listed).quarantine == (
        SetAside("green/green_03.jpg", "The file cannot be opened: No such file or directory."),
        SetAside("green/green_05.jpg", "The file cannot be opened: Permission denied."),
    )


def test_copies_in_one_class_are_duplicates(photos: Path) -> None:
    copy(photos, "red/red_03.jpg", "red/again.jpg")
    copy(photos, "red/red_03.jpg", "red/sub/other.png")
    result = audit_folder(photos)
    paths = ("red/again.jpg", "red/red_03.jpg", "red/sub/other.png")
    assert findings_of(result, "duplicate") == [
        Finding(
            "duplicate",
            paths,
            "red/again.jpg is also red/red_03.jpg, red/sub/other.png.",
            "Copies stay in one part; remove all but one.",
        )
    ]
    groups = {result.groups[result.dataset.paths.index(path)] for path in paths}
    assert len(groups) == 1
    assert result.groups.max() == 39 and len(np.unique(result.groups)) == 40


def test_copies_in_two_classes_are_a_conflict(photos: Path) -> None:
    copy(photos, "red/red_03.jpg", "green/also.jpg")
    assert audit_folder(photos).findings == (
        Finding(
            "conflict",
            ("green/also.jpg", "red/red_03.jpg"),
            "green/also.jpg is also red/red_03.jpg: one photo in the classes green, red.",
            "Keep it in the class where it belongs.",
        ),
    )


def test_copies_in_two_given_parts_are_a_leak(photos: Path, tmp_path: Path) -> None:
    for part in ("train", "val", "test"):
        for name in ("red", "green"):
            number = {"train": 0, "val": 1, "test": 2}[part]
            copy(tmp_path, f"photos/{name}/{name}_0{number}.jpg", f"given/{part}/{name}/1.jpg")
    copy(tmp_path, "given/train/red/1.jpg", "given/test/red/2.jpg")
    copy(tmp_path, "given/train/green/1.jpg", "given/val/red/2.jpg")
    result = audit_folder(tmp_path / "given")
    advice = "Keep it in one part: scores on a photo seen in training flatter."
    assert findings_of(result, "leak") == [
        Finding(
            "leak",
            ("test/red/2.jpg", "train/red/1.jpg"),
            "test/red/2.jpg is also train/red/1.jpg: one photo in the parts test, train.",
            advice,
        ),
        Finding(
            "leak",
            ("train/green/1.jpg", "val/red/2.jpg"),
            "train/green/1.jpg is also val/red/2.jpg: one photo in the parts train, validation.",
            advice,
        ),
    ]
    assert [finding.paths for finding in findings_of(result, "conflict")] == [
        ("train/green/1.jpg", "val/red/2.jpg")
    ]
    assert findings_of(result, "duplicate") == []


def test_photos_without_a_class(photos: Path) -> None:
    for path in ("1.jpg", "train/2.jpg", "test me/3.jpg", "test me/images/4.jpg"):
        copy(photos, "red/red_00.jpg", path)
    for name in ("red", "green"):
        (photos / name).rename(photos / "train" / name)
    (photos / "test me").rename(photos / "test data")
    result = audit_folder(photos)
    assert len(result.dataset) == 40
    assert findings_of(result, "unlabelled") == [
        Finding(
            "unlabelled",
            ("1.jpg", "train/2.jpg"),
            "2 photos in no class folder: 1.jpg, train/2.jpg.",
            "Left out; move each into the folder of its class.",
        ),
        Finding(
            "unlabelled",
            ("test data/3.jpg", "test data/images/4.jpg"),
            "'test data' has no class folders, so its 2 photos have no label.",
            "Left out, for nothing can be measured on them; "
            "`headstart predict RUN 'PHOTOS/test data'` says what they show.",
        ),
    ]


def test_small_and_empty_classes(photos: Path) -> None:
    copy(photos, "red/red_01.jpg", "blue/1.jpg")
    copy(photos, "red/red_01.jpg", "blue/copy.jpg")
    copy(photos, "red/red_02.jpg", "blue/2.jpg")
    (photos / "red" / "red_01.jpg").unlink()
    (photos / "red" / "red_02.jpg").unlink()
    (photos / "none").mkdir()
    result = audit_folder(photos)
    advice = "Add photos of it, or leave it out with --exclude."
    assert findings_of(result, "small_class") == [
        Finding(
            "small_class",
            ("blue/1.jpg", "blue/2.jpg", "blue/copy.jpg"),
            "Class 'blue' has 2 different photos to divide into 3 parts.",
            advice,
        )
    ]
    assert findings_of(result, "empty_class") == [
        Finding(
            "empty_class",
            (),
            "The folder of class 'none' holds no picture that is read, so the class is left out.",
            "Add photos to it, or remove the folder.",
        )
    ]


def test_a_class_of_unreadable_photos_is_small(photos: Path) -> None:
    (photos / "blue").mkdir()
    (photos / "blue" / "1.jpg").write_bytes(b"")
    result = audit_folder(photos)
    assert result.dataset.class_names == ("blue", "green", "red")
    assert [finding.detail for finding in findings_of(result, "small_class")] == [
        "Class 'blue' has 0 different photos to divide into 3 parts."
    ]


def test_a_class_without_photos_in_a_given_part(photos: Path, tmp_path: Path) -> None:
    for name, part in (("red", "train"), ("green", "train"), ("green", "test")):
        number = 0 if part == "train" else 1
        for step in range(2):
            copy(tmp_path, f"photos/{name}/{name}_{step}{number}.jpg", f"given/{part}/{name}/{step}.jpg")
    result = audit_folder(tmp_path / "given")
    assert [(finding.kind, finding.detail, finding.advice) for finding in result.findings] == [
        (
            "small_class",
            "Class 'red' has no photo in the test part that was given.",
            "Add photos of it there, or leave it out with --exclude.",
        )
    ]
    assert missing_parts(result.dataset) == ("validation",)


def test_names_that_say_another_type_are_remarked(photos: Path) -> None:
    for name in ("a.jpg", "b.JPG"):
        image = np.random.default_rng(len(name) + ord(name[0])).integers(0, 256, (5, 5, 3), dtype=np.uint8)
        Image.fromarray(image).save(photos / "red" / name, "WEBP", lossless=True)
    Image.new("RGB", (5, 5)).save(photos / "red" / "c.png", "BMP")
    Image.new("RGB", (5, 6)).save(photos / "red" / "no_extension", "PNG")
    Image.new("RGB", (5, 7)).save(photos / "red" / "fine.jfif", "JPEG")
    Image.new("RGB", (5, 8)).save(photos / "red" / "camera.jpg", "MPO", save_all=True)
    advice = "They are used as what they are; nothing need be done."
    assert findings_of(audit_folder(photos), "wrong_type") == [
        Finding(
            "wrong_type",
            ("red/a.jpg", "red/b.JPG"),
            "2 photos named .jpg are of type WEBP: red/a.jpg, red/b.JPG.",
            advice,
        ),
        Finding("wrong_type", ("red/c.png",), "1 photo named .png is of type BMP: red/c.png.", advice),
    ]


def test_near_duplicates_in_one_class_stay_together(photos: Path) -> None:
    save_again(photos, "red/red_03.jpg", "red/again.jpg")
    copy(photos, "red/red_03.jpg", "red/copy.jpg")
    result = audit_folder(photos)
    paths = ("red/again.jpg", "red/copy.jpg", "red/red_03.jpg")
    assert findings_of(result, "near_duplicate") == [
        Finding(
            "near_duplicate",
            paths,
            "red/again.jpg looks like red/copy.jpg, red/red_03.jpg.",
            "They stay in one part; nothing need be done.",
        )
    ]
    assert [finding.paths for finding in findings_of(result, "duplicate")] == [paths[1:]]
    assert len({result.groups[result.dataset.paths.index(path)] for path in paths}) == 1
    assert len(np.unique(result.groups)) == 40


def test_near_duplicates_in_two_classes_are_a_conflict(photos: Path) -> None:
    save_again(photos, "red/red_03.jpg", "green/also.jpg")
    assert audit_folder(photos).findings == (
        Finding(
            "conflict",
            ("green/also.jpg", "red/red_03.jpg"),
            "green/also.jpg looks like red/red_03.jpg: nearly one photo in the classes green, red.",
            "See which class is right; if each is, nothing need be done: they stay in one part.",
        ),
    )


def test_mirrored_and_turned_photos_are_near_duplicates_and_it_is_said(photos: Path) -> None:
    ways = {
        "green/a.jpg": ("green/green_03.jpg", Image.Transpose.FLIP_LEFT_RIGHT),
        "green/b.jpg": ("green/green_04.jpg", Image.Transpose.ROTATE_90),
        "red/c.jpg": ("green/green_05.jpg", Image.Transpose.ROTATE_180),
        "red/d.jpg": ("red/red_06.jpg", Image.Transpose.FLIP_TOP_BOTTOM),
        "red/e.jpg": ("red/red_07.jpg", Image.Transpose.TRANSPOSE),
    }
    for target, (source, way) in ways.items():
        with Image.open(photos / source) as image:
            image.transpose(way).save(photos / target, quality=90)
    save_again(photos, "red/red_07.jpg", "red/f.jpg")
    result = audit_folder(photos)
    assert [finding.detail for finding in result.findings] == [
        "green/green_05.jpg looks like red/c.jpg, turned upside down: nearly one photo in the classes green, "
        "red.",
        "green/a.jpg looks like green/green_03.jpg, mirrored.",
        "green/b.jpg looks like green/green_04.jpg, turned by a quarter.",
        "red/d.jpg looks like red/red_06.jpg, mirrored upside down.",
        "red/e.jpg looks like red/f.jpg, red/red_07.jpg, some mirrored or turned.",
    ]
    assert len(np.unique(result.groups)) == 40


def blotches(number: int) -> Image.Image:
    colours = np.random.default_rng(number).integers(0, 256, (5, 5, 3), dtype=np.uint8)
    return Image.fromarray(colours).resize((96, 96), Image.Resampling.BICUBIC)


def write_versions(folder: Path, first: int, last: int) -> None:
    """Write three versions of pictures, each turned by some degrees and otherwise lit."""
    folder.mkdir(parents=True)
    for number in range(first, last):
        for version, degrees in enumerate((-9, 0, 12)):
            name = f"IMG_{number}_jpg.rf.{number:030x}{version:02x}.jpg"
            light = ImageEnhance.Brightness(blotches(number)).enhance(1 - 0.1 * version)
            light.rotate(degrees, Image.Resampling.BILINEAR).save(folder / name, quality=90)


def test_versions_of_a_photo_by_their_names_stay_together(tmp_path: Path) -> None:
    write_versions(tmp_path / "one", 0, 20)
    write_versions(tmp_path / "two", 20, 40)
    result = audit_folder(tmp_path)
    (finding,) = findings_of(result, "family")
    first = [f"one/IMG_0_jpg.rf.{0:030x}{version:02x}.jpg" for version in range(3)]
    assert len(finding.paths) == 120 and finding.paths[:3] == tuple(first)
    assert (finding.detail, finding.advice) == (
        "120 photos are in 40 families whose names differ by what an export added to their names alone, "
        f"such as {', '.join(first)}. They look more alike than others of their class do, "
        "in 38 of 40 comparisons.",
        "Each stays in one part, as far as that leaves enough to divide.",
    )
    assert result.groups.tolist() == np.arange(40).repeat(3).tolist()
    assert [one.kind for one in result.findings] == ["family"]


def test_versions_of_a_photo_in_two_given_parts_are_a_leak(tmp_path: Path) -> None:
    for number, name in enumerate(("one", "two")):
        write_versions(tmp_path / "train" / name, 20 * number, 20 * number + 20)
    for number in (3, 4):
        source = tmp_path / "train" / "one" / f"IMG_{number}_jpg.rf.{number:030x}02.jpg"
        target = tmp_path / "test" / "one" / source.name
        target.parent.mkdir(parents=True, exist_ok=True)
        source.rename(target)
    (tmp_path / "test" / "two").mkdir()
    write_versions(tmp_path / "more", 50, 51)
    (tmp_path / "more" / f"IMG_50_jpg.rf.{50:030x}00.jpg").rename(tmp_path / "test" / "two" / "a.jpg")
    shutil.rmtree(tmp_path / "more")
    (finding,) = findings_of(audit_folder(tmp_path), "leak")
    together = [f"train/one/IMG_3_jpg.rf.{3:030x}{version:02x}.jpg" for version in range(2)]
    assert len(finding.paths) == 6
    assert (finding.detail, finding.advice) == (
        "2 families of photos whose names differ by what an export added to their names alone stand in "
        "several of the parts test, train, such as "
        f"{', '.join([f'test/one/IMG_3_jpg.rf.{3:030x}02.jpg', *together])}.",
        "Keep each in one part: scores on what was trained on flatter.",
    )


def test_pictures_with_black_corners_in_two_classes_are_no_conflict(photos: Path) -> None:
    """Smooth pictures, all turned by 20 degrees: the corners are what looks alike."""
    random = np.random.default_rng(0)
    for name in ("red", "green"):
        for number in range(20):
            blotches = Image.fromarray(random.integers(150, 180, (6, 6, 3), dtype=np.uint8))
            smooth = blotches.resize((256, 256), Image.Resampling.BICUBIC)
            smooth.rotate(20, Image.Resampling.BILINEAR).save(photos / name / f"{name}_{number:02}.jpg")
    assert audit_folder(photos).findings == ()


def test_near_duplicates_in_two_given_parts_are_a_leak(photos: Path, tmp_path: Path) -> None:
    for number, part in enumerate(("train", "val", "test")):
        for name in ("red", "green"):
            copy(tmp_path, f"photos/{name}/{name}_0{number}.jpg", f"given/{part}/{name}/1.jpg")
    save_again(tmp_path, "given/train/red/1.jpg", "given/test/red/2.jpg")
    result = audit_folder(tmp_path / "given")
    assert result.findings == (
        Finding(
            "leak",
            ("test/red/2.jpg", "train/red/1.jpg"),
            "test/red/2.jpg looks like train/red/1.jpg: nearly one photo in the parts test, train.",
            "Keep it in one part: scores on a photo seen in training flatter.",
        ),
    )


def test_a_class_of_one_scene_can_still_be_divided(photos: Path) -> None:
    for number in range(1, 20):
        with Image.open(photos / "red" / "red_00.jpg") as image:
            image.save(photos / "red" / f"red_{number:02}.jpg", quality=70 + number)
    result = audit_folder(photos)
    (finding,) = findings_of(result, "crowd")
    assert len(finding.paths) == 20
    assert (finding.detail, finding.advice) == (
        "So many photos of class 'red' look alike that keeping them together would leave too little to "
        "divide: some stand in several parts, and scores flatter.",
        "Say what belongs together with --group-by, such as the camera or the day, or add other photos.",
    )
    assert np.bincount(result.groups)[20:].max() == 2


def test_keys_keep_photos_together(photos: Path) -> None:
    result = audited(listing.load(photos, group_by=r"_(\d)"))
    assert len(np.unique(result.groups)) == 2 and result.groups[0] == result.groups[20]
    assert [finding.detail for finding in findings_of(result, "small_class")] == [
        "Class 'green' has 2 groups to divide into 3 parts.",
        "Class 'red' has 0 groups to divide into 3 parts.",
    ]


def test_keys_in_two_given_parts_are_a_leak(photos: Path, tmp_path: Path) -> None:
    for number, part in enumerate(("train", "val", "test")):
        for name in ("red", "green"):
            for step in range(2):
                target = f"given/{part}/{name}/patient{number * (1 + step)}_{name}{step}.jpg"
                copy(tmp_path, f"photos/{name}/{name}_{step}{number}.jpg", target)
    result = audited(listing.load(tmp_path / "given", group_by=r"patient(\d+)_r"))
    (finding,) = findings_of(result, "leak")
    assert (finding.detail, finding.advice) == (
        "Group '2' of --group-by is in the parts test, validation: "
        "test/red/patient2_red0.jpg, val/red/patient2_red1.jpg.",
        "Keep it in one part: scores on what was trained on flatter.",
    )


def test_classes_of_unequal_size(photos: Path) -> None:
    for number in range(6, 20):
        (photos / "red" / f"red_{number:02}.jpg").unlink()
    assert audit_folder(photos).findings == (
        Finding(
            "imbalance",
            (),
            "Class 'green' has 20 photos, 'red' 6.",
            "Look at the scores class by class; rare classes weigh more in training (--class-weight).",
        ),
    )


def test_odd_sizes(photos: Path) -> None:
    random = np.random.default_rng(5)
    for name, shape in (("long", (20, 90)), ("tall", (90, 20)), ("tiny", (9, 12)), ("fine", (20, 75))):
        image = random.integers(0, 256, (*shape, 3), dtype=np.uint8)
        Image.fromarray(image).save(photos / "red" / f"{name}.png")
    assert audit_folder(photos).findings == (
        Finding(
            "odd_size",
            ("red/tiny.png",),
            "1 photo has a side of less than 32 pixels: red/tiny.png.",
            "They are blown up to what a backbone is fed; see whether they are photos at all.",
        ),
        Finding(
            "odd_size",
            ("red/long.png", "red/tall.png"),
            "2 photos have a side more than 4 times as long as the other: red/long.png, red/tall.png.",
            "They are squashed into a square: crop them by hand, or give --fit pad.",
        ),
    )


def test_a_class_of_another_size_is_a_shortcut_however_it_is_turned(photos: Path) -> None:
    """The other class's photos are stored lying and turned upright by EXIF: to a network all would be one."""
    for path in sorted((photos / "red").iterdir()):
        with Image.open(path) as image:
            exif = image.getexif()
            exif[0x0112] = 6
            image.rotate(90, expand=True).save(path, exif=exif, quality=95)
    assert findings_of(audit_folder(photos), "shortcut") == []
    for path in sorted((photos / "red").iterdir()):
        with Image.open(path) as image:
            image.load()
            image.save(path, quality=95)
    assert findings_of(audit_folder(photos), "shortcut") == [
        Finding(
            "shortcut",
            (),
            "Class 'green' can be told by its image size alone: a simple rule finds 100% of its photos, and "
            "0% of the others. Typical of it: 40 x 30 pixels; of the others: 30 x 40 pixels.",
            "Make the classes alike in image size, or a network may learn that instead.",
        )
    ]


def test_a_short_check_reads_every_photo_and_looks_for_exact_copies(photos: Path) -> None:
    save_again(photos, "red/red_03.jpg", "green/also.jpg")
    copy(photos, "red/red_03.jpg", "red/copy.jpg")
    (photos / "red" / "a.jpg").write_bytes(b"")
    with Store(Progress()) as store:
        result = audit(listing.load(photos), store=store, progress=Progress(), is_thorough=False)
    assert [finding.kind for finding in result.findings] == ["unreadable", "duplicate"]
    assert len(np.unique(result.groups)) == 41


def test_the_squares_among_the_animals_are_a_shortcut(shared_data: Path) -> None:
    """The snakes and the monkeys were square originals, as the photos' own README says."""
    result = audit_folder(shared_data / "animals")
    told = [finding.detail for finding in findings_of(result, "shortcut")]
    assert [detail.split("' can be told by its ")[0] for detail in told] == [
        "Class 'monkey",
        "Class 'panda",
        "Class 'snake",
    ]
    assert all("image size alone" in detail for detail in told)


class Sizes:
    """An onlooker that sees nothing, for whom JPEGs are decoded at some sizes."""

    title = "Checking photos"

    def __init__(self, *decoded_px: int) -> None:
        self.decoded_px = decoded_px

    def wanted(self, digests: Sequence[str]) -> tuple[str, ...]:
        return ()

    def look(self, digest: str, picture: pixels.Picture) -> None:
        raise AssertionError(digest)

    def take(self, seen: Sequence[None]) -> None:
        assert not seen

    def end(self) -> None:
        pass


@pytest.mark.slow
@pytest.mark.parametrize("name", ["animals", "flowers"])
def test_what_is_found_is_the_same_at_any_size_of_decoding(
    name: str, shared_data: Path, tmp_path: Path
) -> None:
    listed, found = listing.load(shared_data / name), []
    with Store(Progress(), tmp_path / "store") as store:
        for sizes in ((64,), (448,), (768, 576)):
            found.append(audit(listed, store=store, progress=Progress(), onlookers=[Sizes(*sizes)]))
    for other in found[1:]:
        assert np.array_equal(other.groups, found[0].groups)
        assert other.findings == found[0].findings


def test_what_was_decoded_at_one_of_several_sizes_need_not_be_again(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = listing.load(photos)
    with Store(Progress(), tmp_path / "store") as store:
        first = audit(listed, store=store, progress=Progress(), onlookers=[Sizes(100, 20)])

        def refuse(*_: object, **__: object) -> None:
            raise AssertionError("a photo was decoded again")

        monkeypatch.setattr(pixels, "decode", refuse)
        for size_px in (100, 20):
            again = audit(listed, store=store, progress=Progress(), onlookers=[Sizes(size_px)])
            assert again.digests == first.digests
        with pytest.raises(AssertionError, match="decoded again"):
            audit(listed, store=store, progress=Progress(), onlookers=[Sizes(64)])


def test_progress_is_told_of_each_photo(photos: Path) -> None:
    told: list[object] = []

    class Recorder(Progress):
        @contextmanager
        def stage(self, title: str, total: int | None, unit: str = "images") -> Iterator[Advance]:
            told.append((title, total))
            yield lambda count=1: told.append(count)

    audited(listing.load(photos), Recorder())
    assert told == [("Checking photos", 40), *[audits.CHUNK] * 10]


def test_each_file_is_read_once(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reads: list[str] = []
    original = pixels.read_bytes

    def counted(path: str | Path) -> bytes:
        reads.append(str(path))
        return original(path)

    monkeypatch.setattr(pixels, "read_bytes", counted)
    audit_folder(photos)
    assert len(reads) == len(set(reads)) == 40


def test_what_was_decoded_before_is_only_read(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (photos / "red" / "red_04.jpg").write_bytes(b"\xff\xd8\xff\xe0 no more of it")
    first = audit_folder(photos)
    decoded: list[bytes] = []
    original = pixels.decode

    def counted(content: bytes, **options: Any) -> pixels.Pixels:
        decoded.append(content)
        return original(content, **options)

    monkeypatch.setattr(pixels, "decode", counted)
    second = audit_folder(photos)
    assert decoded == []
    assert second.quarantine == first.quarantine
    assert [item.path for item in first.quarantine] == ["red/red_04.jpg"]
    assert (second.digests, second.findings) == (first.digests, first.findings)
    changed = photos / "green" / "green_02.jpg"
    changed.write_bytes(changed.read_bytes() + b"more")
    audit_folder(photos)
    assert decoded == [changed.read_bytes()]


def test_every_row_of_the_messy_folder_comes_out_as_it_should(shared_data: Path) -> None:
    result = audit_folder(shared_data / "messy")
    used = set(result.dataset.paths)
    quarantined = {item.path for item in result.quarantine}
    ignored = tuple(item.path for item in result.dataset.ignored)
    paths_of = {
        kind: [finding.paths for finding in findings_of(result, kind)] for kind in ("duplicate", "conflict")
    }
    with (shared_data / "messy.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 64
    for row in rows:
        path, outcome = row["path"], row["outcome"]
        is_ignored = any(path == other or path.startswith(other) for other in ignored)
        outcomes = (path in used, path in quarantined, is_ignored)
        expected = {
            "use": [(True, False, False)],
            "duplicate": [(True, False, False)],
            "conflict": [(True, False, False)],
            "quarantine": [(False, True, False)],
            "ignore": [(False, False, True)],
            "any": [(True, False, False), (False, True, False)],
            "report": [(True, False, False), (False, False, False)],
        }[outcome]
        assert outcomes in expected, row
    in_other_formats = ("cmyk.jpg", "grey16.png", "grey.png", "palette.png", "rgba.png", "webp_named.jpg")
    assert [finding.paths for finding in findings_of(result, "near_duplicate")] == [
        tuple(f"cat/{name}" for name in in_other_formats),
        ("cat/gif_named.jpg", "cat/png_named.jpg"),
        ("dog/animated.gif", "dog/exif6.jpg"),
        ("horse/horse_01.jpg", "horse/resaved_horse_01.jpg"),
    ]
    assert paths_of["conflict"] == [("cat/cat_00.jpg", "dog/copy_of_cat_00.jpg")]
    assert paths_of["duplicate"] == [("horse/copy_of_horse_00.jpg", "horse/horse_00.jpg")]
    assert {item.path: item.reason for item in result.quarantine} == {
        "dog/truncated_half.jpg": "It is cut short.",
        "horse/bomb.png": "It claims more pixels than can be held. At most 178,956,970 pixels are decoded.",
        "horse/empty.jpg": "The file is empty.",
        "horse/html.png": "It is no picture: it begins with '<!doctype html><title>404</tit'.",
        "horse/text.jpg": "It is no picture: it begins with 'this is not a picture'.",
    }
    assert [finding.detail for finding in findings_of(result, "small_class")] == [
        "Class 'zebra' has 1 different photo to divide into 3 parts."
    ]
    assert [finding.detail for finding in findings_of(result, "empty_class")] == [
        "The folder of class 'empty_class' holds no picture that is read, so the class is left out."
    ]
    assert [finding.paths for finding in findings_of(result, "wrong_type")] == [
        ("cat/gif_named.jpg",),
        ("cat/png_named.jpg",),
        ("cat/webp_named.jpg",),
    ]


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        OSError("out of memory error when reading image file"),
        OSError(errno.EIO, "Input/output error"),
        OSError(errno.EMFILE, "Too many open files"),
        ImportError("no libtiff"),
    ],
)
def test_a_fault_of_the_machine_is_not_remembered(
    error: Exception, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    colour = (len(repr(error)), 200, 9)  # bytes of its own, for what is kept outlives a test
    Image.new("RGB", (40, 30), colour).save(photos / "green" / "z.png")

    def fail(_: object) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr("PIL.PngImagePlugin.PngImageFile.load", fail)
        result = audit_folder(photos)
    [item] = result.quarantine
    assert findings_of(result, "unreadable") == [
        Finding(
            "unreadable",
            ("green/z.png",),
            f"green/z.png cannot be read and is left out. {item.reason}",
            "The next run tries it again.",
        )
    ]
    assert audit_folder(photos).quarantine == ()


SCARCE = """
import resource, sys
from pathlib import Path
from PIL import Image
from headstart.pictures import pixels
from headstart.sources import listing
from headstart.photos.audit import audit
from headstart.base.progress import Progress
from headstart.storage.store import Store

folder = Path(sys.argv[1])
pixels.core_count = lambda: 1  # each thread claims room of its own

def quarantine():
    with Store(Progress(), folder.parent / "store.sqlite") as store:
        found = audit(listing.load(folder), store=store, progress=Progress()).quarantine
    return [(item.path, item.reason) for item in found]

print(quarantine())
Image.new("RGB", (4000, 4000)).save(folder / "green" / "z.png")
claimed = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
limits = resource.getrlimit(resource.RLIMIT_AS)
resource.setrlimit(resource.RLIMIT_AS, (claimed + 40_000_000, limits[1]))
print(quarantine())
resource.setrlimit(resource.RLIMIT_AS, limits)
print(quarantine())
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is limited in the way of Linux")
def test_a_picture_that_there_was_no_memory_for_is_read_when_there_is(photos: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCARCE, str(photos)],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
    )
    assert done.stderr == ""
    scarce = [("green/z.png", "There is no memory for it.")]
    assert done.stdout.splitlines() == ["[]", str(scarce), "[]"]


def test_what_no_decoder_read_is_tried_again_by_new_ones_and_nothing_else(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    damaged = photos / "red" / "red_04.jpg"
    damaged.write_bytes(b"\xff\xd8\xff\xe0 no more of it either")
    first = audit_folder(photos)
    decoded: list[bytes] = []
    original = pixels.decode

    def counted(content: bytes, **options: Any) -> pixels.Pixels:
        decoded.append(content)
        return original(content, **options)

    monkeypatch.setattr(pixels, "decode", counted)
    monkeypatch.setattr("importlib.metadata.version", lambda _: "99.0")
    checks.decoders.cache_clear()
    assert audit_folder(photos).quarantine == first.quarantine
    assert decoded == [damaged.read_bytes()]
    assert audit_folder(photos).quarantine == first.quarantine
    assert decoded == [damaged.read_bytes()]
    checks.decoders.cache_clear()
