"""What must be said beside an accuracy: what guessing gets, and how far test is from what was seen before."""

from collections.abc import Sequence

import numpy as np

from headstart.base.arrays import Bools, Integers
from headstart.results.comparison import Baseline, Shift
from headstart.statistics.significance import accuracy_interval, compare_all, newcombe

ALWAYS = "always"
"""The name of the baseline in its comparison."""

RARE = 0.01
"""A difference between held-out and test photos that chance brings less often than so is told. Not 0.05:
validation flatters a little, for the candidate was chosen by it, and a warning in one run of twenty would
soon be ignored."""


def baseline(
    name: str,
    right: Bools,
    *,
    train: Integers,
    validation: Integers,
    test: Integers,
    groups: Integers,
    class_names: Sequence[str],
    seed: int = 0,
) -> Baseline:
    """Return what always saying the commonest class of train gets, beside a candidate.

    Args:
        name: The name of the candidate, "backbone/technique".
        right: bool (N,), which test photos it got right.
        train: The labels of the photos trained on.
        validation: The labels of the photos chosen by.
        test: (N,), the labels of the test photos.
        groups: (N,), the groups of the test photos; see `significance.intervals`.
        class_names: C names.
        seed: Of the generator that draws the bootstrap's samples.
    """
    commonest = int(np.bincount(train, minlength=len(class_names)).argmax())
    guessed = test == commonest
    [compared] = compare_all({name: right, ALWAYS: guessed}, ALWAYS, groups=groups, seed=seed)
    return Baseline(
        class_name=class_names[commonest],
        validation_accuracy=float((validation == commonest).mean()) if len(validation) else 0.0,
        accuracy=float(guessed.mean()),
        interval=accuracy_interval(guessed, groups, seed=seed),
        comparison=compared,
    )


def shift(held_out: Bools, right: Bools) -> Shift | None:
    """Return how far a candidate's accuracy on test is from that before; None without test photos.

    Args:
        held_out: bool (M,), which photos that it was not fitted on it got right, before test was read.
        right: bool (N,), which test photos without a copy in train or validation it got right.
    """
    from scipy.stats import fisher_exact

    if not len(right):
        return None
    n, n_right = len(held_out), int(held_out.sum())
    m, m_right = len(right), int(right.sum())
    p_value = float(fisher_exact([[n_right, n - n_right], [m_right, m - m_right]]).pvalue)
    return Shift(
        n_held_out=n,
        held_out_accuracy=n_right / n,
        n_test=m,
        test_accuracy=m_right / m,
        difference=m_right / m - n_right / n,
        interval=newcombe((m_right, m), (n_right, n)),
        p_value=p_value,
        is_more_than_chance=p_value < RARE,
    )
