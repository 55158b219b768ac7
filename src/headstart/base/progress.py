"""Progress on stderr: what is being done, its rate, and the time left."""

import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Protocol

LATE_S = 0.5
"""After so long somebody waits."""


class Advance(Protocol):
    """Says that `count` more items of a stage are done."""

    def __call__(self, count: int = 1) -> None:
        """Add `count` to what is done."""


def silent(count: int = 1) -> None:
    """Tell nobody."""


class Progress:
    """Where work tells how far it is. This one is silent, for use from Python and in tests."""

    def remark(self, text: str) -> None:
        """Say one line to the user."""

    def warn(self, text: str) -> None:
        """Say one line that the user must not miss, silent or not: here as a warning of Python's."""
        warnings.warn(text, stacklevel=2)

    def stage(self, title: str, total: int | None, unit: str = "images") -> AbstractContextManager[Advance]:
        """Open a stage of `total` items, None: nobody knows; the value of the `with` block advances it."""
        return _silent_stage()


@contextmanager
def late_stage(
    progress: Progress, title: str, total: int | None = None, unit: str = "images"
) -> Iterator[Advance]:
    """Open a stage as soon as it has taken `LATE_S`: of what is mostly done at once nobody is told."""
    start, n_done, advance = time.perf_counter(), 0, None
    with ExitStack() as stack:

        def tell(count: int = 1) -> None:
            nonlocal n_done, advance
            if advance is None and time.perf_counter() - start > LATE_S:
                advance = stack.enter_context(progress.stage(title, total, unit))
                advance(n_done)
            n_done += count
            if advance is not None:
                advance(count)

        yield tell


class Stopwatch:
    """Wall time by stage; of a stage within another one it counts for the inner one alone.

    Attributes:
        seconds: By stage, in the order in which they first ended.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def add(self, name: str, seconds: float) -> None:
        """Count seconds that were timed elsewhere."""
        self.seconds[name] = self.seconds.get(name, 0.0) + seconds

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time what is done within."""
        start, inner = time.perf_counter(), sum(self.seconds.values())
        yield
        inner = sum(self.seconds.values()) - inner
        self.add(name, time.perf_counter() - start - inner)


class Quiet(Progress):
    """Silent on stderr, but for what must not be missed."""

    def warn(self, text: str) -> None:
        """Print one line on stderr."""
        print(text, file=sys.stderr, flush=True)


class Console(Quiet):
    """Bars on stderr, one stage at a time.

    On a terminal a bar moves; elsewhere each stage leaves one line when it ends.
    """

    def remark(self, text: str) -> None:
        """Print one line on stderr."""
        self.warn(text)

    def stage(self, title: str, total: int | None, unit: str = "images") -> AbstractContextManager[Advance]:
        """Show a bar with items per second and the time left until the block ends."""
        return _bar(title, total, unit)


@contextmanager
def _silent_stage() -> Iterator[Advance]:
    yield silent


@contextmanager
def _bar(title: str, total: int | None, unit: str) -> Iterator[Advance]:
    from rich import console, progress, table

    # Only the bar may shrink, so that no figure is cut off on 80 columns.
    whole = table.Column(no_wrap=True)
    bars = progress.Progress(
        progress.TextColumn("{task.description}"),
        progress.BarColumn(bar_width=None),
        progress.MofNCompleteColumn(table_column=whole),
        progress.TextColumn("{task.fields[rate]}"),
        progress.TimeRemainingColumn(elapsed_when_finished=True, table_column=whole.copy()),
        progress.TextColumn("{task.fields[time]}"),
        console=console.Console(stderr=True),
        expand=True,
    )
    with bars:
        task = bars.add_task(title, total=total, rate="", time="left")

        def advance(count: int = 1) -> None:
            bars.advance(task, count)
            state = bars.tasks[task]
            if state.elapsed:
                bars.update(task, rate=f"{state.completed / state.elapsed:,.0f} {unit}/s")
            if state.finished:
                bars.update(task, time="in all")

        yield advance
