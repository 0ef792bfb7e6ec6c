"""Live inference replicas: the members of their consumer group in Kafka."""

from typing import Any, Final

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from millrace.contracts.errors import ServerError
from millrace.contracts.wire.groups import INFERENCE
from millrace.infra.kafka.clients import admin
from millrace.infra.kafka.errors import error_of, is_transient
from millrace.infra.settings import Settings

#: Request timeout, seconds.
_ANSWER_SECONDS: Final = 5.0


class LiveReplicas:
    """Queries the brokers; owned by one thread."""

    def __init__(self, settings: Settings) -> None:
        """Create a client."""
        self._client: AdminClient = admin(settings)
        self._group = settings.named(INFERENCE)

    def __call__(self) -> frozenset[str] | None:
        """Return the client ids of the live replicas.

        Returns:
            An empty set if there is no such group; None if it cannot be queried now, because a
            broker is unavailable.

        Raises:
            ServerError: Kafka refuses the query.
        """
        self._client.poll(0)  # lets it discard queued connection events
        try:
            return self._members()
        except KafkaException as failure:
            error = error_of(failure)
            if is_transient(error):
                return None
            raise ServerError(
                f"Kafka cannot describe group {self._group}: {error.str()}"
            ) from failure

    def _members(self) -> frozenset[str]:
        # The client deprecates this request. But its replacement, which goes through the group's
        # coordinator, aborts the whole process if the broker dies meanwhile (librdkafka 2.16, its
        # issue 4605).
        groups: Any = self._client.list_groups(self._group, timeout=_ANSWER_SECONDS)
        for group in groups:
            if group.error is not None:
                raise KafkaException(group.error)
        return frozenset(member.client_id for group in groups for member in group.members)
