"""Removes data of earlier demonstrations from our own embedded servers, and from `var/demo`.

Only names that a demonstration creates are removed, and only from embedded servers: on any other
broker or store, an old demonstration may still be running for another user.
"""

from __future__ import annotations

import re
import shutil
from datetime import datetime
from pathlib import Path
from typing import Final

from confluent_kafka import KafkaException

from millrace.contracts.errors import ServerError
from millrace.infra.kafka.clients import ANSWER_SECONDS, admin
from millrace.infra.object_store import ObjectStore
from millrace.infra.settings import Settings

_NAMESPACE: Final = r"demo-\d{8}-\d{6}"


def demo_namespace(at: datetime) -> str:
    """A fresh namespace for a demonstration that begins now."""
    return f"demo-{at:%Y%m%d-%H%M%S}"


def old_topics(names: list[str]) -> list[str]:
    """Select the topics that a demonstration created.

    >>> old_topics(["demo-20261120-101500.predictions", "predictions", "demo-day.predictions"])
    ['demo-20261120-101500.predictions']
    """
    return [name for name in names if re.match(_NAMESPACE + r"\.", name)]


def old_buckets(names: list[str], base: str) -> list[str]:
    """Select the buckets that a demonstration created.

    >>> old_buckets(["millrace", "millrace-demo-20261120-101500"], "millrace")
    ['millrace-demo-20261120-101500']
    """
    return [name for name in names if re.fullmatch(re.escape(base) + "-" + _NAMESPACE, name)]


def remove_from_servers(settings: Settings) -> None:
    """Remove topics and buckets of earlier demonstrations.

    Raises:
        ServerError: A server does not answer.
    """
    client = admin(settings)
    try:
        topics = old_topics(list(client.list_topics(timeout=ANSWER_SECONDS).topics))
        if topics:
            for future in client.delete_topics(topics).values():
                future.result(timeout=ANSWER_SECONDS)
    except KafkaException as error:
        raise ServerError(f"topics of earlier demonstrations cannot be removed: {error}") from error
    store = ObjectStore(settings)
    for bucket in old_buckets(store.buckets(), settings.s3_bucket):
        store.drop_bucket(bucket)


def empty_folder(folder: Path) -> None:
    """Delete a folder and create it again, empty."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
