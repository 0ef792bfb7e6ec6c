"""A broker of a test's own, to be killed and started again on its data and its port."""

import signal
import subprocess
import sys
from pathlib import Path

from millrace.contracts.errors import ServerError
from millrace.infra.embedded.instance import choose_port
from millrace.infra.embedded.kafka import Kafka
from millrace.infra.local.waiting import wait_until
from tests.places import PROJECT, jar_folder

_START_SECONDS = 60.0


class Broker:
    """A broker on a folder."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._kafka = Kafka(home)
        self._process: subprocess.Popen[bytes] | None = None
        self.port = choose_port()

    def start(self) -> None:
        """Start it, and wait until it answers."""
        self._process = subprocess.Popen(
            [
                *(sys.executable, "-m", "millrace.infra.embedded", "kafka"),
                *("--home", str(self._home)),
                *("--cache", str(jar_folder())),
                *("--port", str(self.port)),
            ],
            cwd=PROJECT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        wait_until(self._answers, "the broker", seconds=_START_SECONDS)

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Kill it as it stands; with another signal, wait until it has ended by itself."""
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait()
            self._process = None

    def _answers(self) -> bool:
        try:
            self._kafka.check(self.port, 5.0)
        except ServerError:
            return False
        return True
