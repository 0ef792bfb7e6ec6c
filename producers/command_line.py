"""The edge's commands: `replay`, `simulate`, `host`. Run as ``python -m producers``.

Each makes windows and a tempo, and hands both to `replay.replay`. Ctrl-C ends a run cleanly:
what was handed over is delivered, the summary is still given, and the exit code says so.
"""

import platform
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated

import numpy as np
import typer

from contracts.errors import DataError, SettingsError
from contracts.window import SensorWindow
from infra.logs import configure_logs
from infra.settings import Settings
from producers.defects import REASONS, make_bad
from producers.host import host_spec, host_windows
from producers.pacing import Pacer, Tempo
from producers.replay import LOOK_SECONDS
from producers.sender import Encoding, Sender
from producers.session import Session
from producers.simulate import SPEC, quiet_windows
from producers.source import open_recording
from producers.windows import between, windows

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
    with Session(settings, spec, declare=declare, as_json=as_json) as session:
        sender = Sender(settings, source=f"/millrace/edge/{spec.name}", encoding=encoding)
        watched = training_speed is not None
        session.deliver(found, sender, pacer, total=len(found), watched=watched)


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
    with Session(settings, SPEC, declare=declare, as_json=as_json) as session:
        sender = Sender(settings, source="/millrace/edge/simulate", encoding=encoding)
        session.deliver(found, sender, pacer, total=total, after=_spoiler(sender, bad, seed))


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
    as_json: Json = False,
) -> None:
    """Send this machine's own sensors, live."""
    if not period >= LOOK_SECONDS:
        raise SettingsError(f"--period is {period:g}: give at least {LOOK_SECONDS:g} s")
    settings = _settings()
    spec = host_spec(period)
    ends = None if minutes is None else time.monotonic() + 60 * minutes
    with Session(settings, spec, declare=declare, as_json=as_json) as session:
        sender = Sender(settings, source=f"/millrace/edge/{asset}", encoding=encoding)

        def wait(seconds: float) -> bool:
            wakes = time.monotonic() + seconds
            while (now := time.monotonic()) < wakes and not session.stopping:
                sender.poll(min(wakes - now, LOOK_SECONDS))
            return not session.stopping and (ends is None or time.monotonic() < ends)

        session.deliver(host_windows(asset, spec, wait), sender, Pacer(Tempo()), total=None)


def _settings() -> Settings:
    settings = Settings.read()
    configure_logs(settings)
    return settings


def _moment(text: str | None, option: str) -> datetime | None:
    """Read a time from the command line; without a zone it is UTC."""
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise SettingsError(
            f"{option} {text!r} is not a time; write one like 2017-03-01"
        ) from error
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment


def _spoiler(sender: Sender, share: float, seed: int) -> Callable[[SensorWindow], int]:
    """Make what sends a bad record after a share of the windows, seeded."""
    rng = np.random.default_rng(seed)

    def after(window: SensorWindow) -> int:
        if rng.random() >= share:
            return 0
        bad = make_bad(window, REASONS[int(rng.integers(len(REASONS)))], rng)
        sender.send_record(bad.key, bad.value, bad.headers, time.time_ns() // 1_000_000)
        return 1

    return after
