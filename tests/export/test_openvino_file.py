"""What Model API reads of an OpenVINO graph, and that by default it is computed as exactly as in the run."""

import json
from pathlib import Path

import numpy as np
from conftest import made_photos

from headstart.networks import classifier
from headstart.networks.backbones import import_openvino


def test_the_graph_tells_its_labels_and_keeps_its_precision(exported: Path) -> None:
    """By default: processors with bfloat16 would round to it."""
    openvino, model = import_openvino(), classifier.load_run(exported)
    path = exported / "exports" / "openvino-f32" / "model.xml"
    graph = openvino.Core().read_model(path)
    info = {
        key: graph.get_rt_info(["model_info", key]).astype(str)
        for key in ("model_type", "labels", "label_names", "resize_type", "reverse_input_channels")
    }
    assert info == {
        "model_type": "Classification",
        "labels": " ".join(model.class_names),
        "label_names": json.dumps(model.class_names),
        "resize_type": {"squash": "standard", "crop": "crop", "pad": "fit_to_window_letterbox"}[
            model.record.fit
        ],
        "reverse_input_channels": "False",
    }
    compiled = openvino.Core().compile_model(graph, "CPU")
    pictures = made_photos(model.record.image_size_px)
    expected = model.engine(pictures)
    for kind in (np.uint8, np.float32):
        found = compiled({"image": pictures.astype(kind)})
        np.testing.assert_allclose(found["probabilities"], expected, atol=1e-6)
    computed = {
        node.get_rt_info()["runtimePrecision"].astype(str) for node in compiled.get_runtime_model().get_ops()
    }
    assert not {"bf16", "f16"} & computed
