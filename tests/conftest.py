"""What several tests share: the real photos beside the checkout, and small folders of made ones."""

import os

# Two workers, or a test and the process that it starts, would wait for each other's threads in busy loops.
# Libraries look at these as they are imported, so they stand before all others.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")
os.environ.setdefault("TF_NUM_INTEROP_THREADS", "1")

import gc
import shutil
import signal
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from filelock import FileLock
from hypothesis import HealthCheck, settings
from PIL import Image

from headstart.base.errors import HeadstartError
from headstart.base.progress import Progress
from headstart.export import inspection
from headstart.networks import engine
from headstart.networks.backbones import import_openvino
from headstart.networks.vectors import Vectors
from headstart.photos import checks
from headstart.photos.audit import Audit, audit
from headstart.pictures import formats
from headstart.results.comparison import Baseline, Candidate, Measured, Recommendation, measured
from headstart.results.curve import LearningCurve, MorePhotos, PowerLaw
from headstart.results.curve import Prediction as LearningCurvePrediction
from headstart.sources.dataset import Dataset
from headstart.statistics.calibration import Calibration, Conformal, Reliability, SetQuality
from headstart.statistics.metrics import Evaluation
from headstart.statistics.significance import Comparison, Interval, Intervals
from headstart.storage.store import Store
from headstart.storage.wheels import cache_dir
from headstart.training.ridge import Head, Ridge

import_openvino()  # before a test imports it by itself, for it would report that to its makers

SHARED_DATA = Path(__file__).parents[2] / "shared" / "data"

# What a shell starts in the background ignores Ctrl-C, and so would the commands that tests end by it.
signal.signal(signal.SIGINT, signal.default_int_handler)

settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")

PATIENCE_S = 300
"""How long a test waits for what must come: a machine may be slow, and only a fault lets it wait so long."""


LONGEST = (
    *("shipment", "keras_applications", "report_page", "experiment", "page", "engine", "faults", "backbones"),
    *("cli", "techniques_averaging", "ridge", "replay", "techniques_picture_size", "finetune", "duplicates"),
    *("techniques_trial", "readme", "audit", "neighbours", "significance", "wheels", "store", "report"),
    *("server", "check", "learning_curve", "techniques_draft", "projection", "explanation", "calibration"),
)
"""Files that take longest, which are begun first: at the end no worker waits for one that has a long one."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest files; all others stay in their order, and tests in theirs."""
    names = [f"test_{name}" for name in LONGEST]
    items.sort(key=lambda item: names.index(item.path.stem) if item.path.stem in names else len(names))


def pytest_collection_finish() -> None:
    """Look for garbage less often: what all tests import is none, and a network is many small objects."""
    gc.freeze()
    gc.set_threshold(50_000, 10, 10)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real photos that stands beside a development checkout."""
    if not SHARED_DATA.is_dir():
        pytest.skip("the development photos (../shared/data) are not here")
    return SHARED_DATA


@pytest.fixture(scope="session")
def shared_tmp(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A temporary folder of this run of the tests, the same in each of its workers."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


@pytest.fixture(scope="session", autouse=True)
def users_cache(
    pytestconfig: pytest.Config, shared_tmp: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Path]:
    """The cache of whoever runs the tests, in whose place they have one of their own.

    Its store is each worker's own, and empty; graphs are shared by the workers of a run, weights and samples
    kept for the next one, where pytest keeps things, for they are large. Whoever opens a file of the user's
    fails.
    """
    user, own = cache_dir(), tmp_path_factory.mktemp("cache")
    keeps: pytest.Cache | None = getattr(pytestconfig, "cache", None)  # pytest may be asked to keep nothing
    kept = keeps.mkdir("headstart") if keeps else shared_tmp / "pulled"
    for name, folder in (("weights", kept), ("samples", kept), ("graphs", shared_tmp)):
        (folder / name).mkdir(parents=True, exist_ok=True)
        (own / name).symlink_to(folder / name, target_is_directory=True)
    sys.addaudithook(refuse_below(user))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HEADSTART_CACHE", str(own))
        yield user


@pytest.fixture(scope="session", autouse=True)
def three_rounds() -> Iterator[None]:
    """Measure the latency of networks in three rounds, for any figure does.

    A network on all cores waits in a busy loop for the core that another worker of the tests has.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine, "ROUNDS", 3)
        patch.setattr(inspection, "ROUNDS", 3)
        yield


def refuse_below(folder: Path) -> Callable[[str, tuple[Any, ...]], None]:
    """An audit hook that lets nobody open or list what is below a folder."""
    prefix = str(folder)

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event in {"open", "sqlite3.connect", "os.scandir", "os.listdir", "os.mkdir", "os.utime"}:
            path = arguments[0]
            if isinstance(path, str | bytes | os.PathLike) and os.fsdecode(path).startswith(prefix):
                raise AssertionError(f"A test must leave the user's cache alone: {os.fsdecode(path)}")

    return hook


def until(is_so: Callable[[], bool]) -> None:
    """Wait until something is so."""
    end = time.monotonic() + PATIENCE_S
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.05)


def touch(root: Path, *paths: str) -> Path:
    """Make empty files: a picture's extension is enough for listing, which does not open them."""
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).touch()
    return root


def text_of(error: type[HeadstartError], call: Callable[[], object]) -> str:
    """The whole text of the error that a call raises."""
    with pytest.raises(error) as caught:
        call()
    return str(caught.value)


def audited(listed: Dataset, progress: Progress | None = None) -> Audit:
    """What `headstart.photos.audit.audit` finds, with the tests' own store."""
    with Store(Progress()) as store:
        return audit(listed, store=store, progress=progress or Progress())


CALIBRATION = Calibration(
    n_images=340,
    temperature=1.0,
    abstention=None,
    conformal=Conformal(coverage=0.95, threshold=0.1, method="lac", n_images=340),
)

CURVE = LearningCurve(
    n_evaluated=360,
    points=(),
    law=PowerLaw(0.05, 1.2, 0.4),
    fitted=(),
    doubled=LearningCurvePrediction(6000, 0.915, Interval(0.9, 0.93, 0.95)),
    more=MorePhotos(0.01, 1873, 912, 5241),
    per_class=(),
)


def made_measured(scores: Evaluation) -> Measured:
    """An evaluation on test whose intervals are 5 points wide."""

    def around(value: float) -> Interval:
        return Interval(round(value - 0.02, 4), round(value + 0.03, 4), 0.95)

    return measured(
        scores,
        Intervals(
            around(scores.accuracy),
            around(scores.balanced_accuracy),
            around(scores.macro_f1),
            around(scores.log_loss),
            (),
        ),
        reliability=Reliability((), 0.02),
        selection=None,
        risk_curve=(),
        sets=SetQuality(scores.n_images, 0.95, Interval(0.93, 0.97, 0.95), 1.1, 0.9),
        refused=None,
        without_leaks=None,
    )


def made_recommendation(chosen: Candidate) -> Recommendation:
    """A recommendation of the best on validation, without alternatives."""
    return Recommendation(chosen.backbone, chosen.technique, chosen.name, 0.01, 0.95, "It was best.", ())


def made_baseline(chosen: Candidate, accuracy: float = 0.5) -> Baseline:
    """What always saying the commonest class gets, which the candidate is clearly better than."""
    ahead = Interval(0.3, 0.5, 0.95)
    compared = Comparison(chosen.name, "always", 400, 0.4, ahead, 180, 20, 1e-9, 1e-9, "better")
    return Baseline("hat", 0.55, accuracy, Interval(accuracy - 0.05, accuracy + 0.05, 0.95), compared)


def fitted(features: np.ndarray, labels: np.ndarray, strength: float = 0.1) -> Head:
    """Return the head of some photos, none of which has a copy."""
    rows, ones = np.arange(len(labels)), np.ones(len(labels), np.float32)
    return Ridge(Vectors((features,)), labels, ones, int(labels.max()) + 1).head(rows, rows, strength)


def made_photos(size_px: int, count: int = 4) -> np.ndarray:
    """Pictures of smooth blotches, uint8 (N, S, S, 3): noise would hardly excite a backbone."""
    blotches = np.random.default_rng(0).random((count, 8, 8, 3))
    repeated = blotches.repeat(-(-size_px // 8), axis=1).repeat(-(-size_px // 8), axis=2)
    return (repeated[:, :size_px, :size_px] * 255).astype(np.uint8)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Class folders `red` and `green` of 20 noisy 40 x 30 pixel JPEGs each, told apart by their colour."""
    write_photos(tmp_path / "photos")
    return tmp_path / "photos"


def write_photos(root: Path) -> None:
    """Write the photos of the fixture `photos`."""
    random = np.random.default_rng(0)
    for channel, name in enumerate(("red", "green")):
        folder = root / name
        folder.mkdir(parents=True)
        for number in range(20):
            image = random.integers(0, 90, (30, 40, 3), dtype=np.uint8)
            image[..., channel] += 140
            Image.fromarray(image).save(folder / f"{name}_{number:02}.jpg", quality=95)


def write_mixed_photos(folder: Path) -> None:
    """Write 3 classes of 16 photos that overlap in colour, a copy, a damaged photo and a text file."""
    random = np.random.default_rng(1)
    for channel, name in enumerate(("red", "green", "blue")):
        (folder / name).mkdir(parents=True)
        for number in range(16):
            image = random.integers(0, 120, (30, 40, 3), dtype=np.uint8)
            image[..., channel] += random.integers(0, 60, dtype=np.uint8)
            Image.fromarray(image).save(folder / name / f"{name}_{number:02}.jpg", quality=95)
    (folder / "red" / "copy.jpg").write_bytes((folder / "red" / "red_03.jpg").read_bytes())
    (folder / "green" / "damaged.jpg").write_bytes(b"\xff\xd8\xff\xe0 no more of it")
    (folder / "notes.txt").write_text("not a photo")


@dataclass(frozen=True)
class Finished:
    """A comparison that the command line has run to its end, how it was asked for, and what it printed."""

    photos: Path
    folder: Path
    options: tuple[str, ...]
    stdout: str
    stderr: str


@pytest.fixture(scope="session")
def finished(shared_tmp: Path) -> Finished:
    """`headstart compare` with both techniques, as a process of its own; not to be changed by a test."""
    root = shared_tmp / "finished"
    options = (str(root / "photos"), "--backbones", "tiny", "--epochs", "2", "--seed", "3", "--folds", "0")
    printed = root / "stdout", root / "stderr"
    with FileLock(shared_tmp / "finished.lock"):  # the first worker runs it, another waits
        if not printed[1].exists():
            write_mixed_photos(root / "photos")
            command = [sys.executable, "-m", "headstart", "compare", *options, "--json"]
            done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr
            printed[0].write_text(done.stdout, encoding="utf-8")
            printed[1].write_text(done.stderr, encoding="utf-8")
    stdout, stderr = (path.read_text(encoding="utf-8") for path in printed)
    return Finished(root / "photos", root / "runs" / "photos", options, stdout, stderr)


@pytest.fixture(scope="session")
def exported(finished: Finished, shared_tmp: Path) -> Path:
    """The finished run with files of three formats, in f32 and in f16; not to be changed by a test.

    Beside it stands `stdout`, what the command of those in f32 printed.
    """
    from click.testing import CliRunner

    from headstart.cli import main

    run, printed = shared_tmp / "exported" / "run", shared_tmp / "exported" / "stdout"
    words = ["export", str(run), "--format", "openvino,onnx,litert", "--json", "--quiet"]
    with FileLock(shared_tmp / "exported.lock"):
        if not printed.exists():
            shutil.copytree(finished.folder, run)
            asked, halved = (CliRunner().invoke(main, [*words, "--precision", one]) for one in ("f32", "f16"))
            assert (asked.exit_code, halved.exit_code) == (0, 0), asked.output + halved.output
            printed.write_text(asked.stdout, encoding="utf-8")
    return run


@pytest.fixture(scope="session")
def garments(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What is served of a run: a model that tells cat, dog and fox apart; not to be changed by a test."""
    from served import write_run

    return write_run(tmp_path_factory.mktemp("runs") / "garments")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """A function that gives an empty disk of so many kilobytes."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        pytest.skip("only root can make a small disk")
    folder = tmp_path / "disk"
    folder.mkdir()

    def mount(kilobytes: int) -> Path:
        words = ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(folder)]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"this system mounts no small disk: {done.stderr.strip()}")
        return folder

    yield mount
    # Lazily: a process may still hold a file of it, and pytest cannot remove a folder that is mounted.
    subprocess.run(["umount", "--lazy", str(folder)], capture_output=True, check=False)


@pytest.fixture
def bomb_png() -> bytes:
    """A PNG of 100 bytes or so that claims 60,000 x 60,000 pixels."""
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(bytes(99))), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


Without = Callable[[str], None]


@pytest.fixture
def without(monkeypatch: pytest.MonkeyPatch) -> Iterator[Without]:
    """Takes a package that decodes pictures away, as if it were not installed."""

    def forget() -> None:
        formats.raster_formats.cache_clear()
        formats.picture_extensions.cache_clear()
        checks.decoders.cache_clear()

    def take(name: str) -> None:
        monkeypatch.setitem(sys.modules, name, None)
        forget()

    yield take
    monkeypatch.undo()
    forget()
