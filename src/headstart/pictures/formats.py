"""What counts as a picture: by its extension, or else by its first bytes.

Pillow opens all of them; HEIC and DICOM by decoders of their own, which are imported at the first such file.
"""

import functools
import importlib.util
import os
import re
import warnings
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast

from headstart.base.errors import UnsupportedImage
from headstart.pictures import foreign

if TYPE_CHECKING:
    from PIL import ImageFile

RASTER_FORMATS = (
    *("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "MPO", "AVIF", "JPEG2000", "PPM", "ICO", "ICNS", "CUR"),
    *("DIB", "PSD", "QOI", "DDS", "SGI", "SUN", "PCX", "DCX", "FLI", "BLP", "FTEX", "GBR", "MSP", "PIXAR"),
    *("XBM", "XPM", "PCD", "IM", "HEIF", "DICOM", "TGA", "SPIDER"),
)
"""Names of what counts as a picture, common ones first, those without a magic number last: Pillow's, "HEIF",
which pillow-heif reads (HEIC is one of it), and "DICOM", which pydicom reads.

Left out: drawings and video (EPS, PDF, WMF, MPEG), containers that Pillow identifies and cannot decode
(BUFR, GRIB, HDF5), measurements (FITS, MCIDAS), and wrappers of little use (IPTC, IMT, XVTHUMB).
"""

_OPTIONAL = {"HEIF": "pillow_heif", "DICOM": "pydicom"}
"""Formats that are read where a package is installed."""

_HUSH = ("ignore", None, Warning, re.compile(r"(PIL|pydicom)\."), 0)


def is_picture(path: Path) -> bool:
    """Tell by its first bytes whether a file is of one of `RASTER_FORMATS`; damage further on goes unseen."""
    from PIL import Image

    try:
        with open_picture(path) as picture:  # some raw files are whole TIFFs, of a tiny picture
            return picture.format != "TIFF" or path.suffix.casefold() not in foreign.RAW.extensions
    except Exception as error:  # decoders raise anything on foreign bytes: struct.error, SyntaxError, ...
        return isinstance(error, Image.DecompressionBombError)


def open_picture(source: "Path | IO[bytes]") -> "ImageFile.ImageFile":
    """Return a picture of one of `RASTER_FORMATS` with its header read and its pixels not.

    Raises what Pillow raises, which on damaged bytes is nearly anything; its warnings are silenced for good.

    Raises:
        UnsupportedImage: A camera's raw file, of which Pillow would show the thumbnail.
    """
    from PIL import Image

    if _HUSH not in warnings.filters:
        # In place of catch_warnings, which is not safe with threads before Python 3.14.
        warnings.filterwarnings("ignore", module=_HUSH[3].pattern)
    picture = Image.open(source, formats=raster_formats())
    if picture.format == "TIFF" and _is_raw(picture):
        picture.close()
        raise UnsupportedImage(f"It is {foreign.RAW.reason}.", foreign.RAW.advice, foreign.RAW.name)
    return picture


def _is_raw(picture: "ImageFile.ImageFile") -> bool:
    tags: Any = picture.tag_v2  # type: ignore[attr-defined]
    return foreign.is_raw(tags) or foreign.find("", _beginning(picture)) is foreign.RAW


def _beginning(picture: "ImageFile.ImageFile") -> bytes:
    stream = cast(IO[bytes], picture.fp)
    place = stream.tell()
    stream.seek(0)
    beginning = stream.read(16)
    stream.seek(place)
    return beginning


@functools.cache
def raster_formats() -> tuple[str, ...]:
    """Return those of `RASTER_FORMATS` that are read here, as Pillow was built and as is installed."""
    from PIL import Image

    Image.init()
    missing = {name for name, package in _OPTIONAL.items() if importlib.util.find_spec(package) is None}
    for name in _OPTIONAL.keys() - missing:
        Image.register_open(name, *_OPENERS[name])
    return tuple(name for name in RASTER_FORMATS if name in Image.OPEN and name not in missing)


@functools.cache
def picture_extensions() -> dict[str, str]:
    """Return the picture formats by extension, as in `{".jpg": "JPEG"}`; extensions in lower case."""
    from PIL import Image

    formats = raster_formats()
    known = {**Image.registered_extensions(), **_OPTIONAL_EXTENSIONS}
    return {suffix: name for suffix, name in known.items() if name in formats}


def why_no_picture(file: os.DirEntry[str] | Path) -> str:
    """Return why a file is not listed, or nothing; asks the file system only where a name is not enough."""
    try:
        is_file = file.is_file()
    except OSError:
        is_file = False
    if not is_file:
        return "a broken link" if file.is_symlink() else "not a regular file"
    suffix = os.path.splitext(file.name)[1].casefold()
    if suffix in picture_extensions() or is_picture(Path(file)):
        return ""
    kind = foreign_kind(file)
    return kind.reason if kind else "not a picture that Pillow reads"


def foreign_kind(file: os.DirEntry[str] | Path) -> foreign.Kind | None:
    """Return the kind of a file that is not read; None of one that is by its name, and of what is unknown."""
    if os.path.splitext(file.name)[1].casefold() in picture_extensions():
        return None
    return foreign.find(file.name, _head(file))


def _head(file: os.DirEntry[str] | Path) -> bytes:
    try:
        with open(file, "rb") as stream:
            return stream.read(foreign.HEAD_BYTES)
    except OSError:
        return b""


def _is_heif(beginning: bytes) -> bool:
    return foreign.find("", beginning) is foreign.HEIC


def _open_heif(stream: IO[bytes], name: str | bytes) -> "ImageFile.ImageFile":
    import pillow_heif

    pillow_heif.options.DECODE_THREADS = 1  # threads go by photo
    opened: Any = pillow_heif.HeifImageFile
    return cast("ImageFile.ImageFile", opened(stream, name))


def _open_dicom(stream: IO[bytes], name: str | bytes) -> "ImageFile.ImageFile":
    stream.seek(128)
    if stream.read(4) != b"DICM":
        raise SyntaxError("no DICOM file")
    from headstart.pictures.dicom import DicomPicture

    stream.seek(0)
    return DicomPicture(stream, name)


_OPENERS: dict[str, tuple[Any, Any]] = {"HEIF": (_open_heif, _is_heif), "DICOM": (_open_dicom, None)}
_OPTIONAL_EXTENSIONS = {
    suffix: kind.format for kind in (foreign.HEIC, foreign.DICOM) for suffix in kind.extensions
}
