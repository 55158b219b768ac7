from pathlib import Path

import numpy as np
import pytest

from headstart.photos.groups import (
    Pairs,
    by_key,
    free_groups,
    linked,
    linked_up_to,
    members,
    merged,
    near_groups,
    numbered,
)
from headstart.sources.dataset import Dataset


def listed(labels: list[int], parts: tuple[str, ...] = ()) -> Dataset:
    return Dataset(
        root=Path("/photos"),
        paths=tuple(f"{number:03}" for number in range(len(labels))),
        labels=np.array(labels, np.int32),
        class_names=("cat", "dog"),
        given_parts=parts or ("",) * len(labels),
    )


def pairs_of(*pairs: tuple[int, int]) -> Pairs:
    return np.array(pairs, np.int64).reshape(-1, 2)


def chain(first: int, last: int) -> list[tuple[int, int]]:
    """Each photo is like the one before."""
    return [(number + 1, number) for number in range(first, last)]


def sizes(groups: np.ndarray) -> list[int]:
    return sorted(map(len, members(groups)), reverse=True)


def test_groups_are_divided_by_their_commonest_label() -> None:
    photos = Dataset(
        root=Path("/photos"),
        paths=tuple("abcdef"),
        labels=np.array([1, 0, 1, 1, 0, 0], np.int32),
        class_names=("x", "y"),
        given_parts=("train", "train", "train", "train", "train", "test"),
    )
    groups = np.array([0, 0, 0, 1, 1, 2], np.int32)
    assert free_groups(photos, groups) == [[[3, 4]], [[0, 1, 2]]]


def test_groups_are_numbered_by_their_first_photo() -> None:
    for groups in (
        by_key(["", "b", "a", "b", ""]),
        linked(5, pairs_of((3, 1))),
        linked_up_to(5, pairs_of((3, 1)), 2),
        merged(np.array([4, 3, 2, 1, 0], np.int32), np.array([0, 7, 1, 7, 2], np.int32)),
    ):
        assert groups.tolist() == [0, 1, 2, 1, 3] and groups.dtype == np.int32


def test_nothing_to_group() -> None:
    assert linked(3, pairs_of()).tolist() == linked_up_to(3, pairs_of(), 9).tolist() == [0, 1, 2]
    assert by_key([]).tolist() == linked(0, pairs_of()).tolist() == []


def test_the_closest_pairs_stay_together_in_groups_of_a_limited_size() -> None:
    closest_first = pairs_of((1, 0), (3, 2), (2, 1), (4, 3), (5, 4))
    assert linked_up_to(6, closest_first, 2).tolist() == [0, 0, 1, 1, 2, 2]
    assert linked_up_to(6, closest_first, 4).tolist() == [0, 0, 0, 0, 1, 1]
    assert linked_up_to(6, closest_first, 6).tolist() == [0] * 6


def test_near_duplicates_are_grouped_directly_and_through_others() -> None:
    photos = listed([0] * 20 + [1] * 20)
    near, broken_up = near_groups(photos, numbered(range(40)), pairs_of(*chain(3, 7), (30, 20)))
    assert broken_up == ()
    assert [group for group in members(near) if len(group) > 1] == [[3, 4, 5, 6, 7], [20, 30]]


def test_a_chain_through_most_of_a_class_is_broken_up_and_the_other_class_is_not() -> None:
    photos = listed([0] * 100 + [1] * 20)
    near, broken_up = near_groups(photos, numbered(range(120)), pairs_of(*chain(5, 99), (110, 100)))
    assert broken_up == ("cat",)
    assert max(map(len, members(near[:100]))) == 10
    assert [group for group in members(near) if min(group) >= 100 and len(group) > 1] == [[100, 110]]


@pytest.mark.parametrize(("last", "is_broken_up"), [(59, True), (50, True), (49, False)])
def test_half_of_a_class_may_look_alike(last: int, is_broken_up: bool) -> None:
    photos = listed([0] * 100 + [1] * 20)
    near, broken_up = near_groups(photos, numbered(range(120)), pairs_of(*chain(0, last)))
    assert (broken_up == ("cat",)) is is_broken_up
    assert sizes(near)[0] == (10 if is_broken_up else 50)


def test_a_small_class_of_photos_that_look_alike_can_still_be_divided() -> None:
    photos = listed([0] * 5 + [1] * 20)
    near, broken_up = near_groups(photos, numbered(range(25)), pairs_of(*chain(0, 4)))
    assert broken_up == ("cat",) and sizes(near) == [1] * 25


def test_given_parts_need_no_dividing() -> None:
    photos = listed([0] * 10 + [1] * 5, ("train", "validation", "test") * 5)
    near, broken_up = near_groups(photos, numbered(range(15)), pairs_of(*chain(0, 9)))
    assert broken_up == () and sizes(near) == [10, 1, 1, 1, 1, 1]


def test_groups_that_the_user_named_are_not_tied_together_by_near_duplicates() -> None:
    """Ten patients of 10 photos each; the last photo of each looks like the first of the next."""
    photos = listed([0] * 100 + [1] * 20)
    patients = numbered([number // 10 if number < 100 else number for number in range(120)])
    across = pairs_of(*((number, number - 1) for number in range(10, 100, 10)))
    near, broken_up = near_groups(photos, patients, across)
    assert broken_up == ("cat",)
    assert merged(patients, near).tolist() == patients.tolist()


def test_what_is_certain_is_never_broken_up() -> None:
    photos = listed([0] * 20 + [1] * 20)
    one_patient = numbered([0] * 20 + list(range(1, 21)))
    near, broken_up = near_groups(photos, one_patient, pairs_of((1, 0)))
    assert broken_up == () and sizes(near)[0] == 2
