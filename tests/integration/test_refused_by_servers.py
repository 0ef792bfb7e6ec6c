"""A server that does not let us in: one sentence that names what to check, in every command."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from millrace.contracts.errors import ServerError
from millrace.infra.kafka.handshake import shake_hands
from millrace.infra.object_store import ObjectStore
from millrace.infra.settings import Settings
from tests.integration.secured_broker import PASSWORD, USER, Ports, secured_broker
from tests.places import PROJECT

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def ports(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ports]:
    """A broker with two listeners."""
    with secured_broker(tmp_path_factory.mktemp("secured")) as found:
        yield found


def secured(ports: Ports, **more: str) -> Settings:
    """Settings of somebody who knows the password, unless told otherwise."""
    known = {
        "kafka_bootstrap_servers": f"127.0.0.1:{ports.secured}",
        "kafka_security_protocol": "SASL_PLAINTEXT",
        "kafka_sasl_mechanism": "PLAIN",
        "kafka_sasl_username": USER,
        "kafka_sasl_password": PASSWORD,
    }
    return Settings.read(**{**known, **more})


def test_who_knows_the_password_is_let_in(ports: Ports) -> None:
    """Nothing is said."""
    shake_hands(secured(ports))


def test_every_refusal_is_one_sentence(ports: Ports) -> None:
    """A wrong password, mechanism, protocol, host and port."""
    plain = f"127.0.0.1:{ports.plain}"
    refusals = {
        "refuses the user ada: Authentication failed": secured(ports, kafka_sasl_password="no"),
        "does not offer the SASL mechanism SCRAM-SHA-512, but PLAIN": secured(
            ports, kafka_sasl_mechanism="SCRAM-SHA-512"
        ),
        "knows no SASL on this port": secured(ports, kafka_bootstrap_servers=plain),
        "ends the connection: it wants TLS or SASL": secured(
            ports, kafka_security_protocol="PLAINTEXT"
        ),
        "does not answer in TLS": Settings.read(
            kafka_bootstrap_servers=plain, kafka_security_protocol="SSL"
        ),
        "cannot be found: its host's name is not known": Settings.read(
            kafka_bootstrap_servers="no-such-host.invalid:9092"
        ),
        "refuses the connection": Settings.read(kafka_bootstrap_servers="127.0.0.1:1"),
    }
    for said, settings in refusals.items():
        with pytest.raises(ServerError, match=said) as raised:
            shake_hands(settings, 2.0)
        assert f"Kafka at {settings.kafka_bootstrap_servers} {said}" in str(raised.value)
        assert "check MILLRACE_KAFKA_" in str(raised.value)


@pytest.mark.parametrize(
    "command",
    [("status",), ("edge", "simulate", "--minutes", "0.01", "--no-spool"), ("topics", "create")],
)
def test_commands_say_it(ports: Ports, command: tuple[str, ...], tmp_path: Path) -> None:
    """The right sentence, exit status 2, and no password anywhere."""
    told = {
        **{name: value for name, value in os.environ.items() if "MILLRACE_" not in name},
        "MILLRACE_HOME": str(tmp_path),
        "MILLRACE_KAFKA_BOOTSTRAP_SERVERS": f"127.0.0.1:{ports.secured}",
        "MILLRACE_KAFKA_SECURITY_PROTOCOL": "SASL_PLAINTEXT",
        "MILLRACE_KAFKA_SASL_MECHANISM": "PLAIN",
        "MILLRACE_KAFKA_SASL_USERNAME": USER,
        "MILLRACE_KAFKA_SASL_PASSWORD": "wrong-one",
    }
    done = subprocess.run(
        [sys.executable, "-m", "millrace.console", *command],
        cwd=PROJECT,
        env=told,
        capture_output=True,
        check=False,
        timeout=120,
    )
    error = done.stderr.decode()
    assert done.returncode == 2, error
    assert error.startswith(f"millrace: Kafka at 127.0.0.1:{ports.secured} refuses the user ada:")
    assert "MILLRACE_KAFKA_SASL_PASSWORD" in error
    assert error.count("\n") == 1
    assert "wrong-one" not in error


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"s3_access_key": "nobody"}, "MILLRACE_S3_ACCESS_KEY"),
        ({"s3_secret_key": "wrong-one"}, "MILLRACE_S3_SECRET_KEY"),
        ({"s3_endpoint": "http://127.0.0.1:1"}, "refuses the connection"),
        ({"s3_endpoint": "http://no-such-host.invalid:9"}, "host's name is not known"),
    ],
)
def test_the_store_says_why(settings: Settings, changed: dict[str, str], said: str) -> None:
    """Which key is wrong, or that nobody is there."""
    known = {
        "s3_endpoint": settings.s3_endpoint,
        "s3_access_key": settings.s3_access_key,
        "s3_secret_key": settings.s3_secret_key.get_secret_value(),
    }
    store = ObjectStore(Settings.read(**{**known, **changed}))
    with pytest.raises(ServerError, match=said) as raised:
        store.buckets()
    assert "wrong-one" not in str(raised.value)
