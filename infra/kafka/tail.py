"""Topics go in, every record of theirs comes out, from the first one on: a log's own reader.

There is no consumer group and nothing is committed: whoever keeps its state in the topics
reads them again after a restart, and knows when it has caught up.
"""

from collections.abc import Iterator, Sequence

from confluent_kafka import Message, TopicPartition

from millrace.contracts.topics import Topic
from millrace.infra.kafka.clients import partitions_of, reader
from millrace.infra.kafka.errors import is_partition_end, raise_error
from millrace.infra.settings import Settings


class Tail:
    """Reads some topics from the beginning and goes on reading; owned by one thread."""

    def __init__(self, settings: Settings, topics: Sequence[Topic]) -> None:
        """Start at the first record of every partition.

        Raises:
            ServerError: No broker answers, or a topic is not there.
        """
        self._client = reader(
            settings, {"enable.partition.eof": True, "auto.offset.reset": "earliest"}
        )
        self._topics = {settings.named(topic.name): topic for topic in topics}
        places = [
            TopicPartition(name, partition, 0)
            for name in self._topics
            for partition in partitions_of(self._client, name)
        ]
        self._behind = {(place.topic, place.partition) for place in places}
        self._client.assign(places)

    @property
    def caught_up(self) -> bool:
        """Whether every partition has been read to an end that it had since the start."""
        return not self._behind

    def poll(self, timeout: float, batch: int = 2000) -> Iterator[tuple[Topic, Message]]:
        """Read what arrives within a time.

        Args:
            timeout: Seconds to wait for a first record.
            batch: Most records to return.

        Raises:
            KafkaException: The client cannot go on.
        """
        for message in self._client.consume(batch, timeout):
            error = message.error()
            topic, partition = message.topic(), message.partition()
            if error is not None and is_partition_end(error):
                self._behind.discard((str(topic), partition or 0))
                continue
            raise_error(message)
            if error is None and topic is not None:
                yield self._topics[topic], message

    def close(self) -> None:
        """Leave the broker."""
        self._client.close()
