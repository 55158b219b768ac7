"""Numbers as they stand on the page, each with the value of results.json behind it."""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from headstart.base import records
from headstart.base.words import in_words
from headstart.results.comparison import Results

if TYPE_CHECKING:
    from markupsafe import Markup

NOTHING = "—"
"""Stands where results.json has null."""

FORMATS: dict[str, Callable[[float], str]] = {
    "percent": lambda value: f"{value:.1%}",
    "bare_percent": lambda value: f"{100 * value:.1f}",
    "part": lambda value: f"{value:.0%}",
    "points": lambda value: f"{100 * value:+.1f}".replace("-", "−"),
    "count": lambda value: f"{value:,.0f}",
    "decimal": lambda value: f"{value:.1f}",
    "fine": lambda value: f"{value:.3f}",
    "power": lambda value: f"{value:.1e}",
    "plain": lambda value: f"{value:g}",
    "millions": lambda value: f"{value / 1e6:.1f} M" if value >= 1e5 else f"{value:,}",
    "time": in_words,
    "chance": lambda value: f"{value:.3f}" if value >= 0.0005 else "< 0.0005",
}
"""By name: 0.9194 is 91.9%, or +91.9 points."""


class Figures:
    """Looks figures up in results and writes them as `<data value=… data-of=…>`.

    `value` is the number as results.json has it, `data-of` where it stands there, such as
    "candidates.0.test.accuracy"; "*" at the end sums up what is there.

    Args:
        results: What the page tells of.
    """

    def __init__(self, results: Results) -> None:
        self.root: Any = msgspec.json.decode(records.to_bytes(results))

    def value(self, at: str) -> Any:
        """Return what stands in results.json at a place; raises LookupError where there is no such place.

        Below a null there is null: the test figures of a candidate that was not measured on test.
        """
        found = self.root
        for name in at.split("."):
            if found is None:
                return None
            if name == "*":
                return sum(found.values() if isinstance(found, dict) else found)
            found = found[int(name)] if isinstance(found, list) else found[name]
        return found

    def figure(self, at: str, style: str) -> Markup:
        """Return the number at a place, written in one of `FORMATS`."""
        return marked(self.value(at), at, FORMATS[style])

    def interval(self, at: str, style: str = "bare_percent", unit: str = "%") -> Markup:
        """Return both ends of the interval at a place."""
        from markupsafe import Markup

        if self.value(at) is None:
            return Markup(NOTHING)
        low, high = self.figure(f"{at}.low", style), self.figure(f"{at}.high", style)
        between = " to " if style == "points" else "–"
        return Markup('<span class="interval">{}{}{}{}</span>').format(low, between, high, unit)

    def spread(self, at: str, field: str) -> Markup:
        """Return the least and the greatest of one field of the list at a place; nothing of an empty list."""
        from markupsafe import Markup

        values: Sequence[float | None] = [one[field] for one in self.value(at)]
        told = [one for one in values if one is not None]
        if not told:
            return Markup("")
        ends = [
            self.figure(f"{at}.{values.index(one)}.{field}", "bare_percent") for one in (min(told), max(told))
        ]
        return Markup('<span class="interval">{}–{}%</span>').format(*ends)


def marked(value: float | None, at: str, written: Callable[[float], str]) -> Markup:
    """Return a number as an HTML element that holds its value, too.

    Example:
        >>> print(marked(0.9, "seed", FORMATS["percent"]))
        <data value="0.9" data-of="seed">90.0%</data>
        >>> print(marked(None, "seed", FORMATS["percent"]))
        —
    """
    from markupsafe import Markup

    if value is None:
        return Markup(NOTHING)
    text = html.escape(written(value))
    return Markup(f'<data value="{value!r}" data-of="{html.escape(at)}">{text}</data>')
