"""HEIC, AVIF and raw files: what is read comes out as it was saved, and what is not is never half read."""

import io
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pillow_heif
import pytest
from conftest import Without
from PIL import Image

from headstart.base.errors import UnreadableImage, UnreadableNow, UnsupportedImage
from headstart.pictures import foreign, formats, pixels

pillow_heif.register_heif_opener()  # to write with; Headstart reads without it

LOSSLESS: dict[str, dict[str, Any]] = {
    "HEIF": {"quality": -1, "chroma": 444},
    "AVIF": {"quality": 100, "subsampling": "4:4:4"},
}
MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr")


def quarters() -> np.ndarray:
    """Four colours, so that no turn or mirror image looks like another; uint8 (48, 64, 3)."""
    image = np.full((48, 64, 3), 250, np.uint8)
    image[:24, :32], image[24:, :32], image[:24, 32:] = (220, 20, 20), (20, 200, 20), (20, 20, 210)
    return image


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", ["HEIF", "AVIF"])
def test_a_picture_is_the_same_from_heic_and_avif_as_from_png(kind: str, mode: str) -> None:
    image = Image.fromarray(quarters()).convert(mode)
    lossless = "TIFF" if mode in ("CMYK", "YCbCr") else "PNG"
    expected = pixels.decode(saved(image, lossless)).astype(int)
    # Both encoders work in YCbCr of 8 bits, which costs rounding.
    assert np.abs(pixels.decode(saved(image, kind, **LOSSLESS[kind])) - expected).max() <= 4


@pytest.mark.parametrize("kind", ["HEIF", "AVIF"])
def test_transparency_is_laid_on_white(kind: str) -> None:
    image = Image.fromarray(quarters())
    image.putalpha(Image.fromarray(np.arange(64, dtype=np.uint8)[None].repeat(48, axis=0) * 4))
    expected = pixels.decode(saved(image, "PNG")).astype(int)
    assert np.abs(pixels.decode(saved(image, kind, **LOSSLESS[kind])) - expected).max() <= 4


@pytest.mark.parametrize("bits", [10, 12])
def test_heic_of_more_bits_comes_out_in_8(bits: int) -> None:
    image = quarters()
    heif = pillow_heif.from_bytes("RGB;16", (64, 48), (image.astype(np.uint16) * 257).tobytes())
    stream = io.BytesIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pillow_heif.options, "SAVE_HDR_TO_12_BIT", bits == 12)
        heif.save(stream, quality=-1, chroma=444)
    assert pillow_heif.open_heif(stream, convert_hdr_to_8bit=False).info["bit_depth"] == bits
    assert np.abs(pixels.decode(stream.getvalue()).astype(int) - image).max() <= 4


def test_of_several_pictures_in_a_heic_it_is_the_one_that_the_file_calls_its_own() -> None:
    first, second = (Image.new("RGB", (32, 32), colour) for colour in ("red", "blue"))
    for primary, expected in ((0, [254, 0, 0]), (1, [0, 0, 254])):
        content = saved(
            first, "HEIF", save_all=True, append_images=[second], primary_index=primary, **LOSSLESS["HEIF"]
        )
        assert pixels.decode(content)[9, 9].tolist() == expected


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["HEIF", "AVIF"])
def test_a_turned_picture_stands_upright_exactly_once(kind: str, orientation: int) -> None:
    """Both writers note a turn twice, as EXIF and in the container, as telephones do."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = Image.fromarray(quarters())
    content = saved(image, kind, exif=exif.tobytes(), **LOSSLESS[kind])
    assert (b"irot" in content or b"imir" in content) == (orientation > 1)
    decoded, expected = pixels.decode(content).astype(int), pixels.decode(saved(image, "PNG", exif=exif))
    assert decoded.shape == expected.shape
    assert np.abs(decoded - expected).max() <= 4


def test_a_turn_that_a_heic_has_in_its_exif_alone_does_not_count() -> None:
    """As in every viewer: ISO/IEC 23000-22 lets the container decide."""
    exif = Image.Exif()
    exif[0x0112] = 6
    image = Image.fromarray(quarters())
    content = saved(image, "HEIF", exif=exif, **LOSSLESS["HEIF"])
    heif = pillow_heif.open_heif(io.BytesIO(content))
    assert b"irot" not in content and pillow_heif.set_orientation(heif.info) == 6
    assert np.abs(pixels.decode(content).astype(int) - quarters()).max() <= 4


def test_a_heic_counts_whatever_its_name_says(tmp_path: Path) -> None:
    content = saved(Image.fromarray(quarters()), "HEIF")
    (tmp_path / "photo.bin").write_bytes(content)
    assert formats.is_picture(tmp_path / "photo.bin")
    assert pixels.header(content) == ("HEIF", 64, 48)
    assert formats.picture_extensions()[".heic"] == formats.picture_extensions()[".hif"] == "HEIF"


@pytest.mark.parametrize("kept", [0.0, 0.1, 0.5, 0.9])
def test_half_a_heic_is_unreadable_for_good(kept: float) -> None:
    content = saved(Image.fromarray(quarters()), "HEIF")
    with pytest.raises(UnreadableImage) as caught:
        pixels.decode(content[: 12 + int(kept * len(content))])
    assert not isinstance(caught.value, UnsupportedImage | UnreadableNow)


def test_without_its_decoder_a_heic_is_told_for_what_it_is(tmp_path: Path, without: Without) -> None:
    content = saved(Image.fromarray(quarters()), "HEIF")
    without("pillow_heif")
    assert "HEIF" not in formats.raster_formats() and ".heic" not in formats.picture_extensions()
    with pytest.raises(UnsupportedImage) as caught:
        pixels.decode(content)
    assert caught.value.kind == "HEIC"
    assert str(caught.value) == (
        "It is HEIC, which is not read here.\nWhat reads them comes by pip install 'headstart[heic]'."
    )
    file = tmp_path / "photo.heic"
    file.write_bytes(content)
    with pytest.raises(UnsupportedImage) as caught:
        pixels.read(file, 8, "squash")
    assert caught.value.problem == f"{file} cannot be read. It is HEIC, which is not read here."
    assert formats.why_no_picture(file) == "HEIC, which is not read here"


def tiff(tags: dict[int, tuple[int, int]], mark: bytes = b"") -> bytes:
    """A grey TIFF of 4 x 3 pixels with tags of its own, each a type (3 short, 4 long, 1 byte) and a value."""
    plain = {
        **{256: (3, 4), 257: (3, 3), 258: (3, 8), 259: (3, 1), 262: (3, 1), 277: (3, 1), 278: (3, 3)},
        279: (4, 12),
    }
    every = {**plain, 273: (4, 0), **tags}
    start = 16 + 2 + 12 * len(every) + 4
    every[273] = (4, start)
    entries = b"".join(
        struct.pack("<HHII", tag, kind, 4 if kind == 1 else 1, value)
        for tag, (kind, value) in sorted(every.items())
    )
    head = b"II*\x00" + struct.pack("<I", 16) + mark.ljust(8, b"\x00")
    return head + struct.pack("<H", len(every)) + entries + bytes(4) + bytes(range(12))


RAW = {
    "DNG": tiff({50706: (1, 0x00000401)}),
    "NEF: a thumbnail, and others below": tiff({254: (4, 1), 330: (4, 8)}),
    "CR2": tiff({}, b"CR\x02\x00"),
    "a colour filter array": tiff({262: (3, 32803)}),
    "linear raw": tiff({262: (3, 34892)}),
    "Nikon's compression": tiff({259: (3, 34713)}),
    "Sony's compression": tiff({259: (3, 32767)}),
    "Pentax's compression": tiff({259: (3, 65535)}),
}


@pytest.mark.parametrize("content", RAW.values(), ids=RAW)
def test_a_raw_file_is_told_and_never_read_as_its_thumbnail(content: bytes, tmp_path: Path) -> None:
    for read in (pixels.decode, pixels.header):
        with pytest.raises(UnsupportedImage) as caught:
            read(content)
        assert str(caught.value) == (
            "It is camera raw, which is not read here.\n"
            "Export them as JPEG, from the camera's program or by darktable-cli PHOTO.NEF PHOTO.jpg."
        )
    file = tmp_path / "photo"
    file.write_bytes(content)
    assert not formats.is_picture(file)


def test_a_tiff_that_is_no_raw_file_is_read(tmp_path: Path) -> None:
    plain, pyramid = tiff({}), tiff({254: (4, 0), 330: (4, 8)})
    second_page = tiff({254: (4, 2)})
    for content in (plain, pyramid, second_page):
        assert pixels.decode(content)[..., 0].tolist() == np.arange(12).reshape(3, 4).tolist()
    (tmp_path / "photo.tif").write_bytes(plain)
    assert formats.why_no_picture(tmp_path / "photo.tif") == ""


@pytest.mark.parametrize("extension", foreign.RAW.extensions)
def test_a_raw_file_is_known_by_its_name_where_its_tags_say_nothing(extension: str, tmp_path: Path) -> None:
    file = tmp_path / f"IMG_1{extension.upper()}"
    file.write_bytes(tiff({}))
    assert formats.why_no_picture(file) == "camera raw, which is not read here"
    Image.new("RGB", (5, 5)).save(file, "JPEG")
    assert formats.why_no_picture(file) == ""


@pytest.mark.parametrize("words", [["--help"], ["predict"]])
def test_optional_decoders_are_imported_for_their_own_files_alone(words: list[str], tmp_path: Path) -> None:
    Image.new("RGB", (30, 30)).save(tmp_path / "photo.jpg")
    code = (
        "import sys\nfrom pathlib import Path\nfrom headstart import cli\n"
        "from headstart.pictures import pixels\nfrom headstart.sources import listing\n"
        f"words, folder = {words!r}, Path({str(tmp_path)!r})\n"
        "if words == ['--help']:\n    cli.main(words, standalone_mode=False)\n"
        "else:\n    [pixels.read(path, 8, 'squash') for path in listing.pictures(folder)]\n"
        "print('found', *sorted({'pillow_heif', '_pillow_heif', 'pydicom', 'gdcm'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr == "" and done.stdout.splitlines()[-1] == "found"
