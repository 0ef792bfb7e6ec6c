"""A process that was told to end is there no longer than it may be."""

from __future__ import annotations

import threading

from infra.last_call import LastCall


def test_it_ends_what_was_told_to_end_and_is_still_there() -> None:
    """Not before it was told to, and not for ever after."""
    stop, ended, said = threading.Event(), threading.Event(), []

    def end(why: str) -> None:
        said.append(why)
        ended.set()

    LastCall(stop, 0.01, end=end)
    assert not ended.wait(0.1)
    stop.set()
    assert ended.wait(5.0)
    assert said == ["was told to end 0.01 s ago, and is still there"]
