"""What every client is told, and librdkafka accepts."""

from __future__ import annotations

from typing import Any

import pytest
from confluent_kafka import KafkaError

from infra.kafka import RECONNECT_MS, _Outage, client_config, producer, raise_error, reader
from infra.settings import Settings
from infra.watchdog import _GroupOffsets

NOWHERE = Settings.read(kafka_bootstrap_servers="127.0.0.1:1")


def test_a_client_comes_back_soon_and_to_the_brokers_that_it_knew() -> None:
    """Else one with a group or in a transaction may be lost at a broker's restart."""
    config = client_config(NOWHERE)
    assert config["metadata.recovery.strategy"] == "none"
    assert config["reconnect.backoff.max.ms"] == RECONNECT_MS
    reader(NOWHERE).close()


def test_a_producer_in_a_transaction_does_not_begin_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would never send again; one without a transaction must."""
    monkeypatch.setattr("infra.kafka.Producer", dict)
    plain: Any = producer(NOWHERE)
    transactional: Any = producer(NOWHERE, {"transactional.id": "x"})
    assert plain["metadata.recovery.strategy"] == "rebootstrap"
    assert transactional["metadata.recovery.strategy"] == "none"


def test_a_watchdog_that_hears_nothing_asks_through_another_client(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its own may have lost the broker for good, as the clients that it watches."""
    monkeypatch.setattr("infra.watchdog._ANSWER_SECONDS", 0.05)
    offsets = _GroupOffsets(NOWHERE, "group")
    first = offsets._client
    assert offsets.progress([]) is None
    assert offsets._client is not first


def test_an_outage_is_told_once_in_a_while(capfd: pytest.CaptureFixture[str]) -> None:
    """Each kind of trouble has its own line, and none of them a hundred."""
    outage = _Outage()
    for _ in range(5):
        outage.tell(KafkaError(KafkaError._ALL_BROKERS_DOWN, "1/1 brokers are down"))
    outage.tell(KafkaError(KafkaError._AUTHENTICATION, "wrong password"))
    said = "".join(capfd.readouterr())
    assert said.count("brokers are down") == 1
    assert said.count("wrong password") == 1


class Failed:
    """A message that is an error."""

    def __init__(self, code: int) -> None:
        self._code = code

    def error(self) -> KafkaError:
        """The error."""
        return KafkaError(self._code)


@pytest.mark.parametrize(
    "code",
    [KafkaError._ALL_BROKERS_DOWN, KafkaError.COORDINATOR_NOT_AVAILABLE, KafkaError._TIMED_OUT],
)
def test_what_passes_is_waited_out(code: int) -> None:
    """A consumer goes on by itself while a broker is away or starts."""
    raise_error(Failed(code))  # type: ignore[arg-type]  # a message, as far as it is asked
