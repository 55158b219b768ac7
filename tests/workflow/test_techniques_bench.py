"""What a backbone is fed."""

from pathlib import Path

import pytest
from PIL import Image

from headstart.base.settings import Settings
from headstart.networks import backbones
from headstart.workflow.techniques import bench


def files_of(folder: Path, *sizes: tuple[int, int]) -> list[Path]:
    files = [folder / f"{number}.png" for number in range(len(sizes))]
    for file, size in zip(files, sizes, strict=True):
        Image.new("RGB", size).save(file)
    return files


@pytest.mark.parametrize(
    ("sizes", "asked", "expected"),
    [
        ([(250, 250)] * 3, None, 250),  # squares of one size near 224
        ([(250, 250), (251, 251)], None, 224),
        ([(250, 200)] * 3, None, 224),
        ([(600, 600)] * 3, None, 224),
        ([(168, 168)] * 3, None, 168),
        ([(167, 167)] * 3, None, 224),
        ([(250, 250)] * 3, 300, 300),
    ],
)
def test_the_size_that_a_backbone_is_fed(
    sizes: list[tuple[int, int]], asked: int | None, expected: int, tmp_path: Path
) -> None:
    settings = Settings(data="photos", image_size=asked)
    found = bench.image_size_px(backbones.find("mobilenet_v2"), files_of(tmp_path, *sizes), settings)
    assert found == expected
