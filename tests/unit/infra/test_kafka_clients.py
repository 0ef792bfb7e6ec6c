"""What every client is told, and librdkafka accepts."""

from __future__ import annotations

import threading

import pytest
from confluent_kafka import KafkaError, libversion

from millrace.infra.kafka.clients import RECONNECT_MS, _Outage, client_config, reader
from millrace.infra.kafka.errors import raise_error
from millrace.infra.progress.group_offsets import GroupOffsets
from millrace.infra.settings import Settings

NOWHERE = Settings.read(kafka_bootstrap_servers="127.0.0.1:1")


def test_a_client_comes_back_soon() -> None:
    """The client's own pause would grow to ten seconds."""
    assert client_config(NOWHERE)["reconnect.backoff.max.ms"] == RECONNECT_MS
    reader(NOWHERE).close()


def test_a_reader_ends_beside_whoever_closes_it() -> None:
    """It does end: nothing can be asked of it any more."""
    client = reader(NOWHERE)
    before = set(threading.enumerate())
    client.close()
    for thread in set(threading.enumerate()) - before:
        thread.join(10)
    with pytest.raises(RuntimeError, match="closed"):
        client.assign([])


def test_the_client_is_one_that_keeps_its_brokers() -> None:
    """From librdkafka 2.10 on it forgets them all when it is once told of none."""
    assert libversion()[1] < 0x020A0000


def test_a_watchdog_that_hears_nothing_asks_through_another_client(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its own may have lost the broker for good."""
    monkeypatch.setattr("millrace.infra.progress.group_offsets._ANSWER_SECONDS", 0.05)
    offsets = GroupOffsets(NOWHERE, "group")
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
