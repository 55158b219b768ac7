"""An ONNX file, by tf2onnx, with what others read of a classifier in its metadata."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from headstart.export.names import INPUT, ONNX_CLASSES, OUTPUTS
from headstart.export.network import Network

if TYPE_CHECKING:
    import onnx

OPSET = 17
"""Of ONNX 1.12 (2022): old enough for runtimes of phones, and all that these networks need."""

DENOTATIONS = ("DATA_BATCH", "DATA_FEATURE", "DATA_FEATURE", "DATA_CHANNEL")
"""Of the axes of the input: onnx/docs/DimensionDenotation.md."""


def write(network: Network, path: Path, precision: str) -> None:
    """Write an ONNX file."""
    import onnx

    model = _converted(network)
    guard_padding(model)
    if precision == "f16":
        _halve(model)
    _annotate(model, network)
    onnx.checker.check_model(model)
    if precision == "int8":
        _quantise(model, network, path)
    else:
        onnx.save(model, path)


def _converted(network: Network) -> "onnx.ModelProto":
    import tf2onnx

    infer = network.function
    model: onnx.ModelProto
    model, _ = tf2onnx.convert.from_function(infer, input_signature=infer.input_signature, opset=OPSET)
    found = {output.name: output for output in model.graph.output}
    del model.graph.output[:]
    model.graph.output.extend(found[name] for name in OUTPUTS if name in found)
    return model


def guard_padding(model: "onnx.ModelProto") -> None:
    """Keep ONNX Runtime from taking a padding of zeros into the pooling behind it.

    Up to 1.31 its optimiser does so, also where there are values below zero, whose largest is then not 0 but
    less: of ResNetV2 features come out wrong by up to 0.12. The maximum with the least number there is
    changes nothing and stands between them.
    """
    from onnx import helper, numpy_helper

    graph = model.graph
    padded = {node.output[0] for node in graph.node if node.op_type == "Pad"}
    nodes = []
    for node in graph.node:
        if node.op_type == "MaxPool" and node.input[0] in padded:
            kept = f"{node.input[0]}_kept"
            nodes.append(helper.make_node("Max", [node.input[0], LEAST], [kept], name=kept))
            node.input[0] = kept
        nodes.append(node)
    if len(nodes) > len(graph.node):
        least = np.array(np.finfo(np.float32).min, np.float32)
        graph.initializer.append(numpy_helper.from_array(least, LEAST))
        del graph.node[:]
        graph.node.extend(nodes)


LEAST = "least"


def _halve(model: "onnx.ModelProto") -> None:
    """Store weights as float16, and cast them where they are used: arithmetic stays in float32."""
    from onnx import TensorProto, helper, numpy_helper

    graph, casts = model.graph, []
    for tensor in graph.initializer:
        values = numpy_helper.to_array(tensor)
        if tensor.data_type != TensorProto.FLOAT or values.size < SMALLEST:
            continue
        name = tensor.name
        tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), f"{name}_f16"))
        casts.append(helper.make_node("Cast", [tensor.name], [name], to=TensorProto.FLOAT))
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)


SMALLEST = 128
"""Numbers of a tensor that is worth a cast."""


def _annotate(model: "onnx.ModelProto", network: Network) -> None:
    """Say what it is: in the keys that others read, and those of onnx/docs/MetadataProps.md.

    `names`, `imgsz` and `task` are Ultralytics's: Python reads the JSON as a literal, too.
    """
    from onnx import helper

    from headstart.base.version import __version__

    record = network.subject.model.record
    model.producer_name, model.producer_version = "headstart", __version__
    model.graph.name = "headstart"
    kind = model.graph.input[0].type
    assert model.graph.input[0].name == INPUT
    kind.denotation = "IMAGE"
    for axis, denotation in zip(kind.tensor_type.shape.dim, DENOTATIONS, strict=True):
        axis.denotation = denotation
    names = {str(number): name for number, name in enumerate(network.class_names)}
    metadata = {
        ONNX_CLASSES: json.dumps(names, ensure_ascii=False),
        "task": "classify",
        "imgsz": json.dumps([record.image_size_px] * 2),
        "fit": record.fit,
        "Image.BitmapPixelFormat": "Rgb8",
        "Image.ColorSpaceGamma": "SRGB",
        "Image.NominalPixelRange": "NominalRange_0_255",
    }
    helper.set_model_props(model, metadata)


def _quantise(model: "onnx.ModelProto", network: Network, path: Path) -> None:
    """Quantise by ONNX Runtime: weights by channel, activations by their range on training photos."""
    import onnx
    from onnxruntime import quantization

    class Pictures(quantization.CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._left = iter(network.subject.samples())

        def get_next(self) -> dict[str, Any] | None:
            picture = next(self._left, None)
            return None if picture is None else {INPUT: picture[None].astype(np.float32)}

    whole = path.with_suffix(".f32.onnx")
    onnx.save(model, whole)
    quantization.quantize_static(
        whole,
        path,
        Pictures(),
        quant_format=quantization.QuantFormat.QDQ,
        per_channel=True,
        activation_type=quantization.QuantType.QUInt8,
        weight_type=quantization.QuantType.QInt8,
    )
    whole.unlink()
    # The quantiser drops what the metadata says.
    quantised = onnx.load(path)
    _annotate(quantised, network)
    onnx.save(quantised, path)
