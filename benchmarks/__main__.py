"""``python -m benchmarks [NAME ...] [--quick] [--repeats N] [--json] [--profile]``.

Runs benchmarks one after the other on servers of its own (or on those that the settings name),
writes each result to ``<home>/bench/<name>.json``, and prints its tables. ``show`` prints the
results that are there as Markdown and runs nothing.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from benchmarks.end_to_end import end_to_end
from benchmarks.growth import growth
from benchmarks.inference_speed import inference_speed
from benchmarks.machine import this_machine
from benchmarks.memory import memory
from benchmarks.plan import Benchmark, Plan
from benchmarks.processing import processing
from benchmarks.profiled import summarise
from benchmarks.replay_speed import replay_speed
from benchmarks.result import Result, Row, load
from benchmarks.servers import Servers, running_servers
from benchmarks.show import print_markdown, show
from benchmarks.swap_latency import swaps
from benchmarks.turns import Bar
from millrace.console.terminal.output import answers, print_json, remarks
from millrace.contracts.clock import now
from millrace.contracts.errors import MillraceError
from millrace.infra.settings import Settings

BENCHMARKS: Final[dict[str, Benchmark]] = {
    "processing": processing,
    "inference": inference_speed,
    "end-to-end": end_to_end,
    "growth": growth,
    "swaps": swaps,
    "memory": memory,
    "replay": replay_speed,
}
SHOW: Final = "show"
ALL: Final = "all"


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line.

    Args:
        arguments: Its words; None for those of this process.

    Returns:
        The options; ``names`` are the benchmarks to run, or `SHOW` alone.
    """
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "names", nargs="*", default=ALL, choices=[*BENCHMARKS, ALL, SHOW], metavar="NAME"
    )
    parser.add_argument("--quick", action="store_true", help="small sizes: a trial, no figures")
    parser.add_argument("--repeats", type=int, help="how often each contender runs")
    parser.add_argument("--json", action="store_true", help="print results as JSON")
    parser.add_argument(
        "--profile",
        action="store_true",
        help="run our services under cProfile; profiles go to <home>/bench/profiles",
    )
    chosen = parser.parse_args(arguments)
    # argparse takes a default for one of the choices, so it is no list
    asked = dict.fromkeys([ALL] if chosen.names == ALL else chosen.names)
    if SHOW in asked:
        chosen.names = [SHOW]
    else:
        chosen.names = list(BENCHMARKS if ALL in asked else asked)
    return chosen


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the command line asks for.

    Returns:
        Exit status: 2 if something does not start or ends early.
    """
    chosen = parse(arguments)
    folder = Settings.read().home.absolute() / "bench"
    if chosen.names == [SHOW]:
        found = [load(path) for path in _results(folder)]
        if not found:
            remarks.print(f"no results in {folder}: run `python -m benchmarks`", highlight=False)
        print_markdown(found)
        return 0
    for number in (signal.SIGTERM, signal.SIGHUP):  # what was started ends with us
        signal.signal(number, signal.default_int_handler)
    try:
        results = _run(chosen.names, folder, chosen)
    except MillraceError as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    if chosen.json:
        print_json(results)
    return 0


def _run(names: Sequence[str], folder: Path, chosen: argparse.Namespace) -> list[Result]:
    profile = folder / "profiles" if chosen.profile else None
    if profile is not None:
        profile.mkdir(parents=True, exist_ok=True)
    results: list[Result] = []
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # what TensorFlow says helps nobody here
    with running_servers() as servers:
        for name in names:
            with Bar(name) as bar:
                plan = Plan(servers, bar, chosen.quick, chosen.repeats, profile)
                result = _one(name, plan, servers)
            path = result.save(folder / "quick" if chosen.quick else folder)
            results.append(result)
            if not chosen.json:
                show(result)
                answers.print(f"{path} ({result.seconds:.0f} s)", highlight=False)
    if profile is not None:
        for path in sorted(profile.glob("*.profile")):
            remarks.print(f"profile: {summarise(path)}", highlight=False)
    return results


def _one(name: str, plan: Plan, servers: Servers) -> Result:
    machine, taken_at, began = this_machine(servers.kafka), now(), time.monotonic()
    tables = BENCHMARKS[name](plan)
    seconds = round(time.monotonic() - began, 1)
    most = max((cell_repeats(row) for made in tables for row in made.rows), default=1)
    return Result(name, taken_at, seconds, plan.quick, most, machine, tables)


def cell_repeats(row: Row) -> int:
    """How many repeats the cells of a row have, at most."""
    return max((len(getattr(cell, "values", [0])) for cell in row.values()), default=1)


def _results(folder: Path) -> list[Path]:
    return [path for name in BENCHMARKS if (path := folder / f"{name}.json").exists()]


if __name__ == "__main__":
    sys.exit(main())
