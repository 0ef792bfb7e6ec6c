"""The simulated fleet: a recording of which every drift, fault and defect is known exactly.

Twelve pump sets report once a minute. The story trains on quiet days; then a transmitter is
recalibrated (harmless), demand grows (covariate drift), a bearing wears (fault), and a
firmware update changes the control loop's duty cycle on all pumps (concept drift): the relation
between a window and its future then changes. The same seed gives the same readings.

```
known_events ──► Conditions ──► pump_physics ──► instruments (noise, gaps, defects) ──► frame
```

>>> fleet = Fleet()
>>> [event.kind for event in fleet.events]
['input_shift', 'covariate_drift', 'fault', 'concept_drift', 'sensor_defect']
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt
import pandas as pd

from millrace.contracts.clock import to_ms
from millrace.contracts.events.window import SensorWindow
from millrace.contracts.model_spec import ModelSpec
from millrace.producers.sources.known_events import (
    ASSETS,
    CYCLE,
    GROWTH,
    GROWTH_SAMPLES,
    NEW_CYCLE,
    PERIOD_SECONDS,
    RECALIBRATION,
    WORN,
    KnownEvent,
    known_events,
)
from millrace.producers.sources.pump_physics import DAY, SENSORS, Conditions, run_pumps
from millrace.producers.sources.recording import ASSET, SEGMENT, TIME, Story
from millrace.producers.windows import windows

Floats = npt.NDArray[np.float64]

SPEC: Final = ModelSpec("fleet", SENSORS, PERIOD_SECONDS, window=32, horizon=8, stride=8)
STARTS: Final = datetime(2025, 3, 3, tzinfo=UTC)
SEED: Final = 20_250_303

#: Samples of the story, and of its first stretch, for training.
SAMPLES: Final = 5_400
TRAINING_SAMPLES: Final = 1_600

#: Samples of the quiet days that a steady load repeats.
QUIET_SAMPLES: Final = 5 * DAY

#: Standard deviations of the instruments' noise, in their units.
NOISE: Final = (0.35, 0.03, 0.25, 0.10, 0.05)
#: Share of single readings that are lost, and of samples at which a longer gap begins.
LOST_READINGS: Final = 0.004
GAPS: Final = 0.0004
LONGEST_GAP: Final = 12
#: Sensors that a pump does not have.
ABSENT: Final = {"PUMP-12": ("vibration",)}


@dataclass(frozen=True)
class Fleet:
    """A stretch of the fleet's operation.

    Attributes:
        starts: Event time of the first sample.
        samples: Number of samples.
        events: Its events; none, for a quiet fleet.
        seed: Same seed, same readings.
        segment: Segment of all readings.
    """

    starts: datetime = STARTS
    samples: int = SAMPLES
    events: tuple[KnownEvent, ...] = known_events(STARTS)
    seed: int = SEED
    segment: str = ""

    @property
    def spec(self) -> ModelSpec:
        """Model spec for the fleet."""
        return SPEC

    @property
    def title(self) -> str:
        """One line for people."""
        return f"Simulated fleet of {len(ASSETS)} pump sets (seed {self.seed})"

    @property
    def story(self) -> Story:
        """A quiet stretch to train on, then all events."""
        minute = timedelta(seconds=PERIOD_SECONDS)
        return Story(
            ASSETS,
            self.starts,
            self.starts + min(TRAINING_SAMPLES, self.samples // 2) * minute,
            self.starts + self.samples * minute,
        )

    def frame(self) -> pd.DataFrame:
        """Return the readings of the story; see `Recording.frame`."""
        readings, there = self._measured
        sample, pump = np.nonzero(there)
        period_ms = round(PERIOD_SECONDS * 1000)
        times = pd.to_datetime(to_ms(self.starts) + sample * period_ms, unit="ms", utc=True)
        made = pd.DataFrame({TIME: times.as_unit("ms")})
        made[ASSET] = np.array(ASSETS, dtype=object)[pump]
        made[SEGMENT] = self.segment
        made[list(SENSORS)] = readings[sample, pump].astype(np.float32)
        return made

    @cached_property
    def _measured(self) -> tuple[Floats, npt.NDArray[np.bool_]]:
        """The instruments' readings, and which samples were recorded."""
        properties, weather, noise, losses = (
            np.random.default_rng([self.seed, stream]) for stream in range(4)
        )
        readings = run_pumps(self._conditions(properties), weather)
        readings = readings + noise.normal(size=readings.shape) * np.array(NOISE)
        for event in self.events:
            self._distort(readings, event)
        readings[losses.random(readings.shape) < LOST_READINGS] = np.nan
        for asset, sensors in ABSENT.items():
            for sensor in sensors:
                readings[:, ASSETS.index(asset), SENSORS.index(sensor)] = np.nan
        return readings, _recorded(readings.shape[:2], losses)

    def _conditions(self, rng: np.random.Generator) -> Conditions:
        """Convert events of the pumps themselves into physical conditions."""
        shape = (self.samples, len(ASSETS))
        cycle, demand, wear = np.full(shape, CYCLE), np.ones(shape), np.zeros(shape)
        for event in self.events:
            rows, pumps = self._place(event)
            grown = np.arange(len(range(*rows.indices(self.samples))))[:, None]
            match event.kind:
                case "concept_drift":
                    cycle[rows, pumps] = NEW_CYCLE
                case "covariate_drift":
                    demand[rows, pumps] = 1 + GROWTH * np.minimum(grown / GROWTH_SAMPLES, 1)
                case "fault":
                    wear[rows, pumps] = WORN * grown / max(len(grown), 1)
                case _:
                    pass
        return Conditions(cycle * rng.uniform(0.97, 1.03, len(ASSETS)), demand, wear)

    def _distort(self, readings: Floats, event: KnownEvent) -> None:
        """Apply an event of an instrument to its readings."""
        if event.sensor is None:
            return
        rows, pumps = self._place(event)
        sensor = SENSORS.index(event.sensor)
        if event.kind == "input_shift":
            readings[rows, pumps, sensor] += RECALIBRATION
        elif event.kind == "sensor_defect":
            readings[rows, pumps, sensor] = 0.0

    def _place(self, event: KnownEvent) -> tuple[slice, list[int]]:
        """Find an event's samples and pumps."""
        minute = timedelta(seconds=PERIOD_SECONDS)
        first = (event.starts - self.starts) // minute
        last = self.samples if event.ends is None else (event.ends - self.starts) // minute
        rows = slice(min(max(first, 0), self.samples), min(max(last, 0), self.samples))
        return rows, [ASSETS.index(asset) for asset in event.assets]


def quiet_windows(total: int, until: datetime) -> Iterator[SensorWindow]:
    """Yield windows of the fleet's quiet days, for a steady load.

    The same few days are repeated, each time later and as a segment of their own, so that no two
    windows have the same id.

    Args:
        total: Number of windows.
        until: Event time by which the last of them has ended.
    """
    day = windows(Fleet(samples=QUIET_SAMPLES, events=()).frame(), SPEC)
    lap_ms = round(QUIET_SAMPLES * PERIOD_SECONDS * 1000)
    laps = -(-total // len(day))
    shift = to_ms(until) - to_ms(STARTS) - laps * lap_ms
    for index in range(total):
        lap, place = divmod(index, len(day))
        yield msgspec.structs.replace(
            day[place],
            start_ms=day[place].start_ms + shift + lap * lap_ms,
            segment=f"lap-{lap}",
        )


def _recorded(shape: tuple[int, ...], rng: np.random.Generator) -> npt.NDArray[np.bool_]:
    """Choose the recorded samples: with short gaps, and with pumps that start one by one.

    The pumps start at different samples, so that their windows do not all end at once.
    """
    there = np.ones(shape, dtype=np.bool_)
    for sample, pump in zip(*np.nonzero(rng.random(shape) < GAPS), strict=True):
        there[sample : sample + int(rng.integers(2, LONGEST_GAP)), pump] = False
    for pump in range(shape[1]):
        there[: pump % SPEC.stride, pump] = False
    return there
