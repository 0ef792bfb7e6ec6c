"""Whether the broker is away: pure, with the time as an argument.

It is away when something has been under way for `AWAY_SECONDS` and none of it was confirmed.

>>> absence = OutageDetector(now=0.0)
>>> absence.look(now=1.0, expecting=True), absence.look(now=2.0, expecting=True)
(None, 'the broker is away')
>>> absence.heard(now=9.0)
>>> absence.look(now=9.0, expecting=True)
'the broker is back after 9 s'
"""

from typing import Final

#: The broker is away when it has confirmed nothing for so long.
AWAY_SECONDS: Final = 2.0


class OutageDetector:
    """Remembers when the broker was last heard of."""

    def __init__(self, now: float) -> None:
        """Begin as if the broker had been heard of just now."""
        self._heard_at = now
        self._since: float | None = None

    @property
    def away(self) -> bool:
        """Whether the broker is away, as of the last look."""
        return self._since is not None

    def heard(self, now: float) -> None:
        """Note that the broker answered, or that nothing had been asked of it until now."""
        self._heard_at = now

    def look(self, now: float, *, expecting: bool) -> str | None:
        """Look at the clock.

        Args:
            now: The time, seconds.
            expecting: Whether an answer is expected.

        Returns:
            What has changed, for people; None if nothing has.
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
