"""Files of other runtimes from a run: written beside, tried on its test photos, and only then handed out."""

import contextlib
import dataclasses
import os
import tempfile
import textwrap
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from headstart.base import filenames, records
from headstart.base.errors import EngineMismatch, RunError, disk_full_named
from headstart.base.progress import Progress
from headstart.export import catalogue, gate, litert_file, onnx_file, openvino_file, tensorflow_files
from headstart.export.catalogue import PRECISIONS, Format
from headstart.export.gate import Expected
from headstart.export.inspection import BATCH, inspect
from headstart.export.network import Network, label_lines
from headstart.export.subject import Subject, open_run
from headstart.reporting import card, leaderboard, report
from headstart.results import exports
from headstart.results.exports import Export, Exports, Refused

WRITERS: dict[str, Callable[[Network, Path, str], None]] = {
    "keras": tensorflow_files.write_keras,
    "savedmodel": tensorflow_files.write_saved_model,
    "openvino": openvino_file.write,
    "onnx": onnx_file.write,
    "litert": litert_file.write,
}


def export(
    folder: Path,
    names: Sequence[str],
    *,
    precision: str = "f32",
    out: Path | None = None,
    data: str | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Exports:
    """Export the model of a run, each file checked against it on the test photos.

    A file that does not agree is removed, and the result says why; where int8 loses too much, f16 is written
    in its place, then f32.

    Args:
        folder: A finished run folder.
        names: Of the formats; see `catalogue.FORMATS`.
        precision: "f32", "f16" or "int8".
        out: Where a folder is made for each; by default `exports` in the run folder.
        data: Where the run's photos are, if no longer where it found them.
        overwrite: Put new files in the place of older ones of the same format and precision.
        progress: Told how far it is, and of each file.

    Returns:
        What the run's exports.json says now: these, and those that were made before. Where the run has a
        report, it and the model card are drawn again.

    Raises:
        SettingsError: A format has no such precision.
        MissingPackage: A package is missing.
        RunError: The folder holds no finished run, or there are files already.
        DataError: The photos are not there.
        DiskFull: No space is left.
    """
    progress = progress or Progress()
    chosen = [catalogue.find(name) for name in names]
    catalogue.check(chosen, precision)
    subject = open_run(folder, data, progress)
    target = out or folder / filenames.EXPORTS
    if not overwrite:
        _refuse_existing(chosen, precision, target)
    expected = Expected(subject.model.class_names, *subject.answers(progress))
    network = Network(subject, progress)
    made, refused = [], []
    for one in chosen:
        try:
            made.append(_ship(one, precision, network, expected, target, overwrite, progress))
        except EngineMismatch as error:
            refused.append(Refused(one.name, precision, f"{error.problem} {error.fix}"))
    whole = _record(subject, expected, made, refused)
    if (folder / filenames.REPORT).exists():
        report.draw(folder)
        card.write(folder)
    return whole


def _refuse_existing(chosen: Sequence[Format], precision: str, target: Path) -> None:
    for one in chosen:
        place = _place(target, one, precision)
        if os.path.lexists(place):
            raise RunError(
                f"{place} is there already.", "Name another folder with --out, or replace it: --overwrite."
            )


def _place(target: Path, one: Format, precision: str) -> Path:
    return target / f"{one.name}-{precision}"


def _ship(
    one: Format,
    asked: str,
    network: Network,
    expected: Expected,
    target: Path,
    overwrite: bool,
    progress: Progress,
) -> Export:
    """Write, try and hand out a file in the precision asked for; where int8 loses too much, in the next."""
    reasons: list[str] = []
    for precision in reversed(PRECISIONS[: PRECISIONS.index(asked) + 1]):
        try:
            if precision == "int8":
                gate.refuse_too_few(network.subject.test, network.subject.settings.margin)
            export = _try(one, precision, network, expected, target, progress)
        except EngineMismatch as error:
            reasons.append(f"{precision}: {error.problem}")
            if asked != "int8" or precision == PRECISIONS[0]:
                raise
            progress.remark(f"{one.name} in {precision} is refused. {error.problem}")
            _refuse_what_is_there(one, precision, target, error, overwrite)
        else:
            return dataclasses.replace(export, asked=asked, why=" ".join(reasons))
    raise AssertionError("f32 is returned or raised")


def _refuse_what_is_there(
    one: Format, refused: str, target: Path, why: EngineMismatch, overwrite: bool
) -> None:
    """Make sure that the next precision is not there already, for it was not asked to be replaced."""
    following = PRECISIONS[PRECISIONS.index(refused) - 1]
    if not overwrite and os.path.lexists(_place(target, one, following)):
        raise EngineMismatch(
            why.problem, f"{_place(target, one, following)} is there already; it was left as it is."
        )


def _try(
    one: Format, precision: str, network: Network, expected: Expected, target: Path, progress: Progress
) -> Export:
    subject = network.subject
    with disk_full_named(target), _room_in(target) as room:
        beside = room / "export"
        beside.mkdir()
        path = beside / one.file
        with progress.stage(f"Writing {one.name} in {precision}", 1, "files") as advance:
            with _hushed():
                WRITERS[one.name](network, path, precision)
            (beside / filenames.LABELS).write_text(label_lines(network.class_names), encoding="utf-8")
            advance()
        with progress.stage(f"Trying it in {one.runtime}", 1, "files") as advance:
            record = subject.model.record
            found = inspect(one, path, subject.test, record.image_size_px, record.fit)
            agreement = gate.judge(expected, found, subject.test, precision, subject.settings.margin)
            advance()
        place = _place(target, one, precision)
        _replace(beside, place)
    files = sorted(path.name for path in place.iterdir())
    return Export(
        format=one.name,
        precision=precision,
        asked=precision,
        why="",
        folder=_told(place, subject.run.folder),
        files=(one.file, *(file for file in files if file != one.file)),
        size_mb=_size_mb(place),
        runtime=found.report.runtime,
        n_images=len(subject.test),
        n_other_labels=agreement.n_other_labels,
        largest_difference=agreement.largest_difference,
        largest_novelty_difference=agreement.largest_novelty_difference,
        scores=agreement.scores,
        comparison=agreement.comparison,
        latency_ms=found.report.latency_ms,
        batch_latency_ms=found.report.batch_latency_ms,
        batch=BATCH,
    )


@contextlib.contextmanager
def _room_in(target: Path) -> Iterator[Path]:
    """Give a folder in the one that files are handed out in, to be removed with what is left in it."""
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target, prefix=".") as name:
        yield Path(name)


@contextlib.contextmanager
def _hushed() -> Iterator[None]:
    """Drop what converters write to stdout and stderr: how far they are, and what is no fault."""
    with open(os.devnull, "wb") as nowhere:
        kept = {stream: os.dup(stream) for stream in (1, 2)}
        try:
            for stream in kept:
                os.dup2(nowhere.fileno(), stream)
            yield
        finally:
            for stream, copy in kept.items():
                os.dup2(copy, stream)
                os.close(copy)


def _replace(beside: Path, place: Path) -> None:
    """Put a finished folder into its place; an older one is gone only when the new one can take it."""
    if os.path.lexists(place):
        older = beside.parent / "older"
        place.rename(older)
    beside.rename(place)


def _told(place: Path, run: Path) -> str:
    inside = place.resolve().is_relative_to(run.resolve())
    return place.resolve().relative_to(run.resolve()).as_posix() if inside else str(place.resolve())


def _size_mb(place: Path) -> float:
    files = [file for file in place.rglob("*") if file.is_file() and file.name != filenames.LABELS]
    return sum(file.stat().st_size for file in files) / 1e6


def _record(
    subject: Subject, expected: Expected, made: Sequence[Export], refused: Sequence[Refused]
) -> Exports:
    """Write exports.json anew, with those that were made before and are still of this model."""
    path, record = subject.run.folder / filenames.EXPORTS_TABLE, subject.model.record
    before = exports.read(path)
    again = {(one.folder, one.name) for one in made}
    kept = [one for one in before.exports if (one.folder, one.name) not in again] if before else []
    whole = Exports(
        schema_version=exports.SCHEMA_VERSION,
        candidate=subject.results.recommended.name,
        image_size_px=record.image_size_px,
        fit=record.fit,
        scores=gate.scores_of(expected.probabilities, subject.test),
        exports=(*kept, *made),
        refused=tuple(refused),
    )
    records.write_json(path, whole)
    return whole


def render(found: Exports) -> str:
    """Return a table of what was exported, then what was not, and why."""
    header = ("export", "MB", "labels", "largest", "accuracy", "interval", "ECE", "ms", f"{BATCH} at once")
    rows = [_run_row(found), *map(_row, found.exports)]
    told = [f"{one.name} in the place of {one.asked}. {one.why}" for one in found.exports if one.why]
    told += [
        f"{one.format} {one.asked} was refused, and no file is left. {one.reason}" for one in found.refused
    ]
    return f"{leaderboard.table(header, rows)}\n{NOTE}\n" + "".join(map(_wrapped, told))


def _wrapped(sentences: str) -> str:
    return f"\n{textwrap.fill(sentences, 79, break_on_hyphens=False, break_long_words=False)}\n"


NOTE = """\
labels: test photos with the label of the model of the run; largest: difference of
a probability; interval: 95%, of the difference in accuracy; ms: one photo"""


def _run_row(found: Exports) -> tuple[str, ...]:
    scores = found.scores
    return (found.candidate, "", "", "", f"{scores.accuracy:.1%}", "", f"{scores.ece:.3f}", "", "")


def _row(one: Export) -> tuple[str, ...]:
    interval = one.comparison.interval
    return (
        f"  {one.name}",
        f"{one.size_mb:.1f}",
        f"{one.n_images - one.n_other_labels:,} of {one.n_images:,}",
        f"{one.largest_difference:.1e}",
        f"{one.scores.accuracy:.1%}",
        f"{100 * interval.low:+.1f} to {100 * interval.high:+.1f}",
        f"{one.scores.ece:.3f}",
        f"{one.latency_ms:.1f}",
        f"{one.batch_latency_ms:.0f}",
    )
