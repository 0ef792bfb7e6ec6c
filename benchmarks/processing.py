"""How fast windows are normalised: ours, other frameworks, and the limit of the raw client.

Every contender reads the same windows from Kafka, decodes them, normalises them with NumPy and
writes them back. Peers do that alone. Ours also validates each window, finds its model, stamps
it with its version and origin, drops repeats, confirms every output before it acknowledges the
input, and can be killed at any moment; with detectors it also watches eight sensors per asset.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.namespaces import create_output, remove_topic, remove_topics
from benchmarks.peer_environment import PeersMissingError, peer_python
from benchmarks.plan import Plan
from benchmarks.result import Cell, Row, Table, ratio, spread
from benchmarks.service import Service
from benchmarks.stream_run import Run, run_contender, run_stream_processor
from benchmarks.turns import Tell, in_turns
from benchmarks.windows import Load, declare, fill
from millrace.console.terminal.output import remarks
from millrace.contracts.topics import SENSOR_WINDOWS
from millrace.infra.settings import Settings

PARTITIONS: Final = 4
WINDOWS: Final = 200_000
QUICK_WINDOWS: Final = 20_000
#: Rates of one contender differ by a third within minutes; fewer repeats cannot tell 0.9 from 1.1.
REPEATS: Final = 7
REPEATS_OF_MANY_ASSETS: Final = 3
#: Longest measurement of a contender, seconds; who is slower is measured on fewer windows.
SECONDS: Final = 8.0
QUICK_SECONDS: Final = 3.0
ASSETS: Final = (10, 1000)

LIMIT: Final = "raw client loop (the limit)"
QUIX: Final = "Quix Streams"
BYTEWAX: Final = "Bytewax"
FAUST: Final = "Faust, plain agent"
#: Detectors on inputs, by what a row is called; None monitors nothing.
WATCHES: Final = {
    "Millrace": None,
    "Millrace, Page-Hinkley": "PageHinkley",
    "Millrace, Page-Hinkley and ADWIN": "PageHinkley, ADWIN",
}
_SCRIPTS: Final = {LIMIT: "raw_loop", QUIX: "quix", BYTEWAX: "bytewax_flow", FAUST: "faust_agent"}
_FOLDER: Final = Path(__file__).with_name("peers")


@dataclass(frozen=True)
class _Field:
    """What all contenders of a table share."""

    plan: Plan
    load: Load
    windows: int
    seconds: float
    settings: dict[str | None, Settings]
    python: Path | None


def processing(plan: Plan) -> list[Table]:
    """Measure all contenders, with few and with many assets."""
    try:
        python: Path | None = peer_python(
            plan.servers.folder, lambda what: remarks.print(f"fetching {what}", highlight=False)
        )
    except PeersMissingError as missing:
        remarks.print(str(missing), markup=False, highlight=False)
        python = None
    return [
        _table(plan, Load(assets=assets), python, first=assets == ASSETS[0])
        for assets in (ASSETS[:1] if plan.quick else ASSETS)
    ]


def _table(plan: Plan, load: Load, python: Path | None, *, first: bool) -> Table:
    windows = QUICK_WINDOWS if plan.quick else WINDOWS
    seconds = QUICK_SECONDS if plan.quick else SECONDS
    settings = {
        watch: plan.servers.settings(f"processing-{load.assets}-{number}", PARTITIONS)
        for number, watch in enumerate(WATCHES.values())
    }
    for each in settings.values():
        declare(each, load)
    plan.bar.begin(f"{windows:,} windows of {load.assets:,} assets are written")
    fill(list(settings.values()), load, windows)
    field = _Field(plan, load, windows, seconds, settings, python)
    contenders: dict[str, Callable[[Tell], Run]] = {LIMIT: _peer(field, LIMIT)}
    if first and python is not None:
        contenders |= {name: _peer(field, name) for name in (QUIX, BYTEWAX, FAUST)}
    contenders |= {name: _ours(field, name) for name in WATCHES}
    found = in_turns(contenders, plan.times(REPEATS if first else REPEATS_OF_MANY_ASSETS), plan.bar)
    for each in settings.values():
        remove_topics(each)
    rows = _rows(found)
    if first and python is None:
        rows += [
            {**dict.fromkeys(rows[0]), "contender": name, "windows/s": "not installed"}
            for name in (QUIX, BYTEWAX, FAUST)
        ]
    return Table(
        f"Windows of {load.samples} x {load.sensors} float32 ({load.window_bytes} bytes) normalised"
        f" per second, one process, {PARTITIONS} partitions, {load.assets:,} assets",
        rows,
        "cores: processor time of the contender's process per second, and of the broker beside it;"
        " acknowledged: seconds after the last output until the input was committed to its end.",
    )


def _rows(found: dict[str, list[Run]]) -> list[Row]:
    rates = {name: spread([run.rate for run in runs]) for name, runs in found.items()}
    peers = [rates[name].median for name in (QUIX, BYTEWAX) if name in rates]
    fastest: Cell = max(peers) if peers else None
    rows: list[Row] = []
    for name, runs in found.items():
        late = [r.acknowledged_seconds for r in runs if r.acknowledged_seconds is not None]
        broker = [run.broker_cores for run in runs if run.broker_cores is not None]
        rows.append(
            {
                "contender": name,
                "windows/s": rates[name],
                "of the limit": ratio(rates[name], rates[LIMIT]),
                "of the faster peer": ratio(rates[name], fastest),
                "of plain Faust": ratio(rates[name], rates.get(FAUST)),
                "cores": spread([run.cores for run in runs]).median,
                "broker cores": spread(broker).median if broker else None,
                "RSS MiB": spread([sum(run.rss_mib) for run in runs]).median,
                "acknowledged s": spread(late).median if late else None,
                "windows": max(run.records for run in runs),
            }
        )
    return rows


def _ours(field: _Field, name: str) -> Callable[[Tell], Run]:
    watch = WATCHES[name]
    profile = field.plan.profile

    def run(tell: Tell) -> Run:
        return run_stream_processor(
            field.settings[watch],
            field.windows,
            servers=field.plan.servers,
            watch=watch,
            seconds=field.seconds,
            tell=tell,
            profile=None if profile is None else profile / f"{name}.profile",
        )

    return run


def _peer(field: _Field, name: str) -> Callable[[Tell], Run]:
    script = _SCRIPTS[name]
    settings = field.settings[None]
    turn = 0

    def run(tell: Tell) -> Run:
        nonlocal turn
        turn += 1
        output = f"normalised.{script}.{turn}"
        create_output(settings, output)
        folder = field.plan.servers.home / "peers" / f"{script}-{turn}"
        folder.mkdir(parents=True, exist_ok=True)
        task = folder / "task.json"
        task.write_text(
            json.dumps(
                {
                    "brokers": settings.kafka_bootstrap_servers,
                    "source": settings.named(SENSOR_WINDOWS.name),
                    "target": settings.named(output),
                    "group": settings.named(f"peer.{script}.{turn}"),
                    "folder": str(folder),
                    "mean": field.load.units.mean,
                    "scale": field.load.units.scale,
                }
            )
        )
        made = run_contender(
            lambda: [_start_peer(field, script, task)],
            settings,
            output,
            field.windows,
            servers=field.plan.servers,
            seconds=field.seconds,
            tell=tell,
        )
        remove_topic(settings, output)
        return made

    return run


def _start_peer(field: _Field, script: str, task: Path) -> Service:
    python = sys.executable if script == _SCRIPTS[LIMIT] else str(field.python)
    command = [python, str(_FOLDER / f"{script}.py"), str(task)]
    if script == _SCRIPTS[BYTEWAX]:
        command = [python, "-m", "bytewax.run", f"{script}:build('{task}')"]
    logs = field.plan.servers.folder / "log"
    return Service(f"peer-{script}", command, {"PYTHONPATH": str(_FOLDER)}, logs)
