import csv
import hashlib
import os
import random
import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import audited
from PIL import Image, ImageOps

from headstart.base.errors import DataError
from headstart.base.progress import Progress
from headstart.networks import backbones, engine
from headstart.networks.features import Extractor
from headstart.photos import splits
from headstart.photos.audit import Audit
from headstart.sources import listing
from headstart.storage.store import Store
from headstart.workflow import check


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.*")}


@pytest.fixture
def faulty(photos: Path) -> Path:
    """A damaged photo, two copies in one class, one in another class, a near-duplicate."""
    (photos / "green" / "damaged.jpg").write_bytes(b"\xff\xd8\xff\xe0 no more of it")
    shutil.copyfile(photos / "red" / "red_03.jpg", photos / "red" / "copy.jpg")
    shutil.copyfile(photos / "green" / "green_07.jpg", photos / "red" / "also.jpg")
    with Image.open(photos / "green" / "green_09.jpg") as image:
        image.resize((60, 45)).save(photos / "green" / "again.jpg", quality=85)
    return photos


def test_findings_in_words(faulty: Path) -> None:
    told = check.report("photos", check.look(str(faulty)))
    assert check.render(told) == (
        "Read as: 2 class folders\n"
        "43 photos of 2 classes, and 1 unreadable\n"
        "\n"
        "Unreadable: 1\n"
        "  green/damaged.jpg cannot be read and is left out. It is cut short.\n"
        "  → Replace or remove it.\n"
        "\n"
        "One photo in two classes: 1\n"
        "  green/green_07.jpg is also red/also.jpg: one photo in the classes green, red.\n"
        "  → Keep it in the class where it belongs.\n"
        "\n"
        "Copies: 1\n"
        "  red/copy.jpg is also red/red_03.jpg.\n"
        "  → Copies stay in one part; remove all but one.\n"
        "\n"
        "Near-duplicates: 1\n"
        "  green/again.jpg looks like green/green_09.jpg.\n"
        "  → They stay in one part; nothing need be done.\n"
    )


def test_of_many_findings_a_few_are_printed(photos: Path) -> None:
    for number in range(7):
        (photos / "red" / f"bad{number}.jpg").write_bytes(b"")
    lines = check.render(check.report("photos", check.look(str(photos)))).splitlines()
    assert lines[3:] == [
        "Unreadable: 7",
        *(f"  red/bad{number}.jpg cannot be read and is left out. The file is empty." for number in range(5)),
        "  … and 2 more: --json or --fix list shows them.",
        "  → Replace or remove it.",
    ]


def test_nothing_amiss(photos: Path) -> None:
    told = check.report("photos", check.look(str(photos)))
    assert check.render(told) == (
        "Read as: 2 class folders\n40 photos of 2 classes\n\nNothing was found amiss.\n"
    )


def test_the_list_has_a_row_for_each_photo_of_each_finding(faulty: Path, tmp_path: Path) -> None:
    path = check.write("list", tmp_path / "fixed", check.look(str(faulty)))
    assert path == tmp_path / "fixed" / "findings.csv"
    rows = read_csv(path)
    assert [(row["kind"], row["path"], row["finding"]) for row in rows] == [
        ("unreadable", "green/damaged.jpg", "1"),
        ("conflict", "green/green_07.jpg", "2"),
        ("conflict", "red/also.jpg", "2"),
        ("duplicate", "red/copy.jpg", "3"),
        ("duplicate", "red/red_03.jpg", "3"),
        ("near_duplicate", "green/again.jpg", "4"),
        ("near_duplicate", "green/green_09.jpg", "4"),
    ]
    assert rows[1]["detail"].endswith("one photo in the classes green, red.")
    assert rows[1]["advice"] == "Keep it in the class where it belongs."


def test_what_is_kept_can_be_used_as_it_is(faulty: Path, tmp_path: Path) -> None:
    path = check.write("quarantine", tmp_path / "fixed", check.look(str(faulty)))
    kept = {Path(row["path"]).relative_to(faulty).as_posix() for row in read_csv(path)}
    left_out = {"green/damaged.jpg", "green/green_07.jpg", "red/also.jpg", "red/red_03.jpg"}
    assert kept == set(listing.load(faulty).paths) - left_out
    again = check.look(str(path))
    assert [finding.kind for finding in again.findings] == ["near_duplicate"]
    assert len(again.dataset) == 40 and again.dataset.class_names == ("green", "red")


def test_groups_come_back_by_their_column(faulty: Path, tmp_path: Path) -> None:
    before = check.look(str(faulty))
    path = check.write("group", tmp_path, before)
    again = check.look(str(path), group_by="group")
    assert again.groups.tolist() == before.groups.tolist()
    assert [finding.kind for finding in again.findings] == ["conflict", "duplicate", "near_duplicate"]


def test_of_copies_in_given_parts_the_one_in_test_is_kept(photos: Path, tmp_path: Path) -> None:
    given = tmp_path / "given"
    for number, part in enumerate(("train", "val", "test")):
        for name in ("red", "green"):
            (given / part / name).mkdir(parents=True)
            shutil.copyfile(photos / name / f"{name}_0{number}.jpg", given / part / name / "1.jpg")
    for part in ("train", "val"):
        shutil.copyfile(given / "test" / "red" / "1.jpg", given / part / "red" / "2.jpg")
    shutil.copyfile(given / "train" / "green" / "1.jpg", given / "val" / "green" / "2.jpg")
    rows = read_csv(check.write("quarantine", tmp_path, check.look(str(given))))
    kept = [(Path(row["path"]).relative_to(given).as_posix(), row["label"], row["split"]) for row in rows]
    assert kept == [
        ("test/green/1.jpg", "green", "test"),
        ("test/red/1.jpg", "red", "test"),
        ("train/red/1.jpg", "red", "train"),
        ("val/green/1.jpg", "green", "validation"),
        ("val/green/2.jpg", "green", "validation"),
        ("val/red/1.jpg", "red", "validation"),
    ]


@pytest.mark.parametrize("fix", check.FIXES)
def test_no_photo_is_changed_and_no_file_overwritten(fix: str, faulty: Path, tmp_path: Path) -> None:
    before = contents(faulty)
    found = check.look(str(faulty))
    path = check.write(fix, tmp_path, found)
    content = path.read_bytes()
    with pytest.raises(DataError) as caught:
        check.write(fix, tmp_path, found)
    assert str(caught.value) == (
        f"{path} is there already.\nName another folder with --out, or remove the file."
    )
    assert contents(faulty) == before and path.read_bytes() == content


# Lookalikes


@pytest.fixture
def garments(shared_data: Path, tmp_path: Path) -> Path:
    """80 photos of two classes, a mirrored one among the other class, and one cropped by 5%."""
    folder = tmp_path / "garments"
    for name in ("hat", "shoes"):
        (folder / name).mkdir(parents=True)
        sources = sorted((shared_data / "clothing" / "train" / name).glob("*.jpg"))[:40]
        for number, source in enumerate(sources):
            shutil.copyfile(source, folder / name / f"{number:02}.jpg")
    with Image.open(folder / "hat" / "07.jpg") as image:
        ImageOps.mirror(image).save(folder / "shoes" / "mirrored.jpg")
    with Image.open(folder / "shoes" / "11.jpg") as image:
        width, height = image.size
        image.crop((0, height // 20, width - width // 20, height)).save(folder / "shoes" / "cropped.jpg")
    return folder


def extract(folder: Path, files: list[Path]) -> None:
    """Keep the features of photos, as a run with mobilenet_v2 does."""
    row, progress = backbones.find("mobilenet_v2"), Progress()
    frozen = engine.open_backbone(row, 224)
    digests = [hashlib.sha256(file.read_bytes()).hexdigest() for file in files]
    with Store(progress) as store:
        key = engine.backbone_key(row, 224, "openvino", None)
        Extractor(frozen, key, "squash", store).compute(files, digests, "", progress)


@pytest.mark.slow
def test_lookalikes_are_found_where_a_run_has_left_features(garments: Path, tmp_path: Path) -> None:
    files = sorted(garments.rglob("*.jpg"))
    extract(garments, files[:-1])
    assert "lookalike" not in [finding.kind for finding in check.look(str(garments)).findings]
    extract(garments, files)
    found = check.look(str(garments))
    told = [finding for finding in found.findings if finding.kind == "lookalike"]
    assert [finding.detail for finding in told] == ["shoes/11.jpg may show the same as shoes/cropped.jpg."]
    assert [finding.detail for finding in found.findings if finding.kind == "conflict"] == [
        "hat/07.jpg looks like shoes/mirrored.jpg, mirrored: nearly one photo in the classes hat, shoes."
    ]
    assert {finding.advice for finding in told} == {
        "Found by the features of mobilenet_v2, which now and then take two like things for one: look at "
        "them. The same thing belongs in one class and one part; --fix group writes a table that keeps it "
        "together."
    }
    paths = found.dataset.paths
    groups = dict(zip(paths, found.groups.tolist(), strict=True))
    assert groups["hat/07.jpg"] == groups["shoes/mirrored.jpg"] != groups["shoes/11.jpg"]
    table = check.write("group", tmp_path / "fixed", found)
    assert check.look(str(table), group_by="group").groups.tolist() == found.groups.tolist()
    # What `compare` divides by does not depend on it.
    assert len(set(audited(listing.load(garments)).groups.tolist())) == len(set(groups.values())) + 1


@pytest.mark.slow
def test_altered_versions_of_a_few_photos_are_one_finding(shared_data: Path, tmp_path: Path) -> None:
    """Six of each of 12 photos a class: mirrored or not, turned, shifted and cut; their names say nothing."""
    folder, chance = tmp_path / "altered", random.Random(4)
    source_of = {}
    for name in ("hat", "shoes"):
        (folder / name).mkdir(parents=True)
        sources = sorted((shared_data / "clothing" / "train" / name).glob("*.jpg"))[:12]
        numbers = chance.sample(range(1000), 72)
        for place, number in enumerate(numbers):
            with Image.open(sources[place // 6]) as image:
                altered = ImageOps.mirror(image) if chance.random() < 0.5 else image
                shift = (chance.randint(-20, 20), chance.randint(-20, 20))
                altered = altered.rotate(chance.uniform(-15, 15), Image.Resampling.BILINEAR, translate=shift)
                cut = chance.randint(0, 20)
                altered = altered.crop((cut, cut, image.width - cut, image.height - cut))
                altered.save(folder / name / f"{number:03}.jpg", quality=90)
            source_of[f"{name}/{number:03}.jpg"] = sources[place // 6].name
    assert "variant" not in [finding.kind for finding in check.look(str(folder)).findings]
    extract(folder, sorted(folder.rglob("*.jpg")))
    found = check.look(str(folder))
    (finding,) = (one for one in found.findings if one.kind == "variant")
    assert finding.detail.startswith(
        f"{len(finding.paths)} photos of 'hat', 'shoes' seem to be altered versions"
    )
    assert len(finding.paths) >= 0.9 * 144
    together: dict[int, set[str]] = {}
    for path, group in zip(found.dataset.paths, found.groups.tolist(), strict=True):
        together.setdefault(group, set()).add(source_of[path])
    assert all(len(sources) == 1 for sources in together.values()) and len(together) <= 48
    assert sum(one.kind == "lookalike" for one in found.findings) <= 2


# Planted faults


N_COPIES = 40


@pytest.fixture(scope="module")
def planted(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Audit, dict[str, str]]:
    """The clothing photos with copies of train photos in test, and shoes of another image size.

    The copies are smaller and saved anew; returned are the paths of copy and original.
    """
    root = tmp_path_factory.mktemp("planted") / "clothing"
    chance = random.Random(7)
    for source in sorted((shared_data / "clothing").glob("*/*/*.jpg")):
        target = root / source.relative_to(shared_data / "clothing")
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.parent.name == "shoes":
            with Image.open(source) as image:
                image.resize((300, 300)).save(target, quality=90)
        else:
            os.symlink(source, target)
    originals = chance.sample(sorted((root / "train").glob("*/*.jpg")), N_COPIES)
    copies = {}
    for number, original in enumerate(originals):
        copy = root / "test" / original.parent.name / f"copy{number}{chance.choice(('.jpg', '.png'))}"
        scale = chance.uniform(0.3, 1)
        with Image.open(original) as image:
            smaller = image.resize((round(image.width * scale), round(image.height * scale)))
        smaller.save(copy, quality=chance.randint(40, 95))
        copies[copy.relative_to(root).as_posix()] = original.relative_to(root).as_posix()
    return check.look(str(root)), copies


def test_planted_copies_are_found(planted: tuple[Audit, dict[str, str]]) -> None:
    found, copies = planted
    leaks = [set(finding.paths) for finding in found.findings if finding.kind == "leak"]
    n_found = sum(any({copy, original} <= paths for paths in leaks) for copy, original in copies.items())
    assert n_found >= 0.95 * N_COPIES


def test_hardly_anything_else_is_taken_for_a_copy(planted: tuple[Audit, dict[str, str]]) -> None:
    """Many of these garments lie on one ground; a skirt that is also among the shorts is one photo indeed."""
    found, copies = planted
    true = [{copy, original} for copy, original in copies.items()]
    true.append(
        {
            "train/shorts/6075b4a5-5b1a-4ce0-aea0-9dbfbca7c35c.jpg",
            "train/skirt/637a56e4-7fa6-4f75-8859-0f8902461554.jpg",
        }
    )
    repeated = [
        set(finding.paths)
        for finding in found.findings
        if finding.kind in ("conflict", "leak", "near_duplicate")
    ]
    assert sum(paths not in true for paths in repeated) <= 0.01 * N_COPIES


def test_planted_copies_leak_and_are_told_apart(planted: tuple[Audit, dict[str, str]]) -> None:
    found, copies = planted
    is_leaking = splits.leaking(found, splits.split(found, seed=0, validation=0.15, test=0.2))
    paths = np.array(found.dataset.paths)
    assert len(set(copies) & set(paths[is_leaking])) >= 0.95 * N_COPIES
    assert all(path.startswith("test/") for path in paths[is_leaking])


def test_a_planted_class_of_another_size_is_named(planted: tuple[Audit, dict[str, str]]) -> None:
    found, _ = planted
    told = [finding.detail for finding in found.findings if finding.kind == "shortcut"]
    assert any(
        detail.startswith("Class 'shoes' can be told by its image size alone: a simple rule finds 100%")
        and "Typical of it: 300 x 300 pixels" in detail
        for detail in told
    )
