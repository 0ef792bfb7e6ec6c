"""What it costs as the work grows: more assets, longer and wider windows, more processes.

Each row is a run of the real stream processor with its default detectors over a topic that is
filled beforehand. The number of windows is chosen so that each row moves about as many bytes.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import Final

from benchmarks.namespaces import remove_topics
from benchmarks.plan import Plan
from benchmarks.result import Row, Table, spread
from benchmarks.stream_run import Run, run_stream_processor
from benchmarks.turns import Tell, in_turns
from benchmarks.windows import Load, declare, fill
from infra.settings import Settings

WATCH: Final = "page-hinkley"
#: Repeats of the rows over assets and windows, and of those over processes.
REPEATS: Final = 1
PROCESS_REPEATS: Final = 3
SECONDS: Final = 8.0
QUICK_SECONDS: Final = 3.0
PARTITIONS: Final = 4
#: Windows of the rows over assets, and of all others at most.
WINDOWS: Final = 200_000
QUICK_WINDOWS: Final = 10_000
#: Bytes of readings in the rows over samples and sensors, at most.
BYTES: Final = 64 << 20
ASSETS: Final = (10, 1_000, 10_000, 100_000)
#: A row whose assets have a past: every one sends so many windows.
DEEP: Final = (1_000, 300)
SAMPLES: Final = (16, 96, 384, 1440)
SENSORS: Final = (1, 8, 64)
#: Partitions and processes.
PROCESSES: Final = ((1, 1), (2, 1), (2, 2), (4, 1), (4, 2), (4, 4))
#: Processes join one after the other: the beginning is not measured.
JOINED: Final = 0.3
_KIB: Final = 1024.0


def growth(plan: Plan) -> list[Table]:
    """Measure all four."""
    if plan.quick:
        return [_assets(plan, ASSETS[:2], None), _windows(plan, SAMPLES[:1], SENSORS[:1])]
    return [
        _assets(plan, ASSETS, DEEP),
        _windows(plan, SAMPLES, SENSORS),
        _processes(plan, PROCESSES),
    ]


def _assets(plan: Plan, counts: tuple[int, ...], deep: tuple[int, int] | None) -> Table:
    count = QUICK_WINDOWS if plan.quick else WINDOWS
    loads = {f"{assets:,} assets": (Load(assets=assets), max(count, assets)) for assets in counts}
    if deep is not None:
        assets, each = deep
        loads[f"{assets:,} assets, {each} windows each"] = (Load(assets=assets), assets * each)
    jobs = {name: (load, count, 1, PARTITIONS) for name, (load, count) in loads.items()}
    runs = _run(plan, jobs, REPEATS)
    least = next(iter(runs))
    base_assets, base = loads[least][0].assets, _rss(runs[least])
    rows: list[Row] = []
    for name, (load, windows) in loads.items():
        more = load.assets - base_assets
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
        f"KiB an asset: resident set above that of {least}, over the additional assets.",
    )


def _windows(plan: Plan, samples: tuple[int, ...], sensors: tuple[int, ...]) -> Table:
    most = QUICK_WINDOWS if plan.quick else WINDOWS // 2
    loads = [Load(assets=100, samples=number) for number in samples]
    loads += [Load(assets=100, sensors=number) for number in sensors if number != Load().sensors]
    jobs = {
        f"{load.samples} x {load.sensors}": (
            load,
            max(2_000, min(most, BYTES // load.window_bytes)),
            1,
            PARTITIONS,
        )
        for load in sorted(loads, key=lambda load: load.window_bytes)
    }
    runs = _run(plan, jobs, REPEATS)
    rows: list[Row] = []
    for name, (load, _, _, _) in jobs.items():
        rate = spread([run.rate for run in runs[name]])
        rows.append(
            {
                "samples x sensors": name,
                "bytes": load.window_bytes,
                "windows/s": rate,
                "readings/s, millions": rate.median * load.samples * load.sensors / 1e6,
                "cores": _cores(runs[name]),
                "RSS MiB": spread([run.rss_mib[0] for run in runs[name]]),
            }
        )
    return Table("Longer and wider windows: one stream processor, 100 assets", rows)


def _processes(plan: Plan, pairs: tuple[tuple[int, int], ...]) -> Table:
    jobs = {
        f"{partitions} and {processes}": (Load(assets=100), WINDOWS, processes, partitions)
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
        broker = [run.broker_cores for run in runs[name] if run.broker_cores is not None]
        rows.append(
            {
                "partitions": partitions,
                "processes": processes,
                "windows/s": rate,
                "times one process": rate.median / one[partitions],
                "cores of all processes": _cores(runs[name]),
                "broker cores": statistics.median(broker) if broker else None,
                "RSS MiB, all": spread([sum(run.rss_mib) for run in runs[name]]),
            }
        )
    return Table(
        "More partitions and processes: 100 assets",
        rows,
        "cores: processor time per second. Where processes and broker together use all cores that"
        " there are, more processes cannot help.",
    )


Job = tuple[Load, int, int, int]


def _run(plan: Plan, jobs: dict[str, Job], repeats: int) -> dict[str, list[Run]]:
    """Fill a namespace for each job, run all in turn, and remove them."""
    plan.bar.runs(len(jobs))
    prepared: dict[str, tuple[Settings, Job]] = {}
    for name, job in jobs.items():
        load, count, processes, partitions = job
        plan.bar.begin(f"{name}: {count:,} windows are written")
        settings = plan.servers.settings(
            f"growth-{load.assets}-{load.samples}x{load.sensors}-{count}-{partitions}-{processes}",
            partitions,
        )
        declare(settings, load)
        fill([settings], load, count)
        prepared[name] = settings, job
    contenders = {name: _one(plan, settings, job) for name, (settings, job) in prepared.items()}
    found = in_turns(contenders, plan.times(repeats), plan.bar)
    for settings, _ in prepared.values():
        remove_topics(settings)
    return found


def _one(plan: Plan, settings: Settings, job: Job) -> Callable[[Tell], Run]:
    _, count, processes, _ = job

    def run(tell: Tell) -> Run:
        return run_stream_processor(
            settings,
            count,
            servers=plan.servers,
            watch=WATCH,
            seconds=QUICK_SECONDS if plan.quick else SECONDS,
            processes=processes,
            skipped=JOINED,
            tell=tell,
        )

    return run


def _rss(runs: list[Run]) -> float:
    return statistics.median(run.rss_mib[0] for run in runs)


def _pss(runs: list[Run]) -> float | None:
    known = [run.pss_mib[0] for run in runs if run.pss_mib[0] is not None]
    return statistics.median(known) if known else None


def _cores(runs: list[Run]) -> float:
    return statistics.median(run.cores for run in runs)
