"""Physical model of the simulated pumps: demand drives flow, flow drives all other sensors.

Each pump set follows a duty cycle that its control loop imposes (a fundamental and its first
harmonic, with a wandering demand on top). A valve follows demand with a lag. From the flow q:

- discharge pressure = static head + friction, proportional to q² (the system curve),
- motor current = idle current + hydraulic power, proportional to q times pressure,
- bearing temperature: first-order warming towards ambient + heat, proportional to current²,
- vibration: least at the best efficiency point, growing with the distance from it.

Time is counted in samples; all pumps are computed at once. The inputs are the conditions of the
fleet (drifts, faults) as arrays over time and pump; the outputs are true values without the
instruments' noise (see `simulate` for that).
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

#: Sensors and their units, in column order.
UNITS: Final = {
    "flow": "m3/h",
    "discharge_pressure": "bar",
    "motor_current": "A",
    "bearing_temperature": "degC",
    "vibration": "mm/s",
}
SENSORS: Final = tuple(UNITS)

#: Samples of a day, at one a minute.
DAY: Final = 1440
#: Valve lag and thermal time constant, samples.
VALVE_LAG: Final = 1.6
WARMING: Final = 25.0
#: Usual flow of the pumps, m3/h.
USUAL_FLOW: Final = 60.0
#: Flow at the best efficiency point, m3/h.
BEST_FLOW: Final = 85.0
#: Samples that are computed before the first one that counts, so that temperatures settle.
WARM_UP: Final = 200


@dataclass(frozen=True)
class Conditions:
    """Conditions of the fleet, each of shape (samples, pumps).

    Attributes:
        cycle: Length of the duty cycle, samples.
        demand: Factor on the level of demand.
        bearing_wear: Wear of the bearing, 0 (new) to 1 (seized).
    """

    cycle: Floats
    demand: Floats
    bearing_wear: Floats


def run_pumps(conditions: Conditions, rng: np.random.Generator) -> Floats:
    """Compute the sensors' true values.

    Args:
        conditions: Conditions of the fleet.
        rng: Draws their individual properties and the wandering of demand.

    Returns:
        float64 of shape (samples, pumps, sensors), physical units, without noise of
        instruments.
    """
    samples, pumps = conditions.cycle.shape
    level: Floats = rng.uniform(0.96, 1.04, (pumps,)) * USUAL_FLOW
    swing = rng.uniform(0.9, 1.1, pumps) * 9.0
    phase = rng.uniform(0, 2 * np.pi, pumps)
    wander = np.zeros(pumps)
    flow = level
    temperature = np.full(pumps, 55.0)
    steps = rng.normal(size=(samples + WARM_UP, pumps))
    out = np.empty((samples, pumps, len(SENSORS)))
    for step in range(-WARM_UP, samples):
        now = max(step, 0)
        phase += 2 * np.pi / conditions.cycle[now]
        wander += -wander / 40 + 0.22 * steps[step + WARM_UP]
        cycle = np.sin(phase) + 0.3 * np.sin(2 * phase + 0.6)
        demand = level * conditions.demand[now] + swing * cycle + wander
        flow = flow + (demand - flow) / VALVE_LAG
        pressure = 2.0 + 4.0 * (flow / USUAL_FLOW) ** 2
        current = 18.0 + 0.1 * flow * pressure
        wear = conditions.bearing_wear[now]
        ambient = 21.0 + 4.0 * np.sin(2 * np.pi * step / DAY)
        heated = ambient + 0.011 * current**2 + 40.0 * wear
        temperature += (heated - temperature) / WARMING
        vibration = 1.0 + 0.0016 * (flow - BEST_FLOW) ** 2 + 6.0 * wear
        if step >= 0:
            out[step] = np.stack([flow, pressure, current, temperature, vibration], axis=-1)
    return out
