"""Labels that look wrong: what a probe makes of photos that it was not fitted on, against their labels."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headstart import probe

N_FOLDS = 5

IN_EVERY_FIT = -1
"""The fold of photos that cannot be held out, for without them a class would have none to be fitted on."""

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


def folds(labels: Integers, groups: Integers, *, n_folds: int = N_FOLDS, seed: int = 0) -> NDArray[np.int64]:
    """Return int64 (N,): the fold in which each photo is held out, 0 to n_folds - 1, or `IN_EVERY_FIT`.

    The groups of each class, in random order, are dealt to the folds in turn, so that a fold holds as
    many groups of a class as any other, give or take one. A group of several classes counts with the label
    of its first photo. Every class has photos outside every fold; those of a class that are all of one
    group are never held out, nor is what shares a group with them.

    scikit-learn's StratifiedGroupKFold does not promise that, and with shuffle=True it did not stratify
    before version 1.8 (https://github.com/scikit-learn/scikit-learn/pull/32540).

    Args:
        labels: (N,) in 0..C-1.
        groups: (N,) Photos of equal number are copies of each other or of one burst.
        n_folds: 2 or more.
        seed: Of the order in which groups are dealt.

    Example:
        >>> folds(np.array([0, 0, 0, 1, 1, 2]), np.array([0, 1, 1, 2, 3, 4]), n_folds=2).tolist()
        [0, 1, 1, 0, 1, -1]
    """
    _, first, group_of = np.unique(groups, return_index=True, return_inverse=True)
    shuffled = np.random.default_rng(seed).permutation(len(first))
    dealt = shuffled[np.argsort(labels[first[shuffled]], kind="stable")]
    fold_of_group = np.empty(len(first), np.int64)
    fold_of_group[dealt] = np.arange(len(dealt)) % n_folds
    found = fold_of_group[group_of]
    for label in np.unique(labels):
        members = labels == label
        if len(np.unique(found[members])) == 1:
            found[np.isin(groups, groups[members])] = IN_EVERY_FIT
    return found


def out_of_fold(
    features: Floats,
    labels: Integers,
    groups: Integers,
    sample_weights: Floats,
    l2: float,
    *,
    n_folds: int = N_FOLDS,
    seed: int = 0,
) -> Floats:
    """Return float32 (N, C): what heads that were not fitted on a photo, or on a copy of it, make of it.

    So they say how a head answers new photos; one fitted on all of these answers the same or a little
    better, for it has seen more. To 0.02 or so: the fits are close, not fine (`probe.refit_parts`). The rows of photos that `folds` puts `IN_EVERY_FIT` are the exception:
    they come from a head that was fitted on them, and prove nothing.

    Args:
        features: float32 (N, D).
        labels: (N,) in 0..C-1, every class present.
        groups: (N,) as in `folds`.
        sample_weights: float32 (N,): how much each photo counts when it is fitted on.
        l2: Strength of the penalty, chosen before.
        n_folds: Heads to fit, each on all photos but those of a fold.
        seed: Of the folds.

    Example:
        >>> features = np.float32([[0], [1], [2], [3], [7], [8], [9], [10]])
        >>> labels = np.int32([0] * 3 + [1] * 5)
        >>> found = out_of_fold(features, labels, np.arange(8), np.ones(8, np.float32), 0.1, n_folds=4)
        >>> found.argmax(axis=1).tolist()  # the fourth is nearer to the first three
        [0, 0, 0, 0, 1, 1, 1, 1]
    """
    fold_of = folds(labels, groups, n_folds=n_folds, seed=seed)
    n_classes = int(labels.max()) + 1
    probabilities = np.empty((len(labels), n_classes), np.float32)
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
