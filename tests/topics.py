"""Topics that are deleted and created again, as an operator or a fail-over does it."""

from __future__ import annotations

from typing import Final

from millrace.contracts.topics import Topic
from millrace.infra.kafka.clients import admin
from millrace.infra.local.waiting import wait_until
from millrace.infra.settings import Settings
from millrace.infra.topics.admin import create_topics

_ANSWER_SECONDS: Final = 30.0


def create_anew(settings: Settings, topic: Topic) -> None:
    """Delete a topic and create it again; on return it has leaders.

    Each question has a client of its own: librdkafka 2.8 may crash the process when one client
    sees two topics of a name (its issue 4964).
    """
    name = settings.named(topic.name)
    client = admin(settings)
    for done in client.delete_topics([name]).values():
        done.result(_ANSWER_SECONDS)
    wait_until(
        lambda: name not in admin(settings).list_topics(timeout=_ANSWER_SECONDS).topics,
        f"{name} to be gone",
        seconds=_ANSWER_SECONDS,
    )
    create_topics(admin(settings), settings, [topic])
