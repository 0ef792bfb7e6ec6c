"""A thread that ends by itself is not missed in silence."""

import pytest

from millrace.contracts.errors import MillraceError
from millrace.infra.local.waiting import wait_until
from millrace.infra.process.guard_thread import GuardThread


class _Breaks(GuardThread):
    """Breaks at its first turn."""

    def turn(self) -> None:
        """Break."""
        raise ValueError("broken")


def test_an_exception_in_a_guard_thread_is_told_to_its_owner() -> None:
    """It says which thread has ended, and why."""
    guard = _Breaks("breaks", 0.01)
    guard.check()
    guard.start()

    def ended() -> bool:
        try:
            guard.check()
        except MillraceError:
            return True
        return False

    wait_until(ended, "the end of the thread", seconds=10)
    with pytest.raises(MillraceError, match=r"the thread breaks has ended: ValueError\('broken'\)"):
        guard.check()
