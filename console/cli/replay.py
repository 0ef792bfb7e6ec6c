"""`millrace replay`: replays a stretch to a topic or files, or compares it with predictions."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final

import typer

from millrace.console.operations.moments import parse_moment
from millrace.console.operations.replay import (
    Planned,
    Replayed,
    Request,
    plan_replay,
    run_replay,
    run_verification,
)
from millrace.console.terminal.done import Done
from millrace.console.terminal.output import answers, print_json, remarks, table
from millrace.contracts.clock import now
from millrace.contracts.errors import SettingsError
from millrace.infra.local.address import settings_of_running_system
from millrace.infra.process.exit_status import FAILED
from millrace.replay.plan import AS_SERVED
from millrace.replay.sinks.sink import Tally
from millrace.replay.verify import Comparison

_OFFSETS: Final = re.compile(r"(\d+):(\d+)-(\d+)")


def request_of(
    arrived_from: str | None,
    arrived_until: str | None,
    assets: Sequence[str],
    offsets: Sequence[str],
    model: str,
) -> Request:
    """Parse the options that say what to replay.

    >>> request_of("2026-11-30T06:00Z", None, ["P-1"], ["3:100-200"], "active").offsets
    {3: (100, 200)}

    Raises:
        SettingsError: One cannot be parsed.
    """
    at = now()
    found: dict[int, tuple[int, int]] = {}
    for text in offsets:
        match = _OFFSETS.fullmatch(text)
        if match is None or int(match[2]) >= int(match[3]):
            raise SettingsError(
                f"--offsets {text!r} must be PARTITION:FIRST-UNTIL, as in 3:1000-2000"
            )
        found[int(match[1])] = int(match[2]), int(match[3])
    return Request(
        parse_moment("--from", arrived_from, at),
        parse_moment("--until", arrived_until, at),
        tuple(assets),
        found,
        model,
    )


def replay(
    request: Request,
    destination: str | None,
    *,
    dry_run: bool,
    processes: int | None,
    full_speed: bool,
    as_json: bool,
) -> None:
    """Replay a stretch, or print the plan.

    Raises:
        DataError: Something that is read or written is not what it should be.
        ServerError: Nothing runs, or a server does not answer.
        SettingsError: An option is not usable.
    """
    if destination is None:
        raise SettingsError(
            "say where the results go: --to TOPIC, --to FILE.parquet or --to s3://bucket/prefix;"
            " or --verify to compare with what was published"
        )
    settings = settings_of_running_system()
    with remarks.status("planning"):
        planned = plan_replay(settings, request, destination, measures=dry_run)
    if dry_run:
        print_json(planned) if as_json else _print_plan(planned)
        return
    if not as_json:
        _print_plan(planned)
    with Done() as told:
        done = run_replay(settings, planned, told, processes=processes, idle=not full_speed)
    print_json(done) if as_json else _print_result(done)


def verify(request: Request, *, processes: int | None, full_speed: bool, as_json: bool) -> None:
    """Compare a stretch with what was published; ends with status 1 if anything differs.

    Raises:
        DataError, ServerError, SettingsError: See `replay`.
        typer.Exit: Something differs.
    """
    if request.model != AS_SERVED:
        raise SettingsError("--verify replays as served; leave --model out")
    settings = settings_of_running_system()
    with remarks.status("planning"):
        planned = plan_replay(settings, request, None)
    with Done() as told:
        found = run_verification(settings, planned, told, processes=processes, idle=not full_speed)
    if as_json:
        print_json({"plan": planned, "partitions": found})
    else:
        _print_comparison(found)
    if not all(each.is_equal for each in found.values()):
        raise typer.Exit(FAILED)


def _print_plan(planned: Planned) -> None:
    plan = planned.plan
    answers.print(
        table(
            f"{plan.id}: at most {plan.records:,} records, {plan.model} to {plan.destination}",
            ("partition", "first", "until", "records", "objects", "bytes", "cannot be read"),
            [
                (
                    line.partition,
                    line.first,
                    line.until,
                    line.records,
                    line.objects,
                    line.bytes,
                    ", ".join(f"{gap.first} to {gap.until - 1} ({gap.why})" for gap in line.gaps),
                )
                for line in planned.partitions
            ],
        )
    )
    answers.print(f"versions: {', '.join(planned.versions) or 'none'}", highlight=False)
    if planned.windows_per_second is not None:
        seconds = plan.records / planned.windows_per_second
        answers.print(
            f"measured: {planned.windows_per_second:,.0f} windows/s in one process, so about"
            f" {seconds:,.0f} s of processor time",
            highlight=False,
        )


def _print_result(done: Replayed) -> None:
    tally = done.tally
    answers.print(
        f"{done.id}: {tally.predicted:,} predicted of {tally.records:,} records in"
        f" {done.seconds:.1f} s; {tally.repeated:,} repeat an earlier window,"
        f" {sum(tally.refused.values()):,} refused, {tally.others:,} of other assets",
        highlight=False,
        soft_wrap=True,
    )
    print_results(tally, done.where)


def print_results(tally: Tally, where: str) -> None:
    """Print what was refused and why, and where the results are."""
    for reason, count in sorted(tally.refused.items()):
        answers.print(
            f"refused, {reason}: {count:,}, as {tally.examples.get(reason, '')}",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )
    answers.print(f"results: {where}", markup=False, highlight=False, soft_wrap=True)


def _print_comparison(found: dict[int, Comparison]) -> None:
    total = sum(found.values(), Comparison())
    compared = total.equal + total.different
    share = f"{total.equal / compared:.2%}" if compared else "none"
    rows: Iterable[tuple[object, ...]] = (
        (
            partition,
            each.records,
            each.equal,
            each.different,
            each.missing,
            each.extra,
            each.refused,
            each.repeated,
            each.largest,
        )
        for partition, each in sorted(found.items())
    )
    answers.print(
        table(
            f"{compared:,} predictions compared, {share} equal bit for bit",
            (
                "partition",
                "records",
                "equal",
                "different",
                "missing",
                "extra",
                "refused",
                "repeated",
                "largest difference",
            ),
            list(rows),
        )
    )
    for partition, each in sorted(found.items()):
        for finding in each.findings:
            answers.print(
                f"{finding.kind}: {finding.asset}, partition {partition}, position"
                f" {finding.position}: {finding.detail}",
                markup=False,
                highlight=False,
                soft_wrap=True,
            )
