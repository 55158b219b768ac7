"""Fine-tuned networks side by side under one head: their logits are averaged, which costs no more training.

Networks that were trained apart make other mistakes, and the mean of their logits fewer (Hansen and Salamon,
Neural network ensembles, 1990). It is a head on the features of both: one graph to serve, as any other.
"""

import dataclasses
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from headstart.base.arrays import Floats, Labels
from headstart.base.progress import Stopwatch
from headstart.networks import classifier, engine, pieces
from headstart.networks.pieces import Pieces
from headstart.photos.splits import Lesson
from headstart.results.comparison import Training
from headstart.statistics import metrics
from headstart.statistics.metrics import log_loss, logits_of, softmax
from headstart.training.ridge import Head
from headstart.workflow.techniques.bench import Bench, Opened, side_by_side
from headstart.workflow.techniques.draft import Draft, Outcome, Trained
from headstart.workflow.techniques.trial import Trial

WEIGHTS = (0.25, 0.5, 0.75)
"""Of the first of two networks, tried on validation; so few that the choice flatters little."""


@dataclass(frozen=True, eq=False)
class Mean:
    """The mean of what two fine-tuned networks answer.

    Attributes:
        both: The trials and what came of them, in the order of the candidates.
        weight: Of the first; the second has the rest.
        probabilities: float32 (M, C), for M photos that neither was trained on.
        loss: Their mean log loss.
    """

    both: tuple[tuple[Trial, Trained], tuple[Trial, Trained]]
    weight: float
    probabilities: Floats
    loss: float

    @property
    def shares(self) -> tuple[float, float]:
        """The weights of both."""
        return self.weight, 1 - self.weight


def averaged(
    tuned: Sequence[tuple[Trial, Trained]], lesson: Lesson, bench: Bench
) -> Iterator[tuple[Opened, Trained]]:
    """Yield the best mean of two of the fine-tuned networks, of the same size of picture, where there is one.

    The first of its networks is the one that does best alone by log loss on validation, the other the one
    with which it does best. One that is still the pretrained network, for fine-tuning has not gained, is not
    among them. Other seeds than the run's own are not averaged.

    Args:
        tuned: The fine-tuned, with their trials.
        lesson: What was learnt from and chosen by.
        bench: What is worked with.
    """
    tuned = [one for one in tuned if one[1].candidate.training.best_epoch]
    if not bench.settings.pair or len(tuned) < 2:
        return
    best = min(tuned, key=lambda one: one[1].candidate.validation.log_loss)
    pairs = [
        pair
        for pair in itertools.combinations(tuned, 2)
        if best in pair and pair[0][0].image_size_px == pair[1][0].image_size_px
    ]
    means = [_mean(pair, weight, lesson.photos.labels) for pair in pairs for weight in WEIGHTS]
    if means:
        yield _kept(min(means, key=lambda one: one.loss), lesson, bench)


def _mean(both: tuple[tuple[Trial, Trained], tuple[Trial, Trained]], weight: float, labels: Labels) -> Mean:
    rows = both[0][1].validation.rows
    first, second = (_logits(made) for _, made in both)
    probabilities = softmax(weight * first + (1 - weight) * second)
    return Mean(both, weight, probabilities, log_loss(labels[rows], probabilities))


def _logits(made: Trained) -> Floats:
    """Return what a network answered on validation as calibrated logits, up to a number for each photo."""
    temperature = np.float32(made.candidate.calibration.temperature)
    return logits_of(made.validation.probabilities) / temperature


def _kept(mean: Mean, lesson: Lesson, bench: Bench) -> tuple[Opened, Trained]:
    """Save a mean as a candidate; return what it is opened as, and it."""
    (first, of_first), (second, of_second) = mean.both
    opened = _opened(first.opened, second.opened, bench)
    rows = of_first.validation.rows
    labels, size_px = lesson.photos.labels[rows], opened.image_size_px
    scores = metrics.evaluate(labels, mean.probabilities, lesson.class_names)
    last = Draft(bench.work, second.row.name, "finetune")
    calibration = bench.calibrate(mean.probabilities, labels, last.novelty())
    networks = [pieces.load(made.folder) for made in (of_first, of_second)]
    head = _head(mean, networks).tempered(calibration.temperature)
    network = pieces.side_by_side([one.backbone for one in networks])
    whole = Pieces(head.weights, head.bias, networks[1].references, network)
    features = engine.join([classifier.load(one.folder).engine.headless() for one in (of_first, of_second)])
    draft = Draft(bench.work, opened.row.name, "finetune")
    draft.keep_answers(rows, mean.probabilities, last.novelty())
    trained_layers = sum(made.candidate.training.trained_layers for made in (of_first, of_second))
    training = Training(size_px, head.l2, trained_layers, shares=mean.shares)
    candidate = draft.keep(
        features, whole, Outcome(scores, calibration, training), opened, lesson.class_names
    )
    return opened, Trained(candidate, draft.model, draft.answers(), draft.answer(bench.progress))


def _opened(first: Opened, second: Opened, bench: Bench) -> Opened:
    """Return both as one; what was spent on either was spent on it."""
    watch = Stopwatch()
    for stage, seconds in itertools.chain(first.watch.seconds.items(), second.watch.seconds.items()):
        watch.add(stage, seconds)
    return dataclasses.replace(side_by_side([first, second], bench), watch=watch)


def _head(mean: Mean, networks: Sequence[Pieces]) -> Head:
    """Return the head on the features of both that gives the mean of their calibrated logits."""
    first, second = (
        Head(one.weights, one.bias, made.candidate.training.l2).tempered(1 / share)
        for one, (_, made), share in zip(networks, mean.both, mean.shares, strict=True)
    )
    weights = np.concatenate([first.weights, second.weights])
    return Head(weights, first.bias + second.bias, max(first.l2, second.l2))
