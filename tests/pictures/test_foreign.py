"""Files that are not read are known by their bytes, else by their names, and are never taken for pictures."""

from pathlib import Path

import pytest

from headstart.base.errors import UnreadableImage, UnsupportedImage
from headstart.pictures import foreign, formats, pixels

BOX = b"\x00\x00\x00\x18ftyp"
BEGINNINGS = {
    "HEIC": BOX + b"heic\x00\x00\x00\x00mif1heic",
    "AVIF": BOX + b"avif\x00\x00\x00\x00avifmif1",
    "DICOM": bytes(128) + b"DICM\x02\x00\x00\x00UL\x04\x00",
    "camera raw": BOX + b"crx \x00\x00\x00\x01crx isom",
    "JPEG 2000": b"\x00\x00\x00\x0cjP  \r\n\x87\n\x00\x00\x00\x14ftypjp2 ",
    "WebP": b"RIFF\x24\x00\x00\x00WEBPVP8 ",
    "JPEG XL": b"\x00\x00\x00\x0cJXL \r\n\x87\n\x00\x00\x00\x14ftypjxl ",
    "JPEG XR": b"II\xbc\x01\x20\x00\x00\x00",
    "OpenEXR": b"\x76\x2f\x31\x01\x02\x00\x00\x00channels",
    "Radiance HDR": b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n",
    "NumPy": b"\x93NUMPY\x01\x00v\x00{'descr': '|u1'}",
    "SVG": b"<?xml version='1.0'?>\n<svg xmlns='http://www.w3.org/2000/svg'/>",
    "PDF": b"%PDF-1.7\n",
    "PostScript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
    "video": BOX + b"isom\x00\x00\x02\x00isomiso2avc1mp41",
}
MORE = {
    b"\xff\x0a\xfa\x1f\x41": "JPEG XL",
    b"\xff\x4f\xff\x51\x00\x2f": "JPEG 2000",
    b"FUJIFILMCCD-RAW 0201": "camera raw",
    b"IIRO\x08\x00\x00\x00": "camera raw",
    b"IIU\x00\x18\x00\x00\x00": "camera raw",
    b"\x00MRM\x00\x01": "camera raw",
    b"FOVb\x00\x00": "camera raw",
    b"II\x1a\x00\x00\x00HEAPCCDR": "camera raw",
    b"II*\x00\x10\x00\x00\x00CR\x02\x00": "camera raw",
    BOX + b"mif1\x00\x00\x00\x00mif1heic": "HEIC",
    BOX + b"qt  \x00\x00\x00\x00": "video",
    b"\x1a\x45\xdf\xa3\x01\x00": "video",
    b"RIFF\x24\x00\x00\x00AVI LIST": "video",
}


def named(kind: foreign.Kind | None) -> str:
    assert kind
    return kind.name


def test_every_kind_is_known_by_its_bytes_or_has_no_sure_ones() -> None:
    assert {kind.name for kind in foreign.KINDS} - set(BEGINNINGS) == {"NIfTI"}
    for name, head in BEGINNINGS.items():
        assert named(foreign.find("photo.txt", head)) == name
    for head, name in MORE.items():
        assert named(foreign.find("", head)) == name


@pytest.mark.parametrize("kind", foreign.KINDS, ids=lambda kind: kind.name)
def test_a_name_counts_where_the_bytes_say_nothing(kind: foreign.Kind) -> None:
    for extension in kind.extensions:
        assert foreign.find(f"IMG_0001{extension.upper()}", b"") is kind
        assert named(foreign.find(f"IMG_0001{extension}", b"%PDF-1.7")) == "PDF"
    assert foreign.of(kind.reason) is kind
    assert kind.advice.endswith(".")


def test_other_files_are_of_no_kind() -> None:
    for name, head in (
        ("notes.txt", b"notes"),
        ("labels.json", b"{}"),
        ("x", b""),
        ("a.xmp", b"<x:xmpmeta/>"),
    ):
        assert foreign.find(name, head) is None
    assert foreign.of("hidden") is None


@pytest.mark.parametrize("head", [*BEGINNINGS.values(), *MORE], ids=[*BEGINNINGS, *MORE.values()])
def test_none_is_taken_for_a_picture_or_said_to_be_another(head: bytes, tmp_path: Path) -> None:
    """Where its format is read here, the beginning alone is a damaged picture."""
    content, kind = head + bytes(200), foreign.find("", head)
    file = tmp_path / "file"
    file.write_bytes(content)
    with pytest.raises(UnreadableImage) as caught:
        pixels.decode(content)
    assert kind
    if kind.format in formats.raster_formats():
        assert not isinstance(caught.value, UnsupportedImage)
    else:
        assert isinstance(caught.value, UnsupportedImage)
        assert (caught.value.problem, caught.value.fix) == (f"It is {kind.reason}.", kind.advice)
        assert formats.why_no_picture(file) == kind.reason
