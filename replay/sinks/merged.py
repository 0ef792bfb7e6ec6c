"""Results as one Parquet file: parts beside it, which are merged at the end."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from millrace.contracts.errors import DataError, ServerError
from millrace.replay.results import COLUMNS
from millrace.replay.sinks.parts import Folder, Parts
from millrace.replay.sinks.sink import Batch, Written

_REPLAY: Final = b"millrace.replay"
_WRITTEN: Final = b"millrace.written"


class MergedFile:
    """A `Sink` of one file, by partition and position."""

    def __init__(self, path: Path, replay: str) -> None:
        """Open the file, if it is there.

        Args:
            path: The file.
            replay: Id of the replay.

        Raises:
            DataError: The file is there, and is no result of this replay.
        """
        self._path = path
        self._replay = replay
        self._folder = path.with_name(f".{path.name}.{replay}")
        self._parts = Parts(Folder(self._folder), replay)
        #: What the file has of each partition; a replay without an end in time may go on later.
        self._before = self._read() if path.exists() else {}

    def written(self, partition: int) -> Written:
        """See `Sink`."""
        parts = self._parts.written(partition)
        return parts if parts.until is not None else self._before.get(partition, parts)

    def write(self, batch: Batch) -> None:
        """See `Sink`."""
        self._parts.write(batch)

    def finish(self) -> str:
        """See `Sink`."""
        if not self._path.exists() or self._parts.partitions():
            try:
                self._folder.mkdir(exist_ok=True)
                self._merge(self._folder / "merged.parquet")
            except OSError as error:
                raise ServerError(f"cannot write {self._path}: {error}") from error
        shutil.rmtree(self._folder, ignore_errors=True)  # left by a crash after the last step
        return str(self._path)

    def _merge(self, draft: Path) -> None:
        """Write the file before and the parts as one file, and put it in its place."""
        written = {
            each: self.written(each) for each in sorted({*self._before, *self._parts.partitions()})
        }
        schema = COLUMNS.with_metadata(
            {_REPLAY: self._replay.encode(), _WRITTEN: msgspec.json.encode(written)}
        )
        before = pq.ParquetFile(self._path) if self._path.exists() else None
        with pq.ParquetWriter(draft, schema, compression="zstd") as writer:
            for partition in written:
                for table in (*_groups(before, partition), *self._new(partition)):
                    if table.num_rows:
                        writer.write_table(table.cast(schema))
        draft.replace(self._path)

    def _new(self, partition: int) -> Iterator[pa.Table]:
        return map(self._parts.read, self._parts.of(partition))

    def _read(self) -> dict[int, Written]:
        """Read what a complete file has of each partition."""
        try:
            metadata = pq.read_schema(self._path).metadata or {}
        except (OSError, ValueError) as error:
            raise DataError(f"{self._path} is there, and is no Parquet file: {error}") from error
        if metadata.get(_REPLAY) != self._replay.encode():
            raise DataError(
                f"{self._path} is there, and is no result of this replay; choose another name, or"
                " remove it"
            )
        return msgspec.json.decode(metadata[_WRITTEN], type=dict[int, Written])


def _groups(file: pq.ParquetFile | None, partition: int) -> Iterator[pa.Table]:
    """Row groups of a partition; a row group has the rows of one."""
    if file is None:
        return
    for number in range(file.num_row_groups):
        table = file.read_row_group(number)
        if table.num_rows and table.column("source_partition")[0].as_py() == partition:
            yield table
