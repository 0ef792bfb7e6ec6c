"""What the stream processor remembers of each asset, so that two runs can be compared."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from tests.faults.harness.observer import Seen

#: Where a prediction lies depends on the transactions around it, not on the windows.
_OF_THE_BROKER = ("predictions_through",)

Memory = Mapping[str, str]


def memories(changelog: Iterable[Seen]) -> dict[bytes, Memory]:
    """Take the latest snapshot of each key of the changelog apart, into the text of each field."""
    latest = {record.key or b"": record.value for record in changelog}
    return {key: memory_of(value) for key, value in latest.items() if value}


def memory_of(snapshot: bytes) -> Memory:
    """Take a snapshot apart, without what depends on the broker."""
    fields: dict[str, Any] = msgspec.msgpack.decode(snapshot, strict=False)
    return {
        name: repr(_canonical(value))
        for name, value in fields.items()
        if name not in _OF_THE_BROKER
    }


def _canonical(value: Any) -> Any:
    """Put mappings into one order, whatever their keys are."""
    if isinstance(value, dict):
        return sorted(((repr(k), _canonical(v)) for k, v in value.items()), key=lambda p: p[0])
    if isinstance(value, list):
        return [_canonical(item) for item in value]
    return value


def differences(one: Mapping[bytes, Memory], other: Mapping[bytes, Memory]) -> list[str]:
    """Name the assets whose memory differs, and in what, or that are only in one."""
    found = []
    for key in one.keys() | other.keys():
        mine, theirs = one.get(key, {}), other.get(key, {})
        fields = sorted(f for f in mine.keys() | theirs.keys() if mine.get(f) != theirs.get(f))
        if fields:
            name = key.decode(errors="replace").split("\x1f")[-2]
            found.append(f"{name} ({', '.join(fields)})")
    return sorted(found)
