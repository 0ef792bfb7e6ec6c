"""What happens when the release thread breaks."""

import threading
from concurrent.futures import Future
from typing import Any

import pytest

from contracts.errors import ServerError
from infra.settings import Settings
from trainer import release_controller, replicas
from trainer.release_controller import ReleaseController


class Silent:
    """A coordinator that never answers."""

    def describe_consumer_groups(self, groups: list[str], **_: Any) -> dict[str, Future[Any]]:
        """Promise an answer."""
        return {group: Future() for group in groups}


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


def test_a_silent_coordinator_is_a_server_that_does_not_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The wait ends with the error that the rest of the trainer knows."""
    monkeypatch.setattr(replicas, "admin", lambda _: Silent())
    monkeypatch.setattr(replicas, "ANSWER_SECONDS", 0.01)
    with pytest.raises(ServerError, match="no answer within"):
        replicas.LiveReplicas(Settings())()
