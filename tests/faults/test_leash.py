"""Nothing outlives the harness, and a lane that dies costs one case."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil

from millrace.infra.local.waiting import wait_until
from tests.faults.harness.lane import Order
from tests.faults.harness.lanes import Lanes
from tests.places import PROJECT

_PATIENCE = 30.0
_HARNESS = """\
import os, subprocess, sys, threading
from tests.faults.harness.leash import leash

def start():
    return subprocess.Popen(["sleep", "600"], start_new_session=True)

kept, free = start(), start()
leash().tie(kept.pid)
leash().tie(free.pid)
leash().untie(free.pid)
print(kept.pid, free.pid, flush=True)
threading.Event().wait()
"""


def test_what_is_tied_ends_with_a_harness_that_is_killed() -> None:
    """SIGKILL of the harness ends the process that is tied, and spares the one that is not."""
    harness = subprocess.Popen(
        [sys.executable, "-c", _HARNESS], cwd=PROJECT, stdout=subprocess.PIPE, text=True
    )
    assert harness.stdout is not None
    kept, free = map(int, harness.stdout.readline().split())
    try:
        assert psutil.pid_exists(kept)
        harness.kill()
        harness.wait()
        wait_until(lambda: not _runs(kept), "the leash", seconds=_PATIENCE)
        assert _runs(free)
    finally:
        os.kill(free, signal.SIGKILL)
        harness.stdout.close()


def test_a_lane_that_dies_costs_one_case_and_is_replaced(tmp_path: Path) -> None:
    """A lane that cannot go on is told of as an error of its case; the next case gets another."""
    orders = [Order("there/is-no-such-case", seed) for seed in (1, 2)]
    with Lanes(tmp_path, jobs=1) as lanes:
        results = list(lanes.play(orders))
    assert [(result.seed, result.verdict) for result in results] == [(1, "error"), (2, "error")]
    assert all("its lane ended with status 1" in result.detail for result in results)
    assert {path.name for path in tmp_path.iterdir()} == {"lane-1", "lane-2"}


def _runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
