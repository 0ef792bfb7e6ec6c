"""`python -m inference`: settings → loader and consumer → run until told to stop."""

from __future__ import annotations

import signal
import sys
import threading

import structlog

from contracts.errors import MillraceError
from inference.consumer import InferenceConsumer, replica_name
from inference.loader import Loader
from inference.network import Networks
from inference.servables import Servables
from infra.logs import configure_logs
from infra.object_store import ObjectStore
from infra.settings import Settings
from infra.telemetry import Health, serve_telemetry

_log = structlog.get_logger(__name__)
EXIT_BROKEN = 70


def main() -> int:
    """Run one inference replica.

    Returns:
        Exit status: 0 after a stop, 2 for wrong settings, 70 for broken machinery, which a
        supervisor should answer by starting it again.
    """
    try:
        settings = Settings.read()
    except MillraceError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    configure_logs(settings)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        _serve(settings, stop)
    except Exception:  # noqa: BLE001  (whatever it is: say it and end, to be started again)
        _log.exception("inference ends")
        return EXIT_BROKEN
    return 0


def _serve(settings: Settings, stop: threading.Event) -> None:
    servables = Servables()
    loader = Loader(settings, replica_name(settings), ObjectStore(settings), Networks(), servables)
    thread = threading.Thread(target=loader.run, args=(stop,), name="loader", daemon=True)
    health = Health(
        alive=lambda: None if thread.is_alive() else "the loader has died",
        waiting_for={"versions"},
    )
    serve_telemetry(settings, health)
    loader.step()
    thread.start()
    consumer = InferenceConsumer(settings, servables, loader)
    health.waiting_for.clear()
    try:
        while not stop.is_set():
            if not thread.is_alive():
                raise RuntimeError("the loader has died")
            consumer.run_once()
    finally:
        consumer.close()


if __name__ == "__main__":
    sys.exit(main())
