"""Ends a process that has stopped to make progress without dying; its supervisor starts it anew.

A thread asks Kafka, with a client of its own, for the offsets that the group has committed
and for the ends of the partitions that this process works on (`infra.stalls` judges). It
needs nothing of the thread that it watches, so that it works while that one hangs in Python
or its event loop is blocked; only native code that never lets go of the interpreter would
stop it, too::

    watchdog = Watchdog(settings, "millrace.inference", owned=consumer.places)
    watchdog.start()

`owned` must answer at once, from any thread: the partitions that are being worked on, by
their full topic names, or None while the process is not there yet (it waits for a broker,
joins its group, recovers tables). `started` says how far it has come meanwhile: a start, however
long, is not ended while that number changes.

No false alarms: a broker that is away or does not answer is no evidence; transaction markers
and aborted records are no records to read (before it acts, the watchdog reads one that was there
when its count began); and time in which the whole process was stopped does not count. A process
without a group, whose main loop may hang, is watched by `BeatWatchdog`.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Collection, Mapping
from typing import Final, NoReturn

import structlog
from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    KafkaError,
    KafkaException,
    TopicPartition,
)

from infra.empty_ranges import EmptyRanges
from infra.guard_thread import GuardThread
from infra.kafka import consumer, reader, whole_ms
from infra.settings import Settings
from infra.stalls import Limits, Memory, Observation, Place, Stall, judge

_log = structlog.get_logger(__name__)

#: A partition with records to read, whose committed offset stands still for so long, seconds.
STALL_SECONDS: Final = 30.0
#: How long start-up, and the recovery of tables, may make no progress, seconds.
START_SECONDS: Final = 180.0
#: Exit status that says: broken, start me again.
EXIT_STALLED: Final = 70
_EVERY_SECONDS: Final = 3.0
_ANSWER_SECONDS: Final = 5.0
#: Whoever hangs may hold the log's lock: the last words get so long, seconds.
_LAST_WORDS_SECONDS: Final = 2.0

Owned = Callable[[], Collection[Place] | None]
End = Callable[[str], None]


def end_process(why: str) -> NoReturn:
    """Say why in one line, with the place where the main thread is, and end at once."""
    frame = sys._current_frames().get(threading.main_thread().ident or 0)  # noqa: SLF001  # documented
    where = f"{frame.f_code.co_filename}:{frame.f_lineno}" if frame else "nowhere"

    def speak() -> None:
        _log.critical("the process is ended", why=why, main_thread=where)

    speaker = threading.Thread(target=speak, name="last-words", daemon=True)
    speaker.start()
    speaker.join(_LAST_WORDS_SECONDS)
    os._exit(EXIT_STALLED)


class Watchdog(GuardThread):
    """Sees lag without commits."""

    def __init__(
        self,
        settings: Settings,
        group: str,
        owned: Owned,
        *,
        started: Callable[[], int] = lambda: 0,
        stall_seconds: float = STALL_SECONDS,
        start_seconds: float = START_SECONDS,
        every_seconds: float = _EVERY_SECONDS,
        end: End = end_process,
    ) -> None:
        """Prepare the thread.

        Args:
            settings: Where Kafka is.
            group: The consumer group, before the namespace.
            owned: See the module's text.
            started: See the module's text.
            stall_seconds: How long a partition with records to read may stand still.
            start_seconds: How long `owned` may be None while `started` stays the same.
            every_seconds: How often to look.
            end: What to do with a process that is stuck.
        """
        super().__init__("watchdog", every_seconds)
        self._offsets = _GroupOffsets(settings, group)
        self._owned = owned
        self._started = started
        self._limits = Limits(stall_seconds, start_seconds, 2 * every_seconds)
        self._end = end
        self._memory = Memory()

    def turn(self) -> None:
        """Look at the group, and judge."""
        self._memory, stall = judge(self._memory, time.monotonic(), self._look(), self._limits)
        if stall is not None and self._is_real(stall) and not self.stopped:
            self.stop()
            self._end(str(stall))

    def _look(self) -> Observation:
        before = self._owned()
        progress = self._offsets.progress(before or ())
        after = self._owned()
        if before is None or after is None:
            return Observation(None, progress, self._started())
        return Observation(set(before) & set(after), progress)

    def _is_real(self, stall: Stall) -> bool:
        """Whether a partition stands still before a record, which was there all the time."""
        if not stall.still:
            return True
        return any(
            self._offsets.has_record(place, one.committed, one.end)
            for place, one in stall.still.items()
        )


class _GroupOffsets:
    """Asks Kafka how far a group is."""

    def __init__(self, settings: Settings, group: str) -> None:
        # It never subscribes, and so is no member of the group. Not an administrative client:
        # librdkafka 2.16 aborts the whole process when the broker dies under a question of one
        # that goes through the group's coordinator. Whether Kafka is away is told by others.
        self._settings = settings
        self._group = group
        self._client = self._connect()
        self._empty = EmptyRanges()

    def _connect(self) -> Consumer:
        return consumer(self._settings, self._group, {"log_level": 0})

    def progress(self, places: Collection[Place]) -> Mapping[Place, tuple[int, int]] | None:
        """Ask for committed offsets and ends; None if nobody answers.

        A committed offset before a range that `has_record` found empty counts as its end.
        The next question is another client's then: one may have lost its brokers for good.
        """
        seen: dict[Place, tuple[int, int]] = {}
        try:
            self._client.poll(0)  # lets it drop what it wants to tell about connections
            if not places:
                self._client.list_topics(timeout=_ANSWER_SECONDS)
                return {}
            asked = [TopicPartition(*place) for place in places]
            for one in self._client.committed(asked, _ANSWER_SECONDS):
                if one.error is not None:
                    continue
                place, offset = Place(one.topic, one.partition), max(one.offset, -1)
                _, end = self._client.get_watermark_offsets(one, timeout=_ANSWER_SECONDS)
                seen[place] = (self._empty.next_unknown(place, offset), end)
        except KafkaException:
            self._client = self._connect()
            return None
        return seen

    def has_record(self, place: Place, committed: int, end: int) -> bool:
        """Try to read a record in [committed, end); False if none is to be had."""
        start = committed if committed >= 0 else OFFSET_BEGINNING
        client = reader(self._settings, {"enable.partition.eof": True, "log_level": 0})
        patience = time.monotonic() + _ANSWER_SECONDS
        try:
            client.assign([TopicPartition(place.topic, place.partition, start)])
            while time.monotonic() < patience:
                message = client.poll(whole_ms(patience - time.monotonic()))
                error = None if message is None else message.error()
                if message is None:
                    continue
                if error is not None and error.code() != KafkaError._PARTITION_EOF:  # noqa: SLF001
                    continue
                if error is None and (message.offset() or 0) < end:
                    return True
                self._empty.note(place, committed, end)
                return False
        except KafkaException:
            return False  # no answer is no evidence
        finally:
            client.close()
        return False


class BeatWatchdog(GuardThread):
    """Ends a process whose main loop has stopped turning.

    It counts its own looks at the beat, not the clock, so that time in which the whole
    process was stopped is no evidence.
    """

    def __init__(
        self,
        beat: Callable[[], float],
        stall_seconds: float,
        *,
        every_seconds: float = 1.0,
        end: End = end_process,
    ) -> None:
        """Prepare the thread.

        Args:
            beat: Changes its value whenever the loop turns.
            stall_seconds: How long it may stay the same.
            every_seconds: How often to look.
            end: What to do with a process that is stuck.
        """
        super().__init__("watchdog", every_seconds)
        self._beat = beat
        self._stall = stall_seconds
        self._end = end
        self._last = beat()
        self._silent = 0.0

    def turn(self) -> None:
        """Look at the beat."""
        beat = self._beat()
        self._silent = self._silent + self._every if beat == self._last else 0.0
        self._last = beat
        if self._silent >= self._stall:
            self.stop()
            self._end(f"no progress for {self._silent:.0f} s")
