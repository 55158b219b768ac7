"""The cells of a table in Parquet, as those of a table of text."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headstart.base.errors import DataError, MissingPackage
from headstart.base.progress import Advance, silent
from headstart.sources import sheet as sheets
from headstart.sources.sheet import Line, Sheet

if TYPE_CHECKING:
    import pyarrow.parquet

SUFFIX = ".parquet"
"""The extension of such a table."""

ROWS_AT_ONCE = 10_000
"""So many are turned into text at once, and told."""


def read(source: Path, advance: Advance = silent) -> Sheet:
    """Return the columns of words, numbers and yes or no; what is missing is an empty text.

    Columns of lists, of records and of bytes, such as whole photos, are left out. Lines are counted from 1,
    the first row's.

    Args:
        source: The file.
        advance: Told of rows as they are read.

    Raises:
        MissingPackage: pyarrow is not installed.
        DataError: It cannot be opened, or is no Parquet.
    """
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise MissingPackage(
            f"'{source}' is a Parquet file, and pyarrow is not installed.",
            "Install it: pip install 'headstart[parquet]'",
        ) from error
    try:
        with pyarrow.parquet.ParquetFile(source) as table:
            names = [field.name for field in table.schema_arrow if _is_plain(field.type)]
            return sheets.laid_out(names, _rows(table, names, advance), "utf-8")
    except (OSError, pyarrow.ArrowException) as error:
        raise DataError(
            f"'{source}' cannot be read as a Parquet file: {error}.", "Save it anew, or as CSV UTF-8."
        ) from error


def _is_plain(kind: Any) -> bool:
    import pyarrow.types

    while pyarrow.types.is_dictionary(kind):
        kind = kind.value_type
    tests = ("string", "large_string", "string_view", "integer", "floating", "boolean", "temporal")
    return any(getattr(pyarrow.types, f"is_{test}")(kind) for test in tests)


def _rows(table: "pyarrow.parquet.ParquetFile", names: list[str], advance: Advance) -> Iterator[Line]:
    line = 0
    for batch in table.iter_batches(ROWS_AT_ONCE, columns=names):
        advance(batch.num_rows)
        for row in zip(*(column.to_pylist() for column in batch.columns), strict=True):
            line += 1
            yield line, ["" if cell is None else str(cell) for cell in row]
