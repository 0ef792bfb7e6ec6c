"""A destination of a replay."""

from __future__ import annotations

from typing import Protocol

import msgspec

from millrace.replay.pipeline import Run


class Tally(msgspec.Struct, frozen=True):
    """Number of records by result.

    Attributes:
        records: Records that were read.
        predicted: Windows with a prediction.
        repeated: Windows that repeat an earlier one of the stretch.
        others: Windows of assets or models that were not asked for.
        refused: Records without a prediction, by reason.
        examples: A position and the detail of the first one with each reason.
    """

    records: int = 0
    predicted: int = 0
    repeated: int = 0
    others: int = 0
    refused: dict[str, int] = {}
    examples: dict[str, str] = {}

    def __add__(self, other: Tally) -> Tally:
        """Add the numbers; of two examples of a reason the first stays.

        >>> (Tally(2, 1, refused={"a": 1}) + Tally(3, 2, refused={"a": 1})).refused
        {'a': 2}
        """
        reasons = {**self.refused, **other.refused}
        return Tally(
            self.records + other.records,
            self.predicted + other.predicted,
            self.repeated + other.repeated,
            self.others + other.others,
            {each: self.refused.get(each, 0) + other.refused.get(each, 0) for each in reasons},
            {**other.examples, **self.examples},
        )


class Batch(msgspec.Struct, frozen=True):
    """Results of the records at positions [first, until) of a partition.

    Attributes:
        partition: The partition.
        first: First position.
        until: Position after the last one.
        runs: Forecasts.
        tally: Numbers of all records of the partition up to ``until``.
    """

    partition: int
    first: int
    until: int
    runs: list[Run]
    tally: Tally


class Written(msgspec.Struct, frozen=True):
    """What a destination has of a partition.

    Attributes:
        until: Position after the last record whose result it has; None if it has none.
        tally: Numbers of the records before that.
    """

    until: int | None = None
    tally: Tally = Tally()


class Sink(Protocol):
    """A destination. One process writes a partition; several write to one destination.

    Guarantee: `write` stores a batch completely or not at all, together with the position after
    it, so that each result is there once, whenever the process ends.
    """

    def written(self, partition: int) -> Written:
        """Find how far a partition is; also fences an earlier process that still writes to it.

        Raises:
            ServerError: The destination does not answer.
            DataError: What is there is no result of this replay.
        """
        ...

    def write(self, batch: Batch) -> None:
        """Store the next batch of a partition.

        Raises:
            ServerError: The destination does not answer; whether the batch is stored is unknown.
        """
        ...

    def finish(self) -> str:
        """Complete the destination, once every partition is written; repeatable.

        Returns:
            Where the results are, for people.

        Raises:
            ServerError: The destination does not answer.
        """
        ...
