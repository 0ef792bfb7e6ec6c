"""How fast a replay is: from the archive to predictions in Parquet, beside its limits.

The windows are archived by the archiver. A replay reads them from the object store, validates,
stamps, normalises and predicts them, and writes a Parquet file, in one process. The live pipeline
does the same through its topics: a stream processor and an inference replica over a topic that is
full. The bare model reads nothing and writes nothing. A library's limit is what is left of the
replay where only that part is done, on the same objects and windows.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

import psutil
import pyarrow.parquet as pq

from benchmarks.inference_speed import BARE, Case, bare_model
from benchmarks.namespaces import remove_group, remove_topics, renew
from benchmarks.plan import Plan
from benchmarks.release import publish_network
from benchmarks.replay_beside import replay_beside
from benchmarks.result import Row, Table, ratio, spread
from benchmarks.service import Service, cost_of, millrace
from benchmarks.stream_run import GROUP, run_contender
from benchmarks.turns import Tell, in_turns
from benchmarks.windows import Load, declare, fill
from millrace.console.operations.replay import Planned, Request, plan_replay
from millrace.contracts.clock import now
from millrace.contracts.topics import MODEL_EVENTS, PREDICTIONS, SENSOR_WINDOWS, SERVING_LEDGER
from millrace.contracts.wire.groups import INFERENCE
from millrace.infra.archive.catalogue import Catalogue
from millrace.infra.archive.parquet import decode_tables
from millrace.infra.local.waiting import wait_until
from millrace.infra.object_store import ObjectStore
from millrace.infra.settings import Settings
from millrace.replay.past import Past
from millrace.replay.pipeline import BLOCK
from millrace.replay.records import past_records
from millrace.replay.results import table_of_runs
from millrace.replay.sinks.opening import open_sink
from millrace.replay.worker import Progress
from millrace.replay.workers import run_workers
from millrace.stream_processors.windows.validation import judge

T = TypeVar("T")

PARTITIONS: Final = 4
WINDOWS: Final = 300_000
QUICK_WINDOWS: Final = 40_000
REPEATS: Final = 5
SECONDS: Final = 20.0
ARCHIVE_SECONDS: Final = 180.0

LIVE: Final = "live pipeline (stream processor and inference)"
REPLAY: Final = "replay, archive to Parquet"


@dataclass(frozen=True)
class _Run:
    """One run.

    Attributes:
        rate: Windows per second.
        cores: Processor time of its processes per second.
        broker_cores: The same of the broker.
    """

    rate: float
    cores: float
    broker_cores: float | None = None

    @property
    def per_core(self) -> float:
        """Windows per second of processor time of its own processes."""
        return self.rate / self.cores


def replay_speed(plan: Plan) -> list[Table]:
    """Measure the replay, its limits, and the live pipeline."""
    case = Case(Load(assets=100))
    windows = QUICK_WINDOWS if plan.quick else WINDOWS
    settings = plan.servers.settings("replay", PARTITIONS)
    tell = plan.bar.begin(f"{windows:,} windows are archived")
    declare(
        settings,
        case.load,
        publish_network(settings, case.load.spec, case.load.units, case.network),
    )
    fill([settings], case.load, windows)
    _archive(plan, settings, windows, tell)
    live = _live(plan, settings, windows, tell)  # writes the ledger, too
    path = plan.servers.folder / "replayed.parquet"
    contenders: dict[str, Callable[[Tell], _Run]] = {
        BARE: lambda _: _of_model(plan, settings, case),
        REPLAY: lambda _: _replay(settings, path),
        LIVE: lambda tell: _live(plan, settings, windows, tell),
    }
    found = in_turns(contenders, plan.times(REPEATS), plan.bar)
    found[LIVE].append(live)
    shares = _shares(settings, path)
    remove_topics(settings)
    return [_speeds(case, found), _parts(shares, found), replay_beside(plan)]


def _archive(plan: Plan, settings: Settings, windows: int, tell: Tell) -> None:
    catalogue = Catalogue(ObjectStore(settings))

    def archived() -> int:
        count = sum(
            item.last + 1 - item.first
            for partition in range(PARTITIONS)
            for item in catalogue.refresh(SENSOR_WINDOWS.name, partition)
        )
        tell(count / windows)
        return count

    more = {"MILLRACE_ARCHIVER_MAX_SECONDS": "2"}
    with millrace("millrace.archiver", settings, plan.servers.folder / "log", more=more) as service:
        wait_until(
            lambda: archived() >= windows,
            "the archive",
            seconds=ARCHIVE_SECONDS,
            meanwhile=service.check,
        )


def _live(plan: Plan, settings: Settings, windows: int, tell: Tell) -> _Run:
    """Let the live services predict the full topic, as if for the first time."""
    kept = (SENSOR_WINDOWS.name, MODEL_EVENTS.name, SERVING_LEDGER.name)
    remove_group(settings, GROUP)
    renew(settings, INFERENCE, PREDICTIONS.name, kept)
    logs = plan.servers.folder / "log"

    def start() -> Sequence[Service]:
        return [
            millrace("millrace.stream_processors", settings, logs),
            millrace("millrace.inference", settings, logs),
        ]

    run = run_contender(
        start,
        settings,
        PREDICTIONS.name,
        windows,
        servers=plan.servers,
        seconds=SECONDS,
        tell=tell,
    )
    return _Run(run.rate, run.cores, run.broker_cores)


def _of_model(plan: Plan, settings: Settings, case: Case) -> _Run:
    made = bare_model(plan, settings, case, "bare", SECONDS / 4)
    return _Run(made.rate, 1.0)


def _replay(settings: Settings, path: Path) -> _Run:
    """Replay everything; the first batch, before which versions are loaded, is not counted."""
    path.unlink(missing_ok=True)
    planned = plan_replay(settings, Request(model="1"), str(path))
    moments: list[tuple[float, int, float]] = []
    done: dict[int, int] = {}
    for message in run_workers(planned.plan, settings, "replay", processes=1, idle=False):
        if isinstance(message, Progress):
            done[message.partition] = message.written.tally.records
            workers = psutil.Process().children()
            used = sum(cost_of(each).seconds for each in workers)
            if sum(done.values()):
                moments.append((time.monotonic(), sum(done.values()), used))
    open_sink(settings, planned.plan.destination, planned.plan.id).finish()
    (began, first, before), (ended, last, after) = moments[0], moments[-1]
    elapsed = ended - began
    return _Run((last - first) / elapsed, (after - before) / elapsed)


def _shares(settings: Settings, path: Path) -> dict[str, float]:
    """Seconds per window of each part of a replay alone, on windows of the archive."""
    planned: Planned = plan_replay(
        settings, Request(model="1"), str(path.with_suffix(".again.parquet"))
    )
    part = planned.plan.parts[0]
    store = ObjectStore(settings)
    items = Catalogue(store).covering(SENSOR_WINDOWS.name, part.partition, part.first, part.until)
    fetched, get = _timed(lambda: [store.get(item.key) for item in items])
    tables, read = _timed(
        lambda: [table for data in fetched for table in decode_tables(data, "archive")]
    )
    records, convert = _timed(lambda: [each for table in tables for each in past_records(table)])
    count = len(records)
    with closing(Past(settings)) as past:
        blocks = [records[start : start + BLOCK] for start in range(0, count, BLOCK)]
        _, validate = _timed(
            lambda: [judge(block, past.registry, block[-1].timestamp) for block in blocks]
        )
        pipeline = past.pipeline(planned.plan, part)
        pipeline.run(blocks[0], lambda _: True)  # loads the version
        runs, all_of_it = _timed(
            lambda: [
                run for block in blocks[1:] for run in pipeline.run(block, lambda _: True).runs
            ]
        )
        done = sum(len(run.windows) for run in runs)
    table, build = _timed(lambda: table_of_runs(runs, "bench", now()))
    sink = io.BytesIO()
    _, write = _timed(lambda: pq.write_table(table, sink, compression="zstd"))
    return {
        "fetch objects": get / count,
        "Parquet and zstd, reading": read / count,
        "records": convert / count,
        "validation": validate / count,
        "validation, stamps, units and model": all_of_it / done,
        "table of predictions": build / done,
        "Parquet and zstd, writing": write / done,
    }


def _timed(act: Callable[[], T]) -> tuple[T, float]:
    """Result of an act, and the processor time that it took, seconds."""
    began = time.process_time()
    result = act()
    return result, time.process_time() - began


def _speeds(case: Case, found: dict[str, list[_Run]]) -> Table:
    rates = {name: spread([run.rate for run in runs]) for name, runs in found.items()}
    per_core = {name: spread([run.per_core for run in runs]) for name, runs in found.items()}
    rows: list[Row] = []
    for name, runs in found.items():
        broker = [run.broker_cores for run in runs if run.broker_cores is not None]
        rows.append(
            {
                "contender": name,
                "windows/s": rates[name],
                "cores": spread([run.cores for run in runs]).median,
                "windows/s per core": per_core[name],
                "of the bare model": ratio(per_core[name], per_core[BARE]),
                "times the live pipeline": ratio(per_core[name], per_core[LIVE]),
                "broker cores": spread(broker).median if broker else None,
            }
        )
    return Table(
        f"Replayed windows per second, windows of {case.load.samples} x {case.load.sensors}, LSTM"
        f" of {case.network.units} units",
        rows,
        "cores: processor time of a contender's own processes per second; the broker's beside it.",
    )


def _parts(shares: dict[str, float], found: dict[str, list[_Run]]) -> Table:
    whole = 1 / spread([run.per_core for run in found[REPLAY]]).median
    return Table(
        "Where a replay's time goes, microseconds of processor time per window",
        [
            {"part": name, "us": 1e6 * seconds, "share": seconds / whole}
            for name, seconds in shares.items()
        ],
        "Each part alone, on one partition's windows; share: of the whole replay's time.",
    )
