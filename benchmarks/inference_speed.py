"""How fast stamped windows become predictions: ours, others' way, and the bare model.

The stamped windows are those that our own stream processor writes. Contenders read them from
Kafka and write predictions; ours also runs each window on the version that it is stamped with,
checks every forecast, states its provenance, and commits predictions and offsets together. The
bare model reads nothing and writes nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from uuid import uuid4

import msgspec
import numpy as np
from msgspec.structs import replace

from benchmarks.keras_loop_task import BATCH, Task
from benchmarks.namespaces import create_output, remove_topic, remove_topics, renew
from benchmarks.plan import Plan
from benchmarks.release import publish_network
from benchmarks.result import Row, Table, ratio, spread
from benchmarks.service import Service, millrace, python_module
from benchmarks.stream_run import run_contender, run_stream_processor
from benchmarks.transport_loop import MOST
from benchmarks.turns import Tell, in_turns
from benchmarks.windows import Load, declare, fill
from millrace.contracts.events.prediction import Prediction
from millrace.contracts.topics import MODEL_EVENTS, NORMALIZED, PREDICTIONS, SENSOR_WINDOWS
from millrace.contracts.wire.groups import INFERENCE
from millrace.infra.kafka.log_reader import read_all
from millrace.infra.settings import Settings
from millrace.model_families.lstm_highway.forecaster import Architecture, architecture_of
from millrace.model_families.padding import SIZES

PARTITIONS: Final = 4
WINDOWS: Final = 100_000
QUICK_WINDOWS: Final = 10_000
SECONDS: Final = 8.0
QUICK_SECONDS: Final = 4.0
#: Writing the stamped windows may take so long.
STAMP_SECONDS: Final = 120.0
#: Units of the LSTM: the trainer's, and so many that the network is what costs.
LARGE_UNITS: Final = 128

BARE: Final = "bare model, full batches (the limit)"
KERAS: Final = "bare model, Keras's predict on all of them"
TRANSPORT: Final = "transport alone, one transaction after the other"
OURS: Final = "Millrace"
EAGER: Final = "micro-batches, eager"
ONE: Final = "one predict per record"


@dataclass(frozen=True)
class Speed:
    """One run.

    Attributes:
        rate: Windows per second.
        batch: Windows of a batch, median.
        seconds: Of each batch.
        cores: Processor time of the process per second; None where that was not looked at.
        broker_cores: The same of the broker; None if it is not ours, too.
    """

    rate: float
    batch: float
    seconds: list[float]
    cores: float | None = None
    broker_cores: float | None = None


@dataclass(frozen=True)
class Case:
    """Windows and the network that reads them.

    Attributes:
        load: The windows.
        units: Units of the network's LSTM; the trainer's if None.
        repeats: How often each contender runs.
    """

    load: Load
    units: int | None = None
    repeats: int = 1

    @property
    def network(self) -> Architecture:
        """The network."""
        usual = architecture_of(self.load.spec)
        return usual if self.units is None else replace(usual, units=self.units)


CASES: Final = (
    Case(Load(assets=100), repeats=3),
    Case(Load(assets=100), units=LARGE_UNITS),
    Case(Load(assets=100, samples=96)),
)


def inference_speed(plan: Plan) -> list[Table]:
    """Measure all contenders: the usual windows, with a larger network, and long windows."""
    return [_table(plan, case) for case in (CASES[:1] if plan.quick else CASES)]


def _table(plan: Plan, case: Case) -> Table:
    load, network = case.load, case.network
    windows = QUICK_WINDOWS if plan.quick else WINDOWS
    seconds = QUICK_SECONDS if plan.quick else SECONDS
    settings = plan.servers.settings(f"inference-{load.samples}-{network.units}", PARTITIONS)
    tell = plan.bar.begin(f"{windows:,} stamped windows of {load.samples} samples are written")
    declare(settings, load, publish_network(settings, load.spec, load.units, network))
    fill([settings], load, windows)
    run_stream_processor(
        settings, windows, servers=plan.servers, watch=None, seconds=STAMP_SECONDS, tell=tell
    )
    contenders: dict[str, Callable[[Tell], Speed]] = {
        BARE: lambda _: bare_model(plan, settings, case, "bare", seconds / 2),
        KERAS: lambda _: bare_model(plan, settings, case, "keras", seconds / 2),
        TRANSPORT: lambda tell: _loop(plan, settings, case, ("transport", windows, seconds), tell),
        OURS: lambda tell: _ours(plan, settings, windows, seconds, tell),
        EAGER: lambda tell: _loop(plan, settings, case, ("eager", windows, seconds), tell),
        ONE: lambda tell: _loop(plan, settings, case, ("one", windows, seconds), tell),
    }
    found = in_turns(contenders, plan.times(case.repeats), plan.bar)
    remove_topics(settings)
    return Table(
        f"Predictions per second, windows of {load.samples} x {load.sensors},"
        f" LSTM of {network.units} units, one process",
        _rows(found),
        "batch ms: from one batch to the next, everything included; cores: processor time of the"
        " process per second, and of the broker beside it.",
    )


def _rows(found: dict[str, list[Speed]]) -> list[Row]:
    rates = {name: spread([run.rate for run in runs]) for name, runs in found.items()}
    rows: list[Row] = []
    for name, runs in found.items():
        seconds = np.concatenate([run.seconds for run in runs]) * 1000
        cores = [run.cores for run in runs if run.cores is not None]
        broker = [run.broker_cores for run in runs if run.broker_cores is not None]
        rows.append(
            {
                "contender": name,
                "windows/s": rates[name],
                "of the limit": ratio(rates[name], rates[BARE]),
                "of the transport": ratio(rates[name], rates[TRANSPORT]),
                "of Keras's predict": ratio(rates[name], rates[KERAS]),
                "times one predict": ratio(rates[name], rates[ONE]),
                "windows a batch": spread([run.batch for run in runs]).median,
                "batch p50 ms": float(np.percentile(seconds, 50)) if len(seconds) else None,
                "batch p99 ms": float(np.percentile(seconds, 99)) if len(seconds) else None,
                "cores": spread(cores).median if cores else None,
                "broker cores": spread(broker).median if broker else None,
            }
        )
    return rows


def _ours(plan: Plan, settings: Settings, windows: int, seconds: float, tell: Tell) -> Speed:
    kept = (SENSOR_WINDOWS.name, NORMALIZED.name, MODEL_EVENTS.name)
    renew(settings, INFERENCE, PREDICTIONS.name, kept)
    logs = plan.servers.folder / "log"
    profile = None if plan.profile is None else plan.profile / "inference.profile"

    def finish(services: Sequence[Service]) -> None:
        if profile is not None:
            services[0].end_profile()

    run = run_contender(
        lambda: [millrace("millrace.inference", settings, logs, profile=profile)],
        settings,
        PREDICTIONS.name,
        windows,
        servers=plan.servers,
        seconds=seconds,
        tell=tell,
        finish=finish,
    )
    sizes, between = _batches(settings)
    return Speed(run.rate, float(np.median(sizes)), between, run.cores, run.broker_cores)


def _batches(settings: Settings) -> tuple[list[int], list[float]]:
    """Read off the predictions themselves how large batches were, and how far apart.

    All predictions of a run of the network state the same moment; a transaction has several runs.
    """
    decode = msgspec.json.Decoder(Prediction).decode
    counts: dict[float, int] = {}
    for message in read_all(settings, PREDICTIONS, batch=10_000):
        moment = decode(message.value() or b"").predicted_at.timestamp()
        counts[moment] = counts.get(moment, 0) + 1
    moments = sorted(counts)
    return [counts[m] for m in moments], np.diff(moments).tolist()


def _loop(
    plan: Plan, settings: Settings, case: Case, how: tuple[str, int, float], tell: Tell
) -> Speed:
    mode, windows, seconds = how
    group = f"{mode}.{uuid4().hex[:8]}"
    output = f"predictions.{group}"
    create_output(settings, output)
    path, target = _task(
        plan, settings, Task(case.load.spec, case.network, group, output, ""), mode
    )
    module, arguments = "benchmarks.keras_loop", [mode, str(path)]
    if mode == "transport":
        module, arguments = "benchmarks.transport_loop", [str(path)]
    run = run_contender(
        lambda: [python_module(module, arguments, settings, plan.servers.folder)],
        settings,
        output,
        windows,
        servers=plan.servers,
        seconds=seconds,
        tell=tell,
        finish=lambda services: services[0].terminate(),
    )
    remove_topic(settings, output)
    size = {"one": 1.0, "transport": MOST}.get(mode, BATCH)
    return Speed(run.rate, size, json.loads(target.read_text()), run.cores, run.broker_cores)


def bare_model(plan: Plan, settings: Settings, case: Case, mode: str, duration: float) -> Speed:
    """Run the bare model on each of our sizes; the fastest is the limit."""
    best: Speed | None = None
    for size in sorted(SIZES)[-2:]:
        task = Task(case.load.spec, case.network, "", "", "", size, duration / 2)
        path, target = _task(plan, settings, task, mode)
        with python_module(
            "benchmarks.keras_loop", [mode, str(path)], settings, plan.servers.folder
        ) as service:
            service.await_end()
        seconds: list[float] = json.loads(target.read_text())
        made = Speed(size / float(np.median(seconds)), float(size), seconds)
        best = made if best is None or made.rate > best.rate else best
    if best is None:
        raise ValueError("inference has no batch sizes")
    return best


def _task(plan: Plan, settings: Settings, task: Task, mode: str) -> tuple[Path, Path]:
    """Write a loop's task; returns its file, and the one that the loop will write."""
    folder = plan.servers.home / "loops"
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"{settings.namespace}-{mode}.seconds.json"
    path = folder / f"{settings.namespace}-{mode}.json"
    path.write_bytes(msgspec.json.encode(replace(task, seconds=str(target))))
    return path, target
