"""What the stream processor remembers of each asset, as digests that two runs can compare."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256
from typing import Any

import msgspec

from tests.faults.observer import Seen

#: Where a prediction lies depends on the transactions around it, not on the windows.
_OF_THE_BROKER = ("predictions_through",)


def digests(changelog: Iterable[Seen]) -> dict[bytes, str]:
    """Digest the latest snapshot of each key of the changelog."""
    latest = {record.key or b"": record.value for record in changelog}
    return {key: digest(value) for key, value in latest.items() if value}


def digest(snapshot: bytes) -> str:
    """Digest a snapshot, without what depends on the broker."""
    memory: dict[str, Any] = msgspec.msgpack.decode(snapshot, strict=False)
    for name in _OF_THE_BROKER:
        memory.pop(name, None)
    return sha256(repr(_canonical(memory)).encode()).hexdigest()


def _canonical(value: Any) -> Any:
    """Put mappings into one order, whatever their keys are."""
    if isinstance(value, dict):
        return sorted(((repr(k), _canonical(v)) for k, v in value.items()), key=lambda p: p[0])
    if isinstance(value, list):
        return [_canonical(item) for item in value]
    return value


def differences(one: dict[bytes, str], other: dict[bytes, str]) -> list[str]:
    """Name the assets whose memory differs or is only in one."""
    return sorted(
        key.decode(errors="replace").split("\x1f")[-2]
        for key in one.keys() | other.keys()
        if one.get(key) != other.get(key)
    )
