"""A replay's predictions as a table, and as records: the same as those of live."""

import msgspec
import numpy as np

from millrace.contracts.events.prediction import Prediction
from millrace.contracts.headers import header
from millrace.replay.results import COLUMNS, REPLAY, records_of_runs, table_of_runs
from tests.builders import AT, pump_window, window_record
from tests.unit.replay.made import past, pipeline, records, run


def test_a_table_has_what_the_records_say() -> None:
    """By position, over all versions; every column is compared."""
    runs = run(pipeline(), records(30)).runs[::-1]
    rows = table_of_runs(runs, "replay-1", AT).to_pylist()
    made = records_of_runs(runs, "again", "replay-1", AT)
    assert [row["source_offset"] for row in rows] == list(range(30))
    for row, (topic, key, value, headers, partition) in zip(rows, made, strict=True):
        said = msgspec.json.decode(value, type=Prediction)
        assert (topic, key, partition) == ("again", said.asset.encode(), said.source.partition)
        assert header(headers, REPLAY) == row["replay"] == "replay-1"
        assert header(headers, "ce_source") == "/millrace/replay/replay-1"
        same = (
            "id asset model version stamped_version epoch artefact_digest normaliser_digest"
            " window_id interval_start interval_end predicted_at"
        )
        assert [row[name] for name in same.split()] == [
            getattr(said, name) for name in same.split()
        ]
        assert tuple(row["targets"]) == said.targets
        assert (row["source_partition"], row["source_offset"]) == (0, said.source.offset)
        assert round(row["source_timestamp"].timestamp() * 1000) == said.source.timestamp_ms
        np.testing.assert_array_equal(np.array(row["forecast"]), np.array(said.forecast))
        np.testing.assert_array_equal(row["persistence"], said.persistence)


def test_an_absent_target_is_null() -> None:
    """In the forecast, and in what persistence says."""
    values = pump_window(0).values.copy()
    values[:, 0] = np.nan
    given = [past(window_record(pump_window(0, asset="pump-0", values=values), 0)), *records(2)[1:]]
    rows = table_of_runs(run(pipeline(), given).runs, "replay-1", AT).to_pylist()
    assert [step[0] for step in rows[0]["forecast"]] == [None] * 3
    assert rows[0]["persistence"][0] is None
    assert None not in rows[1]["persistence"]


def test_nothing_is_an_empty_table() -> None:
    """With the same columns."""
    assert table_of_runs([], "r", AT).schema == COLUMNS
