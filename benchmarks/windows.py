"""The windows that everything is measured on: a steady plant, the same for every contender.

Assets send in turn, each its windows one after the other. Readings are noise around a level,
as the model's normaliser expects them, so nothing drifts and no detector has news. A pool of
noise is reused, which no contender can notice; it is large enough that a batch never holds the
same window twice, so compression gains nothing by it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final
from uuid import uuid4

import numpy as np
from confluent_kafka import KafkaError, Message, Producer

from millrace.contracts.clock import now, to_ms
from millrace.contracts.errors import ServerError
from millrace.contracts.events.event import MSGPACK
from millrace.contracts.events.model_event import Activated, Approved, Artefact, Registered
from millrace.contracts.events.window import SensorWindow, encode_window
from millrace.contracts.model_spec import ModelSpec
from millrace.contracts.normaliser import Normaliser
from millrace.contracts.topics import SENSOR_WINDOWS
from millrace.infra.declare import declare_model
from millrace.infra.kafka.clients import producer
from millrace.infra.kafka.publisher import Publisher
from millrace.infra.settings import Settings
from millrace.producers.record import Record, window_headers

SOURCE: Final = "/millrace/benchmarks"
LEVEL: Final = 50.0
NOISE: Final = 4.0
_POOL_BYTES: Final = 8 << 20
#: How long a full queue is waited for before it is tried again, seconds.
_ROOM_SECONDS: Final = 0.1
_SEED: Final = 4


@dataclass(frozen=True)
class Load:
    """A plant.

    Attributes:
        assets: Number of assets.
        samples: Samples in a window.
        sensors: Sensors in a window.
    """

    assets: int = 10
    samples: int = 24
    sensors: int = 8

    @property
    def spec(self) -> ModelSpec:
        """The model that reads its windows."""
        return ModelSpec(
            f"bench-{self.samples}x{self.sensors}",
            tuple(f"sensor-{number}" for number in range(self.sensors)),
            1.0,
            window=self.samples,
            horizon=max(1, self.samples // 3),
            stride=self.samples,
        )

    @property
    def units(self) -> Normaliser:
        """Units of its trained version."""
        return Normaliser((LEVEL,) * self.sensors, (NOISE,) * self.sensors)

    @property
    def window_bytes(self) -> int:
        """Bytes of a window's readings."""
        return 4 * self.samples * self.sensors

    def windows(self, count: int) -> Iterator[SensorWindow]:
        """Yield windows in the order of event time; the last one ends about now."""
        size = max(2, min(count, _POOL_BYTES // self.window_bytes))
        noise = np.random.default_rng(_SEED).standard_normal((size, self.samples, self.sensors))
        pool = (LEVEL + NOISE * noise).astype(np.float32)
        names = [f"asset-{number:06d}" for number in range(self.assets)]
        spec = self.spec
        rounds = -(-count // self.assets)
        step = spec.period_ms * self.samples
        first = to_ms(now()) - rounds * step
        for index in range(count):
            lap, asset = divmod(index, self.assets)
            yield SensorWindow(
                names[asset], spec.sensors, first + lap * step, 1.0, pool[index % size]
            )


def declare(settings: Settings, load: Load, artefact: Artefact | None = None) -> None:
    """Declare a plant's model, with version 1 active in the plant's units.

    Args:
        settings: Where.
        load: The plant.
        artefact: Version 1's artefact; None where nobody is going to predict with it.
    """
    declare_model(settings, load.spec, SOURCE)
    publisher = Publisher(settings, SOURCE)
    name = load.spec.name
    publisher.send(
        Registered(
            id=f"registered-{uuid4().hex}",
            model=name,
            version=1,
            at=now(),
            spec=load.spec,
            normaliser=load.units,
            artefact=artefact,
        )
    )
    publisher.send(
        Approved(
            id=f"approved-{uuid4().hex}", model=name, version=1, at=now(), detail="a benchmark"
        )
    )
    publisher.send(
        Activated(id=f"activated-{uuid4().hex}", model=name, version=1, at=now(), epoch=2)
    )


def fill(settings: list[Settings], load: Load, count: int) -> None:
    """Write a plant's windows, as an edge encodes them, to `sensor.windows` of each namespace.

    The records are the same, byte for byte, in all of them.

    Raises:
        ServerError: A window could not be delivered.
    """
    clients = [producer(each) for each in settings]
    topics = [each.named(SENSOR_WINDOWS.name) for each in settings]
    problems: list[KafkaError] = []

    def report(error: KafkaError | None, _: Message) -> None:
        if error is not None:
            problems.append(error)

    for window in load.windows(count):
        at_ms = to_ms(now())
        key, value = window.asset.encode(), encode_window(window)
        headers = window_headers(window, MSGPACK, SOURCE, at_ms)
        for client, topic in zip(clients, topics, strict=True):
            _produce(client, topic, Record(key, value, headers, at_ms), report)
    for client in clients:
        client.flush()
    if problems:
        raise ServerError(f"{len(problems)} windows could not be delivered: {problems[0].str()}")


def _produce(
    client: Producer,
    topic: str,
    record: Record,
    report: Callable[[KafkaError | None, Message], None],
) -> None:
    """Hand a record over, as soon as there is room."""
    while True:
        try:
            client.produce(
                topic,
                record.value,
                record.key,
                on_delivery=report,
                timestamp=record.at_ms,
                headers=list(record.headers),
            )
        except BufferError:
            client.poll(_ROOM_SECONDS)
        else:
            client.poll(0)
            return
