"""Which offsets are read: where reading began, and an end that is fresh enough to count."""

import sys

import pytest

from millrace.stream_processors.transport.fetched_range import LATER_SECONDS, FetchedRange


def begin(readable: FetchedRange) -> int:
    """Where the partition's reading began, as far as is known."""
    return readable.offsets("p", end=None, told=0.0, since=0.0).start


def test_reading_begins_at_the_position_until_something_comes() -> None:
    """A position that was reset counts; one behind what has come does not."""
    readable = FetchedRange()
    assert begin(readable) == 0
    readable.before_poll("p", None)
    readable.before_poll("p", 5)
    readable.before_poll("p", 8)  # what was before has expired
    assert begin(readable) == 8
    readable.fetched("p", 9)
    readable.before_poll("p", 12)
    readable.fetched("p", 12)
    assert begin(readable) == 9
    readable.forget()
    assert begin(readable) == 0


@pytest.mark.parametrize(
    ("end", "told", "stop"),
    [
        (None, 99.0, sys.maxsize),
        (7, 5.0 + LATER_SECONDS, 7),
        (7, 4.9 + LATER_SECONDS, sys.maxsize),
    ],
)
def test_an_old_end_excludes_nothing(end: int | None, told: float, stop: int) -> None:
    """Windows have come since it was told, while those before it wait in memory."""
    assert FetchedRange().offsets("p", end=end, told=told, since=5.0).stop == stop
