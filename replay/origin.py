"""Where the records of a replay come from."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from millrace.replay.pipeline import BLOCK, Pipeline
from millrace.replay.plan import Part, Plan
from millrace.replay.records import PastRecord


class Origin(Protocol):
    """Records and the pipeline for them: the past of a system, or a file. One thread owns it."""

    def blocks(self, part: Part, most: int = BLOCK) -> Iterator[list[PastRecord]]:
        """Read the records of a partition's positions, at most ``most`` at once.

        Records before the first position may come as well, to be remembered.

        Raises:
            DataError: They cannot be read.
            ServerError: A server does not answer.
        """
        ...

    def pipeline(self, plan: Plan, part: Part) -> Pipeline:
        """Build the pipeline of a partition.

        Raises:
            ServerError: A server does not answer.
        """
        ...

    def close(self) -> None:
        """Close the clients."""
        ...
