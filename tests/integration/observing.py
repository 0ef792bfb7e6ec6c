"""Services as child processes, and a reader of topics by which tests wait for what they do."""

import os
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from confluent_kafka import Message, TopicPartition

from millrace.archiver.settings import ArchiverSettings
from millrace.contracts.topics import Topic
from millrace.contracts.wire.codec import EventReader
from millrace.infra.kafka.clients import partitions_of, reader
from millrace.infra.kafka.errors import raise_error
from millrace.infra.settings import Settings
from tests.faults.harness.programs import Program
from tests.places import PROJECT

E = TypeVar("E")


def environment(settings: Settings) -> dict[str, str]:
    """Settings as the environment of a process."""
    return {**os.environ, **settings.environment()}


def archiver(settings: Settings, limits: ArchiverSettings, folder: Path) -> Program:
    """An archiver in a process of its own, which is started again if it ends; not started yet."""
    cuts = {f"MILLRACE_ARCHIVER_{name.upper()}": str(value) for name, value in limits}
    told = {**environment(settings), **cuts}
    return Program("archiver", "millrace.archiver", told, folder / "archiver.log")


class Service:
    """A service in a process of its own."""

    def __init__(self, module: str, settings: Settings, folder: Path) -> None:
        """Start ``python -m module``; its log is a file in a folder."""
        self.module = module
        self._settings = settings
        self._log = folder / f"{module}.log"
        self._process = self._start()

    def kill(self) -> None:
        """SIGKILL: the process has no chance to tidy up."""
        self._process.kill()
        self._process.wait()

    def restart(self) -> None:
        """Start it again, as a supervisor would."""
        self._process = self._start()

    def stop(self) -> None:
        """SIGTERM, and SIGKILL if that does not help."""
        self._process.terminate()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self.kill()

    def check(self) -> None:
        """Fail, with the end of the log, if the process has ended by itself."""
        if self._process.poll() is not None:
            raise AssertionError(f"{self.module} ended with {self._process.returncode}\n{self.log}")

    @property
    def log(self) -> str:
        """The end of its log."""
        return f"{self.module}:\n{self._log.read_text()[-4000:]}"

    def _start(self) -> subprocess.Popen[bytes]:
        with self._log.open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", self.module],
                cwd=PROJECT,
                env=environment(self._settings),
                stdout=log,
                stderr=log,
            )


class Observer:
    """Everything that a `read_committed` reader sees in some topics, as it comes."""

    def __init__(
        self, settings: Settings, topics: Sequence[Topic], services: Sequence[Service] = ()
    ) -> None:
        """Start at the beginning of the topics."""
        self._client = reader(settings)
        self._services = services
        self._names = {settings.named(topic.name): topic.name for topic in topics}
        self._records: dict[str, list[Message]] = defaultdict(list)
        self._client.assign(
            [TopicPartition(n, p, 0) for n in self._names for p in partitions_of(self._client, n)]
        )

    def until(self, condition: Callable[[], bool], seconds: float, what: str) -> float:
        """Read until a condition holds.

        Returns:
            Seconds that it took.

        Raises:
            AssertionError: It did not come to hold in time, or a service has ended.
        """
        begun = time.monotonic()
        while not condition():
            for message in self._client.consume(1000, 0.05):
                raise_error(message)
                if message.error() is None:
                    self._records[self._names[message.topic() or ""]].append(message)
            for service in self._services:
                service.check()
            if time.monotonic() - begun > seconds:
                logs = "\n".join(service.log for service in self._services)
                raise AssertionError(f"not within {seconds} s: {what}\n{logs}")
        return time.monotonic() - begun

    def records(self, topic: Topic) -> list[Message]:
        """Records of a topic that have come so far; those of a partition are in order."""
        return self._records[topic.name]

    def count(self, topic: Topic) -> int:
        """How many records of a topic have come so far."""
        return len(self._records[topic.name])

    def events(self, topic: Topic, read: EventReader[E]) -> list[E]:
        """JSON events of a topic that have come so far."""
        return [read(message.value() or b"") for message in self.records(topic)]

    def close(self) -> None:
        """Leave the broker."""
        self._client.close()
