"""The scenario of a demonstration: its source, expected results and pace."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import pandas as pd

from millrace.console.demo.accuracy import Truth, training_scale
from millrace.console.demo.replay_plan import ReplayPlan, boundary, plan_replay
from millrace.contracts.errors import DataError
from millrace.contracts.model_spec import ModelSpec
from millrace.infra.settings import Settings
from millrace.producers.sources.opening import open_recording
from millrace.producers.sources.recording import Story
from millrace.verification.source_windows import SourceWindow, source_windows


@dataclass(frozen=True)
class KnownPart:
    """A known event in a simulated scenario.

    Attributes:
        kind: Kind of the event.
        assets: The machines concerned.
        starts: Event time at which it begins.
        ends: Event time at which it ends.
        detail: Description.
    """

    kind: str
    assets: tuple[str, ...]
    starts: datetime
    ends: datetime
    detail: str


@dataclass(frozen=True, eq=False)
class Scenario:
    """A loaded scenario.

    Attributes:
        where: Its source address.
        title: One line for display.
        spec: The task.
        story: Its stretches.
        frame: All readings.
        windows: All windows that must be sent.
        truth: Truth of each window.
        plan: The pace.
        known: Its known events.
    """

    where: str
    title: str
    spec: ModelSpec
    story: Story
    frame: pd.DataFrame
    windows: list[SourceWindow]
    truth: Truth
    plan: ReplayPlan
    known: tuple[KnownPart, ...]

    @property
    def judged_after_ms(self) -> int:
        """Forecasts count after the end of the first training stretch, milliseconds."""
        return boundary(self.story.train_until)

    @property
    def judged_windows(self) -> list[SourceWindow]:
        """Windows whose forecasts count, if they have their truth."""
        return [window for window in self.windows if window.end_ms > self.judged_after_ms]


def open_scenario(
    where: str, settings: Settings, *, rate: float | None, training_rate: float | None
) -> Scenario:
    """Load a scenario.

    Args:
        where: A dataset.toml or ``fleet``.
        settings: Address of the object store, for ``s3://`` addresses.
        rate: Wanted windows per second; None to choose.
        training_rate: The same while a training run is in progress; None to choose.

    Raises:
        DataError: It cannot be read, or has no windows to train on or to replay.
    """
    recording = open_recording(where, settings)
    spec, story, frame = recording.spec, recording.story, recording.frame()
    windows = source_windows(frame, spec)
    cut = boundary(story.train_until)
    replayed = sum(window.end_ms > cut for window in windows)
    training = len(windows) - replayed
    if not training or not replayed:
        raise DataError(
            f"{where}: {training} windows to train on and {replayed} to replay; move"
            " story.train_until or story.replay_until, or check period_seconds and task.window"
        )
    plan = plan_replay(windows, story, rate=rate, training_rate=training_rate)
    scale = training_scale(frame, spec, story.train_from, story.train_until)
    known = tuple(
        KnownPart(e.kind, e.assets, e.starts, e.ends or story.replay_until, e.detail)
        for e in getattr(recording, "events", ())
    )
    truth = Truth(windows, spec, scale)
    return Scenario(where, recording.title, spec, story, frame, windows, truth, plan, known)
