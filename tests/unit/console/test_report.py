"""The report: its keys, and a page that needs nothing else."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from html.parser import HTMLParser
from typing import Any

import msgspec
import pytest

from millrace.console.demo.accuracy import Truth, training_scale
from millrace.console.demo.command import judge
from millrace.console.demo.replay_plan import ReplayPlan
from millrace.console.demo.report.page import render_page
from millrace.console.demo.report.pictures import draw
from millrace.console.demo.report.report import Report, encode_report
from millrace.console.demo.runner import RunStats
from millrace.console.demo.scenario import KnownPart, Scenario
from millrace.console.demo.scoreboard import Scoreboard
from millrace.console.demo.summary import Measured, build_report
from millrace.contracts.clock import to_ms
from millrace.contracts.errors import DataError
from millrace.contracts.events.drift_alert import DriftAlert
from millrace.contracts.events.training import HoldoutError, TrainingRequest, TrainingRun
from millrace.producers.sources.recording import Story
from millrace.verification.evidence import Evidence
from millrace.verification.latency import Arrival
from millrace.verification.source_windows import source_windows
from tests.unit.console.made import SPEC, START, clean_run, frame

MINUTE = timedelta(minutes=1)


def scenario() -> Scenario:
    """The hand-made story, with a known drift in its last minutes."""
    table = frame(12)
    windows = source_windows(table, SPEC)
    story = Story(("tank-1",), START, START + 4 * MINUTE, START + 12 * MINUTE)
    scale = training_scale(table, SPEC, START, story.train_until)
    known = (
        KnownPart("concept_drift", ("tank-1",), START + 8 * MINUTE, story.replay_until, "wear"),
    )
    plan = ReplayPlan(1, 4, 100.0, 6_000.0, 300.0, 300)
    truth = Truth(windows, SPEC, scale)
    return Scenario("tank", "A <tank>", SPEC, story, table, windows, truth, plan, known)


def alert() -> DriftAlert:
    """An alarm about the tank."""
    return DriftAlert(
        id="d1",
        asset="tank-1",
        model="tank",
        version=1,
        signal="error",
        sensor=None,
        detector="PageHinkley",
        statistic=12.0,
        threshold=10.0,
        severity="critical",
        asks_training=True,
        event_time=START + 9 * MINUTE,
        evidence_from=START + 8 * MINUTE,
        samples=20,
        source=None,
        detail="the error rose",
    )


def run_record() -> TrainingRun:
    """A finished run that the alarm started."""
    request = TrainingRequest(
        id="q1",
        model="tank",
        reason="drift",
        detail="the error rose",
        event_time=START,
        requested_at=START,
        alert_id="d1",
    )
    return TrainingRun(
        id="run-1",
        model="tank",
        request=request,
        state="approved",
        updated_at=START,
        version=1,
        verdict="approved",
        detail="better",
        holdout=HoldoutError(0.1, 0.2, 0.3),
    )


def evidence() -> Evidence:
    """A clean run with one alarm and one training."""
    found = clean_run()
    found.alerts = [alert()]
    found.runs = [run_record()]
    return found


def report(found: Evidence) -> tuple[Report, Measured]:
    """Build the report of some evidence."""
    story = scenario()
    board = Scoreboard(story.truth, SPEC, story.judged_after_ms)
    for prediction in found.predictions:
        board.add(prediction)
    zero = to_ms(START)
    arrivals = [Arrival(zero + 100 * n, zero + 100 * n + 20, n // 12) for n in range(24)]
    measured = Measured(START, 12.3, board.rows(), arrivals, {"kafka": 300.0}, 300.0, "pss")
    return build_report(story, "demo-x", found, RunStats(replay_seconds=1), measured), measured


def test_the_report_has_the_keys_that_are_promised() -> None:
    """Names and nesting are an interface."""
    made: dict[str, Any] = json.loads(encode_report(report(evidence())[0]))
    wanted = {
        "windows": {"sent", "valid", "rejected", "predicted", "missing", "duplicated"},
        "error": {"live", "frozen", "persistence", "by_month"},
    }
    lists = {
        "models": {
            "version",
            "trained_from",
            "trained_until",
            "verdict",
            "reason",
            "holdout_error",
        },
        "drift": {"asset", "signal", "detector", "sensor", "event_time", "triggered_training"},
        "swaps": {
            "version",
            "epoch",
            "partitions",
            "mixed",
            "activation_seconds",
            "p99_latency_ms_before",
            "p99_latency_ms_during",
        },
    }
    assert made["dataset"] == "tank"
    assert made["seconds"] == 12.3
    assert made["memory_mib"] == {"kafka": 300.0}
    assert {name: set(made[name]) & keys for name, keys in wanted.items()} == wanted
    assert {name: set(made[name][0]) & keys for name, keys in lists.items()} == lists
    assert set(made["models"][0]["holdout_error"]) == {"challenger", "champion", "persistence"}
    months = {"month", "live", "frozen", "persistence", "windows"}
    assert set(made["error"]["by_month"][0]) == months


def test_the_report_tells_what_happened() -> None:
    """The alarm started the training; the swap has its offsets and its event time."""
    made, _ = report(evidence())
    assert made.drift[0].triggered_training
    swap = made.swaps[0]
    assert (swap.version, swap.partitions, swap.mixed) == (1, {0: 3}, 0)
    assert swap.event_time == START + 10 * MINUTE
    assert swap.activation_seconds == 2.0
    assert swap.windows_during == 24
    assert made.error.drifted[0].windows == 2
    judge(made)


def test_a_run_with_a_lost_window_is_refused() -> None:
    """The exit status must not say that all is well."""
    found = evidence()
    del found.predictions[0]
    with pytest.raises(DataError, match="1 missing"):
        judge(report(found)[0])


def test_the_page_needs_nothing_else_and_is_well_formed() -> None:
    """No address is loaded, every tag is closed, titles are escaped, both themes are there."""
    found = evidence()
    made, measured = report(found)
    page = render_page(made, draw(made, scenario(), found, measured, None))
    assert "A &lt;tank&gt;" in page
    assert "prefers-color-scheme: dark" in page
    assert page.count("<svg") == 3
    assert not re.search(r"""(src|href)=["']?https?:""", page)
    assert not re.search(r"url\((?!#)", page)
    assert "#030303" not in page
    Balanced().check(page)


def test_an_empty_run_still_makes_a_page() -> None:
    """Nothing predicted, nothing swapped: no pictures, and no failure."""
    found = Evidence(model_events=clean_run().model_events[:3])
    made, measured = report(found)
    page = render_page(made, draw(made, scenario(), found, measured, None))
    assert made.windows.missing == 5
    assert "<svg" not in page
    Balanced().check(page)


class Balanced(HTMLParser):
    """Checks that every element is closed where it should be."""

    _VOID = frozenset({"meta", "br"})

    def __init__(self) -> None:
        """Nothing is open."""
        super().__init__()
        self.open: list[str] = []

    def check(self, page: str) -> None:
        """Read a page to its end."""
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: object) -> None:  # noqa: ARG002  (as in the base)
        """Remember what is open."""
        if tag not in self._VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        """Close the innermost element."""
        assert self.open.pop() == tag


def test_an_alarm_triggers_the_run_that_answers_it_as_well() -> None:
    """Its request was due when another one's run started; one that only waits has not."""
    found = evidence()
    second = msgspec.structs.replace(alert(), id="d2", event_time=START + 10 * MINUTE)
    third = msgspec.structs.replace(alert(), id="d3", event_time=START + 11 * MINUTE)
    request = run_record().request
    later = msgspec.structs.replace(request, id="q3", alert_id="d3")
    found.alerts = [alert(), second, third]
    found.requests = [request, msgspec.structs.replace(request, id="q2", alert_id="d2"), later]
    found.runs = [
        msgspec.structs.replace(run_record(), answers=("q2",)),
        TrainingRun(id="run-3", model="tank", request=later, state="waiting", updated_at=START),
    ]
    made, _ = report(found)
    assert [line.triggered_training for line in made.drift] == [True, True, False]
