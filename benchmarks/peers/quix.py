"""Quix Streams: a streaming data frame from topic to topic.

Raw serialisation on both sides, zstd and a short linger as everybody has, statistics and state
off. Its unit of work is the message; checkpoints are every second (its default is five).
"""

from __future__ import annotations

from quixstreams import Application  # type: ignore[import-not-found]  # the peers' environment
from task import Task  # type: ignore[import-not-found]  # beside this file, where it runs


def main() -> None:
    """Run until killed."""
    task = Task()
    app = Application(
        broker_address=task.brokers,
        consumer_group=task.group,
        auto_offset_reset="earliest",
        auto_create_topics=False,
        use_changelog_topics=False,
        commit_interval=1.0,
        state_dir=task.folder,
        loglevel="WARNING",
        consumer_extra_config={"fetch.message.max.bytes": 4 << 20},
        producer_extra_config={
            "linger.ms": 5,
            "compression.type": "zstd",
            "compression.level": 1,
            "queue.buffering.max.messages": 500_000,
        },
    )
    source = app.topic(task.source, key_deserializer="bytes", value_deserializer="bytes")
    target = app.topic(task.target, key_serializer="bytes", value_serializer="bytes")
    frame = app.dataframe(source)
    frame = frame.apply(task.one)
    frame.to_topic(target)
    app.run()


if __name__ == "__main__":
    main()
