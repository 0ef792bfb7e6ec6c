"""`millrace up`: runs the whole system until Ctrl-C."""

from __future__ import annotations

import time
from typing import Final

from rich.live import Live

from millrace.console.cli.status import programs_table
from millrace.console.operations.models import SOURCE
from millrace.console.operations.status import program_lines
from millrace.console.terminal.output import print_json_line, remark, remarks
from millrace.console.terminal.progress import Progress
from millrace.contracts.model_spec import ModelSpec
from millrace.infra.declare import declare_model
from millrace.infra.local.home import Home
from millrace.infra.local.system import System, running_system
from millrace.infra.settings import Settings

_REFRESH_SECONDS: Final = 2.0


def run_up(datasets: list[str], *, as_json: bool) -> None:
    """Start the system, declare models, and watch it until interrupted.

    Args:
        datasets: Descriptions whose models are declared.
        as_json: Print the addresses as one line of JSON when all programs are ready.

    Raises:
        MillraceError: A program does not start, or a dataset cannot be read.
    """
    settings = Settings.read()
    specs = [_spec(where, settings) for where in datasets]
    with (
        Progress() as progress,
        running_system(settings, progress.waiting_for, warn=remark) as system,
    ):
        for spec in specs:
            declare_model(system.settings, spec, SOURCE)
        progress.done(f"everything runs; logs in {system.home.logs}; Ctrl-C ends it")
        if as_json:
            print_json_line(
                {
                    "kafka_bootstrap_servers": system.settings.kafka_bootstrap_servers,
                    "s3_endpoint": system.settings.s3_endpoint,
                    "namespace": system.settings.namespace,
                    "telemetry": system.telemetry,
                    "models": [spec.name for spec in specs],
                }
            )
        try:
            _watch(system, specs)
        except KeyboardInterrupt:
            remarks.print("ending; a moment, please")
            raise


def _spec(where: str, settings: Settings) -> ModelSpec:
    from millrace.producers.sources.opening import open_recording  # noqa: PLC0415  (pandas is slow to import)

    return open_recording(where, settings).spec


def _watch(system: System, specs: list[ModelSpec]) -> None:
    """Show the programs until interrupted; prints nothing without a terminal.

    A program that does not stay up is shown, but does not end the command: outages are transient.

    Raises:
        ServerError: The process manager has ended.
    """
    names = ", ".join(spec.name for spec in specs) or "none yet: `millrace models declare`"
    home: Home = system.home
    remarks.print(
        f"Kafka {system.settings.kafka_bootstrap_servers}, object store"
        f" {system.settings.s3_endpoint}, models: {names}",
        highlight=False,
    )
    with Live(console=remarks, auto_refresh=False, transient=True) as live:
        while True:
            system.supervisor.states()
            if remarks.is_terminal:
                live.update(
                    programs_table(program_lines(system.supervisor, system.telemetry)),
                    refresh=True,
                )
            if not home.address.exists():
                return
            time.sleep(_REFRESH_SECONDS)
