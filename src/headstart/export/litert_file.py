"""A TFLite file, as LiteRT runs it on phones and small machines, by TensorFlow's converter."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from headstart.base.errors import disk_full_named
from headstart.base.records import write_bytes
from headstart.export import litert_metadata
from headstart.export.names import INPUT, OUTPUTS, SIGNATURE
from headstart.export.network import Network, label_lines


def write(network: Network, path: Path, precision: str) -> None:
    """Write a TFLite file: one signature, with metadata and labels.

    Raises:
        DiskFull: No space is left.
    """
    with disk_full_named(Path(tempfile.gettempdir())), tempfile.TemporaryDirectory() as name:
        _save_frozen(network, name)
        converted = _converted(name, network, precision)
    labels = label_lines(network.class_names)
    whole = _described(converted, network.image_size_px)
    write_bytes(path, litert_metadata.with_labels(whole, labels))


def _save_frozen(network: Network, folder: str) -> None:
    """Write a SavedModel whose weights are constants: of variables the converter makes no numbers."""
    import tensorflow
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    infer = network.function
    frozen = convert_variables_to_constants_v2(infer.get_concrete_function())
    names = sorted(network.keras.output)  # TensorFlow flattens a dict by its keys

    @tensorflow.function(input_signature=infer.input_signature)  # type: ignore[untyped-decorator]
    def constant(image: Any) -> dict[str, Any]:
        return dict(zip(names, frozen(image), strict=True))

    # What an activation's gradient is made of are no constants, and nothing is trained from here.
    options = tensorflow.saved_model.SaveOptions(experimental_custom_gradients=False)
    tensorflow.saved_model.save(tensorflow.Module(), folder, {SIGNATURE: constant}, options)


def _converted(saved: str, network: Network, precision: str) -> bytes:
    import tensorflow

    lite = tensorflow.lite
    converter = lite.TFLiteConverter.from_saved_model(saved, signature_keys=[SIGNATURE])
    if precision != "f32":
        converter.optimizations = [lite.Optimize.DEFAULT]
    if precision == "f16":
        converter.target_spec.supported_types = [tensorflow.float16]
    if precision == "int8":
        converter.representative_dataset = lambda: _pictures(network)
    content: bytes = converter.convert()
    return content


def _pictures(network: Network) -> Iterator[tuple[str, dict[str, Any]]]:
    for picture in network.subject.samples():
        yield SIGNATURE, {INPUT: picture[None].astype(np.float32)}


def _described(content: bytes, image_size_px: int) -> bytes:
    """Return a TFLite file with its outputs in order, probabilities first, and its metadata."""
    from tensorflow.lite.python import schema_py_generated as schema
    from tensorflow.lite.tools import flatbuffer_utils

    model = flatbuffer_utils.convert_bytearray_to_object(bytearray(content))
    [signature] = model.signatureDefs
    place = {one.name.decode(): one.tensorIndex for one in signature.outputs}
    outputs = [name for name in OUTPUTS if name in place]
    model.subgraphs[signature.subgraphIndex].outputs = [place[name] for name in outputs]
    buffer, entry = schema.BufferT(), schema.MetadataT()
    metadata = litert_metadata.build(image_size_px, [INPUT], outputs, OUTPUTS[0])
    buffer.data = np.frombuffer(metadata, np.uint8)
    entry.name, entry.buffer = litert_metadata.NAME, len(model.buffers)
    model.buffers.append(buffer)
    model.metadata = [*(model.metadata or ()), entry]
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))
