"""Maps of real digits and of made photos: neighbours are neighbours still, and classes stay apart."""

import functools
import hashlib
import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.manifold import trustworthiness
from sklearn.neighbors import NearestNeighbors
from threadpoolctl import threadpool_limits

from headstart.reporting import projection

Doubles = NDArray[np.float64]
Floats = NDArray[np.float32]
Labels = NDArray[np.integer]


@functools.cache
def digits() -> tuple[Floats, Labels]:
    """600 handwritten digits, 8 x 8 grey levels each, and which digit each is."""
    values, labels = load_digits(return_X_y=True)
    return values[:600].astype(np.float32), labels[:600]


def photos(n: int, n_features: int) -> tuple[Floats, Labels]:
    """Features of made photos of 3 classes: 16 x 16 pixels of noise with more of one colour, mixed."""
    random = np.random.default_rng(0)
    labels = np.arange(n) % 3
    images = random.integers(0, 200, (n, 16, 16, 3))
    images[np.arange(n), :, :, labels] += 55
    mixing = random.normal(size=(768, n_features))
    return (images.reshape(n, 768) @ mixing).astype(np.float32), labels


def purity(positions: NDArray[np.floating], labels: Labels) -> float:
    """Part of the 10 nearest of each that are of its class."""
    nearest = NearestNeighbors(n_neighbors=10).fit(positions).kneighbors(return_distance=False)
    return float((labels[nearest] == labels[:, None]).mean())


@functools.cache
def digits_map() -> Doubles:
    return projection.project(digits()[0], seed=0)


def test_classes_of_made_photos_stay_apart() -> None:
    features, labels = photos(300, 1280)
    assert purity(projection.project(features), labels) > 0.97  # by chance 0.33


def test_classes_of_digits_stay_apart_as_far_as_they_are() -> None:
    values, labels = digits()
    found = purity(digits_map(), labels)
    assert found > 0.93  # by chance 0.10
    assert found > purity(values, labels) - 0.03
    assert found > purity(PCA(2, random_state=0).fit_transform(values), labels) + 0.3


def test_neighbours_are_kept() -> None:
    values, _ = digits()
    kept = trustworthiness(values, digits_map(), n_neighbors=10)
    by_components = trustworthiness(values, PCA(2, random_state=0).fit_transform(values), n_neighbors=10)
    assert kept > 0.97
    assert kept > by_components + 0.1


def test_labels_without_any_meaning_do_not_come_apart() -> None:
    random = np.random.default_rng(0)
    noise, labels = random.normal(size=(300, 1280)).astype(np.float32), random.integers(0, 3, 300)
    assert purity(projection.project(noise), labels) == pytest.approx(1 / 3, abs=0.05)


@pytest.mark.parametrize("n", [2, 3, 9, 10, 11, 40, 300])
def test_a_map_fills_its_frame_the_longer_way_and_is_in_the_middle_of_the_other(n: int) -> None:
    positions = projection.project(digits()[0][:n])
    assert (positions.shape, positions.dtype) == ((n, 2), np.dtype(np.float64))
    low, high = positions.min(axis=0), positions.max(axis=0)
    assert (high - low).max() == pytest.approx(1)
    assert low.min() == pytest.approx(0) and high.max() == pytest.approx(1)
    assert low.min() >= 0 and high.max() <= 1
    assert low + high == pytest.approx([1, 1])


def test_few_photos_lie_as_their_principal_components_do() -> None:
    values = digits()[0][:9]
    unit = values / np.linalg.norm(values, axis=1, keepdims=True)
    components = PCA(2).fit_transform(unit)
    positions = projection.project(values)
    pairs = np.array(list(itertools.combinations(range(9), 2)))
    ratios = [
        np.linalg.norm(positions[a] - positions[b]) / np.linalg.norm(components[a] - components[b])
        for a, b in pairs
    ]
    assert ratios == pytest.approx([ratios[0]] * len(pairs), rel=1e-4)


def test_copies_lie_on_one_spot() -> None:
    values = digits()[0][:100]
    positions = projection.project(np.concatenate([values, values[:5]]))
    assert np.abs(positions[100:] - positions[:5]).max() < 0.02


def test_the_length_of_a_vector_does_not_count() -> None:
    values = digits()[0][:60]
    factors = np.random.default_rng(0).uniform(0.5, 2, (60, 1)).astype(np.float32)
    assert trustworthiness(projection.project(values), projection.project(values * factors)) > 0.97


@pytest.mark.parametrize("n", [0, 1, 2, 9, 10, 50])
def test_photos_that_are_all_alike_lie_in_the_middle(n: int) -> None:
    same = np.tile(digits()[0][:1], (n, 1))
    assert projection.project(same).tolist() == [[0.5, 0.5]] * n
    assert projection.project(np.zeros((n, 8), np.float32)).tolist() == [[0.5, 0.5]] * n


@pytest.mark.parametrize("n", [5, 30])
@pytest.mark.parametrize("n_features", [1, 2, 3])
def test_backbones_of_few_features_have_a_map_too(n: int, n_features: int) -> None:
    features = np.random.default_rng(0).normal(size=(n, n_features)).astype(np.float32)
    positions = projection.project(features)
    assert positions.shape == (n, 2)
    assert np.ptp(positions, axis=0).max() == pytest.approx(1)


def test_the_same_seed_gives_the_same_map_on_any_number_of_threads() -> None:
    values = digits()[0].copy()
    for limit in (1, 2):
        with threadpool_limits(limits=limit):
            assert np.array_equal(projection.project(values, seed=0), digits_map())
    assert np.array_equal(values, digits()[0])


@given(
    keys=st.lists(st.integers(0, 30).map(str), max_size=40),
    must_have=st.lists(st.integers(0, 39), max_size=20),
    limit=st.integers(0, 50),
)
def test_choice(keys: list[str], must_have: list[int], limit: int) -> None:
    n, must_have = len(keys), [one for one in must_have if one < len(keys)]
    got = projection.choose(keys, must_have, limit=limit).tolist()
    assert got == sorted(set(got)) and set(got) <= set(range(n))
    assert len(got) == min(n, limit)
    wanted = set(list(dict.fromkeys(must_have))[:limit])
    assert wanted <= set(got)
    left = set(range(n)) - set(got)
    assert max([keys[one] for one in set(got) - wanted], default="") <= min(
        [keys[one] for one in left], default="~"
    )


def test_what_is_drawn_does_not_depend_on_the_order() -> None:
    digests = [hashlib.sha256(bytes([number])).hexdigest() for number in range(100)]
    drawn = {digests[index] for index in projection.choose(digests, limit=30)}
    assert {digests[::-1][index] for index in projection.choose(digests[::-1], limit=30)} == drawn


def test_what_is_said_of_a_map() -> None:
    assert projection.described(1500, "mobilenet_v2") == (
        "t-SNE of the features of 1,500 photos by mobilenet_v2: photos that lie close together are alike in "
        "them; how far apart clusters lie, and how large they are, means little."
    )
    assert projection.described(1, "tiny") == (
        "The first two principal components of the features of 1 photo by tiny."
    )
