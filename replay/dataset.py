"""Windows of a recording as the records of a replay."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from hashlib import sha256

from millrace.contracts.events.event import MSGPACK
from millrace.contracts.events.window import SensorWindow, encode_window
from millrace.contracts.headers import CONTENT_TYPE, RawHeaders
from millrace.infra.object_store import ObjectStore
from millrace.registry.state import Registry
from millrace.replay.pipeline import BLOCK, Pipeline
from millrace.replay.plan import Part, Plan
from millrace.replay.records import PastRecord
from millrace.replay.versions import LoadedVersions, Named
from millrace.stream_processors.codec.packing import packed_headers

_HEADERS: RawHeaders = [(CONTENT_TYPE, MSGPACK.encode())]
_PACKED = packed_headers(_HEADERS)


class DatasetWindows:
    """An `Origin`: a window's position is its place in the recording, by the time of its end."""

    def __init__(
        self, windows: Sequence[SensorWindow], registry: Registry, store: ObjectStore
    ) -> None:
        """Encode the windows.

        Args:
            windows: The windows, as `producers.windows.windows` cuts them.
            registry: All models.
            store: Where artefacts are.
        """
        self._windows = windows
        self._registry = registry
        self._versions = LoadedVersions(store)

    def digest(self) -> str:
        """SHA-256 of all windows as they are encoded."""
        digest = sha256()
        for window in self._windows:
            digest.update(encode_window(window))
        return digest.hexdigest()

    def blocks(self, part: Part, most: int = BLOCK) -> Iterator[list[PastRecord]]:
        """See `Origin`."""
        for start in range(part.first, part.until, most):
            yield [
                PastRecord(
                    position,
                    window.end_ms,
                    window.asset.encode(),
                    encode_window(window),
                    _PACKED,
                    _HEADERS,
                )
                for position, window in enumerate(self._windows[start : start + most], start)
            ]

    def pipeline(self, plan: Plan, part: Part) -> Pipeline:
        """See `Origin`."""
        return Pipeline(
            part.partition,
            self._registry,
            Named(plan.choices),
            partial(self._versions.get, self._registry),
            topic=plan.id,
            models=[choice.model for choice in plan.choices],
        )

    def close(self) -> None:
        """See `Origin`: nothing is open."""
