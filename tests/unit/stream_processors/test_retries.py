"""Records that were sent again: of one first origin, one is taken, whatever is repeated."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace.contracts.events.dead_letter import ORIGIN_OFFSET, Origin, headers_again
from millrace.contracts.events.mended import Resolution
from millrace.contracts.headers import RawHeaders
from millrace.contracts.invalid_record import InvalidRecord
from millrace.contracts.topics import SENSOR_WINDOWS
from millrace.stream_processors.windows.first_origins import FirstOrigins
from millrace.stream_processors.windows.retries import (
    Retries,
    note_of,
    oldest_origin,
    resolve,
    sent_again,
)
from tests.builders import AT, WindowRecord


def sent(offset: int, headers: RawHeaders | None = None) -> WindowRecord:
    """A record of partition 0."""
    return WindowRecord(b"", b"pump-1", offset, headers=headers or [])


def again(offset: int, origin: int) -> WindowRecord:
    """A record that was refused at another offset first."""
    return sent(offset, headers_again([], Origin(SENSOR_WINDOWS.name, 0, origin)))


def noted(*pairs: tuple[int, int]) -> Retries:
    """Memory of first origins and who was taken for them."""
    return Retries(Resolution(0, origin, offset, AT) for origin, offset in pairs)


def letters(*offsets: int) -> FirstOrigins:
    """All letters of the partition."""
    return FirstOrigins(offsets, since=0)


def test_an_origin_without_a_letter_takes_nothing() -> None:
    """It is refused, valid or not, and from then on has a letter of its own."""
    known = letters(3)
    records = [again(10, 4), again(11, 4), again(12, 10), again(13, 3)]
    found = resolve(0, records, [0, 1, 2, 3], {1}, Retries(), known)
    assert {row: problem.reason for row, problem in found.refused.items()} == {
        0: "bad_origin",
        1: "bad_origin",
    }
    assert "no dead letter says so" in found.refused[0].detail
    assert found.taken == {2: 10, 3: 3}


def test_the_oldest_origin_is_how_far_back_letters_are_read() -> None:
    """What names no usable origin does not count."""
    records = [again(10, 7), again(11, 5), again(12, 40)]
    assert oldest_origin(0, records, [0, 1, 2]) == 5
    assert oldest_origin(0, records, [2]) is None


def test_a_batch_without_them_costs_one_look() -> None:
    """Rows of records that were sent before, and of no others."""
    assert sent_again([sent(4), sent(5, [("ce_id", b"w")])]) == []
    assert sent_again([sent(4), again(5, 1), sent(6, [(ORIGIN_OFFSET, b"x")])]) == [1, 2]


def test_of_two_in_a_batch_the_first_is_taken() -> None:
    """The other has no effect, and is no dead letter either."""
    retries = Retries()
    records = [again(10, 3), sent(11), again(12, 3), again(13, 4)]
    found = resolve(0, records, sent_again(records), (), retries, letters(3, 4))
    assert found.taken == {0: 3, 3: 4}
    assert found.passed == {2}
    assert found.refused == {}
    assert (retries.taker(3), retries.taker(4), retries.taker(5)) == (10, 13, None)


def test_one_that_is_refused_takes_nothing() -> None:
    """The next one, which may have been mended better, is taken."""
    records = [again(10, 3), again(11, 3)]
    found = resolve(0, records, [0, 1], {0}, Retries(), letters(3))
    assert found.taken == {1: 3}
    assert found.passed == set()


def test_a_refused_one_is_no_letter_once_its_origin_was_mended() -> None:
    """Nothing is left to mend."""
    found = resolve(0, [again(11, 3)], [0], {0}, noted((3, 10)), letters())
    assert found.passed == {0}
    assert found.refused == {}


def test_a_batch_that_comes_again_takes_the_same_one() -> None:
    """After a crash, the record of the note goes its way, and is not noted twice."""
    records = [again(10, 3), again(12, 3)]
    found = resolve(0, records, [0, 1], (), noted((3, 10)), letters(3))
    assert found.passed == {1}
    assert found.taken == {}


def test_an_origin_that_cannot_be_checked_is_a_dead_letter() -> None:
    """It has no other effect."""
    found = resolve(0, [again(10, 10), again(11, 40)], [0, 1], (), Retries(), letters())
    assert {row: problem.reason for row, problem in found.refused.items()} == {
        0: "bad_origin",
        1: "bad_origin",
    }
    assert found.taken == {}


def test_what_cannot_be_remembered_is_refused() -> None:
    """At the bound nothing is forgotten: a known origin stays known, a new one is refused."""
    retries = Retries([Resolution(0, 1, 10, AT), Resolution(0, 2, 11, AT)], most=2)
    records = [again(12, 3), again(13, 1)]
    found = resolve(0, records, [0, 1], (), retries, letters(1, 2, 3))
    assert found.refused[0].reason == "too_many_retries"
    assert found.passed == {1}
    assert len(retries) == 2
    with pytest.raises(InvalidRecord):
        retries.take(9, 14)


def test_of_two_notes_the_first_counts() -> None:
    """Two processors that held the partition for a moment may both have written one."""
    assert noted((3, 10), (3, 12)).taker(3) == 10


def test_a_note_names_both_records() -> None:
    """It is keyed by the first origin."""
    note = note_of(0, again(10, 3), 3, AT)
    assert note == Resolution(0, 3, 10, AT)
    assert note.key == "0/3"


@given(
    st.lists(st.tuples(st.integers(0, 5), st.booleans()), max_size=30),
    st.lists(st.tuples(st.integers(1, 7), st.integers(0, 30), st.booleans()), max_size=4),
)
def test_one_of_each_origin_is_taken_however_it_is_cut_and_repeated(
    sent: list[tuple[int, bool]], lives: list[tuple[int, int, bool]]
) -> None:
    """Lives that end anywhere, their notes lost or kept: the first valid record is taken."""
    records = [again(100 + place, origin) for place, (origin, _) in enumerate(sent)]
    expected: dict[int, int] = {}
    for record, (origin, valid) in zip(records, sent, strict=True):
        if valid:
            expected.setdefault(origin, record.offset)
    notes: list[Resolution] = []
    effects: dict[int, set[int]] = {}
    for size, end, is_kept in [*lives, (3, len(records), True)]:
        retries, written = Retries(notes), []
        for place in range(0, min(end, len(records)), size):
            batch = records[place : place + size]
            invalid = {row for row in range(len(batch)) if not sent[place + row][1]}
            found = resolve(0, batch, sent_again(batch), invalid, retries, letters(*range(6)))
            written += [note_of(0, batch[row], origin, AT) for row, origin in found.taken.items()]
            for row in set(range(len(batch))) - found.passed - invalid:
                effects.setdefault(sent[place + row][0], set()).add(batch[row].offset)
        notes += written if is_kept else []
    assert effects == {origin: {offset} for origin, offset in expected.items()}
    assert {note.first_offset: note.offset for note in notes} == expected
    assert len(notes) == len(expected)
