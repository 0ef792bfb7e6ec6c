"""Derives drift alerts and outcomes from windows and predictions.

    accepted windows ─► input tests ─► alerts
                    └─► open forecasts ◄─ predictions
                              └─► outcomes ─► error and skill tests ─► alerts

All state is kept in the memory of the window's asset. A batch gives the same results as its windows
one by one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt
import structlog

from millrace.contracts.clock import event_time, now, to_ms
from millrace.contracts.events.event import Event
from millrace.contracts.events.normalized_window import NormalizedWindow
from millrace.contracts.events.prediction import Prediction
from millrace.contracts.headers import RawHeaders
from millrace.contracts.model_spec import PERSISTENCE
from millrace.contracts.source import Source
from millrace.contracts.topics import Topic
from millrace.contracts.wire.codec import encode, headers_of
from millrace.drift.monitor import Finding, watch_inputs
from millrace.drift.selection import Detectors
from millrace.registry.state import Model, Registry
from millrace.stream_processors.alerts import alert_of
from millrace.stream_processors.metrics import OUTCOMES_JOINED
from millrace.stream_processors.outcomes.forecasts import Truths
from millrace.stream_processors.outcomes.join_task import join_task
from millrace.stream_processors.outcomes.outcome import outcome_of
from millrace.stream_processors.rows import picked
from millrace.stream_processors.state.asset import Asset
from millrace.stream_processors.windows.validation import Block

_log = structlog.get_logger(__name__)
ORIGIN: Final = "/millrace/stream-processor"


class Writer(Protocol):
    """Writes alerts and outcomes, as `transport.outputs.Outputs` does."""

    def write(
        self,
        topic: Topic | str,
        key: bytes | str | None,
        value: bytes,
        headers: RawHeaders,
        partition: int = 0,
    ) -> None:
        """Write a record."""


class DriftMonitor:
    """Feeds detectors and the join; writes alerts and outcomes."""

    def __init__(self, registry: Registry, outputs: Writer, detectors: Detectors) -> None:
        """Take the collaborators.

        Args:
            registry: The models, kept current by its owner.
            outputs: Writes alerts and outcomes.
            detectors: Tests that run on each signal.
        """
        self._registry = registry
        self._outputs = outputs
        self._detectors = detectors

    def windows(
        self,
        block: Block,
        places: Sequence[int],
        assets: Sequence[Asset],
        windows: Sequence[NormalizedWindow],
    ) -> None:
        """Take windows in their order.

        Args:
            block: Windows of one model.
            places: Those of the block that are new.
            assets: Memory of the asset of each of those.
            windows: Each of those as it was stamped.
        """
        found = self._test_inputs(block, places, assets, windows)
        for index in sorted(found):
            window = windows[index]
            self._alert(
                found[index],
                window.asset,
                window.model,
                window.version,
                window.source,
                window.end_ms,
            )
        task = join_task(block.model.spec)
        truths = Truths(task)
        touched: dict[int, tuple[Asset, str]] = {}
        rows = task.rows(picked(block.values, places))
        for asset, window, readings in zip(assets, windows, rows, strict=True):
            book = asset.forecasts
            if len(book.open) >= task.most_open and book.begins_settled:
                truths.make()  # settled forecasts must not be dropped
                self._join(asset, window.asset, block.model.spec.name)
            book.add_window(
                readings,
                window.start_ms,
                window.end_ms,
                window.segment,
                window.source.offset,
                truths,
            )
            touched[id(asset)] = asset, window.asset
        truths.make()
        for asset, name in touched.values():
            self._join(asset, name, block.model.spec.name)

    def prediction(self, asset: Asset, prediction: Prediction) -> None:
        """Take a prediction of an asset's window."""
        asset.forecasts.add_prediction(prediction, asset.windows_through)
        self._join(asset, prediction.asset, prediction.model)

    def _test_inputs(
        self,
        block: Block,
        places: Sequence[int],
        assets: Sequence[Asset],
        windows: Sequence[NormalizedWindow],
    ) -> dict[int, list[Finding]]:
        """Feed each sensor's mean over a window to its tests; findings by window."""
        references = [
            asset.monitor.reference(window.version)
            for asset, window in zip(assets, windows, strict=True)
        ]
        tested = [index for index, version in enumerate(references) if version != PERSISTENCE]
        if not tested:
            return {}
        chosen = [places[index] for index in tested]
        means = picked(block.filled, chosen).mean(axis=1, dtype=np.float64)
        _to_units(means, [references[index] for index in tested], block.model)
        means[~block.present[chosen]] = np.nan
        monitors = {id(assets[index]): assets[index].monitor for index in tested}
        number = {memory: place for place, memory in enumerate(monitors)}
        found: dict[int, list[Finding]] = {}
        for row, finding in watch_inputs(
            list(monitors.values()),
            np.array([number[id(assets[index])] for index in tested]),
            means,
            np.array([windows[index].end_ms for index in tested]),
            block.model.spec.sensors,
            self._detectors,
        ):
            found.setdefault(tested[row], []).append(finding)
        return found

    def _join(self, asset: Asset, name: str, model_name: str) -> None:
        """Write the settled outcomes, and feed their errors to the detectors."""
        for joined in asset.forecasts.take_resolved():
            model = self._registry.models.get(model_name)
            version = model.versions.get(joined.answer.version) if model is not None else None
            if model is None or version is None:
                _log.warning(
                    "no outcome of an unknown version",
                    model=model_name,
                    version=joined.answer.version,
                    partition=joined.answer.partition,
                    offset=joined.answer.offset,
                )
                continue
            units = version.registered.normaliser
            outcome = outcome_of(joined, name, units, model.spec, now())
            if outcome is None:
                continue
            self._publish(outcome, outcome.source.partition)
            OUTCOMES_JOINED.labels(outcome.model).inc()
            end_ms = to_ms(outcome.interval_end)
            findings = asset.monitor.outcome(
                outcome.epoch,
                outcome.version,
                outcome.error,
                outcome.skill,
                end_ms,
                self._detectors,
            )
            self._alert(
                findings, outcome.asset, outcome.model, outcome.version, outcome.source, end_ms
            )

    def _alert(
        self,
        findings: Sequence[Finding],
        asset: str,
        model: str,
        version: int,
        source: Source,
        time_ms: int,
    ) -> None:
        for finding in findings:
            alert = alert_of(
                finding, asset=asset, model=model, version=version, source=source, time_ms=time_ms
            )
            self._publish(alert, source.partition)
            _log.info("drift", what=alert.detail, at=str(event_time(time_ms)))

    def _publish(self, event: Event, partition: int) -> None:
        headers = headers_of(event, ORIGIN, now())
        self._outputs.write(event.TOPIC, event.key, encode(event), headers, partition)


def _to_units(means: npt.NDArray[np.float64], versions: Sequence[int], model: Model) -> None:
    """Convert means, shape (n, sensors), from physical units to those of one version each.

    Means of a version that the registry does not know, or refuses since, become NaN, which
    detectors skip.
    """
    each = np.array(versions)
    for version in set(versions):
        rows = each == version
        known = model.versions.get(version)
        if known is None:
            means[rows] = np.nan
            continue
        units = known.registered.normaliser
        means[rows] = (means[rows] - units.mean) / units.scale
