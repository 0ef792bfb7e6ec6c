"""Checks that the topic exists, and declares the model, before the first window is produced.

A source that can wait does this synchronously; for a live source a thread does it, without a time
limit, so that measuring continues meanwhile.
"""

import threading
from typing import Final

from confluent_kafka import KafkaException, Producer

from millrace.contracts.errors import MillraceError, ServerError
from millrace.contracts.model_spec import ModelSpec
from millrace.infra.declare import declare_model
from millrace.infra.kafka.clients import partitions_of
from millrace.infra.kafka.handshake import shake_hands
from millrace.infra.settings import Settings

#: CloudEvents source of the edge's declarations.
DECLARED_BY: Final = "/millrace/edge"
#: Timeout of one attempt to reach a broker, and pause before the next one, seconds.
_TRY_SECONDS: Final = 1.0
_REST_SECONDS: Final = 0.2


def connect(settings: Settings, client: Producer, topic: str, spec: ModelSpec | None) -> str:
    """Check that a broker answers and has the topic, and declare the model.

    Args:
        settings: Where Kafka is.
        client: A client of that Kafka.
        topic: Topic of the windows, with its namespace.
        spec: The model; None for none.

    Returns:
        Id of the cluster.

    Raises:
        DataError: Another model conflicts with the declaration.
        ServerError: No broker answers, or the topic does not exist.
    """
    try:
        partitions_of(client, topic)
    except ServerError:
        shake_hands(settings, _TRY_SECONDS)  # raises with the reason if Kafka refuses us
        raise
    if spec is not None:
        declare_model(settings, spec, DECLARED_BY)
    return str(client.list_topics(topic).cluster_id)


class BrokerHandshake:
    """Connects to a broker in the background, as soon as one is available."""

    def __init__(
        self, settings: Settings, client: Producer, topic: str, spec: ModelSpec | None
    ) -> None:
        """Start the thread; see `connect`."""
        self._cluster: str | None = None
        self._error: MillraceError | None = None
        self._rest = threading.Event()
        # A daemon: a run that ends does not wait for an unavailable broker.
        threading.Thread(
            target=self._run, args=(settings, client, topic, spec), name="greeting", daemon=True
        ).start()

    def answer(self) -> str | None:
        """Id of the cluster; None while no broker has answered.

        Raises:
            DataError: As `connect`.
            ServerError: The topic does not exist, or the broker became unavailable again.
        """
        if self._error is not None:
            raise self._error
        return self._cluster

    def _run(
        self, settings: Settings, client: Producer, topic: str, spec: ModelSpec | None
    ) -> None:
        while not _answers(client, topic):
            self._rest.wait(_REST_SECONDS)
        try:
            self._cluster = connect(settings, client, topic, spec)
        except MillraceError as error:
            self._error = error


def _answers(client: Producer, topic: str) -> bool:
    try:
        client.list_topics(topic, timeout=_TRY_SECONDS)
    except KafkaException:
        return False
    return True
