"""Batches of records of several partitions, and the rows of each partition in one.

A small batch costs about as much as one ten times as large, and at a low rate each partition
delivers one or two records at a time. So records of all partitions are validated, stamped and fed
to detectors together, while each partition keeps its order, position and outputs.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from millrace.stream_processors.transport.records import Record


class PartitionSlice(NamedTuple):
    """The rows of a partition in a batch.

    Attributes:
        partition: The partition.
        rows: Indices of its records in the batch; at least one.
    """

    partition: int
    rows: range

    def of(self, rows: Sequence[int]) -> slice:
        """Slice of ascending row indices that belong to the partition.

        >>> rows = [1, 4, 5, 9]
        >>> rows[PartitionSlice(0, range(3, 9)).of(rows)]
        [4, 5]
        """
        return slice(bisect_left(rows, self.rows.start), bisect_left(rows, self.rows.stop))


@dataclass(frozen=True)
class Batch:
    """Records of one or more partitions.

    Attributes:
        records: All records, grouped by partition.
        parts: The rows of each partition, in that order; one entry per partition.
    """

    records: Sequence[Record]
    parts: Sequence[PartitionSlice]


def batches(found: Mapping[int, Sequence[Record]], most: int) -> Iterator[Batch]:
    """Split received records into batches.

    Args:
        found: Records by partition, each in its order.
        most: Most records in a batch.

    Yields:
        Batches; all but the last one have ``most`` records. Each keeps a partition's order.
    """
    records: list[Record] = []
    parts: list[PartitionSlice] = []
    for partition, those in found.items():
        begin = 0
        while begin < len(those):
            piece = those[begin : begin + most - len(records)]
            parts.append(PartitionSlice(partition, range(len(records), len(records) + len(piece))))
            records.extend(piece)
            begin += len(piece)
            if len(records) == most:
                yield Batch(records, parts)
                records, parts = [], []
    if records:
        yield Batch(records, parts)
