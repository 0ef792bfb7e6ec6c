"""All topics, declared once, for the code that creates, reads or writes them.

Topics keyed by asset all have the same number of partitions, and a processor writes to the
partition that it read from, so order per asset is kept from the edge to the outcome.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

HOUR_MS: Final = 3_600_000
DAY_MS: Final = 24 * HOUR_MS
LONG_MS: Final = 180 * DAY_MS
FOREVER: Final = -1

#: A window larger than this is refused; the topics accept somewhat larger records, so that an
#: oversized window becomes a dead letter with a reason rather than an error at a distant device.
MAX_WINDOW_BYTES: Final = 1 << 20
MAX_RECORD_BYTES: Final = 4 << 20
#: Largest record batch once decompressed, bytes; every reader of `sensor.windows` checks the bound
#: before it allocates memory. A larger batch becomes one dead letter.
MAX_BATCH_BYTES: Final = 64 << 20
#: A dead letter holds the largest accepted record, and our headers.
MAX_DEAD_LETTER_BYTES: Final = MAX_RECORD_BYTES + (1 << 20)


@dataclass(frozen=True)
class Topic:
    """A topic.

    Attributes:
        name: Its name, before the namespace.
        key: Description of the records' key.
        holds: Description of a record's content.
        content: Media type of the values.
        retention_ms: How long records are kept; `FOREVER` keeps all.
        by_asset: Whether it has the partitions of all topics keyed by asset, else one.
        compacted: Whether only the latest record of each key is kept.
        max_bytes: Largest record.
        internal: Whether it is a service's own state, not events for other readers.
        more: Further settings of Kafka, by their names.
    """

    name: str
    key: str
    holds: str
    content: str
    retention_ms: int
    by_asset: bool = True
    compacted: bool = False
    max_bytes: int = 1 << 20
    internal: bool = False
    more: tuple[tuple[str, str], ...] = ()


_JSON: Final = "application/json"
_MSGPACK: Final = "application/msgpack"

SENSOR_WINDOWS: Final = Topic(
    "sensor.windows",
    "asset",
    "a window as the edge sent it",
    f"{_MSGPACK} or {_JSON}",
    7 * DAY_MS,
    max_bytes=MAX_RECORD_BYTES,
)
NORMALIZED: Final = Topic(
    "sensor.windows.normalized",
    "asset",
    "a window in the units of the model version that it is stamped with",
    _MSGPACK,
    7 * DAY_MS,  # as long as raw windows: inference may be down for as long as the processor
    max_bytes=MAX_RECORD_BYTES,
)
PREDICTIONS: Final = Topic(
    "predictions",
    "asset",
    "a forecast, with full provenance",
    _JSON,
    7 * DAY_MS,
    max_bytes=MAX_RECORD_BYTES,
)
OUTCOMES: Final = Topic(
    "outcomes",
    "asset",
    "a prediction joined with its truth, and its error",
    _JSON,
    7 * DAY_MS,
    max_bytes=MAX_RECORD_BYTES,
)
DRIFT_ALERTS: Final = Topic(
    "drift.alerts", "asset", "what a detector found, and the evidence", _JSON, LONG_MS
)
DEAD_LETTERS: Final = Topic(
    "dead.letters",
    "original key",
    "the original bytes, where they came from, and why",
    "as it came",
    LONG_MS,
    max_bytes=MAX_DEAD_LETTER_BYTES,
)
MENDED: Final = Topic(
    "dead.letters.mended",
    "partition/offset of the record that was refused first",
    "which refused record was sent again and taken, and as which",
    _JSON,
    FOREVER,
    compacted=True,
)
TOPIC_EPOCHS: Final = Topic(
    "topic.epochs",
    "topic/partition/incarnation/leader epoch",
    "from which offset on a partition's records belong to an incarnation of its topic",
    _JSON,
    FOREVER,
    by_asset=False,
)
TRAINING_REQUESTS: Final = Topic(
    "training.requests", "model", "a reason to train a model", _JSON, LONG_MS, by_asset=False
)
TRAINING_RUNS: Final = Topic(
    "training.runs",
    "run",
    "a run: parameters, data manifest, metrics, verdict",
    _JSON,
    FOREVER,
    by_asset=False,
    compacted=True,
)
MODEL_EVENTS: Final = Topic(
    "model.events", "model", "the registry, append-only", _JSON, FOREVER, by_asset=False
)
SERVING_LEDGER: Final = Topic(
    "serving.ledger",
    "model/partition/epoch",
    "from which source offset a version served",
    _JSON,
    FOREVER,
    by_asset=False,
    compacted=True,
)
#: State of the assets, under the name that Faust gives to the changelog of a table. A process that
#: takes a partition over reads all of it, so it is compacted early: Kafka cleans a partition when a
#: fifth of it is dirty, and after an hour in any case, except for its open segment, of
#: `CHANGELOG_SEGMENT` bytes or an hour. A recovery then reads at most 1.25 times the live state and
#: an open segment, both as compressed, and the records since the cleaner's last run.
CHANGELOG_SEGMENT: Final = 16 << 20
CHANGELOG: Final = Topic(
    "millrace.stream-processor-assets-changelog",
    "model, asset and partition",
    "what the stream processor remembers of an asset",
    _MSGPACK,
    FOREVER,
    compacted=True,
    max_bytes=MAX_RECORD_BYTES,
    internal=True,
    more=(
        ("segment.bytes", str(CHANGELOG_SEGMENT)),
        ("segment.ms", str(HOUR_MS)),
        ("min.cleanable.dirty.ratio", "0.2"),
        ("max.compaction.lag.ms", str(HOUR_MS)),
    ),
)

TOPICS: Final = (
    SENSOR_WINDOWS,
    NORMALIZED,
    PREDICTIONS,
    OUTCOMES,
    DRIFT_ALERTS,
    DEAD_LETTERS,
    MENDED,
    TOPIC_EPOCHS,
    TRAINING_REQUESTS,
    TRAINING_RUNS,
    MODEL_EVENTS,
    SERVING_LEDGER,
    CHANGELOG,
)

#: Topics of record: what the archiver keeps in the object store. The others can be derived from
#: these.
ARCHIVED: Final = tuple(topic for topic in TOPICS if topic not in (NORMALIZED, CHANGELOG))
#: Readings and results: the archived topics whose old records a retention of the archive may
#: remove. The others explain these, and are kept forever.
REMOVABLE: Final = (SENSOR_WINDOWS, PREDICTIONS, OUTCOMES, DRIFT_ALERTS, DEAD_LETTERS)
