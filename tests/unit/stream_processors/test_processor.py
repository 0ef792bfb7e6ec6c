"""A batch on its way: what is written, in which order, and what a crash repeats."""

import asyncio
import gc
import sys
from collections.abc import Sequence

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from millrace.contracts.events.dead_letter import OFFSET, REASON
from millrace.contracts.events.drift_alert import DriftAlert
from millrace.contracts.events.ledger import LedgerEntry
from millrace.contracts.events.model_event import Activated, ModelEvent
from millrace.contracts.events.outcome import Outcome
from millrace.contracts.headers import SOURCE_OFFSET, header
from millrace.contracts.invalid_record import InvalidRecord
from millrace.contracts.normaliser import Normaliser
from millrace.contracts.topics import (
    DEAD_LETTERS,
    DRIFT_ALERTS,
    NORMALIZED,
    OUTCOMES,
    SERVING_LEDGER,
)
from millrace.contracts.wire.codec import encode
from millrace.producers.sources.defects import REASONS, make_bad
from millrace.registry.decisions import declare
from millrace.stream_processors.monitoring import _to_units
from millrace.stream_processors.outcomes.forecasts import MOST_EARLY
from millrace.stream_processors.state.asset import Asset, state_digest
from millrace.stream_processors.windows.stamps import Stamps
from tests.builders import (
    AT,
    UNITS,
    WindowRecord,
    activated,
    approved,
    errors_seen,
    prediction_of,
    prediction_record,
    pump_spec,
    pump_window,
    registered,
    registry_of,
    window_record,
)
from tests.unit.stream_processors.in_memory import (
    CHANGELOG,
    BrokerInMemory,
    FeedInMemory,
    HistoryInMemory,
    Killed,
    Output,
    Worker,
)

DECLARED = declare(pump_spec(), AT)
TRAINED: list[ModelEvent] = [registered(1), approved(1), activated(1, 2)]


def good(*places: int) -> list[WindowRecord]:
    """Records of good windows, at these places."""
    return [window_record(pump_window(3 * p), offset) for offset, p in enumerate(places)]


def bad(reason: str, offset: int) -> WindowRecord:
    """A record with one defect."""
    made = make_bad(pump_window(3 * offset), reason, np.random.default_rng(offset))
    return WindowRecord(made.value, made.key, offset, headers=made.headers)


def run_through(
    records: list[WindowRecord], events: Sequence[ModelEvent] = DECLARED
) -> BrokerInMemory:
    """Process all records and their predictions without any trouble."""
    broker = BrokerInMemory(records, list(events))
    asyncio.run(Worker(broker).drain())
    return broker


def test_good_windows_are_stamped_and_normalised_in_their_order() -> None:
    """Each becomes one window in the units of the version that serves, with its coordinates."""
    broker = run_through(good(0, 1, 2), [*DECLARED, *TRAINED])
    made = broker.normalised()
    assert [window.source.offset for window in made] == [0, 1, 2]
    assert {(window.version, window.epoch) for window in made} == {(1, 2)}
    np.testing.assert_allclose(
        made[1].matrix(3), (pump_window(3).values - UNITS.mean) / UNITS.scale, rtol=1e-5
    )
    assert made[1].window_id == pump_window(3).id
    assert made[1].end_ms == pump_window(3).end_ms


@pytest.mark.parametrize("reason", REASONS)
def test_a_bad_window_is_one_dead_letter_and_its_neighbours_are_none(reason: str) -> None:
    """Original bytes and key, origin and reason; the windows around it go their way."""
    records = good(0, 1, 2)
    records[1] = bad(reason, 1)
    broker = run_through(records)
    (letter,) = broker.dead_letters()
    assert (letter.key, letter.value) == (records[1].key, records[1].value)
    assert header(letter.headers, REASON) == reason
    assert header(letter.headers, OFFSET) == "1"
    assert [window.source.offset for window in broker.normalised()] == [0, 2]


def test_refused_records_leave_nothing_to_the_garbage_collector() -> None:
    """Their findings hold no frame, and so no batch: memory does not grow with bad records."""
    records = [bad(reason, offset) for offset, reason in enumerate(REASONS)]
    gc.collect()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        run_through(records)
        gc.collect()
        left = [type(one) for one in gc.garbage if isinstance(one, (InvalidRecord, WindowRecord))]
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
    assert left == []


def test_a_dead_letter_that_is_sent_again_keeps_one_origin() -> None:
    """Its old marks give way, so that nobody takes the old offset for the new one."""
    record = bad("bad_period", 0)
    first = run_through([record]).dead_letters()[0]
    again = WindowRecord(first.value, record.key, 0, headers=first.headers)
    letter = run_through([*good(0), *good(1), again]).dead_letters()[0]
    assert [name for name, _ in letter.headers].count(SOURCE_OFFSET) == 1
    assert [name for name, _ in letter.headers].count(REASON) == 1


def test_a_window_sent_twice_is_taken_once() -> None:
    """The same measurement under two offsets is one window."""
    broker = run_through(good(0, 1, 1, 2, 0))
    assert [window.source.offset for window in broker.normalised()] == [0, 1, 3]
    assert broker.dead_letters() == []


def test_the_fence_is_in_the_ledger_before_the_first_window_with_its_stamp() -> None:
    """A reader of the ledger never sees a stamp that it does not explain."""
    broker = run_through(good(0, 1))
    topics = [record.topic for record in broker.written]
    assert topics.index("serving.ledger") < topics.index("sensor.windows.normalized")


def test_a_swap_between_batches_is_fenced_at_the_next_window() -> None:
    """Windows before it keep their version; the ledger says from where the new one serves."""
    broker = BrokerInMemory(good(*range(8)), [*DECLARED, *TRAINED])
    worker = Worker(broker, FeedInMemory(broker.events, read=len(DECLARED)))

    async def run() -> None:
        await worker.take_windows(3)
        worker.feed.visible = len(broker.events)
        await worker.take_windows(5)

    asyncio.run(run())
    assert [window.version for window in broker.normalised()] == [0] * 3 + [1] * 5
    assert [(e.epoch, e.first_offset) for e in broker.ledger()] == [(1, 0), (2, 3)]


def test_idle_partitions_are_fenced_too() -> None:
    """Where no window happens to come, the fence is set behind the last one, once."""
    broker = BrokerInMemory(good(0, 1), [*DECLARED, *TRAINED])
    worker = Worker(broker, FeedInMemory(broker.events, read=len(DECLARED)))

    async def run() -> None:
        await worker.drain()
        worker.feed.visible = len(broker.events)
        for _ in range(3):
            await worker.processor.fence_idle_partitions()

    asyncio.run(run())
    assert [(e.epoch, e.first_offset) for e in broker.ledger()] == [(1, 0), (2, 2)]


def test_idle_partitions_are_fenced_when_another_partition_saw_the_swap_first() -> None:
    """News that came with one partition's windows reaches the others' ledgers as well."""
    broker = BrokerInMemory(good(0, 1), [*DECLARED, *TRAINED])
    worker = Worker(broker, FeedInMemory(broker.events, read=len(DECLARED)))

    async def run() -> None:
        await worker.take_windows()
        worker.feed.visible = len(broker.events)
        elsewhere = window_record(pump_window(0, asset="pump-2"), 0, partition=1)
        await worker.processor.windows({1: [elsewhere]})
        await worker.processor.fence_idle_partitions()

    asyncio.run(run())
    assert {(e.partition, e.epoch) for e in broker.ledger()} >= {(0, 2), (1, 2)}


def test_windows_of_several_models_leave_in_the_order_in_which_they_came() -> None:
    """The last one in the output tells a next life how far this one has come."""
    long = pump_spec("long", window=12)
    records = [
        window_record(pump_window(3 * offset, spec=long if offset % 3 else pump_spec()), offset)
        for offset in range(8)
    ]
    broker = run_through(records, [*DECLARED, *declare(long, AT)])
    assert [window.source.offset for window in broker.normalised()] == list(range(8))
    assert {window.model for window in broker.normalised()} == {"pump", "long"}


def test_a_model_declared_a_moment_ago_is_known() -> None:
    """Windows that overtake the news of their model are taken, and fenced, all the same."""
    broker = BrokerInMemory(good(0, 1), DECLARED)
    worker = Worker(broker, FeedInMemory(broker.events, read=0))
    asyncio.run(worker.drain())
    assert [window.source.offset for window in broker.normalised()] == [0, 1]
    assert [(e.epoch, e.first_offset) for e in broker.ledger()] == [(1, 0)]


def test_news_in_the_middle_of_a_batch_fences_the_whole_batch() -> None:
    """A swap learned while looking for an unknown model holds from the batch's first record."""
    records = good(0, 1, 2, 3)
    records[2] = bad("unknown_sensor_set", 2)
    broker = BrokerInMemory(records, [*DECLARED, *TRAINED])
    worker = Worker(broker, FeedInMemory(broker.events, read=len(DECLARED)))
    asyncio.run(worker.drain())
    assert [(w.source.offset, w.version) for w in broker.normalised()] == [(0, 1), (1, 1), (3, 1)]
    assert [(e.epoch, e.first_offset) for e in broker.ledger()] == [(1, 0), (2, 0)]


@pytest.mark.parametrize("units", [UNITS, Normaliser((1.0,), (1.0,))], ids=["unknown", "refused"])
def test_a_fence_that_the_registry_does_not_know_is_not_stamped_by(units: Normaliser) -> None:
    """A ledger that names a refused or unknown version stops nothing: the one that serves stamps.

    An earlier build set such a fence for units of the wrong length, and ended at each start.
    """
    version = 1 if units is not UNITS else 7
    events = [*DECLARED, registered(1, units=units), approved(1), activated(version, 2)]
    broker = BrokerInMemory(good(0, 1), events)
    stale = LedgerEntry("pump", 0, 2, version, 0, AT)
    broker.written.append(Output(SERVING_LEDGER.name, stale.key, encode(stale), [], 0))
    asyncio.run(Worker(broker).drain())
    assert [(w.source.offset, w.version, w.epoch) for w in broker.normalised()] == [
        (0, 0, 1),
        (1, 0, 1),
    ]


def test_a_prediction_and_its_truth_are_an_outcome() -> None:
    """Outcomes name version, epoch and errors in the units of the version that served."""
    broker = run_through(good(0, 1, 2), [*DECLARED, *TRAINED])
    outcomes = [msgspec.json.decode(v, type=Outcome) for v in broker.values(OUTCOMES)]
    assert [outcome.source.offset for outcome in outcomes] == [0, 1]
    assert {(o.version, o.epoch) for o in outcomes} == {(1, 2)}
    truth = pump_window(3).values[-3:, [0, 2]]
    naive = np.abs(pump_window(0).values[-1, [0, 2]] - truth) / [UNITS.scale[0], UNITS.scale[2]]
    assert outcomes[0].persistence_error == pytest.approx(naive.mean(), rel=1e-5)


def test_a_failing_model_raises_an_alert() -> None:
    """Forecasts that get worse end in an alert that asks for a training, named once."""
    windows = [pump_window(3 * i) for i in range(80)]
    broker = BrokerInMemory(
        [window_record(w, i) for i, w in enumerate(windows)], [*DECLARED, *TRAINED]
    )
    worker = Worker(broker)

    async def run() -> None:
        while await worker.take_windows():
            pass
        for offset, window in enumerate(windows):
            last = window.values[-1, [0, 2]] + (0.0 if offset < 50 else 5.0)
            prediction = prediction_of(window, offset, forecast=[[float(x) for x in last]] * 3)
            await worker.processor.predictions(
                0, [prediction_record(prediction, offset)], range(80)
            )

    asyncio.run(run())
    alerts = [msgspec.json.decode(v, type=DriftAlert) for v in broker.values(DRIFT_ALERTS)]
    losses = [alert for alert in alerts if alert.asks_training]
    assert {alert.signal for alert in losses} == {"error", "skill"}
    assert all(alert.source is not None and alert.source.offset >= 50 for alert in losses)
    assert len({alert.id for alert in alerts}) == len(alerts)


def test_a_prediction_that_cannot_be_read_is_passed_over() -> None:
    """A foreign record in `predictions` disturbs nothing."""
    broker = BrokerInMemory(good(0, 1), list(DECLARED))
    worker = Worker(broker)
    foreign = WindowRecord(b"{", b"pump-1", 0, topic="predictions")

    async def run() -> None:
        await worker.processor.predictions(0, [foreign], range(2))
        await worker.drain()

    asyncio.run(run())
    assert len(broker.normalised()) == 2


def test_what_a_version_made_that_is_refused_since_has_no_outcome() -> None:
    """Predictions of a version that the registry does not know are passed over and stop nothing."""
    windows = [pump_window(3 * place) for place in range(3)]
    broker = BrokerInMemory([window_record(w, i) for i, w in enumerate(windows)], [*DECLARED])
    worker = Worker(broker)

    async def run() -> None:
        while await worker.take_windows():
            pass
        for offset, version in enumerate((7, 0)):
            made = prediction_record(
                prediction_of(windows[offset], offset, version=version), offset
            )
            await worker.processor.predictions(0, [made], range(3))

    asyncio.run(run())
    outcomes = [msgspec.json.decode(v, type=Outcome) for v in broker.values(OUTCOMES)]
    assert [(o.source.offset, o.version) for o in outcomes] == [(1, 0)]


def test_inputs_are_not_tested_in_units_that_are_refused_since() -> None:
    """Memory that refers to a version which the registry does not know disturbs nothing."""
    means = np.ones((2, 3))
    _to_units(means, [7, 1], registry_of(*TRAINED).models["pump"])
    assert np.isnan(means[0]).all()
    assert np.allclose(means[1], (1 - np.array(UNITS.mean)) / UNITS.scale)


# Crashes


@st.composite
def mixed_records(draw: st.DrawFn) -> list[WindowRecord]:
    """Good windows of two assets, bad ones and repeated ones."""
    records: list[WindowRecord] = []
    place = {"pump-1": 0, "pump-2": 0}
    for kind in draw(st.lists(st.sampled_from("aabbxr"), min_size=1, max_size=24)):
        offset = len(records)
        if kind == "x":
            records.append(bad(draw(st.sampled_from(REASONS)), offset))
            continue
        asset = "pump-2" if kind == "b" else "pump-1"
        place[asset] += kind != "r"
        records.append(window_record(pump_window(3 * place[asset], asset=asset), offset))
    return records


OUTPUTS = [NORMALIZED.name, DEAD_LETTERS.name, OUTCOMES.name, SERVING_LEDGER.name, CHANGELOG]
Action = str | tuple[str, int, frozenset[str] | None]
ACTIONS = st.lists(
    st.sampled_from(["windows", "predictions", "checkpoint", "crash", "swap"])
    | st.tuples(
        st.just("dies"),
        st.integers(0, 9),
        st.none() | st.frozensets(st.sampled_from(OUTPUTS), min_size=1),
    ),
    max_size=25,
)


async def disturbed(broker: BrokerInMemory, actions: list[Action]) -> None:
    """Let the worker go through a story of crashes and swaps, then drain."""
    worker = Worker(broker)
    for action in actions:
        match action:
            case "windows":
                await worker.take_windows()
            case "predictions":
                await worker.take_predictions()
            case "checkpoint":
                await worker.checkpoint()
            case "swap":
                number = len(broker.events)
                epoch = 1 + number // 3
                broker.events += [registered(number), approved(number), activated(number, epoch)]
                worker.feed.visible = len(broker.events)
            case ("dies", int(writes), losing):
                worker.outputs.arrive, worker.outputs.losing = writes, losing
                try:
                    await worker.take_windows()
                    await worker.take_predictions()
                    await worker.checkpoint()
                except Killed:
                    pass
                worker = Worker(broker)
            case _:
                worker = Worker(broker)
        assert worker.early() == []
    await worker.drain()


@settings(max_examples=150)
@given(records=mixed_records(), actions=ACTIONS)
def test_crashes_have_no_second_effect(records: list[WindowRecord], actions: list[Action]) -> None:
    """Crashes after any write, with swaps between: each record has its one effect."""
    broker = BrokerInMemory(records, list(DECLARED))
    asyncio.run(disturbed(broker, actions))

    # The same records with the ledger as it came to be, and no crash.
    latest = max((entry.epoch for entry in broker.ledger()), default=0)
    news = [e for e in broker.events if not isinstance(e, Activated) or e.epoch <= latest]
    calm = BrokerInMemory(records, news)
    calm.written = [record for record in broker.written if record.topic == "serving.ledger"]
    asyncio.run(Worker(calm).drain())

    made = broker.normalised()
    assert [(w.source.offset, w.version, w.epoch) for w in made] == [
        (w.source.offset, w.version, w.epoch) for w in calm.normalised()
    ]
    assert [(w.key, w.value, w.headers) for w in broker.dead_letters()] == [
        (w.key, w.value, w.headers) for w in calm.dead_letters()
    ]
    assert set(broker.outcome_ids()) == set(calm.outcome_ids())
    assert broker.changelog == calm.changelog
    assert [len(broker.ledger()), *(w.epoch for w in made)] == [
        len({entry.key for entry in broker.ledger()}),
        *sorted(w.epoch for w in made),
    ]
    stamps = Stamps()
    for entry in HistoryInMemory(broker).fences():
        stamps.learn(entry)
    assert all(stamps.at("pump", 0, w.source.offset).epoch == w.epoch for w in made)


def test_memory_after_a_crash_is_that_of_an_undisturbed_run() -> None:
    """Detectors, join and recognised windows are the same, number for number."""
    records = good(*range(60))
    calm = run_through(records, [*DECLARED, *TRAINED])
    broker = BrokerInMemory(records, [*DECLARED, *TRAINED])
    story: list[Action] = ["windows", "predictions", "checkpoint"] * 3
    story += [
        "windows",
        "predictions",
        "crash",
        "predictions",
        "windows",
        "windows",
        ("dies", 3, None),
        "predictions",
    ]
    asyncio.run(disturbed(broker, story))
    assert broker.changelog == calm.changelog
    memory = Asset.restore(broker.changelog[b"pump\x1fpump-1\x1f0"])
    assert errors_seen(memory.monitor.state()) == 59


# Predictions that come before their windows, after a restart

MANY = 3 * MOST_EARLY - 72


def test_predictions_that_all_come_first_leave_the_same_memory_and_outcomes() -> None:
    """However far they are ahead, each is taken after its window."""
    records = [window_record(pump_window(3 * p), p) for p in range(MANY)]
    natural = BrokerInMemory(records, [*DECLARED, *TRAINED])
    late = BrokerInMemory(records, [*DECLARED, *TRAINED])

    async def run() -> None:
        worker = Worker(natural)
        while await worker.take_windows(100):
            pass
        predictions = natural.predictions()
        natural.written.clear()
        worker = Worker(natural)
        for start in range(0, MANY, 100):
            await worker.processor.windows({0: records[start : start + 100]})
            batch = predictions[start : start + 100]
            assert await worker.processor.predictions(0, batch, range(MANY)) == len(batch)
        await worker.checkpoint()

        worker = Worker(late)
        rest = predictions
        for start in range(0, MANY, 100):
            taken = await worker.processor.predictions(0, rest, range(MANY))
            assert taken == min(start, 100)
            rest = rest[taken:]
            await worker.processor.windows({0: records[start : start + 100]})
        assert await worker.processor.predictions(0, rest, range(MANY)) == len(rest)
        await worker.checkpoint()

    asyncio.run(run())
    memory = b"pump\x1fpump-1\x1f0"
    assert state_digest(late.changelog[memory]) == state_digest(natural.changelog[memory])
    assert late.outcome_ids() == natural.outcome_ids()
    assert len(late.outcome_ids()) == MANY - 1


@pytest.mark.parametrize("readable", [range(0), range(5, 9), range(9, sys.maxsize)])
def test_predictions_whose_windows_will_not_be_read_do_not_wait(readable: range) -> None:
    """Windows that have expired, or whose memory is lost: the early list is the last resort."""
    broker = run_through(good(0, 1, 2))
    worker = Worker(BrokerInMemory([], list(DECLARED)))
    predictions = broker.predictions()
    assert asyncio.run(worker.processor.predictions(0, predictions, readable)) == 3
    assert worker.early() == [0, 1, 2]


def test_a_partition_that_is_taken_over_again_is_read_again() -> None:
    """What was taken before counts no more: memory is as old as its last checkpoint."""
    broker = BrokerInMemory(good(0, 1, 2), list(DECLARED))
    worker = Worker(broker)

    async def run() -> None:
        await worker.take_windows()
        worker.processor.release()
        worker.processor.own({0})
        assert await worker.processor.predictions(0, broker.predictions(), range(3)) == 0
        await worker.processor.windows({0: broker.windows})
        assert await worker.processor.predictions(0, broker.predictions(), range(3)) == 3

    asyncio.run(run())


def with_readings(start: int, segment: str, shift: float, offset: int) -> WindowRecord:
    """A record of a window whose readings are shifted."""
    window = pump_window(start, segment=segment)
    changed = msgspec.structs.replace(window, values=window.values + np.float32(shift))
    return window_record(changed, offset)


def test_segments_that_begin_at_the_same_time_are_windows_of_their_own() -> None:
    """Runs of a test bench whose clocks begin anew: each is predicted, under an id of its own."""
    runs = (("A", 0.0), ("B", 9.0), ("C", 5.0))
    records = [with_readings(0, run, shift, n) for n, (run, shift) in enumerate(runs)]
    broker = run_through(records)
    assert [window.segment for window in broker.normalised()] == ["A", "B", "C"]
    assert len({window.window_id for window in broker.normalised()}) == 3
    assert broker.dead_letters() == []


def test_a_window_that_comes_again_with_other_readings_is_a_dead_letter() -> None:
    """The first one counts; the same readings once more are no letter."""
    records = [with_readings(0, "", shift, n) for n, shift in enumerate((0.0, 0.0, 2.0))]
    broker = run_through(records)
    assert [window.source.offset for window in broker.normalised()] == [0]
    (letter,) = broker.dead_letters()
    assert header(letter.headers, REASON) == "changed_repeat"
    assert header(letter.headers, OFFSET) == "2"


def test_missing_readings_are_the_same_however_they_are_written() -> None:
    """A NaN with another payload is no change."""
    window = pump_window(0)
    values = window.values.copy()
    values[1, 0] = np.nan
    other = values.copy()
    other.view(np.uint32)[1, 0] = 0x7FC00001
    records = [
        window_record(msgspec.structs.replace(window, values=made), n)
        for n, made in enumerate((values, other))
    ]
    broker = run_through(records)
    assert len(broker.normalised()) == 1
    assert broker.dead_letters() == []
