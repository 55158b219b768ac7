"""Write docs/performance.md from benchmarks/results/*.json: no figure on that page is typed by hand.

python benchmarks/page.py
"""

import json
import math
from pathlib import Path
from statistics import mean
from typing import Any

from measured import RESULTS

from headstart.base.words import in_a_list

PAGE = Path(__file__).parents[1] / "docs" / "performance.md"

INTRODUCTION = """\
# Performance

What Headstart costs, and what the same work costs done the plain way. Every figure here was measured by \
`make bench` and is copied from `benchmarks/results/`; ratios come from one run, both sides by turns. \
Times vary from machine to machine and from hour to hour, ratios less so: take those under 1.3 for ties.
"""


def table(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """Return a Markdown table."""
    lines = [header, tuple("---" for _ in header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def article(full: dict[str, Any], timed: dict[str, Any]) -> str:
    """Return the article's recipe beside ours: accuracy of the full run, seconds of the timed one."""
    rows = []
    for name, theirs in full["article"].items():
        ours = timed["headstart"][name]
        rows.append(
            (
                name,
                f"{theirs['test_accuracy']:.1%}, {theirs['test_log_loss']:.3f} ({theirs['epochs']} epochs)",
                f"{ours['test_accuracy']:.1%}, {ours['test_log_loss']:.3f}",
            )
        )
    seconds = [
        ("the article's recipe, 10 and 25 epochs", f"{timed['article_seconds_of_all_epochs']:,.0f}", "")
    ]
    for state, said in (
        ("cold", "Headstart, empty cache: networks converted, features computed"),
        ("graphs_kept", "Headstart, converted networks kept"),
        ("all_kept", "Headstart, the same photos again"),
    ):
        own = timed["headstart"][state]["seconds"]
        seconds.append((said, f"{own:,.1f}", f"{timed['times_faster'][state]:,.0f}"))
    ours = timed["headstart"]
    report, again = ours["report"]["seconds"] - ours["all_kept"]["seconds"], ours["report_again"]["seconds"]
    n_epochs = next(iter(timed["article"].values()))["epochs"]
    return f"""\
## The article's recipe

Frozen backbone in the loop, a dense softmax layer, Adam, batches of 32, early stopping, on 2,500 photos \
of 5 animals, split alike. Test accuracy and log loss:

{table(("backbone", "the article's recipe", "Headstart, features"), rows)}
Seconds for both backbones, from the command to its end; of the article's recipe the training alone, \
timed over {n_epochs} epochs of each:

{table(("", "seconds", "times faster"), seconds)}
Headstart's seconds hold the check of the photos, intervals, calibration and the learning curve, and are \
without the report, which takes {report:.1f} s more; with it, the same photos again take {again:.1f} s.
"""


def extraction(figures: dict[str, Any]) -> str:
    """Return rates of extraction, and its memory."""
    rows = [
        (
            name,
            f"{one['engine_images_per_s']:.0f}",
            f"{one['extraction_images_per_s']:.0f}",
            f"{one['part']:.0%} ({one['part_low']:.0%} to {one['part_high']:.0%})",
        )
        for name, one in figures["rates"].items()
    ]
    few, many = (count for count in figures["memory_mb"] if count != "more")
    memory = figures["memory_mb"]
    return f"""\
## Feature extraction

Images/s of the engine on pixels in memory, and from JPEG files (decoded, resized, inferred and kept):

{table(("backbone", "engine alone", "from files", "part"), rows)}
Most memory: {memory[few]:,.0f} MB for {int(few):,} images, {memory[many]:,.0f} MB for {int(many):,}. \
After one photo of a folder was changed, {figures["computed_after_one_change"]} was computed.
"""


def commands(figures: dict[str, Any]) -> str:
    """Return how long commands take."""
    rows = [
        (f"`headstart {said}`", f"{one['seconds']:.2f}", f"{one['memory_mb']:.0f}")
        for said, one in (
            ("--help", figures["help"]),
            ("backbones", figures["backbones"]),
            ("predict RUN one.jpg", figures["predict"]),
        )
    ]
    return f"## Commands, from a cold start\n\n{table(('', 'seconds', 'MB'), rows)}"


def finetuning(figures: dict[str, Any]) -> str:
    """Return rate and accuracy of fine-tuning on kept and on live activations."""
    rows = []
    for name, one in figures["variants"].items():
        tests = [run["test_accuracy"] for run in one["runs"]]
        rows.append(
            (
                name,
                f"{one['images_per_s']:.0f}",
                f"{one['validation_accuracy']:.1%}",
                f"{one['test_accuracy']:.1%} ({min(tests):.1%} to {max(tests):.1%})",
            )
        )
    return f"""\
## Fine-tuning: the frozen trunk's activations, live or kept

{figures["backbone"]} on 3,068 photos of clothing, default settings (two passes), seeds \
{", ".join(map(str, figures["seeds"]))}; images/s through all passes, the trunk and measuring included:

{table(("activations", "images/s", "validation", "test (least to most)"), rows)}"""


def decisions(figures: dict[str, Any]) -> str:
    """Return what all candidates come to with several seeds, and how often each was recommended."""
    rows = []
    n_seeds = len(figures["seeds"])
    sets = {
        photos if len(runs) == n_seeds else f"{photos}, {len(runs)} of {n_seeds} seeds": runs
        for photos, runs in figures["sets"].items()
    }
    for photos, runs in sets.items():
        for name in runs[0]["candidates"]:
            own = [run["candidates"][name] for run in runs]
            tests = [one["test"] for one in own]
            rows.append(
                (
                    photos,
                    name.replace("/", ", "),
                    f"{mean([one['validation'] for one in own]):.1%}",
                    f"{mean(tests):.1%} ({', '.join(f'{one:.1%}' for one in tests)})",
                    f"{mean([one['log_loss'] for one in own]):.3f}",
                    str(sum(run["recommended"] == name for run in runs)),
                )
            )
    seeds = in_a_list([str(seed) for seed in figures["seeds"]])
    return f"""\
## Features, fine-tuning and means of both, by seed

`headstart compare` by default, seeds {seeds}; a+b by features is two backbones under one head, by \
fine-tuning the mean of two networks. Means over seeds, of test each seed's too:

{table(("photos", "candidate", "validation", "test", "log loss", "recommended"), rows)}
Was fine-tuning worth it? What it changed test accuracy by against features of the same networks, in points, \
by seed, each with its 95% interval; *better* and *worse* are more than chance:

{table(("photos", "networks", "points, by seed", "better", "worse"), worths(sets))}"""


def worths(sets: dict[str, Any]) -> list[tuple[str, ...]]:
    """Return rows of what fine-tuning gained on features, by photos and networks."""
    rows = []
    for photos, runs in sets.items():
        for name in sorted({one["backbone"] for run in runs for one in run["worth"]}):
            own = [one for run in runs for one in run["worth"] if one["backbone"] == name]
            points = [
                f"{100 * one['gain']:+.1f} ({100 * one['interval']['low']:+.1f} to "
                f"{100 * one['interval']['high']:+.1f})"
                for one in own
            ]
            decisions = [one["decision"] for one in own]
            counts = [f"{decisions.count(word)} of {len(own)}" for word in ("better", "worse")]
            rows.append((photos, name, ", ".join(points), *counts))
    return rows


def steps(figures: dict[str, Any]) -> str:
    """Return how fast steps of fine-tuning are, by ways to compute them."""
    ways = list(next(iter(figures["backbones"].values())))
    rows = [
        (
            name,
            f"{own[ways[0]]['steps_per_s']:.1f}",
            f"{own[ways[0]]['part_of_limit']:.0%}",
            *(f"{own[way]['photos_per_s']:.0f}" for way in ways),
        )
        for name, own in figures["backbones"].items()
    ]
    return f"""\
## Fine-tuning: steps

Batches of {figures["batch_size"]}, the layers that are trained by default, on activations that are there. \
*Of the limit*: of the multiply-adds per second of a product of matrices, a step taken for three times the \
forward pass. Photos/s by ways to compute:

{table(("backbone", "steps/s", "of the limit", *ways), rows)}"""


def passes(figures: dict[str, Any]) -> str:
    """Return what more passes of fine-tuning come to on validation."""
    rows = []
    for photos, case in figures["cases"].items():
        for epochs in sorted({one["epochs"] for one in case["runs"]}):
            own = [one for one in case["runs"] if one["epochs"] == epochs]
            accuracies = [one["end"]["accuracy"] for one in own]
            losses = [one["end"]["log_loss"] for one in own]
            rows.append(
                (
                    f"{photos}, {case['backbone']}",
                    str(epochs),
                    f"{mean(accuracies):.1%} ({min(accuracies):.1%} to {max(accuracies):.1%})",
                    f"{mean(losses):.3f}",
                    ", ".join(str(one["seed"]) for one in own),
                )
            )
    return f"""\
## Fine-tuning: more passes

Validation at the end of the last pass, by default settings but for their number, mean over seeds (least to \
most). Clothing has 341 photos there, textile 300: one and a half points and half a point are noise.

{table(("photos", "passes", "accuracy", "log loss", "seeds"), rows)}"""


def plain_loop(figures: dict[str, Any]) -> str:
    """Return fine-tuning beside a plain loop."""
    rows = []
    for name, key in (("a plain loop, 4 passes", "plain"), ("Headstart, default", "headstart")):
        for one in figures[key]:
            ends = ", ".join(f"{end['validation_accuracy']:.1%}" for end in one["passes"])
            rows.append(
                (
                    name,
                    str(one["seed"]),
                    ends,
                    f"{one['test_accuracy']:.1%}, {one['test_log_loss']:.3f}",
                    f"{one['seconds']:.0f}",
                )
            )
    return f"""\
## Fine-tuning: a plain loop beside it

{figures["backbone"]} on {figures["photos"]}, the second half of its layers, split alike. The plain loop \
keeps its last pass; Headstart's first figure is the head on frozen features, which its last pass has to beat:

{table(("", "seed", "validation, pass by pass", "test accuracy, log loss", "seconds"), rows)}"""


def forecasts(figures: dict[str, Any]) -> str:
    """Return forecasts beside what came."""
    rows = [
        (
            name,
            f"{figures[name]['forecast_seconds']:.0f} s",
            f"{figures[name]['actual_seconds']:.0f} s",
            f"{figures[name]['off']:+.0%}",
        )
        for name in ("animals", "textile")
    ]
    return f"""\
## Forecasts

The default comparison from an empty cache:

{table(("photos", "forecast", "actual", "off by"), rows)}"""


def serving(figures: dict[str, Any]) -> str:
    """Return what a server answers under load, beside the engine from files and a plain server."""
    raw = (figures["files_before"] + figures["files_after"]) / 2
    rows = [("from files, as `headstart predict`", f"{raw:.0f}", "", "", "", "")]
    for said, name in (
        ("`headstart serve`", "photos"),
        ("`headstart serve`, a tenth of the requests bad", "a_tenth_bad"),
        ("FastAPI and Keras, as people write it", "plain_keras"),
    ):
        one = figures[name]["photo"]
        milliseconds = "{p50_ms:.0f} / {p95_ms:.0f} / {p99_ms:.0f}".format(**one)
        first, last = (figures[name][f"memory_mb_{third}_third"] for third in ("first", "last"))
        failed = sum(kind["failed"] for kind in figures[name].values() if isinstance(kind, dict))
        rows.append(
            (said, f"{one['per_second']:.0f}", milliseconds, f"{failed}", f"{first:.0f}", f"{last:.0f}")
        )
    start, light = figures["start"], figures["light"]
    header = ("", "photos/s", "p50 / p95 / p99, ms", "failed", "MB, first third", "MB, last third")
    return f"""\
## Serving

{figures["clients"]} clients on the same machine, whose work is in these figures, send photos of animals for \
{figures["seconds"]} s (the plain server for a minute at most) to mobilenet_v2:

{table(header, rows)}
That is {figures["times_plain"]:.0f} times the rate of the plain server. Clients that take next to nothing \
of the processor (wrk, a minute) get {light["per_second"]:.0f} answers a second, {light["failed"]} of \
{light["count"]:,} failed, p50 / p95 / p99 {light["p50_ms"]:.0f} / {light["p95_ms"]:.0f} / \
{light["p99_ms"]:.0f} ms: {figures["part_of_raw"]:.0%} of the {light["files_per_second"]:.0f} from files \
in the same minutes. From start to the first answer {start["seconds"]:.1f} s, with \
{start["memory_mb"]:.0f} MB.
"""


def features(figures: dict[str, Any]) -> str:
    """Return what stages add to the last layer, and a second backbone to one."""
    rows, gained = [], []
    for name, one in figures["sets"].items():
        for backbone in one["stages"]:
            last, stages = one["last"].get(backbone), one["stages"][backbone]
            rows.append((name, backbone, f"{one['image_size_px']}", *_both(last, stages)))
        for backbone, gain in one["gains"].items():
            between = f"{100 * gain['low']:+.1f} to {100 * gain['high']:+.1f}"
            gained.append((name, backbone, f"{100 * gain['gain']:+.1f}", between, f"{gain['n_images']}"))
    return f"""\
## What the stages of a frozen network add

Features of the last layer, and of stages before it too, of the same pictures at the same size; heads in \
closed form; the test part read once. The size is the one that the run chose:

{table(("photos", "backbone", "px", "test, last", "test, stages", "log loss", "calibration error"), rows)}
Points of test accuracy that the stages gain, with the paired 95% interval:

{table(("photos", "backbone", "gain", "interval", "test photos"), gained)}"""


def _both(last: dict[str, Any] | None, stages: dict[str, Any]) -> tuple[str, ...]:
    """Return accuracy of both, and both log losses and calibration errors in one cell each."""
    if last is None:
        return "", f"{stages['test']:.1%}", f"{stages['log_loss']:.3f}", f"{stages['calibration_error']:.3f}"
    return (
        f"{last['test']:.1%}",
        f"{stages['test']:.1%}",
        f"{last['log_loss']:.3f} → {stages['log_loss']:.3f}",
        f"{last['calibration_error']:.3f} → {stages['calibration_error']:.3f}",
    )


def places(figures: dict[str, Any]) -> str:
    """Return what each choice of places came to, on the mean over sets and backbones."""
    first = next(iter(figures["choices"].values()))
    rows = []
    for choice, found in figures["choices"].items():
        ratios = [one["log_loss"] / base["log_loss"] for one, base in zip(found, first, strict=True)]
        rows.append(
            (
                choice,
                f"{found[0]['size']:,}",
                f"{math.exp(sum(map(math.log, ratios)) / len(ratios)):.2f}",
                f"{max(ratios):.2f}",
                f"{sum(one['accuracy'] for one in found) / len(found):.1%}",
            )
        )
    return f"""\
## Which places of a network are asked

{figures["n_photos"]:,} photos of train and validation of each of four sets, two backbones; heads that leave \
each photo out. Log loss over that of the last layer alone, geometric mean and worst of the eight; how many \
numbers mobilenet_v2 then gives:

{table(("places, beside the mean of the last layer", "numbers", "log loss", "worst", "accuracy"), rows)}"""


def many_classes(figures: dict[str, Any]) -> str:
    """Return how right the forecast is of many classes."""
    return f"""\
## Many classes

{figures["n_images"]:,} small pictures of {figures["n_classes"]} classes, by features, both backbones and \
the pair, from an empty cache: forecast {figures["forecast_seconds"]:.0f} s, actual \
{figures["actual_seconds"]:.0f} s ({figures["off"]:+.0%}), {figures["memory_mb"]:,.0f} MB.
"""


def time_to_accuracy(figures: dict[str, Any]) -> str:
    """Return the picture of seconds and accuracy, and where each way ends."""
    ends = {one["name"]: one for one in figures["points"]}
    rows = [
        (name, f"{one['seconds']:,.0f}", f"{one['validation']:.1%}", f"{one['test']:.1%}")
        for name, one in ends.items()
        if one["test"] is not None
    ]
    return f"""\
## Time to accuracy

3,781 photos of clothing, everything from an empty cache; a point for each pass over the photos, of which \
the article's recipe is given five:

![Accuracy on validation by seconds](pictures/time-to-accuracy.svg)

Where each way ends:

{table(("", "seconds", "validation", "test"), rows)}"""


def phone_photos(figures: dict[str, Any]) -> str:
    """Return how a comparison of phone photos stands to decoding alone."""
    rates = figures["photos_per_s"]
    rows = [
        ("the whole comparison, both backbones, start and report included", f"{rates['command']:.1f}"),
        ("the same, without the start of the program", f"{rates['run']:.1f}"),
        ("its reading of photos: decoded, checked, asked of both backbones", f"{rates['reading']:.1f}"),
        ("libjpeg-turbo alone, two threads, full size", f"{rates['full_size']:.1f}"),
        ("libjpeg-turbo alone, two threads, the reduced size that is used", f"{rates['reduced']:.1f}"),
    ]
    return f"""\
## Photos of 12 megapixels

{figures["n_photos"]} photos of {figures["mean_mb"]:.1f} MB, from an empty cache, photos/s:

{table(("", "photos/s"), rows)}"""


def main() -> None:
    """Write the page."""
    kept = {path.stem: json.loads(path.read_text()) for path in sorted(RESULTS.glob("*.json"))}
    kept.pop("exports", None)  # whose page is docs/exports.md
    about = [
        f"- {name}: {one['measured_on']['date']}, {one['measured_on']['processor']}, "
        f"{one['measured_on']['cores']} cores"
        for name, one in kept.items()
    ]
    sections = [INTRODUCTION]
    if {"article", "article_timed"} <= set(kept):
        sections.append(article(kept["article"], kept["article_timed"]))
    for section in (
        features,
        places,
        time_to_accuracy,
        extraction,
        phone_photos,
        commands,
        decisions,
        finetuning,
        steps,
        passes,
        plain_loop,
        forecasts,
        many_classes,
        serving,
    ):
        if section.__name__ in kept:
            sections.append(section(kept[section.__name__]))
    sections.append("## Measured on\n\n" + "\n".join(about) + "\n")
    PAGE.write_text("\n".join(sections))


if __name__ == "__main__":
    main()
