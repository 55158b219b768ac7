"""Files that look like pictures, or belong to them, and that are not read: what they are, and what to do."""

import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass

HEAD_BYTES = 4096
"""Of a file, what `find` wants to see."""


@dataclass(frozen=True)
class Kind:
    """A kind of file.

    Attributes:
        name: As in "12 pictures are HEIC".
        extensions: In lower case.
        advice: What to do about it, in whole sentences with a command.
        format: Its name in `headstart.pictures.formats`, where an installation may read it.
        is_picture: One photo each.
    """

    name: str
    extensions: tuple[str, ...]
    advice: str
    format: str = ""
    is_picture: bool = True

    @property
    def reason(self) -> str:
        """Why a file of this kind is not listed."""
        return f"{self.name}, which is not read here"


def _built_without(name: str) -> str:
    return (
        f"The Pillow that is installed was built without {name}; one with it comes by "
        "pip install --force-reinstall --only-binary pillow 'pillow>=11.3'."
    )


HEIC = Kind(
    "HEIC",
    (".heic", ".heif", ".heics", ".heifs", ".hif"),
    "What reads them comes by pip install 'headstart[heic]'.",
    "HEIF",
)
DICOM = Kind("DICOM", (".dcm", ".dicom"), "What reads them comes by pip install 'headstart[dicom]'.", "DICOM")
RAW = Kind(
    "camera raw",
    (
        *(".3fr", ".arw", ".cr2", ".cr3", ".crw", ".dcr", ".dng", ".erf", ".fff", ".gpr", ".iiq", ".k25"),
        *(".kdc", ".mef", ".mos", ".mrw", ".nef", ".nrw", ".orf", ".pef", ".raf", ".raw", ".rw2", ".rwl"),
        *(".sr2", ".srf", ".srw", ".x3f"),
    ),
    "Export them as JPEG, from the camera's program or by darktable-cli PHOTO.NEF PHOTO.jpg.",
)
AVIF = Kind("AVIF", (".avif", ".avifs"), _built_without("AVIF"), "AVIF")
JPEG_2000 = Kind(
    "JPEG 2000",
    (".jp2", ".j2k", ".jpf", ".jpx", ".j2c", ".jpc"),
    _built_without("JPEG 2000"),
    "JPEG2000",
)
WEBP = Kind("WebP", (".webp",), _built_without("WebP"), "WEBP")
JPEG_XL = Kind("JPEG XL", (".jxl",), "Convert them, by djxl PHOTO.jxl PHOTO.png.")
JPEG_XR = Kind("JPEG XR", (".jxr", ".wdp", ".hdp"), "Convert them, by JxrDecApp -i PHOTO.jxr -o PHOTO.tif.")
EXR = Kind("OpenEXR", (".exr",), "Convert them, by magick PHOTO.exr PHOTO.png.")
HDR = Kind("Radiance HDR", (), "Convert them, by magick PHOTO.hdr PHOTO.png.")
NUMPY = Kind(
    "NumPy", (".npy", ".npz"), "Save each as a picture, by Image.fromarray(np.load(FILE)).save(PNG)."
)
NIFTI = Kind("NIfTI", (".nii", ".nii.gz"), "Save the slices that are to be told apart as PNG.")
SVG = Kind("SVG", (".svg", ".svgz"), "Convert them, by magick DRAWING.svg DRAWING.png.")
PDF = Kind("PDF", (".pdf",), "Convert the pages, by pdftoppm -png FILE.pdf FILE.")
POSTSCRIPT = Kind("PostScript", (".eps", ".ps", ".ai"), "Convert them, by magick FILE.eps FILE.png.")
VIDEO = Kind(
    "video",
    (
        *(".3gp", ".avi", ".flv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".ogv"),
        *(".webm", ".wmv"),
    ),
    "Take single pictures from each, by ffmpeg -i CLIP.mp4 -vf fps=1 CLIP_%03d.jpg, and keep those of one "
    "clip together with --group-by.",
    is_picture=False,
)

KINDS = (
    *(HEIC, DICOM, RAW, AVIF, JPEG_2000, WEBP, JPEG_XL, JPEG_XR, EXR, HDR, NUMPY, NIFTI, SVG, PDF),
    *(POSTSCRIPT, VIDEO),
)

_SUBFILE_TYPE, _COMPRESSION, _PHOTOMETRIC, _SUB_IFDS, _DNG_VERSION = 254, 259, 262, 330, 50706
_RAW_COMPRESSIONS = frozenset({32767, 32769, 32770, 34713, 34892, 65000, 65535})
_RAW_PHOTOMETRICS = frozenset({32803, 34892})
"""Of TIFF's tags, numbers that only camera raw files have: those of Sony, Epson, Samsung, Nikon, lossy DNG,
Kodak and Pentax; a colour filter array, and linear raw."""

_BRANDS = {
    **dict.fromkeys((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"), HEIC),
    **dict.fromkeys((b"mif1", b"msf1"), HEIC),
    **dict.fromkeys((b"avif", b"avis"), AVIF),
    b"crx ": RAW,
}
"""Major brands of ISO base media files (ISO/IEC 14496-12); any other holds a film."""

_BEGINNINGS = (
    (b"\x00\x00\x00\x0cjP  \r\n\x87\n", JPEG_2000),
    (b"\xff\x4f\xff\x51", JPEG_2000),
    (b"\x00\x00\x00\x0cJXL \r\n\x87\n", JPEG_XL),
    (b"\xff\x0a", JPEG_XL),
    (b"FUJIFILMCCD-RAW", RAW),
    (b"IIRO", RAW),  # Olympus
    (b"IIRS", RAW),
    (b"MMOR", RAW),
    (b"IIU\x00", RAW),  # Panasonic
    (b"\x00MRM", RAW),  # Minolta
    (b"FOVb", RAW),  # Sigma
    (b"II\x1a\x00\x00\x00HEAPCCDR", RAW),  # Canon, before CR2
    (b"II\xbc", JPEG_XR),
    (b"\x76\x2f\x31\x01", EXR),
    (b"#?RADIANCE", HDR),
    (b"#?RGBE", HDR),
    (b"\x93NUMPY", NUMPY),
    (b"%PDF", PDF),
    (b"%!PS", POSTSCRIPT),
    (b"\x1a\x45\xdf\xa3", VIDEO),
    (b"\x00\x00\x01\xba", VIDEO),
)


def find(name: str, head: bytes) -> Kind | None:
    """Return what a file is that `headstart.pictures.formats` takes for no picture, or None.

    Args:
        name: Its name, which counts where its bytes say nothing; may be empty.
        head: Its first `HEAD_BYTES` bytes.

    Example:
        >>> find("IMG_0001.HEIC", b"").name, find("", b"%PDF-1.7").name, find("notes.txt", b"notes")
        ('HEIC', 'PDF', None)
    """
    return _by_bytes(head) or _by_name(name)


def of(reason: str) -> Kind | None:
    """Return the kind whose `reason` this is."""
    return next((kind for kind in KINDS if kind.reason == reason), None)


def is_raw(tags: Mapping[int, object]) -> bool:
    """Tell by the tags of a TIFF's first picture whether it is a camera's raw file.

    Many of these show a reduced copy of what is in a directory below: a tiny picture to who knows no better.
    """
    subfile = tags.get(_SUBFILE_TYPE)
    is_thumbnail = isinstance(subfile, int) and bool(subfile & 1) and _SUB_IFDS in tags
    return (
        is_thumbnail
        or _DNG_VERSION in tags
        or tags.get(_COMPRESSION) in _RAW_COMPRESSIONS
        or tags.get(_PHOTOMETRIC) in _RAW_PHOTOMETRICS
    )


def _tiff_tags(head: bytes) -> dict[int, object]:
    """Return the tags of a TIFF's first directory with their values, of those that hold a single integer."""
    order = "<" if head.startswith(b"II") else ">"
    try:
        (start,) = struct.unpack_from(f"{order}I", head, 4)
        (count,) = struct.unpack_from(f"{order}H", head, start)
        entries = [struct.unpack_from(f"{order}HHI4s", head, start + 2 + 12 * row) for row in range(count)]
    except struct.error:  # further on than the head
        return {}
    formats = {3: f"{order}H", 4: f"{order}I"}
    return {
        tag: struct.unpack_from(formats[kind], value)[0] if kind in formats and number == 1 else value
        for tag, kind, number, value in entries
    }


def _by_bytes(head: bytes) -> Kind | None:
    if head[4:8] == b"ftyp":
        return _BRANDS.get(head[8:12], VIDEO)
    if head[:4] == b"RIFF":
        return {b"WEBP": WEBP, b"AVI ": VIDEO}.get(head[8:12])
    if head[128:132] == b"DICM":
        return DICOM
    if head[:4] in (b"II*\x00", b"MM\x00*") and (head[8:10] == b"CR" or is_raw(_tiff_tags(head))):
        return RAW
    if b"<svg" in head:
        return SVG
    return next((kind for beginning, kind in _BEGINNINGS if head.startswith(beginning)), None)


def _by_name(name: str) -> Kind | None:
    lower = os.path.basename(name).casefold()
    return next((kind for kind in KINDS if lower.endswith(kind.extensions)), None)
