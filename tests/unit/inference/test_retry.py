"""What passes is waited out, what does not is told, and stopping ends all waiting."""

import threading

import pytest
from confluent_kafka import KafkaError, KafkaException

from millrace.contracts.errors import ServerError
from millrace.infra.kafka.retry import PULSE_SECONDS, DeadlineExceeded, RetryPolicy, Stopped


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        """Start at zero."""
        self.now = 0.0

    def __call__(self) -> float:
        """The time, seconds."""
        return self.now


def failing(*failures: Exception) -> tuple[list[int], "Acting"]:
    """Something that fails in these ways, one after the other, and then works."""
    calls: list[int] = []
    return calls, Acting(calls, list(failures))


class Acting:
    """Fails as told, then answers."""

    def __init__(self, calls: list[int], failures: list[Exception]) -> None:
        """Note calls, and raise failures in turn."""
        self._calls, self._failures = calls, failures

    def __call__(self) -> str:
        """Fail or answer."""
        self._calls.append(len(self._calls))
        if self._failures:
            raise self._failures.pop(0)
        return "done"


def kafka(
    code: int, *, retriable: bool = False, fatal: bool = False, abort: bool = False
) -> KafkaException:
    """An exception of the Kafka client."""
    return KafkaException(KafkaError(code, "", fatal, retriable, abort))


@pytest.fixture(autouse=True)
def without_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Try again at once."""
    monkeypatch.setattr("millrace.infra.kafka.retry.PAUSE_SECONDS", 0.0)


def test_what_passes_is_tried_until_it_works() -> None:
    """Servers that do not answer, and a client that says that asking again is right."""
    calls, act = failing(
        ServerError("away"),
        kafka(KafkaError._TRANSPORT),
        kafka(KafkaError.COORDINATOR_LOAD_IN_PROGRESS),
        kafka(KafkaError.UNKNOWN, retriable=True),
    )
    assert RetryPolicy(threading.Event()).call(act, "it") == "done"
    assert len(calls) == 5


def test_it_is_tried_for_so_long_and_no_longer() -> None:
    """Who has another way is told, and nobody is waiting any more."""
    clock = Clock()
    patience = RetryPolicy(threading.Event(), clock)

    def act() -> None:
        clock.now += 4.0
        raise ServerError("away")

    with pytest.raises(DeadlineExceeded, match="it: away"):
        patience.call(act, "it", 10.0)
    assert clock.now == 12.0
    assert not patience.waiting


def test_an_attempt_without_an_end_is_no_waiting() -> None:
    """A watchdog must not take a thread that hangs for one that waits for a broker."""
    clock = Clock()
    patience = RetryPolicy(threading.Event(), clock)
    seen: list[bool] = []

    def act() -> None:
        seen.append(patience.waiting)
        clock.now += PULSE_SECONDS
        seen.append(patience.waiting)
        if len(seen) < 4:
            raise ServerError("away")

    patience.call(act, "it")
    assert seen == [False, False, True, False]
    assert not patience.waiting


@pytest.mark.parametrize(
    "failure",
    [
        kafka(KafkaError.PRODUCER_FENCED),
        kafka(KafkaError.TOPIC_AUTHORIZATION_FAILED),
        kafka(KafkaError._TIMED_OUT, retriable=True, fatal=True),
        kafka(KafkaError._TIMED_OUT, abort=True),
        ValueError("a bug"),
    ],
)
def test_what_does_not_pass_is_told_at_once(failure: Exception) -> None:
    """Fencing, missing rights and mistakes of ours are no matter of patience."""
    calls, act = failing(failure)
    with pytest.raises(type(failure)):
        RetryPolicy(threading.Event()).call(act, "it")
    assert len(calls) == 1


def test_stopping_ends_the_waiting() -> None:
    """A process that is told to stop tries once more, and no longer."""
    stop = threading.Event()
    stop.set()
    calls, act = failing(*(ServerError("away") for _ in range(9)))
    with pytest.raises(Stopped):
        RetryPolicy(stop).call(act, "it")
    assert len(calls) == 1


def test_what_works_is_done_even_when_stopping() -> None:
    """Stopping interrupts waiting, not work."""
    stop = threading.Event()
    stop.set()
    _, act = failing()
    assert RetryPolicy(stop).call(act, "it") == "done"


def test_silence_is_noticed() -> None:
    """A thread that neither works nor waits has no pulse; each attempt is one."""
    clock = Clock()
    patience = RetryPolicy(threading.Event(), clock)

    def silent_after(seconds: float) -> bool:
        clock.now += seconds
        return patience.silent

    assert not silent_after(PULSE_SECONDS)
    assert silent_after(1)
    patience.call(failing(ServerError("away"))[1], "it")
    assert not silent_after(PULSE_SECONDS)
    assert silent_after(1)
    patience.beat()
    assert not silent_after(1)


def test_others_can_see_that_it_waits() -> None:
    """From the first failed attempt until it works, or fails for good."""
    patience = RetryPolicy(threading.Event())
    seen: list[bool] = []

    def act() -> None:
        seen.append(patience.waiting)
        if len(seen) < 3:
            raise ServerError("away")

    patience.call(act, "it")
    assert seen == [False, True, True]
    assert not patience.waiting
    with pytest.raises(KafkaException):
        patience.call(failing(ServerError("away"), kafka(KafkaError.PRODUCER_FENCED))[1], "it")
    assert not patience.waiting
