"""Which records are windows that a model reads; the rest become dead letters.

A pure function from a batch of records to blocks of windows, one block per model, and to the
reasons why the others are none. Form is judged record by record, from cheap to dear; the
readings of a model's windows are judged, and their gaps closed, as one NumPy block. A record
is judged alike whatever else is in its batch: a single one is a batch of one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt

from contracts.headers import CONTENT_TYPE
from contracts.invalid_record import InvalidRecord
from contracts.missing import ABSENT_ABOVE, fill_missing
from contracts.model_spec import ModelSpec
from contracts.registry import Model, Registry
from contracts.topics import MAX_WINDOW_BYTES
from contracts.window import JSON, MSGPACK, Layout, WindowBody, read_window

#: Event times outside of these say that a device's clock is wrong.
EARLIEST_MS: Final = 946_684_800_000  # 2000-01-01
LATEST_AHEAD_MS: Final = 86_400_000
#: No sensor reads more than this in any unit; larger numbers are defects.
LARGEST: Final = 1e30
#: Types that are known, as they are on the wire.
_TYPES: Final = {known.encode(): known for known in (MSGPACK, JSON)}


class Readable(Protocol):
    """What is judged of a record."""

    @property
    def key(self) -> bytes | None:
        """The asset."""

    @property
    def value(self) -> bytes | None:
        """An encoded window."""

    @property
    def headers(self) -> Sequence[tuple[str, bytes]]:
        """Headers, the last of a name counts."""


@dataclass(frozen=True)
class Block:
    """Windows that a model reads, ``n`` of one batch, in its order.

    Attributes:
        model: The model.
        rows: Place of each in its batch, ascending.
        bodies: Each as it came.
        layout: Layout of all of them.
        values: float32 of shape (n, window, sensors), physical units, as they came.
        filled: The same, gaps closed; absent sensors 0.
        present: Which sensors are present, bool of shape (n, sensors).
    """

    model: Model
    rows: list[int]
    bodies: list[WindowBody]
    layout: Layout
    values: npt.NDArray[np.float32]
    filled: npt.NDArray[np.float32]
    present: npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Judgement:
    """What became of a batch: each row is in one block, or refused.

    Attributes:
        blocks: One per model that has windows.
        refused: Why a row is no window, by row.
    """

    blocks: list[Block]
    refused: dict[int, InvalidRecord]

    @property
    def misses_a_model(self) -> bool:
        """Whether a model that is not known yet might read what was refused."""
        reasons = {problem.reason for problem in self.refused.values()}
        return not reasons.isdisjoint({"unknown_sensor_set", "wrong_shape"})


@dataclass
class _Pile:
    """A model's windows, before their readings are looked at."""

    model: Model
    layout: Layout
    rows: list[int] = field(default_factory=list)
    bodies: list[WindowBody] = field(default_factory=list)


def judge(records: Sequence[Readable], registry: Registry, now_ms: int) -> Judgement:
    """Judge a batch of `sensor.windows`.

    Args:
        records: The batch.
        registry: The models that there are.
        now_ms: Wall clock, milliseconds UTC.
    """
    refused: dict[int, InvalidRecord] = {}
    piles: dict[str, _Pile] = {}
    latest_ms = now_ms + LATEST_AHEAD_MS
    for row, record in enumerate(records):
        try:
            body, layout = _form(record, latest_ms)
            pile = piles.get(layout.sensor_set)
            if pile is None:
                pile = piles[layout.sensor_set] = _Pile(_model_for(layout, registry), layout)
        except InvalidRecord as problem:
            refused[row] = problem
            continue
        pile.rows.append(row)
        pile.bodies.append(body)
    blocks = [_readings(pile, refused) for pile in piles.values()]
    return Judgement([block for block in blocks if block.rows], refused)


def _form(record: Readable, latest_ms: int) -> tuple[WindowBody, Layout]:
    """Judge all but the readings.

    Raises:
        InvalidRecord: Why it cannot be used.
    """
    key, value = record.key, record.value
    if not key:
        raise InvalidRecord("empty_key", "the record has no key; send the asset's name")
    if value is None:
        raise InvalidRecord("undecodable", "the record has no value")
    if len(value) > MAX_WINDOW_BYTES:
        raise InvalidRecord(
            "oversized",
            f"{len(value)} bytes; a window may have {MAX_WINDOW_BYTES}: send shorter ones",
        )
    body, layout = read_window(value, _content_type(record.headers))
    if body.asset.encode() != key:
        raise InvalidRecord(
            "key_mismatch", f"the key is not the window's asset {body.asset!r}; send it as key"
        )
    if not 0 < body.period_seconds < math.inf:
        raise InvalidRecord(
            "bad_period", f"period_seconds is {body.period_seconds}; it must be positive"
        )
    if not EARLIEST_MS <= body.start_ms <= latest_ms:
        raise InvalidRecord(
            "implausible_time",
            f"start_ms {body.start_ms} is before 2000 or more than a day ahead; set the"
            " device's clock, and send milliseconds since 1970 UTC",
        )
    return body, layout


def _content_type(headers: Sequence[tuple[str, bytes]]) -> str:
    for name, value in reversed(headers):
        if name == CONTENT_TYPE:  # null on the wire, or no text, is none of ours
            return _TYPES.get(value) or (value.decode(errors="replace") if value else "")
    return ""


def _model_for(layout: Layout, registry: Registry) -> Model:
    """Find the model that reads a sensor set.

    Raises:
        InvalidRecord: There is none.
    """
    model = registry.by_sensor_set(layout.sensor_set)
    if model is not None and model.serving is not None:
        return model
    for other in registry.models.values():
        spec = other.spec
        if spec.sensors == layout.sensors and spec.period_seconds == layout.period_seconds:
            raise InvalidRecord(
                "wrong_shape",
                f"{layout.samples} samples; model {spec.name} reads {spec.window}",
            )
    raise InvalidRecord(
        "unknown_sensor_set",
        f"no model reads sensors {list(layout.sensors)} every {layout.period_seconds} s;"
        " declare one with `millrace models declare`",
    )


def _readings(pile: _Pile, refused: dict[int, InvalidRecord]) -> Block:
    """Judge a model's readings, and close their gaps; adds to ``refused``."""
    spec = pile.model.spec
    joined = b"".join([body.values for body in pile.bodies])
    values = np.frombuffer(joined, dtype="<f4").reshape(-1, spec.window, len(spec.sensors))
    if values.min() >= -LARGEST and values.max() <= LARGEST:  # which no NaN is
        present = np.ones((len(values), len(spec.sensors)), np.bool_)
        return Block(pile.model, pile.rows, pile.bodies, pile.layout, values, values, present)
    filled, present = fill_missing(values)
    good = []
    for place, row in enumerate(pile.rows):
        problem = _problem(values[place], present[place], spec)
        if problem is None:
            good.append(place)
        else:
            refused[row] = problem
    return Block(
        pile.model,
        [pile.rows[place] for place in good],
        [pile.bodies[place] for place in good],
        pile.layout,
        values[good],
        filled[good],
        present[good],
    )


def _problem(
    values: npt.NDArray[np.float32], present: npt.NDArray[np.bool_], spec: ModelSpec
) -> InvalidRecord | None:
    """Apply the rules for the readings of one window, shape (window, sensors)."""
    if np.isinf(values).any():
        return InvalidRecord(
            "not_finite", "a reading is infinite; send null or NaN if it is missing"
        )
    with np.errstate(invalid="ignore"):
        if (np.abs(values) > LARGEST).any():
            return InvalidRecord("out_of_range", f"a reading is beyond {LARGEST:g}")
    if not present[list(spec.target_columns)].any():
        return InvalidRecord(
            "too_many_missing",
            f"every target sensor misses more than {ABSENT_ABOVE:.0%} of its samples",
        )
    return None
