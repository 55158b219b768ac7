"""The metadata of a TFLite file, read back slot by slot, and the labels at its end."""

import io
import zipfile

import flatbuffers
from flatbuffers.table import Table

from headstart.export import litert_metadata


def field(table: Table, slot: int) -> int:
    """The place of a field, 0 where it is not there."""
    offset = table.Offset(4 + 2 * slot)
    return int(offset and table.Pos + offset)


def below(table: Table, slot: int) -> Table:
    return Table(table.Bytes, table.Indirect(field(table, slot)))


def each(table: Table, slot: int) -> list[Table]:
    offset = table.Offset(4 + 2 * slot)
    start, length = table.Vector(offset), table.VectorLen(offset)
    return [Table(table.Bytes, table.Indirect(start + 4 * number)) for number in range(length)]


def text(table: Table, slot: int) -> str:
    return bytes(table.String(field(table, slot))).decode()


def byte(table: Table, slot: int) -> int:
    return int(table.Get(flatbuffers.number_types.Uint8Flags, field(table, slot)))


def test_readers_find_size_scaling_and_labels() -> None:
    """Slots and numbers are those of metadata_schema.fbs; MediaPipe's ImageClassifier reads the file, too."""
    content = litert_metadata.build(224, ["image"], ["probabilities", "novelty"], "probabilities")
    assert content[4:8] == b"M001"
    start = flatbuffers.encode.Get(flatbuffers.packer.uoffset, content, 0)
    model = Table(bytearray(content), start)
    assert text(model, 0) == "headstart"
    assert text(model, 7) == "1.0.0"
    [graph] = each(model, 3)
    [image] = each(graph, 2)
    assert text(image, 0) == "image"
    content_of = below(image, 3)
    assert byte(content_of, 0) == 2  # ImageProperties
    properties = below(content_of, 1)
    assert byte(properties, 0) == 1  # RGB
    size = below(properties, 1)
    numbers = [size.Get(flatbuffers.number_types.Uint32Flags, field(size, slot)) for slot in (0, 1)]
    assert numbers == [224, 224]
    [unit] = each(image, 4)
    assert byte(unit, 0) == 1  # NormalizationOptions
    options = below(unit, 1)
    values = [
        options.Get(flatbuffers.number_types.Float32Flags, options.Vector(options.Offset(4 + 2 * slot)))
        for slot in (0, 1)
    ]
    assert values == [0.0, 1.0]
    first, second = each(graph, 3)
    [file] = each(first, 6)
    assert (text(first, 0), text(file, 0), byte(file, 2)) == ("probabilities", "labels.txt", 2)
    assert (text(second, 0), field(second, 6)) == ("novelty", 0)


def test_labels_are_stored_at_the_end_as_they_are() -> None:
    whole = litert_metadata.with_labels(b"a model", "red fox\nwölf\n")
    assert whole.startswith(b"a model")
    with zipfile.ZipFile(io.BytesIO(whole)) as archive:
        assert archive.read("labels.txt").decode() == "red fox\nwölf\n"
        assert archive.getinfo("labels.txt").compress_type == zipfile.ZIP_STORED
