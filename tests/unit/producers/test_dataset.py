"""Datasets are read as described, and a wrong description says how to mend it."""

import gzip
import tomllib
from datetime import UTC, datetime
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tomli_w

from millrace.contracts.errors import DataError
from millrace.infra.settings import Settings
from millrace.producers.sources.description import describe
from millrace.producers.sources.opening import open_recording
from millrace.producers.windows import windows

SHARED = Path(__file__).parents[4] / "shared" / "data"

CSV = """when,machine,flow,heat
2024-01-01 00:00:00,p1,1.0,10
2024-01-01 00:00:00,p2,5.0,
2024-01-01T00:01:00+00:00,p1,2.0,11
2024-01-01 00:01:00,p1,9.0,99
2024-01-01 01:02:00+01:00,p1,,12
"""
DESCRIPTION: dict[str, Any] = {
    "name": "pumps",
    "files": ["a.csv"],
    "time": "when",
    "asset": "machine",
    "period_seconds": 60,
    "sensors": [{"name": "flow"}, {"name": "temperature", "column": "heat", "unit": "degC"}],
    "task": {"kind": "forecast", "window": 2, "horizon": 1, "stride": 1},
}


def written(folder: Path, data: dict[str, bytes], **changes: Any) -> str:
    """Write a dataset and return its description's path."""
    for name, content in data.items():
        (folder / name).write_bytes(content)
    path = folder / "dataset.toml"
    path.write_text(tomli_w.dumps({**DESCRIPTION, **changes}))
    return str(path)


def frame_of(where: str) -> pd.DataFrame:
    """Open a dataset and read it."""
    return open_recording(where, Settings()).frame()


def test_a_csv_becomes_readings(tmp_path: Path) -> None:
    """Times are UTC, columns have sensors' names, the first of two equal samples counts."""
    recording = open_recording(written(tmp_path, {"a.csv": CSV.encode()}), Settings())
    frame = recording.frame()
    assert list(frame.columns) == ["time", "asset", "segment", "flow", "temperature"]
    assert str(frame["time"].dtype) == "datetime64[ms, UTC]"
    assert frame["flow"].dtype == frame["temperature"].dtype == np.float32
    assert frame["asset"].tolist() == ["p1", "p2", "p1", "p1"]
    assert frame["time"].dt.minute.tolist() == [0, 0, 1, 2]
    np.testing.assert_array_equal(frame["flow"], np.array([1, 5, 2, np.nan], np.float32))
    np.testing.assert_array_equal(frame["temperature"], np.array([10, np.nan, 11, 12], np.float32))
    assert [w.start_ms // 60_000 % 60 for w in windows(frame, recording.spec)] == [0, 1]


def test_all_formats_hold_the_same(tmp_path: Path) -> None:
    """CSV, gzipped CSV and Parquet give the same readings, and several files are one."""
    table = pd.read_csv(StringIO(CSV))
    plain = frame_of(written(tmp_path, {"a.csv": CSV.encode()}))
    gz = {"a.csv.gz": gzip.compress(CSV.encode())}
    pd.testing.assert_frame_equal(frame_of(written(tmp_path, gz, files=list(gz))), plain)
    table["when"] = pd.to_datetime(table["when"], format="ISO8601", utc=True)
    table.iloc[:2].to_parquet(tmp_path / "1.parquet")
    table.iloc[2:].to_parquet(tmp_path / "2.parquet")
    parts = written(tmp_path, {}, files=["1.parquet", "2.parquet"])
    pd.testing.assert_frame_equal(frame_of(parts), plain)


def test_one_asset_without_a_column(tmp_path: Path) -> None:
    """Files of a single machine need not name it in every row."""
    description = {**DESCRIPTION, "asset_name": "boiler"}
    del description["asset"]
    (tmp_path / "a.csv").write_text(CSV)
    path = tmp_path / "dataset.toml"
    path.write_text(tomli_w.dumps(description))
    assert set(frame_of(str(tmp_path))["asset"]) == {"boiler"}


def test_assets_and_absent_sensors(tmp_path: Path) -> None:
    """Only the named assets are read, and an absent sensor's column need not be there."""
    without = CSV.replace("heat", "other")
    frame = frame_of(
        written(
            tmp_path, {"a.csv": without.encode()}, assets=["p1"], absent={"p1": ["temperature"]}
        )
    )
    assert set(frame["asset"]) == {"p1"}
    assert frame["temperature"].isna().all()


def test_an_absent_sensor_is_missing_whatever_the_file_says(tmp_path: Path) -> None:
    """A column of a sensor that is not there holds nonsense, which is not read."""
    frame = frame_of(written(tmp_path, {"a.csv": CSV.encode()}, absent={"p2": ["flow"]}))
    assert frame.loc[frame["asset"] == "p2", "flow"].isna().all()
    assert frame.loc[frame["asset"] == "p1", "flow"].notna().any()


def test_segments_are_kept(tmp_path: Path) -> None:
    """A sample at the seam of two segments belongs to both."""
    text = (
        "when,machine,run,flow,heat\n2024-01-01,p,a,1,1\n2024-01-01,p,b,2,2\n2024-01-01,p,b,3,3\n"
    )
    frame = frame_of(written(tmp_path, {"a.csv": text.encode()}, segment="run"))
    assert frame["segment"].tolist() == ["a", "b"]
    assert frame["flow"].tolist() == [1, 2]


def test_without_a_story_the_whole_recording_is_it(tmp_path: Path) -> None:
    """The first part trains, the rest is replayed, all assets take part."""
    story = open_recording(written(tmp_path, {"a.csv": CSV.encode()}), Settings()).story
    assert story.assets == ("p1", "p2")
    assert story.train_from == datetime(2024, 1, 1, tzinfo=UTC)
    assert story.train_from < story.train_until < story.replay_until
    assert story.replay_until == datetime(2024, 1, 1, 0, 3, tzinfo=UTC)


def test_a_story_cuts_the_frame(tmp_path: Path) -> None:
    """Only the story's assets and its stretch are told, its end not included."""
    told = {
        "assets": ["p1"],
        "train_from": datetime(2024, 1, 1, 0, 1, tzinfo=UTC),
        "train_until": "2024-01-01T00:01:30",
        "replay_until": "2024-01-01T00:02:00",
    }
    frame = frame_of(written(tmp_path, {"a.csv": CSV.encode()}, story=told))
    assert frame["flow"].tolist() == [2.0]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"periods": 60}, "periods: no such key"),
        ({"task": {**DESCRIPTION["task"], "strid": 1}}, "task.strid: no such key"),
        ({"task": {**DESCRIPTION["task"], "stride": 0}}, "task.stride: .*>= 1"),
        ({"task": {**DESCRIPTION["task"], "kind": "classify"}}, "task.kind"),
        (
            {"task": {**DESCRIPTION["task"], "targets": ["noise"]}},
            "sensors or task.targets: .*noise",
        ),
        ({"period_seconds": 0}, "period_seconds"),
        ({"files": []}, "files"),
        ({"sensors": [{"unit": "bar"}]}, r"sensors\[.*\].name: missing"),
        ({"sensors": [{"name": "time"}]}, "sensors.*another `name`"),
        ({"asset_name": "x"}, "asset: .*exactly one"),
        ({"assets": ["p1"], "absent": {"p9": ["flow"]}}, "absent: .*p9"),
        ({"absent": {"p1": ["flux"]}}, "absent.p1: .*flux"),
        ({"name": "with space"}, "name"),
        (
            {"story": {"train_from": "soon", "train_until": "2024", "replay_until": "2025"}},
            "story.train_from: 'soon' is not a time",
        ),
        (
            {
                "story": {
                    "train_from": "2024-02-01",
                    "train_until": "2024-01-01",
                    "replay_until": "2024-03-01",
                }
            },
            "story: .*order",
        ),
    ],
)
def test_a_wrong_description_says_what_to_mend(change: dict[str, Any], says: str) -> None:
    """Each error names the file and the key."""
    with pytest.raises(DataError, match=f"^plant.toml: {says}"):
        describe(tomli_w.dumps({**DESCRIPTION, **change}), "plant.toml")


def test_a_missing_key_is_named() -> None:
    """A description without a period says so."""
    text = tomli_w.dumps({k: v for k, v in DESCRIPTION.items() if k != "period_seconds"})
    with pytest.raises(DataError, match=r"^plant.toml: period_seconds: missing"):
        describe(text, "plant.toml")
    with pytest.raises(DataError, match=r"^plant.toml: not TOML"):
        describe("= 1", "plant.toml")
    assert tomllib.loads(text)


@pytest.mark.parametrize(
    ("files", "changes", "says"),
    [
        ({}, {}, r"a.csv: No such file"),
        (
            {"a.csv": b"x,y\n1,2\n"},
            {},
            r"a.csv: has no column \['when', 'machine', 'flow', 'heat'\]",
        ),
        ({"a.txt": b""}, {"files": ["a.txt"]}, r"a.txt: its ending"),
        ({"a.parquet": b"PAR1 not"}, {"files": ["a.parquet"]}, r"a.parquet: cannot be read"),
        ({"a.csv.gz": b"no gzip"}, {"files": ["a.csv.gz"]}, r"a.csv.gz: cannot be read"),
        ({"a.csv": CSV.replace("10", "ten").encode()}, {}, r"a.csv: heat: not numbers.*ten"),
        ({"a.csv": b"when,machine,flow,heat\n7,p,1,1\n"}, {}, r"a.csv: when: holds numbers"),
        ({"a.csv": b"when,machine,flow,heat\nnoon,p,1,1\n"}, {}, r"a.csv: when: not times"),
        (
            {"a.csv": b"when,machine,flow,heat\n2024-01-01,p,1,1\n,p,1,1\n"},
            {},
            r"a.csv: when: row 2 has no time",
        ),
        ({"a.csv": CSV.encode()}, {"assets": ["p7"]}, r"hold no reading"),
        (
            {"a.csv": CSV.replace("heat", "x").encode()},
            {"absent": {"p1": ["temperature"]}},
            r"a.csv: has no column 'heat'",
        ),
    ],
)
def test_wrong_files_say_what_to_mend(
    tmp_path: Path, files: dict[str, bytes], changes: dict[str, Any], says: str
) -> None:
    """Each error names the file, and the column where there is one."""
    with pytest.raises(DataError, match=says):
        frame_of(written(tmp_path, files, **changes))


def test_a_story_outside_the_recording_says_what_there_is(tmp_path: Path) -> None:
    """A story of another year, or about another machine, is refused."""
    told = {"train_from": "2030-01-01", "train_until": "2030-02-01", "replay_until": "2030-03-01"}
    with pytest.raises(DataError, match="the recording has 2024-01-01"):
        frame_of(written(tmp_path, {"a.csv": CSV.encode()}, story=told))
    with pytest.raises(DataError, match=r"no readings of \['p3'\]"):
        frame_of(written(tmp_path, {"a.csv": CSV.encode()}, story={**told, "assets": ["p3"]}))


def test_there_is_no_such_dataset(tmp_path: Path) -> None:
    """A wrong path is one line."""
    with pytest.raises(DataError, match="check the path"):
        open_recording(str(tmp_path / "none.toml"), Settings())


@pytest.mark.parametrize(
    ("folder", "assets", "count", "replayed"),
    [
        ("3w", ("WELL-00002", "WELL-00008"), 6_298, 5_047),
        ("etth1", ("ETTh1",), 2_900, 2_411),
        ("nab", ("machine",), 1_879, 1_600),
    ],
)
def test_the_sample_recordings(
    folder: str, assets: tuple[str, ...], count: int, replayed: int
) -> None:
    """The three descriptions that come with the sample recordings are read in full."""
    path = SHARED / folder / "dataset.toml"
    if not path.exists():
        pytest.skip(f"the sample recording ../shared/data/{folder} is not here")
    recording = open_recording(str(path), Settings())
    found = windows(recording.frame(), recording.spec)
    assert recording.story.assets == assets
    assert len(found) == len({window.id for window in found}) == count
    until = recording.story.train_until.timestamp() * 1000
    assert sum(window.end_ms > until for window in found) == replayed
