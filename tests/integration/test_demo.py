"""The whole demonstration as a user runs it, with a service killed in each of its stages."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.places import PROJECT, jar_folder

KILLS = "inference@0.3,stream-processor@0.5,trainer@0.7"
END_SECONDS = 90


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home of its own, with the jars that the set-up has fetched."""
    home = tmp_path / "var"
    home.mkdir()
    (home / "jars").symlink_to(jar_folder().resolve(), target_is_directory=True)
    return home


@pytest.fixture
def demo(home: Path) -> Iterator[subprocess.Popen[str]]:
    """The running demonstration; ended as with Ctrl-C if the test gives up."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MILLRACE_")}
    with (
        (home / "demo.out").open("w") as output,
        subprocess.Popen(
            [sys.executable, "-m", "millrace.console", "demo", "fleet", "--kill", KILLS],
            cwd=PROJECT,
            env={**environment, "MILLRACE_HOME": str(home), "NO_COLOR": "1"},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            text=True,
        ) as process,
    ):
        try:
            yield process
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
                try:
                    process.wait(END_SECONDS)
                except subprocess.TimeoutExpired:
                    process.kill()


@pytest.mark.timeout(600)
def test_the_fleet_is_served_through_drift_swaps_and_kills(
    demo: subprocess.Popen[str], home: Path
) -> None:
    """No window lost, doubled or mixed; retrained after the drift, and much better for it."""
    status = demo.wait(500)
    assert status == 0, (home / "demo.out").read_text()
    report: dict[str, Any] = json.loads((home / "demo" / "report.json").read_bytes())

    windows = report["windows"]
    assert windows["sent"] == windows["expected"] > 0
    wrong = ("missing", "duplicated", "mixed", "altered", "unexpected")
    assert {name: windows[name] for name in wrong} == dict.fromkeys(wrong, 0)

    killed = {kill["program"] for kill in report["kills"]}
    assert killed == {"inference", "stream-processor", "trainer"}
    assert len(report["kills"]) == 3

    assert len(report["swaps"]) >= 2
    assert all(swap["mixed"] == 0 for swap in report["swaps"])
    assert any(alert["triggered_training"] for alert in report["drift"])
    drifted = report["error"]["drifted"]
    assert drifted
    assert all(part["live"] <= 0.6 * part["frozen"] for part in drifted)
    assert (home / "demo" / "report.html").exists()
    assert not (home / "system.json").exists()
