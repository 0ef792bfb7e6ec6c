"""The seeded input of a case: windows of a few pumps, with bad records between them.

The source knows what it has sent, and what has to become of it: that is the half of the
oracle's knowledge that is not in topics. Readings are drawn from the seed, per asset and
moment, so that overlapping windows agree and the same seed sends the same windows; how many
of them depends on how long the case lets them flow.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from millrace.contracts.errors import ServerError
from millrace.contracts.events.event import JSON, MSGPACK
from millrace.contracts.events.window import SensorWindow, encode_window, encode_window_json
from millrace.contracts.headers import RawHeaders
from millrace.contracts.model_spec import ModelSpec
from millrace.contracts.topics import SENSOR_WINDOWS
from millrace.infra.kafka.clients import producer
from millrace.infra.settings import Settings
from millrace.producers.record import window_headers
from millrace.producers.sources.defects import REASONS, make_bad
from tests.builders import START_MS, pump_spec

#: The model that reads the windows.
SPEC: Final[ModelSpec] = pump_spec()
ASSETS: Final = tuple(f"pump-{number}" for number in range(8))
#: Windows between two bad records.
BAD_EVERY: Final = 12
#: Reasons of the bad records; oversized ones only make a run slow.
_SPOILS: Final = tuple(reason for reason in REASONS if reason != "oversized")
#: Moments that are drawn at once.
_BLOCK: Final = 4096
#: Share of single readings that are missing.
_LOST: Final = 0.01
_ORIGIN: Final = "/millrace/edge/faults"


def _lost(drawn: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Keep of drawn losses those that leave every window a target sensor.

    A window without one is refused, so a source of good windows must not make it: a window misses
    one reading of the first target at most.

    Args:
        drawn: Readings that were drawn to be missing, shape (moments, sensors).
    """
    target = SPEC.target_columns[0]
    last = 0  # a window may begin in the block before
    for moment in np.flatnonzero(drawn[:, target]):
        if moment - last < SPEC.window:
            drawn[moment, target] = False
        else:
            last = int(moment)
    return drawn


@dataclass(frozen=True)
class Input:
    """What was sent, and what has to become of it.

    Attributes:
        window: The good window: it must be predicted once, however often it was sent. None
            for a bad record: it must be one dead letter for each time it was sent.
        reason: The reason of its dead letter; empty for a good window.
        key: The record's key.
        value: The record's value.
        headers: The record's headers.
        partition: Where it was sent to.
    """

    window: SensorWindow | None
    reason: str
    key: bytes | None
    value: bytes
    headers: RawHeaders
    partition: int


class Source:
    """Sends windows to `sensor.windows`, as an edge does; each is confirmed by the broker.

    Attributes:
        sent: Everything that was sent, in the order of sending. A window that is sent twice
            is in it twice.
        copies: How often every record is sent.
        spoils: Whether it sends bad records, too.
    """

    def __init__(self, settings: Settings, seed: int, copies: int = 1) -> None:
        """Connect.

        Args:
            settings: Where to send.
            seed: Same seed, same windows.
            copies: How often every record is sent, one after the other.
        """
        self.sent: list[Input] = []
        self._taken = 0
        self.copies = copies
        self.spoils = True
        self._partitions = settings.kafka_partitions
        self._topic = settings.named(SENSOR_WINDOWS.name)
        self._seed = seed
        # A broker that is away is part of some cases: librdkafka would say so on stderr.
        self._client = producer(settings, {"log_level": 0})
        self._rng = np.random.default_rng([seed, 99])
        self._turn = 0
        self._blocks: dict[tuple[int, int], npt.NDArray[np.float32]] = {}
        self._problem: str | None = None

    def send(self, windows: int) -> None:
        """Send the next good windows, the pumps in turn, and wait until the broker has them.

        Raises:
            ServerError: It does not take them.
        """
        for _ in range(windows):
            self._next()
        self._flush()

    @contextmanager
    def flowing(self, rate: float = 100.0) -> Iterator[None]:
        """Send windows at a rate (per second) for as long as the block runs.

        Raises:
            ServerError: The broker does not take them.
        """
        stop = threading.Event()
        thread = threading.Thread(target=self._flow, args=(rate, stop), daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()
        self._flush()

    def again(self, record: Input) -> None:
        """Send a record once more; `flush` waits for it."""
        self._send(record)

    def flush(self) -> None:
        """Wait until the broker has everything.

        Raises:
            ServerError: It does not take it.
        """
        self._flush()

    def spread(self, settings: Settings) -> None:
        """Send to as many partitions as are set from now on: some assets move to another one.

        Another client sends: the one before learns of new partitions after minutes.
        """
        self._flush()
        self._partitions = settings.kafka_partitions
        self._client = producer(settings, {"log_level": 0})

    def _flow(self, rate: float, stop: threading.Event) -> None:
        due = time.monotonic()
        while not stop.wait(max(0.0, due - time.monotonic())):
            due = max(due, time.monotonic() - 1.0) + len(ASSETS) / rate
            for _ in ASSETS:
                self._next()

    def take(self) -> list[Input]:
        """Take what was sent so far; it is forgotten here, so that memory is bounded."""
        taken = self.sent[:]
        del self.sent[: len(taken)]  # a thread that sends adds only behind them
        self._taken += len(taken)
        return taken

    @property
    def count(self) -> int:
        """How many records were sent so far, those that were taken included."""
        return self._taken + len(self.sent)

    def _next(self) -> None:
        number, self._turn = self._turn, self._turn + 1
        self._emit(number % len(ASSETS), number // len(ASSETS), number)

    def _emit(self, asset: int, place: int, number: int) -> None:
        """Send an asset's window of a place, and now and then a bad record behind it."""
        partition = asset % self._partitions
        window = self.window(asset, place)
        plain = number % 5 == 0
        value = encode_window_json(window) if plain else encode_window(window)
        headers = window_headers(window, JSON if plain else MSGPACK, _ORIGIN, window.end_ms)
        good = Input(window, "", window.asset.encode(), value, headers, partition)
        for _ in range(self.copies):
            self._send(good)
        if self.spoils and number % BAD_EVERY == BAD_EVERY - 1:
            reason = _SPOILS[int(self._rng.integers(len(_SPOILS)))]
            bad = make_bad(window, reason, self._rng)
            for _ in range(self.copies):
                self._send(Input(None, bad.reason, bad.key, bad.value, bad.headers, partition))

    def name_of(self, asset: int) -> str:
        """Name of an asset."""
        return ASSETS[asset]

    def window(self, asset: int, number: int) -> SensorWindow:
        """Build a pump's window of a number: the same for the same seed."""
        first = number * SPEC.stride
        rows = [self._reading(asset, first + step) for step in range(SPEC.window)]
        return SensorWindow(
            self.name_of(asset),
            SPEC.sensors,
            START_MS + first * SPEC.period_ms,
            SPEC.period_seconds,
            np.array(rows, np.float32),
        )

    def _reading(self, asset: int, moment: int) -> npt.NDArray[np.float32]:
        key = asset, moment // _BLOCK
        if key not in self._blocks:
            rng = np.random.default_rng([self._seed, *key])
            block = rng.standard_normal((_BLOCK, len(SPEC.sensors))).astype(np.float32)
            block[_lost(rng.random(block.shape) < _LOST)] = np.nan
            self._blocks[key] = block * np.float32(2.0) + np.array([10, 200, -3], np.float32)
        row: npt.NDArray[np.float32] = self._blocks[key][moment % _BLOCK]
        return row

    def _send(self, record: Input) -> None:
        self.sent.append(record)
        while True:
            try:
                self._client.produce(
                    self._topic,
                    record.value,
                    record.key,
                    partition=record.partition,
                    headers=list(record.headers),
                    on_delivery=self._on_delivery,
                )
            except BufferError:
                self._client.poll(0.1)
            else:
                self._client.poll(0)
                return

    def _flush(self) -> None:
        left = self._client.flush(60.0)
        if left or self._problem is not None:
            raise ServerError(f"the source could not send: {self._problem or f'{left} left'}")

    def _on_delivery(self, error: object, _: object) -> None:
        if error is not None:
            self._problem = str(error)
