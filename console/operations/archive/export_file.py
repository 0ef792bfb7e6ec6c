"""The file that an export writes, a batch of rows at a time: Parquet, or CSV.

CSV has no lists and no bytes: lists are JSON, bytes are base64, times are RFC 3339.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from millrace.contracts.errors import SettingsError

Write = Callable[[pa.RecordBatch], None]
Format = Callable[[Path, pa.Schema], AbstractContextManager[Write]]


@contextmanager
def parquet_file(path: Path, schema: pa.Schema) -> Iterator[Write]:
    """Write a Parquet file, in which each batch is a row group.

    Raises:
        OSError: It cannot be written.
    """
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        yield lambda batch: writer.write_batch(batch, row_group_size=max(batch.num_rows, 1))


@contextmanager
def csv_file(path: Path, schema: pa.Schema) -> Iterator[Write]:
    """Write a CSV file with a header line, UTF-8.

    Raises:
        OSError: It cannot be written.
    """
    with path.open("w", encoding="utf-8", newline="") as file:
        lines = csv.writer(file, lineterminator="\n")
        lines.writerow(schema.names)

        def write(batch: pa.RecordBatch) -> None:
            for row in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                lines.writerow([_cell(value) for value in row])

        yield write


FORMATS: Final[Mapping[str, Format]] = {".parquet": parquet_file, ".csv": csv_file}


def format_of(path: Path) -> Format:
    """Choose the format by a file's name.

    Raises:
        SettingsError: The name ends in none that is known.
    """
    if path.suffix not in FORMATS:
        raise SettingsError(f"{path}: give a name that ends in {' or '.join(FORMATS)}")
    return FORMATS[path.suffix]


def _cell(value: Any) -> object:
    """A value as CSV has it."""
    match value:
        case list() | dict():
            return msgspec.json.encode(value).decode()
        case bytes():
            return msgspec.to_builtins(value)
        case datetime():
            return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
        case bool():
            return str(value).lower()
        case _:
            return value
