"""Shortcuts: classes that can be told without looking at what is on the photos."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headstart.base.arrays import Floats, Labels

MIN_ACCURACY = 0.75
"""Balanced accuracy, two standard errors taken off, from which on a class counts as told; chance is 0.5."""

MARGIN = 0.05
"""Balanced accuracy by which such a property must tell a class better than the middle of the photo does."""

FOLDS = 5
DEPTH = 3
"""Of the trees: up to 7 questions such as "wider than 300 pixels?"."""

FEWEST = 20
MOST = 1_000
"""Photos that a tree needs of the class and of the others, and is given of each at most."""


@dataclass(frozen=True, eq=False)
class Traits:
    """What can be known of N photos without looking at what is on them.

    Attributes:
        sizes_px: int32 (N, 2), width and height, upright.
        n_bytes: int64 (N,), of the files.
        formats: N types, such as "JPEG".
        borders: float32 (N, 4), mean red, green and blue of the outermost pixels, and their spread.
        middles: float32 (N, 4), the same of the middle of the picture.
    """

    sizes_px: NDArray[np.int32]
    n_bytes: NDArray[np.int64]
    formats: Sequence[str]
    borders: Floats
    middles: Floats


@dataclass(frozen=True)
class Shortcut:
    """A class that a simple rule on one property finds, measured by cross-validation.

    Attributes:
        class_name: The class.
        trait: The property, in words.
        recall: Part of the class's photos that the rule finds.
        false_rate: Part of the other classes' photos that it takes for the class's.
        typical: What photos of the class are mostly like, in words.
        others: What the others are mostly like.
    """

    class_name: str
    trait: str
    recall: float
    false_rate: float
    typical: str
    others: str


@dataclass(frozen=True, eq=False)
class _Trait:
    """A property as numbers, float32 (N, K), and how some photos' are put in words.

    Where colour and contrast in the middle of a photo tell a class as well, it is no shortcut: forests are
    told by the colour of their border because they are of that colour all over, and a coarse weave by the
    size of its files because it is coarse.
    """

    name: str
    columns: Floats
    words: Callable[[NDArray[np.intp]], str]
    picture: Floats | None = None


def find(traits: Traits, labels: Labels, class_names: Sequence[str]) -> tuple[Shortcut, ...]:
    """Return, for each class that a property alone tells from all others, the property that does so best.

    A small decision tree on each property is asked about photos that it was not grown on.

    Args:
        traits: Of N different photos: copies of one photo would tell each other.
        labels: int32 (N,), indices into the class names. Of two classes only the first is asked about.
        class_names: C names.
    """
    properties = [one for one in _properties(traits) if (one.columns != one.columns[:1]).any()]
    found = []
    for label in range(len(class_names) if len(class_names) > 2 else 1):
        chosen = _sample(labels, label)
        is_own = labels[chosen] == label
        if min(is_own.sum(), (~is_own).sum()) < FEWEST:
            continue
        told = [(rates, one) for one in properties if (rates := _rates(one, chosen, is_own))]
        if told:
            (recall, false_rate), best = max(told, key=lambda each: each[0][0] - each[0][1])
            own, others = np.flatnonzero(labels == label), np.flatnonzero(labels != label)
            name = class_names[label]
            found.append(Shortcut(name, best.name, recall, false_rate, best.words(own), best.words(others)))
    return tuple(found)


def _rates(one: _Trait, chosen: NDArray[np.intp], is_own: NDArray[np.bool_]) -> tuple[float, float] | None:
    """Return recall and false rate of a class by a property, or None where it is no shortcut."""
    recall, false_rate = _told(one.columns[chosen], is_own)
    if _accuracy_at_least(recall, false_rate, is_own) < MIN_ACCURACY:
        return None
    if one.picture is not None:
        found, mistaken = _told(one.picture[chosen], is_own)
        if recall - false_rate < found - mistaken + 2 * MARGIN:
            return None
    return recall, false_rate


def _properties(traits: Traits) -> list[_Trait]:
    """Return the properties; of those that tell a class equally well, the first is named."""
    width, height = traits.sizes_px.T.astype(np.float32)
    density = traits.n_bytes / (width * height)
    formats = np.array(traits.formats)

    def size(chosen: NDArray[np.intp]) -> str:
        (typical, _), *_ = Counter(map(tuple, traits.sizes_px[chosen].tolist())).most_common(1)
        return "{} x {} pixels".format(*typical)

    def border(chosen: NDArray[np.intp]) -> str:
        return "red {:.0f}, green {:.0f}, blue {:.0f}, spread {:.0f}".format(
            *np.median(traits.borders[chosen], axis=0)
        )

    return [
        _Trait("image size", np.stack([width, height, width / height], axis=1), size),
        _Trait(
            "file type",
            (formats[:, None] == np.unique(formats)).astype(np.float32),
            lambda chosen: Counter(formats[chosen].tolist()).most_common(1)[0][0],
        ),
        _Trait(
            "bytes per pixel",
            density[:, None].astype(np.float32),
            lambda chosen: f"{np.median(density[chosen]):.2f}",
            picture=traits.middles,
        ),
        _Trait("border", traits.borders, border, picture=traits.middles),
    ]


def _sample(labels: Labels, label: int) -> NDArray[np.intp]:
    """Return at most `MOST` photos of a class and as many of the others, ascending."""
    random = np.random.default_rng(0)
    sides = (np.flatnonzero(labels == label), np.flatnonzero(labels != label))
    return np.sort(np.concatenate([random.permutation(side)[:MOST] for side in sides]))


def _told(columns: Floats, is_own: NDArray[np.bool_]) -> tuple[float, float]:
    """Return which part of a class a tree finds, and which part of the others it takes for it."""
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from sklearn.tree import DecisionTreeClassifier

    tree = DecisionTreeClassifier(max_depth=DEPTH, class_weight="balanced", random_state=0)
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=0)
    guesses = cross_val_predict(tree, columns, is_own, cv=folds)
    return float(guesses[is_own].mean()), float(guesses[~is_own].mean())


def _accuracy_at_least(recall: float, false_rate: float, is_own: NDArray[np.bool_]) -> float:
    """Return the balanced accuracy less two standard errors, the two rates being binomial."""
    n_own = int(is_own.sum())
    variance = recall * (1 - recall) / n_own + false_rate * (1 - false_rate) / (len(is_own) - n_own)
    return (1 + recall - false_rate) / 2 - float(np.sqrt(variance))
