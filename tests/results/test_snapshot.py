"""What has changed of the photos of a run is told, by kind, and hardly a photo is read for it."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import audited

from headstart.base.errors import RunError
from headstart.results import snapshot
from headstart.sources import listing
from headstart.storage.wheels import sha256_of

Change = Callable[[Path], object]


def keep(source: Path, path: Path) -> None:
    listed = listing.load(source)
    snapshot.write(path, listed, snapshot.stamps(listed), audited(listed))


@pytest.fixture
def kept(photos: Path, tmp_path: Path) -> Path:
    (photos / "red" / "damaged.jpg").write_bytes(b"\xff\xd8\xff\xe0 no more of it")
    keep(photos, tmp_path / "photos.csv")
    return tmp_path / "photos.csv"


def found(kept: Path, source: Path) -> snapshot.Changes:
    return snapshot.changes(snapshot.read(kept), listing.load(source))


def touch(path: Path, seconds: float = 60) -> None:
    os.utime(path, (path.stat().st_atime, path.stat().st_mtime + seconds))


def rewrite(path: Path) -> None:
    """Change a bit, and neither size nor date to the second."""
    content, before = bytearray(path.read_bytes()), path.stat()
    content[-3] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1))


def test_every_listed_photo_has_a_line_readable_or_not(kept: Path, photos: Path) -> None:
    rows = {row.path: row for row in snapshot.read(kept)}
    assert len(rows) == 41
    for name in ("red/red_07.jpg", "red/damaged.jpg"):
        status = (photos / name).stat()
        assert rows[name] == snapshot.Row(
            *(name, "red", "", ""), status.st_size, status.st_mtime_ns, sha256_of(photos / name)
        )
    assert kept.read_text().splitlines()[0] == "path,label,part,group,size_bytes,mtime_ns,sha256"


def test_where_nothing_has_changed_no_photo_is_read(
    kept: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[Path] = []

    def recorded(path: Path) -> str:
        read.append(path)
        return sha256_of(path)

    monkeypatch.setattr(snapshot, "sha256_of", recorded)
    assert found(kept, photos) == {}
    assert read == []
    touch(photos / "red" / "red_07.jpg")
    touch(photos / "red" / "damaged.jpg", -60)
    assert found(kept, photos) == {}
    assert [path.name for path in read] == ["damaged.jpg", "red_07.jpg"]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda root: rewrite(root / "red" / "red_07.jpg"), {"changed": ["red/red_07.jpg"]}),
        (lambda root: (root / "red" / "red_07.jpg").write_bytes(b""), {"changed": ["red/red_07.jpg"]}),
        (lambda root: rewrite(root / "red" / "damaged.jpg"), {"changed": ["red/damaged.jpg"]}),
        (lambda root: (root / "red" / "red_07.jpg").unlink(), {"missing": ["red/red_07.jpg"]}),
        (lambda root: (root / "red" / "a.jpg").write_bytes(b"new"), {"new": ["red/a.jpg"]}),
        (
            lambda root: (root / "red" / "red_07.jpg").rename(root / "green" / "red_07.jpg"),
            {"new": ["green/red_07.jpg"], "missing": ["red/red_07.jpg"]},
        ),
        (lambda root: (root / "notes.txt").write_text("not a photo"), {}),
        (lambda root: (root / "red" / ".DS_Store").write_text("not a photo"), {}),
    ],
    ids=["bytes", "size", "unreadable", "missing", "new", "moved", "loose file", "hidden file"],
)
def test_each_kind_of_change(change: Change, expected: snapshot.Changes, kept: Path, photos: Path) -> None:
    change(photos)
    assert found(kept, photos) == expected


def table(path: Path, photos: Path, header: str, tail: Callable[[int, str], str]) -> Path:
    names = [file.relative_to(photos.parent).as_posix() for file in sorted(photos.rglob("*.jpg"))]
    path.write_text(header + "".join(f"{name},{tail(number, name)}\n" for number, name in enumerate(names)))
    return path


def test_labels_and_parts_of_a_table_count_and_how_it_is_written_does_not(
    photos: Path, tmp_path: Path
) -> None:
    def tail(number: int, name: str) -> str:
        return f"{name.split('/')[1]},{('train', 'test', 'validation')[number % 3]}"

    path, header = tmp_path / "labels.csv", "path,label,split\n"
    table(path, photos, header, tail)
    keep(path, tmp_path / "photos.csv")
    table(path, photos, header.upper(), lambda number, name: tail(number, name) + ",   ")
    assert found(tmp_path / "photos.csv", path) == {}
    table(path, photos, header, lambda number, name: ("green" if number == 39 else "") or tail(number, name))
    path.write_text(
        path.read_text().replace("photos/red/red_19.jpg,green", "photos/red/red_19.jpg,green,test")
    )
    path.write_text(path.read_text().replace("red_18.jpg,red,validation", "red_18.jpg,red,test"))
    assert found(tmp_path / "photos.csv", path) == {
        "labelled otherwise": ["photos/red/red_19.jpg"],
        "in another part": ["photos/red/red_18.jpg", "photos/red/red_19.jpg"],
    }


def test_groups_of_a_table_count(photos: Path, tmp_path: Path) -> None:
    path, csv = tmp_path / "labels.csv", tmp_path / "photos.csv"
    table(path, photos, "path,label,animal\n", lambda number, name: f"{name.split('/')[1]},{number // 2}")
    listed = listing.load(path, group_by="animal")
    snapshot.write(csv, listed, snapshot.stamps(listed), audited(listed))
    path.write_text(path.read_text().replace("red_19.jpg,red,19", "red_19.jpg,red,0"))
    expected = {"in another group": ["photos/red/red_19.jpg"]}
    assert snapshot.changes(snapshot.read(csv), listing.load(path, group_by="animal")) == expected


def test_five_are_named_of_all_kinds_together() -> None:
    assert snapshot.say({"new": ["a"]}) == "1 new (a)"
    many = [f"{number}.jpg" for number in range(1200)]
    assert snapshot.say({"changed": many}) == "1,200 changed (0.jpg, 1.jpg, 2.jpg, 3.jpg, 4.jpg, …)"
    assert snapshot.say({"new": many, "missing": ["a"]}) == "1,200 new (0.jpg, 1.jpg, …), 1 missing (a)"


def test_a_file_that_is_missing_or_something_else_is_told(tmp_path: Path) -> None:
    path = tmp_path / "photos.csv"
    fix = "Run the command again with --update, or with a new --out."
    header = ",".join(snapshot.HEADER)
    with pytest.raises(RunError) as caught:
        snapshot.read(path)
    assert str(caught.value) == f"{path} is missing.\n{fix}"
    for content in (
        b"",
        b"path,label\n",
        b"\xff",
        f"{header}\na,b\n".encode(),
        f"{header}\na,b,,,x,1,\n".encode(),
    ):
        path.write_bytes(content)
        with pytest.raises(RunError) as caught:
            snapshot.read(path)
        assert str(caught.value) == f"{path} is no list of photos.\n{fix}"
