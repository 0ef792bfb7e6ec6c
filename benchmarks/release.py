"""Puts a network of the real architecture into service, without a training run."""

from __future__ import annotations

import subprocess
import sys
import time
from typing import Any, Final
from uuid import uuid4

import msgspec
import numpy as np
from safetensors.numpy import load_file

from benchmarks.service import CODE
from benchmarks.windows import SOURCE
from millrace.contracts.clock import now
from millrace.contracts.errors import ServerError
from millrace.contracts.events.model_event import Approved, Artefact, Registered
from millrace.contracts.events.window import SensorWindow
from millrace.contracts.model_spec import ModelSpec
from millrace.contracts.normaliser import Normaliser
from millrace.infra.kafka.model_feed import ModelFeed
from millrace.infra.kafka.publisher import Publisher
from millrace.infra.object_store import ObjectStore
from millrace.infra.settings import Settings
from millrace.model_families.artefact import pack, publish
from millrace.model_families.lstm_highway.forecaster import Architecture, architecture_of

_BUILD_SECONDS: Final = 120.0
_SERVING_SECONDS: Final = 60.0


def publish_network(
    settings: Settings, spec: ModelSpec, units: Normaliser, network: Architecture | None = None
) -> Artefact:
    """Publish such a network as the artefact of version 1.

    Args:
        settings: Where.
        spec: The task.
        units: Its units.
        network: The network; by default the one that the trainer would build.
    """
    network = network or architecture_of(spec)
    architecture: dict[str, Any] = msgspec.to_builtins(network)
    packed = pack(
        model=spec.name,
        version=1,
        run_id=f"bench-{uuid4().hex[:8]}",
        architecture=architecture,
        normaliser=units,
        weights=_weights(settings, network),
        optimizer=None,
    )
    return publish(ObjectStore(settings), packed)


def _weights(settings: Settings, network: Architecture) -> dict[str, Any]:
    """Have a process draw the weights.

    Raises:
        ServerError: It does not.
    """
    folder = settings.home / "network"
    folder.mkdir(parents=True, exist_ok=True)
    task, target = folder / "architecture.json", folder / "weights.safetensors"
    task.write_bytes(msgspec.json.encode(network))
    command = [sys.executable, "-m", "benchmarks.network", str(task), str(target)]
    ran = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=_BUILD_SECONDS, cwd=CODE
    )
    if ran.returncode:
        said = ran.stderr.strip().splitlines() or ["nothing"]
        raise ServerError(f"the network cannot be built: {said[-1]}")
    return load_file(target)


def serve_network(settings: Settings, spec: ModelSpec, units: Normaliser) -> None:
    """Have a running system swap version 1 in, and wait until it serves.

    Raises:
        ServerError: It does not serve in time.
    """
    publisher = Publisher(settings, SOURCE)
    publisher.send(
        Registered(
            id=f"registered-{uuid4().hex}",
            model=spec.name,
            version=1,
            at=now(),
            spec=spec,
            normaliser=units,
            artefact=publish_network(settings, spec, units),
        )
    )
    publisher.send(
        Approved(
            id=f"approved-{uuid4().hex}", model=spec.name, version=1, at=now(), detail="a benchmark"
        )
    )
    feed = ModelFeed(settings)
    patience = time.monotonic() + _SERVING_SECONDS
    try:
        while True:
            feed.poll(0.1)
            model = feed.registry.models.get(spec.name)
            if model is not None and model.serving is not None and model.serving.version == 1:
                return
            if time.monotonic() > patience:
                raise ServerError("the benchmark's version does not get into service")
    finally:
        feed.close()


def units_of(windows: list[SensorWindow]) -> Normaliser:
    """Fit a normaliser to some windows."""
    readings = np.concatenate([window.values for window in windows]).astype(np.float64)
    mean, scale = np.nanmean(readings, axis=0), np.nanstd(readings, axis=0)
    return Normaliser(tuple(mean.tolist()), tuple(np.maximum(scale, 1e-6).tolist()))
