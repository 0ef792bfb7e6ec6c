"""One run of a contender over a filled topic: its process, its throughput, its cost.

The contender starts before anything is measured. Throughput is taken from the broker's clock
(`append_times`); cost is what its processes and the broker used between the same two moments.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import psutil
from confluent_kafka import ConsumerGroupTopicPartitions, TopicPartition

from benchmarks.append_times import SKIPPED, append_times, await_written, throughput, written
from benchmarks.namespaces import renew
from benchmarks.servers import Servers
from benchmarks.service import Cost, Service, cost_of, millrace
from millrace.contracts.errors import ServerError
from millrace.contracts.topics import MODEL_EVENTS, NORMALIZED, SENSOR_WINDOWS
from millrace.infra.kafka.clients import ANSWER_SECONDS, admin, partitions_of, reader, watermarks
from millrace.infra.settings import Settings

GROUP: Final = "millrace.stream-processor"
START_SECONDS: Final = 60.0
#: Share of the windows that has to be left when all processes have joined.
LEAST_SHARE: Final = 0.2
_COMMIT_SECONDS: Final = 10.0
_LOOK_SECONDS: Final = 0.02


@dataclass(frozen=True)
class Run:
    """What one run found.

    Attributes:
        rate: Windows per second.
        records: Windows that were written.
        complete: Whether all of them were.
        cores: Processor time of the contender's processes, per second.
        broker_cores: The same of the broker; None if it is not ours.
        rss_mib: Resident set of each process at the end.
        pss_mib: Proportional set of each process at the end.
        acknowledged_seconds: How long after the last output the committed offsets reached the
            end; None where that was not looked at.
    """

    rate: float
    records: int
    complete: bool
    cores: float
    broker_cores: float | None
    rss_mib: list[float] = field(default_factory=list)
    pss_mib: list[float | None] = field(default_factory=list)
    acknowledged_seconds: float | None = None


def run_contender(
    start: Callable[[], Sequence[Service]],
    settings: Settings,
    output: str,
    count: int,
    *,
    servers: Servers,
    seconds: float,
    tell: Callable[[float], None] = lambda _: None,
    finish: Callable[[Sequence[Service]], None] = lambda _: None,
    group: str | None = None,
) -> Run:
    """Start a contender, measure it, end it.

    Args:
        start: Starts its processes.
        settings: Namespace of the output.
        output: The topic that it writes.
        count: Windows in the input.
        servers: The servers.
        seconds: Longest measurement.
        tell: Told which share is done.
        finish: Called before the processes are killed.
        group: Consumer group whose commits must reach the end; None to leave that out.

    Raises:
        ServerError: It writes nothing, or ends.
    """
    began: list[tuple[float, list[Cost], Cost | None]] = []
    first_seen: list[float] = []
    all_there: list[float] = []
    with ExitStack() as stack:
        services = [stack.enter_context(service) for service in start()]
        brokers = [servers.broker] if servers.broker else []

        def costs() -> tuple[float, list[Cost], Cost | None]:
            return (
                time.monotonic(),
                [service.cost() for service in services],
                _broker_cost(brokers),
            )

        def joined() -> bool:
            return len(services) == 1 or all(service.ready() for service in services)

        def look(share: float) -> None:
            tell(share)
            if share and not first_seen:
                first_seen.append(time.monotonic())
            if not all_there and joined():
                all_there.append(time.time())
            late = bool(first_seen) and time.monotonic() - first_seen[0] > seconds * SKIPPED
            if not began and all_there and (share >= SKIPPED or late):
                began.append(costs())

        def check() -> None:
            for service in services:
                service.check()

        there = await_written(
            written(settings, output),
            count,
            start_seconds=START_SECONDS,
            run_seconds=seconds,
            check=check,
            progress=look,
            begun=lambda: bool(all_there),
        )
        ended = costs()
        late = None
        if group is not None and there >= count:
            late = _await_committed(settings, group, check)
        finish(services)
        first = began[0] if began else ended
        elapsed = max(ended[0] - first[0], 1e-9)
        used = [b.seconds - a.seconds for a, b in zip(first[1], ended[1], strict=True)]
        broker = None
        if ended[2] is not None and first[2] is not None:
            broker = (ended[2].seconds - first[2].seconds) / elapsed
        memory = ended[1]
    times = append_times(settings, output)[:count]
    return Run(
        rate=_rate(times, all_there) if len(services) > 1 else throughput(times),
        records=there,
        complete=there >= count,
        cores=sum(used) / elapsed,
        broker_cores=broker,
        rss_mib=[cost.rss_mib for cost in memory],
        pss_mib=[cost.pss_mib for cost in memory],
        acknowledged_seconds=late,
    )


def _rate(times: npt.NDArray[np.float64], all_there: Sequence[float]) -> float:
    """Windows per second from when all processes had joined; the clocks are one machine's.

    Raises:
        ServerError: Nearly all was done by then.
    """
    since = all_there[0] if all_there else math.inf
    if float(np.mean(times >= since)) < LEAST_SHARE:
        raise ServerError("nearly all was done before all processes had joined: fill in more")
    return throughput(times, since)


def _monitoring(watch: str | None) -> dict[str, str]:
    """Environment of a stream processor with these detectors on inputs; None monitors nothing."""
    if watch is None:
        return {"MILLRACE_MONITORING": "false"}
    return {"MILLRACE_INPUT_DETECTORS": watch}


def run_stream_processor(
    settings: Settings,
    count: int,
    *,
    servers: Servers,
    watch: str | None,
    seconds: float,
    processes: int = 1,
    tell: Callable[[float], None] = lambda _: None,
    profile: Path | None = None,
) -> Run:
    """Run our stream processor over a filled `sensor.windows`, as if for the first time.

    Args:
        settings: Namespace whose input is filled and whose model is declared.
        count: Windows in it.
        servers: The servers.
        watch: Detectors on inputs; None to monitor nothing.
        seconds: Longest measurement.
        processes: How many share the partitions.
        tell: As in `run_contender`.
        profile: Where cProfile's statistics of the first process go.
    """
    renew(settings, GROUP, NORMALIZED.name, (SENSOR_WINDOWS.name, MODEL_EVENTS.name))
    logs = servers.folder / "log"

    def start() -> list[Service]:
        return [
            millrace(
                "millrace.stream_processors",
                settings,
                logs,
                replica=str(number),
                more=_monitoring(watch),
                profile=profile if number == 0 else None,
            )
            for number in range(processes)
        ]

    def finish(services: Sequence[Service]) -> None:
        if profile is not None:
            services[0].end_profile()

    return run_contender(
        start,
        settings,
        NORMALIZED.name,
        count,
        servers=servers,
        seconds=seconds,
        tell=tell,
        finish=finish,
        group=GROUP,
    )


def _broker_cost(brokers: Sequence[psutil.Process]) -> Cost | None:
    return cost_of(brokers[0]) if brokers else None


def _await_committed(settings: Settings, group: str, check: Callable[[], None]) -> float | None:
    """Wait until a group has committed all of `sensor.windows`; None if it does not in time."""
    name = settings.named(SENSOR_WINDOWS.name)
    client = reader(settings)
    places = [TopicPartition(name, partition) for partition in partitions_of(client, name)]
    ends = {place.partition: watermarks(client, place)[1] for place in places}
    client.close()
    asked = admin(settings)
    began = time.monotonic()
    while time.monotonic() - began < _COMMIT_SECONDS:
        (future,) = asked.list_consumer_group_offsets(
            [ConsumerGroupTopicPartitions(settings.named(group), places)]
        ).values()
        committed = future.result(timeout=ANSWER_SECONDS).topic_partitions or []
        if all(max(place.offset, 0) >= ends[place.partition] for place in committed):
            return time.monotonic() - began
        check()
        time.sleep(_LOOK_SECONDS)
    return None
