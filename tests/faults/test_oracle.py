"""The oracle finds each kind of violation, and nothing where nothing is wrong."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import numpy as np
import pytest

from millrace.contracts.events.event import MSGPACK
from millrace.contracts.events.ledger import LedgerEntry
from millrace.contracts.events.window import encode_window
from millrace.contracts.normaliser import Normaliser
from millrace.contracts.topics import SENSOR_WINDOWS
from millrace.producers.record import window_headers
from millrace.producers.sources.defects import make_bad
from millrace.verification.evidence import Evidence as TopicEvidence
from millrace.verification.evidence import Refusal, SentWindow
from tests.builders import (
    AT,
    START_MS,
    UNITS,
    activated,
    approved,
    prediction_of,
    pump_spec,
    pump_window,
    registered,
    registry_of,
    stamped_window,
)
from tests.faults.harness.observer import Seen
from tests.faults.harness.offsets import Committed
from tests.faults.harness.source import Input
from tests.faults.oracle.evidence import Evidence, RawRecord
from tests.faults.oracle.judge import Violations, judge
from tests.faults.oracle.recovery import seconds_to_recover
from tests.faults.oracle.state import differences, memories

SPEC = pump_spec()
WINDOWS = 12
#: From this offset on version 1 serves.
FENCE = 6
#: Where the bad record is.
BAD = WINDOWS


def sound() -> Evidence:
    """Twelve windows and a bad record, a swap in their middle, and nothing wrong."""
    topics = TopicEvidence()
    inputs: list[Input] = []
    raw: list[RawRecord] = []
    for offset in range(WINDOWS):
        window = pump_window(SPEC.stride * offset)
        version, epoch = (0, 1) if offset < FENCE else (1, 2)
        units = Normaliser.identity(3) if version == 0 else UNITS
        headers = window_headers(window, MSGPACK, "/test", 0)
        value = encode_window(window)
        inputs.append(Input(window, "", window.asset.encode(), value, headers, 0))
        raw.append(RawRecord(0, offset, window.asset.encode(), value, MSGPACK))
        topics.windows.append(SentWindow(0, offset, START_MS, window))
        topics.normalized.append(
            stamped_window(window, offset, version=version, epoch=epoch, units=units)
        )
        topics.predictions.append(
            msgspec.structs.replace(
                prediction_of(window, offset, version=version, epoch=epoch),
                normaliser_digest=units.digest,
            )
        )
    bad = make_bad(pump_window(300), "bad_period", np.random.default_rng(1))
    inputs.append(Input(None, bad.reason, bad.key, bad.value, bad.headers, 0))
    raw.append(RawRecord(0, BAD, bad.key, bad.value, MSGPACK))
    topics.windows.append(SentWindow(0, BAD, START_MS, None))
    topics.refusals.append(Refusal(SENSOR_WINDOWS.name, 0, BAD, bad.reason))
    topics.ledger = [LedgerEntry("pump", 0, 1, 0, 0, AT), LedgerEntry("pump", 0, 2, 1, FENCE, AT)]
    return Evidence(
        inputs,
        raw,
        topics,
        registry_of(registered(1), approved(1), activated(1, 2)),
        [Committed("inference", "n", 0, 3), Committed("inference", "n", 0, 9)],
    )


def found(evidence: Evidence) -> Violations:
    """Judge."""
    return judge(evidence, "pump")


def test_a_sound_run_is_sound() -> None:
    """Nothing is found where nothing is wrong."""
    assert found(sound()).total == 0


def lose_a_prediction(e: Evidence) -> None:
    """A window was lost on its way."""
    del e.topics.predictions[4]


def lose_a_dead_letter(e: Evidence) -> None:
    """A bad record ended in nothing."""
    e.topics.refusals.clear()


def lose_at_the_edge(e: Evidence) -> None:
    """A window never came as far as the broker."""
    e.raw = e.raw[1:]
    del e.topics.windows[0], e.topics.normalized[0], e.topics.predictions[0]


def lose_a_bad_one_at_the_edge(e: Evidence) -> None:
    """A bad record never came as far as the broker."""
    e.raw = e.raw[:-1]
    e.topics.refusals.clear()


def refuse_a_good_one(e: Evidence) -> None:
    """A good window was refused."""
    del e.topics.predictions[4]
    e.topics.refusals.append(Refusal(SENSOR_WINDOWS.name, 0, 4, "undecodable"))


def predict_twice(e: Evidence) -> None:
    """A prediction was committed twice."""
    e.topics.predictions.insert(5, e.topics.predictions[4])


def predict_both_copies(e: Evidence) -> None:
    """A window that was sent twice was predicted twice, from either record."""
    first = e.topics.predictions[4]
    again = msgspec.structs.replace(
        first, source=msgspec.structs.replace(first.source, offset=WINDOWS + 1), epoch=2
    )
    e.raw = [*e.raw, e.raw[4]._replace(offset=WINDOWS + 1)]
    e.topics.predictions.append(
        msgspec.structs.replace(again, version=1, stamped_version=1, normaliser_digest=UNITS.digest)
    )


def refuse_twice(e: Evidence) -> None:
    """A dead letter was written twice."""
    e.topics.refusals *= 2


def predict_and_refuse(e: Evidence) -> None:
    """A bad record was refused and predicted."""
    last = e.topics.predictions[-1]
    source = msgspec.structs.replace(last.source, offset=BAD)
    e.topics.predictions.append(msgspec.structs.replace(last, source=source))


def normalise_twice(e: Evidence) -> None:
    """A stamped window was written twice."""
    e.topics.normalized.append(e.topics.normalized[-1])


def swap_two_predictions(e: Evidence) -> None:
    """Two predictions of an asset stand in the wrong order."""
    e.topics.predictions[7:9] = reversed(e.topics.predictions[7:9])


def swap_two_stamped(e: Evidence) -> None:
    """Two stamped windows of an asset stand in the wrong order."""
    e.topics.normalized[7:9] = reversed(e.topics.normalized[7:9])


def stamp_beyond_the_fence(e: Evidence) -> None:
    """A window carries the version before the fence that it lies behind."""
    e.topics.normalized[FENCE] = stamped_window(pump_window(SPEC.stride * FENCE), FENCE)


def predict_in_other_units(e: Evidence) -> None:
    """A prediction was made in another version's units."""
    e.topics.predictions[2] = msgspec.structs.replace(
        e.topics.predictions[2], normaliser_digest=UNITS.digest
    )


def normalise_in_other_units(e: Evidence) -> None:
    """A window says version 0, and its values are in version 1's units."""
    e.topics.normalized[2] = stamped_window(pump_window(SPEC.stride * 2), 2, units=UNITS)


def two_fences(e: Evidence) -> None:
    """The ledger tells a fence twice, in two places."""
    e.topics.ledger.append(LedgerEntry("pump", 0, 2, 1, FENCE + 1, AT))


def fences_in_the_wrong_order(e: Evidence) -> None:
    """An epoch begins before the one that it follows."""
    e.topics.ledger.append(LedgerEntry("pump", 0, 3, 0, FENCE - 2, AT))
    e.topics.normalized = e.topics.normalized[: FENCE - 2]
    e.topics.predictions = e.topics.predictions[: FENCE - 2]


def rewind(e: Evidence) -> None:
    """A committed offset went back."""
    e.commits = [*e.commits, Committed("inference", "n", 0, 4)]


@pytest.mark.parametrize(
    ("kind", "spoil"),
    [
        ("missing", lose_a_prediction),
        ("missing", lose_a_dead_letter),
        ("missing", lose_at_the_edge),
        ("missing", lose_a_bad_one_at_the_edge),
        ("missing", refuse_a_good_one),
        ("duplicated", predict_twice),
        ("duplicated", predict_both_copies),
        ("duplicated", refuse_twice),
        ("duplicated", predict_and_refuse),
        ("repeated", normalise_twice),
        ("out_of_order", swap_two_predictions),
        ("out_of_order", swap_two_stamped),
        ("mixed", stamp_beyond_the_fence),
        ("mixed", predict_in_other_units),
        ("mixed", normalise_in_other_units),
        ("mixed", two_fences),
        ("mixed", fences_in_the_wrong_order),
        ("rewound", rewind),
    ],
)
def test_a_violation_is_found_for_what_it_is(kind: str, spoil: Callable[[Evidence], None]) -> None:
    """Each kind is counted under its name, and told in words unless the count says it all."""
    evidence = sound()
    spoil(evidence)
    violations = found(evidence)
    assert getattr(violations, kind) == 1, violations
    assert violations.words or kind in {"repeated", "out_of_order"}


def test_a_window_that_is_sent_twice_and_predicted_once_is_right() -> None:
    """Sending again is no violation; a second effect would be."""
    evidence = sound()
    evidence.raw = [*evidence.raw, evidence.raw[4]._replace(offset=WINDOWS + 1)]
    assert found(evidence).total == 0


def test_a_bad_record_that_is_sent_twice_has_two_dead_letters() -> None:
    """Each record that cannot be used is told of, for nothing says which one it is."""
    evidence = sound()
    evidence.inputs = [*evidence.inputs, evidence.inputs[-1]]
    evidence.raw = [*evidence.raw, evidence.raw[-1]._replace(offset=BAD + 1)]
    assert found(evidence).missing == 1
    evidence.topics.refusals.append(Refusal(SENSOR_WINDOWS.name, 0, BAD + 1, "bad_period"))
    assert found(evidence).total == 0


def test_a_case_may_allow_a_refusal() -> None:
    """A window whose forecast overflows is a dead letter, where the case says so."""
    evidence = sound()
    del evidence.topics.predictions[4]
    evidence.topics.refusals.append(Refusal(SENSOR_WINDOWS.name, 0, 4, "forecast_not_finite"))
    assert found(evidence).missing == 1
    assert judge(evidence, "pump", frozenset({"forecast_not_finite"})).total == 0


def test_memory_is_compared_by_its_latest_snapshots() -> None:
    """Where predictions lie does not count, everything else does; the latest one of a key."""

    def record(name: str, **memory: object) -> Seen:
        key = f"pump\x1f{name}\x1f0".encode()
        return Seen(0, 0, 0, key, msgspec.msgpack.encode(memory), [], 0.0)

    one = [record("a", through=1, predictions_through=9), record("b", early={7: 1, 3: 2})]
    old = record("a", through=0)
    same = [old, record("a", through=1, predictions_through=4), record("b", early={3: 2, 7: 1})]
    mine = memories(one)
    assert differences(mine, memories(same)) == []
    assert differences(mine, memories([*same, record("a", through=2)])) == ["a (through)"]
    assert differences(mine, memories(one[:1])) == ["b (early)"]


def test_recovery_counts_windows_that_were_sent_after_the_fault() -> None:
    """A prediction that was on its way shows nothing; without later windows any one does."""

    def window(offset: int, sent: float) -> Seen:
        return Seen(0, offset, round(sent * 1000), b"", b"", [], sent)

    def prediction(offset: int, arrived: float) -> Seen:
        headers = [("millrace_source_offset", str(offset).encode())]
        return Seen(0, 0, 0, b"", b"", headers, arrived)

    windows = [window(0, 1.0), window(1, 9.0), window(2, 12.0)]
    predictions = [prediction(0, 2.0), prediction(1, 10.5), prediction(2, 14.0)]
    assert seconds_to_recover(10.0, windows, predictions) == pytest.approx(4.0)
    assert seconds_to_recover(10.0, windows[:2], predictions[:2]) == pytest.approx(0.5)
    assert seconds_to_recover(13.0, windows, predictions[:2]) == float("inf")
