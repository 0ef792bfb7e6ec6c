"""Windows go to Kafka from memory: each arrives once and in order per asset, or the run fails.

librdkafka's idempotent producer retries without duplicates or reordering. Every delivery
report is counted; one that says no becomes a `ServerError` at the next call, so a lost
window is never silent. What a crash here loses and repeats: nothing is remembered, so windows
that were not delivered are gone with the process, and a sender that is started again sends
again what it is given. `producers.delivery.forwarder` is the one that remembers.
"""

import time
from collections.abc import Callable
from typing import Final

from confluent_kafka import KafkaError, KafkaException, Message, Producer
from prometheus_client import Counter

from millrace.contracts.errors import ServerError
from millrace.contracts.events.window import SensorWindow
from millrace.contracts.headers import RawHeaders
from millrace.contracts.topics import SENSOR_WINDOWS
from millrace.infra.kafka.clients import partitions_of, producer, whole_ms
from millrace.infra.settings import Settings
from millrace.producers.delivery.outbox import END_SECONDS, SpoolCounts
from millrace.producers.record import Encoding, window_headers, window_record

__all__ = ["DELIVERED", "FAILED", "Encoding", "Sender", "window_headers"]

DELIVERED: Final = Counter("millrace_edge_windows_delivered_total", "Windows the broker has")
FAILED: Final = Counter("millrace_edge_windows_failed_total", "Windows that it refused")

#: How long a full queue waits for the broker before it is tried again, seconds.
_ROOM_SECONDS: Final = 0.1
#: How long a flush waits between looks at what is left, seconds.
_FLUSH_SECONDS: Final = 0.25


class Sender:
    """Delivers windows to `sensor.windows`; owned by one thread.

    Attributes:
        handed: Records handed over so far.
        delivered: Records that the broker has confirmed.
        failed: Records that were refused or given up.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        source: str = "/millrace/edge",
        encoding: Encoding = "msgpack",
        client: Producer | None = None,
        stopping: Callable[[], bool] = lambda: False,
    ) -> None:
        """Prepare a producer.

        Args:
            settings: Where Kafka is.
            source: CloudEvents source of the windows.
            encoding: How windows are coded.
            client: A producer to use in place of an own one.
            stopping: Whether the run is to end.

        Raises:
            ServerError: No broker answers, or the topic is not there.
        """
        self.handed = self.delivered = self.failed = 0
        self._topic = settings.named(SENSOR_WINDOWS.name)
        self._source = source
        self._encoding = encoding
        self._stopping = stopping
        self._problem: str | None = None
        self._client = client or producer(settings)
        partitions_of(self._client, self._topic)

    @property
    def left(self) -> int:
        """Records whose delivery is not yet known."""
        return self.handed - self.delivered - self.failed

    @property
    def note(self) -> str:
        """Nothing to say: what goes wrong is an error."""
        return ""

    def counts(self) -> SpoolCounts | None:
        """There is no spool."""
        return None

    def send(self, window: SensorWindow) -> bool:
        """Hand over a window; its record's timestamp is the wall clock now.

        Returns:
            Whether it was taken: not if the run is to end while it waits for room.

        Raises:
            ServerError: A window handed over before could not be delivered.
        """
        at_ms = time.time_ns() // 1_000_000
        record = window_record(window, self._encoding, self._source, at_ms)
        return self.send_record(record.key, record.value, record.headers, at_ms)

    def send_record(self, key: bytes | None, value: bytes, headers: RawHeaders, at_ms: int) -> bool:
        """Hand over a record as it is; waits while the queue is full.

        Args:
            key: Its key.
            value: Its value.
            headers: Its headers.
            at_ms: Its timestamp, milliseconds UTC.

        Returns:
            Whether it was taken.

        Raises:
            ServerError: It was refused, or a record handed over before could not be delivered.
        """
        while True:
            try:
                self._client.produce(
                    self._topic,
                    value,
                    key,
                    on_delivery=self._report,
                    timestamp=at_ms,
                    headers=list(headers),
                )
                break
            except BufferError:
                if self._stopping():
                    return False
                self.poll(_ROOM_SECONDS)
            except KafkaException as error:
                raise ServerError(f"a record for {self._topic} was refused: {error}") from error
        self.handed += 1
        self.poll(0)
        return True

    def poll(self, seconds: float) -> None:
        """Serve delivery reports, for at most so long.

        Raises:
            ServerError: A record could not be delivered.
        """
        self._client.poll(whole_ms(seconds))
        if self._problem is not None:
            raise ServerError(
                f"{self.failed} of {self.handed} windows could not be delivered to"
                f" {self._topic}: {self._problem}"
            )

    def flush(self) -> None:
        """Wait until every record's delivery is known; the broker may be away meanwhile.

        When the run is to end, for no longer than `END_SECONDS`.

        Raises:
            ServerError: A record could not be delivered, or there was no time for it.
        """
        ends: float | None = None
        while self.left:
            self._client.flush(_FLUSH_SECONDS)
            self.poll(0)
            if self.left and self._stopping():
                ends = time.monotonic() + END_SECONDS if ends is None else ends
                if time.monotonic() >= ends:
                    raise ServerError(
                        f"the broker is away, and {self.left:,} windows are lost with this run;"
                        " without --no-spool they would wait on disk"
                    )
        self.poll(0)

    def _report(self, error: KafkaError | None, _: Message) -> None:
        if error is None:
            self.delivered += 1
            DELIVERED.inc()
        else:
            self.failed += 1
            FAILED.inc()
            self._problem = error.str()
