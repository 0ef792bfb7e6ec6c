"""Model specs, the contract between an edge and a model: its sensors, windows and forecasts.

A model is named after the data it serves. One model serves every asset that sends its
sensor set: the same sensors, in the same order, at the same period, in windows of the
same length.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Annotated, Final, Literal

import msgspec

from millrace.contracts.errors import DataError
from millrace.contracts.ids import digest_of
from millrace.contracts.names import MAX_SENSORS, name_problem
from millrace.contracts.path_names import ModelName

#: Version that every model has from the start: it repeats the last readings.
PERSISTENCE: Final = 0

#: Default family of models for training a task.
DEFAULT_RECIPE: Final = "lstm-highway-1"

Positive = Annotated[int, msgspec.Meta(ge=1)]


@lru_cache(maxsize=1024)
def sensor_set_id(sensors: tuple[str, ...], period_seconds: float, window: int) -> str:
    """Name the combination of sensors, sampling period and window length."""
    return digest_of(*sensors, f"{period_seconds:.6f}", window)[:12]


class ModelSpec(msgspec.Struct, frozen=True):
    """A forecasting task.

    Attributes:
        name: The model's name, the key of its events.
        sensors: Names of the sensors in a window, in column order.
        period_seconds: Nominal time between samples, at least a millisecond.
        window: Samples in a window.
        horizon: Samples ahead that are forecast.
        stride: Samples between the starts of consecutive windows of an asset.
        target: ``mean`` forecasts each target's mean over the horizon, ``sequence`` every
            sample of it.
        targets: Sensors that are forecast; all of them when empty.
        recipe: Family of models that trainings fit, see `model_families`.

    Raises:
        DataError: A target is not among the sensors, a name stands twice or is none
            (`contracts.names`), or there are too many sensors.
    """

    name: ModelName
    sensors: tuple[str, ...]
    period_seconds: Annotated[float, msgspec.Meta(ge=0.001)]
    window: Positive
    horizon: Positive
    stride: Positive
    target: Literal["mean", "sequence"] = "mean"
    targets: tuple[str, ...] = ()
    recipe: str = DEFAULT_RECIPE

    def __post_init__(self) -> None:
        """Check what types cannot say."""
        if not self.sensors or len(set(self.sensors)) != len(self.sensors):
            raise DataError(
                f"model {self.name}: sensors must be named, each once; got {list(self.sensors)}"
            )
        if len(self.sensors) > MAX_SENSORS:
            raise DataError(
                f"model {self.name[:40]!r}: {len(self.sensors)} sensors; a model may have"
                f" {MAX_SENSORS}: declare several with fewer"
            )
        for name in (self.name, *self.sensors):
            if (problem := name_problem(name)) is not None:
                raise DataError(f"model {self.name[:40]!r}: the name {name[:40]!r} {problem}")
        unknown = [name for name in self.targets if name not in self.sensors]
        if unknown:
            raise DataError(
                f"model {self.name}: targets {unknown} are not among the sensors"
                f" {list(self.sensors)}; name sensors of the window"
            )

    @property
    def sensor_set(self) -> str:
        """Id of the sensor set that this model reads."""
        return sensor_set_id(self.sensors, self.period_seconds, self.window)

    @property
    def target_names(self) -> tuple[str, ...]:
        """Names of the forecast sensors, in the order of a forecast's columns."""
        return self.targets or self.sensors

    @property
    def target_columns(self) -> tuple[int, ...]:
        """Columns of a window that are forecast."""
        return tuple(self.sensors.index(name) for name in self.target_names)

    @property
    def steps(self) -> int:
        """Rows of a forecast: 1 for a mean, else the horizon."""
        return 1 if self.target == "mean" else self.horizon

    @property
    def window_ms(self) -> int:
        """From a window's first sample until one period after its last, milliseconds."""
        return round(self.window * self.period_seconds * 1000)

    @property
    def horizon_ms(self) -> int:
        """From a window's end until the end of what is forecast from it, milliseconds."""
        return round(self.horizon * self.period_seconds * 1000)

    @property
    def period_ms(self) -> int:
        """Nominal time between samples, milliseconds."""
        return round(self.period_seconds * 1000)
