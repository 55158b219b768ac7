"""Labels that look wrong: what a probe makes of photos that it was not fitted on, against their labels."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headstart import probe
from headstart.splits import IN_EVERY_FIT

CSV_HEADER = ("path", "label", "suggested", "p_label", "p_suggested")

Floats = NDArray[np.float32]
Integers = NDArray[np.integer]


@dataclass(frozen=True)
class Suspect:
    """A photo whose label looks wrong.

    Attributes:
        path: As it was given.
        label: The class name it bears.
        suggested: The likeliest class.
        p_label: Probability of the label, by a head that was not fitted on the photo or a copy of it.
        p_suggested: The same of the suggested class, the larger of the two.
    """

    path: str
    label: str
    suggested: str
    p_label: float
    p_suggested: float

    def row(self) -> tuple[str, ...]:
        """Return its line of suspects.csv, under `CSV_HEADER`."""
        return (self.path, self.label, self.suggested, f"{self.p_label:.4f}", f"{self.p_suggested:.4f}")


def out_of_fold(
    features: Floats, labels: Integers, fold_of: Integers, sample_weights: Floats, l2: float
) -> Floats:
    """Return float32 (N, C): what heads that were not fitted on a photo, or on a copy of it, make of it.

    So they say how a head answers new photos; one fitted on all of these answers the same or a little
    better, for it has seen more. To 0.02 or so: the fits are close, not fine (`probe.refit_parts`). The rows
    of photos that are `splits.IN_EVERY_FIT` are the exception: they come from a head that was fitted on
    them, and prove nothing.

    Args:
        features: float32 (N, D).
        labels: (N,) in 0..C-1, every class present.
        fold_of: (N,) from `splits.folds`: a head is fitted on all photos but those of a fold, for each fold.
        sample_weights: float32 (N,): how much each photo counts when it is fitted on.
        l2: Strength of the penalty, chosen before.

    Example:
        >>> features = np.float32([[0], [1], [2], [3], [7], [8], [9], [10]])
        >>> labels = np.int32([0] * 3 + [1] * 5)
        >>> found = out_of_fold(features, labels, np.arange(8) % 4, np.ones(8, np.float32), 0.1)
        >>> found.argmax(axis=1).tolist()  # the fourth is nearer to the first three
        [0, 0, 0, 0, 1, 1, 1, 1]
    """
    n_classes = int(labels.max()) + 1
    probabilities = np.empty((len(labels), n_classes), np.float32)
    n_folds = int(fold_of.max()) + 1
    others = (np.flatnonzero(fold_of != fold) for fold in range(n_folds))
    heads = probe.refit_parts(features, labels.astype(np.int32), sample_weights, l2, others, n_classes)
    for fold, head in enumerate(heads):
        asked = (fold_of == fold) | (fold_of == IN_EVERY_FIT)
        probabilities[asked] = head.probabilities(features[asked])
    return probabilities


def rank(
    labels: Integers, probabilities: Floats, class_names: Sequence[str], paths: Sequence[str]
) -> tuple[Suspect, ...]:
    """Return the photos whose labels look wrong, the worst first.

    Photos of which another class is the likeliest are ranked by the probability of their label: its
    self-confidence (Kuan and Mueller, Model-Agnostic Label Quality Scoring to Detect Real-World Label Errors,
    DataPerf workshop at ICML 2022). Of 40 labels planted wrong among 3,409 of clothing, the first 80 held 30
    to 38 so, and 25 to 36 by the distance to the likeliest class. The ranking ends after as many as confident
    learning counts: those of which another class is the likeliest whose probability comes up to its mean over
    the photos labelled so (Northcutt, Jiang and Chuang, Confident Learning, JAIR 70, 2021, equation 1).
    cleanlab's find_label_issues gives the same with filter_by="low_self_confidence".

    Args:
        labels: (N,) in 0..C-1.
        probabilities: (N, C), out of fold: a head that was fitted on these labels believes them.
        class_names: C names.
        paths: N names of photos.

    Example:
        >>> probabilities = np.float32([[0.9, 0.1], [0.8, 0.2], [0.1, 0.9], [0.95, 0.05]])
        >>> [one] = rank(np.array([0, 0, 1, 1]), probabilities, ("cat", "dog"), "abcd")
        >>> one.path, one.label, one.suggested, round(one.p_label, 2)
        ('d', 'dog', 'cat', 0.05)
    """
    p_label, p_likeliest = probabilities[np.arange(len(labels)), labels], probabilities.max(axis=1)
    contested = np.flatnonzero(p_label < p_likeliest)
    worst_first = contested[np.argsort(p_label[contested], kind="stable")]
    n_suspects = int((_confidently(labels, probabilities)[contested] != labels[contested]).sum())
    return tuple(
        Suspect(
            path=paths[row],
            label=class_names[labels[row]],
            suggested=class_names[probabilities[row].argmax()],
            p_label=float(p_label[row]),
            p_suggested=float(p_likeliest[row]),
        )
        for row in worst_first[:n_suspects].tolist()
    )


def _confidently(labels: Integers, probabilities: Floats) -> NDArray[np.int64]:
    """Return the likeliest class that each photo is sure enough of; its label where there is none."""
    thresholds = np.full(probabilities.shape[1], np.inf)
    for label in np.unique(labels):
        thresholds[label] = probabilities[labels == label, label].mean(dtype=np.float64)
    # 1e-6 for rounding, as in cleanlab: where all photos of a class have one probability, it is enough.
    sure = np.where(probabilities >= thresholds - 1e-6, probabilities, -1)
    return np.where(sure.max(axis=1) >= 0, sure.argmax(axis=1), labels)
