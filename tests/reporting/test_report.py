"""The report of a run: what it says is what results.json says, it is whole, and no name can do it harm."""

import base64
import hashlib
import itertools
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Finished, made_baseline

from headstart.base import filenames, records
from headstart.base.errors import RunError
from headstart.reporting import projection, report
from headstart.reporting.report import page
from headstart.reporting.report.figures import Figures
from headstart.reporting.report.photos import CELL, Photos
from headstart.results import predictions, verdict
from headstart.results.comparison import (
    SCHEMA_VERSION,
    Alternative,
    Candidate,
    DatasetSummary,
    Effect,
    Epoch,
    FindingSummary,
    Recommendation,
    Repeat,
    Results,
    Training,
    WithoutLeaks,
    measured,
)
from headstart.results.cost import Forecast
from headstart.results.curve import ClassCurve, LearningCurve, MorePhotos, Point, PowerLaw, Prediction
from headstart.results.gallery import (
    EXPLAINED_BYTES,
    THUMBNAIL_BYTES,
    Explained,
    Gallery,
    Picture,
    Spot,
    thumbnail,
)
from headstart.results.suspect import Expectation, Suspect
from headstart.statistics import calibration, metrics, significance
from headstart.statistics.significance import Interval

HOSTILE = "<script>alert(1)</script>"
HOSTILE_PATH = """dogs/it's "a" </script><img src=x onerror=alert(2)> & <!-- ünï.jpg"""
CLASSES = (HOSTILE, "cat & dog", "ü")

SECTIONS = [
    "verdict",
    "cost",
    "candidates",
    "photos",
    "reasons",
    "map",
    "more",
    "checks",
    "spent",
    "repeat",
    "glossary",
]


def answers(n: int, class_names: Sequence[str], seed: int, paths: Sequence[str]) -> predictions.Predictions:
    """Answers of a classifier that is right on about 4 of 5 photos."""
    random = np.random.default_rng(seed)
    labels = (np.arange(n) % len(class_names)).astype(np.int32)
    logits = random.normal(size=(n, len(class_names)))
    logits[np.arange(n), labels] += 2.5
    # To 6 decimals, as they stand in predictions.csv, so that a confidence is the same on both sides.
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return predictions.Predictions(
        "", "", tuple(class_names), tuple(paths), labels, probabilities.round(6).astype(np.float32)
    )


def candidate(backbone: str, technique: str, asked: predictions.Predictions) -> Candidate:
    """A candidate with these answers on test; its other figures are made up, its evaluation is not."""
    probabilities, labels = asked.probabilities, asked.labels
    confidence, correct = asked.confidence, asked.predicted == labels
    novelty = np.linspace(0, 1, len(labels), dtype=np.float32)
    found = calibration.calibrate(probabilities, labels, max_error=0.3, coverage=0.9, novelty=novelty)
    assert found.refusal
    scores = metrics.evaluate(labels, probabilities, asked.class_names)
    is_tuned = technique == "finetune"
    return Candidate(
        backbone=backbone,
        technique=technique,
        validation=scores,
        test=measured(
            scores,
            significance.intervals(labels, probabilities),
            reliability=calibration.reliability(probabilities, labels),
            selection=calibration.select(confidence, correct, found.abstention.threshold)
            if found.abstention
            else None,
            risk_curve=calibration.risk_curve(confidence, correct),
            sets=calibration.measure(found.conformal.sets(probabilities), labels),
            refused=calibration.refused(novelty, found.refusal.threshold - 0.05),
            without_leaks=WithoutLeaks(60, 0.75, Interval(0.63, 0.84, 0.95)),
        ),
        calibration=found,
        seconds={"features": 4.25, "probe": 1.5} | ({"finetune": 61.25} if is_tuned else {}),
        parameters=2_270_794,
        size_mb=8.878568 + 3 * is_tuned,
        latency_ms=3.21 + is_tuned,
        training=Training(
            image_size_px=224,
            l2=0.01,
            trained_layers=25,
            operations=("mirror",),
            effects=(Effect("mirror", 0.5, 0.52), Effect("zoom", 0.5, 0.9)),
            history=(Epoch(0, None, 0.6, 0.8), Epoch(1, 0.5, 0.55, 0.82), Epoch(2, 0.4, 0.5, 0.85)),
            best_epoch=2,
        )
        if is_tuned
        else Training(224, 0.01),
        repeats=(Repeat(0, 0.81, 0.79), Repeat(1, 0.83, 0.84), Repeat(2, 0.82, 0.8)) if is_tuned else (),
    )


def learning_curve(class_names: Sequence[str]) -> LearningCurve:
    around = Interval(0.7, 0.9, 0.95)
    law = PowerLaw(0.1, 2.0, 0.5)

    def expected(n: int) -> Prediction:
        return Prediction(n, 1 - law.floor - law.scale * n**-law.exponent, around)

    return LearningCurve(
        n_evaluated=60,
        points=tuple(Point(n, 0.9 - 2 * n**-0.5, around, 4) for n in (50, 100, 500)),
        law=law,
        fitted=tuple(expected(n) for n in (50, 100, 500)),
        doubled=expected(1000),
        more=MorePhotos(0.01, 187, 91, 524),
        per_class=tuple(
            ClassCurve(name, 166, 20, (0.5, None, 0.8), MorePhotos(0.01, None, None, None, "it takes more"))
            for name in class_names
        ),
    )


def decided(candidates: Sequence[Candidate]) -> Recommendation:
    """The first is recommended; each other one costs a little less, and may be 3 points worse."""
    first, *others = candidates
    alternatives = tuple(
        Alternative(one.backbone, one.technique, 500, -0.01, -0.03, 0.9, 0.8) for one in others
    )
    return Recommendation(
        first.backbone, first.technique, first.name, 0.01, 0.95, "It was the best.", alternatives
    )


def made_run(
    folder: Path,
    class_names: Sequence[str] = CLASSES,
    n_candidates: int = 3,
    n_test: int = 90,
    paths: Sequence[str] = (),
) -> Results:
    """Write a run folder without a gallery: the figures of a run that never was, but that fit together."""
    paths = paths or (HOSTILE_PATH, *(f"test/{number:03}.jpg" for number in range(1, n_test)))
    names = [
        (f"backbone_{number // 2}", ("finetune", "features")[number % 2]) for number in range(n_candidates)
    ]
    asked = [answers(n_test, class_names, seed, paths) for seed in range(n_candidates)]
    first = candidate(*names[0], asked[0])
    # Bootstrap takes seconds of 5,000 photos; who asks for many gets the figures of the first for all.
    candidates = [first] + [
        candidate(*name, one) if n_test < 1000 else replace(first, backbone=name[0], technique=name[1])
        for name, one in zip(names[1:], asked[1:], strict=True)
    ]
    right = {
        f"{backbone}/{technique}": one.predicted == one.labels
        for (backbone, technique), one in zip(names, asked, strict=True)
    }
    comparisons = significance.compare_all(right, "backbone_0/finetune")
    tuned = significance.compare_all(
        {name: right[name] for name in ("backbone_0/finetune", "backbone_0/features")}, "backbone_0/features"
    )
    results = Results(
        schema_version=SCHEMA_VERSION,
        dataset=DatasetSummary(n_test + 560, tuple(class_names), 500, 60, n_test, 1, 0),
        findings=(
            FindingSummary(
                "conflict", f"{HOSTILE_PATH} is also b.jpg.", "Keep one.", (HOSTILE_PATH, "b.jpg")
            ),
            FindingSummary("imbalance", "Class 'a' has 9 photos, 'b' 3.", "Look.", ()),
        ),
        candidates=tuple(candidates),
        recommended=decided(candidates),
        decided_at="2026-11-22T10:00:00+00:00",
        baseline=made_baseline(candidates[0]),
        shift=None,
        comparisons=tuple(comparisons),
        worth=verdict.worth_finetuning(candidates[:2], tuned, 166.7),
        learning_curve=learning_curve(class_names),
        n_suspects=1,
        verdict=(f"Use backbone_0 with finetune on {HOSTILE}.", "It may be wrong."),
        n_folds=0,
        settings={"data": f"/photos/{HOSTILE}", "seed": 0, "check": True, "exclude": [], "budget": None},
        versions={"headstart": "0.1.0", "numpy": "2.4.6"},
        data_sha256="d" * 64,
        weights_sha256={"backbone_0": "e" * 64},
        seed=0,
        seconds=234.5,
        forecast=Forecast(
            {"backbone_0 probe": 1.25}, 200.0, 387.0, 2685.0, 234.5, 2637.0, 900.0, ("x finetune",)
        ),
        suspects_expected=Expectation("backbone_0/features", 560, 0.9, 0.4, 3),
    )
    records.write_json(folder / "results.json", results)
    header = filenames.predictions_columns(class_names)
    records.write_csv(
        folder / filenames.PREDICTIONS,
        header,
        (row for name, one in zip(names, asked, strict=True) for row in prediction_rows(*name, one)),
    )
    suspect = Suspect(HOSTILE_PATH, class_names[0], class_names[1], 0.0123, 0.9876)
    records.write_csv(folder / filenames.SUSPECTS, filenames.SUSPECTS_COLUMNS, [suspect.row()])
    records.write_csv(
        folder / "quarantine.csv", ("path", "reason"), [("broken <b>.jpg", "It ends too soon.")]
    )
    return results


def prediction_rows(
    backbone: str, technique: str, asked: predictions.Predictions
) -> list[tuple[object, ...]]:
    names = asked.class_names
    return [
        (
            *(backbone, technique, path, names[label], names[predicted], f"{row[predicted]:.6f}"),
            *(f"{one:.6f}" for one in row.tolist()),
        )
        for path, label, predicted, row in zip(
            asked.paths, asked.labels, asked.predicted, asked.probabilities, strict=True
        )
    ]


def made_gallery(results: Results, paths: Sequence[str]) -> Gallery:
    """Thumbnails of one colour each, heat maps of no heat, and a map of the first photos on test."""
    picture = thumbnail(np.full((64, 96, 3), (40, 90, 160), np.uint8))
    names = results.dataset.class_names
    spots = tuple(
        Spot(
            path, "test", names[number % len(names)], names[number % 2], (number % 9) / 8, number / len(paths)
        )
        for number, path in enumerate(paths)
    )
    explained = Explained(HOSTILE_PATH, names[0], names[1], 0.5, picture, picture)
    return Gallery(
        pictures=tuple(Picture(path, picture) for path in paths),
        explained=(explained,),
        spots=spots,
        projection="By principal components.",
        backbone="backbone_0",
    )


@dataclass
class Element:
    """One `<data>` of the page."""

    value: str
    at: str
    text: str = ""


@dataclass
class Seen(HTMLParser):
    """What a browser would find on the page."""

    tags: list[tuple[str, dict[str, str | None]]] = field(default_factory=list)
    figures: list[Element] = field(default_factory=list)
    scripts: list[str] = field(default_factory=list)
    text: str = ""
    is_open: str = ""

    def __post_init__(self) -> None:
        super().__init__(convert_charrefs=True)

    def __hash__(self) -> int:
        return id(self)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.tags.append((tag, given))
        if tag == "data":
            self.figures.append(Element(given["value"] or "", given["data-of"] or ""))
        if tag in ("data", "script", "style"):
            self.is_open = tag
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        if tag == self.is_open:
            self.is_open = ""

    def handle_data(self, data: str) -> None:
        if self.is_open == "script":
            self.scripts[-1] += data
        elif self.is_open != "style":
            self.text += data
            if self.is_open == "data":
                self.figures[-1].text += data

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]

    def facts(self, name: str) -> Any:
        """What the page tells its script: "facts", "charts" or "thumbnails"."""
        position = next(n for n, one in enumerate(self.named("script")) if one.get("id") == name)
        return json.loads(self.scripts[position])


def parsed(html: str) -> Seen:
    found = Seen()
    found.feed(html)
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with a class and a photo of hostile names, and a gallery of every second photo."""
    made = tmp_path_factory.mktemp("run with blank")
    results = made_run(made)
    paths = [HOSTILE_PATH, *(f"test/{number:03}.jpg" for number in range(2, 90, 2))]
    records.write_json(made / "gallery.json", made_gallery(results, paths))
    return made


@pytest.fixture(scope="module")
def seen(folder: Path) -> Seen:
    return parsed(report.render(folder))


def looked_up(root: Any, at: str) -> Any:
    """The same as the page's own lookup, written anew: "*" sums up."""
    for name in at.split("."):
        if name == "*":
            return sum(root.values())
        root = root[int(name)] if isinstance(root, list) else root[name]
    return root


def read_back(text: str) -> tuple[float, float]:
    """The number that a text says, and half a unit of its last digit: what rounding may have taken."""
    text = text.replace("−", "-").replace(",", "")
    parts = re.findall(r"(\d+) (h|min|s)", text)
    if parts and text[-1] in "sn":
        units = {"h": 3600, "min": 60, "s": 1}
        last = parts[-1][1]
        return sum(int(n) * units[unit] for n, unit in parts), units[last] / (2 if last == "s" else 1)
    scale = {"%": 0.01, "M": 1e6}.get(text[-1], 1.0)
    digits = text.strip("%M <")
    decimals = len(digits.partition(".")[2])
    return float(digits) * scale, 0.5 * 10**-decimals * scale


def says(element: Element) -> bool:
    """Whether the text of a figure is its value, rounded; an interval's ends say % after both."""
    value, (said, unit) = float(element.value), read_back(element.text)
    slack = unit * (1 + 1e-6)
    return any(abs(value - said * scale) <= slack * scale for scale in (1, 0.01))


def assert_says_what_is_in(html: str, results_json: Path) -> None:
    written, found = json.loads(results_json.read_text()), parsed(html)
    assert found.figures
    for one in found.figures:
        assert float(one.value) == looked_up(written, one.at), one
        assert says(one), one
    told = {one.at for one in found.figures}
    for number, each in enumerate(written["candidates"]):
        for name in ("accuracy", "macro_f1", "log_loss", "balanced_accuracy", "reliability.ece"):
            assert f"candidates.{number}.test.{name}" in told
        for row in range(len(each["test"]["per_class"])):
            assert f"candidates.{number}.test.per_class.{row}.recall" in told
    for number in range(len(written["comparisons"])):
        assert {f"comparisons.{number}.difference", f"comparisons.{number}.interval.low"} <= told


def test_every_figure_is_that_of_results_json(folder: Path, seen: Seen) -> None:
    assert_says_what_is_in(report.render(folder), folder / "results.json")
    assert len(seen.figures) > 300


def test_every_figure_of_a_real_run_is_that_of_its_results_json(finished: Finished) -> None:
    assert_says_what_is_in(report.render(finished.folder), finished.folder / "results.json")


@pytest.mark.parametrize(
    ("text", "value", "unit"),
    [
        ("91.9%", 0.919, 0.0005),
        ("+1.9", 1.9, 0.05),
        ("−0.8", -0.8, 0.05),
        ("3,068", 3068, 0.5),
        ("2.3 M", 2.3e6, 5e4),
        ("1 min 28 s", 88, 0.5),
        ("1 h 30 min", 5400, 60),
        ("< 0.0005", 0.0005, 5e-5),
    ],
)
def test_figures_are_read_back_from_their_words(text: str, value: float, unit: float) -> None:
    assert np.allclose(read_back(text), (value, unit), rtol=1e-9)


def test_a_wrong_figure_would_be_seen() -> None:
    assert says(Element("0.9194", "", "91.9%")) and says(Element("0.0188", "", "+1.9"))
    assert not says(Element("0.9194", "", "91.8%"))
    assert not says(Element("0.0188", "", "−1.9"))
    assert not says(Element("88.2", "", "1 min 29 s"))


def test_below_a_null_there_is_null(folder: Path) -> None:
    results = records.read_json(folder / "results.json", Results)
    unmeasured = replace(results, candidates=(replace(results.candidates[0], test=None),))
    assert Figures(unmeasured).value("candidates.0.test.accuracy") is None
    assert str(Figures(unmeasured).figure("candidates.0.test.accuracy", "percent")) == "—"
    with pytest.raises(KeyError):
        Figures(results).value("candidates.0.test.acuracy")


def test_the_matrices_are_those_of_results_json(folder: Path, seen: Seen) -> None:
    written = json.loads((folder / "results.json").read_text())
    for cells, one in zip(seen.facts("facts")["cells"], written["candidates"], strict=True):
        matrix = [[0] * len(CLASSES) for _ in CLASSES]
        for cell in cells:
            matrix[cell["i"]][cell["j"]] = cell["n"]
        assert matrix == one["test"]["confusion"]


def test_a_cell_lists_its_photos_surest_first(folder: Path, seen: Seen) -> None:
    facts = seen.facts("facts")
    rows = predictions.read(folder, CLASSES)["backbone_0/features"]
    for cell in facts["cells"][1]:
        expected = rows.cell(cell["i"], cell["j"], CELL)
        assert [facts["paths"][key] for key in cell["photos"]] == [rows.paths[row] for row in expected]
        assert cell["sure"] == [round(1000 * float(rows.confidence[row])) for row in expected]
        assert cell["sure"] == sorted(cell["sure"], reverse=True)


def test_sections_and_headings_are_in_order(seen: Seen) -> None:
    assert [one["id"] for one in seen.named("section")] == SECTIONS
    levels = [int(name[1]) for name, _ in seen.tags if re.fullmatch(r"h[1-6]", name)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))


def test_every_section_begins_with_what_to_look_for(folder: Path) -> None:
    html = report.render(folder)
    for section in re.findall(r"<section.*?</section>", html, re.DOTALL):
        assert re.match(r"<section[^>]*>\s*<h2[^>]*>[^<]*</h2>\s*<p class=\"look\">", section), section[:200]


def test_tables_and_landmarks_can_be_told_without_sight(seen: Seen) -> None:
    assert len(seen.named("table")) == len(seen.named("caption")) > 5
    assert all(one.get("scope") in ("col", "row") for one in seen.named("th"))
    assert {"header", "nav", "main", "footer", "dialog"} <= {name for name, _ in seen.tags}
    ids = [one["id"] for _, one in seen.tags if "id" in one]
    assert len(ids) == len(set(ids))
    for _, one in seen.tags:
        for name in ("aria-labelledby", "aria-controls", "aria-describedby", "for"):
            assert one.get(name) is None or one[name] in ids
        if (one.get("href") or "").startswith("#"):
            assert (one["href"] or "")[1:] in ids
    assert all(one.get("aria-label") for _, one in seen.tags if "data-chart" in one)


def test_no_name_becomes_an_element(folder: Path, seen: Seen) -> None:
    html = report.render(folder)
    assert HOSTILE in seen.text
    assert HOSTILE_PATH in seen.facts("facts")["paths"]
    assert "onerror" not in {name for _, one in seen.tags for name in one}
    assert not [one for one in seen.named("img") if not (one["src"] or "").startswith("data:image/webp;")]
    assert html.count("<script") == html.count("</script>") == 5
    for one in ("facts", "charts", "thumbnails"):
        written = re.search(rf'id="{one}">(.*?)</script>', html, re.DOTALL)
        assert written
        assert not set("<>&\u2028\u2029") & set(written[1])


def test_the_policy_lets_nothing_run_but_the_two_scripts(seen: Seen) -> None:
    [policy] = [one["content"] or "" for one in seen.named("meta") if "http-equiv" in one]
    run = [text for text, one in zip(seen.scripts, seen.named("script"), strict=True) if "type" not in one]
    hashes = " ".join(
        f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'" for text in run
    )
    assert f"script-src {hashes};" in policy
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    assert not [one for _, one in seen.tags if "style" in one or any(name.startswith("on") for name in one)]


def test_nothing_is_asked_of_a_network(seen: Seen) -> None:
    asked = {
        one[name]
        for _, one in seen.tags
        for name in ("src", "href", "srcset", "action", "data")
        if name in one
    }
    assert all((address or "").startswith(("#", "data:")) for address in asked)
    assert "url(" not in page._asset("style.css")
    assert "@import" not in page._asset("style.css")


def test_each_thumbnail_stands_once(folder: Path, seen: Seen) -> None:
    gallery = records.read_json(folder / "gallery.json", Gallery)
    paths, thumbnails = seen.facts("facts")["paths"], seen.facts("thumbnails")
    assert len(paths) == len(set(paths))
    assert {paths[int(key)]: base64.b64decode(one) for key, one in thumbnails.items()} == {
        one.path: one.thumbnail for one in gallery.pictures
    }


def test_thumbnails_end_where_there_is_no_more_room() -> None:
    pictures = tuple(Picture(f"{number}.jpg", bytes(300)) for number in range(5))
    photos = Photos(Gallery(pictures, (), (), "", ""))
    for one in ("4.jpg", "1.jpg", "3.jpg", "elsewhere.jpg"):
        photos.key(one)
    assert list(photos.thumbnails(10_000)) == ["1", "2", "0"]
    assert list(photos.thumbnails(900)) == ["1", "2"]
    assert photos.thumbnails(0) == {}


def test_what_is_not_in_the_folder_is_left_out_with_a_sentence(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "results.json").write_bytes((folder / "results.json").read_bytes())
    bare = parsed(report.render(tmp_path))
    assert [one["id"] for one in bare.named("section")] == SECTIONS
    for sentence in (
        "This run holds no thumbnails, so photos are named by their paths.",
        "This run holds no predictions of single photos.",
        "1 label looks wrong, but suspects.csv, which lists them, is not in the run folder.",
        "Every photo could be read.",
        "This run holds no heat maps, so what the network looked at is not shown.",
        "This run holds no map of its photos.",
    ):
        assert sentence in bare.text
    assert bare.facts("thumbnails") == {}
    assert "map" not in bare.facts("charts")


def test_photos_that_went_missing_are_counted(seen: Seen, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "results.json").write_bytes((folder / "results.json").read_bytes())
    gallery = records.read_json(folder / "gallery.json", Gallery)
    records.write_json(tmp_path / "gallery.json", replace(gallery, n_unreadable=1200))
    said = "1,200 of the photos to be shown could no longer be read when this run ended."
    assert said in parsed(report.render(tmp_path)).text
    assert said[5:] not in seen.text


def test_one_candidate_has_none_to_be_compared_with(folder: Path, tmp_path: Path) -> None:
    results = records.read_json(folder / "results.json", Results)
    alone = replace(results, candidates=results.candidates[:1], comparisons=(), worth=())
    records.write_json(tmp_path / "results.json", alone)
    text = parsed(report.render(tmp_path)).text
    assert "With one candidate there is nothing to set against each other." in text
    assert "With one candidate there is no difference to tell." in text
    assert "No backbone was tried with both techniques" in text


def test_the_spread_over_seeds_is_said(seen: Seen) -> None:
    assert re.search(r"79\.0–84\.0%\s+3 seeds", seen.text)
    assert "candidates.0.repeats.1.test_accuracy" in {one.at for one in seen.figures}


def test_the_commands_that_repeat_it_can_be_pasted(seen: Seen, folder: Path) -> None:
    assert f"headstart replay '{folder.name}'" in seen.text
    assert f"headstart compare --config '{folder.name}/config.toml' --out NEW" in seen.text


def test_ten_candidates_on_5000_photos_fit_into_6_mb(tmp_path: Path) -> None:
    paths = [
        f"photos/of/everyday/things/{number % 10}/b8c71b29-9989-4d27-8274-{number:012}.jpg"
        for number in range(6000)
    ]
    results = made_run(tmp_path, [f"class {n}" for n in range(10)], 10, 5000, paths[:5000])
    size = 1700
    random = np.random.default_rng(0)
    gallery = replace(
        made_gallery(results, paths[-projection.MAX_SPOTS :]),
        pictures=tuple(Picture(path, random.bytes(size)) for path in paths[: THUMBNAIL_BYTES // size]),
        explained=tuple(
            Explained(path, "class 0", "class 1", 0.9, random.bytes(size), random.bytes(size))
            for path in paths[: EXPLAINED_BYTES // size // 2]
        ),
    )
    records.write_json(tmp_path / "gallery.json", gallery)
    drawn = report.draw(tmp_path)
    assert drawn == tmp_path / "report.html"
    assert 4_500_000 < drawn.stat().st_size < 6_000_000
    facts = (seen := parsed(drawn.read_text(encoding="utf-8"))).facts("facts")
    kept = [facts["paths"][int(key)] for key in seen.facts("thumbnails")]
    wanted = [one.path for one in gallery.pictures if one.path in set(facts["paths"])]
    # What there is no room for, beside so many candidates, is what the gallery wants least.
    assert kept == wanted[: len(kept)]
    assert len(kept) > 0.9 * len(wanted) > 1000


def test_an_unfinished_folder_has_no_report(tmp_path: Path) -> None:
    with pytest.raises(RunError) as caught:
        report.draw(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path} holds no finished run.\nName a run folder that `headstart compare` finished."
    )


def test_a_damaged_file_is_named(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "results.json").write_bytes((folder / "results.json").read_bytes())
    (tmp_path / "suspects.csv").write_text("path,label,suggested,p_label,p_suggested\na.jpg,cat\n")
    with pytest.raises(RunError) as caught:
        report.render(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path / 'suspects.csv'} has 2 columns in row 2, not 5.\n"
        "It was changed by hand or written by another version; run the command again with a new --out."
    )


def test_words_in_backticks_are_code_and_the_rest_is_escaped() -> None:
    render = page._environment().from_string("{{ text | coded }}").render
    assert render(text="<b> `--max-error 0.03` & `<i>`.") == (
        "&lt;b&gt; <code>--max-error 0.03</code> &amp; <code>&lt;i&gt;</code>."
    )
    assert render(text="one ` alone") == "one ` alone"
