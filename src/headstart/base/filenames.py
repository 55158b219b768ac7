"""What the files of a run folder and of its model are called, and the columns of those that are tables.

Whoever writes or reads one of them takes its name from here; docs/design.md says who does.
"""

from collections.abc import Sequence

CONFIG = "config.toml"
"""Every setting of the run: the first to be written."""

RESULTS = "results.json"
"""All figures: the last to be written, so that a run folder with it is a finished one."""

DECISION = "decision.json"
"""Which candidate is recommended, written before the test part is read."""

PHOTOS = "photos.csv"
"""Each photo as it was listed; its columns are the fields of `snapshot.Row`."""

QUARANTINE = "quarantine.csv"
"""Photos that could not be used, and why."""

SPLIT = "split.csv"
"""Which photo is in which part."""

PREDICTIONS = "predictions.csv"
"""What each candidate answered on each test photo."""

SUSPECTS = "suspects.csv"
"""Photos of train and validation whose labels look wrong, worst first."""

GALLERY = "gallery.json"
"""Thumbnails, heat maps and the map of the photos: of a run with a report alone."""

REPORT = "report.html"
CARD = "README.md"

MODEL = "model"
"""The folder of the recommended model. It holds a graph with its weights, the record and the checksums."""

GRAPH, WEIGHTS = "graph.xml", "graph.bin"
"""The network as OpenVINO runs it; it calls the second file as the first."""

CLASSIFIER = "classifier.json"
"""What must be known beside the network: `classifier.ClassifierRecord`."""

CHECKSUMS = "SHA256SUMS"
"""The SHA-256 of the files of the network; `sha256sum --check SHA256SUMS` reads it, too."""

KERAS_MODEL = "model.keras"
"""The network as Keras runs it: there in the place of the graph and its weights, where Keras is to run it."""

PIECES = "keras"
"""The folder within that of the model from which a Keras model is put together: `networks/pieces.py`."""

HEAD, BACKBONE = "head.npz", "backbone.keras"
"""In it: the head, and the network that it stands on where that was fine-tuned."""

EXPORTS = "exports"
"""The folder of exported files, a folder for each format and precision."""

EXPORTS_TABLE = "exports.json"
"""What was exported, and how each file did on the test photos: `exports.Exports`."""

LABELS = "labels.txt"
"""The class names of an exported file beside it, one a line, in the order of the probabilities."""

WORK, LOCK, UPDATE = ".work", ".lock", ".update"
"""What is deleted when the run is finished, what one process holds, and a run that compares anew."""

QUARANTINE_COLUMNS = ("path", "reason")
SPLIT_COLUMNS = ("path", "label", "part", "group", "sha256")
SUSPECTS_COLUMNS = ("path", "label", "suggested", "p_label", "p_suggested")
PREDICTIONS_COLUMNS = ("backbone", "technique", "path", "label", "predicted", "confidence")


def predictions_columns(class_names: Sequence[str]) -> tuple[str, ...]:
    """Return all columns of predictions.csv: those that each has, then a probability for each class.

    Example:
        >>> predictions_columns(("cat", "dog"))[-3:]
        ('confidence', 'p_cat', 'p_dog')
    """
    return (*PREDICTIONS_COLUMNS, *(f"p_{name}" for name in class_names))
