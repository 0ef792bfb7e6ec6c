"""Chooses the detectors of each signal from the settings (``MILLRACE_INPUT_DETECTORS``...).

A signal's setting is a list of detectors by river's names, each with optional settings::

    PageHinkley, KSWIN(alpha=0.001, window_size=200)

PageHinkley and ADWIN are our implementations for many series, with river's alarms; their default
settings are those of `policy`. All others are river's own. An empty setting disables the tests of a
signal.

>>> chosen = detectors(inputs="PageHinkley, ADWIN", error="PageHinkley(threshold=8)", skill="")
>>> [detector.name for detector in chosen.input], chosen.skill
(['PageHinkley', 'ADWIN'], ())
>>> chosen.error[0].spec
"PageHinkley(delta=0.05, min_instances=30, mode='up', threshold=8.0)"
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, Literal, TypeVar, get_args

import msgspec

from millrace.contracts.errors import SettingsError
from millrace.drift.detectors import adwin_borders, adwin_lanes, page_hinkley, page_hinkley_lanes
from millrace.drift.detectors.adwin_borders import AdwinSettings
from millrace.drift.detectors.base import Detector
from millrace.drift.detectors.page_hinkley import PageHinkleyDetector, PageHinkleySettings
from millrace.drift.detectors.river_adapter import river_detector
from millrace.drift.policy import SETTINGS

_Kind = TypeVar("_Kind")
Settings = Mapping[str, object]
TestedSignal = Literal["input", "error", "skill"]

_MODES: Final = {"up": False, "both": True}
#: Our names of ADWIN's settings, by river's.
_ADWIN: Final = {
    "delta": "delta",
    "clock": "clock",
    "min_window_length": "shortest",
    "grace_period": "grace",
}


@dataclass(frozen=True)
class Detectors:
    """The detectors of each signal, in the order in which they run."""

    input: tuple[Detector[Any], ...]
    error: tuple[Detector[Any], ...]
    skill: tuple[Detector[Any], ...]

    @cached_property
    def keys(self) -> frozenset[str]:
        """Keys of their memories in snapshots."""
        signals: tuple[TestedSignal, ...] = get_args(TestedSignal)
        return frozenset(
            key_of(signal, each.spec) for signal in signals for each in self.of(signal)
        )

    def of(self, signal: TestedSignal) -> tuple[Detector[Any], ...]:
        """The detectors of a signal."""
        match signal:
            case "input":
                return self.input
            case "error":
                return self.error
            case "skill":
                return self.skill


def key_of(signal: TestedSignal, spec: str) -> str:
    """Key of a detector's memory for a signal.

    >>> key_of("error", "KSWIN(seed=0)")
    'error KSWIN(seed=0)'
    """
    return f"{signal} {spec}"


def detectors(*, inputs: str, error: str, skill: str) -> Detectors:
    """Parse the settings of all signals.

    Raises:
        SettingsError: A detector or one of its settings is unknown, or is named twice.
    """
    return Detectors(_of("input", inputs), _of("error", error), _of("skill", skill))


def _of(signal: TestedSignal, text: str) -> tuple[Detector[Any], ...]:
    """Parse the setting of one signal."""
    try:
        found = tuple(_detector(signal, name, given) for name, given in _parsed(text))
        _check_once(found)
    except SettingsError as error:
        raise SettingsError(f"MILLRACE_{signal.upper()}_DETECTORS: {error}") from error
    return found


def _check_once(found: Sequence[Detector[Any]]) -> None:
    """Check that each detector is named once: an alert is identified by its detector's name."""
    names = [detector.name for detector in found]
    for name in names:
        if names.count(name) > 1:
            raise SettingsError(f"{name} is named twice; a signal has one of each")


def _parsed(text: str) -> list[tuple[str, dict[str, object]]]:
    """Parse names and settings, without evaluating them."""
    try:
        listed = ast.parse(f"[{text.strip()}]", mode="eval").body
        return [_call(each) for each in getattr(listed, "elts", [listed])]
    except (SyntaxError, TypeError, ValueError) as error:
        raise SettingsError(
            f"{text!r} is no list of detectors such as PageHinkley, KSWIN(alpha=0.001)"
        ) from error


def _call(node: ast.expr) -> tuple[str, dict[str, object]]:
    """A name, or a name with keyword settings."""
    match node:
        case ast.Name(name):
            return name, {}
        case ast.Call(ast.Name(name), [], keywords) if all(each.arg for each in keywords):
            given = {str(each.arg): ast.literal_eval(each.value) for each in keywords}
            if len(given) < len(keywords):
                raise ValueError("a setting is given twice")
            return name, given
        case _:
            raise ValueError("neither a name nor a call by keywords")


def _detector(signal: TestedSignal, name: str, given: Settings) -> Detector[Any]:
    """Create a detector; our implementation if there is one."""
    ours = OURS.get(name)
    if ours is None:
        return river_detector(name, given)
    try:
        return ours(signal, given)
    except TypeError as error:  # the constructor has no such setting
        raise SettingsError(f"{name}: {error}") from error


def _page_hinkley(signal: TestedSignal, given: Settings) -> Detector[Any]:
    """Create Page-Hinkley: the signal's defaults, overridden by settings in river's names."""
    default = SETTINGS[signal]
    unknown = set(given) - {"delta", "threshold", "min_instances", "mode"}
    mode = str(given.get("mode", "both" if default.two_sided else "up"))
    if unknown or mode not in _MODES:
        raise SettingsError(
            "PageHinkley takes delta, threshold, min_instances, and mode 'up' or 'both'"
        )
    values = {
        "delta": given.get("delta", default.delta),
        "threshold": given.get("threshold", default.threshold),
        "min_values": given.get("min_instances", default.min_values),
        "two_sided": _MODES[mode],
    }
    settings = _converted(page_hinkley.NAME, values, PageHinkleySettings)
    if signal == "input":
        return page_hinkley_lanes.detector(settings)
    return PageHinkleyDetector(settings)


def _adwin(_: TestedSignal, given: Settings) -> Detector[Any]:
    """Create ADWIN from settings in river's names."""
    if not set(given) <= set(_ADWIN):
        raise SettingsError(f"ADWIN takes {', '.join(_ADWIN)}")
    values = {_ADWIN[name]: value for name, value in given.items()}
    return adwin_lanes.detector(_converted(adwin_borders.NAME, values, AdwinSettings))


def _converted(name: str, values: dict[str, object], kind: type[_Kind]) -> _Kind:
    try:
        return msgspec.convert(values, kind)
    except (msgspec.ValidationError, ValueError) as error:
        raise SettingsError(f"{name}: {error}") from error


#: Our own detectors by name: factories that take a signal and settings.
OURS: Final[dict[str, Callable[[TestedSignal, Settings], Detector[Any]]]] = {
    page_hinkley.NAME: _page_hinkley,
    adwin_borders.NAME: _adwin,
}
