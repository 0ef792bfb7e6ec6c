"""Ends a process when topics have got other partitions than when it began; it starts anew.

Each client learns of new partitions at a time of its own (librdkafka after up to five minutes),
and none of them checks that the others have them too. So whoever works on partitions notes their
number at its start, where it has waited until all topics keyed by asset have the same
(`await_partitions`), and is started again by its supervisor once they differ: it
then reads all of them, or waits with one sentence that says what mends it. A crash at any moment
repeats nothing, so neither does this.
"""

from __future__ import annotations

from typing import Final

import structlog

from millrace.contracts.errors import ServerError
from millrace.infra.kafka.clients import consumer
from millrace.infra.process.guard_thread import GuardThread
from millrace.infra.process.watchdog import End, end_process
from millrace.infra.settings import Settings
from millrace.infra.topics.partitions import partition_counts

_log = structlog.get_logger(__name__)
_EVERY_SECONDS: Final = 3.0
_ANSWER_SECONDS: Final = 5.0


class PartitionWatch(GuardThread):
    """Compares the partitions of the topics keyed by asset with those of the start."""

    def __init__(
        self,
        settings: Settings,
        group: str,
        partitions: int,
        *,
        every_seconds: float = _EVERY_SECONDS,
        end: End = end_process,
    ) -> None:
        """Prepare the thread.

        Args:
            settings: Where Kafka is.
            group: The consumer group, before the namespace; it is never joined from here.
            partitions: How many each topic had at the start.
            every_seconds: How often to look.
            end: What to do when they are not so many any more.
        """
        super().__init__("partitions", every_seconds)
        self._settings = settings
        self._client = consumer(settings, group, {"log_level": 0})
        self._partitions = partitions
        self._end = end

    def turn(self) -> None:
        """Look once; a broker that does not answer is no evidence."""
        try:
            counts = partition_counts(self._client, self._settings, _ANSWER_SECONDS)
        except ServerError:
            return
        others = {name: count for name, count in counts.items() if count != self._partitions}
        if others and not self.stopped:
            self.stop()
            self._end(grown(others, self._partitions))


def grown(others: dict[str, int], partitions: int) -> str:
    """Say that the process has to begin anew.

    >>> grown({"sensor.windows": 8}, 4)
    'sensor.windows has 8 partitions, and had 4 when this process began: it has to start anew'
    """
    listed = ", ".join(f"{name} has {count} partitions" for name, count in others.items())
    return f"{listed}, and had {partitions} when this process began: it has to start anew"
