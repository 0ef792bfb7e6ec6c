"""Ends a process when the number of partitions of its topics changes; its supervisor restarts it.

Clients learn of new partitions at different times (librdkafka after up to five minutes), and none
of them checks that the other topics have them too. So a process that works on partitions notes
their number at its start, after all topics keyed by asset have the same number
(`await_partitions`), and ends once the numbers differ. After the restart it reads all partitions,
or waits and logs one sentence that names the remedy. A crash at any moment repeats nothing, so
neither does this.
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
            partitions: Number of partitions of each topic at the start.
            every_seconds: Interval of the checks.
            end: Called when the number has changed.
        """
        super().__init__("partitions", every_seconds)
        self._settings = settings
        self._client = consumer(settings, group, {"log_level": 0})
        self._partitions = partitions
        self._end = end

    def turn(self) -> None:
        """Check once; a broker that does not answer is no evidence."""
        try:
            counts = partition_counts(self._client, self._settings, _ANSWER_SECONDS)
        except ServerError:
            return
        others = {name: count for name, count in counts.items() if count != self._partitions}
        if others and not self.stopped:
            self.stop()
            self._end(grown(others, self._partitions))


def grown(others: dict[str, int], partitions: int) -> str:
    """Explain why the process has to be restarted.

    >>> grown({"sensor.windows": 8}, 4)
    'sensor.windows has 8 partitions, and had 4 when this process began: it has to start anew'
    """
    listed = ", ".join(f"{name} has {count} partitions" for name, count in others.items())
    return f"{listed}, and had {partitions} when this process began: it has to start anew"
