"""A service that does nothing but answer for its health."""

import signal
import sys
import threading

from millrace.infra.process.telemetry import Health, serve_telemetry
from millrace.infra.settings import Settings

if __name__ == "__main__":
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    serve_telemetry(Settings.read(), Health())
    stop.wait()
    sys.exit(0)
