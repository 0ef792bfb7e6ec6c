"""Edge to prediction in a steady run and around swaps: `python -m benchmarks.swap_latency`.

Everything runs as in `millrace up`. An edge sends simulated windows at a steady rate; after a
while a training is asked for, and its version is swapped in under load. Then the same
artefact is registered and approved again under the next numbers, so that there are several
swaps, without a fit beside them. For each swap the 99th percentile while it went on (from
the approval until a second after the last stamp) is compared with the half minute before.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import msgspec

from console.demo_report import this_machine
from console.edge_process import EdgeProcess
from console.home import Home
from console.latency import BEFORE_MS, Arrival, around, percentiles
from console.models import request_training
from console.observer import Observer
from console.output import answers, table
from console.progress import Progress
from console.report import Machine
from console.swaps import SwapTimes, swaps_of
from console.system import System, running_system
from console.waiting import wait_until
from contracts.errors import MillraceError, ServerError
from contracts.events import now, to_ms
from contracts.model_event import Approved
from contracts.training import FINISHED
from infra.declare import declare_model
from infra.publisher import Publisher
from infra.settings import Settings
from producers.simulate import SPEC

SOURCE = "/millrace/benchmarks"
WARM_UP_SECONDS = 15.0
TRAINING_SECONDS = 300.0
SWAP_SECONDS = 30.0
SETTLE_SECONDS = 3.0


class SwapLatency(msgspec.Struct, frozen=True):
    """One swap: times in seconds, percentiles in milliseconds."""

    version: int
    trained: bool
    activation_seconds: float
    activated_to_stamped_seconds: float
    p50_before: float
    p99_before: float
    p50_during: float
    p99_during: float
    ratio: float
    windows_before: int
    windows_during: int


class Result(msgspec.Struct, frozen=True):
    """The whole benchmark; ``steady`` is the time before the training was asked for."""

    machine: Machine
    rate: float
    steady_p50: float
    steady_p99: float
    training_p99: float
    swaps: list[SwapLatency]


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=float, default=200.0, help="windows per second")
    parser.add_argument("--swaps", type=int, default=3, help="further swaps after the trained one")
    parser.add_argument("--output", type=Path, help="where the JSON goes")
    arguments = parser.parse_args()
    try:
        result = run(arguments.rate, arguments.swaps)
    except MillraceError as error:
        print(f"swap_latency: {error}", file=sys.stderr)
        return 2
    output: Path = arguments.output or Home.of(Settings.read()).root / "bench" / "swap_latency.json"
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_bytes(msgspec.json.format(msgspec.json.encode(result), indent=2))
    show(result)
    print(output)
    return 0


def run(rate: float, swaps: int) -> Result:
    """Measure.

    Args:
        rate: Windows per second.
        swaps: Swaps after the trained one.

    Raises:
        MillraceError: Something does not start or never comes.
    """
    settings = Settings.read(namespace=f"bench-{now():%Y%m%d-%H%M%S}")
    trainer = {"MILLRACE_TRAINER_FIRST_OUTCOMES": "0", "MILLRACE_TRAINER_MAX_AGE_DAYS": "0"}
    with (
        Progress() as progress,
        running_system(settings, progress.waiting_for, environment=trainer) as system,
    ):
        declare_model(system.settings, SPEC, SOURCE)
        observer = Observer(system.settings)
        observer.start()
        edge = EdgeProcess(
            ["simulate", "--rate", f"{rate:g}", "--minutes", "60"],
            system.environment(),
            system.home.root / "bench",
            "edge",
        )

        def wait(condition: Callable[[], bool], what: str, seconds: float) -> None:
            def watch() -> None:
                observer.check()
                system.supervisor.check()
                if edge.finished():
                    raise ServerError("the edge has ended before the measurement")

            progress.waiting_for(what)
            wait_until(condition, what, seconds=seconds, meanwhile=watch)

        try:
            return _measure(system, observer, rate, swaps, wait)
        finally:
            edge.stop()
            observer.stop()


def _measure(
    system: System,
    observer: Observer,
    rate: float,
    swaps: int,
    wait: Callable[[Callable[[], bool], str, float], None],
) -> Result:
    def passed(seconds: float) -> Callable[[], bool]:
        end = time.monotonic() + seconds
        return lambda: time.monotonic() > end

    def swapped(count: int) -> Callable[[], bool]:
        return lambda: len(_complete(observer, system.settings.kafka_partitions)) >= count

    wait(lambda: len(observer.seen.arrivals) > rate, "the first predictions", 60)
    wait(passed(WARM_UP_SECONDS), "the warm-up", WARM_UP_SECONDS + 10)
    wait(passed(BEFORE_MS / 1000), "the steady run", BEFORE_MS / 1000 + 10)
    asked = now()
    request_training(system.settings, SPEC.name, asked, "the benchmark")

    def trained() -> bool:
        runs = list(observer.seen.runs.values())
        failed = [r for r in runs if r.state in FINISHED and r.verdict != "approved"]
        if failed:
            raise ServerError(f"the training was {failed[0].state}: {failed[0].detail}")
        return swapped(1)()

    wait(trained, "the training and its swap", TRAINING_SECONDS)
    for number in range(swaps):
        wait(
            passed(BEFORE_MS / 1000 + SETTLE_SECONDS),
            f"the steady run before swap {number + 2}",
            BEFORE_MS / 1000 + 15,
        )
        _approve_again(system.settings, observer)
        wait(swapped(number + 2), f"swap {number + 2}", SWAP_SECONDS)
    wait(passed(SETTLE_SECONDS), "the last predictions", SETTLE_SECONDS + 10)

    with observer.lock:
        arrivals = list(observer.seen.arrivals)
    times = _complete(observer, system.settings.kafka_partitions)
    begun, ended = to_ms(asked), to_ms(times[0].begun_at)
    steady = percentiles([a for a in arrivals if begun - BEFORE_MS <= a.arrived_ms < begun])
    training = percentiles([a for a in arrivals if begun <= a.arrived_ms < ended])
    return Result(
        this_machine(),
        rate,
        steady.p50_ms or 0.0,
        steady.p99_ms or 0.0,
        training.p99_ms or 0.0,
        [_latency(swap, arrivals, index == 0) for index, swap in enumerate(times)],
    )


def _complete(observer: Observer, partitions: int) -> list[SwapTimes]:
    """Swaps that every partition has been stamped for."""
    with observer.lock:
        found = swaps_of(observer.seen.registry_events, observer.seen.fences, SPEC.name)
    return [swap for swap in found if len(swap.partitions) >= partitions]


def _latency(swap: SwapTimes, arrivals: list[Arrival], trained: bool) -> SwapLatency:  # noqa: FBT001
    stamped = swap.stamped_at or swap.activated_at
    found = around(arrivals, to_ms(swap.begun_at), to_ms(stamped))
    before, during = found.before.p99_ms or 0.0, found.during.p99_ms or 0.0
    return SwapLatency(
        swap.version,
        trained,
        swap.activation_seconds or 0.0,
        swap.stamping_seconds or 0.0,
        found.before.p50_ms or 0.0,
        before,
        found.during.p50_ms or 0.0,
        during,
        during / before if before else 0.0,
        found.before.windows,
        found.during.windows,
    )


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


def show(result: Result) -> None:
    """Print the result for people."""
    machine = result.machine
    answers.print(
        f"{result.rate:g} windows/s on {machine.system}, {machine.cores} cores: steady p50"
        f" {result.steady_p50:.0f} ms, p99 {result.steady_p99:.0f} ms; while training p99"
        f" {result.training_p99:.0f} ms",
        highlight=False,
    )
    answers.print(
        table(
            "swaps",
            (
                "version",
                "after a fit",
                "activation s",
                "p99 before ms",
                "p99 during ms",
                "ratio",
                "windows during",
            ),
            [
                (
                    s.version,
                    s.trained,
                    s.activation_seconds,
                    s.p99_before,
                    s.p99_during,
                    s.ratio,
                    s.windows_during,
                )
                for s in result.swaps
            ],
        )
    )
    ratios = [swap.ratio for swap in result.swaps]
    if ratios:
        answers.print(
            f"p99 during / before: median {statistics.median(ratios):.2f}, worst {max(ratios):.2f}"
        )


if __name__ == "__main__":
    sys.exit(main())
