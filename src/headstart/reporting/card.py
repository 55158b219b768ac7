"""The run folder -> README.md, a model card as Hugging Face's hub reads it: facts in YAML, then in words.

The template beside this module says what stands where. Every text that it is given is escaped for Markdown,
because class names and paths are the user's own and may hold anything.
"""

import csv
import functools
import hashlib
import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

from headstart.base import filenames
from headstart.base.records import write_bytes
from headstart.base.settings import TECHNIQUE_WORDS
from headstart.base.words import first_few, in_a_list, in_words
from headstart.networks import backbones
from headstart.networks.table import Backbone, WheelFile, alone
from headstart.photos.findings import KINDS
from headstart.photos.splits import PARTS
from headstart.results import exports
from headstart.results.comparison import Candidate, FindingSummary, Measured, Results
from headstart.results.run import Run
from headstart.sources import places
from headstart.statistics.metrics import PerClass
from headstart.statistics.significance import Interval
from headstart.training import recipe

if TYPE_CHECKING:
    from jinja2 import Template

TEMPLATE = "card.md.j2"

HUB_LICENCES = {
    "Apache-2.0": "apache-2.0",
    "BSD-3-Clause": "bsd-3-clause",
    "CC-BY-4.0": "cc-by-4.0",
    "MIT": "mit",
}
"""What the hub calls the licences of the table of backbones
(https://huggingface.co/docs/hub/repositories-licenses)."""

STANDING = {"better": "better", "worse": "worse", "unclear": "not told apart"}
"""How the card writes a decision."""

FEW = 30
"""Test photos of a class below which its own figures are called rough: with 30, the interval of a recall of
90% is 23 points wide."""

SHOWN = 3
"""Findings of a kind that are told in full."""

JOINERS = "\u200c\u200d"
"""Not printable by themselves, and without them some scripts and emoji fall apart."""

NAMED = 10
"""Class names that a sentence holds at most."""


@dataclass(frozen=True)
class ClassRow:
    """A class: its photos by part, and how the model did on those of the test part."""

    scores: PerClass
    recall_interval: Interval | None
    n_train: int
    n_validation: int
    n_test: int


@dataclass(frozen=True)
class FindingGroup:
    """The findings of one kind: how many there are, and the first of them."""

    title: str
    n_findings: int
    shown: tuple[FindingSummary, ...]


def write(folder: Path) -> Path:
    """Write the model card of a finished run into its folder, and return the file.

    Raises:
        RunError: The folder holds no finished run, or one of another version of Headstart.
        DiskFull: No space is left.
    """
    path = folder / filenames.CARD
    write_bytes(path, render(folder).encode())
    return path


def render(folder: Path) -> str:
    """Return the model card of a finished run, from nothing but what is in its folder.

    Raises:
        RunError: The folder holds no finished run, or one of another version of Headstart.
    """
    run = Run(folder)
    results = run.results()
    best = results.chosen
    if best.test is None:
        raise ValueError(f"{best.name} was not measured on test")
    row = backbones.find(best.backbone)
    return _template().render(
        results=results,
        data=data_name(str(results.settings["data"])),
        decisions={one.a: one.decision for one in results.comparisons},
        classes=class_rows(results, best.test, folder / filenames.SPLIT),
        few=[one.name for one in best.test.per_class if one.n_images < FEW],
        few_photos=FEW,
        findings=finding_groups(results.findings),
        row=row,
        rows=alone([row]),
        networks=in_a_list([one.name for one in alone([row])]),
        sources={one.name: weights_source(one) for one in alone([row])},
        licence=HUB_LICENCES.get(row.licence, "other"),
        runtime="keras" if (run.model / filenames.KERAS_MODEL).is_file() else "openvino",
        checksums=checksums(folder, (filenames.MODEL,)),
        has_report=(folder / filenames.REPORT).is_file(),
        recipe=recipe,
        exported=exports.read(folder / filenames.EXPORTS_TABLE),
    )


def data_name(data: str) -> str:
    """Return what the photos are called, without the folders that lead to them.

    Example:
        >>> data_name("/home/ann/photos"), data_name("/home/ann/labels.csv"), data_name("sample:textile")
        ('photos', 'labels', 'textile')
    """
    path = PurePath(places.name_of(data))
    return path.stem if path.suffix.lower() in (".csv", ".tsv") else path.name


def weights_source(row: Backbone) -> str:
    """Return where the pretrained weights of a backbone come from, a part of a sentence."""
    weights = row.weights
    if weights is None:
        return row.top1_source
    if isinstance(weights, WheelFile):
        return f"{PurePath(weights.member).name} of the package {weights.package} {weights.version}"
    return weights.url


def class_rows(results: Results, test: Measured, split: Path) -> list[ClassRow]:
    """Return a row for each class, in the order of the class names."""
    with split.open(encoding="utf-8", newline="") as stream:
        counts = Counter((row["label"], row["part"]) for row in csv.DictReader(stream))
    return [
        ClassRow(scores, interval, *(counts[name, part] for part in PARTS))
        for name, scores, interval in zip(
            results.dataset.class_names, test.per_class, test.recall_intervals, strict=True
        )
    ]


def finding_groups(findings: Sequence[FindingSummary]) -> list[FindingGroup]:
    """Return the findings kind by kind, gravest first."""
    groups = []
    for kind, title in KINDS.items():
        same = tuple(one for one in findings if one.kind == kind)
        if same:
            groups.append(FindingGroup(title, len(same), same[:SHOWN]))
    return groups


def checksums(folder: Path, names: Sequence[str]) -> dict[str, str]:
    """Return the sha256 of each file in these folders of a run, as far as they are there, by path."""
    found = (file for name in names for file in sorted((folder / name).rglob("*")))
    files = [file for file in found if file.is_file()]
    return {
        file.relative_to(folder).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest() for file in files
    }


def escape(value: str) -> str:
    r"""Return text that Markdown shows as it is, on one line and in a cell of a table too.

    What a backslash escapes: https://spec.commonmark.org/0.31.2/#backslash-escapes. An underscore between
    letters means nothing there and stays.

    Example:
        >>> print(escape("<b>|*a_b*\n`_c_`"))
        &lt;b&gt;\|\*a_b\* \`\_c\_\`
    """
    line = "".join(c for c in " ".join(value.split()) if c.isprintable() or c in JOINERS)
    line = line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"[\\`*\[\]|~#$]|(?<![^\W_])_|_(?![^\W_])", r"\\\g<0>", line)


def yaml(value: str | float | Sequence[str]) -> str:
    r"""Return a value as YAML, on one line: as JSON, which YAML holds, but for two things.

    PyYAML refuses some characters that JSON leaves as they are, and takes 5e-05 for a text.

    Example:
        >>> print(yaml(["a: b", "\x85"]), yaml(5e-05), yaml(0.25))
        ["a: b", "\u0085"] 5.0e-05 0.25
    """
    text = json.dumps(value, ensure_ascii=False)
    if isinstance(value, float):
        return text if "." in text else text.replace("e", ".0e")
    return "".join(c if c.isprintable() or c > "\uffff" else f"\\u{ord(c):04x}" for c in text)


@functools.cache
def _template() -> "Template":
    """Return the card's template, compiled once for all cards that a process writes."""
    import jinja2
    from markupsafe import Markup

    def written(value: object) -> object:
        """Escape every text that the template does not give out as it is."""
        return escape(value) if isinstance(value, str) and not isinstance(value, Markup) else value

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=False,  # that is for HTML; `finalize` escapes for Markdown
        finalize=written,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "yaml": lambda value: Markup(yaml(value)),
        "percent": _percent,
        "interval": _interval,
        "number": lambda value: f"{value:,}",
        "several": lambda names: first_few(names, NAMED),
        "candidate": _candidate,
        "standing": STANDING.__getitem__,
        "technique": TECHNIQUE_WORDS.__getitem__,
        "in_words": in_words,
    }
    return environment.get_template(TEMPLATE)


def _percent(part: float) -> str:
    return f"{part:.1%}"


def _interval(interval: Interval | None) -> str:
    """Return the ends of an interval in per cent; "" where there is none."""
    return f"{100 * interval.low:.1f}–{interval.high:.1%}" if interval else ""


def _candidate(one: Candidate) -> str:
    return f"{one.backbone}, {TECHNIQUE_WORDS[one.technique]}"
