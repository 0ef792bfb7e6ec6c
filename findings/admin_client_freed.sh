#!/usr/bin/env bash
# The futures that confluent-kafka's AdminClient returns do not keep the client alive. Where only the
# future is held, create_topics fails at once with _DESTROY ("Broker handle destroyed"), whatever the
# broker would have said; with the client held, the same call is answered.
# Guessed before: a future holds what it needs until it is done.
#
# No broker is needed: with the client held the call runs into its time-out, without it does not.
# Exits with 0 while that is so, with 1 as soon as the client behaves otherwise.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

cat >"$folder/try.py" <<'PYTHON'
import sys

import confluent_kafka
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, NewTopic

NOBODY = {"bootstrap.servers": "127.0.0.1:9", "log_level": 0}


def outcome(future):
    try:
        future.result(10)
    except KafkaException as error:
        return error.args[0].name()
    return "created"


def asked(client):
    return client.create_topics([NewTopic("t", 1, 1)], request_timeout=2)["t"]


print(f"confluent-kafka {confluent_kafka.__version__}, librdkafka {confluent_kafka.libversion()[0]}")
client = AdminClient(NOBODY)
held = outcome(asked(client))
freed = outcome(asked(AdminClient(NOBODY)))
print(f"  client held: {held}; only the future held: {freed}")
sys.exit(0 if (held, freed) == ("_TIMED_OUT", "_DESTROY") else 1)
PYTHON

python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check confluent-kafka==2.9.0
"$folder/venv/bin/python" "$folder/try.py" || { echo "changed"; exit 1; }
