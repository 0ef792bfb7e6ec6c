"""A process whose clock is an hour off, ahead or behind: nothing is lost or wrongly refused."""

from __future__ import annotations

import time
from typing import Any, Final

from confluent_kafka import Producer

from millrace.infra.local.programs import INFERENCE, STREAM_PROCESSOR, TRAINER
from tests.faults.cases.case import case
from tests.faults.cases.network import TOLD
from tests.faults.harness.plant import Plant
from tests.faults.harness.source import SPEC

HOUR: Final = 3600
#: More than an hour by as much as windows are on their way: a limit of an hour would show.
_AHEAD: Final = HOUR + 60
_SOME: Final = 100
_LAUNCHER: Final = "tests.faults.harness.clock_launcher"
_MODULES: Final = {STREAM_PROCESSOR: "millrace.stream_processors", INFERENCE: "millrace.inference"}


class _WrongClock:
    """A producer whose records bear a wrong time."""

    def __init__(self, right: Producer, seconds: int) -> None:
        self._right = right
        self._seconds = seconds

    def produce(self, *arguments: Any, **more: Any) -> None:
        now_ms = int((time.time() + self._seconds) * 1000)
        more["timestamp"] = now_ms
        self._right.produce(*arguments, **more)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._right, name)


def _edge(plant: Plant, seconds: int) -> None:
    """Records of an edge with a wrong clock, between others."""
    with plant.source.flowing():
        plant.until_predicted(_SOME)
    source: Any = plant.source
    right = source._client
    source._client = _WrongClock(right, seconds)
    try:
        with plant.source.flowing():
            plant.until_predicted(_SOME)
    finally:
        source._client = right
    with plant.source.flowing():
        plant.until_predicted(_SOME)


def _service(plant: Plant, name: str, seconds: int) -> None:
    """A service that serves, with a wrong clock, and a swap meanwhile; then its clock is right."""
    plant.stop(name)
    wrong = plant.start(name, module=_LAUNCHER, arguments=[str(seconds), _MODULES[name]])
    with plant.source.flowing():
        wrong.wait_ready()
        plant.until_predicted(_SOME)
        plant.swap()
        plant.until_predicted(_SOME)
        plant.expect(not wrong.deaths, f"{name} with a wrong clock has died: {wrong.log()[-200:]}")
        plant.stop(name)
        plant.start(name)
        plant.fault()
        plant.until_recovered()


def _trainer(plant: Plant, seconds: int) -> None:
    """A trainer with a wrong clock releases a version."""
    wrong = plant.start(
        TRAINER, module=_LAUNCHER, arguments=[str(seconds), "millrace.trainer"], environment=TOLD
    )
    wrong.wait_ready()
    with plant.source.flowing():
        plant.until_predicted(_SOME)
        version = plant.make_version()

        def serves() -> bool:
            serving = plant.registry.models[SPEC.name].serving
            return serving is not None and serving.version == version

        plant.until(serves, "the trainer to activate a version")
        plant.until_predicted(_SOME)
    plant.expect(not wrong.deaths, f"the trainer with a wrong clock has died: {wrong.log()[-200:]}")


def _add(seconds: int, word: str) -> None:
    @case(f"clock/edge-{word}", own_plant=True)
    def edge(plant: Plant) -> None:
        _edge(plant, seconds)

    for service in _MODULES:

        @case(f"clock/{service}-{word}", own_plant=True)
        def play(plant: Plant, service: str = service) -> None:
            _service(plant, service, seconds)

    @case(f"clock/trainer-{word}", own_plant=True)
    def trainer(plant: Plant) -> None:
        _trainer(plant, seconds)


_add(_AHEAD, "ahead")
_add(-_AHEAD, "behind")
