"""A refused window that is sent again: one stamped window, whatever is repeated or killed."""

import asyncio
from collections import Counter
from contextlib import suppress

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from millrace.contracts.events.dead_letter import (
    OFFSET,
    REASON,
    Origin,
    first_origin,
    headers_again,
    origin_of,
)
from millrace.contracts.events.mended import Resolution
from millrace.contracts.events.model_event import ModelEvent
from millrace.contracts.headers import header
from millrace.contracts.topics import DEAD_LETTERS, MENDED, NORMALIZED, SENSOR_WINDOWS
from millrace.registry.decisions import declare
from millrace.stream_processors.state.recent_windows import RECENT
from tests.builders import AT, WindowRecord, pump_spec, pump_window, window_record
from tests.unit.stream_processors.in_memory import (
    CHANGELOG,
    BrokerInMemory,
    HistoryInMemory,
    Killed,
    Worker,
)

PUMP, BASIN = pump_spec(), pump_spec("basin", window=9)
DECLARED = declare(PUMP, AT)
BOTH = [*DECLARED, *declare(BASIN, AT)]


def sent_again(record: WindowRecord, offset: int, first: int) -> WindowRecord:
    """A record with a first origin, at the end of the partition."""
    origin = Origin(SENSOR_WINDOWS.name, 0, first)
    headers = headers_again(record.headers, origin)
    return WindowRecord(record.value, record.key, offset, headers=headers)


def sources(broker: BrokerInMemory) -> list[int]:
    """Source offsets of the stamped windows, in order."""
    return [window.source.offset for window in broker.normalised()]


def refused(broker: BrokerInMemory) -> list[tuple[int, str]]:
    """Offset and reason of the dead letters, in order."""
    return [
        (int(header(letter.headers, OFFSET) or -1), header(letter.headers, REASON) or "")
        for letter in broker.dead_letters()
    ]


def run_through(records: list[WindowRecord], events: list[ModelEvent]) -> BrokerInMemory:
    """Process all records and their predictions without any trouble."""
    broker = BrokerInMemory(records, events)
    asyncio.run(Worker(broker).drain())
    return broker


def test_a_refused_window_that_is_mended_is_taken_once() -> None:
    """Sent again three times, two of them in one batch, and once more in another life."""
    basin = window_record(pump_window(3, spec=BASIN), 1)
    broker = BrokerInMemory([window_record(pump_window(0), 0), basin], DECLARED)
    asyncio.run(Worker(broker).drain())
    assert refused(broker) == [(1, "wrong_shape")]
    broker.events = BOTH
    broker.windows += [sent_again(basin, offset, 1) for offset in (2, 3)]
    asyncio.run(Worker(broker).drain())
    broker.windows += [sent_again(basin, 4, 1)]
    asyncio.run(Worker(broker).drain())
    assert sources(broker) == [0, 2]
    assert len(broker.dead_letters()) == 1


def test_one_that_is_refused_again_keeps_its_first_origin() -> None:
    """Its new letter leads to the same place, and the one that is taken ends all of them."""
    basin = window_record(pump_window(3, spec=BASIN), 0)
    broker = BrokerInMemory([basin], DECLARED)
    asyncio.run(Worker(broker).drain())
    broker.windows.append(sent_again(basin, 1, 0))
    asyncio.run(Worker(broker).drain())
    assert refused(broker) == [(0, "wrong_shape"), (1, "wrong_shape")]
    second = broker.dead_letters()[1]
    assert origin_of(second.headers, SENSOR_WINDOWS.name, 0, 1).offset == 0
    broker.events = BOTH
    broker.windows += [sent_again(basin, 2, 0), sent_again(basin, 3, 0)]
    asyncio.run(Worker(broker).drain())
    assert sources(broker) == [2]


def test_it_is_recognised_long_after() -> None:
    """An asset forgets the starts of its windows; what was mended is not forgotten."""
    late = pump_window(-3)  # earlier than all the others
    records = [window_record(pump_window(3 * n), n + 1) for n in range(RECENT + 4)]
    letter = WindowRecord(b"{", b"pump-1", 0)
    count = len(records) + 1
    mended = sent_again(window_record(late, 0), count, 0)
    again = sent_again(window_record(late, 0), count + 1, 0)
    broker = run_through([letter, *records, mended, again], DECLARED)
    assert sources(broker) == [*range(1, count + 1)]


def test_mended_twice_for_two_assets_it_is_taken_once() -> None:
    """One letter is one window, whoever it is said to come from, and whichever model reads it."""
    letter = WindowRecord(b"{", None, 0)
    mends = [
        pump_window(0, asset="pump-1"),
        pump_window(0, asset="pump-2"),
        pump_window(3, spec=BASIN),
    ]
    again = [sent_again(window_record(w, 0), n + 1, 0) for n, w in enumerate(mends)]
    assert sources(run_through([letter, *again], BOTH)) == [1]


def test_a_window_that_the_edge_sent_itself_meanwhile_is_taken_once() -> None:
    """The mended one is passed over as any that comes twice, now and after it is forgotten."""
    window = window_record(pump_window(0), 0)
    letter = WindowRecord(b"{", b"pump-1", 0)
    fresh = window_record(pump_window(0), 1)
    many = [window_record(pump_window(3 * n), n + 2) for n in range(1, RECENT + 4)]
    last = many[-1].offset
    records = [letter, fresh, sent_again(window, 2, 0), *many, sent_again(window, last + 1, 0)]
    assert sources(run_through(records, DECLARED)) == [1, *(r.offset for r in many)]


@pytest.mark.parametrize("first", [5, 9])
def test_an_origin_that_is_not_earlier_is_refused(first: int) -> None:
    """Nobody can have a window passed over that is still to come."""
    good = window_record(pump_window(0), 0)
    broker = run_through([sent_again(good, 5, first), window_record(pump_window(3), 9)], DECLARED)
    assert refused(broker) == [(5, "bad_origin")]
    assert sources(broker) == [9]


def test_an_origin_that_was_never_refused_does_not_count() -> None:
    """Whoever forges one gets a dead letter, and takes nothing; nor does his second try."""
    records = [window_record(pump_window(3 * n), n) for n in range(2)]
    forged = sent_again(window_record(pump_window(9), 0), 2, 1)
    broker = run_through([*records, forged], DECLARED)
    assert refused(broker) == [(2, "bad_origin")]
    broker.windows.append(sent_again(window_record(pump_window(9), 0), 3, 1))
    asyncio.run(Worker(broker).drain())  # another life, which finds the letter of the first
    assert refused(broker) == [(2, "bad_origin"), (3, "bad_origin")]
    assert sources(broker) == [0, 1]
    assert broker.values(MENDED) == []


def test_a_letter_without_a_true_origin_is_its_own() -> None:
    """`dead-letters retry` sends it again by its own place, and it is taken, once."""
    window = window_record(pump_window(9), 0)
    broker = run_through([window_record(pump_window(0), 0), sent_again(window, 1, 0)], DECLARED)
    (letter,) = broker.dead_letters()
    origin = first_origin(letter.headers, Origin(SENSOR_WINDOWS.name, 0, 1))
    assert origin.offset == 1
    broker.windows += [sent_again(window, offset, origin.offset) for offset in (2, 3)]
    asyncio.run(Worker(broker).drain())
    assert sources(broker) == [0, 2]
    assert refused(broker) == [(1, "bad_origin")]


def test_a_later_letter_of_the_same_record_is_no_origin() -> None:
    """One letter could otherwise be answered twice: by its first place and by a later one."""
    good = window_record(pump_window(0), 0)
    broken = WindowRecord(b"{", b"pump-1", 0)
    refused_again = sent_again(broken, 1, 0)
    records = [broken, refused_again, sent_again(good, 2, 1), sent_again(good, 3, 0)]
    broker = run_through(records, DECLARED)
    assert sources(broker) == [3]
    assert refused(broker) == [(0, "undecodable"), (1, "undecodable"), (2, "bad_origin")]


def test_an_origin_whose_letter_has_expired_does_not_count() -> None:
    """Nobody can tell any more whether it was ever refused: a letter again, which can be sent."""
    broken = WindowRecord(b"{", b"pump-1", 0)
    broker = run_through([broken], DECLARED)
    broker.written = [output for output in broker.written if output.topic != DEAD_LETTERS.name]
    broker.windows.append(sent_again(window_record(pump_window(0), 0), 1, 0))
    asyncio.run(Worker(broker).drain())
    assert refused(broker) == [(1, "bad_origin")]


def test_a_letter_of_this_life_counts_in_whichever_batch_its_answer_comes() -> None:
    """Letters are read once and kept up: in the same batch, the next one, and a later life."""
    window = window_record(pump_window(0), 0)
    broken = [WindowRecord(b"{", b"pump-1", n) for n in (0, 2)]
    records = [broken[0], sent_again(window, 1, 0), broken[1]]
    later = sent_again(window_record(pump_window(3), 0), 3, 2)
    for size in (1, 2, 4):
        broker = BrokerInMemory([*records, later], DECLARED)

        async def live(worker: Worker, size: int) -> None:
            while await worker.take_windows(size):
                pass

        asyncio.run(live(Worker(broker), size))
        assert sources(broker) == [1, 3]


def test_what_was_refused_stays_refused_when_a_batch_comes_again() -> None:
    """Its letter may have been answered: the model that was declared meanwhile changes nothing."""
    basin = window_record(pump_window(3, spec=BASIN), 0)
    broker = BrokerInMemory([basin, WindowRecord(b"{", b"pump-1", 1)], DECLARED)

    asyncio.run(Worker(broker).take_windows())  # killed before anything is acknowledged
    assert [offset for offset, _ in refused(broker)] == [0, 1]
    broker.events = BOTH
    broker.windows.append(sent_again(basin, 2, 0))
    asyncio.run(Worker(broker).drain())
    assert [offset for offset, _ in refused(broker)] == [0, 1]
    assert sources(broker) == [2]


@settings(max_examples=60)
@given(
    plan=st.lists(st.tuples(st.integers(0, 3), st.booleans()), min_size=1, max_size=12),
    lives=st.lists(
        st.tuples(
            st.integers(1, 5),
            st.integers(0, 20),
            st.sampled_from([None, NORMALIZED.name, DEAD_LETTERS.name, MENDED.name, CHANGELOG]),
        ),
        max_size=4,
    ),
)
def test_one_window_of_each_letter_whatever_is_killed(
    plan: list[tuple[int, bool]], lives: list[tuple[int, int, str | None]]
) -> None:
    """Four letters are answered in any order, well or badly, by workers that lose any writes."""
    broken = [WindowRecord(b"{", b"pump-1", n) for n in range(4)]
    records = list(broken)
    for first, is_good in plan:
        body = window_record(pump_window(3 * first), 0) if is_good else broken[first]
        records.append(sent_again(body, len(records), first))
    broker = BrokerInMemory(records, DECLARED)

    async def live(size: int, arrive: int | None, losing: str | None) -> None:
        worker = Worker(broker)
        worker.outputs.arrive = arrive
        worker.outputs.losing = None if losing is None else frozenset({losing})
        while await worker.take_windows(size) or await worker.take_predictions(size):
            pass
        await worker.checkpoint()

    for size, arrive, losing in lives:
        with suppress(Killed):
            asyncio.run(live(size, arrive, losing))
    asyncio.run(live(3, None, None))
    answers = list(enumerate(plan, start=len(broken)))
    expected: dict[int, int] = {}
    for offset, (first, is_good) in answers:
        if is_good:
            expected.setdefault(first, offset)
    assert Counter(sources(broker)) == Counter(expected.values())
    assert refused(broker) == [
        *((n, "undecodable") for n in range(4)),
        *(
            (offset, "undecodable")
            for offset, (first, is_good) in answers
            if not is_good and offset < expected.get(first, len(records))
        ),
    ]
    notes = [msgspec.json.decode(value, type=Resolution) for value in broker.values(MENDED)]
    assert {note.first_offset: note.offset for note in notes} == expected


def test_a_retry_with_readings_that_changed_leaves_its_origin_open() -> None:
    """It is refused again, and is not noted as the one that was taken."""
    window = pump_window(0)
    other = msgspec.structs.replace(window, values=window.values + np.float32(1))
    broken = WindowRecord(
        b"none", window.asset.encode(), 1, headers=window_record(window, 1).headers
    )
    records = [window_record(window, 0), broken, sent_again(window_record(other, 2), 2, 1)]
    broker = run_through(records, DECLARED)
    assert refused(broker) == [(1, "undecodable"), (2, "changed_repeat")]
    assert HistoryInMemory(broker).mended(0) == []
