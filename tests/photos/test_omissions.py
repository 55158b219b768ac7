"""What is not read is told by kind and class, gravely where a class loses a tenth of its pictures."""

import shutil
from pathlib import Path

import pillow_heif
import pytest
from click.testing import CliRunner
from conftest import Without, audited
from PIL import Image
from test_foreign import BEGINNINGS

import headstart
from headstart.base.errors import TooFewClasses
from headstart.cli import main
from headstart.photos import omissions
from headstart.photos.findings import Finding
from headstart.sources import listing
from headstart.sources.dataset import SetAside
from headstart.workflow import check

pillow_heif.register_heif_opener()  # to write with

HEIC_ADVICE = "What reads them comes by pip install 'headstart[heic]'."
RAW_ADVICE = "Export them as JPEG, from the camera's program or by darktable-cli PHOTO.NEF PHOTO.jpg."
VIDEO_ADVICE = (
    "Take single pictures from each, by ffmpeg -i CLIP.mp4 -vf fps=1 CLIP_%03d.jpg, and keep those of one "
    "clip together with --group-by."
)


def to_heic(folder: Path, count: int) -> None:
    """Turn the last few photos of a class into HEIC."""
    for file in sorted(folder.glob("*.jpg"))[-count:]:
        with Image.open(file) as image:
            image.save(file.with_suffix(".HEIC"), "HEIF")
        file.unlink()


def raw(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).write_bytes(BEGINNINGS["camera raw"])


def found(photos: Path) -> list[Finding]:
    result = audited(listing.load(photos))
    return [one for one in result.findings if one.kind in ("unsupported", "passed_over")]


def test_heic_is_a_photo_like_any_other(photos: Path) -> None:
    to_heic(photos / "red", 5)
    result = audited(listing.load(photos))
    assert len(result.dataset) == 40 and result.quarantine == () and found(photos) == []


def test_a_class_that_loses_a_tenth_is_told_first(photos: Path, without: Without) -> None:
    to_heic(photos / "red", 7)
    (photos / "green" / "green_00.jpg").write_bytes(b"")
    without("pillow_heif")
    assert check.render(check.report("photos", check.look(str(photos)))) == (
        "Read as: 2 class folders\n"
        "32 photos of 2 classes, and 1 unreadable\n"
        "\n"
        "Pictures of a kind that is not read: 1\n"
        "  7 of 20 pictures of class 'red' are HEIC and not read here: red/red_13.HEIC, red/red_14.HEIC, "
        "red/red_15.HEIC, red/red_16.HEIC, red/red_17.HEIC and 2 more.\n"
        f"  → {HEIC_ADVICE}\n"
        "\n"
        "Unreadable: 1\n"
        "  green/green_00.jpg cannot be read and is left out. The file is empty.\n"
        "  → Replace or remove it.\n"
    )


@pytest.mark.parametrize(("n_raw", "kind"), [(2, "passed_over"), (3, "unsupported")])
def test_a_tenth_is_the_bound(n_raw: int, kind: str, photos: Path) -> None:
    """2 of 22 are 9.1%, 3 of 23 are 13%."""
    raw(photos / "red", *(f"z{number}.NEF" for number in range(n_raw)))
    [one] = found(photos)
    assert one.kind == kind
    assert one.detail.startswith(
        f"{n_raw} of {20 + n_raw} pictures of class 'red' are camera raw and not read"
    )
    assert one.advice == RAW_ADVICE


def test_losses_of_several_kinds_add_up(photos: Path) -> None:
    raw(photos / "red", "y.NEF", "z.CR3")
    (photos / "red" / "x.jxl").write_bytes(BEGINNINGS["JPEG XL"])
    assert found(photos) == [
        Finding(
            "unsupported",
            ("red/y.NEF", "red/z.CR3"),
            "2 of 23 pictures of class 'red' are camera raw and not read here: red/y.NEF, red/z.CR3.",
            RAW_ADVICE,
        ),
        Finding(
            "unsupported",
            ("red/x.jxl",),
            "1 of 23 pictures of class 'red' is JPEG XL and not read here: red/x.jxl.",
            "Convert them, by djxl PHOTO.jxl PHOTO.png.",
        ),
    ]


def test_what_is_named_like_a_photo_and_is_none_is_told_by_class_too(photos: Path, without: Without) -> None:
    to_heic(photos / "green", 4)
    for file in (photos / "green").glob("*.HEIC"):
        file.rename(file.with_suffix(".jpg"))
    without("pillow_heif")
    result = audited(listing.load(photos))
    assert len(result.dataset) == 36
    assert result.quarantine[0] == SetAside("green/green_16.jpg", "It is HEIC, which is not read here.")
    assert [(one.kind, one.detail) for one in result.findings] == [
        (
            "unsupported",
            "4 of 20 pictures of class 'green' are HEIC and not read here: green/green_16.jpg, "
            "green/green_17.jpg, green/green_18.jpg, green/green_19.jpg.",
        )
    ]


def test_what_is_read_by_a_new_decoder_is_read_and_what_it_read_is_not_without_it(
    photos: Path, without: Without
) -> None:
    """A kept verdict holds as long as the decoders that gave it are here."""
    to_heic(photos / "green", 4)
    for file in (photos / "green").glob("*.HEIC"):
        file.rename(file.with_suffix(".jpg"))
    assert len(audited(listing.load(photos)).dataset) == 40
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("importlib.util.find_spec", lambda name: None)
        without("nothing_of_that_name")
        assert len(audited(listing.load(photos)).dataset) == 36
    without("nothing_of_that_name")
    assert len(audited(listing.load(photos)).dataset) == 40


def test_every_kind_in_a_class_is_told(photos: Path) -> None:
    """Those that are not read here, of all that are known, each by its bytes alone."""
    for number, (name, head) in enumerate(BEGINNINGS.items()):
        if name not in ("HEIC", "AVIF", "DICOM", "JPEG 2000", "WebP"):
            (photos / "red" / f"file_{number}").write_bytes(head + bytes(200))
    kinds = {one.detail.split(" is ")[-1].split(" and ")[0] for one in found(photos)}
    assert kinds - {"A video lies among the photos of class 'red': red/file_14."} == {
        *("camera raw", "JPEG XL", "JPEG XR", "OpenEXR", "Radiance HDR", "NumPy", "SVG", "PDF", "PostScript")
    }


def test_videos_are_counted_and_those_of_live_photos_are_not(photos: Path) -> None:
    for name in ("clip.MP4", "film.webm", "red_03.MOV"):
        (photos / "red" / name).write_bytes(BEGINNINGS["video"])
    shutil.copy(photos / "red" / "clip.MP4", photos / "green")
    assert found(photos) == [
        Finding(
            "passed_over",
            ("green/clip.MP4",),
            "A video lies among the photos of class 'green': green/clip.MP4.",
            VIDEO_ADVICE,
        ),
        Finding(
            "passed_over",
            ("red/clip.MP4", "red/film.webm"),
            "2 videos lie among the photos of class 'red': red/clip.MP4, red/film.webm.",
            VIDEO_ADVICE,
        ),
    ]


def test_files_of_labels_are_told_and_other_files_beside_photos_are_not(photos: Path) -> None:
    for number in range(4):
        (photos / "red" / f"red_{number:02}.txt").write_text("0 0.5 0.5 1 1")
        (photos / "red" / f"red_{number:02}.xmp").write_text("<x/>")
        (photos / "red" / f"red_{number:02}.jpg.json").write_text("{}")
    (photos / "red" / "red_09.xml").write_text("<annotation/>")
    (photos / "red" / "notes.txt").write_text("")
    assert found(photos) == [
        Finding(
            "passed_over",
            ("red/red_00.txt", "red/red_01.txt", "red/red_02.txt", "red/red_03.txt"),
            "Beside 4 of 40 photos lies a .txt file of the same name, such as red/red_00.txt.",
            omissions.LABEL_ADVICE,
        )
    ]


def test_a_class_of_nothing_else_is_told(photos: Path) -> None:
    raw(photos / "red", "sub.nef")
    (photos / "blue").mkdir()
    raw(photos / "blue", "1.nef", "2.nef")
    details = [one.detail for one in found(photos) if one.kind == "unsupported"]
    assert len(details) == 1
    assert details[0].startswith("All 2 pictures ") and details[0].endswith(
        "'blue' are camera raw and not read here: blue/1.nef, blue/2.nef."
    )


def test_compare_tells_it_before_it_begins(photos: Path, tmp_path: Path) -> None:
    raw(photos / "red", "x.nef", "y.nef", "z.nef")
    words = ["compare", str(photos), "--backbones", "tiny", "--techniques", "features", "--no-report"]
    done = CliRunner().invoke(main, [*words, "--out", str(tmp_path / "run")])
    assert done.exit_code == 0, done.output
    said = (
        "3 of 23 pictures of class 'red' are camera raw and not read here: red/x.nef, red/y.nef, red/z.nef."
    )
    assert f"{said} {RAW_ADVICE}\n" in done.stderr


def test_photos_of_which_none_is_read_say_so(tmp_path: Path, without: Without) -> None:
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        for number in range(3):
            (tmp_path / name / f"IM{number}").write_bytes(BEGINNINGS["DICOM"] + bytes(99))
    without("pydicom")
    with pytest.raises(TooFewClasses) as caught:
        headstart.compare(tmp_path, backbones=("tiny",))
    assert caught.value.problem.endswith(" 6 files in it are DICOM and not read.")
    assert caught.value.fix == "What reads them comes by pip install 'headstart[dicom]'."
