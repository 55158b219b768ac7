"""What counts as a picture: by its extension, or else by its first bytes."""

import functools
import os
import re
import warnings
from pathlib import Path
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import ImageFile

RASTER_FORMATS = (
    *("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "MPO", "AVIF", "JPEG2000", "PPM", "ICO", "ICNS", "CUR"),
    *("DIB", "PSD", "QOI", "DDS", "SGI", "SUN", "PCX", "DCX", "FLI", "BLP", "FTEX", "GBR", "MSP", "PIXAR"),
    *("XBM", "XPM", "PCD", "IM", "TGA", "SPIDER"),
)
"""Pillow's names of what counts as a picture, common ones first, those without a magic number last.

Left out: drawings and video (EPS, PDF, WMF, MPEG), containers that Pillow identifies and cannot decode
(BUFR, GRIB, HDF5), measurements (FITS, MCIDAS), and wrappers of little use (IPTC, IMT, XVTHUMB).
"""

_HUSH = ("ignore", None, Warning, re.compile(r"PIL\."), 0)


def is_picture(path: Path) -> bool:
    """Tell by its first bytes whether a file is of one of `RASTER_FORMATS`; damage further on goes unseen."""
    from PIL import Image

    try:
        with open_picture(path):
            return True
    except Exception as error:  # decoders raise anything on foreign bytes: struct.error, SyntaxError, ...
        return isinstance(error, Image.DecompressionBombError)


def open_picture(source: "Path | IO[bytes]") -> "ImageFile.ImageFile":
    """Return a picture of one of `RASTER_FORMATS` with its header read and its pixels not.

    Raises what Pillow raises, which on damaged bytes is nearly anything; its warnings are silenced for good.
    """
    from PIL import Image

    if _HUSH not in warnings.filters:
        # In place of catch_warnings, which is not safe with threads before Python 3.14.
        warnings.filterwarnings("ignore", module=_HUSH[3].pattern)
    return Image.open(source, formats=raster_formats())


@functools.cache
def raster_formats() -> tuple[str, ...]:
    """Return those of `RASTER_FORMATS` that the installed Pillow was built with."""
    from PIL import Image

    Image.init()
    return tuple(name for name in RASTER_FORMATS if name in Image.OPEN)


@functools.cache
def picture_extensions() -> dict[str, str]:
    """Return the picture formats by extension, as in `{".jpg": "JPEG"}`; extensions in lower case."""
    from PIL import Image

    formats = raster_formats()
    return {suffix: name for suffix, name in Image.registered_extensions().items() if name in formats}


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
    if suffix in (".heic", ".heif"):
        return "HEIC, which Pillow does not read: save it as JPEG"
    return "not a picture that Pillow reads"
