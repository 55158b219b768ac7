"""Photos go into the folders of their classes; nothing is overwritten, and the photos stay as they are."""

import os
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import Finished, text_of
from hypothesis import given
from hypothesis import strategies as st

import headstart
from headstart.base.errors import ChangedPhoto, DataError
from headstart.networks.classifier import Classifier, Prediction
from headstart.reporting.sorting import NOVEL, UNSURE, Sorter, folder_names
from headstart.statistics.calibration import Abstention, Refusal, Selection


@pytest.fixture(scope="module")
def model(finished: Finished) -> Classifier:
    return headstart.load(finished.folder)


def named(model: Classifier, class_names: Sequence[str]) -> Classifier:
    return Classifier(replace(model.record, class_names=tuple(class_names)), model.engine)


def prediction(path: Path, label: str = "red", *, is_sure: bool = True, is_novel: bool = False) -> Prediction:
    return Prediction(str(path), label, 0.9, {label: 0.9}, is_sure=is_sure, is_novel=is_novel)


def photo(folder: Path, name: str = "1.jpg", content: bytes = b"photo") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(content)
    os.utime(folder / name, (10**9, 10**9))
    return folder / name


def content_below(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_each_answer_has_its_folder(model: Classifier, tmp_path: Path) -> None:
    sorter = Sorter(tmp_path / "sorted", model)
    for name, is_sure, is_novel in (
        ("red", True, False),
        ("unsure", False, False),
        ("none", True, True),
        ("both", False, True),
    ):
        source = photo(tmp_path / "photos", f"{name}.jpg", name.encode())
        sorter.put(prediction(source, is_sure=is_sure, is_novel=is_novel))
    before = content_below(tmp_path / "photos")
    assert content_below(tmp_path / "sorted") == {
        "red/red.jpg": b"red",
        f"{UNSURE}/unsure.jpg": b"unsure",
        f"{NOVEL}/none.jpg": b"none",
        f"{NOVEL}/both.jpg": b"both",
    }
    assert content_below(tmp_path / "photos") == before
    assert (tmp_path / "sorted" / "red" / "red.jpg").stat().st_mtime == 10**9


@pytest.mark.parametrize("is_linked", [False, True])
def test_what_has_the_name_already_stays_as_it_is(model: Classifier, tmp_path: Path, is_linked: bool) -> None:
    mine = photo(tmp_path / "sorted" / "red", content=b"mine")
    first, second = photo(tmp_path / "a", content=b"first"), photo(tmp_path / "b", content=b"second")
    same = photo(tmp_path / "c", content=b"first")
    for _ in range(2):
        sorter = Sorter(tmp_path / "sorted", model, is_linked=is_linked)
        placed = [sorter.put(prediction(source)) for source in (first, second, same)]
        # SHA-256 of b"first" and b"second", by sha256sum.
        assert [path.name for path in placed] == ["1-a7937b64.jpg", "1-16367aac.jpg", "1-a7937b64.jpg"]
        assert all(path.is_symlink() == is_linked for path in placed)
        assert content_below(tmp_path / "sorted") == {
            "red/1.jpg": b"mine",
            "red/1-a7937b64.jpg": b"first",
            "red/1-16367aac.jpg": b"second",
        }
    assert sorter.n_kept == 3
    assert next(sorter.remarks()) == (
        f"Sorted into {tmp_path / 'sorted'}: 3 in red; 3 of them were there before."
    )
    assert (mine.read_bytes(), first.read_bytes()) == (b"mine", b"first")


def test_where_all_its_names_are_taken_a_photo_is_refused(model: Classifier, tmp_path: Path) -> None:
    source = photo(tmp_path / "a", content=b"first")
    sha256 = "a7937b64b8caa58f03721bb6bacf5c78cb235febe0e70b1b84cd99541461a08e"
    for name in ("1.jpg", f"1-{sha256[:8]}.jpg", f"1-{sha256}.jpg"):
        photo(tmp_path / "sorted" / "red", name, b"mine")
    before = content_below(tmp_path / "sorted")
    taken = tmp_path / "sorted" / "red" / f"1-{sha256}.jpg"
    assert text_of(DataError, lambda: Sorter(tmp_path / "sorted", model).put(prediction(source))) == (
        f"'{taken}' is there, with something else in it.\nSort into another folder."
    )
    assert content_below(tmp_path / "sorted") == before


def test_a_broken_link_is_not_written_through(model: Classifier, tmp_path: Path) -> None:
    (tmp_path / "sorted" / "red").mkdir(parents=True)
    (tmp_path / "sorted" / "red" / "1.jpg").symlink_to(tmp_path / "elsewhere.jpg")
    placed = Sorter(tmp_path / "sorted", model).put(prediction(photo(tmp_path / "a", content=b"first")))
    assert placed.name == "1-a7937b64.jpg"
    assert not (tmp_path / "elsewhere.jpg").exists()


def test_a_link_leads_to_the_photo_wherever_it_is_asked_from(
    model: Classifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photo(tmp_path / "photos")
    monkeypatch.chdir(tmp_path)
    placed = Sorter(Path("sorted"), model, is_linked=True).put(prediction(Path("photos/1.jpg")))
    assert placed.readlink() == tmp_path / "photos" / "1.jpg"


@pytest.mark.parametrize("is_linked", [False, True])
def test_a_photo_that_is_gone(model: Classifier, tmp_path: Path, is_linked: bool) -> None:
    gone = tmp_path / "gone.jpg"
    sorter = Sorter(tmp_path / "sorted", model, is_linked=is_linked)
    assert text_of(ChangedPhoto, lambda: sorter.put(prediction(gone))) == (
        f"{gone} was removed before it was sorted.\nPut it back, and run the command again."
    )
    assert content_below(tmp_path / "sorted") == {}
    assert not sorter.n_put


def test_a_copy_that_was_broken_off_is_not_left(
    model: Classifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(source: Path, path: Path) -> None:
        path.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(shutil, "copy2", stop)
    with pytest.raises(KeyboardInterrupt):
        Sorter(tmp_path / "sorted", model).put(prediction(photo(tmp_path / "a")))
    assert content_below(tmp_path / "sorted") == {}


def test_photos_are_not_sorted_into_themselves(model: Classifier, tmp_path: Path) -> None:
    (tmp_path / "photos" / "inbox").mkdir(parents=True)
    (tmp_path / "same").symlink_to(tmp_path / "photos")
    for source, folder in (("photos", "photos/sorted"), ("photos", "photos"), ("same", "photos/in")):
        sorter = Sorter(tmp_path / folder, model)
        assert text_of(DataError, lambda: sorter.refuse(tmp_path / source)) == (  # noqa: B023
            f"The photos of '{tmp_path / source}' would be sorted into '{tmp_path / folder / 'blue'}', "
            "inside it.\nName a folder outside of it: --sort-into FOLDER."
        )
    Sorter(tmp_path / "photos", model).refuse(tmp_path / "photos" / "inbox")
    Sorter(tmp_path / "photos2", model).refuse(tmp_path / "photos")


def test_a_file_is_no_folder_to_sort_into(model: Classifier, tmp_path: Path) -> None:
    taken = photo(tmp_path, "file")
    assert text_of(DataError, lambda: Sorter(taken, model)) == (
        f"'{taken}' is no folder.\nName one, or a new one: --sort-into FOLDER."
    )


def test_what_the_user_should_know(model: Classifier, tmp_path: Path) -> None:
    quiet = Abstention(0.8, 0.01, 0.95, Selection(400, 300, 0, 0.75, 0.0, None))
    record = replace(
        model.record,
        class_names=("a/b", "red"),
        calibration=replace(model.record.calibration, abstention=None, refusal=None),
    )
    sorter = Sorter(tmp_path / "sorted", Classifier(record, model.engine))
    assert list(sorter.remarks()) == [
        f"Sorted into {tmp_path / 'sorted'}: nothing.",
        "Names that no folder can have everywhere: 'a/b' is in 'a_b'.",
        "Nothing is in unsure: from no confidence on is this model known to be sure.",
        "Nothing is in none-of-these: this model does not tell what is unlike its training photos.",
    ]
    known = replace(record.calibration, abstention=quiet, refusal=Refusal(0.5, 0.01, 99))
    plain = replace(record, class_names=("blue", "red"), calibration=known)
    assert len(list(Sorter(tmp_path / "sorted", Classifier(plain, model.engine)).remarks())) == 1


AWKWARD = (
    *(
        "",
        ".",
        "..",
        "/",
        "a/b",
        "a\\b",
        "a:b",
        ".hidden",
        "x.",
        "x ",
        " x",
        "nul",
        "COM1.txt",
        "a\nb",
        "\x00",
    ),
    *("unsure", "Unsure", "none-of-these", "é", "e\u0301", "É", "n" * 300, "ñ" * 200, "a_b", "a_b-2", "\x00"),
    *("ß", "SS"),
)


@given(st.lists(st.one_of(st.sampled_from(AWKWARD), st.text(max_size=8)), unique=True))
def test_every_class_has_a_folder_of_its_own_on_every_file_system(class_names: list[str]) -> None:
    found = folder_names(class_names)
    assert list(found) == class_names
    names = [*found.values(), UNSURE, NOVEL]
    for name in names:
        # What Windows documents of names ("Naming Files, Paths, and Namespaces"), and POSIX's NAME_MAX.
        assert not set(name) & {*'<>:"/\\|?*', *map(chr, range(32))}
        assert name == name.strip() and not name.endswith(".") and not name.startswith(".")
        assert name.partition(".")[0].upper() not in {"CON", "PRN", "AUX", "NUL", "COM1", "LPT9"}
        assert 0 < len(name.encode()) <= 255
    assert len({os.path.normcase(name).casefold() for name in names}) == len(names)


def test_every_such_folder_can_be_made(model: Classifier, tmp_path: Path) -> None:
    sorter = Sorter(tmp_path / "sorted", named(model, AWKWARD))
    for number, name in enumerate(AWKWARD):
        sorter.put(prediction(photo(tmp_path / "photos", f"{number}.jpg"), name))
    made = sorted(path.name for path in (tmp_path / "sorted").iterdir())
    assert made == sorted(sorter.names.values())
    assert len(list((tmp_path / "sorted").glob("*/*.jpg"))) == len(AWKWARD)


def test_plain_names_stay_as_they_are() -> None:
    names = ["cat", "Golden Retriever", "t-shirt", "5", "猫", "a.b", "crème brûlée"]
    assert folder_names(names) == {name: name for name in names}
