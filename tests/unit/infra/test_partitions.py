"""More partitions for the topics keyed by asset: which, in which order, how many."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace.contracts.errors import SettingsError
from millrace.contracts.topics import (
    CHANGELOG,
    DEAD_LETTERS,
    MODEL_EVENTS,
    NORMALIZED,
    OUTCOMES,
    PREDICTIONS,
    SENSOR_WINDOWS,
    TOPICS,
)
from millrace.infra.settings import Settings
from millrace.infra.topics.partitions import GROWN_IN, plan, uneven, wanted_partitions

NAMES = [topic.name for topic in GROWN_IN]


def test_a_topic_grows_after_those_that_are_written_from_it() -> None:
    """A service that reads a new partition finds the partitions that it writes to."""
    assert set(GROWN_IN) == {topic for topic in TOPICS if topic.by_asset}
    assert GROWN_IN[-1] == SENSOR_WINDOWS
    for source, output in [
        (SENSOR_WINDOWS, NORMALIZED),
        (NORMALIZED, PREDICTIONS),
        (NORMALIZED, DEAD_LETTERS),
        (PREDICTIONS, OUTCOMES),
        (PREDICTIONS, CHANGELOG),
    ]:
        assert GROWN_IN.index(output) < GROWN_IN.index(source)


@given(
    st.lists(st.integers(1, 9), min_size=len(NAMES), max_size=len(NAMES)),
    st.integers(9, 12),
    st.data(),
)
def test_a_growth_that_was_broken_off_is_completed(
    before: list[int], wanted: int, data: st.DataObject
) -> None:
    """However uneven the topics are, and wherever the command ended."""
    counts = dict(zip(NAMES, before, strict=True))
    steps = plan(counts, wanted)
    done = steps[: data.draw(st.integers(0, len(steps)))]
    counts |= {step.topic: step.after for step in done}
    rest = plan(counts, wanted)
    assert [*done, *rest] == steps
    counts |= {step.topic: step.after for step in rest}
    assert uneven(counts) is None
    assert plan(counts, wanted) == []


def test_no_partition_is_taken_away() -> None:
    """Kafka cannot, so the least number that can be asked for is named."""
    with pytest.raises(SettingsError, match=r"predictions has 8.*ask for 8 or more"):
        plan({"predictions": 8, "sensor.windows": 4}, 6)


def test_a_topic_that_is_created_gets_the_partitions_of_the_others() -> None:
    """The setting is for the first ones."""
    settings = Settings.read(kafka_partitions=4)
    assert wanted_partitions(OUTCOMES, settings, {}) == 4
    assert wanted_partitions(OUTCOMES, settings, {"predictions": 8}) == 8
    assert wanted_partitions(MODEL_EVENTS, settings, {"predictions": 8}) == 1
