"""The plan of a replay: which positions, which versions, and where the results go.

A replay's id is derived from what was asked for, not from the positions that this means when it is
planned. So the same command continues the same replay: a part that was ended is completed, and a
replay without an end in time goes on with what has come since.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from millrace.contracts.clock import to_ms
from millrace.contracts.ids import digest_of
from millrace.contracts.moment import Moment

#: Value of `Plan.model` that replays each window on the version that served it.
AS_SERVED: Final = "as-served"


class Part(msgspec.Struct, frozen=True):
    """Positions of a partition of `sensor.windows`.

    Attributes:
        partition: The partition.
        first: First position.
        until: Position after the last one.
        records: Number of records between them, at most.
    """

    partition: int
    first: int
    until: int
    records: int = 0


class Choice(msgspec.Struct, frozen=True):
    """A version on which all windows of a model run.

    Attributes:
        model: The model.
        version: Its version.
        epoch: The version's last serving epoch; 0 if it never served.
    """

    model: str
    version: int
    epoch: int


class Plan(msgspec.Struct, frozen=True):
    """A replay.

    Attributes:
        id: Its id.
        parts: Positions to replay, by partition.
        model: `AS_SERVED`, or what the user named.
        choices: Versions that were named; empty for `AS_SERVED`. Windows of other models are
            left out.
        destination: Where results go.
        arrived_from: Earliest Kafka timestamp of a window; None for any.
        arrived_until: The time after the latest one; None for any.
        assets: Only these assets; empty for all.
        offsets: Only these positions, by partition; empty for all.
        origin: What is replayed, where it is not the past of the system: the file, and the digest
            of its windows.
    """

    id: str
    parts: tuple[Part, ...]
    model: str
    choices: tuple[Choice, ...]
    destination: str
    arrived_from: Moment | None = None
    arrived_until: Moment | None = None
    assets: tuple[str, ...] = ()
    offsets: dict[int, tuple[int, int]] = {}
    origin: str = ""
    v: int = 1

    @property
    def records(self) -> int:
        """Number of records that are read, at most."""
        return sum(part.records for part in self.parts)

    def covers(self, arrived_ms: int) -> bool:
        """Whether a window with this Kafka timestamp is replayed, milliseconds UTC."""
        early = self.arrived_from is not None and arrived_ms < to_ms(self.arrived_from)
        late = self.arrived_until is not None and arrived_ms >= to_ms(self.arrived_until)
        return not (early or late)


def make_plan(
    namespace: str,
    parts: Sequence[Part],
    model: str,
    choices: Sequence[Choice],
    destination: str,
    *,
    arrived_from: Moment | None = None,
    arrived_until: Moment | None = None,
    assets: Sequence[str] = (),
    offsets: Mapping[int, tuple[int, int]] | None = None,
    origin: str = "",
) -> Plan:
    """Make a plan and derive its id.

    >>> plan = make_plan("", [Part(0, 10, 20)], AS_SERVED, [], "scored.parquet")
    >>> plan.id == make_plan("", [Part(0, 10, 25)], AS_SERVED, [], "scored.parquet").id
    True
    >>> plan.id == make_plan("", [Part(0, 10, 20)], AS_SERVED, [], "other.parquet").id
    False
    """
    plan = Plan(
        "",
        tuple(parts),
        model,
        tuple(choices),
        destination,
        arrived_from,
        arrived_until,
        tuple(sorted(set(assets))),
        dict(sorted((offsets or {}).items())),
        origin,
    )
    asked = msgspec.structs.replace(plan, parts=())
    digest = digest_of(namespace, msgspec.json.encode(asked).decode())
    return msgspec.structs.replace(plan, id=f"{'score' if origin else 'replay'}-{digest[:12]}")
