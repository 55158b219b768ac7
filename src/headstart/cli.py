"""The command line: parse, call, print. Results to stdout, progress and remarks to stderr."""

import atexit
import dataclasses
import errno
import gc
import io
import json
import os
import shlex
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from headstart import __version__
from headstart.base import interruption
from headstart.base.errors import HeadstartError, MissingPackage, SettingsError, lacks_memory
from headstart.base.interruption import Interrupted
from headstart.base.settings import AUTO, TECHNIQUES, Reading, Serving, Settings, from_toml

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from headstart.base.progress import Progress
    from headstart.networks.classifier import Prediction
    from headstart.storage.store import Usage
    from headstart.workflow.techniques.bench import Machines

Command = Callable[..., Any]
Write = Callable[["Prediction"], None]

STREAM = Path("-")
"""Stands for stdin among the photos, and for stdout as a table's file."""

OPTIONS = {known.name: known for known in dataclasses.fields(Settings) if known.name != "data"}

VALUES = {
    **dict.fromkeys(("seed", "seeds", "folds", "epochs", "batch_size"), "N"),
    **dict.fromkeys(("validation", "test", "max_error", "max_refused", "coverage", "margin"), "PART"),
    **{"backbones": "A,B,...", "techniques": "A,B", "exclude": "A,B,..."},
    **{"out": "RUN", "budget": "TIME", "weights_dir": "FOLDER", "unfreeze": "LAYERS", "image_size": "PIXELS"},
    **dict.fromkeys(("port", "max_queue", "max_files", "max_megabytes", "max_megapixels", "timeout"), "N"),
    **{"host": "ADDRESS", "token": "TOKEN", "allow_origin": "A,B,..."},
    **{"learning_rate": "RATE", "group_by": "REGEX", "images": "FOLDER"},
    **dict.fromkeys(("path_column", "label_column", "split_column"), "COLUMN"),
}
"""What stands for an option's value in the help; a choice shows its choices."""

HEADINGS = {
    "What is tried": ("backbones", "pair", "techniques", "backbone", "technique", "features", "margin"),
    "Photos": (
        "image_size",
        "fit",
        "class_weight",
        "exclude",
        "group_by",
        "layout",
        "path_column",
        "label_column",
        "split_column",
        "images",
        "check",
        "validation",
        "folds",
        "test",
    ),
    "Fine-tuning": ("epochs", "unfreeze", "augment", "learning_rate", "batch_size", "seeds"),
    "Run": (
        "out",
        "update",
        "budget",
        "engine",
        "seed",
        "report",
        "tensorboard",
        "mlflow",
        "cluster",
        "config",
        "weights_dir",
    ),
}
"""The options of `compare` and `train` in the order of their help; the last heading takes what is left."""

EXAMPLES = """\b
Examples:
  headstart compare photos
  headstart compare photos --backbones resnet50_v2 --techniques features
  headstart compare --config runs/photos/config.toml --out runs/again"""

NOT_WRITTEN = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EFBIG, errno.EIO)
ELSEWHERE = (
    "Name a folder that you may write to: --out RUN for the run, "
    "HEADSTART_CACHE=FOLDER for what is kept between runs."
)

MORE_MEMORY = (
    "End other programs, or raise the limit (`ulimit -v`, a container's). "
    "The same command goes on with what it has kept."
)

RESUMED = ("compare", "train")
"""Commands that go on where they were when they are given again."""

as_json = click.option("--json", "is_json", is_flag=True, help="Print the result as JSON on stdout.")
quiet = click.option("--quiet", "is_quiet", is_flag=True, help="Show no progress.")
tensorboard_folder = click.option(
    "--tensorboard",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="FOLDER",
    help="Log the training to it for TensorBoard, as it goes.",
)
mlflow_uri = click.option(
    "--mlflow",
    metavar="URI",
    help="Log the training to MLflow: a server, or a store such as sqlite:///mlflow.db.",
)
cluster_address = click.option(
    "--cluster",
    metavar="auto|ray://HOST:PORT",
    help="Have photos read and backbones fine-tuned on a Ray cluster that sees the photos under the same "
    "paths; auto: the one that this machine belongs to, else this machine alone.",
)
update_run = click.option(
    "--update",
    is_flag=True,
    help="Compare anew where the photos are not those of the finished run; features that are kept are used.",
)
weights_folder = click.option(
    "--weights-dir",
    type=click.Path(path_type=Path),
    metavar=VALUES["weights_dir"],
    help=OPTIONS["weights_dir"].metadata["help"],
)


def words(value: str) -> tuple[str, ...]:
    """Split at commas; blanks and repeats do not count.

    Raises:
        ValueError: No word is left.

    Example:
        >>> words("cat, dog,cat")
        ('cat', 'dog')
    """
    found = tuple(dict.fromkeys(word.strip() for word in value.split(",") if word.strip()))
    if not found:
        raise ValueError
    return found


def number_or_auto(value: str) -> int | str:
    """Return a whole number, or auto.

    Raises:
        ValueError: It is neither.

    Example:
        >>> number_or_auto("auto"), number_or_auto("288")
        ('auto', 288)
    """
    if value != AUTO and not value.isdecimal():
        raise ValueError(f"{value!r} is neither auto nor a whole number.")
    return value if value == AUTO else int(value)


def settings_options(*left_out: str) -> Callable[[Command], Command]:
    """Return a decorator that adds an option for each field of `Settings` but `data` and those named."""

    def add(command: Command) -> Command:
        for name in reversed(OPTIONS):
            if name not in left_out:
                command = _option(name)(command)
        return command

    return add


def _option(name: str) -> Callable[[Command], Command]:
    return _option_of(OPTIONS[name])


def _option_of(known: "dataclasses.Field[Any]") -> Callable[[Command], Command]:
    name = known.name
    default = known.metadata.get("shown_default", known.default)
    shown = ",".join(default) or "none" if isinstance(default, tuple) else default
    flag = name.replace("_", "-")
    if known.type is bool:
        return click.option(f"--{flag}/--no-{flag}", default=None, help=known.metadata["help"])
    return click.option(
        f"--{flag}",
        type=_click_type(known),
        metavar=VALUES.get(name),
        default=None,
        help=known.metadata["help"] + (f"  [default: {shown}]" if shown is not None else ""),
    )


def _click_type(known: "dataclasses.Field[Any]") -> Any:
    if known.type == tuple[str, ...]:
        return words
    if "choices" in known.metadata:
        return click.Choice(known.metadata["choices"])
    kinds: dict[Any, Any] = {int: int, int | None: int, float: float, int | Literal["auto"]: number_or_auto}
    return kinds.get(known.type, str)


def reading_options(command: Command) -> Command:
    """Add an option for each way in which photos are listed."""
    for name in reversed(Reading.__annotations__):
        command = _option(name)(command)
    return command


def serving_options(command: Command) -> Command:
    """Add an option for each field of `Serving`."""
    for known in reversed(dataclasses.fields(Serving)):
        command = _option_of(known)(command)
    return command


class Grouped(click.Command):
    """A command whose help lists its options under `HEADINGS`."""

    def format_options(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options, heading by heading."""
        options = [one for one in self.get_params(context) if isinstance(one, click.Option)]
        records = {one.name: one.get_help_record(context) for one in options}
        *first, last = [[records.pop(name, None) for name in names] for names in HEADINGS.values()]
        for heading, rows in zip(HEADINGS, [*first, last + list(records.values())], strict=True):
            with formatter.section(heading):
                formatter.write_dl([row for row in rows if row])


class Guard(click.Group):
    """A group whose commands end without a traceback when the user can mend what is wrong."""

    def list_commands(self, context: click.Context) -> list[str]:
        """Return the commands in the order in which they are needed."""
        return list(self.commands)

    def parse_args(self, context: click.Context, args: list[str]) -> list[str]:
        """Keep the words of the command, to name it again."""
        context.meta[__name__] = ["headstart", *args]
        return super().parse_args(context, args)

    def invoke(self, context: click.Context) -> Any:
        """Run a command; print a `HeadstartError` on stderr and exit with 1."""
        for stream in (sys.stdout, sys.stderr):
            # JSON is UTF-8 by its standard; and a file name that is no text must not be the end.
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(encoding="utf-8", errors="backslashreplace")
        try:
            with interruption.orderly():
                return super().invoke(context)
        except HeadstartError as error:
            click.echo(str(error), err=True)
            context.exit(1)
        except KeyboardInterrupt as error:
            click.echo("Interrupted.", err=True)
            if context.invoked_subcommand in RESUMED:
                click.echo(
                    f"The same command goes on from here: {shlex.join(context.meta[__name__])}", err=True
                )
            # What a shell reports of a command that a signal has ended.
            context.exit(128 + (error.number if isinstance(error, Interrupted) else signal.SIGINT))
        except BrokenPipeError:
            # The reader, such as `head`, has seen enough; keep Python from complaining of it at exit.
            sys.stdout = None
            context.exit(0)
        except Exception as error:
            told = _told(error)
            if told is None:
                raise
            click.echo(told, err=True)
            context.exit(1)


def _told(error: Exception) -> str | None:
    """Return what to say of the machine where an error is for it; None where it is a defect."""
    if isinstance(error, OSError) and error.errno in NOT_WRITTEN:
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{error.strerror}.\n{ELSEWHERE}"
    return f"There is not enough memory for it.\n{MORE_MEMORY}" if lacks_memory(error) else None


@click.group(
    cls=Guard,
    epilog="Start with `headstart compare PHOTOS`: a folder that has a sub-folder of photos for each class.",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
@click.version_option(__version__, prog_name="headstart")
def main() -> None:
    """Compare pretrained image backbones on your own photos, and keep the one to use, trained."""
    # Python would end by looking for cycles through all that was imported, which takes up to half a second.
    atexit.register(gc.freeze)


@main.command(
    cls=Grouped, epilog=EXAMPLES, short_help="Compare backbones on your photos; the best one is kept."
)
@click.argument("data", required=False)
@settings_options()
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    metavar="FILE.toml",
    help="Take from it what is not given here.",
)
@update_run
@tensorboard_folder
@mlflow_uri
@cluster_address
@as_json
@quiet
def compare(
    data: str | None,
    config: Path | None,
    tensorboard: Path | None,
    mlflow: str | None,
    cluster: str | None,
    update: bool,
    is_json: bool,
    is_quiet: bool,
    **options: Any,
) -> None:
    """Compare backbones, with both techniques, on the photos in DATA.

    DATA is a folder with one sub-folder per class (or train, validation and test folders of those),
    a CSV, TSV or Parquet file with a column of paths, one of labels and optionally one of parts; either
    may lie in an object store (s3://BUCKET/PHOTOS). Or it is sample:textile.

    The technique features trains a new last layer on the frozen backbone and takes seconds; finetune
    goes on from there, trains the backbone's last layers too, and takes minutes.
    """
    _run(
        _settings(data, config, options),
        is_json,
        is_quiet,
        update=update,
        tensorboard=tensorboard,
        mlflow=mlflow,
        cluster=cluster,
    )


@main.command(name="check", short_help="Say what is amiss with photos, before anything is trained.")
@click.argument("data")
@reading_options
@click.option(
    "--fix",
    type=click.Choice(("list", "quarantine", "group")),
    help="Write a CSV file: list, of all findings; quarantine, of the photos without unreadable ones, those "
    "in two classes and surplus copies; group, of the photos and which belong together.",
)
@click.option("--out", type=click.Path(path_type=Path), metavar="FOLDER", help="Where --fix writes the file.")
@click.option("--strict", "is_strict", is_flag=True, help="Exit with 1 if anything was found.")
@as_json
@quiet
def check_photos(
    data: str,
    fix: str | None,
    out: Path | None,
    is_strict: bool,
    is_json: bool,
    is_quiet: bool,
    **reading: Any,
) -> None:
    """Look for what is amiss with the photos in DATA, which is that of `headstart compare`.

    That is: unreadable photos, labels that are no classes, wrong types, copies and near-duplicates, one
    photo in two classes or in two parts, shortcuts (classes that can be told by image size, file type or
    border alone), classes too small, empty or unequal, and odd sizes. After a run with mobilenet_v2 or
    efficientnet_lite0 on these photos also what is perhaps one photo mirrored or cropped, or one thing
    taken twice. No photo is changed, moved or deleted. The exit status is 0 whatever is found, unless
    --strict is given.
    """
    if fix and out is None:
        raise click.UsageError("--fix writes a file: say where with --out FOLDER.")
    if out and fix is None:
        raise click.UsageError("--out says where --fix writes: give --fix list, quarantine or group.")
    from headstart.base.records import to_json
    from headstart.workflow import check

    progress = _progress(is_quiet)
    found = check.look(data, progress=progress, **_given(reading))
    told = check.report(data, found)
    click.echo(to_json(told).decode() if is_json else check.render(told), nl=False)
    if fix and out:
        progress.remark(f"Written: {check.write(fix, out, found)}")
    if is_strict and told.findings:
        raise SystemExit(1)


@main.command(cls=Grouped, short_help="Train one backbone with one technique.")
@click.argument("data")
@click.option(
    "--backbone", metavar="NAME", default="mobilenet_v2", show_default=True, help="The backbone to train."
)
@click.option(
    "--technique",
    type=click.Choice(TECHNIQUES),
    default="finetune",
    show_default=True,
    help="features: a new last layer on the frozen backbone; finetune: its last layers too.",
)
@settings_options("backbones", "techniques")
@update_run
@tensorboard_folder
@mlflow_uri
@as_json
@quiet
def train(
    data: str,
    backbone: str,
    technique: str,
    tensorboard: Path | None,
    mlflow: str | None,
    update: bool,
    is_json: bool,
    is_quiet: bool,
    **options: Any,
) -> None:
    """Train one backbone with one technique on the photos in DATA.

    DATA and the run folder are those of `headstart compare`.
    """
    options |= {"backbones": (backbone,), "techniques": (technique,)}
    _run(
        _settings(data, None, options),
        is_json,
        is_quiet,
        update=update,
        tensorboard=tensorboard,
        mlflow=mlflow,
    )


def _settings(data: str | None, config: Path | None, options: dict[str, Any]) -> Settings:
    given = _given(options)
    if data is not None:
        given["data"] = data
    if config is not None:
        return from_toml(config, **given)
    if data is None:
        raise click.UsageError("Missing argument 'DATA' (or --config FILE.toml with data in it).")
    try:
        return Settings(**given)
    except SettingsError as error:
        raise click.UsageError(str(error)) from error


def _given(options: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


def _connected(address: str) -> "AbstractContextManager[Machines]":
    from headstart.cluster.machines import connected

    return connected(address)


def _run(
    settings: Settings,
    is_json: bool,
    is_quiet: bool,
    *,
    update: bool,
    tensorboard: Path | None,
    mlflow: str | None,
    cluster: str | None = None,
) -> None:
    from headstart.base.records import to_json
    from headstart.reporting import leaderboard
    from headstart.results import run
    from headstart.workflow import experiment

    settings = run.resolve(settings)
    folder = str(settings.out)
    before = run.Run(Path(folder)).finished_ns
    progress = _progress(is_quiet)
    with ExitStack() as stack:
        machines = stack.enter_context(_connected(cluster)) if cluster else None
        results = experiment.compare(
            settings, progress, update=update, tensorboard=tensorboard, mlflow=mlflow, machines=machines
        )
    was_finished = run.Run(Path(folder)).finished_ns == before
    click.echo(to_json(results).decode() if is_json else leaderboard.render(results), nl=False)
    if was_finished:
        progress.remark(f"{folder} was finished before; nothing was done.")
    if settings.report and not was_finished:
        progress.remark(f"Look at it: headstart report {shlex.quote(folder)} --open")
    progress.remark(f"Use it: headstart predict {shlex.quote(folder)} PHOTO")


def _progress(is_quiet: bool) -> "Progress":
    from headstart.base.progress import Console, Quiet

    return Quiet() if is_quiet else Console()


@main.command(short_help="Say what is on photos.")
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("photos", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--top", type=click.IntRange(min=1), metavar="K", help="Name the K likeliest classes of each.")
@click.option(
    "--csv",
    "table",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write a table to a new file, -: to stdout, in place of lines.",
)
@click.option("--json", "is_json", is_flag=True, help="Print a JSON object a line, with all probabilities.")
@click.option(
    "--sort-into",
    "sorted_into",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Copy the photos into it, to a folder for each class; nothing there is overwritten.",
)
@click.option("--link", "is_linked", is_flag=True, help="With --sort-into: make links in place of copies.")
@quiet
def predict(
    run: Path,
    photos: Sequence[Path],
    top: int | None,
    table: Path | None,
    is_json: bool,
    sorted_into: Path | None,
    is_linked: bool,
    is_quiet: bool,
) -> None:
    """Say what is on each of PHOTOS, with the model of RUN.

    PHOTOS are files, folders of any size, or - for paths on stdin, one a line.

    A line each, as they come: path, class name and confidence, with tabs between. Of a picture unlike the
    photos that the model was trained on, "none of these" and "-" stand in their place; --json and --csv have
    its likeliest class, too. What is not there or cannot be read is told on stderr, and the exit status is
    then 1, else 0.

    --sort-into puts what is unlike the training photos into none-of-these, and what the model is not sure of
    into unsure. The photos stay where they are, as they are.
    """
    if is_linked and sorted_into is None:
        raise click.UsageError("--link says how --sort-into puts photos there: say where with --sort-into.")
    if is_json and table == STREAM:
        raise click.UsageError("--json and --csv - both print on stdout: give one of them.")
    from headstart import load
    from headstart.reporting.sorting import Sorter
    from headstart.workflow import prediction

    model, problems = load(run), Problems()
    sorter = Sorter(sorted_into, model, is_linked=is_linked) if sorted_into else None
    # A bar would stand among the lines of the same terminal.
    progress = _progress(is_quiet or sys.stdout.isatty() or not sys.stderr.isatty())
    with _writers(table, is_json, top) as writers, progress.stage("Predicting", None) as advance:
        for found in prediction.predict(model, _named(photos), problems.tell, sorter):
            for write in writers:
                write(found)
            advance()
    for remark in sorter.remarks() if sorter else ():
        _progress(is_quiet).remark(remark)
    if problems.are_any:
        raise SystemExit(1)


class Problems:
    """Tells problems on stderr as they come, and knows whether there were any."""

    are_any = False

    def tell(self, text: str) -> None:
        """Tell one of them."""
        self.are_any = True
        click.echo(text, err=True)


def _named(photos: Sequence[Path]) -> Iterator[Path]:
    """Yield what is named, and in the place of - each path on stdin."""
    for path in photos:
        if path == STREAM:
            # Not sys.stdin: a thread that waits for its next line would hold it when the program ends.
            with open(sys.stdin.fileno(), "rb", closefd=False) as stdin:
                names = (line.rstrip(b"\r\n") for line in stdin)
                yield from (Path(os.fsdecode(name)) for name in names if name)
        else:
            yield path


@contextmanager
def _writers(table: Path | None, is_json: bool, top: int | None) -> Iterator[list[Write]]:
    """Give what each prediction is to be handed: lines on stdout, a table, or a table beside JSON."""
    from headstart.reporting import lines

    def show(found: "Prediction") -> None:
        if is_json:
            click.echo(lines.to_json(found, top))
        elif found.error is None:
            click.echo(lines.render(found, top or 1))

    if table is None:
        yield [show]
    elif table == STREAM:
        yield [lines.Table(click.echo, top or 1).add]
    else:
        with lines.new_file(table) as line:
            yield [lines.Table(line, top or 1).add, *([show] if is_json else [])]


@main.command(short_help="Answer over HTTP, with a page to try it.")
@click.argument("runs", nargs=-1, required=True, metavar="RUN...", type=click.Path(path_type=Path))
@serving_options
@quiet
def serve(runs: Sequence[Path], is_quiet: bool, **options: Any) -> None:
    """Serve the model of each RUN over HTTP, by the name of its folder, until Ctrl-C or SIGTERM.

    The page to try it is at /; POST /v1/predict takes pictures as files or in JSON, and /openapi.json says
    how. Clients of TensorFlow Serving's REST shape and of the Open Inference Protocol work as they are.
    What is new in a run folder is served when it is finished there, without a restart.
    """
    options["token"] = options["token"] or os.environ.get("HEADSTART_TOKEN") or None
    try:
        settings = Serving(**_given(options))
    except SettingsError as error:
        raise click.UsageError(str(error)) from error
    try:
        from headstart.serving import server
    except ModuleNotFoundError as error:
        raise MissingPackage(
            f"{error.name}, which serving needs, is not installed.", "Run `pip install 'headstart[serve]'`."
        ) from error
    server.serve(runs, settings, _progress(is_quiet))


@main.command(short_help="Measure a trained model on labelled photos.")
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("data")
@reading_options
@as_json
@quiet
def evaluate(run: Path, data: str, is_json: bool, is_quiet: bool, **reading: Any) -> None:
    """Measure the model of RUN on all the labelled photos in DATA, of some or all of its classes.

    Classes are matched by name. Photos that the model was trained on flatter it: they are told apart by
    their bytes, where RUN has its split.csv. What cannot be read or has no label is left out and counted.
    """
    from headstart.base.records import to_json
    from headstart.workflow import evaluation

    found = evaluation.evaluate(run, data, _progress(is_quiet), **_given(reading))
    click.echo(to_json(found).decode() if is_json else evaluation.render(found), nl=False)


@main.command(name="report", short_help="Draw the report of a finished run again.")
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--open", "is_opened", is_flag=True, help="Show it in the browser.")
@as_json
def draw_report(run: Path, is_opened: bool, is_json: bool) -> None:
    """Draw RUN/report.html and the model card, RUN/README.md, from what is in RUN alone.

    A line each: what was written.
    """
    from headstart.reporting import card, report

    drawn = [report.draw(run), card.write(run)]
    click.echo(
        json.dumps({"report": str(drawn[0]), "card": str(drawn[1])})
        if is_json
        else "\n".join(map(str, drawn))
    )
    if is_opened:
        click.launch(str(drawn[0]))


@main.command(name="export", short_help="Write the model as files of other runtimes, each checked.")
@click.argument("run", type=click.Path(path_type=Path))
@click.option(
    "--format",
    "names",
    type=words,
    required=True,
    metavar="A,B,...",
    help="keras, savedmodel, openvino, onnx or litert; several with commas between.",
)
@click.option(
    "--precision",
    type=click.Choice(("f32", "f16", "int8")),
    default="f32",
    show_default=True,
    help="f16 and int8: of openvino, onnx and litert. Where int8 loses more accuracy than the run's margin, "
    "f16 is written, then f32.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="FOLDER",
    help="Where a folder is made for each.  [default: RUN/exports]",
)
@click.option("--data", metavar="PHOTOS", help="Where the photos are now, if they were moved.")
@click.option("--overwrite", is_flag=True, help="Replace files of the same format and precision.")
@as_json
@quiet
def export_model(
    run: Path,
    names: tuple[str, ...],
    precision: str,
    out: Path | None,
    data: str | None,
    overwrite: bool,
    is_json: bool,
    is_quiet: bool,
) -> None:
    """Write the model of RUN as files of other runtimes, and check each on the test photos.

    Every file eats RGB pictures of 0 to 255, any number at once, and has all else inside: scaling, head,
    temperature, class names. After writing, its own runtime loads it in a new process and answers for the
    test photos of RUN. A file that does not agree with the model of RUN is removed, and the exit status is 1.
    """
    from headstart.base.records import to_json
    from headstart.export import catalogue, shipment

    unknown = [name for name in names if name not in catalogue.NAMES]
    if unknown:
        raise click.UsageError(f"--format {unknown[0]}: it must be of {', '.join(catalogue.NAMES)}.")
    found = shipment.export(
        run,
        names,
        precision=precision,
        out=out,
        data=data,
        overwrite=overwrite,
        progress=_progress(is_quiet),
    )
    click.echo(to_json(found).decode() if is_json else shipment.render(found), nl=False)
    if found.refused:
        raise SystemExit(1)


@main.command(name="replay", short_help="Repeat a finished run; say whether the results agree.")
@click.argument("run", type=click.Path(path_type=Path))
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar=VALUES["out"],
    help="Folder of the new run.  [default: RUN-replay]",
)
@click.option("--data", metavar="PHOTOS", help="Where the photos are now, if they were moved.")
@weights_folder
@as_json
@quiet
def replay_run(
    run: Path, out: Path | None, data: str | None, weights_dir: Path | None, is_json: bool, is_quiet: bool
) -> None:
    """Repeat the finished RUN from its own folder, and say whether the results agree.

    Photos and weights must be those of the run. All is computed anew, into a new run folder, and compared
    within a tolerance that is stated. The exit status is 0 where the results agree, else 1.
    """
    from headstart.base.records import to_json
    from headstart.workflow import replay

    progress = _progress(is_quiet)
    found = replay.replay(run, out=out, data=data, weights_dir=weights_dir, progress=progress)
    click.echo(to_json(found).decode() if is_json else replay.render(found), nl=False)
    if not found.agrees:
        raise SystemExit(1)


@main.command(name="backbones", short_help="List the backbones.")
@weights_folder
@as_json
def list_backbones(weights_dir: Path | None, is_json: bool) -> None:
    """List the backbones, with what they cost and whether their weights are here."""
    from headstart.networks import weights
    from headstart.networks.table import TABLE
    from headstart.reporting import leaderboard

    rows = [(row, weights.is_here(row, weights_dir)) for row in TABLE]
    if is_json:
        click.echo(json.dumps([dataclasses.asdict(row) | {"is_here": here} for row, here in rows], indent=2))
    else:
        click.echo(leaderboard.render_backbones(rows), nl=False)


@main.group(name="weights", short_help="Fetch pretrained weights beforehand.")
def weights_group() -> None:
    """Pretrained weights on this machine."""


@weights_group.command(short_help="Fetch the weights of backbones.")
@click.argument("names", nargs=-1, metavar="[BACKBONE]...")
@weights_folder
@as_json
@quiet
def pull(names: Sequence[str], weights_dir: Path | None, is_json: bool, is_quiet: bool) -> None:
    """Fetch the weights of the named backbones, or of the default ones when none is named.

    After that they need no network. A line each: backbone and file, with a tab between.
    """
    from headstart.networks import backbones, weights
    from headstart.networks.table import alone

    progress = _progress(is_quiet)
    files: dict[str, str | None] = {}
    for row in alone(backbones.find(name) for name in names or Settings.backbones):
        path = weights.locate(row, weights_dir, progress)
        files[row.name] = str(path) if path else None
        if not is_json:
            click.echo(f"{row.name}\t{path or 'needs no weights'}")
    if is_json:
        click.echo(json.dumps(files, indent=2))


@main.group(name="cache", invoke_without_command=True, short_help="Show or remove what is kept between runs.")
@as_json
@click.pass_context
def cache_group(context: click.Context, is_json: bool) -> None:
    """Show what is kept between runs, and how much it takes; or remove it."""
    if context.invoked_subcommand is not None:
        return
    from headstart.reporting import leaderboard
    from headstart.storage import cache, store, wheels

    folder, limit_bytes = wheels.cache_dir(), store.limit_bytes()
    kinds = cache.summary(_progress(False))
    if is_json:
        rows = [dataclasses.asdict(one) for one in kinds]
        click.echo(json.dumps({"folder": str(folder), "limit_bytes": limit_bytes, "kinds": rows}, indent=2))
    else:
        click.echo(leaderboard.render_cache(folder, kinds, limit_bytes), nl=False)


@cache_group.command(short_help="Remove all of some kinds.")
@click.argument("kinds", nargs=-1, metavar="[KIND]...")
@as_json
def clear(kinds: Sequence[str], is_json: bool) -> None:
    """Remove all there is of the named kinds, and show what was removed.

    The kinds are features, heads, checks, reports (thumbnails, maps and scripts that they are made of),
    costs, graphs, weights, samples and photos (copies of those in object stores); when none is named, all
    but the last three, which need a network to come back. A run that goes on meanwhile is not disturbed,
    unless it reads photos that are cleared.
    """
    from headstart.storage import cache

    _echo_removed(cache.clear(kinds or cache.PRUNED, _progress(False)), is_json)


@cache_group.command(short_help="Remove what was not used for longest.")
@click.option("--limit", metavar="SIZE", help="Such as 500MB.  [default: HEADSTART_CACHE_LIMIT, or 10GB]")
@as_json
def prune(limit: str | None, is_json: bool) -> None:
    """If all but weights, samples and photos takes more than a limit, remove what was not used for longest.

    It then takes 90% of it, and what was removed is shown.
    """
    from headstart.storage import cache, store

    try:
        limit_bytes = None if limit is None else store.parse_size(limit, "--limit")
    except SettingsError as error:
        raise click.UsageError(str(error)) from error
    _echo_removed(cache.prune(_progress(False), limit_bytes), is_json)


def _echo_removed(removed: "Sequence[Usage]", is_json: bool) -> None:
    from headstart.reporting import leaderboard

    if is_json:
        click.echo(json.dumps({"removed": [dataclasses.asdict(one) for one in removed]}, indent=2))
    else:
        click.echo("Removed:\n\n" + leaderboard.render_usage(removed), nl=False)
