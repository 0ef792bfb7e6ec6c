"""Windows go to Kafka: each arrives once and in order per asset, or the run fails loudly.

librdkafka's idempotent producer retries without duplicates or reordering. Every delivery
report is counted; one that says no becomes a `ServerError` at the next call, so a lost
window is never silent. What a crash here repeats: nothing is remembered, so a sender that is
started again sends again what it is given; windows keep their ids, and so can be told.
"""

import time
from typing import Final, Literal

from confluent_kafka import KafkaError, KafkaException, Message, Producer
from prometheus_client import Counter

from contracts.errors import ServerError
from contracts.events import WINDOW, event_time
from contracts.headers import RawHeaders, cloud_event
from contracts.topics import SENSOR_WINDOWS
from contracts.window import JSON, MSGPACK, SensorWindow, encode_window, encode_window_json
from infra.kafka import partitions_of, producer
from infra.settings import Settings

DELIVERED: Final = Counter("millrace_edge_windows_delivered_total", "Windows the broker has")
FAILED: Final = Counter("millrace_edge_windows_failed_total", "Windows that it refused")

Encoding = Literal["msgpack", "json"]

#: How long a full queue waits for the broker before it is tried again, seconds.
_ROOM_SECONDS: Final = 0.1
#: How long a flush waits between looks at what is left, seconds.
_FLUSH_SECONDS: Final = 1.0


def window_headers(window: SensorWindow, content_type: str, source: str, at_ms: int) -> RawHeaders:
    """Build a window's CloudEvents headers.

    Args:
        window: The window.
        content_type: Media type of its encoding.
        source: Which edge sends it.
        at_ms: When, milliseconds UTC.
    """
    return cloud_event(window.id, WINDOW, source, content_type, event_time(at_ms))


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
    ) -> None:
        """Prepare a producer.

        Args:
            settings: Where Kafka is.
            source: CloudEvents source of the windows.
            encoding: How windows are coded.
            client: A producer to use in place of an own one.

        Raises:
            ServerError: No broker answers, or the topic is not there.
        """
        self.handed = self.delivered = self.failed = 0
        self._topic = settings.named(SENSOR_WINDOWS.name)
        self._source = source
        self._encoding = encoding
        self._problem: str | None = None
        self._client = client or producer(settings)
        partitions_of(self._client, self._topic)

    @property
    def waiting(self) -> int:
        """Records whose delivery is not yet known."""
        return self.handed - self.delivered - self.failed

    def send(self, window: SensorWindow) -> None:
        """Hand over a window; its record's timestamp is the wall clock now.

        Raises:
            ServerError: A window handed over before could not be delivered.
        """
        at_ms = time.time_ns() // 1_000_000
        if self._encoding == "json":
            value, content_type = encode_window_json(window), JSON
        else:
            value, content_type = encode_window(window), MSGPACK
        headers = window_headers(window, content_type, self._source, at_ms)
        self.send_record(window.asset.encode(), value, headers, at_ms)

    def send_record(self, key: bytes | None, value: bytes, headers: RawHeaders, at_ms: int) -> None:
        """Hand over a record as it is; waits while the queue is full.

        Args:
            key: Its key.
            value: Its value.
            headers: Its headers.
            at_ms: Its timestamp, milliseconds UTC.

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
                self.poll(_ROOM_SECONDS)
            except KafkaException as error:
                raise ServerError(f"a record for {self._topic} was refused: {error}") from error
        self.handed += 1
        self.poll(0)

    def poll(self, seconds: float) -> None:
        """Serve delivery reports, for at most so long.

        Raises:
            ServerError: A record could not be delivered.
        """
        self._client.poll(seconds)
        if self._problem is not None:
            raise ServerError(
                f"{self.failed} of {self.handed} windows could not be delivered to"
                f" {self._topic}: {self._problem}"
            )

    def flush(self) -> None:
        """Wait until every record's delivery is known; the broker may be away meanwhile.

        Raises:
            ServerError: A record could not be delivered.
        """
        while self.waiting:
            self._client.flush(_FLUSH_SECONDS)
            self.poll(0)
        self.poll(0)

    def _report(self, error: KafkaError | None, _: Message) -> None:
        if error is None:
            self.delivered += 1
            DELIVERED.inc()
        else:
            self.failed += 1
            FAILED.inc()
            self._problem = error.str()
