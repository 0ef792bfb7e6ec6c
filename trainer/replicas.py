"""Which inference replicas are live: the members of their consumer group, as Kafka knows them."""

from typing import Any, Final

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from contracts.errors import ServerError
from infra.kafka import ANSWER_SECONDS, admin
from infra.settings import Settings

INFERENCE_GROUP: Final = "millrace.inference"


class LiveReplicas:
    """Asks the group coordinator; owned by one thread."""

    def __init__(self, settings: Settings) -> None:
        """Prepare a client."""
        self._client: AdminClient = admin(settings)
        self._group = settings.named(INFERENCE_GROUP)

    def __call__(self) -> frozenset[str]:
        """Name the live replicas, by their clients' ids; none if there is no such group.

        Raises:
            ServerError: The broker does not answer.
        """
        future: Any = self._client.describe_consumer_groups(
            [self._group], request_timeout=ANSWER_SECONDS
        )[self._group]
        try:
            described = future.result(timeout=ANSWER_SECONDS)
        except (KafkaException, TimeoutError) as error:
            why = str(error) or f"no answer within {ANSWER_SECONDS:.0f} s"
            raise ServerError(f"Kafka cannot describe group {self._group}: {why}") from error
        return frozenset(member.client_id for member in described.members)
