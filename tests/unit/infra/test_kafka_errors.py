"""One table says which errors of Kafka clients are transient."""

import pytest
from confluent_kafka import KafkaError, KafkaException

from millrace.infra.kafka.errors import (
    error_of,
    is_forbidden,
    is_leaderless,
    is_out_of_range,
    is_partition_end,
    is_transient,
    is_undecompressible,
    is_unknown_topic,
)

TRANSIENT = (
    KafkaError._ALL_BROKERS_DOWN,
    KafkaError._RESOLVE,
    KafkaError._TIMED_OUT,
    KafkaError._TRANSPORT,
    KafkaError._WAIT_COORD,
    KafkaError.BROKER_NOT_AVAILABLE,
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.NOT_COORDINATOR,
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.REQUEST_TIMED_OUT,
    KafkaError.UNSTABLE_OFFSET_COMMIT,
)
LASTING = (
    KafkaError.FENCED_INSTANCE_ID,
    KafkaError.GROUP_AUTHORIZATION_FAILED,
    KafkaError.MSG_SIZE_TOO_LARGE,
    KafkaError.OFFSET_OUT_OF_RANGE,
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError._BAD_COMPRESSION,
    KafkaError._PARTITION_EOF,
)


@pytest.mark.parametrize("code", TRANSIENT)
def test_what_a_broker_says_while_it_is_away_is_transient(code: int) -> None:
    """Repeating the request may succeed."""
    assert is_transient(KafkaError(code))


@pytest.mark.parametrize("code", LASTING)
def test_what_stays_is_not_transient(code: int) -> None:
    """Repeating the request alone changes nothing."""
    assert not is_transient(KafkaError(code))


@pytest.mark.parametrize(("fatal", "aborts"), [(True, False), (False, True)])
def test_a_fatal_error_is_never_transient(*, fatal: bool, aborts: bool) -> None:
    """Nor is one that asks for the transaction to be aborted, whatever its code."""
    assert not is_transient(KafkaError(KafkaError._TIMED_OUT, "", fatal, True, aborts))


def test_each_question_knows_its_codes() -> None:
    """Each of the others answers to its own codes alone."""
    questions = {
        is_forbidden: KafkaError.TOPIC_AUTHORIZATION_FAILED,
        is_leaderless: KafkaError.NOT_LEADER_FOR_PARTITION,
        is_out_of_range: KafkaError._AUTO_OFFSET_RESET,
        is_partition_end: KafkaError._PARTITION_EOF,
        is_undecompressible: KafkaError._BAD_COMPRESSION,
        is_unknown_topic: KafkaError.UNKNOWN_TOPIC_OR_PART,
    }
    for question, code in questions.items():
        asked = [other for other in questions.values() if question(KafkaError(other))]
        assert asked == [code]


def test_an_exception_without_an_error_has_one() -> None:
    """The client raises texts, too."""
    raised = KafkaException("text")  # type: ignore[arg-type]  # the client does so
    assert error_of(raised).code() == KafkaError._FAIL
