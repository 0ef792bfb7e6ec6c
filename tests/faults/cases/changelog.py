"""A changelog that was never compacted: everything that was ever remembered is read back."""

from __future__ import annotations

import time
from typing import Final

from confluent_kafka import Producer
from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType

from millrace.contracts.topics import CHANGELOG, PREDICTIONS
from millrace.infra.kafka.clients import admin, client_config
from millrace.infra.local.programs import STREAM_PROCESSOR
from millrace.infra.settings import Settings
from millrace.stream_processors.state.asset import Asset
from tests.faults.cases.case import case
from tests.faults.harness.observer import FOLLOWED, Observer
from tests.faults.harness.plant import PARTITIONS, Plant

#: Records of a changelog that a crash loop could not read: at 10,000 a second they take longer
#: than a start was given.
RECORDS: Final = 2_600_000
#: Assets, none of which sends a window: all that is read back has been replaced but the last.
_ASSETS: Final = 1_000
#: How long the start, with all of it and up to the first prediction, may take, seconds.
START_SECONDS: Final = 30.0
_SOME: Final = 40


@case("changelog/long", own_servers=True, serving=False, long=True, compares_state=False)
def long_changelog(plant: Plant) -> None:
    """2.6 million records: the first start reads all of them, and so does one after a kill."""
    # Whoever keeps every record that it has seen has no use for these.
    plant.observer.close()
    plant.observer = Observer(plant.settings, [t for t in FOLLOWED if t != CHANGELOG])
    _keep_everything(plant.settings)
    write_changelog(plant.settings, RECORDS)
    plant.serve()
    for _ in range(2):
        plant.quiet()
        sent = plant.source.sent
        before = len(sent)
        began = time.monotonic()
        plant[STREAM_PROCESSOR].kill()
        plant.fault()
        with plant.source.flowing():
            plant.until_recovered()
        took = time.monotonic() - began
        plant.expect(took <= START_SECONDS, f"it took {took:.0f} s to go on")
        plant.expect(len(sent) > before, "nothing was sent")
    with plant.source.flowing():
        plant.until_predicted(_SOME)
    deaths = plant[STREAM_PROCESSOR].deaths
    plant.expect(deaths == 2, f"the stream processor ended {deaths} times, and was killed twice")
    plant.expect(plant.observer.count(PREDICTIONS) > 0, "nothing was predicted")


def _keep_everything(settings: Settings) -> None:
    """Turn the compaction of the changelog off."""
    entry = ConfigEntry("cleanup.policy", "delete", incremental_operation=AlterConfigOpType.SET)
    topic = ConfigResource(
        ResourceType.TOPIC, settings.named(CHANGELOG.name), incremental_configs=[entry]
    )
    client = admin(settings)
    for done in client.incremental_alter_configs([topic]).values():
        done.result(30.0)


def write_changelog(settings: Settings, records: int) -> None:
    """Write memories of assets that are replaced all the time, as checkpoints do.

    Raises:
        KafkaException: The broker does not take them.
    """
    client = Producer(
        {
            **client_config(settings),
            "compression.type": "zstd",
            "linger.ms": 50,
            "batch.size": 1 << 20,
            "queue.buffering.max.messages": 1_000_000,
        }
    )
    topic = settings.named(CHANGELOG.name)
    memory = Asset().snapshot()
    assets = [number % PARTITIONS for number in range(_ASSETS)]
    keys = [f"pump\x1fother-{number}\x1f{at}".encode() for number, at in enumerate(assets)]
    for number in range(records):
        asset = number % _ASSETS
        while True:
            try:
                client.produce(topic, memory, keys[asset], partition=assets[asset])
            except BufferError:
                client.poll(0.1)
            else:
                break
    client.flush()
