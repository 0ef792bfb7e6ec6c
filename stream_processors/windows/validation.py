"""Checks which records are windows that a model reads; the rest become dead letters.

A pure function from a batch of records to blocks of windows, one per model, and to the reasons for
refusing the others. Decoding comes first (`decode_windows`). Then the readings of each model's
windows are validated, and their gaps filled, as one NumPy block. The result for a record does not
depend on its batch: a single record is a batch of one.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from millrace.contracts.events.window import Layout, WindowBody
from millrace.contracts.invalid_record import InvalidRecord
from millrace.contracts.missing import ABSENT_ABOVE, fill_missing
from millrace.contracts.model_spec import ModelSpec
from millrace.registry.state import Model, Registry
from millrace.stream_processors.state.recent_windows import checksums
from millrace.stream_processors.transport.records import Payload
from millrace.stream_processors.windows.decode import (
    LATEST_AHEAD_MS,
    DecodedWindows,
    decode_windows,
)

#: Largest plausible reading of any sensor in any unit; larger numbers are defects.
LARGEST: Final = 1e30


@dataclass(frozen=True)
class Block:
    """Windows that a model reads, ``n`` of one batch, in its order.

    Attributes:
        model: The model.
        rows: Index of each in its batch, ascending.
        bodies: The decoded body of each.
        values: float32 of shape (n, window, sensors), physical units, as received.
        filled: The same with gaps filled and absent sensors 0; the same array if none is missing.
        present: Which sensors are present, bool of shape (n, sensors).
    """

    model: Model
    rows: list[int]
    bodies: list[WindowBody]
    values: npt.NDArray[np.float32]
    filled: npt.NDArray[np.float32]
    present: npt.NDArray[np.bool_]

    @property
    def is_complete(self) -> bool:
        """Whether no reading is missing."""
        return self.filled is self.values

    def checksums(self) -> list[int]:
        """Checksum of each window's readings, independent of the encoding of missing ones.

        It does not depend on the other windows of the block.
        """
        readings = [body.values for body in self.bodies]
        if not self.is_complete:
            for place in np.flatnonzero(np.isnan(self.values).any(axis=(1, 2))):
                readings[place] = self.filled[place].tobytes() + self.present[place].tobytes()
        return checksums(readings)


@dataclass(frozen=True)
class Judgement:
    """Result of the validation of a batch: each row is in one block, or refused.

    Attributes:
        blocks: One per model with windows in the batch.
        refused: Why a row is no window, by row.
    """

    blocks: list[Block]
    refused: dict[int, InvalidRecord]

    @property
    def misses_a_model(self) -> bool:
        """Whether refused records might be read by a model that is not known yet."""
        reasons = {problem.reason for problem in self.refused.values()}
        return not reasons.isdisjoint({"unknown_sensor_set", "wrong_shape"})


@dataclass(frozen=True)
class _Pile:
    """A model's windows, before their readings are validated."""

    model: Model
    rows: list[int]
    bodies: list[WindowBody]


def judge(records: Sequence[Payload], registry: Registry, now_ms: int) -> Judgement:
    """Validate a batch of `sensor.windows`.

    Args:
        records: The batch.
        registry: All models.
        now_ms: Wall clock, milliseconds UTC.
    """
    refused: dict[int, InvalidRecord] = {}
    piles = _piles(decode_windows(records, now_ms + LATEST_AHEAD_MS, refused), registry, refused)
    blocks = [_readings(pile, refused) for pile in piles]
    return Judgement([block for block in blocks if block.rows], refused)


def changed(body: WindowBody) -> InvalidRecord:
    """Reason for refusing a window that was accepted earlier with other readings."""
    segment = f" of segment {body.segment!r}" if body.segment else ""
    return InvalidRecord(
        "changed_repeat",
        f"the window of {body.asset!r} at {body.start_ms} ms{segment} was taken before with other"
        " readings, which count; send a correction under a segment of its own",
    )


def _piles(
    found: DecodedWindows, registry: Registry, refused: dict[int, InvalidRecord]
) -> Collection[_Pile]:
    """Group windows by model; adds those that no model reads to ``refused``."""
    rows, bodies, layouts = found
    reads: dict[Layout, Model] = {}
    why_not: dict[Layout, InvalidRecord] = {}
    is_alike = bool(layouts) and layouts.count(layouts[0]) == len(layouts)  # the usual case
    for layout in layouts[:1] if is_alike else set(layouts):
        try:
            reads[layout] = _model_for(layout, registry)
        except InvalidRecord as problem:
            why_not[layout] = problem.kept()
    if is_alike and reads:
        return [_Pile(reads[layouts[0]], list(rows), bodies)]
    piles: dict[str, _Pile] = {}
    for row, body, layout in zip(rows, bodies, layouts, strict=True):
        if layout in why_not:
            refused[row] = why_not[layout]
            continue
        model = reads[layout]
        pile = piles.setdefault(model.spec.name, _Pile(model, [], []))
        pile.rows.append(row)
        pile.bodies.append(body)
    return piles.values()


def _model_for(layout: Layout, registry: Registry) -> Model:
    """Find the model that reads a sensor set.

    Raises:
        InvalidRecord: There is none.
    """
    model = registry.by_sensor_set(layout.sensor_set)
    if model is not None and model.serving is not None:
        spec = model.spec
        if (spec.sensors, spec.window) == (layout.sensors, layout.samples):  # not the id alone
            return model
    raise _why_not(layout, [other.spec for other in registry.models.values()])


def _why_not(layout: Layout, specs: Sequence[ModelSpec]) -> InvalidRecord:
    """Explain why no model reads a sensor set, and which model comes closest."""
    wanted = sorted(layout.sensors)
    alike = [spec for spec in specs if sorted(spec.sensors) == wanted]
    in_order = [spec for spec in alike if spec.sensors == layout.sensors]
    timely = [spec for spec in in_order if spec.period_seconds == layout.period_seconds]
    for spec in timely:
        if spec.window == layout.samples:
            return InvalidRecord(
                "unknown_sensor_set",
                f"model {spec.name} reads such windows, but no version of it serves yet;"
                " `millrace models list` shows its state",
            )
        return InvalidRecord(
            "wrong_shape", f"{layout.samples} samples; model {spec.name} reads {spec.window}"
        )
    for spec in in_order:
        return InvalidRecord(
            "unknown_sensor_set",
            f"model {spec.name} reads these sensors every {spec.period_seconds} s, and this"
            f" window has period_seconds {layout.period_seconds}; send that period, or declare"
            " another model with `millrace models declare`",
        )
    for spec in alike:
        return InvalidRecord(
            "unknown_sensor_set",
            f"model {spec.name} reads these sensors in the order {list(spec.sensors)}, not"
            f" {list(layout.sensors)}; send the columns in the model's order",
        )
    return InvalidRecord(
        "unknown_sensor_set",
        f"no model reads sensors {list(layout.sensors)} every {layout.period_seconds} s;"
        " declare one with `millrace models declare`",
    )


def _readings(pile: _Pile, refused: dict[int, InvalidRecord]) -> Block:
    """Validate a model's readings and fill their gaps; adds to ``refused``."""
    spec = pile.model.spec
    joined = b"".join([body.values for body in pile.bodies])
    values = np.frombuffer(joined, dtype="<f4").reshape(-1, spec.window, len(spec.sensors))
    if values.min() >= -LARGEST and values.max() <= LARGEST:  # false for NaN
        present = np.ones((len(values), len(spec.sensors)), np.bool_)
        return Block(pile.model, pile.rows, pile.bodies, values, values, present)
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
