"""Which programs are killed, and when."""

from __future__ import annotations

import pytest

from millrace.console.demo.kills import Kill, due, parse_kills
from millrace.contracts.errors import SettingsError


def test_kills_come_in_the_order_of_their_time() -> None:
    """Whatever order they are given in."""
    assert parse_kills("trainer@0.7,inference@0.3") == (
        Kill("inference", 0.3),
        Kill("trainer", 0.7),
    )


def test_nothing_is_killed_by_default() -> None:
    """An empty list is fine."""
    assert parse_kills("") == ()


@pytest.mark.parametrize("text", ["inference", "inference@x", "inference@1.5", "kafka@0.5", "@0.5"])
def test_what_is_no_kill_is_refused(text: str) -> None:
    """The message shows the offending part."""
    with pytest.raises(SettingsError, match="--kill"):
        parse_kills(text)


def test_each_is_due_once() -> None:
    """Those whose share is reached and that are not done."""
    kills = parse_kills("inference@0.3,trainer@0.5")
    assert due(kills, [], 0.2) == []
    assert due(kills, [], 0.6) == list(kills)
    assert due(kills, [kills[0]], 0.6) == [kills[1]]
