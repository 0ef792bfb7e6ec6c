"""The limit: a hand-written loop on the raw client, with nothing around it.

Batches of records are decoded, normalised as one block and handed to librdkafka; offsets are
committed behind them without waiting. No state, no acknowledgement of outputs, no recovery: what
a framework can at best approach.
"""

from __future__ import annotations

from confluent_kafka import Consumer, Producer
from task import Task  # type: ignore[import-not-found]  # beside this file, where it runs

RECORDS = 2000


def main() -> None:
    """Run until killed."""
    task = Task()
    consumer = Consumer(
        {
            "bootstrap.servers": task.brokers,
            "group.id": task.group,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "fetch.message.max.bytes": 4 << 20,
        }
    )
    producer = Producer(
        {
            "bootstrap.servers": task.brokers,
            "acks": "all",
            "linger.ms": 5,
            "compression.type": "zstd",
            "compression.level": 1,
            "queue.buffering.max.messages": 500_000,
        }
    )
    consumer.subscribe([task.source])
    while True:
        messages = [m for m in consumer.consume(RECORDS, 0.1) if m.error() is None]
        if not messages:
            producer.poll(0)
            continue
        values = task.many([m.value() for m in messages])
        for message, value in zip(messages, values, strict=True):
            while True:
                try:
                    producer.produce(
                        task.target, value, message.key(), partition=message.partition()
                    )
                except BufferError:
                    producer.poll(0.05)
                else:
                    break
        producer.poll(0)
        consumer.commit(asynchronous=True)


if __name__ == "__main__":
    main()
