"""Detects whether the broker is unavailable: pure, with the time as an argument.

It is unavailable when records have been in flight for `AWAY_SECONDS` and none was confirmed.

>>> absence = OutageDetector(now=0.0)
>>> absence.look(now=1.0, expecting=True), absence.look(now=2.0, expecting=True)
(None, 'the broker is away')
>>> absence.heard(now=9.0)
>>> absence.look(now=9.0, expecting=True)
'the broker is back after 9 s'
"""

from typing import Final

#: Time without a confirmation after which the broker counts as unavailable.
AWAY_SECONDS: Final = 2.0


class OutageDetector:
    """Tracks the time of the broker's last answer."""

    def __init__(self, now: float) -> None:
        """Start as if the broker had just answered."""
        self._heard_at = now
        self._since: float | None = None

    @property
    def away(self) -> bool:
        """Whether the broker was unavailable at the last check."""
        return self._since is not None

    def heard(self, now: float) -> None:
        """Note that the broker answered, or that no record was in flight until now."""
        self._heard_at = now

    def look(self, now: float, *, expecting: bool) -> str | None:
        """Check the time since the last answer.

        Args:
            now: The time, seconds.
            expecting: Whether an answer is expected.

        Returns:
            A message about a change of the state; None if it has not changed.
        """
        silent = now - self._heard_at
        if self._since is None:
            if not expecting or silent < AWAY_SECONDS:
                return None
            self._since = self._heard_at
            return "the broker is away"
        if silent >= AWAY_SECONDS:
            return None
        lasted = now - self._since
        self._since = None
        return f"the broker is back after {lasted:.0f} s"
