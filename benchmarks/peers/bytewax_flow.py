"""Bytewax: a dataflow from its Kafka source to its Kafka sink, run by `bytewax.run`.

The source hands over batches of up to `RECORDS`, normalised as one block; the shipped sink
flushes after each. Without its recovery store, which keeps offsets in SQLite, so without any
acknowledgement of what was read: that is to its advantage.
"""

from __future__ import annotations

from typing import Any

import bytewax.operators as op  # type: ignore[import-not-found]  # the peers' environment
from bytewax.connectors.kafka import (  # type: ignore[import-not-found]  # likewise
    KafkaSink,
    KafkaSinkMessage,
    KafkaSource,
)
from bytewax.dataflow import Dataflow  # type: ignore[import-not-found]  # likewise
from task import Task  # type: ignore[import-not-found]  # beside this file, where it runs

RECORDS = 2000


def build(path: str) -> Any:
    """Build the flow of a task, which is in a JSON file."""
    task = Task(path)

    def normalise(messages: list[Any]) -> list[Any]:
        values = task.many([message.value for message in messages])
        return [KafkaSinkMessage(m.key, v) for m, v in zip(messages, values, strict=True)]

    brokers = task.brokers.split(",")
    flow = Dataflow("normalise")
    fetch = {"fetch.message.max.bytes": "4194304"}
    source = KafkaSource(brokers, [task.source], batch_size=RECORDS, add_config=fetch)
    sink = KafkaSink(
        brokers,
        task.target,
        {
            "linger.ms": "5",
            "compression.type": "zstd",
            "compression.level": "1",
            "queue.buffering.max.messages": "500000",
        },
    )
    read = op.input("read", flow, source)
    op.output("write", op.flat_map_batch("normalise", read, normalise), sink)
    return flow
