"""What happens when the release thread breaks."""

import threading

import pytest
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import GroupMetadata

from millrace.contracts.errors import ServerError
from millrace.infra.settings import Settings
from millrace.trainer.release import controller as release_controller
from millrace.trainer.release import replicas
from millrace.trainer.release.controller import ReleaseController


def test_whatever_breaks_the_thread_is_kept_and_stops_the_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Even what nobody foresaw: the exit code and the health tell of it."""

    def broken(_: Settings) -> None:
        raise TimeoutError("nobody foresaw this")

    monkeypatch.setattr(release_controller, "ModelFeed", broken)
    stop = threading.Event()
    release = ReleaseController(Settings(), stop)
    release.start()
    release.join()
    assert stop.is_set()
    assert isinstance(release.error, TimeoutError)
    assert "nobody foresaw this" in (release.problem() or "")


def test_a_silent_broker_tells_nothing_about_replicas(monkeypatch: pytest.MonkeyPatch) -> None:
    """That is not the same as no replicas: nothing is decided on it."""
    monkeypatch.setattr(replicas, "_ANSWER_SECONDS", 0.05)
    nobody = Settings(kafka_bootstrap_servers="127.0.0.1:1")
    assert replicas.LiveReplicas(nobody)() is None


class Refusing:
    """A Kafka that does not let us see groups."""

    def poll(self, _: float) -> int:
        """Have nothing to tell."""
        return 0

    def list_groups(self, *_: object, **__: object) -> list[GroupMetadata]:
        """Refuse."""
        raise KafkaException(KafkaError(KafkaError.GROUP_AUTHORIZATION_FAILED))


def test_a_refusal_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """It does not pass: the trainer ends with it, and a person reads why."""
    monkeypatch.setattr(replicas, "admin", lambda _: Refusing())
    with pytest.raises(ServerError, match="cannot describe group"):
        replicas.LiveReplicas(Settings())()
