"""The broker and the object store that are measured on: our own, or those named by settings.

Own servers live in ``<home>/bench/servers``, emptied at the start, so that a run never meets
what an earlier one left; their addresses go into this process's environment, from which
everything that is started here takes them.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

from benchmarks.namespaces import remove_topics
from millrace.contracts.errors import ServerError
from millrace.infra import embedded
from millrace.infra.embedded.instance import State
from millrace.infra.embedded.jars import maven
from millrace.infra.kafka.clients import admin
from millrace.infra.object_store import ObjectStore
from millrace.infra.settings import Settings
from millrace.infra.topics.admin import create_topics

_NAMES: Final = ("MILLRACE_KAFKA_BOOTSTRAP_SERVERS", "MILLRACE_S3_ENDPOINT")


@dataclass(frozen=True)
class Servers:
    """Running servers.

    Attributes:
        folder: Where benchmarks keep results, logs and the peers' environment.
        home: Home folder of what is started.
        broker: Process of our own broker; None if it is somebody else's.
        kafka: What is known of the broker, for people.
    """

    folder: Path
    home: Path
    broker: psutil.Process | None
    kafka: str

    def settings(self, namespace: str, partitions: int = 4) -> Settings:
        """Settings in a namespace, with all topics, empty, and the bucket."""
        settings = Settings.read(namespace=namespace, home=self.home, kafka_partitions=partitions)
        remove_topics(settings)
        create_topics(admin(settings), settings)
        ObjectStore(settings).create_bucket()
        return settings


@contextmanager
def running_servers() -> Iterator[Servers]:
    """Run the servers while the block does.

    Raises:
        ServerError: They do not start, or another benchmark uses the folder.
    """
    root = Settings.read().home.absolute()
    folder = root / "bench"
    home = folder / "servers"
    if all(os.environ.get(name) for name in _NAMES):
        home.mkdir(parents=True, exist_ok=True)
        os.environ["MILLRACE_HOME"] = str(home)
        yield Servers(folder, home, None, "as named by the settings")
        return
    if any(embedded.is_running(name, home) for name in ("kafka", "s3")):
        raise ServerError(f"a benchmark runs here already, its servers are in {home}")
    shutil.rmtree(home, ignore_errors=True)
    download = maven(os.environ.get("MILLRACE_MAVEN_REPOSITORY"))
    with embedded.servers(
        home, cache=embedded.jar_cache(root), ports=(0, 0), download=download
    ) as endpoints:
        os.environ.update(endpoints.environment(), MILLRACE_HOME=str(home))
        state = State.read(home / "kafka.json")
        if state is None:
            raise ServerError(f"the broker of {home} has left no address")
        yield Servers(folder, home, psutil.Process(state.pid), _broker_version(root))


def _broker_version(root: Path) -> str:
    jars = sorted(embedded.jar_cache(root).glob("kafka-server-4*.jar"))
    return jars[0].name.split("-")[2] if jars else "embedded"
