"""What a model says of a photo, as lines that other programs read."""

import csv
import json
from pathlib import Path

from conftest import text_of

from headstart.base.errors import DataError
from headstart.networks.classifier import Prediction
from headstart.reporting import lines

ODD = ('a "cat"', "dog, big", "=1+1", "двe\nlines")


def odd(path: str) -> Prediction:
    shares = (0.1, 0.6, 0.25, 0.05)
    return Prediction(path, ODD[1], 0.6, dict(zip(ODD, shares, strict=True)), novelty=0.25, is_novel=False)


def test_a_table_is_read_back_whatever_is_in_it(tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    with lines.new_file(table) as write:
        rows = lines.Table(write, top=3)
        for path in ("a,b.jpg", 'c".jpg', "\udcff.jpg"):
            rows.add(odd(path))
            # Whoever reads along has it at once.
            assert table.read_text(encoding="utf-8").endswith("\n")
    with table.open(encoding="utf-8", newline="") as stream:
        found = list(csv.DictReader(stream))
    assert [one["path"] for one in found] == ["a,b.jpg", 'c".jpg', "\\udcff.jpg"]
    for one in found:
        assert [one["label"], one["label_2"], one["label_3"]] == ["dog, big", "=1+1", 'a "cat"']
        assert [one["confidence"], one["confidence_2"]] == ["0.600000", "0.250000"]
        assert [one["is_sure"], one["is_novel"], one["novelty"]] == ["", "false", "0.250000"]


def test_no_file_is_overwritten(tmp_path: Path) -> None:
    mine = tmp_path / "photo.jpg"
    mine.write_bytes(b"mine")

    def open_it() -> None:
        with lines.new_file(mine):
            pass

    assert text_of(DataError, open_it) == (
        f"'{mine}' is there already, and no file is overwritten.\n"
        "Name a new one, or have the table printed: --csv -"
    )
    assert mine.read_bytes() == b"mine"


def test_json_holds_as_many_classes_as_were_asked_for() -> None:
    whole = json.loads(lines.to_json(odd("a.jpg")))
    assert list(whole["probabilities"]) == list(ODD)
    assert list(json.loads(lines.to_json(odd("a.jpg"), 2))["probabilities"]) == [ODD[1], ODD[2]]
    broken = Prediction("a.jpg", None, None, None, error="It is cut short.")
    assert json.loads(lines.to_json(broken, 2))["error"] == "It is cut short."
    assert "error" not in whole
