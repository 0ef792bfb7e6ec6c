"""What it costs as the work grows: more assets, longer and wider windows, more processes.

Each row is a run of the real stream processor with its default detectors over a topic that is
filled beforehand; only what an asset costs that has a past is counted without one
(`benchmarks.asset_memory`). Where windows differ in size, larger ones are fewer.
"""

from __future__ import annotations

import os
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from benchmarks.asset_memory import asset_memory
from benchmarks.namespaces import remove_topics
from benchmarks.plan import Plan
from benchmarks.result import Row, Table, spread
from benchmarks.stream_run import Run, run_stream_processor
from benchmarks.turns import Tell, in_turns
from benchmarks.windows import Load, declare, fill
from millrace.infra.settings import Settings

WATCH: Final = "PageHinkley"
#: Repeats of the rows over assets and windows, and of those over processes.
REPEATS: Final = 1
PROCESS_REPEATS: Final = 3
SECONDS: Final = 8.0
#: A row over assets runs to its end: only then each asset is in memory.
ASSETS_SECONDS: Final = 60.0
QUICK_SECONDS: Final = 3.0
PARTITIONS: Final = 4
#: Windows of the rows over assets, and of all others at most.
WINDOWS: Final = 200_000
QUICK_WINDOWS: Final = 10_000
QUICK_PROCESS_WINDOWS: Final = 150_000
#: Bytes of readings in the rows over samples and sensors, at most.
BYTES: Final = 320 << 20
ASSETS: Final = (10, 1_000, 10_000, 100_000)
#: So many assets drown what a process's memory varies by from run to run.
MANY_ASSETS: Final = 50_000
#: Assets that are weighed one by one, windows of each, and whether those are predicted.
WEIGHED: Final = ((200, 2, True), (20, 300, True), (20, 300, False))
SAMPLES: Final = (16, 96, 384, 1440)
SENSORS: Final = (1, 8, 64)
#: Partitions and processes.
PROCESSES: Final = ((1, 1), (2, 1), (2, 2), (4, 1), (4, 2), (4, 4))
#: So many assets fall on four partitions about evenly.
SPREAD_ASSETS: Final = 400
#: Windows of the rows over processes: one after the other joins, and has its partitions taken from
#: those before it; what they do until then is not measured.
PROCESS_WINDOWS: Final = 400_000
#: From this share of a resource on it counts as full.
FULL: Final = 0.85
_KIB: Final = 1024.0


def growth(plan: Plan) -> list[Table]:
    """Measure all four."""
    if plan.quick:
        return [
            _assets(plan, ASSETS[:2]),
            _weighed(plan, WEIGHED[:1]),
            _windows(plan, SAMPLES[:1], SENSORS[:1]),
            _processes(plan, PROCESSES[1:3]),
        ]
    return [
        _assets(plan, ASSETS),
        _weighed(plan, WEIGHED),
        _windows(plan, SAMPLES, SENSORS),
        _processes(plan, PROCESSES),
    ]


def _assets(plan: Plan, counts: tuple[int, ...]) -> Table:
    most = QUICK_WINDOWS if plan.quick else WINDOWS
    loads = {f"{assets:,}": (Load(assets=assets), max(most, 2 * assets)) for assets in counts}
    jobs = {name: Job(load, count, ASSETS_SECONDS) for name, (load, count) in loads.items()}
    runs = _run(plan, jobs, REPEATS)
    least = next(iter(runs))
    base_assets, base = loads[least][0].assets, _rss(runs[least])
    rows: list[Row] = []
    for name, (load, windows) in loads.items():
        whole = all(run.complete for run in runs[name])
        more = load.assets - base_assets if load.assets >= MANY_ASSETS and whole else 0
        rows.append(
            {
                "assets": name,
                "windows/s": spread([run.rate for run in runs[name]]),
                "cores": _cores(runs[name]),
                "RSS MiB": spread([run.rss_mib[0] for run in runs[name]]),
                "PSS MiB": _pss(runs[name]),
                "KiB an asset": (_rss(runs[name]) - base) * _KIB / more if more else None,
                "windows": f"{max(run.records for run in runs[name]):,} of {windows:,}",
            }
        )
    return Table(
        "More assets: one stream processor, windows of 24 x 8, default detectors",
        rows,
        f"KiB an asset: resident set above that of {least} assets, over the additional assets,"
        " where these are many. Nobody predicts here: each window leaves an open forecast.",
    )


def _weighed(plan: Plan, which: tuple[tuple[int, int, bool], ...]) -> Table:
    plan.bar.runs(len(which))
    rows: list[Row] = []
    for assets, windows, answered in which:
        plan.bar.begin(f"{assets} assets with {windows} windows each are weighed")
        found = asset_memory(assets, windows, answered=answered)
        rows.append(
            {
                "windows of each asset": windows,
                "predicted": "yes" if answered else "no, inference is away",
                "KiB an asset": found.live / _KIB,
                "KiB of its snapshot": found.snapshot / _KIB,
            }
        )
    return Table(
        "An asset that has a past: windows of 24 x 8, default detectors",
        rows,
        "As Python's allocator counts, without the rest of the process.",
    )


def _windows(plan: Plan, samples: tuple[int, ...], sensors: tuple[int, ...]) -> Table:
    most, bytes_ = (QUICK_WINDOWS, BYTES >> 5) if plan.quick else (WINDOWS // 2, BYTES)
    loads = [Load(assets=100, samples=number) for number in samples]
    loads += [Load(assets=100, sensors=number) for number in sensors if number != Load().sensors]
    jobs = {
        f"{load.samples} x {load.sensors}": Job(load, min(most, bytes_ // load.window_bytes))
        for load in sorted(loads, key=lambda load: load.window_bytes)
    }
    runs = _run(plan, jobs, REPEATS)
    rows: list[Row] = []
    for name, job in jobs.items():
        load = job.load
        rate = spread([run.rate for run in runs[name]])
        rows.append(
            {
                "samples x sensors": name,
                "bytes": load.window_bytes,
                "windows/s": rate,
                "readings/s, millions": rate.median * load.samples * load.sensors / 1e6,
                "MB/s": rate.median * load.window_bytes / 1e6,
                "cores": _cores(runs[name]),
                "broker cores": _broker_cores(runs[name]),
                "RSS MiB": spread([run.rss_mib[0] for run in runs[name]]),
                "windows": max(run.records for run in runs[name]),
            }
        )
    return Table("Longer and wider windows: one stream processor, 100 assets", rows)


def _processes(plan: Plan, pairs: tuple[tuple[int, int], ...]) -> Table:
    load = Load(assets=SPREAD_ASSETS)
    count = QUICK_PROCESS_WINDOWS if plan.quick else PROCESS_WINDOWS
    jobs = {
        f"{partitions} and {processes}": Job(load, count, SECONDS, processes, partitions)
        for partitions, processes in pairs
    }
    runs = _run(plan, jobs, PROCESS_REPEATS)
    one = {
        partitions: statistics.median(run.rate for run in runs[f"{partitions} and 1"])
        for partitions, processes in pairs
        if processes == 1
    }
    rows: list[Row] = []
    for partitions, processes in pairs:
        name = f"{partitions} and {processes}"
        rate = spread([run.rate for run in runs[name]])
        cores, broker = _cores(runs[name]), _broker_cores(runs[name])
        rows.append(
            {
                "partitions": partitions,
                "processes": processes,
                "windows/s": rate,
                "times one process": rate.median / one[partitions],
                "cores of all processes": cores,
                "broker cores": broker,
                "full": full(cores, broker, processes, os.cpu_count() or 1),
                "RSS MiB, all": spread([sum(run.rss_mib) for run in runs[name]]),
                "PSS MiB, all": _pss(runs[name]),
            }
        )
    return Table(
        f"More partitions and processes: {SPREAD_ASSETS} assets",
        rows,
        "cores: processor time per second. full: what allows no more. A process has work for about"
        " one core, and where processes and broker together use all cores of the machine"
        f" ({os.cpu_count()}), more processes cannot help.",
    )


def full(cores: float, broker: float | None, processes: int, machine: int) -> str:
    """Tell which resource a run has used up.

    >>> full(1.2, 0.7, 2, 2), full(1.0, 0.4, 1, 2), full(0.5, 0.4, 1, 2)
    ('all cores of the machine', 'one core per process', 'none')

    Args:
        cores: Processor time per second of all processes.
        broker: That of the broker; None if it is not on this machine.
        processes: How many processes there are.
        machine: Cores of the machine.
    """
    if cores + (broker or 0.0) >= FULL * machine:
        return "all cores of the machine"
    return "one core per process" if cores >= FULL * processes else "none"


@dataclass(frozen=True)
class Job:
    """A row's work.

    Attributes:
        load: The plant.
        count: Its windows.
        seconds: Longest measurement.
        processes: How many share the partitions.
        partitions: Partitions of each topic.
    """

    load: Load
    count: int
    seconds: float = SECONDS
    processes: int = 1
    partitions: int = PARTITIONS

    @property
    def namespace(self) -> str:
        """A name that no other row has."""
        load = self.load
        return (
            f"growth-{load.assets}-{load.samples}x{load.sensors}-{self.count}"
            f"-{self.partitions}-{self.processes}"
        )


def _run(plan: Plan, jobs: dict[str, Job], repeats: int) -> dict[str, list[Run]]:
    """Fill a namespace for each job, run all in turn, and remove them."""
    plan.bar.runs(len(jobs))
    prepared: dict[str, Settings] = {}
    for name, job in jobs.items():
        plan.bar.begin(f"{name}: {job.count:,} windows are written")
        settings = plan.servers.settings(job.namespace, job.partitions)
        declare(settings, job.load)
        fill([settings], job.load, job.count)
        prepared[name] = settings
    contenders = {name: _one(plan, prepared[name], job) for name, job in jobs.items()}
    found = in_turns(contenders, plan.times(repeats), plan.bar)
    for settings in prepared.values():
        remove_topics(settings)
    return found


def _one(plan: Plan, settings: Settings, job: Job) -> Callable[[Tell], Run]:
    def run(tell: Tell) -> Run:
        return run_stream_processor(
            settings,
            job.count,
            servers=plan.servers,
            watch=WATCH,
            seconds=QUICK_SECONDS if plan.quick else job.seconds,
            processes=job.processes,
            tell=tell,
        )

    return run


def _rss(runs: list[Run]) -> float:
    return statistics.median(run.rss_mib[0] for run in runs)


def _pss(runs: list[Run]) -> float | None:
    """Median of the proportional sets of all processes; None where the system does not tell."""
    sums = [
        sum(each for each in run.pss_mib if each is not None) for run in runs if all(run.pss_mib)
    ]
    return statistics.median(sums) if sums else None


def _cores(runs: list[Run]) -> float:
    return statistics.median(run.cores for run in runs)


def _broker_cores(runs: list[Run]) -> float | None:
    known = [run.broker_cores for run in runs if run.broker_cores is not None]
    return statistics.median(known) if known else None
