"""One console on one home."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from millrace.contracts.errors import ServerError
from millrace.infra.local.home import Home
from millrace.infra.local.lock import only_console

HOLD = """
import sys
from pathlib import Path
from millrace.infra.local.home import Home
from millrace.infra.local.lock import only_console
with only_console(Home(Path(sys.argv[1]))):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A home with its folders."""
    home = Home(tmp_path)
    home.create()
    return home


def test_a_second_console_is_told_who_runs(home: Home) -> None:
    """From the first moment on, and in one line."""
    with only_console(home):
        with (
            pytest.raises(ServerError, match=f"process {os.getpid()}") as refused,
            only_console(home),
        ):
            pass
        assert "\n" not in str(refused.value)
    with only_console(home):
        pass


def test_the_lock_goes_with_a_killed_console(home: Home) -> None:
    """Nothing has to be tidied up, and children that live on do not keep it."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(home.root)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(ServerError, match=f"process {other.pid}"), only_console(home):
            pass
        other.kill()
    with only_console(home):
        pass


def test_children_do_not_inherit_the_lock(home: Home) -> None:
    """A program that outlives its console does not keep the next one away."""
    code = "import sys; sys.stdin.read()"
    with only_console(home):
        child = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE)
    try:
        with only_console(home):
            assert child.poll() is None
    finally:
        child.communicate()
