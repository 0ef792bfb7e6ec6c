"""A broker is greeted before the first window goes to it: topic there, model declared.

A source that can wait does it at once; for a live one a thread does it, for as long as it
takes, so that measuring goes on meanwhile.
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

#: Who declares the edge's models.
DECLARED_BY: Final = "/millrace/edge"
#: How long one attempt to reach a broker takes, seconds, and how long the next one waits.
_TRY_SECONDS: Final = 1.0
_REST_SECONDS: Final = 0.2


def connect(settings: Settings, client: Producer, topic: str, spec: ModelSpec | None) -> str:
    """See that a broker answers and has the topic, and declare the model.

    Args:
        settings: Where Kafka is.
        client: A client of the same.
        topic: Where windows go, with its namespace.
        spec: The model; None for none.

    Returns:
        Id of the cluster.

    Raises:
        DataError: Another model stands in the way of the declaration.
        ServerError: No broker answers, or the topic is not there.
    """
    try:
        partitions_of(client, topic)
    except ServerError:
        shake_hands(settings, _TRY_SECONDS)  # says why, if Kafka does not let us in
        raise
    if spec is not None:
        declare_model(settings, spec, DECLARED_BY)
    return str(client.list_topics(topic).cluster_id)


class BrokerHandshake:
    """Greets a broker as soon as there is one, without anybody waiting for it."""

    def __init__(
        self, settings: Settings, client: Producer, topic: str, spec: ModelSpec | None
    ) -> None:
        """Begin; see `connect`."""
        self._cluster: str | None = None
        self._error: MillraceError | None = None
        self._rest = threading.Event()
        # A daemon: a run that ends does not wait for a broker that is away.
        threading.Thread(
            target=self._run, args=(settings, client, topic, spec), name="greeting", daemon=True
        ).start()

    def answer(self) -> str | None:
        """Id of the cluster; None while no broker has answered.

        Raises:
            DataError: As `connect`.
            ServerError: The topic is not there, or the broker went away again.
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
