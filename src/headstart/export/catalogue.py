"""The formats that a model can be exported to: what each needs, and what its file is called."""

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass

from headstart.base import filenames
from headstart.base.errors import MissingPackage, SettingsError

PRECISIONS = ("f32", "f16", "int8")
"""Numbers of 32 bits; weights of 16 bits, computed with in 32; weights and activations of 8 bits."""


@dataclass(frozen=True)
class Format:
    """A format, and the runtime that reads it.

    Attributes:
        name: As it is asked for.
        runtime: What reads it, as a sentence says it.
        file: What a runtime is given.
        precisions: Those that it can be written in.
        modules: What must be importable to write and check it.
        quantiser: What must be importable to write it in int8, beside these.
    """

    name: str
    runtime: str
    file: str
    precisions: tuple[str, ...]
    modules: tuple[str, ...]
    quantiser: tuple[str, ...] = ()


FORMATS = (
    Format("keras", "Keras", filenames.KERAS_MODEL, ("f32",), ("tensorflow", "keras")),
    Format("savedmodel", "TensorFlow", "saved_model", ("f32",), ("tensorflow", "keras")),
    Format("openvino", "OpenVINO", "model.xml", PRECISIONS, ("openvino",), ("nncf",)),
    Format(
        "onnx",
        "ONNX Runtime",
        "model.onnx",
        PRECISIONS,
        ("tensorflow", "keras", "tf2onnx", "onnx", "onnxruntime"),
    ),
    Format("litert", "LiteRT", "model.tflite", PRECISIONS, ("tensorflow", "keras", "ai_edge_litert")),
)

NAMES = tuple(one.name for one in FORMATS)

EXTRAS = {"tensorflow": "cpu", "keras": "cpu", "nncf": "int8"}
"""Which of our extras brings a package; `export` brings the others."""


def find(name: str) -> Format:
    """Return the format of a name; raises KeyError where there is none.

    Example:
        >>> find("onnx").runtime
        'ONNX Runtime'
    """
    return {one.name: one for one in FORMATS}[name]


def check(chosen: Sequence[Format], precision: str) -> None:
    """Make sure that formats can be written in a precision here.

    Raises:
        SettingsError: One has no such precision.
        MissingPackage: A package is missing, of any of them.
    """
    for one in chosen:
        if precision not in one.precisions:
            others = [other.name for other in FORMATS if precision in other.precisions]
            raise SettingsError(
                f"{one.name} cannot be written in {precision}.",
                f"Ask for it in {' or '.join(one.precisions)}; {', '.join(others)} have {precision}.",
            )
    needed = [name for one in chosen for name in one.modules]
    needed += [name for one in chosen if precision == "int8" for name in one.quantiser]
    missing = [name for name in dict.fromkeys(needed) if not _is_here(name)]
    if missing:
        extras = ",".join(dict.fromkeys(EXTRAS.get(name, "export") for name in missing))
        verb = "is" if len(missing) == 1 else "are"
        raise MissingPackage(
            f"{', '.join(missing)} {verb} not installed, which "
            f"{' and '.join(one.name for one in chosen if {*one.modules, *one.quantiser} & {*missing})} "
            f"{'needs' if len(chosen) == 1 else 'need'}.",
            f"Run `pip install 'headstart[{extras}]'`.",
        )


def _is_here(module: str) -> bool:
    return importlib.util.find_spec(module) is not None
