"""Real servers for the integration tests, and a namespace of its own for each test.

Whoever names servers by settings gets those; else, where a Docker daemon answers, they run in
containers; else embedded. One pair serves all tests of a process: they keep apart by namespace.
"""

import gc
import os
import secrets
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import docker
import pytest
from confluent_kafka.admin import AdminClient
from docker.errors import DockerException
from hypothesis import settings as hypothesis_settings
from testcontainers.core.container import DockerContainer
from testcontainers.core.wait_strategies import HttpWaitStrategy, LogMessageWaitStrategy

from millrace.infra import embedded
from millrace.infra.embedded.instance import choose_port
from millrace.infra.settings import Settings
from tests.places import jar_folder, settings_at

# What is printed is as wide as in a file, whatever terminal the tests are run in.
os.environ.pop("COLUMNS", None)

# The same examples every time, however busy the machine is.
hypothesis_settings.register_profile("steady", deadline=None, derandomize=True)
hypothesis_settings.load_profile("steady")

KAFKA_IMAGE = "apache/kafka:4.2.2"
S3_IMAGE = "chrislusf/seaweedfs:4.47"


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[embedded.Endpoints]:
    """A Kafka and an object store that answer."""
    if named := _named_by_settings():
        yield named
    elif _docker_answers():
        with _containers() as endpoints:
            yield endpoints
    else:
        home = tmp_path_factory.mktemp("servers")
        with embedded.servers(home, cache=jar_folder(), ports=(0, 0)) as endpoints:
            yield endpoints


@pytest.fixture
def namespace() -> str:
    """A prefix for topics, groups and the bucket that no other test uses."""
    return f"test-{secrets.token_hex(4)}"


@pytest.fixture
def settings(servers: embedded.Endpoints, namespace: str, tmp_path: Path) -> Settings:
    """Settings that reach the servers, in the test's own namespace and folder."""
    return settings_at(servers, tmp_path / "var", namespace)


def _named_by_settings() -> embedded.Endpoints | None:
    names = ("MILLRACE_KAFKA_BOOTSTRAP_SERVERS", "MILLRACE_S3_ENDPOINT")
    if not all(os.environ.get(name) for name in names):
        return None
    named = Settings.read()
    return embedded.Endpoints(
        kafka_bootstrap_servers=named.kafka_bootstrap_servers,
        s3_endpoint=named.s3_endpoint,
        s3_access_key=named.s3_access_key,
        s3_secret_key=named.s3_secret_key.get_secret_value(),
    )


def _docker_answers() -> bool:
    """Ask the daemon; that there is a client says nothing."""
    with warnings.catch_warnings():
        # Docker's client leaves its socket to the garbage collector when nobody answers.
        warnings.simplefilter("ignore", ResourceWarning)
        try:
            client = docker.from_env(timeout=5)
            try:
                return bool(client.ping())
            finally:
                client.close()
        except DockerException:
            return False
        finally:
            gc.collect()


@contextmanager
def _containers() -> Iterator[embedded.Endpoints]:
    # A broker tells its clients where to call back, so its port is chosen beforehand.
    port = choose_port()
    access, secret = secrets.token_hex(10), secrets.token_hex(20)
    kafka = (
        DockerContainer(KAFKA_IMAGE)
        .with_bind_ports(9092, port)
        .with_envs(
            KAFKA_NODE_ID="1",
            KAFKA_PROCESS_ROLES="broker,controller",
            KAFKA_LISTENERS="PLAINTEXT://:9092,CONTROLLER://:9093",
            KAFKA_ADVERTISED_LISTENERS=f"PLAINTEXT://localhost:{port}",
            KAFKA_CONTROLLER_LISTENER_NAMES="CONTROLLER",
            KAFKA_LISTENER_SECURITY_PROTOCOL_MAP="CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
            KAFKA_CONTROLLER_QUORUM_VOTERS="1@localhost:9093",
            KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR="1",
            KAFKA_OFFSETS_TOPIC_NUM_PARTITIONS="4",
            KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR="1",
            KAFKA_TRANSACTION_STATE_LOG_MIN_ISR="1",
            KAFKA_TRANSACTION_STATE_LOG_NUM_PARTITIONS="4",
            KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS="0",
            KAFKA_AUTO_CREATE_TOPICS_ENABLE="false",
            KAFKA_MESSAGE_MAX_BYTES=str(4 << 20),
        )
        .waiting_for(LogMessageWaitStrategy("Kafka Server started"))
    )
    s3 = (
        DockerContainer(S3_IMAGE)
        .with_command("mini -dir=/data -ip.bind=0.0.0.0 -webdav=false -admin.ui=false")
        .with_exposed_ports(8333)
        .with_envs(AWS_ACCESS_KEY_ID=access, AWS_SECRET_ACCESS_KEY=secret)
        .waiting_for(HttpWaitStrategy(8333, "/healthz").for_status_code(200))
    )
    with kafka, s3:
        bootstrap = f"localhost:{port}"
        AdminClient({"bootstrap.servers": bootstrap}).list_topics(timeout=30)
        yield embedded.Endpoints(
            kafka_bootstrap_servers=bootstrap,
            s3_endpoint=f"http://{s3.get_container_host_ip()}:{s3.get_exposed_port(8333)}",
            s3_access_key=access,
            s3_secret_key=secret,
        )
