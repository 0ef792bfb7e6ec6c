"""The embedded servers start, are shared, survive what happens to them, and end."""

import json
import os
import signal
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient, NewTopic
from minio import Minio
from minio.error import S3Error

from millrace.contracts.errors import ServerError
from millrace.infra import embedded
from millrace.infra.embedded import instance
from tests.places import PROJECT, jar_folder

pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all tests of this module share, so that it is formatted once."""
    return tmp_path_factory.mktemp("embedded")


def test_life_of_the_servers(home: Path) -> None:
    """They start, a second user shares them and leaves them running, and nothing is left."""
    with embedded.servers(home, cache=jar_folder(), ports=(0, 0)) as endpoints:
        with embedded.servers(home, cache=jar_folder(), ports=(0, 0)) as shared:
            assert shared == endpoints
        assert embedded.find(home) == endpoints
        assert embedded.is_running("kafka", home)
        assert endpoints.s3_secret_key not in repr(endpoints)
        with pytest.raises(S3Error, match="SignatureDoesNotMatch"):
            list(_s3(replace(endpoints, s3_secret_key="wrong")).list_buckets())
        kafka_port = int(endpoints.kafka_bootstrap_servers.rpartition(":")[2])
    assert not embedded.is_running("kafka", home)
    assert not embedded.is_running("s3", home)
    assert not instance.answers(kafka_port)
    # The state file stays, and is not believed.
    assert (home / "kafka.json").exists()
    assert embedded.find(home) is None
    assert not embedded.halt("kafka", home)


def test_data_outlives_a_kill(home: Path) -> None:
    """What was acknowledged before a SIGKILL is there after the next start, on any port."""
    with embedded.servers(home, cache=jar_folder(), ports=(0, 0)) as endpoints:
        admin = AdminClient({"bootstrap.servers": endpoints.kafka_bootstrap_servers})
        for created in admin.create_topics([NewTopic("kept", 1, 1)]).values():
            created.result(30)
        producer = Producer(
            {"bootstrap.servers": endpoints.kafka_bootstrap_servers, "transactional.id": "t"}
        )
        producer.init_transactions(30)
        producer.begin_transaction()
        producer.produce("kept", b"x" * 2_000)
        producer.commit_transaction(30)
        _s3(endpoints).make_bucket(bucket_name="kept")
        for name in ("kafka", "s3"):
            os.kill(json.loads((home / f"{name}.json").read_text())["pid"], signal.SIGKILL)
    with embedded.servers(home, cache=jar_folder(), ports=(0, 0)) as endpoints:
        assert _s3(endpoints).bucket_exists(bucket_name="kept")
        consumer = Consumer(
            {
                "bootstrap.servers": endpoints.kafka_bootstrap_servers,
                "group.id": "g",
                "auto.offset.reset": "earliest",
                "isolation.level": "read_committed",
            }
        )
        consumer.subscribe(["kept"])
        record = consumer.poll(60)
        consumer.close()
        assert record is not None
        assert record.value() == b"x" * 2_000


def test_taken_port_and_half_formatted_folder(tmp_path: Path) -> None:
    """A taken port means another one; what a crash while formatting left is cleared away."""
    (tmp_path / "kafka" / "formatting").mkdir(parents=True)
    half = tmp_path / "kafka" / "data" / "__cluster_metadata-0"
    half.mkdir(parents=True)
    (half / "00000000000000000000.log").write_bytes(b"torn")
    with socket.create_server((instance.LOOPBACK, 0)) as taken:
        port = taken.getsockname()[1]
        with embedded.servers(tmp_path, cache=jar_folder(), ports=(port, port)) as endpoints:
            assert not endpoints.kafka_bootstrap_servers.endswith(f":{port}")
            assert not endpoints.s3_endpoint.endswith(f":{port}")
    assert not (tmp_path / "kafka" / "formatting").exists()
    for secret in (tmp_path / "s3" / "credentials.json", tmp_path / "s3" / "s3proxy.conf"):
        assert secret.stat().st_mode & 0o077 == 0


def test_damaged_folder_is_refused(tmp_path: Path) -> None:
    """A folder with topics but without its identity is refused and left as it is."""
    topic = tmp_path / "kafka" / "data" / "sensor.windows-0"
    topic.mkdir(parents=True)
    with (
        pytest.raises(ServerError, match=r"meta\.properties is missing or damaged"),
        embedded.servers(tmp_path, cache=jar_folder(), ports=(0, 0)),
    ):
        pytest.fail("started on a damaged folder")
    assert topic.exists()
    assert not embedded.is_running("s3", tmp_path)


def test_foreground_becomes_the_server(home: Path) -> None:
    """The foreground form is the process in the state file, refuses a twin, heeds SIGTERM."""
    command = [sys.executable, "-m", "millrace.infra.embedded"]
    options = ["--home", str(home), "--cache", str(jar_folder()), "--port", "0"]
    processes = [
        subprocess.Popen([*command, name, *options], cwd=PROJECT, stderr=subprocess.DEVNULL)
        for name in ("kafka", "s3")
    ]
    try:
        embedded.wait(home)
        written = json.loads((home / "kafka.json").read_text())
        assert written["pid"] == processes[0].pid
        twin = subprocess.run(
            [*command, "kafka", *options], cwd=PROJECT, capture_output=True, text=True, check=False
        )
        assert twin.returncode == 1
        assert twin.stderr.count("\n") == 1
        assert "already" in twin.stderr
        for process in processes:
            process.terminate()
        # Java's exit code after SIGTERM.
        assert [process.wait(30) for process in processes] == [143, 143]
    finally:
        for process in processes:
            process.kill()
            process.wait()


def test_session_servers_answer(servers: embedded.Endpoints, namespace: str) -> None:
    """The servers that all integration tests share take a topic and a bucket."""
    admin = AdminClient({"bootstrap.servers": servers.kafka_bootstrap_servers})
    for created in admin.create_topics([NewTopic(f"{namespace}.t", 2, 1)]).values():
        created.result(30)
    client = _s3(servers)
    client.make_bucket(bucket_name=namespace)
    assert client.bucket_exists(bucket_name=namespace)


def _s3(endpoints: embedded.Endpoints) -> Minio:
    return Minio(
        endpoint=endpoints.s3_endpoint.partition("://")[2],
        access_key=endpoints.s3_access_key,
        secret_key=endpoints.s3_secret_key,
        secure=endpoints.s3_endpoint.startswith("https"),
    )
