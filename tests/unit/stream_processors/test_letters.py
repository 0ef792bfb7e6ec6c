"""Dead letters of any size: each is written once, and neither size nor store holds up others."""

import asyncio
from typing import cast

from millrace.contracts.events import dead_letter
from millrace.contracts.events.event import JSON
from millrace.contracts.headers import CONTENT_TYPE, header
from millrace.contracts.invalid_record import InvalidRecord
from millrace.contracts.topics import MAX_DEAD_LETTER_BYTES
from millrace.contracts.wire.cut_letter import cut_of
from millrace.infra.settings import Settings
from millrace.stream_processors.codec.unpacking import unread
from millrace.stream_processors.windows.letters import StoredValues
from tests.builders import WindowRecord, pump_window, window_record
from tests.unit.stream_processors.in_memory import BrokerInMemory, Worker
from tests.unit.stream_processors.test_processor import DECLARED, TRAINED

HUGE = b"[" + b"1," * MAX_DEAD_LETTER_BYTES


def broker_of(*records: WindowRecord) -> BrokerInMemory:
    """A broker with these records."""
    return BrokerInMemory(list(records), [*DECLARED, *TRAINED])


def huge(offset: int) -> WindowRecord:
    """A record whose dead letter would not fit."""
    return WindowRecord(HUGE, b"pump-1", offset, headers=[(CONTENT_TYPE, JSON.encode())])


def test_a_letter_that_would_not_fit_is_cut_and_its_value_kept() -> None:
    """Windows around it are taken, and after a crash there is still one letter and one object."""

    async def story() -> None:
        records = [window_record(pump_window(0), 0), huge(1), window_record(pump_window(3), 2)]
        broker = broker_of(*records)
        for _ in range(2):  # the second life takes the batch again
            await Worker(broker).take_windows(3)
        assert [window.source.offset for window in broker.normalised()] == [0, 2]
        (letter,) = broker.dead_letters()
        cut = cut_of(letter.headers)
        assert cut is not None
        assert cut.key is not None
        assert broker.values_kept.kept == {cut.key: HUGE}
        assert header(letter.headers, dead_letter.REASON) == "oversized"
        assert len(letter.value) < len(HUGE)

    asyncio.run(story())


def test_a_store_that_is_away_costs_the_value_alone() -> None:
    """The letter says that it is not kept."""

    async def story() -> None:
        broker = broker_of(huge(0), window_record(pump_window(0), 1))
        broker.values_kept.is_away = True
        await Worker(broker).take_windows(2)
        (letter,) = broker.dead_letters()
        cut = cut_of(letter.headers)
        assert cut is not None
        assert cut.key is None
        assert len(broker.normalised()) == 1

    asyncio.run(story())


def test_a_batch_that_cannot_be_read_is_one_letter() -> None:
    """It has the batch's bytes and both its ends; reading goes on behind it, once."""

    async def story() -> None:
        problem = InvalidRecord("oversized_batch", "too large")
        batch = unread(b"raw", 1, 3, 7, 3, problem)
        good, later = window_record(pump_window(0), 0), window_record(pump_window(3), 4)
        broker = broker_of(good, cast(WindowRecord, batch), later)
        for _ in range(2):
            await Worker(broker).take_windows(3)
        assert [window.source.offset for window in broker.normalised()] == [0, 4]
        (letter,) = broker.dead_letters()
        assert letter.value == b"raw"
        said = [dead_letter.BATCH_FIRST_OFFSET, dead_letter.OFFSET, dead_letter.BATCH_RECORDS]
        assert [header(letter.headers, name) for name in said] == ["1", "3", "3"]

    asyncio.run(story())


def test_a_store_that_does_not_answer_is_left_alone_for_a_while() -> None:
    """One value waits for it; the next ones do not."""

    async def story() -> None:
        settings = Settings.read(
            s3_endpoint="http://127.0.0.1:9", s3_access_key="a", s3_secret_key="b"
        )
        values = StoredValues(settings, seconds=0.5, rest=3600)
        assert not await values.keep("k", b"v")
        values._store = None  # type: ignore[assignment]  # it would be seen to be asked
        assert not await values.keep("k", b"v")

    asyncio.run(story())
