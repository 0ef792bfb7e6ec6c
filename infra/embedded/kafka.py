"""Prepares a data folder and builds the command line of a real Kafka broker on it.

One KRaft process is broker and controller, on the loopback address only. The folder::

    <home>/kafka/lock          held by the running broker
    <home>/kafka/data          the log; renamed into place once it is fully formatted
    <home>/kafka/*.properties  rewritten at each start

A crash while formatting leaves a ``formatting`` folder that the next start removes. A ``data``
folder without a readable identity is reformatted if it holds no topic, and refused if it holds
any.
"""

import shutil
import subprocess
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple
from zlib import crc32

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from millrace.contracts.errors import ServerError
from millrace.infra.embedded import instance, java
from millrace.infra.files import replace_file

DEFAULT_PORT = 9092
_CONTROLLER_PORTS = range(20_000, 30_000)
_HEAP_MIB = 384
_FORMAT_HEAP_MIB = 128
_FORMAT_TIMEOUT_S = 60
_MIB = 1 << 20
_OWN_TOPICS = ("__cluster_metadata-", "__consumer_offsets-", "__transaction_state-", "__share_")

_LOG4J2 = """\
status = error
appender.console.type = Console
appender.console.name = console
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = %d{ISO8601} %p %c{1}: %m%n
rootLogger.level = warn
rootLogger.appenderRef.console.ref = console
logger.server.name = kafka.server.KafkaRaftServer
logger.server.level = info
logger.format.name = org.apache.kafka.metadata.storage
logger.format.level = info
# Says twenty times a second that the broker is not there yet, for as long as it starts.
logger.client.name = org.apache.kafka.clients.NetworkClient
logger.client.level = error
# Says on every start, at the warning level, that a static quorum cannot grow; one node will not.
logger.quorum.name = org.apache.kafka.raft.KafkaRaftClient
logger.quorum.level = error
"""


class Behind(NamedTuple):
    """A listener behind a proxy, which advertises the proxy's address in metadata responses.

    Attributes:
        port: Port on which the broker listens for the proxy.
        proxy: Port of the proxy, on the loopback address.
    """

    port: int
    proxy: int


def _controller_port(folder: Path) -> int:
    """Preferred port of a broker's own controller.

    It stays the same for a folder, since the metadata log stores it: on another port the broker
    may not find the leader of its data. Each folder has another one, since brokers that start at
    the same moment would all find the same port free, and all but one would fail.
    """
    return _CONTROLLER_PORTS[crc32(str(folder).encode()) % len(_CONTROLLER_PORTS)]


class Kafka:
    """The broker of one home folder.

    Args:
        home: Folder for all embedded servers.
        behind: For tests: a second listener whose clients come through a proxy.
    """

    name = "kafka"
    default_port = DEFAULT_PORT

    def __init__(self, home: Path, behind: Behind | None = None) -> None:
        self.folder = home.resolve() / self.name
        self._behind = behind
        self._data = self.folder / "data"
        self._temporary = self.folder / "tmp"

    def prepare(self, jars: Sequence[Path], port: int) -> list[str]:
        """Prepare the folder and build the command line. Call with the lock held.

        Args:
            jars: Class path.
            port: The broker's port, free at this moment.

        Raises:
            ServerError: The data folder cannot be used; the message names the remedy.
        """
        if "," in str(self._data):
            raise ServerError(
                f"Kafka cannot use a folder with a comma in its name: {self._data}; "
                "choose another with MILLRACE_HOME"
            )
        shutil.rmtree(self._temporary, ignore_errors=True)
        self._temporary.mkdir(parents=True)
        (self.folder / "log4j2.properties").write_text(_LOG4J2)
        if not self._is_formatted():
            self._format(jars)
        configuration = self._configure(self._data, port)
        return self._command("kafka.Kafka", jars, [str(configuration)], _HEAP_MIB)

    def check(self, port: int, timeout_s: float) -> None:
        """Query the broker's cluster id and topics.

        Raises:
            ServerError: No broker answers, or it is not the broker of this folder.
        """
        if not instance.answers(port):
            raise ServerError(f"Kafka does not answer on {instance.LOOPBACK}:{port}")
        # librdkafka would print refused connections to stderr, which are expected here.
        admin = AdminClient({"bootstrap.servers": f"{instance.LOOPBACK}:{port}", "log_level": 0})
        try:
            cluster = admin.list_topics(timeout=timeout_s).cluster_id
        except KafkaException as error:
            raise ServerError(f"Kafka on port {port} is not ready: {error}") from error
        if cluster != self._identity().get("cluster.id"):
            raise ServerError(f"the Kafka on port {port} is not the one of {self.folder}")

    def _identity(self) -> dict[str, str]:
        """Read the identity that formatting wrote into the data folder; empty if there is none."""
        try:
            lines = (self._data / "meta.properties").read_text().splitlines()
        except FileNotFoundError:
            return {}
        pairs = (line.split("=", 1) for line in lines if "=" in line and line[0] != "#")
        return {key.strip(): value.strip() for key, value in pairs}

    def _is_formatted(self) -> bool:
        if self._identity().get("cluster.id"):
            return True
        if self._data.exists():
            topics = [
                entry.name
                for entry in self._data.iterdir()
                if entry.is_dir() and not entry.name.startswith(_OWN_TOPICS)
            ]
            if topics:
                raise ServerError(
                    f"{self._data} holds {len(topics)} topic partitions, but its "
                    "meta.properties is missing or damaged, so Kafka cannot read them: put "
                    "that file back, or move the folder away to start empty"
                )
            shutil.rmtree(self._data)
        return False

    def _format(self, jars: Sequence[Path]) -> None:
        draft = self.folder / "formatting"
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir()
        configuration = self._configure(draft, DEFAULT_PORT, name="format.properties")
        cluster = urlsafe_b64encode(uuid.uuid4().bytes).rstrip(b"=").decode()
        # An id that begins with a dash would be read as an option.
        arguments = ["format", f"--cluster-id={cluster}", f"--config={configuration}"]
        result = subprocess.run(
            self._command("kafka.tools.StorageTool", jars, arguments, _FORMAT_HEAP_MIB),
            capture_output=True,
            text=True,
            timeout=_FORMAT_TIMEOUT_S,
            check=False,
        )
        if result.returncode:
            said = (result.stderr or result.stdout).strip().splitlines() or ["nothing"]
            raise ServerError(f"Kafka could not format {self._data}: it said {said[-1]!r}")
        draft.replace(self._data)

    def _command(
        self, main: str, jars: Sequence[Path], arguments: list[str], heap_mib: int
    ) -> list[str]:
        log4j2 = self.folder / "log4j2.properties"
        return java.command(
            main,
            jars,
            arguments,
            heap_mib=heap_mib,
            temporary=self._temporary,
            properties={"log4j2.configurationFile": str(log4j2)},
        )

    def _configure(self, data: Path, port: int, name: str = "server.properties") -> Path:
        address = instance.LOOPBACK
        controller = instance.choose_port(_controller_port(self.folder))
        settings: dict[str, str | int] = {
            "process.roles": "broker,controller",
            "node.id": 1,
            "controller.quorum.voters": f"1@{address}:{controller}",
            "controller.listener.names": "CONTROLLER",
            "listeners": f"PLAINTEXT://{address}:{port},CONTROLLER://{address}:{controller}",
            "advertised.listeners": f"PLAINTEXT://{address}:{port}",
            "inter.broker.listener.name": "PLAINTEXT",
            "listener.security.protocol.map": (
                "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,PROXIED:PLAINTEXT"
            ),
            "log.dirs": str(data).replace("\\", "\\\\"),
            # One node: every topic has one replica, and Kafka's internal topics a few
            # partitions; with the default 50 the first transactions time out.
            "default.replication.factor": 1,
            "offsets.topic.replication.factor": 1,
            "offsets.topic.num.partitions": 4,
            "transaction.state.log.replication.factor": 1,
            "transaction.state.log.min.isr": 1,
            "transaction.state.log.num.partitions": 4,
            "share.coordinator.state.topic.replication.factor": 1,
            "share.coordinator.state.topic.min.isr": 1,
            "share.coordinator.state.topic.num.partitions": 1,
            "group.initial.rebalance.delay.ms": 0,
            "auto.create.topics.enable": "false",
            # Kafka would refuse records of clients whose clock is an hour ahead of its own.
            "log.message.timestamp.after.max.ms": (1 << 63) - 1,
            "message.max.bytes": 4 * _MIB,
            "replica.fetch.max.bytes": 4 * _MIB,
            # Retention and compaction work on closed segments only.
            "log.segment.bytes": 64 * _MIB,
            "log.index.size.max.bytes": _MIB,
            "log.retention.check.interval.ms": 60_000,
            # By default the cleaner alone would take a third of this heap.
            "log.cleaner.dedupe.buffer.size": 16 * _MIB,
            "log.cleaner.threads": 1,
            "num.network.threads": 2,
            "num.io.threads": 4,
        }
        if self._behind is not None:
            for key, at in (
                ("listeners", self._behind.port),
                ("advertised.listeners", self._behind.proxy),
            ):
                settings[key] = f"{settings[key]},PROXIED://{address}:{at}"
        path = self.folder / name
        replace_file(path, "".join(f"{key}={value}\n" for key, value in settings.items()))
        return path
