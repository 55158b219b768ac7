"""Every option once: its CLI flag, TOML key, default, help and choices come from the field here."""

import dataclasses
import difflib
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypedDict

import msgspec

from headstart.base import filenames
from headstart.base.errors import SettingsError
from headstart.base.records import read_toml

TECHNIQUE_WORDS = {"features": "feature extraction", "finetune": "fine-tuning"}
"""What books call the two: with the backbone frozen a new head, or that and then its last layers too."""

TECHNIQUES = tuple(TECHNIQUE_WORDS)

FEATURES = ("stages", "last")
AUTO: Literal["auto"] = "auto"
FITS = ("squash", "crop", "pad")
AUGMENTS = ("auto", "none", "light", "full")
LAYOUTS = ("auto", "classes", "parts")
CLASS_WEIGHTS = ("auto", "none", "balanced")
ENGINES = ("auto", "openvino", "keras")
UNFREEZE_WORDS = ("auto", "last", "half", "all")
DURATION = re.compile(r"(?:([\d.]+)h)?(?:([\d.]+)m)?(?:([\d.]+)s)?")


def option(default: Any, help: str, **metadata: Any) -> Any:
    """Return a dataclass field with what the command line needs to know of it."""
    return field(default=default, metadata={"help": help, **metadata})


class Reading(TypedDict, total=False):
    """How photos are listed: arguments of `headstart.sources.listing.load`, and fields of `Settings`."""

    exclude: tuple[str, ...]
    group_by: str | None
    layout: str
    path_column: str | None
    label_column: str | None
    split_column: str | None
    images: str | None


@dataclass(frozen=True)
class Settings:
    """What a comparison is asked to do; equal settings and equal photos give an equal result.

    Raises:
        SettingsError: A value is outside its choices or its range.

    Example:
        >>> Settings(data="photos", fit="crop").fit
        'crop'
        >>> Settings(data="photos", fit="crup")
        Traceback (most recent call last):
            ...
        headstart.base.errors.SettingsError: fit is 'crup'.
        Choose one of squash, crop, pad.
    """

    data: str = field(
        metadata={"help": "Folder of photos, or a CSV, TSV or Parquet file; s3:// or gs://; or sample:NAME."}
    )
    backbones: tuple[str, ...] = option(
        ("mobilenet_v2", "efficientnet_lite0"),
        "Backbones to compare, with commas between; a+b: those two side by side, under one head.",
    )
    techniques: tuple[str, ...] = option(
        TECHNIQUES, "Techniques to compare: features, finetune.", choices=TECHNIQUES
    )
    out: str | None = option(None, "Run folder.", shown_default="runs/NAME")
    features: str = option(
        "stages",
        "What is asked of a frozen backbone: stages inside the network too, or the last layer alone.",
        choices=FEATURES,
    )
    pair: bool = option(
        True, "Try the best two backbones side by side too: under one head, or, fine-tuned, their mean."
    )
    seed: int = option(0, "Seed of the split, of augmentation and of training.")
    epochs: int | Literal["auto"] = option(
        AUTO,
        "Passes over the training photos that fine-tuning takes; auto: 4, and more where photos are few.",
        minimum=1,
    )
    unfreeze: str = option(
        "auto", "Layers to fine-tune: last, half or all of them, a number, or auto (by backbone)."
    )
    augment: str = option(
        "auto",
        "Augmentation in fine-tuning: auto drops what would change a label.",
        choices=AUGMENTS,
    )
    image_size: int | Literal["auto"] = option(
        AUTO,
        "Pixels a side that backbones are fed; auto tries some sizes on a sample of the photos to train on.",
        minimum=32,
    )
    fit: str = option("squash", "How a photo becomes square.", choices=FITS)
    class_weight: str = option(
        "auto",
        "Weigh rare classes up: auto does when the largest class is 3 or more times the smallest.",
        choices=CLASS_WEIGHTS,
    )
    validation: float = option(0.15, "Part of the photos to choose by, when none is given.", part=True)
    folds: int | None = option(
        None,
        "Choose by cross-validation with so many folds instead of by a validation part; 0: by the part.",
        minimum=0,
        shown_default="5 below 1,000 photos where no validation part is given, else 0",
    )
    test: float = option(0.2, "Part of the photos to measure on, when none is given.", part=True)
    exclude: tuple[str, ...] = option(
        (), "Classes, or folders beside those of the parts, to leave out; with commas between."
    )
    group_by: str | None = option(
        None,
        "Photos to keep in one part: those whose paths have the same text where this regular expression "
        "(or its first group) matches, or the same value in this column of a table.",
    )
    layout: str = option(
        "auto",
        "What the topmost folders are: classes, or parts (train, validation, test) with the classes in them; "
        "auto asks where that is not plain.",
        choices=LAYOUTS,
    )
    path_column: str | None = option(
        None, "Column of a table that names the photos' files.", shown_default="told by its name or content"
    )
    label_column: str | None = option(
        None, "Column of a table that holds the labels.", shown_default="told by its name or content"
    )
    split_column: str | None = option(
        None,
        "Column of a table that holds the parts; none: the photos are divided anew.",
        shown_default="told by its name or content",
    )
    images: str | None = option(None, "Folder of a table's photos, where they are not in its own.")
    check: bool = option(True, "Look for near-duplicates, shortcuts and odd sizes first, too.")
    max_error: float = option(
        0.01, "Part of the answers that may be wrong; below the confidence for it, abstain.", part=True
    )
    margin: float = option(
        0.01,
        "Part of the photos that a cheaper candidate may be wrong on more often and be recommended; 0: none.",
        share=True,
    )
    coverage: float = option(0.95, "Part of the photos whose label must be in the set of likely classes.")
    max_refused: float = option(
        0.01, "Part of the photos of these classes that may be told as none of them.", part=True
    )
    seeds: int = option(1, "Fine-tune so many times, each from another seed, and show the spread.", minimum=1)
    report: bool = option(
        True, f"Write {filenames.REPORT} and a model card, {filenames.CARD}, into the run folder."
    )
    batch_size: int = option(16, "Photos to a training step.", minimum=1)
    learning_rate: float = option(3e-4, "Peak learning rate of fine-tuning.", positive=True)
    engine: str = option(
        "auto", "What runs the networks: auto takes keras on a GPU, else openvino.", choices=ENGINES
    )
    budget: str | None = option(
        None, "Time that it may take, such as 90s, 10m or 1h30m; less is tried to keep it."
    )
    weights_dir: str | None = option(None, "Folder with weight files under the names that Keras uses.")

    def __post_init__(self) -> None:
        for name in ("backbones", "techniques"):
            if not getattr(self, name):
                raise SettingsError(f"{name} is empty.", "Name at least one.")
        if isinstance(self.image_size, str) and self.image_size != AUTO:
            raise SettingsError(f"image_size is {self.image_size!r}.", "Give auto, or a number of pixels.")
        if isinstance(self.epochs, str) and self.epochs != AUTO:
            raise SettingsError(f"epochs is {self.epochs!r}.", "Give auto, or a number of passes.")
        for known in dataclasses.fields(self):
            _refuse_value(known, getattr(self, known.name))
        if self.unfreeze not in UNFREEZE_WORDS and not self.unfreeze.isdecimal():
            raise SettingsError(
                f"unfreeze is {self.unfreeze!r}.",
                "Choose one of auto, last, half, all, or a number of layers.",
            )
        if set(self.techniques) == {"finetune"} and any("+" in name for name in self.backbones):
            raise SettingsError(
                f"backbones is {', '.join(self.backbones)}, and techniques is finetune alone.",
                "Backbones side by side give features alone: add features to the techniques.",
            )
        if self.folds == 1:
            raise SettingsError("folds is 1.", "Give 2 or more, or 0 for a validation part.")
        if self.budget is not None and not self.budget_seconds:
            raise SettingsError(f"budget is {self.budget!r}.", "Give a time such as 90s, 10m or 1h30m.")

    @property
    def weights_folder(self) -> Path | None:
        """The folder of weight files, None where none was named."""
        return Path(self.weights_dir).expanduser() if self.weights_dir else None

    @property
    def reading(self) -> Reading:
        """How photos are listed, for `headstart.sources.listing.load`."""
        return {
            "exclude": self.exclude,
            "group_by": self.group_by,
            "layout": self.layout,
            "path_column": self.path_column,
            "label_column": self.label_column,
            "split_column": self.split_column,
            "images": self.images,
        }

    @property
    def budget_seconds(self) -> float | None:
        """The budget in seconds, 0 of what is no time; None without one.

        Example:
            >>> Settings(data="photos", budget="1h30m").budget_seconds
            5400.0
        """
        if self.budget is None:
            return None
        found = DURATION.fullmatch(self.budget)
        if found is None:
            return 0.0
        hours, minutes, seconds = (float(part or 0) for part in found.groups())
        return hours * 3600 + minutes * 60 + seconds


@dataclass(frozen=True)
class Serving:
    """How models are served: where, to whom, and how much at once.

    Raises:
        SettingsError: A value is outside its range, or one request could hold more than may wait.

    Example:
        >>> Serving(port=0).host
        '127.0.0.1'
    """

    host: str = option("127.0.0.1", "Address to listen on; 0.0.0.0 is every one of this machine.")
    port: int = option(8000, "Port to listen on; 0 takes a free one.", minimum=0)
    token: str | None = option(
        None, "What a request must bring as Authorization: Bearer TOKEN.", shown_default="HEADSTART_TOKEN"
    )
    allow_origin: tuple[str, ...] = option(
        (), "Web pages elsewhere that may ask, such as https://example.org; with commas between."
    )
    max_queue: int = option(128, "Pictures that may wait; to more the answer is to come again.", minimum=1)
    max_files: int = option(64, "Pictures in one request.", minimum=1)
    max_megabytes: int = option(32, "Size of one request.", minimum=1)
    max_megapixels: int = option(50, "Size of one picture.", minimum=1)
    timeout: int = option(30, "Seconds for a request to come, and for its answer.", minimum=1)

    def __post_init__(self) -> None:
        for known in dataclasses.fields(self):
            _refuse_value(known, getattr(self, known.name))
        if self.max_files > self.max_queue:
            raise SettingsError(
                f"max_files is {self.max_files} and max_queue {self.max_queue}.",
                "Let as many pictures wait as one request may bring, or more.",
            )
        if self.token is not None and not (self.token and self.token.isascii() and self.token.isprintable()):
            raise SettingsError("token is empty, or has other characters than ASCII's.", "Give another one.")


def _refuse_value(known: "dataclasses.Field[Any]", value: Any) -> None:
    limits = known.metadata
    values = value if isinstance(value, tuple) else (value,)
    if "choices" in limits and not set(values) <= set(limits["choices"]):
        wrong = next(one for one in values if one not in limits["choices"])
        raise SettingsError(f"{known.name} is {wrong!r}.", f"Choose one of {', '.join(limits['choices'])}.")
    if value is None or value == AUTO:
        return
    if "minimum" in limits and value < limits["minimum"]:
        raise SettingsError(f"{known.name} is {value}.", f"Give {limits['minimum']} or more.")
    if "positive" in limits and not value > 0:
        raise SettingsError(f"{known.name} is {value}.", "Give a number above 0.")
    if "share" in limits and not 0 <= value < 0.5:
        raise SettingsError(f"{known.name} is {value}.", "Give a part of the photos, from 0 to below 0.5.")
    if "part" in limits and not 0 < value < 0.9:
        raise SettingsError(f"{known.name} is {value}.", "Give a part of all photos, above 0 and below 0.9.")


def from_toml(path: Path, **given: Any) -> Settings:
    """Read settings from a TOML file; `given` (what the command line names) goes before the file.

    Raises:
        SettingsError: The file is missing or not TOML, or has an unknown key or a value of another type.
    """
    values = {**_read(path), **given}
    names = [known.name for known in dataclasses.fields(Settings)]
    for key in values:
        if key not in names:
            near = difflib.get_close_matches(key, names, n=1)
            raise SettingsError(
                f"{path} has the unknown key {key!r}.",
                f"Did you mean {near[0]!r}?" if near else f"The keys are: {', '.join(names)}.",
            )
    try:
        return msgspec.convert(values, Settings)
    except msgspec.ValidationError as error:
        raise SettingsError(f"{path}: {error}.", "Give the value in that type.") from error


def _read(path: Path) -> dict[str, Any]:
    try:
        return read_toml(path)
    except FileNotFoundError as error:
        raise SettingsError(f"No file {path}.", "Name a TOML file with --config.") from error
    except ValueError as error:
        raise SettingsError(f"{path} is not TOML: {error}.", "Mend that line.") from error
