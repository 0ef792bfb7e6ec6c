"""Due times, by arithmetic alone."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace.contracts.errors import SettingsError
from millrace.producers.pacing import MAX_LATE, Pacer, Tempo


def due_times(pacer: Pacer, ends: list[int], training: set[int]) -> list[float]:
    """Replay windows by a clock that never makes one wait longer than needed."""
    now, found = 100.0, []
    for index, end in enumerate(ends):
        now = max(now, pacer.due(end, now, training=index in training))
        pacer.sent(end, due=now, now=now)
        found.append(round(now - 100.0, 6))
    return found


def test_speed_divides_recorded_time() -> None:
    """At 60 recorded seconds a second, a minute takes a second, and equal ends no time."""
    assert due_times(Pacer(Tempo(speed=60)), [0, 60_000, 60_000, 180_000], set()) == [0, 1, 1, 3]


def test_rate_is_even_whatever_the_recording() -> None:
    """Ten windows a second, through any gap of the recording."""
    assert due_times(Pacer(Tempo(rate=10)), [0, 0, 10**12], set()) == [0, 0.1, 0.2]


def test_without_a_tempo_nothing_waits() -> None:
    """As fast as possible means at once."""
    assert due_times(Pacer(Tempo()), [0, 10**9, 10**10], set()) == [0, 0, 0]


@pytest.mark.parametrize("tempo", [Tempo(speed=600), Tempo(rate=10), Tempo()])
def test_training_slows_every_tempo(tempo: Tempo) -> None:
    """While a run is in progress a recorded minute takes its two seconds, and then no more."""
    pacer = Pacer(tempo, training_speed=30)
    found = due_times(pacer, [0, 60_000, 120_000, 180_000], {1, 2})
    assert found[:3] == [0, 2, 4]
    assert found[3] - found[2] == pytest.approx(tempo.gap(60_000))


def test_training_never_speeds_up() -> None:
    """A training speed above the usual one changes nothing."""
    assert due_times(Pacer(Tempo(speed=60), training_speed=6000), [0, 60_000], {1}) == [0, 1]


def test_the_end_of_a_training_is_felt_while_waiting() -> None:
    """A window that would have waited a month is due at once when the run is over."""
    pacer = Pacer(Tempo(rate=10), training_speed=60)
    pacer.sent(0, due=0.0, now=0.0)
    month_ms = 30 * 86_400_000
    assert pacer.due(month_ms, 5.0, training=True) == 43_200.0
    assert pacer.due(month_ms, 5.0, training=False) == 0.1


def test_long_silences_are_cut() -> None:
    """A month without readings costs no more than the longest idle time."""
    pacer = Pacer(Tempo(speed=60), max_idle=3.0)
    assert due_times(pacer, [0, 60_000, 10**10, 10**10 + 60_000], set()) == [0, 1, 4, 5]


def test_a_late_sender_catches_up_but_does_not_rush() -> None:
    """After a stall the schedule is made up for by one second, and the rest is let go."""
    pacer = Pacer(Tempo(rate=10))
    pacer.sent(0, due=0.0, now=0.0)
    pacer.sent(1, due=0.1, now=60.0)
    assert pacer.due(2, 60.0, training=False) == pytest.approx(60.0 - MAX_LATE + 0.1)


@given(st.lists(st.integers(0, 10**9), max_size=30), st.floats(0.1, 1e6))
def test_time_never_runs_backwards(gaps: list[int], speed: float) -> None:
    """Windows in order are due in order."""
    ends = [sum(gaps[: i + 1]) for i in range(len(gaps))]
    found = due_times(Pacer(Tempo(speed=speed), training_speed=speed / 3), ends, {1, 4, 5})
    assert found == sorted(found)


@pytest.mark.parametrize("options", [{"speed": 0.0}, {"rate": -1.0}, {"speed": 1.0, "rate": 1.0}])
def test_impossible_tempos_are_refused(options: dict[str, float]) -> None:
    """No speed, a negative one, or two at once."""
    with pytest.raises(SettingsError, match="--"):
        Tempo(**options)
