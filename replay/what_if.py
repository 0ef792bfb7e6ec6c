"""What other drift detectors would have found: the monitor of the live system on past windows.

    windows ─► pipeline ─► DriftMonitor ◄─ published predictions
                               └─► alerts, which are compared with the published ones

Nothing is published, and no network runs: forecasts are those that were published. Live, detectors
remember what came before; here they begin anew with the first window of the stretch.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

import msgspec

from millrace.contracts.events.drift_alert import DriftAlert
from millrace.contracts.events.normalized_window import NormalizedWindow
from millrace.contracts.headers import RawHeaders
from millrace.contracts.topics import DRIFT_ALERTS, Topic
from millrace.contracts.wire.codec import EventReader
from millrace.drift.selection import Detectors
from millrace.replay.past import Past
from millrace.replay.plan import Part, Plan
from millrace.replay.published import PublishedStream
from millrace.replay.records import wanted_from
from millrace.stream_processors.monitoring import DriftMonitor
from millrace.stream_processors.state.asset import Asset
from millrace.stream_processors.windows.validation import Block

_read_alert = EventReader[DriftAlert](DriftAlert)


class Hypothetical(msgspec.Struct, frozen=True):
    """Alerts of a partition.

    Attributes:
        records: Records of `sensor.windows` that were read.
        found: Alerts that the given detectors raise.
        published: Alerts that were published about the same windows.
    """

    records: int
    found: tuple[DriftAlert, ...]
    published: tuple[DriftAlert, ...]


def what_if(plan: Plan, part: Part, past: Past, detectors: Detectors) -> Iterator[Hypothetical]:
    """Run detectors over a partition's windows and predictions.

    Args:
        plan: A replay as served.
        part: The partition and its positions.
        past: What it reads.
        detectors: Tests that run on each signal.

    Yields:
        What was found so far, block by block.

    Raises:
        DataError: An archived object cannot be read.
        ServerError: A server does not answer.
    """
    collected = _Collected()
    monitor = DriftMonitor(past.registry, collected, detectors)
    assets: defaultdict[tuple[str, str], Asset] = defaultdict(Asset)

    def watch(block: Block, places: Sequence[int], windows: Sequence[NormalizedWindow]) -> None:
        own = [assets[window.model, window.asset] for window in windows]
        monitor.windows(block, places, own, windows)
        for asset, window in zip(own, windows, strict=True):
            asset.windows_through = window.source.offset

    is_wanted = wanted_from(plan, part.first)
    pipeline = past.pipeline(plan, part, watch=watch)
    predictions = PublishedStream(past.published(plan, part))
    published = tuple(past.alerts(plan, part))
    count = 0
    for records in past.blocks(part):
        count += pipeline.run(records, is_wanted).records
        for at, (prediction, _) in predictions.through(records[-1].offset).items():
            known = assets.get((prediction.model, prediction.asset))
            if known is not None and at >= part.first:
                monitor.prediction(known, prediction)
        yield Hypothetical(count, tuple(collected.alerts), published)


class _Collected:
    """Keeps the alerts that a monitor writes."""

    def __init__(self) -> None:
        self.alerts: list[DriftAlert] = []

    def write(
        self,
        topic: Topic | str,
        key: bytes | str | None,  # noqa: ARG002  (the port)
        value: bytes,
        headers: RawHeaders,  # noqa: ARG002
        partition: int = 0,  # noqa: ARG002
    ) -> None:
        """Keep an alert; outcomes are dropped."""
        if topic == DRIFT_ALERTS:
            self.alerts.append(_read_alert(value))
