"""Fates of the records of a committed micro-batch, by partition."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from operator import itemgetter
from typing import Final

from millrace.contracts.topics import DEAD_LETTERS, PREDICTIONS
from millrace.inference.batch.reading import Reading
from millrace.inference.batch.records import Record
from millrace.infra.progress.balance import Fate

#: Number of records by partition and fate.
Fates = Mapping[tuple[int, Fate], int]

_OF_TOPIC: Final[Mapping[str, Fate]] = {
    PREDICTIONS.name: "predicted",
    DEAD_LETTERS.name: "refused",
}
_topic_of, _partition_of = itemgetter(0), itemgetter(4)


def fates_of(reading: Reading, records: Sequence[Record]) -> Fates:
    """Count the written records, and the windows that were predicted before.

    Args:
        reading: The decoded micro-batch.
        records: The written records: predictions and dead letters.
    """
    found: Counter[tuple[int, Fate]] = Counter()
    topics = set(map(_topic_of, records))
    for topic in topics:
        those = records if len(topics) == 1 else [r for r in records if r[0] == topic]
        for partition, count in Counter(map(_partition_of, those)).items():
            found[partition, _OF_TOPIC[topic]] += count
    for partition, count in reading.repeated.items():
        found[partition, "repeated"] += count
    return found
