"""What the process manager gives up is started again for as long as it takes."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from millrace.contracts.errors import ServerError
from millrace.infra.local.home import Home
from millrace.infra.local.programs import Program
from millrace.infra.local.supervisor import Supervisor
from millrace.infra.local.waiting import wait_until
from tests.places import PROJECT

_CODE = "import pathlib,sys,threading; pathlib.Path({!r}).exists() or sys.exit('no'); {}"


@pytest.mark.timeout(90)
def test_a_program_that_was_given_up_comes_back_after_the_outage(tmp_path: Path) -> None:
    """It fails until a file is there; nobody does anything but to put it there."""
    home = Home(tmp_path)
    home.create()
    reason = tmp_path / "reason"
    code = _CODE.format(str(reason), "threading.Event().wait()").replace("%", "%%")
    supervisor = Supervisor(home)
    supervisor.start([Program("picky", (sys.executable, "-c", code), 1, 5)], PROJECT)
    try:
        with pytest.raises(ServerError, match="picky does not stay up: no"):
            wait_until(lambda: False, "the end", seconds=60, meanwhile=supervisor.check)
        reason.touch()
        wait_until(lambda: supervisor.pid_of("picky") is not None, "its return", seconds=15)
        assert [state.name for state in supervisor.states()] == ["picky"]
    finally:
        supervisor.stop()
    assert "picky was given up, and is started again" in (home.logs / "restarter.log").read_text()
