"""Bytes to upright RGB, and RGB to a square: the one decoder and resizer, for training and for serving.

JPEGs go through libjpeg-turbo (simplejpeg), everything else, and what that refuses, through Pillow, into
which `headstart.pictures.formats` puts HEIC and DICOM.
"""

import functools
import hashlib
import io
import itertools
import os
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

from headstart.base.errors import ChangedPhoto, UnreadableImage, UnreadableNow, UnsupportedImage
from headstart.pictures import foreign
from headstart.pictures.formats import open_picture, raster_formats

if TYPE_CHECKING:
    from PIL import Image

PIXELS_VERSION = 1
"""Goes up when equal bytes would give other pixels, so that cached features of old pixels are not used."""

MAX_PIXELS = 178_956_970
"""Above it a picture is refused: Pillow's DecompressionBombError bound, 2 * (1024**3 // 4 // 3), which is
twice `PIL.Image.MAX_IMAGE_PIXELS` (a quarter of a gigabyte as 24-bit RGB)."""

MAX_FILE_BYTES = 2**30
"""Above it a file is refused: it would not fit in memory once for each thread."""

PAD_COLOUR = (124, 116, 104)
"""ImageNet's mean RGB, (0.485, 0.456, 0.406) * 255 as torchvision states it: near zero to most backbones."""

LOOK_AHEAD = 64
"""Photos decoded ahead of the reader: two batches of 32, 10 MB at 224 pixels."""

HEADERS_READ = 100
"""Photos whose size is looked at to tell whether all have the same."""

_FIX = "Replace the file, or remove it."
_FIX_MACHINE = "That is no fault of the picture: mend it, and run the same command again."
_FIX_MEMORY = "Make the picture smaller, or free some memory and run the same command again."
_FIX_CHANGED = "Leave the photos as they are while it works, and run the same command again."
_END_OF_JPEG = b"\xff\xd9"
_NO_MEMORY = re.compile(r"(out of|insufficient|allocate) memory|memory alloc", re.IGNORECASE)
_EXIF_ORIENTATION = 0x0112
_BOUND = f"At most {MAX_PIXELS:,} pixels are decoded."

Item = TypeVar("Item")
Result = TypeVar("Result")
Pixels = NDArray[np.uint8]


def decode(content: bytes, *, at_least_px: int | None = None) -> Pixels:
    """Return a picture as RGB, turned upright by its EXIF orientation.

    Transparency is laid on white; 16-bit grey is divided by 257 (65535 / 255); other integers outside
    0 to 65535 are stretched from their smallest to 0 and their largest to 255. Floats in 0 to 1 are taken
    as 0 to 255, in 0 to 255 as they are, others are stretched; those that are not finite become 0.
    An animation gives its first frame. A JPEG that lacks only its end marker is whole; one that lacks
    more is unreadable.

    Args:
        content: The bytes of a picture of any of `formats.RASTER_FORMATS`, whatever its name.
        at_least_px: Lets a JPEG be decoded at 4/8, 3/8, 2/8 or 1/8 of its size, the smallest with both
            sides at least this long. Other pictures, and None, give full size.

    Returns:
        uint8 (H, W, 3), C-contiguous.

    Raises:
        UnreadableImage: Empty, no picture, damaged, cut short, or of more than `MAX_PIXELS` pixels.
        UnreadableNow: There is no memory for it, or a decoder cannot be loaded.
    """
    try:
        return np.ascontiguousarray(_decode(content, at_least_px or 0))
    except UnreadableImage:
        raise
    except Exception as error:  # damaged bytes raise nearly anything: struct.error, SyntaxError, ...
        raise _unreadable(content, error) from error


def square(image: Pixels, size_px: int, fit: str) -> Pixels:
    """Return a picture as a square.

    Bilinear without antialiasing, pixel centres at half (as Keras resizes), unless a side shrinks to half
    or less: then by area along that side, for bilinear would skip pixels.

    Args:
        image: uint8 (H, W, 3); not modified.
        size_px: Side of the square, S.
        fit: "squash" bends the whole picture into the square, "crop" takes the middle square of it, "pad"
            keeps its shape, in the middle of `PAD_COLOUR`.

    Returns:
        uint8 (S, S, 3), C-contiguous, never the array that came in.

    Example:
        >>> square(np.zeros((8, 3000, 3), np.uint8), 224, "squash").shape
        (224, 224, 3)
    """
    height, width = image.shape[:2]
    if fit == "squash":
        return _resize(image, size_px, size_px)
    if fit == "crop":
        side = min(height, width)
        top, left = (height - side) // 2, (width - side) // 2
        return _resize(image[top : top + side, left : left + side], size_px, size_px)
    if fit == "pad":
        return _pad(image, size_px)
    raise ValueError(f"fit is {fit!r}")


def prepare(content: bytes, size_px: int, fit: str) -> Pixels:
    """Return the bytes of a picture as an upright RGB square: what every backbone is fed.

    Large JPEGs are decoded at a reduced size of at least twice `size_px` a side, several times faster than
    `square(decode(content))` and within a grey level or so of it on photos.

    Returns:
        uint8 (size_px, size_px, 3), C-contiguous.

    Raises:
        UnreadableImage: See `decode`.
    """
    return square(decode(content, at_least_px=2 * size_px), size_px, fit)


class Picture:
    """The bytes of a picture, of which several things are to be made: each scale of it is decoded once.

    Args:
        content: The bytes of a picture of any of `formats.RASTER_FORMATS`.

    Example:
        >>> from PIL import Image
        >>> stream = io.BytesIO()
        >>> Image.new("RGB", (640, 480)).save(stream, "JPEG")
        >>> picture = Picture(stream.getvalue())
        >>> picture.decoded(100).shape, picture.square(64, "crop").shape
        ((120, 160, 3), (64, 64, 3))
    """

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._decoded: dict[int, Pixels] = {}

    @property
    def n_bytes(self) -> int:
        """How many bytes it has."""
        return len(self._content)

    @functools.cached_property
    def header(self) -> tuple[str, int, int]:
        """Type, width and height; see `pixels.header`."""
        return header(self._content)

    def decoded(self, at_least_px: int) -> Pixels:
        """Return what `decode` does, not to be modified; raises what it raises."""
        # The decoder goes first, for what it says of bytes that are no picture.
        if not self._decoded or self._eighths(at_least_px) not in self._decoded:
            image = decode(self._content, at_least_px=at_least_px)
            self._decoded[self._eighths(at_least_px)] = image
        return self._decoded[self._eighths(at_least_px)]

    def about(self, at_least_px: int) -> Pixels:
        """Return it with both sides at least so long where it has that; what is decoded already is taken."""
        if not self._decoded:
            return self.decoded(at_least_px)
        fitting = [scale for scale in self._decoded if scale >= self._eighths(at_least_px)]
        return self._decoded[min(fitting)] if fitting else self.decoded(at_least_px)

    def square(self, size_px: int, fit: str) -> Pixels:
        """Return what `prepare` does; raises what it raises."""
        return square(self.decoded(2 * size_px), size_px, fit)

    def _eighths(self, at_least_px: int) -> int:
        """Return in how many eighths of its size it is decoded; see `decode`."""
        kind, width, height = self.header
        shorter = min(width, height)
        reduced = [one for one in (1, 2, 3, 4) if -(-shorter * one // 8) >= at_least_px]
        return reduced[0] if reduced and kind == "JPEG" else 8


def read(path: Path, size_px: int, fit: str, digest: str | None = None) -> Pixels:
    """Return the picture in a file as `prepare` does.

    Args:
        path: The file; not modified.
        size_px: Side of the square.
        fit: See `square`.
        digest: The SHA-256 that its bytes must have, in hexadecimal; None: any.

    Raises:
        UnreadableImage: Names the file and says why.
        ChangedPhoto: Its bytes have another digest, or it is gone. What is kept under a digest is then never
            that of other bytes, for those that were digested are those that are decoded.
    """
    try:
        return prepare(read_bytes(path, digest), size_px, fit)
    except UnsupportedImage as error:
        problem = f"{path} cannot be read. {error.problem}"
        raise UnsupportedImage(problem, error.fix, error.kind) from error
    except UnreadableImage as error:
        raise type(error)(f"{path} cannot be read. {error.problem}", error.fix) from error


def read_bytes(path: str | Path, digest: str | None = None) -> bytes:
    """Return the content of a file.

    Args:
        path: The file; not modified.
        digest: The SHA-256 that the content must have, in hexadecimal; None: any.

    Raises:
        UnreadableNow: It cannot be opened or read.
        UnreadableImage: It holds more than `MAX_FILE_BYTES`.
        ChangedPhoto: The content has another digest, or the file is gone.
    """
    try:
        with open(path, "rb") as stream:
            size = os.fstat(stream.fileno()).st_size
            if size > MAX_FILE_BYTES:
                raise UnreadableImage(f"The file holds {size:,} bytes, more than {MAX_FILE_BYTES:,}.", _FIX)
            content = stream.read()
    except (FileNotFoundError, NotADirectoryError) as error:
        if digest is not None:
            raise ChangedPhoto(f"{path} is gone since it was checked.", _FIX_CHANGED) from error
        raise UnreadableNow(f"The file cannot be opened: {error.strerror}.", _FIX_MACHINE) from error
    except OSError as error:
        raise UnreadableNow(f"The file cannot be opened: {error.strerror}.", _FIX_MACHINE) from error
    if digest is not None and hashlib.sha256(content).hexdigest() != digest:
        raise ChangedPhoto(f"{path} was changed since it was checked.", _FIX_CHANGED)
    return content


def read_many(
    paths: Sequence[Path],
    size_px: int,
    fit: str,
    digests: Sequence[str] | None = None,
    *,
    workers: int | None = None,
) -> Iterator[Pixels]:
    """Yield the picture of each file as `read` does, in the order of `paths`, decoded in threads.

    Memory stays constant: at most `LOOK_AHEAD` pictures wait. An unreadable file raises when its turn comes.

    Args:
        paths: Files; not modified.
        size_px: Side of the squares.
        fit: See `square`.
        digests: The SHA-256 that the bytes of each must have, in hexadecimal; None: any.
        workers: Threads, by default as many as this process may use cores; does not change the pixels.
    """
    known = zip(paths, digests or itertools.repeat(None), strict=digests is not None)
    return map_in_order(lambda one: read(one[0], size_px, fit, one[1]), known, workers=workers)


def map_in_order(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    *,
    workers: int | None = None,
    look_ahead: int = LOOK_AHEAD,
) -> Iterator[Result]:
    """Yield `function` of each item, in order, computed in threads at most `look_ahead` items ahead."""
    pool = ThreadPoolExecutor(workers or core_count(), "headstart-pixels")
    waiting: deque[Future[Result]] = deque()
    try:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) >= look_ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def batches(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Yield lists of `size` items, the last one shorter.

    Example:
        >>> list(batches("abcde", 2))
        [['a', 'b'], ['c', 'd'], ['e']]
    """
    batch: list[Item] = []
    for item in items:
        batch.append(item)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def core_count() -> int:
    """Return how many cores this process may use."""
    with suppress(AttributeError):  # absent on macOS and Windows
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def common_side(paths: Sequence[Path]) -> int | None:
    """Return the side in pixels if all photos looked at are squares of one size, else None."""
    sizes = set(header_sizes(paths))
    width, height = sizes.pop() if len(sizes) == 1 else (0, 1)
    return width if width == height else None


def header_sizes(paths: Sequence[Path]) -> list[tuple[int, int]]:
    """Return width and height, before any turn, of at most `HEADERS_READ` photos, evenly spread.

    Their headers alone are read; those that have none are passed over.
    """
    step = max(1, -(-len(paths) // HEADERS_READ))
    found = []
    for path in paths[::step]:
        with suppress(Exception), open_picture(path) as picture:  # decoders raise anything on foreign bytes
            found.append(picture.size)
    return found


def header(content: bytes) -> tuple[str, int, int]:
    """Return type, width and height that the bytes of a picture claim, as in `("PNG", 640, 480)`.

    The type is Pillow's name for it, but MPO, a camera's JPEG, is "JPEG". The size is that of the pixels as
    they are stored, before any turn by EXIF orientation.

    Raises:
        UnreadableImage: The bytes are no picture.
    """
    try:
        with open_picture(io.BytesIO(content)) as picture:
            name = {"MPO": "JPEG", "DIB": "BMP"}.get(str(picture.format), str(picture.format))
            return name, *picture.size
    except UnreadableImage:
        raise
    except Exception as error:
        raise _unreadable(content, error) from error


def _decode(content: bytes, at_least_px: int) -> Pixels:
    if not content:
        raise UnreadableImage("The file is empty.", _FIX)
    with open_picture(io.BytesIO(content)) as picture:
        width, height = picture.size
        if width * height > MAX_PIXELS:
            raise UnreadableImage(f"It claims {width:,} x {height:,} pixels. {_BOUND}", _FIX)
        if picture.format in ("JPEG", "MPO"):
            return _decode_jpeg(content, picture, at_least_px)
        return _from_pillow(picture)


def _decode_jpeg(content: bytes, picture: "Image.Image", at_least_px: int) -> Pixels:
    is_fast = picture.mode in ("RGB", "L")
    if is_fast:
        with suppress(ValueError):
            return _upright(_from_turbo(content, at_least_px), _orientation(picture))
    try:
        return _from_pillow(picture)
    except OSError:
        whole = content + _END_OF_JPEG
        with suppress(ValueError):
            pixels = _from_turbo(whole, at_least_px)  # refuses when more is missing than the end marker
            return (
                _upright(pixels, _orientation(picture))
                if is_fast
                else _from_pillow(open_picture(io.BytesIO(whole)))
            )
        raise


def _from_turbo(content: bytes, at_least_px: int) -> Pixels:
    """Decode a JPEG; raises ValueError for damage, remarks of the decoder included."""
    import simplejpeg

    # The fast DCT, as TensorFlow's decode_jpeg takes by default; above a half, reduced decoding is slower.
    reduced = {"min_height": at_least_px, "min_width": at_least_px, "min_factor": 2} if at_least_px else {}
    pixels: Pixels = simplejpeg.decode_jpeg(content, fastdct=True, strict=True, **reduced)
    return pixels


def _from_pillow(picture: "Image.Image") -> Pixels:
    picture.load()
    # After load: a TIFF has then turned itself, and says so.
    return _upright(_to_rgb(picture), _orientation(picture))


def _orientation(picture: "Image.Image") -> int:
    try:
        return int(picture.getexif().get(_EXIF_ORIENTATION, 1))
    except Exception:  # broken EXIF raises anything, and says nothing about the pixels
        return 1


def _upright(image: Pixels, orientation: int) -> Pixels:
    """Undo an EXIF orientation, 1 to 8 (EXIF 2.3, tag 0x0112); other values leave the picture as it is."""
    if orientation in (5, 6, 7, 8):
        image = image.transpose(1, 0, 2)
    if orientation in (3, 4, 7, 8):
        image = image[::-1]
    if orientation in (2, 3, 6, 7):
        image = image[:, ::-1]
    return image


def _to_rgb(picture: "Image.Image") -> Pixels:
    from PIL import Image

    if picture.mode.startswith(("I", "F")):
        return np.repeat(_to_8_bits(picture)[..., None], 3, axis=2)
    if picture.has_transparency_data:
        white = Image.new("RGBA", picture.size, "white")
        white.alpha_composite(picture.convert("RGBA"))
        picture = white
    return np.asarray(picture.convert("RGB"))


def _to_8_bits(picture: "Image.Image") -> Pixels:
    values = np.asarray(picture)
    if values.dtype.kind == "f":
        grey = _float_to_8_bits(values)
    elif values.min() < 0 or values.max() > 65535:
        grey = _stretch(values)
    else:
        grey = ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)
    clear = picture.info.get("transparency")
    if isinstance(clear, int):
        grey[values == clear] = 255
    return grey


def _float_to_8_bits(values: NDArray[np.floating]) -> Pixels:
    is_finite = np.isfinite(values)
    if not is_finite.any():
        raise UnreadableImage("None of its pixels is a finite number.", _FIX)
    low, high = values[is_finite].min(), values[is_finite].max()
    values = np.where(is_finite, values, low)
    is_in_range = low >= 0 and high <= 255
    scaled = _round(values * (255 if high <= 1 else 1)) if is_in_range else _stretch(values)
    scaled[~is_finite] = 0
    return scaled


def _stretch(values: NDArray[np.generic]) -> Pixels:
    wide = values.astype(np.float64)
    low, high = wide.min(), wide.max()
    return _round((wide - low) * (255 / max(high - low, 1e-300)))


def _round(values: NDArray[np.floating]) -> Pixels:
    rounded: Pixels = np.rint(values).astype(np.uint8)
    return rounded


def _unreadable(content: bytes, error: Exception) -> UnreadableImage:
    """Return what to raise for bytes that could not be decoded: a fault of the machine, or of the picture."""
    if _is_out_of_memory(error):
        return UnreadableNow("There is no memory for it.", _FIX_MEMORY)
    if isinstance(error, ImportError):
        return UnreadableNow(f"What decodes it cannot be loaded: {error}.", _FIX_MACHINE)
    if isinstance(error, OSError) and error.errno:
        return UnreadableNow(f"The machine failed at it: {error.strerror}.", _FIX_MACHINE)
    kind = _foreign(content, error)
    if kind and kind.format not in raster_formats():
        return UnsupportedImage(f"It is {kind.reason}.", kind.advice, kind.name)
    return UnreadableImage(_reason(content, error), _FIX)


def _foreign(content: bytes, error: Exception) -> foreign.Kind | None:
    from PIL import UnidentifiedImageError

    is_unknown = isinstance(error, UnidentifiedImageError)
    return foreign.find("", content[: foreign.HEAD_BYTES]) if is_unknown else None


def _is_out_of_memory(error: Exception) -> bool:
    """Tell by what decoders say, too: Pillow's 'out of memory error', OpenCV's 'Insufficient memory', ..."""
    return isinstance(error, MemoryError) or bool(_NO_MEMORY.search(str(error)))


def _reason(content: bytes, error: Exception) -> str:
    """Say in a sentence or two what is wrong with bytes that could not be decoded."""
    from PIL import Image, UnidentifiedImageError

    if isinstance(error, Image.DecompressionBombError):
        return f"It claims more pixels than can be held. {_BOUND}"
    if kind := _foreign(content, error):
        return f"It is {kind.name}, and damaged, cut short or without a picture."
    if isinstance(error, UnidentifiedImageError):
        head = content[:30].decode("ascii", "replace").split("\n")[0].strip()
        is_text = head.isprintable() and head.isascii() and len(head) > 2
        return f"It is no picture: it begins with '{head}'." if is_text else "It is no picture Pillow reads."
    if "truncated" in str(error).casefold() or isinstance(error, EOFError):
        return "It is cut short."
    return f"It is damaged: {str(error).strip().rstrip('.') or type(error).__name__}."


def _resize(image: Pixels, width: int, height: int) -> Pixels:
    cv2 = _cv2()
    near_width = width if image.shape[1] >= 2 * width else image.shape[1]
    near_height = height if image.shape[0] >= 2 * height else image.shape[0]
    if (near_height, near_width) != image.shape[:2]:
        image = cv2.resize(image, (near_width, near_height), interpolation=cv2.INTER_AREA)
    if (height, width) == (near_height, near_width):
        return np.array(image, order="C")
    # In float32: OpenCV's bilinear on bytes is 0.13 grey levels too dark on average.
    smooth = cv2.resize(image.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR)
    rounded: Pixels = cv2.convertScaleAbs(smooth)  # to the nearest byte, twice as fast as NumPy
    return rounded


def _pad(image: Pixels, size_px: int) -> Pixels:
    height, width = image.shape[:2]
    longer = max(height, width)
    inner_height = max(1, round(height * size_px / longer))
    inner_width = max(1, round(width * size_px / longer))
    top, left = (size_px - inner_height) // 2, (size_px - inner_width) // 2
    canvas = np.full((size_px, size_px, 3), PAD_COLOUR, np.uint8)
    canvas[top : top + inner_height, left : left + inner_width] = _resize(image, inner_width, inner_height)
    return canvas


@functools.cache
def _cv2() -> ModuleType:
    import cv2

    cv2.setNumThreads(1)  # threads go by photo; OpenCV's own would only fight with them
    return cv2
