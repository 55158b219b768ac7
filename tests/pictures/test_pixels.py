import csv
import errno
import io
import threading
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageOps

from headstart.base.errors import UnreadableImage, UnreadableNow
from headstart.pictures import pixels
from headstart.pictures.formats import raster_formats

FIX = "Replace the file, or remove it."
Bytes = NDArray[np.uint8]


def noise(height: int, width: int, seed: int = 0) -> Bytes:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def smooth(height: int, width: int) -> Bytes:
    """A picture as soft as a photo, so that lossy formats keep it to a few grey levels."""
    y, x = np.mgrid[0:1:height * 1j, 0:1:width * 1j]  # fmt: skip
    return np.stack([255 * x, 255 * y, 127 + 127 * np.sin(5 * x * y)], axis=2).astype(np.uint8)


def saved(image: Image.Image | Bytes, kind: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(stream, kind, **options)
    return stream.getvalue()


def problem_of(content: bytes) -> str:
    with pytest.raises(UnreadableImage) as caught:
        pixels.decode(content)
    assert caught.value.fix == FIX
    return caught.value.problem


def bilinear(image: Bytes, height: int, width: int) -> NDArray[np.float64]:
    """Bilinear with half-pixel centres and no antialiasing, from its definition, in float64."""

    def taps(source: int, target: int) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float64]]:
        centres = np.clip((np.arange(target) + 0.5) * source / target - 0.5, 0, source - 1)
        first = np.floor(centres).astype(np.intp)
        return first, np.minimum(first + 1, source - 1), centres - first

    top, bottom, y = taps(image.shape[0], height)
    left, right, x = taps(image.shape[1], width)
    values = image.astype(np.float64)
    rows = values[top] * (1 - y)[:, None, None] + values[bottom] * y[:, None, None]
    return rows[:, left] * (1 - x)[:, None] + rows[:, right] * x[:, None]


def box_means(image: Bytes, height: int, width: int) -> NDArray[np.float64]:
    """The mean over the area that each new pixel covers, by differences of running sums, in float64."""
    values = image.astype(np.float64)
    for axis, target in ((0, height), (1, width)):
        source = values.shape[axis]
        sums = np.insert(np.cumsum(values, axis), 0, 0, axis)
        edges = np.arange(target + 1) * source / target
        low = np.minimum(edges.astype(int), source - 1)
        part = (edges - low).reshape([-1 if one == axis else 1 for one in range(3)])
        at_edges = sums.take(low, axis) * (1 - part) + sums.take(low + 1, axis) * part
        values = np.diff(at_edges, axis=axis) * target / source
    return values


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "PPM", "TGA", "ICO", "PCX", "SGI", "QOI", "DDS"])
def test_lossless_formats_come_back_exactly(kind: str) -> None:
    image = noise(20, 30)
    options = {"sizes": [(30, 20)]} if kind == "ICO" else {}
    decoded = pixels.decode(saved(image, kind, **options))
    assert decoded.dtype == np.uint8 and decoded.flags.c_contiguous
    np.testing.assert_array_equal(decoded, image)


@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "JPEG2000", "AVIF"])
def test_lossy_formats_come_back_nearly(kind: str) -> None:
    if kind not in raster_formats():
        pytest.skip(f"this Pillow was built without {kind}")
    image = smooth(60, 90)
    decoded = pixels.decode(saved(image, kind, **({} if kind == "JPEG2000" else {"quality": 95})))
    assert np.abs(decoded.astype(int) - image).mean() < 2


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": "4:2:0"}])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_the_fast_jpeg_path_agrees_with_pillow(mode: str, options: dict[str, Any]) -> None:
    content = saved(Image.fromarray(smooth(61, 83)).convert(mode), "JPEG", quality=90, **options)
    expected = np.asarray(Image.open(io.BytesIO(content)).convert("RGB")).astype(int)
    difference = np.abs(pixels.decode(content) - expected)
    assert difference.max() <= 6 and difference.mean() < 1.3


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_exif_orientation_is_applied_as_pillow_does(kind: str, orientation: int) -> None:
    if kind not in raster_formats():
        pytest.skip(f"this Pillow was built without {kind}")
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = saved(smooth(40, 64), kind, exif=exif, quality=95)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(content))))
    decoded = pixels.decode(content)
    assert decoded.shape == expected.shape == ((64, 40, 3) if orientation >= 5 else (40, 64, 3))
    assert decoded.flags.c_contiguous
    assert np.abs(decoded.astype(int) - expected).max() <= 6


def test_orientation_6_turns_clockwise() -> None:
    """EXIF 2.3: value 6 says that row 0 is the visual right side and column 0 the visual top."""
    image = np.zeros((2, 3, 3), np.uint8)
    image[0, 0] = 255
    exif = Image.Exif()
    exif[0x0112] = 6
    decoded = pixels.decode(saved(image, "PNG", exif=exif))
    assert np.argwhere(decoded[..., 0]).tolist() == [[0, 1]]


@pytest.mark.parametrize("orientation", [0, 9, 77])
def test_an_orientation_that_means_nothing_is_left(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = noise(4, 6)
    np.testing.assert_array_equal(pixels.decode(saved(image, "PNG", exif=exif)), image)


def test_broken_exif_does_not_cost_the_picture() -> None:
    content = saved(smooth(20, 20), "JPEG", exif=b"Exif\x00\x00MM\x00*\xff\xff\xff\xffbroken")
    assert pixels.decode(content).shape == (20, 20, 3)


def test_alpha_is_laid_on_white() -> None:
    """A quarter opaque (64 / 255): 255 - (255 - value) * 64 / 255, so 200, 100, 50 become 241, 216, 204."""
    image = Image.new("RGBA", (2, 1), (200, 100, 50, 64))
    image.putpixel((1, 0), (200, 100, 50, 0))
    assert pixels.decode(saved(image, "PNG")).tolist() == [[[241, 216, 204], [255, 255, 255]]]
    grey = Image.new("LA", (2, 1), (100, 64))
    grey.putpixel((1, 0), (7, 255))
    assert pixels.decode(saved(grey, "PNG")).tolist() == [[[216, 216, 216], [7, 7, 7]]]


def test_a_transparent_colour_becomes_white() -> None:
    white = [255, 255, 255]
    colour = Image.fromarray(np.array([[[1, 2, 3], [10, 20, 30]]], np.uint8))
    assert pixels.decode(saved(colour, "PNG", transparency=(1, 2, 3))).tolist() == [[white, [10, 20, 30]]]
    grey = Image.fromarray(np.array([[7, 9]], np.uint8))
    assert pixels.decode(saved(grey, "PNG", transparency=7)).tolist() == [[white, [9, 9, 9]]]
    deep = Image.fromarray(np.array([[257, 514]], np.uint16))
    assert pixels.decode(saved(deep, "PNG", transparency=257)).tolist() == [[white, [2, 2, 2]]]
    palette = Image.new("P", (2, 1))
    palette.putpalette([200, 100, 50, 10, 20, 30])
    palette.putpixel((1, 0), 1)
    assert pixels.decode(saved(palette, "PNG", transparency=0)).tolist() == [[white, [10, 20, 30]]]
    half_clear = pixels.decode(saved(palette, "PNG", transparency=b"\x40\xff"))
    assert half_clear.tolist() == [[[241, 216, 204], [10, 20, 30]]]
    assert pixels.decode(saved(palette, "PNG")).tolist() == [[[200, 100, 50], [10, 20, 30]]]


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM"])
def test_16_bit_grey_is_divided_by_257(kind: str) -> None:
    """65535 / 255 = 257; 32768 / 257 = 127.50 and 385 / 257 = 1.498."""
    image = Image.fromarray(np.array([[0, 257, 385, 32768, 65535]], np.uint16))
    assert pixels.decode(saved(image, kind))[0, :, 0].tolist() == [0, 1, 1, 128, 255]


def test_wider_integers_are_stretched() -> None:
    image = Image.fromarray(np.array([[-100, 60, 100]], np.int32))
    assert pixels.decode(saved(image, "TIFF"))[0, :, 1].tolist() == [0, 204, 255]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0, 0.5, 1], [0, 128, 255]),
        ([0, 100.4, 255], [0, 100, 255]),
        ([-1, 0, 3], [0, 64, 255]),
        ([np.nan, 0, np.inf, 1], [0, 0, 0, 255]),
        ([-7, -7], [0, 0]),
    ],
)
def test_floats(values: list[float], expected: list[int]) -> None:
    image = Image.fromarray(np.array([values], np.float32))
    assert pixels.decode(saved(image, "TIFF"))[0, :, 2].tolist() == expected


def test_cmyk_one_bit_and_lab() -> None:
    """CMYK without black: R = 255 - C, here (255, 155, 55); JPEG keeps a flat colour to two grey levels."""
    cmyk = pixels.decode(saved(Image.new("CMYK", (16, 16), (0, 100, 200, 0)), "JPEG", quality=100))
    assert np.abs(cmyk[8, 8].astype(int) - (255, 155, 55)).max() <= 2
    bits = Image.new("1", (2, 1))
    bits.putpixel((1, 0), 1)
    assert pixels.decode(saved(bits, "PNG"))[0, :, 0].tolist() == [0, 255]
    lab = pixels.decode(saved(Image.new("LAB", (2, 2), (255, 128, 128)), "TIFF"))
    assert lab.min() >= 250


def test_an_animation_gives_its_first_frame() -> None:
    frames = [Image.fromarray(np.full((5, 5, 3), value, np.uint8)) for value in (250, 10)]
    for kind in ("GIF", "PNG", "TIFF"):
        content = saved(frames[0], kind, save_all=True, append_images=frames[1:])
        assert (pixels.decode(content) == 250).all(), kind


def test_a_jpeg_that_lacks_only_its_end_marker_is_whole() -> None:
    for mode, exif in (("RGB", 1), ("CMYK", 1), ("RGB", 8)):
        header = Image.Exif()
        header[0x0112] = exif
        content = saved(Image.fromarray(smooth(60, 80)).convert(mode), "JPEG", exif=header)
        assert content[-2:] == b"\xff\xd9"
        np.testing.assert_array_equal(pixels.decode(content[:-2]), pixels.decode(content))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP"])
@pytest.mark.parametrize("kept", [0.5, 0.9])
def test_half_a_picture_is_unreadable(kind: str, kept: float) -> None:
    content = saved(noise(90, 90), kind)
    said = problem_of(content[: int(len(content) * kept)])
    assert said == "It is cut short." or said.startswith("It is damaged: ")


def test_a_progressive_jpeg_cut_in_a_scan_is_unreadable() -> None:
    content = saved(noise(90, 90), "JPEG", progressive=True)
    assert problem_of(content[: len(content) // 2]) == "It is cut short."


def test_reasons(bomb_png: bytes) -> None:
    bound = "At most 178,956,970 pixels are decoded."
    assert problem_of(b"") == "The file is empty."
    assert problem_of(b"<!DOCTYPE html>\n<html>") == "It is no picture: it begins with '<!DOCTYPE html>'."
    assert problem_of(b"\x00\x01\x02" * 50) == "It is no picture Pillow reads."
    assert problem_of(bomb_png) == f"It claims more pixels than can be held. {bound}"
    no_number = saved(Image.fromarray(np.full((2, 2), np.nan, np.float32)), "TIFF")
    assert problem_of(no_number) == "None of its pixels is a finite number."


def test_a_bomb_is_refused_before_it_is_decoded(bomb_png: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda _: pytest.fail("the picture was decoded"))
    assert problem_of(bomb_png) == (
        "It claims 60,000 x 60,000 pixels. At most 178,956,970 pixels are decoded."
    )


def test_the_bound_is_pillows() -> None:
    assert Image.MAX_IMAGE_PIXELS is not None
    assert pixels.MAX_PIXELS == 2 * Image.MAX_IMAGE_PIXELS


@pytest.mark.parametrize("error", [OverflowError("too large"), SyntaxError("bad")])
def test_whatever_a_decoder_raises_is_an_unreadable_image(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: object) -> None:
        raise error

    content = saved(noise(3, 3), "PNG")
    monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load", fail)
    assert problem_of(content) == f"It is damaged: {error}."


@pytest.mark.parametrize(
    "kind", ["JPEG", "PNG", "GIF", "TIFF", "WEBP", "BMP", "PPM", "TGA", "ICO", "PSD", "JPEG2000"]
)
def test_changed_bytes_give_pixels_or_unreadable_image(kind: str) -> None:
    random = np.random.default_rng(3)
    content = PSD if kind == "PSD" else saved(noise(24, 32), kind)
    for _ in range(60):
        damaged = np.frombuffer(content, np.uint8).copy()
        damaged[random.integers(0, len(damaged), 6)] = random.integers(0, 256, 6)
        try:
            assert pixels.decode(damaged.tobytes()).ndim == 3
        except UnreadableImage as error:
            assert error.problem.endswith(".") and error.fix == FIX


PSD = (
    b"8BPS\x00\x01" + bytes(6) + b"\x00\x03" + b"\x00\x00\x00\x02\x00\x00\x00\x02\x00\x08\x00\x03" + bytes(14)
    + bytes(range(12))
)  # fmt: skip


def test_pillows_warnings_are_silenced(monkeypatch: pytest.MonkeyPatch) -> None:
    """16 pixels are more than 10 and at most twice 10, of which Pillow warns."""
    content = saved(noise(4, 4), "PNG")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(Image.DecompressionBombWarning):
            Image.open(io.BytesIO(content))
        assert pixels.decode(content).shape == (4, 4, 3)


def test_decoding_leaves_its_input_as_it_was() -> None:
    content = saved(noise(30, 40), "PNG")
    before = bytes(bytearray(content))
    image = pixels.decode(content)
    kept = image.copy()
    for fit in ("squash", "crop", "pad"):
        for size_px in (10, 30, 50):
            squared = pixels.square(image, size_px, fit)
            squared[:] = 0
    assert content == before
    np.testing.assert_array_equal(image, kept)


def test_a_square_of_the_same_size_is_another_array() -> None:
    image = noise(8, 8)
    for fit in ("squash", "crop", "pad"):
        squared = pixels.square(image, 8, fit)
        np.testing.assert_array_equal(squared, image)
        assert not np.shares_memory(squared, image)


@pytest.mark.parametrize("shape", [(300, 400), (100, 130), (224, 90), (1, 1), (447, 447), (8, 9)])
def test_squash_is_bilinear_with_half_pixel_centres(shape: tuple[int, int]) -> None:
    """Rounding costs half a grey level; the rest is OpenCV's float32 (0.006 against Keras was measured)."""
    image = noise(*shape)
    squared = pixels.square(image, 224, "squash")
    assert squared.shape == (224, 224, 3) and squared.dtype == np.uint8 and squared.flags.c_contiguous
    assert np.abs(squared - bilinear(image, 224, 224)).max() <= 0.506


@pytest.mark.parametrize("shape", [(448, 448), (1000, 640), (3000, 451)])
def test_a_side_that_shrinks_to_half_or_less_is_averaged(shape: tuple[int, int]) -> None:
    image = noise(*shape)
    squared = pixels.square(image, 224, "squash")
    assert np.abs(squared - box_means(image, 224, 224)).max() <= 0.52


def test_a_thin_picture_is_averaged_along_and_stretched_across() -> None:
    image = noise(8, 3000)
    squared = pixels.square(image, 224, "squash")
    averaged = np.rint(box_means(image, 8, 224)).astype(np.uint8)
    assert np.abs(squared - bilinear(averaged, 224, 224)).max() <= 1.01
    assert pixels.square(noise(100_000, 1), 224, "squash").shape == (224, 224, 3)


def test_no_pixel_is_skipped_in_shrinking() -> None:
    """One white pixel in 100 x 100 black ones must leave its share in a 10 x 10 picture: 255 / 100."""
    image = np.zeros((100, 100, 3), np.uint8)
    image[44, 44] = 255
    assert pixels.square(image, 10, "squash")[4, 4].tolist() == [3, 3, 3]


@pytest.mark.parametrize("shape", [(20, 50), (50, 20), (21, 50)])
def test_crop_takes_the_middle_square(shape: tuple[int, int]) -> None:
    image = noise(*shape)
    short, top, left = min(shape), (shape[0] - min(shape)) // 2, (shape[1] - min(shape)) // 2
    expected = image[top : top + short, left : left + short]
    np.testing.assert_array_equal(pixels.square(image, short, "crop"), expected)


def test_pad_keeps_the_shape_between_bars_of_imagenets_mean() -> None:
    image = noise(20, 40)
    squared = pixels.square(image, 40, "pad")
    np.testing.assert_array_equal(squared[10:30], image)
    assert (squared[:10] == (124, 116, 104)).all() and (squared[30:] == (124, 116, 104)).all()
    thin = pixels.square(noise(3000, 8), 224, "pad")
    assert (thin[:, :111] == (124, 116, 104)).all() and (thin[:, 112:] == (124, 116, 104)).all()
    assert pixels.square(noise(1, 1), 8, "pad").shape == (8, 8, 3)


def test_an_unknown_fit() -> None:
    with pytest.raises(ValueError, match="fit is 'stretch'"):
        pixels.square(noise(4, 4), 4, "stretch")


@pytest.mark.parametrize("fit", ["squash", "crop", "pad"])
def test_a_large_jpeg_prepared_small_is_the_picture_that_was_saved(fit: str) -> None:
    """Reduced decoding stays at twice the wanted size or more, so it shows no more than JPEG itself does."""
    image = smooth(1200, 1800)
    difference = np.abs(
        pixels.prepare(saved(image, "JPEG", quality=95), 224, fit).astype(int)
        - pixels.square(image, 224, fit)
    )
    assert difference.mean() < 0.7 and difference.max() <= 4


def test_reduced_decoding_stays_large_enough() -> None:
    content = saved(smooth(800, 1000), "JPEG")
    assert pixels.decode(content).shape == (800, 1000, 3)
    assert pixels.decode(content, at_least_px=401).shape == (800, 1000, 3)
    assert pixels.decode(content, at_least_px=400).shape == (400, 500, 3)
    assert pixels.decode(content, at_least_px=201).shape == (300, 375, 3)
    assert pixels.decode(content, at_least_px=1).shape == (100, 125, 3)


def test_reduced_decoding_still_sees_what_is_missing() -> None:
    content = saved(noise(400, 400), "JPEG")
    with pytest.raises(UnreadableImage):
        pixels.decode(content[: int(len(content) * 0.95)], at_least_px=1)


@pytest.mark.parametrize("seed", range(6))
def test_squares_of_one_decoding_are_the_pixels_of_prepare(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of any shape, kind, fit and sizes, in any order; each scale is decoded once."""
    random = np.random.default_rng(seed)
    decode = pixels.decode
    for _ in range(8):
        height, width = random.integers(20, 900, 2).tolist()
        kind = str(random.choice(["JPEG", "JPEG", "JPEG", "PNG"]))
        exif = Image.Exif()
        exif[0x0112] = int(random.integers(1, 9))
        content = saved(noise(height, width, seed), kind, exif=exif)
        sizes, fit = random.integers(8, 450, 5).tolist(), str(random.choice(["squash", "crop", "pad"]))
        expected = {size: pixels.prepare(content, size, fit) for size in sizes}
        scales: list[tuple[int, ...]] = []

        def counted(content: bytes, *, at_least_px: int | None = None) -> Bytes:
            image = decode(content, at_least_px=at_least_px)
            scales.append(image.shape)  # noqa: B023
            return image

        with monkeypatch.context() as patch:
            patch.setattr(pixels, "decode", counted)
            picture = pixels.Picture(content)
            for size in sizes:
                assert np.array_equal(picture.square(size, fit), expected[size]), (height, width, size, fit)
        assert len(scales) == len(set(scales))


def test_a_picture_that_is_none_says_what_decoding_says() -> None:
    for content in (b"", b"no picture", saved(noise(200, 200), "JPEG")[:-900]):
        with pytest.raises(UnreadableImage) as caught:
            pixels.Picture(content).square(32, "squash")
        assert caught.value.problem == problem_of(content)


def test_read_names_the_file(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"")
    machine = "That is no fault of the picture: mend it, and run the same command again."
    for name, why, fix in (
        ("a.png", "The file is empty.", FIX),
        ("b.png", "The file cannot be opened: No such file or directory.", machine),
        (".", "The file cannot be opened: Is a directory.", machine),
    ):
        with pytest.raises(UnreadableImage) as caught:
            pixels.read(tmp_path / name, 8, "squash")
        assert str(caught.value) == f"{tmp_path / name} cannot be read. {why}\n{fix}"


def test_a_file_beyond_memory_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.png").write_bytes(bytes(1001))
    monkeypatch.setattr(pixels, "MAX_FILE_BYTES", 1000)
    with pytest.raises(UnreadableImage) as caught:
        pixels.read_bytes(tmp_path / "a.png")
    assert caught.value.problem == "The file holds 1,001 bytes, more than 1,000."


@pytest.mark.parametrize("workers", [1, 2, 7, None])
def test_read_many_keeps_the_order(photos: Path, workers: int | None) -> None:
    files = sorted(photos.rglob("*.jpg"), key=lambda file: file.name[::-1]) * 3
    read = list(pixels.read_many(files, 16, "squash", workers=workers))
    assert len(read) == 120
    for file, image in zip(files, read, strict=True):
        np.testing.assert_array_equal(image, pixels.read(file, 16, "squash"))


def test_read_many_raises_at_the_bad_file(photos: Path) -> None:
    files = sorted(photos.rglob("*.jpg"))
    files[5].write_bytes(b"")
    stream = pixels.read_many(files, 16, "squash")
    for _ in range(5):
        next(stream)
    with pytest.raises(UnreadableImage, match=r"green_05\.jpg cannot be read\. The file is empty\."):
        next(stream)


def test_work_stays_a_bounded_way_ahead() -> None:
    started: list[int] = []
    lock = threading.Lock()

    def work(item: int) -> int:
        with lock:
            started.append(item)
        return item

    def endless() -> Iterator[int]:
        item = 0
        while True:
            yield item
            item += 1

    results = pixels.map_in_order(work, endless(), workers=2)
    assert [next(results) for _ in range(10)] == list(range(10))
    time.sleep(0.05)
    assert len(started) <= 10 + pixels.LOOK_AHEAD
    results.close()  # type: ignore[attr-defined]
    ended = len(started)
    time.sleep(0.05)
    assert len(started) == ended


def test_what_a_header_claims() -> None:
    assert pixels.header(saved(noise(3, 5), "WEBP")) == ("WEBP", 5, 3)
    assert pixels.header(saved(noise(3, 5), "JPEG")) == ("JPEG", 5, 3)
    with pytest.raises(UnreadableImage):
        pixels.header(b"text")


def test_the_messy_pictures_decode_or_say_why(shared_data: Path) -> None:
    with (shared_data / "messy.csv").open(encoding="utf-8", newline="") as stream:
        outcomes = {row["path"]: row["outcome"] for row in csv.DictReader(stream)}
    for path, outcome in outcomes.items():
        if outcome in ("use", "duplicate", "conflict"):
            assert pixels.read(shared_data / "messy" / path, 32, "squash").std() > 0 or "tiny" in path, path
        if outcome == "quarantine":
            with pytest.raises(UnreadableImage):
                pixels.read(shared_data / "messy" / path, 32, "squash")


def test_the_messy_16_bit_picture_is_not_clipped(shared_data: Path) -> None:
    file = shared_data / "messy" / "cat" / "grey16.png"
    deep = np.asarray(Image.open(file)).astype(np.float64)
    assert np.abs(pixels.decode(file.read_bytes())[..., 0] - deep / 257).max() <= 0.5
    assert 20 < pixels.decode(file.read_bytes()).mean() < 235


def test_the_messy_turned_photo_stands_upright(shared_data: Path) -> None:
    file = shared_data / "messy" / "dog" / "exif6.jpg"
    assert Image.open(file).size == (240, 320)
    upright = np.asarray(ImageOps.exif_transpose(Image.open(file))).astype(int)
    decoded = pixels.decode(file.read_bytes())
    assert decoded.shape == (240, 320, 3)
    assert np.abs(decoded - upright).mean() < 1.3


def test_common_side_of_squares_of_one_size(tmp_path: Path) -> None:
    files = [tmp_path / f"{number}.png" for number in range(3)]
    for file in files:
        Image.new("RGB", (50, 50)).save(file)
    assert pixels.common_side(files) == 50
    Image.new("RGB", (50, 51)).save(files[1])
    assert pixels.common_side(files) is None
    for file in files:
        Image.new("RGB", (50, 40)).save(file)
    assert pixels.common_side(files) is None


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (MemoryError(), "There is no memory for it."),
        (OSError("out of memory error when reading image file"), "There is no memory for it."),
        (OSError(errno.EIO, "Input/output error"), "The machine failed at it: Input/output error."),
        (OSError(errno.EMFILE, "Too many open files"), "The machine failed at it: Too many open files."),
        (ImportError("no libtiff"), "What decodes it cannot be loaded: no libtiff."),
    ],
)
def test_a_fault_of_the_machine_is_told_from_one_of_the_picture(
    error: Exception, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: object) -> None:
        raise error

    monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load", fail)
    with pytest.raises(UnreadableNow) as caught:
        pixels.decode(saved(noise(3, 3), "PNG"))
    assert caught.value.problem == said


def test_photos_without_a_header_have_no_say_in_the_common_side(tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("a.png", "b.png", "c.png")]
    Image.new("RGB", (5, 5)).save(files[1])
    files[2].write_bytes(b"no picture")
    assert pixels.common_side(files) == 5
    assert pixels.common_side(files[:1]) is None
    assert pixels.header_sizes([files[1]] * 1010) == [(5, 5)] * 92
