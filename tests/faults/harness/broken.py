"""Builds that are broken on purpose, to show that the oracle finds out: ``MILLRACE_BROKEN=<name>``.

Each is the real service with one of its promises taken away, by replacing one method before
the service's own main is run. There is no switch for any of this in the services.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from importlib import import_module
from typing import Any, Final

from confluent_kafka import Producer, TopicPartition

#: How long the broken stream processor keeps its memory to itself, seconds.
LATE_SECONDS: Final = 4.0


def acknowledge_before_state() -> str:
    """The stream processor acknowledges batches whose memory is not written yet."""
    snapshots: Any = import_module("millrace.stream_processors.state.snapshots").Snapshots
    write: Callable[..., None] = snapshots.write
    written = [time.monotonic()]
    waiting: list[Any] = []

    def late(self: Any, taken: list[Any], changelog: Any) -> None:
        waiting.extend(taken)
        if time.monotonic() - written[0] > LATE_SECONDS:
            written[0] = time.monotonic()
            write(self, waiting, changelog)
            waiting.clear()

    snapshots.write = late
    return "millrace.stream_processors"


def forget_outputs() -> str:
    """The stream processor does not look what an earlier life has written."""
    history: Any = import_module("millrace.stream_processors.recovery.history").KafkaHistory
    ends: Callable[[Any, int], Any] = history.ends
    history.ends = lambda self, partition: ends(self, partition)._replace(written={})
    return "millrace.stream_processors"


class Careless(Producer):
    """A producer whose transactions hold no offsets."""

    def send_offsets_to_transaction(self, *_: Any) -> None:
        """Leave them out."""


def commit_outside() -> str:
    """Inference commits its offsets by themselves, before the transaction."""
    vars(import_module("millrace.infra.kafka.clients"))["Producer"] = Careless
    membership: Any = import_module("millrace.inference.kafka.membership").Membership
    offsets: Callable[..., list[TopicPartition]] = membership.offsets

    def careless(self: Any, following: dict[int, int]) -> list[TopicPartition]:
        places = offsets(self, following)
        self.client.commit(offsets=places, asynchronous=False)
        return places

    membership.offsets = careless
    return "millrace.inference"


def predict_repetitions() -> str:
    """Inference does not remember what it has answered."""
    consumer: Any = import_module("millrace.inference.consumer")
    read: Callable[..., Any] = consumer.read
    consumer.read = lambda arrived, _: read(arrived, {})
    return "millrace.inference"


BUILDS: Final[dict[str, Callable[[], str]]] = {
    "acknowledge-before-state": acknowledge_before_state,
    "forget-outputs": forget_outputs,
    "commit-outside": commit_outside,
    "predict-repetitions": predict_repetitions,
}


def main() -> int:
    """Break a service, and run it."""
    package = BUILDS[os.environ["MILLRACE_BROKEN"]]()
    status: int = import_module(f"{package}.__main__").main()
    return status


if __name__ == "__main__":
    sys.exit(main())
