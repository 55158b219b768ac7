from dataclasses import replace
from pathlib import Path
from random import Random

import numpy as np
import pytest
from conftest import audited
from hypothesis import given, settings
from hypothesis import strategies as st

from headstart.base.errors import HeadstartError, RunError, SettingsError, SmallClass
from headstart.photos import splits
from headstart.photos.audit import Audit
from headstart.sources import listing
from headstart.sources.dataset import Dataset

Row = tuple[str, int, str, int]
"""Path, label, given part, group."""


def audit_of(rows: list[Row], class_names: tuple[str, ...] | None = None) -> Audit:
    """What an audit of such photos would return, with no photos on disk."""
    count = max((label for _, label, _, _ in rows), default=-1) + 1
    listed = Dataset(
        root=Path("/photos"),
        paths=tuple(path for path, _, _, _ in rows),
        labels=np.array([label for _, label, _, _ in rows], np.int32),
        class_names=class_names or tuple(f"class{number}" for number in range(count)),
        given_parts=tuple(part for _, _, part, _ in rows),
    )
    groups = np.array([group for _, _, _, group in rows], np.int32)
    return Audit(dataset=listed, digests=tuple(f"{group:064x}" for group in groups.tolist()), groups=groups)


def rows_of(*sizes: int, part: str = "") -> list[Row]:
    """Photos of as many classes as sizes, no copies among them."""
    labels = [label for label, size in enumerate(sizes) for _ in range(size)]
    return [(f"{part}/{label}/{number}", label, part, number) for number, label in enumerate(labels)]


def renumber(*lists: list[Row]) -> list[Row]:
    rows = [row for rows in lists for row in rows]
    return [(path, label, part, number) for number, (path, label, part, _) in enumerate(rows)]


def counts(split: splits.Split, found: Audit, label: int | None = None) -> tuple[int, int, int]:
    is_counted = np.ones(len(found.dataset), bool) if label is None else found.dataset.labels == label
    train, validation, test = (int((split.parts[is_counted] == part).sum()) for part in splits.PARTS)
    return train, validation, test


def text_of(error: type[HeadstartError], found: Audit, validation: float = 0.15, test: float = 0.2) -> str:
    with pytest.raises(error) as caught:
        splits.split(found, seed=0, validation=validation, test=test)
    return str(caught.value)


def test_each_class_is_divided_in_proportion() -> None:
    found = audit_of(rows_of(100, 40, 20))
    split = splits.split(found, seed=1, validation=0.15, test=0.2)
    assert [counts(split, found, label) for label in range(3)] == [(65, 15, 20), (26, 6, 8), (13, 3, 4)]
    assert split.indices("test").tolist() == np.flatnonzero(split.parts == "test").tolist()


def test_what_is_left_over_goes_by_largest_remainder() -> None:
    """A fifth of 13, 12 and 11 is 2.6, 2.4 and 2.2, in all 7.2: one photo is left over, and 2.6 gets it."""
    found = audit_of(rows_of(13, 12, 11))
    split = splits.split(found, seed=1, validation=0.2, test=0.2)
    assert [counts(split, found, label)[2] for label in range(3)] == [3, 2, 2]


def test_a_small_class_has_a_photo_in_each_part() -> None:
    found = audit_of(rows_of(200, 3))
    split = splits.split(found, seed=0, validation=0.05, test=0.05)
    assert counts(split, found, 1) == (1, 1, 1)


def test_copies_stay_together_and_large_groups_leave_the_fractions_near() -> None:
    rows = [(f"{number}", number % 2, "", number // 10 if number < 100 else number) for number in range(300)]
    rows = [(path, 0 if group < 100 else label, part, group) for path, label, part, group in rows]
    found = audit_of(rows)
    split = splits.split(found, seed=0, validation=0.2, test=0.2)
    for group in np.unique(found.groups):
        assert len(np.unique(split.parts[found.groups == group])) == 1
    assert counts(split, found)[1:] == (60, 60)


def test_one_huge_group_goes_to_train() -> None:
    rows = [(f"a{number}", 0, "", 0) for number in range(50)]
    rows += [("b", 0, "", 1), ("c", 0, "", 2), *((f"d{number}", 1, "", 3 + number) for number in range(10))]
    split = splits.split(audit_of(rows), seed=0, validation=0.2, test=0.2)
    assert set(split.parts[:50]) == {"train"} and sorted(split.parts[50:52]) == ["test", "validation"]


def test_the_seed_decides() -> None:
    found = audit_of(rows_of(100, 100))
    one, same, other = (splits.split(found, seed=seed, validation=0.15, test=0.2).parts for seed in (3, 3, 4))
    assert one.tolist() == same.tolist() != other.tolist()
    assert splits.split(found, seed=-1, validation=0.15, test=0.2).parts.shape == (200,)


def test_leaving_a_class_out_does_not_move_the_others() -> None:
    rows = rows_of(60, 40, 20)
    three = splits.split(audit_of(rows), seed=0, validation=0.15, test=0.2).parts
    two = splits.split(audit_of(rows[:100]), seed=0, validation=0.15, test=0.2).parts
    assert three[:100].tolist() == two.tolist()


def test_given_parts_are_kept_exactly() -> None:
    rows = renumber(rows_of(5, 5, part="train"), rows_of(1, 1, part="validation"), rows_of(9, 2, part="test"))
    split = splits.split(audit_of(rows), seed=0, validation=0.5, test=0.4)
    assert split.parts.tolist() == [part for _, _, part, _ in rows]


def test_a_missing_validation_part_is_cut_from_train() -> None:
    rows = renumber(rows_of(40, 20, part="train"), rows_of(30, 50, part="test"))
    found = audit_of(rows)
    split = splits.split(found, seed=0, validation=0.25, test=0.9)
    assert set(split.parts[60:]) == {"test"}
    assert counts(split, found, 0) == (30, 10, 30) and counts(split, found, 1) == (15, 5, 50)


def test_a_missing_test_part_is_cut_from_train() -> None:
    rows = renumber(rows_of(40, 20, part="train"), rows_of(30, 50, part="validation"))
    found = audit_of(rows)
    split = splits.split(found, seed=0, validation=0.9, test=0.25)
    assert set(split.parts[60:]) == {"validation"}
    assert counts(split, found, 0) == (30, 30, 10) and counts(split, found, 1) == (15, 50, 5)


def test_a_folder_of_train_alone_is_cut_into_all_parts() -> None:
    found = audit_of(rows_of(20, 20, part="train"))
    assert counts(splits.split(found, seed=0, validation=0.2, test=0.3), found) == (20, 8, 12)


def test_a_train_photo_with_a_copy_in_a_given_part_stays_in_train() -> None:
    rows = rows_of(20, 20, part="train")
    rows += [(f"test/{number}", 0, "test", number) for number in range(15)] + [("test/x", 1, "test", 99)]
    split = splits.split(audit_of(rows), seed=0, validation=0.2, test=0.2)
    assert set(split.parts[:15]) == {"train"}
    assert set(split.parts[15:20]) == {"train", "validation"}
    assert set(split.parts[40:]) == {"test"}


def test_one_class_too_small() -> None:
    rows = [*rows_of(10, 3), ("copy", 1, "", 10)]
    rows[11] = ("other copy", 1, "", 10)
    assert text_of(SmallClass, audit_of(rows, ("cat", "my dog"))) == (
        "Class 'my dog' (2) has too few different readable photos: train, validation and test take at "
        "least 3.\nAdd photos of it, or leave it out: --exclude 'my dog'"
    )


def test_several_classes_too_small() -> None:
    found = audit_of(rows_of(10, 2, 10, 1), ("cat", "dog", "newt", "yak", "zebra"))
    assert text_of(SmallClass, found) == (
        "Classes 'dog' (2), 'yak' (1) and 'zebra' (0) have too few different readable photos: train, "
        "validation and test take at least 3.\n"
        "Add photos of them, or leave them out: --exclude dog,yak,zebra"
    )


def test_a_class_too_small_beside_given_parts() -> None:
    rows = renumber(rows_of(5, 1, part="train"), rows_of(9, 9, part="test"))
    assert text_of(SmallClass, audit_of(rows)) == (
        "Class 'class1' (1) has too few different readable photos: train and validation take at least 2.\n"
        "Add photos of it, or leave it out: --exclude class1"
    )
    rows = renumber(rows_of(5, part="train"), rows_of(3, 3, part="test"), rows_of(3, part="validation"))
    assert text_of(SmallClass, audit_of(rows)) == (
        "Class 'class1' (0) has too few readable photos: train takes at least 1.\n"
        "Add photos of it, or leave it out: --exclude class1"
    )


def test_parts_that_leave_nothing_to_train_on() -> None:
    found = audit_of(rows_of(10, 10))
    assert text_of(SettingsError, found, validation=0.5, test=0.5) == (
        "test is 0.5 and validation is 0.5: together they leave nothing to train on.\n"
        "Give parts of all photos that add up to less than 1."
    )


def test_the_csv_comes_back(tmp_path: Path) -> None:
    rows = [('a, "b"\n.jpg', 0, "", 7), *rows_of(9, 9)]
    found = audit_of(rows, ("c,1", "é"))
    split = splits.split(found, seed=0, validation=0.2, test=0.2)
    file = tmp_path / "split.csv"
    splits.write_csv(file, found, split)
    lines = file.read_text(encoding="utf-8").splitlines()
    assert lines[0] == "path,label,part,group,sha256"
    assert lines[3] == f'/0/0,"c,1",{split.parts[1]},0,{0:064x}'
    read = splits.read_csv(file)
    assert read[0] == splits.SplitRow('a, "b"\n.jpg', "c,1", str(split.parts[0]), 7, f"{7:064x}")
    assert [row.part for row in read] == split.parts.tolist()


def test_leaking_photos_are_those_of_test_with_one_of_their_group_elsewhere() -> None:
    rows: list[Row] = [
        ("a", 0, "train", 0),
        ("b", 0, "test", 0),
        ("c", 1, "validation", 1),
        ("d", 0, "test", 1),
        ("e", 1, "test", 2),
        ("f", 1, "test", 2),
        ("g", 1, "train", 3),
    ]
    found = audit_of(rows)
    split = splits.split(found, seed=0, validation=0.2, test=0.2)
    assert splits.leaking(found, split).tolist() == [False, True, False, True, False, False, False]


def test_no_photo_leaks_where_no_part_was_given() -> None:
    rows = [(f"{number}", number % 2, "", number // 3) for number in range(60)]
    found = audit_of(rows)
    assert not splits.leaking(found, splits.split(found, seed=0, validation=0.2, test=0.2)).any()


def test_a_class_of_too_few_groups() -> None:
    rows = [*rows_of(10, 4)]
    rows[10:] = [(path, label, part, group // 2) for path, label, part, group in rows[10:]]
    found = audit_of(rows, ("cat", "dog"))
    found = replace(found, dataset=replace(found.dataset, group_keys=("",) * 14))
    assert text_of(SmallClass, found) == (
        "Class 'dog' (2) has too few groups of photos: train, validation and test take at least 3.\n"
        "Add photos of it, or leave it out: --exclude dog"
    )


@pytest.mark.parametrize(
    "text",
    [
        "",
        "path,label\na,b\n",
        "path,label,part,group,sha256\na,b,holdout,0,00\n",
        "path,label,part,group,sha256\na,b,test,first,00\n",
        "path,label,part,group,sha256\na,b,test,0\n",
    ],
)
def test_a_csv_that_is_no_split_is_refused(text: str, tmp_path: Path) -> None:
    file = tmp_path / "split.csv"
    file.write_text(text)
    with pytest.raises(RunError) as caught:
        splits.read_csv(file)
    assert str(caught.value) == (
        f"{file} is not a split: it needs the columns path,label,part,group,sha256.\n"
        "Run the command again with a new --out."
    )


def test_a_csv_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(RunError) as caught:
        splits.read_csv(tmp_path / "split.csv")
    assert caught.value.problem == f"{tmp_path / 'split.csv'} is missing."


photo_lists = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 60), st.sampled_from(("train", "validation", "test"))),
    max_size=100,
)
"""Label, group and given part; groups may cross labels and parts."""


@settings(max_examples=150, derandomize=True)
@given(
    photos=photo_lists,
    are_parts_given=st.booleans(),
    seed=st.integers(0, 2**40),
    validation=st.floats(0.05, 0.45),
    test=st.floats(0.05, 0.45),
    order=st.randoms(use_true_random=False),
)
def test_what_always_holds(
    photos: list[tuple[int, int, str]],
    are_parts_given: bool,
    seed: int,
    validation: float,
    test: float,
    order: Random,
) -> None:
    enough = [(number % 4, 1000 + number, "train") for number in range(12)]
    rows = [
        (f"{number:03}", label, part if are_parts_given else "", group)
        for number, (label, group, part) in enumerate([*enough, *photos])
    ]
    found = audit_of(rows, ("a", "b", "c", "d"))
    parts = splits.split(found, seed=seed, validation=validation, test=test).parts
    by_path = {row[0]: part for row, part in zip(rows, parts.tolist(), strict=True)}
    assert set(by_path.values()) <= set(splits.PARTS)
    assert splits.split(found, seed=seed, validation=validation, test=test).parts.tolist() == parts.tolist()

    shuffled = list(rows)
    order.shuffle(shuffled)
    again = splits.split(
        audit_of(shuffled, ("a", "b", "c", "d")), seed=seed, validation=validation, test=test
    )
    assert {row[0]: part for row, part in zip(shuffled, again.parts.tolist(), strict=True)} == by_path

    missing = {"validation", "test"} - set(found.dataset.given_parts)
    for (_, _, was, group), part in zip(rows, parts.tolist(), strict=True):
        assert part == was or (part in missing and was in ("", "train")) or (was == "" and part == "train")
        together = {by_path[path] for path, _, _, other in rows if other == group}
        given_together = {was for _, _, was, other in rows if other == group}
        assert len(together) == 1 or len(given_together) > 1


@settings(max_examples=60, derandomize=True)
@given(
    sizes=st.lists(st.integers(3, 200), min_size=2, max_size=8),
    seed=st.integers(0, 9),
    validation=st.floats(0.05, 0.45),
    test=st.floats(0.05, 0.45),
)
def test_fractions_are_near(sizes: list[int], seed: int, validation: float, test: float) -> None:
    found = audit_of(rows_of(*sizes))
    split = splits.split(found, seed=seed, validation=validation, test=test)
    for label, size in enumerate(sizes):
        in_train, in_validation, in_test = counts(split, found, label)
        assert in_train + in_validation + in_test == size
        assert min(in_train, in_validation, in_test) >= 1
        assert abs(in_validation - validation * size) < 1.5 and abs(in_test - test * size) < 1.5


@settings(max_examples=80, derandomize=True)
@given(
    sizes=st.lists(st.integers(3, 200), min_size=2, max_size=8),
    seed=st.integers(0, 9),
    validation=st.floats(0.05, 0.45),
    test=st.floats(0.05, 0.45),
    has_validation=st.booleans(),
    share=st.floats(0, 1),
)
def test_pinned_photos_are_in_train_and_the_fractions_stay(
    sizes: list[int], seed: int, validation: float, test: float, has_validation: bool, share: float
) -> None:
    found, random = audit_of(rows_of(*sizes)), np.random.default_rng(seed)
    most = splits.pinnable(validation, test)
    pinned = [
        int(index)
        for label, size in enumerate(sizes)
        for index in random.permutation(np.flatnonzero(found.dataset.labels == label))[
            : int(share * most * size)
        ]
    ]
    fractions = {"validation": validation, "test": test, "has_validation": has_validation}
    split = splits.split(found, seed=seed, pinned=pinned, **fractions)  # type: ignore[arg-type]
    assert {*split.parts[pinned]} <= {"train"}
    plain = splits.split(found, seed=seed, **fractions)  # type: ignore[arg-type]
    for label in range(len(sizes)):
        assert counts(split, found, label) == counts(plain, found, label)
    is_free = ~np.isin(np.arange(len(split.parts)), pinned)
    if not pinned:
        assert (split.parts == plain.parts)[is_free].all()


@settings(max_examples=80, derandomize=True)
@given(
    groups=st.lists(st.tuples(st.integers(0, 2), st.integers(1, 12)), max_size=60),
    seed=st.integers(0, 9),
    data=st.data(),
)
def test_pinned_photos_take_their_groups_along_as_far_as_there_is_room(
    groups: list[tuple[int, int]], seed: int, data: st.DataObject
) -> None:
    sized = [*((label, 1) for label in range(3) for _ in range(3)), *groups]
    rows = [
        (f"{number}/{one}", label, "", number)
        for number, (label, size) in enumerate(sized)
        for one in range(size)
    ]
    found = audit_of(rows)
    pinned = data.draw(st.sets(st.integers(0, len(rows) - 1), max_size=len(rows) // 3))
    parts = splits.split(found, seed=seed, validation=0.15, test=0.2, pinned=pinned).parts
    for label in range(3):
        own = [number for number, (of, _) in enumerate(sized) if of == label]
        assert {*parts[found.dataset.labels == label]} == {*splits.PARTS}
        for number in own:
            assert len({*parts[found.groups == number]}) == 1
        of_pinned = {*found.groups[list(pinned)].tolist()}
        tied = sorted((sized[number][1], number) for number in own if number in of_pinned)
        n_photos, n_tied = sum(sized[number][1] for number in own), sum(size for size, _ in tied)
        if n_tied <= 0.4 * n_photos and len(own) - len(tied) >= 2:
            assert all((parts[found.groups == number] == "train").all() for _, number in tied)


def test_pinned_photos_beyond_the_room_go_last() -> None:
    """Of ten groups of ten all but one are pinned: four stay in train, and the free one goes first."""
    rows = [(f"{number:03}", 0, "", number // 10) for number in range(100)]
    rows += [(f"other {number:03}", 1, "", 100 + number) for number in range(100)]
    found = audit_of(rows)
    split = splits.split(found, seed=0, validation=0.1, test=0.1, pinned=range(0, 90, 10))
    assert counts(split, found, 0) == (80, 10, 10)
    assert set(split.parts[90:100]) == {"test"}


def test_pinned_photos_of_a_given_train_part_stay_beside_other_given_parts() -> None:
    found = audit_of(renumber(rows_of(40, 40, part="train"), rows_of(10, 10, part="test")))
    split = splits.split(found, seed=0, validation=0.25, test=0.2, pinned=range(0, 80, 3))
    assert set(split.parts[:80:3]) == {"train"}
    assert counts(split, found) == (60, 20, 20)


def test_the_messy_folder_cannot_be_split_until_its_single_zebra_is_left_out(shared_data: Path) -> None:
    found = audited(listing.load(shared_data / "messy"))
    assert text_of(SmallClass, found) == (
        "Class 'zebra' (1) has too few different readable photos: train, validation and test take at "
        "least 3.\nAdd photos of it, or leave it out: --exclude zebra"
    )
    found = audited(listing.load(shared_data / "messy", exclude=["zebra"]))
    split = splits.split(found, seed=0, validation=0.15, test=0.2)
    part_of = dict(zip(found.dataset.paths, split.parts.tolist(), strict=True))
    assert part_of["cat/cat_00.jpg"] == part_of["dog/copy_of_cat_00.jpg"]
    assert part_of["horse/horse_00.jpg"] == part_of["horse/copy_of_horse_00.jpg"]


def test_the_clothing_photos_keep_their_own_split(shared_data: Path) -> None:
    listed = listing.load(shared_data / "clothing")
    groups = np.arange(len(listed), dtype=np.int32)
    split = splits.split(Audit(listed, (), groups), seed=0, validation=0.15, test=0.2)
    assert [len(split.indices(part)) for part in splits.PARTS] == [3068, 341, 372]
