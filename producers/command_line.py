"""The edge's commands: `replay`, `simulate`, `host`, `flush`.

Run as ``python -m millrace.producers``. Each command builds windows and a tempo, and passes both
to `send_loop.replay`. Ctrl-C ends a run cleanly: windows that were handed over are delivered or
kept in the spool, the summary is still printed, and the exit code shows the interruption.
"""

import platform
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from millrace.contracts.errors import DataError, SettingsError
from millrace.contracts.events.window import SensorWindow
from millrace.contracts.ids import digest_of
from millrace.contracts.model_spec import ModelSpec
from millrace.infra.process import fault_points
from millrace.infra.process.logs import configure_logs
from millrace.infra.settings import Settings
from millrace.producers.delivery.forwarder import Forwarder
from millrace.producers.delivery.open_forwarder import Run
from millrace.producers.delivery.spool_folder import SpoolOptions, SpoolOwner, parse_bytes
from millrace.producers.flush import flush_spools
from millrace.producers.live import live_windows
from millrace.producers.pacing import Pacer, Tempo
from millrace.producers.record import Encoding
from millrace.producers.send_loop import LOOK_SECONDS
from millrace.producers.session import Session
from millrace.producers.sources.defects import REASONS, make_bad
from millrace.producers.sources.host import HostSource
from millrace.producers.sources.opening import FLEET, open_recording
from millrace.producers.sources.simulate import SPEC, quiet_windows
from millrace.producers.windows import between, windows

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    help="Send windows of readings: recorded, simulated, or this machine's own.",
)

Json = Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")]
Declare = Annotated[
    bool,
    typer.Option(
        "--declare/--no-declare",
        help="Make the model known first, if it is not; needs the right to write the registry.",
    ),
]
Coding = Annotated[Encoding, typer.Option("--encoding", help="How windows are coded.")]
SpoolFolder = Annotated[
    Path | None,
    typer.Option(
        "--spool",
        help="Folder in which windows wait for the broker; one of its own under MILLRACE_HOME"
        " when not given.",
    ),
]
NoSpool = Annotated[
    bool,
    typer.Option(
        "--no-spool", help="Send from memory: what is not delivered is lost with the process."
    ),
]
SpoolLimit = Annotated[
    str, typer.Option("--spool-limit", help="Size to which the spool may grow on disk.")
]


@app.command("replay")
def replay_command(
    where: Annotated[
        str, typer.Argument(help="A dataset.toml (path or s3://), or the word fleet.")
    ],
    *,
    after: Annotated[
        str | None, typer.Option("--from", help="Only windows that end after this (ISO 8601).")
    ] = None,
    until: Annotated[
        str | None, typer.Option(help="Only windows that end by this (ISO 8601).")
    ] = None,
    speed: Annotated[float | None, typer.Option(help="Recorded seconds per second.")] = None,
    rate: Annotated[float | None, typer.Option(help="Windows per second.")] = None,
    as_fast_as_possible: Annotated[
        bool, typer.Option("--as-fast-as-possible", help="Without a pace (the default).")
    ] = False,
    training_speed: Annotated[
        float | None,
        typer.Option(help="Recorded seconds per second while a training run is in progress."),
    ] = None,
    max_idle: Annotated[
        float | None, typer.Option(help="Cut longer waits to this many seconds.")
    ] = None,
    encoding: Coding = "msgpack",
    declare: Declare = True,
    spool: SpoolFolder = None,
    no_spool: NoSpool = False,
    spool_limit: SpoolLimit = "1G",
    restart: Annotated[
        bool,
        typer.Option(
            "--restart", help="Begin again, not where an interrupted run of this recording ended."
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Replay a recording in the order of event time."""
    if as_fast_as_possible and (speed is not None or rate is not None):
        raise SettingsError("--as-fast-as-possible excludes --speed and --rate: give one of them")
    settings = _settings()
    pacer = Pacer(Tempo(speed, rate), training_speed, max_idle)
    recording = open_recording(where, settings)
    spec = recording.spec
    found = between(
        windows(recording.frame(), spec),
        _moment(after, "--from"),
        _moment(until, "--until"),
    )
    if not found:
        raise DataError(
            f"{where}: no full window of {spec.window} samples, {spec.period_seconds:g} s apart,"
            " in this stretch; check period_seconds, the story and --from/--until"
        )
    place = where if where == FLEET or "://" in where else str(Path(where).resolve())
    stretch = f" from {after}" * (after is not None) + f" until {until}" * (until is not None)
    run = Run(
        spec if declare else None,
        f"/millrace/edge/{spec.name}",
        SpoolOwner(f"replay-{spec.name}", f"the recording {place}{stretch} ({_cut(spec)})"),
        _spool_options(spool, spool_limit, no_spool=no_spool, restart=restart),
        encoding,
        positions=True,
    )
    with Session(settings, spec.name, as_json=as_json) as session:
        watched = training_speed is not None
        session.deliver(run, found, pacer, total=len(found), watched=watched)


@app.command("simulate")
def simulate_command(
    *,
    rate: Annotated[float, typer.Option(help="Windows per second.")] = 200.0,
    minutes: Annotated[float, typer.Option(help="For how long.")] = 1.0,
    bad: Annotated[
        float, typer.Option(help="Share of windows after which a bad one is sent, too.")
    ] = 0.0,
    seed: Annotated[int, typer.Option(help="Seed of the bad windows.")] = 1,
    encoding: Coding = "msgpack",
    declare: Declare = True,
    spool: SpoolFolder = None,
    no_spool: NoSpool = False,
    spool_limit: SpoolLimit = "1G",
    as_json: Json = False,
) -> None:
    """Send windows of the simulated fleet, in its quiet days, at a steady rate."""
    if not minutes > 0:
        raise SettingsError(f"--minutes is {minutes:g}: give a number above 0")
    if not 0 <= bad <= 1:
        raise SettingsError(f"--bad is {bad:g}: give a share from 0 to 1")
    settings = _settings()
    total = max(1, round(rate * minutes * 60))
    pacer = Pacer(Tempo(rate=rate))
    found = quiet_windows(total, datetime.now(UTC))
    run = Run(
        SPEC if declare else None,
        "/millrace/edge/simulate",
        SpoolOwner("simulate", "the simulation"),
        _spool_options(spool, spool_limit, no_spool=no_spool),
        encoding,
    )
    with Session(settings, SPEC.name, as_json=as_json) as session:
        session.deliver(run, found, pacer, total=total, after=_spoiler(bad, seed))


@app.command("host")
def host_command(
    *,
    asset: Annotated[str, typer.Option(help="Name of this machine.")] = platform.node() or "host",
    period: Annotated[float, typer.Option(help="Seconds between readings.")] = 1.0,
    minutes: Annotated[
        float | None, typer.Option(help="For how long; until Ctrl-C when not given.")
    ] = None,
    encoding: Coding = "msgpack",
    declare: Declare = True,
    spool: SpoolFolder = None,
    no_spool: NoSpool = False,
    spool_limit: SpoolLimit = "1G",
    as_json: Json = False,
) -> None:
    """Send this machine's own sensors, live."""
    if not period >= LOOK_SECONDS:
        raise SettingsError(f"--period is {period:g}: give at least {LOOK_SECONDS:g} s")
    settings = _settings()
    source = HostSource(asset, period)
    ends = None if minutes is None else time.monotonic() + 60 * minutes
    run = Run(
        source.spec if declare else None,
        f"/millrace/edge/{asset}",
        SpoolOwner(source.name, f"{source.title} ({_cut(source.spec)})"),
        _spool_options(spool, spool_limit, no_spool=no_spool),
        encoding,
        live=True,
    )
    with Session(settings, source.spec.name, as_json=as_json) as session:

        def ended() -> bool:
            return session.stopping or (ends is not None and time.monotonic() >= ends)

        session.deliver(run, live_windows(source, ended), Pacer(Tempo()), total=None)


@app.command("flush")
def flush_command(
    *,
    spool: Annotated[
        Path | None, typer.Option("--spool", help="Only the spool in this folder.")
    ] = None,
    any_cluster: Annotated[
        bool,
        typer.Option(
            "--any-cluster", help="Send windows that were spooled for another Kafka cluster here."
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Send what waits in the spools of edges that have ended, and end."""
    flush_spools(_settings(), spool, any_cluster=any_cluster, as_json=as_json)


def _cut(spec: ModelSpec) -> str:
    """Name the parameters of cutting, so that differently cut windows have another spool."""
    return f"{spec.name} {digest_of(repr(spec))[:8]}"


def _spool_options(
    folder: Path | None, limit: str, *, no_spool: bool, restart: bool = False
) -> SpoolOptions | None:
    """Combine the options about the spool."""
    if no_spool and (folder is not None or restart):
        raise SettingsError("--no-spool excludes --spool and --restart")
    return None if no_spool else SpoolOptions(folder, parse_bytes(limit), restart)


def _settings() -> Settings:
    settings = Settings.read()
    configure_logs(settings)
    fault_points.arm(settings.fault, settings.fault_marks)
    return settings


def _moment(text: str | None, option: str) -> datetime | None:
    """Parse a time of the command line; without a zone it is UTC."""
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise SettingsError(
            f"{option} {text!r} is not a time; write one like 2017-03-01"
        ) from error
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment


def _spoiler(share: float, seed: int) -> Callable[[Forwarder, SensorWindow], int]:
    """Build a seeded callback that sends a bad record after a share of the windows."""
    rng = np.random.default_rng(seed)

    def after(forwarder: Forwarder, window: SensorWindow) -> int:
        if rng.random() >= share:
            return 0
        bad = make_bad(window, REASONS[int(rng.integers(len(REASONS)))], rng)
        at_ms = time.time_ns() // 1_000_000
        return int(forwarder.send_record(bad.key, bad.value, bad.headers, at_ms))

    return after
