"""The fault harness: ``python -m tests.faults [--case NAME...] [--seeds N] [--jobs N] [--json]``.

Real processes, a real broker and a real object store; faults at named points and at seeded
random moments; an oracle that reads only topics and the source. Cases are played in lanes side
by side. One line for each case as it ends; everything in ``var/faults/report.json``. Ends with
status 1 if a case did not end as it should.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import shutil
import signal
import sys
import time
from fnmatch import fnmatch
from pathlib import Path
from typing import Final

import msgspec

from millrace.console.demo.summary import this_machine
from millrace.infra.settings import Settings
from tests.faults.cases.case import Case
from tests.faults.cases.catalogue import all_cases
from tests.faults.harness.lane import Order
from tests.faults.harness.lanes import Lanes
from tests.faults.harness.report import CaseResult, FaultReport, line_of, summary

#: Status of a run that was broken off by a signal, as shells have it for an interrupt.
_BROKEN_OFF: Final = 130


def main() -> int:
    """Run the cases that are asked for."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument(
        "--case", nargs="+", default=[], metavar="NAME", help="cases; kill/* names all of a kind"
    )
    parser.add_argument("--seeds", type=int, default=3, help="seeds of the cases at random moments")
    parser.add_argument("--first-seed", type=int, default=1, help="the first of the seeds")
    parser.add_argument(
        "--jobs",
        type=int,
        default=os.cpu_count() or 1,
        help="lanes that play cases side by side; by default one for each core",
    )
    parser.add_argument("--broken", action="store_true", help="only deliberately broken builds")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    parser.add_argument("--list", action="store_true", help="list the cases and do nothing")
    parser.add_argument("--output", type=Path, help="where the report goes")
    arguments = parser.parse_args()
    found = chosen(arguments.case, broken=arguments.broken)
    if arguments.list or not found:
        sys.stdout.write("".join(f"{name}\n" for name in (c.name for c in found)))
        return 0 if found else 2
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    folder = Settings.read().home.absolute() / "faults"
    work = folder / "work"
    folder.mkdir(parents=True, exist_ok=True)
    lock = (folder / "lock").open("w")  # held until the process ends
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        sys.stderr.write(f"another run is going on in {folder}\n")
        return 2
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    began = time.monotonic()
    results: list[CaseResult] = []
    output = arguments.output or folder / "report.json"
    orders = plan(found, arguments.first_seed, arguments.seeds)
    try:
        with Lanes(work, arguments.jobs) as lanes:
            for result in lanes.play(orders):
                results.append(result)
                if not arguments.json:
                    sys.stdout.write(line_of(result) + "\n")
                    sys.stdout.flush()
    except KeyboardInterrupt:
        sys.stderr.write(f"broken off; {len(orders) - len(results)} cases were not played\n")
    finally:
        results.sort(key=lambda result: orders.index(Order(result.name, result.seed)))
        report = FaultReport(this_machine(), round(time.monotonic() - began, 1), results)
        report.write(output)
    if arguments.json:
        sys.stdout.write(msgspec.json.encode(report).decode() + "\n")
    else:
        sys.stdout.write(f"{summary(report)}; {output}\n")
    if len(results) < len(orders):
        return _BROKEN_OFF
    return 0 if all(result.good for result in results) else 1


def chosen(names: list[str], *, broken: bool) -> list[Case]:
    """Select cases by name or pattern; without any, all of them."""
    cases = [case for case in all_cases().values() if case.broken or not broken]
    return [case for case in cases if not names or any(fnmatch(case.name, name) for name in names)]


def plan(cases: list[Case], first: int, seeds: int) -> list[Order]:
    """Say which case runs with which seed, in order: what lasts long begins first."""
    return [
        Order(case.name, seed)
        for case in sorted(cases, key=lambda case: not case.long)
        for seed in range(first, first + (seeds if case.seeds else 1))
    ]


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
