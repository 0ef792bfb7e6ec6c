"""`python -m stream_processors`: settings → app → run until told to stop."""

from __future__ import annotations

import sys

import faust

from contracts.errors import MillraceError
from infra.logs import configure_logs
from infra.settings import Settings
from infra.telemetry import Health, serve_telemetry
from stream_processors.app import build_app


def main() -> int:
    """Run the stream processor.

    Returns:
        Exit status.
    """
    try:
        settings = Settings.read()
    except MillraceError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    configure_logs(settings)
    health = Health()
    app = build_app(settings, health)
    serve_telemetry(settings, health)
    worker = faust.Worker(
        app, loglevel="WARNING", redirect_stdouts=False, override_logging=False, quiet=True
    )
    return worker.execute_from_commandline()


if __name__ == "__main__":
    sys.exit(main())
