"""Any detector of river by its name: one test per series, with evidence of our own.

river's detectors say only that a signal has changed. Which way and since when is told by two means
kept beside each: of all that the test was told since the last alarm, and a recent one.

Detectors of yes or no (river's ``drift.binary``) are told whether a value is above a bound, or
below it, by the setting ``above`` or ``below``. Most look for more mistakes, and want ``above``;
FHDDM looks for fewer right answers, and wants ``below``.

>>> detector = river_detector("HDDMW", {"above": 0.0})
>>> memory = detector.fresh(1)
>>> values = [-0.5] * 60 + [0.5] * 20
>>> alarms = [(time, detector.take(memory, x, time)) for time, x in enumerate(values)]
>>> [(time, alarm.rising, alarm.evidence_from) for time, alarm in alarms if alarm]
[(73, True, 60)]

Reference: J. Montiel and others, River: machine learning for streaming data in Python, JMLR 22
(2021); each detector's own is in its docstring there.
"""

from __future__ import annotations

import importlib
import inspect
import math
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec
import numpy as np

from millrace.contracts.errors import SettingsError
from millrace.drift.detectors.alarm import LIMIT, Alarm
from millrace.drift.detectors.base import Detector, spec_of
from millrace.drift.detectors.plain_state import Plain, plain, restored

_MODULES: Final = ("river.drift", "river.drift.binary")
_BOUNDS: Final = ("above", "below")
#: Values that a test is tried on before it is used; more where its windows are long.
_TRIAL: Final = 300
_LONGEST_TRIAL: Final = 3_000
#: Weight of the newest value in the recent mean.
_RECENT: Final = 0.1


class SeriesTest:
    """river's test of one series, and the two means."""

    __slots__ = ("mean", "n", "recent", "since", "test")

    def __init__(self, test: Any) -> None:
        """Take a test that has seen nothing."""
        self.test = test
        self.n, self.mean, self.recent, self.since = 0, 0.0, 0.0, 0

    def see(self, value: float, time: int) -> None:
        """Take a value into the means."""
        was_above = self.recent > self.mean
        self.n += 1
        self.mean += (value - self.mean) / self.n
        self.recent += (value - self.recent) * (_RECENT if self.n > 1 else 1.0)
        if self.n == 1 or (self.recent > self.mean) != was_above:
            self.since = time

    def numbers(self) -> Plain:
        """Take a snapshot."""
        return [self.n, self.mean, self.recent, self.since, plain(self.test)]

    def restore(self, kept: Plain) -> None:
        """Take a snapshot back."""
        self.n, self.mean, self.recent, self.since, test = kept
        self.test = restored(self.test, test)


class RiverMemory:
    """One test for each series."""

    __slots__ = ("tests",)

    def __init__(self, tests: list[SeriesTest]) -> None:
        """Take the tests."""
        self.tests = tests

    def state(self) -> bytes:
        """Take a snapshot."""
        return msgspec.msgpack.encode([test.numbers() for test in self.tests])


class RiverDetector(Detector[RiverMemory]):
    """A detector of river's, with its settings."""

    def __init__(
        self,
        name: str,
        spec: str,
        make: Callable[[], Any],
        answer: Callable[[float], float | bool],
        *,
        falls: bool,
    ) -> None:
        """Take what makes one.

        Args:
            name: Its name in river.
            spec: Name and settings.
            make: Makes a test that has seen nothing.
            answer: What the test is told of a value.
            falls: Whether it is told yes where the value is low.
        """
        self.name = name
        self.spec = spec
        self._make = make
        self._answer = answer
        self._falls = falls

    def fresh(self, series: int) -> RiverMemory:
        """Make tests that have seen nothing."""
        return RiverMemory([SeriesTest(self._make()) for _ in range(series)])

    def restore(self, state: bytes, series: int) -> RiverMemory:
        """Take a snapshot back; one of another number of series starts afresh."""
        memory = self.fresh(series)
        kept = msgspec.msgpack.decode(state)
        if len(kept) == series:
            for test, numbers in zip(memory.tests, kept, strict=True):
                test.restore(numbers)
        return memory

    def take(self, memory: RiverMemory, value: float, time: int, series: int = 0) -> Alarm | None:
        """Take the next value of one series."""
        if not math.isfinite(value):
            return None
        told = self._answer(max(-LIMIT, min(LIMIT, value)))
        series_test = memory.tests[series]
        series_test.see(-float(told) if self._falls else float(told), time)
        series_test.test.update(told)
        if not series_test.test.drift_detected:
            return None
        alarm = Alarm(
            statistic=None,
            threshold=None,
            rising=series_test.recent > series_test.mean,
            evidence_from=series_test.since,
            samples=series_test.n,
        )
        memory.tests[series] = SeriesTest(self._make())
        return alarm


def river_detector(name: str, settings: Mapping[str, object]) -> RiverDetector:
    """Find a detector of river by its name.

    Args:
        name: For example ``KSWIN`` or ``HDDMW``.
        settings: Arguments of its constructor, by name; for one of yes or no also ``above`` or
            ``below``. Where it draws random numbers, ``seed`` is 0 unless given.

    Raises:
        SettingsError: river has no such detector, or it does not take these settings.
    """
    kind, is_binary = _class_of(name)
    bounds = {key: settings[key] for key in _BOUNDS if key in settings and is_binary}
    given = {key: value for key, value in settings.items() if key not in bounds}
    answer = _answer(name, bounds) if is_binary else float
    signature = inspect.signature(kind)
    if "seed" in signature.parameters:
        given.setdefault("seed", 0)
    unknown = sorted(given.keys() - signature.parameters.keys())
    if unknown:
        known = ", ".join(signature.parameters) or "none"
        raise SettingsError(f"{name} has no setting {', '.join(unknown)}; it has {known}")
    try:
        _try(kind(**given), answer, given)
    except Exception as error:  # river checks few settings: what its arithmetic says counts
        raise SettingsError(f"{name} cannot be used with these settings: {error}") from error
    return RiverDetector(
        name,
        spec_of(name, {**given, **bounds}),
        lambda: kind(**given),
        answer,
        falls="below" in bounds,
    )


def _try(test: Any, answer: Callable[[float], float | bool], given: Mapping[str, object]) -> None:
    """Run a test on noise with a jump, for longer than its windows are; then take its memory."""
    longest = max((each for each in given.values() if isinstance(each, int)), default=0)
    count = min(max(_TRIAL, 3 * longest), _LONGEST_TRIAL)
    values = np.random.default_rng(0).normal(0.0, 1.0, count)
    values[count // 2 :] += 3.0
    for value in values.tolist():
        test.update(answer(value))
    plain(test)


def _answer(name: str, bounds: Mapping[str, object]) -> Callable[[float], bool]:
    """What a detector of yes or no is told of a value."""
    match [*bounds.items()]:
        case [("above", int() | float() as bound)]:
            return lambda value: value > bound
        case [("below", int() | float() as bound)]:
            return lambda value: value < bound
    raise SettingsError(
        f"{name} takes yes or no: say which values are yes, as in {name}(above=0.5) or"
        f" {name}(below=0.5)"
    )


def _class_of(name: str) -> tuple[type[Any], bool]:
    """Find a class, and whether it takes yes or no."""
    base = importlib.import_module("river.base")
    kinds: dict[str, type[Any]] = {}
    for module in map(importlib.import_module, _MODULES):
        for each in module.__all__:
            kind = getattr(module, each, None)  # river 0.26 names one that it does not have
            if inspect.isclass(kind) and issubclass(
                kind, base.DriftDetector | base.BinaryDriftDetector
            ):
                kinds[each] = kind
    if name not in kinds:
        raise SettingsError(f"there is no detector {name!r}; there are {', '.join(sorted(kinds))}")
    return kinds[name], issubclass(kinds[name], base.BinaryDriftDetector)
