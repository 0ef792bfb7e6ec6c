"""Deterministic ids: the same fact always gets the same name.

A window's id is derived from its asset, sensor set, start and segment, if it has one, so a device
that sends it twice sends the same id. The id of an event that is derived from a window is made of
the source record's topic, partition and offset, so processing a record twice gives the same id
twice.

>>> window_id("WELL-00002", "9c1f", 1_486_641_600_000, "")
'w-784bdde838944076e7d21952'
"""

from collections.abc import Iterable
from functools import lru_cache
from hashlib import blake2b

_DIGEST_BYTES = 12


def digest_of(*parts: str | int) -> str:
    """Hash parts to 24 hexadecimal characters; unambiguous unless a part contains U+001F."""
    joined = "\x1f".join(map(str, parts))
    return blake2b(joined.encode(), digest_size=_DIGEST_BYTES).hexdigest()


def window_id(asset: str, sensor_set: str, start_ms: int, segment: str) -> str:
    """Name a window by its asset, sensor set, start (milliseconds, UTC) and segment."""
    (name,) = window_ids([asset], sensor_set, [start_ms], [segment])
    return name


def window_ids(
    assets: Iterable[str], sensor_set: str, starts: Iterable[int], segments: Iterable[str]
) -> list[str]:
    """Name windows of one sensor set, see `window_id`; this is done for every window."""
    known: dict[str, blake2b] = {}
    names = []
    for asset, start_ms, segment in zip(assets, starts, segments, strict=True):
        begun = known.get(asset)
        if begun is None:
            begun = known[asset] = _begun(asset, sensor_set)
        digest = begun.copy()
        digest.update(b"%d\x1f%b" % (start_ms, segment.encode()) if segment else b"%d" % start_ms)
        names.append("w-" + digest.hexdigest())
    return names


@lru_cache(maxsize=4096)
def _begun(*parts: str) -> blake2b:
    """Begin `digest_of` for these parts and one more part that is added later."""
    return blake2b("".join(f"{part}\x1f" for part in parts).encode(), digest_size=_DIGEST_BYTES)


def derived_id(kind: str, topic: str, partition: int, offset: int, *more: str | int) -> str:
    """Name an event by the source record that it was derived from."""
    return f"{kind}-" + digest_of(topic, partition, offset, *more)
