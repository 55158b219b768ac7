"""A trunk's activations are the same live and kept, for each photo in each pass."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import made_photos

from headstart.base.errors import ChangedPhoto, DiskFull
from headstart.base.progress import Progress
from headstart.networks import backbones, engine
from headstart.networks.engine import Engine
from headstart.pictures import pixels
from headstart.storage.checkpoint import Checkpoints
from headstart.training import activations, tail
from headstart.training.activations import Kept, Live, View


@pytest.fixture(scope="module")
def trunk() -> Engine:
    divided = tail.divide(backbones.build("tiny"), "block_3_conv", "last")
    assert divided.trunk is not None
    return engine.prepare(divided.trunk, made_photos(32), "openvino", Progress())


@pytest.fixture
def files(photos: Path) -> list[Path]:
    return sorted(photos.rglob("*.jpg"))[:10]


@pytest.fixture
def view(files: list[Path]) -> View:
    return activations.random_view(files, digests_of(files), 32, "squash", ("mirror", "shift"), 5)


def digests_of(files: list[Path]) -> list[str]:
    return [hashlib.sha256(file.read_bytes()).hexdigest() for file in files]


def rows(inputs: activations.Activations, order: list[int], epoch: int) -> np.ndarray:
    return np.stack(list(inputs.rows(order, epoch)))


def prepared(trunk: Engine | None, view: View, n_views: int, folder: Path) -> activations.Activations:
    return activations.prepare(trunk, view, 10, n_views, "kept", Checkpoints(folder, ""), "", Progress())


def test_a_view_depends_on_photo_and_pass_alone(view: View) -> None:
    assert np.array_equal(view(3, 1), view(3, 1))
    assert not np.array_equal(view(3, 1), view(3, 2))
    assert not np.array_equal(view(3, 1), view(4, 1))


def test_live_ones_are_what_the_trunk_makes_of_the_views(trunk: Engine, view: View) -> None:
    order = [7, 2, 2, 9]
    expected = trunk(np.stack([view(index, 2) for index in order]))
    assert np.array_equal(rows(Live(trunk, view), order, 2), expected)


def test_without_a_trunk_they_are_the_pixels(view: View, files: list[Path], tmp_path: Path) -> None:
    inputs = prepared(None, view, 2, tmp_path)
    assert isinstance(inputs, Live)
    assert np.array_equal(rows(inputs, [4], 1)[0], view(4, 1).astype(np.float32))
    plain = activations.random_view(files, digests_of(files), 32, "squash", (), 0)
    assert np.array_equal(plain(4, 1), pixels.read(files[4], 32, "squash"))


def test_kept_ones_equal_live_ones_and_come_round_again(trunk: Engine, view: View, tmp_path: Path) -> None:
    kept, live = prepared(trunk, view, 2, tmp_path), Live(trunk, view)
    assert isinstance(kept, Kept)
    order = [9, 0, 5, 5]
    for epoch, same in ((1, 1), (2, 2), (3, 1), (4, 2)):
        received, expected = rows(kept, order, epoch), rows(live, order, same)
        assert received.dtype == np.float32
        # float16 has 11 significant bits.
        assert np.abs(received - expected).max() <= 2**-11 * np.abs(expected).max()
    assert not np.array_equal(rows(kept, order, 1), rows(kept, order, 2))


def test_kept_ones_take_two_bytes_a_value(trunk: Engine, view: View, tmp_path: Path) -> None:
    prepared(trunk, view, 2, tmp_path)
    n_values = 2 * 10 * int(np.prod(trunk.output_shape))
    assert (tmp_path / "kept.npy").stat().st_size - 2 * n_values in range(1, 500)


def test_what_does_not_fit_on_the_disk_is_computed_live(
    trunk: Engine, view: View, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(activations, "LARGEST_SHARE", 1e-12)
    assert isinstance(prepared(trunk, view, 2, tmp_path), Live)
    assert not (tmp_path / "kept.npy").exists()


def test_what_does_not_fit_into_float16_is_computed_live(view: View, tmp_path: Path) -> None:
    keras = backbones.import_keras()
    pictures = keras.Input((32, 32, 3))
    large = keras.Model(pictures, keras.layers.Rescaling(1000.0)(pictures))
    trunk = engine.prepare(large, made_photos(32), "keras", Progress())
    inputs = prepared(trunk, view, 1, tmp_path)
    assert isinstance(inputs, Live)
    assert rows(inputs, [0], 1).max() > 65504


TAILS = [[(index, 2) for index in range(first, 10)] for first in (8, 4, 0)]
"""Of the second view: the last block, and those before it that were in work when the photo was read ahead."""


class Counted:
    """A view that counts what is asked, and fails at the photo that is told."""

    def __init__(self, view: View, fails_at: tuple[int, int] = (-1, -1)) -> None:
        self.view, self.fails_at, self.asked = view, fails_at, list[tuple[int, int]]()

    def __call__(self, index: int, epoch: int) -> pixels.Pixels:
        if (index, epoch) == self.fails_at:
            raise KeyboardInterrupt
        self.asked.append((index, epoch))
        return self.view(index, epoch)


@pytest.fixture
def interrupted(trunk: Engine, view: View, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of activations that were interrupted in the second view, in the last of three blocks."""
    monkeypatch.setattr(activations, "BLOCK", 4)
    with pytest.raises(KeyboardInterrupt):
        prepared(trunk, Counted(view, fails_at=(9, 2)), 2, tmp_path)
    return tmp_path


def test_interrupted_they_go_on_with_the_blocks_that_are_whole(
    trunk: Engine, view: View, interrupted: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    again = Counted(view)
    kept = prepared(trunk, again, 2, interrupted)
    assert sorted(again.asked) in TAILS
    whole = prepared(trunk, view, 2, tmp_path_factory.mktemp("whole"))
    for epoch in (1, 2):
        assert np.array_equal(rows(kept, [*range(10)], epoch), rows(whole, [*range(10)], epoch))
    once_more = Counted(view)
    prepared(trunk, once_more, 2, interrupted)
    assert once_more.asked == []


def test_a_block_with_flipped_bytes_is_computed_again(trunk: Engine, view: View, interrupted: Path) -> None:
    path = interrupted / "kept.npy"
    expected = np.load(path)[0]
    with path.open("r+b") as stream:
        stream.seek(-expected.nbytes - 1, 2)  # the last byte of the first view
        flipped = bytes([stream.read(1)[0] ^ 0xFF])
        stream.seek(-expected.nbytes - 1, 2)
        stream.write(flipped)
    again = Counted(view)
    kept = prepared(trunk, again, 2, interrupted)
    of_first = [(8, 1), (9, 1)]
    assert sorted(set(again.asked) - set(of_first)) in TAILS
    assert set(of_first) <= set(again.asked)
    assert np.array_equal(rows(kept, [*range(10)], 1), expected.astype(np.float32))


def test_those_of_another_origin_are_computed_again(trunk: Engine, view: View, interrupted: Path) -> None:
    again, others = Counted(view), Checkpoints(interrupted, "").made_from("another seed")
    activations.prepare(trunk, again, 10, 2, "kept", others, "", Progress())
    assert len(again.asked) == 20


@pytest.mark.parametrize("content", [b"", b"no array", None])
def test_what_is_no_file_of_them_is_written_anew(
    content: bytes | None, trunk: Engine, view: View, interrupted: Path
) -> None:
    path = interrupted / "kept.npy"
    path.unlink() if content is None else path.write_bytes(content)
    again = Counted(view)
    prepared(trunk, again, 2, interrupted)
    assert len(again.asked) == 20


def test_a_disk_that_is_full_by_then_is_told(
    trunk: Engine, view: View, small_disk: Callable[[int], Path]
) -> None:
    """As it is where another program fills it; to write to a mapped file without room ends the process."""
    disk = small_disk(100)
    with pytest.raises(DiskFull) as caught:
        Kept(Live(trunk, view), trunk, 10, 100, "kept", Checkpoints(disk, ""))
    assert caught.value.problem == f"No space is left on the disk that holds {disk}."


def test_a_photo_that_changed_or_went_away_has_no_view(view: View, files: list[Path]) -> None:
    files[3].write_bytes(files[4].read_bytes())
    files[5].unlink()
    for index, what in ((3, "was changed"), (5, "is gone")):
        with pytest.raises(ChangedPhoto) as caught:
            view(index, 1)
        assert caught.value.problem == f"{files[index]} {what} since it was checked."
