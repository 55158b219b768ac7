"""DICOM comes out as the standard and pydicom say, from real files that pydicom brings along."""

import io
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.pixels.processing import apply_modality_lut, apply_windowing
from pydicom.pixels.utils import pixel_array
from pydicom.uid import ExplicitVRLittleEndian

from headstart.base.errors import UnreadableImage, UnsupportedImage
from headstart.pictures import dicom, formats, pixels

EQUAL = {
    "MR_small.dcm": (
        *("MR_small_RLE.dcm", "MR_small_bigendian.dcm", "MR_small_implicit.dcm", "MR_small_padded.dcm"),
        *("MR_small_jp2klossless.dcm", "MR_small_jpeg_ls_lossless.dcm"),
    ),
    "SC_rgb_rle.dcm": ("SC_rgb_jpeg_gdcm.dcm", "SC_rgb_rle_2frame.dcm"),
}
"""Files of the same picture, in other encodings without loss, or with a second frame."""


def content_of(name: str) -> bytes:
    return Path(str(get_testdata_file(name, download=False))).read_bytes()


def opened(name: str) -> pydicom.Dataset:
    return pydicom.dcmread(io.BytesIO(content_of(name)))


def content(dataset: pydicom.Dataset) -> bytes:
    stream = io.BytesIO()
    dataset.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def made(values: np.ndarray, **tags: Any) -> pydicom.Dataset:
    """An uncompressed file of 16-bit grey values."""
    dataset = opened("MR_small.dcm")
    for name in ("WindowCenter", "WindowWidth", "PixelPaddingValue", "SmallestImagePixelValue"):
        dataset.pop(name, None)
    dataset.pop("LargestImagePixelValue", None)
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.Rows, dataset.Columns = values.shape
    dataset.PixelRepresentation = int(values.dtype.kind == "i")
    dataset.BitsAllocated = dataset.BitsStored = 8 * values.itemsize
    dataset.HighBit = dataset.BitsStored - 1
    dataset.PixelData = values.tobytes()
    for name, value in tags.items():
        if name == "PixelPaddingValue":
            dataset.add_new(name, "SS", value)
        else:
            setattr(dataset, name, value)
    return dataset


def grey(dataset: pydicom.Dataset) -> list[list[int]]:
    decoded = pixels.decode(content(dataset))
    assert (decoded == decoded[..., :1]).all()
    found: list[list[int]] = decoded[..., 0].tolist()
    return found


@pytest.mark.parametrize("name", [*EQUAL, *(one for others in EQUAL.values() for one in others)])
def test_the_same_picture_comes_out_of_every_encoding(name: str) -> None:
    plain = next(one for one, others in EQUAL.items() if name in (one, *others))
    decoded = pixels.decode(content_of(name))
    assert decoded.dtype == np.uint8 and decoded.flags.c_contiguous
    np.testing.assert_array_equal(decoded, pixels.decode(content_of(plain)))


@pytest.mark.parametrize(
    "name", ["MR_small.dcm", "693_J2KI.dcm", "J2K_pixelrep_mismatch.dcm", "examples_overlay.dcm"]
)
def test_a_window_is_that_of_pydicom(name: str) -> None:
    dataset = opened(name)
    values = apply_modality_lut(pixel_array(dataset, index=0), dataset)
    shown = apply_windowing(values, dataset)
    low, high = (apply_windowing(np.array([end]), dataset)[0] for end in (-1e9, 1e9))
    expected = (shown - low) * 255 / (high - low)
    decoded = pixels.decode(content_of(name))[..., 0]
    assert np.abs(decoded - expected)[pixel_array(dataset) != dataset.get("PixelPaddingValue")].max() <= 0.51


def test_colours_come_out_as_they_are() -> None:
    for name in ("SC_rgb_rle.dcm", "examples_rgb_color.dcm", "examples_ybr_color.dcm", "examples_jpeg2k.dcm"):
        np.testing.assert_array_equal(pixels.decode(content_of(name)), pixel_array(opened(name), index=0))
    reds = pixels.decode(content_of("SC_rgb_rle_16bit.dcm"))
    np.testing.assert_array_equal(reds, pixels.decode(content_of("SC_rgb_rle.dcm")))
    palette = pixels.decode(content_of("examples_palette.dcm"))
    assert palette.shape == (350, 800, 3) and (palette[..., 0] != palette[..., 2]).any()


def test_windows_by_hand() -> None:
    """PS3.3 C.11.2.1.2: LINEAR, the default, goes from c - 0.5 - (w - 1) / 2 to c - 0.5 + (w - 1) / 2."""
    values = np.array([[0, 100, 151, 200, 4000]], np.uint16)
    window = {"WindowCenter": 150.5, "WindowWidth": 101}
    assert grey(made(values, **window)) == [[0, 0, 130, 255, 255]]
    assert grey(made(values, WindowCenter=[150.5, 9], WindowWidth=[101, 9])) == [[0, 0, 130, 255, 255]]
    exact = {"WindowCenter": 150, "WindowWidth": 100, "VOILUTFunction": "LINEAR_EXACT"}
    assert grey(made(values, **exact)) == [[0, 0, 130, 255, 255]]
    # 255 / (1 + exp(4 * 50 / 100)) = 30.4, and 255 / (1 + exp(-4 / 100)) = 130.05
    sigmoid = {"WindowCenter": 150, "WindowWidth": 100, "VOILUTFunction": "SIGMOID"}
    assert grey(made(values, **sigmoid)) == [[1, 30, 130, 225, 255]]


def test_rescaling_comes_before_the_window() -> None:
    """Hounsfield units: stored 1024 is 0."""
    values = np.array([[0, 1024, 1075, 2048]], np.uint16)
    ct = {"RescaleSlope": 1, "RescaleIntercept": -1024, "WindowCenter": 50.5, "WindowWidth": 101}
    assert grey(made(values, **ct)) == [[0, 0, 130, 255]]


def test_without_a_window_the_frame_is_stretched_and_padding_is_black() -> None:
    values = np.array([[-2000, 0, 400, 1000]], np.int16)
    assert grey(made(values)) == [[0, 170, 204, 255]]
    assert grey(made(values, PixelPaddingValue=-2000)) == [[0, 0, 102, 255]]
    assert grey(made(np.array([[10, 20, 30]], np.uint8))) == [[10, 20, 30]]
    assert grey(made(np.full((1, 3), 77, np.int16))) == [[0, 0, 0]]


def test_monochrome1_is_turned_round() -> None:
    values = np.array([[-2000, 0, 400, 1000]], np.int16)
    turned = {"PhotometricInterpretation": "MONOCHROME1", "PixelPaddingValue": -2000}
    assert grey(made(values, **turned)) == [[0, 255, 153, 0]]


def test_a_table_of_values_of_interest() -> None:
    table = pydicom.Dataset()
    table.add_new("LUTDescriptor", "US", [3, 0, 8])
    table.add_new("LUTData", "US", [0, 51, 255])
    dataset = made(np.array([[0, 1, 2, 9]], np.uint16))
    dataset.VOILUTSequence = pydicom.Sequence([table])
    assert grey(dataset) == [[0, 51, 255, 255]]


def test_size_and_type_are_known_without_decoding(tmp_path: Path) -> None:
    assert pixels.header(content_of("examples_overlay.dcm")) == ("DICOM", 484, 300)
    file = tmp_path / "IM000001"
    file.write_bytes(content_of("CT_small.dcm"))
    assert formats.is_picture(file)
    assert pixels.common_side([file]) == 128


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("rtplan.dcm", "It is DICOM, and damaged, cut short or without a picture."),
        ("test-SR.dcm", "It is DICOM, and damaged, cut short or without a picture."),
        ("no_meta.dcm", "It is no picture Pillow reads."),
        (
            "JPGExtended.dcm",
            "It is DICOM compressed as JPEG Extended (Process 2 and 4), and damaged or of a kind that is not "
            "read.",
        ),
    ],
)
def test_what_is_no_picture_or_not_decompressed_is_told(name: str, problem: str) -> None:
    with pytest.raises(UnreadableImage) as caught:
        pixels.decode(content_of(name))
    assert caught.value.problem == problem


def test_half_a_file_is_unreadable() -> None:
    whole = content_of("CT_small.dcm")
    for kept in (0.1, 0.5, 0.95):
        with pytest.raises(UnreadableImage):
            pixels.decode(whole[: int(kept * len(whole))])


def test_without_gdcm_a_compressed_file_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("Unable to decompress: all plugins are missing dependencies")

    monkeypatch.setattr(dicom, "pixel_array", fail)
    monkeypatch.setitem(sys.modules, "gdcm", None)
    with pytest.raises(UnsupportedImage) as caught:
        pixels.decode(content_of("SC_rgb_jpeg_gdcm.dcm"))
    assert str(caught.value) == (
        "It is DICOM, which is not read here.\nWhat reads them comes by pip install 'headstart[dicom]'."
    )
