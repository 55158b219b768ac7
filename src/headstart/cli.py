"""The command line: parse, call, print. Results to stdout, progress and remarks to stderr."""

import dataclasses
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from headstart import __version__
from headstart.errors import HeadstartError
from headstart.settings import Settings, from_toml

if TYPE_CHECKING:
    from headstart.comparison import Results

Command = Callable[..., Any]

as_json = click.option("--json", "is_json", is_flag=True, help="Print the result as JSON on stdout.")
quiet = click.option("--quiet", "is_quiet", is_flag=True, help="Show no progress.")


class Commas(click.ParamType):
    """Words with commas between, as a tuple."""

    name = "A,B,…"

    def convert(self, value: Any, parameter: object, context: object) -> tuple[str, ...]:
        """Split at commas; blanks around a word do not count."""
        return value if isinstance(value, tuple) else tuple(word.strip() for word in value.split(",") if word.strip())


def settings_options(*left_out: str) -> Callable[[Command], Command]:
    """Return a decorator that adds an option for each field of `Settings` but `data` and those named."""

    def add(command: Command) -> Command:
        for known in reversed(dataclasses.fields(Settings)):
            if known.name not in ("data", *left_out):
                command = _option(known)(command)
        return command

    return add


def _option(known: "dataclasses.Field[Any]") -> Callable[[Command], Command]:
    default = known.metadata.get("shown_default", known.default)
    shown = ",".join(default) or "none" if isinstance(default, tuple) else default
    return click.option(
        f"--{known.name.replace('_', '-')}",
        type=_click_type(known),
        default=None,
        help=known.metadata["help"] + (f"  [default: {shown}]" if shown is not None else ""),
    )


def _click_type(known: "dataclasses.Field[Any]") -> click.ParamType:
    if "choices" in known.metadata and "tuple" not in str(known.type):
        return click.Choice(known.metadata["choices"])
    kinds = {int: click.INT, int | None: click.INT, float: click.FLOAT, tuple[str, ...]: Commas()}
    return kinds.get(known.type, click.STRING)


def _help_of(name: str) -> str:
    return next(known.metadata["help"] for known in dataclasses.fields(Settings) if known.name == name)


def _default_of(name: str) -> Any:
    return next(known.default for known in dataclasses.fields(Settings) if known.name == name)


class Guard(click.Group):
    """A group whose commands end without a traceback when the user can mend what is wrong."""

    def invoke(self, context: click.Context) -> Any:
        """Run a command; print a `HeadstartError` on stderr and exit with 1."""
        try:
            return super().invoke(context)
        except HeadstartError as error:
            click.echo(str(error), err=True)
            context.exit(1)
        except BrokenPipeError:
            # The reader, such as `head`, has seen enough; keep Python from complaining of it at exit.
            sys.stdout = None
            context.exit(0)


@click.group(cls=Guard, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="headstart")
def main() -> None:
    """Compare pretrained image backbones on your own photos, and keep the best one, trained.

    Start with:  headstart compare PHOTOS   (a folder with one sub-folder per class)
    """


@main.command()
@click.argument("data", required=False)
@settings_options()
@click.option("--config", type=click.Path(path_type=Path), help="TOML file with any of these options.")
@as_json
@quiet
def compare(data: str | None, config: Path | None, is_json: bool, is_quiet: bool, **options: Any) -> None:
    """Compare backbones, with both techniques, on the photos in DATA.

    DATA is a folder with one sub-folder per class (or train, validation and test folders of those),
    a CSV or TSV file with the columns path, label and optionally split, or sample:textile.
    """
    _show(_compared(_settings(data, config, options), is_quiet), is_json)


@main.command()
@click.argument("data")
@click.option("--backbone", default="mobilenet_v2", show_default=True, help="The backbone to train.")
@click.option(
    "--technique", type=click.Choice(["features", "finetune"]), default="finetune", show_default=True,
    help="features: a new head on the frozen backbone; finetune: its last layers too.",
)
@settings_options("backbones", "techniques")
@as_json
@quiet
def train(data: str, backbone: str, technique: str, is_json: bool, is_quiet: bool, **options: Any) -> None:
    """Train one backbone with one technique on the photos in DATA."""
    options |= {"backbones": (backbone,), "techniques": (technique,)}
    _show(_compared(_settings(data, None, options), is_quiet), is_json)


def _settings(data: str | None, config: Path | None, options: dict[str, Any]) -> Settings:
    given = {name: value for name, value in options.items() if value is not None}
    if data is not None:
        given["data"] = data
    if config is not None:
        return from_toml(config, **given)
    if data is None:
        raise click.UsageError("Missing argument 'DATA' (or --config FILE with data in it).")
    return Settings(**given)


def _compared(settings: Settings, is_quiet: bool) -> "Results":
    from headstart import experiment
    from headstart.progress import Console, Progress

    return experiment.compare(settings, Progress() if is_quiet else Console())


def _show(results: "Results", is_json: bool) -> None:
    from headstart import leaderboard
    from headstart.records import to_json

    click.echo(to_json(results).decode() if is_json else leaderboard.render(results), nl=False)


@main.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("photos", nargs=-1, required=True, type=click.Path(path_type=Path))
@as_json
def predict(run: Path, photos: Sequence[Path], is_json: bool) -> None:
    """Say what is on each of PHOTOS (files, or folders of them), with the model of RUN.

    A line each: path, class name and confidence, with tabs between. A picture that cannot be read
    is told on stderr, and the exit status is then 1.
    """
    from headstart import dataset, load

    n_unreadable = 0
    for prediction in load(run).predict_each(dataset.pictures(photos)):
        n_unreadable += prediction.error is not None
        if is_json:
            click.echo(json.dumps(dataclasses.asdict(prediction), ensure_ascii=False))
        elif prediction.error is not None:
            click.echo(prediction.error, err=True)
        else:
            click.echo(f"{prediction.path}\t{prediction.label}\t{prediction.confidence:.4f}")
    if n_unreadable:
        raise SystemExit(1)


@main.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("data")
@as_json
@quiet
def evaluate(run: Path, data: str, is_json: bool, is_quiet: bool) -> None:
    """Measure the model of RUN on all the labelled photos in DATA; classes are matched by name."""
    from headstart import experiment, leaderboard
    from headstart.progress import Console, Progress
    from headstart.records import to_json

    scores = experiment.evaluate(run, data, Progress() if is_quiet else Console())
    click.echo(to_json(scores).decode() if is_json else leaderboard.render_scores(scores), nl=False)


@main.command(name="backbones")
@click.option("--weights-dir", type=click.Path(path_type=Path), help=_help_of("weights_dir"))
@as_json
def list_backbones(weights_dir: Path | None, is_json: bool) -> None:
    """List the backbones, with what they cost and whether their weights are here."""
    from headstart import leaderboard, weights
    from headstart.backbones.table import TABLE

    rows = [(row, weights.is_here(row, weights_dir)) for row in TABLE]
    if is_json:
        click.echo(json.dumps([dataclasses.asdict(row) | {"is_here": here} for row, here in rows], indent=2))
    else:
        click.echo(leaderboard.render_backbones(rows), nl=False)


@main.group(name="weights")
def weights_group() -> None:
    """Pretrained weights on this machine."""


@weights_group.command()
@click.argument("names", nargs=-1)
@click.option("--weights-dir", type=click.Path(path_type=Path), help=_help_of("weights_dir"))
@as_json
def pull(names: Sequence[str], weights_dir: Path | None, is_json: bool) -> None:
    """Fetch the weights of the named backbones (of the default ones, when none is named).

    After that they need no network.
    """
    from headstart import backbones, weights
    from headstart.progress import Console

    paths = {}
    for name in names or _default_of("backbones"):
        paths[name] = str(weights.locate(backbones.find(name), weights_dir, Console()))
        if not is_json:
            click.echo(f"{name}\t{paths[name]}")
    if is_json:
        click.echo(json.dumps(paths, indent=2))
