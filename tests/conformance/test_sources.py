"""Every live source: readings of its spec, in order, until it is asked to end; then again.

A source of your own is added to `SOURCES`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from itertools import islice

import msgspec
import numpy as np
import pytest

from millrace.contracts.errors import MillraceError, ServerError
from millrace.contracts.events.window import SensorWindow
from millrace.contracts.names import name_problem
from millrace.producers.live import END_SECONDS, MOST_WAITING, live_windows
from millrace.producers.sources.host import HostSource
from millrace.producers.sources.source import Reading, Source
from millrace.producers.windows import LiveWindows
from tests.conformance.pages import example

TANKS = example("sources.md").TankSource


def host() -> Source:
    """This machine, with windows so short that a late reading does not matter."""
    source = HostSource("me", 0.1)
    source.spec = msgspec.structs.replace(source.spec, window=3, stride=2)  # type: ignore[misc]
    return source


SOURCES: list[Callable[[], Source]] = [
    host,
    lambda: TANKS(lambda tank: f"{tank[-1]}.5;"),
]
each = pytest.mark.parametrize("make", SOURCES, ids=lambda make: make().name)
READINGS = 12
IDLE = threading.Event()


def read(source: Source, count: int) -> list[Reading]:
    """Some readings; the source is asked to end with the last of them, and does."""
    stop, found = threading.Event(), []
    readings = source.readings(stop)
    for reading in readings:
        found.append(reading)
        if len(found) >= count:
            stop.set()
            break
    began = time.monotonic()
    rest = list(readings)
    assert time.monotonic() - began < END_SECONDS
    return [*found, *rest]


@each
def test_readings_are_those_of_its_spec(make: Callable[[], Source]) -> None:
    """One number per sensor; names that may stand in a record; times in order per asset."""
    source = make()
    found = read(source, READINGS)
    assert len(found) >= READINGS
    assert {len(reading.values) for reading in found} == {len(source.spec.sensors)}
    assert not any(np.isinf(reading.values).any() for reading in found)
    for asset in {reading.asset for reading in found}:
        assert name_problem(asset) is None
        times = [reading.time_ms for reading in found if reading.asset == asset]
        assert times == sorted(set(times))


@each
def test_it_can_be_started_again(make: Callable[[], Source]) -> None:
    """A source holds nothing that its end has closed for good."""
    source = make()
    assert read(source, 3)
    assert read(source, 3)


@each
def test_its_windows_are_those_of_its_readings(make: Callable[[], Source]) -> None:
    """On a thread of its own nothing is lost, doubled or mixed: windows are full, per asset."""
    source = make()
    found = taken(source, 4)
    assert len(found) >= 4
    assert {window.values.shape for window in found} == {
        (source.spec.window, len(source.spec.sensors))
    }
    assert {window.sensor_set for window in found} == {source.spec.sensor_set}
    ids = [window.id for window in found]
    assert len(set(ids)) == len(ids)


def taken(source: Source, count: int) -> list[SensorWindow]:
    """The first windows of a source, which is then asked to end."""
    coming = live_windows(source, lambda: False)
    found: list[SensorWindow] = []
    while len(found) < count:
        window = next(coming)
        if window is None:
            IDLE.wait(0.01)  # where the send loop serves delivery
        else:
            found.append(window)
    coming.close()
    return found


class Scripted:
    """A source of given readings, which fails or blocks at their end."""

    title, name, spec = "the script", "script", TANKS.spec

    def __init__(self, readings: list[Reading], error: Exception | None = None) -> None:
        self._readings, self._error = readings, error

    def readings(self, stop: threading.Event) -> Iterator[Reading]:
        """Yield them."""
        yield from self._readings
        if self._error is not None:
            raise self._error
        stop.wait()


def script(assets: tuple[str, ...] = ("a", "b"), count: int = 10) -> list[Reading]:
    """Interleaved readings of some assets, told apart by their values."""
    return [
        Reading(asset, 50 * step, np.array([step, number], np.float64))
        for step in range(count)
        for number, asset in enumerate(assets)
    ]


def test_assets_are_cut_apart() -> None:
    """Windows of interleaved assets are those of each asset alone, in their order."""
    readings = script()
    expected = []
    cutters = {asset: LiveWindows(asset, TANKS.spec) for asset in "ab"}
    for reading in readings:
        window = cutters[reading.asset].add(reading.time_ms, reading.values)
        expected += [] if window is None else [(window.asset, window.values.tolist())]
    found = [
        (window.asset, window.values.tolist())
        for window in taken(Scripted(readings), len(expected))
    ]
    assert expected
    assert found == expected


def test_a_source_may_use_one_array_for_all_readings() -> None:
    """Values are copied when a reading is taken, of whatever type they are."""

    class Reusing(Scripted):
        def readings(self, stop: threading.Event) -> Iterator[Reading]:  # noqa: ARG002  (ends itself)
            buffer = np.zeros(2, np.float32)
            for step in range(4):
                buffer[:] = step
                yield Reading("a", 50 * step, buffer)

    coming = live_windows(Reusing([]), lambda: False)
    (window,) = [window for window in coming if window is not None]
    assert window.values[:, 0].tolist() == [0, 1, 2, 3]


def test_another_segment_starts_a_run() -> None:
    """No window has readings of two segments."""
    readings = [r._replace(segment="one" if r.time_ms < 300 else "two") for r in script()]
    segments = [(window.asset, window.segment) for window in taken(Scripted(readings), 4)]
    assert segments == [("a", "one"), ("b", "one"), ("a", "one"), ("b", "one")]


def test_a_failure_comes_after_the_windows_before_it() -> None:
    """What was completed is sent; then the run ends with the source's own error."""
    coming = live_windows(Scripted(script(), ServerError("the tank is on fire")), lambda: False)
    before = list(islice((window for window in coming if window is not None), 8))
    assert len(before) == 8
    with pytest.raises(ServerError, match="the tank is on fire"):
        list(coming)


def test_what_was_measured_until_the_end_still_comes() -> None:
    """A source that is asked to end while delivery is slow loses no window that it completed."""
    readings = script(("a",), 4 * MOST_WAITING)
    cutter = LiveWindows("a", TANKS.spec)
    whole = [w.id for r in readings if (w := cutter.add(r.time_ms, r.values)) is not None]
    asked = [False]
    coming = live_windows(Scripted(readings), lambda: asked[0])
    found = [next(window for window in coming if window is not None).id]
    asked[0] = True
    found += [window.id for window in coming if window is not None]
    assert len(whole) > MOST_WAITING
    assert found == whole


def test_a_source_that_does_not_end_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """A source that ignores its end does not hold the edge for ever."""
    monkeypatch.setattr("millrace.producers.live.END_SECONDS", 0.2)
    deaf = Scripted([])
    ends = threading.Event()
    monkeypatch.setattr(deaf, "readings", lambda _: iter(lambda: ends.wait(60), True))
    with pytest.raises(MillraceError, match="the script did not end within"):
        list(live_windows(deaf, lambda: True))
    ends.set()


@pytest.mark.parametrize(
    ("reading", "said"),
    [
        (Reading("a", 0, np.zeros(3)), "a reading of a has 3 values; tanks has 2 sensors"),
        (Reading("a\x1f", 0, np.zeros(2)), "the asset name"),
        (Reading("", 0, np.zeros(2)), "the asset name"),
        (Reading("a", 0, np.zeros(2), "s" * 5000), "the segment name"),
    ],
)
def test_a_wrong_reading_is_one_clear_error(reading: Reading, said: str) -> None:
    """It names the source and what is wrong."""
    with pytest.raises(Exception, match=r"^the script: ") as caught:
        list(live_windows(Scripted([reading]), lambda: False))
    assert said in str(caught.value)


def test_a_device_that_answers_nonsense_is_named() -> None:
    """The page's own source says which tank, and what to look at."""
    with pytest.raises(ServerError, match="tank-1 answered 'ERR 7'"):
        list(live_windows(TANKS(lambda _: "ERR 7"), lambda: False))
