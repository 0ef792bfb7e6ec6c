"""Every spool: records in order and byte by byte, batches whole, and nothing lost by a kill.

A spool of your own is added to `SPOOLS`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from millrace.producers.delivery.memory_spool import MemorySpool
from millrace.producers.delivery.spool import Spool, SpoolFullError
from millrace.producers.delivery.sqlite_spool import SqliteSpool
from millrace.producers.record import Record
from tests.conformance.pages import example
from tests.spools import all_of, no_file_beyond, some

FILE = example("spools.md").FileSpool
LIMIT = 1 << 20

SPOOLS: dict[str, Callable[[Path], Spool]] = {
    "sqlite": lambda folder: SqliteSpool(folder / "spool", LIMIT),
    "memory": lambda _: MemorySpool(LIMIT),
    "page": lambda folder: FILE(str(folder / "spool"), LIMIT),
}
each = pytest.mark.parametrize("kind", SPOOLS)


def end(spool: Spool) -> None:
    """Close the files of a spool that has some."""
    if isinstance(spool, SqliteSpool):
        spool.close()


@pytest.fixture
def spool(kind: str, tmp_path: Path) -> Iterator[Spool]:
    """An empty spool."""
    made = SPOOLS[kind](tmp_path)
    yield made
    end(made)


@each
def test_records_come_back_as_they_were(spool: Spool) -> None:
    """Numbers count up from 1; keys, values, headers and times are the same, null keys too."""
    records = some(1, 40)
    spool.append(records[:25])
    spool.append(records[25:])
    assert (spool.last, spool.confirmed, spool.waiting) == (40, 0, 40)
    assert all_of(spool) == list(enumerate(records, 1))
    assert spool.size > 0
    assert spool.place


@each
def test_at_least_one_record_is_read(spool: Spool) -> None:
    """A record that is larger than what was asked for does not hold up the others."""
    spool.append(some(1, 3, size=5_000))
    assert [number for number, _ in spool.read(0, 10, 1)] == [1]
    assert [number for number, _ in spool.read(1, 10, 6_000)] == [2, 3]
    assert spool.read(3, 10, 1) == []


@each
def test_what_is_confirmed_is_gone(spool: Spool) -> None:
    """It is not read again; numbers go on."""
    spool.append(some(1, 10))
    spool.confirm(4)
    assert [number for number, _ in all_of(spool)] == [5, 6, 7, 8, 9, 10]
    spool.confirm(10)
    assert (spool.waiting, all_of(spool)) == (0, [])
    spool.append(some(11, 2))
    assert [number for number, _ in all_of(spool)] == [11, 12]


@each
def test_a_full_spool_takes_nothing_of_a_batch(spool: Spool) -> None:
    """Then confirming makes room, and the same call succeeds."""
    batch, count = 20, 0
    while spool.size + 2 * batch * 2_000 < LIMIT and count < 400:
        spool.append(some(count + 1, batch, size=2_000))
        count += batch
    with pytest.raises(SpoolFullError):
        spool.append(some(count + 1, 1, size=LIMIT))
    assert (spool.last, spool.waiting) == (count, count)
    assert [record for _, record in all_of(spool)] == some(1, count, size=2_000)
    spool.confirm(count)
    spool.append(some(count + 1, batch, size=2_000))
    assert [number for number, _ in all_of(spool)] == list(range(count + 1, count + batch + 1))


@pytest.mark.parametrize("kind", [kind for kind in SPOOLS if kind != "memory"])
def test_a_durable_spool_is_found_again(kind: str, tmp_path: Path) -> None:
    """Everything from what was confirmed on, with the place in the source."""
    spool = SPOOLS[kind](tmp_path)
    assert spool.is_durable
    spool.append(some(1, 30), b"place 30")
    spool.append(some(31, 2))
    spool.confirm(12)
    end(spool)
    again = SPOOLS[kind](tmp_path)
    assert (again.last, again.confirmed, again.position) == (32, 12, b"place 30")
    assert [record for _, record in all_of(again)] == some(13, 20)
    again.confirm(32)
    end(again)
    third = SPOOLS[kind](tmp_path)
    assert (third.last, third.confirmed, third.position) == (32, 32, b"place 30")
    third.append(some(33, 1))
    assert all_of(third) == list(enumerate(some(33, 1), 33))
    end(third)


@pytest.mark.parametrize("kind", [kind for kind in SPOOLS if kind != "memory"])
def test_a_full_disk_is_told_and_leaves_the_spool_sound(kind: str, tmp_path: Path) -> None:
    """Nothing of the batch is taken; with space again it is, and all is there after a restart."""
    spool = SPOOLS[kind](tmp_path)
    spool.append(some(1, 5))
    with no_file_beyond(spool.size + 100), pytest.raises(SpoolFullError):
        spool.append(some(6, 100, size=3_000))
    assert (spool.last, [record for _, record in all_of(spool)]) == (5, some(1, 5))
    spool.append(some(6, 5))
    end(spool)
    again = SPOOLS[kind](tmp_path)
    assert [record for _, record in all_of(again)] == some(1, 10)
    end(again)


Steps = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.integers(1, 9)),
        st.tuples(st.just("confirm"), st.integers(0, 12)),
        st.tuples(st.just("reopen"), st.just(0)),
    ),
    max_size=25,
)


@each
@settings(deadline=None, max_examples=25)
@given(steps=Steps)
def test_it_is_a_queue(kind: str, steps: list[tuple[str, int]]) -> None:
    """Whatever is done in whatever order, it holds what a plain list would."""
    plain: deque[tuple[int, Record]] = deque()
    last = 0
    with TemporaryDirectory() as folder:
        spool = SPOOLS[kind](Path(folder))
        for what, count in steps:
            if what == "append":
                spool.append(some(last + 1, count))
                plain.extend(enumerate(some(last + 1, count), last + 1))
                last += count
            elif what == "confirm":
                for _ in range(min(count, len(plain))):
                    plain.popleft()
                spool.confirm(last - len(plain))
            elif spool.is_durable:
                end(spool)
                spool = SPOOLS[kind](Path(folder))
            assert all_of(spool) == list(plain)
            assert (spool.last, spool.waiting) == (last, len(plain))
        end(spool)
