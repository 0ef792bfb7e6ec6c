"""Positions stay unique over topics that are created anew and logs that lose their end."""

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from millrace.contracts.events.topic_epoch import (
    NO_EPOCH,
    PER_INCARNATION,
    Lineage,
    Log,
    Newer,
    TopicEpoch,
    new_incarnation,
    new_leader_epoch,
)

AT = datetime(2026, 1, 1, tzinfo=UTC)
TOPIC = "sensor.windows"


def event(
    incarnation: int, first: int, *, topic_id: str = "a", leader_epoch: int = 0
) -> TopicEpoch:
    """Build an event."""
    return TopicEpoch(TOPIC, 0, incarnation, topic_id, leader_epoch, first, AT)


def decide(lineage: Lineage, known: int, log: Log) -> TopicEpoch | None:
    """Decide at a fixed time."""
    return new_incarnation(lineage, TOPIC, 0, known, log, AT)


def test_a_topic_that_is_seen_first_begins_with_its_offsets() -> None:
    """The first event of a topic has incarnation 0: positions are Kafka's offsets."""
    begun = decide(Lineage(), 0, Log("a", 40, 2, None))
    assert begun == event(0, 0, leader_epoch=2)
    assert Lineage([begun]).position(39) == 39


def test_a_topic_that_was_created_anew_begins_an_incarnation() -> None:
    """Another topic id: record 0 is another one than the record 0 that was processed."""
    lineage = Lineage([event(0, 0)])
    begun = decide(lineage, 600, Log("b", 10_000, 0, None))
    assert begun is not None
    assert "created anew" in begun.reason
    lineage.apply(begun)
    assert lineage.position(0) == PER_INCARNATION
    assert lineage.offset(599) is None
    assert lineage.start(committed=600, incarnation=0) == 0


def test_a_log_that_ends_before_what_is_known_begins_an_incarnation() -> None:
    """Records 400 to 999 are gone: what is written next is new, and what is left is known."""
    lineage = Lineage([event(0, 0, leader_epoch=4)])
    begun = decide(lineage, 1000, Log("a", 400, 4, None))
    assert begun is not None
    lineage.apply(begun)
    assert (lineage.position(399), lineage.position(400)) == (399, PER_INCARNATION + 400)
    assert lineage.start(committed=1000, incarnation=0) == 400
    assert lineage.start(committed=300, incarnation=0) == 300


def test_a_log_that_has_grown_beyond_what_is_known_is_told_by_its_leader_epoch() -> None:
    """The record at a known offset was written under a later leader: it is another one."""
    lineage = Lineage([event(0, 0, leader_epoch=4)])
    begun = decide(lineage, 1000, Log("a", 5000, 6, Newer(400, 6)))
    assert begun is not None
    assert (begun.incarnation, begun.first_offset, begun.leader_epoch) == (1, 400, 6)


def test_a_later_leader_behind_everything_that_is_known_is_no_loss() -> None:
    """A broker that was started again goes on under a larger epoch; nothing is lost."""
    lineage = Lineage([event(0, 0, leader_epoch=4)])
    assert decide(lineage, 1000, Log("a", 5000, 6, None)) is None
    noted = new_leader_epoch(lineage, 6, 1000, AT)
    assert noted == event(0, 1000, leader_epoch=6)


def test_an_incarnation_of_which_nothing_was_processed_is_not_begun_again() -> None:
    """Who took part in the old incarnation only learns of the new one from its event."""
    lineage = Lineage([event(0, 0), event(1, 0, topic_id="b")])
    assert decide(lineage, 600, Log("b", 20, 0, None)) is None


def test_memory_without_any_event_keeps_its_incarnation() -> None:
    """The events were lost, the outputs were not: positions go on, and never back."""
    known = 2 * PER_INCARNATION + 10
    begun = decide(Lineage(), known, Log("c", 10, 0, None))
    assert begun is not None
    assert begun.incarnation == 2
    begun = decide(Lineage(), known, Log("c", 9, 0, None))
    assert begun is not None
    assert begun.incarnation == 3


def test_of_two_writers_that_saw_the_same_the_first_counts() -> None:
    """The second event changes nothing, whatever it says."""
    lineage = Lineage([event(0, 0)])
    assert lineage.apply(event(1, 0, topic_id="b"))
    assert not lineage.apply(event(1, 7, topic_id="b"))
    assert not lineage.apply(event(0, 0))
    assert lineage.position(7) == PER_INCARNATION + 7


@given(
    st.lists(
        st.tuples(
            st.integers(0, 4), st.integers(0, 50), st.sampled_from("abc"), st.integers(-1, 9)
        ),
        max_size=12,
    )
)
def test_positions_ascend_with_offsets_whatever_the_events(
    told: list[tuple[int, int, str, int]],
) -> None:
    """No two records of a log have one position, and a later record has a larger one."""
    lineage = Lineage(event(n, first, topic_id=i, leader_epoch=e) for n, first, i, e in told)
    positions = [lineage.position(offset) for offset in range(60)]
    assert positions == sorted(set(positions))
    assert all(lineage.offset(position) == offset for offset, position in enumerate(positions))


@given(st.lists(st.tuples(st.integers(1, 40), st.integers(0, 60)), min_size=1, max_size=6))
def test_records_that_come_after_a_loss_have_positions_of_their_own(
    lives: list[tuple[int, int]],
) -> None:
    """Whatever a log loses, however far it grows before anybody looks: no position comes twice."""
    lineage, used, known = Lineage(), set[int](), 0
    epochs: list[int] = []  # leader epoch of each record in the log
    for leader_epoch, (grown, lost) in enumerate(lives):
        epochs = epochs[: max(0, len(epochs) - lost)] + [leader_epoch] * grown
        last = lineage.last
        processed = range(min(known % PER_INCARNATION, len(epochs)))
        newer = next(
            (
                Newer(offset, epochs[offset])
                for offset in processed
                if last is not None and epochs[offset] > last.leader_epoch > NO_EPOCH
            ),
            None,
        )
        begun = decide(lineage, known, Log("a", len(epochs), epochs[-1], newer))
        if begun is not None:
            lineage.apply(begun)
        first = lineage.start(known % PER_INCARNATION, known // PER_INCARNATION)
        for offset in range(first, len(epochs)):
            noted = new_leader_epoch(lineage, epochs[offset], offset, AT)
            if noted is not None:
                lineage.apply(noted)
            position = lineage.position(offset)
            assert position not in used
            used.add(position)
            known = position + 1
