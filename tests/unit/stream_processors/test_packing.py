"""Packed headers are those of each event."""

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from millrace.contracts.headers import SOURCE_OFFSET, cloud_event
from millrace.stream_processors.codec.packing import DerivedHeaders, packed_headers

AT = datetime(2026, 3, 1, 12, 30, 15, 250_000, UTC)
attributes = st.text(max_size=40)


@given(
    attributes,
    attributes,
    attributes,
    st.lists(st.tuples(st.text(max_size=200), st.integers(0, 2**63 - 1)), max_size=5),
)
def test_derived_events_are_named_each_and_tell_their_source(
    event_type: str, source: str, content_type: str, named: list[tuple[str, int]]
) -> None:
    """Packed together, they are what each would be by itself, with its source's offset."""
    shared = DerivedHeaders(event_type, source, content_type, AT)
    assert shared.packed([name for name, _ in named], [offset for _, offset in named]) == [
        packed_headers(
            [
                *cloud_event(name, event_type, source, content_type, AT),
                (SOURCE_OFFSET, str(offset).encode()),
            ]
        )
        for name, offset in named
    ]
