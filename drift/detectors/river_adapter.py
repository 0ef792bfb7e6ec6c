"""Any detector of river by its name: one test per series, with our own evidence.

river's detectors report only that a signal has changed. Direction and start of the change come from
two means kept beside each test: the mean of all its inputs since the last alarm, and a recent one.

Binary detectors (river's ``drift.binary``) get whether a value is above or below a bound, by the
setting ``above`` or ``below``. Most of them detect a rise of mistakes, and need ``above``; FHDDM
detects a fall of correct answers, and needs ``below``.

>>> detector = river_detector("HDDMW", {"above": 0.0})
>>> memory = detector.fresh(1)
>>> values = [-0.5] * 60 + [0.5] * 20
>>> alarms = [(time, detector.take(memory, x, time)) for time, x in enumerate(values)]
>>> [(time, alarm.rising, alarm.evidence_from) for time, alarm in alarms if alarm]
[(73, True, 60)]

Reference: J. Montiel and others, River: machine learning for streaming data in Python, JMLR 22
(2021); for each detector, see its docstring there.
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
#: Number of values in the trial run of a test; more if its windows are long.
_TRIAL: Final = 300
_LONGEST_TRIAL: Final = 3_000
#: Weight of the newest value in the recent mean.
_RECENT: Final = 0.1


class SeriesTest:
    """river's test of one series, and the two means."""

    __slots__ = ("mean", "n", "recent", "since", "test")

    def __init__(self, test: Any) -> None:
        """Store a test in its initial state."""
        self.test = test
        self.n, self.mean, self.recent, self.since = 0, 0.0, 0.0, 0

    def see(self, value: float, time: int) -> None:
        """Update the means with a value."""
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
        """Store the tests."""
        self.tests = tests

    def state(self) -> bytes:
        """Take a snapshot."""
        return msgspec.msgpack.encode([test.numbers() for test in self.tests])


class RiverDetector(Detector[RiverMemory]):
    """A detector of river, with its settings."""

    def __init__(
        self,
        name: str,
        spec: str,
        make: Callable[[], Any],
        answer: Callable[[float], float | bool],
        *,
        falls: bool,
    ) -> None:
        """Store the test's factory and input function.

        Args:
            name: Its name in river.
            spec: Name and settings.
            make: Creates a test in its initial state.
            answer: Converts a value to the test's input.
            falls: Whether the input is true for low values.
        """
        self.name = name
        self.spec = spec
        self._make = make
        self._answer = answer
        self._falls = falls

    def fresh(self, series: int) -> RiverMemory:
        """Create tests in their initial state."""
        return RiverMemory([SeriesTest(self._make()) for _ in range(series)])

    def restore(self, state: bytes, series: int) -> RiverMemory:
        """Restore a snapshot; one of another number of series gives initial memory."""
        memory = self.fresh(series)
        kept = msgspec.msgpack.decode(state)
        if len(kept) == series:
            for test, numbers in zip(memory.tests, kept, strict=True):
                test.restore(numbers)
        return memory

    def take(self, memory: RiverMemory, value: float, time: int, series: int = 0) -> Alarm | None:
        """Process the next value of one series."""
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
        settings: Arguments of its constructor, by name; for a binary one also ``above`` or
            ``below``. If it draws random numbers, ``seed`` is 0 unless given.

    Raises:
        SettingsError: river has no such detector, or it does not accept these settings.
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
    except Exception as error:  # river validates few settings: errors of its arithmetic count
        raise SettingsError(f"{name} cannot be used with these settings: {error}") from error
    return RiverDetector(
        name,
        spec_of(name, {**given, **bounds}),
        lambda: kind(**given),
        answer,
        falls="below" in bounds,
    )


def _try(test: Any, answer: Callable[[float], float | bool], given: Mapping[str, object]) -> None:
    """Run a test on noise with a jump, for longer than its windows; then copy its state."""
    longest = max((each for each in given.values() if isinstance(each, int)), default=0)
    count = min(max(_TRIAL, 3 * longest), _LONGEST_TRIAL)
    values = np.random.default_rng(0).normal(0.0, 1.0, count)
    values[count // 2 :] += 3.0
    for value in values.tolist():
        test.update(answer(value))
    plain(test)


def _answer(name: str, bounds: Mapping[str, object]) -> Callable[[float], bool]:
    """Build the function that converts a value to a binary detector's input."""
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
    """Find a class, and whether it is a binary detector."""
    base = importlib.import_module("river.base")
    kinds: dict[str, type[Any]] = {}
    for module in map(importlib.import_module, _MODULES):
        for each in module.__all__:
            kind = getattr(module, each, None)  # river 0.26 lists one that does not exist
            if inspect.isclass(kind) and issubclass(
                kind, base.DriftDetector | base.BinaryDriftDetector
            ):
                kinds[each] = kind
    if name not in kinds:
        raise SettingsError(f"there is no detector {name!r}; there are {', '.join(sorted(kinds))}")
    return kinds[name], issubclass(kinds[name], base.BinaryDriftDetector)
