"""Batches of records of several partitions, and where each partition's records are in one.

A small batch costs about as much as one that is ten times as large, and at a low rate each
partition delivers one or two records at a time. So records of all partitions are validated, stamped
and tested together, while each partition keeps its order, its position and its outputs.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from millrace.stream_processors.transport.records import Record


class PartitionSlice(NamedTuple):
    """Where the records of a partition are.

    Attributes:
        partition: The partition.
        rows: Their places in the batch; at least one.
    """

    partition: int
    rows: range

    def of(self, rows: Sequence[int]) -> slice:
        """Which of some rows, ascending, are in it.

        >>> rows = [1, 4, 5, 9]
        >>> rows[PartitionSlice(0, range(3, 9)).of(rows)]
        [4, 5]
        """
        return slice(bisect_left(rows, self.rows.start), bisect_left(rows, self.rows.stop))


@dataclass(frozen=True)
class Batch:
    """Records of one or more partitions.

    Attributes:
        records: All of them, one partition's after another's.
        parts: Where each partition's are, in that order; no partition has two.
    """

    records: Sequence[Record]
    parts: Sequence[PartitionSlice]


def batches(found: Mapping[int, Sequence[Record]], most: int) -> Iterator[Batch]:
    """Cut what has come into batches.

    Args:
        found: Records by partition, each in its order.
        most: Records in a batch, at most.

    Yields:
        Batches; all but the last one have so many records. A partition's are in their order.
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
