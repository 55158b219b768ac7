"""Fine-tuning for 2, 4 and 8 passes, otherwise by default: more passes must not make it worse.

Choosing goes by validation, so that is what is told; test is not asked about.

    python benchmarks/passes.py ../shared/data [--seeds 0,1,2]
"""

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import measured

from headstart.base.progress import Console
from headstart.base.settings import Settings
from headstart.networks import backbones
from headstart.results import run
from headstart.storage.store import Store
from headstart.workflow.preparation import list_photos, prepare
from headstart.workflow.techniques.bench import Bench, open_backbone
from headstart.workflow.techniques.trial import Trial

PASSES = (2, 4, 8)
CASES = {"clothing": ("mobilenet_v2", 224), "sample:textile": ("efficientnet_lite0", 250)}
"""By photos: a backbone, and the side of the pictures that it is fed."""


def train(photos: str, backbone: str, size_px: int, folder: Path, seed: int) -> list[dict[str, Any]]:
    """Fine-tune once for each number of passes; return what validation says of each."""
    settings = Settings(data=photos, backbones=(backbone,), techniques=("finetune",), seed=seed)
    console = Console()
    found = []
    with run.claim(folder, settings) as claimed, Store(console) as store:
        bench = Bench(settings, claimed.work, store, console)
        listed = list_photos(bench)
        opened = open_backbone(backbones.find(backbone), size_px, bench)
        data = prepare(claimed, listed, [opened], (), bench)
        trial = Trial(opened, data.lesson, data.sealed, bench)
        for epochs in PASSES:
            start = time.perf_counter()
            made = trial.tuning.train(epochs).candidate
            end = made.training.history[-1]
            found.append(
                {
                    "seed": seed,
                    "epochs": epochs,
                    "seconds": time.perf_counter() - start,
                    "train_losses": [one.train_loss for one in made.training.history[1:]],
                    "end": {"accuracy": end.validation_accuracy, "log_loss": end.validation_loss},
                    "best_epoch": made.training.best_epoch,
                    "chosen": {"accuracy": made.validation.accuracy, "log_loss": made.validation.log_loss},
                }
            )
    return found


def main() -> None:
    """Measure all, print and keep the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path, help="folder that holds clothing")
    parser.add_argument("--seeds", default="0,1,2")
    arguments = parser.parse_args()
    cases = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, (backbone, size_px) in CASES.items():
            photos = name if ":" in name else str((arguments.data / name).resolve())
            runs = []
            for seed in map(int, arguments.seeds.split(",")):
                runs += train(photos, backbone, size_px, Path(folder) / f"{backbone} {seed}", seed)
            cases[name] = {"backbone": backbone, "runs": runs}
    measured.keep("passes", {"cases": cases})


if __name__ == "__main__":
    main()
