"""Errors in standard deviations, over what is present and has its truth."""

from __future__ import annotations

from datetime import timedelta

import msgspec
import numpy as np
import pandas as pd
import pytest

from millrace.console.demo.accuracy import (
    Judged,
    Truth,
    by_month,
    joinable,
    summarize,
    training_scale,
    truth_of,
)
from millrace.console.demo.scoreboard import Scoreboard, judge, window_name
from millrace.contracts.clock import to_ms
from millrace.verification.source_windows import source_windows
from tests.unit.console.made import SPEC, START, frame, prediction, sent, story

ONES = np.ones(2)


def judged(live: list[float], frozen: list[float] | None, day: int = 0) -> Judged:
    """A judged forecast with a persistence error of 1."""
    at = to_ms(START + timedelta(days=day))
    other = None if frozen is None else np.array(frozen)
    return Judged("tank-1", at, 1, np.array(live), np.ones(len(live)), other)


def test_scale_is_the_training_stretchs_standard_deviation() -> None:
    """Only rows before its end count, and gaps in them do not."""
    table = frame(10)
    table.loc[1, "level"] = np.nan
    scale = training_scale(table, SPEC, START, START + timedelta(minutes=5))
    assert scale == pytest.approx([np.std([0, 2, 3, 4]), np.std([0, 1, 2, 3, 4])])


def test_a_sensor_that_stood_still_is_judged_in_its_own_units() -> None:
    """No error is divided by zero."""
    table = frame(5).assign(flow=np.float32(3))
    assert training_scale(table, SPEC, START, START + timedelta(hours=1))[1] == 1.0


def test_truth_of_a_mean_is_the_mean_of_what_was_measured() -> None:
    """The level counts up, so what follows minute 3 is the mean of minutes 4 and 5."""
    truth = truth_of(story()[0], SPEC)
    assert truth is not None
    assert truth.tolist() == [[4.5, -4.5]]


def test_truth_of_a_sequence_keeps_each_step() -> None:
    """Only the targets are kept, one row per step."""
    spec = msgspec.structs.replace(SPEC, target="sequence", targets=("flow",))
    truth = truth_of(story()[0], spec)
    assert truth is not None
    assert truth.tolist() == [[-4.0], [-5.0]]


def test_absent_sensors_are_not_judged() -> None:
    """A sensor that is absent from the window has no truth, and a window without any none."""
    window = story()[0]
    window.values[:3, 0] = np.nan
    truth = truth_of(window, SPEC)
    assert truth is not None
    assert np.isnan(truth[0]).tolist() == [True, False]
    window.values[:] = np.nan
    assert truth_of(window, SPEC) is None


def test_persistence_error_is_in_standard_deviations() -> None:
    """The last level is 3, its truth 4.5, its scale 2: an error of 0.75."""
    windows = story()
    truth = Truth(windows, SPEC, np.array([2.0, 1.0]))
    error = truth.persistence_error(windows[0].asset, windows[0].start_ms)
    assert error is not None
    assert error.tolist() == [0.75, 1.5]


def test_only_forecasts_after_the_boundary_count() -> None:
    """A forecast whose interval begins at the boundary belongs to the stretch before it."""
    windows = story()
    records = sent(windows)
    truth = Truth(windows, SPEC, ONES)
    boundary = windows[1].end_ms
    rows = [judge(prediction(record), truth, SPEC, boundary) for record in records]
    assert [row is not None for row in rows] == [False, False, True, True, False]


def test_the_scoreboard_counts_each_window_once() -> None:
    """A second prediction of a window changes nothing; frozen errors join when they are known."""
    windows = story()
    records = sent(windows)
    board = Scoreboard(Truth(windows, SPEC, ONES), SPEC, 0)
    for record in (*records, *records):
        board.add(prediction(record))
    before = board.errors()
    assert (before.windows, before.frozen) == (4, None)
    assert before.live == pytest.approx(1.5)
    name = window_name(prediction(records[0]), SPEC)
    board.set_frozen({name: np.array([[4.5, -4.0]])})
    assert board.errors().frozen == pytest.approx(0.25)
    assert [row.frozen is not None for row in board.rows()] == [True, False, False, False]


def test_errors_pool_over_forecasts_and_present_sensors() -> None:
    """Every (forecast, sensor) pair has the same weight; absent ones have none."""
    errors = summarize([judged([1.0, 3.0], [2.0, 2.0]), judged([5.0, np.nan], [2.0, np.nan])])
    assert (errors.live, errors.frozen, errors.persistence) == (3.0, 2.0, 1.0)
    assert errors.windows == 2


def test_frozen_is_unknown_unless_it_is_known_for_all() -> None:
    """Errors over different windows are not compared."""
    assert summarize([judged([1.0], [1.0]), judged([1.0], None)]).frozen is None


def test_months_are_told_apart_by_the_intervals_start() -> None:
    """One row per month, in order."""
    months = by_month([judged([4.0], None, day=40), judged([1.0], None), judged([3.0], None)])
    assert {month: errors.live for month, errors in months.items()} == {
        "2025-01": 2.0,
        "2025-02": 4.0,
    }
    assert list(months) == ["2025-01", "2025-02"]


def test_only_truth_that_later_windows_cover_can_be_joined() -> None:
    """The last windows of a run have a truth in the source, or none, but not in a window."""
    windows = source_windows(frame(13), SPEC)
    assert [w.truth is not None for w in windows] == [True, True, True, True, False]
    assert joinable(windows, SPEC) == 4
    assert joinable(windows[:3], SPEC) == 2
    apart = pd.concat([frame(6), frame(6, begin=20)], ignore_index=True)
    assert joinable(source_windows(apart, SPEC), SPEC) == 2
