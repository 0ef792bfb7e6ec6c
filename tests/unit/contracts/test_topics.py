"""The topics, as declared."""

from millrace.contracts.topics import (
    ARCHIVED,
    FOREVER,
    MAX_RECORD_BYTES,
    MAX_WINDOW_BYTES,
    NORMALIZED,
    REMOVABLE,
    SENSOR_WINDOWS,
    TOPICS,
)


def test_names_are_unique() -> None:
    """No topic is declared twice."""
    names = [topic.name for topic in TOPICS]
    assert len(set(names)) == len(names)


def test_order_per_asset_can_hold() -> None:
    """All topics keyed by asset share their partitions; the others have one."""
    by_asset = {topic.name for topic in TOPICS if topic.by_asset}
    assert by_asset == {
        "sensor.windows",
        "sensor.windows.normalized",
        "predictions",
        "outcomes",
        "drift.alerts",
        "dead.letters",
        "dead.letters.mended",
        "millrace.stream-processor-assets-changelog",
    }


def test_an_oversized_window_arrives() -> None:
    """The topic takes more than a window may have, so that too large a one can be explained."""
    assert SENSOR_WINDOWS.max_bytes == MAX_RECORD_BYTES > MAX_WINDOW_BYTES


def test_what_must_be_kept_is_kept() -> None:
    """The registry and what a compacted topic holds are never deleted by age."""
    kept = {topic.name for topic in TOPICS if topic.retention_ms == FOREVER}
    assert kept == {
        "model.events",
        "training.runs",
        "serving.ledger",
        "dead.letters.mended",
        "topic.epochs",
        "millrace.stream-processor-assets-changelog",
    }
    assert {topic.name for topic in TOPICS if topic.compacted} <= kept


def test_everything_is_archived_that_cannot_be_derived() -> None:
    """Normalised windows follow from windows and the registry, a service's own state from both."""
    derived = {topic for topic in TOPICS if topic.internal or topic == NORMALIZED}
    assert set(ARCHIVED) == set(TOPICS) - derived


def test_what_kafka_keeps_forever_the_archive_keeps_too() -> None:
    """Its retention concerns readings and results only."""
    assert set(REMOVABLE) < set(ARCHIVED)
    assert not [topic.name for topic in REMOVABLE if topic.retention_ms == FOREVER]
    assert all(topic.by_asset for topic in REMOVABLE)
