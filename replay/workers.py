"""Runs worker processes of a replay side by side, and merges their messages."""

from __future__ import annotations

import os
import queue
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import nullcontext
from typing import Literal

import msgspec

from millrace.contracts.errors import DataError
from millrace.infra.settings import Settings
from millrace.replay.job import BATCH
from millrace.replay.plan import Plan
from millrace.replay.worker import Compared, Failed, Message, Progress, Task


def run_workers(
    plan: Plan,
    settings: Settings,
    kind: Literal["replay", "verify"],
    *,
    processes: int,
    idle: bool,
    batch: int = BATCH,
) -> Iterator[Progress | Compared]:
    """Run a replay on several processes; each has some of the partitions.

    Args:
        plan: The replay.
        settings: Where Kafka and the object store are.
        kind: See `Task`.
        processes: Most processes.
        idle: See `Task`.
        batch: See `Task`.

    Yields:
        Messages of all workers, as they come.

    Raises:
        DataError: A worker has failed; the others are ended. The same command continues the replay.
    """
    shares = _shares(plan, processes)
    messages: queue.SimpleQueue[Message | None] = queue.SimpleQueue()
    workers = [_start(Task(plan, share, kind, idle, batch), settings) for share in shares]
    readers = [
        threading.Thread(target=_read, args=(worker, messages), daemon=True) for worker in workers
    ]
    for reader in readers:
        reader.start()
    try:
        running = len(workers)
        while running:
            message = messages.get()
            if message is None:
                running -= 1
            elif isinstance(message, Failed):
                raise DataError(message.why)
            else:
                yield message
    finally:
        for worker in workers:
            if worker.stdin is not None:
                worker.stdin.close()  # it ends then
        for worker in workers:
            worker.wait()


def _shares(plan: Plan, processes: int) -> list[tuple[int, ...]]:
    """Deal the partitions to processes, the largest first, each to the one with the least."""
    shares: list[list[int]] = [[] for _ in range(min(processes, len(plan.parts)))]
    loads = [0] * len(shares)
    for part in sorted(plan.parts, key=lambda each: -each.records):
        least = loads.index(min(loads))
        shares[least].append(part.partition)
        loads[least] += max(part.records, 1)
    return [tuple(share) for share in shares]


def _start(task: Task, settings: Settings) -> subprocess.Popen[bytes]:
    worker = subprocess.Popen(
        [sys.executable, "-m", "millrace.replay"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, **settings.environment(), "TF_CPP_MIN_LOG_LEVEL": "2"},
        start_new_session=True,  # Ctrl-C is for the parent, which ends its workers
    )
    if worker.stdin is not None:
        worker.stdin.write(msgspec.json.encode(task) + b"\n")
        worker.stdin.flush()
    return worker


def _read(worker: subprocess.Popen[bytes], messages: queue.SimpleQueue[Message | None]) -> None:
    """Pass a worker's messages on, and say when it has ended."""
    failed = False
    with worker.stdout or nullcontext(()) as lines:
        for line in lines:
            message: Message = msgspec.json.decode(line, type=Message)
            failed |= isinstance(message, Failed)
            messages.put(message)
    status = worker.wait()
    if status and not failed:
        messages.put(Failed(f"a worker has ended with status {status}; its last lines say why"))
    messages.put(None)
