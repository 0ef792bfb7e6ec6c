"""The simulated fleet is the same every time, and what is said to happen to it does."""

from datetime import UTC, datetime, timedelta

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest

from millrace.contracts.events.window import SensorWindow
from millrace.contracts.missing import fill_missing
from millrace.producers.sources.known_events import ASSETS, CYCLE, NEW_CYCLE, KnownEvent
from millrace.producers.sources.pump_physics import SENSORS
from millrace.producers.sources.simulate import SPEC, Fleet, quiet_windows
from millrace.producers.windows import between, windows

FLEET = Fleet()
FRAME = FLEET.frame()
WINDOWS = windows(FRAME, SPEC)
EVENTS = {event.kind: event for event in FLEET.events}


def readings(asset: str, sensor: str, since: datetime, hours: float) -> npt.NDArray[np.float32]:
    """Readings of a sensor in a stretch."""
    until = since + timedelta(hours=hours)
    rows = FRAME[(FRAME["asset"] == asset) & (FRAME["time"] >= since) & (FRAME["time"] < until)]
    return rows[sensor].to_numpy(np.float32)


def change(event: KnownEvent, asset: str, sensor: str, hours: float = 6) -> float:
    """By how much a sensor's mean changes some hours after an event began."""
    after = np.nanmean(readings(asset, sensor, event.starts + timedelta(hours=4), hours))
    before = np.nanmean(readings(asset, sensor, event.starts - timedelta(hours=hours), hours))
    return float(after - before)


def test_the_same_seed_gives_the_same_readings() -> None:
    """A checker can make the frame again; another seed makes another."""
    pd.testing.assert_frame_equal(Fleet().frame(), FRAME)
    assert not Fleet(seed=1).frame()["flow"].equals(FRAME["flow"])


def test_the_frame_is_as_a_recording_promises() -> None:
    """Sorted, typed, unique per asset and time, all in the story."""
    assert list(FRAME.columns) == ["time", "asset", "segment", *SENSORS]
    assert all(FRAME[sensor].dtype == np.float32 for sensor in SENSORS)
    order = pd.MultiIndex.from_frame(FRAME[["time", "asset"]])
    assert order.is_monotonic_increasing
    assert order.is_unique
    assert FRAME["time"].min() >= pd.Timestamp(FLEET.story.train_from)
    assert FRAME["time"].max() < pd.Timestamp(FLEET.story.replay_until)


def test_size_of_the_story() -> None:
    """About 8,000 windows, half of them after the concept drift; none twice."""
    assert len(WINDOWS) == len({w.id for w in WINDOWS}) == 7_935
    assert len(between(WINDOWS, None, FLEET.story.train_until)) == 2_323
    assert len(between(WINDOWS, EVENTS["concept_drift"].starts, None)) == 4_091


def test_pumps_report_one_after_the_other() -> None:
    """Windows of different pumps do not all end at once."""
    ends = {w.asset: w.end_ms // 60_000 % SPEC.stride for w in WINDOWS[: 2 * len(ASSETS)]}
    assert len(set(ends.values())) == SPEC.stride


def test_something_is_missing() -> None:
    """Single readings, short stretches, and a sensor that one pump does not have."""
    assert 0.002 < FRAME["flow"].isna().mean() < 0.01
    assert FRAME.loc[FRAME["asset"] == "PUMP-12", "vibration"].isna().all()
    expected = len(ASSETS) * FLEET.samples
    assert 0.001 < 1 - len(FRAME) / expected < 0.02


def test_input_shift_is_in_the_instrument_alone() -> None:
    """The recalibrated transmitters read 2 bar more, the current says nothing changed."""
    event = EVENTS["input_shift"]
    assert event.assets == ("PUMP-02", "PUMP-05", "PUMP-09")
    for asset in event.assets:
        before = readings(asset, "discharge_pressure", event.starts - timedelta(hours=2), 2)
        after = readings(asset, "discharge_pressure", event.starts, 2)
        assert np.nanmean(after) - np.nanmean(before) == pytest.approx(2.0, abs=0.5)


def test_covariate_drift_raises_demand_everywhere() -> None:
    """After the ramp all pumps give 12 % more."""
    for asset in ASSETS:
        assert change(EVENTS["covariate_drift"], asset, "flow") == pytest.approx(7.2, abs=3.0)


def test_a_fault_comes_and_goes() -> None:
    """The worn bearing runs hotter than it did, until it is replaced."""
    event = EVENTS["fault"]
    assert event.ends is not None
    worn = readings("PUMP-07", "vibration", event.ends - timedelta(minutes=30), 0.5)
    mended = readings("PUMP-07", "vibration", event.ends, 0.5)
    assert np.nanmean(worn) - np.nanmean(mended) > 0.5


def test_a_defect_is_exactly_where_it_is_said_to_be() -> None:
    """The stuck probe reads 0 from its first to its last sample, and not beside them."""
    event = EVENTS["sensor_defect"]
    assert event.ends is not None
    stuck = FRAME[(FRAME["asset"] == "PUMP-11") & (FRAME["vibration"] == 0)]["time"]
    minute = timedelta(minutes=1)
    assert stuck.min() - event.starts < 3 * minute
    assert event.ends - stuck.max() < 3 * minute


def test_concept_drift_changes_the_cycle() -> None:
    """The duty cycle that dominates the flow is shorter on every pump afterwards."""
    starts = EVENTS["concept_drift"].starts

    def period(asset: str, since: datetime) -> float:
        flow, _ = fill_missing(readings(asset, "flow", since, 10)[:, None])
        power = np.abs(np.fft.rfft(flow[:, 0] - flow.mean())) ** 2
        slow = len(flow) // 100  # wandering demand, not the cycle
        return len(flow) / (slow + int(power[slow:].argmax()))

    for asset in ASSETS:
        assert period(asset, starts - timedelta(hours=12)) == pytest.approx(CYCLE, rel=0.08)
        assert period(asset, starts) == pytest.approx(NEW_CYCLE, rel=0.08)


def test_the_concept_drift_hurts_and_can_be_learned() -> None:
    """A frozen centred ridge model is lost after it, one refitted soon after it is not."""
    x, y, weight, ends = _table(WINDOWS)
    train = ends <= FLEET.story.train_until.timestamp() * 1000
    onset = EVENTS["concept_drift"].starts.timestamp() * 1000
    drifted = ends > onset
    known = np.arange(len(ends)) < np.flatnonzero(drifted)[0] + 500
    frozen, refitted = _ridge(x[train], y[train]), _ridge(x[known], y[known])

    def error(model: npt.NDArray[np.float64], where: npt.NDArray[np.bool_]) -> float:
        return float(
            (np.abs(x[where] @ model - y[where]) * weight[where]).sum() / weight[where].sum()
        )

    nothing = np.zeros_like(frozen)
    quiet = ~train & ~drifted
    assert error(frozen, quiet) <= 0.2 * error(nothing, quiet)
    assert error(frozen, drifted) >= 2 * error(frozen, quiet)
    delay, rest = drifted & known, drifted & ~known
    live = (error(frozen, delay) * delay.sum() + error(refitted, rest) * rest.sum()) / drifted.sum()
    assert live <= 0.3 * error(frozen, drifted)


def test_quiet_windows_repeat_without_an_id_twice() -> None:
    """A steady load goes on for ever, later each lap, and ends when it is told to."""
    until = datetime(2026, 1, 1, tzinfo=UTC)
    total = 25_000
    found = list(quiet_windows(total, until))
    assert len({window.id for window in found}) == total
    ends = [window.end_ms for window in found]
    assert ends == sorted(ends)
    assert ends[-1] <= until.timestamp() * 1000
    assert {window.sensor_set for window in found} == {SPEC.sensor_set}


def test_the_readings_are_pinned() -> None:
    """What is documented about this story holds for these very readings."""
    means = FRAME[list(SENSORS)].mean().tolist()
    assert means == pytest.approx([63.969, 6.942, 60.969, 63.369, 1.803], abs=1e-3)


def _table(
    found: list[SensorWindow],
) -> tuple[npt.NDArray[np.float64], ...]:
    """Centred windows and the means that follow them, in units of the training stretch."""
    training = FRAME[FRAME["time"] < pd.Timestamp(FLEET.story.train_until)][list(SENSORS)]
    mean, scale = training.mean().to_numpy(), training.std().to_numpy()
    measured = {
        asset: dict(zip(rows["time"].astype("int64"), rows[list(SENSORS)].to_numpy(), strict=True))
        for asset, rows in FRAME.groupby("asset")
    }
    x: list[list[float]] = []
    y, weight, ends = [], [], []
    for window in found:
        steps = [window.end_ms + i * 60_000 for i in range(SPEC.horizon)]
        later = measured[window.asset]
        if not all(step in later for step in steps):
            continue
        filled, present = fill_missing(window.values)
        normal = (filled - mean) / scale * present
        follows, there = fill_missing(np.array([later[step] for step in steps], np.float32))
        x.append([*(normal - normal[-1]).ravel(), 1.0])
        truth = (follows.mean(axis=0) - mean) / scale - normal[-1]
        weight.append(present & there)
        y.append(np.where(weight[-1], truth, 0.0))
        ends.append(window.end_ms)
    return np.array(x), np.array(y), np.array(weight), np.array(ends)


def _ridge(x: npt.NDArray[np.float64], y: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.asarray(np.linalg.solve(x.T @ x + np.eye(x.shape[1]), x.T @ y), np.float64)
