"""Why a classifier thinks so: how much each place of a photo speaks for one class.

Most backbones with a head end in global average pooling, a linear layer and a softmax. The mean and the
linear layer may change places, so the head, asked about each place of the last feature maps, says what
that place adds to the logits: the class activation map (Zhou et al., Learning deep features for
discriminative localization, CVPR 2016), which on this form is Grad-CAM (Selvaraju et al., ICCV 2017,
section 3.1) but for a constant factor. It costs two inferences.

Any other network is asked again with one patch of the photo after another covered (occlusion: Zeiler and
Fergus, Visualizing and understanding convolutional networks, ECCV 2014). It costs 82 inferences, and comes
nearer to what the network needs, most of all where it was fine-tuned.

Both show where the evidence is that counts for this network. Neither says that it is a good reason.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from headstart.networks.backbones import import_openvino
from headstart.networks.engine import Engine, OpenVINOEngine
from headstart.pictures.pixels import Pixels
from headstart.results.gallery import Method

if TYPE_CHECKING:
    import openvino

Heat = NDArray[np.float32]

CELLS, PATCH = 8, 2
"""A photo is covered in a grid of CELLS by CELLS, with a patch of PATCH by PATCH of them at a time."""

PLACES = CELLS + PATCH - 1
"""Places of a patch along a side, those that reach over the border included."""

INFERENCES: dict[Method, int] = {"cam": 2, "occlusion": 1 + PLACES**2}
"""How often a network is asked for one map, by method."""

UNDERLAY, OPACITY = 0.6, 0.8
"""How bright the photo stays under the heat, so that the hottest is lighter than any part of it; and how
much of the hottest's colour hides it."""


class Explainer:
    """Maps of heat over photos, for one classifier.

    Attributes:
        method: How they are made: "cam" only where it was asked for and the graph has the form for it.
    """

    def __init__(self, engine: Engine, asked: Method = "cam") -> None:
        self._engine = engine
        self._places = _places(engine) if asked == "cam" else None
        self.method: Method = "cam" if self._places else "occlusion"

    def explain(self, picture: Pixels, label: int) -> Heat:
        """Return how much each place of a picture speaks for a class, against its likeliest rivals.

        Args:
            picture: uint8 RGB (S, S, 3), as the classifier eats it; not modified.
            label: The class, an index into the class names; it need not be the predicted one.

        Returns:
            float32 (S, S) in [0, 1]: 1 where most speaks for the class, 0 where nothing does; if nothing
            does anywhere, all 0. Maps of different pictures or classes have different scales.

        Raises:
            ValueError: A picture of another size or type, or a label outside the classes.
        """
        _check(self._engine, picture, label)
        if self._places:
            probabilities = self._engine.answer(picture)
            evidence = _against_rivals(self._places.answer(picture), probabilities, label)
        else:
            evidence = occlusion(self._engine, picture, label)
        return _heat(evidence, len(picture))


def _check(engine: Engine, picture: Pixels, label: int) -> None:
    shape, n_classes = (engine.image_size_px, engine.image_size_px, 3), engine.output_shape[0]
    if picture.shape != shape or picture.dtype != np.uint8:
        raise ValueError(f"the picture is {picture.dtype} {picture.shape}; expected uint8 {shape}")
    if not 0 <= label < n_classes:
        raise ValueError(f"the label is {label}; expected 0 to {n_classes - 1}")


def _heat(evidence: NDArray[np.floating], size_px: int) -> Heat:
    """Return the positive part, resized to a square and scaled to [0, 1]."""
    import cv2

    positive = evidence.clip(min=0).astype(np.float32)
    resized = cv2.resize(positive, (size_px, size_px), interpolation=cv2.INTER_CUBIC).clip(min=0)
    return np.asarray(resized / max(resized.max(), np.finfo(np.float32).tiny))


def _against_rivals(
    logits: NDArray[np.floating], probabilities: NDArray[np.floating], label: int
) -> NDArray[np.floating]:
    """Return what each place adds to the log-odds of a class, to first order, (h, w).

    A class's own logit will not do: the same vector added to the head's weights of all classes changes
    each map and no probability. The gradient of the log-odds is the class's weights minus the mean of the
    others', each counted by its probability among them: what tells a shirt from a T-shirt, not from shoes.

    Args:
        logits: Of each place, (h, w, C).
        probabilities: Of the whole picture, (C,).
        label: The class.
    """
    # The smallest float leaves equal shares where all other probabilities are 0.
    rivals = np.delete(probabilities, label).astype(np.float64) + np.finfo(np.float64).tiny
    return np.asarray(logits[..., label] - np.delete(logits, label, axis=-1) @ (rivals / rivals.sum()))


def _places(engine: Engine) -> OpenVINOEngine | None:
    """Return the engine from a picture to what the head says of each place, without bias, (h, w, C).

    None where the graph does not end in global average pooling, a linear layer and a softmax. The engine's
    own graph stays as it is.
    """
    if not isinstance(engine, OpenVINOEngine):
        return None
    openvino = import_openvino()
    from openvino import opset13 as ops

    whole = engine.graph.clone()
    head = _head(whole)
    pooling = _pooling(head) if head else None
    if not head or not pooling:
        return None
    places = ops.transpose(pooling.input_value(0), [0, *_sides(pooling), _channels(pooling)])
    # The head's weights are taken as a node, whatever they are: a constant, or one of 16 bits converted.
    logits = ops.matmul(places, head.input_value(1), False, head.get_attributes()["transpose_b"])
    return OpenVINOEngine(openvino.Model([logits], whole.get_parameters(), "places"))


def _head(graph: "openvino.Model") -> "openvino.Node | None":
    """Return the MatMul that a graph ends in, but for a bias and a softmax."""
    softmax = graph.output(0).get_node().input_value(0).get_node()
    if softmax.get_type_name() != "Softmax":
        return None
    node = softmax.input_value(0).get_node()
    inputs = node.input_values() if node.get_type_name() == "Add" else [softmax.input_value(0)]
    found = [value.get_node() for value in inputs if value.get_node().get_type_name() == "MatMul"]
    return found[0] if len(found) == 1 else None


def _pooling(head: "openvino.Node") -> "openvino.Node | None":
    """Return the mean over both sides of the feature maps whose result, as it is, the head takes."""
    node = head.input_value(0).get_node()
    while node.get_type_name() in ("Reshape", "Squeeze"):
        node = node.input_value(0).get_node()
    if node.get_type_name() != "ReduceMean" or node.input_value(1).get_node().get_type_name() != "Constant":
        return None
    maps, pooled = node.input_value(0).get_partial_shape(), head.input_value(0).get_partial_shape()
    if len(maps) != 4 or len(_sides(node)) != 2 or 0 in _sides(node):
        return None
    return node if len(pooled) == 2 and pooled[1] == maps[_channels(node)] else None


def _sides(pooling: "openvino.Node") -> list[int]:
    """Return the axes that a mean of four-dimensional maps goes over, from the lowest."""
    return sorted(int(axis) % 4 for axis in np.atleast_1d(pooling.input_value(1).get_node().data))


def _channels(pooling: "openvino.Node") -> int:
    """Return the axis that is left beside the batch's."""
    return ({1, 2, 3} - set(_sides(pooling))).pop()


def occlusion(engine: Engine, picture: Pixels, label: int) -> NDArray[np.float64]:
    """Return how far a class's log-odds fall, on average, when a cell and its neighbours are covered.

    Log-odds, since a probability near 1 hardly falls whatever is covered. Covered means painted in the
    picture's mean colour. Patches reach over the border, so that each cell is covered equally often.

    Args:
        engine: Pixels to probabilities.
        picture: uint8 RGB (S, S, 3); not modified.
        label: The class.

    Returns:
        float64 (CELLS, CELLS): for each cell, the mean over the PATCH × PATCH patches that cover it;
        negative where the class is likelier without it.
    """
    first, *others = engine.stream(_covered(picture))
    falls = _log_odds(first, label) - np.array([_log_odds(one, label) for one in others])
    windows = np.lib.stride_tricks.sliding_window_view(falls.reshape(PLACES, PLACES), (PATCH, PATCH))
    return np.asarray(windows.mean(axis=(2, 3)))


def _covered(picture: Pixels) -> Iterator[Pixels]:
    """Yield the picture itself, then with a patch on each of PLACES by PLACES places, row by row."""
    yield picture
    edges = np.linspace(0, len(picture), CELLS + 1).round().astype(int)
    ends = [(edges[max(0, end - PATCH)], edges[min(CELLS, end)]) for end in range(1, PLACES + 1)]
    colour = picture.mean(axis=(0, 1)).round()
    for top, bottom in ends:
        for left, right in ends:
            covered = picture.copy()
            covered[top:bottom, left:right] = colour
            yield covered


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
