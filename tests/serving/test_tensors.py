"""Pixels are taken as they are, and what is no picture of the model's size is refused."""

import numpy as np
import pytest

from headstart.serving import tensors
from headstart.serving.problems import Declined

BYTES = np.random.default_rng(0).integers(0, 256, (2, 4, 4, 3), dtype=np.uint8)


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.uint16, np.float16, np.float32, np.float64])
def test_numbers_of_any_type_are_the_same_pixels(dtype: type) -> None:
    found = tensors.pictures(BYTES.astype(dtype), 4)
    assert [one.dtype for one in found] == [np.uint8, np.uint8]
    assert np.array_equal(np.stack(found), BYTES)
    assert np.array_equal(tensors.pictures(BYTES[1].astype(dtype), 4)[0], BYTES[1])


def test_a_black_picture_is_one_and_floats_are_rounded() -> None:
    assert tensors.pictures(np.zeros((4, 4, 3)), 4)[0].max() == 0
    assert tensors.pictures(np.full((4, 4, 3), 99.6), 4)[0].max() == 100


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        (BYTES[:, :3], "The pixels have the shape (2, 3, 4, 3)."),
        (BYTES.transpose(0, 3, 1, 2), "The pixels have the shape (2, 3, 4, 4)."),
        (BYTES[0, 0], "The pixels have the shape (4, 3)."),
        (BYTES / 255, "The pixels are all from 0 to 1, as if they were scaled."),
        (BYTES.astype(float) - 128, "The pixels are not all from 0 to 255."),
        (BYTES.astype(int) * 2 + 1, "The pixels are not all from 0 to 255."),
        (np.full((4, 4, 3), np.nan), "The pixels are not all from 0 to 255."),
        (BYTES > 100, "The pixels are no numbers."),
        (BYTES.astype(str), "The pixels are no numbers."),
    ],
)
def test_what_is_no_picture_is_refused(values: np.ndarray, problem: str) -> None:
    with pytest.raises(Declined) as caught:
        tensors.pictures(values, 4)
    assert (caught.value.status, caught.value.told.problem) == (422, problem)
