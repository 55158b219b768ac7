"""An exported file as its own runtime opens it: which classes it says it has, and what it answers.

This is what a user of the file would write, with nothing of what it was exported from.
"""

import ast
import json
import zipfile
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import numpy as np

from headstart.base import filenames
from headstart.base.arrays import Floats
from headstart.export.names import INPUT, ONNX_CLASSES, OPENVINO_CLASSES, SIGNATURE
from headstart.networks.backbones import import_keras, import_openvino
from headstart.pictures.pixels import Pixels, core_count

Outputs = dict[str, Floats]
"""By name, N rows each."""


class Opened(ABC):
    """A file, opened."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @abstractmethod
    def labels(self) -> list[str]:
        """Return the class names from where users of this format read them."""

    @abstractmethod
    def answer(self, pictures: Pixels) -> Outputs:
        """Return the outputs for pictures, uint8 RGB (N, S, S, 3)."""

    @property
    @abstractmethod
    def version(self) -> str:
        """Name and version of the runtime."""

    def beside(self) -> list[str]:
        """Return the class names of the file of labels beside it."""
        return (self.path.parent / filenames.LABELS).read_text(encoding="utf-8").splitlines()


class OpenedKeras(Opened):
    """A .keras file; its labels are beside it, for the format has no place for them."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._model = import_keras().saving.load_model(path, safe_mode=True)

    def labels(self) -> list[str]:
        """See `Opened`."""
        return self.beside()

    def answer(self, pictures: Pixels) -> Outputs:
        """See `Opened`; it takes bytes as they are."""
        return {name: np.asarray(one) for name, one in self._model.predict_on_batch(pictures).items()}

    @property
    def version(self) -> str:
        """See `Opened`."""
        return f"Keras {import_keras().__version__}"


class OpenedSavedModel(Opened):
    """A SavedModel, by its signature for bytes."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        import_keras()
        import tensorflow

        self._tensorflow = tensorflow
        self._loaded = tensorflow.saved_model.load(str(path))

    def labels(self) -> list[str]:
        """See `Opened`."""
        return (self.path / "assets.extra" / filenames.LABELS).read_text(encoding="utf-8").splitlines()

    def answer(self, pictures: Pixels) -> Outputs:
        """See `Opened`; by the signature that servers take."""
        tensor = self._tensorflow.constant(pictures, self._tensorflow.float32)
        found = self._loaded.signatures[SIGNATURE](**{INPUT: tensor})
        return {name: one.numpy() for name, one in found.items()}

    @property
    def version(self) -> str:
        """See `Opened`."""
        return f"TensorFlow {self._tensorflow.__version__}"


class OpenedOpenVINO(Opened):
    """A graph of OpenVINO, with the options that it has by default: a processor may round to bfloat16."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._openvino = import_openvino()
        self._graph = self._openvino.Core().read_model(path)
        self._compiled = self._openvino.Core().compile_model(self._graph, "CPU")

    def labels(self) -> list[str]:
        """See `Opened`."""
        info = self._graph.get_rt_info([*OPENVINO_CLASSES])
        return list(json.loads(info.astype(str)))

    def answer(self, pictures: Pixels) -> Outputs:
        """See `Opened`."""
        found = self._compiled(pictures)
        return {port.get_any_name(): np.array(one) for port, one in found.items()}

    @property
    def version(self) -> str:
        """See `Opened`."""
        return f"OpenVINO {self._openvino.__version__.partition('-')[0]}"


class OpenedONNX(Opened):
    """An ONNX file, with the options that ONNX Runtime has by default."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        import onnxruntime

        self._onnxruntime = onnxruntime
        self._session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])

    def labels(self) -> list[str]:
        """See `Opened`."""
        names = ast.literal_eval(self._session.get_modelmeta().custom_metadata_map[ONNX_CLASSES])
        return [names[key] for key in sorted(names, key=int)]

    def answer(self, pictures: Pixels) -> Outputs:
        """See `Opened`."""
        names = [one.name for one in self._session.get_outputs()]
        return dict(zip(names, self._session.run(names, {INPUT: pictures.astype(np.float32)}), strict=True))

    @property
    def version(self) -> str:
        """See `Opened`."""
        return f"ONNX Runtime {self._onnxruntime.__version__}"


class OpenedLiteRT(Opened):
    """A TFLite file, by its signature."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        from ai_edge_litert.interpreter import Interpreter

        self._runner: Any = Interpreter(str(path), num_threads=core_count()).get_signature_runner(SIGNATURE)

    def labels(self) -> list[str]:
        """See `Opened`."""
        with zipfile.ZipFile(self.path) as archive:
            return archive.read(filenames.LABELS).decode().splitlines()

    def answer(self, pictures: Pixels) -> Outputs:
        """See `Opened`."""
        found = self._runner(**{INPUT: pictures.astype(np.float32)})
        return {name: np.array(one) for name, one in found.items()}

    @property
    def version(self) -> str:
        """See `Opened`."""
        from importlib.metadata import version

        return f"LiteRT {version('ai-edge-litert')}"


OPENED: dict[str, type[Opened]] = {
    "keras": OpenedKeras,
    "savedmodel": OpenedSavedModel,
    "openvino": OpenedOpenVINO,
    "onnx": OpenedONNX,
    "litert": OpenedLiteRT,
}
