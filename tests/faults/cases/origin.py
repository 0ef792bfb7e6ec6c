"""Records that say they were sent again: whoever forges that has no effect on anybody's window."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from millrace.contracts.events import dead_letter
from millrace.contracts.events.dead_letter import BAD_ORIGIN, Origin, headers_again
from millrace.contracts.events.event import MSGPACK
from millrace.contracts.events.window import SensorWindow, encode_window
from millrace.contracts.headers import RawHeaders, header
from millrace.contracts.topics import DEAD_LETTERS, SENSOR_WINDOWS
from millrace.infra.local.programs import STREAM_PROCESSOR
from millrace.producers.record import window_headers
from tests.faults.cases.case import case
from tests.faults.harness.plant import SOURCE, Plant
from tests.faults.harness.source import Input

_SOME: Final = 100


@case("record/forged-origin")
def an_origin_is_forged(plant: Plant) -> None:
    """Good windows name the place of a predicted one as theirs; a true letter is answered.

    Each forged one is a dead letter with its reason, also when the stream processor is killed
    between two of them; the record that answers a letter is predicted once, though it is sent
    twice.
    """
    plant.source.send(_SOME)
    plant.quiet()
    taken = plant.latest_prediction().source
    victim = Origin(SENSOR_WINDOWS.name, taken.partition, taken.offset)
    letter = _letters(plant)[0]
    true = Origin(
        SENSOR_WINDOWS.name,
        int(header(letter, dead_letter.PARTITION) or -1),
        int(header(letter, dead_letter.OFFSET) or -1),
    )
    with plant.source.flowing():
        plant.source.again(_forged(plant, 0, victim))
        plant.until_predicted(_SOME)
        plant[STREAM_PROCESSOR].kill()
        plant.fault()
        plant.source.again(_forged(plant, 1, victim))
        answer = _answer(plant, 2, true)
        plant.source.again(answer)
        plant.source.again(answer)
        plant.until_recovered()
    plant.quiet()
    reasons = [header(each, dead_letter.REASON) for each in _letters(plant)]
    plant.expect(
        reasons.count(BAD_ORIGIN) == 2,
        f"of 2 forged origins {reasons.count(BAD_ORIGIN)} were refused for their origin",
    )


def _letters(plant: Plant) -> list[RawHeaders]:
    """Headers of the dead letters, in the order in which they were seen."""
    return [list(record.headers) for record in plant.observer.records(DEAD_LETTERS)]


def _forged(plant: Plant, number: int, victim: Origin) -> Input:
    window = _window(plant, "forger", number)
    return _again(window, victim, is_good=False)


def _answer(plant: Plant, number: int, origin: Origin) -> Input:
    return _again(_window(plant, "mended", number), origin, is_good=True)


def _window(plant: Plant, asset: str, number: int) -> SensorWindow:
    return msgspec.structs.replace(plant.source.window(0, number), asset=asset)


def _again(window: SensorWindow, origin: Origin, *, is_good: bool) -> Input:
    headers: Sequence[tuple[str, bytes]] = window_headers(window, MSGPACK, SOURCE, window.end_ms)
    return Input(
        window if is_good else None,
        "" if is_good else BAD_ORIGIN,
        window.asset.encode(),
        encode_window(window),
        headers_again(headers, origin),
        origin.partition,
    )
