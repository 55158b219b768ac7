"""What Model API reads of an OpenVINO graph, and that by default it is computed as exactly as in the run."""

import json
from pathlib import Path

import numpy as np
from conftest import made_photos

from headstart.export import openvino_file
from headstart.networks import classifier, engine
from headstart.networks.backbones import import_keras, import_openvino, keras_builder
from headstart.networks.engine import OpenVINOEngine


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


def test_what_a_converted_network_computes_stays_precise(tmp_path: Path) -> None:
    """Deviations, as fine-tuned networks have them, and maxima over single places, as ResNetV2 has."""
    openvino, layers = import_openvino(), import_keras().layers
    pixels = layers.Input((32, 32, 3))
    maps = layers.MaxPooling2D(1, 2)(layers.Conv2D(8, 3, activation="relu")(pixels))
    last = layers.GlobalAveragePooling2D()(layers.Conv2D(6, 3)(maps))
    features = keras_builder.beside(last, [(maps, "mean"), (maps, "std")])
    network = OpenVINOEngine(engine.convert(import_keras().Model(pixels, features)))
    random = np.random.default_rng(0)
    head = random.normal(size=(22, 3)).astype(np.float32), np.zeros(3, np.float32)
    whole = network.with_head(*head, random.normal(size=(5, 6)).astype(np.float32))
    graph = whole.graph.clone()
    openvino_file.rewrite(graph)
    openvino_file.keep_precise(graph)
    openvino.save_model(graph, tmp_path / "model.xml", compress_to_fp16=False)
    compiled = openvino.Core().compile_model(tmp_path / "model.xml", "CPU")
    pictures = made_photos(32)
    for found, expected in zip(
        compiled(pictures).values(), zip(*whole.outputs(pictures), strict=True), strict=True
    ):
        np.testing.assert_allclose(found, np.stack(expected), atol=1e-6)
    computed = [node.get_rt_info() for node in compiled.get_runtime_model().get_ops()]
    rounded = [
        one["layerType"].astype(str) for one in computed if one["runtimePrecision"].astype(str) == "bf16"
    ]
    assert set(rounded) <= {"Reorder"}  # which hands on what it was given: the figures are right
