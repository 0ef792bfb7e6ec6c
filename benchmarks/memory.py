"""Whether any process grows: resident memory at a steady rate, every second, for ten minutes.

After the warm-up a process should hold what it needs. The growth is that of the median over
the last minute against the first minute after the warm-up, so that a single peak does not count.
What still fills up to its bound grows less in the second half; what leaks does not. All samples
are kept beside the logs, in `SAMPLES`.
"""

from __future__ import annotations

import itertools
import time
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt

from benchmarks.namespaces import remove_topics
from benchmarks.plan import Plan
from benchmarks.plant import Plant, running_plant
from benchmarks.result import Row, Table
from benchmarks.service import Cost
from benchmarks.steady_edge import Step
from benchmarks.turns import Tell

RATE: Final = 200.0
SECONDS: Final = 600.0
WARM_UP_SECONDS: Final = 120.0
#: Over so long a median is taken.
PART_SECONDS: Final = 60.0
QUICK: Final = (15.0, 5.0, 3.0)
SAMPLES: Final = "memory.json"

Floats = npt.NDArray[np.float64]
Samples = list[tuple[float, dict[str, Cost]]]


def memory(plan: Plan) -> list[Table]:
    """Measure every process of a running system."""
    seconds, warm_up, part = QUICK if plan.quick else (SECONDS, WARM_UP_SECONDS, PART_SECONDS)
    plan.bar.runs(2)
    with running_plant(plan, "memory") as plant:
        tell = plan.bar.begin(f"{seconds:.0f} s at {RATE:g} windows/s")
        samples = _sample(plant, seconds, tell)
        settings = plant.settings
        (plant.folder / SAMPLES).write_bytes(msgspec.json.encode(samples))
    remove_topics(settings)
    names = sorted({name for _, costs in samples for name in costs})
    return [
        Table(
            f"Memory of each process over {seconds:.0f} s at {RATE:g} windows/s, MiB",
            [_row(name, samples, warm_up, part) for name in names],
            f"Resident set; growth from the first {part:.0f} s after a warm-up of"
            f" {warm_up:.0f} s to the last {part:.0f} s, and from the middle of that time. PSS:"
            " proportional set at the end, in which pages that processes share count in part. The"
            " broker's Java takes new pages until its heap is as large as it may get.",
        )
    ]


def _sample(plant: Plant, seconds: float, tell: Tell) -> Samples:
    samples: Samples = []
    with plant.edge([Step(RATE, seconds)]) as edge:
        began = time.monotonic()
        while not edge.ended():
            plant.system.supervisor.check()
            passed = time.monotonic() - began
            samples.append((passed, {**plant.costs(), "edge": edge.cost()}))
            tell(passed / seconds)
            time.sleep(max(0.0, 1.0 - (time.monotonic() - began - passed)))
    return samples


def _row(name: str, samples: Samples, warm_up: float, part: float) -> Row:
    times = np.array([t for t, costs in samples if name in costs])
    sizes = np.array([costs[name].rss_mib for _, costs in samples if name in costs])
    last = [costs[name] for _, costs in samples if name in costs][-1]
    end = float(times[-1])
    early = _median(times, sizes, warm_up, part)
    middle = _median(times, sizes, (warm_up + end - part) / 2, part)
    late = _median(times, sizes, end - part, part)
    return {
        "process": name,
        "RSS after warm-up": early,
        "RSS at the end": late,
        "growth %": (late / early - 1) * 100,
        "growth in the second half %": (late / middle - 1) * 100,
        "highest RSS": float(sizes.max()),
        "PSS at the end": last.pss_mib,
        "cores": _cores(name, samples),
        # A process that has had less processor time than before is another one.
        "restarts": sum(used < 0 for _, used in _used(name, samples)),
    }


def _median(times: Floats, sizes: Floats, begin: float, seconds: float) -> float:
    """Median size over some time; NaN if the process was not seen then."""
    seen = sizes[(times >= begin) & (times <= begin + seconds)]
    return float(np.median(seen)) if len(seen) else float("nan")


def _used(name: str, samples: Samples) -> list[tuple[float, float]]:
    """When the process was seen, and how much its processor time had grown since the last time."""
    seen = [(t, costs[name].seconds) for t, costs in samples if name in costs]
    return [(t, after - before) for (_, before), (t, after) in itertools.pairwise(seen)]


def _cores(name: str, samples: Samples) -> float:
    grown = _used(name, samples)
    whole = samples[-1][0] - samples[0][0]
    return sum(max(used, 0.0) for _, used in grown) / whole if whole else 0.0
