"""Records that are too large, or odd: each is refused alone, and nothing else stops.

Sizes lie just above our own bounds, which are far below any limit of the broker or a client.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from confluent_kafka import Producer

from millrace.contracts.errors import ServerError
from millrace.contracts.events import dead_letter
from millrace.contracts.events.event import JSON, MSGPACK
from millrace.contracts.events.window import SensorWindow, encode_window
from millrace.contracts.headers import CONTENT_TYPE, RawHeaders, header
from millrace.contracts.model_spec import ModelSpec
from millrace.contracts.topics import (
    DEAD_LETTERS,
    MAX_BATCH_BYTES,
    OUTCOMES,
    PREDICTIONS,
    SENSOR_WINDOWS,
    Topic,
)
from millrace.contracts.wire.cut_letter import cut_of
from millrace.infra.declare import declare_model
from millrace.infra.kafka.clients import producer
from tests.builders import START_MS
from tests.faults.cases.case import case
from tests.faults.harness.observer import Seen
from tests.faults.harness.plant import PATIENCE, SOURCE, Plant
from tests.faults.harness.source import Input

_SOME: Final = 100
_PARTITION: Final = 1
_MOST_BARE_BYTES: Final = 512 << 20
#: Sensors of a wide model's window.
_SENSORS: Final = 64


@case("record/oversized-name")
def a_name_is_too_long(plant: Plant) -> None:
    """Names of 900,000 characters, blank ones, and ones with a separator of ids."""
    names = ["".join(map(chr, plant.rng.integers(0x4E00, 0x9FA5, 300_000))), "a" * 256]
    names += [" \t", "pump\x1f1", "pump\x001"]
    with plant.source.flowing():
        plant.until_predicted(_SOME)
        plant.fault()
        for name in names:
            window = plant.source.window(0, 0)
            bad = SensorWindow(
                name, window.sensors, window.start_ms, window.period_seconds, window.values
            )
            _send(plant, [(name.encode(), encode_window(bad), _typed(MSGPACK))], "zstd")
        plant.until_predicted(_SOME)
        plant.until_recovered()
    _expect_reasons(plant, {"bad_name": len(names)})


@case("record/oversized-value", own_plant=True, compares_state=False)
def a_value_is_too_large(plant: Plant) -> None:
    """JSON that travels compressed, and whose dead letter would not fit."""
    bits = plant.rng.integers(0, 2, 9_600_000, dtype=np.uint8)
    text = np.full((len(bits), 2), ord(","), np.uint8)
    text[:, 0] = ord("0") + bits
    value = b'{"values":[' + text.tobytes()[:-1] + b"]}"
    with plant.source.flowing():
        plant.until_predicted(_SOME)
        plant.fault()
        _send(plant, [(b"pump-1", value, _typed(JSON))], "gzip")
        plant.until_predicted(_SOME)
        plant.until_recovered()
    _expect_reasons(plant, {"oversized": 1})
    (letter,) = _letters(plant, "oversized")
    cut = cut_of(letter.headers)
    plant.expect(cut is not None and cut.size == len(value), "the letter does not say its size")
    if cut is not None and cut.key is not None:
        kept = plant.store.get(cut.key, digest=cut.sha256)
        plant.expect(kept == value, "the object store has another value")
    else:
        plant.expect(False, "the letter names no object")


@case("record/oversized-batch", own_plant=True, compares_state=False)
def a_batch_is_too_large(plant: Plant) -> None:
    """Records of one batch that is small until it is decompressed."""
    value = b"\0" * (MAX_BATCH_BYTES // 4 + 1)
    with plant.source.flowing():
        plant.until_predicted(_SOME)
        plant.fault()
        _send(plant, [(b"pump-1", value, _typed(MSGPACK))] * 4, "zstd")
        plant.until_predicted(_SOME)
        plant.until_recovered()
    _expect_reasons(plant, {"oversized_batch": 1})
    plant.quiet()
    letters = _letters(plant, "oversized_batch")
    plant.expect(len(letters) == 1, f"{len(letters)} letters of one batch")
    for letter in letters:
        count = header(letter.headers, dead_letter.BATCH_RECORDS)
        plant.expect(count == "4", f"the letter of a batch speaks of {count} records")


@case("record/grows", own_plant=True)
def an_output_is_larger_than_its_record(plant: Plant) -> None:
    """Windows of some 260 kB whose forecasts and outcomes have millions of bytes."""
    spec = _wide("grows", 1024, horizon=2048)
    with plant.source.flowing():
        plant.until_predicted(_SOME)
        declare_model(plant.settings, spec, SOURCE)
        plant.fault()
        _send_windows(plant, _windows(plant, spec, 4, round_ends=False))
        plant.until_predicted(_SOME)
        plant.until_recovered()
        plant.until(lambda: _count(plant, OUTCOMES, spec.name) >= 1, "an outcome", PATIENCE)


@case("record/oversized-output", own_plant=True, compares_state=False)
def an_output_is_too_large(plant: Plant) -> None:
    """Outcomes, and memory of forecasts, that fit into no record of their topics.

    Memory gives up forecasts, so it is not an undisturbed run's: which ones depends on when it
    was written.
    """
    too_wide = _wide("too-wide", 4000, horizon=4000)
    too_long = _wide("too-long", 1024, horizon=4096)
    with plant.source.flowing():
        plant.until_predicted(_SOME)
        for spec in (too_wide, too_long):
            declare_model(plant.settings, spec, SOURCE)
        plant.fault()
        for spec, count in ((too_wide, 4), (too_long, 10)):
            _send_windows(plant, _windows(plant, spec, count, round_ends=True))
            plant.until(
                lambda spec=spec, count=count: _count(plant, PREDICTIONS, spec.name) >= count,  # type: ignore[misc]
                f"predictions of {spec.name}",
            )
        plant.until_predicted(_SOME)
        plant.until_recovered()
    _expect_reasons(plant, {"oversized_output": 1})


def _wide(name: str, samples: int, horizon: int) -> ModelSpec:
    """A model whose outputs are far larger than its windows."""
    sensors = tuple(f"{name}-{number}" for number in range(_SENSORS))
    return ModelSpec(name, sensors, 1.0, samples, horizon, samples, "sequence")


def _windows(plant: Plant, spec: ModelSpec, count: int, *, round_ends: bool) -> list[SensorWindow]:
    """Windows one after the other; if their ends are round, the forecasts are short in JSON."""
    made = []
    for number in range(count):
        values = plant.rng.standard_normal((spec.window, len(spec.sensors))).astype(np.float32)
        if round_ends:
            values[-1] = 1.5
        start_ms = START_MS + number * spec.window * 1000
        made.append(SensorWindow(spec.name, spec.sensors, start_ms, 1.0, values))
    return made


def _send_windows(plant: Plant, windows: Sequence[SensorWindow]) -> None:
    """Send good windows, each in a batch of its own."""
    for window in windows:
        key, value = window.asset.encode(), encode_window(window)
        _send(plant, [(key, value, _typed(MSGPACK))], "zstd", window)


def _send(
    plant: Plant,
    records: Sequence[tuple[bytes, bytes, RawHeaders]],
    codec: str,
    window: SensorWindow | None = None,
) -> None:
    """Send records as one batch, and have the oracle look for them.

    Raises:
        ServerError: The broker does not take them.
    """
    client: Producer = producer(
        plant.settings,
        {
            "message.max.bytes": _MOST_BARE_BYTES,
            "batch.size": _MOST_BARE_BYTES,
            "queue.buffering.max.kbytes": _MOST_BARE_BYTES >> 10,
            "linger.ms": 1000,
            "compression.type": codec,
            "compression.level": 3,
        },
    )
    refused: list[str] = []
    for key, value, headers in records:
        plant.inputs.append(Input(window, "", key, value, headers, _PARTITION))
        client.produce(
            plant.settings.named(SENSOR_WINDOWS.name),
            value,
            key,
            partition=_PARTITION,
            headers=list(headers),
            on_delivery=lambda error, _: refused.append(str(error)) if error else None,
        )
    if client.flush(60.0) or refused:
        raise ServerError(f"the broker does not take a record: {refused or 'no answer'}")


def _typed(content_type: str) -> RawHeaders:
    return [(CONTENT_TYPE, content_type.encode())]


def _letters(plant: Plant, reason: str) -> list[Seen]:
    found = plant.observer.records(DEAD_LETTERS)
    return [each for each in found if header(each.headers, dead_letter.REASON) == reason]


def _expect_reasons(plant: Plant, wanted: dict[str, int]) -> None:
    """Wait for dead letters by reason."""
    for reason, count in wanted.items():
        plant.until(
            lambda reason=reason, count=count: len(_letters(plant, reason)) >= count,  # type: ignore[misc]
            f"{count} dead letters with {reason}",
        )


def _count(plant: Plant, topic: Topic, asset: str) -> int:
    """Records of an asset that an observer has seen in a topic."""
    return sum(each.key == asset.encode() for each in plant.observer.records(topic))
