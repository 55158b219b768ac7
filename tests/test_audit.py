import csv
import errno
import hashlib
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
import pytest
from conftest import audited
from PIL import Image

from headstart import dataset, pixels
from headstart.audit import Audit, Finding, free_groups, missing_parts
from headstart.dataset import SetAside
from headstart.progress import Advance, Progress


def audit_folder(folder: Path) -> Audit:
    return audited(dataset.load(folder))


def copy(root: Path, source: str, target: str) -> None:
    (root / target).parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(root / source, root / target)


def findings_of(result: Audit, kind: str) -> list[Finding]:
    return [finding for finding in result.findings if finding.kind == kind]


def test_clean_photos_have_no_findings(photos: Path) -> None:
    result = audit_folder(photos)
    assert result.findings == () and result.quarantine == ()
    assert result.dataset.paths == dataset.load(photos).paths
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
    assert result.findings == (
        Finding(
            "unreadable",
            ("red/a.jpg", "red/b.jpg", "red/c.png", "red/d.jpg"),
            "4 photos cannot be read and are left out.",
            "quarantine.csv gives the reason for each; replace or remove them.",
        ),
    )
    assert len(result.dataset) == len(result.digests) == len(result.groups) == 40
    assert result.dataset.class_names == ("green", "red")


def test_a_file_that_cannot_be_opened_goes_to_quarantine(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Permission is denied by hand, for an administrator may read anything."""
    listed = dataset.load(photos)
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
            "The folder of class 'none' holds no picture, so the class is left out.",
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
    assert audit_folder(photos).findings == (
        Finding("wrong_type", ("red/a.jpg", "red/b.JPG"), "2 photos named .jpg are of type WEBP.", advice),
        Finding("wrong_type", ("red/c.png",), "1 photo named .png is of type BMP.", advice),
    )


def test_groups_are_divided_by_their_commonest_label() -> None:
    listed = dataset.Dataset(
        root=Path("/photos"),
        paths=tuple("abcdef"),
        labels=np.array([1, 0, 1, 1, 0, 0], np.int32),
        class_names=("x", "y"),
        given_parts=("train", "train", "train", "train", "train", "test"),
    )
    groups = np.array([0, 0, 0, 1, 1, 2], np.int32)
    assert free_groups(listed, groups) == [[[3, 4]], [[0, 1, 2]]]


def test_progress_is_told_of_each_photo(photos: Path) -> None:
    told: list[object] = []

    class Recorder(Progress):
        @contextmanager
        def stage(self, title: str, total: int, unit: str = "images") -> Iterator[Advance]:
            told.append((title, total))
            yield lambda count=1: told.append(count)

    audited(dataset.load(photos), Recorder())
    assert told == [("Checking photos", 40), *[8] * 5]


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
        "The folder of class 'empty_class' holds no picture, so the class is left out."
    ]
    assert [finding.paths for finding in findings_of(result, "wrong_type")] == [
        ("cat/gif_named.jpg",),
        ("cat/png_named.jpg",),
        ("cat/webp_named.jpg",),
    ]
