"""What a TFLite file says of itself, for TensorFlow Lite's Task Library, MediaPipe and Android Studio.

It is a FlatBuffer in the file's own list of buffers, under the name TFLITE_METADATA, and names a file of
labels, which is in a zip archive at the end of the file. The library that writes it has no wheels for these
Pythons; of its schema (tensorflow/tflite-support, metadata_schema.fbs) seven tables are needed, so they are
built here slot by slot. A slot is the place of a field in its table; a union takes two.
"""

import io
import zipfile
from collections.abc import Sequence
from typing import Any

import flatbuffers

from headstart.base import filenames

NAME, IDENTIFIER, PARSER = "TFLITE_METADATA", b"M001", "1.0.0"
AXIS_LABELS, IMAGE_PROPERTIES, FEATURE_PROPERTIES, RGB, NORMALIZATION = 2, 2, 1, 1, 1
"""Values of the schema's enumerations."""


def build(image_size_px: int, inputs: Sequence[str], outputs: Sequence[str], labelled: str) -> bytes:
    """Return the metadata of a classifier of RGB pictures in [0, 255].

    Args:
        image_size_px: The side of the pictures.
        inputs: Name of the one input.
        outputs: Names of the outputs, in the order of the file.
        labelled: The output that the labels are of.
    """
    builder = flatbuffers.Builder(1024)
    [image] = inputs
    first = _tensor(builder, image, _image(builder, image_size_px), normalized=True)
    tensors = [_tensor(builder, name, _feature(builder), has_labels=name == labelled) for name in outputs]
    graph = _table(builder, 7, {2: _vector(builder, [first]), 3: _vector(builder, tensors)})
    description = "Says which class a picture is of. Made by headstart export."
    whole = {
        0: builder.CreateString("headstart"),
        1: builder.CreateString(description),
        3: _vector(builder, [graph]),
        7: builder.CreateString(PARSER),
    }
    builder.Finish(_table(builder, 8, whole), IDENTIFIER)
    return bytes(builder.Output())


def with_labels(content: bytes, labels: str) -> bytes:
    """Return a TFLite file with the file of labels in an archive at its end, stored as it is."""
    file = io.BytesIO(content)
    with zipfile.ZipFile(file, "a", zipfile.ZIP_STORED) as archive:
        archive.writestr(filenames.LABELS, labels)
    return file.getvalue()


def _tensor(
    builder: Any, name: str, content: int, *, normalized: bool = False, has_labels: bool = False
) -> int:
    fields = {0: builder.CreateString(name), 3: content}
    if normalized:
        fields[4] = _vector(builder, [_normalization(builder)])
    if has_labels:
        file = {0: builder.CreateString(filenames.LABELS)}
        fields[6] = _vector(builder, [_table(builder, 4, file, {2: AXIS_LABELS})])
    return _table(builder, 7, fields)


def _image(builder: Any, size_px: int) -> int:
    builder.StartObject(2)
    builder.PrependUint32Slot(0, size_px, 0)
    builder.PrependUint32Slot(1, size_px, 0)
    size = builder.EndObject()
    return _table(builder, 3, {1: _table(builder, 2, {1: size}, {0: RGB})}, {0: IMAGE_PROPERTIES})


def _feature(builder: Any) -> int:
    return _table(builder, 3, {1: _table(builder, 0, {})}, {0: FEATURE_PROPERTIES})


def _normalization(builder: Any) -> int:
    """Return the unit that says: (x - 0) / 1, so pixels are fed as they are."""
    mean, deviation = _floats(builder, 0.0), _floats(builder, 1.0)
    return _table(builder, 2, {1: _table(builder, 2, {0: mean, 1: deviation})}, {0: NORMALIZATION})


def _floats(builder: Any, value: float) -> int:
    builder.StartVector(4, 1, 4)
    builder.PrependFloat32(value)
    return int(builder.EndVector())


def _vector(builder: Any, offsets: Sequence[int]) -> int:
    builder.StartVector(4, len(offsets), 4)
    for offset in reversed(offsets):
        builder.PrependUOffsetTRelative(offset)
    return int(builder.EndVector())


def _table(builder: Any, n_slots: int, offsets: dict[int, int], small: dict[int, int] | None = None) -> int:
    """Return a table with offsets to other objects, and numbers of a byte, by slot."""
    builder.StartObject(n_slots)
    for slot, offset in offsets.items():
        builder.PrependUOffsetTRelativeSlot(slot, offset, 0)
    for slot, value in (small or {}).items():
        builder.PrependUint8Slot(slot, value, 0)
    return int(builder.EndObject())
