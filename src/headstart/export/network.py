"""The network of a run as other formats are written from it: floats of 0 to 255 in, two named outputs.

Every file has one input, `image`, float32 (N, S, S, 3), RGB in [0, 255], of any N, and two outputs:
`probabilities`, float32 (N, C), calibrated, and `novelty`, float32 (N, 1), from 0 to 2.
"""

import functools
from typing import TYPE_CHECKING, Any

import numpy as np

from headstart.base.progress import Progress
from headstart.export.names import INPUT, OUTPUTS
from headstart.export.subject import Subject
from headstart.networks import backbones, engine, pieces
from headstart.networks.backbones import import_keras, import_openvino
from headstart.networks.engine import KerasEngine, OpenVINOEngine
from headstart.networks.pieces import Pieces

if TYPE_CHECKING:
    import openvino
    from keras import Model


class Network:
    """The model of a run, built when it is asked for.

    Args:
        subject: The run.
        progress: Told before weights are pulled.
    """

    def __init__(self, subject: Subject, progress: Progress) -> None:
        self.subject = subject
        self._progress = progress

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes, in the order of the probabilities."""
        return self.subject.model.class_names

    @property
    def image_size_px(self) -> int:
        """The side of the pictures."""
        return self.subject.model.record.image_size_px

    @functools.cached_property
    def keras(self) -> "Model":
        """A Keras model, `image` to a dict of the outputs.

        Raises:
            RunError: The run does not hold what it is put together from.
            WeightsError: The pretrained weights are neither here nor to be had.
            MissingPackage: TensorFlow is not installed.
        """
        keras = import_keras()
        whole = self._pieces.on(KerasEngine(self._backbone))
        assert isinstance(whole, KerasEngine)
        network = whole.model
        network.layers[0].name = network.input.name = INPUT
        named = dict(zip(OUTPUTS, network.outputs, strict=False))
        return keras.Model(network.input, named, name="headstart")

    @functools.cached_property
    def _pieces(self) -> Pieces:
        return pieces.load(self.subject.run.model)

    @functools.cached_property
    def _backbone(self) -> "Model":
        """What the head stands on: the fine-tuned network, the pretrained one, or several joined, `a+b`."""
        if self._pieces.backbone is not None:
            return self._pieces.backbone
        rows = [backbones.find(name) for name in self.subject.model.record.backbone.split("+")]
        is_last = len(self._pieces.weights) == sum(row.feature_size for row in rows)
        networks = [
            backbones.build(
                row.name,
                features="last" if is_last else "stages",
                image_size_px=self.image_size_px,
                weights_dir=self.subject.settings.weights_folder,
                progress=self._progress,
            )
            for row in rows
        ]
        if len(networks) == 1:
            return networks[0]
        joined = engine.join([KerasEngine(network) for network in networks])
        assert isinstance(joined, KerasEngine)
        return joined.model

    @functools.cached_property
    def function(self) -> Any:
        """A TensorFlow function, `image` to a dict of the outputs, with one signature."""
        import tensorflow

        network, size_px = self.keras, self.image_size_px
        signature = [tensorflow.TensorSpec([None, size_px, size_px, 3], tensorflow.float32, name=INPUT)]

        @tensorflow.function(input_signature=signature)  # type: ignore[untyped-decorator]
        def infer(image: Any) -> dict[str, Any]:
            found = network(image, training=False)
            return {name: tensorflow.identity(found[name], name=name) for name in found}

        return infer

    @functools.cached_property
    def openvino(self) -> "openvino.Model":
        """An OpenVINO graph that eats floats, any number of pictures: that of the run where it has one.

        Raises:
            EngineMismatch: Keras runs it, and OpenVINO does not know an operation in it.
        """
        whole = self.subject.model.engine
        if not isinstance(whole, OpenVINOEngine):
            whole = self._pieces.on(OpenVINOEngine(engine.convert(self._backbone)))
        assert isinstance(whole, OpenVINOEngine)
        return _eating_floats(whole.graph, self.image_size_px)


def _eating_floats(graph: "openvino.Model", size_px: int) -> "openvino.Model":
    """Return a copy whose input is of floats.

    Where OpenVINO is given an array of another kind it casts it: floats to bytes by cutting off, which
    would lose what is behind the point; bytes to floats without loss.
    """
    openvino = import_openvino()
    from openvino import opset13 as ops

    copy = graph.clone()
    [old] = copy.get_parameters()
    new = ops.parameter([-1, size_px, size_px, 3], np.float32, name=INPUT)
    new.layout = openvino.Layout("NHWC")
    new.output(0).set_names({INPUT})
    for consumer in list(old.output(0).get_target_inputs()):
        node = consumer.get_node()
        if node.get_type_name() != "Convert":
            consumer.replace_source_output(new.output(0))
        for target in list(node.output(0).get_target_inputs()) if node.get_type_name() == "Convert" else ():
            target.replace_source_output(new.output(0))
    whole = openvino.Model(copy.get_results(), [new], "headstart")
    for result, name in zip(whole.outputs, OUTPUTS, strict=False):
        result.get_node().input_value(0).set_names({name})
        result.get_node().set_friendly_name(name)
    whole.validate_nodes_and_infer_types()
    return whole


def label_lines(class_names: tuple[str, ...]) -> str:
    r"""Return class names as labels.txt holds them, one a line; a line break in a name becomes a blank.

    Example:
        >>> label_lines(("red fox", "wolf"))
        'red fox\nwolf\n'
    """
    return "".join(f"{' '.join(name.splitlines())}\n" for name in class_names)
