"""Why a classifier thinks so: how much each place of a photo speaks for one class.

A network is asked again with one patch of the photo after another covered (occlusion: Zeiler and Fergus,
Visualizing and understanding convolutional networks, ECCV 2014), first all over the photo, then between the
patches where most was lost. That takes any network as it is, whatever its head is fed.

It shows where the evidence is that counts for this network, not that it is a good reason.
"""

import itertools
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from headstart.networks.engine import Engine
from headstart.pictures.pixels import Pixels

Heat = NDArray[np.float32]

CELLS, PATCH = 8, 2
"""A photo is covered in a grid of CELLS by CELLS, with a patch of PATCH by PATCH of them at a time."""

PLACES = CELLS + PATCH - 1
"""Places of a patch along a side, those that reach over the border included."""

COARSE = (CELLS // PATCH) ** 2
"""Places that are asked about first: side by side, they cover the photo once."""

FINE = 9
"""Places that are asked about then, the most promising of those between.

With them and the coarse ones the map is that of all 81 places, as far as 120 photos of clothing can tell
(docs/design.md).
"""

INFERENCES = 1 + COARSE + FINE
"""How often a network is asked for one map."""

UNDERLAY, OPACITY = 0.6, 0.8
"""How bright the photo stays under the heat, so that the hottest is lighter than any part of it; and how
much of the hottest's colour hides it."""


def explain(engine: Engine, picture: Pixels, label: int) -> Heat:
    """Return how much each place of a picture speaks for a class, against all others.

    Args:
        engine: Pixels to probabilities.
        picture: uint8 RGB (S, S, 3), as the engine eats it; not modified.
        label: The class, an index into the class names; it need not be the predicted one.

    Returns:
        float32 (S, S) in [0, 1]: 1 where most speaks for the class, 0 where nothing does; if nothing
        does anywhere, all 0. Maps of different pictures or classes have different scales.

    Raises:
        ValueError: A picture of another size or type, or a label outside the classes.
    """
    import cv2

    _check(engine, picture, label)
    positive = occlusion(engine, picture, label).clip(min=0).astype(np.float32)
    resized = cv2.resize(positive, picture.shape[:2], interpolation=cv2.INTER_CUBIC).clip(min=0)
    return np.asarray(resized / max(resized.max(), np.finfo(np.float32).tiny))


def _check(engine: Engine, picture: Pixels, label: int) -> None:
    shape, n_classes = (engine.image_size_px, engine.image_size_px, 3), engine.output_shape[0]
    if picture.shape != shape or picture.dtype != np.uint8:
        raise ValueError(f"the picture is {picture.dtype} {picture.shape}; expected uint8 {shape}")
    if not 0 <= label < n_classes:
        raise ValueError(f"the label is {label}; expected 0 to {n_classes - 1}")


def occlusion(engine: Engine, picture: Pixels, label: int) -> NDArray[np.float64]:
    """Return how far a class's log-odds fall, on average, when a cell and its neighbours are covered.

    Log-odds, since a probability near 1 hardly falls whatever is covered. Covered means painted in the
    picture's mean colour. Patches reach over the border, so that each cell is covered equally often. Places
    that were not asked about get what is estimated from their neighbours.

    Args:
        engine: Pixels to probabilities.
        picture: uint8 RGB (S, S, 3); not modified.
        label: The class.

    Returns:
        float64 (CELLS, CELLS): for each cell, the mean over the PATCH × PATCH patches that cover it;
        negative where the class is likelier without it.
    """
    falls = np.full((PLACES, PLACES), np.nan)
    is_coarse = np.zeros_like(falls, bool)
    is_coarse[PATCH - 1 :: PATCH, PATCH - 1 :: PATCH] = True
    asked = itertools.chain([picture], _covered(picture, np.argwhere(is_coarse)))
    whole, *coarse = (_log_odds(one, label) for one in engine.stream(asked))
    falls[is_coarse] = whole - np.array(coarse)
    promise = np.where(is_coarse, -np.inf, _filled(falls))
    is_fine = np.zeros_like(is_coarse)
    is_fine.flat[np.argsort(-promise, axis=None, kind="stable")[:FINE]] = True
    fine = [_log_odds(one, label) for one in engine.stream(_covered(picture, np.argwhere(is_fine)))]
    falls[is_fine] = whole - np.array(fine)
    windows = np.lib.stride_tricks.sliding_window_view(_filled(falls), (PATCH, PATCH))
    return np.asarray(windows.mean(axis=(2, 3)))


def _covered(picture: Pixels, places: Iterable[Sequence[int]]) -> Iterator[Pixels]:
    """Yield the picture with a patch on each of the places, which are rows and columns of PLACES."""
    edges = np.linspace(0, len(picture), CELLS + 1).round().astype(int)
    ends = [(edges[max(0, end - PATCH)], edges[min(CELLS, end)]) for end in range(1, PLACES + 1)]
    colour = picture.mean(axis=(0, 1)).round()
    for row, column in places:
        (top, bottom), (left, right) = ends[row], ends[column]
        covered = picture.copy()
        covered[top:bottom, left:right] = colour
        yield covered


def _filled(falls: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the falls; what is not known, NaN, is the mean of its known neighbours, the nearer double."""
    import cv2

    is_known = ~np.isnan(falls)
    tent = np.outer((1.0, 2.0, 1.0), (1.0, 2.0, 1.0))
    sums, weights = (
        cv2.filter2D(one, -1, tent, borderType=cv2.BORDER_CONSTANT)
        for one in (np.where(is_known, falls, 0.0), is_known.astype(np.float64))
    )
    return np.where(is_known, falls, sums / weights)


def _log_odds(probabilities: NDArray[np.floating], label: int) -> float:
    # The others' sum, not 1 - p, in which float32 would lose odds above a million.
    others = np.delete(probabilities, label).sum(dtype=np.float64)
    least = float(np.finfo(np.float32).tiny)
    return float(np.log(max(float(probabilities[label]), least)) - np.log(max(float(others), least)))


def overlay(picture: Pixels, heat: Heat) -> Pixels:
    """Return a picture in grey with its heat laid over, uint8 RGB (S, S, 3).

    Matplotlib's inferno, whose lightness rises evenly from black to pale yellow, is read alike with any
    colour vision; the photo is grey and dimmed, so that colour and brightness mean heat alone.

    Args:
        picture: uint8 RGB (S, S, 3); not modified.
        heat: float32 (S, S) in [0, 1]; the photo shows where it is 0.
    """
    import cv2

    levels = (heat * 255).round().astype(np.uint8)
    colours = cv2.applyColorMap(levels, cv2.COLORMAP_INFERNO)[..., ::-1]
    grey = UNDERLAY * cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)[..., None]
    share = OPACITY * heat[..., None]
    return np.asarray((grey * (1 - share) + colours * share).round(), np.uint8)
