"""Runs a scenario on a running system; one file, since its phases share one run's state.

Each phase ends by a condition:

1. *first stretch*: the edge sends the training stretch as fast as possible; persistence serves.
2. *first training*: a manual request; ends when the run is finished and, if it was approved, the
   version serves in every partition.
3. *replay*: the edge sends the rest at the scenario's pace, and pauses while too many windows have
   no predictions; programs are killed as requested.
4. *settling*: ends when every window has its prediction or dead letter, runs are finished, and no
   more outcomes arrive.
"""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Final

from confluent_kafka import TopicPartition

from millrace.console.demo.accuracy import joinable
from millrace.console.demo.edge_process import EdgeProcess, replay_arguments
from millrace.console.demo.event_format import EventFormatter
from millrace.console.demo.frozen import FrozenModel
from millrace.console.demo.kills import Kill, due
from millrace.console.demo.live_view import LiveView, Picture
from millrace.console.demo.observer import Observer, Seen
from millrace.console.demo.report.report import KillLine
from millrace.console.demo.scenario import Scenario
from millrace.console.demo.scoreboard import Scoreboard
from millrace.console.operations.models import SOURCE, request_training
from millrace.contracts.clock import now
from millrace.contracts.errors import ServerError
from millrace.contracts.events.training import FINISHED, TrainingRun
from millrace.contracts.model_spec import PERSISTENCE
from millrace.contracts.topics import SENSOR_WINDOWS
from millrace.infra.declare import declare_model
from millrace.infra.kafka.clients import ANSWER_SECONDS, partitions_of, reader
from millrace.infra.local.health import readiness
from millrace.infra.local.memory import MemorySampler
from millrace.infra.local.programs import MARK
from millrace.infra.local.system import System
from millrace.infra.local.waiting import wait_until
from millrace.verification.source_windows import SourceWindow

_PHASE_SECONDS: Final = 3600.0
_TRAINING_SECONDS: Final = 900.0
_STAMP_SECONDS: Final = 15.0
#: If no prediction arrives for this time while windows are outstanding, the check starts without
#: them.
_STALLED_SECONDS: Final = 120.0
#: The run no longer waits for outcomes this long after the last one.
_QUIET_SECONDS: Final = 4.0
#: How long a waiting run may take to notice that it has enough windows.
_GRACE_SECONDS: Final = 5.0
_CHECK_SECONDS: Final = 1.0


@dataclass
class RunStats:
    """Results of the runner that are not in the topics.

    Attributes:
        frozen_version: Version of the frozen model; None if none was ever approved.
        slowed_seconds: Wall time for which a training run slowed the replay.
        replay_began_ms: When the replay began, milliseconds since the epoch.
        replay_seconds: Wall time of the replay.
        kills: Programs that were killed on purpose.
        notes: Notes for the reader of the report.
    """

    frozen_version: int | None = None
    slowed_seconds: float = 0.0
    replay_began_ms: float = 0.0
    replay_seconds: float = 0.0
    kills: list[KillLine] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


class DemoRunner:
    """Runs one scenario on one system.

    Args:
        scenario: The scenario.
        system: The system.
        view: The live view.
        kills: Programs to kill during the replay.
        folder: Folder for files.

    Attributes:
        observer: The observer of the output topics.
        scoreboard: Errors so far.
        memory: Peak memory of each program.
        frozen: The frozen model, once there is one.
        performance: Results at the end.
    """

    def __init__(
        self,
        scenario: Scenario,
        system: System,
        view: LiveView,
        kills: Sequence[Kill],
        folder: Path,
    ) -> None:
        self._scenario = scenario
        self._system = system
        self._view = view
        self._kills = kills
        self._folder = folder
        self._killed: list[Kill] = []
        self._away: dict[int, tuple[Kill, datetime, float]] = {}
        self._edge: EdgeProcess | None = None
        self._phase = "starting"
        self._checked = 0.0
        self._narrator = EventFormatter()
        self._frozen_known = False
        self._client = reader(system.settings)
        self._topic = system.settings.named(SENSOR_WINDOWS.name)
        self._partitions = partitions_of(self._client, self._topic)
        self.scoreboard = Scoreboard(scenario.truth, scenario.spec, scenario.judged_after_ms)
        self.observer = Observer(system.settings, self.scoreboard.add)
        self.memory = MemorySampler(self._processes)
        self.frozen: FrozenModel | None = None
        self.performance = RunStats()

    def run(self) -> RunStats:
        """Run the scenario.

        Raises:
            ServerError: A program does not stay up, or a phase does not end.
        """
        self.observer.start()
        self.memory.start()
        try:
            declare_model(self._system.settings, self._scenario.spec, SOURCE)
            self._first_stretch()
            self._first_training()
            self._replay()
            self._settle()
        finally:
            self.memory.stop()
            self.observer.stop()
            self._client.close()
            for process in (self._edge, self.frozen):
                if process is not None:
                    process.stop()
        return self.performance

    def _first_stretch(self) -> None:
        self._begin("first stretch")
        story = self._scenario.story
        self._play(
            "edge-training",
            replay_arguments(
                self._scenario.where,
                after=None,
                until=story.train_until,
                speed=None,
                training_speed=None,
                max_idle=None,
            ),
        )
        cut = self._scenario.judged_after_ms
        self._wait_for_outcomes([w for w in self._scenario.windows if w.end_ms <= cut])

    def _first_training(self) -> None:
        self._begin("first training")
        scenario = self._scenario
        request = request_training(
            self._system.settings,
            scenario.spec.name,
            scenario.story.train_until,
            "the demonstration's first stretch is there",
        )
        finished: list[TrainingRun] = []

        def over() -> bool:
            with self.observer.lock:
                runs = self.observer.seen.runs.values()
                mine = [r for r in runs if r.request.id == request.id and r.state in FINISHED]
                finished[:] = mine
                return bool(mine) and not self.observer.seen.in_progress(scenario.spec.name)

        self._wait(over, "the first training", _TRAINING_SECONDS)
        (run,) = finished
        if run.state != "approved":
            self.performance.notes.append(f"the first training was {run.state}: {run.detail}")
        self._wait_for_stamps()

    def _replay(self) -> None:
        self._begin("replay")
        plan, story = self._scenario.plan, self._scenario.story
        began = time.monotonic()
        self.performance.replay_began_ms = time.time() * 1000
        self._play(
            "edge-replay",
            replay_arguments(
                self._scenario.where,
                after=story.train_until,
                until=story.replay_until,
                speed=plan.speed,
                training_speed=plan.training_speed,
                max_idle=plan.max_idle_seconds,
            ),
            held_back=True,
        )
        self._wait(self._nothing_left_to_kill, "killed programs to return", _STALLED_SECONDS)
        self.performance.replay_seconds = time.monotonic() - began
        if self._edge is not None:
            self.performance.slowed_seconds = self._edge.summary().slowed_seconds
            if self._edge.held_seconds:
                self.performance.notes.append(
                    f"the replay stood still for {self._edge.held_seconds:.1f} s in all, while"
                    f" more than {plan.most_waiting} windows waited for their predictions"
                )

    def _settle(self) -> None:
        self._begin("settling")
        name = self._scenario.spec.name
        began = time.monotonic()

        def runs_are_over() -> bool:
            with self.observer.lock:
                seen = self.observer.seen
                waiting = bool(seen.waiting_runs(name))
                return not seen.in_progress(name) and (
                    not waiting or time.monotonic() - began > _GRACE_SECONDS
                )

        self._wait(runs_are_over, "runs in progress", _TRAINING_SECONDS)
        self._wait_for_stamps()
        with self.observer.lock:
            for run in self.observer.seen.waiting_runs(name):
                self.performance.notes.append(
                    f"a run still waited for enough windows at the end: {run.request.detail}"
                )

        self._wait_for_outcomes(self._scenario.windows)
        self._wait(self._frozen_is_ready, "the frozen model's forecasts", _TRAINING_SECONDS)
        self._tick(at_once=True)

    def _play(self, name: str, arguments: list[str], *, held_back: bool = False) -> None:
        """Let the edge send a stretch, and wait until each of its windows has a result.

        Args:
            name: Name of the edge's files.
            arguments: The edge's arguments.
            held_back: Whether the edge pauses while too many windows have no predictions.
        """
        environment = {**self._system.environment(), MARK: "edge"}
        self._edge = edge = EdgeProcess(arguments, environment, self._folder, name)
        progress = (-1, time.monotonic())

        def over() -> bool:
            nonlocal progress
            finished = edge.finished()
            with self.observer.lock:
                ended = len(self.observer.seen.ended)
                training = bool(self.observer.seen.in_progress(self._scenario.spec.name))
            if ended != progress[0] or training:
                progress = (ended, time.monotonic())
            outstanding = self._records() - ended
            edge.hold(held_back and outstanding > self._scenario.plan.most_waiting)
            if outstanding and time.monotonic() - progress[1] > _STALLED_SECONDS:
                if not finished:
                    raise ServerError(
                        f"no prediction for {_STALLED_SECONDS:.0f} s while {outstanding} windows"
                        f" wait; the logs are in {self._system.home.logs}"
                    )
                self.performance.notes.append(
                    f"gave up waiting for {outstanding} windows after"
                    f" {_STALLED_SECONDS:.0f} s without a prediction"
                )
                return True
            return finished and not outstanding

        self._wait(over, f"the {self._phase} to end", _PHASE_SECONDS)

    def _wait_for_stamps(self) -> None:
        """Wait until every partition has the serving epoch in the ledger, with a time limit."""
        deadline = time.monotonic() + _STAMP_SECONDS

        def stamped() -> bool:
            with self.observer.lock:
                seen = self.observer.seen
                model = seen.registry.models.get(self._scenario.spec.name)
                epoch = model.serving.epoch if model and model.serving else 0
                there = {f.partition for f in seen.fences if f.epoch == epoch}
            return there >= set(self._partitions) or time.monotonic() > deadline

        self._wait(stamped, "stamps in every partition", 2 * _STAMP_SECONDS)

    def _wait_for_outcomes(self, windows: Sequence[SourceWindow]) -> None:
        """Wait until every forecast with a complete truth has its outcome."""
        expected = joinable(windows, self._scenario.spec)
        began = time.monotonic()

        def drained() -> bool:
            with self.observer.lock:
                there = len(self.observer.seen.outcomes)
                last = max(self.observer.seen.last_outcome, began)
            return there >= expected or time.monotonic() - last > _QUIET_SECONDS

        self._wait(drained, "outcomes", _PHASE_SECONDS)
        with self.observer.lock:
            lacking = expected - len(self.observer.seen.outcomes)
        if lacking > 0:
            self.performance.notes.append(
                f"{lacking} of {expected} outcomes had not come at the end of the {self._phase}"
            )

    def _records(self) -> int:
        """Records of `sensor.windows`; without transactions, no offset is a marker."""
        bounds = [
            self._client.get_watermark_offsets(
                TopicPartition(self._topic, partition), timeout=ANSWER_SECONDS
            )
            for partition in self._partitions
        ]
        return sum(high - low for low, high in bounds)

    def _begin(self, phase: str) -> None:
        self._phase = phase
        self._view.tell(f"phase     {phase}")

    def _wait(self, condition: Callable[[], bool], what: str, seconds: float) -> None:
        wait_until(condition, what, seconds=seconds, meanwhile=self._tick)

    def _tick(self, *, at_once: bool = False) -> None:
        """Check observer and programs; update the frozen model, kills and the view."""
        self.observer.check()
        if time.monotonic() - self._checked > _CHECK_SECONDS:
            self._checked = time.monotonic()
            self._system.supervisor.check()
            self._see_who_is_back()
        self._start_frozen()
        self._frozen_is_ready()
        self._kill_what_is_due()
        with self.observer.lock:
            news = self._narrator.news(self.observer.seen)
            picture = self._picture(self.observer.seen)
        for line in news:
            self._view.tell(line)
        self._view.show(picture, at_once=at_once)

    def _picture(self, seen: Seen) -> Picture:
        serving = {
            name: model.serving.version
            for name, model in seen.registry.models.items()
            if model.serving is not None
        }
        return Picture(
            phase=self._phase,
            event_time=seen.event_time,
            predicted=len(seen.ended),
            total=len(self._scenario.windows),
            rate=seen.rate(time.monotonic()),
            serving=serving,
            training=bool(seen.in_progress(self._scenario.spec.name)),
            alerts=dict(Counter(alert.signal for alert in seen.alerts)),
            errors=self.scoreboard.errors(),
            frozen_version=self.performance.frozen_version,
        )

    def _start_frozen(self) -> None:
        """Freeze the first trained version that was approved."""
        if self.frozen is not None:
            return
        with self.observer.lock:
            model = self.observer.seen.registry.models.get(self._scenario.spec.name)
            versions = dict(model.versions) if model else {}
        approved = [
            version
            for number, version in sorted(versions.items())
            if number != PERSISTENCE and version.approved_at is not None
        ]
        if not approved or approved[0].registered.artefact is None:
            return
        self.performance.frozen_version = approved[0].number
        self.frozen = FrozenModel(
            self._folder,
            self._scenario.spec,
            approved[0].registered.artefact,
            self._scenario.judged_windows,
            {**self._system.environment(), MARK: "frozen model"},
        )

    def _frozen_is_ready(self) -> bool:
        if self.frozen is None or self._frozen_known:
            return True
        forecasts = self.frozen.forecasts()
        if forecasts is None:
            return False
        self.scoreboard.set_frozen(forecasts)
        self._frozen_known = True
        return True

    def _kill_what_is_due(self) -> None:
        if self._phase != "replay" or self._away:
            return  # one at a time
        with self.observer.lock:
            done = len(self.observer.seen.ended) - self._scenario.plan.training
        for kill in due(self._kills, self._killed, done / self._scenario.plan.replayed)[:1]:
            self._killed.append(kill)
            pid = self._system.supervisor.pid_of(kill.program)
            if pid is None:
                self.performance.notes.append(f"{kill.program} was not running at {kill.at:.0%}")
                continue
            os.kill(pid, signal.SIGKILL)
            self._away[pid] = (kill, now(), time.monotonic())
            self._view.tell(f"killed    {kill.program} (process {pid}) at {kill.at:.0%}")

    def _nothing_left_to_kill(self) -> bool:
        return len(self._killed) == len(self._kills) and not self._away

    def _see_who_is_back(self) -> None:
        for pid, (kill, killed_at, began) in list(self._away.items()):
            current = self._system.supervisor.pid_of(kill.program)
            port = self._system.telemetry.get(kill.program)
            if current in (None, pid) or (port is not None and not readiness(port).ready):
                continue
            seconds = time.monotonic() - began
            del self._away[pid]
            self.performance.kills.append(
                KillLine(kill.program, kill.at, pid, killed_at, round(seconds, 1))
            )
            self._view.tell(f"returned  {kill.program} after {seconds:.1f} s")

    def _processes(self) -> dict[str, int]:
        """Every program's process, for the memory sampler."""
        found = {"console": os.getpid()}
        try:
            states = self._system.supervisor.states()
        except ServerError:
            states = []  # busy with a restart; the next sample includes it
        found |= {state.name: state.pid for state in states if state.pid is not None}
        others = {
            "supervisord": self._system.supervisor.pid,
            "edge": self._edge.pid if self._edge else None,
            "frozen model": self.frozen.pid if self.frozen else None,
        }
        return found | {name: pid for name, pid in others.items() if pid is not None}
