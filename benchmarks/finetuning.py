"""Fine-tuning on activations that are kept, in two views, against live ones: rate and accuracy.

python benchmarks/finetuning.py ../shared/data
"""

import statistics
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
from headstart.workflow.techniques import tuning
from headstart.workflow.techniques.bench import Bench, open_backbone
from headstart.workflow.techniques.trial import Trial

BACKBONE, SIZE_PX = "mobilenet_v2", 224
SEEDS = (0, 1, 2)
EPOCHS = 4
VARIANTS = {"live": 0, "two views": 2}


def train(photos: Path, folder: Path, seed: int, views: int) -> dict[str, float]:
    """Fine-tune in four passes, else with the default settings; return accuracies and seconds."""
    tuning.VIEWS = views
    settings = Settings(data=str(photos), backbones=(BACKBONE,), techniques=("finetune",), seed=seed)
    console = Console()
    with run.claim(folder, settings) as claimed, Store(console) as store:
        bench = Bench(settings, claimed.work, store, console)
        listed = list_photos(bench)
        backbone = open_backbone(backbones.find(BACKBONE), SIZE_PX, bench)
        data = prepare(claimed, listed, [backbone], (), bench)
        opened = Trial(backbone, data.lesson, data.sealed, bench)
        assert opened.heads.heads
        start = time.perf_counter()
        tuned = opened.tuning.train(EPOCHS)
        seconds = time.perf_counter() - start
        answers = tuned.answer(data.test.unlabelled).probabilities
        accuracy = float((answers.argmax(axis=1) == data.test.labels).mean())
    return {
        "validation_accuracy": tuned.candidate.validation.accuracy,
        "test_accuracy": accuracy,
        "seconds": seconds,
        "images_per_s": EPOCHS * len(data.parts["train"].files) / tuned.candidate.seconds["finetune"],
    }


def main() -> None:
    """Measure all, by turns, print and keep the figures."""
    photos = measured.photos_folder(__doc__) / "clothing"
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in VARIANTS}
    with tempfile.TemporaryDirectory() as folder:
        for seed in SEEDS:
            for name, views in VARIANTS.items():
                runs[name].append(train(photos, Path(folder) / f"{name} {seed}", seed, views))
                print(name, seed, runs[name][-1], flush=True)
    figures: dict[str, Any] = {
        name: {key: statistics.mean(one[key] for one in own) for key in own[0]} | {"runs": own}
        for name, own in runs.items()
    }
    measured.keep("finetuning", {"backbone": BACKBONE, "seeds": SEEDS, "variants": figures})


if __name__ == "__main__":
    main()
