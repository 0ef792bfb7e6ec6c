"""The parts of the soak that decide: quiet times, memory, strangers, commits."""

from __future__ import annotations

from itertools import pairwise

from millrace.contracts.topics import SENSOR_WINDOWS
from millrace.verification.evidence import Refusal
from tests.faults.harness.offsets import Committed
from tests.faults.oracle.evidence import Evidence, RawRecord
from tests.faults.oracle.judge import Violations, rewound
from tests.faults.soak.judge import Commits, Tally, strangers
from tests.faults.soak.memory import memory_line
from tests.faults.soak.source import quiet_times

MIB = 1 << 20


def test_quiet_times_are_seeded_and_leave_a_partition_that_flows() -> None:
    """Minutes each, within the run, never of partition 0, never two at once of one partition."""
    times = quiet_times(3, 4, 7200.0)
    assert times == quiet_times(3, 4, 7200.0)
    assert {one.partition for one in times} == {1, 2, 3}
    assert all(0 < one.first < one.end <= 7200 for one in times)
    assert all(100 < one.end - one.first <= 240.1 for one in times)
    for partition in (1, 2, 3):
        own = [one for one in times if one.partition == partition]
        assert all(a.end < b.first for a, b in pairwise(own))


def test_memory_of_a_start_is_no_growth() -> None:
    """It rises while models are loaded, and is flat then."""
    samples = [(10.0 * n, (200 + min(20 * n, 240)) * MIB) for n in range(400)]
    line = memory_line("inference", 7, samples)
    assert (line.first_mib, line.last_mib, line.most_mib) == (200.0, 440.0, 440.0)
    assert line.slope_mib_per_hour == 0.0
    assert not line.grows


def test_a_leak_is_growth_once_a_life_is_long_enough() -> None:
    """A short life is not judged, whatever its slope."""
    leak = [(10.0 * n, (200 + n) * MIB) for n in range(400)]
    assert memory_line("inference", 7, leak).grows
    assert memory_line("inference", 7, leak).slope_mib_per_hour == 360.0
    assert not memory_line("inference", 7, leak[:100]).grows
    assert memory_line("inference", 7, leak[:2]).slope_mib_per_hour is None


def test_an_output_of_another_stretch_is_a_stranger() -> None:
    """A dead letter of a record that was judged before is a late second effect of it."""
    evidence = Evidence(raw=[RawRecord(0, 5, None, b"", None)])
    evidence.topics.refusals = [
        Refusal(SENSOR_WINDOWS.name, 0, 5, "bad_period"),
        Refusal(SENSOR_WINDOWS.name, 0, 4, "bad_period"),
        Refusal("sensor.windows.normalized", 0, 3, "undecodable"),
    ]
    (words,) = strangers(evidence)
    assert "0/4" in words
    tally = Tally()
    tally.add(evidence, Violations(missing=2))
    assert (tally.stretches, tally.missing, tally.strangers, tally.wrong) == (1, 2, 1, 3)


def test_commits_are_compared_across_stretches_but_not_across_a_creation() -> None:
    """The last of a stretch is the first of the next, unless its topic was created anew."""
    commits = Commits()
    commits.stretch([Committed("g", "t", 0, 7)], [])
    assert len(rewound(commits.stretch([Committed("g", "t", 0, 5)], []))) == 1
    assert rewound(commits.stretch([Committed("g", "t", 0, 1)], ["t"])) == []
    assert rewound(commits.stretch([Committed("g", "t", 0, 2)], [])) == []
