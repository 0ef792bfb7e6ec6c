"""Writes records and offsets in one transaction: all of them are committed, or none.

```
produce, commit ──► (returns)   all of it is committed
                ├─► Undone      none of it is committed, nor ever will be: read again and repeat
                ├─► Unsure      this writer has failed; after it is replaced, the output shows
                │               whether it has committed
                └─► (never)     a client call that does not return despite its time-out (seen
                                with librdkafka 2.16): treated as unsure
```

Producing runs Python code and releases the GIL with each record; committing only blocks. So the two
are separate calls: the first is made on the thread that encoded the records, the second on another
one (`inference.kafka.commit_pipeline`).
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from functools import partial
from typing import Any, Final

import structlog
from confluent_kafka import KafkaException, Producer, TopicPartition

from millrace.contracts.topics import MAX_DEAD_LETTER_BYTES, PREDICTIONS
from millrace.inference.batch.records import Record
from millrace.inference.metrics import ABORTED, COMMIT
from millrace.infra.kafka.clients import TRANSACTION_RETRY_MS, TRANSACTION_TIMEOUT_MS, producer
from millrace.infra.kafka.errors import error_of, is_forbidden
from millrace.infra.kafka.retry import DeadlineExceeded, RetryPolicy
from millrace.infra.process.fault_points import reached
from millrace.infra.settings import Settings

_log = structlog.get_logger(__name__)

#: Longest request of the client between two checks of the stop signal, seconds.
STEP_SECONDS: Final = 3.0
#: Deadline of a commit, seconds. If the commit was only slow, repeating it has no effect.
COMMIT_SECONDS: Final = 12.0
#: How long a producer may take to abort or initialise before it is replaced, seconds.
ANEW_SECONDS: Final = 5.0
#: Each replacement gets twice the time to initialise, up to this: the broker may be slow.
LONGEST_SECONDS: Final = 60.0
#: The client's `linger.ms`. A commit flushes records that still linger, and the offsets are sent
#: meanwhile. With 0 a micro-batch becomes many small requests: measured, about a third more work
#: for the client's thread.
LINGER_MS: Final = 5
#: Level of zstd: compression shares two cores with the network, and the default, 3, takes longer.
COMPRESSION_LEVEL: Final = 1


class Undone(Exception):  # noqa: N818  (an outcome)
    """The transaction was aborted: none of its records are visible."""


class Unsure(Exception):  # noqa: N818  (an outcome)
    """The producer has failed permanently; the output shows whether it has committed."""


class TransactionalWriter:
    """Writes micro-batches in sequence; used by one thread at a time, except for `close`."""

    def __init__(self, settings: Settings, transactional_id: str, patience: RetryPolicy) -> None:
        """Connect, fencing earlier producers of the same id; blocks until a broker is available."""
        self._settings = settings
        self._id = settings.named(transactional_id)
        self._patience = patience
        self._topics: dict[str, str] = {}
        self._producer = self._connect()

    def produce(self, records: Iterable[Record]) -> None:
        """Begin a transaction, and pass records to the client, which sends them in the background.

        Args:
            records: What to write, in order.

        Raises:
            Undone, Unsure, Stopped, KafkaException: See `commit`.
        """
        try:
            self._producer.begin_transaction()
            self._hand_over(records)
        except KafkaException as error:
            self._abort(error)

    def commit(self, offsets: list[TopicPartition], group: Any) -> None:
        """Commit the produced records together with the offsets of their sources.

        Args:
            offsets: The next offset of each partition that was read.
            group: Group metadata of the consumer's client; if the consumer was fenced meanwhile,
                the broker refuses the offsets.

        Raises:
            Undone: Nothing was committed.
            Unsure: It may have been committed.
            Stopped: A stop signal arrived while the broker was unavailable; an open transaction is
                aborted by the broker, or by the next writer of this id.
            KafkaException: The error is permanent.
        """
        begun = time.monotonic()
        try:
            self._patience.call(
                lambda: self._producer.send_offsets_to_transaction(offsets, group, STEP_SECONDS),
                "offsets to go into the transaction",
                COMMIT_SECONDS,
            )
            reached("inference.before-commit")
            self._patience.call(
                lambda: self._producer.commit_transaction(STEP_SECONDS),
                "the commit",
                COMMIT_SECONDS,
            )
        except DeadlineExceeded as why:
            raise Unsure(str(why)) from why
        except KafkaException as error:
            self._abort(error)
        COMMIT.observe(time.monotonic() - begun)

    def close(self) -> None:
        """Discard unsent records: another writer is to replace this one."""
        self._producer.purge()

    def _connect(self) -> Producer:
        def begin(made: Producer) -> None:
            # The client looks up the coordinator when it initialises, and if it is not connected
            # yet, retries only after half a second.
            made.list_topics(self._settings.named(PREDICTIONS.name), timeout=STEP_SECONDS)
            made.init_transactions(STEP_SECONDS)

        seconds = ANEW_SECONDS
        while True:
            made = self._made()
            try:
                self._patience.call(partial(begin, made), "the transaction coordinator", seconds)
            except DeadlineExceeded as why:
                _log.warning("tries with another producer", why=str(why))
                seconds = min(2 * seconds, LONGEST_SECONDS)
            else:
                return made

    def _made(self) -> Producer:
        return producer(
            self._settings,
            {
                "transactional.id": self._id,
                "transaction.timeout.ms": TRANSACTION_TIMEOUT_MS,
                # Each record was made to fit into its own topic (`results`, `reading`): the client
                # would refuse a larger one at every retry.
                "message.max.bytes": MAX_DEAD_LETTER_BYTES,
                "linger.ms": LINGER_MS,
                "compression.level": COMPRESSION_LEVEL,
                "retry.backoff.ms": TRANSACTION_RETRY_MS,
            },
        )

    def _hand_over(self, records: Iterable[Record]) -> None:
        produce: Any = self._producer.produce
        named = self._topics
        for topic, key, value, headers, partition in records:
            if topic not in named:
                named[topic] = self._settings.named(topic)
            while True:
                try:
                    produce(named[topic], value, key, partition, headers=headers)
                except BufferError:  # the client's queue is full: let it send
                    self._producer.poll(STEP_SECONDS)
                else:
                    break

    def _abort(self, cause: KafkaException) -> None:
        """Abort the transaction after a failure.

        Raises:
            Undone, Unsure, Stopped, KafkaException: See `commit`.
        """
        error = error_of(cause)
        if is_forbidden(error):
            raise cause
        if error.fatal():
            raise Unsure(str(cause)) from cause
        try:
            self._patience.call(
                lambda: self._producer.abort_transaction(STEP_SECONDS),
                "the abort",
                ANEW_SECONDS,
            )
        except (DeadlineExceeded, KafkaException) as failure:
            raise Unsure(f"{cause}; then {failure}") from cause
        ABORTED.inc()
        _log.warning("micro-batch aborted", why=str(cause))
        raise Undone(str(cause)) from cause
