"""Windows that come so rarely that each finds everything read."""

from __future__ import annotations

from typing import Final

from millrace.infra.local.programs import INFERENCE, STREAM_PROCESSOR
from millrace.infra.process.watchdog import STALL_SECONDS
from tests.faults.cases.case import case
from tests.faults.harness.plant import PARTITIONS, Plant

#: How much longer than a watchdog's patience a partition waits for its next window, seconds.
LONGER: Final = (1.0, 5.0)
#: Windows of each partition.
_ROUNDS: Final = 9
_SOME: Final = 20


@case("cadence/slow", own_plant=True, long=True)
def slow(plant: Plant) -> None:
    """Windows of a partition come 31 to 35 s apart: nobody who takes them is ended.

    Each partition's have a phase of their own. The predictions' transactions leave a marker after
    each record, so that a committed offset lies before the log's end all the time.
    """
    for _ in range(_ROUNDS):
        every = STALL_SECONDS + float(plant.rng.uniform(*LONGER))
        for _ in range(PARTITIONS):
            plant.source.send(1)
            plant.pass_time(every / PARTITIONS)
    for name in (STREAM_PROCESSOR, INFERENCE):
        program = plant[name]
        plant.expect(not program.deaths, f"{name} was ended: {program.log()[-300:]}")
    with plant.source.flowing():
        plant.until_predicted(_SOME)
