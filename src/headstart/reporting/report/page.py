"""The page: words from templates, figures from results, scripts and styles that no other page can change."""

from __future__ import annotations

import base64
import functools
import hashlib
import importlib.metadata
import json
import shlex
import subprocess
import sys
from collections.abc import Iterable
from importlib import resources
from typing import TYPE_CHECKING, Any

from headstart.base.progress import Progress
from headstart.photos.findings import KINDS
from headstart.reporting.report import charts
from headstart.reporting.report.contents import Contents
from headstart.reporting.report.figures import NOTHING, Figures
from headstart.reporting.report.glossary import TERMS
from headstart.reporting.report.photos import Photos, cells, coloured, side_by_side, spots
from headstart.results.comparison import Candidate
from headstart.results.gallery import GROUPS, IN_A_GROUP
from headstart.storage.store import Store

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

MAX_BYTES = 6_000_000
"""A page is never longer for its thumbnails; without any, it may be."""

EXPORTED = "window.vegaEmbed = vegaEmbed;"

BUNDLING = """import sys, vl_convert
sys.stdout.buffer.write(vl_convert.javascript_bundle(sys.argv[1]).encode())"""
"""What another Python is told to do, which writes the script that exports what it is given."""

MISTAKES, LEAST_SURE, SUSPECTS, FINDINGS, SETTLED = 21, 14, 28, 60, 3
"""Photos of a kind, and findings, that are shown at most; findings of a kind that are seen at once."""


def write(contents: Contents) -> str:
    """Return the page as HTML."""
    environment, photos = _environment(), Photos(contents.gallery)
    context = _context(contents, photos)
    body = environment.get_template("body.html.j2").render(context)
    parts = {
        "title": context["title"],
        "body": _safe(body),
        "style": _safe(_asset("style.css")),
        "bundle": _safe(bundle()),
        "script": _safe(_asset("page.js")),
        "policy": policy([bundle(), _asset("page.js")], _asset("style.css")),
        "charts": to_script(context["charts"]),
        "facts": to_script(_facts(contents, photos)),
    }
    page = environment.get_template("page.html.j2")
    room = MAX_BYTES - len(page.render(parts, thumbnails="").encode(errors="replace"))
    return page.render(parts, thumbnails=to_script(photos.thumbnails(room)))


def policy(scripts: Iterable[str], style: str) -> str:
    """Return a Content-Security-Policy: these scripts and this style alone, pictures in the page, no network.

    A script is known by its SHA-256 (https://www.w3.org/TR/CSP3/#script-src).
    """
    known = " ".join(_digest(one) for one in scripts)
    return (
        f"default-src 'none'; script-src {known}; style-src {_digest(style)}; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def _digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def to_script(value: object) -> Markup:
    r"""Return JSON that may stand in a script element: no text of it can end the element or open another.

    Example:
        >>> print(to_script({"name": "</script><!--"}))
        {"name":"\u003c/script\u003e\u003c!--"}
    """
    written = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for letter in "<>&\u2028\u2029":
        written = written.replace(letter, f"\\u{ord(letter):04x}")
    return _safe(written)


def _safe(text: str) -> Markup:
    from markupsafe import Markup

    return Markup(text)


@functools.cache
def bundle() -> str:
    """Return Vega, Vega-Lite and Vega-Embed, whose expression interpreter needs no eval, as one script.

    To put it together takes over a second, so it is kept; all the while vl-convert holds Python's lock, so
    it is done in another process, and a thread may wait for it.
    """
    version = importlib.metadata.version("vl-convert-python")
    key = hashlib.sha256(f"scripts {version} {EXPORTED}".encode()).digest()
    with Store(Progress()) as store:
        kept = store.get([key])
        if kept:
            return kept[key].decode()
        # -P: modules in the user's folder are none of ours.
        asked = [sys.executable, "-P", "-c", BUNDLING, EXPORTED]
        script = subprocess.run(asked, check=True, stdout=subprocess.PIPE).stdout.decode()
        script = script.replace("</script", "<\\/script").replace("<!--", "<\\!--")
        store.put([(key, script.encode())], "reports")
    return script


@functools.cache
def _asset(name: str) -> str:
    return (resources.files("headstart.reporting.report") / name).read_text(encoding="utf-8")


@functools.cache
def _environment() -> Environment:
    """Return what has the templates, compiled once for all pages that a process draws."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("headstart.reporting.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=["jinja2.ext.do"],
    )
    environment.filters["quoted"] = shlex.quote
    environment.filters["coded"] = _coded
    return environment


def _context(contents: Contents, photos: Photos) -> dict[str, Any]:
    """Return what the templates may name."""
    results = contents.results
    exported = contents.exports.exports if contents.exports else ()
    figures = Figures(results)
    name = str(results.settings.get("data", contents.name)).rstrip("/").rsplit("/", 1)[-1]
    return {
        "title": f"{name.removeprefix('sample:')}: which backbone?",
        "name": name.removeprefix("sample:"),
        "run": contents.name,
        "results": results,
        "chosen": results.chosen,
        "position": {one.name: number for number, one in enumerate(results.candidates)},
        "decisions": {one.a: number for number, one in enumerate(results.comparisons)},
        "figures": figures,
        "charts": _charts(contents),
        "photos": photos,
        "gallery": contents.gallery,
        "exported": list(zip(charts.LETTERS, exported, strict=False)),
        "suspects": contents.suspects[:SUSPECTS],
        "n_suspects": len(contents.suspects),
        "quarantine": contents.quarantine,
        "mistakes": _rows_of(contents, results.chosen, "confident_mistakes", MISTAKES),
        "least_sure": _rows_of(contents, results.chosen, "least_sure", LEAST_SURE),
        "side_by_side": side_by_side(results),
        "kinds": KINDS,
        "coloured": coloured(contents.gallery.spots) if contents.gallery else (),
        "others": charts.OTHERS,
        "terms": TERMS,
        "nothing": NOTHING,
        "limits": {"groups": GROUPS, "in_a_group": IN_A_GROUP, "findings": FINDINGS, "settled": SETTLED},
        "webp": _webp,
    }


def _rows_of(contents: Contents, candidate: Candidate, which: str, limit: int) -> list[dict[str, Any]]:
    """Return what some photos were taken for by a candidate: "confident_mistakes" or "least_sure"."""
    predicted = contents.predictions.get(candidate.name)
    if predicted is None:
        return []
    return [
        {
            "path": predicted.paths[row],
            "label": predicted.class_names[predicted.labels[row]],
            "predicted": predicted.class_names[predicted.predicted[row]],
            "confidence": float(predicted.confidence[row]),
        }
        for row in getattr(predicted, which)(limit)
    ]


def _charts(contents: Contents) -> dict[str, charts.Spec]:
    """Return the charts that there is something to draw for, by the name of their place on the page."""
    results = contents.results
    exported = contents.exports.exports if contents.exports else ()
    drawn: dict[str, charts.Spec | None] = {
        "latency": charts.costs(results, "latency_ms", "milliseconds a photo", exported),
        "size": charts.costs(results, "size_mb", "MB on disk", exported),
        "differences": charts.differences(results),
        "learning": charts.learning(results.learning_curve),
        "map": charts.photo_map() if contents.gallery and contents.gallery.spots else None,
    }
    for number, one in enumerate(results.candidates):
        drawn |= {f"losses-{number}": charts.losses(one), f"accuracies-{number}": charts.accuracies(one)}
        if one.test:
            drawn |= {
                f"reliability-{number}": charts.reliability(one.test),
                f"risk-{number}": charts.risk(one.test),
                f"recalls-{number}": charts.recalls(one.test),
            }
    return {name: spec for name, spec in drawn.items() if spec}


def _facts(contents: Contents, photos: Photos) -> dict[str, Any]:
    """Return what the script fills in: the paths of photos, confusion matrices, and the map."""
    results, gallery = contents.results, contents.gallery
    names = results.dataset.class_names
    matrices = [cells(one, contents.predictions.get(one.name), photos) for one in results.candidates]
    placed = spots(gallery, names, photos) if gallery else []
    return {
        "classes": names,
        "candidates": [charts.said(one) for one in results.candidates],
        "cells": matrices,
        "spots": placed,
        "coloured": coloured(gallery.spots) if gallery else (),
        "others": charts.OTHERS,
        "paths": list(photos.keys),
    }


def _coded(sentence: str) -> Markup:
    """Return a sentence whose `words` in backticks are set as code; all else in it is escaped."""
    from markupsafe import Markup, escape

    pieces = [escape(piece) for piece in sentence.split("`")]
    if len(pieces) % 2 == 0:
        return escape(sentence)
    pieces[1::2] = [Markup("<code>{}</code>").format(piece) for piece in pieces[1::2]]
    return Markup("").join(pieces)


def _webp(picture: bytes) -> str:
    return f"data:image/webp;base64,{base64.b64encode(picture).decode()}"
