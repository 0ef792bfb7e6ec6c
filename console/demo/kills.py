"""Programs that a demonstration kills during the replay, and when.

>>> parse_kills("inference@0.3, trainer@0.7")
(Kill(program='inference', at=0.3), Kill(program='trainer', at=0.7))
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from millrace.contracts.errors import SettingsError
from millrace.infra.local.programs import SERVICES


@dataclass(frozen=True)
class Kill:
    """A program to be killed with SIGKILL.

    Attributes:
        program: Its name.
        at: Share of the replay that is predicted by then, above 0 and below 1.
    """

    program: str
    at: float


def parse_kills(text: str) -> tuple[Kill, ...]:
    """Read a list such as ``inference@0.3,trainer@0.7``.

    Raises:
        SettingsError: The text is not such a list.
    """
    kills = []
    for item in filter(None, (part.strip() for part in text.split(","))):
        program, _, share = item.partition("@")
        try:
            at = float(share)
        except ValueError:
            at = 0.0
        if program not in SERVICES or not 0 < at < 1:
            raise SettingsError(
                f"--kill {item}: write <program>@<share>, a program of {', '.join(SERVICES)}"
                " and a share between 0 and 1, such as inference@0.3"
            )
        kills.append(Kill(program, at))
    return tuple(sorted(kills, key=lambda kill: kill.at))


def due(kills: Sequence[Kill], done: Sequence[Kill], share: float) -> list[Kill]:
    """The kills that are due and not done yet."""
    return [kill for kill in kills if kill.at <= share and kill not in done]
