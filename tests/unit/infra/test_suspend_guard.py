"""A process that stood still for too long does not go on; a busy one does."""

from millrace.infra.process.suspend_guard import SuspendGuard


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        """Tell the time."""
        return self.now


def guard(clock: Clock, said: list[str]) -> SuspendGuard:
    """A guard that notes instead of ending the test."""
    return SuspendGuard(9.0, end=said.append, clock=clock)


def test_a_long_standstill_ends_the_process_before_it_writes() -> None:
    """Whoever asks first learns of it: the thread, or who is about to write."""
    clock, said = Clock(), list[str]()
    guarded = guard(clock, said)
    clock.now = 25.0
    guarded.check()
    assert said == ["it stood still for 25 s: others do its work by now"]


def test_a_busy_process_goes_on() -> None:
    """The thread wakes in between, however long a batch takes."""
    clock, said = Clock(), list[str]()
    guarded = guard(clock, said)
    for _ in range(60):
        clock.now += 1.0
        guarded.turn()
    guarded.check()
    assert said == []


def test_a_short_standstill_is_none() -> None:
    """Within what the group waits for a member, nobody has taken over."""
    clock, said = Clock(), list[str]()
    guarded = guard(clock, said)
    clock.now = 8.9
    guarded.turn()
    clock.now = 17.0
    guarded.check()
    assert said == []


def test_a_guard_that_was_stopped_lets_go() -> None:
    """A process that is ending may take its time."""
    clock, said = Clock(), list[str]()
    guarded = guard(clock, said)
    guarded.stop()
    clock.now = 100.0
    guarded.check()
    assert said == []
