"""Detectors by settings: which run, and what is said of a setting that is wrong."""

import numpy as np
import pytest

from millrace.contracts.errors import SettingsError
from millrace.drift.monitor import AssetMonitor, MonitorState
from millrace.drift.selection import Detectors, detectors, key_of


def chosen(*, inputs: str = "", error: str = "", skill: str = "") -> Detectors:
    """Detectors of some signals; none on the others."""
    return detectors(inputs=inputs, error=error, skill=skill)


def found(running: Detectors, errors: list[float]) -> list[tuple[int, str, str]]:
    """What is found in a stream of errors with neutral skill: index, signal, detector."""
    monitor = AssetMonitor()
    return [
        (index, finding.signal, finding.detector)
        for index, error in enumerate(errors)
        for finding in monitor.outcome(2, 1, error, 0.0, index, running)
    ]


def test_a_detector_of_river_runs_by_its_name_alone() -> None:
    """KSWIN and HDDMW find a rise of the error that a patient Page-Hinkley does not."""
    quiet = np.random.default_rng(7).normal(0.5, 0.05, 600)
    quiet[300:] += 0.1
    running = chosen(error="PageHinkley(threshold=1000), KSWIN(alpha=0.0001), HDDMW(above=0.55)")
    names = {name for index, signal, name in found(running, quiet.tolist()) if index >= 300}
    assert names == {"KSWIN", "HDDMW"}


def test_without_settings_each_signal_has_its_own() -> None:
    """The defaults are those of the policy; river's name of the test is the same."""
    running = chosen(inputs="PageHinkley", error="PageHinkley", skill="PageHinkley")
    assert [detector.spec for detector in (*running.input, *running.error, *running.skill)] == [
        "PageHinkley(delta=0.25, min_instances=30, mode='both', threshold=30.0)",
        "PageHinkley(delta=0.05, min_instances=30, mode='up', threshold=5.0)",
        "PageHinkley(delta=0.05, min_instances=30, mode='up', threshold=10.0)",
    ]


def test_each_detector_has_a_memory_of_its_own() -> None:
    """A snapshot keeps what each remembers apart, by name and settings."""
    running = chosen(error="PageHinkley(threshold=2), KSWIN(window_size=70)")
    monitor = AssetMonitor()
    monitor.outcome(2, 1, 0.5, 0.0, 0, running)
    assert set(monitor.state().memories) == {
        key_of("error", detector.spec) for detector in running.error
    }


def test_changed_settings_start_afresh_and_others_go_on() -> None:
    """What a detector of other settings remembered is not taken over, nor carried along."""
    before = chosen(error="PageHinkley, KSWIN(window_size=80)")
    monitor = AssetMonitor()
    for index in range(40):
        monitor.outcome(2, 1, 0.5, 0.0, index, before)
    after = chosen(error="PageHinkley, KSWIN(window_size=90)")
    restored = AssetMonitor(monitor.state())
    restored.outcome(2, 1, 0.5, 0.0, 40, after)
    monitor.outcome(2, 1, 0.5, 0.0, 40, before)
    page_hinkley, kswin = (key_of("error", detector.spec) for detector in after.error)
    state = restored.state().memories
    assert set(state) == {page_hinkley, kswin}
    assert state[page_hinkley] == monitor.state().memories[page_hinkley]
    alone = AssetMonitor(MonitorState(epoch=2))
    alone.outcome(2, 1, 0.5, 0.0, 40, chosen(error="KSWIN(window_size=90)"))
    assert state[kswin] == alone.state().memories[kswin]


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("Kswin", "there is no detector 'Kswin'; there are ADWIN, DDM"),
        ("KSWIN(windowsize=9)", "KSWIN has no setting windowsize; it has alpha, window_size"),
        ("KSWIN(alpha=7)", "Alpha must be between 0 and 1"),
        ("KSWIN(above=1)", "KSWIN has no setting above"),
        ("HDDMW", "say which values are yes, as in HDDMW(above=0.5)"),
        ("HDDMW(above=True, below=1)", "say which values are yes"),
        ("PageHinkley(threshold=0)", "PageHinkley: Expected `float` > 0.0"),
        ("PageHinkley(threshhold=8)", "PageHinkley takes delta, threshold, min_instances"),
        ("PageHinkley(mode=[])", "mode 'up' or 'both'"),
        ("ADWIN(clock=12)", "clock must be a power of two; got 12"),
        ("ADWIN(max_buckets=9)", "ADWIN takes delta, clock, min_window_length, grace_period"),
        ("PageHinkley, PageHinkley(threshold=9)", "PageHinkley is named twice"),
        ("KSWIN(window_size=50)", "KSWIN cannot be used with these settings: Sample larger"),
        ("FHDDM(below=0, sliding_window_size=0)", "FHDDM cannot be used with these settings"),
        ("HDDMA(above=1, drift_confidence=0)", "HDDMA cannot be used with these settings"),
        ("DDM(above=1, warm_start='x')", "DDM cannot be used with these settings"),
        ("PageHinkley(threshold=5, threshold=50)", "is no list of detectors"),
        ("KSWIN(alpha={[1]: 2})", "is no list of detectors"),
        ("page-hinkley", "is no list of detectors"),
        ("PageHinkley(", "is no list of detectors"),
        ("PageHinkley(*[1])", "is no list of detectors"),
        ("PageHinkley(**{})", "is no list of detectors"),
        ("PageHinkley(delta=open)", "is no list of detectors"),
        ("open('x')", "is no list of detectors"),
    ],
)
def test_a_wrong_setting_is_one_clear_error(setting: str, said: str) -> None:
    """It names the setting, and says what there is."""
    with pytest.raises(SettingsError) as caught:
        chosen(error=setting)
    assert str(caught.value).startswith("MILLRACE_ERROR_DETECTORS: ")
    assert said in str(caught.value)


def test_the_shortest_window_of_our_own_adwin_is_no_error() -> None:
    """Every value is checked from the first on."""
    running = chosen(error="ADWIN(clock=1, grace_period=0)")
    assert found(running, [0.5] * 50 + [5.0] * 50)


@pytest.mark.parametrize("detector", ["HDDMW(above=0.8)", "DDM(above=0.8)", "HDDMA(above=0.8)"])
def test_a_rise_across_the_bound_is_a_rise_whatever_came_before(detector: str) -> None:
    """An early stretch of large errors does not turn the direction round."""
    monitor, running = AssetMonitor(), chosen(error=detector)
    errors = [5.0] * 20 + [0.5] * 180 + [0.9] * 60
    alarms = [
        (index, finding.alarm)
        for index, error in enumerate(errors)
        for finding in monitor.outcome(2, 1, error, 0.0, index, running)
    ]
    late = [alarm for index, alarm in alarms if index >= 200]
    assert late
    assert late[0].rising
