"""Results as Parquet files, one for each batch, in a folder or under a prefix of the object store.

    <root>/partition=<p>/<first>-<until>.parquet      positions, 20 digits

A file's metadata hold the numbers of the records up to its end. A file is written in one step, and
a batch that is written again has the same name; so the names show how far each partition is.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final, Protocol

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from millrace.contracts.clock import now
from millrace.contracts.errors import DataError, ServerError
from millrace.infra.archive.parquet import CONTENT_TYPE
from millrace.infra.files import replace_file
from millrace.infra.object_store import ObjectStore
from millrace.replay.results import COLUMNS, table_of_runs
from millrace.replay.sinks.sink import Batch, Tally, Written

_NAME: Final = re.compile(r"partition=(\d+)/(\d{20})-(\d{20})\.parquet")
_TALLY: Final = b"millrace.tally"
_REPLAY: Final = b"millrace.replay"


class Files(Protocol):
    """Where files are kept."""

    def names(self) -> Iterable[str]:
        """Names of the files, relative to the root."""

    def read(self, name: str) -> bytes:
        """Content of a file."""

    def write(self, name: str, data: bytes) -> None:
        """Write a file in one step."""

    def __str__(self) -> str:
        """The root, for people."""


class Folder:
    """Files in a folder of this machine."""

    def __init__(self, root: Path) -> None:
        """Store the folder's path; it is created with the first file."""
        self.root = root

    def names(self) -> Iterator[str]:
        """See `Files`."""
        for path in self.root.glob("partition=*/*.parquet"):
            yield path.relative_to(self.root).as_posix()

    def read(self, name: str) -> bytes:
        """See `Files`."""
        return (self.root / name).read_bytes()

    def write(self, name: str, data: bytes) -> None:
        """See `Files`.

        Raises:
            ServerError: The file cannot be written.
        """
        path = self.root / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            replace_file(path, data)
        except OSError as error:
            raise ServerError(f"cannot write {path}: {error.strerror}") from error

    def __str__(self) -> str:
        """The folder."""
        return str(self.root)


class Objects:
    """Files in the object store."""

    def __init__(self, store: ObjectStore, prefix: str) -> None:
        """Store bucket and prefix."""
        self._store = store
        self._prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""

    def names(self) -> Iterator[str]:
        """See `Files`."""
        for each in self._store.objects(self._prefix):
            yield each.key.removeprefix(self._prefix)

    def read(self, name: str) -> bytes:
        """See `Files`."""
        return self._store.get(self._prefix + name)

    def write(self, name: str, data: bytes) -> None:
        """See `Files`."""
        self._store.put(self._prefix + name, data, CONTENT_TYPE)

    def __str__(self) -> str:
        """Its address."""
        return f"s3://{self._store.bucket}/{self._prefix}"


class Parts:
    """A `Sink` of files."""

    def __init__(self, files: Files, replay: str) -> None:
        """Store the place; ``replay`` is the replay's id."""
        self._files = files
        self._replay = replay

    def written(self, partition: int) -> Written:
        """See `Sink`."""
        names = self.of(partition)
        return Written(_parse(names[-1])[2], self._tally(names[-1])) if names else Written()

    def write(self, batch: Batch) -> None:
        """See `Sink`."""
        table = table_of_runs(batch.runs, self._replay, now())
        metadata = {_TALLY: msgspec.json.encode(batch.tally), _REPLAY: self._replay.encode()}
        sink = io.BytesIO()
        pq.write_table(table.replace_schema_metadata(metadata), sink, compression="zstd")
        name = f"partition={batch.partition}/{batch.first:020d}-{batch.until:020d}.parquet"
        self._files.write(name, sink.getvalue())

    def finish(self) -> str:
        """See `Sink`."""
        return str(self._files)

    def of(self, partition: int | None = None) -> list[str]:
        """Names of the files of a partition, or of all, in order.

        Raises:
            DataError: There are gaps between them.
        """
        found = sorted(
            (_parse(name), name) for name in self._files.names() if _NAME.fullmatch(name)
        )
        chosen = [(each, name) for each, name in found if partition in (None, each[0])]
        ends: dict[int, int] = {}
        for (place, first, until), name in chosen:
            if ends.get(place, first) != first:
                raise DataError(
                    f"{self._files}: {name} does not follow the file before it; the folder has"
                    " files of something else: remove it, or choose another destination"
                )
            ends[place] = until
        return [name for _, name in chosen]

    def partitions(self) -> list[int]:
        """Partitions that have files."""
        return sorted({_parse(name)[0] for name in self.of()})

    def read(self, name: str) -> pa.Table:
        """Read a file of this replay.

        Raises:
            DataError: It is not one.
        """
        try:
            table = pq.ParquetFile(io.BytesIO(self._files.read(name))).read()
        except pa.ArrowException as error:
            raise DataError(f"{self._files}/{name} is no Parquet file: {error}") from error
        said = (table.schema.metadata or {}).get(_REPLAY)
        if said != self._replay.encode() or not table.schema.equals(COLUMNS):
            raise DataError(
                f"{self._files}/{name} is no result of {self._replay}; choose another destination"
            )
        return table

    def _tally(self, name: str) -> Tally:
        metadata = self.read(name).schema.metadata or {}
        return msgspec.json.decode(metadata[_TALLY], type=Tally)


def _parse(name: str) -> tuple[int, int, int]:
    found = _NAME.fullmatch(name)
    if found is None:
        raise DataError(f"{name} is no file of a replay")
    return int(found[1]), int(found[2]), int(found[3])
