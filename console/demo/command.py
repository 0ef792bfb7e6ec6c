"""`millrace demo`: starts the system, runs the scenario, checks it, writes the report, ends."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final

import msgspec

from millrace.console.demo.kills import Kill
from millrace.console.demo.live_view import LiveView
from millrace.console.demo.report.page import render_page
from millrace.console.demo.report.pictures import draw
from millrace.console.demo.report.report import ReplayCounts, Report, encode_report
from millrace.console.demo.runner import DemoRunner
from millrace.console.demo.scenario import Scenario, open_scenario
from millrace.console.demo.scoreboard import Scoreboard
from millrace.console.demo.summary import Measured, build_report
from millrace.console.operations.replay import Request, plan_replay, run_verification
from millrace.console.terminal.output import answers, print_json, remark, remarks, table
from millrace.console.terminal.progress import Progress
from millrace.contracts.clock import now
from millrace.contracts.errors import DataError
from millrace.infra.local.home import Home
from millrace.infra.local.leftovers import demo_namespace, empty_folder, remove_from_servers
from millrace.infra.local.system import running_system
from millrace.infra.settings import Settings
from millrace.replay.verify import Comparison
from millrace.verification.evidence import Evidence, gather

#: The demonstration requests the first training itself, once its stretch is processed.
_TRAINER: Final = {"MILLRACE_TRAINER_FIRST_OUTCOMES": "0"}


def run_demo(
    where: str,
    *,
    kills: Sequence[Kill] = (),
    rate: float | None = None,
    training_rate: float | None,
    as_json: bool = False,
) -> None:
    """Run the demonstration.

    Args:
        where: A dataset.toml or ``fleet``.
        kills: Programs to kill on the way.
        rate: Windows per second of the replay; None to choose.
        training_rate: The same while a training run is in progress.
        as_json: Print the report on standard output.

    Raises:
        MillraceError: A program does not start, a phase does not end, or the checker found windows
            missing, duplicated or mixed.
    """
    started_at, began = now(), time.monotonic()
    settings = Settings.read(namespace=demo_namespace(started_at))
    home = Home.of(settings)
    with Progress() as progress:
        progress.waiting_for("the story to be read")
        scenario = open_scenario(where, settings, rate=rate, training_rate=training_rate)
        home.create()
        with running_system(
            settings,
            progress.waiting_for,
            environment=_TRAINER,
            prepare=_prepare,
            warn=remark,
        ) as system:
            empty_folder(home.demo)
            progress.done(f"everything runs; logs in {home.logs}")
            with LiveView(scenario.title, began) as view:
                runner = DemoRunner(scenario, system, view, kills, home.demo)
                view.tell(_pace(scenario))
                performance = runner.run()
            progress.waiting_for("the checker to read all topics")
            evidence = gather(system.settings)
            board = _score(scenario, evidence, runner)
            measured = Measured(
                started_at,
                time.monotonic() - began,
                board.rows(),
                [
                    arrival
                    for arrival in runner.observer.seen.arrivals
                    if arrival.sent_ms >= performance.replay_began_ms
                ],
                runner.memory.peaks_mib,
                runner.memory.total_peak_mib,
                runner.memory.measure,
            )
            report = build_report(scenario, settings.namespace, evidence, performance, measured)
            progress.waiting_for("a replay of everything, as it was served")
            report = msgspec.structs.replace(report, replayed=_replay(system.settings))
        report = msgspec.structs.replace(report, seconds=round(time.monotonic() - began, 1))
        (home.demo / "report.json").write_bytes(encode_report(report))
        progress.waiting_for("the report to be drawn")
        forecasts = runner.frozen.forecasts() if runner.frozen else None
        pictures = draw(report, scenario, evidence, measured, forecasts)
        page = home.demo / "report.html"
        page.write_text(render_page(report, pictures), encoding="utf-8")
        progress.done(f"report: {home.demo / 'report.json'} and {page}")
    if as_json:
        print_json(report)
    else:
        print_summary(report)
    judge(report)


def _prepare(settings: Settings, own_servers: bool) -> None:  # noqa: FBT001  (a callback)
    if own_servers:
        remove_from_servers(settings)


def _pace(scenario: Scenario) -> str:
    plan = scenario.plan
    return (
        f"story     {plan.training} windows to train on, then {plan.replayed} replayed at"
        f" {plan.speed:,.0f} times recorded time ({plan.rate:.0f} windows/s), and at"
        f" {plan.training_speed:,.0f} times while a model is being trained"
    )


def _replay(settings: Settings) -> ReplayCounts:
    """Replay the run as served, and compare each forecast with the published one."""
    began = time.monotonic()
    planned = plan_replay(settings, Request(), None)
    found = run_verification(settings, planned, lambda *_: None, processes=None, idle=False)
    total = sum(found.values(), Comparison())
    seconds = round(time.monotonic() - began, 1)
    return ReplayCounts(total.equal, total.different, total.missing, total.extra, seconds)


def _score(scenario: Scenario, evidence: Evidence, runner: DemoRunner) -> Scoreboard:
    """Compute the errors of the predictions in the topic, not of those in the live view."""
    board = Scoreboard(scenario.truth, scenario.spec, scenario.judged_after_ms)
    forecasts = runner.frozen.forecasts() if runner.frozen else None
    if forecasts is not None:
        board.set_frozen(forecasts)
    for prediction in evidence.predictions:
        board.add(prediction)
    return board


def print_summary(report: Report) -> None:
    """Print the key results."""
    w, e = report.windows, report.error
    answers.print(
        table(
            f"{report.title}: {report.seconds:.0f} s",
            ("", "sent", "valid", "rejected", "predicted", "missing", "duplicated", "mixed"),
            [
                (
                    "windows",
                    w.sent,
                    w.valid,
                    w.rejected,
                    w.predicted,
                    w.missing,
                    w.duplicated,
                    w.mixed,
                )
            ],
        )
    )
    if report.replayed is not None:
        again = report.replayed
        answers.print(
            f"replayed as served in {again.seconds:.0f} s: {again.equal:,} predictions equal, bit"
            f" for bit; {again.different} different, {again.missing} missing, {again.extra} extra",
            highlight=False,
            soft_wrap=True,
        )
    answers.print(
        table(
            "mean absolute error, in standard deviations of the first stretch",
            ("month", "live", "frozen", "persistence", "windows"),
            [
                *((m.month, m.live, m.frozen, m.persistence, m.windows) for m in e.by_month),
                ("all", e.live, e.frozen, e.persistence, e.windows),
            ],
        )
    )
    answers.print(
        table(
            f"{len(report.swaps)} swaps, {len(report.drift)} alerts, peak memory"
            f" {report.memory_total_mib:.0f} MiB",
            ("version", "epoch", "at", "activation s", "p99 before ms", "p99 during ms", "mixed"),
            [
                (
                    f"v{s.version}",
                    s.epoch,
                    s.event_time,
                    s.activation_seconds,
                    s.p99_latency_ms_before,
                    s.p99_latency_ms_during,
                    s.mixed,
                )
                for s in report.swaps
            ],
        )
    )
    for note in report.notes:
        remarks.print(f"note: {note}", highlight=False, soft_wrap=True)


def judge(report: Report) -> None:
    """Fail a run with deviations in its windows.

    Raises:
        DataError: Windows are missing, duplicated, mixed or altered, or a replay gives others.
    """
    wrong = {
        name: count
        for name, count in msgspec.structs.asdict(report.windows).items()
        if name in {"missing", "duplicated", "mixed", "altered", "unexpected"} and count
    }
    if wrong:
        found = ", ".join(f"{count} {name}" for name, count in wrong.items())
        raise DataError(f"the checker found windows {found}; see report.json and the logs")
    again = report.replayed
    if again is not None and (again.different or again.missing or again.extra):
        raise DataError(
            f"the replay found {again.different} predictions different, {again.missing} missing and"
            f" {again.extra} extra; see report.json"
        )
