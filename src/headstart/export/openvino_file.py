"""OpenVINO's IR: a graph as .xml, its weights as .bin beside it, labels in `rt_info/model_info`."""

import importlib
import json
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from headstart.base.errors import disk_full_named
from headstart.export.names import OPENVINO_CLASSES
from headstart.export.network import Network
from headstart.networks import engine

if TYPE_CHECKING:
    import openvino

SECTION, CLASSES = OPENVINO_CLASSES

RESIZE_TYPES = {"squash": "standard", "crop": "crop", "pad": "fit_to_window_letterbox"}
"""How a photo becomes square, as Model API calls it."""


def write(network: Network, path: Path, precision: str) -> None:
    """Write a graph with its weights.

    Raises:
        MissingPackage: NNCF, which quantises, is not installed.
        DiskFull: No space is left.
    """
    graph = network.openvino.clone()
    rewrite(graph)
    if precision == "int8":
        graph = _quantised(graph, network)
    keep_precise(graph)
    for key, value in model_info(network).items():
        graph.set_rt_info(value, [SECTION, key])
    with disk_full_named(path.parent):
        engine.write_graph(graph, path, is_halved=precision == "f16")


def rewrite(graph: "openvino.Model") -> None:
    """Put in what OpenVINO would put in itself when it compiles a graph, without `keep_precise`'s mark.

    What is computed stays the same.
    """
    _convolve_head(graph)
    _reshape_plainly(graph)
    _square_plainly(graph)
    _pool_plainly(graph)


def _convolve_head(graph: "openvino.Model") -> None:
    """Put a convolution where the head multiplies and adds: OpenVINO makes one of both and loses the mark."""
    from openvino import opset13 as ops

    for add in graph.get_ordered_ops():
        product = add.input_value(0).get_node() if add.get_type_name() == "Add" else add
        if product.get_type_name() != "MatMul" or product is add:
            continue
        features, weights = (product.input_value(index) for index in (0, 1))
        kernel = np.array(weights.get_node().data).T[:, :, None, None]
        bias = np.array(add.input_value(1).get_node().data).reshape(1, -1, 1, 1)
        place = ops.reshape(features, np.array([0, kernel.shape[1], 1, 1]), True)  # 0: as many as there are
        one = ops.convolution(place, np.ascontiguousarray(kernel), [1, 1], [0, 0], [0, 0], [1, 1])
        logits = ops.reshape(ops.add(one, bias), np.array([0, bias.size]), True)
        for target in list(add.output(0).get_target_inputs()):
            target.replace_source_output(logits.output(0))
    graph.validate_nodes_and_infer_types()


def _reshape_plainly(graph: "openvino.Model") -> None:
    """Put a reshape where axes are taken away or added: OpenVINO does so itself, and loses the mark."""
    from openvino import opset13 as ops

    for node in graph.get_ordered_ops():
        shape = list(node.output(0).partial_shape) if node.get_type_name() in ("Squeeze", "Unsqueeze") else []
        if not shape or not all(size.is_static for size in shape[1:]) or shape[0].is_static:
            continue
        sizes = np.array([0, *(size.get_length() for size in shape[1:])])
        plain = ops.reshape(node.input_value(0), sizes, True)
        for target in list(node.output(0).get_target_inputs()):
            target.replace_source_output(plain.output(0))
    graph.validate_nodes_and_infer_types()


def _square_plainly(graph: "openvino.Model") -> None:
    """Put a squared difference where one is multiplied by itself: OpenVINO does so itself, unmarked."""
    from openvino import opset13 as ops

    for node in graph.get_ordered_ops():
        factors = (
            [one.get_node() for one in node.input_values()] if node.get_type_name() == "Multiply" else []
        )
        if factors and factors[0] == factors[1] and factors[0].get_type_name() == "Subtract":
            square = ops.squared_difference(*factors[0].input_values())
            for target in list(node.output(0).get_target_inputs()):
                target.replace_source_output(square.output(0))
    graph.validate_nodes_and_infer_types()


def _pool_plainly(graph: "openvino.Model") -> None:
    """Put the first edition of a maximum over places where a later one is: OpenVINO does so itself, unmarked.

    The later ones can tell where the maxima are, too, which nothing here asks for.
    """
    from openvino import opset1

    names = ("strides", "pads_begin", "pads_end", "kernel", "rounding_type", "auto_pad")
    for node in graph.get_ordered_ops():
        if node.get_type_name() != "MaxPool" or node.get_output_size() == 1:
            continue
        told = node.get_attributes()
        pool = opset1.max_pool(node.input_value(0), *(told[name] for name in names))
        for target in list(node.output(0).get_target_inputs()):
            target.replace_source_output(pool.output(0))
    graph.validate_nodes_and_infer_types()


def keep_precise(graph: "openvino.Model") -> None:
    """Mark all that is computed so that it stays in float32 by default.

    Processors with bfloat16 round to it otherwise, which moved probabilities of mobilenet_v2 by 0.04, and no
    option that a file could carry is asked. The mark is that of nodes which must not be compressed,
    `ov::disable_fp16_compression`; constants go without, so that they can be.
    """
    for node in graph.get_ops():
        if node.get_type_name() not in ("Constant", "Parameter", "Result"):
            node.get_rt_info()["precise_0"] = ""


def model_info(network: Network) -> dict[str, str]:
    """Return what Model API reads, and the names as JSON.

    The keys are those of its model_api/models/classification.py and image_model.py. It splits
    the labels at blanks, so one within a name becomes an underscore there. Pictures are RGB, so channels are
    not to be reversed.
    """
    record = network.subject.model.record
    return {
        "model_type": "Classification",
        "labels": " ".join("_".join(name.split()) for name in network.class_names),
        CLASSES: json.dumps(network.class_names, ensure_ascii=False),
        "multilabel": "False",
        "hierarchical": "False",
        "output_raw_scores": "True",
        "resize_type": RESIZE_TYPES[record.fit],
        "reverse_input_channels": "False",
    }


def _quantised(graph: "openvino.Model", network: Network) -> "openvino.Model":
    nncf = _nncf()
    pictures = network.subject.samples()
    data = nncf.Dataset(pictures, lambda picture: picture[None].astype("float32"))
    return nncf.quantize(graph, data, preset=nncf.QuantizationPreset.MIXED, subset_size=len(pictures))


def _nncf() -> Any:
    """Return NNCF, imported so that it reports to nobody and tells only of faults.

    See `backbones.import_openvino`.
    """
    if "nncf" not in sys.modules:
        kept = sys.modules.get("openvino_telemetry")
        sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
        try:
            importlib.import_module("nncf").set_log_level(logging.ERROR)
        finally:
            del sys.modules["openvino_telemetry"]
            if kept is not None:
                sys.modules["openvino_telemetry"] = kept
    return importlib.import_module("nncf")
