"""Compare pretrained image backbones on your own photos, by feature extraction and by fine-tuning."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from headstart.base.version import __version__

if TYPE_CHECKING:
    from headstart.networks.classifier import Classifier
    from headstart.results.comparison import Results

__all__ = ["__version__", "compare", "load"]


def compare(data: str | Path, *, update: bool = False, **settings: Any) -> "Results":
    """Compare backbones on labelled photos; the same as `headstart compare`.

    Args:
        data: Folder of photos, a CSV, TSV or Parquet file, either also in an object store ("s3://BUCKET/PHOTOS"),
            or "sample:NAME".
        update: Compare anew where the photos are not those of the finished run.
        settings: Fields of `headstart.base.settings.Settings`, such as `backbones=["mobilenet_v2"]`.

    Returns:
        The results, as in results.json of the run folder (`out`, by default runs/NAME).

    Raises:
        HeadstartError: Something that you can mend; its text says how. It is so, too, where the run is
            finished and the photos have changed since; where they are gone, that is a warning.
    """
    from headstart.base.settings import Settings
    from headstart.workflow import experiment

    for name in ("backbones", "techniques", "exclude"):
        if name in settings:
            value = settings[name]
            settings[name] = (value,) if isinstance(value, str) else tuple(dict.fromkeys(value))
    return experiment.compare(Settings(data=str(data), **settings), update=update)


def load(run: str | Path) -> "Classifier":
    """Return the recommended model of a run folder, or of the `model` folder in it.

    Raises:
        RunError: No finished run is there.
    """
    from headstart.networks import classifier

    return classifier.load_run(Path(run))
