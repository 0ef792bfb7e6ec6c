"""The fault harness: ``python -m tests.faults [--case NAME...] [--seeds N] [--json] [--list]``.

Real processes, a real broker and a real object store; faults at named points and at seeded
random moments; an oracle that reads only topics and the source. One line for each case;
everything in ``var/faults/report.json``. Ends with status 1 if a case did not end as it should.
"""

from __future__ import annotations

import argparse
import fcntl
import logging
import shutil
import signal
import sys
import time
from fnmatch import fnmatch
from pathlib import Path

import msgspec
import structlog

from console.demo_report import this_machine
from infra.settings import Settings
from tests.faults.cases import Case
from tests.faults.catalogue import all_cases
from tests.faults.report import CaseResult, FaultReport, line_of
from tests.faults.runner import Runner


def main() -> int:
    """Run the cases that are asked for."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument(
        "--case", nargs="+", default=[], metavar="NAME", help="cases; kill/* names all of a kind"
    )
    parser.add_argument("--seeds", type=int, default=3, help="seeds of the cases at random moments")
    parser.add_argument("--first-seed", type=int, default=1, help="the first of the seeds")
    parser.add_argument("--broken", action="store_true", help="only deliberately broken builds")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    parser.add_argument("--list", action="store_true", help="list the cases and do nothing")
    parser.add_argument("--output", type=Path, help="where the report goes")
    arguments = parser.parse_args()
    found = chosen(arguments.case, broken=arguments.broken)
    if arguments.list or not found:
        sys.stdout.write("".join(f"{name}\n" for name in (c.name for c in found)))
        return 0 if found else 2
    signal.signal(signal.SIGTERM, _interrupt)
    # The harness's own clients would tell of each outage, between the lines or within the JSON.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
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
    try:
        with Runner(work) as runner:
            for case, seed in plan(found, arguments.first_seed, arguments.seeds):
                results.append(runner.run(case, seed))
                if not arguments.json:
                    sys.stdout.write(line_of(results[-1]) + "\n")
                    sys.stdout.flush()
    finally:
        report = FaultReport(this_machine(), round(time.monotonic() - began, 1), results)
        report.write(output)
    if arguments.json:
        sys.stdout.write(msgspec.json.encode(report).decode() + "\n")
    else:
        skipped = sum(result.verdict == "skipped" for result in results)
        good = sum(result.good for result in results) - skipped
        left = f", {skipped} skipped" if skipped else ""
        sys.stdout.write(f"{good} of {len(results)} as they should{left}; {output}\n")
    return 0 if all(result.good for result in results) else 1


def chosen(names: list[str], *, broken: bool) -> list[Case]:
    """Select cases by name or pattern; without any, all of them."""
    cases = [case for case in all_cases().values() if case.broken or not broken]
    return [case for case in cases if not names or any(fnmatch(case.name, name) for name in names)]


def plan(cases: list[Case], first: int, seeds: int) -> list[tuple[Case, int]]:
    """Say which case runs with which seed, in order."""
    return [
        (case, seed)
        for case in cases
        for seed in range(first, first + (seeds if case.seeds else 1))
    ]


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
