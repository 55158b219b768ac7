"""What others read of an ONNX file, and a padding that ONNX Runtime must not take into its pooling."""

import json
from pathlib import Path

import numpy as np
import pytest

from headstart.networks import classifier


@pytest.mark.parametrize("precision", ["f32", "f16"])
def test_the_metadata_has_the_documented_keys(exported: Path, precision: str) -> None:
    """Those of onnx/docs/MetadataProps.md, and `names` and `imgsz` as Ultralytics reads them."""
    onnx = pytest.importorskip("onnx")
    model = onnx.load(exported / "exports" / f"onnx-{precision}" / "model.onnx")
    onnx.checker.check_model(model, full_check=True)
    record = classifier.load_run(exported).record
    found = {one.key: one.value for one in model.metadata_props}
    names = {int(key): name for key, name in json.loads(found["names"]).items()}
    assert names == dict(enumerate(record.class_names))
    assert json.loads(found["imgsz"]) == [record.image_size_px] * 2
    assert found["Image.BitmapPixelFormat"] == "Rgb8"
    assert found["Image.ColorSpaceGamma"] == "SRGB"
    assert found["Image.NominalPixelRange"] == "NominalRange_0_255"
    [image] = model.graph.input
    assert (image.name, image.type.denotation) == ("image", "IMAGE")
    axes = [axis.dim_value for axis in image.type.tensor_type.shape.dim]
    assert axes[1:] == [record.image_size_px, record.image_size_px, 3]
    assert [one.name for one in model.graph.output] == ["probabilities", "novelty"]


def test_a_padding_of_zeros_stays_before_the_pooling() -> None:
    """Of values below zero the largest of a padded window is 0: without a guard ONNX Runtime 1.31 says -1."""
    onnx = pytest.importorskip("onnx")
    onnxruntime = pytest.importorskip("onnxruntime")
    from onnx import TensorProto, helper

    from headstart.export import onnx_file

    nodes = [
        helper.make_node("Pad", ["x", "pads"], ["padded"]),
        helper.make_node("MaxPool", ["padded"], ["y"], kernel_shape=[3, 3], strides=[2, 2]),
    ]
    pads = helper.make_tensor("pads", TensorProto.INT64, [8], [0, 0, 1, 1, 0, 0, 1, 1])
    x, y = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in (("x", [1, 1, 4, 4]), ("y", [1, 1, 2, 2]))
    )
    graph = helper.make_graph(nodes, "padded", [x], [y], [pads])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", onnx_file.OPSET)], ir_version=8)
    onnx_file.guard_padding(model)
    onnx.checker.check_model(model)
    assert [node.op_type for node in model.graph.node] == ["Pad", "Max", "MaxPool"]
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    [found] = session.run(None, {"x": np.full((1, 1, 4, 4), -1, np.float32)})
    assert found.ravel().tolist() == [0, 0, 0, -1]
