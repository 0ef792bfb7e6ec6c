"""Only what is confirmed without a gap is let go of, and no asset has too much under way."""

from hypothesis import given
from hypothesis import strategies as st

from millrace.producers.delivery.in_flight import REPEATS, InFlight
from millrace.stream_processors.state.recent_windows import RECENT


@given(st.permutations(range(1, 13)), st.lists(st.booleans(), min_size=12, max_size=12))
def test_it_settles_the_longest_run_without_a_gap(order: list[int], looks: list[bool]) -> None:
    """Whatever the order of reports, what is settled is all up to the first that is open."""
    flight = InFlight()
    for number in range(1, 13):
        flight.add(number, b"a" if number % 2 else None)
    confirmed: set[int] = set()
    settled = 0
    for number, look in zip(order, looks, strict=True):
        flight.confirm(number)
        confirmed.add(number)
        if look:
            settled = flight.settle() or settled
            assert settled == next(n for n in range(13) if n + 1 not in confirmed)
            assert len(flight) == 12 - settled
    assert (flight.settle() or settled, len(flight)) == (12, 0)


def test_an_asset_has_a_bounded_number_under_way() -> None:
    """One asset's room ends while another's is there, and comes back when it is settled."""
    flight = InFlight()
    for number in range(REPEATS):
        assert flight.has_room(b"a")
        flight.add(number, b"a")
    assert (flight.has_room(b"a"), flight.has_room(b"b")) == (False, True)
    flight.confirm(0)
    assert not flight.has_room(b"a")
    flight.settle()
    assert flight.has_room(b"a")


def test_what_a_crash_repeats_is_remembered_downstream() -> None:
    """A stream processor remembers more of an asset's windows than a crash repeats."""
    assert REPEATS < RECENT
