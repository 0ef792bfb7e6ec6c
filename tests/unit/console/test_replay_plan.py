"""The pace of a story."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pandas as pd
import pytest

from millrace.console.demo.replay_plan import (
    FASTEST_PER_ASSET,
    TRAINING_PER_ASSET,
    WAITING_SECONDS,
    WANTED_SECONDS,
    plan_replay,
    speed_for,
)
from millrace.producers.sources.recording import Story
from millrace.verification.source_windows import source_windows
from tests.unit.console.made import SPEC, START, frame

STORY = Story(("tank-1",), START, START + timedelta(minutes=100), START + timedelta(days=9))


def test_the_speed_gives_the_wanted_rate() -> None:
    """A window every two minutes at 60 windows/s is 7,200 times recorded time."""
    plan = plan_replay(source_windows(frame(2000), SPEC), STORY, rate=60, training_rate=3)
    assert plan.training == 49
    assert plan.training + plan.replayed == 999
    assert plan.speed == pytest.approx(7200, rel=0.01)
    assert plan.training_speed == pytest.approx(360, rel=0.01)
    assert plan.most_waiting == 60 * WAITING_SECONDS


def test_silences_do_not_speed_the_rest_up() -> None:
    """A week without readings is cut to a second, and the rest keeps about its speed."""
    table = pd.concat([frame(1000), frame(1000, begin=10_000)], ignore_index=True)
    quiet = plan_replay(source_windows(table, SPEC), STORY, rate=60, training_rate=3)
    assert quiet.speed == pytest.approx(7200, rel=0.1)


def test_a_rate_is_chosen_so_that_no_asset_outruns_the_loop() -> None:
    """One asset goes at its limit, a short story slower, and training slows it much more."""
    windows = source_windows(frame(5000), SPEC)
    plan = plan_replay(windows, STORY, rate=None, training_rate=None)
    assert plan.rate == FASTEST_PER_ASSET
    assert plan.training_speed == pytest.approx(plan.speed * TRAINING_PER_ASSET / plan.rate)
    short = plan_replay(source_windows(frame(300), SPEC), STORY, rate=None, training_rate=500)
    assert short.rate == pytest.approx(short.replayed / WANTED_SECONDS)
    assert short.training_speed == short.speed


def test_silences_cost_no_more_than_their_cut() -> None:
    """Two pauses of ten minutes and a day: the day costs one second at any speed."""
    pauses = np.array([600.0, 600.0, 86_400.0])
    assert speed_for(pauses, 2.2, 1.0) == pytest.approx(1000)
    assert speed_for(pauses, 1.1, 1.0) == pytest.approx(12_000)
