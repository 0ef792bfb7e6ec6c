"""Edge to prediction in a steady run and around swaps: ``python -m benchmarks swaps``.

Everything runs as in `millrace up`. An edge sends simulated windows at a steady rate; after a
while a training is asked for, and its version is swapped in under load. Then the same
artefact is registered and approved again under the next numbers, so that there are several
swaps, without a fit beside them. For each swap the 99th percentile while it went on (from
the approval until a second after the last stamp) is compared with the half minute before.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final
from uuid import uuid4

import msgspec

from benchmarks.namespaces import remove_topics
from benchmarks.plan import Plan
from benchmarks.plant import NO_TRAINING, UNITS_WINDOWS
from benchmarks.release import serve_network, units_of
from benchmarks.result import Row, Table
from benchmarks.turns import Bar
from benchmarks.windows import SOURCE
from millrace.console.demo.edge_process import EdgeProcess
from millrace.console.demo.observer import Observer
from millrace.console.operations.models import request_training
from millrace.contracts.clock import now, to_ms
from millrace.contracts.errors import ServerError
from millrace.contracts.events.model_event import Approved
from millrace.contracts.events.training import FINISHED
from millrace.infra.declare import declare_model
from millrace.infra.kafka.publisher import Publisher
from millrace.infra.local.system import System, running_system
from millrace.infra.local.waiting import wait_until
from millrace.infra.settings import Settings
from millrace.producers.sources.simulate import SPEC, quiet_windows
from millrace.verification.latency import BEFORE_MS, Arrival, around, percentiles
from millrace.verification.swaps import SwapTimes, swaps_of

#: Windows per second.
RATE: Final = 200.0
#: Swaps after the trained one.
SWAPS: Final = 2
WARM_UP_SECONDS: Final = 15.0
#: Warm-up and steady run of a quick trial.
QUICK_SECONDS: Final = (5.0, 10.0)
TRAINING_SECONDS: Final = 300.0
SWAP_SECONDS: Final = 30.0
SETTLE_SECONDS: Final = 3.0

Wait = Callable[[Callable[[], bool], str, float], None]


def swaps(plan: Plan) -> list[Table]:
    """Measure a trained swap and some more; a quick trial swaps once, without a training.

    Raises:
        MillraceError: Something does not start or never comes.
    """
    settings = Settings.read(namespace="swaps", home=plan.servers.home)
    plan.bar.runs(5 if plan.quick else 5 + 2 * SWAPS)
    remove_topics(settings)
    with running_system(settings, lambda _: None, environment=NO_TRAINING) as system:
        declare_model(system.settings, SPEC, SOURCE)
        if plan.quick:
            some = list(quiet_windows(UNITS_WINDOWS, now()))
            serve_network(system.settings, SPEC, units_of(some))
        observer = Observer(system.settings)
        observer.start()
        edge = EdgeProcess(
            ["simulate", "--rate", f"{RATE:g}", "--minutes", "60"],
            system.environment(),
            plan.servers.folder / "log",
            "edge",
        )
        try:
            wait = _waiting(system, observer, edge, plan.bar)
            table = _measure(system, observer, wait, quick=plan.quick)
        finally:
            edge.stop()
            observer.stop()
    remove_topics(system.settings)
    return [table]


def _waiting(system: System, observer: Observer, edge: EdgeProcess, bar: Bar) -> Wait:
    def wait(condition: Callable[[], bool], what: str, seconds: float) -> None:
        def watch() -> None:
            observer.check()
            system.supervisor.check()
            if edge.finished():
                raise ServerError("the edge has ended before the measurement")

        bar.begin(what)
        wait_until(condition, what, seconds=seconds, meanwhile=watch)

    return wait


def _measure(system: System, observer: Observer, wait: Wait, *, quick: bool) -> Table:
    def passed(seconds: float) -> Callable[[], bool]:
        end = time.monotonic() + seconds
        return lambda: time.monotonic() > end

    # A quick trial's first version was swapped in before there was any load.
    early = 1 if quick else 0

    def swapped(count: int) -> Callable[[], bool]:
        wanted = count + early
        return lambda: len(_complete(observer, system.settings.kafka_partitions)) >= wanted

    wait(lambda: len(observer.seen.arrivals) > RATE, "the first predictions", 60)
    warm_up, steady = QUICK_SECONDS if quick else (WARM_UP_SECONDS, BEFORE_MS / 1000)
    wait(passed(warm_up), "the warm-up", warm_up + 10)
    wait(passed(steady), "the steady run", steady + 10)
    asked = now()
    if quick:
        _approve_again(system.settings, observer)
        wait(swapped(1), "swap 1", SWAP_SECONDS)
    else:
        request_training(system.settings, SPEC.name, asked, "the benchmark")
        wait(_trained(observer, swapped(1)), "the training and its swap", TRAINING_SECONDS)
        for number in range(2, SWAPS + 2):
            seconds = BEFORE_MS / 1000 + SETTLE_SECONDS
            wait(passed(seconds), f"the steady run before swap {number}", seconds + 15)
            _approve_again(system.settings, observer)
            wait(swapped(number), f"swap {number}", SWAP_SECONDS)
    wait(passed(SETTLE_SECONDS), "the last predictions", SETTLE_SECONDS + 10)

    with observer.lock:
        arrivals = list(observer.seen.arrivals)
    times = _complete(observer, system.settings.kafka_partitions)[early:]
    begun, ended = to_ms(asked), to_ms(times[0].begun_at)
    before = percentiles([a for a in arrivals if begun - BEFORE_MS <= a.arrived_ms < begun])
    training = percentiles([a for a in arrivals if begun <= a.arrived_ms < ended])
    fit = "" if quick else f"; while the training ran: p99 {training.p99_ms or 0:.0f} ms"
    return Table(
        f"Swaps under a load of {RATE:g} windows/s, edge to prediction",
        [_row(swap, arrivals, trained=not quick and not i) for i, swap in enumerate(times)],
        f"In the steady run before: p50 {before.p50_ms or 0:.0f} ms, p99"
        f" {before.p99_ms or 0:.0f} ms{fit}.",
    )


def _trained(observer: Observer, swapped: Callable[[], bool]) -> Callable[[], bool]:
    def trained() -> bool:
        runs = list(observer.seen.runs.values())
        failed = [r for r in runs if r.state in FINISHED and r.verdict != "approved"]
        if failed:
            raise ServerError(f"the training was {failed[0].state}: {failed[0].detail}")
        return swapped()

    return trained


def _complete(observer: Observer, partitions: int) -> list[SwapTimes]:
    """Swaps that every partition has been stamped for."""
    with observer.lock:
        found = swaps_of(observer.seen.registry_events, observer.seen.fences, SPEC.name)
    return [swap for swap in found if len(swap.partitions) >= partitions]


def _row(swap: SwapTimes, arrivals: list[Arrival], *, trained: bool) -> Row:
    stamped = swap.stamped_at or swap.activated_at
    found = around(arrivals, to_ms(swap.begun_at), to_ms(stamped))
    before, during = found.before.p99_ms or 0.0, found.during.p99_ms or 0.0
    return {
        "version": swap.version,
        "after a fit": "yes" if trained else "no",
        "approval to activation s": swap.activation_seconds or 0.0,
        "activation to last stamp s": swap.stamping_seconds or 0.0,
        "p50 before ms": found.before.p50_ms or 0.0,
        "p99 before ms": before,
        "p50 during ms": found.during.p50_ms or 0.0,
        "p99 during ms": during,
        "p99 ratio": during / before if before else None,
        "windows during": found.during.windows,
    }


def _approve_again(settings: Settings, observer: Observer) -> None:
    """Publish the latest version's artefact as the next version, registered and approved."""
    with observer.lock:
        versions = observer.seen.registry.models[SPEC.name].versions
        latest = versions[max(versions)].registered
    number = latest.version + 1
    copy = msgspec.structs.replace(latest, id=f"registered-{uuid4().hex}", version=number, at=now())
    approved = Approved(
        id=f"approved-{uuid4().hex}",
        model=SPEC.name,
        version=number,
        at=now(),
        detail="the same artefact again, to measure a swap",
    )
    publisher = Publisher(settings, SOURCE)
    publisher.send(copy)
    publisher.send(approved)
