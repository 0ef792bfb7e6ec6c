"""What the broker is told, as it stands in its configuration file."""

from __future__ import annotations

from pathlib import Path

from millrace.infra.embedded.kafka import Behind, Kafka


def configured(kafka: Kafka) -> dict[str, str]:
    """The settings that a broker would be started with."""
    kafka.folder.mkdir(parents=True)
    path = kafka._configure(kafka.folder / "data", 19092)
    pairs = (line.partition("=") for line in path.read_text().splitlines())
    return {key: value for key, _, value in pairs}


def test_clients_of_a_proxy_are_told_the_proxys_address(tmp_path: Path) -> None:
    """Else they would leave the proxy with their second connection."""
    settings = configured(Kafka(tmp_path, Behind(port=19192, proxy=19292)))
    assert settings["listeners"].endswith(",PROXIED://127.0.0.1:19192")
    assert settings["advertised.listeners"] == (
        "PLAINTEXT://127.0.0.1:19092,PROXIED://127.0.0.1:19292"
    )


def test_without_a_proxy_there_is_one_listener_for_clients(tmp_path: Path) -> None:
    """The second one is for tests only."""
    settings = configured(Kafka(tmp_path))
    assert "PROXIED" not in settings["listeners"] + settings["advertised.listeners"]
