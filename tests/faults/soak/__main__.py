"""The soak: ``python -m tests.faults.soak [--minutes 120] [--rate 100] [--seed 1]``.

All services run for hours while windows flow: eight pumps, four assets whose windows come 31 to
35 s apart, partitions that go quiet for minutes, bad records, windows that are sent twice. In
every second stretch of a few minutes a random service is killed; in the middle `sensor.windows`
is created anew. Whenever all is quiet, a stretch ends: the oracle judges it
(`soak_judge`), every service's account has to balance (`balance`), and what was
judged is forgotten. At the end: verdict, balance per partition, restarts, recovery times, and the
memory of every process. Ends with status 1 if anything was wrong. The report is
``var/faults/soak.json``.
"""

from __future__ import annotations

import argparse
import gc
import os
import shutil
import signal
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import msgspec

from millrace.console.demo.report.report import Machine
from millrace.console.demo.summary import this_machine
from millrace.console.operations.accounts import (
    BalanceLine,
    LossLine,
    accounts,
    metrics_of,
    unsettled,
)
from millrace.contracts.errors import MillraceError
from millrace.contracts.topics import (
    CHANGELOG,
    DEAD_LETTERS,
    NORMALIZED,
    OUTCOMES,
    PREDICTIONS,
    SENSOR_WINDOWS,
    Topic,
)
from millrace.infra.local.programs import ARCHIVER, INFERENCE, SERVICES, STREAM_PROCESSOR, TRAINER
from millrace.infra.settings import Settings
from tests.faults.cases.topic import create_anew
from tests.faults.harness.observer import Seen
from tests.faults.harness.offsets import Committed
from tests.faults.harness.plant import PARTITIONS, Plant
from tests.faults.harness.servers import KAFKA, S3, Servers
from tests.faults.harness.source import SPEC, Input, Source
from tests.faults.oracle.evidence import Evidence, decode
from tests.faults.oracle.judge import Violations, judge, rewound
from tests.faults.soak.judge import Commits, Tally
from tests.faults.soak.memory import MemoryLine, MemorySampler
from tests.faults.soak.source import SoakSource, quiet_times

#: What is read back and judged of each stretch.
_JUDGED: Final = (SENSOR_WINDOWS, NORMALIZED, PREDICTIONS, DEAD_LETTERS)
#: What is seen of it and forgotten.
_NOT_JUDGED: Final = (OUTCOMES, CHANGELOG)
#: How long a stretch lasts, as shares of the whole, and at most, seconds.
_STRETCH: Final = (0.03, 0.05)
_MOST_SECONDS: Final = 300.0
#: Share of the stretches in which a service is killed: some live for long, others start often.
_KILLED: Final = 0.5
#: Offsets that went back which are told in words, of each stretch.
_EXAMPLES: Final = 3
#: How long quiet may take, and accounts to balance, seconds.
_QUIET_SECONDS: Final = 120.0
_BALANCE_SECONDS: Final = 20.0
#: After a fault of ours, services may end by themselves for so long, seconds.
_AFTERMATH_SECONDS: Final = 120.0


class KillLine(msgspec.Struct, frozen=True):
    """A fault, and how long it took until a window that was sent after it was predicted.

    Attributes:
        what: The service that was killed, or ``recreated``.
        at: When, seconds since the soak began.
        recovery_seconds: Seconds; None if no such prediction came in time.
    """

    what: str
    at: float
    recovery_seconds: float | None


class SoakReport(msgspec.Struct, frozen=True):
    """What a soak found.

    Attributes:
        machine: Where it ran.
        minutes: How long windows flowed.
        rate: Windows per second that were asked for.
        seed: Its seed.
        passed: Whether nothing was wrong.
        tally: The oracle's verdict.
        problems: What else was wrong, in words.
        balances: Accounts at the end, of each service's last life.
        losses: Records that Kafka dropped before they were read, of the same lives.
        deaths: How often each program ended, killed or not.
        kills: The faults.
        memory: Every process that lived.
    """

    machine: Machine
    minutes: float
    rate: float
    seed: int
    passed: bool
    tally: Tally
    problems: Sequence[str]
    balances: Sequence[BalanceLine]
    losses: Sequence[LossLine]
    deaths: dict[str, int]
    kills: Sequence[KillLine]
    memory: Sequence[MemoryLine]


class SoakPlant(Plant):
    """A plant whose source is that of a soak."""

    def make_source(self, seed: int) -> Source:
        """Make what sends windows."""
        return SoakSource(self.settings, seed)


class Soak:
    """One run; see the module."""

    def __init__(self, plant: SoakPlant, servers: Servers, seconds: float, rate: float) -> None:
        """Prepare it; the plant serves already."""
        self._plant = plant
        self._servers = servers
        self._seconds = seconds
        self._rate = rate
        self._began = time.monotonic()
        self._commits = Commits()
        self._balances: list[BalanceLine] = []
        self._losses: list[LossLine] = []
        self._forgotten: set[str] = set()
        self._told = 0.0
        self._victims: list[str] = []
        self.tally = Tally()
        self.problems: list[str] = []
        self.kills: list[KillLine] = []
        self.memory = MemorySampler(self._processes)

    @property
    def passed_seconds(self) -> float:
        """Seconds since it began."""
        return time.monotonic() - self._began

    def run(self) -> None:
        """Let windows flow, stretch by stretch, until the time is over."""
        plant = self._plant
        assert isinstance(plant.source, SoakSource)
        plant.source.begin(quiet_times(plant.seed, PARTITIONS, self._seconds))
        recreated = False
        while self.passed_seconds < self._seconds:
            share = float(plant.rng.uniform(*_STRETCH))
            length = min(_MOST_SECONDS, share * self._seconds)
            self._stretch(min(length, self._seconds - self.passed_seconds))
            if not recreated and self.passed_seconds >= self._seconds / 2:
                recreated = True
                self._recreate()
        self._check_deaths()
        self.problems += [
            f"{line.name} (process {line.pid}) grows: {line.first_mib} MiB to {line.last_mib} MiB"
            for line in self.memory.lines()
            if line.grows
        ]

    def report(self, minutes: float, seed: int) -> SoakReport:
        """Sum up."""
        return SoakReport(
            machine=this_machine(),
            minutes=round(minutes, 2),
            rate=self._rate,
            seed=seed,
            passed=not self.tally.wrong and not self.problems,
            tally=self.tally,
            problems=self.problems,
            balances=self._balances,
            losses=self._losses,
            deaths={name: p.deaths for name, p in self._plant.programs.items()},
            kills=self.kills,
            memory=self.memory.lines(),
        )

    def _stretch(self, seconds: float) -> None:
        """Let windows flow, perhaps kill somebody on the way, and judge once all is quiet."""
        plant = self._plant
        began = time.monotonic()
        with plant.source.flowing(self._rate):
            self._pass(seconds * float(plant.rng.uniform(0.2, 0.5)))
            if plant.rng.uniform() < _KILLED:
                if not self._victims:  # each has its turn before one has another
                    self._victims = [str(name) for name in plant.rng.permutation(SERVICES)]
                victim = self._victims.pop()
                plant[victim].kill()
                self._fault(victim)
                self._recover(victim)
            self._pass(max(0.0, seconds - (time.monotonic() - began)))
        self._judge()

    def _recreate(self) -> None:
        """Create `sensor.windows` anew while all is quiet."""
        create_anew(self._plant)
        self._forgotten.add(SENSOR_WINDOWS.name)
        self._fault("recreated")
        with self._plant.source.flowing(self._rate):
            self._recover("recreated")
        self._judge()

    def _fault(self, what: str) -> None:
        self._plant.fault()
        self._say(f"{what} {'' if what == 'recreated' else 'killed'}".strip())

    def _recover(self, what: str) -> None:
        """Wait for a prediction that shows recovery, and note how long it took."""
        plant, at = self._plant, self.passed_seconds
        took: float | None = None
        try:
            plant.until_recovered()
        except MillraceError as error:
            self.problems.append(f"no recovery after {what}: {error}")
        else:
            took = round(plant.seconds_from(plant.faults[-1]), 2)
        self.kills.append(KillLine(what, round(at, 1), took))

    def _pass(self, seconds: float) -> None:
        """Let time pass, and say now and then how far it is."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self._plant.pass_time(min(left, 10.0))
            self._say("")

    def _judge(self) -> None:
        """Wait until all is quiet; judge the stretch, and forget it."""
        plant = self._plant
        records: dict[str, list[Seen]] = defaultdict(list)
        inputs: list[Input] = []
        commits: list[Committed] = []
        for last in (False, True):
            if not plant.quiet(_QUIET_SECONDS):
                self.problems.append(f"no rest at {self.passed_seconds:.0f} s")
            inputs += plant.source.take()
            commits += plant.offsets.take()
            for topic in _JUDGED:
                records[topic.name] += plant.observer.take(topic)
            evidence, found = self._verdict(records, inputs)
            if last or not found.missing:
                break  # else the witness may be late: once more
        for topic in _NOT_JUDGED:
            plant.observer.take(topic)
        back = rewound(self._commits.stretch(commits, self._forgotten))
        told = tuple(f"{after} after {before.offset}" for before, after in back[:_EXAMPLES])
        self.tally.add(evidence, replace(found, rewound=len(back), words=(*found.words, *told)))
        self._forgotten.clear()
        self._check_balance()
        self._say("judged")

    def _verdict(
        self, records: dict[str, list[Seen]], inputs: list[Input]
    ) -> tuple[Evidence, Violations]:
        def of(topic: Topic) -> Sequence[Seen]:
            found = records.get(topic.name)
            return self._plant.observer.records(topic) if found is None else found

        evidence = decode(of, inputs, [])
        return evidence, judge(evidence, SPEC.name)

    def _check_balance(self) -> None:
        """Every service's account has to balance while nothing is under way."""
        end = time.monotonic() + _BALANCE_SECONDS

        def settled() -> bool:
            self._balances, self._losses = [], []
            for name in (STREAM_PROCESSOR, INFERENCE):
                metrics = metrics_of(self._plant[name].telemetry_port or 0)
                if metrics is None:
                    return time.monotonic() > end
                balances, losses = accounts(name, metrics)
                self._balances += balances
                self._losses += losses
            return not unsettled(self._balances) or time.monotonic() > end

        self._plant.until(settled, "the accounts to balance", 4 * _BALANCE_SECONDS)
        if {line.service for line in self._balances} != {STREAM_PROCESSOR, INFERENCE}:
            self.problems.append(f"no accounts at {self.passed_seconds:.0f} s")
        self.problems += [
            f"at {self.passed_seconds:.0f} s {line.service} has {line.waiting} of {line.read}"
            f" records of {line.topic} {line.partition} without a fate"
            for line in self._balances
            if line.waiting
        ]
        self.problems += [
            f"{loss.service} lost {loss.records} records of {loss.topic}" for loss in self._losses
        ]

    def _check_deaths(self) -> None:
        """Nobody may end by himself but after a fault of ours."""
        for name, program in self._plant.programs.items():
            for life in program.lives:
                if life.ended is None or life.status == -signal.SIGKILL:
                    continue
                late = [life.ended - fault for fault in self._plant.faults if fault <= life.ended]
                if min(late, default=float("inf")) > _AFTERMATH_SECONDS:
                    self.problems.append(f"{name} ended by itself with status {life.status}")

    def _processes(self) -> dict[str, int | None]:
        found = {name: program.pid for name, program in list(self._plant.programs.items())}
        return {
            **found,
            **{name: self._servers.pid(name) for name in (KAFKA, S3)},
            "soak": os.getpid(),
        }

    def _say(self, what: str) -> None:
        """Print a line of progress; without news, one a minute."""
        if not what and time.monotonic() - self._told < 60.0:
            return
        self._told = time.monotonic()
        tally = self.tally
        sys.stdout.write(
            f"{self.passed_seconds / 60:6.1f} of {self._seconds / 60:.0f} min  sent"
            f" {self._plant.source.count}  judged {tally.sent}  wrong {tally.wrong}  problems"
            f" {len(self.problems)}  {what}\n"
        )
        sys.stdout.flush()


def main() -> int:
    """Run a soak."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=120.0, help="how long windows flow")
    parser.add_argument("--rate", type=float, default=100.0, help="windows of pumps per second")
    parser.add_argument("--seed", type=int, default=1, help="of the input and of the faults")
    parser.add_argument("--output", type=Path, help="where the report goes")
    arguments = parser.parse_args()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    folder = Settings.read().home.absolute() / "faults"
    work = folder / "soak"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    servers = Servers(work / "servers")
    plant: SoakPlant | None = None
    soak: Soak | None = None
    try:
        servers.start()
        plant = SoakPlant(servers.endpoints, work, "soak", arguments.seed, servers)
        plant.serve()
        for name in (TRAINER, ARCHIVER):
            plant.start(name)
            plant[name].wait_ready()
        soak = Soak(plant, servers, 60 * arguments.minutes, arguments.rate)
        soak.run()
    except KeyboardInterrupt:
        if soak is not None:
            soak.problems.append("broken off")
    except MillraceError as error:
        sys.stderr.write(f"soak: {error}\n")
        if soak is not None:
            soak.problems.append(f"{error}")
    finally:
        if soak is not None:
            soak.memory.close()
        if plant is not None:
            plant.close()
        gc.collect()  # clients in reference cycles would complain of the broker's end
        servers.stop()
    if soak is None:
        return 1
    report = soak.report(soak.passed_seconds / 60, arguments.seed)
    output = arguments.output or folder / "soak.json"
    output.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n")
    sys.stdout.write(f"{words_of(report)}{output}\n")
    return 0 if report.passed else 1


def words_of(report: SoakReport) -> str:
    """The report for people, in lines."""
    tally = report.tally
    lines = [
        f"{'passed' if report.passed else 'FAILED'} after {tally.stretches} stretches",
        f"  {tally.sent} records sent, {tally.predicted} predicted, {tally.refused} refused",
        f"  {tally.wrong} wrong",
        *(f"  problem: {problem}" for problem in (*report.problems, *tally.words)),
        *(
            f"  {b.service} {b.topic} {b.partition}: read {b.read}, waiting {b.waiting}"
            for b in report.balances
        ),
    ]
    took = [kill.recovery_seconds for kill in report.kills if kill.recovery_seconds is not None]
    if took:
        lines.append(f"  {len(report.kills)} faults; longest recovery {max(took):.1f} s")
    lines += [
        f"  {m.name:<17} {m.pid:>8} {m.seconds:8.0f} s  {m.first_mib:8.1f} MiB to"
        f" {m.last_mib:8.1f} MiB  {m.slope_mib_per_hour} MiB/h"
        for m in report.memory
    ]
    return "".join(f"{line}\n" for line in lines)


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
