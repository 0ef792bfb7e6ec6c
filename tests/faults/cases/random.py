"""SIGKILL of every process at random moments, with a swap under load: one seed after another."""

from __future__ import annotations

from typing import Final

from millrace.infra.local.programs import ARCHIVER, INFERENCE, STREAM_PROCESSOR
from tests.faults.cases.case import case
from tests.faults.cases.edge import replaying_edge, until_sent
from tests.faults.cases.trainer import QUICK, check_archive
from tests.faults.harness.plant import Plant

#: Rounds of kills of a seed; in each, one or two processes die at once.
_ROUNDS: Final = 3
#: Longest time between two rounds, seconds.
_BETWEEN: Final = 3.0


@case("kill/random", seeds=True)
def kill_at_random_times(plant: Plant) -> None:
    """Edge, stream processor, inference and archiver die, alone or in pairs, around a swap."""
    rng = plant.rng
    version = plant.make_version()
    plant.await_ready(version)
    if ARCHIVER not in plant.programs:
        plant.start(ARCHIVER, environment=QUICK)
        plant.kept.add(ARCHIVER)  # for the seeds that follow
    plant[ARCHIVER].wait_ready()
    swap_in = int(rng.integers(_ROUNDS))
    with plant.source.flowing(rate=100):
        edge = replaying_edge(plant)
        victims = (STREAM_PROCESSOR, INFERENCE, ARCHIVER, edge.name)
        for number in range(_ROUNDS):
            plant.pass_time(float(rng.uniform(0.2, _BETWEEN)))
            for victim in rng.permutation(victims)[: int(rng.integers(1, 3))]:
                plant[str(victim)].kill()
            plant.fault()
            if number == swap_in:
                epoch = plant.activate(version)
        plant.until_recovered()
        plant.await_fences(epoch)
        until_sent(plant, edge)
    check_archive(plant)
