"""Faust as its documentation shows it: an agent that takes one event at a time.

Raw serialisation, loggers at WARNING (its default builds a log record for each message), zstd,
no web server; the producer batches by itself. What it sends is not awaited, as usual.
"""

from __future__ import annotations

import logging
import sys
from typing import Any

import faust
from task import Task  # type: ignore[import-not-found]  # beside this file, where it runs


def main() -> None:
    """Run until killed."""
    task = Task()
    for name in ("aiokafka", "faust", "mode", "asyncio"):
        logging.getLogger(name).setLevel(logging.WARNING)
    app = faust.App(
        task.group,
        broker=[f"aiokafka://{host}" for host in task.brokers.split(",")],
        consumer_auto_offset_reset="earliest",
        broker_max_poll_records=2000,
        producer_compression_type="zstd",
        producer_linger_ms=5,
        stream_buffer_maxsize=16384,
        topic_disable_leader=True,
        store="memory://",
        web_enabled=False,
        datadir=task.folder,
    )
    source = app.topic(task.source, key_serializer="raw", value_serializer="raw", value_type=bytes)
    target = app.topic(task.target, key_serializer="raw", value_serializer="raw", value_type=bytes)

    @app.agent(source)
    async def normalise(stream: Any) -> None:
        async for key, value in stream.items():
            await target.send(key=key, value=task.one(value))

    worker = faust.Worker(
        app, loglevel="WARNING", redirect_stdouts=False, override_logging=False, quiet=True
    )
    sys.exit(worker.execute_from_commandline())


if __name__ == "__main__":
    main()
