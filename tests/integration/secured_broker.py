"""A broker with a second listener that wants a password, as brokers elsewhere do."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

from millrace.infra.embedded import instance
from millrace.infra.embedded.jars import fetch
from millrace.infra.embedded.kafka import Kafka
from millrace.infra.embedded.process import start, state_path, stop
from tests.places import jar_folder

USER: Final = "ada"
PASSWORD: Final = "right"  # noqa: S105  # of a broker that lives for a test
_START_SECONDS: Final = 120.0
_LOGIN: Final = "org.apache.kafka.common.security.plain.PlainLoginModule"


class Ports(NamedTuple):
    """Where it listens.

    Attributes:
        plain: For everybody.
        secured: For those with a password, SASL/PLAIN without TLS.
    """

    plain: int
    secured: int


class _Secured(Kafka):
    """The embedded broker with one more listener."""

    def __init__(self, home: Path) -> None:
        super().__init__(home)
        self.secured = instance.choose_port()

    def _configure(self, data: Path, port: int, name: str = "server.properties") -> Path:
        path = super()._configure(data, port, name)
        lines = (line.split("=", 1) for line in path.read_text().splitlines())
        settings = dict(lines)
        for key in ("listeners", "advertised.listeners"):
            settings[key] += f",SECURED://{instance.LOOPBACK}:{self.secured}"
        settings["listener.security.protocol.map"] += ",SECURED:SASL_PLAINTEXT"
        settings["sasl.enabled.mechanisms"] = "PLAIN"
        settings["listener.name.secured.plain.sasl.jaas.config"] = (
            f'{_LOGIN} required user_{USER}="{PASSWORD}";'
        )
        path.write_text("".join(f"{key}={value}\n" for key, value in settings.items()))
        return path


@contextmanager
def secured_broker(home: Path) -> Iterator[Ports]:
    """Run it while the block does.

    Args:
        home: Folder for its data.

    Raises:
        ServerError: It does not start.
    """
    kafka = _Secured(home)
    jars = fetch(jar_folder(), [kafka.name])[kafka.name]
    started: list[subprocess.Popen[bytes]] = []
    try:
        start(kafka, jars, 0, _START_SECONDS, started.append)
        state = instance.State.read(state_path(kafka))
        assert state is not None
        yield Ports(state.port, kafka.secured)
    finally:
        stop(started)
