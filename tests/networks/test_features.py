"""Feature vectors depend on their own photo alone, and no photo is computed twice."""

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

import numpy as np
import pytest

from headstart.base.errors import ChangedPhoto
from headstart.base.progress import Progress
from headstart.networks import backbones, engine, vectors
from headstart.networks.features import Extractor
from headstart.pictures import pixels
from headstart.pictures.pixels import Pixels
from headstart.storage.store import Store


@pytest.fixture
def extractor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Extractor]:
    tiny = engine.open_backbone(backbones.find("tiny"), 32)
    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path / "cache"))
    with Store(Progress()) as store:
        yield Extractor(tiny, "tiny", "squash", store)


@pytest.fixture
def files(photos: Path) -> list[Path]:
    return sorted(photos.rglob("*.jpg"))


def digests(files: list[Path]) -> list[str]:
    return [hashlib.sha256(file.read_bytes()).hexdigest() for file in files]


def features(extractor: Extractor, files: list[Path]) -> np.ndarray:
    return extractor.features(files, digests(files), "", Progress())[:]


def compute(extractor: Extractor, files: list[Path]) -> int:
    return extractor.compute(files, digests(files), "", Progress())


def test_a_vector_is_what_the_backbone_makes_of_the_photo(extractor: Extractor, files: list[Path]) -> None:
    rows = features(extractor, files)
    assert rows.shape == (40, 8)
    assert rows.dtype == np.float32
    assert np.ptp(rows, axis=0).min() > 0
    pictures = np.stack([pixels.read(file, 32, "squash") for file in files]).astype(np.float32)
    expected = backbones.build("tiny").predict_on_batch(pictures)
    assert np.abs(rows - expected).max() <= 2**-11 * np.abs(expected).max()  # half a last place of float16


def test_order_neighbours_and_what_was_kept_do_not_change_a_vector(
    extractor: Extractor, files: list[Path]
) -> None:
    assert compute(extractor, files[::3]) == 14
    rows = features(extractor, files)
    assert compute(extractor, files) == 0
    other = replace(extractor, identity="another name for the same")
    assert np.array_equal(features(other, files[::-1])[::-1], rows)
    assert np.array_equal(features(extractor, files[::-1])[::-1], rows)


def test_one_changed_photo_alone_is_computed_again(extractor: Extractor, files: list[Path]) -> None:
    before = features(extractor, files)
    files[7].write_bytes(files[8].read_bytes() + b"another end")
    seen: list[Path] = []
    read = pixels.read

    def recorded(path: Path, size_px: int, fit: str, digest: str) -> Pixels:
        seen.append(path)
        return read(path, size_px, fit, digest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pixels, "read", recorded)
        after = features(extractor, files)
    assert seen == [files[7]]
    assert [index for index in range(40) if not np.array_equal(before[index], after[index])] == [7]
    assert np.array_equal(after[7], after[8])


def test_copies_are_computed_once(extractor: Extractor, files: list[Path], tmp_path: Path) -> None:
    copy = tmp_path / "copy.jpg"
    copy.write_bytes(files[0].read_bytes())
    several = [copy, files[1], files[0], copy]
    assert extractor.n_missing(digests(several)) == 2
    rows = features(extractor, several)
    assert extractor.n_missing(digests(several)) == 0
    assert np.array_equal(rows[0], rows[2])
    assert np.array_equal(rows[0], rows[3])
    assert not np.array_equal(rows[0], rows[1])


@pytest.mark.parametrize("change", [{"identity": "other"}, {"fit": "crop"}])
def test_another_backbone_or_fit_shares_no_vector(
    change: dict[str, str], extractor: Extractor, files: list[Path]
) -> None:
    assert compute(extractor, files) == 40
    assert compute(replace(extractor, **change), files) == 40  # type: ignore[arg-type]


def test_where_nothing_can_be_kept_the_vectors_come_all_the_same(
    extractor: Extractor, files: list[Path]
) -> None:
    expected = features(extractor, files)
    extractor.store.close()
    assert np.array_equal(features(extractor, files), expected)


def test_fresh_and_kept_vectors_in_memory_or_in_a_file_are_the_same_numbers(
    extractor: Extractor, files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert compute(extractor, files[:25]) == 25
    several = [*files, files[30], files[3], files[30]]
    partly = features(extractor, several)
    monkeypatch.setattr(vectors, "IN_MEMORY_BYTES", 0)
    in_file = replace(extractor, work=tmp_path / "work")
    assert np.array_equal(features(in_file, several), partly)  # kept
    fresh = replace(in_file, identity="fresh")
    assert np.array_equal(features(fresh, several), partly)
    assert [path.stat().st_size for path in (tmp_path / "work").iterdir()] == [43 * 8 * 2] * 2
    assert np.array_equal(partly, partly.astype(np.float16).astype(np.float32))


CHANGED_FIX = "Leave the photos as they are while it works, and run the same command again."


def test_a_photo_that_changed_since_it_was_digested_is_told_and_never_kept(
    extractor: Extractor, files: list[Path]
) -> None:
    digested = digests(files)
    files[7].write_bytes(files[8].read_bytes() + b"another end")
    with pytest.raises(ChangedPhoto) as caught:
        extractor.features(files, digested, "", Progress())
    assert str(caught.value) == f"{files[7]} was changed since it was checked.\n{CHANGED_FIX}"
    assert extractor.n_missing(digested[7:8]) == 1
    assert compute(extractor, files[7:8]) == 1  # under its own digest


def test_a_photo_that_is_gone_since_it_was_digested_is_told(extractor: Extractor, files: list[Path]) -> None:
    digested = digests(files)
    files[7].unlink()
    with pytest.raises(ChangedPhoto) as caught:
        extractor.compute(files, digested, "", Progress())
    assert str(caught.value) == f"{files[7]} is gone since it was checked.\n{CHANGED_FIX}"


def test_each_file_is_read_once(
    extractor: Extractor, files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []

    def counted(path: Path, mode: str) -> IO[Any]:
        opened.append(str(path))
        return open(path, mode)

    digested = digests(files)
    monkeypatch.setattr(pixels, "open", counted, raising=False)
    assert extractor.compute(files, digested, "", Progress()) == 40
    assert sorted(opened) == sorted(map(str, files))
