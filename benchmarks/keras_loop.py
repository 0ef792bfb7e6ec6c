"""Predicting as others do, and the limit: ``python -m benchmarks.keras_loop MODE TASK``.

- ``one``: consume a record, call Keras's ``predict`` on it, produce: what a replica of Kafka-ML
  does.
- ``eager``: consume a batch, call the model on it without compiling it, produce.
- ``bare``: the model alone on full batches that lie in memory, compiled with XLA: the limit.
- ``keras``: the same with Keras's own ``predict``, which compiles without XLA.

The network, its weights and the threads that TensorFlow may use are those of our inference. TASK
is a JSON file; when the process is told to end (SIGTERM), the seconds of each batch go to the
file that it names.
"""

from __future__ import annotations

import json
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import keras
import msgspec
import numpy as np
import tensorflow as tf
from confluent_kafka import Message

from benchmarks.keras_loop_task import BATCH, Task
from benchmarks.network import network
from millrace.contracts.events.normalized_window import NormalizedWindow
from millrace.contracts.topics import NORMALIZED
from millrace.infra.kafka.clients import consumer, producer
from millrace.infra.settings import Settings
from millrace.model_families.lstm_highway.runtime import use_one_thread

_IDLE_SECONDS: Final = 0.1
#: Batches in one call of ``predict``, which costs much by itself.
_CALL: Final = 64

_unpack = msgspec.msgpack.Decoder(NormalizedWindow).decode
Predict = Callable[[Any, Any], Any]


def main() -> int:
    """Run until told to end; the bare model for a fixed time."""
    mode = sys.argv[1]
    task = msgspec.json.decode(Path(sys.argv[2]).read_bytes(), type=Task)
    use_one_thread()
    model = network(task.architecture)
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    if mode in {"bare", "keras"}:
        seconds = _bare(model, task, xla=mode == "bare")
    else:
        predict = _one(model) if mode == "one" else _eager(model)
        seconds = _loop(task, predict, 1 if mode == "one" else BATCH, stop)
    Path(task.seconds).write_text(json.dumps(seconds))
    return 0


def _one(model: keras.Model) -> Predict:
    return lambda values, present: model.predict([values, present], verbose=0)


def _eager(model: keras.Model) -> Predict:
    return lambda values, present: model([values, present], training=False).numpy()


def _loop(task: Task, predict: Predict, most: int, stop: threading.Event) -> list[float]:
    settings = Settings.read()
    source = consumer(settings, task.group)
    source.subscribe([settings.named(NORMALIZED.name)])
    target = producer(settings)
    sensors = len(task.spec.sensors)
    seconds: list[float] = []
    while not stop.is_set():
        began = time.perf_counter()
        messages = [m for m in source.consume(most, _IDLE_SECONDS) if m.error() is None]
        if not messages:
            continue
        windows = [_unpack(message.value() or b"") for message in messages]
        values = np.stack([window.matrix(sensors) for window in windows])
        present = np.stack([window.presence() for window in windows]).astype(np.float32)
        forecasts = predict(values, present)
        for message, window, forecast in zip(messages, windows, forecasts, strict=True):
            _write(target, settings.named(task.output), message, window, forecast)
        target.poll(0)
        source.commit(asynchronous=True)
        seconds.append(time.perf_counter() - began)
    target.flush()
    source.close()
    return seconds


def _write(
    target: Any, topic: str, message: Message, window: NormalizedWindow, forecast: Any
) -> None:
    value = {"asset": window.asset, "window": window.window_id, "forecast": forecast.tolist()}
    target.produce(
        topic, msgspec.json.encode(value), message.key(), partition=message.partition() or 0
    )


def _bare(model: keras.Model, task: Task, *, xla: bool) -> list[float]:
    """Run full batches for the task's time; with ``predict``, `_CALL` of them in a call."""
    spec = task.spec
    size = task.size if xla else task.size * _CALL
    shape = (size, spec.window, len(spec.sensors))
    values = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    present = np.ones((size, len(spec.sensors)), np.float32)
    compiled = tf.function(
        lambda x, p: model([x, p], training=False), jit_compile=True, autograph=False
    )

    def run() -> None:
        if xla:
            compiled(tf.constant(values), tf.constant(present)).numpy()
        else:
            model.predict([values, present], batch_size=task.size, verbose=0)

    for _ in range(3):
        run()
    seconds: list[float] = []
    ends = time.perf_counter() + task.duration
    while (began := time.perf_counter()) < ends:
        run()
        seconds.append((time.perf_counter() - began) / (1 if xla else _CALL))
    return seconds


if __name__ == "__main__":
    sys.exit(main())
