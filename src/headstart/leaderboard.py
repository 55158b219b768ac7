"""Results as tables on a terminal."""

import io
from collections.abc import Iterable, Sequence

from headstart.backbones.table import Backbone
from headstart.comparison import Candidate, Results
from headstart.metrics import Evaluation

Cells = Sequence[str]

WIDTH = 200
"""Characters a line at the most; a terminal folds what it cannot show."""


def render(results: Results) -> str:
    """Return the leaderboard: the best on validation first, the winner marked, then where it stands."""
    best = results.best
    header = ("", "backbone", "technique", "validation", "test", "macro F1", "log loss", "ms", "MB", "time")
    table = _table(header, [_row(one, is_best=one is best) for one in results.candidates])
    data = results.dataset
    counts = f"{data.n_images:,} photos of {len(data.class_names)} classes"
    parts = f"{data.n_train:,} to train on, {data.n_validation:,} to choose by, {data.n_test:,} to measure on"
    return f"{counts}: {parts}\n\n{table}\n{_conclusion(best)}\n"


def _row(one: Candidate, *, is_best: bool) -> Cells:
    test = one.test
    return (
        "★" if is_best else "",
        one.backbone,
        one.technique,
        f"{one.validation.accuracy:.1%}",
        f"{test.accuracy:.1%}" if test else "",
        f"{test.macro_f1:.3f}" if test else "",
        f"{test.log_loss:.3f}" if test else "",
        f"{one.latency_ms:.1f}",
        f"{one.size_mb:.1f}",
        f"{sum(one.seconds.values()):.0f} s",
    )


def _conclusion(best: Candidate) -> str:
    measured = f", {best.test.accuracy:.1%} on {best.test.n_images:,} test photos" if best.test else ""
    return f"Best on validation: {best.backbone} with {best.technique}{measured}."


def render_scores(scores: Evaluation) -> str:
    """Return one evaluation: the whole, then class by class."""
    rows = [
        (one.name, f"{one.n_images:,}", f"{one.precision:.3f}", f"{one.recall:.3f}", f"{one.f1:.3f}")
        for one in scores.per_class
    ]
    table = _table(("class", "photos", "precision", "recall", "F1"), rows)
    return (
        f"accuracy {scores.accuracy:.1%}, balanced accuracy {scores.balanced_accuracy:.1%}, "
        f"macro F1 {scores.macro_f1:.3f}, log loss {scores.log_loss:.3f} on {scores.n_images:,} photos\n\n{table}"
    )


def render_backbones(rows: Iterable[tuple[Backbone, bool]]) -> str:
    """Return the table of backbones; each comes with whether its weights are here."""
    header = ("backbone", "pixels", "features", "parameters", "ImageNet top-1", "licence", "weights")
    cells = [
        (
            row.name,
            str(row.input_size_px),
            f"{row.feature_size:,}",
            f"{row.parameters / 1e6:.1f} M",
            "" if row.top1_percent is None else f"{row.top1_percent:.1f}%",
            row.licence,
            "here" if is_here else "to be pulled",
        )
        for row, is_here in rows
    ]
    return _table(header, cells)


def _table(header: Cells, rows: Sequence[Cells]) -> str:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for index, title in enumerate(header):
        is_number = all(row[index][:1].isdigit() or not row[index] for row in rows)
        table.add_column(title, justify="right" if is_number else "left", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    text = io.StringIO()
    Console(file=text, width=WIDTH, color_system=None, markup=False).print(table)
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines()).strip("\n") + "\n"
