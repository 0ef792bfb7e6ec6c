"""river's Page-Hinkley test, with evidence, and with state that can be snapshot.

The test sums the deviations of values above (or below) the running mean, minus a tolerance; it
raises an alarm when the sum exceeds its minimum by more than a threshold.

>>> test = PageHinkley(PageHinkleySettings(delta=0.1, threshold=5.0, two_sided=True))
>>> values = [0.0] * 40 + [1.0] * 10
>>> alarms = [(i, test.update(x, i)) for i, x in enumerate(values)]
>>> [(i, alarm.rising, alarm.evidence_from) for i, alarm in alarms if alarm]
[(46, True, 39)]

Reference: E. S. Page, Continuous Inspection Schemes, Biometrika 41 (1954).
"""

from __future__ import annotations

import math
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from typing import Annotated, Any, Final, cast

import msgspec
import river

from millrace.drift.detectors.alarm import LIMIT, Alarm
from millrace.drift.detectors.base import Detector, spec_of

NAME: Final = "PageHinkley"


def _river_test() -> Any:
    """River's test, from its own file.

    Its package imports scipy.stats for other tests: a second of CPU time at each start of each
    service.
    """
    name = "river.drift.page_hinkley"
    (folder,) = river.__path__
    loader = SourceFileLoader(name, str(Path(folder, "drift", "page_hinkley.py")))
    module = module_from_spec(cast(Any, spec_from_loader(name, loader)))
    loader.exec_module(module)
    return module.PageHinkley


RiverPageHinkley: Final = _river_test()


class PageHinkleySettings(msgspec.Struct, frozen=True):
    """Sensitivity of a test.

    Attributes:
        delta: Tolerated deviation from the mean, in the signal's units.
        threshold: Sum of deviations that raises an alarm.
        min_values: Number of values before an alarm is possible.
        two_sided: Whether a fall raises an alarm as well.
    """

    delta: Annotated[float, msgspec.Meta(ge=0)]
    threshold: Annotated[float, msgspec.Meta(gt=0)]
    min_values: Annotated[int, msgspec.Meta(ge=1)] = 30
    two_sided: bool = False

    @property
    def spec(self) -> str:
        """Test and settings, in river's names."""
        return spec_of(
            NAME,
            {
                "delta": self.delta,
                "threshold": self.threshold,
                "min_instances": self.min_values,
                "mode": "both" if self.two_sided else "up",
            },
        )


class PageHinkleyState(msgspec.Struct):
    """A test's state as plain numbers.

    Attributes:
        n: Values since the last alarm.
        mean: Their mean.
        rise: Sum of deviations upwards.
        rise_minimum: Its minimum.
        fall: Sum of deviations downwards.
        fall_maximum: Its maximum.
        rise_from: Time at which the minimum was reached.
        fall_from: Time at which the maximum was reached.
    """

    n: float = 0.0
    mean: float = 0.0
    rise: float = 0.0
    rise_minimum: float = math.inf
    fall: float = 0.0
    fall_maximum: float = -1.0
    rise_from: int = 0
    fall_from: int = 0


class PageHinkley:
    """One test on one signal."""

    __slots__ = ("_fall_from", "_rise_from", "_settings", "_test")

    def __init__(
        self, settings: PageHinkleySettings, state: PageHinkleyState | None = None
    ) -> None:
        """Start with initial state, or from a snapshot."""
        self._settings = settings
        self._test = RiverPageHinkley(
            min_instances=settings.min_values,
            delta=settings.delta,
            threshold=settings.threshold,
            mode="both" if settings.two_sided else "up",
        )
        self._rise_from = self._fall_from = 0
        if state is not None:
            self._restore(state)

    def update(self, value: float, time: int) -> Alarm | None:
        """Process one value.

        Args:
            value: The signal's value; skipped if it is not finite.
            time: Its event time.

        Returns:
            The alarm, if this value raised one. The test is then reset.
        """
        if not math.isfinite(value):
            return None
        test = self._numbers
        minimum, maximum = test._min_increase, test._max_decrease
        test.update(max(-LIMIT, min(LIMIT, value)))
        if test._min_increase != minimum:
            self._rise_from = time
        if test._max_decrease != maximum:
            self._fall_from = time
        if not test.drift_detected:
            return None
        rise = test._sum_increase - test._min_increase
        fall = test._max_decrease - test._sum_decrease
        rising = rise > self._settings.threshold
        alarm = Alarm(
            statistic=rise if rising else fall,
            threshold=self._settings.threshold,
            rising=rising,
            evidence_from=self._rise_from if rising else self._fall_from,
            samples=int(test._x_mean.n),
        )
        test._reset()
        return alarm

    def state(self) -> PageHinkleyState:
        """Take a snapshot."""
        test = self._numbers
        return PageHinkleyState(
            n=test._x_mean.n,
            mean=test._x_mean.get(),
            rise=test._sum_increase,
            rise_minimum=test._min_increase,
            fall=test._sum_decrease,
            fall_maximum=float(test._max_decrease),
            rise_from=self._rise_from,
            fall_from=self._fall_from,
        )

    def _restore(self, state: PageHinkleyState) -> None:
        test = self._numbers
        test._x_mean.n, test._x_mean._mean = state.n, state.mean
        test._sum_increase, test._min_increase = state.rise, state.rise_minimum
        test._sum_decrease, test._max_decrease = state.fall, state.fall_maximum
        self._rise_from, self._fall_from = state.rise_from, state.fall_from

    @property
    def _numbers(self) -> Any:
        """River's object that holds the numbers; river has no snapshots."""
        return cast(Any, self._test)


class PageHinkleyMemory:
    """One test for each series."""

    __slots__ = ("tests",)

    def __init__(self, tests: list[PageHinkley]) -> None:
        """Store the tests."""
        self.tests = tests

    def state(self) -> bytes:
        """Take a snapshot."""
        return _encode([test.state() for test in self.tests])


class PageHinkleyDetector(Detector[PageHinkleyMemory]):
    """The test on single values; `page_hinkley_lanes` processes many at once."""

    name = NAME

    def __init__(self, settings: PageHinkleySettings) -> None:
        """Store the sensitivity."""
        self._settings = settings
        self.spec = settings.spec

    def fresh(self, series: int) -> PageHinkleyMemory:
        """Create tests in their initial state."""
        return PageHinkleyMemory([PageHinkley(self._settings) for _ in range(series)])

    def restore(self, state: bytes, series: int) -> PageHinkleyMemory:
        """Restore a snapshot."""
        kept = _decode(state)
        if len(kept) != series:
            return self.fresh(series)
        return PageHinkleyMemory([PageHinkley(self._settings, each) for each in kept])

    def take(
        self, memory: PageHinkleyMemory, value: float, time: int, series: int = 0
    ) -> Alarm | None:
        """Process the next value of one series."""
        return memory.tests[series].update(value, time)


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[PageHinkleyState]).decode
