"""A place in a recording: the last window that was taken from it.

Windows of a recording are sorted by `order_of`, so the place is the sort key of one window, and
stays valid when data are added to the recording.
"""

from bisect import bisect_right
from collections.abc import Sequence

import msgspec

from millrace.contracts.events.window import SensorWindow

Order = tuple[int, str, str]

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Order).decode


def order_of(window: SensorWindow) -> Order:
    """Sort key of a recording's windows: due time, asset, segment."""
    return (window.end_ms, window.asset, window.segment)


def position_of(window: SensorWindow) -> bytes:
    """The place after a window."""
    return _encode(order_of(window))


def after(position: bytes | None, found: Sequence[SensorWindow]) -> Sequence[SensorWindow]:
    """The windows after a place.

    Args:
        position: From `position_of`; None for the beginning.
        found: Windows by `order_of`, ascending.
    """
    if position is None:
        return found
    return found[bisect_right(found, _decode(position), key=order_of) :]
