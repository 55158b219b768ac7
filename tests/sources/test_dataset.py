from pathlib import Path

from conftest import touch

from headstart.sources import listing


def test_take_keeps_the_class_names(tmp_path: Path) -> None:
    listed = listing.load(touch(tmp_path, "a/1.jpg", "a/2.jpg", "b/1.jpg")).take([1, 0])
    assert listed.paths == ("a/2.jpg", "a/1.jpg")
    assert listed.labels.tolist() == [0, 0]
    assert listed.class_names == ("a", "b")
    assert len(listed) == 2 and len(listed.take([])) == 0
