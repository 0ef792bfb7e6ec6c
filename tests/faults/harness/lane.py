"""A lane: a process that plays one case after another, as it is told on its standard input.

``python -m tests.faults.harness.lane FOLDER`` reads an `Order` a line and answers with a result
a line, both in JSON. It has servers, running systems and a folder of its own, so that lanes
beside each other meet nowhere but at the processor; and a client library that ends its process,
as librdkafka can, ends one lane and not the run. It ends when its input does: tidily if it is
idle, and by breaking off its case if it is not.
"""

from __future__ import annotations

import logging
import os
import queue
import signal
import sys
import threading
from pathlib import Path

import msgspec
import structlog

from tests.faults.cases.catalogue import all_cases
from tests.faults.harness.runner import Runner


class Order(msgspec.Struct, frozen=True):
    """What is to be played.

    Attributes:
        name: A case.
        seed: Its seed.
    """

    name: str
    seed: int


def main() -> int:
    """Play until there are no more orders."""
    # The harness's own clients would tell of each outage, between the results.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # whatever else is printed goes to the lane's log
    orders: queue.SimpleQueue[Order | None] = queue.SimpleQueue()
    busy = threading.Event()
    threading.Thread(target=_listen, args=(orders, busy), name="orders", daemon=True).start()
    cases = all_cases()
    try:
        with Runner(Path(sys.argv[1])) as runner:
            while (order := orders.get()) is not None:
                result = runner.run(cases[order.name], order.seed)
                busy.clear()
                answers.write(msgspec.json.encode(result) + b"\n")
    except (KeyboardInterrupt, BrokenPipeError):
        return 1  # broken off: nobody waits for the result
    return 0


def _listen(orders: queue.SimpleQueue[Order | None], busy: threading.Event) -> None:
    # Not through a buffer, whose lock an interpreter that ends would wait for in vain.
    for line in os.fdopen(os.dup(0), "rb", buffering=0):
        busy.set()
        orders.put(msgspec.json.decode(line, type=Order))
    orders.put(None)
    if busy.is_set():
        os.kill(os.getpid(), signal.SIGINT)


if __name__ == "__main__":
    sys.exit(main())
