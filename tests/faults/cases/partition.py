"""Topics that change while the system runs."""

from __future__ import annotations

from functools import partial
from typing import Final

from millrace.contracts.topics import SENSOR_WINDOWS
from millrace.infra.kafka.clients import admin
from millrace.infra.local.programs import INFERENCE, STREAM_PROCESSOR
from millrace.infra.topics.partitions import Step, grow, partition_counts, plan, uneven
from tests.faults.cases.case import case
from tests.faults.harness.plant import PARTITIONS, Plant
from tests.faults.harness.programs import Program

#: Partitions that every topic keyed by asset has at the end.
_MORE: Final = PARTITIONS + 2
_SOME: Final = 100


@case("topic/more-partitions", own_plant=True, compares_state=False)
def more_partitions(plant: Plant) -> None:
    """`sensor.windows` gets more partitions by another tool, then the others by the command.

    Services wait meanwhile, with a sentence, and read all partitions afterwards. The state is
    not compared: the assets' memory begins anew in their new partitions.
    """
    settings, client = plant.settings, admin(plant.settings)
    with plant.source.flowing():
        plant.until_predicted(_SOME)
    plant.quiet()
    lives = {name: len(plant[name].lives) for name in (STREAM_PROCESSOR, INFERENCE)}
    grow(client, Step(settings.named(SENSOR_WINDOWS.name), PARTITIONS, _MORE))
    problem = uneven(partition_counts(client, settings))
    plant.expect(problem is not None, "uneven topics are not noticed")
    for name in lives:
        plant.until(partial(_waits, plant[name]), f"{name} to say what it waits for")
        plant.expect(not plant[name].is_ready(), f"{name} says that it is ready")
    plant.fault()
    for step in plan(partition_counts(client, settings), _MORE):
        grow(client, step)
    plant.grown(_MORE)
    with plant.source.flowing():
        plant.until_recovered()
        plant.until_predicted(_SOME)
    for name, before in lives.items():
        born = len(plant[name].lives) - before
        plant.expect(born <= 2, f"{name} was started {born} times")


def _waits(program: Program) -> bool:
    """Whether a program says which command mends it."""
    return f"topics grow {_MORE}" in program.log()
