"""Results as tables on a terminal."""

import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from headstart.networks.table import SIDE_BY_SIDE, Backbone
from headstart.results.comparison import Candidate, Results
from headstart.statistics.significance import Interval
from headstart.storage.store import Usage

Cells = Sequence[str]

LEADERBOARD_NOTE = """\
★: the one to use, decided before test was read; rows: best on validation first
validation, test: accuracy; interval: 95%, of test; ms: one photo, on this machine
better, worse: than ★ on the same test photos; ?: they cannot tell the two apart
time: what it took, minutes:seconds"""

NAME_WIDTH = 16
"""Letters of a class name in the leaderboard."""

STANDING = {"better": "better", "worse": "worse", "unclear": "?"}
"""How the leaderboard writes a decision."""

BACKBONES_NOTE = """\
pixels: side of the picture it is fed; features: numbers it makes of one
top-1: published accuracy on ImageNet
Weights to pull come on first use, or now by `headstart weights pull NAME`."""


CACHE_NOTE = """\
The last three come back by a network alone: `headstart cache clear weights samples
photos`. The others may take {limit} together; beyond that, what was not used for
longest goes. HEADSTART_CACHE_LIMIT sets another limit."""


def render(results: Results) -> str:
    """Return the leaderboard: the best on validation first, the one to use marked, then the verdict."""
    header = ("  backbone", "technique", "validation", "test", "interval", "", "ms", "time")
    decisions = {one.a: STANDING[one.decision] for one in results.comparisons}
    rows = [row for one in results.candidates for row in _rows(one, results.chosen, decisions)]
    rows.append(_baseline_row(results))
    data = results.dataset
    counts = f"{data.n_images:,} photos of {len(data.class_names)} classes"
    chosen = f"{data.n_validation:,} to choose by"
    if results.n_folds:
        chosen = f"chosen by {results.n_folds} folds of them"
    parts = f"{data.n_train:,} to train on, {chosen}, {data.n_test:,} to measure on"
    verdict = "\n".join(textwrap.fill(sentence, 79) for sentence in results.verdict)
    return f"{counts}: {parts}\n\n{table(header, rows)}\n{LEADERBOARD_NOTE}\n\n{verdict}\n"


def _rows(one: Candidate, chosen: Candidate, decisions: Mapping[str, str]) -> Iterator[Cells]:
    """Yield the row of a candidate; of backbones side by side each further one has a line of its own."""
    first, *others = one.backbone.split(SIDE_BY_SIDE)
    yield (
        f"{'★' if one is chosen else ' '} {first}",
        one.technique,
        f"{one.validation.accuracy:.1%}",
        f"{one.test.accuracy:.1%}" if one.test else "",
        _ends(one.test.accuracy_interval) if one.test else "",
        decisions.get(one.name, ""),
        f"{one.latency_ms:.1f}",
        _duration(sum(one.seconds.values())),
    )
    yield from ((f"  + {name}", *[""] * 7) for name in others)


def _baseline_row(results: Results) -> Cells:
    """Return the row of what always saying the commonest class gets."""
    always = results.baseline
    decision = {"better": "worse", "worse": "better", "unclear": "?"}[always.comparison.decision]
    return (
        f"  always {_cut(always.class_name)}",
        "",
        f"{always.validation_accuracy:.1%}" if results.dataset.n_validation else "",
        f"{always.accuracy:.1%}",
        _ends(always.interval),
        decision,
        "",
        "",
    )


def _cut(name: str) -> str:
    """Return a class name, cut where it would make the table too wide."""
    return name if len(name) <= NAME_WIDTH else f"{name[: NAME_WIDTH - 1]}…"


def _ends(interval: Interval) -> str:
    """Return both ends in per cent.

    Example:
        >>> _ends(Interval(0.971, 0.9951, 0.95))
        '97.1–99.5%'
    """
    return f"{100 * interval.low:.1f}–{interval.high:.1%}"


def _duration(seconds: float) -> str:
    """Return minutes and seconds.

    Example:
        >>> _duration(7.2), _duration(131.5)
        ('0:07', '2:12')
    """
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02}"


def render_backbones(rows: Iterable[tuple[Backbone, bool]]) -> str:
    """Return the table of backbones; each comes with whether its weights are here."""
    header = ("backbone", "pixels", "features", "parameters", "top-1", "licence", "weights")
    cells = [
        (
            row.name,
            str(row.input_size_px),
            f"{row.feature_size:,}",
            f"{row.parameters / 1e6:.1f} M" if row.parameters >= 1e5 else f"{row.parameters:,}",
            "" if row.top1_percent is None else f"{row.top1_percent:.1f}%",
            row.licence,
            "here" if is_here else "to pull",
        )
        for row, is_here in rows
    ]
    return f"{table(header, cells)}\n{BACKBONES_NOTE}\n"


def render_cache(folder: Path, usages: Iterable[Usage], limit_bytes: int) -> str:
    """Return what the cache folder holds, kind by kind."""
    note = CACHE_NOTE.format(limit=_size(limit_bytes))
    return f"{folder}\n\n{render_usage(usages)}\n{note}\n"


def render_usage(usages: Iterable[Usage]) -> str:
    """Return a table of kinds with how many there are, or were, and what they take."""
    cells = [(one.kind, f"{one.n_items:,}", _size(one.size_bytes)) for one in usages]
    return table(("kind", "items", "size"), cells)


def _size(n_bytes: int) -> str:
    """Return a size in decimal units.

    Example:
        >>> _size(999), _size(27_340_000), _size(10_000_000_000)
        ('999 B', '27.3 MB', '10.0 GB')
    """
    power = min((len(str(n_bytes)) - 1) // 3, 4)
    return f"{n_bytes / 1000**power:,.1f} {'kMGT'[power - 1]}B" if power else f"{n_bytes} B"


def table(header: Cells, rows: Sequence[Cells]) -> str:
    """Return columns two spaces apart under a ruled header; those of numbers are flush right."""
    from rich.cells import cell_len

    columns = list(zip(header, *rows, strict=True))
    widths = [max(map(cell_len, column)) for column in columns]
    is_number = [all(cell[:1].isdigit() or not cell for cell in cells) for _, *cells in columns]

    def line(row: Cells) -> str:
        blanks = [" " * (width - cell_len(cell)) for cell, width in zip(row, widths, strict=True)]
        padded = zip(row, blanks, is_number, strict=True)
        return "  ".join(blank + cell if right else cell + blank for cell, blank, right in padded).rstrip()

    rule = "─" * (sum(widths) + 2 * len(widths) - 2)
    return "\n".join([line(header), rule, *map(line, rows)]) + "\n"
