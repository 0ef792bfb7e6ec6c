"""How a second terminal finds the first one's servers, and what it has to be told itself."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from millrace.contracts.errors import SettingsError
from millrace.infra.local.address import (
    Address,
    enter_running_system,
    read_address,
    settings_of_running_system,
    shared_settings,
)
from millrace.infra.local.home import Home
from millrace.infra.settings import Settings


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """Of a system on secured servers elsewhere, seen from a terminal without settings."""
    for name in Settings.model_fields:
        monkeypatch.delenv(f"MILLRACE_{name.upper()}", raising=False)
    monkeypatch.setenv("MILLRACE_HOME", str(tmp_path))
    first = Settings.read(
        namespace="plant",
        kafka_bootstrap_servers="kafka.invalid:9094",
        kafka_security_protocol="SASL_SSL",
        kafka_sasl_mechanism="SCRAM-SHA-256",
        kafka_sasl_username="ada",
        kafka_sasl_password="s3cret-1",  # nobody's
        kafka_ssl_ca="/etc/ca.pem",
        s3_endpoint="https://s3.invalid",
        s3_access_key="key",
        s3_secret_key="s3cret-2",  # nobody's
        s3_bucket="pumps",
        s3_region="eu-1",
    )
    made = Home(tmp_path)
    Address(
        console_pid=1, s3_credentials=None, supervisor="", telemetry={}, **shared_settings(first)
    ).write(made)
    return made


def test_it_finds_the_settings_and_no_secret(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """All that is needed to reach the servers but the passwords, in a file of its owner only."""
    written = home.address.read_text()
    assert "s3cret" not in written
    assert stat.S_IMODE(home.address.stat().st_mode) == 0o600
    monkeypatch.setenv("MILLRACE_KAFKA_SASL_PASSWORD", "s3cret-1")
    found = settings_of_running_system(must_answer=False)
    assert found.kafka_security_protocol == "SASL_SSL"
    assert (found.kafka_sasl_mechanism, found.kafka_sasl_username) == ("SCRAM-SHA-256", "ada")
    assert found.kafka_ssl_ca == Path("/etc/ca.pem")
    assert (found.bucket, found.s3_region) == ("pumps-plant", "eu-1")
    assert found.kafka_sasl_password.get_secret_value() == "s3cret-1"


def test_a_secret_that_is_not_set_is_named(home: Home) -> None:
    """One sentence, instead of a question that runs out of time."""
    assert read_address(home) is not None
    with pytest.raises(SettingsError, match=r"ada.* set MILLRACE_KAFKA_SASL_PASSWORD in this"):
        settings_of_running_system(must_answer=False)


def test_the_environment_wins(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """Setting by setting."""
    assert home.address.exists()
    monkeypatch.setenv("MILLRACE_KAFKA_SASL_USERNAME", "bob")
    monkeypatch.setenv("MILLRACE_KAFKA_SASL_PASSWORD", "x")
    found = settings_of_running_system(must_answer=False)
    assert (found.kafka_sasl_username, found.kafka_security_protocol) == ("bob", "SASL_SSL")


def test_an_edge_inherits_them(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its commands read the environment."""
    assert home.address.exists()
    monkeypatch.setenv("MILLRACE_KAFKA_SASL_PASSWORD", "x")
    for name in shared_settings(Settings.read()):  # what it adds ends with the test
        monkeypatch.setenv(f"MILLRACE_{name.upper()}", "")
        monkeypatch.delenv(f"MILLRACE_{name.upper()}")
    enter_running_system(must_answer=False)
    assert Settings.read().kafka_security_protocol == "SASL_SSL"


def test_an_address_of_an_earlier_release_is_read(home: Home) -> None:
    """It knows nothing of security: there was none to be known."""
    home.address.write_text(
        '{"console_pid":1,"namespace":"","kafka_bootstrap_servers":"k:1","s3_endpoint":"http://s",'
        '"s3_credentials":null,"supervisor":""}'
    )
    assert settings_of_running_system(must_answer=False).kafka_security_protocol == "PLAINTEXT"
