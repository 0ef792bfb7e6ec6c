"""The stream processor of an undisturbed run: the real one, which is told the ledger as it grows.

A stream processor reads the ledger when it starts or takes partitions, since nobody else sets
fences meanwhile. In an undisturbed run somebody else does, namely the disturbed run, whose
stamps this one has to give: so it reads the ledger again when an epoch has begun, before it
would set a fence itself.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Awaitable, Callable, Mapping
from importlib import import_module
from typing import Any

from millrace.contracts.clock import now
from millrace.infra.kafka.clients import reader, watermarks
from millrace.infra.settings import Settings


def main() -> int:
    """Run a stream processor that keeps up with the ledger."""
    processor: Any = import_module("millrace.stream_processors.processor").Processor
    windows: Callable[..., Awaitable[None]] = processor.windows
    fence: Callable[..., Awaitable[None]] = processor._fence

    # Asked over a connection of its own, on which no fetch waits for events to come.
    asker = functools.cache(lambda: reader(Settings.read()))
    feed = vars(import_module("millrace.infra.kafka.model_feed"))
    feed["watermarks"] = lambda _, place: watermarks(asker(), place)
    heeded: dict[str, int] = {}

    def serving(processor: Any) -> dict[str, int]:
        """The latest epoch of each model, as far as the registry has come."""
        models = processor._feed.registry.models.values()
        return {model.spec.name: model.serving.epoch for model in models if model.serving}

    async def told_windows(self: Any, found: Any) -> None:
        self._feed.catch_up()
        if serving(self) != heeded:  # an epoch comes into the ledger first
            self._learn_fences()
            heeded.update(serving(self))
        await windows(self, found)

    async def told_fence(self: Any, nexts: Mapping[int, int]) -> None:
        models = list(self._feed.registry.models.values())
        if any(self._stamps.due(models, *place, now()) for place in nexts.items()):
            self._learn_fences()
        await fence(self, nexts)

    processor.windows, processor._fence = told_windows, told_fence
    status: int = import_module("millrace.stream_processors.__main__").main()
    return status


if __name__ == "__main__":
    sys.exit(main())
