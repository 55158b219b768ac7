"""Vega-Lite charts of results; they name styles, and the page gives these the colours of its theme."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from headstart.results.comparison import Candidate, Measured, Results
from headstart.results.curve import LearningCurve, Point, Prediction
from headstart.results.exports import Export
from headstart.statistics.calibration import Selection

if TYPE_CHECKING:
    import altair as alt

Spec = dict[str, Any]
Row = dict[str, Any]

LOG_FROM = 8.0
"""Costs that differ by more than so many times are drawn on a logarithmic axis."""

CURVE_POINTS = 60

COLOURS = 8
"""Classes that have a colour of their own: more cannot be told apart, least of all by the colour-blind
(Okabe and Ito, Color Universal Design, 2008, have 8)."""

LETTERS = "abcdefghijklmnopqrstuvwxyz"
"""What exported files are called in the pictures of costs; more are in the table alone."""

OTHERS = "(other classes)"


def costs(results: Results, cost: str, title: str, exported: Sequence[Export] = ()) -> Spec | None:
    """Draw accuracy on test against a cost; None where there are not two points to draw.

    Args:
        results: Candidates, best on validation first; their marks bear their numbers, from 1.
        cost: A field of `Candidate`, "latency_ms" or "size_mb".
        title: The title of the axis of costs.
        exported: Files of the recommended candidate for other runtimes; their marks bear letters.
    """
    import altair as alt

    rows = _costs(results, cost) + _exported(cost, exported)
    if len(rows) < 2:
        return None
    values = [row["cost"] for row in rows]
    is_wide = min(values) > 0 and max(values) / min(values) > LOG_FROM
    x = alt.X("cost:Q").title(title).scale(type="log" if is_wide else "linear", zero=False, padding=28)
    y = alt.Y("accuracy:Q").title("accuracy on test").axis(format="~%").scale(zero=False)
    tooltip = _tooltips(
        ("candidate", "name", None), ("accuracy", "accuracy", ".1%"), (title, "cost", ".1f")
    ) + _interval_tooltips("low", "high")
    base = _chart(rows).encode(x=x, y=y)
    step = base.transform_filter("datum.is_on_front").encode(order="cost:Q")
    layers: list[alt.Chart | alt.LayerChart] = [
        step.mark_line(interpolate="step-after", style="front"),
        base.mark_rule(style="interval").encode(y="low:Q", y2="high:Q"),
        base.transform_filter("datum.is_chosen").mark_point(style="chosen"),
    ]
    for technique in sorted({row["technique"] for row in rows}):
        marked = base.transform_filter(f"datum.technique == '{technique}'").encode(tooltip=tooltip)
        layers += [
            marked.mark_point(style=technique),
            marked.mark_text(style=f"{technique}_number").encode(text="number:N"),
        ]
    return _spec(alt.layer(*layers), height=280)


def _costs(results: Results, cost: str) -> list[Row]:
    rows = [
        {
            "number": str(number),
            "name": said(one),
            "technique": one.technique,
            "is_chosen": one == results.chosen,
            "cost": getattr(one, cost),
            "accuracy": one.test.accuracy,
            "low": one.test.accuracy_interval.low,
            "high": one.test.accuracy_interval.high,
        }
        for number, one in enumerate(results.candidates, 1)
        if one.test
    ]
    on_front = front([(row["cost"], row["accuracy"]) for row in rows])
    return [{**row, "is_on_front": is_on} for row, is_on in zip(rows, on_front, strict=True)]


def _exported(cost: str, exported: Sequence[Export]) -> list[Row]:
    return [
        {
            "number": letter,
            "name": f"exported, {one.name}",
            "technique": "export",
            "is_chosen": False,
            "cost": getattr(one, cost),
            "accuracy": one.scores.accuracy,
            "low": one.scores.accuracy,
            "high": one.scores.accuracy,
            "is_on_front": False,
        }
        for letter, one in zip(LETTERS, exported, strict=False)
    ]


def front(points: Sequence[tuple[float, float]]) -> list[bool]:
    """Say of each (cost, accuracy) whether no other point is as good in both and better in one.

    Example:
        >>> front([(3.0, 0.91), (4.0, 0.90), (2.0, 0.85), (2.0, 0.84)])
        [True, False, True, False]
    """
    return [
        not any(
            other != one and other[0] <= one[0] and other[1] >= one[1] and (other[0], -other[1]) != one
            for other in points
        )
        for one in points
    ]


def differences(results: Results) -> Spec | None:
    """Draw the difference of each other candidate to the recommended one; None without others."""
    import altair as alt

    if not results.comparisons:
        return None
    ordered = sorted(results.comparisons, key=lambda one: -one.difference)
    rows = [
        {
            "row": number,
            "name": one.a.replace("/", " · "),
            "difference": one.difference,
            "low": one.interval.low,
            "high": one.interval.high,
            "decision": one.decision,
        }
        for number, one in enumerate(ordered)
    ]
    axis = alt.Axis(labelExpr="datum.value == 0 ? '0' : format(datum.value * 100, '+~r')", tickCount=6)
    x = alt.X("difference:Q").title("points of accuracy, against the recommended").axis(axis)
    y = alt.Y("row:O").axis(None)
    base = _chart(rows).encode(y=y)
    tooltip = _tooltips(
        ("candidate", "name", None), ("difference", "difference", "+.1%"), ("decision", "decision", None)
    ) + _interval_tooltips("low", "high", "+.1%")
    shape = alt.Shape("decision:N").scale(
        domain=["better", "unclear", "worse"], range=["triangle-right", "circle", "triangle-left"]
    )
    layers = [
        _chart([{"zero": 0}]).mark_rule(style="zero").encode(x="zero:Q"),
        base.mark_rule(style="interval", yOffset=8).encode(x=alt.X("low:Q"), x2="high:Q"),
        base.mark_point(style="difference", yOffset=8).encode(x=x, shape=shape.legend(None), tooltip=tooltip),
        base.mark_text(style="row_name", yOffset=-10).encode(x=alt.value(0), text="name:N"),
    ]
    return _spec(alt.layer(*layers), height=46 * len(rows))


def losses(candidate: Candidate) -> Spec | None:
    """Draw the losses of each pass, epoch 0 being the probe; None where there was none."""
    rows = [
        {"epoch": one.number, "loss": loss, "of": of, "is_best": one.number == candidate.training.best_epoch}
        for one in candidate.training.history
        for of, loss in (("training", one.train_loss), ("validation", one.validation_loss))
        if loss is not None
    ]
    return _passes(rows, "loss", "log loss", ".3f", candidate) if rows else None


def accuracies(candidate: Candidate) -> Spec | None:
    """Draw the accuracy on validation after each pass; None where there was none."""
    rows = [
        {
            "epoch": one.number,
            "accuracy": one.validation_accuracy,
            "of": "validation",
            "is_best": one.number == candidate.training.best_epoch,
        }
        for one in candidate.training.history
    ]
    return _passes(rows, "accuracy", "accuracy on validation", ".1%", candidate) if rows else None


def _passes(rows: list[Row], field: str, title: str, written: str, candidate: Candidate) -> Spec:
    import altair as alt

    ticks = [one.number for one in candidate.training.history]
    x = (
        alt.X("epoch:Q")
        .title("pass over the training photos")
        .axis(values=ticks, format="d", grid=False)
        .scale(domain=[0, max(1, *ticks)], nice=False, padding=14)
    )
    y = alt.Y(f"{field}:Q").title(title).scale(zero=False)
    if written.endswith("%"):
        y = y.axis(format="~%")
    base = _chart(rows).encode(
        x=x,
        y=y,
        color=alt.Color("of:N").legend(None).scale(domain=["validation", "training"]),
        tooltip=_tooltips(("of", "of", None), ("pass", "epoch", None), (title, field, written)),
    )
    best = base.transform_filter("datum.is_best && datum.of == 'validation'")
    layers = [
        base.mark_line(style="pass"),
        base.mark_point(style="pass_point"),
        best.mark_point(style="ring"),
    ]
    return _spec(alt.layer(*layers), height=200)


def reliability(test: Measured) -> Spec | None:
    """Draw how often each level of confidence was right, beside the diagonal; None without a bin."""
    import altair as alt

    rows = [
        {"confidence": one.confidence, "accuracy": one.accuracy, "n_images": one.n_images}
        for one in test.reliability.bins
        if one.confidence is not None
    ]
    if not rows:
        return None
    scale, axis = alt.Scale(domain=[0, 1]), alt.Axis(format="~%", tickCount=5)
    x = alt.X("confidence:Q").title("mean confidence").scale(scale).axis(axis)
    y = alt.Y("accuracy:Q").title("part that is right").scale(scale).axis(axis)
    tooltip = _tooltips(
        ("confidence", "confidence", ".1%"), ("right", "accuracy", ".1%"), ("photos", "n_images", ",")
    )
    size = alt.Size("n_images:Q").legend(None).scale(type="sqrt", range=[30, 420], domainMin=0)
    base = _chart(rows).encode(x=x, y=y)
    diagonal = _chart([{"confidence": 0, "accuracy": 0}, {"confidence": 1, "accuracy": 1}])
    layers = [
        diagonal.mark_line(style="diagonal").encode(x=x, y=y),
        base.mark_rule(style="gap").encode(y2="confidence:Q"),
        base.mark_point(style="measured").encode(size=size, tooltip=tooltip),
    ]
    return _spec(alt.layer(*layers), height=280)


def risk(test: Measured) -> Spec | None:
    """Draw the part that is wrong among the photos that are answered, the surest first; None without one."""
    import altair as alt

    rows = [_risk_row(one) for one in test.risk_curve if one.risk is not None]
    if not rows:
        return None
    x = alt.X("coverage:Q").title("part of the photos answered").axis(format="~%", tickCount=5)
    x = x.scale(domain=[0, 1])
    y = alt.Y("risk:Q").title("wrong among them").axis(format="~%", tickCount=5).scale(domainMin=0)
    tooltip = _tooltips(
        ("answered", "n_accepted", ","), ("wrong", "n_wrong", ","), ("wrong among them", "risk", ".1%")
    ) + _interval_tooltips("low", "high")
    base = _chart(rows).encode(x=x)
    layers: list[alt.Chart | alt.LayerChart] = [
        base.mark_area(style="band").encode(y=alt.Y("low:Q"), y2="high:Q"),
        base.mark_line(style="curve").encode(y=y),
        base.mark_point(style="curve_point").encode(y=y, tooltip=tooltip),
    ]
    if test.selection and test.selection.risk is not None:
        chosen = _chart([_risk_row(test.selection)]).encode(x=x, y=y)
        layers.append(chosen.mark_point(style="ring").encode(tooltip=tooltip))
    return _spec(alt.layer(*layers), height=280)


def _risk_row(one: Selection) -> Row:
    interval = one.risk_interval
    return {
        "coverage": one.coverage,
        "risk": one.risk,
        "n_accepted": one.n_accepted,
        "n_wrong": one.n_wrong,
        "low": interval.low if interval else one.risk,
        "high": interval.high if interval else one.risk,
    }


def recalls(test: Measured) -> Spec | None:
    """Draw each class's recall with its interval, the least first; None where no class has an interval."""
    import altair as alt

    rows = [
        {
            "name": one.name,
            "recall": one.recall,
            "low": interval.low,
            "high": interval.high,
            "n": one.n_images,
        }
        for one, interval in zip(test.per_class, test.recall_intervals, strict=False)
        if interval
    ]
    if not rows:
        return None
    order = [str(row["name"]) for row in sorted(rows, key=lambda row: (row["recall"], row["low"]))]
    y = alt.Y("name:N").title(None).sort(order).axis(labelLimit=130, ticks=False, domain=False)
    x = alt.X("recall:Q").title("recall").axis(format="~%", tickCount=5, orient="top")
    base = _chart(rows).encode(y=y)
    tooltip = _tooltips(
        ("class", "name", None), ("recall", "recall", ".1%"), ("photos", "n", ",")
    ) + _interval_tooltips("low", "high")
    layers = [
        base.mark_rule(style="interval").encode(x=alt.X("low:Q").scale(domain=[0, 1]), x2="high:Q"),
        base.mark_point(style="measured").encode(x=x.scale(domain=[0, 1]), tooltip=tooltip),
    ]
    return _spec(alt.layer(*layers), height=24 * len(rows))


def learning(curve: LearningCurve) -> Spec | None:
    """Draw accuracy with growing parts of the photos, the fitted law and its band; None without a point."""
    import altair as alt

    if not curve.points:
        return None
    points = _with_intervals(curve.points)
    ahead = _with_intervals((*curve.fitted, curve.doubled))
    ticks = [row["n"] for row in points] + [curve.doubled.n_photos]
    x = (
        alt.X("n:Q")
        .title("training photos")
        .scale(type="log", nice=False, padding=10)
        .axis(values=ticks, format=",", labelOverlap="greedy", grid=False)
    )
    y = alt.Y("accuracy:Q").title("accuracy on validation").axis(format="~%").scale(zero=False)
    tooltip = _tooltips(("training photos", "n", ","), ("accuracy", "accuracy", ".1%")) + _interval_tooltips(
        "low", "high"
    )
    doubled = _chart(ahead[-1:]).encode(x=x, y=y, tooltip=tooltip)
    measured = _chart(points).encode(x=x, y=y, tooltip=tooltip)
    band = _chart(ahead).encode(x=x, y=alt.Y("low:Q").scale(zero=False), y2="high:Q")
    layers = [
        band.mark_area(style="band"),
        _chart(_law(curve)).mark_line(style="curve").encode(x=x, y=y),
        measured.mark_rule(style="interval").encode(y="low:Q", y2="high:Q"),
        measured.mark_point(style="measured"),
        doubled.mark_point(style="expected"),
    ]
    return _spec(alt.layer(*layers), height=300)


def _with_intervals(measured: Sequence[Point | Prediction]) -> list[Row]:
    return [
        {"n": one.n_photos, "accuracy": one.accuracy, "low": one.interval.low, "high": one.interval.high}
        for one in measured
    ]


def _law(curve: LearningCurve) -> list[Row]:
    """Return the fitted law at sizes evenly spaced on a logarithmic axis."""
    sizes, law = np.geomspace(curve.points[0].n_photos, curve.doubled.n_photos, CURVE_POINTS), curve.law
    accuracies = 1 - law.floor - law.scale * sizes**-law.exponent
    return [{"n": n, "accuracy": one} for n, one in zip(sizes.tolist(), accuracies.tolist(), strict=True)]


def photo_map() -> Spec:
    """Draw the map of the photos; the page fills its data, "spots", and sets its parameters.

    A spot has `across` and `up` from 0 to 1, `label`, `colour` (its class, or `OTHERS`), `is_wrong`, `key`.
    """
    import altair as alt

    chosen, shown = alt.param(name="chosen", value=""), alt.param(name="shown", value=-1)
    frame = alt.selection_interval(name="frame", bind="scales", zoom="wheel![event.ctrlKey || event.metaKey]")
    axis = alt.Axis(grid=False, labels=False, ticks=False, domain=False)
    x = alt.X("across:Q").title(None).axis(axis).scale(domain=[-0.03, 1.03], nice=False)
    y = alt.Y("up:Q").title(None).axis(axis).scale(domain=[-0.03, 1.03], nice=False)
    base = alt.Chart({"name": "spots"}).encode(x=x, y=y)
    is_faint = "chosen != '' && datum.label != chosen"
    opacity = alt.when(is_faint).then(alt.value(0.1)).otherwise(alt.value(0.85))
    colour = alt.Color("colour:N").legend(None).sort(None)
    layers = [
        base.mark_point(style="spot").encode(color=colour, opacity=opacity).add_params(frame),
        base.transform_filter("datum.is_wrong").mark_point(style="mistake").encode(opacity=opacity),
        base.transform_filter("datum.key == shown").mark_point(style="looked_at"),
    ]
    return _spec(alt.layer(*layers).add_params(chosen, shown), height=520)


def said(candidate: Candidate) -> str:
    """Return the name that a candidate has in charts."""
    return f"{candidate.backbone} · {candidate.technique}"


def _chart(rows: Sequence[Row]) -> "alt.Chart":
    import altair as alt

    return alt.Chart({"values": list(rows)})


def _tooltips(*fields: tuple[str, str, str | None]) -> "list[alt.Tooltip]":
    import altair as alt

    return [
        alt.Tooltip(field=field, type="nominal" if written is None else "quantitative", title=title)
        if written is None
        else alt.Tooltip(field=field, type="quantitative", title=title, format=written)
        for title, field, written in fields
    ]


def _interval_tooltips(low: str, high: str, written: str = ".1%") -> "list[alt.Tooltip]":
    return _tooltips(("95% interval from", low, written), ("to", high, written))


def _spec(chart: "alt.LayerChart | alt.FacetChart", *, height: int) -> Spec:
    """Return a chart as wide as its place on the page, with its data in it and no style of Altair's.

    It is not held against Vega-Lite's schema, which takes longer than all else of it: the tests do that.
    """
    import altair as alt

    fitted = alt.AutoSizeParams(type="fit-x", contains="padding")
    spec: Spec = chart.properties(width="container", height=height, autosize=fitted).to_dict(validate=False)
    del spec["config"]
    return spec
