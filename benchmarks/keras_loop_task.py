"""What `benchmarks.keras_loop` is told; apart from it, so that nobody imports TensorFlow for it."""

from __future__ import annotations

from typing import Final

import msgspec

from millrace.contracts.model_spec import ModelSpec
from millrace.model_families.lstm_highway.forecaster import Architecture

#: Windows in a micro-batch.
BATCH: Final = 128


class Task(msgspec.Struct, frozen=True):
    """What to do.

    Attributes:
        spec: The task.
        architecture: The network that predicts.
        group: Consumer group.
        output: Topic that is written, without the namespace.
        seconds: File that the seconds of each batch go to.
        size: Windows in a full batch of the bare model.
        duration: How long the bare model runs, seconds.
    """

    spec: ModelSpec
    architecture: Architecture
    group: str
    output: str
    seconds: str
    size: int = BATCH
    duration: float = 5.0
