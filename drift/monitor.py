"""One asset's detectors: tests per sensor on inputs, one on error, one on skill.

The tests on error and skill belong to the serving epoch: another version has another normal
error, so a swap starts them afresh. The machine itself does not change with a swap, so the
tests on inputs go on, in the units of one reference version: the first trained one that the
asset met. Version 0, persistence, has learned nothing to compare with, so nothing is tested
while it is all that there is.

Inputs come by the batch: `watch_inputs` takes the windows of many assets at once. One call
with a batch finds and remembers exactly what a call for each window would.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from millrace.contracts.events.drift_alert import Signal
from millrace.contracts.model_spec import PERSISTENCE
from millrace.drift.detectors import adwin_lanes, page_hinkley_lanes
from millrace.drift.detectors.lanes import Floats, Laid, lay
from millrace.drift.detectors.page_hinkley import Alarm, PageHinkley, PageHinkleyState
from millrace.drift.policy import INPUT, SETTINGS

Loss = Literal["error", "skill"]

#: Detectors that run on inputs unless others are asked for.
DEFAULT: Final = frozenset({"page-hinkley"})
#: How arrays are kept in a snapshot.
_KEPT: Final = np.dtype("<f8")


class Finding(msgspec.Struct, frozen=True):
    """An alarm and the signal that raised it."""

    signal: Signal
    sensor: str | None
    detector: str
    alarm: Alarm


class MonitorState(msgspec.Struct):
    """Snapshot of a monitor.

    Attributes:
        epoch: Serving epoch that the tests on error and skill belong to.
        reference: Version in whose units inputs are tested; 0 while there is none.
        tests: State of the tests on ``error`` and ``skill``.
        page_hinkley: State of the Page-Hinkley tests on inputs: little-endian float64
            (sensors, `page_hinkley_lanes.FIELDS`); empty if there are none.
        adwin: State of the ADWIN tests on inputs: little-endian float64
            (sensors, `adwin_lanes.FIELDS`); empty if there are none.
    """

    epoch: int = 0
    reference: int = PERSISTENCE
    tests: dict[Loss, PageHinkleyState] = {}
    page_hinkley: bytes = b""
    adwin: bytes = b""


class AssetMonitor:
    """An asset's tests. Time is event time in milliseconds."""

    __slots__ = ("_adwin", "_epoch", "_losses", "_page_hinkley", "_reference")

    def __init__(self, state: MonitorState | None = None) -> None:
        """Start afresh, or where a snapshot left off."""
        state = state or MonitorState()
        self._epoch = state.epoch
        self._reference = state.reference
        self._losses = {
            signal: PageHinkley(SETTINGS[signal], kept) for signal, kept in state.tests.items()
        }
        self._page_hinkley = _unpack(state.page_hinkley, page_hinkley_lanes.FIELDS)
        self._adwin = _unpack(state.adwin, adwin_lanes.FIELDS)

    def reference(self, version: int) -> int:
        """Tell in which version's units inputs are tested.

        Args:
            version: Version that serves; the first trained one becomes the reference.

        Returns:
            The reference version; 0 while there is none, and then nothing is tested.
        """
        if self._reference == PERSISTENCE:
            self._reference = version
        return self._reference

    def inputs(
        self,
        sensors: Sequence[str],
        means: Sequence[float | None],
        time: int,
        detectors: frozenset[str] = DEFAULT,
    ) -> list[Finding]:
        """Take one window's mean per sensor: `watch_inputs` with a single row.

        Args:
            sensors: Sensor names.
            means: Mean of each sensor in the units of the reference version; None where it
                is absent.
            time: Event time of the window's end.
            detectors: Which detectors run.
        """
        row = np.array([means], np.float64)
        found = watch_inputs(
            [self], np.zeros(1, np.int64), row, np.array([time]), tuple(sensors), detectors
        )
        return [finding for _, finding in found]

    def outcome(
        self, epoch: int, version: int, error: float, skill: float, time: int
    ) -> list[Finding]:
        """Take a forecast's error and skill.

        Args:
            epoch: Serving epoch of the forecast.
            version: Version that made the forecast.
            error: Mean absolute error in standard deviations.
            skill: (error - persistence) / (error + persistence).
            time: Event time of the end of the forecast's interval.
        """
        if not self._follows(epoch, version):
            return []
        signals: tuple[tuple[Loss, float], ...] = (("error", error), ("skill", skill))
        findings = []
        for signal, value in signals:
            test = self._losses.get(signal)
            if test is None:
                test = self._losses[signal] = PageHinkley(SETTINGS[signal])
            alarm = test.update(value, time)
            if alarm is not None:
                findings.append(Finding(signal, None, test.name, alarm))
        return findings

    def state(self) -> MonitorState:
        """Take a snapshot."""
        return MonitorState(
            self._epoch,
            self._reference,
            {signal: test.state() for signal, test in self._losses.items()},
            _pack(self._page_hinkley),
            _pack(self._adwin),
        )

    def _follows(self, epoch: int, version: int) -> bool:
        """Move on to a newer epoch; late outcomes of an older one are not judged."""
        if epoch > self._epoch:
            self._epoch = epoch
            self._losses.clear()
        return epoch == self._epoch and version != PERSISTENCE

    def input_tests(self, sensors: int, detectors: frozenset[str]) -> tuple[Floats, ...]:
        """Hand out the tests on inputs, to be brought up to date in place.

        Args:
            sensors: Sensors of the model. Tests of another number of sensors start afresh.
            detectors: Which detectors run; what others remembered is forgotten.

        Returns:
            State of each detector that runs, in the order of `_TESTS`, float64 (sensors,
            fields); nothing while there is no reference.
        """
        if self._reference == PERSISTENCE:
            return ()
        kept = self._page_hinkley
        if "page-hinkley" not in detectors:
            self._page_hinkley = None
        elif kept is None or len(kept) != sensors:
            self._page_hinkley = page_hinkley_lanes.fresh(sensors)
        kept = self._adwin
        if "adwin" not in detectors:
            self._adwin = None
        elif kept is None or len(kept) != sensors:
            self._adwin = adwin_lanes.fresh(sensors)
        return tuple(kept for kept in (self._page_hinkley, self._adwin) if kept is not None)


def watch_inputs(
    monitors: Sequence[AssetMonitor],
    assets: NDArray[np.int64],
    means: Floats,
    times: NDArray[np.int64],
    sensors: tuple[str, ...],
    detectors: frozenset[str] = DEFAULT,
) -> list[tuple[int, Finding]]:
    """Take the windows of a batch, all of one model.

    Args:
        monitors: Monitors of the assets, each once; brought up to date.
        assets: Place of each window's asset in `monitors`, int64 (windows,). An asset's
            windows are taken in the order of the rows.
        means: Mean per sensor, in the units of the asset's reference version, float64
            (windows, sensors); NaN where the sensor is absent. Rows of an asset that has no
            reference are passed over.
        times: Event time of each window's end, milliseconds, int64 (windows,).
        sensors: Names of the sensors.
        detectors: Which detectors run, of `DETECTORS`.

    Returns:
        Row and finding of each alarm, by row, then sensor, Page-Hinkley's before ADWIN's.

    Raises:
        ValueError: A detector's name is unknown.
    """
    if not detectors <= DETECTORS:
        raise ValueError(f"detectors must be of {sorted(DETECTORS)}; got {sorted(detectors)}")
    states = [monitor.input_tests(len(sensors), detectors) for monitor in monitors]
    if not all(states):
        is_tested = np.array([bool(tests) for tests in states])
        rows = np.flatnonzero(is_tested[assets])
        assets, means, times = assets[rows], means[rows], times[rows]
        assets = (np.cumsum(is_tested) - 1)[assets]
        states = [tests for tests in states if tests]
    else:
        rows = np.arange(len(assets))
    if not rows.size:
        return []
    laid = lay(means, times, assets, len(states))
    found: list[tuple[int, int, str, Alarm]] = []
    running = [test for name, test in _TESTS.items() if name in detectors]
    for (name, update), arrays in zip(running, zip(*states, strict=True), strict=True):
        lanes = np.concatenate(arrays)
        for place, lane, alarm in update(lanes, laid):
            found.append((int(laid.rows[place]), lane % len(sensors), name, alarm))
        for array, part in zip(arrays, lanes.reshape(len(arrays), len(sensors), -1), strict=True):
            array[...] = part
    found.sort(key=lambda one: one[:2])
    return [
        (int(rows[row]), Finding("input", sensors[sensor], name, alarm))
        for row, sensor, name, alarm in found
    ]


def _test_page_hinkley(states: Floats, laid: Laid) -> list[tuple[int, int, Alarm]]:
    return page_hinkley_lanes.update_laid(states, laid, INPUT)


#: Name in alerts, and update, of each detector on inputs.
_TESTS: Final = {
    "page-hinkley": (page_hinkley_lanes.NAME, _test_page_hinkley),
    "adwin": (adwin_lanes.NAME, adwin_lanes.update_laid),
}
#: Detectors that can run on inputs.
DETECTORS: Final = frozenset(_TESTS)


def _pack(array: Floats | None) -> bytes:
    return b"" if array is None else array.astype(_KEPT, copy=False).tobytes()


def _unpack(kept: bytes, fields: int) -> Floats | None:
    if not kept:
        return None
    return np.frombuffer(kept, _KEPT).astype(np.float64).reshape(-1, fields)
