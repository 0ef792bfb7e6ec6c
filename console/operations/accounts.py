"""Balance and losses of records in each service, read from the services' metrics.

/metrics of each service ─► balance per partition, losses ─┐
supervisord's log ─► restarts                               ├─► concerns, in words
─┘
"""

from __future__ import annotations

import http.client
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec
from prometheus_client.parser import text_string_to_metric_families

from millrace.infra.local.health import LOOPBACK
from millrace.infra.local.programs import RESTARTER

_ANSWER_SECONDS: Final = 3.0
#: Time within which several restarts of a program are a concern, seconds.
RESTARTS_SECONDS: Final = 900.0
MANY_RESTARTS: Final = 3
_READ: Final = "millrace_records_read_total"
_SETTLED: Final = "millrace_records_settled_total"
_LOST: Final = "millrace_records_lost_total"
_SPAWNED: Final = "INFO spawned: '"
_BEGUN: Final = "INFO supervisord started with pid"


class BalanceLine(msgspec.Struct, frozen=True):
    """Fates of a partition's records since the start of a service.

    Attributes:
        service: The service that read them.
        topic: The topic, without the namespace.
        partition: The partition.
        read: Number of records read.
        fates: Number of records by fate; see `infra.progress.balance`.
        waiting: Number of records without a fate yet; below 0, some have two.
    """

    service: str
    topic: str
    partition: int
    read: int
    fates: dict[str, int]
    waiting: int


class LossLine(msgspec.Struct, frozen=True):
    """Records that expired in Kafka before a group had read them, as its service reports."""

    service: str
    topic: str
    group: str
    records: int


class RestartLine(msgspec.Struct, frozen=True):
    """Number of restarts of a program.

    Attributes:
        program: Its name.
        restarts: Since the start of the process manager.
        lately: Those within `RESTARTS_SECONDS`.
    """

    program: str
    restarts: int
    lately: int


def metrics_of(port: int) -> str | None:
    """Fetch a service's metrics; None if it does not answer."""
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=_ANSWER_SECONDS)
    try:
        connection.request("GET", "/metrics")
        answer = connection.getresponse()
        return answer.read().decode() if answer.status == http.HTTPStatus.OK else None
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def accounts(service: str, metrics: str) -> tuple[list[BalanceLine], list[LossLine]]:
    """Read a service's balance and losses from its metrics."""
    read: dict[tuple[str, int], int] = {}
    fates: dict[tuple[str, int], dict[str, int]] = defaultdict(dict)
    losses = []
    for family in text_string_to_metric_families(metrics):
        for sample in family.samples:
            count, labels = int(sample.value), sample.labels
            if sample.name == _READ:
                read[labels["topic"], int(labels["partition"])] = count
            elif sample.name == _SETTLED:
                fates[labels["topic"], int(labels["partition"])][labels["fate"]] = count
            elif sample.name == _LOST and count:
                losses.append(LossLine(service, labels["topic"], labels["group"], count))
    lines = [
        BalanceLine(service, *place, read.get(place, 0), fates[place], _waiting(place, read, fates))
        for place in sorted({*read, *fates})
    ]
    return lines, losses


def restarts(log: Iterable[str], now: float) -> list[RestartLine]:
    """Count restarts since the start of the process manager.

    Args:
        log: Lines of its log, oldest first.
        now: Wall clock in seconds.
    """
    moments: dict[str, list[float]] = defaultdict(list)
    for line in log:
        if _BEGUN in line:
            moments.clear()
        elif _SPAWNED in line:
            stamp, _, rest = line.partition(_SPAWNED)
            moment = time.mktime(time.strptime(stamp.split(",")[0], "%Y-%m-%d %H:%M:%S"))
            moments[rest.partition("'")[0]].append(moment)
    return [
        RestartLine(
            name, len(starts) - 1, sum(now - start < RESTARTS_SECONDS for start in starts[1:])
        )
        for name, starts in sorted(moments.items())
        if name != RESTARTER  # the process manager's own
    ]


def unsettled(lines: Iterable[BalanceLine]) -> bool:
    """Whether any record has no fate yet, or two."""
    return any(line.waiting for line in lines)


def concerns(
    before: Sequence[BalanceLine],
    after: Sequence[BalanceLine],
    losses: Iterable[LossLine],
    started: Iterable[RestartLine],
) -> list[str]:
    """Describe problems that exist although all programs may be ready.

    Args:
        before: Balances some seconds ago; records without a fate may just have been in progress.
        after: Balances now.
        losses: Losses.
        started: Restarts.
    """
    earlier = {(line.service, line.topic, line.partition): line for line in before}
    found = [
        f"{loss.records} records of {loss.topic} were dropped by Kafka before {loss.group} had"
        f" read them: the log of {loss.service} names them"
        for loss in losses
    ]
    for line in after:
        stands = earlier.get((line.service, line.topic, line.partition)) == line
        if line.waiting < 0 or (line.waiting and stands):
            found.append(
                f"{line.service} is out of balance on {line.topic} {line.partition}: of"
                f" {line.read} records that it read, {line.read - line.waiting} have a fate"
            )
    found += [
        f"{one.program} was started again {one.lately} times in {RESTARTS_SECONDS / 60:.0f}"
        " minutes: its log says why"
        for one in started
        if one.lately >= MANY_RESTARTS
    ]
    return found


def _waiting(
    place: tuple[str, int],
    read: Mapping[tuple[str, int], int],
    fates: Mapping[tuple[str, int], Mapping[str, int]],
) -> int:
    return read.get(place, 0) - sum(fates[place].values())
