"""A story that cannot be told says so before anything is started."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from millrace.console.demo.scenario import open_scenario
from millrace.contracts.errors import DataError
from millrace.infra.settings import Settings

_START = datetime(2026, 1, 1, tzinfo=UTC)
_DESCRIPTION = """
name = "tank"
files = ["tank.csv"]
time = "t"
asset_name = "tank-1"
period_seconds = 60
sensors = [{name = "level"}]
task = {kind = "forecast", window = 4, horizon = 2, stride = 2}
"""


def story(folder: Path, rows: int, train_until: str) -> str:
    """Write a recording and its description."""
    moments = [_START + timedelta(minutes=n) for n in range(rows)]
    lines = [f"{moment.isoformat()},{n % 7}.5" for n, moment in enumerate(moments)]
    (folder / "tank.csv").write_text("\n".join(["t,level", *lines, ""]))
    path = folder / "dataset.toml"
    path.write_text(
        f"{_DESCRIPTION}\n[story]\ntrain_from = 2026-01-01T00:00:00\n"
        f"train_until = {train_until}\nreplay_until = 2026-01-01T04:00:00\n"
    )
    return str(path)


@pytest.mark.parametrize(
    ("rows", "train_until", "said"),
    [
        (60, "2026-01-01T03:00:00", "29 windows to train on and 0 to replay"),
        (60, "2026-01-01T00:01:00", "0 windows to train on and 29 to replay"),
        (3, "2026-01-01T00:01:00", "0 windows to train on and 0 to replay"),
    ],
)
def test_a_story_without_windows_is_refused(
    tmp_path: Path, rows: int, train_until: str, said: str
) -> None:
    """One sentence that says how many there are and which keys decide it."""
    where = story(tmp_path, rows, train_until)
    with pytest.raises(DataError, match=said):
        open_scenario(where, Settings.read(home=tmp_path), rate=None, training_rate=None)
