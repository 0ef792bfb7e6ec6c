"""Inference without the inference: ``python -m benchmarks.transport_loop TASK``.

As many records are consumed, and as many of a prediction's size and headers produced, in
transactions with the offsets, as our inference does; but nothing is decoded, forecast or
written down. TASK is the JSON file of a `benchmarks.keras_loop_task.Task`; when the process is
told to end (SIGTERM), the seconds of each batch go to the file that it names.
"""

from __future__ import annotations

import json
import signal
import sys
import threading
import time
from itertools import cycle
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np

from benchmarks.keras_loop_task import Task
from millrace.contracts.clock import now
from millrace.contracts.events.event import JSON
from millrace.contracts.events.prediction import Prediction
from millrace.contracts.headers import SOURCE_OFFSET, cloud_event
from millrace.contracts.model_spec import ModelSpec
from millrace.contracts.topics import NORMALIZED
from millrace.inference.kafka.membership import AGE_SECONDS, MOST_WINDOWS
from millrace.infra.kafka.clients import ANSWER_SECONDS, TRANSACTION_RETRY_MS, consumer, producer
from millrace.infra.settings import Settings

#: Records in a transaction, at most; as our inference has them.
MOST: Final = MOST_WINDOWS
#: Bytes of a prediction beside its numbers, about.
_PROVENANCE: Final = 600
#: Different values, so that they compress as real ones do.
_VALUES: Final = 64


def main() -> int:
    """Run until told to end."""
    task = msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=Task)
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    Path(task.seconds).write_text(json.dumps(_loop(task, stop)))
    return 0


def _loop(task: Task, stop: threading.Event) -> list[float]:
    settings = Settings.read()
    source = consumer(settings, task.group)
    source.subscribe([settings.named(NORMALIZED.name)])
    target: Any = producer(
        settings,
        {
            "transactional.id": settings.named(task.group),
            "linger.ms": 5,
            "compression.level": 1,
            "retry.backoff.ms": TRANSACTION_RETRY_MS,
        },
    )
    target.init_transactions(ANSWER_SECONDS)
    topic = settings.named(task.output)
    values = _values(task.spec)
    seconds: list[float] = []
    while not stop.is_set():
        began = time.perf_counter()
        messages = [m for m in source.consume(MOST, AGE_SECONDS) if m.error() is None]
        if not messages:
            continue
        shared = cloud_event(
            "p-0123456789abcdef01234567", Prediction.TYPE, "/benchmark", JSON, now()
        )
        target.begin_transaction()
        for message, value in zip(messages, cycle(values), strict=False):
            target.produce(
                topic,
                value,
                message.key(),
                message.partition() or 0,
                headers=[*shared, (SOURCE_OFFSET, b"%d" % (message.offset() or 0))],
            )
        target.send_offsets_to_transaction(
            source.position(source.assignment()), source.consumer_group_metadata(), ANSWER_SECONDS
        )
        target.commit_transaction(ANSWER_SECONDS)
        seconds.append(time.perf_counter() - began)
    source.close()
    return seconds


def _values(spec: ModelSpec) -> list[bytes]:
    """Values of a prediction's size: its numbers, and as many bytes of provenance."""
    rng = np.random.default_rng(0)
    shape = (spec.steps, len(spec.target_names))
    encode = msgspec.json.Encoder().encode
    return [
        encode(
            {
                "provenance": rng.bytes(_PROVENANCE // 2).hex(),
                "forecast": rng.standard_normal(shape).astype(np.float32).tolist(),
                "persistence": rng.standard_normal(shape[1:]).astype(np.float32).tolist(),
            }
        )
        for _ in range(_VALUES)
    ]


if __name__ == "__main__":
    sys.exit(main())
