"""DICOM as Pillow's pictures: the first frame of a file, in 8 bits, as a viewer would show it at first."""

import importlib.util
from typing import Any, BinaryIO, cast

import numpy as np
import pydicom
from numpy.typing import NDArray
from PIL import ImageFile
from pydicom.pixels.processing import apply_color_lut, apply_modality_lut, apply_voi
from pydicom.pixels.utils import pixel_array

from headstart.base.errors import UnreadableImage, UnsupportedImage
from headstart.pictures import foreign

Values = NDArray[np.float64]


class DicomPicture(ImageFile.ImageFile):
    """A file of part 10 of the standard, which has "DICM" at its byte 128; one without is not recognised.

    Grey values go through the modality's rescaling, then through the window (or table) of values of interest
    that the file names first, which becomes 0 to 255; without one the frame's smallest value becomes 0 and
    its largest 255, but 8-bit values stay as they are. MONOCHROME1 is turned round, so that more is brighter;
    padding is black. Colours, palettes and YBR become RGB. Of several frames it is the first.
    """

    format = "DICOM"
    format_description = "DICOM"

    def _open(self) -> None:
        header = pydicom.dcmread(self._rewound(), stop_before_pixels=True)
        if "Rows" not in header or "Columns" not in header:
            raise SyntaxError("a DICOM file without a picture")
        is_grey = str(header.get("PhotometricInterpretation", "")).startswith("MONOCHROME")
        self._mode, self._size = "L" if is_grey else "RGB", (int(header.Columns), int(header.Rows))
        self._is_decoded = False

    def _rewound(self) -> BinaryIO:
        stream = cast(BinaryIO, self.fp)
        stream.seek(0)
        return stream

    def load(self) -> Any:
        """Decode the first frame."""
        if not self._is_decoded:
            frame = first_frame(pydicom.dcmread(self._rewound()))
            self.load_prepare()
            self.frombytes(frame.tobytes())
            self._is_decoded = True
        return super().load()


def first_frame(dataset: pydicom.Dataset) -> NDArray[np.uint8]:
    """Return the first frame of a file, (H, W) if it is grey, else (H, W, 3).

    Raises:
        UnsupportedImage: It is compressed, and GDCM, which decompresses it, is not installed.
        UnreadableImage: It is compressed in a rare way, or damaged.
        Exception: What pydicom raises on damaged files, which is nearly anything.
    """
    try:
        frame = pixel_array(dataset, index=0)
    except (RuntimeError, NotImplementedError) as error:
        raise _not_decompressed(dataset) from error
    kind = dataset.PhotometricInterpretation
    if kind.startswith("MONOCHROME"):
        return _grey(frame, dataset)
    if kind == "PALETTE COLOR":
        frame = apply_color_lut(frame, dataset)
    return _to_8_bits(frame.astype(np.float64), 0, np.iinfo(frame.dtype).max)


def _not_decompressed(dataset: pydicom.Dataset) -> UnreadableImage:
    if importlib.util.find_spec("gdcm") is None:
        return UnsupportedImage(f"It is {foreign.DICOM.reason}.", foreign.DICOM.advice, foreign.DICOM.name)
    name = dataset.file_meta.TransferSyntaxUID.name
    return UnreadableImage(
        f"It is DICOM compressed as {name}, and damaged or of a kind that is not read.",
        "Decompress it, by gdcmconv --raw FILE.dcm RAW.dcm, or remove it.",
    )


def _grey(frame: NDArray[np.generic], dataset: pydicom.Dataset) -> NDArray[np.uint8]:
    padding = dataset.get("PixelPaddingValue")
    is_padding = frame == padding if padding is not None else np.zeros(frame.shape, bool)
    values = apply_modality_lut(frame, dataset).astype(np.float64)
    grey = _windowed(values, frame.dtype, dataset, is_padding)
    if dataset.PhotometricInterpretation == "MONOCHROME1":
        grey = 255 - grey
    grey[is_padding] = 0
    return grey


def _windowed(
    values: Values, stored: np.dtype[np.generic], dataset: pydicom.Dataset, is_padding: NDArray[np.bool_]
) -> NDArray[np.uint8]:
    if dataset.get("VOILUTSequence"):
        table = dataset.VOILUTSequence[0]
        chosen = apply_voi(values.astype(stored), dataset)
        return _to_8_bits(chosen.astype(np.float64), 0, 2.0 ** table.LUTDescriptor[2] - 1)
    centre, width = (_first(dataset.get(name)) for name in ("WindowCenter", "WindowWidth"))
    if centre is not None and width is not None:
        return _window(values, centre, width, dataset.get("VOILUTFunction") or "LINEAR")
    if stored == np.uint8 and values.min() >= 0 and values.max() <= 255:
        return _to_8_bits(values, 0, 255 if dataset.BitsStored > 1 else 1)
    shown = values[~is_padding] if not is_padding.all() else values
    return _to_8_bits(values, shown.min(), shown.max())


def _first(value: object) -> float | None:
    """Return a number, or the first of several."""
    if value is None or value == "":
        return None
    return float(value[0] if isinstance(value, pydicom.multival.MultiValue) else value)  # type: ignore[arg-type]


def _window(values: Values, centre: float, width: float, function: str) -> NDArray[np.uint8]:
    """Return values in a window as 0 to 255, by PS3.3 C.11.2.1.2 and C.11.2.1.3 of the DICOM standard."""
    if function == "SIGMOID":
        return _to_8_bits(1 / (1 + np.exp(-4 * (values - centre) / max(width, 1e-9))), 0, 1)
    if function == "LINEAR_EXACT":
        return _to_8_bits(values, centre - width / 2, centre + width / 2)
    return _to_8_bits(values, centre - 0.5 - (width - 1) / 2, centre - 0.5 + (width - 1) / 2)


def _to_8_bits(values: Values, low: float, high: float) -> NDArray[np.uint8]:
    scaled = (values - low) * (255 / max(high - low, 1e-300))
    rounded: NDArray[np.uint8] = np.rint(np.clip(scaled, 0, 255)).astype(np.uint8)
    return rounded
