"""Backbones side by side under one head: where the features of each are there, that costs only a head."""

from collections.abc import Iterator, Sequence

from headstart.networks.table import Backbone, together
from headstart.photos.splits import Lesson, Sealed
from headstart.statistics.metrics import log_loss
from headstart.workflow.techniques.bench import Bench, side_by_side
from headstart.workflow.techniques.trial import Trial


def pairs(
    rows: Sequence[Backbone], trials: Sequence[Trial], lesson: Lesson, sealed: Sealed, bench: Bench
) -> Iterator[Trial]:
    """Yield what was asked for side by side; and, of the rest, the best pair.

    That is the backbone that does best alone with the one beside which it does best, by the log loss of what
    heads make of photos to learn from that they leave out: of n backbones n - 1 pairs are tried. Those that
    see pictures of other sizes are no pair.

    Args:
        rows: What was asked for.
        trials: Of each backbone alone.
        lesson: What is learnt from and chosen by.
        sealed: What is known of the test part before the decision.
        bench: What is worked with.
    """

    def beside(*chosen: Trial) -> Trial:
        return Trial(side_by_side([one.opened for one in chosen], bench), lesson, sealed, bench)

    alone = {trial.row: trial for trial in trials}
    for row in rows:
        if row.parts and set(row.parts) <= set(alone):
            yield beside(*(alone[one] for one in row.parts))
    compared = [trial for trial in trials if trial.row in rows]
    if not bench.settings.pair or len(compared) < 2:
        return
    best = min(compared, key=_left_out_loss)
    both = [
        sorted((best, other), key=compared.index)
        for other in compared
        if other is not best and other.image_size_px == best.image_size_px
    ]
    tried = [beside(*chosen) for chosen in both if together(*(one.row for one in chosen)) not in rows]
    if tried:
        yield min(tried, key=_left_out_loss)


def _left_out_loss(trial: Trial) -> float:
    rows = trial.heads.judged
    return log_loss(trial.labels[rows], trial.heads.left_out[rows])
