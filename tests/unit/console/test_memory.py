"""Memory of every process, under the right name."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from millrace.infra.local.memory import MemorySampler

PARENT = """
import subprocess, sys
child = subprocess.Popen(
    [sys.executable, "-c", "x = bytearray(80 << 20); print('up', flush=True); input()"],
    stdin=subprocess.PIPE,
)
input()
child.communicate()
"""


def test_children_count_under_their_programs_name() -> None:
    """A child of 80 MiB is seen apart from its parent, and the total has both."""
    before = MemorySampler(lambda: {"console": os.getpid()})
    before.sample()  # what runs beside this test, servers of other tests for instance
    with subprocess.Popen(
        [sys.executable, "-c", PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == "up\n"
        sampler = MemorySampler(lambda: {"console": os.getpid(), "parent": parent.pid})
        sampler.sample()
        parent.communicate("\n")
    peaks = sampler.peaks_mib
    assert peaks["parent child"] > 80
    assert peaks["parent"] < 80
    others = before.peaks_mib.get("console child", 0.0)
    assert peaks.get("console child", 0.0) < others + 40
    assert sampler.total_peak_mib == pytest.approx(sum(peaks.values()), abs=0.5)


def test_a_program_that_has_ended_counts_nothing() -> None:
    """No process, no memory, no failure."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    sampler = MemorySampler(lambda: {"gone": process.pid})
    sampler.sample()
    assert sampler.peaks_mib == {}
